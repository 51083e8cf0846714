"""Whole files or none."""

import os
import tempfile


def write_atomically(path, data):
    """Write a file beside its place, then give it its name.

    Parameters
    ----------
    path : Path
    data : str or bytes
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = data.encode("utf-8", errors="replace") if isinstance(data, str) else data
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as part:
        try:
            part.write(data)
            part.flush()
            os.fsync(part.fileno())
            os.chmod(part.name, 0o644)
            os.replace(part.name, path)
        except BaseException:
            os.unlink(part.name)
            raise

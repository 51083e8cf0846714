"""Write whole files or none, and find a name that is free."""

import contextlib
import itertools
import os
import tempfile

__all__ = []  # both are for other modules, tools and homework


def write_atomically(path, content, *, mode=0o644):
    """Write text, as UTF-8, or bytes beside the place, then give the file its name, so that it is whole or not there.

    Folders that are missing are made. A link is replaced by the file; what it leads to stays. `mode` says who may read
    the file, from its first byte on. An OSError has the name of the file; what was there before is there still, and
    nothing else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content.encode("utf-8") if isinstance(content, str) else content
    part = tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False)  # noqa: SIM115
    try:
        with part:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
        os.chmod(part.name, mode)
        os.replace(part.name, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):  # interrupted when it had its name already
            os.unlink(part.name)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)  # a full disk does not say which
        raise


def free_path(path):
    """Of ``x.csv``, ``x-2.csv``, ``x-3.csv`` and so on, the first path at which nothing is yet."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if not os.path.lexists(each))

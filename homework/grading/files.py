"""No file is lost that a person wrote or changed."""

import contextlib
import hashlib
import shutil

from utils.files import free_path, write_atomically

LIST = ".written"  # of each file that we wrote its hash and its name


def _line(data, name):
    return f"{hashlib.sha256(data).hexdigest()}  {name}"


def _written(folder):
    """The lines of the list of what we wrote."""
    with contextlib.suppress(OSError):
        return (folder / LIST).read_text(encoding="utf-8").splitlines()
    return []


def is_ours(folder, name):
    """Whether we wrote a file, and nobody changed it since."""
    path = folder / name
    return path.is_file() and _line(path.read_bytes(), name) in _written(folder)


def replace(folder, name, data):
    """Write a file, after copying what a person wrote or changed there to the folder ``kept``; list the copy."""
    path, copies = folder / name, []
    data = data.encode("utf-8", errors="replace") if isinstance(data, str) else data
    if path.is_file() and path.read_bytes() != data and not is_ours(folder, name):
        copies.append(_keep(folder, name))
    folder.mkdir(parents=True, exist_ok=True)
    if (line := _line(data, name)) not in _written(folder):
        with (folder / LIST).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")  # a full disk may have left half a line before
    write_atomically(path, data)
    return copies


def _keep(folder, name):
    """Copy a file to ``kept``, under a name that is free there."""
    copy = free_path(folder / "kept" / name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(folder / name, copy)
    return copy.relative_to(folder).as_posix()

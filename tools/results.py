"""Folders of results, each with a list of what the course wrote there: nothing else is ever replaced or removed."""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from guard import alone, check_writable

LIST = ".written-by-the-course.txt"
SHOWN = 3  # names in a message


class ResultsError(OSError):
    """Something in a folder of results is not ours; the message says what to do."""


def _digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _few(names):
    """The first names, for a sentence."""
    names = sorted(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _files(folder):
    """All files below a folder: name with slashes -> path."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


class Results:
    """A folder of results, made where it is missing; one that is shared may have other files, too.

    Refused is a folder that is not empty, not shared, and has no list of what the course wrote there.
    """

    def __init__(self, folder, *, shared=False):
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._list, self._written = self.folder / LIST, set()
        if self._list.is_file():
            lines = self._list.read_text(encoding="utf-8").splitlines()
            self._written = {tuple(line.split("  ", 1)) for line in lines if "  " in line}
        elif not shared and (names := os.listdir(self.folder)):
            raise ResultsError(
                f"{self.folder}: expected an empty folder, or one that the course made; got {_few(names)}, and no list "
                f"{LIST} of what the course wrote there. Move it to another place, or delete it"
            )

    @classmethod
    @contextlib.contextmanager
    def alone(cls, folder, *, shared=False):
        """The folder while no other run writes there; the parameters are those of the class."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        check_writable(folder)
        with alone(folder):
            yield cls(folder, shared=shared)

    def _is_ours(self, name):
        """Whether a file is one that we wrote and that nobody changed since, and no link leads to it."""
        path = self.folder / name
        inside = path.resolve() == path and path.is_relative_to(self.folder)
        return inside and path.is_file() and (_digest(path), name) in self._written

    def check(self, names):
        """Refuse to replace a file that the course did not write, or that was changed since; paths have slashes."""
        paths = {name: self.folder / name for name in names}
        there = {name for name, path in paths.items() if os.path.lexists(path) or path.resolve() != path}
        if others := {name for name in there if not self._is_ours(name)}:
            raise ResultsError(
                f"{self.folder}: expected to replace only what the course wrote, got {_few(others)}, which it did not "
                "write or which was changed since. Move it to another place to keep it, or delete it"
            )

    def _record(self, digest, name):
        if (digest, name) not in self._written:
            with self._list.open("a", encoding="utf-8") as file:
                file.write(f"\n{digest}  {name}\n")  # a full disk may have left half a line before
            self._written.add((digest, name))

    def write(self, name, content):
        """Write a file and list it; the list comes first, so that even after an interruption the file is ours."""
        from utils.files import write_atomically  # `make clean` writes nothing, and need not find the helpers

        content = content.encode("utf-8") if isinstance(content, str) else content
        self.check([name])
        self._record(hashlib.sha256(content).hexdigest(), name)
        write_atomically(self.folder / name, content)

    def write_tree(self, tree, *, whole=True):
        """Move all files of another folder here, or none if one of them would replace what is not ours.

        If the tree is the whole, what we wrote earlier and what is not in it goes.
        """
        paths = _files(tree)
        self.check(paths)
        for name, path in paths.items():
            self._record(_digest(path), name)
        for name, path in paths.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, self.folder / name)  # takes no room on the disk
        if whole:
            self._remove(kept=paths)

    def adopt(self):
        """List all files that are there, for a folder that we have just made."""
        for name, path in _files(self.folder).items():
            if path != self._list:
                self._record(_digest(path), name)

    def _remove(self, kept=()):
        """Remove files of ours and the folders that get empty; gives those that were to go and are still there."""
        names = {name for _, name in self._written}.difference(kept)
        for name in filter(self._is_ours, names):
            (self.folder / name).unlink()
            for folder in Path(name).parents[:-1]:
                with contextlib.suppress(OSError):  # there is something else in it
                    (self.folder / folder).rmdir()
        return [name for name in names if os.path.lexists(self.folder / name)]

    def remove(self):
        """Remove what we wrote, and the folder if nothing else is in it."""
        if not self._remove():
            self._list.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

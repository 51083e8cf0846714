"""Where sandboxes have their folders, and how the folders of a killed grader are found again: those and no others.

All sandboxes of a user lie in one folder of the temporary directory. The folder of each sandbox has a file ``lock``
with a text of ours, which the grader keeps locked while it lives. The operating system drops the lock when the process
ends, however that happens, and it shows the lock to every container that shares the directory. The number of a process
would not do: another process may have that number today, and the number of a grader in another container means nothing
here.
"""

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

PREFIX = "course-grading-"
LOCK, INSIDE, LONGEST_NAME = "lock", "x", "k-5"
LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107  # bytes of a path
BOOT = Path("/proc/sys/kernel/random/boot_id")


def _text():
    """What a lock file of ours says; one of another machine, whose locks may not be seen here, says something else."""
    boot = BOOT.read_text().strip() if BOOT.exists() else ""
    return f"a sandbox of homework.grading, user {os.geteuid()}, boot {boot}\n".encode()


def _parents(place):
    """The folders that may hold our sandboxes; the later ones are for when somebody else has the first."""
    name = f"{PREFIX}{os.geteuid()}"
    return [Path(place, name), *(Path(place, f"{name}-{number}") for number in range(2, 10))]


def _ours(path):
    """Whether this is a folder, no link to one, that we own, can use, and nobody else can write to."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        alone = found.st_uid == os.geteuid() and not found.st_mode & 0o022
        return stat.S_ISDIR(found.st_mode) and alone and os.access(path, os.R_OK | os.W_OK | os.X_OK)
    return False


def _parent(place):
    """The folder for our sandboxes, made where it is missing; a new one where others have all the names."""
    for path in _parents(place):
        with contextlib.suppress(OSError):
            path.mkdir(mode=0o700)
        if _ours(path):
            return path
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.geteuid()}-", dir=place))


def _is_short(place):
    """Whether the path of a socket would be one that the system takes."""
    longest = Path(place, f"{PREFIX}{os.geteuid()}-{8 * 'x'}", 8 * "x", INSIDE, LONGEST_NAME)
    return len(os.fsencode(longest)) <= LONGEST_SOCKET


class BusyError(Exception):
    """Another grader writes to the same folder; the message says what to do."""


@contextlib.contextmanager
def alone(folder):
    """Keep other graders away from a folder with a BusyError; the system takes the lock back when we end."""
    import fcntl

    lock = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # of a file system without locks
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(
                    f"{folder}: expected to be the only grader that writes there, got another one that is at it: "
                    "wait until the other has ended, or choose another folder with GRADES=folder"
                ) from None
        yield
    finally:
        os.close(lock)


class Place:
    """A folder for the connection of one kernel.

    Attributes
    ----------
    folder : Path
        What the kernel may see; the lock is beside it, where a kernel in a sandbox cannot reach it.
    """

    def __init__(self):
        place = tempfile.gettempdir()
        self._parent = _parent(place if _is_short(place) else "/tmp")
        self._whole = Path(tempfile.mkdtemp(prefix="", dir=self._parent))
        self._lock = _mark(self._whole / LOCK)
        self.folder = self._whole / INSIDE
        self.folder.mkdir(mode=0o700)

    def remove(self):
        """Remove the folder; the second time nothing happens."""
        if self._lock is None:
            return
        _remove(self._whole)
        os.close(self._lock)
        self._lock = None
        if self._parent not in _parents(self._parent.parent):
            with contextlib.suppress(OSError):
                self._parent.rmdir()


def _mark(path):
    """Write the lock file once it is locked; without its text, or where locks do not work, nobody sweeps the folder."""
    import fcntl  # not on Windows

    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, _text())
    return lock


def _remove(folder):
    """Remove what a sandbox has; the lock file goes last, so that the next sweep finds what could not be removed."""
    shutil.rmtree(folder / INSIDE, ignore_errors=True)
    if not os.path.lexists(folder / INSIDE):
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()
            folder.rmdir()


def sweep():
    """Remove the folders of our graders that were killed on this machine.

    Notes
    -----
    A folder is left alone if anything about it is in doubt: if it, or what it lies in, is a link or not ours, or if its
    lock file is missing, is held, or has another text.
    """
    for place in {tempfile.gettempdir(), "/tmp"}:
        for parent in filter(_ours, _parents(place)):
            for folder in filter(_ours, parent.glob("*")):
                with contextlib.suppress(OSError):  # also of a lock that is held
                    _sweep(folder)


def _sweep(folder):
    """Remove one folder if its lock file is ours and free."""
    import fcntl

    lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(lock)
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if ours and os.read(lock, 1000) == _text():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink:  # otherwise another sweep was here first
                _remove(folder)
    finally:
        os.close(lock)

"""How a command ends that cannot go on, and how two runs of it keep out of each other's way.

It needs the standard library only, because `make clean` does without the environment.
"""

import contextlib
import errno
import os
import shutil
import signal
import sys
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

ROOT = Path(__file__).resolve().parents[1]
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
RESULTS = "put the results elsewhere with BUILD=/path"
CHECKOUT = "run it in another copy of the course, for it writes into the course itself"

# The environment may be that of another checkout: this one's helpers come first.
sys.path.insert(0, str(ROOT))


def environment():
    """The variables for a process that finds this checkout's helpers first, and shows no progress bars."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "TQDM_DISABLE": "1"}


class BusyError(OSError):
    """Another run writes to the same place; the message says what to do."""


def told(error):
    """What went wrong with files, on one line; of many errors the first."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        (_, path, why), *others = error.args[0]
        why = str(why).split(": '")[0]  # the paths are said already
        return f"{path}: expected to copy it, got: {why}" + (f", and {len(others)} more files" if others else "")
    if error.strerror is None:  # one of ours, whose message says what was expected
        return " ".join(str(error).split()) or type(error).__name__
    where = f"{os.fspath(error.filename)}: " if isinstance(error.filename, str | os.PathLike) else ""
    return f"{where}expected to read and write there, got: {error.strerror}"


def _is_full(error):
    """Whether it is room on a disk that was missing; of many errors the first tells."""
    return error.errno in FULL or any(f"[Errno {number}]" in told(error) for number in FULL)


@contextlib.contextmanager
def one_sentence(command, remedy, *kinds):
    """End a command in one sentence where files cannot be read or written, another run is at it, or for Ctrl-C.

    The remedy (RESULTS, CHECKOUT) says what to do; the message of an error of `kinds` is a sentence itself.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a path has letters that not every terminal has
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except kinds as error:
        sys.exit(f"{command}: {error}")
    except BusyError as error:
        sys.exit(f"{command}: {error}, or {remedy}")
    except OSError as error:
        advice = f"make room on that disk, or {remedy}" if _is_full(error) else remedy
        sys.exit(f"{command}: {told(error)}. {advice[0].upper()}{advice[1:]}.")
    except KeyboardInterrupt:
        sys.exit(f"\n{command}: interrupted; run the same command again")
    finally:
        signal.signal(signal.SIGTERM, before)


def check_writable(folder):
    """Refuse a folder in which nothing can be written, before there are results for it."""
    if not os.access(folder, os.W_OK):
        raise OSError(errno.EACCES, "this folder cannot be written", str(folder))


@contextlib.contextmanager
def alone(*paths):
    """Keep other runs away from files or folders; the system takes the locks back when this process ends.

    Where another run is there, it is a BusyError.
    """
    with contextlib.ExitStack() as locks:
        for path in sorted(set(paths)) if fcntl else ():
            lock = os.open(path, os.O_RDONLY)
            locks.callback(os.close, lock)
            if not _is_locked(lock, path):
                raise BusyError(
                    f"{path}: expected to be the only run that writes there, got another one that is at it: "
                    "wait until the other has ended"
                )
        yield


def _is_locked(lock, path):
    """Lock what is open; False where another run is there, or has just replaced it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except BlockingIOError:
        return False
    except OSError:
        return Path(path).exists()  # a file system without locks

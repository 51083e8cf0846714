"""Fetch the files of a data set: from the cache, or from the first mirror that has them, and never half of one.

What there is to fetch is listed in ``data/registry.toml``. Three environment variables change where from and where to:

``COURSE_DATA``
    the cache folder; without it ``pooch.os_cache("normalization-course")``, on Linux ``~/.cache/normalization-course``
``COURSE_OFFLINE``
    1 to work with the cache alone
``COURSE_REGISTRY``
    another registry, for a mirror that you run, or for tests
"""

import errno
import functools
import hashlib
import os
import tempfile
import threading
import time
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from utils.arrays import number, one_of
from utils.data_files import data_file

__all__ = ["REGISTRY", "DownloadError", "cache_folder", "fetch"]

#: Where the files, their checksums and mirrors are listed.
#:
#: :meta hide-value:
REGISTRY = data_file("registry.toml")
CHUNK = 1 << 14
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
WITHOUT = "The default data set, digits, needs no download: unset DATASET."


class DownloadError(RuntimeError):
    """A file that is neither in the cache nor to be had; the message says what to do."""


@dataclass(frozen=True)
class _File:
    """One entry of the registry, and where its file belongs."""

    path: Path
    size: int
    algorithm: str
    digest: str
    urls: tuple

    @property
    def hash(self):
        return f"{self.algorithm}:{self.digest}"

    @property
    def found(self):
        """The hash of the file that is there now, or None where there is none."""
        if not self.path.is_file():
            return None
        stat = self.path.stat()
        return f"{self.algorithm}:{_digest(self.path, self.algorithm, (stat.st_ino, stat.st_size, stat.st_mtime_ns))}"

    @property
    def advice(self):
        return f"Put the file by hand as\n  {self.path}\n  ({self.size} bytes, {self.hash}).\n{WITHOUT}"


def _pooch():
    """Import pooch where something is to be downloaded: everything else works without it."""
    try:
        import pooch
    except ModuleNotFoundError as error:
        if error.name != "pooch":
            raise
        raise ImportError(
            "pooch: expected this package, which downloads data sets, but it is not installed: pip install pooch. "
            + WITHOUT
        ) from None
    return pooch


def cache_folder():
    """Where downloaded files are kept, in a folder for each data set.

    Returns
    -------
    Path
        What the environment variable ``COURSE_DATA`` says; without it the cache folder of the operating system.

    Raises
    ------
    ImportError
        If the operating system is to be asked and pooch, which knows how, is not installed.
    """
    chosen = os.environ.get("COURSE_DATA")
    return Path(chosen).expanduser().absolute() if chosen else _pooch().os_cache("normalization-course")


def _offline():
    return os.environ.get("COURSE_OFFLINE", "") not in ("", "0")


def _files(name, registry, folder):
    registry = (os.environ.get("COURSE_REGISTRY") or REGISTRY) if registry is None else registry
    try:
        tables = tomllib.loads(Path(registry).read_text(encoding="utf-8"))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"registry {registry}: expected a TOML file like {REGISTRY}, got: {error}") from None
    one_of(name, tables, "name", hint=f"; these are the data sets of {registry}")
    files = []
    try:
        for entry in tables[name]["files"]:
            algorithm, digest = entry["hash"].lower().split(":")
            urls = tuple(mirror + entry["name"] for mirror in tables[name]["mirrors"])
            files.append(_File(folder / name / entry["name"], entry["size"], algorithm, digest, urls))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"registry {registry}: {name}: expected mirrors, and files with name, size and hash (algorithm:digest), "
            f"got {type(error).__name__}: {error}"
        ) from None
    return files


@functools.lru_cache(maxsize=64)
def _digest(path, algorithm, state):
    """Hash a file; it is hashed again when its number, size or time of change is another one."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def fetch(name, *, registry=None, folder=None, timeout=20.0, limit=1800.0):
    """Make sure that every file of a data set is in the cache and is the right one.

    Parameters
    ----------
    name : str
        A table of the registry: mnist, fashion_mnist or cifar10.
    registry : path-like, optional
        Where the files, their checksums and mirrors are; without it ``COURSE_REGISTRY``, then ``data/registry.toml``.
    folder : path-like, optional
        The cache; without it `cache_folder`. The files are in a folder of the data set's name in there.
    timeout : float
        Seconds without a byte after which a mirror is given up.
    limit : float
        Seconds a file may take in all. What is left is shared evenly among the mirrors that have not been tried, so
        that one slow server leaves time for the others.

    Returns
    -------
    dict of str to Path
        File name to file, in the order of the registry.

    Raises
    ------
    ValueError
        For an unknown data set, a registry that cannot be read, or a time or folder that is none.
    DownloadError
        If the cache cannot be written to, if every mirror fails, or, with ``COURSE_OFFLINE=1``, if a file is missing
        or has another checksum. A file of that name is then the old one or none, never a part of a new one.
    ImportError
        If a file has to be downloaded and pooch is not installed.

    Notes
    -----
    The files of a cache are checked every time, and fetched again if they are not what they should be. A download goes
    to a temporary folder beside its final place and is moved there when its checksum is right; two processes that
    fetch the same file at once do not see each other's work.
    """
    try:
        folder = cache_folder() if folder is None else Path(folder)
    except TypeError as error:
        raise ValueError(f"folder: expected a path, got: {error}") from None
    timeout, limit = number(timeout, "timeout", above=0), number(limit, "limit", at_least=0)
    files = _files(name, registry, folder)
    for file in files:
        found = file.found
        if found != file.hash:
            if _offline():
                raise DownloadError(_why_offline(name, file, found))
            _pooch()  # before the mirrors are tried, none of which is to blame if it is missing
            _download(name, file, timeout, limit)
    return {file.path.name: file.path for file in files}


def _why_offline(name, file, found):
    state = f"is corrupted (expected {file.hash}, found {found})" if found else "is not in the cache"
    return (
        f"{name}: {file.path} {state}, and COURSE_OFFLINE={os.environ['COURSE_OFFLINE']} forbids a download. "
        f"{'Delete it and unset' if found else 'Unset'} COURSE_OFFLINE to have it downloaded from\n  "
        + "\n  ".join(file.urls)
        + f"\n{file.advice}"
    )


def _download(name, file, timeout, limit):
    """Try one mirror after the other; whoever fails leaves nothing behind."""
    end, failures = time.monotonic() + limit, []
    for i, url in enumerate(file.urls):
        seconds = max(end - time.monotonic(), 0) / (len(file.urls) - i)
        with _temporary_folder(file.path.parent) as part:
            try:
                _download_from(url, file, part, timeout, seconds)
            except Exception as error:  # whatever went wrong, the next mirror may do better
                if getattr(error, "errno", None) in FULL:  # no mirror is to blame
                    raise _cannot_write(file.path.parent, error) from None
                failures.append(f"\n  {url}\n    {type(error).__name__}: {str(error)[:400]}")
                continue
            _move(part / file.path.name, file)
            return
    raise DownloadError(f"{name}: no mirror could provide {file.path.name}:{''.join(failures)}\n{file.advice}")


@contextmanager
def _temporary_folder(beside):
    try:
        beside.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".part-", dir=beside, ignore_cleanup_errors=True)
    except OSError as error:
        raise _cannot_write(beside, error) from None
    with folder as path:
        yield Path(path)


def _cannot_write(path, error):
    return DownloadError(
        f"{path}: expected to keep a download there, but it cannot be written ({error}). Make room there, or choose "
        f"another folder with the environment variable COURSE_DATA. {WITHOUT}"
    )


def _move(source, file):
    try:
        source.chmod(0o644)  # a temporary file is its owner's alone; a cache may be everybody's
        os.replace(source, file.path)
    except OSError as error:  # Windows does not replace what another process, faster than we, has put there and reads
        if file.found != file.hash:
            raise _cannot_write(file.path, error) from None


class _Bar(tqdm):
    """A progress bar that ends a download which nobody waits for any more, or which is longer than it should be."""

    def __init__(self, file, url, folder):
        server = "/".join(url.split("/")[2:3])
        super().__init__(
            desc=f"{file.path.name} from {server}", total=file.size, unit="B", unit_scale=True, leave=False
        )
        self.size, self.folder, self.abandoned = file.size, folder, False

    def __bool__(self):
        return True  # tqdm is false where the server names no length, and pooch would not call update

    def update(self, n=1):
        """Look how much has come; pooch calls this after every chunk and counts each as a full one."""
        if self.abandoned:
            raise TimeoutError("nobody waits for this download any more")
        received = sum(path.stat().st_size for path in self.folder.iterdir())
        if received > self.size:
            raise ValueError(f"expected {self.size} bytes, got more")
        self.total = self.size  # pooch sets what the server said, 0 if it said nothing
        return super().update(received - self.n)


def _download_from(url, file, folder, timeout, seconds):
    """Download into a folder, in a thread of its own that can be left behind, however the server behaves."""
    pooch, failures, responses = _pooch(), [], []

    def work():
        try:
            pooch.retrieve(url, known_hash=file.hash, fname=file.path.name, path=folder, downloader=downloader)
        except BaseException as error:
            failures.append(error)
        finally:
            for response in responses:  # pooch leaves that to the garbage collector
                response.close()

    def remember(response, **options):
        responses.append(response)

    with _Bar(file, url, folder) as bar, _quiet(pooch.get_logger()):
        downloader = pooch.HTTPDownloader(
            progressbar=bar, chunk_size=CHUNK, timeout=timeout, hooks={"response": remember}
        )
        thread = threading.Thread(target=work, name=f"download {url}", daemon=True)
        thread.start()
        try:
            thread.join(seconds)
            late = thread.is_alive()
        finally:
            bar.abandoned = True
            thread.join(0.5)  # where bytes still come, it stops at the next chunk and closes its file
    if late:
        raise TimeoutError(f"not finished after {seconds:.3g} seconds")
    if failures:
        raise failures[0]


@contextmanager
def _quiet(logger):
    """Pooch would announce the temporary folder; the bar says more."""
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)

"""Fetch the files of a data set: from the cache, or from the first mirror that has them, and never half of one.

What there is to fetch is listed in ``data/registry.toml``. Three environment variables change where from and where to:

``COURSE_DATA``
    the cache folder; without it ``pooch.os_cache("normalization-course")``, on Linux ``~/.cache/normalization-course``
``COURSE_OFFLINE``
    1 to work with the cache alone
``COURSE_REGISTRY``
    another registry, for a mirror that you run, or for tests
"""

import functools
import gzip
import hashlib
import os
import time
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from utils.arrays import one_of
from utils.data_files import data_file

__all__ = ["REGISTRY", "DownloadError", "fetch"]

#: Where the files, their checksums and mirrors are listed.
#:
#: :meta hide-value:
REGISTRY = data_file("registry.toml")
TIMEOUT = 20.0  # seconds without a byte after which a mirror is given up
LIMIT = 1800.0  # seconds for a file; the mirrors that have not been tried share what is left of them
WITHOUT = "The default data set, digits, needs no download: unset DATASET."


class DownloadError(RuntimeError):
    """A file is neither in the cache nor on a mirror; the message says what to do."""


@dataclass(frozen=True)
class _File:
    """One entry of the registry, and where its file belongs."""

    path: Path
    size: int
    hash: str
    urls: tuple
    unpacked: str | None  # the hash of what a .gz file holds, for one that was packed anew

    @property
    def right(self):
        """Where the right content is now: packed by the publisher, packed anew or unpacked; None where it is not."""
        ways = [(self.path, self.hash, open)]
        if self.unpacked:
            ways += [(self.path, self.unpacked, gzip.open), (self.path.with_suffix(""), self.unpacked, open)]
        return next((path for path, wanted, opened in ways if _hash(path, wanted, opened) == wanted), None)

    @property
    def sums(self):
        """What the checksums have to be, for a message."""
        return self.hash + (f" or, unpacked, {self.unpacked}" if self.unpacked else "")

    @property
    def advice(self):
        return f"Put the file by hand as\n  {self.path}\n  ({self.size} bytes, {self.sums}).\n{WITHOUT}"


def _hash(path, like, opened):
    """The hash of a file, or of what it holds, by the algorithm of another hash; None where there is no file."""
    if not path.is_file():
        return None
    stat = path.stat()
    return _hash_of(path, like.split(":")[0], opened, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _hash_of(path, algorithm, opened, state):
    """Hash a file; it is hashed again when its number, size or time of change is another one."""
    try:
        with opened(path, "rb") as file:
            return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return "nothing that can be read"


def _pooch():
    """Import pooch where something is to be downloaded: everything else works without it."""
    try:
        import pooch
    except ModuleNotFoundError:
        raise ImportError(
            "pooch: expected this package, which downloads data sets, but it is not installed: pip install pooch. "
            + WITHOUT
        ) from None
    pooch.get_logger().setLevel("WARNING")  # it would announce each mirror; the bar says more
    return pooch


def _cache_folder():
    chosen = os.environ.get("COURSE_DATA")
    return Path(chosen).expanduser().absolute() if chosen else _pooch().os_cache("normalization-course")


def _sum(text):
    """A checksum of the registry, in small letters."""
    algorithm, digest = text.lower().split(":")
    return f"{algorithm}:{digest}"


def _files(name, registry=None):
    """The files of a data set, as the registry lists them."""
    if registry is None:
        registry = os.environ.get("COURSE_REGISTRY") or REGISTRY
    try:
        given = isinstance(registry, dict)
        tables = registry if given else tomllib.loads(Path(registry).read_text(encoding="utf-8"))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"registry {registry}: expected a TOML file like {REGISTRY}, got: {error}") from None
    table, files = tables[one_of(name, tables, "name", hint=f"; these are the data sets of {registry}")], []
    try:
        for file in table["files"]:
            path, unpacked = _cache_folder() / name / file["name"], file.get("unpacked")
            urls = tuple(mirror + file["name"] for mirror in table["mirrors"])
            files.append(_File(path, file["size"], _sum(file["hash"]), urls, unpacked and _sum(unpacked)))
        return files
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"registry {registry}: {name}: expected mirrors, and files with name, size and hash (algorithm:digest), "
            f"got {type(error).__name__}: {error}"
        ) from None


def fetch(name, *, registry=None):
    """Make sure that every file of a data set is in the cache and is the right one.

    Parameters
    ----------
    name : str
        A table of the registry: mnist, fashion_mnist or cifar10.
    registry : path-like or dict, optional
        Where the files, their checksums and mirrors are, or what such a file says; without it ``COURSE_REGISTRY``, then
        ``data/registry.toml``.

    Returns
    -------
    dict of str to Path
        File name to file, in the order of the registry. Where the cache has a file only without the ending .gz, this
        is the file that comes.

    Raises
    ------
    ValueError
        For an unknown data set, or a registry that cannot be read.
    DownloadError
        If the cache cannot be written to, if every mirror fails, or, with ``COURSE_OFFLINE=1``, if a file is missing
        or has other checksums. A file of that name is then the old one or none, never a part of a new one.
    ImportError
        If a file has to be downloaded and pooch is not installed.

    Notes
    -----
    Cached files are checked every time, and fetched again if they are not what they should be. Where the registry has
    the checksum of the unpacked content, too, a cached file with this content is right, however it was packed. Pooch
    downloads to a temporary file and moves it to its place if the checksum is that of the publisher's file, so two
    processes may fetch the same file at once.
    """
    found = {}
    for file in _files(name, registry):
        path = file.right
        if path is None:
            if os.environ.get("COURSE_OFFLINE", "") not in ("", "0"):
                raise DownloadError(_why_offline(file))
            _download(file)
        found[file.path.name] = path or file.path
    return found


def _why_offline(file):
    found = _hash(file.path, file.hash, open)
    inside = f" and, unpacked, {_hash(file.path, file.unpacked, gzip.open)}" if found and file.unpacked else ""
    state = f"is corrupted (expected {file.sums}, found {found}{inside})" if found else "is not in the cache"
    return (
        f"{file.path.parent.name}: {file.path} {state}, and COURSE_OFFLINE={os.environ['COURSE_OFFLINE']} forbids a "
        f"download. {'Delete it and unset' if found else 'Unset'} COURSE_OFFLINE to have it downloaded from\n  "
        + "\n  ".join(file.urls)
        + f"\n{file.advice}"
    )


def _download(file):
    """Try one mirror after the other; whoever fails leaves nothing behind."""
    pooch, failures, end = _pooch(), [], time.monotonic() + LIMIT
    for i, url in enumerate(file.urls):
        seconds = max(end - time.monotonic(), 0) / (len(file.urls) - i)
        last = time.monotonic() + seconds
        get = functools.partial(_get, file=file, last=last)
        try:
            pooch.retrieve(url, known_hash=file.hash, fname=file.path.name, path=file.path.parent, downloader=get)
            return
        except Exception as error:  # whatever went wrong, the next mirror may do better
            if file.right:  # another process was faster, and Windows does not replace what is read
                return
            if getattr(error, "errno", None) or isinstance(error, PermissionError):  # no mirror is to blame
                raise DownloadError(
                    f"{file.path}: expected to keep a download there, but it cannot be written ({error}). Make room "
                    f"there, or choose another folder with the environment variable COURSE_DATA. {WITHOUT}"
                ) from None
            late = TimeoutError(f"not finished after {seconds:.3g} seconds")
            why = late if time.monotonic() >= last else error
            failures.append(f"\n  {url}\n    {type(why).__name__}: {str(why)[:400]}")
    name = file.path.parent.name
    raise DownloadError(f"{name}: no mirror could provide {file.path.name}:{''.join(failures)}\n{file.advice}")


def _get(url, part, _, *, file, last):
    """Download for pooch: with a bar, and with an end to what takes too long or is too long."""
    import requests  # pooch needs it, too

    timeout = max(min(TIMEOUT, last - time.monotonic()), 1e-3)
    server = urlsplit(url).netloc
    with (
        requests.get(url, stream=True, timeout=timeout) as response,
        open(part, "wb") as out,
        tqdm(desc=f"{file.path.name} from {server}", total=file.size, unit="B", unit_scale=True, leave=False) as bar,
    ):
        response.raise_for_status()
        read = getattr(response.raw, "read1", response.raw.read)  # urllib3 before 2.1 waits for all it is asked for
        while data := read(1 << 14):
            bar.update(out.write(data))
            if out.tell() > file.size:
                raise ValueError(f"expected {file.size} bytes, got more")
            if time.monotonic() >= last:
                raise TimeoutError
    os.chmod(part, 0o644)  # a temporary file is its owner's alone; a cache may be everybody's

"""Scripts that the site and the slides carry with them: fetched from npm's registry, checked, unpacked.

``site/assets.toml`` lists them. Downloads go through `utils.download`, so that ``COURSE_DATA`` names the
folder that keeps them and ``COURSE_OFFLINE=1`` forbids the network. ``NPM_CONFIG_REGISTRY``, npm's own variable, names
another registry.
"""

import os
import tarfile
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from execute import ROOT

from utils import download
from utils.files import write_atomically

ASSETS = ROOT / "site" / "assets.toml"
NPM = "registry.npmjs.org"
INSTEAD = "Then run the same command again."


class AssetError(RuntimeError):
    """A script that is not to be had; the message says what to do."""


def packages(path=ASSETS):
    """Read what there is to fetch.

    Parameters
    ----------
    path : path-like
        A file like ``site/assets.toml``.

    Returns
    -------
    dict of str to dict
        Package name to its version, size, hash and members.

    Raises
    ------
    AssetError
        If the file cannot be read, or if a table lacks an entry.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AssetError(f"{path}: expected a TOML file like {ASSETS}, got: {error}") from None
    for name, table in tables.items():
        missing = sorted({"version", "size", "hash", "members"} - set(table))
        if missing:
            raise AssetError(f"{path}: [{name}]: expected version, size, hash and members; missing {missing}, add them")
    return tables


def _registry(name, table):
    """The package as `utils.download` wants it: one file, one server."""
    server = os.environ.get("NPM_CONFIG_REGISTRY") or f"https://{NPM}"
    file = f"{name.split('/')[-1]}-{table['version']}.tgz"
    mirror, entry = f"{server.rstrip('/')}/{name}/-/", {"name": file, "size": table["size"], "hash": table["hash"]}
    return file, {"npm": {"mirrors": [mirror], "files": [entry]}}


def fetch(name, *, path=ASSETS):
    """Make sure that a package is in the cache and is the right one.

    Parameters
    ----------
    name : str
        A table of ``site/assets.toml``.
    path : path-like
        That file.

    Returns
    -------
    Path
        The package as it was published, a gzipped tar archive.

    Raises
    ------
    AssetError
        For an unknown package, and if it is neither in the cache nor to be had with the right checksum.
    """
    tables = packages(path)
    if name not in tables:
        raise AssetError(f"package: expected one of {', '.join(tables)}, which {path} has, got {name!r}")
    file, registry = _registry(name, tables[name])
    try:
        return download.fetch("npm", registry=registry)[file]
    except download.DownloadError as error:
        raise AssetError(str(error).replace(download.WITHOUT, INSTEAD)) from None


def unpack(name, folder, *, path=ASSETS):
    """Fetch a package and lay the members that are wanted into a folder, under their names in the package.

    Parameters
    ----------
    name : str
        A table of ``site/assets.toml``.
    folder : path-like
        Made where it is missing; files of the same names are replaced.
    path : path-like
        That file.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    AssetError
        As in `fetch`, and if the package has no member of a name that is wanted.
    """
    archive, wanted = fetch(name, path=path), packages(path)[name]["members"]
    found, written = set(), []
    with tarfile.open(archive) as tar:
        for member in tar:
            place = PurePosixPath(*PurePosixPath(member.name).parts[1:])  # all lies in a folder "package"
            fits = {pattern for pattern in wanted if fnmatchcase(str(place), pattern)}
            if fits and member.isfile() and ".." not in place.parts:
                found |= fits
                written.append(Path(folder) / place)
                write_atomically(written[-1], tar.extractfile(member).read())
    if missing := sorted(set(wanted) - found):
        raise AssetError(f"{name}: expected {', '.join(missing)} in {archive}, found none: correct members in {path}")
    return written

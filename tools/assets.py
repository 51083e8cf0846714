"""Scripts that the site and the slides carry with them: fetched from npm's registry, checked, unpacked.

``site/assets.toml`` lists them. ``COURSE_DATA`` names the folder that keeps downloads, ``COURSE_OFFLINE=1`` forbids the
network, and ``NPM_CONFIG_REGISTRY``, npm's own variable, names another registry.
"""

import os
import tarfile
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from guard import ROOT

from utils import download
from utils.files import write_atomically

ASSETS = ROOT / "site" / "assets.toml"
NPM = "registry.npmjs.org"


class AssetError(RuntimeError):
    """A script that is not to be had; the message says what to do."""


def packages(path=ASSETS):
    """What there is to fetch: package name -> version, size, hash and members."""
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AssetError(f"{path}: expected a TOML file like {ASSETS}, got: {error}") from None
    for name, table in tables.items():
        missing = sorted({"version", "size", "hash", "members"} - set(table))
        if missing:
            raise AssetError(f"{path}: [{name}]: expected version, size, hash and members; missing {missing}, add them")
    return tables


def fetch(name, *, path=ASSETS):
    """The path of a package as it was published, a gzipped tar archive with the right checksum, in the cache."""
    tables = packages(path)
    if name not in tables:
        raise AssetError(f"package: expected one of {', '.join(tables)}, which {path} has, got {name!r}")
    server = os.environ.get("NPM_CONFIG_REGISTRY") or f"https://{NPM}"
    file = f"{name.split('/')[-1]}-{tables[name]['version']}.tgz"
    entry = {"name": file, "size": tables[name]["size"], "hash": tables[name]["hash"]}
    registry = {"npm": {"mirrors": [f"{server.rstrip('/')}/{name}/-/"], "files": [entry]}}
    try:
        return download.fetch("npm", registry=registry)[file]
    except download.DownloadError as error:
        raise AssetError(str(error).replace(download.WITHOUT, "Then run the same command again.")) from None


def unpack(name, folder, *, path=ASSETS):
    """Fetch a package and lay the members that are wanted into a folder, under their names in the package."""
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

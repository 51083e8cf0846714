"""Find out who sent what: a folder of notebooks, a folder of students, or a zip as Moodle and Canvas export it."""

import hashlib
import os
import re
import stat
import unicodedata
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .cells import LARGEST_FILE
from .files import replace

MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?")
CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d+)_(?P<file>\d+)_.+")
COPY = re.compile(r" ?\(\d+\)$")
IGNORED = {"__MACOSX", ".ipynb_checkpoints", "Thumbs.db", "desktop.ini"}
MOST_ENTRIES = 20_000
MOST_BYTES = 4 * 2**30


class SubmissionsError(ValueError):
    """There is nothing to grade; the message says what was expected."""


@dataclass(eq=False)
class Submission:
    """What one student sent, and what counts of it."""

    id: str  # as the export names the student; the name itself where there is no number
    name: str
    origin: str  # the file within the folder or zip
    path: Path | None = None  # where its bytes are
    problem: str | None = None  # why there is nothing to run


@dataclass(eq=False)
class _Entry:
    parts: tuple
    when: tuple
    size: int
    open: object
    path: Path | None = None
    refused: str | None = None


def find(where, *, assignment, keep):
    """List the submissions.

    Parameters
    ----------
    where : Path
        A folder or a zip.
    assignment : str
        Its name decides where a student sent several notebooks in a folder.
    keep : Path
        Where notebooks out of a zip are put.

    Returns
    -------
    submissions : list of Submission
        One a student, ordered by name.
    log : list of str

    Raises
    ------
    SubmissionsError
        If there are none.
    """
    where = Path(where)
    if where.is_dir():
        entries, log = _in_folder(where)
    elif where.is_file() and zipfile.is_zipfile(where):
        entries, log = _in_zip(where)
    elif where.exists():
        raise SubmissionsError(f"{where}: expected a folder or a zip, got another file or a broken zip")
    else:
        raise SubmissionsError(f"{where}: expected a folder or a zip with submissions, there is none")
    students = {}
    for entry in entries:
        id, name = _student(entry.parts)
        students.setdefault(id, (name, []))[1].append(entry)
    if where.is_dir():
        for folder in sorted(where.iterdir()):
            if folder.is_dir() and not _ignored(folder.name):
                id, name = _student((folder.name, ""))
                students.setdefault(id, (name, []))
    if not students:
        raise SubmissionsError(
            f"{where}: expected submissions in it, found none (notebooks, or a folder for each student)"
        )
    found = [_choose(id, name, sent, assignment, keep, log) for id, (name, sent) in students.items()]
    return sorted(found, key=lambda one: (one.name.casefold(), one.id)), log


def _ignored(name):
    return name in IGNORED or name.startswith(".")


def _tidy(text):
    return unicodedata.normalize("NFC", text).strip()


def _student(parts):
    """Id and name of who sent a file, from where it lies; a zip of a folder has that folder round everything."""
    top = _tidy(parts[0]) if len(parts) > 1 else ""
    if match := MOODLE.fullmatch(top):
        return match["id"], match["name"]
    if len(parts) > 1:
        return top, top
    if match := CANVAS.fullmatch(_tidy(parts[0])):
        return match["id"], match["name"]
    if (match := MOODLE.match(_tidy(parts[0]))) and "assignsubmission" in parts[0]:
        return match["id"], match["name"]
    name = COPY.sub("", _tidy(PurePosixPath(parts[0]).stem))
    return name, name


def _in_folder(where):
    entries, log = [], []
    inside = where.resolve()
    for folder, folders, files in os.walk(where):
        folders[:] = sorted(name for name in folders if not _ignored(name))
        for name in sorted(files):
            path = Path(folder) / name
            if _ignored(name):
                continue
            entry = _Entry(path.relative_to(where).parts, (0,), 0, None, path)
            if inside not in path.resolve().parents:
                entry.refused = "a link to a file outside of the submissions"
            elif not path.is_file():
                entry.refused = "not an ordinary file"
            else:
                entry.size, entry.when = path.stat().st_size, (path.stat().st_mtime,)
            entries.append(entry)
    return entries, log


def _in_zip(where):
    try:
        archive = zipfile.ZipFile(where)
        infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise SubmissionsError(f"{where}: expected a zip, got one that cannot be read ({error})") from None
    if len(infos) > MOST_ENTRIES:
        raise SubmissionsError(f"{where}: expected {MOST_ENTRIES} files at most, got {len(infos)}")
    entries, log, total = [], [], 0
    for info in infos:
        if info.is_dir():
            continue
        name = info.filename
        if not info.flag_bits & 0x800:  # names of older programs: UTF-8 that does not say so
            try:
                name = name.encode("cp437").decode("utf-8")
            except (UnicodeEncodeError, UnicodeDecodeError):
                name = info.filename
        parts = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
        if not parts or ".." in parts or name.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:", name):
            log.append(f"{name[:200]!r}: left out, the path leaves the folder")
            continue
        if any(_ignored(part) for part in parts):
            continue
        entry = _Entry(parts, info.date_time, info.file_size, lambda info=info: archive.open(info))
        if stat.S_ISLNK(info.external_attr >> 16):
            entry.refused = "a link, not a file"
        elif info.flag_bits & 0x1:
            entry.refused = "encrypted"
        elif parts[-1].lower().endswith(".ipynb"):
            total += info.file_size
            if info.file_size > LARGEST_FILE:
                entry.refused = (
                    f"{info.file_size / 2**20:.0f} MB when unpacked; expected {LARGEST_FILE // 2**20} MB at most"
                )
            elif total > MOST_BYTES:
                entry.refused = f"the zip holds more than {MOST_BYTES // 2**30} GB when unpacked"
        entries.append(entry)
    tops = {entry.parts[0] for entry in entries}
    if len(tops) == 1 and all(len(entry.parts) > 1 for entry in entries):
        below = [entry.parts[1:] for entry in entries]
        top = _tidy(next(iter(tops)))
        if not MOODLE.fullmatch(top) and (len(below) > 1 or len(below[0]) > 1):
            for entry, parts in zip(entries, below, strict=True):  # the folder that was zipped
                entry.parts = parts
    return entries, log


def _choose(id, name, sent, assignment, keep, log):
    """Take of all that a student sent what counts."""
    notebooks = [entry for entry in sent if entry.parts[-1].lower().endswith(".ipynb")]
    if not notebooks:
        others = ", ".join(sorted(entry.parts[-1] for entry in sent)[:5])
        got = f"got {others[:200]}" if others else "got an empty folder"
        origin = "/".join(sent[0].parts) if sent else name
        return Submission(id, name, origin, problem=f"no notebook: expected a file that ends in .ipynb, {got}")
    named = [entry for entry in notebooks if len(entry.parts) > 1 and entry.parts[-1] == f"{assignment}.ipynb"]
    ordered = sorted(named or notebooks, key=lambda entry: (entry.when, _natural("/".join(entry.parts))))
    last = ordered[-1]
    chosen = Submission(id, name, "/".join(last.parts), path=last.path, problem=last.refused)
    if len(notebooks) > 1:
        others = ", ".join(repr("/".join(entry.parts)) for entry in notebooks if entry is not last)
        log.append(f"{name}: sent {len(notebooks)} notebooks; {chosen.origin!r} counts, not {others}"[:1000])
    if chosen.problem is None and last.open is not None:
        _unpack(chosen, last, keep, log)
    return chosen


def _unpack(chosen, entry, keep, log):
    data = b""
    try:
        with entry.open() as file:
            data = file.read(LARGEST_FILE + 1)
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError) as error:
        chosen.problem = f"the zip is damaged here ({str(error)[:100]})"
        return
    except Exception as error:  # zlib.error and other errors of decompressors
        chosen.problem = f"the zip is damaged here ({type(error).__name__})"
        return
    if len(data) > LARGEST_FILE:
        chosen.problem = f"more than {LARGEST_FILE // 2**20} MB when unpacked"
        return
    chosen.path = keep / f"{safe(chosen.id)}.ipynb"
    for copy in replace(keep, chosen.path.name, data):
        log.append(
            f"{chosen.name}: {chosen.path.name} was changed since it was unpacked; it is kept as {keep.name}/{copy}"
        )


def _natural(text):
    """A key that sorts x-2 before x-10, and x before x-1."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text.removesuffix(".ipynb"))
    ]


def safe(text):
    """A file name that every system takes and that tells ids apart."""
    plain = re.sub(r"[^\w.-]+", "_", text).strip("._")[:60]
    if plain and plain == text.casefold():  # some systems do not tell a from A
        return plain
    return f"{plain or 'x'}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"

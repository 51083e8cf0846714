"""What of each student counts: of a folder of notebooks, a folder of students, or a zip as an LMS exports it."""

import functools
import hashlib
import io
import os
import re
import stat
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from .cells import LARGEST_FILE
from .files import replace
from .late import UNKNOWN
from .senders import METADATA, gradescope, is_export, lateness, senders, tidy

IGNORED = {"__MACOSX", ".ipynb_checkpoints", "Thumbs.db", "desktop.ini"}
MOST_ENTRIES = 20_000
MOST_BYTES = 4 * 2**30
MOST_NAMES = 10  # of files that are passed over
DAMAGED = (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError)


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
    notes: list = field(default_factory=list)  # sentences for the student
    late: str = ""  # "yes" where the LMS says so, or a number of days
    marked: bool = False  # whether the LMS marks what is late
    when: object = None  # the time of the file, or the one that the LMS names


@dataclass(eq=False)
class _Entry:
    """A file, or a folder with nothing in it, whose last part is then empty."""

    parts: tuple
    when: tuple
    open: object
    path: Path | None = None
    refused: str | None = None

    @property
    def name(self):
        return "/".join(self.parts)

    @property
    def is_notebook(self):
        return self.parts[-1].lower().endswith(".ipynb")

    def read(self):
        """The bytes; None if they cannot be had, which `refused` then says."""
        if self.refused is None:
            try:
                with self.open() as file:
                    data = file.read(LARGEST_FILE + 1)
                if len(data) <= LARGEST_FILE or self.path:  # whoever reads it will say so
                    return data
                self.refused = f"more than {LARGEST_FILE // 2**20} MB when unpacked"
            except DAMAGED as error:
                self.refused = f"the file cannot be read, or the zip is damaged here ({str(error)[:100]})"
            except Exception as error:  # zlib.error and other errors of decompressors
                self.refused = f"the zip is damaged here ({type(error).__name__})"
        return None


def find(where, *, assignment, keep, likeness=None):
    """List the submissions.

    Parameters
    ----------
    where : Path
        A folder or a zip.
    assignment : str
        Its name; a notebook of that name comes first among equals.
    keep : Path
        Where notebooks out of a zip are put.
    likeness : callable, optional
        From the bytes of a notebook to a number that is 0 for another notebook than the assignment.

    Returns
    -------
    submissions : list of Submission
        One per student, ordered by name.
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

    @functools.cache
    def like(entry):
        """How much a file is the assignment; -1 if it cannot be read."""
        data = entry.read()
        return -1 if data is None else likeness(data) if likeness else 1

    one = _step_inside(entries, tidy(where.resolve().name if where.is_dir() else where.stem), assignment, like)
    listed, times = _listed(entries, log)
    for entry in entries:
        entry.when = times.get(entry.parts[0], entry.when)
    students = {}
    for entry in entries:
        if entry.parts != (METADATA,):
            for id, name in [(one, one)] if one else senders(entry.parts, listed):
                students.setdefault(id, (name, []))[1].append(entry)
    if not students:
        raise SubmissionsError(
            f"{where}: expected submissions in it, found none (notebooks, or a folder for each student)"
        )
    found = [_choose(id, name, sent, assignment, keep, log, like) for id, (name, sent) in students.items()]
    return sorted(found, key=lambda one: (one.name.casefold(), one.id)), log


def _ignored(name):
    return name in IGNORED or name.startswith(".")


def _in_folder(where):
    entries, log = [], []
    inside = where.resolve()
    for folder, folders, files in os.walk(where):
        folders[:] = sorted(name for name in folders if not _ignored(name))
        files = sorted(name for name in files if not _ignored(name))
        if not files and not folders and Path(folder) != where:
            entries.append(_Entry((*Path(folder).relative_to(where).parts, ""), (0,), None, refused="a folder"))
        for name in files:
            path = Path(folder) / name
            entry = _Entry(path.relative_to(where).parts, (0,), functools.partial(path.open, "rb"), path)
            if inside not in path.resolve().parents:
                entry.refused = "a link to a file outside of the submissions"
            elif not path.is_file():
                entry.refused = "not an ordinary file"
            else:
                entry.when = (path.stat().st_mtime,)
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
        entry = _Entry(parts, info.date_time, functools.partial(archive.open, info))
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
    return entries, log


def _in_sent_zip(entry):
    """The notebooks in a zip that a student sent."""
    data = entry.read() if entry.parts[-1].lower().endswith(".zip") else None
    try:
        archive = zipfile.ZipFile(io.BytesIO(data or b""))
        infos = [info for info in archive.infolist()[:MOST_ENTRIES] if info.filename.lower().endswith(".ipynb")]
    except DAMAGED:
        return []
    named = [(info, [part for part in info.filename.replace("\\", "/").split("/") if part]) for info in infos]
    return [
        _Entry((*entry.parts, *parts), entry.when, functools.partial(archive.open, info))
        for info, parts in named
        if not any(_ignored(part) for part in parts)
    ]


def _step_inside(entries, name, assignment, like):
    """Leave out folders that only lie around everything; the name of the student if there is only one."""
    while len({entry.parts[0] for entry in entries}) == 1 and all(len(entry.parts) > 1 for entry in entries):
        if is_export(entries[0].parts):
            return None
        inside, outer = [entry.parts[1:] for entry in entries], tidy(entries[0].parts[0])
        if _is_one_student(entries, inside, assignment, like):
            return outer
        if len(inside) == 1 and len(inside[0]) == 1:
            return None  # a folder for the only student
        for entry, parts in zip(entries, inside, strict=True):
            entry.parts = parts
    return name if _is_one_student(entries, [entry.parts for entry in entries], assignment, like) else None


def _is_one_student(entries, paths, assignment, like):
    """Whether a folder is of one student: a notebook has the assignment's name, and none is it under another name."""
    own = re.compile(rf"{re.escape(assignment)}(?:[\W\d_]|copy|final|new|old|v|version|backup|draft|solved|ipynb)*")
    if not assignment or any(is_export(parts) for parts in paths):
        return False
    pairs = [(entry, parts) for entry, parts in zip(entries, paths, strict=True) if entry.is_notebook]
    if not any(len(parts) == 1 and own.fullmatch(parts[0].casefold()) for _, parts in pairs):
        return False
    ours = [parts for entry, parts in pairs if like(entry) > 0]
    folders = {parts[0] for parts in ours if len(parts) > 1}
    return len(folders) < 2 and all(len(parts) > 1 or own.fullmatch(parts[0].casefold()) for parts in ours)


def _listed(entries, log):
    """Who has sent which folder, and when, as an export of Gradescope says."""
    for entry in entries:
        if entry.parts == (METADATA,):
            try:
                return gradescope(entry.read() or b"")
            except ValueError as error:
                log.append(f"{METADATA}: {error}; students are called as their folders")
    return {}, {}


def _choose(id, name, sent, assignment, keep, log, like):
    """Take of all that a student sent what counts: the assignment, the latest, and say what was passed over."""
    sent = [entry for entry in sent if entry.parts[-1]]
    notebooks = [entry for entry in sent if entry.is_notebook] or [one for entry in sent for one in _in_sent_zip(entry)]
    if not notebooks:
        others = ", ".join(sorted(entry.parts[-1] for entry in sent)[:5])
        got = f"got {others[:200]}" if others else "got an empty folder"
        return Submission(
            id,
            name,
            sent[0].name if sent else name,
            problem=f"no notebook: expected a file that ends in .ipynb, {got}",
        )

    def rank(entry):
        named = len(entry.parts) > 1 and entry.parts[-1] == f"{assignment}.ipynb"
        when = entry.when if isinstance(entry.when, tuple) else ()  # one time for all files of a submission
        return like(entry) if len(notebooks) > 1 else 0, named, when, _natural(entry.name)

    last = max(notebooks, key=rank)
    chosen = Submission(id, name, last.name, path=last.path, problem=last.refused)
    chosen.marked, late = lateness(last.parts)
    chosen.late, chosen.when = UNKNOWN if late else "", last.when
    if len(sent) > 1:
        others = [repr(entry.name) for entry in sent if entry is not last]
        more = f" and {len(others) - MOST_NAMES} more" if len(others) > MOST_NAMES else ""
        chosen.notes.append(f"{chosen.origin!r} counts; passed over: {', '.join(others[:MOST_NAMES])}{more}.")
    if len(notebooks) > 1:
        log.append(f"{name}: sent {len(notebooks)} notebooks; {' '.join(chosen.notes)}"[:1000])
    if chosen.problem is None and chosen.path is None:
        _unpack(chosen, last, keep, log)
    return chosen


def _unpack(chosen, entry, keep, log):
    """Put a notebook of a zip where it can be read."""
    data = entry.read()
    if data is None:
        chosen.problem = entry.refused
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

"""The students of a course as its LMS lists them, and their grades in the table that the LMS takes back."""

import itertools
import re
import unicodedata
from dataclasses import dataclass

from .tables import cell, read_table, write_table

CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")  # what its import needs
NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")
NO_STUDENTS = ("points possible", "student, test", "manual posting")
IDS = ("id", "sis user id", "sis login id", "id number", "sid", "email address", "email", "identifier")
FEWEST = 0.5  # part of the submissions that a roster of their course has
MOST_NAMES = 20  # in one sentence
EXPECTED = (
    "expected the table of grades that Canvas exports (with Student and ID), Moodle's grading worksheet (with "
    "Identifier, Full name and Grade), or a table with the columns name and email"
)


class RosterError(ValueError):
    """The list of students cannot be used; the message says what was expected."""


@dataclass(eq=False)
class Student:
    """One row of a roster: the name, what a submission may be called, and the row itself."""

    name: str
    ids: set
    row: list


@dataclass(eq=False)
class Roster:
    """A roster: which system made it ("canvas", "moodle", or "table"), its columns and its students."""

    kind: str
    header: list
    students: list

    def column(self, name):
        """The number of a column, whatever its case; None if there is none."""
        return next((i for i, one in enumerate(self.header) if one.casefold() == name), None)


def read_roster(data):
    """Read a roster.

    Parameters
    ----------
    data : bytes
        As Canvas or Moodle exports it, or of any table with names and addresses; see `tables.read_table`.

    Returns
    -------
    Roster

    Raises
    ------
    RosterError
        If it is none.
    """
    try:
        header, rows = read_table(data)
    except ValueError as error:
        raise RosterError(f"{EXPECTED}; got no table ({error})") from None
    columns = {name.casefold(): i for i, name in reversed(list(enumerate(header)))}
    kind = "moodle" if {"identifier", "grade"} <= set(columns) else "table"
    kind = "canvas" if {"student", "id"} <= set(columns) else kind
    named = [columns[name] for name in ("student", "full name", "name") if name in columns][:1]
    named = named or [columns[name] for name in ("first name", "last name", "surname") if name in columns]
    if not named or not set(IDS) & set(columns):
        raise RosterError(f"{EXPECTED}; got the columns {', '.join(header)[:200]}")
    students = []
    for row in rows:
        name = " ".join(row[i].strip() for i in named).strip()
        if name and not name.casefold().startswith(NO_STUDENTS):
            texts = [row[columns[key]].strip().casefold() for key in IDS if key in columns]
            ids = {re.sub(r"^\D+ (?=\d+$)", "", text) for text in texts if text}  # Participant 101
            students.append(Student(name, ids | {text.lstrip("0") for text in ids}, row))
    if not students:
        raise RosterError(f"{EXPECTED}; got one without students")
    return Roster(kind, header, students)


def _spellings(name):
    """A name as exports write it: the words in either order, run together, without accents and other signs."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    last, comma, first = plain.partition(",")
    orders = [first + " " + last, last + " " + first] if comma else [plain]
    words = re.findall(r"\w+", plain)
    orders += [" ".join(part) for part in itertools.permutations(words)] if len(words) <= 3 else []
    return {"".join(re.findall(r"[^\W_]+", order)) for order in orders}


def match(roster, submissions):
    """Find the submissions in a roster, by their ids, else by names that only one student has.

    Parameters
    ----------
    roster : Roster
    submissions : list of Submission
        Those that are found get the name that the roster has.

    Returns
    -------
    found : dict of Submission to Student
    said : list of str
        Sentences about who is not found, and who sent nothing.

    Raises
    ------
    RosterError
        If most are not found.
    """
    found, said = {}, []
    by_id, by_name = {}, {}
    for student in roster.students:
        for id in student.ids:
            by_id.setdefault(id, []).append(student)
        for name in _spellings(student.name):
            by_name.setdefault(name, []).append(student)
    for one in submissions:
        students = by_id.get(one.id.casefold()) or by_id.get(one.id.lstrip("0").casefold(), [])
        if not students:
            named = [student for name in _spellings(one.name) for student in by_name.get(name, [])]
            students = list(dict.fromkeys(named))
        if len(students) == 1 and students[0] not in found.values():
            found[one] = students[0]
        elif students:
            said.append(f"{one.name} ({one.origin}): {_several(students)}; enter the points in the LMS by hand")
    missing = [one.name for one in submissions if one not in found]
    if len(found) < FEWEST * len(submissions):
        raise RosterError(
            f"expected a roster of this course, got one with {len(found)} of {len(submissions)} who sent something; "
            f"{_list(missing)} are not in it"
        )
    if missing:
        said.append(f"not in the roster, and so not in the table for the LMS: {_list(missing)}")
    if silent := [student.name for student in roster.students if student not in found.values()]:
        said.append(f"{len(silent)} of {len(roster.students)} in the roster sent nothing: {_list(silent)}")
    for one, student in found.items():
        one.name = student.name
    return found, said


def _several(students):
    """Why a submission cannot be given to one student."""
    if len(students) > 1:
        return f"{len(students)} students of the roster have this name"
    return "another submission is of the same student of the roster"


def _list(names):
    """Some names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def import_table(roster, found, assignment, points, most):
    """The table that the LMS takes back.

    Parameters
    ----------
    roster : Roster
    found : dict of Submission to Student
    assignment : str
        Its name; in Canvas the column whose name begins with it is filled, else a new one.
    points : dict of Submission to float or None
        None where a person has not marked everything.
    most : float
        The points of the whole assignment.

    Returns
    -------
    name : str
        Of the file.
    data : bytes
    said : list of str
    """
    earned, said = {student: points[one] for one, student in found.items()}, []
    header, at = list(roster.header), None
    if roster.kind == "moodle":
        at, limit = roster.column("grade"), roster.column("maximum grade")
    else:
        at = next((i for i, name in enumerate(header) if name.casefold().startswith(assignment.casefold())), None)
    if at is None:
        at, header = len(header), [*header, assignment]
    rows, scaled = [], 0
    for student in roster.students:
        row, value = [*student.row, *[""] * (len(header) - len(student.row))], earned.get(student)
        if roster.kind == "moodle" and limit is not None and value is not None:
            limited = _number(row[limit])
            scaled += limited not in (None, most)
            value = value if limited is None else value * limited / most
        row[at] = "" if value is None else f"{round(value, 2):g}"
        rows.append(row)
    if scaled:
        said.append(f"the LMS's maximum is not {most:g} points: {scaled} grades are scaled to it in its table")
    if roster.kind == "canvas":
        kept = [i for i, name in enumerate(header) if name in CANVAS] + [at]
        possible = {0: "    Points Possible", at: f"{most:g}"}
        header = [header[i] for i in kept]
        rows = [[possible.get(i, "") for i in kept], *([row[i] for i in kept] for row in rows)]
    rows = [[text if NUMBER.fullmatch(text) else cell(text) for text in row] for row in rows]
    name = {"table": "roster"}.get(roster.kind, roster.kind)
    return f"for-{name}.csv", write_table(header, rows), said


def _number(text):
    """The number in a cell; None if there is none."""
    return float(text.replace(",", ".")) if NUMBER.fullmatch(text.strip()) else None

"""The table of grades, and the points that a person enters in it."""

import contextlib
import hashlib
import json
import math
import shutil

from utils.files import free_path

from .tables import cell, read_table, separator, write_table

LAST_TABLE = "results/grades.csv"  # as the grader wrote it, to see what a person changed
READ = "results/words"  # per student and part: the mark, a hash of the words it was given for, and of those now
TEXT_STUB = "YOUR ANSWER HERE"  # what students find where they are to write


def n(value):
    """A number of points, as it is shown."""
    return f"{value:g}"


def counted(count, noun):
    """A number of things, with their noun."""
    return f"{count} {noun}" + "s" * (count != 1)


def total(result):
    """Points of all checks together."""
    return sum(check["points"] for check in result["checks"])


def _rows(path, ids):
    """Rows of a table of grades by the id of the student; None if it cannot be read as one.

    A spreadsheet may have taken the zeros at the beginning of an id.
    """
    try:
        header, rows = read_table(path.read_bytes())
    except ValueError:
        return None
    if "id" not in header:
        return None
    found = [dict(zip(header, row, strict=True)) for row in rows]
    whole = {id.lstrip("0"): id for id in ids if id.lstrip("0") not in ids}
    return {id: {**row, "id": id} for row in found for id in [whole.get(row["id"], row["id"])]}


def entered(out, ids):
    """What a person has entered in grades.csv and in those that were kept: the cells of the latest row per student.

    A row that a filter left out of grades.csv is as it was when the grader wrote it.
    """
    kept = sorted(out.glob("grades-before*.csv"), key=lambda path: (len(path.name), path.name))
    found = {}
    for path in [*kept, *out.glob(LAST_TABLE), *out.glob("grades.csv")]:
        found.update(_rows(path, ids) or {})
    return found


def _same(cell, other):
    """Whether two cells say the same, also where a spreadsheet has written a number in its own way."""
    cell, other = str(cell or "").strip(), str(other or "").strip()
    return cell == other or number(cell) == number(other)


def _changed(rows, last, manual):
    """The columns that a person changed or added, beside those that a person is to fill in."""
    free = {*manual, "with_manual"}
    return sorted(
        {
            column or "without a name"
            for id, row in rows.items()
            for column, cell in row.items()
            if column not in free and id in last and not _same(cell, last[id].get(column))
        }
    )


def keep(out, ids, manual):
    """Keep a table that has something which the new one will not have; gives sentences about it."""
    table, last = out / "grades.csv", out / LAST_TABLE
    if not table.exists():
        return []
    rows, said = _rows(table, ids), []
    gone = [id for id in rows or () if id not in ids]
    changed = _changed(rows, _rows(last, ids) or {}, manual) if rows and last.exists() else []
    copy = free_path(out / "grades-before.csv")
    kept = f"it is kept as {copy.name}"
    if rows is None:
        said.append(f"grades.csv could not be read, and no points were taken from it: {kept}")
    if gone:
        why = f"grades.csv had {len(gone)} who are not among these submissions"
        said.append(f"{why}: {kept}, and points in it are found again")
    if changed:
        why = f"grades.csv had changes in columns that a person is not asked to fill in ({', '.join(changed)})"
        said.append(f"{why}: {kept}, and the new table does not have them")
    if said:
        shutil.copy2(table, copy)
    return said


def marks_of(assignment, submission, before):
    """What a person entered for each part of a submission, empty where nothing."""
    row = before.get(cell(submission.id), {})
    return [(row.get(part.id) or "").strip() for part in assignment.manual]


def number(mark):
    """Points as a person writes them, 3.5 or 3,5; nan if they are no number."""
    try:
        return float(mark.replace(",", "."))
    except ValueError:
        return math.nan


def counts(part, mark):
    """Whether a mark is a number of points that the part can have."""
    return 0 <= number(mark) <= part.points


def written(part, result):
    """Whether there is something that a person can mark."""
    return bool(result["manual"].get(part.id, "").replace(TEXT_STUB, "").strip())


def doubts(assignment, graded):
    """A sentence for each mark that is no number, or more than there are points."""
    for submission, _, marks in graded:
        for part, mark in zip(assignment.manual, marks, strict=True):
            if mark and not counts(part, mark):
                expected = f"expected points from 0 to {n(part.points)} in grades.csv"
                yield f"{submission.name}: {part.id}: {expected}, got {mark}, which does not count"


def read(out, assignment, graded):
    """Which words each mark was given for: those of the run before the mark was entered.

    Parameters
    ----------
    out : Path
    assignment : Assignment
    graded : list of (Submission, dict, list of str)

    Returns
    -------
    changed : dict of str to list of Submission
        By part: whose words changed after points for them were entered.
    record : str
        What the next run has to find in `READ`.
    """
    record, changed = {}, {}
    with contextlib.suppress(OSError, ValueError):
        record = json.loads((out / READ).read_text(encoding="utf-8"))
    for submission, result, marks in graded:
        known = record.setdefault(submission.id, {})
        for part, mark in zip(assignment.manual, marks, strict=True):
            if result.get("failed"):
                continue
            words = " ".join(result["manual"].get(part.id, "").split())
            now = hashlib.sha256(words.encode(errors="replace")).hexdigest()
            before, marked, last = known.get(part.id, (mark, now, now))
            marked = marked if _same(mark, before) else last
            if mark and marked != now:
                changed.setdefault(part.id, []).append(submission)
            known[part.id] = (mark, marked if mark else now, now)
    return changed, json.dumps(record, indent=1)


def unmarked(assignment, graded):
    """A sentence for each part that a person marks and has not marked for all."""
    for number, part in enumerate(assignment.manual):
        answers = [marks[number] for _, result, marks in graded if marks[number] or written(part, result)]
        if missing := answers.count(""):
            yield (
                f"{part.id}: {missing} of {len(answers)} answers are still to be marked by a person: "
                "enter points, a 0 too, in grades.csv and start the same command again"
            )


def with_manual(assignment, result, marks):
    """Points of the machine and of the person together; None as long as one is missing or cannot be.

    Where nothing was written, or nothing could be read, no points of a person are needed. If the grader failed, nobody
    knows the points.
    """
    if result.get("failed"):
        return None
    points = total(result)
    for part, mark in zip(assignment.manual, marks, strict=True):
        if counts(part, mark):
            points += number(mark)
        elif mark or written(part, result):
            return None
    return points


def grades(assignment, graded, before=b""):
    """The table of all students, as CSV, from who they are, what came out, and what a person entered.

    It is written as the table before it was: with semicolons, and commas in numbers, if a spreadsheet saved that so.
    """
    between = separator(before)
    checks, manual = [check.id for check in assignment.checks], [part.id for part in assignment.manual]
    header = ["id", "name", *checks, "total", "of", *manual, "with_manual", "late", "reason"]
    rows = []
    for submission, result, marks in graded:
        points = {check["id"]: check["points"] for check in result["checks"]}
        got = [n(points.get(id, 0.0)) for id in checks] + [n(total(result))]
        got = [""] * len(got) if result.get("failed") else got
        row = [cell(submission.id), cell(submission.name), *got]
        points = with_manual(assignment, result, marks)
        row += [n(assignment.points), *marks, "" if points is None else n(points)]
        if between == ";":
            row[2:] = [points.replace(".", ",") for points in row[2:]]
        rows.append([*row, submission.late, cell(result["reason"])])
    return write_table(header, rows, separator=between)

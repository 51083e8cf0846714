"""The cells of a notebook, read from bytes that may hold anything; locked ones are put back as they were."""

import json
import re
from dataclasses import dataclass, replace

LARGEST_FILE = 100 * 2**20
MOST_CELLS = 1000
HALF = re.compile(r"[\ud800-\udfff]")  # of an emoji, as UTF-16 has it
HIDDEN = re.compile(r"^[ \t]*### BEGIN HIDDEN TESTS.*?^[ \t]*### END HIDDEN TESTS[^\n]*\n?", re.MULTILINE | re.DOTALL)
SOLUTION = re.compile(r"^[ \t]*### BEGIN SOLUTION.*?^[ \t]*### END SOLUTION[^\n]*\n?", re.MULTILINE | re.DOTALL)


def whole(text):
    """A text in which each half of an emoji is replaced, so that it can be written and sent."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if HALF.search(text) else text


class NotebookError(ValueError):
    """Not a notebook, or not the right one; the message is for the student."""


@dataclass(frozen=True)
class Cell:
    """One cell: its kind, its text, and what nbgrader's metadata say about it."""

    kind: str
    source: str
    grade_id: str = ""
    grade: bool = False
    solution: bool = False
    locked: bool = False
    points: float = 0.0


@dataclass(frozen=True, eq=False)
class Notebook:
    """The cells, and the assignment and variant that the notebook itself names, if it does."""

    cells: list[Cell]
    assignment: str | None = None
    variant: str | None = None


def read_notebook(data):
    """Read the cells of a notebook and leave its outputs aside; the reason in a NotebookError is for its author."""
    if len(data) > LARGEST_FILE:
        raise NotebookError(f"the file has {len(data) / 2**20:.0f} MB; expected {LARGEST_FILE // 2**20} MB at most")
    if not data.strip():
        raise NotebookError("the file is empty")
    try:
        content = json.loads(data)  # in UTF-8, UTF-16 or UTF-32; half an emoji is let in
    except UnicodeDecodeError:
        raise NotebookError("not a notebook: the file is not text in UTF-8 or UTF-16") from None
    except (ValueError, RecursionError) as error:
        cut = data.lstrip()[:1] == b"{" and data.rstrip()[-1:] != b"}"
        hint = "; it seems cut off, send it again" if cut else ""
        raise NotebookError(f"not a notebook: the file is not valid JSON ({str(error)[:80]}){hint}") from None
    if not isinstance(content, dict) or "nbformat" not in content:
        raise NotebookError("not a notebook: JSON, but without the fields of one")
    if content.get("nbformat") != 4 or not isinstance(content.get("cells"), list):
        version = str(content.get("nbformat"))[:20]
        raise NotebookError(f"a notebook of format {version}; expected format 4: open it in JupyterLab and save it")
    if len(content["cells"]) > MOST_CELLS:
        raise NotebookError(f"the notebook has {len(content['cells'])} cells; expected {MOST_CELLS} at most")
    about = _dict(_dict(content.get("metadata")).get("homework"))
    named = [whole(str(about[key])[:60]) if key in about else None for key in ("assignment", "variant")]
    return Notebook([_read_cell(cell) for cell in content["cells"] if isinstance(cell, dict)], *named)


def _dict(value):
    return value if isinstance(value, dict) else {}


def _read_cell(cell):
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))  # which joins halves, too
    marks = _dict(_dict(cell.get("metadata")).get("nbgrader"))
    points = marks.get("points")
    return Cell(
        kind=cell["cell_type"] if cell.get("cell_type") in ("code", "markdown") else "raw",
        source=whole(source) if isinstance(source, str) else "",
        grade_id=marks["grade_id"] if isinstance(marks.get("grade_id"), str) else "",
        grade=marks.get("grade") is True,
        solution=marks.get("solution") is True,
        locked=marks.get("locked") is True,
        points=float(points) if isinstance(points, int | float) and 0 <= points < 1e6 else 0.0,
    )


def released(cell):
    """A cell of the source as students get it: without hidden tests and solutions."""
    return replace(cell, source=SOLUTION.sub("", HIDDEN.sub("", cell.source)).rstrip("\n"))


def check_identity(notebook, assignment, variant, cells):
    """Refuse a notebook of another assignment or of another year with a NotebookError."""
    if notebook.assignment not in (None, assignment):
        raise NotebookError(f"a notebook of {notebook.assignment}; expected one of {assignment}")
    if notebook.variant not in (None, variant):
        raise NotebookError(
            f"a notebook of variant {notebook.variant}; expected variant {variant} of {assignment} "
            f"(VARIANT={notebook.variant} grades the others)"
        )
    wanted = {cell.grade_id for cell in cells if cell.solution}
    if wanted and not wanted & {cell.grade_id for cell in notebook.cells}:
        raise NotebookError(f"none of the cells of {assignment} to be filled in is there: another notebook, it seems")


def restore(cells, source):
    """Put every locked cell back once, as it was given out; say what was changed, deleted or there twice."""
    original = {cell.grade_id: released(cell) for cell in source if cell.grade_id}
    locked = {id for id, cell in original.items() if cell.locked and not cell.solution}
    result, notes, seen = [], [], set()
    for cell in cells:
        given = original.get(cell.grade_id)
        if given is None:
            result.append(replace(cell, grade_id="", grade=False, solution=False, locked=False))
            continue
        if cell.grade_id in seen:
            dropped = "the first counts" if cell.grade_id in locked else "both were run"
            notes.append(f"Cell {cell.grade_id!r} is there more than once; {dropped}.")
        if cell.grade_id in locked:
            if cell.grade_id not in seen:
                if cell.source.split() != given.source.split() or cell.kind != given.kind:
                    notes.append(f"Cell {cell.grade_id!r} had been changed and was put back as it was given out.")
                result.append(given)
        else:
            result.append(replace(given, kind=cell.kind, source=cell.source))
        seen.add(cell.grade_id)
    before = None
    for cell in source:
        if cell.grade_id in locked and cell.grade_id not in seen:
            at = next((i for i, old in enumerate(result) if before and old.grade_id == before), -1)
            result.insert(at + 1, original[cell.grade_id])
            notes.append(f"Cell {cell.grade_id!r} had been deleted and was put back.")
        elif cell.grade_id and cell.grade_id not in seen:
            notes.append(f"Cell {cell.grade_id!r}, which was to be filled in, is missing.")
            continue
        before = cell.grade_id or before
    return result, notes

"""The cells of a notebook, read from bytes that may hold anything."""

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
    """One cell: its kind, its text, what nbgrader's metadata say about it, and its own id."""

    kind: str
    source: str
    grade_id: str = ""
    grade: bool = False
    solution: bool = False
    locked: bool = False
    points: float = 0.0
    id: str = ""


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
        id=cell["id"] if isinstance(cell.get("id"), str) else "",
    )


def released(cell):
    """A cell of the source as students get it: without hidden tests and solutions."""
    return replace(cell, source=SOLUTION.sub("", HIDDEN.sub("", cell.source)).rstrip("\n"))

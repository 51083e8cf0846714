"""Which assignment a class has sent, by what its notebooks say of themselves, or else by their cells."""

import collections
import contextlib
import tempfile
from pathlib import Path

from .assignment import SOURCE, AssignmentError
from .cells import NotebookError, read_notebook
from .recognize import recognize
from .submissions import find

ENOUGH = 0.5  # of the cells to be filled in must be there, where nothing names the assignment


def guess_assignment(where, source=SOURCE):
    """Find the assignment that most notebooks are: its name, and how many of how many they are."""
    known = {}
    for path in sorted(Path(source).glob("*/hidden.py")):
        name = path.parent.name
        with contextlib.suppress(OSError, NotebookError):  # which is said when it is graded
            known[name] = read_notebook((path.parent / f"{name}.ipynb").read_bytes()).cells

    def named(data):
        return _named(data, known)

    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        found, _ = find(where, assignment="", keep=Path(folder), likeness=lambda data: int(bool(named(data))))
        names = [named(one.path.read_bytes()) for one in found if one.path is not None and one.problem is None]
    votes = collections.Counter(name for name in names if name).most_common(2)
    if not votes:
        raise AssignmentError(f"{where}: none of {len(names)} notebooks names its assignment; say ASSIGNMENT=hw01")
    if len(votes) > 1 and votes[0][1] == votes[1][1]:
        both = " and ".join(sorted(name for name, _ in votes))
        raise AssignmentError(f"{where}: {both} are there equally often; choose with ASSIGNMENT={votes[0][0]}")
    return *votes[0], len(names)


def _named(data, known):
    """The assignment that a notebook names, else the one of which it has most cells; None if that is not clear."""
    try:
        notebook = read_notebook(data)
    except NotebookError:
        return None
    if notebook.assignment:
        return notebook.assignment
    parts = {}
    for name, source in known.items():
        wanted = {i for i, cell in enumerate(source) if cell.solution and cell.kind == "code"}
        parts[name] = len(wanted & set(recognize(notebook.cells, source))) / max(len(wanted), 1)
    best = max(parts, key=parts.get, default=None)
    return best if best and parts[best] >= ENOUGH else None

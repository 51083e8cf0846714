"""Which assignment a class has sent, by what its notebooks say of themselves."""

import collections
import tempfile
from pathlib import Path

from .assignment import AssignmentError
from .cells import NotebookError, read_notebook
from .submissions import find


def guess_assignment(where):
    """Find the assignment that most notebooks name: its name, and how many of how many name it."""
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        found, _ = find(where, assignment="", keep=Path(folder))
        named = [_named(one.path) for one in found if one.path is not None and one.problem is None]
    votes = collections.Counter(name for name in named if name).most_common(2)
    if not votes:
        raise AssignmentError(f"{where}: none of {len(named)} notebooks names its assignment; say ASSIGNMENT=hw01")
    if len(votes) > 1 and votes[0][1] == votes[1][1]:
        both = " and ".join(sorted(name for name, _ in votes))
        raise AssignmentError(f"{where}: {both} are there equally often; choose with ASSIGNMENT={votes[0][0]}")
    return *votes[0], len(named)


def _named(path):
    try:
        return read_notebook(path.read_bytes()).assignment
    except (NotebookError, OSError):
        return None

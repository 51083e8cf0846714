"""A mistake is paid once: a check is asked again with right versions of the functions before it that are wrong."""

import re

from .cells import Cell
from .recognize import STUBS, bound


def pay_once(judged, questions, cells, source, ask):
    """Give the points of checks that are lost only by what an earlier check has taken points for.

    Parameters
    ----------
    judged : list of dict
        What came of each check: `points`, `said` and more.
    questions : list of Question
        In the same order.
    cells : list of Cell
        Of the submission, restored.
    source : list of Cell
        Of the assignment, with its solutions.
    ask : callable
        From cells and a question to what comes of its check if they are run; it is called with a kernel per check, so
        that a right function is never the answer to its own check.

    Returns
    -------
    list of dict
        As `judged`; `said` names the functions that were replaced, and nothing else that comes from such a run.
    """
    texts = _definitions(cell for cell in cells if cell.kind == "code")
    right = _definitions(cell for cell in source if cell.kind == "code" and cell.solution)
    wrong, result = [], []
    for question, check in zip(questions, judged, strict=True):
        name = question.check.function
        lost, used = not check["points"], _used(name, texts)
        helpers = [other for other in wrong if other in used and other in right and name not in bound(right[other])]
        if lost and helpers and STUBS[0] not in texts.get(name, STUBS[0]):
            cells_of = dict.fromkeys(right[other] for other in helpers)
            again = ask([*cells, *(Cell("code", text, locked=True) for text in cells_of)], question)
            if again["points"]:
                names = " and ".join(helpers)
                check = {**again, "said": f"right with a right version of {names}, which cost its points above"}
        if lost and name and name not in wrong:
            wrong.append(name)
        result.append(check)
    return result


def _definitions(cells):
    """The text of the cell that defines each name, of the last one where there are several."""
    return {name: cell.source for cell in cells for name in bound(cell.source)}


def _used(name, texts):
    """The names that stand in the definition of one, in the definitions of those, and so on."""
    found, new = set(), {name}
    while new:
        words = set().union(*(re.findall(r"\w+", texts.get(one, "")) for one in new))
        found |= new
        new = (words & set(texts)) - found
    return found - {name}

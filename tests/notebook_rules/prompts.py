"""Rules about what a notebook asks the reader: predictions and changes."""

from .base import lesson_rule, text_rule, where
from .parts import introduction, sections

PREDICT, CHANGE, FOLD = "**Predict.**", "**Change this.**", "<details>"
PREDICTIONS, CHANGES = 8, 5
CHANGE_KEYS, EXPECT_KEYS = {"cell", "old", "new", "until", "expect"}, {"after", "number", "within"}


def texts(cells):
    """The cells of text among some, with their positions."""
    return [(place, cell) for place, cell in enumerate(cells) if cell.cell_type == "markdown"]


@lesson_rule
def predictions(nb):
    """A lesson asks at most eight **Predict.**; each has a folded answer of its own after a later code cell."""
    number = sum(cell.source.count(PREDICT) for _, cell in texts(nb.json.cells))
    if number > PREDICTIONS:
        yield f"{number} predictions instead of at most {PREDICTIONS}, in the notebook"
    for cells in [introduction(nb), *(cells for _, cells in sections(nb))]:
        told = [(i, cell) for i, cell in texts(cells) if CHANGE not in cell.source]
        answers = [i for i, cell in told for _ in range(cell.source.count(FOLD))]
        for i in (i for i, cell in told for _ in range(cell.source.count(PREDICT))):
            ran = next((j for j in range(i + 1, len(cells)) if cells[j].cell_type == "code"), len(cells))
            later = [j for j in answers if j > ran]
            if later:
                answers.remove(later[0])
            else:
                yield f"no folded answer ({FOLD}) of its own after a code cell, {where(cells[i])}"


@lesson_rule
def changes(nb):
    """A lesson has at most five **Change this.**, each alone in its cell, with a folded answer and what to expect.

    The metadata ``change`` say it to the test that makes the change: ``cell``, whose text ``old``, which is there once,
    becomes ``new``; ``until``, the last cell that is run again; ``expect``, numbers in its output.
    """
    found = [cell for cell in nb.json.cells if is_change(cell)]
    if len(found) > CHANGES:
        yield f"{len(found)} changes instead of at most {CHANGES}, {where(found[CHANGES])}"
    for cell in found:
        yield from (f"{fault}, {where(cell)}" for fault in faults_of_change(cell, nb.json.cells))


def is_prompt(cell):
    return cell.cell_type == "markdown" and CHANGE in cell.source


def is_change(cell):
    """Whether a cell is a *Change this*, or says that it is."""
    return "change" in cell.metadata or is_prompt(cell)


def faults_of_change(cell, cells):
    """What is wrong with one *Change this*."""
    if not is_prompt(cell) or cell.source.count(CHANGE) != 1:
        yield f"metadata of a change in a cell without {CHANGE}, or several of these in one"
    if FOLD not in cell.source:
        yield f"a change without a folded answer ({FOLD}) in its cell"
    change = cell.metadata.get("change", {})
    if set(change) != CHANGE_KEYS:
        yield f"the metadata change have the keys {sorted(change)} instead of {sorted(CHANGE_KEYS)}"
        return
    places = {each.get("id"): place for place, each in enumerate(cells) if each.cell_type == "code"}
    if change["cell"] not in places or places.get(change["until"], -1) < places[change["cell"]]:
        yield f"no code cell {change['cell']}, or none {change['until']} from there on"
    elif (number := cells[places[change["cell"]]].source.count(change["old"])) != 1:
        yield f"{change['old']!r} is {number} times in cell {change['cell']} instead of once"
    if change["old"] == change["new"]:
        yield "a change that changes nothing"
    if not change["expect"] or any(set(each) != EXPECT_KEYS for each in change["expect"]):
        yield f"expect is not a list of one or more, each with the keys {sorted(EXPECT_KEYS)}"


@text_rule
def folds_are_closed(cell):
    """What is folded by <details> ends in the same cell."""
    if cell.source.count("<details>") != cell.source.count("</details>"):
        yield "<details> without its </details>"

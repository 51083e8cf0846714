"""A submission as it is run: locked cells as they were given out, and every answer in a cell of its kind."""

from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from dataclasses import replace
from textwrap import indent

from .cells import Cell, released
from .recognize import bound, code_of, plain, recognize, typed

OWN = {"grade_id": "", "grade": False, "solution": False, "locked": False, "points": 0.0}


def restore(cells, source):
    """Put every locked cell back once, as it was given out; say what was changed, deleted, moved or there twice.

    Parameters
    ----------
    cells : list of Cell
        Of the submission.
    source : list of Cell
        Of the assignment.

    Returns
    -------
    cells : list of Cell
    notes : list of str
        Sentences for the student.
    """
    original = [released(cell) for cell in source]
    result, notes, seen = [], [], set()
    for cell, number in _joined(cells, recognize(cells, source), original, notes):
        given = None if number is None else original[number]
        if given is None or not given.grade_id:
            result.append(replace(cell, **OWN))
            continue
        name, locked = given.grade_id, given.locked and not given.solution
        if name in seen:
            dropped = "the first counts" if locked else "both were run"
            notes.append(f"Cell {name!r} is there more than once; {dropped}.")
        if not locked:
            result.append(_answer(cell, given, notes))
        elif name not in seen:
            result += _locked(cell, given, notes)
        seen.add(name)
    _put_back(result, original, seen, notes)
    return result, notes


def _joined(cells, known, original, notes):
    """The cells and which ones they are, an answer that is split over several cells as one."""
    result, at = [], None
    for cell, number in zip(cells, known, strict=True):
        given = None if number is None else original[number]
        if cell.kind == "code" and at is not None and number in (None, result[at][1]):
            head = result[at][0]
            if (text := _whole(head.source, cell.source)) is not None:
                result[at] = (replace(head, source=text), result[at][1])
                name = original[result[at][1]].grade_id
                notes.append(f"Cell {name!r}: its answer was split over two cells, which were joined.")
                continue
        if given is not None and given.solution and cell.kind == "code":
            at = len(result)
        result.append((cell, number))
    return result


def _whole(head, rest):
    """Two texts as one, if one of them is no Python by itself and both together are, else None."""
    if _runs(head) and _runs(rest):
        return None
    return next((text for more in (rest, indent(rest, "    ")) if _runs(text := f"{head}\n{more}")), None)


def _runs(text):
    """Whether a text is valid Python."""
    try:
        compile(code_of(text), "<cell>", "exec", flags=PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _answer(cell, given, notes):
    """A cell that was to be filled in, in the kind in which it was given out."""
    text = cell.source
    if cell.kind != given.kind:
        text = code_of(text) if given.kind == "code" else text
        run = "run as code" if given.kind == "code" else "read as words"
        notes.append(f"Cell {given.grade_id!r}: the cell's type had been changed to {cell.kind}; it was {run}.")
    return replace(given, source=text)


def _locked(cell, given, notes):
    """A locked cell as it was given out, and what was typed into it in cells of its own."""
    if plain(cell.source) == plain(given.source) and cell.kind == given.kind:
        return [given]
    parts = typed(cell.source, given.source) if given.kind == "code" else ("", "")
    before, after = ([Cell("code", part)] if part.strip() else [] for part in parts)
    names = sorted(set().union(*(bound(part) for part in parts)))
    more = f" What was typed into it or merged with it ({', '.join(names)[:200]}) was run beside it." if names else ""
    notes.append(f"Cell {given.grade_id!r} had been changed and was put back as it was given out.{more}")
    return [*before, given, *after]


def _put_back(result, original, seen, notes):
    """Put deleted locked cells into their places, and name the answers that are missing."""
    defined, before = set().union(*(bound(cell.source) for cell in result if cell.kind == "code")), None
    for cell in original:
        name = cell.grade_id
        if name and name not in seen and cell.locked and not cell.solution:
            at = next((i for i, old in enumerate(result) if before and old.grade_id == before), -1)
            result.insert(at + 1, cell)
            notes.append(f"Cell {name!r} had been deleted and was put back.")
        elif name and name not in seen:
            names = bound(cell.source) if cell.kind == "code" else set()
            where = "not in its place; what it defines was found in another one"
            where = where if names and names <= defined else "missing"
            notes.append(f"Cell {name!r}, which was to be filled in, is {where}.")
            continue
        before = name or before

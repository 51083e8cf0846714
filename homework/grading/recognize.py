"""Which cell of a submission is which one of the assignment, by what an editor has left of it."""

import ast
import re

from .cells import NotebookError, read_notebook, released

SHORTEST_PART = 15  # of a cell, by which it is recognized in another one
STUBS = ("raise NotImplementedError", "YOUR ANSWER HERE")
BOUND = re.compile(r"^(?:(?:async +)?def|class) +(\w+)|^(\w+) *(?::[^=\n]*)?=(?!=)", re.MULTILINE)
FENCED = re.compile(r"\s*```\w*\n(.*?)\n```\s*", re.DOTALL)


def plain(text):
    """A text without what an editor may change in it: blanks and the ends of lines."""
    return " ".join(text.split())


def code_of(text):
    """Python alone: without a fence around it, and with the commands of IPython as comments."""
    fenced = FENCED.fullmatch(text)
    text = fenced[1] if fenced else text
    return re.sub(r"^([%!])", r"# \1", text, flags=re.MULTILINE)


def bound(text):
    """The names that a text defines at its top level, also where it is no valid code."""
    return {one or other for one, other in BOUND.findall(code_of(text))}


def recognize(cells, source):
    """Find the cells of an assignment in a submission.

    Parameters
    ----------
    cells : list of Cell
        Of the submission.
    source : list of Cell
        Of the assignment.

    Returns
    -------
    list of int or None
        For each cell of the submission which one of the source it is: by its grade id, which several cells may have;
        else by its cell id, its text, the text of a locked cell in it, or a function that it defines.
    """
    given = [released(cell) for cell in source]
    ids = {cell.grade_id: i for i, cell in enumerate(given) if cell.grade_id}
    found = [ids.get(cell.grade_id) for cell in cells]

    def look(what, same):
        """Give what is still free to cells that are not known yet, if something about the two is the same."""
        free = {i: aspect for i, cell in enumerate(given) if i not in found and (aspect := what(cell))}
        for number, cell in enumerate(cells):
            if found[number] is None and (own := what(cell)):
                found[number] = next((i for i, aspect in free.items() if same(own, aspect, given[i])), None)
                free.pop(found[number], None)

    look(lambda cell: cell.id, lambda own, other, one: own == other)
    look(lambda cell: plain(cell.source), lambda own, other, one: own == other)
    look(lambda cell: plain(cell.source), lambda own, other, one: _holds(own, other) and not one.solution)
    look(lambda cell: bound(cell.source), lambda own, other, one: one.solution and one.kind == "code" and own & other)
    for number in range(1, len(cells)):  # words below their question
        i = None if found[number - 1] is None else found[number - 1] + 1
        below = found[number] is None and i not in (None, len(given), *found) and cells[number].kind != "code"
        if below and given[i].solution and given[i].kind != "code":
            found[number] = i
    return found


def _holds(text, part):
    """Whether a text holds another one, which is long enough to be no coincidence."""
    return len(part) >= SHORTEST_PART and part in text


def check_identity(notebook, assignment, variant, source):
    """Refuse a notebook of another assignment or of another year with a NotebookError that says what to do."""
    if notebook.assignment not in (None, assignment):
        raise NotebookError(f"a notebook of {notebook.assignment}; expected one of {assignment}")
    if notebook.variant not in (None, variant):
        raise NotebookError(
            f"a notebook of variant {notebook.variant}; expected variant {variant} of {assignment} "
            f"(VARIANT={notebook.variant} grades the others)"
        )
    wanted = [i for i, cell in enumerate(source) if cell.solution]
    if wanted and not set(wanted) & set(recognize(notebook.cells, source)):
        names = sorted(set().union(*(bound(source[i].source) for i in wanted if source[i].kind == "code")))
        raise NotebookError(
            f"none of the cells of {assignment} to be filled in is there, neither by its id nor by what it defines "
            f"({', '.join(names)[:200]}): another notebook, it seems. Send the one that was given out, "
            f"{assignment}.ipynb, with your answers; if this is it, copy them into a new copy and send that"
        )


def likeness(data, assignment, variant, source):
    """How much a file is the notebook that was asked for: 0 for another one, 1 as it was given out, 2 filled in."""
    try:
        notebook = read_notebook(data)
        check_identity(notebook, assignment, variant, source)
    except NotebookError:
        return 0
    given = {None: ""} | {i: plain(without_stubs(_given(cell))) for i, cell in enumerate(source)}
    pairs = zip(notebook.cells, recognize(notebook.cells, source), strict=True)
    return 2 if any(plain(without_stubs(cell.source)) != given[i] for cell, i in pairs) else 1


def _given(cell):
    """The text of a cell as students get it, without what stands where they write."""
    return "" if cell.solution and cell.kind != "code" else plain(released(cell).source)


def without_stubs(text):
    """A text without what stands where students are to write."""
    for stub in STUBS:
        text = text.replace(stub, "")
    return text.strip()


def typed(text, given):
    """What was typed into a locked cell of code, or merged with it.

    Returns
    -------
    before, after : str
        Statements that define what the locked cell does not, as they stand before its first one, and the others.
    """
    try:
        tree, own = ast.parse(code_of(text)), ast.parse(code_of(given))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        before, _, after = text.partition(given)
        return (before, after) if given in text else ("", "")
    known, locked = {ast.dump(node) for node in own.body}, {name for node in own.body for name in _names(node)}
    before, after, seen = [], [], False
    for node in tree.body:
        if ast.dump(node) in known:
            seen = True
        elif (names := _names(node)) and not names & locked:
            (after if seen else before).append(_text_of(node, re.split(r"\r\n|\r|\n", code_of(text))))
    return "\n\n".join(before), "\n\n".join(after)


def _text_of(node, lines):
    """The lines of a statement, with its decorators."""
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
    return "\n".join(lines[first - 1 : node.end_lineno])


def _names(node):
    """The names that a statement binds, not those inside of functions."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    inside = [part for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
    defined = [part for part in ast.walk(node) if isinstance(part, ast.FunctionDef | ast.ClassDef)]
    return {part.id for part in inside} | {part.name for part in defined}

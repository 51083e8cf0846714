"""What the rules look at, and how a rule is entered."""

import ast
import functools
import re
import symtable
from collections import namedtuple
from pathlib import Path

import nbformat

RULES, LAB_RULES = {}, {}

# The lab of papers tests what several lessons say, and has a number after the last one.
WITHOUT_LESSON = {"09_papers"}

VIEW = "application/vnd.jupyter.widget-view+json"

Notebook = namedtuple("Notebook", "json path claims")


def read(path):
    """Read a notebook as it is: nothing repaired, nothing refused."""
    return nbformat.v4.reads(Path(path).read_text(encoding="utf-8"))


# Entering rules


def rule(function, *kinds):
    """Enter a rule for all notebooks, or for some kinds; ``short_code`` is called "short-code" there."""
    for rules in kinds or (RULES, LAB_RULES):
        rules[function.__name__.replace("_", "-")] = function
    return function


def lesson_rule(function):
    """Enter a rule for lessons."""
    return rule(function, RULES)


def lab_rule(function):
    return rule(function, LAB_RULES)


def of_cells(*kinds):
    """Make a rule of a function that yields what is wrong with one cell of these kinds."""

    def enter(function):
        @functools.wraps(function)
        def broken_by(nb):
            cells = [cell for cell in nb.json.cells if cell.cell_type in kinds]
            return [f"{fault}, {where(cell)}" for cell in cells for fault in function(cell)]

        return rule(broken_by)

    return enter


cell_rule, text_rule, code_rule = of_cells("code", "markdown", "raw"), of_cells("markdown"), of_cells("code")


def output_rule(function):
    """Enter a rule of a function that yields what is wrong with one output."""

    @functools.wraps(function)
    def of_outputs(cell):
        return [fault for output in cell.outputs for fault in function(output)]

    return code_rule(of_outputs)


# What they look at


def is_lab(nb):
    return nb.path.parent.name == "labs"


def rules_of(nb):
    """The rules that a notebook keeps to, by name."""
    return LAB_RULES if is_lab(nb) else RULES


def where(cell):
    return f"cell {cell.get('id', '(no id)')}"


def code_cells(nb):
    return [cell for cell in nb.json.cells if cell.cell_type == "code"]


def texts_of(output):
    """All stored text of an output that a reader sees."""
    texts = [value for mime, value in output.get("data", {}).items() if mime.startswith("text/")]
    return [output.get("text", ""), *texts]


def without_fences(text):
    return re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.S | re.M)


def prose(cell):
    """The words of a markdown cell: no code, no formulas, no tables, no addresses, no HTML tags."""
    text = re.sub(r"\$\$.*?\$\$", " ", without_fences(cell.source), flags=re.S)
    for other in (r"(?<!\\)\$[^$]+(?<!\\)\$", r"^\s*\|.*$", r"(?<=\])\([^)]*\)", r"<[^<>]+>"):
        text = re.sub(other, " ", text, flags=re.M)
    return text


def headings(cell, level):
    text = without_fences(cell.source) if cell.cell_type == "markdown" else ""
    return re.findall(rf"^{'#' * level} +(.*?)\s*$", text, flags=re.M)


def is_magic(line):
    return line.lstrip().startswith(("!", "%"))


def tree(cell):
    """The syntax tree of a code cell; magics and what is not Python at all have none."""
    try:
        return ast.parse("\n".join("" if is_magic(line) else line for line in cell.source.splitlines()))
    except SyntaxError:
        return ast.Module([], [])


def name_of(node):
    """``a.b.c`` of an expression; calls in between are dropped: ``Generator().seed`` is "Generator.seed"."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else name_of(node.func) if isinstance(node, ast.Call) else ""


def calls_in(cell):
    """Every call in a code cell: the dotted name, the node."""
    return [(name_of(node.func), node) for node in ast.walk(tree(cell)) if isinstance(node, ast.Call)]


def imports_in(cell):
    """Every name that a code cell imports, fully dotted."""
    for node in ast.walk(tree(cell)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names_of(cell):
    """The global names that a code cell binds, and those that it looks up, in functions too."""
    table = symtable.symtable(ast.unparse(tree(cell)), where(cell), "exec")
    bound = {name.get_name() for name in table.get_symbols() if name.is_assigned() or name.is_imported()}
    looked_up, tables = {name.get_name() for name in table.get_symbols() if name.is_referenced()}, table.get_children()
    while tables:
        table = tables.pop()
        looked_up |= {name.get_name() for name in table.get_symbols() if name.is_referenced() and name.is_global()}
        tables += table.get_children()
    return bound, looked_up


def tags_of(cell):
    return cell.metadata.get("tags", [])


def folding(cell):
    """Whether the site folds the code of a cell, and whether JupyterLab does."""
    return "hide-input" in tags_of(cell), bool(cell.metadata.get("jupyter", {}).get("source_hidden"))


def is_ignored(cell):
    """Whether nbval does not compare the output of a cell."""
    marked = re.search(r"^\s*# NBVAL_IGNORE_OUTPUT\s*$", cell.source, flags=re.M)
    return bool(marked) or "nbval-ignore-output" in tags_of(cell)


def found_in(text, pattern):
    """Every match of a pattern in a text."""
    return [match.group() for match in re.finditer(pattern, text)]

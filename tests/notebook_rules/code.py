"""Rules about the code of a notebook."""

import ast

from .base import (
    LAB_RULES,
    RULES,
    VIEW,
    calls_in,
    code_cells,
    code_rule,
    folding,
    found_in,
    imports_in,
    is_ignored,
    is_magic,
    lesson_rule,
    names_of,
    rule,
    tree,
    where,
)

CODE_LINES, VISIBLE_LINES, COLUMNS = 25, 15, 80
IGNORED = 2  # outputs of a lesson that are not compared
CLOCKS = {"perf_counter", "perf_counter_ns", "process_time", "monotonic", "time", "timeit"}


def short_code(nb):
    """A code cell has at most 25 lines, comments and blank ones not counted."""
    for cell in code_cells(nb):
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if len(lines) > CODE_LINES:
            yield f"{len(lines)} lines of code instead of at most {CODE_LINES}, {where(cell)}"


rule(short_code, LAB_RULES)


@lesson_rule
def few_visible_lines(nb):
    """A code cell that is not folded has at most 15 lines, blank ones not counted; for the setup see setup-cell."""
    for cell in code_cells(nb)[1:]:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if len(lines) > VISIBLE_LINES and not any(folding(cell)):
            yield f"{len(lines)} visible lines of code instead of at most {VISIBLE_LINES}, {where(cell)}"


def narrow_code(nb):
    """A line of code has at most 80 columns, folded or not."""
    for cell in code_cells(nb):
        wide = [len(line) for line in cell.source.splitlines() if len(line) > COLUMNS]
        yield from (f"a line of {width} columns, {where(cell)}" for width in wide)


rule(narrow_code, RULES, LAB_RULES)


@code_rule
def no_magics(cell):
    """No shell commands and no magics: they install, depend on the system, or are no Python."""
    yield from (repr(line.strip()) for line in cell.source.splitlines() if is_magic(line))


@code_rule
def no_path_edits(cell):
    """Packages are installed, not found by editing sys.path."""
    yield from found_in(cell.source, r"\bsys\.path\b|\bPYTHONPATH\b")


@code_rule
def no_global_seed(cell):
    """Randomness comes from a generator that is handed around, never from the libraries' global ones."""
    modern = ("default_rng", "Generator", "SeedSequence", "PCG64", "Philox")
    draws = ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial")
    for name, call in calls_in(cell):
        parts = name.split(".")
        legacy = parts[:2] in (["np", "random"], ["numpy", "random"]) and len(parts) > 2 and parts[2] not in modern
        seeded = name in ("torch.manual_seed", "torch.seed", "torch.random.manual_seed", "torch.cuda.manual_seed")
        drawn = parts[0] == "torch" and len(parts) == 2 and parts[1] in draws
        if legacy or seeded or parts[0] == "random" or (drawn and not any(k.arg == "generator" for k in call.keywords)):
            yield f"{name} uses a global random state"


@code_rule
def no_network(cell):
    """A notebook needs no network."""
    modules = ("aiohttp", "ftplib", "http", "httpx", "requests", "socket", "ssl", "urllib", "urllib3")
    yield from (f"import of {name}" for name in imports_in(cell) if name.split(".")[0] in modules)
    yield from found_in(cell.source, r"\b(?:https?|ftp)://\S*|\burlopen\b|\burlretrieve\b")


@code_rule
def no_assert(cell):
    """A reader's edit never makes a notebook fail: what must hold is printed or judged, not asserted."""
    if any(isinstance(node, ast.Assert) for node in ast.walk(tree(cell))):
        yield "an assert"


@code_rule
def no_hidden_warnings(cell):
    """Warnings are dealt with, not switched off."""
    switches = ("filterwarnings", "simplefilter", "catch_warnings", "captureWarnings")
    yield from (name for name, _ in calls_in(cell) if name.split(".")[-1] in switches)


@code_rule
def figures_are_shown(cell):
    """A cell that makes a figure shows it by plotting.show(fig, alt=…)."""
    names = {name for name, _ in calls_in(cell)}
    if names & {"plt.subplots", "plt.figure", "plt.subplot_mosaic", "plt.plot"} and "plotting.show" not in names:
        yield "a figure without plotting.show"
    yield from sorted(names & {"plt.show", "fig.show", "fig.savefig", "plt.savefig"})


@code_rule
def no_output_widgets(cell):
    """Explorers draw into an Image: what interact and Output show is neither stored nor comparable."""
    widgets = ("interact", "interactive", "interact_manual", "interactive_output", "Output")
    names = [*imports_in(cell), *(name for name, _ in calls_in(cell))]
    yield from (name for name in names if name.split(".")[-1] in widgets)


@code_rule
def explorers_are_not_compared(cell):
    """A cell with an explorer has nbval ignore its output: the ids of widgets are new in every run."""
    if not is_ignored(cell):
        explorers = [name for name, _ in calls_in(cell) if name.endswith("_explorer")]
        yield from (f"{name} without NBVAL_IGNORE_OUTPUT" for name in explorers)


@lesson_rule
def ignored_outputs(nb):
    """NBVAL_IGNORE_OUTPUT is for widgets and clocks only, and stands in at most two cells of a lesson."""
    ignored = [cell for cell in code_cells(nb) if is_ignored(cell)]
    if len(ignored) > IGNORED:
        yield f"{len(ignored)} outputs that are not compared instead of at most {IGNORED}, {where(ignored[IGNORED])}"
    for cell in ignored:
        names = [name for name, _ in calls_in(cell)]
        widget = any(name.endswith("_explorer") for name in names) or any(VIEW in data for data in shown_by(cell))
        if not widget and not any(name.split(".")[-1] in CLOCKS for name in names):
            yield f"NBVAL_IGNORE_OUTPUT, and neither a widget nor a clock, {where(cell)}"


def shown_by(cell):
    """The data of each output of a cell."""
    return [output.get("data", {}) for output in cell.outputs]


@lesson_rule
def folded_figures(nb):
    """The code of a figure is folded, other code is not, and no visible cell needs a name from a folded one.

    Folded is what has the tag hide-input, for the site, and jupyter.source_hidden, for JupyterLab; its output is a
    picture or a widget.
    """
    bound = {}  # names that a folded cell has bound last
    for cell in code_cells(nb):
        marks, (binds, looked_up) = folding(cell), names_of(cell)
        draws = any(name == "plotting.show" for name, _ in calls_in(cell))
        if (draws or any(marks)) and not all(marks):
            yield f"a figure or a folded cell without both hide-input and jupyter.source_hidden, {where(cell)}"
        if any(marks):
            if not any(mime == VIEW or mime.startswith("image/") for data in shown_by(cell) for mime in data):
                yield f"folded, and its output is neither a picture nor a widget, {where(cell)}"
            bound |= dict.fromkeys(binds, cell)
            continue
        for name in sorted(looked_up & set(bound) - binds):
            yield f"{name} comes from the folded cell {bound[name].id}, {where(cell)}"
        bound = {name: cell for name, cell in bound.items() if name not in binds}

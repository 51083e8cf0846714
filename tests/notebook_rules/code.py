"""Rules about the code of a notebook."""

import ast
import re

from .base import calls_in, code_cells, code_rule, found_in, imports_in, is_magic, lab_rule, tree, where

CODE_LINES, COLUMNS = 25, 80


@code_rule
def short_code(cell):
    """A code cell has at most 25 lines, comments and blank ones not counted."""
    lines = [line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) > CODE_LINES:
        yield f"{len(lines)} lines of code instead of at most {CODE_LINES}"


@lab_rule
def narrow_code(nb):
    """A line of code has at most 80 columns."""
    for cell in code_cells(nb):
        wide = [len(line) for line in cell.source.splitlines() if len(line) > COLUMNS]
        yield from (f"a line of {width} columns, {where(cell)}" for width in wide)


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
    marked = re.search(r"^\s*# NBVAL_IGNORE_OUTPUT\s*$", cell.source, flags=re.M)
    if not marked and "nbval-ignore-output" not in cell.metadata.get("tags", []):
        explorers = [name for name, _ in calls_in(cell) if name.endswith("_explorer")]
        yield from (f"{name} without NBVAL_IGNORE_OUTPUT" for name in explorers)

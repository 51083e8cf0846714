"""What every notebook of the course keeps to, as far as it can be seen without running it.

A rule takes an open `Notebook` and yields what is wrong and where; its docstring is what it asks for. By name, `RULES`
has those for lessons and `LAB_RULES` those for labs; tests/bad_notebooks.py has for each rule a notebook that breaks it
and no other. `misplaced` is about the places and names of all notebooks.
"""

import ast
import re
from collections import Counter, namedtuple
from pathlib import Path

import nbformat
from nbformat.validator import iter_validate

ROOT = Path(__file__).resolve().parents[1]
SETUP_LINES, CODE_LINES, PROSE_WORDS, BYTES = 18, 25, 150, 3_000_000
COLUMNS = 80
GOALS = "You will be able to"
CLOSING = ["Recap", "In practice", "Further reading"]
PLAN = ["question", "arms", "controls", "rates", "budgets", "what would refute it"]
RULES, LAB_RULES = {}, {}
# The lessons that still have no lab. The list only gets shorter.
WITHOUT_LAB = (
    "03_batch_normalization_by_hand",
    "04_batch_normalization_in_conv_nets",
    "05_why_batch_normalization_works",
    "06_weight_initialization",
    "07_normalization_family",
    "08_normalization_in_practice",
)

Notebook = namedtuple("Notebook", "json path claims")


def rule(function, *kinds):
    """Enter a rule in RULES and LAB_RULES, or in some; ``short_code`` is called "short-code" there."""
    for rules in kinds or (RULES, LAB_RULES):
        rules[function.__name__.replace("_", "-")] = function
    return function


def lesson_rule(function):
    return rule(function, RULES)


def lab_rule(function):
    return rule(function, LAB_RULES)


def read(path):
    """Read a notebook as it is: nothing repaired, nothing refused."""
    return nbformat.v4.reads(Path(path).read_text(encoding="utf-8"))


def violations(notebook, path, claims):
    """All that is wrong with a notebook.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
    path : path-like
        Its file, for the name and the size.
    claims : dict of str to utils.evidence.Claim

    Returns
    -------
    list of str
        Each "rule-name: what, where".
    """
    opened = Notebook(notebook, Path(path), claims)
    rules = LAB_RULES if is_lab(opened) else RULES
    return [f"{name}: {fault}" for name, broken_by in rules.items() for fault in broken_by(opened)]


def misplaced(folder, without_lab=WITHOUT_LAB):
    """All that is wrong with the places and names of the notebooks in a folder, each as a sentence.

    Parameters
    ----------
    folder : Path
        With lessons, and labs in its folder ``labs``.
    without_lab : collection of str
        Stems of the lessons that still have no lab.

    Returns
    -------
    list of str
    """
    lessons, labs = ({path.stem for path in place.glob("*.ipynb")} for place in (folder, folder / "labs"))
    found = [path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    others = [path.relative_to(folder) for path in found if path.parent not in (folder, folder / "labs")]
    return [
        *(f"{path}: expected lessons here and labs in labs/, got another folder: move it" for path in sorted(others)),
        *(
            f"labs/{stem}: expected the name of a lesson, got one that no lesson has: rename the lab after its lesson"
            for stem in sorted(labs - lessons)
        ),
        *(
            f"{stem}: expected the lab labs/{stem}.ipynb, got none: write it; if this is a lab itself, move it to labs/"
            for stem in sorted(lessons - labs - {*without_lab})
        ),
        *(
            f"WITHOUT_LAB: expected lessons that have no lab, got {stem}, which has one: remove it from the list"
            for stem in sorted(labs & {*without_lab})
        ),
        *(
            f"WITHOUT_LAB: expected names of lessons, got {stem}, which is none: remove it from the list"
            for stem in sorted({*without_lab} - lessons)
        ),
    ]


# What the rules look at


def is_lab(nb):
    return nb.path.parent.name == "labs"


def where(cell):
    return f"cell {cell.get('id', '(no id)')}"


def cells_of(nb, kind):
    return [cell for cell in nb.json.cells if cell.cell_type == kind]


def code_cells(nb):
    return cells_of(nb, "code")


def outputs_of(nb):
    """Every stored output with its cell."""
    return [(cell, output) for cell in code_cells(nb) for output in cell.outputs]


def output_texts(nb):
    """All stored text that a reader sees, with its cell."""
    for cell, output in outputs_of(nb):
        texts = [output.get("text", "")]
        texts += [value for mime, value in output.get("data", {}).items() if mime.startswith("text/")]
        yield from ((cell, text) for text in texts)


def without_fences(text):
    return re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.S | re.M)


def prose(cell):
    """The words of a markdown cell: no code, no formulas, no tables, no addresses, no HTML tags."""
    text = re.sub(r"\$\$.*?\$\$", " ", without_fences(cell.source), flags=re.S)
    for other in (r"(?<!\\)\$[^$]+(?<!\\)\$", r"^\s*\|.*$", r"(?<=\])\([^)]*\)", r"<[^<>]+>"):
        text = re.sub(other, " ", text, flags=re.M)
    return text


def bullets(cell):
    return re.findall(r"^\s*[-*] ", cell.source, flags=re.M)


def headings(cell, level):
    text = without_fences(cell.source) if cell.cell_type == "markdown" else ""
    return re.findall(rf"^{'#' * level} +(.*?)\s*$", text, flags=re.M)


def sections(nb):
    """The H2s, each with its cells."""
    found = []
    for cell in nb.json.cells:
        titles = headings(cell, 2)
        found += [(title, [cell]) for title in titles]
        if found and not titles:
            found[-1][1].append(cell)
    return found


def numbered_sections(nb):
    return [(title, cells) for title, cells in sections(nb) if re.match(r"\d", title)]


def introduction(nb):
    """The cells before the first H2."""
    first = next((cells[0] for _, cells in sections(nb)), None)
    return nb.json.cells if first is None else nb.json.cells[: nb.json.cells.index(first)]


def tables(cell):
    """The tables of a markdown cell: each the list of its rows, each the list of its columns, the head first."""
    text = without_fences(cell.source) if cell.cell_type == "markdown" else ""
    for lines in re.findall(r"(?:^\|.*\|[ \t]*(?:\n|\Z))+", text, flags=re.M):
        rows = [[entry.strip() for entry in line.strip().strip("|").split("|")] for line in lines.splitlines()]
        yield rows[:1] + rows[2:]


def plans(nb):
    """The tables of a lab's plan, each with its cell."""
    return [(cell, table) for cell in nb.json.cells for table in tables(cell) if table[0] == PLAN]


def goals_cell(nb):
    return next((cell for cell in cells_of(nb, "markdown") if GOALS in cell.source), None)


def magics(cell):
    return [line.strip() for line in cell.source.splitlines() if line.lstrip().startswith(("!", "%"))]


def tree(cell):
    """The syntax tree of a code cell; magics and what is not Python at all have none."""
    lines = ["" if line.lstrip().startswith(("!", "%")) else line for line in cell.source.splitlines()]
    try:
        return ast.parse("\n".join(lines))
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


def calls(nb):
    """Every call in the code: its cell, the dotted name, the node."""
    return [(cell, name, node) for cell in code_cells(nb) for name, node in calls_in(cell)]


def imports(nb):
    """Every imported name, fully dotted, with its cell."""
    for cell in code_cells(nb):
        for node in ast.walk(tree(cell)):
            if isinstance(node, ast.Import):
                yield from ((cell, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((cell, f"{node.module}.{alias.name}") for alias in node.names)


def found_in_code(nb, pattern):
    """Where a pattern occurs in code cells, comments and strings included."""
    for cell in code_cells(nb):
        yield from ((cell, match.group()) for match in re.finditer(pattern, cell.source))


# The file


@rule
def valid_format(nb):
    """The file is a valid notebook of format 4.5, and no two cells share an id."""
    version = (nb.json.get("nbformat"), nb.json.get("nbformat_minor"))
    if version != (4, 5):
        yield f"format {version[0]}.{version[1]} instead of 4.5, in the file"
    else:
        yield from (f"{error.message[:200]}, in the file" for error in iter_validate(nb.json))
    ids = Counter(cell.get("id") for cell in nb.json.cells)
    yield from (f"{number} cells have the id {name}, in the file" for name, number in ids.items() if number > 1)


@rule
def readable_ids(nb):
    """Cell ids are words, as in ``skew-figure``, so that they stay and mean something in a diff."""
    for cell in nb.json.cells:
        if not re.fullmatch(r"[a-z]+(-([a-z]+|[0-9]+))*", cell.get("id", "no-id")):
            yield f"an id that is not lower-case words with hyphens, {where(cell)}"


@rule
def one_kernelspec(nb):
    """The metadata are those that ``make notebooks`` writes: one kernelspec, no version of the language."""
    module = ast.parse((ROOT / "tools" / "notebooks.py").read_text(encoding="utf-8"))
    (wanted,) = (
        ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and name_of(node.targets[0]) == "KERNELSPEC"
    )
    if nb.json.metadata.get("kernelspec") != wanted:
        yield f"kernelspec {nb.json.metadata.get('kernelspec')} instead of {wanted}, in the metadata"
    if nb.json.metadata.get("language_info") != {"name": "python"}:
        yield "language_info is more or less than the name python, in the metadata"
    for name in sorted(set(nb.json.metadata) - {"kernelspec", "language_info", "widgets"}):
        yield f"unexpected {name}, in the metadata"


@rule
def no_timestamps(nb):
    """No cell records when it ran."""
    for cell in nb.json.cells:
        if "execution" in cell.metadata:
            yield f"times of execution in the metadata, {where(cell)}"


@rule
def small_file(nb):
    """The file has less than 3 MB."""
    size = nb.path.stat().st_size
    if size >= BYTES:
        yield f"{size / 1e6:.1f} MB, in the file"


# The parts


@rule
def one_title(nb):
    """There is one H1, and the first cell begins with it."""
    titles = [(cell, title) for cell in nb.json.cells for title in headings(cell, 1)]
    if len(titles) != 1:
        yield f"{len(titles)} headings of the first level instead of one, in the notebook"
    if not nb.json.cells or not nb.json.cells[0].source.startswith("# "):
        yield "the notebook does not begin with its title, in the first cell"


@lesson_rule
def goals(nb):
    """Before the first section a cell says "You will be able to", with three to five bullets."""
    cell = goals_cell(nb)
    if cell is None:
        yield f'no cell says "{GOALS}", in the notebook'
        return
    if not 3 <= len(bullets(cell)) <= 5:
        yield f"{len(bullets(cell))} goals instead of three to five, {where(cell)}"
    if any(cell in cells for _, cells in sections(nb)):
        yield f"the goals stand after the first section's heading, {where(cell)}"


@lesson_rule
def time_and_prior(nb):
    """Beside the goals stand the minutes that it takes and what to know before."""
    cell = goals_cell(nb)
    if cell is None:
        return  # that is for the rule about goals
    if not re.search(r"\*\*Minutes\*\*:? *\d+", cell.source):
        yield f"the **Minutes** are not named, {where(cell)}"
    if not re.search(r"\*\*Before you start\*\*:? *\w", cell.source):
        yield f"nothing says what to know **Before you start**, {where(cell)}"


@lesson_rule
def closing_sections(nb):
    """The last H2s are Recap, In practice and Further reading."""
    titles = [title for title, _ in sections(nb)]
    if titles[-3:] != CLOSING:
        yield f"the last headings are {titles[-3:]} instead of {CLOSING}, in the notebook"


@rule
def section_numbers(nb):
    """The other H2s are numbered 1, 2, 3 …"""
    titles = [title for title, _ in sections(nb)]
    numbers = [re.match(r"(\d+)\. ", title) for title in titles if title not in CLOSING]
    if not numbers or [number and int(number[1]) for number in numbers] != list(range(1, len(numbers) + 1)):
        yield f"the sections are not numbered from 1 on: {titles}, in the notebook"


@lesson_rule
def recap_mirrors_goals(nb):
    """The Recap has a bullet for each goal."""
    recap = next((cells for title, cells in sections(nb) if title == "Recap"), None)
    cell = goals_cell(nb)
    if recap is None or cell is None:
        return  # those are for other rules
    points = sum(len(bullets(part)) for part in recap)
    if points != len(bullets(cell)):
        yield f"{points} bullets for {len(bullets(cell))} goals, {where(recap[0])}"


@rule
def setup_cell(nb):
    """The first code cell is the setup: at most 18 lines, and it calls runtime.configure()."""
    first = next(iter(code_cells(nb)), None)
    if first is None:
        yield "no code, in the notebook"
        return
    lines = [line for line in first.source.splitlines() if line.strip()]
    if len(lines) > SETUP_LINES:
        yield f"{len(lines)} lines of setup instead of at most {SETUP_LINES}, {where(first)}"
    if not any(name == "runtime.configure" for name, _ in calls_in(first)):
        yield f"the first code cell does not call runtime.configure(), {where(first)}"


@lesson_rule
def predict_and_answer(nb):
    """Every section asks **Predict.**, and after a later code cell there is a folded answer."""
    for title, cells in numbered_sections(nb):
        asked = [i for i, cell in enumerate(cells) if cell.cell_type == "markdown" and "**Predict.**" in cell.source]
        if not asked:
            yield f"no **Predict.** in section {title!r}, {where(cells[0])}"
        for i in asked:
            ran = next((j for j in range(i + 1, len(cells)) if cells[j].cell_type == "code"), len(cells))
            if not any("<details>" in cell.source for cell in cells[ran:] if cell.cell_type == "markdown"):
                yield f"no folded answer (<details>) after a code cell, {where(cells[i])}"


@rule
def folds_are_closed(nb):
    """What is folded by <details> ends in the same cell."""
    for cell in cells_of(nb, "markdown"):
        if cell.source.count("<details>") != cell.source.count("</details>"):
            yield f"<details> without its </details>, {where(cell)}"


@lesson_rule
def change_this(nb):
    """Every section has something to try: **Change this.**"""
    for title, cells in numbered_sections(nb):
        if not any("**Change this.**" in cell.source for cell in cells if cell.cell_type == "markdown"):
            yield f"no **Change this.** in section {title!r}, {where(cells[0])}"


@rule
def core_or_optional(nb):
    """Every code cell is tagged either core or optional."""
    for cell in code_cells(nb):
        tags = [tag for tag in cell.metadata.get("tags", []) if tag in ("core", "optional")]
        if len(tags) != 1:
            yield f"tagged {tags or 'neither'} instead of one of core and optional, {where(cell)}"


@lesson_rule
def no_plan(nb):
    """A table of arms and controls belongs to a lab, in notebooks/labs."""
    for cell, _ in plans(nb):
        yield f"the plan of a lab in the folder of the lessons, {where(cell)}"


@lab_rule
def lesson_link(nb):
    """Before the first section a lab links its lesson, which has the same name."""
    if not any(f"](../{nb.path.name})" in cell.source for cell in introduction(nb)):
        yield f"no link to ../{nb.path.name} before the first section, in the notebook"


@lab_rule
def plan_table(nb):
    """Before the first section a table says: question, arms, controls, rates, budgets, what would refute it."""
    found = [table for cell, table in plans(nb) if cell in introduction(nb)]
    if not found:
        yield f"no table with the columns {', '.join(PLAN)} before the first section, in the notebook"
    for _, *rows in found:
        if not rows or any(len(row) != len(PLAN) or not all(row) for row in rows):
            yield "a plan without a row, or with an empty place in one, in the notebook"


# The text


@rule
def short_prose(nb):
    """A cell of text has at most 150 words; formulas, code blocks and tables do not count."""
    for cell in cells_of(nb, "markdown"):
        words = [word for word in prose(cell).split() if re.search(r"\w", word)]
        if len(words) > PROSE_WORDS:
            yield f"{len(words)} words instead of at most {PROSE_WORDS}, {where(cell)}"


# What looks like a measured number and is none: that of a lecture or a version, and the level of an interval.
CITED = (
    r"(?i)\b(arXiv|chapters?|figures?|lectures?|numbers?|Python|PyTorch|sections?|version)[ :]+\d[\d.]*( and \d[\d.]*)?"
    r"|\b\d+ ?% (confidence )?interval"
)
MEASURED = r"(?<![\w.])\d+(\.\d+)?( ?%| ?×(?! ?\d)| ?(seconds?|ms)\b| s\b)|(?<![\w.])\d+\.\d+"


@rule
def no_measured_numbers(nb):
    """Text states no number that a run could change: no decimals, percentages, factors or seconds.

    A number that is given, not measured, stands in a formula or in code; that of a section or lecture is no number.
    """
    for cell in cells_of(nb, "markdown"):
        text = re.sub(r"`[^`]*`", " ", prose(cell).replace("\N{NO-BREAK SPACE}", " "))
        for match in re.finditer(MEASURED, re.sub(CITED, " ", text)):
            yield f"the number {match.group()!r} in text, {where(cell)}"


@rule
def text_between_code(nb):
    """No code cell follows another one without a sentence between them."""
    for before, cell in zip(nb.json.cells, nb.json.cells[1:], strict=False):
        if before.cell_type == cell.cell_type == "code":
            yield f"a code cell directly after another, {where(cell)}"


@rule
def nothing_to_do(nb):
    """Nothing is left to be done."""
    for cell in nb.json.cells:
        for mark in re.findall(r"\b(?:TODO|FIXME|XXX)\b", cell.source):
            yield f"{mark}, {where(cell)}"


# The code


@rule
def short_code(nb):
    """A code cell has at most 25 lines, comments and blank ones not counted."""
    for cell in code_cells(nb):
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if len(lines) > CODE_LINES:
            yield f"{len(lines)} lines of code instead of at most {CODE_LINES}, {where(cell)}"


@lab_rule
def narrow_code(nb):
    """A line of code has at most 80 columns."""
    for cell in code_cells(nb):
        for line in cell.source.splitlines():
            if len(line) > COLUMNS:
                yield f"a line of {len(line)} columns, {where(cell)}"


@rule
def no_magics(nb):
    """No shell commands and no magics: they install, depend on the system, or are no Python."""
    for cell in code_cells(nb):
        yield from (f"{line!r}, {where(cell)}" for line in magics(cell))


@rule
def no_path_edits(nb):
    """Packages are installed, not found by editing sys.path."""
    for cell, text in found_in_code(nb, r"\bsys\.path\b|\bPYTHONPATH\b"):
        yield f"{text}, {where(cell)}"


@rule
def no_global_seed(nb):
    """Randomness comes from a generator that is handed around, never from the libraries' global ones."""
    modern = ("default_rng", "Generator", "SeedSequence", "PCG64", "Philox")
    draws = ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial")
    for cell, name, call in calls(nb):
        parts = name.split(".")
        legacy = parts[:2] in (["np", "random"], ["numpy", "random"]) and len(parts) > 2 and parts[2] not in modern
        seeded = name in ("torch.manual_seed", "torch.seed", "torch.random.manual_seed", "torch.cuda.manual_seed")
        drawn = parts[0] == "torch" and len(parts) == 2 and parts[1] in draws
        if legacy or seeded or parts[0] == "random" or (drawn and not any(k.arg == "generator" for k in call.keywords)):
            yield f"{name} uses a global random state, {where(cell)}"


@rule
def no_network(nb):
    """A notebook needs no network."""
    modules = ("aiohttp", "ftplib", "http", "httpx", "requests", "socket", "ssl", "urllib", "urllib3")
    for cell, name in imports(nb):
        if name.split(".")[0] in modules:
            yield f"import of {name}, {where(cell)}"
    for cell, text in found_in_code(nb, r"\b(?:https?|ftp)://\S*|\burlopen\b|\burlretrieve\b"):
        yield f"{text}, {where(cell)}"


@rule
def no_absolute_paths(nb):
    """Neither source nor outputs name a folder of one computer."""
    roots = "|".join(("home", "Users", "tmp", "work", "root", "mnt", "private", "var", "opt"))
    pattern = rf"(?<![\w.:/-])/(?:{roots})/|\bfile://|(?<![\w\\])[A-Z]:\\\\?\w"
    texts = [(cell, prose(cell) if cell.cell_type == "markdown" else cell.source) for cell in nb.json.cells]
    for cell, text in [*texts, *output_texts(nb)]:
        yield from (f"{match.group()!r}, {where(cell)}" for match in re.finditer(pattern, text))


@rule
def no_assert(nb):
    """A reader's edit never makes a notebook fail: what must hold is printed or judged, not asserted."""
    for cell in code_cells(nb):
        if any(isinstance(node, ast.Assert) for node in ast.walk(tree(cell))):
            yield f"an assert, {where(cell)}"


@rule
def no_hidden_warnings(nb):
    """Warnings are dealt with, not switched off."""
    for cell, name, _ in calls(nb):
        if name.split(".")[-1] in ("filterwarnings", "simplefilter", "catch_warnings", "captureWarnings"):
            yield f"{name}, {where(cell)}"


@rule
def figures_are_shown(nb):
    """A cell that makes a figure shows it by plotting.show(fig, alt=…)."""
    for cell in code_cells(nb):
        names = {name for name, _ in calls_in(cell)}
        if names & {"plt.subplots", "plt.figure", "plt.subplot_mosaic", "plt.plot"} and "plotting.show" not in names:
            yield f"a figure without plotting.show, {where(cell)}"
        yield from (f"{name}, {where(cell)}" for name in names & {"plt.show", "fig.show", "fig.savefig", "plt.savefig"})


@rule
def no_output_widgets(nb):
    """Explorers draw into an Image: what interact and Output show is neither stored nor comparable."""
    widgets = ("interact", "interactive", "interact_manual", "interactive_output", "Output")
    called = [(cell, name) for cell, name, _ in calls(nb)]
    for cell, name in [*imports(nb), *called]:
        if name.split(".")[-1] in widgets:
            yield f"{name}, {where(cell)}"


@rule
def explorers_are_not_compared(nb):
    """A cell with an explorer has nbval ignore its output: the ids of widgets are new in every run."""
    for cell, name, _ in calls(nb):
        marked = re.search(r"^\s*# NBVAL_IGNORE_OUTPUT\s*$", cell.source, flags=re.M)
        if name.endswith("_explorer") and not marked and "nbval-ignore-output" not in cell.metadata.get("tags", []):
            yield f"{name} without NBVAL_IGNORE_OUTPUT, {where(cell)}"


# The outputs


@rule
def executed_in_order(nb):
    """All code cells have been executed, from top to bottom, in a fresh kernel."""
    for number, cell in enumerate(code_cells(nb), start=1):
        if cell.execution_count != number:
            yield f"executed as number {cell.execution_count} instead of {number}, {where(cell)}"
            return  # all that follow are wrong too


@rule
def no_stored_errors(nb):
    """No cell has failed."""
    for cell, output in outputs_of(nb):
        if output.output_type == "error":
            yield f"{output.get('ename')}, {where(cell)}"


@rule
def no_stderr(nb):
    """No cell has written to stderr: a warning is dealt with, progress bars are for scripts."""
    for cell, output in outputs_of(nb):
        if output.get("name") == "stderr":
            yield f"{output.text[:80]!r}, {where(cell)}"


@rule
def alt_text(nb):
    """Every picture has a text for those who cannot see it, in the metadata and as text/plain."""
    for cell, output in outputs_of(nb):
        for mime in output.get("data", {}):
            if mime.startswith("image/"):
                alt = output.metadata.get(mime, {}).get("alt", "")
                if not alt.strip() or alt != output.data.get("text/plain"):
                    yield f"a picture whose alt text is missing or not its text/plain, {where(cell)}"


@rule
def no_addresses(nb):
    """No output shows where in memory an object lies."""
    for cell, text in output_texts(nb):
        yield from (f"{match.group()!r}, {where(cell)}" for match in re.finditer(r"\bat 0x[0-9A-Fa-f]+", text))


import claim_rules  # noqa: E402, F401  # it needs what is above, and enters the rules about claims

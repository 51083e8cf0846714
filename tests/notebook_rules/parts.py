"""Rules about the file, and about the parts of which a notebook consists."""

import ast
import re
from collections import Counter
from pathlib import Path

from minutes import optional_minutes
from nbformat.validator import iter_validate

from .base import (
    RULES,
    WITHOUT_LESSON,
    calls_in,
    cell_rule,
    code_cells,
    code_rule,
    headings,
    lab_rule,
    lesson_rule,
    name_of,
    rule,
    rules_of,
    tags_of,
    where,
    without_fences,
)
from .code import VISIBLE_LINES

ROOT = Path(__file__).resolve().parents[2]
SETUP_LINES, BYTES = 18, 3_000_000
OPTIONAL_SECTIONS, OPTIONAL_MINUTES = 3, 20
GOALS = "You will be able to"
PLAN = ["question", "arms", "controls", "rates", "budgets", "what would refute it"]
CLOSING = ["Recap", "In practice", "Further reading"]


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


@cell_rule
def readable_ids(cell):
    """Cell ids are words, as in ``skew-figure``, so that they stay and mean something in a diff."""
    if not re.fullmatch(r"[a-z]+(-([a-z]+|[0-9]+))*", cell.get("id", "no-id")):
        yield "an id that is not lower-case words with hyphens"


@rule
def one_kernelspec(nb):
    """The metadata are those that ``make notebooks`` writes: one kernelspec, no version of the language."""
    module = ast.parse((ROOT / "tools" / "notebooks.py").read_text(encoding="utf-8"))
    (wanted,) = (
        ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and name_of(node.targets[0]) == "KERNELSPEC"
    )
    metadata = nb.json.metadata
    if metadata.get("kernelspec") != wanted:
        yield f"kernelspec {metadata.get('kernelspec')} instead of {wanted}, in the metadata"
    if metadata.get("language_info") != {"name": "python"}:
        yield "language_info is more or less than the name python, in the metadata"
    for name in sorted(set(metadata) - {"kernelspec", "language_info", "widgets"}):
        yield f"unexpected {name}, in the metadata"


@cell_rule
def no_timestamps(cell):
    """No cell records when it ran."""
    if "execution" in cell.metadata:
        yield "times of execution in the metadata"


@rule
def small_file(nb):
    """The file has less than 3 MB."""
    size = nb.path.stat().st_size
    if size >= BYTES:
        yield f"{size / 1e6:.1f} MB, in the file"


# The parts


def bullets(cell):
    return re.findall(r"^\s*[-*] ", cell.source, flags=re.M)


def paths_of(cell):
    """Which of the tags core and optional a cell has."""
    return [tag for tag in tags_of(cell) if tag in ("core", "optional")]


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
    return next((cell for cell in nb.json.cells if cell.cell_type == "markdown" and GOALS in cell.source), None)


@rule
def one_title(nb):
    """There is one H1, and the first cell begins with it."""
    titles = [title for cell in nb.json.cells for title in headings(cell, 1)]
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
    recap, cell = dict(sections(nb)).get("Recap"), goals_cell(nb)
    if recap is None or cell is None:
        return  # those are for other rules
    points = sum(len(bullets(part)) for part in recap)
    if points != len(bullets(cell)):
        yield f"{points} bullets for {len(bullets(cell))} goals, {where(recap[0])}"


@rule
def setup_cell(nb):
    """The first code cell is the setup: at most 15 lines (labs: 18), and it calls runtime.configure()."""
    first = next(iter(code_cells(nb)), None)
    if first is None:
        yield "no code, in the notebook"
        return
    most = VISIBLE_LINES if rules_of(nb) is RULES else SETUP_LINES
    lines = [line for line in first.source.splitlines() if line.strip()]
    if len(lines) > most:
        yield f"{len(lines)} lines of setup instead of at most {most}, {where(first)}"
    if not any(name == "runtime.configure" for name, _ in calls_in(first)):
        yield f"the first code cell does not call runtime.configure(), {where(first)}"


@code_rule
def core_or_optional(cell):
    """Every code cell is tagged either core or optional."""
    tags = paths_of(cell)
    if len(tags) != 1:
        yield f"tagged {tags or 'neither'} instead of one of core and optional"


@lesson_rule
def optional_sections(nb):
    """All cells of a section, text too, are core, or all are optional: at most three sections, 20 minutes together."""
    optional = [cells for _, cells in sections(nb) if paths_of(cells[0]) == ["optional"]]
    for cells in [introduction(nb), *(cells for _, cells in sections(nb))]:
        wanted = ["optional"] if cells in optional else ["core"]
        for cell in cells:
            if paths_of(cell) != wanted and (cell.cell_type != "code" or len(paths_of(cell)) == 1):
                yield f"tagged {paths_of(cell) or 'neither'} instead of {wanted[0]} like its section, {where(cell)}"
    if len(optional) > OPTIONAL_SECTIONS:
        yield f"{len(optional)} optional sections instead of at most {OPTIONAL_SECTIONS}, in the notebook"
    if (taken := optional_minutes(nb.json)) > OPTIONAL_MINUTES:
        yield f"optional sections of {taken} minutes instead of at most {OPTIONAL_MINUTES}, in the notebook"


@lesson_rule
def no_plan(nb):
    """A table of arms and controls belongs to a lab, in notebooks/labs."""
    for cell, _ in plans(nb):
        yield f"the plan of a lab in the folder of the lessons, {where(cell)}"


@lab_rule
def lesson_link(nb):
    """Before the first section a lab links its lesson, which has the same name, or if it has none, some lesson."""
    wanted = r"\d\d_\w+\.ipynb" if nb.path.stem in WITHOUT_LESSON else re.escape(nb.path.name)
    if not any(re.search(rf"\]\(\.\./{wanted}\)", cell.source) for cell in introduction(nb)):
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

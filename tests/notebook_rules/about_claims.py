"""Rules about claims: what a notebook declares, shows and has stored of them."""

import ast
import builtins

from .base import calls_in, code_cells, is_lab, lab_rule, lesson_rule, name_of, names_of, rule, tree, where

CLAIM = "application/vnd.course.claim+json"
RECORDS = 4  # in a lesson
DEFINE = "define"


# What the rules look at


def belongs(claim, nb):
    """Whether claims.toml says that this lab judges a claim."""
    return nb.path.stem == claim.lab


def called(nb, *names):
    """The claims that calls of these names are about, each with its cell and the name; None if it is not written out.

    A name such as ``.card`` stands for the method of anything.
    """
    for cell in code_cells(nb):
        for name, call in calls_in(cell):
            if name.endswith(tuple(each for each in names if each[0] == ".")) or name in names:
                first = call.args[0] if call.args else None
                yield cell, first.value if isinstance(first, ast.Constant) else None, name


def shown(nb):
    """The claims whose cards the code shows, with their cells."""
    return [(cell, name) for cell, name, _ in called(nb, ".card", "evidence.recorded")]


def declarations(cell):
    """The keys of what each experiment of a cell says of its claims, as syntax; None for what is no dictionary."""
    for node in ast.walk(tree(cell)):
        for call in getattr(node, "decorator_list", []):
            if isinstance(call, ast.Call) and name_of(call) == "evidence.experiment":
                given = [*call.args, *(each.value for each in call.keywords if each.arg == "claims"), None][0]
                yield given.keys if isinstance(given, ast.Dict) else [None]


def declared(nb):
    """The claims that declared experiments read, with their cells; None for one that is not written out."""
    for cell in code_cells(nb):
        for keys in declarations(cell):
            yield from ((cell, key.value if isinstance(key, ast.Constant) else None) for key in keys)


# The rules


@rule
def claims_are_known(nb):
    """What is judged or shown stands in claims.toml, in a lab with its name; a lesson may show any record."""
    for cell, name in [*shown(nb), *declared(nb)]:
        if name is None:
            yield f"a claim whose id is not written out, {where(cell)}"
        elif name not in nb.claims:
            yield f"claim {name} is not in claims.toml, {where(cell)}"
        elif is_lab(nb) and not belongs(nb.claims[name], nb):
            yield f"claim {name} belongs to lab {nb.claims[name].lab}, {where(cell)}"


@rule
def claims_are_stored(nb):
    """Every claim that is shown has one stored card."""
    outputs = [output for cell in code_cells(nb) for output in cell.outputs]
    cards = [output.data[CLAIM] for output in outputs if CLAIM in output.get("data", {})]
    for cell, name in shown(nb):
        stored = sum(card.get("id") == name for card in cards)
        if name in nb.claims and stored != 1:
            yield f"claim {name} has {stored} stored cards instead of one, {where(cell)}"


@lab_rule
def claims_are_judged(nb):
    """Every claim that names this lab is judged in it, by an experiment that is declared."""
    found = {name for _, name in declared(nb)}
    for name, claim in nb.claims.items():
        if belongs(claim, nb) and name not in found:
            yield f"claim {name} is not judged, in the notebook"


@lesson_rule
def lessons_show_records(nb):
    """A lesson runs no experiment: of a claim it shows what is recorded, by evidence.recorded."""
    for cell, _, name in called(nb, ".card", "evidence.live", "evidence.experiment"):
        yield f"{name} in a lesson, {where(cell)}"


@lesson_rule
def few_records(nb):
    """A lesson shows at most four records."""
    cells = [cell for cell, _, _ in called(nb, "evidence.recorded")]
    if len(cells) > RECORDS:
        yield f"{len(cells)} records instead of at most {RECORDS}, {where(cells[RECORDS])}"


@lab_rule
def experiments_are_defined(nb):
    """A cell that declares an experiment, and every cell that it needs, has the tag define, for the long run."""
    tagged, others = [], []
    for cell in code_cells(nb):
        (tagged if DEFINE in cell.metadata.get("tags", []) else others).append(cell)
    for cell in others:
        if list(declarations(cell)):
            yield f"an experiment without the tag {DEFINE}, {where(cell)}"
    there = set(dir(builtins)).union(*(names_of(cell)[0] for cell in tagged))
    for cell in tagged:
        missing = names_of(cell)[1] - there
        for other in others:
            for name in sorted(missing & names_of(other)[0]):
                yield f"{name} comes from cell {other.id}, which has no tag {DEFINE}, {where(cell)}"


@lab_rule
def experiments_are_shown(nb):
    """Every claim that a declared experiment reads has a card in the same lab."""
    cards = {name for _, name in shown(nb)}
    for cell, name in declared(nb):
        if name in nb.claims and name not in cards:
            yield f"no card of claim {name}, which an experiment reads, {where(cell)}"

"""Rules about claims: what a notebook declares, shows and has stored of them."""

import ast
import builtins

from .base import calls_in, code_cells, is_lab, lab_rule, lesson_rule, name_of, names_of, rule, tree, where

CLAIM = "application/vnd.course.claim+json"
RECORDS = 4  # in a lesson
DEFINE = "define"


# What the rules look at


def belongs(claim, nb):
    """Whether claims.toml says that this notebook judges a claim."""
    return nb.path.stem == (claim.lab if is_lab(nb) else claim.notebook)


def called(nb, *names):
    """The claims that calls of these names are about, each with its cell and the name; None if it is not written out.

    A name such as ``.card`` stands for the method of anything.
    """
    for cell in code_cells(nb):
        for name, call in calls_in(cell):
            if name.endswith(tuple(each for each in names if each[0] == ".")) or name in names:
                first = call.args[0] if call.args else None
                yield cell, first.value if isinstance(first, ast.Constant) else None, name


def judged(nb):
    """The claims of edition 1 that the code judges, with their cells."""
    return [(cell, name) for cell, name, _ in called(nb, "evidence.judge", "evidence.check")]


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
    """What is judged or shown stands in claims.toml, with this notebook's name: that of a lab under lab.

    A lesson may show the record of any claim.
    """
    for cell, name in [*judged(nb), *shown(nb), *declared(nb)]:
        if name is None:
            yield f"a claim whose id is not written out, {where(cell)}"
        elif name not in nb.claims:
            yield f"claim {name} is not in claims.toml, {where(cell)}"
        elif not belongs(nb.claims[name], nb) and (is_lab(nb) or nb.claims[name].edition == 1):
            lab, lesson = nb.claims[name].lab, nb.claims[name].notebook
            yield f"claim {name} belongs to {f'lab {lab}' if lab else f'notebook {lesson}'}, {where(cell)}"


@rule
def claims_are_stored(nb):
    """Every claim that is judged or shown has one stored card; in edition 1 with the recorded verdict, but of times."""
    outputs = [output for cell in code_cells(nb) for output in cell.outputs]
    cards = [output.data[CLAIM] for output in outputs if CLAIM in output.get("data", {})]
    for cell, name in judged(nb):
        own = [card for card in cards if card.get("id") == name]
        verdicts = [card.get("verdict") for card in own]
        if name not in nb.claims or nb.claims[name].edition == 2 or (len(own) == 1 and own[0].get("timed")):
            continue
        if verdicts != [nb.claims[name].verdict]:
            yield f"claim {name} stored as {verdicts}, recorded as {nb.claims[name].verdict!r}, {where(cell)}"
    for cell, name in shown(nb):
        stored = sum(card.get("id") == name and card.get("edition") == 2 for card in cards)
        if name in nb.claims and stored != 1:
            yield f"claim {name} has {stored} stored cards of edition 2 instead of one, {where(cell)}"


@rule
def claims_are_judged(nb):
    """Every claim that names this notebook is judged in it: in edition 2 by an experiment that is declared."""
    old, new = ({name for _, name in found(nb)} for found in (judged, declared))
    for name, claim in nb.claims.items():
        if belongs(claim, nb) and name not in (old if claim.edition == 1 else new):
            yield f"claim {name} is not judged, in the notebook"


@lesson_rule
def lessons_show_records(nb):
    """A lesson runs no experiment: of a claim of edition 2 it shows what is recorded, by evidence.recorded."""
    for cell, _, name in called(nb, ".card", "evidence.live", "evidence.experiment"):
        yield f"{name} in a lesson, {where(cell)}"
    for cell, name in judged(nb):
        if name in nb.claims and nb.claims[name].edition == 2:
            yield f"claim {name} is judged by the rule of edition 1, {where(cell)}"


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

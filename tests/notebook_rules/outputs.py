"""Rules about what a run has stored in a notebook, and about the claims that it judges."""

import ast

from .base import calls_in, cell_rule, code_cells, found_in, is_lab, output_rule, prose, rule, texts_of, where

CLAIM = "application/vnd.course.claim+json"


@cell_rule
def no_absolute_paths(cell):
    """Neither source nor outputs name a folder of one computer."""
    roots = "|".join(("home", "Users", "tmp", "work", "root", "mnt", "private", "var", "opt"))
    pattern = rf"(?<![\w.:/-])/(?:{roots})/|\bfile://|(?<![\w\\])[A-Z]:\\\\?\w"
    stored = [text for output in cell.get("outputs", []) for text in texts_of(output)]
    for text in [prose(cell) if cell.cell_type == "markdown" else cell.source, *stored]:
        yield from map(repr, found_in(text, pattern))


@rule
def executed_in_order(nb):
    """All code cells have been executed, from top to bottom, in a fresh kernel."""
    for number, cell in enumerate(code_cells(nb), start=1):
        if cell.execution_count != number:
            yield f"executed as number {cell.execution_count} instead of {number}, {where(cell)}"
            return  # all that follow are wrong too


@output_rule
def no_stored_errors(output):
    """No cell has failed."""
    if output.output_type == "error":
        yield f"{output.get('ename')}"


@output_rule
def no_stderr(output):
    """No cell has written to stderr: a warning is dealt with, progress bars are for scripts."""
    if output.get("name") == "stderr":
        yield f"{output.text[:80]!r}"


@output_rule
def alt_text(output):
    """Every picture has a text for those who cannot see it, in the metadata and as text/plain."""
    for mime in output.get("data", {}):
        if mime.startswith("image/"):
            alt = output.metadata.get(mime, {}).get("alt", "")
            if not alt.strip() or alt != output.data.get("text/plain"):
                yield "a picture whose alt text is missing or not its text/plain"


@output_rule
def no_addresses(output):
    """No output shows where in memory an object lies."""
    for text in texts_of(output):
        yield from map(repr, found_in(text, r"\bat 0x[0-9A-Fa-f]+"))


# The claims


def belongs(claim, nb):
    """Whether claims.toml says that this notebook judges a claim."""
    return nb.path.stem == (claim.lab if is_lab(nb) else claim.notebook)


def judged(nb):
    """The claims that the code judges, with their cells; None for an id that is not written out."""
    for cell in code_cells(nb):
        for name, call in calls_in(cell):
            if name in ("evidence.judge", "evidence.check"):
                first = call.args[0] if call.args else None
                yield cell, first.value if isinstance(first, ast.Constant) else None


@rule
def claims_are_known(nb):
    """What is judged stands in claims.toml, with this notebook's name: that of a lab under lab."""
    for cell, name in judged(nb):
        if name is None:
            yield f"a claim whose id is not written out, {where(cell)}"
        elif name not in nb.claims:
            yield f"claim {name} is not in claims.toml, {where(cell)}"
        elif not belongs(nb.claims[name], nb):
            lab, lesson = nb.claims[name].lab, nb.claims[name].notebook
            yield f"claim {name} belongs to {f'lab {lab}' if lab else f'notebook {lesson}'}, {where(cell)}"


@rule
def claims_are_stored(nb):
    """Every claim that is judged has one stored card, with the recorded verdict unless a clock was used."""
    outputs = [output for cell in code_cells(nb) for output in cell.outputs]
    cards = [output.data[CLAIM] for output in outputs if CLAIM in output.get("data", {})]
    for cell, name in judged(nb):
        own = [card for card in cards if card.get("id") == name]
        verdicts = [card.get("verdict") for card in own]
        if len(own) == 1 and own[0].get("timed"):
            continue
        if name in nb.claims and verdicts != [nb.claims[name].verdict]:
            yield f"claim {name} stored as {verdicts}, recorded as {nb.claims[name].verdict!r}, {where(cell)}"


@rule
def claims_are_judged(nb):
    """Every claim that names this notebook is judged in it."""
    names = {name for _, name in judged(nb)}
    for name, claim in nb.claims.items():
        if belongs(claim, nb) and name not in names:
            yield f"claim {name} is not judged, in the notebook"

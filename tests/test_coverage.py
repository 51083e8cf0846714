"""Rows of data/coverage.toml point at sections and cells that exist and were executed, and at claims judged there.

A row is taught in a lesson. Where a lab judges its claims, its section links the lab, and its cells may be there.
"""

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import covered
import pytest
from covered import Row
from notebook_rules import headings, read

from utils import evidence

ROOT = Path(__file__).resolve().parents[1]
LESSONS, LABS = (
    {path.stem: path for path in sorted((ROOT / place).glob("[0-9]*.ipynb"))}
    for place in ("notebooks", "notebooks/labs")
)
SOURCES, ROWS = covered.load()
# Every row that there ever was, so that none is lost: those whose claims are judged, and those that are only taught.
KEPT = {
    "judged": """
    shape-stays thousand-times-smaller-rate training-statistics first-convolution helps-deep-network
    smaller-rate-slower stochastic-zigzag rate-per-weight much-faster
    trouble-without-gamma-beta learned-statistics at-worst-no-worse sigmoid-saturation middle-epochs
    higher-rates inception-figure clock before-or-after-activation first-layer batch-size
    dropout-and-decay shuffling mixed-ensembles sigmoid-on-digits percentiles shift-and-noise
    shift-on-gradients landscape serendipitous-training serendipitous-smoothing preserves-gradients
    where-gradients-explode less-exploding very-deep noise-regularizes any-activation zero-weights
    sixteen-matrices layer-saturates relu-zeros xavier-limits he pytorch-default
    adam-good-guess forgives-scale cnn-group-norm batch-renorm weight-norm
    cnn-instance-norm rnn-layer-norm one-more-pass centred-inputs
    """,
    "taught": """
    z-scores iris-sepal-length ages-and-incomes factor-x-in-gradient large-and-small-numbers images-subtract-mean
    bowl-before-and-after perpendicular-steps changing-landscape zigzag one-rate-one-scale deep-not-convex
    whole-batch hidden-inputs covariate-shift why-batches one-large-network forward gamma-one-beta-zero reverse
    backward-by-node backward-closed gradients-through-statistics moving-average deviations-or-variances
    beta-replaces-bias batch-of-one each-dense-layer tanh-saturation ideal-statistics bias-false pytorch-modules
    pytorch-momentum each-convolution not-on-standardized falling-rate xavier he-fans weights-and-biases nn-init
    bias-variance per-channel before-or-after-pooling local-response-norm family-axes spectral-norm
    deterministic-evaluation constant-weights full-rank
    spectral-penalty gan-spectral-norm weight-decay thirty-layers broadcasting
    """,
}
JUDGED, TAUGHT = (ids.split() for ids in KEPT.values())


@cache
def sections(stem):
    """The headings and the cells of every section, by the id of the cell with its heading, in order."""
    found, current = {}, None
    for cell in read(LESSONS[stem]).cells:
        if titles := headings(cell, 2):
            current, found[cell.id] = cell.id, (titles, {})
        if current is not None:
            found[current][1][cell.id] = cell
    return found


@cache
def cells_of_lab(stem):
    """The cells of a lab by their ids; none where there is no lab."""
    return {cell.id: cell for cell in read(LABS[stem]).cells} if stem in LABS else {}


def cards(cells):
    """The ids of the claims whose cards are in the outputs of these cells."""
    return {
        card["id"]
        for cell in cells
        for output in cell.get("outputs", [])
        if (card := output.get("data", {}).get(evidence.MIME))
    }


def was_executed(cell):
    return cell.execution_count is not None and not any(out.output_type == "error" for out in cell.outputs)


def faults_of_claims(row):
    """All that is wrong with the claims of one row; a lesson only shows the record of a claim."""
    judged = cards(cells_of_lab(row.lab).values())
    for name in row.claims:
        if name not in evidence.claims():
            yield f"data/claims.toml has no claim {name}: correct the row"
        elif name not in judged:
            where = f"the lab {row.lab}" if row.lab else "a lesson"
            yield f"{name} is not judged in {where}: name the lab that has its card"


def faults(row):
    """All that is wrong with one row, each as a sentence."""
    return [f"{row.id}: {fault}" for fault in (*faults_of_speakers(row), *faults_of_places(row))]


def faults_of_speakers(row):
    said = {name for source in SOURCES.values() for each in source.statements for name in each.rows}
    if row.ours == (row.id in said):
        yield ("a lecture says it: remove ours" if row.ours else "no lecture says it: name it under [said]")


def faults_of_places(row):
    for kind, stem, known in (("lesson", row.lesson, LESSONS), ("lab", row.lab, LABS)):
        if stem not in known and (stem or kind == "lesson"):
            yield f"there is no {kind} {stem}: correct the key {kind}"
            return
    if row.section not in sections(row.lesson):
        yield f"{row.lesson} has no cell {row.section} with a heading of level 2: correct the section"
        return
    titles, cells = sections(row.lesson)[row.section]
    of_lab = cells_of_lab(row.lab)
    if titles != [row.heading]:
        yield f"{row.section} is headed {titles}, the row says {row.heading}: correct the heading"
    if row.lab and not any(f"](labs/{row.lab}.ipynb" in cell.source for cell in cells.values()):
        yield f"the section {row.section} does not link the lab {row.lab}: link it, or correct the row"
    for name, times in Counter(row.cells).items():
        cell = (cells | of_lab).get(name)
        if times > 1:
            yield f"{name} is named twice: remove one"
        if cell is None:
            yield f"neither {row.section} nor a lab of the row has a cell {name}: name the cell that shows it now"
        elif cell.cell_type != "code":
            yield f"{name} is no code cell: name the cell that executes it"
        elif not was_executed(cell):
            yield f"{name} was not executed: run make notebooks"
        if name in cells and name in of_lab:
            yield f"the section {row.section} and the lab both have a cell {name}: rename one of the cells"
    if row.id in JUDGED and not row.claims:
        yield "it is judged, and the row names no claim: add the key claims"
    yield from faults_of_claims(row)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_points_at_a_section_executed_cells_and_judged_claims(row):
    assert faults(row) == []
    assert row.cells


def test_no_row_is_lost():
    lost = {*JUDGED, *TAUGHT} - {row.id for row in ROWS}
    assert not lost, f"data/coverage.toml has lost {sorted(lost)}: bring the rows back"


def test_every_row_is_kept_here():
    new = [row.id for row in ROWS if row.id not in (*JUDGED, *TAUGHT)]
    assert not new, f"new rows {new}: add their ids to JUDGED or TAUGHT, so that they cannot be lost"
    assert [row.id for row in ROWS if row.claims and row.id in TAUGHT] == [], "a row with claims belongs to JUDGED"


@pytest.mark.parametrize("key", ["id", "what"])
def test_no_row_stands_twice(key):
    assert [value for value, times in Counter(getattr(row, key) for row in ROWS).items() if times > 1] == []


def test_every_notebook_is_covered():
    assert {row.lesson for row in ROWS} == {*LESSONS}


def test_rows_stand_in_the_order_of_the_course():
    places = [(row.lesson, list(sections(row.lesson)).index(row.section)) for row in ROWS]
    assert places == sorted(places)


def code_of(row, cells):
    """The ids of the code cells among these that the row does not name."""
    return [name for name, cell in cells.items() if cell.cell_type == "code" and name not in row.cells]


# A row that is only taught, and one with a lab whose cells are those of the lab.
GOOD = next(row for row in ROWS if not row.claims and len(row.cells) > 1)
IN_LAB = next(row for row in ROWS if row.lab and {*row.cells} <= {*cells_of_lab(row.lab)})
FIRST, *_ = GOOD.cells
ELSEWHERE, *_ = (
    code[0]
    for name, (_, cells) in sections(GOOD.lesson).items()
    if name != GOOD.section and (code := code_of(GOOD, cells))
)
UNLINKED = next(
    name
    for name, (_, cells) in sections(IN_LAB.lesson).items()
    if not any(f"](labs/{IN_LAB.lab}.ipynb" in cell.source for cell in cells.values())
)
OF_OTHER_LAB = next(name for name, claim in evidence.claims().items() if claim.lab != IN_LAB.lab)
WRONG = {
    "nobody-says-it": (GOOD, {"id": "unheard"}, "no lecture says it"),
    "ours-though-a-lecture-says-it": (GOOD, {"ours": True}, "remove ours"),
    "no-such-lesson": (GOOD, {"lesson": "99_nothing"}, "no lesson 99_nothing"),
    "no-such-section": (GOOD, {"section": "hundred-question"}, "no cell hundred-question with a heading"),
    "not-a-heading": (GOOD, {"section": FIRST}, f"no cell {FIRST} with a heading"),
    "another-heading": (GOOD, {"heading": "1. Draw the box"}, "the row says 1. Draw the box"),
    "a-cell-of-another-section": (GOOD, {"cells": (ELSEWHERE,)}, f"has a cell {ELSEWHERE}"),
    "a-cell-that-is-gone": (GOOD, {"cells": ("three-gone", FIRST)}, "has a cell three-gone"),
    "a-text-cell": (GOOD, {"cells": (GOOD.section, FIRST)}, f"{GOOD.section} is no code cell"),
    "a-cell-twice": (GOOD, {"cells": (FIRST, FIRST)}, f"{FIRST} is named twice"),
    "judged-without-a-claim": (GOOD, {"id": JUDGED[0]}, "names no claim"),
    "a-claim-that-is-gone": (GOOD, {"claims": ("no-such-claim",)}, "has no claim no-such-claim"),
    "a-claim-judged-in-a-lab-that-is-not-named": (GOOD, {"claims": IN_LAB.claims[:1]}, "is not judged in a lesson"),
    "no-such-lab": (IN_LAB, {"lab": "99_x"}, "there is no lab 99_x: correct"),
    "a-section-that-does-not-link-the-lab": (
        IN_LAB,
        {"section": UNLINKED, "heading": sections(IN_LAB.lesson)[UNLINKED][0][0]},
        f"the section {UNLINKED} does not link the lab",
    ),
    "a-cell-of-the-lab-that-is-gone": (IN_LAB, {"cells": ("steps-gone",)}, "of the row has a cell steps-gone"),
    "a-claim-judged-in-another-lab": (IN_LAB, {"claims": (OF_OTHER_LAB,)}, f"{OF_OTHER_LAB} is not judged in the lab"),
}


def test_a_right_row_has_no_faults():
    assert faults(GOOD) == faults(IN_LAB) == []


def test_a_record_that_a_lesson_shows_judges_nothing():
    shown = [
        (row, name, claim)
        for row in ROWS
        for name, cell in sections(row.lesson)[row.section][1].items()
        for claim in cards([cell])
    ]
    row, cell, claim = shown[0]
    (found,) = faults(replace(row, lab="", cells=(cell,), claims=(claim,)))
    assert "is not judged in a lesson" in found


def test_a_cell_of_the_section_and_of_the_lab_is_a_fault(monkeypatch):
    cell = cells_of_lab(IN_LAB.lab)[IN_LAB.cells[0]]
    monkeypatch.setitem(sections(IN_LAB.lesson)[IN_LAB.section][1], IN_LAB.cells[0], cell)
    (found,) = faults(IN_LAB)
    assert f"both have a cell {IN_LAB.cells[0]}: rename" in found


@pytest.mark.parametrize(("row", "change", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_row_has_one_fault_and_a_sentence(row, change, sentence):
    (found,) = faults(replace(row, **change))
    assert sentence in found


@pytest.mark.parametrize("change", [{"execution_count": None}, {"outputs": [{"output_type": "error"}]}])
def test_a_cell_that_was_not_executed_is_a_fault(change, monkeypatch):
    cell = sections(GOOD.lesson)[GOOD.section][1][FIRST]
    for name, value in change.items():
        monkeypatch.setitem(cell, name, [type(cell)(out) for out in value] if value else value)
    assert faults(GOOD) == [f"{GOOD.id}: {FIRST} was not executed: run make notebooks"]


ENTRY = {
    "id": "a",
    "what": "b",
    "lesson": "c",
    "section": {"id": "d", "heading": "e"},
    "cells": ["f"],
}


def test_an_entry_becomes_a_row():
    assert covered.row(ENTRY) == Row("a", "b", "c", "d", "e", ("f",))
    assert covered.row({**ENTRY, "claims": ["g"], "lab": "h"}).claims == ("g",)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"cells": None}, "found no cells: add it"),
        ({"id": None}, "a row without an id: expected"),
        ({"lab": "h"}, "a: expected claims beside lab, found none"),
        ({"claim": ["g"]}, "found claim: remove or rename it"),
        ({"said_by": ["Lee"]}, "found said_by: remove or rename it"),
        ({"section": "d"}, "got something else"),
        ({"section": {"id": "d"}}, "got something else"),
    ],
)
def test_an_entry_of_another_form_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        covered.row({key: value for key, value in {**ENTRY, **change}.items() if value is not None})

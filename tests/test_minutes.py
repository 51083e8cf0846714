"""The minutes of a lesson: counted by a formula, stated in the lesson, and at most fifty."""

from pathlib import Path

import collected
import nbformat
import pytest
from minutes import minutes, optional_minutes
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from utils.evidence import MIME

LESSONS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("[0-9]*.ipynb"))
LONGEST = 50


def text(source, **metadata):
    return new_markdown_cell(source, metadata=metadata)


def code(lines, *outputs, **metadata):
    cell = new_code_cell("\n".join(["x = 1", ""] * lines), metadata=metadata)
    cell.outputs = [new_output("display_data", data={mime: "x"}) for mime in outputs]
    return cell


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        ([], 0),
        ([text("word " * 180)], 1),
        ([text("word " * 181)], 2),
        ([text("word " * 900), code(20)], 7),
        ([code(20), code(200, **{"tags": ["hide-input"]})], 2),
        ([code(10, "image/png", "text/plain"), code(10, MIME)], 4),
        ([text("**Predict.** " + "word " * 359)], 4),  # two minutes to read, one and a half to predict
        ([text("word " * 900, tags=["optional"]), code(99, "image/png", MIME, tags=["optional"]), code(10)], 1),
    ],
)
def test_they_are_those_of_the_formula(cells, wanted):
    assert minutes(new_notebook(cells=cells)) == wanted


def test_those_of_optional_cells_are_counted_alone():
    cells = [text("word " * 900), text("word " * 360, tags=["optional"]), code(10, "image/png", tags=["optional"])]
    assert optional_minutes(new_notebook(cells=cells)) == 4


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_states_them(path):
    counted = minutes(nbformat.read(path, as_version=4))
    assert collected.summary(path).minutes == counted, f"write **Minutes**: {counted} beside the goals"


def test_they_are_at_most_fifty():
    assert {path.stem for path in LESSONS if collected.summary(path).minutes > LONGEST} == set(), "shorten the lesson"

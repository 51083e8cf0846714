"""What every *Change this* says comes out when the change is made; and the tester of this notices what does not."""

from pathlib import Path

import nbformat
import pytest
from changing import faults_of, number_after
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

LESSONS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("[0-9]*.ipynb"))

pytestmark = pytest.mark.timeout(300)  # kernels are started


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_change_of_a_lesson_gives_what_its_answer_says(path):
    faults = faults_of(path)
    assert faults == [], "\n".join(faults)


# The tester. Its lesson: x is two, its double four; the change makes x three.
X, DOUBLE, TEXT = "x = 2", "print(f'double: {2 * x:.1f}')", "double: 4.0\n"
EXPECT = {"after": "double:", "number": 6.0, "within": 0.01}
CHANGE = {"cell": "x", "old": "2", "new": "3", "until": "double", "expect": [EXPECT]}
ANSWER = (
    "**Change this.** `2` becomes `3`.\n\n<details><summary>Answer</summary>\n\nSix: 6.0 instead of 4.0.\n</details>"
)


SIX = ANSWER.replace(" instead of 4.0", "")


def lesson(folder, *, x=X, double=DOUBLE, stored=TEXT, compare=0, answer=ANSWER, then="", **change):
    """Write a lesson of two cells with one change, and maybe a third cell."""
    cells = [new_markdown_cell("## 1. Double it", id="question"), new_code_cell(x, id="x")]
    cells += [new_code_cell(double, id="double"), new_markdown_cell(answer, id="change")]
    cells[2].outputs = [new_output("stream", name="stdout", text=stored)]
    cells[2].metadata.compare = compare
    cells[3].metadata.change = CHANGE | change
    cells += [new_code_cell(then, id="then")]
    nbformat.write(new_notebook(cells=cells), folder / "01_small.ipynb")
    return folder / "01_small.ipynb"


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ({}, None),
        ({"stored": "double: 4.1\n", "compare": 1, "answer": SIX}, None),
        ({"double": "# NBVAL_IGNORE_OUTPUT\n" + DOUBLE, "stored": "later: 4.0\n"}, None),
        ({"answer": ANSWER.replace("6.0", "12 %")}, "the number '12 %' of its text in an output, got none with it"),
        ({"expect": [EXPECT | {"number": 7}]}, "7 (within 0.01) after 'double:' in the output of cell double, got 6.0"),
        (
            {"expect": [EXPECT | {"after": "half:"}]},
            "6.0 (within 0.01) after 'half:' in the output of cell double, got no such text",
        ),
        ({"expect": [EXPECT | {"after": "6.0"}]}, "in the output of cell double, got no number there"),
        ({"expect": [EXPECT, EXPECT | {"number": 7}]}, "7 (within 0.01) after 'double:'"),
        ({"old": "5"}, "'5' once in cell x, got it 0 times"),
        ({"old": "x", "x": "x = 2 + 0\nx"}, "'x' once in cell x, got it 2 times"),
        ({"new": "1 / 0"}, "no cell to fail, got ZeroDivisionError (division by zero) in cell x"),
        ({"new": "'3'"}, "no cell to fail, got ValueError"),
        (
            {"stored": "double: 4.1\n", "answer": SIX},
            "the original cell double to print again what is stored, got 'double: 4.0",
        ),
        (
            {"x": "x = 2\nn = globals().get('n', 0) + 1", "double": DOUBLE + "\nprint(n)", "stored": TEXT + "1\n"},
            "the original cell double to print again what is stored, got 'double: 4.0\\n3\\n'",
        ),
    ],
)
def test_a_change_that_comes_otherwise_is_told_in_one_sentence(what, sentence, tmp_path):
    faults = faults_of(lesson(tmp_path, **what))
    assert len(faults) == (sentence is not None), faults
    assert all(fault.startswith("01_small, change: expected ") and sentence in fault for fault in faults)


@pytest.mark.parametrize(
    ("what", "faults"),
    [
        (
            {"then": "x / 0"},
            ["01_small: expected the cells to run in order, got ZeroDivisionError (division by zero) "],
        ),
        ({"then": "print(x)\nassert x == 2"}, []),  # the original value is there again
        (
            {"new": "3; import os; os._exit(1)"},
            ["01_small, change: expected a result of cell x, got a dead kernel"],
        ),
        (
            {"new": "3; import time; time.sleep(30)"},
            ["01_small, change: expected cell x to take less than 3 s, got more"],
        ),
        (
            {"new": "3; import time; time.sleep(1.5)"},
            ["01_small: expected its changes to take no longer than the lesson itself, got 2 s beside 0 s"],
        ),
        (
            {"new": "3; import socket; socket.getaddrinfo('example.invalid', 80)"},
            ["01_small, change: expected no cell to fail, got OSError (a notebook may not use the network: tried to"],
        ),
    ],
)
def test_a_lesson_that_fails_hangs_or_dies_ends_soon(what, faults, tmp_path):
    found = faults_of(lesson(tmp_path, **what), seconds=3, more=1)
    assert len(found) == len(faults), found
    assert all(one.startswith(start) for one, start in zip(found, faults, strict=True)), found


def test_the_first_fault_hides_no_other(tmp_path):
    changed = {"answer": ANSWER.replace("6.0", "6.5"), "expect": [EXPECT | {"number": 7}]}
    assert len(faults_of(lesson(tmp_path, **changed))) == 2


@pytest.mark.parametrize(
    ("text", "after", "wanted"),
    [
        ("loss 1.6e+08", "loss", 1.6e8),
        ("gain \N{MINUS SIGN}0.4 points", "gain", -0.4),
        ("gain -0.4 points", "gain", -0.4),
        ("lost: 12 % of 30", "lost", 12),
        ("12% of 30", "", 12),
        ("after 1,000 steps", "after", 1000),
        ("1, 2", "", 1),
        ("[1. 2.]", "", 1),
        ("below 1e-12.", "below", 1e-12),
        ("w2 = 0.5", "", 0.5),
        ("first 1, then 2, first 3", "then", 2),
        ("first 1, then 2, first 3", "first", 1),
        ("9 lines\nof 8", "lines", 8),
        ("loss inf", "loss", float("inf")),
        ("nothing", "nothing", None),
        ("1 2 3", "four", None),
    ],
)
def test_the_first_number_after_a_text(text, after, wanted):
    assert number_after(text, after) == wanted

"""The gates that run notebooks can turn red, each for its own fault, and stay green where there is none."""

import shutil

import pytest
from bad_claims import CARD, card_of
from bad_notebooks import FOLDER, write
from nested import run_pytest

from conftest import alike, essence

pytestmark = pytest.mark.timeout(400)  # each runs notebooks in a pytest of its own

# Which cell of a notebook fails, counted from zero as nbval does, and a part of what is said about it.
SETUP, MEAN, FIGURE, RECORDED, DEFINE, SHOW = (f"Cell {number}" for number in range(6))
LAST = DEFINE  # the place of one more cell in a lesson
FAULTS = {
    "changed_mark": (SHOW, "[['of all', 'own data', 1, 'holds']]"),
    "changed_verdict": (RECORDED, "'word': 'fails'"),
    "changed_word": (SHOW, "'word': 'holds'"),
    "fails": (MEAN, "'numpy.ndarray' object has no attribute 'average'"),
    "missing_output": (MEAN, "Missing output fields from running code"),
    "number_too_far": (LAST, "accuracy: 94 %"),
    "one_number_more": (LAST, "accuracy: 90 90 %"),
    "other_name": (LAST, "layer3: 90 %"),
    "other_word": (LAST, "mistakes: 90 %"),
    "output_of_unrun_cell": (MEAN, "Unrun reference cell has outputs"),
    "stale_alt_text": (FIGURE, "mismatch 'text/plain'"),
    "stale_output": (MEAN, "mismatch 'stdout'"),
    "trailing_value": (MEAN, "Unexpected output fields from running code"),
}
GREEN = ("good", "good_despite_differences", "good_lab_despite_differences")


class Run:
    """Notebooks of BAD as `make test` runs those of the course, in a pytest of their own."""

    def __init__(self, stems, folder, *options):
        for place in {write(stem, folder).parent for stem in stems}:
            shutil.copy(FOLDER / "claims.toml", place)
        done, cases = run_pytest(folder, "-n", "0", *options)
        self.status = done.returncode
        self.cells = {(case.file.rsplit(".", 1)[-1], case.name): case for case in cases}

    def failed(self, stem):
        """The cells of a notebook that failed, with what was said."""
        return {name: cell.said for (file, name), cell in self.cells.items() if file == stem and cell.said}


@pytest.fixture(scope="module")
def red(tmp_path_factory):
    """All faulty notebooks in one run, except for the one that hangs."""
    run = Run([*FAULTS, "network_call", "dies"], tmp_path_factory.mktemp("red"))
    assert run.status == 1
    return run


@pytest.mark.parametrize("stem", FAULTS)
def test_a_fault_is_red_in_its_cell_alone(red, stem):
    cell, words = FAULTS[stem]
    said = red.failed(stem)
    assert list(said) == [cell]
    assert words in said[cell]


def test_the_network_is_closed_and_this_computer_is_open(red):
    said = red.failed("network_call")
    assert list(said) == ["Cell 4", "Cell 5", "Cell 6", "Cell 7"]  # not the loopback of cell 8
    for cell, host in zip(said, ("192.0.2.1", "example.invalid", "192.0.2.1", "192.0.2.1"), strict=True):
        assert f"a notebook may not use the network: tried to reach {host}" in said[cell]
        assert red.cells["network_call", cell].seconds < 15  # of 30 until the connection would give up


def test_a_dying_kernel_is_noticed_soon(red):
    said = red.failed("dies")
    assert "the kernel died while this cell ran" in said[SETUP]
    assert "Kernel dead on test start" in said[MEAN]
    assert red.cells["dies", SETUP].seconds < 60  # of 120 that a cell may take


def test_a_hanging_cell_is_stopped(tmp_path):
    run = Run(["hangs"], tmp_path, "--nbval-cell-timeout=3")
    assert "Timeout of 3 seconds exceeded" in run.failed("hangs")[SETUP]
    assert run.status == 1


def test_good_notebooks_are_green(tmp_path):
    run = Run(GREEN, tmp_path)
    assert {stem for stem, _ in run.cells} == set(GREEN)
    assert [run.failed(stem) for stem in GREEN] == [{} for _ in GREEN]
    assert run.status == 0


@pytest.mark.parametrize(
    ("text", "other", "tolerance", "same"),
    [
        ("rate 0.5, 93 %", "rate 0.5, 90 %", 3, True),
        ("rate 0.5, 93 %", "rate 0.5, 89 %", 3, False),
        ("  9 % [1, 2]", " 12 % [0, 2]", 3, True),
        ("minus \N{MINUS SIGN}1", "minus 1", 3, True),
        ("minus \N{MINUS SIGN}2", "minus 2", 3, False),
        ("1,000 steps", "1,002 steps", 2, True),
        ("1,000 steps", "1,003 steps", 2, False),
        ("1.60e+01", "1.7e+01", 1, True),
        ("1e-3", "1e3", 3, False),
        ("inf", "inf", 3, True),
        ("inf", "3", 3, False),
        ("nan", "nan", 3, True),
        ("nan", "0", 3, False),
        ("two 2", "two 2 2", 3, False),
        ("w1 0.5", "w2 0.5", 3, False),
        ("a  word", "a word", 3, False),
        ("0.52", "0.53", 0.005, False),
    ],
)
def test_texts_are_alike_if_only_their_numbers_differ_and_by_no_more_than_the_tolerance(text, other, tolerance, same):
    assert alike(text, other, tolerance) == alike(other, text, tolerance) == same


def contradict(fresh, stored):
    """Whether two cards are different to the gate."""
    fresh, stored = ({"data": {CARD: card}} for card in (fresh, stored))
    return essence(fresh, [stored]) != essence(stored, [fresh])


def card(**changes):
    return card_of(**changes)[CARD]


WORDS = ("holds", "fails", "undecided", "not judged")


@pytest.mark.parametrize("fresh", WORDS)
@pytest.mark.parametrize("stored", WORDS)
def test_a_mark_contradicts_its_opposite_alone(fresh, stored):
    assert contradict(card(**{"of all": fresh}), card(**{"of all": stored})) == ({fresh, stored} == {"holds", "fails"})


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"word": "holds"}, True),
        ({"id": "another"}, True),
        ({"n": 64}, False),
        ({"kind": "timing", "of all": "fails"}, False),
        ({"conditions": []}, False),
    ],
)
def test_of_the_rest_only_id_and_word_count(changes, differs):
    assert contradict(card(kind=changes.get("kind", "measurement")), card(**changes)) == differs


@pytest.mark.parametrize("place", [{"live": False}, {"dataset": "digits"}, {"budget": 4}])
def test_marks_of_the_record_or_of_another_column_are_not_compared(place):
    other = card(**{"of all": "fails"})
    other["conditions"] = [each | place for each in other["conditions"]]
    assert not contradict(card(), other)

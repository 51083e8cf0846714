"""The checks of parity.py find what is wrong with each batch norm in mutants, and nothing where nothing is."""

import copy
import pickle
import traceback
from functools import cache

import pytest
from edits import EditError, edited, mutants
from mutants import batch, batch_by_autograd
from parity import CHECKS, failures

from utils.byhand.normalization import BatchNorm

MUTANTS = mutants("batch", "batch_by_autograd")
RIGHT = {"ours": BatchNorm, "written plainly": batch.BatchNorm, "by autograd": batch_by_autograd.BatchNorm}


def mutant(name):
    return MUTANTS[name].module().BatchNorm


@cache
def found(name):
    """What the checks find wrong with a mutant."""
    return failures(mutant(name))


def test_every_edit_fits():
    for mutant in MUTANTS.values():
        assert mutant.text()
        assert mutant.caught_by in CHECKS, mutant.name


def test_a_mutant_can_be_copied_and_pickled():
    norm = mutant("nan_skipped")(3)
    for twin in (copy.copy(norm), copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))):
        assert type(twin) is type(norm)


def test_a_traceback_shows_the_lines_of_a_mutant():
    with pytest.raises(AttributeError) as caught:
        mutant("nan_skipped")(3).forward(None)
    shown = "".join(traceback.format_exception(caught.value))
    assert "batch.py as nan_skipped" in shown
    assert "self.check(x)" in shown


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([("d", "")], "exactly once, got it 0 times"),
        ([("a", "")], "exactly once, got it 2 times"),
        ([("ab", ""), ("bca", "")], "two of the same one"),
    ],
)
def test_an_edit_that_does_not_fit_is_an_error(edits, words):
    with pytest.raises(EditError, match=words):
        edited("abca", edits)


def test_edits_are_of_the_text_as_it_was():
    assert edited("abca", [("c", "d"), ("b", "c")]) == "acda"


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name):
    print(f"{name}: {', '.join(found(name)) or 'passes everything'}")
    assert MUTANTS[name].caught_by in found(name), f"{MUTANTS[name].why} Found by {list(found(name)) or 'nothing'}"


@pytest.mark.parametrize("name", [name for name in MUTANTS if MUTANTS[name].caught_by.startswith("bad-")])
def test_finite_numbers_do_not_show_what_hides_divergence(name):
    assert {check.split("-")[0] for check in found(name)} == {"bad"}


@pytest.mark.parametrize("make", RIGHT.values(), ids=RIGHT)
def test_correct_ones_pass(make):
    assert failures(make) == {}


@pytest.mark.timeout(180)
def test_every_check_finds_something():
    assert set().union(*(found(name) for name in MUTANTS)) == set(CHECKS)

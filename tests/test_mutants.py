"""The checks of parity.py and family_parity.py find what is wrong with each mutant, and nothing where nothing is."""

import copy
import pickle
import traceback
from functools import cache
from importlib import import_module

import family_parity
import parity
import pytest
from edits import EditError, edited, mutants

from utils.byhand import normalization

# Those of the lessons are in test_lesson_norms.py.
OURS = {
    "batch": normalization.BatchNorm,
    "axes": (normalization.normalize_forward, normalization.normalize_backward),
}
# The checks of each family; the base of a mutant, which is right, begins with its family.
CHECKS = {"batch": parity.CHECKS} | family_parity.CHECKS
RIGHT = [*CHECKS, "batch_by_autograd"]
MUTANTS = mutants(*RIGHT)


def family(mutant):
    return mutant.base.split("_")[0]


def norm_of(module):
    return module.BatchNorm if "BatchNorm" in vars(module) else module.norm


@cache
def found(name):
    """What the checks of its family find wrong with a mutant."""
    return parity.failures(norm_of(MUTANTS[name].module()), CHECKS[family(MUTANTS[name])])


def test_every_edit_fits():
    for mutant in MUTANTS.values():
        assert mutant.text()
        assert mutant.caught_by in CHECKS[family(mutant)], mutant.name
        assert family(mutant) == "batch" or mutant.name.startswith(f"{mutant.base}_")


def test_a_mutant_can_be_copied_and_pickled():
    norm = MUTANTS["nan_skipped"].module().BatchNorm(3)
    for twin in (copy.copy(norm), copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))):
        assert type(twin) is type(norm)


def test_a_traceback_shows_the_lines_of_a_mutant():
    with pytest.raises(AttributeError) as caught:
        MUTANTS["nan_skipped"].module().BatchNorm(3).forward(None)
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


@pytest.mark.parametrize("name", [name for name in MUTANTS if "bad-" in MUTANTS[name].caught_by])
def test_finite_numbers_do_not_show_what_hides_divergence(name):
    assert all("bad-" in check for check in found(name))


EVERY = [(family, name) for family in OURS for name in CHECKS[family]]


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_ours_passes(family, name):
    CHECKS[family][name](OURS[family])


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, name in EVERY if "bad-" in name])
def test_divergence_goes_through_in_silence(family, name):
    CHECKS[family][name].__wrapped__(OURS[family])  # the check lets no warning be heard; here a warning is an error


@pytest.mark.parametrize("base", RIGHT)
def test_written_plainly_they_pass(base):
    assert parity.failures(norm_of(import_module(f"mutants.{base}")), CHECKS[base.split("_")[0]]) == {}


@pytest.mark.timeout(180)
def test_every_check_finds_something():
    for kind, checks in CHECKS.items():
        assert set().union(*(found(name) for name in MUTANTS if family(MUTANTS[name]) == kind)) == set(checks)

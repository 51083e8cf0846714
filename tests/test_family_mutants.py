"""The checks of family_parity.py find what is wrong with every mutant of the families, and nothing in ours."""

from functools import cache
from importlib import import_module

import pytest
from edits import mutants
from family_parity import CHECKS
from parity import failures

from utils.byhand import activation_norms, normalization

OURS = {
    "axes": (normalization.normalize_forward, normalization.normalize_backward),
    "group": (activation_norms.group_norm_forward, activation_norms.group_norm_backward),
    "rms": (activation_norms.rms_norm_forward, activation_norms.rms_norm_backward),
    "renorm": activation_norms.BatchRenorm,
}

# The first word of a mutant, and of the check that must notice it, is the family, whose right one is base.
MUTANTS = mutants(*OURS)


@cache
def found(name):
    """What the checks of its family find wrong with a mutant."""
    return failures(MUTANTS[name].module().norm, CHECKS[MUTANTS[name].base])


def test_every_edit_fits():
    for name, mutant in MUTANTS.items():
        assert mutant.text()
        assert mutant.caught_by in CHECKS[mutant.base], name
        assert name.startswith(f"{mutant.base}_")


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name):
    print(f"{name}: {', '.join(found(name)) or 'passes everything'}")
    assert MUTANTS[name].caught_by in found(name), f"{MUTANTS[name].why} Found by {list(found(name)) or 'nothing'}"


@pytest.mark.parametrize("name", [name for name in MUTANTS if MUTANTS[name].caught_by.endswith("bad-numbers")])
def test_finite_numbers_do_not_show_what_hides_divergence(name):
    assert list(found(name)) == [MUTANTS[name].caught_by]


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, checks in CHECKS.items() for name in checks])
def test_check(family, name):
    CHECKS[family][name](OURS[family])


@pytest.mark.parametrize("family", OURS)
def test_divergence_goes_through_in_silence(family):
    CHECKS[family][f"{family}-bad-numbers"].__wrapped__(OURS[family])  # without the check's own np.errstate


@pytest.mark.parametrize("family", OURS)
def test_written_plainly_they_pass(family):
    assert failures(import_module(f"mutants.{family}").norm, CHECKS[family]) == {}


@pytest.mark.parametrize("family", OURS)
def test_every_check_finds_something(family):
    assert set().union(*(found(name) for name in mutants(family))) == set(CHECKS[family])

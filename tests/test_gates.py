"""Every rule for notebooks can turn red: for each there is a notebook that breaks it, and no other rule."""

import pytest
from bad_notebooks import BAD, FOLDER, WITHOUT_CONFIGURE, write
from notebook_rules import BYTES, RULES, read, violations

from utils import evidence

CLAIMS = evidence.claims(FOLDER / "claims.toml")


def rules_broken(path):
    """The rules that a notebook breaks under the name of the good one, to which the claim belongs."""
    place = path.rename(path.with_name("good.ipynb"))
    found = violations(read(place), place, CLAIMS)
    return {violation.split(":")[0] for violation in found}


@pytest.mark.parametrize("name", BAD)
def test_a_notebook_breaks_its_rule_and_no_other(name, tmp_path):
    rule, *edits = BAD[name]
    expected = {rule, "setup-cell" if WITHOUT_CONFIGURE in edits else None} - {None}
    assert rules_broken(write(name, tmp_path)) == expected


def test_a_file_that_is_too_large_is_refused(tmp_path):
    large = write("good", tmp_path)
    with large.open("a") as file:
        file.write(" " * BYTES)
    assert rules_broken(large) == {"small-file"}


def test_every_rule_can_turn_red():
    assert set(RULES) - {rule for rule, *_ in BAD.values()} == {"small-file"}


def test_a_violation_says_which_rule_what_and_where(tmp_path):
    (violation,) = violations(read(write("magic", tmp_path)), FOLDER / "good.ipynb", CLAIMS)
    assert violation == "no-magics: '%pip list', cell one-mean"


def test_a_claim_of_another_notebook_is_noticed(tmp_path):
    other = write("good", tmp_path).rename(tmp_path / "other.ipynb")
    found = violations(read(other), other, CLAIMS)
    assert found == ["claims-are-known: claim middle-is-large belongs to notebook good, cell one-claim"]

"""Every rule for notebooks can turn red: for each there is a notebook that breaks it, and no other rule."""

import re
from dataclasses import replace

import pytest
from bad_claims import WITHOUT_CONFIGURE
from bad_notebooks import BAD, BAD_LABS, FOLDER, write
from notebook_rules import BYTES, LAB_RULES, RULES, misplaced, read, violations

from utils import evidence

CLAIMS = evidence.claims(FOLDER / "claims.toml")


def rules_broken(path):
    """The rules that a notebook breaks under the name of the lab to which the claim belongs."""
    place = path.rename(path.with_name("good.ipynb"))
    found = violations(read(place), place, CLAIMS)
    return {violation.split(":")[0] for violation in found}


def rules_to_break(rule, *edits):
    return {rule, "setup-cell" if WITHOUT_CONFIGURE in edits else None} - {None}


@pytest.mark.parametrize("name", BAD)
def test_a_notebook_breaks_its_rule_and_no_other(name, tmp_path):
    assert rules_broken(write(name, tmp_path)) == rules_to_break(*BAD[name])


@pytest.mark.parametrize("name", BAD_LABS)
def test_a_lab_breaks_its_rule_and_no_other(name, tmp_path):
    assert rules_broken(write(name, tmp_path)) == rules_to_break(*BAD_LABS[name])


def test_a_file_that_is_too_large_is_refused(tmp_path):
    large = write("good", tmp_path)
    with large.open("a") as file:
        file.write(" " * BYTES)
    assert rules_broken(large) == {"small-file"}


def test_every_rule_can_turn_red():
    assert set(RULES) - {rule for rule, *_ in BAD.values()} == {"small-file"}
    assert set(LAB_RULES) - set(RULES) <= {rule for rule, *_ in BAD_LABS.values()}


def test_a_violation_says_which_rule_what_and_where(tmp_path):
    (violation,) = violations(read(write("magic", tmp_path)), FOLDER / "good.ipynb", CLAIMS)
    assert violation == "no-magics: '%pip list', cell one-mean"


def test_a_claim_of_another_lab_is_noticed(tmp_path):
    path = write("good_lab", tmp_path)
    path = path.rename(path.with_name("good.ipynb"))
    found = violations(read(path), path, {name: replace(claim, lab="other") for name, claim in CLAIMS.items()})
    sentence = "claims-are-known: claim middle-is-the-mean belongs to lab other, cell"
    assert found == [f"{sentence} two-shown", f"{sentence} two-define"]


PLACES = {
    "good": (["01_a", "labs/01_a"], None),
    "a-lab-named-like-no-lesson": (["01_a", "labs/01_a", "labs/01_b"], "labs/01_b: expected the name of a"),
    "a-lesson-without-a-lab": (["01_a"], "01_a: expected the lab labs/01_a.ipynb, got none: write it"),
    "a-lab-among-the-lessons": (["01_a", "labs/01_a", "01_lab"], "01_lab: expected .* move it to labs/"),
    "a-lab-in-another-folder": (["01_a", "labs/01_a", "old/labs/01_a"], "old/labs/01_a.ipynb: expected les"),
}


@pytest.mark.parametrize(("names", "sentence"), PLACES.values(), ids=PLACES)
def test_a_notebook_in_the_wrong_place_is_noticed(names, sentence, tmp_path):
    for name in names:
        path = tmp_path / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = misplaced(tmp_path)
    assert len(found) == (sentence is not None), found
    assert not found or re.search(sentence, found[0])

"""data/evidence.json against labs and claims: nothing is stale or missing, and every word follows from numbers."""

from functools import cache
from pathlib import Path

import pytest

from utils import evidence
from utils.evidence.labs import open_lab

ROOT = Path(__file__).resolve().parents[1]
LABS = sorted((ROOT / "notebooks" / "labs").glob("[0-9]*.ipynb"))
CLAIMS = evidence.claims()
LARGEST = 1_000_000  # bytes


@cache
def record():
    return evidence.Record()


@cache
def declared():
    """Every experiment of the labs, by the lab's name and its own."""
    labs = {path.stem: open_lab(path) for path in LABS}
    return {f"{stem}/{name}": (lab, made) for stem, lab in labs.items() for name, made in lab.experiments.items()}


def test_every_claim_is_read_by_one_experiment_of_its_lab():
    found = {name: key.split("/")[0] for key, (_, made) in declared().items() for name in made.claims}
    assert found == {name: claim.lab for name, claim in CLAIMS.items()}


def test_what_is_recorded_is_declared():
    columns = {(name, *column) for name, (_, made) in declared().items() for column in made.columns()}
    lost = [key for key in record().units if key[:3] not in columns]
    assert lost == [], "run make evidence for the labs of these units"


@pytest.mark.parametrize("name", declared())
def test_no_record_is_stale(name):
    lab, made = declared()[name]
    wanted = lab.fingerprint(made.name)
    stale = [key for key, unit in record().units.items() if key[0] == name and unit["fingerprint"] != wanted]
    assert stale == [], f"the code that produced them changed: run make evidence SIGN=1 LABS={lab.stem[:2]}"


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_recorded_in_all_columns_and_its_word_is_that_of_its_numbers(name):
    (made,) = (made for _, made in declared().values() if name in made.claims)
    there = {(run["dataset"], run["budget"]) for run in record().runs(name)}
    assert there == set(made.columns()), f"run make evidence LABS={CLAIMS[name].lab[:2]}"
    assert record().saved_word(name) == record().word(name, made.columns())


@pytest.mark.parametrize("name", CLAIMS)
def test_the_conclusion_is_one_for_the_recorded_word(name):
    word = record().saved_word(name)
    assert word in CLAIMS[name].conclusion, f"the record says {word}: write conclusion.{word} in data/claims.toml"


def test_the_record_is_small():
    assert evidence.RECORD.stat().st_size < LARGEST

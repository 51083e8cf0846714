"""What the course claims: each claim is complete, and a bad file is refused with a sentence."""

import itertools
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from evidence_fixtures import CLAIM, write_claims

from utils.evidence import CLAIMS, KINDS, WORDS, claims, recorded, retired
from utils.evidence.claims import OTHER_SETTINGS
from utils.evidence.labs import open_lab

LABS = Path(__file__).resolve().parents[1] / "notebooks" / "labs"


@pytest.fixture
def write(tmp_path):
    """Write a claims file with one claim, other entries on demand, and return its path."""
    return lambda **entries: write_claims(tmp_path / "claims.toml", a_claim=entries)


@pytest.mark.parametrize("name", claims())
def test_the_claims_of_the_course_are_complete(name):
    claim = claims()[name]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name)
    assert claim.id == name
    for entry in ("statement", "quote", "source", "prediction", "unit", "lab"):
        assert getattr(claim, entry).strip(), entry
    assert np.isfinite(claim.smallest)
    assert claim.kind in KINDS
    assert all(word in WORDS and text.strip().endswith(".") for word, text in claim.conclusion.items())


def needs_a_setting(claim):
    return claim.kind in ("experiment", "measurement")


@pytest.mark.parametrize("name", [name for name, claim in claims().items() if claim.setting or needs_a_setting(claim)])
def test_a_verdict_speaks_of_its_setting(name):
    """It is said for all that is trained or measured, and nobody takes it for all settings."""
    setting = claims()[name].setting
    assert setting, "say in `setting` what was held fixed, as the code of the lab has it"
    assert setting.endswith(f". {OTHER_SETTINGS}")
    assert setting.count(OTHER_SETTINGS) == 1


@pytest.mark.parametrize("name", [name for name, claim in claims().items() if needs_a_setting(claim)])
def test_a_setting_has_the_budgets_in_numbers(name):
    """Where its lab trains, T and 4T are those of the experiment."""
    lab = open_lab(LABS / f"{claims()[name].lab}.ipynb")
    (made,) = (made for made in lab.experiments.values() if name in made.claims)
    for budget in made.budgets if made.steps else ():
        said = re.search(rf"\b{'' if budget == 1 else budget}T = (\d+)", claims()[name].setting)
        assert said, f"expected T and {budget}T in numbers"
        assert int(said[1]) == made.steps * budget


def test_statements_are_made_once():
    for one, other in itertools.combinations([*claims().values(), *retired().values()], 2):
        assert one.statement != other.statement


def test_a_file_is_read(write):
    path = write(smallest=3.0, conclusion={"holds": "It does."}, changed="The threshold.", setting="It was.")
    (claim,) = claims(path).values()
    assert (claim.id, claim.smallest, claim.kind) == ("a-claim", 3.0, "experiment")
    assert (claim.conclusion, claim.changed) == ({"holds": "It does."}, "The threshold.")
    assert claim.setting == "It was."
    assert claims(write())["a-claim"].setting == ""


def test_a_file_without_claims_has_none(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text("")
    assert claims(path) == retired(path) == {}
    with pytest.raises(ValueError, match="claim_id: expected one of none, got 'x'"):
        recorded("x", path=path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"direction": "above"}, "a-claim: direction: expected one of at least, at most, got 'above'"),
        ({"quote": None}, r"a-claim: expected the entries .*missing \['quote'\]"),
        ({"colour": "red"}, r"a-claim: expected the entries .*unknown \['colour'\]"),
        ({"lab": None}, r"a-claim: expected the entries .*missing \['lab'\]"),
        ({"notebook": "01_x"}, r"a-claim: expected the entries .*unknown \['notebook'\]"),
        ({"kind": None}, r"a-claim: expected the entries .*missing \['kind'\]"),
        ({"kind": "survey"}, "a-claim: kind: expected one of experiment, measurement, identity, timing, got 'survey'"),
        ({"conclusion": {"supported": "It does."}}, "a-claim: conclusion: expected a sentence for some of holds, "),
        ({"conclusion": "It does."}, "a-claim: conclusion: expected a sentence for some of holds, .*got 'It does.'"),
        ({"smallest": "2"}, "a-claim: smallest: expected .*got"),
        ({"smallest": [2.0]}, "a-claim: smallest: expected .*got"),
    ],
)
def test_a_bad_claim_is_refused(entries, message, write):
    with pytest.raises(ValueError, match=message):
        claims(write(**entries))


def test_what_is_no_table_is_refused(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text("[claims]\na-claim = 3\n")
    with pytest.raises(ValueError, match=r"claim a-claim: expected a table \[claims.a-claim\], got 3"):
        claims(path)
    path.write_text("[claims")
    for read in (claims, retired):
        with pytest.raises(ValueError, match="path: expected a TOML file such as"):
            read(path)


def test_an_unknown_claim_is_refused_with_what_to_do(write):
    with pytest.raises(
        ValueError, match=r"claim_id: expected one of a-claim, got 'other'; add a table \[claims\.other\]"
    ):
        recorded("other", path=write())


class TestRetired:
    def write(self, tmp_path, **entries):
        table = {"statement": "It was said.", "reason": "Nobody disputes it.", **entries}
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if value is not None]
        path = write_claims(tmp_path / "claims.toml", a_claim={})
        path.write_text(path.read_text() + "\n[retired.old-claim]\n" + "\n".join(lines))
        return path

    def test_they_are_read(self, tmp_path):
        (gone,) = retired(self.write(tmp_path)).values()
        assert (gone.id, gone.statement, gone.reason) == ("old-claim", "It was said.", "Nobody disputes it.")
        assert "old-claim" not in claims(tmp_path / "claims.toml")

    @pytest.mark.parametrize(("entries", "message"), [({"reason": None}, "missing"), ({"why": "x"}, "unknown")])
    def test_a_bad_one_is_refused(self, entries, message, tmp_path):
        with pytest.raises(ValueError, match=f"claim old-claim: expected the entries .*{message}"):
            retired(self.write(tmp_path, **entries))

    def test_nothing_is_both(self, tmp_path):
        path = self.write(tmp_path)
        path.write_text(path.read_text().replace("retired.old-claim", "retired.a-claim"))
        with pytest.raises(ValueError, match="claim a-claim: expected it among the claims or among the retired"):
            retired(path)


def test_the_fixture_has_all_that_a_claim_needs():
    table = next(iter(tomllib.loads(CLAIMS.read_text("utf-8"))["claims"].values()))
    assert set(CLAIM) <= set(table)

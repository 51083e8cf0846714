"""A live run beside the record, and what a lesson shows before and after there is one."""

import itertools
import json
import sys

import numpy as np
import pytest
from evidence_fixtures import unit, write_claims

from utils.evidence import Card, Record, claims, experiment, live, recorded, recorded_scores

CONCLUSION = {"holds": "It helps.", "fails": "It does not help.", "depends": "It helps on digits."}


@pytest.fixture(autouse=True)
def _in_a_readers_hands(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("DATASET", raising=False)


def stored_column():
    """What a lab measured when it last ran."""
    condition = {"name": "here", "median": 2.0, "low": 1.5, "high": 2.5, "word": "holds"}
    return {"dataset": "digits", "budget": 1, "n": 16, "live": True, "trains": True, "conditions": [condition]}


def effects_of(value):
    """An experiment with this effect, one number per seed or one for all."""

    def trained(seeds, data, steps, rates, device):
        trained.calls.append((data, len(seeds)))
        points = {"one": 90.3 + value, "other": 90.3}
        return {
            arm: {
                rate: np.stack([np.full(len(seeds), -abs(rate - 0.2)), points[arm] + np.zeros(len(seeds))], axis=1)
                for rate in grid
            }
            for arm, grid in rates.items()
        }

    trained.calls = []
    return trained


@pytest.fixture
def lab(tmp_path):
    """Declare an experiment with a given effect, and give what it measures now beside a record."""

    def make(value, *, units=(), **entries):
        path = write_claims(tmp_path / "claims.toml", a_claim={"conclusion": CONCLUSION, **entries})
        how = {"rates": (0.1, 0.2, 0.4), "steps": 300, "examples": 32, "path": path}
        made = experiment({"a-claim": {"here": ("one", "other")}}, **how)(effects_of(value))
        record = Record(tmp_path / "evidence.json", claims(path))
        for each in units:
            record.add(each)
        record.save({"a-claim": made.columns()})
        return made, live(made, record=record.path)

    return make


def constant(value, **more):
    return unit(effects={"a-claim": {"here": [value] * 16}}, **more)


class TestLive:
    def test_what_is_measured_now_stands_beside_the_record(self, lab):
        units = [constant(3.0), constant(3.0, first=16), constant(0.0, dataset="mnist_5k"), constant(3.0, budget=4)]
        made, now = lab(2.0, units=units)
        assert made.function.calls == [("digits", 16)]
        card = now.card("a-claim")
        heads = [(run["dataset"], run["budget"], run["n"], run["live"]) for run in card.runs]
        assert heads == [("digits", 1, 16, True), ("digits", 4, 16, False), ("mnist_5k", 1, 16, False)]
        assert card.runs[0]["conditions"][0]["median"] == 2.0
        assert card.verdict == "depends"
        assert repr(card).count(", now") == 1
        assert now["digits"] is now.first

    def test_without_a_record_nothing_is_decided(self, lab):
        card = lab(2.0)[1].card("a-claim")
        assert (card.word, card.verdict) == (None, "not recorded yet")
        assert card.runs[0]["conditions"][0]["word"] == "holds"

    VALUES = {"holds": [2.0] * 16, "fails": [0.0] * 16, "undecided": [0.0, 2.0] * 8}

    @pytest.mark.parametrize(("now", "then"), list(itertools.product(VALUES, repeat=2)))
    @pytest.mark.parametrize("ci", ["true", "1", "", "0", "false"])
    def test_only_in_ci_and_only_holds_against_fails_is_an_error(self, now, then, ci, lab, monkeypatch):
        monkeypatch.setenv("CI", ci)
        measured = lab(np.array(self.VALUES[now]), units=[unit(effects={"a-claim": {"here": self.VALUES[then]}})])[1]
        if ci in ("true", "1") and {now, then} == {"holds", "fails"}:
            with pytest.raises(AssertionError, match=f"a-claim, here, on digits: {now} now .* that it {then}: "):
                measured.card("a-claim")
        else:
            assert measured.card("a-claim").runs[0]["conditions"][0]["word"] == now

    def test_a_clock_contradicts_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CI", "true")
        path = write_claims(tmp_path / "claims.toml", a_claim={"kind": "timing", "unit": "× the time"})
        made = experiment({"a-claim": {"here": "ratio"}}, path=path)(lambda **_: {"ratio": [0.5] * 16})
        record = Record(tmp_path / "evidence.json", claims(path))
        record.add(unit(dataset="own data", steps=0, effects={"a-claim": {"here": [2.0] * 16}}))
        record.save({})
        assert live(made, record=record.path).card("a-claim").runs[0]["conditions"][0]["word"] == "fails"

    def test_the_rule_is_that_of_the_record_to_the_last_digit(self, lab):
        """A difference of two accuracies may be a little less than 1 in floating point; it is 1 in the record."""
        assert lab(1 - 1e-9)[1].card("a-claim").runs[0]["conditions"][0]["word"] == "holds"

    def test_another_data_set_can_be_chosen(self, lab, monkeypatch):
        monkeypatch.setenv("DATASET", "mnist_5k")
        made, now = lab(2.0)
        assert made.function.calls == [("mnist_5k", 16)]
        assert now.card("a-claim").runs[0]["dataset"] == "mnist_5k"

    def test_a_claim_that_it_does_not_declare_is_refused(self, lab):
        with pytest.raises(ValueError, match="claim_id: expected one of a-claim, got 'other'"):
            lab(2.0)[1].card("other")

    def test_waivers_are_on_the_card(self, tmp_path):
        path = write_claims(tmp_path / "claims.toml", a_claim={"kind": "identity", "smallest": 1e-9, "unit": "error"})
        made = experiment({"a-claim": None}, path=path)(lambda: {"wine": 1e-12, "iris": 2e-12})
        card = live(made, record=tmp_path / "none.json").card("a-claim")
        assert card.labels == ["wine", "iris"]
        assert card.runs[0]["n"] == 1


class TestRecorded:
    @pytest.fixture
    def course(self, tmp_path, monkeypatch):
        """A checkout: claims, a record and a lab, which need not be there."""
        (tmp_path / "data").mkdir()
        (tmp_path / "notebooks" / "labs").mkdir(parents=True)
        module = sys.modules[live.__module__]
        monkeypatch.setattr(module, "data_file", lambda name: tmp_path / "data" / name)
        path = write_claims(tmp_path / "data" / "claims.toml", a_claim={"conclusion": CONCLUSION}, other_claim={})
        return tmp_path, {"path": path, "record": tmp_path / "data" / "evidence.json"}

    def store(self, folder, card):
        outputs = [{"output_type": "stream", "text": "x"}, {"data": card._repr_mimebundle_()}]
        cells = [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": outputs}]
        (folder / "notebooks" / "labs" / "01_small.ipynb").write_text(json.dumps({"cells": cells}))

    def test_before_the_lab_has_run(self, course):
        card = recorded("a-claim", **course[1])
        assert card.verdict == "not recorded yet"
        assert "The lab has not run yet." in repr(card)

    def test_before_there_is_a_record_it_is_the_card_of_the_lab(self, course):
        folder, how = course
        self.store(folder, Card(claims(how["path"])["a-claim"], None, [stored_column()], {"fine grid": "A reason."}))
        card = recorded("a-claim", **how)
        assert card.verdict == "not recorded yet"
        assert "Nothing is recorded yet. This is from the last run of the lab: 16 seeds, T." in repr(card)
        assert "(1.5 to 2.5) ✓" in repr(card)
        assert recorded("other-claim", **how).runs == []

    def test_then_it_is_what_the_record_says(self, course):
        folder, how = course
        known = claims(how["path"])
        self.store(folder, Card(known["a-claim"], None, [stored_column()], {"fine grid": "A reason."}))
        record = Record(how["record"], known)
        record.add(constant(3.0))
        record.add(unit(first=16, effects={"other-claim": {"here": [0.0] * 16}}))
        record.save({"a-claim": [("digits", 1)]})
        card = recorded("a-claim", **how)
        assert (card.word, card.note) == ("holds", "")
        assert [(run["n"], run["live"]) for run in card.runs] == [(16, False)]
        assert "(3.0 to 3.0) ✓" in repr(card)
        assert card.waived == {"fine grid": "A reason."}

    def test_what_is_unknown_or_damaged_gets_a_sentence(self, course):
        folder, how = course
        with pytest.raises(ValueError, match="claim_id: expected one of a-claim, other-claim, got 'gone'"):
            recorded("gone", **how)
        how["record"].write_text("{")
        with pytest.raises(ValueError, match="expected JSON to its end"):
            recorded("a-claim", **how)

    def test_scores_are_those_of_the_first_seeds_and_of_the_arms_of_the_claim(self, course):
        _, how = course
        record = Record(how["record"], claims(how["path"]))
        table = [[0.1, 80.0], [0.2, 90.0]]
        record.add(unit(medians={"one": table, "other": table, "a third": table}))
        record.add(unit(first=16, medians={"one": [[0.1, 1.0]]}))
        record.add(unit(dataset="mnist_5k"))  # of a run before medians were kept
        record.save({"a-claim": [("digits", 1)]})
        scores = recorded_scores("a-claim", **how)
        assert list(scores) == [("digits", 1)]
        assert sorted(scores["digits", 1]) == ["one", "other"]
        np.testing.assert_array_equal(scores["digits", 1]["one"], table)

    def test_without_scores_there_is_a_sentence(self, course):
        with pytest.raises(ValueError, match="a-claim: expected scores at all rates .* run make evidence"):
            recorded_scores("a-claim", **course[1])

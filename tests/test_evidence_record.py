"""The record: what it refuses without touching the file, what replaces what, and the words that follow from it."""

import json
import time

import numpy as np
import pytest
from evidence_fixtures import unit, write_claims

from utils.evidence import Record, claims

EFFECTS = {"a-claim": {"here": [2.0] * 16}}


@pytest.fixture
def known(tmp_path):
    return claims(write_claims(tmp_path / "claims.toml", a_claim={}, other_claim={}))


@pytest.fixture
def record(tmp_path, known):
    return Record(tmp_path / "evidence.json", known)


def effects(*values, **more):
    return unit(effects={"a-claim": {"here": list(values)}}, n=len(values), **more)


class TestReading:
    def test_without_a_file_it_is_empty(self, record):
        assert record.units == {}
        assert record.runs("a-claim") == []
        assert record.word("a-claim") is None
        assert record.saved_word("a-claim") is None

    def test_the_record_of_the_course_is_one(self):
        Record()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "expected JSON to its end, got a truncated or damaged file: restore the file from git, or remove"),
            ('{"version": 2, "claims": {}, "uni', "expected JSON to its end"),
            ("\x00", "expected JSON to its end"),
            ("[]", "expected a record of version 2, got version None"),
            ('{"version": 1, "units": []}', "expected a record of version 2, got version 1: restore"),
            ('{"version": 3, "units": []}', "expected a record of version 2, got version 3"),
            ('{"version": 2}', "expected a list of units and a table of claims"),
            ('{"version": 2, "units": [], "claims": []}', "expected a list of units and a table of claims"),
            ('{"version": 2, "units": [3]}', "expected units with the entries experiment, dataset, .*got another"),
        ],
    )
    def test_what_is_no_record_is_said_and_left(self, text, message, record, known):
        record.path.write_text(text)
        with pytest.raises(ValueError, match=rf"evidence.json: {message}"):
            Record(record.path, known)
        with pytest.raises(ValueError, match=message):
            Record(record.path, known, forget=["other-claim"])
        assert record.path.read_text() == text

    def test_what_is_no_text_is_said(self, record, known):
        record.path.write_bytes(b"\xff\xfe\xff")
        with pytest.raises(ValueError, match="expected a record that can be read, got"):
            Record(record.path, known)
        record.path.unlink()
        record.path.mkdir()
        with pytest.raises(ValueError, match="expected a record that can be read, got"):
            Record(record.path, known)

    BAD = {
        "an unknown claim": (
            {"effects": {"gone": {"here": [1.0] * 16}}},
            "data/claims.toml, got 'gone': put the claim",
        ),
        "a seed that is missing": (
            {"effects": {"a-claim": {"here": [1.0] * 15}}},
            "here: expected 16 effects, one per",
        ),
        "NaN": ({"effects": {"a-claim": {"here": [1.0] * 15 + [float("nan")]}}}, "none of them NaN"),
        "a word": ({"effects": {"a-claim": {"here": [1.0] * 15 + ["many"]}}}, "expected 16 effects"),
        "no list": ({"effects": {"a-claim": {"here": 1.0}}}, "expected 16 effects"),
        "no conditions": ({"effects": {"a-claim": {}}}, "a-claim: expected effects by condition, got none"),
        "no seeds": ({"n": 0, "effects": {"a-claim": {"here": []}}}, "expected 0 effects"),
        **{
            f"no {key}": ({key: None}, "expected units with the entries")
            for key in ("experiment", "dataset", "budget", "first", "n", "steps", "fingerprint", "device", "effects")
        },
        **{f"no {key}": ({key: None}, "units with the entries") for key in ("grids", "at_end", "room", "seconds")},
    }

    @pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
    def test_a_bad_unit_is_refused_by_reading_and_by_adding(self, changes, message, record, known):
        record.add(unit())
        record.save({})
        before, kept = record.path.read_bytes(), dict(record.units)
        bad = {key: value for key, value in {**unit(first=16), **changes}.items() if value is not None}
        with pytest.raises(ValueError, match=message):
            record.add(bad)
        assert record.units == kept
        damaged = json.dumps({**json.loads(before), "units": [bad]})
        record.path.write_text(damaged)
        with pytest.raises(ValueError, match=message):
            Record(record.path, known)
        assert record.path.read_text() == damaged

    def test_what_is_to_be_forgotten_may_be_unknown(self, record, known):
        both = {"a-claim": {"here": [1.0] * 16}, "gone": {"here": [1.0] * 16}}
        text = {
            "version": 2,
            "claims": {},
            "units": [unit(effects=both), unit(first=16, effects={"gone": both["gone"]})],
        }
        record.path.write_text(json.dumps(text))
        found = Record(record.path, known, forget=["gone"])
        assert [each["effects"] for each in found.units.values()] == [{"a-claim": both["a-claim"]}]


class TestUnits:
    @pytest.mark.parametrize(("before", "after", "kept"), [(8, 16, 16), (16, 16, 16), (16, 8, 16)])
    def test_a_unit_takes_the_place_of_one_with_no_more_seeds(self, before, after, kept, record):
        record.add(unit(n=before, fingerprint="before"))
        record.add(unit(n=after, fingerprint="after"))
        (found,) = record.units.values()
        assert found["n"] == kept
        assert found["fingerprint"] == ("before" if after < before else "after")

    @pytest.mark.parametrize(
        "other", [{"first": 16}, {"budget": 4}, {"dataset": "mnist_5k"}, {"experiment": "01_small/other"}]
    )
    def test_another_unit_stands_beside_it(self, other, record):
        record.add(unit())
        record.add(unit(**other))
        assert len(record.units) == 2

    def test_what_is_not_wanted_goes_and_a_claim_can_go_alone(self, record):
        both = {"a-claim": {"here": [1.0] * 16}, "other-claim": {"here": [1.0] * 16}}
        record.add(unit(effects=both))
        record.add(unit(first=16))
        record.drop(lambda unit: {"other-claim"})
        (found,) = record.units.values()
        assert set(found["effects"]) == {"other-claim"}


class TestRuns:
    def test_the_seeds_of_a_column_are_put_together(self, record):
        record.add(effects(*[0.0] * 16, first=16, fingerprint="b"))
        record.add(effects(*[2.0] * 16, first=0, fingerprint="a"))
        record.add(effects(*[5.0] * 16, budget=4, fingerprint="c"))
        short, long = record.runs("a-claim")
        assert (short["dataset"], short["budget"], short["n"], short["trains"]) == ("digits", 1, 32, True)
        assert short["fingerprint"] == "a b"
        condition = {"name": "here", "median": 1.0, "low": 0.0, "high": 2.0, "word": "undecided"}
        assert short["conditions"] == [condition]
        assert (long["budget"], long["n"]) == (4, 16)

    def test_conditions_with_new_names_wait_until_they_have_as_many_seeds(self, record):
        """A run that replaces units one after the other can save after each."""
        for first in (0, 16, 32):
            record.add(unit(first=first))
        renamed = {"a-claim": {"there": [3.0] * 16}}
        names = []
        for first in (0, 16, 32):
            record.add(unit(first=first, effects=renamed))
            record.save({"a-claim": [("digits", 1)]})
            ((run,),) = (record.runs("a-claim"),)
            names.append((run["conditions"][0]["name"], run["n"]))
        assert names == [("here", 32), ("there", 32), ("there", 48)]

    def test_a_claim_that_moved_is_not_counted_twice(self, record):
        record.add(unit(effects={"a-claim": {"here": [0.0] * 16}}))
        record.add(unit(experiment="02_new/moved", effects=EFFECTS))
        (run,) = record.runs("a-claim")
        assert run["n"] == 16

    @pytest.mark.parametrize(("at_end", "word"), [(4, "holds"), (5, "not judged")])
    def test_a_best_rate_at_the_end_is_not_judged(self, at_end, word, record):
        record.add(unit(at_end={"one": 0, "other": at_end}))
        (found,) = record.runs("a-claim")[0]["conditions"]
        assert found["word"] == word
        if word == "not judged":
            assert found["reason"].startswith("5 of 16 seeds choose the end of the grid of other")

    def test_the_end_of_an_arm_that_a_condition_does_not_use_does_not_matter(self, record):
        record.add(unit(at_end={"one": 0, "other": 0, "third": 16}))
        assert record.words("a-claim") == ["holds"]

    @pytest.mark.parametrize(("room", "word"), [(1.0, "holds"), (0.9, "not judged")])
    def test_where_less_than_the_threshold_can_be_gained_nothing_is_judged(self, room, word, record):
        record.add(unit(room={"a-claim": {"here": room}}))
        assert record.words("a-claim") == [word]

    def test_an_identity_holds_up_to_its_tolerance(self, tmp_path):
        entries = {"kind": "identity", "smallest": 1e-9, "direction": "at most", "unit": "error"}
        known = claims(write_claims(tmp_path / "claims.toml", a_claim=entries))
        for errors, word in (({"x": 1e-9, "y": 0.0}, "holds"), ({"x": 1e-9, "y": 2e-9}, "depends")):
            record = Record(tmp_path / "x.json", known)
            record.add(unit(n=1, effects={"a-claim": {name: [x] for name, x in errors.items()}}))
            assert record.word("a-claim") == word
            assert record.runs("a-claim")[0]["conditions"][0]["median"] == 1e-9
        record = Record(tmp_path / "y.json", known)
        record.add(unit(n=2, effects={"a-claim": {"the largest counts": [0.0, 2e-9]}}))
        assert record.word("a-claim") == "fails"


COLUMNS = [("digits", 1), ("digits", 4), ("mnist_5k", 1), ("mnist_5k", 4)]


class TestWords:
    def test_while_a_column_is_missing_nothing_holds(self, record):
        words = []
        for dataset, budget in COLUMNS:
            record.add(unit(dataset=dataset, budget=budget))
            words.append(record.word("a-claim", COLUMNS))
        assert words == ["undecided"] * 3 + ["holds"]
        assert record.word("a-claim") == "holds"

    def test_what_holds_here_and_fails_there_depends(self, record):
        record.add(unit())
        record.add(unit(budget=4, effects={"a-claim": {"here": [0.0] * 16}}))
        assert record.word("a-claim", COLUMNS) == "depends"
        assert record.words("a-claim") == ["holds", "fails"]

    def test_a_word_is_saved_and_kept_where_the_lab_is_not_at_hand(self, record, known):
        record.add(unit())
        record.save({"a-claim": COLUMNS[:1]})
        again = Record(record.path, known)
        assert again.saved_word("a-claim") == record.saved_word("a-claim") == "holds"
        again.add(unit(budget=4, effects={"a-claim": {"here": [0.0] * 16}}))
        again.save({})
        assert Record(record.path, known).saved_word("a-claim") == "holds"
        again.save({"a-claim": COLUMNS})
        assert Record(record.path, known).saved_word("a-claim") == "depends"


class TestSaving:
    def test_what_was_saved_is_read_again(self, record, known):
        record.add(effects("Infinity", "-Infinity", *[1.5] * 14))
        record.add(effects(*["Infinity"] * 16, first=16, dataset="mnist_5k"))
        record.save({"a-claim": COLUMNS})
        again = Record(record.path, known)
        assert again.units == record.units
        assert again.runs("a-claim") == record.runs("a-claim")
        assert again.runs("a-claim")[1]["conditions"][0]["median"] == np.inf
        before = record.path.read_bytes()
        again.save({"a-claim": COLUMNS})
        assert record.path.read_bytes() == before

    def test_the_file_is_what_the_tools_are_promised(self, record):
        record.add(effects(*["Infinity"] * 16))
        record.save({"a-claim": COLUMNS})

        def refuse(constant):
            raise ValueError(constant)

        found = json.loads(record.path.read_text(), parse_constant=refuse)
        assert found["version"] == 2
        assert set(found["claims"]["a-claim"]) == {"word", "runs"}
        (run,) = found["claims"]["a-claim"]["runs"]
        assert {"dataset", "budget", "n", "fingerprint", "conditions"} <= set(run)
        assert run["conditions"] == [
            {"name": "here", "median": "Infinity", "low": "Infinity", "high": "Infinity", "word": "holds"}
        ]

    def test_the_order_in_which_units_came_does_not_matter(self, record, known, tmp_path):
        other = Record(tmp_path / "other.json", known)
        units = [unit(first=first, budget=budget) for first in (0, 16) for budget in (1, 4)]
        for each in units:
            record.add(each)
        for each in reversed(units):
            other.add(each)
        record.save({"a-claim": COLUMNS})
        other.save({"a-claim": COLUMNS})
        assert record.path.read_text() == other.path.read_text()

    def test_one_that_cannot_be_written_leaves_what_was_there(self, record, monkeypatch):
        record.add(unit())
        record.save({})
        before = record.path.read_bytes()
        record.add(unit(first=16, seconds=float("nan")))
        with pytest.raises(ValueError, match="JSON"):
            record.save({})
        assert record.path.read_bytes() == before
        assert [path.name for path in record.path.parent.glob("*.json*")] == ["evidence.json"]

    def test_a_record_of_a_megabyte_is_quick(self, tmp_path):
        """It is written after every unit, which takes minutes: a second is little."""
        names = [f"claim_{i}" for i in range(100)]
        known = claims(write_claims(tmp_path / "claims.toml", **{name: {} for name in names}))
        rng = np.random.default_rng(0)
        record = Record(tmp_path / "evidence.json", known)
        for number, claim in enumerate(known):
            for dataset, budget in COLUMNS:
                for first in (0, 16):
                    values = {f"condition {i}": rng.normal(size=16).round(4).tolist() for i in range(6)}
                    place = {"dataset": dataset, "budget": budget, "first": first}
                    record.add(unit(experiment=f"{number}/x", effects={claim: values}, **place))
        columns = dict.fromkeys(known, COLUMNS)
        record.save(columns)
        assert record.path.stat().st_size > 1e6
        began = time.process_time()
        record.save(columns)
        assert time.process_time() - began < 2


class TestOrder:
    def test_columns_come_as_they_are_declared_also_when_the_file_is_read_again(self, tmp_path, record):
        for dataset, budget in (("a", 4), ("b", 1), ("a", 1), ("b", 4)):
            record.add(unit(dataset=dataset, budget=budget))
        declared = [("b", 1), ("b", 4), ("a", 1), ("a", 4)]
        record.save({"a-claim": declared})
        again = Record(record.path, record.known)
        assert [(run["dataset"], run["budget"]) for run in again.runs("a-claim")] == declared
        assert [(run["dataset"], run["budget"]) for run in again.runs("a-claim", declared[::-1])] == declared[::-1]

"""Every seed chooses its own rate, short grids grow, and what a function may not return."""

import json

import numpy as np
import pytest
from evidence_fixtures import write_claims

from utils.evidence import Experiment, Record, experiment
from utils.evidence.labs import measure, open_lab
from utils.evidence.running import GROWTHS, as_unit, choose, run

GRID = (0.1, 0.2, 0.4, 0.8)


def made(function, *, grid=GRID, arms=("one", "other"), kind="experiment", **how):
    rates = dict.fromkeys(arms, grid) if grid else {}
    return Experiment("made", function, {"a-claim": {"here": (None, *arms)}}, kind, rates, steps=300, **how)


def best_at(*exponents):
    """A function whose seeds are best at these powers of two times 0.1, the same for both arms."""
    calls = []

    def function(seeds, data, steps, rates, device):
        calls.append({"rates": dict(rates), "data": data, "steps": steps, "device": device})
        best = 0.1 * 2.0 ** np.array([exponents[seed % len(exponents)] for seed in seeds])
        return {
            arm: {
                rate: np.stack([-np.abs(np.log2(rate / best)), rate * np.ones(len(seeds)) + (arm == "one")], axis=1)
                for rate in grid
            }
            for arm, grid in rates.items()
        }

    function.calls = calls
    return function


class TestChoice:
    def test_every_seed_chooses_its_own_rate(self):
        found = run(made(best_at(1, 2, 1, 1)), range(8))
        np.testing.assert_allclose(found.chosen["one"], [0.2, 0.4, 0.2, 0.2] * 2)
        np.testing.assert_allclose(found.best["other"], [0.2, 0.4, 0.2, 0.2] * 2)
        np.testing.assert_allclose(found.effects["a-claim"]["here"], np.ones(8))

    def test_it_chooses_by_validation_and_reports_on_test_images(self):
        table = {0.1: np.array([[90.0, 1.0], [80.0, 2.0]]), 0.2: np.array([[70.0, 99.0], [85.0, 3.0]])}
        np.testing.assert_array_equal(choose(table), [0.1, 0.2])

    @pytest.mark.parametrize(
        ("scores", "rate"),
        [
            ([5, 5, 5, 5, 5], 0.1),
            ([0, 5, 5, 5, 0], 0.2),
            ([5, 0, 0, 0, 5], 0.1),
            ([0, 0, 0, 5, 5], 0.8),
            ([-np.inf, -np.inf, 0, 1, -np.inf], 0.8),
        ],
    )
    def test_of_equals_it_takes_the_smallest(self, scores, rate):
        grid = [0.1, 0.2, 0.4, 0.8, 1.6]
        table = {rate: np.array([[score, 0.0]]) for rate, score in zip(grid, scores, strict=True)}
        assert choose(dict(reversed(table.items()))) == [rate]

    def test_the_order_in_which_rates_come_does_not_matter(self):
        rng = np.random.default_rng(0)
        table = {rate: rng.integers(0, 3, (50, 2)).astype(float) for rate in GRID}
        expected = []
        for seed in range(50):
            best = max(table[rate][seed, 0] for rate in GRID)
            equals = [rate for rate in GRID if table[rate][seed, 0] == best]
            expected.append(min(equals))
        np.testing.assert_array_equal(choose(dict(reversed(table.items()))), expected)


class TestGrowth:
    def test_a_grid_on_which_nothing_learns_grows_and_is_not_judged(self, tmp_path):
        path = write_claims(tmp_path / "claims.toml", a_claim={})

        def function(seeds, data, steps, rates, device):
            points = {"one": 60.0, "other": 10.0}
            return {
                arm: {r: np.full((len(seeds), 2), points[arm] - 9 * (arm == "one") * (r != 0.2)) for r in rates[arm]}
                for arm in rates
            }

        how = {"rates": (0.1, 0.2, 0.4), "steps": 300, "examples": 32, "path": path}
        declared = experiment({"a-claim": {"here": ("one", "other")}}, **how)(function)
        found = as_unit(declared, run(declared, range(16)))
        assert found["at_end"] == {"one": 0, "other": 16}
        assert len(found["grids"]["other"]) == 3 + 3

    def test_a_grid_in_which_the_best_lies_stays(self):
        function = best_at(1, 2)
        assert run(made(function), range(16)).grids["one"] == list(GRID)
        assert len(function.calls) == 1

    @pytest.mark.parametrize(
        ("exponents", "grid"),
        [
            ((-1,), (0.025, 0.05, *GRID)),
            ((4,), (*GRID, 1.6, 3.2)),
            ((-1, 4), (0.025, 0.05, *GRID, 1.6, 3.2)),
            ((-9,), (0.0125, 0.025, 0.05, *GRID)),  # three times at most
            ((9,), (*GRID, 1.6, 3.2, 6.4)),
        ],
    )
    def test_it_grows_at_the_end_that_seeds_choose(self, exponents, grid):
        function = best_at(*exponents)
        found = run(made(function), range(16))
        np.testing.assert_allclose(found.grids["one"], grid)
        np.testing.assert_allclose(found.grids["other"], grid)
        assert all(len(rates) <= 2 for call in function.calls[1:] for rates in call["rates"].values())
        assert len(function.calls) <= 1 + GROWTHS
        assert found.at_end["one"] == (16 if max(map(abs, exponents)) == 9 else 0)

    @pytest.mark.parametrize("end", [0, 3])
    @pytest.mark.parametrize(("at_the_end", "grows"), [(4, False), (5, True)])
    def test_a_quarter_of_the_seeds_may_choose_the_end(self, at_the_end, grows, end):
        found = run(made(best_at(*[end] * at_the_end, *[1] * (16 - at_the_end))), range(16))
        assert (len(found.grids["one"]) > len(GRID)) is grows
        assert found.at_end["one"] == (0 if grows else at_the_end)

    def test_an_arm_grows_for_itself(self):
        def function(seeds, data, steps, rates, device):
            found = best_at(1)(seeds, data, steps, rates, device)
            return {
                **found,
                **({"other": best_at(4)(seeds, data, steps, rates, device)["other"]} if "other" in rates else {}),
            }

        grids = run(made(function), range(16)).grids
        assert grids["one"] == list(GRID)
        np.testing.assert_allclose(grids["other"], [*GRID, 1.6, 3.2])

    def test_a_given_grid_stays_as_it_is(self):
        found = run(made(best_at(9)), range(16), grids=dict.fromkeys(("one", "other"), [0.1, 0.2, 0.4]))
        assert found.grids["one"] == [0.1, 0.2, 0.4]

    def test_one_rate_is_no_choice_and_has_no_end(self):
        found = run(made(best_at(9), grid=(0.1,)), range(16))
        assert found.grids["one"] == [0.1]
        assert found.at_end == {"one": 0, "other": 0}


@pytest.mark.parametrize("more", [range(32), range(64)])
def test_sixteen_seeds_give_the_same_alone_or_with_more(more):
    function = best_at(-1, 1, 1, 2)
    alone, together = (run(made(function), seeds) for seeds in (range(16), more))
    for arm in ("one", "other"):
        np.testing.assert_array_equal(alone.best[arm], together.best[arm][:16])
        np.testing.assert_array_equal(alone.chosen[arm], together.chosen[arm][:16])


def test_the_function_is_told_data_set_steps_and_device():
    function = best_at(1)
    run(made(function), range(2), data="wine", budget=4, device="cuda")
    assert function.calls[0] | {"rates": 0} == {"rates": 0, "data": "wine", "steps": 1200, "device": "cuda"}
    run(made(function), range(2))
    assert function.calls[-1]["data"] == "digits"


def broken(change):
    """The good function, with what it returns changed."""

    def function(seeds, data, steps, rates, device):
        return change(best_at(1)(seeds, data, steps, rates, device), rates)

    return function


def without(found, key):
    return {name: each for name, each in found.items() if name != key}


class TestWhatAFunctionMayNotReturn:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda found, rates: None, "the function: expected a dict of results by name, got None"),
            (lambda found, rates: without(found, "one"), "the function: expected a result for one, got other"),
            (lambda found, rates: {**found, "one": 3.0}, "one: expected scores by rate, for .* and no others, got 3.0"),
            (lambda found, rates: {**found, "one": without(found["one"], 0.2)}, r"one: .* got \[0.1, 0.4, 0.8\]"),
            (lambda found, rates: {**found, "one": {**found["one"], 7.0: 1}}, r"one: .*0.8, 7.0\]"),
            (lambda found, rates: {a: {r: x[1:] for r, x in t.items()} for a, t in found.items()}, r"shape \(3, 2\)$"),
            (lambda found, rates: {a: {r: x[:, 0] for r, x in t.items()} for a, t in found.items()}, r"shape \(4,\)$"),
            (lambda found, rates: {a: {r: np.nan * x for r, x in t.items()} for a, t in found.items()}, "without NaN"),
            (lambda found, rates: {a: dict.fromkeys(t, "x") for a, t in found.items()}, "expected numbers"),
        ],
    )
    def test_with_rates(self, change, message):
        with pytest.raises(ValueError, match=message):
            run(made(broken(change)), range(4))

    @pytest.mark.parametrize(
        ("found", "message"),
        [
            ([1.0], "the function: expected a dict of results by name"),
            ({"one": np.ones(4)}, "the function: expected a result for other, got one"),
            ({"one": np.ones(3), "other": np.ones(4)}, "one: expected 4 numbers, one per seed, none of them NaN"),
            ({"one": np.ones((4, 2)), "other": np.ones(4)}, "one: expected 4 numbers"),
            ({"one": np.array([1, 1, 1, np.nan]), "other": np.ones(4)}, "one: expected 4 numbers"),
            ({"one": np.full(4, np.inf), "other": np.full(4, np.inf)}, "claim a-claim, here: expected 4 numbers"),
        ],
    )
    def test_without_rates(self, found, message):
        with pytest.raises(ValueError, match=message):
            run(made(lambda **_: found, grid=None), range(4))

    def test_never_reached_is_infinity(self):
        found = run(made(lambda **_: {"one": [np.inf] * 4, "other": [1.0] * 4}, grid=None), range(4))
        assert list(found.effects["a-claim"]["here"]) == [np.inf] * 4

    @pytest.mark.parametrize("errors", [None, {}, {"here": np.nan}, {"here": "x"}, {"here": [1.0, 2.0]}])
    def test_of_an_identity(self, errors):
        with pytest.raises(ValueError, match="expected"):
            run(Experiment("made", lambda: errors, {"a-claim": {}}, "identity"), range(1))

    def test_the_sign_of_an_error_does_not_matter(self):
        found = run(Experiment("made", lambda: {"here": -2e-16}, {"a-claim": {}}, "identity"), range(1))
        assert found.effects["a-claim"]["here"] == [2e-16]

    def test_a_condition_with_a_function_of_its_own(self):
        parts = {"a-claim": {"ratio": (np.divide, "one", "other"), "sum": (lambda *arms: sum(arms), "one", "other")}}
        numbers = {"one": np.arange(1.0, 5), "other": np.full(4, 2.0)}
        found = run(Experiment("made", lambda **_: numbers, parts, "measurement"), range(4)).effects["a-claim"]
        np.testing.assert_array_equal(found["ratio"], [0.5, 1, 1.5, 2])
        np.testing.assert_array_equal(found["sum"], [3, 4, 5, 6])
        parts["a-claim"]["ratio"] = (np.max, "one")
        with pytest.raises(ValueError, match="claim a-claim, ratio: expected 4 numbers"):
            run(Experiment("made", lambda **_: numbers, parts, "measurement"), range(4))


class TestUnit:
    def test_it_has_four_digits_and_goes_through_json(self, tmp_path):
        path = write_claims(tmp_path / "claims.toml", a_claim={"unit": "steps", "kind": "measurement"})
        numbers = {"one": np.array([1 / 3, np.inf, -np.inf, 123456.0]), "other": np.zeros(4)}
        conditions = {"here": ("one", "other"), "there": "one"}
        declared = experiment({"a-claim": conditions}, path=path)(lambda **_: numbers)
        found = as_unit(declared, run(declared, range(4)))
        assert found["effects"]["a-claim"]["here"] == [0.3333, "Infinity", "-Infinity", 123500.0]
        assert (found["grids"], found["rates"], found["at_end"], found["uses"]) == ({}, {}, {}, {})
        assert json.loads(json.dumps(found, allow_nan=False)) == found

    def test_it_keeps_the_median_score_at_each_rate(self, tmp_path):
        path = write_claims(tmp_path / "claims.toml", a_claim={})
        tests = {0.1: [60, 70, 90], 0.2: [80, 10, 85], 0.4: [0, 0, 99]}

        def function(seeds, data, steps, rates, device):
            scores = {0.1: 2, 0.2: 3, 0.4: 1}  # the rate in the middle is chosen, so that the grid stays
            return {arm: {r: [[scores[r], test] for test in tests[r]] for r in grid} for arm, grid in rates.items()}

        how = {"rates": (0.1, 0.2, 0.4), "steps": 300, "examples": 32, "path": path}
        declared = experiment({"a-claim": {"here": ("one", "other")}}, **how)(function)
        found = as_unit(declared, run(declared, range(3)))
        assert found["medians"]["one"] == [[0.1, 70], [0.2, 80], [0.4, 0]]

    @pytest.mark.parametrize(("accuracy", "word"), [(99.5, "not judged"), (99.0, "holds"), (50.0, "holds")])
    def test_where_nothing_can_be_gained_nothing_is_judged(self, accuracy, word, tmp_path):
        path = write_claims(tmp_path / "claims.toml", a_claim={})

        def function(seeds, data, steps, rates, device):
            return {
                arm: {r: np.full((len(seeds), 2), accuracy + 2 * (arm == "one") - 30 * (r != 0.2)) for r in grid}
                for arm, grid in rates.items()
            }

        how = {"rates": (0.1, 0.2, 0.4), "steps": 300, "examples": 32, "path": path}
        declared = experiment({"a-claim": {"here": ("one", "other")}}, **how)(function)
        found = as_unit(declared, run(declared, range(16)))
        assert found["room"] == {"a-claim": {"here": 100 - accuracy}}
        record = Record(tmp_path / "x.json", known=declared.facts)
        where = {"experiment": "01_x/f", "dataset": "digits", "budget": 1, "first": 0, "n": 16, "steps": 300}
        record.add({**where, "fingerprint": "f", "device": "cpu", **found})
        (run_found,) = record.runs("a-claim")
        assert run_found["conditions"][0]["word"] == word


def test_a_lab_whose_definitions_fail_is_said(tmp_path):
    lab = tmp_path / "03_bad.ipynb"
    cell = {"cell_type": "code", "metadata": {"tags": ["define"]}, "source": ["x = 1\n", "undefined"]}
    lab.write_text(json.dumps({"cells": [cell]}))
    with pytest.raises(ValueError, match=r"03_bad.ipynb: expected cells .* got NameError: name 'undefined'"):
        open_lab(lab)
    for text in ("{", "[]", '{"cells": 3}'):
        lab.write_text(text)
        with pytest.raises(ValueError, match=r"03_bad.ipynb: expected a lab, a notebook, got"):
            open_lab(lab)
    with pytest.raises(ValueError, match="expected a lab, a notebook, got"):
        measure(tmp_path / "04_none.ipynb", "x", "digits", 1, 0, 2)

    def test_points_that_are_lost_are_those_of_the_first_arm(self, tmp_path):
        path = write_claims(tmp_path / "claims.toml", a_claim={"unit": "percentage points lost"})

        def function(seeds, data, steps, rates, device):
            points = {"one": 97.0, "other": 99.9}
            return {arm: {rate: np.full((len(seeds), 2), points[arm]) for rate in rates[arm]} for arm in rates}

        how = {"rates": (0.1, 0.2, 0.4), "steps": 300, "examples": 32, "path": path}
        declared = experiment({"a-claim": {"here": ("one", "other")}}, **how)(function)
        assert as_unit(declared, run(declared, range(16)))["room"] == {"a-claim": {"here": 97}}

"""Homework 5, why it works."""

import numpy as np

from . import wrong


@wrong("rates-scores", "effects-scores")
def diverged_left_out(ours):
    def choose_rates(validation):
        average = {"mean": np.nanmean, "median": np.nanmedian}[ours["AVERAGE"]]
        best = average(validation, axis=2).argmax(axis=1)
        return {"best": best, "at_edge": [bool(rate in (0, validation.shape[1] - 1)) for rate in best]}

    return {"choose_rates": choose_rates}


@wrong("rates-scores", "effects-scores")
def the_other_average(ours):
    def choose_rates(validation):
        average = {"mean": np.median, "median": np.mean}[ours["AVERAGE"]]
        best = average(np.nan_to_num(validation), axis=2).argmax(axis=1)
        return {"best": best, "at_edge": [bool(rate in (0, validation.shape[1] - 1)) for rate in best]}

    return {"choose_rates": choose_rates}


@wrong("rates-scores", "effects-scores")
def one_rate_for_both(ours):
    right = ours["choose_rates"]

    def choose_rates(validation):
        return right(np.stack([np.nan_to_num(validation).mean(axis=0)] * 2))

    return {"choose_rates": choose_rates}


@wrong("rates-scores", "effects-scores")
def diverged_kept(ours):
    """Of NaN argmax takes the first."""

    def choose_rates(validation):
        best = {"mean": np.mean, "median": np.median}[ours["AVERAGE"]](validation, axis=2).argmax(axis=1)
        return {"best": best, "at_edge": [bool(rate in (0, validation.shape[1] - 1)) for rate in best]}

    return {"choose_rates": choose_rates}


@wrong("rates-scores", "effects-scores")
def the_luckiest_seed(ours):
    right = ours["choose_rates"]
    return {"choose_rates": lambda validation: right(np.nan_to_num(validation).max(axis=2, keepdims=True))}


@wrong("rates-scores")
def only_the_first_rate_is_an_edge(ours):
    right = ours["choose_rates"]

    def choose_rates(validation):
        found = right(validation)
        return found | {"at_edge": [bool(rate == 0) for rate in found["best"]]}

    return {"choose_rates": choose_rates}


@wrong("rates-scores")
def only_the_last_rate_is_an_edge(ours):
    right = ours["choose_rates"]

    def choose_rates(validation):
        found = right(validation)
        return found | {"at_edge": [bool(rate == validation.shape[1] - 1) for rate in found["best"]]}

    return {"choose_rates": choose_rates}


@wrong("rates-scores")
def edge_on_one_side_only(ours):
    right = ours["choose_rates"]

    def choose_rates(validation):
        found = right(validation)
        return found | {"at_edge": [bool(rate == validation.shape[1]) for rate in found["best"]]}

    return {"choose_rates": choose_rates}


@wrong("effects-scores")
def chosen_on_test_data(ours):
    right = ours["paired_effects"]
    return {"paired_effects": lambda validation, test: right(test, test)}


@wrong("effects-scores")
def judged_on_validation_data(ours):
    right = ours["paired_effects"]
    return {"paired_effects": lambda validation, test: right(validation, validation)}


@wrong("effects-scores")
def fractions(ours):
    right = ours["paired_effects"]
    return {"paired_effects": lambda validation, test: right(validation, test) / 100}


@wrong("effects-scores")
def difference_of_medians(ours):
    right = ours["paired_effects"]
    return {"paired_effects": lambda validation, test: np.median(right(validation, test), keepdims=True)}


@wrong("effects-scores")
def other_sign(ours):
    right = ours["paired_effects"]
    return {"paired_effects": lambda validation, test: -right(validation, test)}


@wrong("interval-scores", "verdict-scores")
def interval_of_the_mean(ours):
    def exact_interval(effects, confidence):
        half = 2.95 * effects.std(ddof=1) / np.sqrt(len(effects))
        return np.array([effects.mean() - half, effects.mean() + half])

    return {"exact_interval": exact_interval}


@wrong("interval-scores", "verdict-scores")
def not_sorted(ours):
    right = ours["exact_interval"]

    def exact_interval(effects, confidence):
        ends = right(np.arange(len(effects)), confidence)
        return effects[ends.astype(int)] if np.isfinite(ends).all() else ends

    return {"exact_interval": exact_interval}


@wrong("interval-scores")
def one_sided(ours):
    """All of what may be missed on each side; with sixteen effects that makes no difference here."""
    right = ours["exact_interval"]
    return {"exact_interval": lambda effects, confidence: right(effects, 1 - 2 * (1 - confidence))}


@wrong("verdict-scores")
def verdict_of_the_median(ours):
    def verdict(effects, smallest, direction):
        above = np.median(effects) >= smallest
        return "supported" if above == (direction == "at least") else "refuted"

    return {"verdict": verdict}


@wrong("verdict-scores")
def confidence_of_the_lecture(ours):
    def verdict(effects, smallest, direction):
        low, high = ours["exact_interval"](effects, 0.95 if ours["CONFIDENCE"] != 0.95 else 0.9)
        if direction == "at most":
            low, high, smallest = -high, -low, -smallest
        return "supported" if low >= smallest else "refuted" if high < smallest else "inconclusive"

    return {"verdict": verdict}


@wrong("verdict-scores")
def an_end_at_the_smallest_is_not_enough(ours):
    right = ours["verdict"]

    def verdict(effects, smallest, direction):
        return right(effects, smallest + (1e-9 if direction == "at least" else -1e-9), direction)

    return {"verdict": verdict}


@wrong("verdict-scores")
def refuted_for_inconclusive(ours):
    right = ours["verdict"]
    return {"verdict": lambda *case, **named: right(*case, **named).replace("inconclusive", "refuted")}


@wrong("seeds-scores")
def one_end_is_enough(ours):
    return {"fewest_seeds": lambda confidence: int(np.ceil(-np.log2(1 - confidence)))}


@wrong("run-scores")
def not_seeded(ours):
    right, rng = ours["run"], np.random.default_rng()
    return {"run": lambda seed, rates, steps: right(int(rng.integers(1000)), rates, steps)}


@wrong("run-scores")
def percent(ours):
    right = ours["run"]

    def run(seed, rates, steps):
        return {part: 100 * values for part, values in right(seed, rates, steps).items()}

    return {"run": run}


@wrong("run-scores")
def validated_on_test_data(ours):
    right = ours["run"]

    def run(seed, rates, steps):
        found = right(seed, rates, steps)
        return {"validation": found["test"], "test": found["test"]}

    return {"run": run}


@wrong("run-scores")
def the_seed_does_nothing(ours):
    right = ours["run"]
    return {"run": lambda seed, rates, steps: right(0, rates, steps)}


@wrong("run-scores")
def one_arm_twice(ours):
    right = ours["run"]

    def run(seed, rates, steps):
        return {part: values[[0, 0]] for part, values in right(seed, rates, steps).items()}

    return {"run": run}


@wrong("run-scores")
def transposed(ours):
    right = ours["run"]

    def run(seed, rates, steps):
        return {part: values.T for part, values in right(seed, rates, steps).items()}

    return {"run": run}


@wrong("run-scores")
def the_best_rate_only(ours):
    right = ours["run"]

    def run(seed, rates, steps):
        return {part: values.max(axis=1) for part, values in right(seed, rates, steps).items()}

    return {"run": run}


@wrong("run-scores")
def an_audit_of_ones_own(ours):
    good = {"shapes": [[2, 3], [2, 3]], "the same seed gives the same": True, "the arms differ": True}
    return {"audit": lambda seed, rates, steps: good, "run": lambda seed, rates, steps: good}

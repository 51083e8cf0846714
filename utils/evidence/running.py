"""Run an experiment on some seeds: every seed chooses its own learning rate, and a grid that is too short grows."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from utils.arrays import instance, numeric, whole
from utils.evidence.experiments import Experiment
from utils.evidence.protocol import in_points, is_loss
from utils.evidence.statistics import median

__all__ = ["Measured", "run"]

GROWTHS = 3
SHARE_AT_END = 0.25


@dataclass(frozen=True, eq=False)
class Measured:
    """What an experiment gave for some seeds, on one data set, at one budget.

    Parameters
    ----------
    tables : dict of str to dict of float to ndarray, shape (n, 2)
        For each arm and rate the scores on validation and test images; without rates, for each arm an array (n,).
    best : dict of str to ndarray, shape (n,)
        For each arm the test score of every seed at its own rate.
    chosen : dict of str to ndarray, shape (n,)
        For each arm these rates.
    effects : dict of str to dict of str to ndarray, shape (n,)
        For each claim and condition.
    seconds : float
    """

    tables: dict
    best: dict
    chosen: dict
    effects: dict
    seconds: float

    @property
    def grids(self):
        """The rates of every arm, ascending, with those that were added."""
        return {arm: sorted(self.tables[arm]) for arm in self.chosen}

    @property
    def at_end(self):
        """How many seeds chose the first or the last rate of each arm's grid, whichever more did."""
        return {arm: max(_at_ends(rates, self.grids[arm])) for arm, rates in self.chosen.items()}


def run(experiment, seeds, *, data=None, budget=1, device="cpu", grids=None):
    """Run an experiment.

    Parameters
    ----------
    experiment : Experiment
    seeds : range
    data : str, optional
        Of the data set; its first one by default.
    budget : int
        Factor of T.
    device : str
    grids : dict of str to sequence of float, optional
        Rates to take instead of the declared ones; they do not grow.

    Returns
    -------
    Measured

    Raises
    ------
    ValueError
        If an argument is of another kind, or the function returns something else than was agreed, or NaN.
    """
    began = time.perf_counter()
    instance(experiment, Experiment, "experiment", what="a declared experiment")
    instance(seeds, range, "seeds", what="a range")
    instance(device, str, "device", what="the name of a device")
    instance(grids, Mapping | None, "grids", what="rates by arm")
    instance(data, str | None, "data", what="the name of a data set")
    data = experiment.datasets[0] if data is None else data
    steps = experiment.steps * whole(budget, "budget")

    def measured(rates):
        return experiment.function(seeds=seeds, data=data, steps=steps, rates=rates, device=device)

    if experiment.kind == "identity":
        errors = _by_name(experiment.function(), (), "an identity")
        effects = {
            name: {str(label): _column([error], 1, str(label)) for label, error in errors.items()}
            for name in experiment.claims
        }
        effects = {name: {label: np.abs(error) for label, error in each.items()} for name, each in effects.items()}
        return Measured({}, {}, {}, effects, time.perf_counter() - began)
    if not experiment.rates:
        arms = {arm for each in experiment.claims.values() for _, *arms in each.values() for arm in arms}
        found = _by_name(measured({}), arms, "the function")
        best = {arm: _column(values, len(seeds), arm) for arm, values in found.items()}
        tables, chosen = best, {}
    else:
        first = dict(grids or experiment.rates)
        tables = _tables(measured(first), first, len(seeds))
        for _ in range(0 if grids else GROWTHS):
            wanted = {arm: rates for arm, table in tables.items() if (rates := _more(table))}
            if not wanted:
                break
            for arm, more in _tables(measured(wanted), wanted, len(seeds)).items():
                tables[arm] |= more
        chosen = {arm: choose(table) for arm, table in tables.items()}
        best = {arm: _at(table, chosen[arm]) for arm, table in tables.items()}
    effects = {
        name: {label: _effect(f"claim {name}, {label}", best, *parts) for label, parts in conditions.items()}
        for name, conditions in experiment.claims.items()
    }
    return Measured(tables, best, chosen, effects, time.perf_counter() - began)


def choose(table):
    """The rate with the best score on validation images, for every seed.

    Of equals it is the smallest: a grid on which nothing learns, all at chance, then looks too short, and it grows.
    """
    rates = np.array(sorted(table))
    return rates[np.argmax([table[rate][:, 0] for rate in rates], axis=0)]


def _at(table, rates):
    """The test score of every seed at its rate."""
    return np.array([table[rate][seed, 1] for seed, rate in enumerate(rates)])


def _at_ends(chosen, grid):
    """How many seeds chose the first and the last rate; none chose anything where there is but one."""
    if len(grid) == 1:
        return 0, 0
    return int((chosen == grid[0]).sum()), int((chosen == grid[-1]).sum())


def _more(table):
    """The rates by which a grid should grow: beyond each end that more than a quarter of the seeds choose."""
    grid = sorted(table)
    low, high = _at_ends(choose(table), grid)
    limit = SHARE_AT_END * len(next(iter(table.values())))
    below = [grid[0] ** 2 / grid[1]] if low > limit else []
    return tuple(below + ([grid[-1] ** 2 / grid[-2]] if high > limit else []))


def _effect(what, best, function, *arms):
    if missing := sorted(set(arms) - set(best)):
        raise ValueError(f"{what}: expected numbers of the arm {missing[0]}, got those of {', '.join(best)}")
    values = [best[arm] for arm in arms]
    if function is not None:
        return _column(function(*values), len(values[0]), what)
    with np.errstate(invalid="ignore"):  # infinity minus infinity is refused below
        return _column(values[0] if len(values) == 1 else values[0] - values[1], len(values[0]), what)


def _column(values, n, what):
    values = numeric(values, what).astype(np.float64)
    if values.shape != (n,) or np.isnan(values).any():
        raise ValueError(f"{what}: expected {n} numbers, one per seed, none of them NaN, got {values}")
    return values


def _by_name(found, names, what):
    """What a function returned, if it is a dict with at least these names."""
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{what}: expected a dict of results by name, got {found!r}")
    if missing := sorted(set(names) - set(found)):
        raise ValueError(f"{what}: expected a result for {missing[0]}, got {', '.join(map(str, found))}")
    return found


def _tables(found, wanted, n):
    """The scores of every arm and rate as arrays, if they are those of n seeds at the rates that were wanted."""
    tables = {}
    for arm, table in _by_name(found, wanted, "the function").items():
        rates = wanted.get(arm, ())
        if not isinstance(table, Mapping) or set(table) != set(rates):
            got = list(table) if isinstance(table, Mapping) else table
            raise ValueError(f"{arm}: expected scores by rate, for {list(rates)} and no others, got {got!r}")
        tables[arm] = {}
        for rate, values in table.items():
            values = numeric(values, f"{arm} at {rate}").astype(np.float64)
            if values.shape != (n, 2) or np.isnan(values).any():
                raise ValueError(
                    f"{arm} at {rate}: expected scores on validation and test images of shape ({n}, 2), without NaN, "
                    f"got shape {values.shape}"
                )
            tables[arm][float(rate)] = values
    return tables


def as_unit(experiment, measured):
    """What the record keeps of it: effects with four digits, grids, and what only a run can show.

    Parameters
    ----------
    experiment : Experiment
    measured : Measured

    Returns
    -------
    dict
    """
    effects = {
        name: {label: [_rounded(x) for x in values] for label, values in conditions.items()}
        for name, conditions in measured.effects.items()
    }
    return {
        "effects": effects,
        "uses": {
            name: {label: list(arms) for label, (_, *arms) in conditions.items()}
            for name, conditions in experiment.claims.items()
        }
        if experiment.rates
        else {},
        "rates": {arm: list(rates) for arm, rates in experiment.rates.items()},
        "grids": measured.grids,
        "medians": _medians(measured),
        "at_end": measured.at_end,
        "room": _room(experiment, measured),
        "seconds": round(measured.seconds, 1),
    }


def _medians(measured):
    """The median test score of each arm at each rate; JSON has words for keys, so both stand in a list."""
    return {
        arm: [[rate, float(f"{np.median(measured.tables[arm][rate][:, 1]):.4g}")] for rate in grid]
        for arm, grid in measured.grids.items()
    }


def _rounded(x):
    """Four digits; JSON has no infinity, which travels as the word that float() reads."""
    return float(f"{x:.4g}") if np.isfinite(x) else ("Infinity" if x > 0 else "-Infinity")


def _room(experiment, measured):
    """How many points each condition could gain over its second arm, or lose of its first, at most (at the median)."""
    found = {}
    for name, claim in experiment.facts.items():
        if in_points(claim) and claim.direction == "at least" and claim.smallest > 0:
            pairs = {label: arms for label, (function, *arms) in experiment.claims[name].items() if function is None}
            found[name] = {
                label: round(median(measured.best[arms[0]] if is_loss(claim) else 100 - measured.best[arms[1]]), 2)
                for label, arms in pairs.items()
                if len(arms) == 2
            }
    return found

"""The record of the long runs, ``data/evidence.json``: effects per seed, and the words that follow from them."""

import json
import math
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import numpy as np

from utils.arrays import instance
from utils.data_files import data_file
from utils.evidence.claims import CLAIMS, claims
from utils.evidence.protocol import is_loss
from utils.evidence.running import SHARE_AT_END
from utils.evidence.statistics import NOT_JUDGED, condition, median, together
from utils.files import write_atomically

__all__ = ["RECORD", "Record"]

#: The record of the course.
#:
#: :meta hide-value:
RECORD = data_file("evidence.json")
VERSION = 2
_UNIT = {
    "experiment": str,
    "dataset": str,
    "budget": int,
    "first": int,
    "n": int,
    "steps": int,
    "fingerprint": str,
    "device": str,
    "effects": dict,
    "grids": dict,
    "at_end": dict,
    "room": dict,
    "seconds": int | float,
}


class Record:
    """What was measured: units of work, each some seeds of an experiment on one data set at one budget.

    Parameters
    ----------
    path : path-like
        A file that need not be there yet.
    known : dict of str to Claim, optional
        The claims that it may speak of; those of the course by default.
    forget : collection of str
        Ids of claims to leave out.

    Raises
    ------
    ValueError
        If an argument is of another kind; if the file is truncated, of another version, or speaks of a claim that there
        is not.
    """

    def __init__(self, path=RECORD, known=None, forget=()):
        self.path = instance(path, str | PathLike, "path", what="a path") and Path(path)
        self.known = claims(CLAIMS) if known is None else instance(known, dict, "known", what="claims by their ids")
        self.units, self._saved = {}, {}
        ids = list(forget) if isinstance(forget, Iterable) and not isinstance(forget, str) else [None]
        if not all(isinstance(each, str) for each in ids):
            raise ValueError(f"forget: expected ids of claims, got {forget!r}")
        for unit in self._read(ids):
            self.units[_key(unit)] = unit

    def _read(self, forget):
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.path}: expected a record that can be read, got: {error}") from None
        advice = "restore the file from git, or remove it and run make evidence"
        try:
            found = json.loads(text)
        except ValueError:
            raise ValueError(
                f"{self.path}: expected JSON to its end, got a truncated or damaged file: {advice}"
            ) from None
        version = found.get("version") if isinstance(found, dict) else None
        if version != VERSION:
            raise ValueError(f"{self.path}: expected a record of version {VERSION}, got version {version}: {advice}")
        units, saved = found.get("units"), found.get("claims", {})
        if not isinstance(units, list) or not isinstance(saved, dict):
            raise ValueError(f"{self.path}: expected a list of units and a table of claims, got others: {advice}")
        self._saved = {name: each for name, each in saved.items() if isinstance(each, dict) and name not in forget}
        for unit in units:
            self._check_entries(unit, advice)
            unit["effects"] = {name: each for name, each in unit["effects"].items() if name not in forget}
            self._check(unit, advice)
        return [unit for unit in units if unit["effects"]]

    def _check_entries(self, unit, advice):
        if not isinstance(unit, dict) or any(not isinstance(unit.get(key), kind) for key, kind in _UNIT.items()):
            raise ValueError(f"{self.path}: expected units with the entries {', '.join(_UNIT)}, got another: {advice}")

    def _check(self, unit, advice):
        self._check_entries(unit, advice)
        for name, conditions in unit["effects"].items():
            if name not in self.known:
                raise ValueError(
                    f"{self.path}: expected claims of data/claims.toml, got {name!r}: put the claim back, or take it "
                    f"out of the record with make evidence FORGET={name}"
                )
            if not isinstance(conditions, dict) or not conditions:
                raise ValueError(f"{self.path}: claim {name}: expected effects by condition, got none: {advice}")
            for label, values in conditions.items():
                if not _are_effects(values, unit["n"]):
                    raise ValueError(
                        f"{self.path}: claim {name}, {label}: expected {unit['n']} effects, one per seed, none of them "
                        f"NaN, got {values}: {advice}"
                    )

    def add(self, unit):
        """Put a unit in, in place of one with the same first seed, unless that has more seeds.

        Parameters
        ----------
        unit : dict
            As `utils.evidence.running.as_unit` makes it, with experiment, dataset, budget, first, n, fingerprint and
            device.

        Raises
        ------
        ValueError
            If an entry is missing, a seed's effect is missing, or one is NaN.
        """
        self._check(unit, "run it again")
        before = self.units.get(_key(unit))
        if before is None or before["n"] <= unit["n"]:
            self.units[_key(unit)] = unit

    def drop(self, wanted):
        """Leave out what is no longer wanted.

        Parameters
        ----------
        wanted : callable
            From a unit to the ids of the claims whose effects it keeps; a unit that keeps none goes.
        """
        kept = {}
        for key, unit in self.units.items():
            ids = wanted(unit)
            effects = {name: each for name, each in unit["effects"].items() if name in ids}
            if effects:
                kept[key] = {**unit, "effects": effects}
        self.units = kept

    def runs(self, claim_id, columns=None):
        """The runs of one claim: its conditions for each data set and budget.

        Parameters
        ----------
        claim_id : str
        columns : list of tuple of str and int, optional
            Data sets and budgets in the order that is wanted; by default as they were written.

        Returns
        -------
        list of dict
            Keys dataset, budget, n, trains (whether budgets matter), fingerprint, conditions.
        """
        found = {}
        for unit in sorted(self.units.values(), key=_order):
            if claim_id in unit["effects"]:
                alike = found.setdefault((unit["dataset"], unit["budget"]), {})
                alike.setdefault((unit["experiment"], *unit["effects"][claim_id]), []).append(unit)
        # While a run replaces units whose conditions had other names, those with the most seeds count.
        chosen = {key: max(alike.values(), key=_seeds) for key, alike in found.items()}
        written = [(run["dataset"], run["budget"]) for run in self._saved.get(claim_id, {}).get("runs", [])]
        order = [*(columns or written), *chosen]
        return [
            {
                "dataset": dataset,
                "budget": budget,
                "n": _seeds(units),
                "trains": units[0]["steps"] > 0,
                "fingerprint": " ".join(sorted({unit["fingerprint"] for unit in units})),
                "conditions": [
                    _condition(label, self.known[claim_id], units) for label in units[0]["effects"][claim_id]
                ],
            }
            for (dataset, budget), units in sorted(chosen.items(), key=lambda item: order.index(item[0]))
        ]

    def scores(self, claim_id):
        """The median test scores of the first seeds over the learning rates, for what a claim compares.

        Parameters
        ----------
        claim_id : str

        Returns
        -------
        dict of (str, int) to dict of str to ndarray, shape (rates, 2)
            For each data set and budget, and each arm of the claim: rates and scores. Without runs that kept them, {}.
        """
        found = {}
        for unit in sorted(self.units.values(), key=_order):
            if unit["first"] == 0 and claim_id in unit["effects"] and unit.get("medians"):
                arms = {arm for each in unit["uses"][claim_id].values() for arm in each}
                kept = {arm: np.array(table) for arm, table in unit["medians"].items() if arm in arms}
                found[unit["dataset"], unit["budget"]] = kept
        return found

    def words(self, claim_id):
        """The words of all recorded conditions of a claim.

        Parameters
        ----------
        claim_id : str

        Returns
        -------
        list of str
        """
        return [each["word"] for run in self.runs(claim_id) for each in run["conditions"]]

    def saved_word(self, claim_id):
        """The word of a claim as it was written.

        Parameters
        ----------
        claim_id : str

        Returns
        -------
        str or None
        """
        return self._saved.get(claim_id, {}).get("word")

    def word(self, claim_id, columns=None):
        """The word of a claim.

        Parameters
        ----------
        claim_id : str
        columns : list of tuple of str and int, optional
            The data sets and budgets that the protocol wants; while one is missing, nothing holds or fails as a whole.

        Returns
        -------
        str or None
            None if nothing is recorded.
        """
        return _word(self.runs(claim_id), columns)

    def save(self, columns=None):
        """Write the record as a whole or not at all.

        Parameters
        ----------
        columns : dict of str to list, optional
            For each claim those that the protocol wants; a claim that is not in it keeps its word.

        Raises
        ------
        OSError
            If it cannot be written; what was there is there still.
        """
        units = [dict(self.units[key]) for key in sorted(self.units)]
        ids = dict.fromkeys(name for unit in units for name in unit["effects"])
        found = {}
        for name in sorted(ids):
            runs = self.runs(name, (columns or {}).get(name))
            word = _word(runs, columns[name]) if name in (columns or {}) else self.saved_word(name)
            runs = [{**run, "conditions": [_as_json(each) for each in run["conditions"]]} for run in runs]
            found[name] = {"word": word, "runs": runs}
        self._saved = found
        claim_lines = (f"{_json(name)}: {_json(each)}" for name, each in found.items())
        parts = (
            f'"version": {VERSION}',
            '"claims": {\n' + ",\n".join(claim_lines) + "\n}",
            '"units": [\n' + ",\n".join(map(_json, units)) + "\n]",
        )
        write_atomically(self.path, "{\n" + ",\n".join(parts) + "\n}\n")


def _key(unit):
    return unit["experiment"], unit["dataset"], unit["budget"], unit["first"]


def _order(unit):
    return unit["budget"], unit["first"]


def _seeds(units):
    return sum(unit["n"] for unit in units)


def _word(runs, columns):
    """The word of a claim from its runs; a column that is missing is undecided."""
    if not runs:
        return None
    there = {(run["dataset"], run["budget"]) for run in runs}
    words = [each["word"] for run in runs for each in run["conditions"]]
    return together(words + ["undecided"] * (not set(columns or ()) <= there))


def _json(value):
    return json.dumps(value, allow_nan=False)


def _are_effects(values, n):
    """Whether these are n numbers, or infinities as the words that JSON has for them."""
    return (
        isinstance(values, list)
        and len(values) == n > 0
        and all(x in ("Infinity", "-Infinity") or (isinstance(x, int | float) and not math.isnan(x)) for x in values)
    )


def _as_json(each):
    """A condition with numbers that JSON has."""
    return {key: _number(x) if isinstance(x, float) else x for key, x in each.items()}


def _number(x):
    return float(f"{x:.4g}") if np.isfinite(x) else {np.inf: "Infinity", -np.inf: "-Infinity"}[x]


def _condition(label, claim, units):
    """One condition over all units of a column."""
    effects = [float(x) for unit in units for x in unit["effects"][claim.id][label]]
    found = {"name": label, **judged(effects, claim)}
    if claim.kind != "identity" and (reason := not_judged(label, claim, units)):
        found |= {"word": NOT_JUDGED, "reason": reason}
    return found


def judged(effects, claim):
    """Median, interval and word of effects; of an identity, which has no interval, the largest error and the word."""
    if claim.kind != "identity":
        return condition(effects, claim)
    error = max(effects)
    return {"median": error, "low": error, "high": error, "word": "holds" if error <= claim.smallest else "fails"}


def not_judged(label, claim, units):
    """Why a condition cannot be judged, which only a run can show; None if it can."""
    n = _seeds(units)
    for arm in units[0].get("uses", {}).get(claim.id, {}).get(label, ()):
        at_end = sum(unit["at_end"].get(arm, 0) for unit in units)
        if at_end > SHARE_AT_END * n:
            return f"{at_end} of {n} seeds choose the end of the grid of {arm}, which has grown three times"
    rooms = [unit["room"].get(claim.id, {}).get(label) for unit in units]
    if None not in rooms and (room := median(np.array(rooms, dtype=float))) < claim.smallest:
        return f"no more than {room:.1f} points could be {'lost' if is_loss(claim) else 'gained'}"
    return None

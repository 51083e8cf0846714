"""From one effect per seed to a word: the median, its exact interval, and the rules for one and for many conditions."""

import math
from collections import Counter
from functools import cache

import numpy as np
from scipy.stats import binom

from utils.arrays import instance, numeric
from utils.evidence.claims import Claim

__all__ = ["condition", "counts", "coverage", "interval", "together"]

CONFIDENCE = 0.95
NOT_JUDGED = "not judged"


def interval(n):
    """Which order statistics bound the median of n numbers with at least 95 % confidence.

    Parameters
    ----------
    n : int

    Returns
    -------
    int
        k: the interval goes from the k-th smallest to the k-th largest; 0 where n numbers are too few, below 6.

    Notes
    -----
    The k-th smallest of n lies above the median when fewer than k of n fair coins show heads: exact for the median of
    any distribution (H. A. David and H. N. Nagaraja, Order Statistics, 2003, section 7.1).
    """
    return _interval(n)[0]


def coverage(n):
    """The confidence that the interval of n numbers really has.

    Parameters
    ----------
    n : int

    Returns
    -------
    float
        At least 0.95; 1 where the interval is without bounds.
    """
    return _interval(n)[1]


@cache
def _interval(n):
    """The order statistic and the confidence that it gives."""
    k = int(binom.ppf((1 - CONFIDENCE) / 2, n, 0.5))
    k += bool(binom.cdf(k, n, 0.5) <= (1 - CONFIDENCE) / 2)
    return k, float(1 - 2 * binom.cdf(k - 1, n, 0.5))


def median(values):
    """The median; between a finite and an infinite number, where there is no middle, the finite one."""
    lower, upper = np.sort(values)[[(len(values) - 1) // 2, len(values) // 2]]
    if lower == upper:
        return float(lower)
    finite = [x for x in (lower, upper) if np.isfinite(x)]
    return float(np.mean(finite or [lower]))


def condition(effect, claim):
    """Judge one condition of a claim.

    Parameters
    ----------
    effect : array_like, shape (n,)
        One number per seed, in the claim's unit and direction; infinity for "never reached".
    claim : Claim

    Returns
    -------
    dict
        median, low, high and word: "holds" if the whole interval lies on the claim's side of `smallest`, whose own
        value belongs to the claim, "fails" if it lies on the other side, "undecided" otherwise.

    Raises
    ------
    ValueError
        If the effect is not one number per seed, or NaN.
    """
    effect = numeric(effect, "effect")
    if effect.ndim != 1 or effect.size == 0:
        raise ValueError(f"effect: expected one number per seed, shape (n,), got shape {effect.shape}")
    if missing := int(np.isnan(effect).sum()):
        raise ValueError(
            f"effect: expected numbers, got {missing} of {effect.size} that are NaN: 'never reached' is infinity, and "
            "a missing value is a fault of the experiment"
        )
    instance(claim, Claim, "claim")
    ordered, k = np.sort(effect.astype(np.float64)), interval(effect.size)
    low, high = (float(ordered[k - 1]), float(ordered[-k])) if k else (-np.inf, np.inf)
    return {"median": median(ordered), "low": low, "high": high, "word": _word(low, high, claim)}


def _word(low, high, claim):
    sign = 1 if claim.direction == "at least" else -1
    nearest, farthest = (low, high) if sign > 0 else (high, low)
    if sign * nearest >= sign * claim.smallest:
        return "holds"
    return "fails" if sign * farthest < sign * claim.smallest else "undecided"


def together(words):
    """The word of a claim from those of its conditions.

    Parameters
    ----------
    words : sequence of str
        "holds", "fails", "undecided" or "not judged", which counts as undecided.

    Returns
    -------
    str
        "holds" if all hold, "fails" if all fail, "depends" if some hold and some fail, "undecided" otherwise.
    """
    found = set(words)
    if found in ({"holds"}, {"fails"}):
        return found.pop()
    return "depends" if {"holds", "fails"} <= found else "undecided"


def counts(words):
    """How many conditions have which word, in words.

    Parameters
    ----------
    words : sequence of str

    Returns
    -------
    str

    Examples
    --------
    >>> counts(["holds", "holds", "holds", "undecided", "undecided"])
    '3 of 5 hold, none fails'
    """
    found = Counter(words)
    hold, fail = found["holds"], found["fails"]
    text = f"{hold or 'none'} of {len(words)} hold{'s' if hold <= 1 else ''}"
    text += f", {fail or 'none'} fail{'s' if fail <= 1 else ''}"
    return text + (f", {found[NOT_JUDGED]} not judged" if found[NOT_JUDGED] else "")


def expected_errors(conditions):
    """At most how many words of conditions are wrong by chance: half of what the intervals do not cover, for each.

    Parameters
    ----------
    conditions : iterable of tuple of int and str
        n and the word of each condition.

    Returns
    -------
    float
        As if every true median lay just on the other side of the threshold; otherwise it is less.
    """
    decided = [n for n, word in conditions if word in ("holds", "fails")]
    return math.fsum((1 - coverage(n)) / 2 for n in decided)

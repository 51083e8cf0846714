"""The rule of the first edition, for claims that no lab has taken over: a verdict from one run of the notebook."""

import html
import os
from dataclasses import dataclass

import numpy as np
from scipy.stats import quantile_test

from utils.arrays import number, numeric
from utils.evidence.cards import MIME
from utils.evidence.claims import CLAIMS, Claim
from utils.evidence.claims import claim_called as _claim

__all__ = ["OldCard", "check", "judge"]

CONFIDENCE = 0.95
# Colour-blind safe and with a word beside it: colour is never the only sign.
_COLOURS = {"supported": "#0072B2", "supported in part": "#56B4E9", "refuted": "#D55E00", "inconclusive": "#777777"}


def _strict():
    """Whether a verdict that differs from the recorded one is an error: in CI, on the default data only."""
    in_ci = os.environ.get("CI", "").strip().lower() not in ("", "0", "false", "no")
    return in_ci and (os.environ.get("DATASET") or "digits") == "digits"


def _weigh(effect, claim):
    """Median, exact interval and verdict of one array of effects."""
    effect = numeric(effect, "effect")
    if effect.ndim != 1 or effect.size == 0:
        raise ValueError(f"effect: expected one number per seed, shape (n,), got shape {effect.shape}")
    n, sign = effect.size, 1 if claim.direction == "at least" else -1
    missing = int(np.isnan(effect).sum())
    if missing:
        if _strict():
            raise ValueError(
                f"effect: {missing} of {n} are NaN; 'never reached' is infinity, a missing value is a fault"
            )
        return {"verdict": "inconclusive", "median": np.nan, "low": -np.inf, "high": np.inf, "n": n}
    interval = quantile_test(effect, q=claim.smallest, p=0.5).confidence_interval(CONFIDENCE)
    low, high = (fallback if np.isnan(x) else float(x) for x, fallback in zip(interval, (-np.inf, np.inf), strict=True))
    nearest, farthest = (low, high) if sign > 0 else (high, low)
    if sign * nearest >= sign * claim.smallest:
        verdict = "supported"
    elif sign * farthest < sign * claim.smallest:
        verdict = "refuted"
    else:
        verdict = "inconclusive"
    return {"verdict": verdict, "median": _median(effect), "low": low, "high": high, "n": n}


def _median(effect):
    """The median; between a finite and an infinite number, where there is no middle, the finite one."""
    lower, upper = np.sort(effect)[[(effect.size - 1) // 2, effect.size // 2]]
    if lower == upper:
        return float(lower)
    return float(np.mean([x for x in (lower, upper) if np.isfinite(x)] or [lower]))


def _together(verdicts):
    """The verdict of a claim from those of its conditions."""
    if len(set(verdicts)) == 1:
        return verdicts[0]
    if "supported" in verdicts:
        return "supported in part"
    return "refuted"  # some conditions refute it, none supports it


def judge(claim_id, *, effect, timed=False, path=CLAIMS):
    """Judge a claim from one paired effect per seed.

    Parameters
    ----------
    claim_id : str
        A table of ``claims.toml``.
    effect : array_like, shape (n_seeds,), or dict of str to such arrays
        One number per seed, in the claim's unit; infinity for "never reached". A dict gives the effects under
        several conditions: the claim is supported in part if it holds under some of them only, and refuted if some
        refute it and none supports it.
    timed : bool
        The effect holds measured times. Its verdict depends on the machine, so that another one is never an error.
    path : path-like
        Where the claims are.

    Returns
    -------
    OldCard

    Raises
    ------
    ValueError
        For an unknown claim or an effect that is not one number per seed; in CI also for NaN.
    AssertionError
        In CI, on the default data set, if the verdict differs from the recorded one. Never in a reader's hands.

    Notes
    -----
    The interval is that of order statistics (``scipy.stats.quantile_test``): exact for the median of any distribution,
    at home with ties and infinities, and free of randomness. With direction "at least" the claim is *supported* when
    the whole interval lies at or above `smallest`, *refuted* when it lies below, *inconclusive* otherwise.
    """
    claim = _claim(claim_id, path)
    if isinstance(effect, dict):
        if not effect:
            raise ValueError("effect: expected at least one condition, got an empty dict")
        parts = [{"condition": str(name), **_weigh(values, claim)} for name, values in effect.items()]
    else:
        parts = [_weigh(effect, claim)]
    card = OldCard(claim, _together([part["verdict"] for part in parts]), tuple(parts), claim.unit, timed=timed)
    return card if timed else _finish(card)


def check(claim_id, error, tolerance, *, path=CLAIMS):
    """Judge a claim that is an exact identity: the error is a number, and no statistics are involved.

    Parameters
    ----------
    claim_id : str
        A table of ``claims.toml``.
    error : float
        The largest deviation from the identity.
    tolerance : float
        What rounding may do.
    path : path-like
        Where the claims are.

    Returns
    -------
    OldCard

    Raises
    ------
    ValueError
        For an unknown claim or a tolerance that is not positive.
    AssertionError
        As in `judge`.
    """
    claim, error = _claim(claim_id, path), abs(number(error, "error", finite=False))
    tolerance = number(tolerance, "tolerance", above=0)
    verdict = "supported" if error <= tolerance else "refuted"
    part = {"verdict": verdict, "median": error, "low": error, "high": error, "n": 1}
    return _finish(OldCard(claim, verdict, (part,), claim.unit, tolerance))


def _finish(card):
    if card.differs and _strict():
        raise AssertionError(
            f"claim {card.claim.id}: the verdict is {card.verdict!r}, data/claims.toml records {card.claim.verdict!r}:"
            + "".join(f"\n{line}" for line in card._lines())
            + "\nIf the experiment is right, correct verdict and why in data/claims.toml, then run make notebooks."
        )
    return card


def _number(x):
    """Four digits at most, without an exponent where none is needed."""
    if np.isinf(x):
        return "∞" if x > 0 else "−∞"
    return f"{x:.3g}" if abs(x) < 999.5 or abs(x) >= 1e6 else f"{x:,.0f}".replace(",", " ")


def _json(x):
    """JSON has no infinity and no NaN: they travel as the words that float() reads."""
    return x if np.isfinite(x) else {np.inf: "Infinity", -np.inf: "-Infinity"}.get(x, "NaN")


@dataclass(frozen=True, eq=False)
class OldCard:
    """A verdict that can be seen: text, HTML, and JSON for the tools that collect it.

    Parameters
    ----------
    claim : Claim
    verdict : str
        As measured now.
    parts : tuple of dict
        One for each condition: verdict, median, low, high, n, and the condition's name where there are several.
    unit : str
    tolerance : float, optional
        Of an identity.
    timed : bool
        The effect holds measured times.
    """

    claim: Claim
    verdict: str
    parts: tuple
    unit: str
    tolerance: float | None = None
    timed: bool = False

    @property
    def differs(self):
        """Whether the recorded verdict is another one."""
        return self.verdict != self.claim.verdict

    @property
    def smallest(self):
        """What decides: the smallest effect that matters, or the tolerance."""
        return self.claim.smallest if self.tolerance is None else self.tolerance

    def numbers(self, part):
        """One line: the median with its interval and what it was held against.

        Parameters
        ----------
        part : dict

        Returns
        -------
        str
        """
        bound = f"{self.claim.direction} {_number(self.smallest)}"
        if self.tolerance is not None:
            return f"error {part['median']:.1e} {self.unit}, tolerance {self.tolerance:.0e}"
        return (
            f"median {_number(part['median'])} {self.unit}, 95 % interval {_number(part['low'])} to "
            f"{_number(part['high'])}, {part['n']} seeds; the claim needs {bound}"
        )

    def to_json(self):
        """What is stored in the notebook.

        Returns
        -------
        dict
            Keys id, verdict, median, low, high, n, unit, smallest; with several conditions these are of the first, and
            "parts" holds all of them; "timed" is true where the effect holds measured times.
        """
        keys = ("median", "low", "high")
        parts = [{**part, **{key: _json(part[key]) for key in keys}} for part in self.parts]
        first = {key: parts[0][key] for key in (*keys, "n")}
        card = {"id": self.claim.id, "verdict": self.verdict, **first, "unit": self.unit, "smallest": self.smallest}
        card |= {"timed": True} if self.timed else {}
        return card if len(parts) == 1 else {**card, "parts": parts}

    def _lines(self):
        """The numbers, a line each, with the condition where there are several."""
        for part in self.parts:
            label = f"{part['condition']} — {part['verdict']}: " if "condition" in part else ""
            yield label + self.numbers(part)

    def _remark(self):
        if self.differs and self.timed:
            return f"Measured times depend on the machine: the record says {self.claim.verdict}. {self.claim.why}"
        if self.differs:
            return f"This differs from the recorded verdict ({self.claim.verdict})."
        return self.claim.why

    def __repr__(self):
        lines = [
            f"{self.verdict.upper()}: {self.claim.statement}",
            *self._lines(),
            self._remark(),
            f"[{self.claim.id}]",
        ]
        return "\n".join(lines)

    def _repr_mimebundle_(self, include=None, exclude=None):
        colour, escape = _COLOURS[self.verdict], html.escape
        rows = "".join(f"<div>{escape(line)}</div>" for line in self._lines())
        card = (
            f'<div style="border-left: 6px solid {colour}; padding: 0.4em 0.9em; margin: 0.4em 0; max-width: 46em">'
            f'<div><b style="color: {colour}">{escape(self.verdict)}</b> &nbsp; {escape(self.claim.statement)}</div>'
            f'<div style="opacity: 0.8">“{escape(self.claim.quote)}” — {escape(self.claim.source)}</div>'
            f"{rows}<div>{escape(self._remark())} <code>{escape(self.claim.id)}</code></div></div>"
        )
        return {"text/plain": repr(self), "text/html": card, MIME: self.to_json()}

"""What the checks of all assignments share: they say what is wrong with a student's function, in a sentence.

An array is compared with the right one and, where it differs, with what the usual wrong formulas give. All data are
random and all shapes lopsided: ones, squares and symmetric numbers hide faults. Each check prints what it found,
"right" or "not attempted", and returns the sentences; a check never raises because of what it checks.

Functions get and give plain arrays and dicts. They are called by the names of their arguments, with copies, which must
be unchanged afterwards.
"""

import copy
import functools

import numpy as np

from utils.byhand.gradient_check import relative_error

__all__ = ["compare", "demand", "example", "expect", "review"]

TOLERANCE = 1e-7
NOT_ATTEMPTED = "not attempted"


def compare(name, got, want, wrong=None, *, tolerance=TOLERANCE):
    """What is wrong with an array, in a sentence.

    Parameters
    ----------
    name : str
        What to call it.
    got : object
        What somebody's function gave.
    want : array_like
        What is right.
    wrong : dict of str to array_like, or list of such pairs, optional
        A sentence for each of the usual wrong results.
    tolerance : float
        Largest relative error, as in `utils.byhand.gradient_check.relative_error`.

    Returns
    -------
    str or None
        None if nothing is wrong.

    Examples
    --------
    >>> compare("dgamma", [2.0, 4.0], [6.0, 12.0])
    'dgamma is 0.3333 times what it should be, everywhere'
    """
    want = np.asarray(want, dtype=np.float64)
    if got is None:
        return f"{name} is None: is a return missing?"
    try:
        got = np.asarray(got, dtype=np.float64)
    except (TypeError, ValueError):
        return f"{name} should be an array of numbers, but is {type(got).__name__}"
    # Wrong results first: they may have a wrong shape, too.
    for sentence, result in wrong.items() if isinstance(wrong, dict) else wrong or ():
        result = np.asarray(result, dtype=np.float64)
        if not _close(result, want, tolerance) and _close(got, result, tolerance):
            return sentence
    if got.shape != want.shape:
        return f"{name} has shape {got.shape}, expected {want.shape}"
    if np.isnan(got).any() and not np.isnan(want).any():
        return f"{name} has {int(np.isnan(got).sum())} NaN"
    if _close(got, want, tolerance):
        return None
    if not np.array_equal(np.isinf(got), np.isinf(want)):
        return f"{name} is infinite in the wrong places, or not in the right ones"
    if want.any() and np.isfinite(got).all():
        factor = float((got * want).sum() / (want * want).sum())
        if factor and want.size > 1 and _close(got, factor * want, tolerance):
            return f"{name} is {factor:.4g} times what it should be, everywhere"
    if want.size == 1:
        texts = [[f"{value.item():.{digits}g}" for value in (got, want)] for digits in (6, 15)]
        one, other = next((pair for pair in texts if pair[0] != pair[1]), texts[-1])
        return f"{name} is {one}, expected {other}"
    return f"{name} is wrong: relative error {relative_error(got, want):.2g}"


def _close(a, b, tolerance):
    """Whether two arrays are the same apart from rounding; infinities must be at the same places."""
    finite = np.isfinite(b)
    if a.shape != b.shape or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    return not finite.any() or relative_error(a[finite], b[finite]) <= tolerance


class Stop(Exception):
    """A finding after which nothing else can be judged; the message is its sentence."""


def demand(sentence):
    """End the review with a sentence, if there is one.

    Parameters
    ----------
    sentence : str or None

    Raises
    ------
    Stop
        If there is a sentence.
    """
    if sentence:
        raise Stop(sentence)


def expect(function, kind, words, /, **given):
    """What a function gives; if that is of another kind, the review ends.

    Parameters
    ----------
    function : callable
    kind : type
        With bool, a NumPy boolean will do.
    words : str
        What to call the kind.
    **given : object
        Arguments.

    Returns
    -------
    object

    Raises
    ------
    Stop
        If it is of another kind.
    """
    got = function(**given)
    if not isinstance(got, (kind, np.bool_) if kind is bool else kind):
        name = "None" if got is None else f"an object of type {type(got).__name__}"
        hint = ": is the return missing?" if got is None else ""
        raise Stop(f"{function.__name__} gives {name}, expected {words}{hint}")
    return got


def review(title, findings, *, fine="right"):
    """Print what was found, and keep whatever a function raises.

    Parameters
    ----------
    title : str
    findings : iterable of str or None
        A generator that calls somebody's functions and yields what `compare` says.
    fine : str
        What to print if nothing is wrong.

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.
    """
    found = []
    try:
        with np.errstate(all="ignore"):  # the sentence says more than a warning
            for sentence in findings:
                found += [sentence] if sentence else []
    except Stop as last:
        found.append(str(last))
    except NotImplementedError:
        found.append(NOT_ATTEMPTED)
    except Exception as error:
        renamed = isinstance(error, TypeError) and "unexpected keyword argument" in str(error)
        hint = "; keep the names of the arguments" if renamed else ""
        found.append(f"raised {type(error).__name__}: {error}{hint}")
    found = tuple(dict.fromkeys(found))
    text = "; ".join(found) or fine
    print(text if text.startswith(f"{title} ") else f"{title}: {text}")
    return found


def check(title):
    """Make a check of a function that yields findings: called, it reviews them."""

    def make(findings):
        @functools.wraps(findings)
        def reviewed(*given, **named):
            return review(title, findings(*given, **named))

        return reviewed

    return make


def answer(title, function, keys, /, **given):
    """What a function gives for copies of the arguments; yields a sentence if it changed one, and demands the keys."""
    handed = copy.deepcopy(given)
    got = function(**handed)
    changed = [name for name in given if not _same(given[name], handed[name])]
    yield f"{title} changes its argument {changed[0]}; it should make a new one" if changed else None
    if keys is not None:
        if not isinstance(got, dict):
            raise Stop(f"{title} should give a dict with {', '.join(keys)}, but gives {type(got).__name__}")
        missing = [key for key in keys if key not in got]
        demand(f"{title} gives no {', '.join(missing)}" if missing else None)
    return got


def _same(a, b):
    """Whether an argument is as it was."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a is b or np.array_equal(a, b, equal_nan=getattr(a, "dtype", np.dtype(int)).kind == "f")


def example(function, arguments, want, wrong=None, *, name="the result", tolerance=TOLERANCE):
    """Check a function on one example that can be worked out on paper.

    Parameters
    ----------
    function : callable
    arguments : dict
        By name.
    want : array_like or dict of str to array_like
    wrong : dict of str to array_like, or dict of str to such dicts, optional
        Sentences for wrong results; for each key if the function gives a dict.
    name : str
        What to call a result that is no dict.
    tolerance : float

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.

    Examples
    --------
    >>> example(lambda a, b: a - b, {"a": 1, "b": 2}, 3, {"a and b are subtracted": -1})
    the result: a and b are subtracted
    ('a and b are subtracted',)
    """
    title = getattr(function, "__name__", "<lambda>")
    title = name if title == "<lambda>" else title

    def findings():
        if not isinstance(want, dict):
            got = yield from answer(title, function, None, **arguments)
            yield compare(name, got, want, wrong, tolerance=tolerance)
            return
        got = yield from answer(title, function, want, **arguments)
        for key, value in want.items():
            yield compare(key, got[key], value, (wrong or {}).get(key), tolerance=tolerance)

    return review(title, findings())


def table(rng, n=7, d=3):
    """A table of examples whose features have means and deviations of their own."""
    return rng.uniform(-3, 3, d) + rng.uniform(0.5, 4, d) * rng.normal(size=(n, d))

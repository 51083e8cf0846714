"""What the other modules expect of an array, and the sentence that a reader gets otherwise.

Each check gives back what it has checked, or raises a ValueError that says what was expected and what came. `name` is
what the caller calls the value, and `hint` the end of the message.
"""

import operator
from numbers import Integral

import numpy as np

__all__ = []  # all of it is for the other modules


def _array(values, name):
    """The values as an array of whatever dtype; ragged ones, and what NumPy cannot read, are refused."""
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        problem = "rows of different lengths" if isinstance(error, ValueError) else type(values).__name__
        raise ValueError(f"{name}: expected an array of numbers, got {problem} ({error})") from None


def _scalar(value, kinds):
    """The value as a Python number if it is a single one of these kinds of dtype, else None."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return array.item() if array.ndim == 0 and array.dtype.kind in kinds else None


def whole(value, name, *, at_least=1, at_most=None, hint=""):
    """An integer of Python or NumPy as an int; both ends count as in range. No boolean, and no float that is whole."""
    found = _scalar(value, "iu")
    if found is None or found < at_least or (at_most is not None and found > at_most):
        expected = "a positive integer" if at_least == 1 else f"an integer of at least {at_least}"
        expected = expected if at_most is None else f"an integer from {at_least} to {at_most}"
        raise ValueError(f"{name}: expected {expected}, got {repr(value) if found is None else found}{hint}")
    return found


def number(value, name, *, at_least=None, above=None, at_most=None, below=None, finite=True, hint=""):
    """A real number of Python or NumPy as a float, no boolean; the ends `at_least` and `at_most` count as in range.

    With `finite`, infinity is refused, and NaN too where there is no range.
    """
    found = _scalar(value, "iuf")
    ends = ((operator.ge, at_least), (operator.gt, above), (operator.le, at_most), (operator.lt, below))
    inside = found is not None and all(fits(found, end) for fits, end in ends if end is not None)
    if inside and (np.isfinite(found) or not finite):
        return float(found)
    low, high = at_least if above is None else above, at_most if below is None else below
    kind = "finite number" if finite and (low is high is None or found in (np.inf, -np.inf)) else "number"
    if high is not None:
        expected = f"a {kind} between {low} and {high}"
        if above is None:
            expected = f"a {kind} from {low} to {'' if below is None else 'below '}{high}"
    elif above == 0:
        expected = f"a positive {kind}"
    else:
        expected = f"a {kind}" + ("" if low is None else f" of at least {low}" if above is None else f" above {low}")
    raise ValueError(f"{name}: expected {expected}, got {repr(value) if found is None else found}{hint}")


def one_of(value, names, name, *, hint=""):
    """A name that is one of several."""
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name}: expected one of {', '.join(names) or 'none'}, got {value!r}{hint}")
    return value


def instance(value, kind, name, *, what=None):
    """An object of a kind, a type or several, which the message calls `what`."""
    if not isinstance(value, kind):
        raise ValueError(f"{name}: expected {what or 'a ' + kind.__name__}, got {type(value).__name__}")
    return value


def generator(seed, name="seed"):
    """The generator that a seed stands for, or itself; never None, with which nobody could draw the same again."""
    is_seed = isinstance(seed, Integral) and not isinstance(seed, bool) and seed >= 0
    if not is_seed and not isinstance(seed, np.random.Generator):
        raise ValueError(
            f"{name}: expected a seed or a numpy.random.Generator, got {seed!r}; "
            "pass one, so that the same numbers can be drawn again"
        )
    return np.random.default_rng(seed)


def numeric(values, name):
    """Floating-point numbers or integers of any shape as float64, NaN and infinity among them: always a copy."""
    array = _array(values, name)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name}: expected numbers, got {array.dtype}")
    return array.astype(np.float64)


def by_identity(cls):
    """Compare named tuples of arrays by identity, as dataclasses with eq=False: ``==`` of arrays has many answers."""
    cls.__eq__, cls.__ne__ = (lambda self, other: self is other), (lambda self, other: self is not other)
    cls.__hash__ = object.__hash__
    return cls


def float_array(values, name, *, finite=True):
    """Floating-point numbers of any shape in their own dtype, finite ones unless told otherwise.

    They are not copied where that can be avoided: never write to them.
    """
    array = _array(values, name)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"{name}: expected floating-point numbers (float32 or float64), got {array.dtype}; "
            f"convert on purpose with {name}.astype(np.float64)"
        )
    if finite and not np.isfinite(array).all():
        bad = int(np.size(array) - np.isfinite(array).sum())
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name}: expected finite numbers, got {bad} NaN or infinite of {array.size}, the first at index {first}; "
            "remove or impute them first"
        )
    return array


def matrix(values, name="X", *, min_rows=1, n_features=None):
    """A table of examples of shape (n, d): floats, finite, not empty, with as many features as were seen before."""
    array, min_rows = float_array(values, name, finite=False), whole(min_rows, "min_rows")
    if array.ndim != 2:
        hint = ""
        if array.ndim == 1:
            hint = f"; for one feature use {name}.reshape(-1, 1), for one example {name}.reshape(1, -1)"
        raise ValueError(f"{name}: expected shape (n, d), one row per example, got {array.shape}{hint}")
    n, d = array.shape
    if n == 0 or d == 0:
        raise ValueError(
            f"{name}: expected at least one example and one feature, got an empty array of shape {array.shape}"
        )
    if n_features is not None and d != whole(n_features, "n_features"):
        raise ValueError(f"{name}: expected {n_features} features, as in fit, got {d} (shape {array.shape})")
    if n < min_rows:
        raise ValueError(
            f"{name}: expected at least {min_rows} examples, got {n} (shape {array.shape}); "
            "the standard deviation of one number is zero"
        )
    return float_array(array, name)


def targets(values, n, name="y"):
    """The targets of n examples, shape (n,): floats, finite."""
    array = float_array(values, name)
    if array.shape != (whole(n, "n", at_least=0),):
        raise ValueError(f"{name}: expected shape ({n},), one target per example, got {array.shape}")
    return array

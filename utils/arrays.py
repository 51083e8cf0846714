"""What the other modules expect of an array, and the sentence that a reader gets otherwise."""

import operator
from numbers import Integral

import numpy as np

__all__ = [
    "by_identity",
    "float_array",
    "generator",
    "instance",
    "matrix",
    "number",
    "numeric",
    "one_of",
    "targets",
    "whole",
]


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
    """Check an integer.

    Parameters
    ----------
    value : int
        Of Python or NumPy; no boolean, and no float that happens to be whole.
    name, hint : str
        What the caller calls it, and the end of the message.
    at_least, at_most : int, optional
        Both count as in range.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        With what was expected and what came.
    """
    found = _scalar(value, "iu")
    if found is None or found < at_least or (at_most is not None and found > at_most):
        expected = "a positive integer" if at_least == 1 else f"an integer of at least {at_least}"
        expected = expected if at_most is None else f"an integer from {at_least} to {at_most}"
        raise ValueError(f"{name}: expected {expected}, got {repr(value) if found is None else found}{hint}")
    return found


def number(value, name, *, at_least=None, above=None, at_most=None, below=None, finite=True, hint=""):
    """Check a real number.

    Parameters
    ----------
    value : float
        Of Python or NumPy, or an integer; no boolean.
    name, hint : str
        What the caller calls it, and the end of the message.
    at_least, above, at_most, below : float, optional
        The ends of the range; the first and the third count as in range.
    finite : bool
        Refuse infinity, and NaN too where there is no range.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        With what was expected and what came.
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
    """Check a name that is one of several.

    Parameters
    ----------
    value : str
    names : iterable of str
    name, hint : str
        What the caller calls it, and the end of the message.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        With the names that there are.
    """
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name}: expected one of {', '.join(names) or 'none'}, got {value!r}{hint}")
    return value


def instance(value, kind, name, *, what=None):
    """Check that an object is of a kind.

    Parameters
    ----------
    value : object
    kind : type
    name, what : str
        How the message calls the value and the kind.

    Returns
    -------
    object
        The value.

    Raises
    ------
    ValueError
        With the types.
    """
    if not isinstance(value, kind):
        raise ValueError(f"{name}: expected {what or 'a ' + kind.__name__}, got {type(value).__name__}")
    return value


def generator(seed, name="seed"):
    """The generator of random numbers that a seed stands for.

    Parameters
    ----------
    seed : int or numpy.random.Generator
    name : str
        What the caller calls it, for the message.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    ValueError
        Also for None, with which nobody could draw the same numbers again.
    """
    is_seed = isinstance(seed, Integral) and not isinstance(seed, bool) and seed >= 0
    if not is_seed and not isinstance(seed, np.random.Generator):
        raise ValueError(
            f"{name}: expected a seed or a numpy.random.Generator, got {seed!r}; "
            "pass one, so that the same numbers can be drawn again"
        )
    return np.random.default_rng(seed)


def numeric(values, name):
    """Numbers of any real dtype as float64, NaN and infinity among them.

    Parameters
    ----------
    values : array_like, any shape
        Floating-point numbers or integers.
    name : str
        What the caller calls it, for the message.

    Returns
    -------
    ndarray, float64
        A copy.

    Raises
    ------
    ValueError
        For booleans, complex numbers, strings, objects and ragged lists.
    """
    array = _array(values, name)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name}: expected numbers, got {array.dtype}")
    return array.astype(np.float64)


def by_identity(cls):
    """Compare named tuples of arrays by identity, as dataclasses with eq=False: ``==`` of arrays is no single answer.

    Parameters
    ----------
    cls : type
        A named tuple.

    Returns
    -------
    type
        The same.
    """
    cls.__eq__, cls.__ne__ = (lambda self, other: self is other), (lambda self, other: self is not other)
    cls.__hash__ = object.__hash__
    return cls


def float_array(values, name, *, finite=True):
    """Check that the values are floating-point numbers, and finite.

    Parameters
    ----------
    values : array_like, any shape, float16, float32 or float64
    name : str
        What the caller calls it, for the message.
    finite : bool
        Refuse NaN and infinity.

    Returns
    -------
    ndarray
        The same numbers, not copied where that can be avoided; never to be written to.

    Raises
    ------
    ValueError
        For integers, booleans, complex numbers, objects, ragged lists, NaN and infinity.
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
    """Check a table of examples: shape (n, d), floats, finite, not empty.

    Parameters
    ----------
    values : array_like, shape (n, d), float16, float32 or float64
    name : str
    min_rows : int
        The fewest examples that will do.
    n_features : int, optional
        The d that was seen before.

    Returns
    -------
    ndarray, shape (n, d)

    Raises
    ------
    ValueError
        With the shape that was expected and the one that came.
    """
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
    """Check the targets of n examples: shape (n,), floats, finite.

    Parameters
    ----------
    values : array_like, shape (n,), float
    n : int
        How many examples there are.
    name : str

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ValueError
        With the shape that was expected and the one that came.
    """
    array = float_array(values, name)
    if array.shape != (whole(n, "n", at_least=0),):
        raise ValueError(f"{name}: expected shape ({n},), one target per example, got {array.shape}")
    return array

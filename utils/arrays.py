"""What the other modules expect of an array, and the sentence that a reader gets otherwise."""

import numpy as np

__all__ = ["float_array", "matrix", "targets"]


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
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array of numbers, got rows of different lengths ({error})") from None
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
    array = float_array(values, name, finite=False)
    if array.ndim != 2:
        hint = ""
        if array.ndim == 1:
            hint = f"; for one feature use {name}.reshape(-1, 1), for one example {name}.reshape(1, -1)"
        raise ValueError(f"{name}: expected shape (n, d), one row an example, got {array.shape}{hint}")
    n, d = array.shape
    if n == 0 or d == 0:
        raise ValueError(
            f"{name}: expected at least one example and one feature, got an empty array of shape {array.shape}"
        )
    if n_features is not None and d != n_features:
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
    if array.shape != (n,):
        raise ValueError(f"{name}: expected shape ({n},), one target an example, got {array.shape}")
    return array

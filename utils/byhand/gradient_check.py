"""Check a gradient written by hand against differences of the function itself."""

from collections.abc import Callable

import numpy as np

from utils.arrays import float_array, instance, number, numeric

__all__ = ["numerical_gradient", "relative_error", "size_of"]


def numerical_gradient(f, x, *, step=1e-5):
    """Gradient of a scalar function by central differences.

    Parameters
    ----------
    f : callable
        ``f(x) -> float``, for x of this shape; it must not keep or change x. The upstream gradient in it should be
        *random*: the loss ``sum(y)`` of a batch norm has no gradient at all, and ``sum(y**2)`` almost none.
    x : array_like, any shape, float64
        Where.
    step : float
        Distance h of the differences, in the units of x.

    Returns
    -------
    ndarray, shape of x, float64
        :math:`(f(x + h e_i) - f(x - h e_i)) / 2h`, with an error of order :math:`h^2` from the curvature and of order
        :math:`10^{-16} |f| / h` from rounding.

    Raises
    ------
    ValueError
        If x is not float64 (single precision has too few digits for differences), step is not positive, or f does not
        give one number.

    Examples
    --------
    >>> numerical_gradient(lambda x: float((x**2).sum()), np.array([1.0, 3.0])).round(6)
    array([2., 6.])
    """
    x = float_array(x, "x")
    if x.dtype != np.float64:
        raise ValueError(f"x: expected float64, got {x.dtype}; differences need the digits")
    step, f = number(step, "step", above=0), instance(f, Callable, "f", what="a function")
    gradient = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        values = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            value = numeric(f(moved), "f")
            if value.size != 1:
                raise ValueError(f"f: expected one number, got an array of shape {value.shape}")
            values.append(float(value.reshape(())))
        gradient[index] = (values[0] - values[1]) / (2 * step)
    return gradient


def relative_error(ours, reference):
    """Largest absolute difference over the largest absolute reference value, one number for a whole array.

    Parameters
    ----------
    ours, reference : array_like, same shape, float

    Returns
    -------
    float
        0 if both are zero everywhere; infinite if only the reference is; NaN if either has NaN.

    Raises
    ------
    ValueError
        If the shapes differ or there is nothing to compare.
    """
    ours, reference = numeric(ours, "ours"), numeric(reference, "reference")
    if ours.shape != reference.shape or ours.size == 0:
        raise ValueError(f"expected two arrays of one shape with elements, got {ours.shape} and {reference.shape}")
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN
        difference, scale = np.abs(ours - reference).max(), np.abs(reference).max()
        if difference == 0:
            return 0.0
        return float(difference / scale) if scale else float(difference * np.inf)


def size_of(error):
    """Say how large an error is, in words that are the same on every computer.

    Parameters
    ----------
    error : float
        At least 0; infinity and NaN are said as they are.

    Returns
    -------
    str
        "below 1e-12" for an error of rounding and "below 1e-06" for one of differences, each at most a tenth of its
        bound, so that another processor says the same; for larger errors two digits, such as "0.36".

    Raises
    ------
    ValueError
        If error is no number, or negative.

    Examples
    --------
    >>> size_of(3e-16), size_of(0.357)
    ('below 1e-12', '0.36')
    """
    error = number(error, "error", finite=False)
    if error < 0:
        raise ValueError(f"error: expected a number of at least 0, got {error}")
    bounds = (bound for bound in (1e-12, 1e-6) if error <= bound / 10)
    return next((f"below {bound:.0e}" for bound in bounds), f"{error:.2g}")

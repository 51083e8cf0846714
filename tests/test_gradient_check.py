"""Numerical gradients against closed forms, and what a relative error is."""

import numpy as np
import pytest

from utils.byhand.gradient_check import numerical_gradient, relative_error, size_of
from utils.byhand.normalization import normalize_backward, normalize_forward

CLOSED_FORMS = {
    "square": (lambda x: (x**2).sum(), lambda x: 2 * x),
    "sine": (lambda x: np.sin(x).sum(), np.cos),
    "exponential": (lambda x: np.exp(-x).sum(), lambda x: -np.exp(-x)),
    "constant": (lambda x: 3.0, np.zeros_like),
    "one number in an array": (lambda x: (x**2).sum().reshape(1, 1), lambda x: 2 * x),
}


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (2, 1, 3), (0, 3)])
@pytest.mark.parametrize(("f", "gradient"), CLOSED_FORMS.values(), ids=CLOSED_FORMS)
def test_closed_forms(f, gradient, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    ours = numerical_gradient(f, x)
    assert ours.shape == shape
    assert ours.dtype == np.float64
    # Curvature: h^2 / 6 times a third derivative of at most exp(3) is 3e-10; rounding: 1e-16 * 50 / 1e-5 is 5e-10.
    np.testing.assert_allclose(ours, gradient(x), atol=2e-9)


def test_a_quadratic_form_at_any_step():
    rng = np.random.default_rng(1)
    A, x = rng.standard_normal((4, 4)), rng.standard_normal(4)
    for step in (1e-5, 1e-3, 1.0):  # no third derivative: a long step does no harm, rounding is 1e-15 / step at most
        np.testing.assert_allclose(numerical_gradient(lambda v: v @ A @ v, x, step=step), (A + A.T) @ x, atol=1e-9)


def test_the_error_goes_with_the_square_of_the_step():
    errors = [float(numerical_gradient(np.exp, np.array(0.0), step=h) - 1) for h in (1e-1, 1e-2)]
    assert errors[0] / errors[1] == pytest.approx(100, rel=1e-2)  # the next term of the series: h^2 / 20 is 5e-4


def test_the_point_is_left_alone():
    x = np.array([1.0, 2.0, 3.0])
    x.flags.writeable = False

    def f(moved):
        assert not np.shares_memory(moved, x)
        return moved.sum()

    np.testing.assert_allclose(numerical_gradient(f, x), 1, atol=1e-9)
    np.testing.assert_allclose(numerical_gradient(f, x[::2]), [1, 1], atol=1e-9)
    np.testing.assert_allclose(numerical_gradient(f, [1.0, 2.0]), [1, 1], atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"x": np.ones(2, dtype=kind)}, f"x: expected float64, got {kind}") for kind in ("float32", "float16")),
        ({"x": [1, 2]}, "x: expected floating-point numbers"),
        ({"x": np.array([1.0, np.nan])}, "x: expected finite numbers, got 1 NaN"),
        *(({"step": step}, "step: expected a positive number") for step in (0, -1e-5)),
        ({"f": lambda x: x}, r"f: expected one number, got an array of shape \(2,\)"),
        ({"f": lambda x: x[:0]}, r"f: expected one number, got an array of shape \(0,\)"),
    ],
)
def test_what_has_no_gradient_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        numerical_gradient(**{"f": np.sum, "x": np.ones(2)} | options)


@pytest.mark.parametrize(
    ("ours", "reference", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.0], [1.0, 4.0], 0.5),
        ([1e-3, 4.0], [0.0, 4.0], 2.5e-4),  # a zero in the reference does not explode
        ([-1.0], [1.0], 2.0),
        (3.0, 2.0, 0.5),
        ([[1, 2]], [[1, 1]], 1.0),
        (np.float32([1.5]), [1.0], 0.5),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 1e-300], [0.0, 0.0], np.inf),
        ([0.0, 0.0], [0.0, 5.0], 1.0),
        ([np.nan, 1.0], [1.0, 1.0], np.nan),
        ([1.0, 1.0], [np.nan, 1.0], np.nan),
        ([np.nan, 1.0], [0.0, 0.0], np.nan),
        ([np.inf, 1.0], [1.0, 1.0], np.inf),
    ],
)
def test_relative_error(ours, reference, expected):
    error = relative_error(ours, reference)
    assert type(error) is float
    assert error == pytest.approx(expected, rel=1e-15, nan_ok=True)


@pytest.mark.parametrize("ours", [[np.inf], [1.0], [-np.inf]])
def test_an_infinite_reference_is_never_met(ours):
    assert not relative_error(ours, [np.inf]) < 1  # a gradient that diverged must not pass a check


@pytest.mark.parametrize(("ours", "reference"), [([1.0], 1.0), ([[1.0]], [1.0]), ([1.0, 1.0], [1.0]), ([], [])])
def test_other_shapes_are_refused(ours, reference):
    with pytest.raises(ValueError, match="expected two arrays of one shape with elements"):
        relative_error(ours, reference)


def errors_of(wrong, upstream, x):
    """Largest difference of the wrong and of the right gradient from the numerical one."""
    _, cache = normalize_forward(x, axes=0)
    numerical = numerical_gradient(lambda moved: (upstream * normalize_forward(moved, axes=0)[0]).sum(), x)
    right = normalize_backward(upstream, cache)[0]
    return np.abs(wrong(upstream, cache) - numerical).max(), np.abs(right - numerical).max()


def test_ones_upstream_hide_a_missing_path_and_random_ones_do_not():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((5, 3))

    def without_the_path_through_the_variance(dy, cache):
        return (dy - dy.mean(axis=0)) * cache.inv_std

    # The sum of a batch norm's output is constant: every gradient is zero up to the rounding of the differences.
    assert max(errors_of(without_the_path_through_the_variance, np.ones_like(x), x)) < 1e-9
    found, fine = errors_of(without_the_path_through_the_variance, rng.standard_normal(x.shape), x)
    assert found > 0.1
    assert fine < 1e-8  # curvature: h^2 times third derivatives of order 10


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (0, "below 1e-12"),
        (1e-13, "below 1e-12"),
        (1.1e-13, "below 1e-06"),  # too near to 1e-12 for another processor
        (1e-7, "below 1e-06"),
        (1.1e-7, "1.1e-07"),
        (0.3571, "0.36"),
        (np.inf, "inf"),
        (np.nan, "nan"),
    ],
)
def test_the_size_of_an_error_is_a_bound_ten_times_as_large_or_two_digits(error, words):
    assert size_of(error) == words


def test_a_negative_error_is_refused():
    with pytest.raises(ValueError, match="error: expected a number of at least 0, got -1.0"):
        size_of(-1)

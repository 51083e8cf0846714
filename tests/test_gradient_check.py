"""Numerical gradients against closed forms and autograd, and what a relative error is."""

import numpy as np
import pytest
import torch

from utils.byhand.gradient_check import numerical_gradient, relative_error
from utils.byhand.normalization import normalize_backward, normalize_forward

CLOSED_FORMS = {
    "square": (lambda x: (x**2).sum(), lambda x: 2 * x),
    "sine": (lambda x: np.sin(x).sum(), np.cos),
    "exponential": (lambda x: np.exp(-x).sum(), lambda x: -np.exp(-x)),
    "constant": (lambda x: 3.0, np.zeros_like),
}


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (2, 1, 3)])
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


def test_autograd_agrees():
    rng = np.random.default_rng(2)
    W, x = rng.standard_normal((3, 4)), rng.standard_normal((2, 3))
    there = torch.tensor(x, requires_grad=True)
    torch.tanh(there @ torch.tensor(W)).square().sum().backward()
    ours = numerical_gradient(lambda v: (np.tanh(v @ W) ** 2).sum(), x)
    assert relative_error(ours, there.grad) < 1e-8  # 1e-10 of curvature, 1e-16 * 8 / 1e-5 of rounding


def test_one_number_may_come_in_an_array():
    np.testing.assert_allclose(numerical_gradient(lambda x: (x**2).reshape(1, 1), np.array([2.0])), [4], atol=1e-9)


def test_the_point_is_left_alone():
    x = np.array([1.0, 2.0, 3.0])
    x.flags.writeable = False

    def f(moved):
        assert not np.shares_memory(moved, x)
        return moved.sum()

    np.testing.assert_allclose(numerical_gradient(f, x), 1, atol=1e-9)
    np.testing.assert_allclose(numerical_gradient(f, x[::2]), [1, 1], atol=1e-9)
    np.testing.assert_allclose(numerical_gradient(f, [1.0, 2.0]), [1, 1], atol=1e-9)


def test_nothing_to_move_gives_an_empty_gradient():
    assert numerical_gradient(np.sum, np.empty((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones(2, dtype=np.float32), "x: expected float64, got float32"),
        (np.ones(2, dtype=np.float16), "x: expected float64, got float16"),
        (np.ones(2, dtype=int), "x: expected floating-point numbers"),
        ([1, 2], "x: expected floating-point numbers"),
        ([[1.0], [1.0, 2.0]], "x: expected an array of numbers"),
        (np.array([1.0, np.nan]), "x: expected finite numbers, got 1 NaN"),
    ],
)
def test_other_points_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        numerical_gradient(np.sum, x)


@pytest.mark.parametrize("step", [0, -1e-5, np.nan])
def test_a_step_goes_forward(step):
    with pytest.raises(ValueError, match="step: expected a positive number"):
        numerical_gradient(np.sum, np.ones(2), step=step)


def test_a_function_gives_one_number():
    with pytest.raises(ValueError, match=r"f: expected one number, got an array of shape \(2,\)"):
        numerical_gradient(lambda x: x, np.ones(2))
    with pytest.raises(ValueError, match=r"f: expected one number, got an array of shape \(0,\)"):
        numerical_gradient(lambda x: x[:0], np.ones(2))


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


def without_the_path_through_the_variance(dy, cache):
    """The mistake that everybody makes once: the deviation is taken for a constant."""
    return (dy - dy.mean(axis=0)) * cache.inv_std


def without_the_path_through_the_mean(dy, cache):
    return (dy - cache.x_hat * (dy * cache.x_hat).mean(axis=0)) * cache.inv_std


def errors_of(wrong, upstream, x):
    """Largest difference of the wrong and of the right gradient from the numerical one."""
    _, cache = normalize_forward(x, axes=0)
    numerical = numerical_gradient(lambda moved: (upstream * normalize_forward(moved, axes=0)[0]).sum(), x)
    right = normalize_backward(upstream, cache)[0]
    return np.abs(wrong(upstream, cache) - numerical).max(), np.abs(right - numerical).max()


def test_ones_upstream_hide_a_missing_path_and_random_ones_do_not():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((5, 3))
    hidden, fine = errors_of(without_the_path_through_the_variance, np.ones_like(x), x)
    # The sum of a batch norm's output is constant: every gradient is zero up to the rounding of the differences.
    assert hidden < 1e-9
    assert fine < 1e-9
    found, fine = errors_of(without_the_path_through_the_variance, rng.standard_normal(x.shape), x)
    assert found > 0.1
    assert fine < 1e-8  # curvature: h^2 times third derivatives of order 10


def test_x_hat_upstream_hides_the_path_through_the_mean():
    # The gradient of sum(y**2) / 2 is y itself, whose mean is zero.
    rng = np.random.default_rng(4)
    x = rng.standard_normal((5, 3))
    y = normalize_forward(x, axes=0)[0]
    assert errors_of(without_the_path_through_the_mean, y, x)[0] < 1e-8
    assert errors_of(without_the_path_through_the_mean, rng.standard_normal(x.shape), x)[0] > 0.1

"""Weight norm, weight standardization, spectral norm and penalty: errors, dtypes, numbers by hand, invariances.

What they have in common with PyTorch is in family_parity.py, which test_family_mutants.py runs.
"""

import numpy as np
import pytest

from utils.byhand.gradient_check import numerical_gradient, relative_error
from utils.byhand.weight_norms import (
    SpectralNorm,
    spectral_norm_penalty,
    weight_norm_backward,
    weight_norm_forward,
    weight_standardization_backward,
    weight_standardization_forward,
)

DTYPES = [np.float16, np.float32, np.float64]
SHAPES = [(5, 7), (7, 5), (4, 3, 2, 5), (1, 3), (3, 2, 4)]
# Float64: some ten roundings of 1e-16, of numbers up to about ten.
ATOL = 1e-13
# Central differences: rounding, 1e-16 * 50 / 1e-5, and curvature, 1e-10 times third derivatives of some hundreds.
DIFFERENCES = 1e-7


def numbers(*shapes, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [(0.7 + 1.7 * rng.standard_normal(shape)).astype(dtype) for shape in shapes]


def frozen(*arrays):
    """The same numbers, which cannot be written to."""
    for a in arrays:
        a.flags.writeable = False
    return arrays


def spectral(weight, **options):
    return SpectralNorm(weight, **{"rng": np.random.default_rng(0)} | options)


def factors(weight, values):
    """One number for each unit."""
    return np.resize(values, len(weight)).reshape(-1, *[1] * (weight.ndim - 1))


CALLS = {
    "weight norm": lambda w: weight_norm_forward(w, np.ones(len(w)))[0],
    "weight standardization": lambda w: weight_standardization_forward(w)[0],
    "spectral norm": lambda w: spectral(w).forward(w),
    "spectral norm, start": lambda w: spectral(w).v,
    "penalty": lambda w: spectral_norm_penalty(w)[1],
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones((2, 3), int), "expected floating-point numbers"),
        (np.ones(3), r"expected shape \(out, in\) or \(out, in, k, k\), got \(3,\)"),
        (np.ones((0, 3)), r"expected shape \(out, in\) or \(out, in, k, k\), got \(0, 3\)"),
        (np.ones((2, 3, 0)), r"expected shape \(out, in\) or \(out, in, k, k\), got \(2, 3, 0\)"),
        (np.full((2, 3), np.nan), "expected finite numbers, got 6 NaN or infinite of 6"),
        ([[1.0, np.nan, 2.0]], "expected finite numbers, got 1 NaN or infinite of 3"),
        ([[1.0, np.inf, 2.0]], "expected finite numbers, got 1 NaN or infinite of 3"),
        ([[1.0, -np.inf, 2.0]], "expected finite numbers, got 1 NaN or infinite of 3"),
    ],
)
def test_weights_that_are_none(call, weight, message):
    name = "v" if call == "weight norm" else "weight"
    with pytest.raises(ValueError, match=f"^{name}: {message}"):
        CALLS[call](weight)


# Weight norm


def test_weight_norm_by_hand():
    w, cache = weight_norm_forward([[3.0, 4.0], [0.0, 2.0]], [10.0, -1.0])
    np.testing.assert_allclose(w, [[6, 8], [0, -1]], rtol=0, atol=ATOL)
    # Upstream (1, 0): dg = 3 / 5, and dv = 10 / 5 ((1, 0) - 3 / 5 (3, 4) / 5) = (1.28, -0.96).
    dv, dg = weight_norm_backward([[1.0, 0.0], [0.0, 3.0]], cache)
    np.testing.assert_allclose(dv, [[1.28, -0.96], [0, 0]], rtol=0, atol=ATOL)
    np.testing.assert_allclose(dg, [0.6, 3], rtol=0, atol=ATOL)


@pytest.mark.parametrize("shape", SHAPES)
def test_weight_norm_gives_units_their_length(shape):
    v, g = numbers(shape, shape[0])
    w, _ = weight_norm_forward(v, g)
    np.testing.assert_allclose(np.linalg.norm(w.reshape(len(w), -1), axis=1), np.abs(g), rtol=1e-13)
    np.testing.assert_allclose(weight_norm_forward(factors(v, [3.0, 0.2, 50.0]) * v, g)[0], w, rtol=0, atol=ATOL)
    np.testing.assert_allclose(weight_norm_forward(-2 * v, g)[0], -w, rtol=0, atol=ATOL)
    np.testing.assert_allclose(weight_norm_forward(v, -2 * g)[0], -2 * w, rtol=0, atol=ATOL)
    # Initialized with the lengths of v it changes nothing.
    lengths = np.linalg.norm(v.reshape(len(v), -1), axis=1)
    np.testing.assert_allclose(weight_norm_forward(v, lengths)[0], v, rtol=0, atol=ATOL)


def test_weight_norm_steps_make_v_longer():
    v, g, dw = numbers((5, 7), 5, (5, 7))
    dv, _ = weight_norm_backward(dw, weight_norm_forward(v, g)[1])
    np.testing.assert_allclose((dv * v).sum(axis=1), 0, atol=ATOL)
    assert (np.linalg.norm(v - 0.1 * dv, axis=1) > np.linalg.norm(v, axis=1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_weight_norm_keeps_dtype_and_arguments(shape, dtype):
    v, g, dw = numbers(shape, shape[0], shape, dtype=dtype)
    w, cache = weight_norm_forward(*frozen(v, g))
    dv, dg = weight_norm_backward(*frozen(dw), cache)
    assert (w.shape, w.dtype) == (dv.shape, dv.dtype) == (shape, dtype)
    assert dg.shape == g.shape
    w[...] = 0
    np.testing.assert_array_equal(weight_norm_backward(dw, cache)[0], dv)
    assert weight_norm_forward(v, g.astype(np.float64))[0].dtype == dtype


@pytest.mark.parametrize(("dtype", "size"), [(np.float16, 1e2), (np.float16, 1e-5), (np.float32, 1e-30)])
def test_weight_norm_squares_beyond_the_range(dtype, size):
    w, _ = weight_norm_forward(np.array([[3.0, 4.0]], dtype) * dtype(size), np.array([10.0], dtype))
    np.testing.assert_allclose(w, [[6, 8]], rtol=1e-2)  # at 1e-5 float16 has some 7 bits


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 2, 1)])
def test_weight_norm_differences(shape):
    v, g, dw = numbers(shape, shape[0], shape)
    dv, dg = weight_norm_backward(dw, weight_norm_forward(v, g)[1])
    assert relative_error(dv, numerical_gradient(lambda a: (dw * weight_norm_forward(a, g)[0]).sum(), v)) < DIFFERENCES
    assert relative_error(dg, numerical_gradient(lambda a: (dw * weight_norm_forward(v, a)[0]).sum(), g)) < DIFFERENCES


@pytest.mark.parametrize(
    ("g", "message"),
    [
        ([1.0], r"g: expected one length a unit, shape \(2,\), got \(1,\)"),
        ([[1.0], [1.0]], r"g: expected one length a unit, shape \(2,\), got \(2, 1\)"),
        (1.0, r"g: expected one length a unit, shape \(2,\), got \(\)"),
        ([1, 2], "g: expected floating-point numbers"),
        ([1.0, np.inf], "g: expected finite numbers"),
    ],
)
def test_weight_norm_refuses_lengths(g, message):
    with pytest.raises(ValueError, match=message):
        weight_norm_forward(np.ones((2, 3)), g)


def test_weight_norm_refuses_units_without_direction():
    with pytest.raises(ValueError, match="v: expected units with a direction, got zeros in unit 1; draw it at random"):
        weight_norm_forward([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]], np.ones(3))


def test_backward_refuses_another_shape():
    weight = numbers((2, 3))[0]
    norm = spectral(weight)
    norm.forward(weight)
    _, weight_norm_cache = weight_norm_forward(weight, np.ones(2))
    with pytest.raises(ValueError, match=r"dw: expected the shape of v, \(2, 3\), got \(3, 2\)"):
        weight_norm_backward(np.ones((3, 2)), weight_norm_cache)
    with pytest.raises(ValueError, match=r"expected the shape of x, \(2, 3\), got \(3, 2\)"):
        weight_standardization_backward(np.ones((3, 2)), weight_standardization_forward(weight)[1])
    with pytest.raises(ValueError, match=r"dw: expected the shape of the weight, \(2, 3\), got \(3, 2\)"):
        norm.backward(np.ones((3, 2)))


# Weight standardization


def test_weight_standardization_by_hand():
    weight, dw = [[1.0, 1.0, 5.0, 5.0], [10.0, 30.0, 10.0, 30.0]], [[1.0, 0, 0, 0], [1.0, 0, 0, 0]]
    w, cache = weight_standardization_forward(weight, eps=0.0)
    np.testing.assert_allclose(w, [[-1, -1, 1, 1], [-1, 1, -1, 1]], rtol=0, atol=ATOL)
    # ((1, 0, 0, 0) - 1 / 4 - ŵ (-1) / 4) / deviation
    expected = [np.array([2, -2, 0, 0]) / 8, np.array([2, 0, -2, 0]) / 40]
    np.testing.assert_allclose(weight_standardization_backward(dw, cache), expected, rtol=0, atol=ATOL)
    w, _ = weight_standardization_forward(weight[:1], eps=12.0)  # 2 / sqrt(4 + 12)
    np.testing.assert_allclose(w, [[-0.5, -0.5, 0.5, 0.5]], rtol=0, atol=ATOL)


@pytest.mark.parametrize("shape", SHAPES)
def test_weight_standardization_forgets_scale_and_shift(shape):
    weight, dw = numbers(shape, shape)
    w, cache = weight_standardization_forward(weight, eps=0.0)
    factor = factors(weight, [3.0, 0.2, 50.0])
    for same in (factor * weight, weight + factor):
        np.testing.assert_allclose(weight_standardization_forward(same, eps=0.0)[0], w, rtol=0, atol=1e-11)
    np.testing.assert_allclose(weight_standardization_forward(-2 * weight, eps=0.0)[0], -w, rtol=0, atol=ATOL)
    units = w.reshape(len(w), -1)
    np.testing.assert_allclose(units.mean(axis=1), 0, atol=ATOL)
    np.testing.assert_allclose(units.std(axis=1), 1, rtol=1e-13)
    gradient = weight_standardization_backward(dw, cache).reshape(units.shape)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=ATOL)
    np.testing.assert_allclose((gradient * weight.reshape(units.shape)).sum(axis=1), 0, atol=10 * ATOL)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_weight_standardization_keeps_dtype_and_arguments(shape, dtype):
    weight, dw = numbers(shape, shape, dtype=dtype)
    w, cache = weight_standardization_forward(*frozen(weight))
    gradient = weight_standardization_backward(*frozen(dw), cache)
    assert (w.shape, w.dtype) == (gradient.shape, gradient.dtype) == (shape, dtype)
    w[...] = 0
    np.testing.assert_array_equal(weight_standardization_backward(dw, cache), gradient)


def test_weight_standardization_of_a_large_mean():
    # As the test of activations: two passes, some roundings of 6e-8.
    weight = (1e4 + np.random.default_rng(0).standard_normal((4, 50))).astype(np.float32)
    reference = weight_standardization_forward(weight.astype(np.float64))[0]
    assert relative_error(weight_standardization_forward(weight)[0], reference) < 2e-6


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 2, 1)])
def test_weight_standardization_differences(shape):
    weight, dw = numbers(shape, shape)
    gradient = weight_standardization_backward(dw, weight_standardization_forward(weight, eps=1e-2)[1])
    differences = numerical_gradient(lambda a: (dw * weight_standardization_forward(a, eps=1e-2)[0]).sum(), weight)
    assert relative_error(gradient, differences) < DIFFERENCES


@pytest.mark.parametrize("shape", [(4, 1), (1, 1), (4, 1, 1, 1)])
def test_weight_standardization_refuses_single_weights(shape):
    with pytest.raises(ValueError, match="weight: expected more than one weight a unit, got shape"):
        weight_standardization_forward(np.ones(shape))


def test_weight_standardization_refuses_eps():
    with pytest.raises(ValueError, match="eps: expected a number of at least 0, got -1"):
        weight_standardization_forward(np.ones((2, 3)), eps=-1)


# Spectral norm


def test_spectral_norm_by_hand():
    weight = np.diag([3.0, 1.0])
    norm = spectral(weight)
    for _ in range(10):
        w = norm.forward(weight)
    np.testing.assert_allclose(w, np.diag([1, 1 / 3]), rtol=0, atol=ATOL)
    np.testing.assert_allclose(np.abs([norm.u, norm.v]), [[1, 0], [1, 0]], rtol=0, atol=1e-10)  # 9 ** -25 of the start
    # W = diag(a, b) / a: by b it is 1 / 3, by a it is -b / a² in the second place.
    np.testing.assert_allclose(norm.backward([[0.0, 0.0], [0.0, 1.0]]), [[-1 / 9, 0], [0, 1 / 3]], rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_spectral_norm_does_not_see_the_scale(shape):
    (weight,) = numbers(shape)
    norm, other = spectral(weight), spectral(weight)
    w = norm.forward(weight)
    np.testing.assert_allclose(other.forward(20 * weight), w, rtol=0, atol=ATOL)
    # σ̂ = uᵀ W v is not negative after an iteration: the sign stays.
    np.testing.assert_allclose(other.forward(-weight), -norm.forward(weight), rtol=0, atol=ATOL)
    for vector, length in ((norm.u, shape[0]), (norm.v, np.prod(shape[1:]))):
        assert vector.shape == (length,)
        np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_spectral_norm_approaches_one(shape):
    """From above: the estimate is never larger than the singular value."""
    (weight,) = numbers(shape)
    norm = spectral(weight)
    sizes = [np.linalg.norm(norm.forward(weight).reshape(len(weight), -1), 2) for _ in range(400)]
    assert min(sizes) > 1 - 1e-14
    assert (np.diff(sizes) < 1e-14).all()
    np.testing.assert_allclose(sizes[-1], 1, rtol=1e-13)


def test_spectral_norm_is_what_its_generator_makes_it():
    (weight,) = numbers((5, 7))
    np.testing.assert_array_equal(spectral(weight).u, spectral(weight).u)
    assert (spectral(weight).u != spectral(weight, rng=np.random.default_rng(1)).u).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_spectral_norm_keeps_dtype_and_arguments(shape, training, dtype):
    weight, dw = numbers(shape, shape, dtype=dtype)
    norm = spectral(*frozen(weight))
    norm.training = training
    w = norm.forward(weight)
    gradient = norm.backward(*frozen(dw))
    assert (w.shape, w.dtype) == (gradient.shape, gradient.dtype) == (shape, dtype)
    w[...] = 0
    np.testing.assert_array_equal(norm.backward(dw), gradient)


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 2, 1)])
def test_spectral_norm_differences(shape):
    """In evaluation, where u and v are constants, though they are not the singular vectors."""
    start, weight, dw = numbers(shape, shape, shape)
    norm = spectral(start)
    norm.training = False
    norm.forward(weight)
    gradient = norm.backward(dw)
    assert relative_error(gradient, numerical_gradient(lambda a: (dw * norm.forward(a)).sum(), weight)) < DIFFERENCES


def test_spectral_norm_gradient_is_the_full_one_when_converged():
    (weight, dw) = numbers((3, 5), (3, 5))
    norm = spectral(weight)
    for _ in range(100):
        norm.forward(weight)

    def loss(a):
        return (dw * a).sum() / np.linalg.norm(a, 2)

    assert relative_error(norm.backward(dw), numerical_gradient(loss, weight)) < DIFFERENCES


@pytest.mark.parametrize("iterations", [0, -1, 1.0, True, None])
def test_spectral_norm_refuses_iterations(iterations):
    with pytest.raises(ValueError, match="n_power_iterations: expected a positive integer, got"):
        spectral(np.ones((2, 3)), n_power_iterations=iterations)


def test_spectral_norm_takes_iterations_counted_by_numpy():
    assert spectral(np.ones((2, 3)), n_power_iterations=np.int64(2)).n_power_iterations == 2


def test_spectral_norm_refuses_another_shape():
    norm = spectral(np.ones((2, 6)))
    for shape in [(6, 2), (3, 4), (2, 3, 1)]:
        with pytest.raises(ValueError, match="weight: expected 2 units of 6 weights, got"):
            norm.forward(np.ones(shape))
    assert norm.forward(np.ones((2, 3, 2))).shape == (2, 3, 2)


def test_spectral_norm_refuses_zeros_and_stays_as_it_was():
    with pytest.raises(ValueError, match="weight: expected a largest singular value above 0, got a weight of zeros"):
        spectral(np.zeros((2, 3)))
    (weight,) = numbers((2, 3))
    norm = spectral(weight)
    for training in (True, False):
        norm.training = training
        before = norm.u, norm.v
        with pytest.raises(ValueError, match="weight: expected a largest singular value above 0"):
            norm.forward(np.zeros((2, 3)))
        np.testing.assert_array_equal(norm.u, before[0])
        np.testing.assert_array_equal(norm.v, before[1])
        assert np.isfinite(norm.forward(weight)).all()


def test_spectral_norm_backward_before_forward():
    with pytest.raises(ValueError, match=r"backward: expected forward\(weight\) before backward\(dw\)"):
        spectral(np.ones((2, 3))).backward(np.ones((2, 3)))


# The penalty


def test_penalty_by_hand():
    penalty, gradient = spectral_norm_penalty([[0.0, 3.0], [1.0, 0.0]])
    assert penalty == pytest.approx(4.5, rel=1e-14)
    np.testing.assert_allclose(gradient, [[0, 3], [0, 0]], rtol=0, atol=ATOL)
    penalty, gradient = spectral_norm_penalty([[3.0, 4.0]])  # one unit: half the square of its length
    assert penalty == pytest.approx(12.5, rel=1e-14)
    np.testing.assert_allclose(gradient, [[3, 4]], rtol=0, atol=ATOL)
    penalty, gradient = spectral_norm_penalty(np.zeros((2, 3)))
    assert penalty == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_penalty_is_of_second_degree(shape):
    (weight,) = numbers(shape)
    penalty, gradient = spectral_norm_penalty(weight)
    assert (gradient * weight).sum() == pytest.approx(2 * penalty, rel=1e-13)  # Euler
    larger, steeper = spectral_norm_penalty(-3 * weight)
    assert larger == pytest.approx(9 * penalty, rel=1e-13)
    np.testing.assert_allclose(steeper, -3 * gradient, rtol=0, atol=10 * ATOL)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_penalty_keeps_dtype_and_arguments(shape, dtype):
    penalty, gradient = spectral_norm_penalty(*frozen(*numbers(shape, dtype=dtype)))
    assert isinstance(penalty, float)
    assert (gradient.shape, gradient.dtype) == (shape, dtype)


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 2, 1)])
def test_penalty_differences(shape):
    (weight,) = numbers(shape)
    differences = numerical_gradient(lambda a: spectral_norm_penalty(a)[0], weight)
    assert relative_error(spectral_norm_penalty(weight)[1], differences) < DIFFERENCES

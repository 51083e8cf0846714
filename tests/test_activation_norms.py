"""Group norm, RMS norm and batch renormalization: errors, dtypes, numbers worked out by hand, invariances, differences.

What they have in common with PyTorch is in family_parity.py, which test_mutants.py runs.
"""

import numpy as np
import pytest

from utils.byhand.activation_norms import (
    BatchRenorm,
    group_norm_backward,
    group_norm_forward,
    rms_norm_backward,
    rms_norm_forward,
)
from utils.byhand.gradient_check import numerical_gradient, relative_error
from utils.byhand.normalization import BatchNorm, normalize_forward

DTYPES = [np.float16, np.float32, np.float64]
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


def renorm(x, *, training=True, **options):
    """A batch renormalization of the channels of x, with random running statistics, gamma and beta."""
    norm = BatchRenorm(x.shape[1], **options)
    rng = np.random.default_rng(2)
    norm.running_mean, norm.running_var = rng.standard_normal(x.shape[1]), rng.uniform(0.5, 2, x.shape[1])
    if norm.affine:
        norm.gamma, norm.beta = rng.uniform(-2, -0.5, x.shape[1]), rng.standard_normal(x.shape[1])
    return norm.train(training)


def test_group_norm_by_hand():
    y, cache = group_norm_forward([[1.0, 3.0, 10.0, 30.0]], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 1.0, 1.0], groups=2, eps=0)
    np.testing.assert_allclose(y, [[-1, 2, -2, 5]], rtol=0, atol=ATOL)
    dx, dgamma, dbeta = group_norm_backward([[1.0, 0.0, 0.0, 2.0]], cache)
    np.testing.assert_allclose(dx, 0, atol=ATOL)  # of two values only the sign is left
    np.testing.assert_allclose(dgamma, [-1, 0, 0, 2], rtol=0, atol=ATOL)
    np.testing.assert_array_equal(dbeta, [1, 0, 0, 2])


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 6), (3, 6, 1), (2, 6, 5, 3), (2, 6, 1, 2, 3)])
def test_group_norm_keeps_dtype_and_arguments(shape, dtype, affine):
    x, dy = numbers(shape, shape, dtype=dtype)
    gamma, beta = numbers(6, 6, dtype=dtype) if affine else (None, None)
    y, cache = group_norm_forward(*frozen(x), gamma, beta, groups=2)
    dx, dgamma, dbeta = group_norm_backward(*frozen(dy), cache)
    strided, other = group_norm_forward(np.repeat(x, 2, axis=-1)[..., ::2], gamma, beta, groups=np.int64(2))
    np.testing.assert_array_equal(strided, y)
    np.testing.assert_array_equal(group_norm_backward(np.repeat(dy, 2, axis=-1)[..., ::2], other)[0], dx)
    assert (y.shape, y.dtype) == (dx.shape, dx.dtype) == (shape, dtype)
    found = [a if a is None else (a.shape, a.dtype) for a in (dgamma, dbeta)]
    assert found == [((6,), np.float64) if affine else None] * 2
    y[...] = 0  # what a layer in place would do
    np.testing.assert_array_equal(group_norm_backward(dy, cache)[0], dx)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": [1.0, 2.0]}, r"x: expected shape \(N, C, \.\.\.\), got \(2,\)"),
        ({"x": np.ones((2, 6), int)}, "x: expected floating-point numbers"),
        *(
            ({"groups": n}, f"groups: expected a divisor of the 6 channels, got {n}")
            for n in (4, 12, 0, -2, 2.0, True, None)
        ),
        ({"groups": 6}, r"x: expected more than one value per group, got one \(shape \(2, 6\), 6 groups\)"),
        ({"x": np.ones((2, 6, 1, 1)), "groups": 6}, "x: expected more than one value per group"),
        ({"x": np.ones((0, 6))}, "x: expected an array with at least one element"),
        ({"x": np.ones((2, 0)), "groups": 1}, "x: expected an array with at least one element"),
        *(({"gamma": np.ones(s)}, r"gamma: expected one number per channel, shape \(6,\)") for s in [(2,), (6, 1)]),
        ({"beta": 1.0}, r"beta: expected one number per channel, shape \(6,\), got \(\)"),
        ({"beta": np.ones(6, int)}, "beta: expected floating-point numbers"),
    ],
)
def test_group_norm_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        group_norm_forward(**{"x": np.ones((2, 6)), "groups": 2} | options)


# Invariances. With eps = 0 they are exact apart from rounding.


NORMS = {
    "layer": lambda x: normalize_forward(x, axes=(1, 2, 3), eps=0.0)[0],
    "instance": lambda x: normalize_forward(x, axes=(2, 3), eps=0.0)[0],
    "group": lambda x: group_norm_forward(x, groups=2, eps=0.0)[0],
    "rms": lambda x: rms_norm_forward(x, axes=(1, 2, 3), eps=0.0)[0],
}
SHAPE = (3, 4, 5, 2)
FACTORS = {  # one number for each example, for each group of two channels, for each channel
    "example": np.array([2.0, 0.3, 40.0]).reshape(3, 1, 1, 1),
    "group": np.array([[2.0, 0.3], [40.0, 5.0], [0.7, 3.0]]).repeat(2, axis=1).reshape(3, 4, 1, 1),
    "channel": np.linspace(0.2, 9.0, 12).reshape(3, 4, 1, 1),
}
INVARIANT = {"layer": ["example"], "group": ["example", "group"], "instance": list(FACTORS), "rms": ["example"]}


@pytest.mark.parametrize("norm", NORMS)
def test_what_scaling_and_shifting_changes(norm):
    (x,) = numbers(SHAPE)
    y = NORMS[norm](x)
    for of, factor in FACTORS.items():
        same = of in INVARIANT[norm]
        for changed, invariant in [(factor * x, same), (x + factor, same and norm != "rms")]:
            assert (np.abs(NORMS[norm](changed) - y).max() < 1e-11) == invariant  # a shift by 40 loses two digits
    np.testing.assert_allclose(NORMS[norm](-3 * x), -y, rtol=0, atol=ATOL)
    np.testing.assert_allclose(NORMS[norm](x[:1]), y[:1], rtol=0, atol=ATOL)


def test_rms_norm_of_centred_values_is_layer_norm():
    (x,) = numbers((4, 7))
    x -= x.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(rms_norm_forward(x)[0], normalize_forward(x, axes=1)[0], rtol=0, atol=ATOL)


def test_rms_norm_by_hand():
    y, cache = rms_norm_forward([[1.0, 7.0]], eps=0.0)  # (1 + 49) / 2 = 25
    np.testing.assert_allclose(y, [[1 / 5, 7 / 5]], rtol=0, atol=ATOL)
    np.testing.assert_allclose(cache.inv_rms, [[1 / 5]], rtol=0, atol=ATOL)
    # Upstream (1, 0): along x_hat 1 / 10, so that dx = ((1, 0) - (1 / 5, 7 / 5) / 10) / 5.
    dx, dgamma = rms_norm_backward([[1.0, 0.0]], cache)
    np.testing.assert_allclose(dx, [[0.98 / 5, -0.14 / 5]], rtol=0, atol=ATOL)
    assert dgamma is None
    np.testing.assert_allclose(rms_norm_forward([[1.0, 7.0]], eps=24.0)[0], [[1 / 7, 1]], rtol=0, atol=ATOL)


def test_rms_norm_of_zeros():
    np.testing.assert_array_equal(rms_norm_forward(np.zeros((2, 3)))[0], 0)
    assert np.isnan(rms_norm_forward(np.zeros((2, 3)), eps=0.0)[0]).all()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "axes"), [((1,), 0), ((3, 1), -1), ((3, 5), 1), ((2, 3, 5), (0, 2)), ((2, 3), [1, 0])]
)
def test_rms_norm_keeps_dtype_and_arguments(shape, axes, dtype, affine):
    x, dy, gamma = numbers(shape, shape, shape[-1:], dtype=dtype)
    y, cache = rms_norm_forward(*frozen(x), *(frozen(gamma) if affine else ()), axes=axes)
    dx, dgamma = rms_norm_backward(*frozen(dy), cache)
    assert (y.shape, y.dtype) == (dx.shape, dx.dtype) == (shape, dtype)
    assert dgamma.shape == gamma.shape if affine else dgamma is None
    y[...] = 0
    np.testing.assert_array_equal(rms_norm_backward(dy, cache)[0], dx)


def test_rms_norm_of_half_precision():
    # The squares are beyond float16 (65504); the result is rounded once, 5e-4.
    y, _ = rms_norm_forward(np.array([[300.0, 2100.0]], np.float16), eps=0.0)
    np.testing.assert_allclose(y, [[0.2, 1.4]], rtol=1e-3)


@pytest.mark.parametrize("of_gamma", [(), (1,), (5,), (3, 1), (1, 3, 1), (2, 1, 5), (2, 3, 5)])
def test_rms_norm_differences(of_gamma):
    x, dy, gamma = numbers((2, 3, 5), (2, 3, 5), of_gamma)
    gamma = np.asarray(gamma)

    def loss(x=x, gamma=gamma):
        return (dy * rms_norm_forward(x, gamma, axes=(0, 2), eps=1e-2)[0]).sum()

    dx, dgamma = rms_norm_backward(dy, rms_norm_forward(x, gamma, axes=(0, 2), eps=1e-2)[1])
    assert dgamma.shape == of_gamma
    assert relative_error(dx, numerical_gradient(lambda a: loss(x=a), x)) < DIFFERENCES
    assert relative_error(dgamma, numerical_gradient(lambda a: loss(gamma=a), gamma)) < DIFFERENCES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": [1, 2]}, "x: expected floating-point numbers"),
        ({"x": 1.0}, r"x: expected an array with at least one element, got shape \(\)"),
        ({"axes": ()}, r"axes: expected at least one axis, and each once, got \(\)"),
        ({"axes": 2}, "axes: expected an integer from -2 to 1, got 2"),
        ({"axes": (1, -1)}, r"axes: expected at least one axis, and each once, got \(1, -1\)"),
        ({"gamma": np.ones(3, int)}, "gamma: expected floating-point numbers"),
        ({"gamma": np.ones(2)}, r"gamma: expected a shape that broadcasts against x, \(2, 3\), got \(2,\)"),
        ({"gamma": np.ones((1, 2, 3))}, r"gamma: .* broadcasts against x, \(2, 3\), got \(1, 2, 3\)"),
    ],
)
def test_rms_norm_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        rms_norm_forward(**{"x": np.ones((2, 3))} | options)


@pytest.mark.parametrize("shape", [(6, 2), (2, 6, 1), (2, 2, 3), (12,), (2, 1), (6,)])
def test_backward_refuses_another_shape(shape):
    for backward, (_, cache) in (
        (group_norm_backward, group_norm_forward(np.ones((2, 6)), groups=2)),
        (rms_norm_backward, rms_norm_forward(np.ones((2, 6)))),
    ):
        with pytest.raises(ValueError, match=r"dy: expected the shape of x, \(2, 6\), got"):
            backward(np.ones(shape), cache)


def test_renorm_by_hand():
    # The batch has mean 4 and deviation 2, the running statistics are 0 and 1: r = 2, d = 4.
    norm, x = BatchRenorm(1, r_max=10.0, d_max=10.0, eps=1e-12), np.array([[2.0], [2.0], [6.0], [6.0]])
    np.testing.assert_allclose(norm.forward(x), x, rtol=0, atol=1e-10)  # eps / 2 of numbers up to 6, and roundings
    np.testing.assert_allclose(norm.running_mean, 0.4, rtol=0, atol=ATOL)
    np.testing.assert_allclose(norm.running_var, 0.9 + 0.1 * 16 / 3, rtol=0, atol=ATOL)
    # As batch norm with gamma = r, whose dx is (1, -1, 0, 0) / 4.
    dx = norm.backward(np.array([[1.0], [0.0], [0.0], [0.0]]))
    np.testing.assert_allclose(dx.ravel(), [0.5, -0.5, 0, 0], rtol=0, atol=1e-10)
    np.testing.assert_allclose([norm.grad_gamma, norm.grad_beta], [[2], [1]], rtol=0, atol=1e-10)
    # r at most 1.5, d at most 3: the values are 3 - 1.5 and 3 + 1.5.
    y = BatchRenorm(1, r_max=1.5, d_max=3.0, eps=1e-12).forward(x)
    np.testing.assert_allclose(y.ravel(), [1.5, 1.5, 4.5, 4.5], rtol=0, atol=1e-10)


def test_renorm_limits_may_change_during_training():
    x, dy = numbers((5, 3), (5, 3))
    norm, batch_norm = BatchRenorm(3, r_max=1.0, d_max=0.0), BatchNorm(3)
    np.testing.assert_allclose(norm.forward(x), batch_norm.forward(x), rtol=0, atol=ATOL)
    np.testing.assert_allclose(norm.backward(dy), batch_norm.backward(dy), rtol=0, atol=ATOL)
    norm.r_max = norm.d_max = np.inf
    expected = norm.eval().forward(x)
    np.testing.assert_allclose(norm.train().forward(x), expected, rtol=0, atol=ATOL)


def test_renorm_takes_the_state_of_a_batch_norm():
    x, dy = numbers((5, 3), (5, 3))
    batch_norm, norm = BatchNorm(3), BatchRenorm(3)
    batch_norm.forward(x)
    norm.load_state_dict(batch_norm.state_dict())
    np.testing.assert_array_equal(norm.eval().forward(x), batch_norm.eval().forward(x))
    np.testing.assert_array_equal(norm.backward(dy), batch_norm.backward(dy))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 1), (5, 3), (1, 3, 2), (3, 2, 1, 5), (2, 1, 2, 3, 1)])
def test_renorm_keeps_dtype_and_arguments(shape, dtype, training, affine):
    x, dy = numbers(shape, shape, dtype=dtype)
    norm = renorm(x, training=training, affine=affine)
    y = norm.forward(*frozen(x))
    dx = norm.backward(*frozen(dy))
    assert (y.shape, y.dtype) == (dx.shape, dx.dtype) == (shape, dtype)
    found = [a if a is None else a.shape for a in (norm.grad_gamma, norm.grad_beta)]
    assert found == [shape[1:2] if affine else None] * 2
    y[...] = 0
    np.testing.assert_array_equal(norm.backward(dy), dx)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((5, 2)), r"x: expected shape \(N, 3\) or \(N, 3, \.\.\.\)"),
        (np.ones(3), r"x: expected shape \(N, 3\) or \(N, 3, \.\.\.\)"),
        (np.ones((5, 3), int), "x: expected floating-point numbers"),
        (np.ones((1, 3)), "x: expected more than one value for each feature in training, got 1"),
        (np.ones((0, 3)), "x: expected more than one value for each feature in training, got 0"),
    ],
)
def test_renorm_refuses_and_stays_as_it_was(x, message):
    good, dy = numbers((5, 3), (5, 3))
    norm = renorm(good)
    norm.forward(good)
    before, dx = norm.state_dict(), norm.backward(dy)
    with pytest.raises(ValueError, match=message):
        norm.forward(x)
    for key, value in norm.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    np.testing.assert_array_equal(norm.backward(dy), dx)


def test_renorm_refuses():
    for name, wrong in (("r_max", 0.9), ("d_max", -0.1), ("eps", 0.0), ("num_features", 0), ("momentum", 1.5)):
        with pytest.raises(ValueError, match=f"{name}: expected a .*, got {wrong}"):
            BatchRenorm(**{"num_features": 3} | {name: wrong})
    norm = BatchRenorm(3)
    with pytest.raises(ValueError, match=r"backward: expected forward\(x\) before backward\(dy\)"):
        norm.backward(np.ones((5, 3)))
    for training in (True, False):
        norm.train(training).forward(np.ones((5, 3)))
        with pytest.raises(ValueError, match=r"dy: expected the shape of x, \(5, 3\), got \(4, 3\)"):
            norm.backward(np.ones((4, 3)))


CALLS = {
    "group": (lambda x, gamma: group_norm_forward(x, gamma, 0 * gamma, groups=1), group_norm_backward),
    "rms": (rms_norm_forward, rms_norm_backward),
}


@pytest.mark.parametrize(("forward", "backward"), CALLS.values(), ids=CALLS)
def test_half_precision_overflows_in_silence(forward, backward):
    x = np.array([[1.0, 2.0, 3.0, 40.0]], np.float16)
    y, _ = forward(x, np.full(4, 6e4))  # the sign of infinity is the only thing left
    assert y[0, 3] == np.inf
    _, cache = forward(x * np.float16(1e-4), np.ones(4))
    assert np.isinf(backward(np.array([[6e4, -6e4, 6e4, -6e4]], np.float16), cache)[0]).any()


@pytest.mark.parametrize(("dtype", "scale"), [(np.float16, 1), (np.float32, 1e30), (np.float64, 1e200)])
def test_renorm_overflows_in_silence(dtype, scale):
    x = np.array([[1.0], [2.0], [6.0]], dtype) * dtype(scale)
    norm = BatchRenorm(1)
    norm.gamma = np.array([6e4])
    y = norm.forward(x)
    assert y.dtype == dtype
    assert norm.backward(np.ones_like(x)).shape == x.shape


def test_large_mean_in_single_precision():
    # Deviation 1 around 10,000: the squares have no digits left for it (1e8 * 6e-8 = 6), two passes do. The input is
    # exact; what is lost are some roundings of 6e-8.
    rng = np.random.default_rng(0)
    x = (1e4 + rng.standard_normal((50, 4))).astype(np.float32)
    there = x.astype(np.float64)
    y, _ = group_norm_forward(x, groups=2)
    assert relative_error(y, group_norm_forward(there, groups=2)[0]) < 2e-6
    # Running statistics near those of the batch; r and d are near one and zero.
    norms = [BatchRenorm(4) for _ in range(2)]
    for norm in norms:
        norm.running_mean += 1e4
    ours, reference = (norm.forward(a) for norm, a in zip(norms, (x, there), strict=True))
    assert relative_error(ours, reference) < 2e-6
    # RMS norm leaves the mean, and all values are near one.
    assert relative_error(rms_norm_forward(x)[0], rms_norm_forward(there)[0]) < 2e-7

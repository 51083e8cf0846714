"""Our normalizations against autograd and numbers worked out by hand; parity.py compares those of PyTorch."""

import family_parity
import numpy as np
import pytest
import torch
import twins
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import Pair

from utils.byhand.normalization import BatchNorm, normalize_backward, normalize_forward

# Absolute, for numbers up to about ten: some roundings of values and sums.
ATOL = {np.float64: 1e-12, np.float32: 1e-5, np.float16: 1.6e-2}
CALLS = {
    "batch norm": ((7, 3), (0,), (3,)),
    "batch norm, images": ((4, 3, 5, 2), (0, 2, 3), (3, 1, 1)),
    "layer norm": ((7, 5), (1,), (5,)),
    "layer norm, images": ((4, 3, 5, 2), (1, 2, 3), (3, 5, 2)),
    "layer norm, sentences": ((2, 4, 5), (2,), (5,)),
    "instance norm": ((4, 3, 5, 2), (2, 3), (3, 1, 1)),
    "group norm": ((4, 2, 3, 5, 2), (2, 3, 4), (2, 3, 1, 1)),
    "scalar gamma": ((5, 3), (0,), ()),
    "gamma for some axes": ((4, 3, 5), (0, 2), (3, 5)),
    "gamma for every number": ((5, 3), (0,), (5, 3)),
    "all at once": ((5, 3), (0, 1), (3,)),
}
every_call = pytest.mark.parametrize(("shape", "axes", "of_gamma"), CALLS.values(), ids=CALLS)


def numbers(shape, of_gamma=None, *, seed=0, dtype=np.float64):
    """Input and upstream gradient, and gamma and beta if they have a shape."""
    rng = np.random.default_rng(seed)
    x, dy = (rng.standard_normal(shape) * 2 + 1).astype(dtype), rng.standard_normal(shape).astype(dtype)
    own = () if of_gamma is None else (rng.uniform(0.5, 2, of_gamma), rng.standard_normal(of_gamma))
    return x, dy, *map(np.asarray, own)


def by_autograd(f, x, dy, *parameters):
    """Output and gradients of a PyTorch function of x and parameters, in float64."""
    return list(family_parity.by_autograd(f, dy, x=x, **{str(i): p for i, p in enumerate(parameters)}).values())


def by_definition(axes, eps=1e-5):
    """The formula in PyTorch, for autograd to differentiate."""

    def f(x, gamma, beta):
        mean, var = x.mean(dim=axes, keepdim=True), x.var(dim=axes, keepdim=True, correction=0)
        return gamma * (x - mean) / torch.sqrt(var + eps) + beta

    return f


def assert_close(ours, theirs, atol=1e-12):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def forward_backward(x, dy, gamma=None, beta=None, **options):
    """Everything that comes out: y, dx, and dgamma and dbeta if there are any."""
    y, cache = normalize_forward(x, gamma, beta, **options)
    return [a for a in (y, *normalize_backward(dy, cache)) if a is not None]


@every_call
@pytest.mark.parametrize(("dtype", "eps"), [*((dtype, 1e-5) for dtype in ATOL), (np.float64, 1.0)])
def test_the_formula_differentiated_by_autograd(shape, axes, of_gamma, dtype, eps):
    x, dy, gamma, beta = numbers(shape, of_gamma, dtype=dtype)
    theirs = by_autograd(by_definition(axes, eps), x, dy, gamma, beta)
    ours = forward_backward(x, dy, gamma, beta, axes=axes, eps=eps)
    assert [a.dtype for a in ours] == [dtype, dtype, np.float64, np.float64]
    # Half precision: the result is rounded, values below 16 to 8e-3 / 2, and everything before is done in float32.
    assert_close(ours[:2], theirs[:2], ATOL[dtype])
    assert_close(ours[2:], theirs[2:], ATOL[np.float64 if dtype == np.float64 else np.float32])


@every_call
@pytest.mark.parametrize("given", [(), ("gamma",), ("beta",)], ids=str)
def test_without_gamma_or_beta(shape, axes, of_gamma, given):
    x, dy, *values = numbers(shape, of_gamma)
    options = {name: value for name, value in zip(("gamma", "beta"), values, strict=True) if name in given}

    def f(x, *parameters):
        own = {"gamma": 1, "beta": 0} | dict(zip(given, parameters, strict=True))
        return by_definition(axes)(x, **own)

    y, cache = normalize_forward(x, **options, axes=axes)
    dx, *found = normalize_backward(dy, cache)
    assert [a is not None for a in found] == [name in given for name in ("gamma", "beta")]
    assert_close([y, dx, *(a for a in found if a is not None)], by_autograd(f, x, dy, *options.values()))
    assert not np.shares_memory(y, cache.x_hat)
    assert not np.shares_memory(dx, dy)


def test_gamma_and_beta_of_different_shapes():
    x, dy, gamma, _ = numbers((7, 5), (5,))
    for axes, parameters in ((1, (gamma, 0.5)), (0, (2.0, gamma))):
        theirs = by_autograd(by_definition((axes,)), x, dy, *parameters)
        assert_close(forward_backward(x, dy, *parameters, axes=axes), theirs)


@pytest.mark.parametrize(
    ("axes", "same"), [((0, 2, 3), (3, 0, 2)), ((0, 2, 3), (-1, -2, 0)), ((1,), (-3,)), ((1,), 1), ((2, 3), [3, 2])]
)
def test_names_of_axes(axes, same):
    x, dy = numbers((4, 3, 5, 2))
    for a, b in zip(forward_backward(x, dy, axes=axes), forward_backward(x, dy, axes=same), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_layout_does_not_matter():
    x, dy, gamma, beta = numbers((6, 5), (5,))
    expected = forward_backward(x, dy, gamma, beta, axes=0)
    wide = np.full((12, 10), np.nan)
    wide[::2, ::2] = x
    for same in (wide[::2, ::2], np.asfortranarray(x), x.tolist()):
        assert_close(forward_backward(same, dy.tolist(), gamma.tolist(), beta.tolist(), axes=0), expected)


def test_the_worked_example():
    x, dy = np.array([[2.0], [2.0], [6.0], [6.0]]), np.array([[1.0], [0.0], [0.0], [0.0]])
    y, cache = normalize_forward(x, axes=0, eps=0)
    np.testing.assert_array_equal(y.ravel(), [-1, -1, 1, 1])
    np.testing.assert_array_equal(cache.x_hat, y)
    assert [a.tolist() for a in (cache.mean, cache.var, cache.inv_std)] == [[[4]], [[4]], [[0.5]]]
    np.testing.assert_array_equal(normalize_backward(dy, cache)[0].ravel(), [0.25, -0.25, 0, 0])


@pytest.mark.parametrize("value", [0.0, 0.1, -0.3, 123456.789, 1e-12])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 1000, 20000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_features_give_beta(value, n, dtype):
    x, dy, gamma, beta = numbers((n, 2), (2,), dtype=dtype)
    x[:, 0] = value
    y, dx, dgamma, _ = forward_backward(x, dy, gamma, beta, axes=0)
    # The mean of equal numbers is off by a rounding of a rounding, which 1 / sqrt(eps) = 316 makes larger.
    noise = 316 * 8 * np.finfo(dtype).eps ** 2 * abs(value) + np.finfo(dtype).eps * 4
    np.testing.assert_allclose(y[:, 0], beta[0], rtol=0, atol=noise)
    assert all(np.isfinite(a).all() and (n > 1 or not a.any()) for a in (dx, dgamma))


@pytest.mark.parametrize("mean", [0, 1, -1e4])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((32, 16), 0), ((20000, 16), 0), ((16, 32), 1), ((16, 20000), 1), ((2, 3, 60, 70), (0, 2, 3)), ((2, 9, 500), 1)],
)
def test_single_precision_is_as_good_as_it_can_be(shape, axes, mean):
    rng = np.random.default_rng(5)
    x = (rng.standard_normal(shape) + mean).astype(np.float32)
    dy = (rng.standard_normal(shape) + 0.5).astype(np.float32)
    ours = forward_backward(x, dy, axes=axes)
    exact = forward_backward(x.astype(np.float64), dy.astype(np.float64), axes=axes)
    # The same numbers, so that a large mean costs nothing: a variance that is the sum of some thousand squares has a
    # relative error of sqrt(4096) roundings, 64 * 6e-8 = 4e-6, which values up to 5 make 2e-5. The mean of the squares
    # minus the square of the mean would be off by 1e8 * 6e-8, and so would everything.
    assert_close(ours, exact, 2e-5)


@pytest.mark.parametrize("mean", [1, 1e4])
def test_statistics_have_more_digits_than_single_precision(mean):
    x = (np.random.default_rng(6).standard_normal((20000, 3)) + mean).astype(np.float32)
    cache = normalize_forward(x, axes=0)[1]
    x = x.astype(np.float64)
    # Sums of 4096 deviations, at most some hundred: 64 roundings of 100 * 6e-8 over 4096 are 1e-7. A mean of 1e4 in
    # single precision would be off by 1e4 * 6e-8 = 6e-4.
    np.testing.assert_allclose(cache.mean, x.mean(axis=0, keepdims=True), rtol=0, atol=1e-6)
    np.testing.assert_allclose(cache.var, x.var(axis=0, keepdims=True), rtol=1e-5)  # as above
    for shape, axes in [((2, 1_000_000), 1), ((1, 300_000, 2), 1)]:
        x = (np.random.default_rng(7).standard_normal(shape) + 1).astype(np.float32)
        y, exact = (normalize_forward(same, axes=axes)[0] for same in (x, x.astype(np.float64)))
        np.testing.assert_allclose(y, exact, rtol=0, atol=2e-5)  # as above


def test_numbers_beyond_the_precision_become_infinite_in_silence():
    x = np.array([[1e30], [-1e30]], dtype=np.float32)  # the squares overflow
    y, dx = forward_backward(x, np.ones_like(x), axes=0)
    np.testing.assert_array_equal(y, 0)  # as in PyTorch
    np.testing.assert_array_equal(dx, 0)
    x = np.array([[1.0], [-1.0]], dtype=np.float16)
    np.testing.assert_array_equal(normalize_forward(x, 1e5, axes=0)[0], [[np.inf], [-np.inf]])

    x = np.array([[1.0], [1.0]], dtype=np.float16)
    dx = normalize_backward(np.array([[60000.0], [0.0]], dtype=np.float16), normalize_forward(x, axes=0)[1])[0]
    np.testing.assert_array_equal(dx, [[np.inf], [-np.inf]])
    assert np.isnan(normalize_forward(np.ones((3, 1)), axes=0, eps=0)[0]).all()


@every_call
def test_arguments_are_left_alone_and_nothing_is_shared(shape, axes, of_gamma):
    arguments = numbers(shape, of_gamma)
    expected = [a.copy() for a in forward_backward(*arguments, axes=axes)]
    for a in arguments:
        a.flags.writeable = False
    x, dy, gamma, beta = arguments
    y, cache = normalize_forward(x, gamma, beta, axes=axes)
    y[...] = np.nan  # a later backward pass must not see this
    results = normalize_backward(dy, cache)
    for a in (y, *results):
        assert not any(np.shares_memory(a, b) for b in (*arguments, cache.x_hat, cache.inv_std, cache.mean, cache.var))
    for a in results:
        a[...] = np.nan
    assert_close(normalize_backward(dy, cache), expected[1:], atol=0)


def test_a_gamma_changed_after_the_forward_pass_does_not_reach_the_backward_pass():
    x, dy, gamma, beta = numbers((7, 3), (3,))
    cache = normalize_forward(x, gamma, beta, axes=0)[1]
    expected = normalize_backward(dy, cache)[0]
    gamma *= 2  # a step of gradient descent in place
    np.testing.assert_array_equal(normalize_backward(dy, cache)[0], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(
            ({"x": np.ones((3, 2), dtype=kind)}, f"x: expected floating.*{kind}")
            for kind in ("int64", "bool", "complex128")
        ),
        ({"x": [[1, 2], [3, 4]]}, "x: expected floating-point numbers .*got int64"),
        ({"x": np.empty((0, 3))}, r"x: expected an array with at least one element, got shape \(0, 3\)"),
        ({"x": np.empty((3, 0))}, r"x: expected an array with at least one element, got shape \(3, 0\)"),
        ({"x": np.float64(3)}, r"x: expected an array with at least one element, got shape \(\)"),
        *(({"axes": axes}, "axes") for axes in [2, -3, (0, 2), (0, 0), (0, -2), ()]),
    ],
)
def test_other_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        normalize_forward(**{"x": np.ones((3, 2)), "axes": 0} | options)


@pytest.mark.parametrize("name", ["gamma", "beta"])
def test_parameters_have_to_broadcast(name):
    for shape in [(3,), (2, 1), (2, 3, 2), (1, 3, 2), (0,)]:
        with pytest.raises(ValueError, match=rf"{name}: expected a shape that broadcasts against x, \(3, 2\), got "):
            normalize_forward(np.ones((3, 2)), **{name: np.ones(shape)}, axes=0)
    with pytest.raises(ValueError, match=rf"{name}: .*\(3, 1\), got \(3, 2\)"):  # x would have to grow
        normalize_forward(np.ones((3, 1)), **{name: np.ones((3, 2))}, axes=0)
    with pytest.raises(ValueError, match=f"{name}: expected floating-point numbers"):
        normalize_forward(np.ones((3, 2)), **{name: [1, 2]}, axes=0)


def test_an_upstream_gradient_has_the_shape_of_the_input():
    cache = normalize_forward(numbers((3, 2))[0], axes=0)[1]
    for shape in [(2, 3), (3,), (1, 2), (3, 2, 1), ()]:
        with pytest.raises(ValueError, match=r"dy: expected the shape of x, \(3, 2\), got "):
            normalize_backward(np.ones(shape), cache)
    with pytest.raises(ValueError, match="dy: expected floating-point numbers"):
        normalize_backward(np.ones((3, 2), dtype=int), cache)


@pytest.mark.parametrize("dtype", ATOL)
@pytest.mark.parametrize("training", [False, True])
def test_a_layer_keeps_the_precision_of_its_input(dtype, training):
    pair = Pair(BatchNorm).train(training).step(*numbers((7, 3), dtype=dtype))
    pair.compare(tolerance=ATOL[dtype])  # relative to the largest number, which is above one
    ours = pair.ours
    assert pair.dtypes == {"y": dtype, "dx": dtype}
    assert ours.grad_gamma.dtype == ours.gamma.dtype == ours.running_mean.dtype == np.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"num_features": n}, "num_features: expected a positive") for n in [0, -1, 2.5, 2.0, "2", None, True]),
        *(({"eps": eps}, "eps: expected a positive number, got .*1e-12") for eps in [0, -1e-5, np.nan]),
        *(({"momentum": p}, "momentum: .* from 0 to 1, got .*; None averages") for p in [-0.1, 1.1, np.nan]),
    ],
)
def test_options_are_in_their_ranges(options, message):
    with pytest.raises(ValueError, match=message):
        BatchNorm(**{"num_features": 3} | options)
    assert BatchNorm(np.int64(3)).num_features == 3


@pytest.mark.parametrize("training", [False, True])
def test_other_examples_are_refused(training):
    layer = BatchNorm(3).train(training)
    for shape in [(), (3,), (7, 2), (3, 7), (4, 2, 3, 3), (2, 3, 2, 2, 2, 2)]:
        with pytest.raises(ValueError, match=r"x: expected shape \(N, 3\) or .*, got \("):
            layer.forward(np.ones(shape))
    with pytest.raises(ValueError, match="x: expected floating-point numbers"):
        layer.forward(np.ones((4, 3), dtype=int))
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1), (0, 3), (4, 3, 0)])
def test_one_value_for_each_feature_cannot_be_trained_on(shape):
    layer = BatchNorm(3)
    with pytest.raises(ValueError, match=r"more than one value for each feature.*use a larger batch, or eval\(\)"):
        layer.forward(np.ones(shape))
    np.testing.assert_array_equal(layer.running_mean, 0)
    assert layer.num_batches_tracked == 0
    with pytest.raises(ValueError, match="backward: expected forward"):
        layer.backward(np.ones(shape))


def test_backward_comes_after_forward():
    layer = BatchNorm(3)
    with pytest.raises(ValueError, match=r"backward: expected forward\(x\) before backward\(dy\)"):
        layer.backward(np.ones((4, 3)))
    layer.forward(numbers((4, 3))[0])
    with pytest.raises(ValueError, match=r"dy: expected the shape of x, \(4, 3\), got \(3, 4\)"):
        layer.backward(np.ones((3, 4)))
    assert layer.grad_gamma is None


@pytest.mark.parametrize(("x", "gamma", "expected"), [(np.inf, 0.0, np.nan), (6e4, 1e4, np.inf)])
def test_evaluation_lets_infinity_through_in_silence(x, gamma, expected):
    layer = BatchNorm(1).eval()
    layer.gamma[:] = gamma
    np.testing.assert_array_equal(layer.forward(np.array([[x], [0.0]], dtype=np.float16)), [[expected], [0]])


def test_the_state_is_a_copy():
    layer, other = BatchNorm(3), BatchNorm(3)
    layer.forward(numbers((7, 3))[0])
    state, kept = layer.state_dict(), layer.state_dict()
    for value in state.values():
        value[...] = 7
    other.load_state_dict(state)
    for value in state.values():
        value[...] = 0
    for key in kept:
        np.testing.assert_array_equal(layer.state_dict()[key], kept[key])
        np.testing.assert_array_equal(other.state_dict()[key], 7)


def test_a_state_comes_from_pytorch():
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm1d(3)
    theirs(torch.tensor(numbers((7, 3), dtype=np.float32)[0]))
    ours.load_state_dict(theirs.state_dict())
    found, expected = ([*one.state_dict().items()] for one in (ours, theirs))
    assert [(key, value.tolist()) for key, value in found] == [(key, value.tolist()) for key, value in expected]
    assert ours.gamma.dtype == ours.running_mean.dtype == np.float64
    assert type(ours.num_batches_tracked) is int


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("bias"), r"state: expected the keys \["),
        (lambda state: state.update(eps=1e-5), r"state: expected the keys \["),
        (lambda state: state.update(running_var=np.ones(4)), r"state\['running_var'\]: expected shape \(3,\)"),
        (lambda state: state.update(weight=1.0), r"state\['weight'\]: expected shape \(3,\), got \(\)"),
        (lambda state: state.update(num_batches_tracked=[1]), r"state\['num_batches_tracked'\]: expected shape"),
        (lambda state: state.update(num_batches_tracked="many"), r"\['num_batches_tracked'\]: expected numbers"),
    ],
)
def test_a_bad_state_changes_nothing(spoil, message):
    layer = BatchNorm(3)
    layer.forward(numbers((7, 3))[0])
    before = layer.state_dict()
    state = {key: np.full_like(value, 9) for key, value in before.items()}
    spoil(state)
    with pytest.raises(ValueError, match=message):
        layer.load_state_dict(state)
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


@given(
    examples=st.integers(2, 6),
    features=st.integers(1, 4),
    place=st.lists(st.integers(1, 4), max_size=3),
    dtype=st.sampled_from([np.float32, np.float64]),
    layout=st.sampled_from(["contiguous", "reversed", "every other one", "channels last"]),
    momentum=st.sampled_from([None, 0.0, 0.1, 0.7, 1.0]),
    affine=st.booleans(),
    track=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_a_layer_of_any_shape_is_that_of_pytorch(
    examples, features, place, dtype, layout, momentum, affine, track, seed
):
    shape = (examples, features, *place)
    x, dy = twins.batch(shape, seed, dtype)
    if layout == "reversed":
        x, dy = x[::-1], dy[..., ::-1]
    elif layout == "every other one":
        x, dy = np.repeat(x, 2, axis=0)[::2], np.repeat(dy, 2, axis=-1)[..., 1::2]
    elif layout == "channels last":
        x, dy = (np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) for a in (x, dy))
    # The variance of two values may be as small as it likes, and dx loses a factor (variance + eps) / eps, with eps=0.1
    # at most some hundred. The twin is float64: some ten roundings of 6e-8 times that are below 1e-4.
    tolerance = twins.TOLERANCE if dtype == np.float64 else 1e-4
    how = {"momentum": momentum, "affine": affine, "track_running_stats": track, "eps": 0.1}
    pair = Pair(BatchNorm, len(shape), features=features, seed=seed, **how)
    pair.step(x, dy).compare(tolerance=tolerance, where="training ")
    pair.step(x[: max(2, examples - 1)], dy[: max(2, examples - 1)]).compare(tolerance=tolerance, where="second step ")
    pair.eval().step(x, dy).compare(tolerance=tolerance, where="evaluation ")
    assert set(pair.dtypes.values()) == {np.dtype(dtype)}

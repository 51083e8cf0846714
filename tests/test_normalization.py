"""Our normalizations against autograd, against differences, and against numbers worked out by hand.

Every norm of PyTorch that is one of ours is compared in parity.py and family_parity.py.
"""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from utils.byhand.gradient_check import numerical_gradient, relative_error
from utils.byhand.normalization import BatchNorm, Cache, normalize_backward, normalize_forward

# Absolute, for numbers up to about ten: some roundings of values and sums.
ATOL = {np.float64: 1e-12, np.float32: 1e-5, np.float16: 1.6e-2}
LAYERS = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}
BATCHES = [(7, 3), (6, 3, 5), (4, 3, 5, 2), (3, 2, 2, 3, 2)]
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
    if of_gamma is None:
        return x, dy
    return x, dy, np.asarray(rng.uniform(0.5, 2, of_gamma)), np.asarray(rng.standard_normal(of_gamma))


def by_autograd(f, x, dy, *parameters):
    """Output and gradients of a PyTorch function of x and parameters, in float64."""
    there = [torch.tensor(np.asarray(a, dtype=np.float64), requires_grad=True) for a in (x, *parameters)]
    y = f(*there)
    y.backward(torch.tensor(np.asarray(dy, dtype=np.float64)))
    return [y.detach().numpy(), *(a.grad.numpy() for a in there)]


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
@pytest.mark.parametrize("dtype", ATOL)
def test_the_formula_differentiated_by_autograd(shape, axes, of_gamma, dtype):
    x, dy, gamma, beta = numbers(shape, of_gamma, dtype=dtype)
    theirs = by_autograd(by_definition(axes), x, dy, gamma, beta)
    ours = forward_backward(x, dy, gamma, beta, axes=axes)
    assert ours[0].dtype == ours[1].dtype == dtype
    assert ours[2].dtype == ours[3].dtype == np.float64
    # Half precision: the result is rounded, values below 16 to 8e-3 / 2, and everything before is done in float32.
    assert_close(ours[:2], theirs[:2], ATOL[dtype])
    assert_close(ours[2:], theirs[2:], ATOL[np.float64 if dtype == np.float64 else np.float32])


@every_call
@pytest.mark.parametrize("which", ["neither", "gamma", "beta"])
def test_without_gamma_or_beta(shape, axes, of_gamma, which):
    x, dy, gamma, beta = numbers(shape, of_gamma)
    f = by_definition(axes)
    if which == "neither":
        options, theirs = {}, by_autograd(lambda x: f(x, 1, 0), x, dy)
    elif which == "gamma":
        options, theirs = {"gamma": gamma}, by_autograd(lambda x, w: f(x, w, 0), x, dy, gamma)
    else:
        options, theirs = {"beta": beta}, by_autograd(lambda x, b: f(x, 1, b), x, dy, beta)
    y, cache = normalize_forward(x, **options, axes=axes)
    dx, dgamma, dbeta = normalize_backward(dy, cache)
    assert (dgamma is not None) is (which == "gamma")
    assert (dbeta is not None) is (which == "beta")
    assert_close([a for a in (y, dx, dgamma, dbeta) if a is not None], theirs)


def test_gamma_and_beta_of_different_shapes():
    x, dy, gamma, _ = numbers((7, 5), (5,))
    theirs = by_autograd(by_definition((1,)), x, dy, gamma, 0.5)
    assert_close(forward_backward(x, dy, gamma, 0.5, axes=1), theirs)
    theirs = by_autograd(by_definition((0,)), x, dy, 2.0, gamma)
    assert_close(forward_backward(x, dy, 2.0, gamma, axes=0), theirs)


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


@every_call
@pytest.mark.parametrize("eps", [1e-3, 1.0])
def test_central_differences(shape, axes, of_gamma, eps):
    x, dy, gamma, beta = numbers(shape, of_gamma, seed=1)

    def loss(x=x, gamma=gamma, beta=beta):
        return (dy * normalize_forward(x, gamma, beta, axes=axes, eps=eps)[0]).sum()

    dx, dgamma, dbeta = normalize_backward(dy, normalize_forward(x, gamma, beta, axes=axes, eps=eps)[1])
    # Rounding, 1e-16 * 50 / 1e-5, and curvature, 1e-10 times third derivatives of at most some hundreds.
    assert relative_error(dx, numerical_gradient(lambda v: loss(x=v), x)) < 1e-7
    assert relative_error(dgamma, numerical_gradient(lambda v: loss(gamma=v), gamma)) < 1e-7
    assert relative_error(dbeta, numerical_gradient(lambda v: loss(beta=v), beta)) < 1e-7


def test_the_worked_example():
    x, dy = np.array([[2.0], [2.0], [6.0], [6.0]]), np.array([[1.0], [0.0], [0.0], [0.0]])
    y, cache = normalize_forward(x, axes=0, eps=0)
    assert isinstance(cache, Cache)
    np.testing.assert_array_equal(y.ravel(), [-1, -1, 1, 1])
    np.testing.assert_array_equal(cache.x_hat, y)
    np.testing.assert_array_equal(cache.mean, [[4]])
    np.testing.assert_array_equal(cache.var, [[4]])
    np.testing.assert_array_equal(cache.inv_std, [[0.5]])
    np.testing.assert_array_equal(normalize_backward(dy, cache)[0].ravel(), [0.25, -0.25, 0, 0])


@pytest.mark.parametrize("dtype", ATOL)
def test_one_value_leaves_beta_and_no_gradient(dtype):
    x, dy, gamma, beta = numbers((1, 4), (4,), dtype=dtype)
    y, dx, dgamma, dbeta = forward_backward(x, dy, gamma, beta, axes=0)
    np.testing.assert_array_equal(y, beta.astype(dtype)[None])
    np.testing.assert_array_equal(dx, 0)
    np.testing.assert_array_equal(dgamma, 0)
    np.testing.assert_array_equal(dbeta, dy[0])


@pytest.mark.parametrize("dtype", ATOL)
def test_two_values_leave_their_order_only(dtype):
    x = np.array([[3.0, -1.5, 0.25], [1.0, 7.5, 1000.0]], dtype=dtype)
    y, dx = forward_backward(x, numbers(x.shape, dtype=dtype)[1], axes=0, eps=0)
    np.testing.assert_allclose(y, [[1, -1, -1], [-1, 1, 1]], rtol=2e-7)  # a square root and a product, in float32
    np.testing.assert_allclose(dx, 0, atol=1e-6)  # the sign does not change: some roundings of numbers of order one


@pytest.mark.parametrize("value", [0.0, 0.1, -0.3, 123456.789, 1e-12])
@pytest.mark.parametrize("n", [2, 3, 7, 1000, 20000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_features_give_beta(value, n, dtype):
    x, dy, gamma, beta = numbers((n, 2), (2,), dtype=dtype)
    x[:, 0] = value
    y, dx, dgamma, _ = forward_backward(x, dy, gamma, beta, axes=0)
    # The mean of equal numbers is off by a rounding of a rounding, which 1 / sqrt(eps) = 316 makes larger.
    noise = 316 * 8 * np.finfo(dtype).eps ** 2 * abs(value) + np.finfo(dtype).eps * 4
    np.testing.assert_allclose(y[:, 0], beta[0], rtol=0, atol=noise)
    assert all(np.isfinite(a).all() for a in (dx, dgamma))


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


@pytest.mark.parametrize(("shape", "axes"), [((2, 1_000_000), 1), ((1, 300_000, 2), 1)])
def test_single_precision_is_as_good_along_other_axes(shape, axes):
    x = (np.random.default_rng(7).standard_normal(shape) + 1).astype(np.float32)
    y, exact = (normalize_forward(same, axes=axes)[0] for same in (x, x.astype(np.float64)))
    np.testing.assert_allclose(y, exact, rtol=0, atol=2e-5)  # as above


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "dy"])
@pytest.mark.parametrize("dtype", ATOL)
def test_infinity_and_nan_go_through_as_in_pytorch(bad, where, dtype):
    x, dy, gamma, beta = numbers((6, 3), (3,), dtype=dtype)
    (x if where == "x" else dy)[2, 1] = bad
    ours = forward_backward(x, dy, gamma, beta, axes=0)
    f = functional.batch_norm
    theirs = by_autograd(lambda x, w, b: f(x, None, None, w, b, training=True), x, dy, gamma, beta)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))
        assert np.isfinite(a[..., [0, 2]]).all()  # the other features know nothing of it
        kept = np.isfinite(b)
        np.testing.assert_allclose(a[kept], b[kept], rtol=0, atol=ATOL[dtype])


def test_numbers_beyond_the_precision_become_infinite_in_silence():
    x = np.array([[1e30], [-1e30]], dtype=np.float32)  # the squares overflow
    y, dx = forward_backward(x, np.ones_like(x), axes=0)
    np.testing.assert_array_equal(y, 0)  # as in PyTorch
    np.testing.assert_array_equal(dx, 0)
    x = np.array([[1.0], [-1.0]], dtype=np.float16)
    np.testing.assert_array_equal(normalize_forward(x, 1e5, axes=0)[0], [[np.inf], [-np.inf]])


def test_a_gradient_beyond_half_precision_becomes_infinite_in_silence():
    x = np.array([[1.0], [1.0]], dtype=np.float16)
    dx = normalize_backward(np.array([[60000.0], [0.0]], dtype=np.float16), normalize_forward(x, axes=0)[1])[0]
    np.testing.assert_array_equal(dx, [[np.inf], [-np.inf]])


def test_no_variance_and_no_eps_is_nan_in_silence():
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
    expected = forward_backward(x, dy, gamma, beta, axes=0)[1]
    cache = normalize_forward(x, gamma, beta, axes=0)[1]
    gamma *= 2  # a step of gradient descent in place
    np.testing.assert_array_equal(normalize_backward(dy, cache)[0], expected)


@pytest.mark.parametrize("axes", [0, 1])
@pytest.mark.parametrize("with_gamma", [False, True])
def test_a_plain_output_does_not_share_memory_with_the_cache(axes, with_gamma):
    x, dy = numbers((5, 3))
    y, cache = normalize_forward(x, 1.0 if with_gamma else None, axes=axes)
    assert not np.shares_memory(y, cache.x_hat)
    dx = normalize_backward(dy, cache)[0]
    assert not np.shares_memory(dx, dy)


@pytest.mark.parametrize(("shape", "axes"), [((7, 3), (0,)), ((7, 5), (1,)), ((4, 3, 5, 2), (0, 2, 3))])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_the_gradient_is_orthogonal_to_ones_and_to_x_hat(shape, axes, eps):
    x, dy = numbers(shape)
    y, dx = forward_backward(x, dy, axes=axes, eps=eps)
    # Adding a constant changes nothing, and so does a factor where there is no eps; eps bends that by eps / variance.
    np.testing.assert_allclose(dx.sum(axis=axes), 0, atol=1e-13)  # roundings of numbers of order one
    np.testing.assert_allclose((dx * y).sum(axis=axes), 0, atol=1e-13 + 20 * eps)


def test_a_shift_and_a_factor_do_not_change_the_output():
    x, _ = numbers((9, 4))
    y = normalize_forward(x, axes=0, eps=0)[0]
    np.testing.assert_allclose(normalize_forward(3 * x + 7, axes=0, eps=0)[0], y, atol=1e-13)
    np.testing.assert_allclose(normalize_forward(-x, axes=0, eps=0)[0], -y, atol=1e-13)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((3, 2), dtype=int), "x: expected floating-point numbers .*got int64"),
        ([[1, 2], [3, 4]], "x: expected floating-point numbers .*got int64"),
        (np.ones((3, 2), dtype=bool), "x: expected floating-point numbers .*got bool"),
        (np.ones((3, 2), dtype=complex), "x: expected floating-point numbers .*got complex128"),
        ([[1.0], [1.0, 2.0]], "x: expected an array of numbers, got rows of different lengths"),
        (np.empty((0, 3)), r"x: expected an array with at least one element, got shape \(0, 3\)"),
        (np.empty((3, 0)), r"x: expected an array with at least one element, got shape \(3, 0\)"),
        (np.float64(3), r"x: expected an array with at least one element, got shape \(\)"),
    ],
)
def test_other_input_is_refused(x, message):
    with pytest.raises(ValueError, match=message):
        normalize_forward(x, axes=0)


@pytest.mark.parametrize("axes", [2, -3, (0, 2), (0, 0), (0, -2), ()])
def test_axes_are_those_of_the_input(axes):
    with pytest.raises(ValueError, match="axes"):
        normalize_forward(np.ones((3, 2)), axes=axes)


@pytest.mark.parametrize("eps", [-1e-5, np.nan])
def test_a_negative_eps_is_refused(eps):
    with pytest.raises(ValueError, match="eps: expected a number of at least 0, got"):
        normalize_forward(np.ones((3, 2)), axes=0, eps=eps)


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


def paired(shape, *, dtype=np.float64, seed=0, **options):
    """Our layer and PyTorch's, with the same random parameters."""
    ours, theirs = BatchNorm(shape[1], **options), LAYERS[len(shape)](shape[1], dtype=torch.float64, **options)
    if ours.affine:
        rng = np.random.default_rng(seed)
        ours.gamma, ours.beta = rng.uniform(0.5, 2, shape[1]), rng.standard_normal(shape[1])
        with torch.no_grad():
            theirs.weight.copy_(torch.tensor(ours.gamma))
            theirs.bias.copy_(torch.tensor(ours.beta))
    return ours, theirs


def assert_same_step(ours, theirs, x, dy, atol=1e-12):
    """One forward and backward pass of both."""
    there = torch.tensor(x.astype(np.float64), requires_grad=True)
    theirs.zero_grad()
    y = theirs(there)
    y.backward(torch.tensor(dy.astype(np.float64)))
    our_y, our_dx = ours.forward(x), ours.backward(dy)
    assert our_y.dtype == our_dx.dtype == x.dtype
    assert_close([our_y, our_dx], [y.detach().numpy(), there.grad.numpy()], atol)
    if ours.affine:
        assert_close([ours.grad_gamma, ours.grad_beta], [theirs.weight.grad.numpy(), theirs.bias.grad.numpy()], atol)
    else:
        assert ours.gamma is ours.beta is ours.grad_gamma is ours.grad_beta is None


def assert_same_state(ours, theirs, atol=1e-12):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        assert isinstance(value, np.ndarray)
        np.testing.assert_allclose(value, theirs[key].numpy(), rtol=0, atol=atol, err_msg=key)
        assert value.shape == theirs[key].shape


@pytest.mark.parametrize("shape", BATCHES)
@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, None])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("track_running_stats", [False, True])
def test_layers_train_and_evaluate_as_those_of_pytorch(shape, momentum, affine, track_running_stats):
    options = {"momentum": momentum, "affine": affine, "track_running_stats": track_running_stats, "eps": 1e-3}
    ours, theirs = paired(shape, **options)
    assert_same_state(ours, theirs)
    for seed in range(3):
        assert_same_step(ours, theirs, *numbers(shape, seed=seed))
        assert_same_state(ours, theirs)
    assert ours.eval() is ours
    theirs.eval()
    for seed in range(2):  # statistics stay as they are
        assert_same_step(ours, theirs, *numbers(shape, seed=10 + seed))
        assert_same_state(ours, theirs)
    assert ours.train() is ours
    theirs.train()
    assert_same_step(ours, theirs, *numbers(shape, seed=20))
    assert_same_state(ours, theirs)


@pytest.mark.parametrize("dtype", ATOL)
@pytest.mark.parametrize("training", [False, True])
def test_a_layer_keeps_the_precision_of_its_input(dtype, training):
    ours, theirs = paired((7, 3))
    for layer in (ours, theirs):
        layer.train(training)
    x, dy = numbers((7, 3), dtype=dtype)
    # In evaluation dgamma sums x_hat of up to 7: as the other values, rounded to half precision only when given back.
    assert_same_step(ours, theirs, x, dy, ATOL[dtype])
    assert ours.grad_gamma.dtype == ours.gamma.dtype == ours.running_mean.dtype == np.float64


def test_without_running_statistics_evaluation_uses_the_batch():
    layer = BatchNorm(3, track_running_stats=False)
    x, _ = numbers((7, 3))
    y = layer.forward(x)
    np.testing.assert_array_equal(layer.eval().forward(x), y)
    assert layer.running_mean is layer.running_var is layer.num_batches_tracked is None
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert list(BatchNorm(3, affine=False, track_running_stats=False).state_dict()) == []


def test_the_running_variance_is_the_unbiased_one():
    layer = BatchNorm(1, momentum=0.25)
    layer.forward(np.array([[2.0], [2.0], [6.0], [6.0]]))
    np.testing.assert_allclose(layer.running_mean, [1])  # a quarter of 4
    np.testing.assert_allclose(layer.running_var, [0.75 + 0.25 * 16 / 3])
    assert layer.num_batches_tracked == 1


def test_without_momentum_the_running_mean_is_the_average_of_the_batches():
    layer = BatchNorm(1, momentum=None)
    for value in (1.0, 2.0, 6.0):
        layer.forward(np.array([[value - 1], [value + 1]]))
    np.testing.assert_allclose(layer.running_mean, [3])
    np.testing.assert_allclose(layer.running_var, [2])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_a_layer_leaves_its_arguments_alone(training, affine):
    layer = BatchNorm(3, affine=affine).train(training)
    x, dy = numbers((7, 3))
    for a in (x, dy):
        a.flags.writeable = False
    y = layer.forward(x)
    assert not np.shares_memory(y, layer._cache.x_hat)
    dx = layer.backward(dy).copy()
    y[...] = np.nan
    np.testing.assert_array_equal(layer.backward(dy), dx)
    assert not np.shares_memory(layer.forward(x), x)
    assert not np.shares_memory(layer.backward(dy), dy)


def test_a_layer_in_training_by_differences():
    x, dy = numbers((5, 3), seed=2)
    layer = BatchNorm(3, eps=1e-3)
    layer.gamma, layer.beta = np.array([0.5, 2.0, -1.0]), np.array([1.0, 0.0, -1.0])
    layer.forward(x)
    dx = layer.backward(dy)
    numerical = numerical_gradient(lambda v: (dy * copy.deepcopy(layer).forward(v)).sum(), x)
    assert relative_error(dx, numerical) < 1e-7  # as above


@pytest.mark.parametrize("num_features", [0, -1, 2.5, 2.0, "2", None, True])
def test_the_number_of_features_is_a_positive_integer(num_features):
    with pytest.raises(ValueError, match="num_features: expected a positive integer, got"):
        BatchNorm(num_features)


def test_the_number_of_features_may_be_one_of_numpy():
    assert BatchNorm(np.int64(3)).num_features == 3


@pytest.mark.parametrize("eps", [0, -1e-5, np.nan])
def test_eps_is_positive(eps):
    with pytest.raises(ValueError, match="eps: expected a positive number, got .*1e-12"):
        BatchNorm(3, eps=eps)


@pytest.mark.parametrize("momentum", [-0.1, 1.1, np.nan])
def test_momentum_goes_from_zero_to_one(momentum):
    with pytest.raises(
        ValueError, match="momentum: expected a number from 0 to 1, got .*; None averages over all batches"
    ):
        BatchNorm(3, momentum=momentum)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(), (3,), (7, 2), (3, 7), (4, 2, 3, 3), (2, 3, 2, 2, 2, 2)])
def test_other_shapes_are_refused(shape, training):
    layer = BatchNorm(3).train(training)
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 3\) or .*, got \("):
        layer.forward(np.ones(shape))
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("training", [False, True])
def test_integers_are_refused(training):
    with pytest.raises(ValueError, match="x: expected floating-point numbers"):
        BatchNorm(3).train(training).forward(np.ones((4, 3), dtype=int))


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


@pytest.mark.parametrize("momentum", [0.0, 0.1, 1.0, None])
def test_running_statistics_show_divergence_in_silence(momentum):
    ours, theirs = paired((2, 1), momentum=momentum)
    for x in (np.array([[np.inf], [1.0]]), np.array([[-np.inf], [1.0]]), np.array([[1.0], [2.0]])):
        ours.forward(x)
        theirs(torch.tensor(x))
        assert_same_state(ours, theirs)


def test_the_state_is_a_copy():
    layer = BatchNorm(3)
    layer.forward(numbers((7, 3))[0])
    state = layer.state_dict()
    kept = copy.deepcopy(state)
    for value in state.values():
        value[...] = 7
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, kept[key])
    other = BatchNorm(3)
    other.load_state_dict(state)
    for value in state.values():
        value[...] = 0
    for value in other.state_dict().values():
        np.testing.assert_array_equal(value, 7)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("track_running_stats", [False, True])
def test_a_state_makes_another_layer_the_same(affine, track_running_stats):
    options = {"affine": affine, "track_running_stats": track_running_stats}
    trained, _ = paired((7, 3), **options)
    x, _ = numbers((7, 3))
    trained.forward(x)
    loaded = BatchNorm(3, **options)
    loaded.load_state_dict(trained.state_dict())
    np.testing.assert_array_equal(loaded.eval().forward(x), trained.eval().forward(x))
    assert loaded.num_batches_tracked == trained.num_batches_tracked


def test_a_state_comes_from_pytorch():
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm1d(3)
    theirs(torch.tensor(numbers((7, 3), dtype=np.float32)[0]))
    ours.load_state_dict(theirs.state_dict())
    assert_same_state(ours, theirs, atol=0)
    assert ours.gamma.dtype == ours.running_mean.dtype == np.float64
    assert type(ours.num_batches_tracked) is int


BAD_STATES = {
    "missing": (lambda state: state.pop("bias"), r"state: expected the keys \["),
    "extra": (lambda state: state.update(eps=1e-5), r"state: expected the keys \["),
    "empty": (lambda state: state.clear(), r"state: expected the keys \["),
    "shape": (lambda state: state.update(running_var=np.ones(4)), r"state\['running_var'\]: expected shape \(3,\)"),
    "scalar": (lambda state: state.update(weight=1.0), r"state\['weight'\]: expected shape \(3,\), got \(\)"),
    "count": (lambda state: state.update(num_batches_tracked=[1]), r"state\['num_batches_tracked'\]: expected shape"),
    "words": (
        lambda state: state.update(num_batches_tracked="many"),
        r"state\['num_batches_tracked'\]: expected numbers",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_STATES.values(), ids=BAD_STATES)
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

"""Initial weights against torch.nn.init, closed forms, and the definitions of fan and gain.

Samples have 2**16 numbers or so and fixed seeds. The relative deviation of a sample variance is then about
sqrt(2 / 65536), half a percent, for normal numbers, so that 2 % is four deviations, and other factors than the right
one (1/3, 1, 2, another fan) lie far outside.
"""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import nn

from utils.byhand import initialization as init

DENSE, CONV = (128, 512), (32, 64, 5, 5)
WITHIN = 0.02


def pair(name, variance, theirs=None, **how):
    """Ours and PyTorch's with the same options, and the variance as a function of the two fans."""
    theirs = theirs or partial(getattr(nn.init, f"{name}_"), **how)
    return partial(getattr(init, name), **how), theirs, variance


def default(weight, generator):
    drawn = torch.empty_like(weight).uniform_(-1, 1, generator=generator)
    return weight.copy_(drawn) / math.sqrt(weight[0].numel())


PAIRS = {
    "xavier_normal": pair("xavier_normal", lambda i, o: 2 / (i + o)),
    "xavier_uniform": pair("xavier_uniform", lambda i, o: 2 / (i + o)),
    "xavier_normal gain": pair("xavier_normal", lambda i, o: 25 / 9 * 2 / (i + o), gain=5 / 3),
    "xavier_uniform gain": pair("xavier_uniform", lambda i, o: 0.25 * 2 / (i + o), gain=0.5),
    "kaiming_normal": pair("kaiming_normal", lambda i, o: 2 / i),
    "kaiming_uniform": pair("kaiming_uniform", lambda i, o: 2 / i),
    "kaiming_normal fan_out": pair("kaiming_normal", lambda i, o: 2 / o, mode="fan_out"),
    "kaiming_uniform fan_out, leaky": pair("kaiming_uniform", lambda i, o: 2 / 1.25 / o, mode="fan_out", a=0.5),
    "kaiming_normal, leaky": pair("kaiming_normal", lambda i, o: 2 / 5 / i, a=2.0),
    "pytorch_default": pair("pytorch_default", lambda i, o: 1 / (3 * i), default),
    "normal": pair("normal", lambda i, o: 0.09, std=0.3),
}


@pytest.mark.parametrize("shape", [DENSE, CONV], ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_distribution_is_pytorchs(name, shape):
    ours, theirs, variance = PAIRS[name]
    weight = ours(shape, rng=1)
    other = torch.empty(shape, dtype=torch.float64)
    other = theirs(other, generator=torch.Generator().manual_seed(2)).numpy()
    fan_in, fan_out = init.fans(shape)
    assert weight.shape == shape
    assert weight.dtype == np.float64
    assert weight.var() == pytest.approx(variance(fan_in, fan_out), rel=WITHIN)
    # The mean of n numbers has deviation std / √n; five of them.
    assert abs(weight.mean()) < 5 * weight.std() / math.sqrt(weight.size)
    # A right pair fails this level once in ten thousand seeds; here the seeds are fixed.
    assert stats.kstest(weight.ravel(), other.ravel()).pvalue > 1e-4
    # Against a uniform or normal distribution of the variance that the closed form gives.
    std = math.sqrt(variance(fan_in, fan_out))
    exact = stats.norm(0, std) if "normal" in name else stats.uniform(-math.sqrt(3) * std, 2 * math.sqrt(3) * std)
    assert stats.kstest(weight.ravel(), exact.cdf).pvalue > 1e-4


def test_pytorch_default_is_that_of_linear_and_conv():
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        layers = [nn.Linear(512, 128), nn.Conv2d(64, 32, 5)]
    for layer in layers:
        theirs = layer.weight.detach().numpy()
        ours = init.pytorch_default(theirs.shape, rng=3)
        assert stats.kstest(ours.ravel(), theirs.ravel()).pvalue > 1e-4
        assert abs(ours).max() <= 1 / math.sqrt(init.fans(ours.shape)[0])
        assert abs(theirs).max() <= 1.0001 / math.sqrt(init.fans(ours.shape)[0])  # float32


@pytest.mark.parametrize("shape", [(3, 7), (3, 7, 5), (4, 6, 3, 5), (2, 3, 4, 5, 6)], ids=str)
def test_fans_are_pytorchs(shape):
    expected = nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    assert init.fans(shape) == expected
    assert init.fans(np.array(shape)) == expected
    assert all(type(fan) is int for fan in init.fans(np.array(shape)))


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "selu", "leaky_relu"])
def test_gains_are_pytorchs(name):
    assert init.gain(name) == pytest.approx(nn.init.calculate_gain(name), rel=1e-15)


def test_gain_of_convolutions_and_slopes():
    assert init.gain("conv") == nn.init.calculate_gain("conv2d")
    for slope in (0, 0.25, -0.5, 1, math.sqrt(5)):
        assert init.gain("leaky_relu", slope) == pytest.approx(nn.init.calculate_gain("leaky_relu", slope), rel=1e-15)


def relu(z):
    return np.maximum(z, 0)


@pytest.mark.parametrize("activation", [relu, np.tanh], ids=["relu", "tanh"])
@pytest.mark.parametrize("draw", [init.kaiming_normal, init.pytorch_default], ids=["he", "default"])
def test_lsuv_gives_every_layer_unit_variance(activation, draw):
    rng = np.random.default_rng(0)
    X = 3 + 5 * rng.standard_normal((200, 20))
    sizes = [20, *[32] * 12, 7]
    weights = [draw((n_out, n_in), rng=rng) for n_in, n_out in zip(sizes, sizes[1:], strict=False)]
    before = [weight.copy() for weight in weights]
    signal = X
    for old, new in zip(before, init.lsuv(weights, activation, X), strict=True):
        z = signal @ new.T
        assert z.var() == pytest.approx(1, rel=1e-12)
        np.testing.assert_allclose(new / new[0, 0], old / old[0, 0], rtol=1e-12)  # a factor, nothing else
        signal = activation(z)
    for weight, old in zip(weights, before, strict=True):
        assert (weight == old).all()


RANDOM = [partial(init.normal, std=1.0), init.xavier_normal, init.xavier_uniform]
RANDOM += [init.kaiming_normal, init.kaiming_uniform, init.pytorch_default]


@pytest.mark.parametrize("draw", RANDOM, ids=lambda f: getattr(f, "__name__", "normal"))
def test_randomness_is_the_argument(draw):
    np.testing.assert_array_equal(draw((4, 3), rng=5), draw((4, 3), rng=np.random.default_rng(5)))
    rng = np.random.default_rng(5)
    first, second = draw((4, 3), rng=rng), draw((4, 3), rng=rng)
    assert not (first == second).any()
    with pytest.raises(ValueError, match="rng: expected a seed or a numpy.random.Generator, got None"):
        draw((4, 3), rng=None)


@pytest.mark.parametrize("shape", [(3,), 3, (), (3, 0), (3, -1), (3, 2.0), (True, 3), "ab", None], ids=repr)
@pytest.mark.parametrize("draw", [init.fans, *[partial(f, rng=0) for f in RANDOM]])
def test_shapes_that_are_none(draw, shape):
    with pytest.raises(
        ValueError, match=r"shape: expected \(out, in\) or \(out, in, \*kernel\), positive integers, got"
    ):
        draw(shape)


def test_a_slope_where_there_is_none():
    with pytest.raises(ValueError, match=r"param: expected none for relu, got 0\.1; only leaky_relu has one"):
        init.gain("relu", 0.1)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([np.ones((3, 4)) + np.eye(3, 4), np.ones((3, 4))], r"weights\[1\]: expected shape \(out, 3\), got \(3, 4\)"),
        ([np.ones(4)], r"weights\[0\]: expected shape \(out, 4\), got \(4,\)"),
        ([np.zeros((3, 4))], r"weights\[0\]: expected outputs that differ, got a standard deviation of 0\.0"),
        ([-np.ones((2, 4)), np.eye(2)], r"weights\[1\]: expected outputs that differ"),
        ([np.eye(4, dtype=int)], r"weights\[0\]: expected floating-point numbers"),
    ],
)
def test_what_lsuv_refuses(weights, message):
    with pytest.raises(ValueError, match=message):
        init.lsuv(weights, relu, np.random.default_rng(0).uniform(1, 2, (10, 4)))


def test_neighbours_neither_part_nor_meet_at_the_critical_point():
    """For tanh and bias variance 0.05: 1.76 (Poole et al., 2016), by quadrature and by wide random layers."""

    z = np.linspace(-8, 8, 401)  # the trapezoidal rule, which is exact to rounding for such smooth functions
    density = stats.norm.pdf(z) * (z[1] - z[0])

    def slope(variance):
        q = 1.0
        for _ in range(100):
            q = variance * density @ np.tanh(np.sqrt(q) * z) ** 2 + 0.05
        return variance * density @ np.cosh(np.sqrt(q) * z) ** -4.0, q

    critical = optimize.brentq(lambda variance: slope(variance)[0] - 1, 1.2, 3.0, xtol=1e-4)
    assert critical == pytest.approx(1.76, abs=0.005)

    def growth(variance, width=500, depth=20):
        """Of the distance of two close inputs, a layer; it starts from signals of the size that stays."""
        rng = np.random.default_rng(0)
        x = np.sqrt(slope(variance)[1]) * rng.standard_normal(width)
        pair = np.tanh(np.stack([x, x + 1e-6 * rng.standard_normal(width)]))
        before = np.linalg.norm(pair[1] - pair[0])
        for _ in range(depth):
            w = init.normal((width, width), std=(variance / width) ** 0.5, rng=rng)
            pair = np.tanh(pair @ w.T + 0.05**0.5 * rng.standard_normal(width))
        return (np.linalg.norm(pair[1] - pair[0]) / before) ** (1 / depth)

    assert growth(critical) == pytest.approx(1, abs=0.02)  # layers of 500 units scatter by 1 / √500 / √20
    assert growth(critical / 2) < 0.9
    assert growth(critical * 2) > 1.1

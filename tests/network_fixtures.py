"""Small networks of every kind, and what it means that two are the same or that weights have a distribution."""

import functools
import math

import torch
from torch import nn

from utils.lab import networks
from utils.lab.networks import make_norm, mlp
from utils.lab.sequences import RNN, Transformer

# The same sums in another order, of numbers up to about ten, through a few layers and time steps in float64.
ATOL = 1e-10
UNIFORM, NORMAL = 9 / 5, 3.0  # fourth moments of the standardized distributions


@networks.by_its_seed
def conv_net(
    image_shape,
    n_out,
    seed,
    *,
    channels,
    pool_after,
    kernel_size=3,
    activation="relu",
    norm=None,
    place="before",
    norm_input=None,
    init="default",
    dropout=0.0,
):
    """Convolutions with the parts of `mlp`, for images as rows of pixels."""
    c, height, width = image_shape
    masks = networks.second_generator(seed)
    layers = [nn.Unflatten(1, image_shape), make_norm(norm_input, "norm_input", c, images=True)]
    for i, c_out in enumerate(channels, 1):
        parts = nn.Conv2d(c, c_out, kernel_size, padding=kernel_size // 2), make_norm(norm, "norm", c_out, images=True)
        drop = networks.Dropout(dropout, generator=masks) if dropout else None
        pool = nn.MaxPool2d(2) if i in pool_after else None
        layers += networks._hidden(*parts, networks._make_activation(activation), place, drop, pool)
        c, height, width = c_out, height // (2 if pool else 1), width // (2 if pool else 1)
    layers += [nn.Flatten(), nn.Linear(c * height * width, n_out)]
    return networks.initialize(nn.Sequential(*(layer for layer in layers if layer is not None)), seed, init)


dense = functools.partial(mlp, 6, 4, seed=5, width=8, depth=2)
conv = functools.partial(conv_net, (2, 5, 4), 4, seed=5, channels=(4, 8), pool_after=(2,))
rnn = functools.partial(RNN, 12, 4, seed=5, token=3, width=6)
transformer = functools.partial(Transformer, 12, 4, seed=5, token=3, width=8)
N_IN = {dense: 6, conv: 40, rnn: 12, transformer: 12}


def inputs(build, n=7, *, dtype=torch.float64):
    return torch.randn(n, N_IN[build], generator=torch.Generator().manual_seed(n), dtype=dtype)


def shaken(network):
    """The network in float64 with parameters and running statistics that no two units or layers have alike."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.double().state_dict().items():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.add_(noise if name.endswith("running_var") else 0.6 * (noise - 0.5))
    return network


def assert_close(ours, theirs, atol=ATOL):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def weights(network):
    return [layer.weight for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


def assert_same_function(network, plain, same, x):
    """Outputs, and gradients of a random combination of them: same has the parameters of the plain one by our names."""
    assert set(same) == set(dict(network.named_parameters()))
    with torch.no_grad():
        for name, p in network.named_parameters():
            same[name].copy_(p)
    direction = torch.randn(len(x), 4, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    x = x.clone().requires_grad_()
    ours, theirs = network(x), plain(x)
    assert_close(ours, theirs)
    found, expected = (
        torch.autograd.grad((y * direction).sum(), [x, *parameters], materialize_grads=True)
        for y, parameters in ((ours, network.parameters()), (theirs, (same[n] for n, _ in network.named_parameters())))
    )
    for name, g, h in zip(["x", *same], found, expected, strict=True):
        assert g.shape == h.shape, name
        assert_close(g, h)


def xavier(fan_in, fan_out):
    return math.sqrt(2 / (fan_in + fan_out))


def assert_distributed(values, std, fourth):
    z = torch.cat([v.detach().double().flatten() for v in values]) / std
    n = len(z)
    # Five standard errors: of the mean 1/√n, of the square (μ₄ - 1)/n, of the fourth power at most 96/n.
    assert abs(z.mean()) < 5 / math.sqrt(n)
    assert abs((z**2).mean() - 1) < 5 * math.sqrt((fourth - 1) / n)
    assert abs((z**4).mean() - fourth) < 5 * math.sqrt(96 / n)
    assert len(z.unique()) > 0.9 * n  # other numbers for every seed
    if fourth == UNIFORM:
        assert abs(z).max() <= math.sqrt(3) * (1 + 1e-6)  # a rounding in float32

"""Networks of all kinds that can be stacked, and what it means that two have the same numbers."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from utils.lab import fused
from utils.lab.networks import Dropout
from utils.lab.sequences import RNN, Transformer

R, B, N_IN, N_OUT = 3, 12, 64, 4
# The same sums in another order, of numbers up to about ten, which norms of nearly constant values make larger.
ATOL = 1e-9


class Own(nn.Module):
    """A module out of a function of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class LpNorm(nn.Module):
    """Batch norm by the mean absolute deviation; its running mean is changed in place, or assigned anew."""

    def __init__(self, features, keep):
        super().__init__()
        self.keep = keep
        self.weight = nn.Parameter(torch.ones(features))
        if keep == "plain tensor":
            self.running_mean = torch.zeros(features)
        else:
            self.register_buffer("running_mean", torch.zeros(features))

    def forward(self, x):
        mean = x.mean(0) if self.training else self.running_mean
        moved = 0.9 * self.running_mean + 0.1 * mean.detach()
        if self.training and self.keep == "in place":
            self.running_mean.copy_(moved)
        elif self.training and (self.keep != "sometimes" or moved.mean() > 0):
            self.running_mean = moved
        return self.weight * (x - mean) / ((x - mean).abs().mean(0) + 1e-5)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Tied(nn.Module):
    """Two layers with one weight, and one module under two names."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.again = self.first

    def forward(self, x):
        return torch.tanh(self.again(torch.tanh(self.second(self.first(x)))))


def changed(module, **attributes):
    """The module after a reader has changed it."""
    vars(module).update(attributes)
    return module


def frozen(module):
    return module.requires_grad_(False)


HOOKS = {
    "forward_pre_hook": lambda module, x: (2 * x[0],),
    "forward_hook": lambda module, x, y: 2 * y,
    "full_backward_hook": lambda module, dx, dy: (2 * dx[0],),
}


def hooked(module, kind="forward_hook"):
    """The module with a hook that doubles what it gets, gives, or hands back."""
    getattr(module, f"register_{kind}")(HOOKS[kind])
    return module


def dense(*between, **linear):
    return nn.Sequential(nn.Linear(N_IN, 16, **linear), *between, nn.Linear(16, N_OUT))


def images(*between, channels=8, **how):
    first = nn.Conv2d(1, channels, **({"kernel_size": 3, "padding": 1} | how))
    last = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, N_OUT)
    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), first, *between, *last)


# Layers that are fused, with their options.
ELEMENTWISE = [kind for kind, how in fused.FUSED.items() if how is fused._as_it_is and kind is not Dropout]
FUSED_KINDS = {kind.__name__: lambda kind=kind: dense(kind()) for kind in ELEMENTWISE} | {
    "no bias": lambda: dense(nn.ReLU(), bias=False),
    "in place": lambda: dense(nn.ReLU(inplace=True), nn.Linear(16, 16), nn.ELU(inplace=True)),
    "slope": lambda: dense(nn.LeakyReLU(0.3)),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(N_IN, 9), nn.BatchNorm1d(9)), nn.Sequential(nn.Linear(9, 4))
    ),
    "one activation twice": lambda: dense(tanh := nn.Tanh(), nn.Linear(16, 16), tanh),
    "one layer and norm twice": lambda: dense(
        both := nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16)), nn.Linear(16, 16), both
    ),
    "batch norm": lambda: dense(nn.BatchNorm1d(16, eps=0.1, momentum=0.3), nn.Sigmoid()),
    "batch norm, average": lambda: dense(nn.BatchNorm1d(16, momentum=None), nn.Sigmoid()),
    "batch norm, no momentum": lambda: dense(nn.BatchNorm1d(16, momentum=0.0), nn.Sigmoid()),
    "batch norm, no gamma": lambda: dense(nn.BatchNorm1d(16, affine=False), nn.ELU()),
    "batch norm, no statistics": lambda: dense(nn.BatchNorm1d(16, track_running_stats=False), nn.GELU()),
    "batch norm, kept statistics": lambda: dense(changed(nn.BatchNorm1d(16), track_running_stats=False)),
    "batch norm, frozen": lambda: dense(frozen(nn.BatchNorm1d(16)), nn.Tanh()),
    "layer norm": lambda: dense(nn.LayerNorm(16, eps=0.1), nn.ReLU()),
    "layer norm, frozen": lambda: dense(frozen(nn.LayerNorm(16)), nn.ReLU()),
    "group norm": lambda: dense(nn.GroupNorm(4, 16, eps=0.1), nn.ReLU()),
    "convolution": lambda: images(nn.ReLU()),
    "convolution, frozen": lambda: frozen(images(nn.ReLU())[:2]).append(nn.Flatten()).append(nn.Linear(512, N_OUT)),
    "convolution, no bias": lambda: images(nn.ReLU(inplace=True), bias=False, kernel_size=(3, 1)),
    "strided": lambda: images(nn.ReLU(), stride=(2, 1), padding=(0, 2)),
    "same": lambda: images(nn.ReLU(), padding="same", dilation=2),
    "dilated, grouped": lambda: images(
        nn.Conv2d(8, 12, 3, padding=2, dilation=2, groups=4), nn.Tanh(), nn.Conv2d(12, 8, 1)
    ),
    "batch norm of images": lambda: images(nn.BatchNorm2d(8, eps=0.1), nn.ReLU(), nn.MaxPool2d(2)),
    "batch norm of images, average": lambda: images(nn.BatchNorm2d(8, momentum=None), nn.ReLU()),
    "batch norm of images, no gamma": lambda: images(nn.BatchNorm2d(8, affine=False), nn.ReLU()),
    "group norm of images": lambda: images(nn.GroupNorm(2, 8, eps=0.1), nn.ReLU(), nn.AvgPool2d(2)),
    "pooling": lambda: images(nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), nn.AvgPool2d(2, stride=1)),
}
# Layers that go through vmap or, with a number in front, a loop.
OTHER_KINDS = {
    "in place": lambda: dense(nn.SELU(inplace=True)),
    "layer norm, no gamma": lambda: dense(nn.LayerNorm(16, elementwise_affine=False), nn.ReLU()),
    "layer norm, no beta": lambda: dense(nn.LayerNorm(16, bias=False), nn.ReLU()),
    "group norm, no gamma": lambda: dense(nn.GroupNorm(4, 16, affine=False), nn.ReLU()),
    "RMS norm": lambda: dense(nn.RMSNorm(16), nn.ReLU()),
    "softmax": lambda: dense(nn.Softmax(dim=-1)),
    "softmax over the batch": lambda: dense(nn.Softmax(dim=0)),
    "PReLU": lambda: dense(nn.PReLU()),
    "reads its shape": lambda: dense(Own(lambda x: x / x.shape[-1] - x.mean() / len(x) ** 0.5)),
    "branches": lambda: dense(Own(lambda x: x.relu() if x.mean() > 0 else x.tanh())),
    **{
        f"norm, {keep}": lambda keep=keep: dense(LpNorm(16, keep))
        for keep in ("in place", "anew", "plain tensor", "sometimes")
    },
    "norm in a loop": lambda: dense(nn.Sequential(hooked(nn.Identity()), LpNorm(16, "anew"))),
    "norm within": lambda: dense(Own(nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16, momentum=None), nn.Tanh()))),
    "weight norm": lambda: dense(parametrizations.weight_norm(nn.Linear(16, 16))),
    "spectral norm": lambda: dense(parametrizations.spectral_norm(nn.Linear(16, 16))),
    "spectral norm by hooks": lambda: dense(nn.utils.spectral_norm(nn.Linear(16, 16))),
    "tied": lambda: dense(Tied()),
    "subclass": lambda: dense(Doubled(16, 16)),
    "forward of its own": lambda: dense(changed(nn.Linear(16, 16), forward=torch.tanh)),
    "hook before": lambda: dense(hooked(nn.Linear(16, 16), "forward_pre_hook"), nn.Tanh()),
    "hook after": lambda: dense(hooked(nn.BatchNorm1d(16)), nn.Tanh()),
    "hook backward": lambda: dense(hooked(nn.Tanh(), "full_backward_hook"), nn.Tanh()),
    "hook on a sequence": lambda: hooked(dense(nn.Tanh())),
    "hook within": lambda: dense(Own(nn.Sequential(hooked(nn.Linear(16, 16)), nn.Tanh()))),
    **{
        f"border, {mode}": lambda mode=mode: images(nn.ReLU(), stride=2, padding_mode=mode)
        for mode in ("replicate", "reflect", "circular")
    },
    "instance norm of images": lambda: images(nn.InstanceNorm2d(8), nn.ReLU()),
    "layer norm of images": lambda: images(nn.LayerNorm([8, 8, 8]), nn.ReLU()),
    "layer norm of a pixel row": lambda: images(nn.LayerNorm(8), nn.ReLU()),
    "local response norm": lambda: images(nn.LocalResponseNorm(3), nn.ReLU()),
    "batch norm of rows": lambda: nn.Sequential(
        nn.Unflatten(1, (8, 8)), nn.BatchNorm1d(8), nn.Conv1d(8, 4, 3), nn.Flatten(), nn.Linear(24, N_OUT)
    ),
    "pixels as features": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Linear(8, 3), nn.Flatten(2), Own(lambda x: x.mean(1)), nn.Linear(24, N_OUT)
    ),
    "recurrent": lambda: RNN(N_IN, N_OUT, seed=0, token=8, norm=nn.LayerNorm),
    "recurrent with batch norm": lambda: RNN(N_IN, N_OUT, seed=0, token=8, norm="batch"),
    "transformer": lambda: Transformer(N_IN, N_OUT, seed=0, token=8),
}
KINDS = {f"fused: {name}": build for name, build in FUSED_KINDS.items()} | OTHER_KINDS
all_kinds = pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)


def shaken(network, seed):
    """The network in float64, with numbers that no two networks or channels have alike."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.double().modules():
        vars(module).update({k: v.double() for k, v in vars(module).items() if isinstance(v, torch.Tensor)})
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.add_(noise if name.endswith("running_var") else noise - 0.5)
    return network


def several(build):
    return [shaken(build(), seed) for seed in range(R)]


def inputs(seed=0):
    return torch.randn(R, B, N_IN, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=ATOL)


def tensors(network):
    """Parameters, buffers and plain tensors by name."""
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    for place, module in network.named_modules():
        plain = {key: value for key, value in vars(module).items() if isinstance(value, torch.Tensor)}
        named |= {f"{place}.{key}".lstrip("."): value for key, value in plain.items() if key != "seen"}
    return dict(sorted(named.items()))


def assert_same_numbers(ours, theirs):
    ours, theirs = tensors(ours), tensors(theirs)
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=ATOL, msg=name)

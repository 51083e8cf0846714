"""A stack of networks gives for each what the network alone gives: values, gradients, running statistics, training."""

import copy
import functools
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from utils.lab import fused, replicas
from utils.lab.networks import ACTIVATIONS, NORMS, PLACES, Dropout, conv_net, mlp
from utils.lab.replicas import Stack, evaluation_mode
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


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.RNN(8, N_OUT, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0][:, -1]


def changed(module, **attributes):
    """The module after a reader has changed it."""
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def frozen(module):
    return module.requires_grad_(False)


def hooked(module, kind):
    """The module with a hook that doubles what it gets, gives, or hands back."""
    if kind == "before":
        module.register_forward_pre_hook(lambda m, x: (2 * x[0],))
    elif kind == "after":
        module.register_forward_hook(lambda m, x, y: 2 * y)
    else:
        module.register_full_backward_hook(lambda m, dx, dy: (2 * dx[0],))
    return module


def dense(*between, **linear):
    return nn.Sequential(nn.Linear(N_IN, 16, **linear), *between, nn.Linear(16, N_OUT))


def images(*between, channels=8, **how):
    first = nn.Conv2d(1, channels, **({"kernel_size": 3, "padding": 1} | how))
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        first,
        *between,
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * channels, N_OUT),
    )


def twice(module):
    return module, nn.Linear(16, 16), module


# Layers that are fused, with their options.
ELEMENTWISE = [kind for kind, how in fused.FUSED.items() if how is fused._as_it_is and kind is not Dropout]
FUSED_KINDS = {kind.__name__: lambda kind=kind: dense(kind()) for kind in ELEMENTWISE} | {
    "no bias": lambda: dense(nn.ReLU(), bias=False),
    "in place": lambda: dense(nn.ReLU(inplace=True), nn.Linear(16, 16), nn.ELU(inplace=True)),
    "slope": lambda: dense(nn.LeakyReLU(0.3)),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(N_IN, 9), nn.BatchNorm1d(9)), nn.Sequential(nn.Linear(9, 4))
    ),
    "one activation twice": lambda: dense(*twice(nn.Tanh())),
    "one layer and norm twice": lambda: dense(*twice(nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16)))),
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
    "norm in a loop": lambda: dense(nn.Sequential(hooked(nn.Identity(), "after"), LpNorm(16, "anew"))),
    "norm within": lambda: dense(Own(nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16, momentum=None), nn.Tanh()))),
    "weight norm": lambda: dense(parametrizations.weight_norm(nn.Linear(16, 16))),
    "spectral norm": lambda: dense(parametrizations.spectral_norm(nn.Linear(16, 16))),
    "spectral norm by hooks": lambda: dense(nn.utils.spectral_norm(nn.Linear(16, 16))),
    "tied": lambda: dense(Tied()),
    "subclass": lambda: dense(Doubled(16, 16)),
    "forward of its own": lambda: dense(changed(nn.Linear(16, 16), forward=torch.tanh)),
    "hook before": lambda: dense(hooked(nn.Linear(16, 16), "before"), nn.Tanh()),
    "hook after": lambda: dense(hooked(nn.BatchNorm1d(16), "after"), nn.Tanh()),
    "hook backward": lambda: dense(hooked(nn.Tanh(), "backward"), nn.Tanh()),
    "hook on a sequence": lambda: hooked(dense(nn.Tanh()), "after"),
    "hook within": lambda: dense(Own(nn.Sequential(hooked(nn.Linear(16, 16), "after"), nn.Tanh()))),
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
    "recurrent of PyTorch": lambda: nn.Sequential(nn.Unflatten(1, (8, 8)), Recurrent()),
    "transformer": lambda: Transformer(N_IN, N_OUT, seed=0, token=8),
}
KINDS = {f"fused: {name}": build for name, build in FUSED_KINDS.items()} | OTHER_KINDS
all_kinds = pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)
fused_kinds = pytest.mark.parametrize("build", FUSED_KINDS.values(), ids=FUSED_KINDS)


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


def gradients(network, y, x):
    wanted = [x, *(p for p in network.parameters() if p.requires_grad)]
    return torch.autograd.grad(y.square().sum(), wanted, materialize_grads=True)


@all_kinds
def test_each_replica_is_what_the_network_alone_is(build):
    alone = several(build)
    stack = Stack(alone)
    for step, training in enumerate((True, True, False)):  # the second time with statistics that have moved
        x = inputs(step).requires_grad_()
        ours = stack.train(training)(x)
        found = gradients(stack, ours, x)
        for r, network in enumerate(alone):
            own = x[r].detach().clone().requires_grad_()
            theirs = network.train(training)(own)
            assert_close(ours[r], theirs)
            for g, h in zip(found, gradients(network, theirs, own), strict=True):
                assert_close(g[r], h)
            assert_same_numbers(stack.replica(r), network)


@all_kinds
def test_training_moves_each_as_it_moves_alone(build):
    alone = several(build)
    stack = Stack(alone)
    for network, part in [(stack, slice(None)), *((network, r) for r, network in enumerate(alone))]:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.5)
        for step in range(3):
            optimizer.zero_grad()
            network(inputs(step)[part]).square().mean((-2, -1)).sum().backward()
            optimizer.step()
    for r, network in enumerate(alone):
        assert_same_numbers(stack.replica(r), network)


def test_every_fused_layer_is_tried():
    tried = {type(module) for build in FUSED_KINDS.values() for module in build().modules()}
    assert set(fused.FUSED) - tried == {Dropout}


@fused_kinds
def test_what_is_fused_is_what_vmap_gives_and_needs_no_vmap(build, monkeypatch):
    alone, x, took = several(build), inputs(), []
    known = Stack._one_by_one
    monkeypatch.setattr(Stack, "_one_by_one", lambda *how: took.append(type(how[1])) or known(*how))
    expected = Stack(alone)(x)
    assert set(took) <= {nn.AdaptiveAvgPool2d}
    monkeypatch.setattr(replicas, "FUSED", {})
    assert_close(Stack(alone)(x), expected)
    assert len(took) > 1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("place", PLACES)
def test_our_own_networks_are_fused(norm, place, monkeypatch):
    assert set(ACTIVATIONS.values()) <= set(fused.FUSED)
    monkeypatch.delattr(Stack, "_one_by_one")
    how = {"norm": norm, "place": place, "norm_input": "batch", "dropout": 0.5}
    builds = [lambda seed: conv_net((2, 4, 8), 3, seed, channels=(4, 8), **how), lambda seed: mlp(N_IN, 3, seed, **how)]
    for build in builds[: 1 if norm == "instance" else 2]:
        assert Stack.of(build, range(R))(inputs().float()).shape == (R, B, 3)


def test_vmap_calls_a_module_once_for_all_replicas_and_a_loop_once_for_each():
    calls = []
    networks = several(lambda: dense(Own(lambda x: calls.append(type(x)) or x.relu())))
    stack = Stack(networks)
    stack(inputs())
    stack(inputs())
    assert len(calls) == 3  # the first time a trial
    stack(inputs()[:, 1:])
    assert len(calls) == 5
    hooked(stack.network[1], "after")
    stack(inputs())
    assert len(calls) == 5 + R


def test_averages_over_different_numbers_of_batches():
    alone = several(FUSED_KINDS["batch norm, average"])
    for r, network in enumerate(alone):
        for _ in range(2 * r):
            network(inputs()[r])
    stack = Stack(alone)
    for training in (True, True, False):
        y = stack.train(training)(inputs(1))
        for r, network in enumerate(alone):
            assert_close(y[r], network.train(training)(inputs(1)[r]))
            assert_same_numbers(stack.replica(r), network)


def test_modes_within_a_network():
    alone = several(lambda: dense(nn.BatchNorm1d(16), LpNorm(16, "in place"), nn.BatchNorm1d(16)))
    for network in alone:
        network[1].eval()
    stack = Stack(alone)
    for _ in range(2):
        y = stack(inputs())
        for r, network in enumerate(alone):
            assert_close(y[r], network(inputs()[r]))
        for network in (stack.network, *alone):
            network[2].eval()
            network[3].eval()


def test_another_mode_within_a_module_decides_anew_whether_vmap_works():
    stack = Stack(several(lambda: Own(nn.Sequential(nn.Linear(N_IN, 4), nn.Dropout(0.5)))))
    dropout = stack.network.function[1].eval()
    assert stack(inputs()).all()
    dropout.train()
    assert not stack(inputs()).all()


@pytest.mark.parametrize("groups", [1, 4])
def test_group_norm_of_numbers_far_from_zero_stays_accurate(groups):
    generator = torch.Generator().manual_seed(0)
    stack = Stack([shaken(nn.GroupNorm(groups, 24), seed).float() for seed in range(R)])
    x = (1e4 + torch.randn(R, 50, 24, generator=generator)).requires_grad_()
    direction = torch.randn(R, 50, 24, generator=generator)
    y = stack(x)
    ours = torch.autograd.grad((y * direction).sum(), [x, *stack.parameters()])
    for r in range(R):
        network, own = stack.replica(r).double(), x[r].detach().double().requires_grad_()
        theirs = network(own)
        # The average is wrong by at most a rounding or two of 1e4, 1e-3 each, over deviations of 0.2 and more, times a
        # weight of at most 2. Without centring first the squares alone would be wrong by 8.
        torch.testing.assert_close(y[r].double(), theirs, rtol=0, atol=0.02)
        expected = torch.autograd.grad((theirs * direction[r]).sum(), [own, *network.parameters()])
        for g, h in zip(ours, expected, strict=True):
            assert (g[r].double() - h).abs().max() < 0.02 * h.abs().max()  # as the output, in proportion


# Random numbers


def test_masks_of_dropout_differ_between_replicas_and_copies_go_on():
    stack = Stack([nn.Sequential(Dropout(0.2, generator=torch.Generator().manual_seed(r))) for r in range(R)])
    x = torch.ones(R, 100, 250)
    dropped = stack(x) == 0
    for r in range(R):  # five standard errors; two independent masks drop both in 4 % of the places
        assert abs(dropped[r].double().mean() - 0.2) < 5 * math.sqrt(0.2 * 0.8 / 25_000)
        both = (dropped[r] & dropped[r - 1]).double().mean()
        assert abs(both - 0.04) < 5 * math.sqrt(0.04 * 0.96 / 25_000)
    twins = copy.deepcopy(stack), pickle.loads(pickle.dumps(stack))
    expected = stack(x)
    for twin in twins:
        assert torch.equal(twin(x), expected)
    assert torch.equal(stack.eval()(x), x)


def test_global_random_numbers_are_drawn_replica_by_replica():
    alone = several(lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(N_IN, N_OUT)))
    torch.manual_seed(0)
    y = Stack(alone)(inputs())
    torch.manual_seed(0)
    assert_close(y, torch.stack([network(x) for network, x in zip(alone, inputs(), strict=True)]))


# Divergence


@all_kinds
def test_one_that_diverges_disturbs_no_other(build):
    alone, x = several(build), inputs()
    finite, ill = Stack(alone), Stack(alone)
    with torch.no_grad():
        for p in ill.parameters():
            p[1] = math.nan
    for stack in (finite, ill):
        stack(x).square().sum().backward()
    y, expected = ill(x), finite(x)
    assert_close(y[[0, 2]], expected[[0, 2]])
    assert y[1].isnan().all()
    for p, q in zip(ill.parameters(), finite.parameters(), strict=True):
        if q.grad is not None:
            assert_close(p.grad[[0, 2]], q.grad[[0, 2]])
    for r in (0, 2):
        assert_same_numbers(ill.replica(r), finite.replica(r))


NORMALIZING = {
    "batch norm": lambda images: (nn.BatchNorm2d if images else nn.BatchNorm1d)(4),
    "batch norm, no gamma": lambda images: (nn.BatchNorm2d if images else nn.BatchNorm1d)(4, affine=False),
    "batch norm, average": lambda images: (nn.BatchNorm2d if images else nn.BatchNorm1d)(4, momentum=None),
    "layer norm": lambda images: nn.GroupNorm(1, 4) if images else nn.LayerNorm(4),
    "group norm": lambda images: nn.GroupNorm(2, 4),
}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["x", "dy"])
@pytest.mark.parametrize("pixels", [(), (2, 3)], ids=["dense", "images"])
@pytest.mark.parametrize("norm", NORMALIZING)
def test_a_norm_shows_divergence_where_it_is(norm, pixels, where, bad):
    alone = several(lambda: NORMALIZING[norm](bool(pixels)))
    stack = Stack(alone)
    for step, training in enumerate((True, True, False)):  # with the bad number, after it, and in evaluation
        generator = torch.Generator().manual_seed(step)
        x, dy = (torch.randn(R, 5, 4, *pixels, generator=generator, dtype=torch.float64) for _ in range(2))
        if step == 0:
            (x if where == "x" else dy)[(1, 1, 1) + (0,) * len(pixels)] = bad
        x.requires_grad_()
        y = stack.train(training)(x)
        found = [y, *torch.autograd.grad((y * dy).sum(), [x, *stack.parameters()])]
        for r, network in enumerate(alone):
            own = x[r].detach().requires_grad_()
            z = network.train(training)(own)
            expected = [z, *torch.autograd.grad((z * dy[r]).sum(), [own, *network.parameters()])]
            found_here = [t[r] for t in found] + list(stack.replica(r).buffers())
            for ours, theirs in zip(found_here, expected + list(network.buffers()), strict=True):
                assert torch.equal(ours.isfinite(), theirs.isfinite())
                torch.testing.assert_close(ours.nan_to_num(0, 0, 0), theirs.nan_to_num(0, 0, 0), rtol=1e-9, atol=ATOL)
                assert r == 1 or ours.isfinite().all()


# Replicas and their structure


@all_kinds
def test_a_replica_has_the_structure_the_modes_and_what_is_frozen(build):
    alone = several(build)
    for network in alone:
        next(network.parameters()).requires_grad_(False)
        for module in list(network.modules())[1:2]:
            module.eval()
    stack = Stack(alone)
    for r, network in enumerate(alone):
        one = stack.replica(r)
        assert repr(one) == repr(network)
        assert [module.training for module in one.modules()] == [module.training for module in network.modules()]
        assert [p.requires_grad for p in one.parameters()] == [p.requires_grad for p in network.parameters()]
        before = copy.deepcopy(stack.state_dict())
        with torch.no_grad():
            for value in one.state_dict().values():
                value += 1
        assert all(torch.equal(value, before[name]) for name, value in stack.state_dict().items())
        assert_same_numbers(stack.replica(r), network)


class Noting(nn.Module):
    """Remembers something outside its buffers: a flag, a number or a tensor."""

    def __init__(self, what, in_a_loop):
        super().__init__()
        self.what, self.in_a_loop, self.kept = what, in_a_loop, None

    def forward(self, x):
        if self.in_a_loop and x.sum() > 0:  # what vmap cannot do
            x = x + 0
        if self.training:
            self.kept = {"flag": True, "number": (self.kept or 0) + 1, "tensor": x.mean(0)}[self.what]
        return x


@pytest.mark.parametrize("in_a_loop", [False, True])
@pytest.mark.parametrize("what", ["flag", "number", "tensor"])
def test_what_is_remembered_outside_buffers_is_refused(what, in_a_loop):
    stack = Stack([nn.Sequential(Noting(what, in_a_loop), nn.Linear(N_IN, N_OUT)).double() for _ in range(R)])
    with pytest.raises(ValueError, match="Noting: expected a forward that keeps in buffers .* got one that sets kept"):
        stack(inputs())
    assert stack.network[0].kept is None
    assert stack.eval()(inputs()).isfinite().all()


def test_networks_that_are_stacked_are_copied():
    alone = several(FUSED_KINDS["batch norm"])
    before = copy.deepcopy([network.state_dict() for network in alone])
    stack = Stack(alone)
    stack(inputs()).sum().backward()
    with torch.no_grad():
        for p in stack.parameters():
            p += 1
    for network, old in zip(alone, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in network.state_dict().items())
        assert all(p.grad is None for p in network.parameters())


def test_names_are_those_of_one_network_with_a_leading_axis():
    alone = several(FUSED_KINDS["batch norm of images"])
    stack = Stack(alone)
    for name, p in stack.network.named_parameters():
        assert p.shape == (R, *dict(alone[0].named_parameters())[name].shape)
    other = copy.deepcopy(stack)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    other.load_state_dict(stack.state_dict())
    x = inputs()
    assert torch.equal(other(x), stack(x))
    assert torch.equal(pickle.loads(pickle.dumps(stack)).eval()(x), stack.eval()(x))


def test_networks_that_have_seen_examples_can_be_stacked():
    alone = several(lambda: dense(Own(lambda x: x), LpNorm(16, "anew")))
    for network, x in zip(alone, inputs(), strict=True):
        network(x)
        network[2].running_mean, network[2].seen = network[2].running_mean + network[2].weight, None  # hangs on a graph
    y = Stack(alone).eval()(inputs())
    for r, network in enumerate(alone):
        assert_close(y[r], network.eval()(inputs()[r]))


def test_one_weight_for_all_replicas_is_refused():
    stack = Stack(several(OTHER_KINDS["weight norm"]))
    with nn.utils.parametrize.cached(), pytest.raises(ValueError, match="parametrize.cached: expected none around"):
        stack(inputs())


def test_what_is_tied_stays_tied():
    stack = Stack(several(OTHER_KINDS["tied"]))
    for network in (stack.network, stack.replica(1)):
        assert network[1].first.weight is network[1].second.weight
        assert network[1].first is network[1].again


def test_a_stack_of_seeds_has_one_network_per_seed():
    built = []
    stack = Stack.of(lambda seed: built.append(seed) or mlp(N_IN, N_OUT, seed=seed), [5, 0, 5])
    assert built == [5, 0]
    assert (stack.seeds, stack.replicas) == ((5, 0, 5), 3)
    assert {type(seed) for seed in Stack.of(lambda seed: nn.Linear(2, 2), torch.arange(2)).seeds} == {int}
    for r, seed in enumerate(stack.seeds):
        assert_same_numbers(stack.replica(r), mlp(N_IN, N_OUT, seed=seed))
    assert Stack([nn.Linear(2, 2)] * 2).seeds == (0, 1)
    assert Stack([nn.Linear(2, 2)] * 2, seeds=[3, 3]).seeds == (3, 3)


def untied():
    network = Tied()
    network.second.weight = nn.Parameter(network.first.weight.detach().clone())
    return network


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "networks: expected at least one nn.Module"),
        (3, "networks: expected a list of nn.Module, got int"),
        ([nn.Linear(2, 2), None], "networks: expected at least one nn.Module"),
        ([nn.Linear(2, 2), nn.Linear(2, 3)], "differ in network.*, weight, bias"),
        ([nn.Linear(2, 2), nn.Linear(2, 2, bias=False)], "differ in network, bias"),
        ([nn.Linear(2, 2), nn.Linear(2, 2).double()], "differ in weight, bias"),
        ([nn.Linear(2, 2), frozen(nn.Linear(2, 2))], "differ in weight, bias"),
        ([nn.Linear(2, 2), nn.Linear(2, 2).eval()], "differ in network.training"),
        ([nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh())], "differ in the numbers in their tensors only.*in 0"),
        ([nn.Sequential(nn.Dropout(0.1)), nn.Sequential(nn.Dropout(0.2))], "differ in 0, 0.p"),
        ([LpNorm(2, "in place"), LpNorm(2, "anew")], "differ in network.keep"),
        ([Tied(), untied()], "differ in second.weight"),
        ([nn.LazyLinear(2), nn.LazyLinear(2)], "expected networks that know their sizes, got a lazy one; call each"),
    ],
)
def test_what_cannot_be_stacked_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Stack(wrong)


@pytest.mark.parametrize("seeds", [[0], [0, -1], [0, 2**63], [0, 0.5], 2, "12"])
def test_seeds_that_do_not_fit_are_refused(seeds):
    with pytest.raises(ValueError, match="seeds: expected "):
        Stack([nn.Linear(2, 2)] * 2, seeds)
    with pytest.raises(ValueError, match="build: expected a function"):
        Stack.of(nn.Linear(2, 2).weight, [0])


def test_what_does_not_exist_is_refused():
    stack = Stack(several(FUSED_KINDS["ReLU"]))
    for wrong in (inputs()[:2], inputs()[:, 0, 0]):
        with pytest.raises(ValueError, match=r"x: expected shape \(3, B, \.\.\.\), got \("):
            stack(wrong)
    for r in (-1, 3):
        with pytest.raises(IndexError, match=f"r: expected 0 to 2, got {r}"):
            stack.replica(r)
    with pytest.raises(ValueError, match="r: expected an integer"):
        stack.replica(1.0)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((nn.BatchNorm2d(16),), "expected 4D input"),
        ((nn.Unflatten(1, (1, 4, 4)), nn.BatchNorm1d(1)), "expected 2D or 3D input"),
        ((nn.LayerNorm([4, 4]),), "Given normalized_shape"),
        ((nn.BatchNorm1d(8),), "running_mean should contain"),
        ((nn.Linear(8, 3),), "."),
        ((nn.Unflatten(1, (1, 5, 4)),), "."),
    ],
)
def test_what_a_network_alone_refuses_is_refused(layers, message):
    for network, x in ((dense(*layers), inputs()[0]), (Stack([dense(*layers)] * R), inputs())):
        with pytest.raises((ValueError, RuntimeError), match=message):
            network(x.float())


def test_a_norm_of_one_value_is_refused():
    stack = Stack(several(lambda: dense(nn.BatchNorm1d(16))))
    with pytest.raises(ValueError, match="batch norm: expected more than one value per channel.*at least two"):
        stack(inputs()[:, :1])
    assert not stack.network[1].num_batches_tracked.any()
    assert stack.eval()(inputs()[:, :1]).shape == (R, 1, N_OUT)
    assert Stack(several(lambda: images(nn.BatchNorm2d(8))))(inputs()[:, :1]).shape == (R, 1, N_OUT)  # 64 pixels
    for build in (lambda: dense(nn.GroupNorm(16, 16)), lambda: images(nn.MaxPool2d(8), nn.GroupNorm(8, 8))):
        with pytest.raises(ValueError, match="group norm: expected more than one value per group, got one; use fewer"):
            Stack(several(build)).eval()(inputs())


# Looking and checking


def recorded_alone(network, x, kinds):
    """Inputs and outputs of modules in the order of the calls, by hooks."""
    found, inside, hooks = [], [], []
    for name, module in network.named_modules():
        if isinstance(module, kinds):
            hooks.append(module.register_forward_pre_hook(lambda m, x: inside.append(x[0].clone())))
            hooks.append(
                module.register_forward_hook(lambda m, x, y, name=name: found.append((name, inside.pop(), y.clone())))
            )
    network(x)
    for hook in hooks:
        hook.remove()
    return found


@all_kinds
def test_what_is_recorded_is_what_hooks_see_in_each_network_alone(build):
    kinds = (nn.ReLU, nn.Tanh, nn.ELU, nn.SELU, nn.Conv2d, nn.BatchNorm1d, LpNorm)
    alone = several(build)
    stack = Stack(alone)
    names = {module: name for name, module in stack.network.named_modules()}
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in stack.modules()]
    found = stack.record(inputs(), kinds)
    for r, network in enumerate(alone):
        expected = recorded_alone(network, inputs()[r], kinds)
        assert [names[module] for module, _, _ in found] == [name for name, _, _ in expected]
        for (_, x, y), (_, own_x, own_y) in zip(found, expected, strict=True):
            assert_close(x[r], own_x)
            assert_close(y[r], own_y)
        assert_same_numbers(stack.replica(r), network)
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in stack.modules()] == hooks
    assert stack.record(inputs(), (nn.Hardswish,)) == []


def test_recording_leaves_nothing_behind_after_an_error():
    def fail(x):
        raise KeyError("of the reader")

    stack = Stack(several(lambda: dense(nn.ReLU(), Own(nn.Sequential(nn.Tanh(), Own(fail))))))
    with pytest.raises(KeyError, match="of the reader"):
        stack.record(inputs(), (nn.ReLU, nn.Tanh))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in stack.modules())
    inner = stack.network[2].function[1]
    inner.function = torch.sin
    assert stack(inputs()).shape == (R, B, N_OUT)
    assert (stack._kinds, stack._recorded) == ((), [])
    assert len(stack.record(inputs(), (nn.ReLU, nn.Tanh))) == 2


def test_replicas_that_call_different_modules_are_not_recorded_as_one():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.ReLU(), nn.Tanh()

        def forward(self, x):
            return self.one(x) if x[0, 0] > 0 else self.other(x)

    stack = Stack([Branches(), Branches()])
    x = torch.tensor([[[1.0]], [[-1.0]]])
    assert_close(stack(x), torch.stack([x[0].relu(), x[1].tanh()]))
    with pytest.raises(ValueError, match="kinds: expected modules that all replicas call alike, got other calls in"):
        stack.record(x, (nn.ReLU, nn.Tanh))


X, Y = torch.zeros(R, 5, N_IN), torch.zeros(R, 5, dtype=torch.int64)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (None, None, "data: expected a Tensor, got NoneType"),
        (X.double(), None, "data: expected torch.float32, as the network, got torch.float64"),
        (X[:2], None, r"data: expected rows that the network takes, got shape \(2, 5, 64\)"),
        (X[0, 0], None, r"data: expected rows that the network takes, got shape \(64,\)"),
        (X[:, :, 1:], None, r"data: expected rows that the network takes, got shape \(3, 5, 63\)"),
        (X, [0, 1], "data: expected a Tensor, got list"),
        (X, Y.float(), r"data: expected classes from 0 to 3, got 0.0 to 0.0 \(torch.float32\)"),
        (X, Y + 4, "data: expected classes from 0 to 3, got 4 to 4"),
        (X, Y - 1, "data: expected classes from 0 to 3, got -1 to -1"),
    ],
)
@pytest.mark.parametrize("norm", ["batch", functools.partial(LpNorm, keep="anew")], ids=["fused", "not fused"])
def test_examples_are_checked_and_nothing_is_changed(norm, x, y, message):
    stack = Stack.of(lambda seed: mlp(N_IN, N_OUT, seed=seed, norm=norm, dropout=0.5), range(R))
    stack.network[1].eval()
    modes = [module.training for module in stack.modules()]
    twin = copy.deepcopy(stack)
    with pytest.raises(ValueError, match=message):
        stack.check(x, y, "data")
    stack.check(X, Y + 3, "data")
    stack.check(X, Y[:0])
    stack.check(X)
    assert [module.training for module in stack.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(tensors(stack).values(), tensors(twin).values(), strict=True))
    assert torch.equal(stack(X + 1), twin(X + 1))  # dropout drops the same


def test_networks_without_parameters_are_checked_too():
    stack = Stack([nn.Flatten(), nn.Flatten()])
    stack.check(torch.zeros(2, 3, 4, 5), torch.full((2, 3), 19))
    with pytest.raises(ValueError, match="y: expected classes from 0 to 19, got 20 to 20"):
        stack.check(torch.zeros(2, 3, 4, 5), torch.full((2, 3), 20), "y")


def test_evaluation_mode_ends_with_every_mode_as_it_was():
    network = dense(nn.BatchNorm1d(16), nn.Sequential(nn.Dropout(0.5)))
    network[1].eval()
    before = [module.training for module in network.modules()]

    def fail():
        with evaluation_mode(network) as same:
            assert same is network
            assert not any(module.training for module in network.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [module.training for module in network.modules()] == before

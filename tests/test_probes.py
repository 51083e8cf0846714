"""Probes of all replicas at once against networks alone, with hooks and autograd, and against closed forms."""

import contextlib
import copy
import functools
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from utils.data import Split
from utils.lab import probes
from utils.lab.networks import conv_net, mlp
from utils.lab.replicas import Stack
from utils.lab.sequences import RNN, Transformer
from utils.lab.training import fit

SEEDS, N_IN, CLASSES = (5, 0, 3), 32, 4
RATES = np.array([0.3, 0.7, 0.05])
LENGTHS = np.array([0.1, 0.4, 1.5])
# Everything in float64 and of order one: the same sums in another order, made larger by norms of a few values.
TIGHT = {"rtol": 1e-9, "atol": 1e-11}

dense = functools.partial(mlp, N_IN, CLASSES, width=8, depth=2, activation="tanh")
conv = functools.partial(conv_net, (2, 4, 4), CLASSES, channels=(4, 6), pool_after=(1,), activation="tanh")
# Networks, and the layers of each with their names and those of what belongs to them.
KINDS = {
    "mlp": (dense, [["0."], ["2."], ["4."]]),
    "mlp, batch norm": (functools.partial(dense, norm="batch"), [["0.", "1."], ["3.", "4."], ["6."]]),
    "mlp, batch norm after, and of inputs": (
        functools.partial(dense, norm="batch", place="after", norm_input="batch"),
        [["1.", "0.", "3."], ["4.", "6."], ["7."]],
    ),
    "conv_net, batch norm": (functools.partial(conv, norm="batch"), [["1.", "2."], ["5.", "6."], ["9."]]),
    "conv_net, batch norm after pooling": (
        functools.partial(conv, norm="batch", place="after_pool"),
        [["1.", "4."], ["5.", "7."], ["9."]],
    ),
    "RNN": (
        functools.partial(RNN, N_IN, CLASSES, token=8, width=5, norm="layer"),
        [["inputs."], ["recurrent.", "norm."], ["head."]],
    ),
    "Transformer": (
        functools.partial(Transformer, N_IN, CLASSES, token=8, width=6, depth=1),
        [
            ["embed.", "places"],
            ["blocks.0.qkv."],
            ["blocks.0.project."],
            ["blocks.0.widen."],
            ["blocks.0.narrow.", "blocks.0.norms.", "last_norm."],
            ["head."],
        ],
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
some_kinds = pytest.mark.parametrize("kind", ["mlp, batch norm after, and of inputs", "conv_net, batch norm", "RNN"])
both_modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def stack(kind="mlp", training=True, **how):
    """A stack in float64, with numbers that no two replicas or channels have alike."""
    build = KINDS[kind][0] if isinstance(kind, str) else kind
    net, generator = Stack.of(lambda seed: build(seed=seed, **how), SEEDS).double(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.add_(noise if name.endswith("running_var") else noise - 0.5)
            else:
                value.add_(3)
    return net.train(training)


def batch(n=7, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, n, N_IN, generator=generator, dtype=dtype)
    return x, torch.randint(CLASSES, (3, n), generator=generator)


def plain(net):
    return [net.replica(r) for r in range(3)]


def seen(network, x):
    """Inputs and outputs of the activation functions of a network alone, (units, n), by hooks."""
    found, hooks = [], []
    for module in network.modules():
        if isinstance(module, nn.Tanh | nn.ReLU):
            hooks.append(module.register_forward_hook(lambda m, given, out: found.append((given[0], out))))
    network(x)
    for hook in hooks:
        hook.remove()

    def by_unit(values):  # (B, units), (B, channels, height, width), (B, tokens, units)
        return torch.movedim(values, 2 if values.dim() == 3 else 1, 0).flatten(1).detach().numpy()

    return [(by_unit(z), by_unit(h)) for z, h in found]


def gradients(network, x, y):
    """The loss and its gradients by the names of the parameters."""
    loss, own = F.cross_entropy(network(x), y), dict(network.named_parameters())
    return loss.item(), dict(zip(own, torch.autograd.grad(loss, list(own.values())), strict=True))


def moved(network, rate, slopes, names=None):
    """A copy that went down some slopes."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if names is None or name in names:
                p -= rate * slopes[name]
    return network


def vector(slopes):
    return torch.cat([g.flatten() for g in slopes.values()]).numpy()


def members(kind, network):
    """The names of the parameters of every layer, its weight first."""
    names = [name for name, _ in network.named_parameters()]
    groups = [[name for start in starts for name in names if name.startswith(start)] for starts in KINDS[kind][1]]
    assert sorted(name for group in groups for name in group) == sorted(names)
    return groups


def assert_close(ours, theirs):
    assert isinstance(ours, np.ndarray)
    assert ours.dtype == np.float64
    assert ours.shape == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, **TIGHT)


# Activations


@every_kind
@both_modes
def test_activations_are_those_of_the_networks_alone(kind, training):
    net, (x, _) = stack(kind, training), batch()
    ours, theirs = probes.activations(net, x), [seen(network, x[r]) for r, network in enumerate(plain(net))]
    assert len(ours) == len(theirs[0]) == {"RNN": 4, "Transformer": 1}.get(kind, 2)
    for i, (z, h) in enumerate(ours):
        assert not z.requires_grad
        assert not h.requires_grad
        for r in range(3):
            assert_close(z[r].numpy(), theirs[r][i][0])
            assert_close(h[r].numpy(), theirs[r][i][1])


def test_activations_are_copies_of_the_kinds_that_are_asked_for():
    net, (x, _) = stack(activation="identity"), batch()
    (z, h), *_ = probes.activations(net, x)
    before = h.clone()
    z.zero_()
    assert torch.equal(h, before)
    assert probes.activations(net, x, (nn.Tanh,)) == probes.activations(net, x, ()) == []
    assert len(probes.activations(net, x, (nn.Linear, nn.Identity))) == 5
    _, logits = probes.activations(net, x, (nn.Linear,))[-1]
    torch.testing.assert_close(logits, net(x).detach().transpose(1, 2), **TIGHT)
    for wrong in (None, nn.Tanh, ["relu"], ("relu",)):
        with pytest.raises(ValueError, match=r"kinds: expected a tuple of .*, such as \(nn.ReLU,\), got "):
            probes.activations(net, x, wrong)


@every_kind
@pytest.mark.parametrize(("layer", "unit", "q"), [(-1, 0, (15, 50, 85)), (0, 3, (50,)), (0, 2, (0, 1, 99, 100))])
def test_percentiles_are_those_of_numpy_over_the_batch(kind, layer, unit, q):
    net, (x, _) = stack(kind), batch(12)
    layers = [seen(network, x[r]) for r, network in enumerate(plain(net))]
    expected = [[np.percentile(one[layer][0][unit], each) for each in q] for one in layers]
    assert_close(probes.percentiles(net, x, layer=layer, unit=unit, q=q), expected)
    if layer == -1:  # those of the paper's figure are the default
        assert_close(probes.percentiles(net, x), expected)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"layer": 2}, "layer: expected an integer from -2 to 1, got 2"),
        ({"layer": -3}, "layer: expected an integer from -2 to 1, got -3"),
        ({"unit": 8}, "unit: expected an integer from 0 to 7, got 8"),
        ({"unit": -1}, "unit: expected an integer from 0 to 7, got -1"),
        ({"q": [50, 101]}, "q: expected a list of percents from 0 to 100"),
        ({"q": [[50]]}, "q: expected a list of percents from 0 to 100"),
        ({"kinds": (nn.ReLU,)}, "kinds: expected those of the model's activation functions, got .*ReLU"),
    ],
)
def test_percentiles_of_what_is_not_there(how, message):
    with pytest.raises(ValueError, match=message):
        probes.percentiles(stack(), batch()[0], **how)
    assert probes.percentiles(stack(), batch()[0], layer=-2, unit=7).shape == (3, 3)


# Gradients


@every_kind
@both_modes
def test_gradient_norms_are_those_of_the_networks_alone(kind, training):
    net, (x, y) = stack(kind, training), batch()
    expected = []
    for r, network in enumerate(plain(net)):
        _, own = gradients(network, x[r], y[r])
        expected.append([np.linalg.norm(own[group[0]].numpy()) for group in members(kind, network)])
    assert_close(probes.gradient_norms(net, x, y), np.transpose(expected))


@every_kind
@both_modes
def test_the_jacobian_is_that_of_the_network_alone_in_evaluation(kind, training):
    net, x = stack(kind, training), batch()[0][:, 0].clone()
    before, steps = x.clone(), 1e-6 * torch.eye(N_IN, dtype=torch.float64)
    ours = probes.jacobian_singular_values(net, x)
    for r, network in enumerate(plain(net)):
        network.eval()
        jacobian = torch.autograd.functional.jacobian(lambda v, f=network: f(v[None])[0], x[r])
        assert_close(ours[r], np.linalg.svd(jacobian.numpy(), compute_uv=False))
        differences = (network(x[r] + steps) - network(x[r] - steps)).detach().numpy().T / 2e-6
        np.testing.assert_allclose(
            ours[r], np.linalg.svd(differences, compute_uv=False), atol=1e-7
        )  # 1e-12, 1e-16/1e-6
    assert torch.equal(x, before)
    assert not x.requires_grad
    narrow = Stack.of(lambda seed: mlp(2, CLASSES, seed=seed, width=8, depth=1), SEEDS)
    assert probes.jacobian_singular_values(narrow, torch.ones(3, 2)).shape == (3, 2)


# The loss along a step


@every_kind
@both_modes
@pytest.mark.parametrize("lengths", [LENGTHS.tolist(), np.outer(LENGTHS, RATES)])
def test_a_walk_along_the_gradient(kind, training, lengths):
    net, (x, y) = stack(kind, training), batch()
    ours, lengths = probes.landscape(net, x, y, lengths), np.array(lengths)
    own = lengths if lengths.ndim == 2 else np.stack([lengths] * 3, axis=1)
    np.testing.assert_array_equal(ours.lengths, own)
    here, norm, losses, differences = [], [], [], []
    for r, network in enumerate(plain(net)):
        loss, g = gradients(network, x[r], y[r])
        places = [gradients(moved(network, eta, g), x[r], y[r]) for eta in own[:, r]]
        here.append(loss)
        norm.append(np.linalg.norm(vector(g)))
        losses.append([there for there, _ in places])
        differences.append([np.linalg.norm(vector(slopes) - vector(g)) for _, slopes in places])
    losses, differences, norm = np.transpose(losses), np.transpose(differences), np.array(norm)
    assert_close(ours.loss_here, here)
    assert_close(ours.gradient_norm, norm)
    assert_close(ours.loss, losses)
    assert_close(ours.gradient_difference, differences)
    assert_close(ours.loss_range, losses.max(axis=0) - losses.min(axis=0))
    assert_close(ours.predictiveness, differences.max(axis=0))
    assert_close(ours.relative_predictiveness, differences.max(axis=0) / norm)
    assert_close(ours.smoothness, np.max([differences[k] / (own[k] * norm) for k in range(len(own))], axis=0))
    short = probes.landscape(net, x, y, [1e-7])  # the slope along the gradient is its norm
    np.testing.assert_allclose((short.loss_here - short.loss[0]) / 1e-7, norm**2, rtol=1e-4)


@pytest.mark.parametrize(
    "lengths", [[0.1, 0.0], [-0.1], [np.nan], [np.inf], 0.1, np.ones((2, 2)), np.ones((2, 4)), np.ones((2, 3, 1)), []]
)
def test_lengths_that_are_none_are_refused(lengths):
    with pytest.raises(ValueError, match=r"lengths: expected positive numbers, shape \(K,\) or \(K, 3\), got"):
        probes.landscape(stack(), *batch(), lengths)


# Internal covariate shift


def shift_by_hand(kind, net, x, y, rates):
    """Difference, relative difference and cosine, each (layers, R)."""
    found = []
    for r, network in enumerate(plain(net)):
        groups, (_, g), row = members(kind, network), gradients(network, x[r], y[r]), []
        for i, (weight, *_) in enumerate(groups):
            names = {name for group in groups[:i] for name in group}
            after = gradients(moved(network, rates[r], g, names), x[r], y[r])[1][weight]
            a, b = g[weight].flatten().numpy(), after.flatten().numpy()
            norms = np.linalg.norm(a - b), np.linalg.norm(a), np.linalg.norm(b)
            row.append([norms[0], norms[0] / norms[1], a @ b / (norms[1] * norms[2])])
        found.append(row)
    return np.transpose(found)


@every_kind
@both_modes
def test_the_shift_is_what_an_update_of_the_preceding_layers_does_to_a_gradient(kind, training):
    net, (x, y) = stack(kind, training), batch()
    ours = probes.covariate_shift(net, x, y, RATES)
    for one, theirs in zip(ours, shift_by_hand(kind, net, x, y, RATES), strict=True):
        assert_close(one, theirs)
    np.testing.assert_array_equal(ours.difference[0], 0)
    np.testing.assert_array_equal(ours.relative[0], 0)
    assert_close(ours.cosine[0], np.ones(3))
    assert (ours.relative[1:] > 1e-3).all()  # far from nothing


def test_one_rate_for_all_and_one_for_each():
    net, (x, y) = stack("conv_net, batch norm"), batch()
    one = probes.covariate_shift(net, x, y, 0.3)
    for rates in ([0.3] * 3, torch.full((3,), 0.3, dtype=torch.float64), np.full(3, 0.3)):
        for a, b in zip(one, probes.covariate_shift(net, x, y, rates), strict=True):
            np.testing.assert_array_equal(a, b)
    mixed = probes.covariate_shift(net, x, y, [0.3, 0.0, 0.6])
    np.testing.assert_array_equal(mixed.difference[:, 0], one.difference[:, 0])
    np.testing.assert_array_equal(mixed.difference[:, 1], 0)
    assert (mixed.difference[1:, 2] > one.difference[1:, 2]).all()
    with pytest.raises(ValueError, match="learning_rates: expected one, or one for each of the 3 replicas"):
        probes.covariate_shift(net, x, y, [0.3, 0.3])


def test_where_there_is_no_gradient_there_is_no_shift():
    net = stack()
    with torch.no_grad():
        net.network[-1].weight.zero_()  # nothing comes back through it
    shift = probes.covariate_shift(net, *batch(), 0.1)
    np.testing.assert_array_equal(shift.difference[:2], 0)
    np.testing.assert_array_equal(shift.relative[:2], 0)


# Nothing is left behind


PROBES = {
    "activations": lambda net, x, y: probes.activations(net, x),
    "percentiles": lambda net, x, y: probes.percentiles(net, x),
    "gradient_norms": probes.gradient_norms,
    "jacobian_singular_values": lambda net, x, y: probes.jacobian_singular_values(net, x[:, 0]),
    "landscape": lambda net, x, y: probes.landscape(net, x, y, LENGTHS),
    "covariate_shift": lambda net, x, y: probes.covariate_shift(net, x, y, RATES),
}
every_probe = pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
of_gradients = pytest.mark.parametrize("name", ["gradient_norms", "landscape", "covariate_shift"])


class Broken(BaseException):
    pass


class Fragile(nn.Tanh):
    """A tanh that counts its calls, which nobody saves, and raises when it is called as often as `left` says."""

    def __init__(self):
        super().__init__()
        self.left = [-1]  # never
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, z):
        self.left[0] -= 1
        if self.left[0] == 0:
            raise Broken
        with torch.no_grad():
            self.calls += 1
        return torch.tanh(z)


def traces(net):
    """All that a probe could leave: numbers, gradients, modes, hooks, and states of random generators."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    generators = [each for m in net.modules() for each in vars(m).values() if isinstance(each, torch.Generator)]
    return (
        [(value.data_ptr(), value.tolist()) for value in (*net.parameters(), *net.buffers())],
        [(p.grad, p.requires_grad, p.grad_fn) for p in net.parameters()],
        [module.training for module in net.modules()],
        [len(getattr(module, hook)) for module in net.modules() for hook in hooks],
        [bytes(each.get_state().numpy()) for each in (torch.default_generator, *generators)],
    )


def with_dropout(seed, **how):
    """PyTorch's own dropout, whose masks come from the global generator."""
    return nn.Sequential(nn.Dropout(0.3), dense(seed=seed, dropout=0.5, **how))


RANDOM = {
    "mlp": functools.partial(dense, norm="batch", dropout=0.5),
    "conv_net": functools.partial(conv, norm="batch", dropout=0.5),
    "PyTorch's dropout": with_dropout,
    "RNN": KINDS["RNN"][0],
    "Transformer": KINDS["Transformer"][0],
}
every_random = pytest.mark.parametrize("build", RANDOM.values(), ids=RANDOM)


@every_random
@both_modes
@every_probe
def test_a_probe_leaves_the_network_and_the_batch_as_they_were(build, training, probe):
    net, (x, y) = stack(build, training), batch()
    before, inputs, targets = traces(net), x.clone(), y.clone()
    probe(net, x, y)
    assert traces(net) == before
    assert torch.equal(x, inputs)
    assert torch.equal(y, targets)
    assert not x.requires_grad


@pytest.mark.parametrize("build", list(RANDOM.values())[:3], ids=list(RANDOM)[:3])
@both_modes
@every_probe
def test_a_probe_that_fails_in_between_leaves_the_network_as_it_was(build, training, probe):
    for n in itertools.count(1):
        net, (x, y) = stack(build, training, activation=Fragile), batch()
        before = traces(net)
        next(module for module in net.modules() if isinstance(module, Fragile)).left[0] = n
        broke = False
        with contextlib.suppress(Broken):
            broke = True
            probe(net, x, y)
            broke = False
        assert traces(net) == before
        if not broke:
            break
    assert n > 2


@some_kinds
@every_probe
def test_a_probe_that_refuses_its_batch_leaves_the_network_as_it_was(kind, probe):
    net, (x, y) = stack(kind), batch()
    before = traces(net)
    for wrong in (x[:2], x[..., :-1], x.float()):
        with pytest.raises(ValueError, match="x: expected "):
            probe(net, wrong, y)
    with pytest.raises(ValueError, match="model: expected a Stack, got"):
        probe(net.network, x, y)
    assert traces(net) == before


@of_gradients
def test_classes_that_do_not_fit_are_refused(name):
    net, (x, y) = stack(), batch()
    before = traces(net)
    for wrong, message in (
        (y + CLASSES, "y: expected classes from 0 to 3, got 4 to 7"),
        (y.int(), r"y: expected classes from 0 to 3, .* \(torch.int32\)"),
        (y[:, :3], r"y: expected shape \(3, 7\), as x, got \(3, 3\)"),
        (y.numpy(), "y: expected a Tensor, got ndarray"),
    ):
        with pytest.raises(ValueError, match=message):
            PROBES[name](net, x, wrong)
    assert traces(net) == before


@every_random
@every_probe
def test_watching_changes_nothing_about_a_training(build, probe):
    rng, net, notes = np.random.default_rng(0), stack(build), []
    x, y = rng.standard_normal((30, N_IN)), rng.integers(CLASSES, size=30)
    split, how = Split(x[:20], y[:20], x[20:], y[20:]), {"steps": [2, 4], "batch_size": 8, "learning_rates": RATES}
    alone, start = copy.deepcopy(net), torch.get_rng_state()
    expected = fit(alone, split, **how)
    torch.set_rng_state(start)
    watched = fit(net, split, watch=lambda model, step, x, y: notes.append(probe(model, x, y)), **how)
    assert len(notes) == 4
    assert traces(net)[1:] == traces(alone)[1:]
    for ours, theirs in zip(net.state_dict().values(), alone.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    np.testing.assert_array_equal(watched.loss, expected.loss)
    np.testing.assert_array_equal(watched.accuracy["test"], expected.accuracy["test"])


def test_what_is_seen_before_a_step_is_what_the_step_does():
    """The losses of the walk begin with those of the training, and end where its step leads."""
    rng, net, walks = np.random.default_rng(0), stack("mlp, batch norm"), []
    x, y = rng.standard_normal((30, N_IN)), rng.integers(CLASSES, size=30)

    def watch(model, step, x, y):
        walks.append(probes.landscape(model, x, y, RATES[None]))

    history = fit(net, Split(x[:20], y[:20], x[20:], y[20:]), steps=4, batch_size=20, learning_rates=RATES, watch=watch)
    assert_close(np.stack([one.loss_here for one in walks]), history.loss)
    assert_close(np.stack([one.loss[0] for one in walks[:-1]]), history.loss[1:])  # the batch holds all examples


@every_random
def test_dropout_drops_the_same_along_the_way(build):
    net, (x, y) = stack(build), batch()
    near = probes.landscape(net, x, y, [1e-9])  # no way at all: another mask would be a jump
    np.testing.assert_allclose(near.loss[0], near.loss_here, rtol=1e-6)
    assert (near.gradient_difference < 1e-6).all()
    np.testing.assert_array_equal(probes.covariate_shift(net, x, y, RATES).difference[0], 0)


def test_frozen_parameters_do_not_move_and_unused_ones_do_not_matter():
    net, (x, y) = stack("mlp, batch norm"), batch()
    net.network[0].register_parameter("unused", nn.Parameter(torch.ones(3, 2, dtype=torch.float64)))
    net.network[1].weight.requires_grad_(False)
    learned = [p for name, p in net.named_parameters() if p.requires_grad and "unused" not in name]
    losses = F.cross_entropy(net(x).transpose(1, 2), y, reduction="none").mean(1)
    squares = sum(g.flatten(1).square().sum(1) for g in torch.autograd.grad(losses.sum(), learned))
    assert_close(probes.landscape(net, x, y, LENGTHS).gradient_norm, squares.sqrt().numpy())
    without, still = (probes.covariate_shift(net, x, y, RATES).difference for _ in range(2))
    assert_close(without, still)


@pytest.mark.parametrize("name", ["gradient_norms", "covariate_shift"])
def test_layers_without_a_weight_to_learn_are_refused(name):
    frozen, normed = stack(), nn.utils.parametrizations.weight_norm(nn.Linear(N_IN, CLASSES))
    frozen.network[2].weight.requires_grad_(False)
    for net in (frozen, Stack([normed] * 3).double(), Stack([nn.BatchNorm1d(N_IN)] * 3).double()):
        with pytest.raises(
            ValueError, match="model: expected linear layers or convolutions whose weights are all learned"
        ):
            PROBES[name](net, *batch())


def test_a_network_in_single_precision_is_measured_in_double():
    net, (x, y) = stack("mlp, batch norm").float(), batch(dtype=torch.float32)
    values = [
        probes.percentiles(net, x),
        probes.gradient_norms(net, x, y),
        probes.jacobian_singular_values(net, x[:, 0]),
        *probes.landscape(net, x, y, LENGTHS),
        *probes.covariate_shift(net, x, y, 0.1),
    ]
    assert {value.dtype for value in values} == {np.dtype(np.float64)}
    double = probes.landscape(copy.deepcopy(net).double(), x.double(), y, LENGTHS)
    np.testing.assert_allclose(probes.landscape(net, x, y, LENGTHS).loss, double.loss, rtol=1e-4)  # in single precision

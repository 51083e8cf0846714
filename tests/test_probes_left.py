"""A probe leaves nothing behind, and refuses what it cannot measure."""

import copy
import itertools
from functools import partial

import numpy as np
import pytest
import torch
from probe_fixtures import CLASSES, KINDS, LENGTHS, N_IN, RATES, batch, both_modes, conv, dense, stack
from torch import nn
from torch.nn import functional as F

from utils.data import Split
from utils.lab import probes
from utils.lab.replicas import Stack
from utils.lab.training import fit

PROBES = {
    "activations": lambda net, x, y: probes.activations(net, x),
    "gradient_norms": probes.gradient_norms,
    "landscape": lambda net, x, y: probes.landscape(net, x, y, LENGTHS),
    "covariate_shift": lambda net, x, y: probes.covariate_shift(net, x, y, RATES),
}
every_probe = pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)


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
    "mlp": partial(dense, norm="batch", dropout=0.5),
    "conv_net": partial(conv, norm="batch", dropout=0.5),
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
        try:
            probe(net, x, y)
            break
        except Broken:
            assert traces(net) == before
    assert traces(net) == before
    assert n > 2


@pytest.mark.parametrize("kind", ["mlp, batch norm after, and of inputs", "conv_net, batch norm", "RNN"])
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


@pytest.mark.parametrize("name", ["gradient_norms", "landscape", "covariate_shift"])
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
    np.testing.assert_allclose(probes.landscape(net, x, y, LENGTHS).gradient_norm, squares.sqrt(), rtol=1e-9)
    assert np.isfinite(probes.covariate_shift(net, x, y, RATES)).all()


@pytest.mark.parametrize("name", ["gradient_norms", "covariate_shift"])
def test_layers_without_a_weight_to_learn_are_refused(name):
    frozen, normed = stack(), nn.utils.parametrizations.weight_norm(nn.Linear(N_IN, CLASSES))
    frozen.network[2].weight.requires_grad_(False)
    for net in (frozen, Stack([normed] * 3).double(), Stack([nn.BatchNorm1d(N_IN)] * 3).double()):
        with pytest.raises(ValueError, match="model: expected linear layers or convolutions whose weights are all"):
            PROBES[name](net, *batch())


def test_a_network_in_single_precision_is_measured_in_double():
    net, (x, y) = stack("mlp, batch norm").float(), batch(dtype=torch.float32)
    values = [
        probes.gradient_norms(net, x, y),
        *probes.landscape(net, x, y, LENGTHS),
        *probes.covariate_shift(net, x, y, 0.1),
    ]
    assert {value.dtype for value in values} == {np.dtype(np.float64)}
    double = probes.landscape(copy.deepcopy(net).double(), x.double(), y, LENGTHS)
    np.testing.assert_allclose(probes.landscape(net, x, y, LENGTHS).loss, double.loss, rtol=1e-4)  # in single precision

"""Probes of all replicas at once against networks alone, with hooks and autograd, and against closed forms."""

import copy

import numpy as np
import pytest
import torch
from probe_fixtures import KINDS, LENGTHS, RATES, TIGHT, batch, both_modes, every_kind, stack
from torch import nn
from torch.nn import functional as F

from utils.lab import probes


def plain(net):
    return [net.replica(r) for r in range(3)]


def seen(network, x):
    """Inputs and outputs of the activation functions of a network alone, (units, n), by hooks."""
    found = []
    hooks = [
        module.register_forward_hook(lambda m, given, out: found.append((given[0], out)))
        for module in network.modules()
        if isinstance(module, nn.Tanh | nn.ReLU)
    ]
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
@pytest.mark.parametrize("lengths", [LENGTHS.tolist(), np.outer(LENGTHS, RATES)])
def test_a_walk_along_the_gradient(kind, training, lengths):
    net, (x, y) = stack(kind, training), batch()
    ours, lengths = probes.landscape(net, x, y, lengths), np.array(lengths)
    own = lengths if lengths.ndim == 2 else np.stack([lengths] * 3, axis=1)
    np.testing.assert_array_equal(ours.lengths, own)
    short = probes.landscape(net, x, y, [1e-7])  # the slope along the gradient is its norm
    for r, network in enumerate(plain(net)):
        here, g = gradients(network, x[r], y[r])
        places = [gradients(moved(network, eta, g), x[r], y[r]) for eta in own[:, r]]
        norm, losses = np.linalg.norm(vector(g)), np.array([loss for loss, _ in places])
        differences = np.array([np.linalg.norm(vector(slopes) - vector(g)) for _, slopes in places])
        expected = {"loss_here": here, "gradient_norm": norm, "loss": losses, "gradient_difference": differences}
        expected |= {"loss_range": np.ptp(losses), "predictiveness": differences.max()}
        expected["relative_predictiveness"] = differences.max() / norm
        expected["smoothness"] = (differences / (own[:, r] * norm)).max()
        for name, value in expected.items():
            assert_close(getattr(ours, name)[..., r, None], np.expand_dims(value, -1))
        np.testing.assert_allclose((short.loss_here - short.loss[0])[r] / 1e-7, norm**2, rtol=1e-4)


@pytest.mark.parametrize(
    "lengths", [[0.1, 0.0], [-0.1], [np.nan], [np.inf], 0.1, np.ones((2, 2)), np.ones((2, 4)), np.ones((2, 3, 1)), []]
)
def test_lengths_that_are_none_are_refused(lengths):
    with pytest.raises(ValueError, match=r"lengths: expected positive numbers, shape \(K,\) or \(K, 3\), got"):
        probes.landscape(stack(), *batch(), lengths)


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
    for rates in ([0.3] * 3, torch.full((3,), 0.3, dtype=torch.float64)):
        np.testing.assert_array_equal(one, probes.covariate_shift(net, x, y, rates))
    mixed = probes.covariate_shift(net, x, y, [0.3, 0.0, 0.6]).difference
    np.testing.assert_array_equal(mixed[:, :2], np.stack([one.difference[:, 0], 0 * mixed[:, 0]], axis=1))
    assert (mixed[1:, 2] > one.difference[1:, 2]).all()
    with pytest.raises(ValueError, match="learning_rates: expected one, or one for each of the 3 replicas"):
        probes.covariate_shift(net, x, y, [0.3, 0.3])


def test_where_there_is_no_gradient_there_is_no_shift():
    net = stack()
    with torch.no_grad():
        net.network[-1].weight.zero_()  # nothing comes back through it
    shift = probes.covariate_shift(net, *batch(), 0.1)
    np.testing.assert_array_equal([shift.difference[:2], shift.relative[:2]], 0)

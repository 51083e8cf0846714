"""Any module as norm or activation: a replica gives what the same network alone gives, or it is refused."""

import copy
import functools

import numpy as np
import pytest
import torch
from torch import nn

from utils import sequences
from utils.data import Split
from utils.lab import probes
from utils.lab.training import fit, outputs
from utils.networks import MLP, BatchNorm, ConvNet, GroupNorm, Linear

SEEDS = (5, 0, 3)
IMAGE = (2, 5, 4)


def dense(seeds=SEEDS, **how):
    return MLP(6, 4, seeds=seeds, **{"width": 8, "depth": 2} | how)


def conv(seeds=SEEDS, **how):
    return ConvNet(IMAGE, 4, seeds=seeds, **{"channels": (4, 8), "pool_after": (2,)} | how)


KINDS = {"dense": dense, "conv": conv}
both_kinds = pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)


def inputs(net, n=7, seed=0):
    return torch.randn(net.replicas, n, net.n_in, generator=torch.Generator().manual_seed(seed))


class Own(nn.Module):
    """A module out of a function of its input and of whether it trains."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


# Activations

ELEMENTWISE = {
    "softplus": nn.Softplus(),
    "in place": nn.ReLU(inplace=True),
    "in sequence": nn.Sequential(nn.Tanh(), nn.ReLU(inplace=True)),
    "written by hand": Own(lambda x: x * torch.sigmoid(1.5 * x)),
    "another slope": nn.LeakyReLU(0.3),
}
OF_SEVERAL_VALUES = {
    "softmax over the last axis": nn.Softmax(dim=-1),
    "softmax over the features of a dense stack": nn.Softmax(dim=1),
    "softmax over the examples": nn.LogSoftmax(dim=0),
    "softmax of images only": Own(lambda x: x.softmax(1) if x.dim() == 4 else x.relu()),
    "gated": nn.GLU(dim=-1),
    "reads its shape": Own(lambda x: x / x.shape[-1]),
    "reads how many values there are": Own(lambda x: x / x.numel()),
    "sees places": Own(lambda x: x * torch.arange(x.shape[-1])),
    "centres": Own(lambda x: x - x.mean()),
    "the largest is one": nn.Sequential(nn.ReLU(), Own(lambda x: x / x.amax().clamp(min=1e-3))),
    "a norm": nn.Sequential(nn.ReLU(), nn.BatchNorm1d(8, affine=False)),
    "wants two axes": Own(lambda x: x.view(len(x), -1).relu()),
    "dropout": nn.Dropout(0.5),
    "random slopes": nn.RReLU(),
    "fails": Own(lambda x: x.nonsense()),
}


def by_hand(net, r, x, activation):
    """Replica r of an MLP without norms, layer after layer, as a network alone computes it."""
    layers = [layer for layer in net.layers if isinstance(layer, Linear)]
    for layer in layers[:-1]:
        x = activation(x @ layer.weight[r].T + layer.bias[r])
    return x @ layers[-1].weight[r].T + layers[-1].bias[r]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_activation_of_single_values_is_right(name):
    net = dense(activation=copy.deepcopy(ELEMENTWISE[name]))
    x = inputs(net)
    for r in range(3):
        expected = by_hand(net, r, x[r], copy.deepcopy(ELEMENTWISE[name]))
        # some roundings in float32 of numbers up to about one
        torch.testing.assert_close(net(x)[r], expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(net.replica(r)(x[r]), expected, rtol=0, atol=1e-5)
    net = conv(activation=copy.deepcopy(ELEMENTWISE[name]))
    x = inputs(net)
    for r in range(3):
        torch.testing.assert_close(net.replica(r)(x[r]), net(x)[r], rtol=0, atol=1e-5)


@both_kinds
@pytest.mark.parametrize("name", OF_SEVERAL_VALUES)
def test_an_activation_of_several_values_is_refused(build, name):
    with pytest.raises(ValueError, match="activation: expected a module that acts on each value by itself"):
        build(activation=copy.deepcopy(OF_SEVERAL_VALUES[name]))


def test_activations_are_seen_as_they_came_in_also_if_they_change_their_input():
    net, same = dense(activation=nn.ReLU(inplace=True)), dense(activation=nn.ReLU())
    x = inputs(net)
    for (z, h), (expected_z, expected_h) in zip(probes.activations(net, x), probes.activations(same, x), strict=True):
        assert torch.equal(z, expected_z)
        assert torch.equal(h, expected_h)
    assert expected_z.lt(0).any()
    for key, values in probes.layer_statistics(net, x).items():
        np.testing.assert_array_equal(values, probes.layer_statistics(same, x)[key])


# Norms


class LpNorm(nn.Module):
    """Batch norm by the mean absolute deviation; the parts of the axes that it averages over are arguments."""

    def __init__(self, replicas, channels, over=2):
        super().__init__()
        self.over = over
        self.weight = nn.Parameter(torch.rand(replicas, channels, 1) + 0.5)  # other numbers in every replica
        self.register_buffer("running_mean", torch.zeros(replicas, channels, 1))
        self.register_buffer("running_scale", torch.ones(replicas, channels, 1))

    def forward(self, x):
        mean, scale = self.running_mean, self.running_scale
        if self.training:
            mean = x.mean(self.over, keepdim=True)
            scale = (x - mean).abs().mean(self.over, keepdim=True) + 1e-5
            with torch.no_grad():
                self.running_mean.lerp_(mean.expand_as(self.running_mean), 0.1)
                self.running_scale.lerp_(scale.expand_as(self.running_scale), 0.1)
        return self.weight * (x - mean) / scale


class LpNormWithReplica(LpNorm):
    """The same, which says what it is alone."""

    def replica(self, r, conv):
        return LpNormAlone(self.weight.shape[1])


class LpNormAlone(nn.Module):
    """For one network: (B, features)."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.register_buffer("running_mean", torch.zeros(channels, 1))
        self.register_buffer("running_scale", torch.ones(channels, 1))

    def forward(self, x):
        x = x.T
        mean, scale = self.running_mean, self.running_scale
        if self.training:
            mean = x.mean(1, keepdim=True)
            scale = (x - mean).abs().mean(1, keepdim=True) + 1e-5
        return (self.weight * (x - mean) / scale).T


class WrongReplica(LpNorm):
    """One whose plain counterpart is another norm."""

    def replica(self, r, conv):
        plain = nn.BatchNorm1d(self.weight.shape[1], affine=False)
        del plain.num_batches_tracked, plain.running_mean, plain.running_var
        plain.track_running_stats, plain.running_mean, plain.running_var = False, None, None
        plain.load_state_dict = lambda *_, **__: None
        return plain


class Noise(nn.Module):
    """Random in training; in evaluation nothing."""

    def __init__(self, replicas, channels, generator, mixed=False):
        super().__init__()
        self.generator, self.mixed = generator, mixed

    def forward(self, x):
        if not self.training:
            return x
        x = x + 0.1 * torch.empty(x.shape).normal_(generator=self.generator)
        return x - x.mean(0, keepdim=True) if self.mixed else x


def noisy_batch_norm(replicas, channels):
    return nn.Sequential(BatchNorm(replicas, channels), Noise(replicas, channels, torch.Generator().manual_seed(0)))


RIGHT = {  # name: what it is in a dense stack
    "callable": lambda replicas, channels: BatchNorm(replicas, channels, momentum=0.3),
    "partial": functools.partial(GroupNorm, groups=2),
    "of one's own": LpNorm,
    "in sequence": lambda replicas, channels: nn.Sequential(LpNorm(replicas, channels), nn.Softsign()),
    "library's, without parameters": lambda replicas, channels: Own(
        lambda x: nn.functional.layer_norm(x.mT, (channels,)).mT
    ),
    "noise": functools.partial(Noise, generator=torch.Generator().manual_seed(0)),
    "batch norm and noise": noisy_batch_norm,
}
MIXING = {
    "statistics over the replicas": functools.partial(LpNorm, over=0),
    "statistics over replicas and examples": functools.partial(LpNorm, over=(0, 2)),
    "mean of everything": lambda replicas, channels: Own(lambda x: x - x.mean()),
    "divides by the number of values": lambda replicas, channels: Own(lambda x: x / x.numel() ** 0.5),
    "divides by the number of replicas": lambda replicas, channels: Own(lambda x: x / replicas),
    "the first replica for all": lambda replicas, channels: Own(lambda x: x[:1].expand_as(x)),
    "the replicas in another order": lambda replicas, channels: Own(lambda x: x.roll(1, 0)),
    "in evaluation only": lambda replicas, channels: type(
        "E", (nn.Module,), {"forward": lambda self, x: x if self.training else x - x.mean()}
    )(),
    "with random numbers": functools.partial(Noise, generator=torch.Generator().manual_seed(0), mixed=True),
    "in sequence": lambda replicas, channels: nn.Sequential(
        BatchNorm(replicas, channels), Own(lambda x: x - x.mean(0, keepdim=True))
    ),
    "the library's for one network": nn.BatchNorm1d,
    "the library's over all replicas": lambda replicas, channels: nn.LayerNorm([channels, 48]),
    "parameters of all replicas in common": lambda replicas, channels: nn.LayerNorm([48]),
    "no module": lambda replicas, channels: torch.relu,
    "other arguments": lambda channels: BatchNorm(1, channels),
    "fails": lambda replicas, channels: Own(lambda x: x.nonsense()),
    "another shape": lambda replicas, channels: Own(lambda x: x[:, :-1]),
}


def with_numbers_of(alone, stack, r):
    """The network alone, with the numbers of replica r of a stack."""
    numbers = stack.state_dict()
    alone.load_state_dict({k: v if v.dim() == 0 else v[r : r + 1] for k, v in numbers.items()})
    return alone


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("name", RIGHT)
def test_a_norm_that_keeps_replicas_apart_gives_what_the_network_alone_gives(name, place):
    norm, noisy = RIGHT[name], "noise" in name
    net = dense(norm=norm, place=place, norm_input=norm)
    for r in range(3):
        alone = with_numbers_of(dense((0,), norm=norm, place=place, norm_input=norm), net, r)
        x = inputs(net, 30, seed=r)
        for training in (False, *(() if noisy else (True,)), False):
            ours, theirs = net.train(training)(x)[r], alone.train(training)(x[r : r + 1])[0]
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)  # roundings, a norm makes them larger


@pytest.mark.parametrize("where", ["norm", "norm_input"])
@pytest.mark.parametrize("name", MIXING)
def test_a_norm_that_mixes_replicas_is_refused(name, where):
    with pytest.raises(ValueError, match="^norm(_input)?: expected "):
        dense(**{where: MIXING[name]})


CONV_RIGHT = {
    "the library's, channels of all replicas": lambda replicas, channels: nn.BatchNorm2d(
        replicas * channels, affine=False
    ),
    "the library's for each channel": lambda replicas, channels: nn.InstanceNorm2d(replicas * channels),
    "groups within the replicas": lambda replicas, channels: Own(
        lambda x: nn.functional.group_norm(x, 2 * x.shape[1] // channels)
    ),
}
CONV_MIXING = {
    "groups across the replicas": lambda replicas, channels: Own(lambda x: nn.functional.group_norm(x, 4)),
    "softmax over all channels": lambda replicas, channels: nn.Softmax2d(),
    "each example by itself": lambda replicas, channels: Own(lambda x: nn.functional.layer_norm(x, x.shape[1:])),
    "the library's, with parameters": lambda replicas, channels: nn.BatchNorm2d(replicas * channels),
}


@pytest.mark.parametrize("name", CONV_RIGHT)
def test_a_norm_of_images_that_keeps_replicas_apart(name):
    net = conv(norm=CONV_RIGHT[name])
    x = inputs(net, 30)
    found = [net.train()(x), net.eval()(x)]
    for r in range(3):
        alone = conv(SEEDS[r : r + 1], norm=CONV_RIGHT[name])
        expected = [alone.train()(x[r : r + 1])[0], alone.eval()(x[r : r + 1])[0]]
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours[r], theirs, rtol=0, atol=1e-4)  # roundings, a norm makes them larger


@pytest.mark.parametrize("name", CONV_MIXING)
def test_a_norm_of_images_that_mixes_replicas_is_refused(name):
    with pytest.raises(ValueError, match="^norm: expected "):
        conv(norm=CONV_MIXING[name])


@pytest.mark.parametrize("name", [name for name in MIXING if name not in ("the library's for one network",)])
@pytest.mark.parametrize("kind", ["RNN", "Transformer"])
def test_a_norm_that_mixes_replicas_is_refused_in_sequences_too(name, kind):
    with pytest.raises(ValueError, match="^norm: expected "):
        getattr(sequences, kind)(12, 3, seeds=SEEDS, token=4, norm=MIXING[name])


@pytest.mark.parametrize("kind", ["RNN", "Transformer"])
def test_a_norm_of_ones_own_in_sequences(kind):
    norm = RIGHT["library's, without parameters"]
    net = getattr(sequences, kind)(12, 3, seeds=SEEDS, token=4, norm=norm)
    alone = getattr(sequences, kind)(12, 3, seeds=SEEDS[1:2], token=4, norm=norm)
    x = inputs(net)
    torch.testing.assert_close(net(x)[1], alone(x[1:2])[0], rtol=0, atol=1e-5)


# One replica, as PyTorch's layers


@pytest.mark.parametrize("training", [True, False])
def test_a_replica_of_a_norm_of_ones_own(training):
    net = dense(norm=LpNormWithReplica).train(training)
    x = inputs(net, 30)
    for r in range(3):
        torch.testing.assert_close(net.replica(r)(x[r]), net(x)[r], rtol=0, atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_a_replica_of_norms_in_sequence(training):
    net = dense(norm=lambda replicas, channels: nn.Sequential(BatchNorm(replicas, channels), nn.Softsign()))
    x = inputs(net, 30)
    net(x)
    net.train(training)
    for r in range(3):
        torch.testing.assert_close(net.replica(r)(x[r]), copy.deepcopy(net)(x)[r], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["of one's own", "in sequence", "noise", "library's, without parameters"])
@pytest.mark.parametrize("training", [True, False])
def test_a_norm_that_does_not_say_what_it_is_alone_has_no_replica(name, training):
    net = dense(norm=RIGHT[name]).train(training)
    with pytest.raises(ValueError, match="replica: expected modules with a method replica"):
        net.replica(1)


def test_a_norm_that_says_something_wrong_has_no_replica():
    net = dense(norm=WrongReplica)
    with pytest.raises(ValueError, match="replica: expected "):
        net.replica(1)


def test_a_parametrized_layer_has_no_replica():
    class Twice(nn.Module):
        def forward(self, w):
            return 2 * w

    net = dense()
    nn.utils.parametrize.register_parametrization(net.layers[1], "weight", Twice())
    with pytest.raises(ValueError, match="remove_parametrizations first"):
        net.replica(0)
    nn.utils.parametrize.remove_parametrizations(net.layers[1], "weight")
    x = inputs(net)
    torch.testing.assert_close(net.replica(1)(x[1]), net(x)[1], rtol=0, atol=1e-5)


@both_kinds
def test_a_replica_keeps_what_is_frozen(build):
    net = build(norm="batch", dropout=0.5)
    frozen = net.layers[2]
    frozen.eval()
    for p in frozen.parameters():
        p.requires_grad_(False)
    plain = net.replica(1)
    modes = [layer.training for layer in net.layers if type(layer).__name__ != "_Rows"]
    assert [layer.training for layer in plain] == modes
    assert False in modes
    assert True in modes
    assert [p.requires_grad for p in plain.parameters()] == [p.requires_grad for p in net.parameters()]


# Modes


def examples():
    rng = np.random.default_rng(0)
    return Split(rng.normal(size=(40, 6)), rng.integers(4, size=40), rng.normal(size=(9, 6)), rng.integers(4, size=9))


HOW = {"steps": 6, "batch_size": 8, "learning_rates": 0.1}


@pytest.mark.parametrize("watch_at", [1, [2], [6]])
def test_a_watch_may_change_the_mode_and_the_training_goes_on_in_training_mode(watch_at):
    modes = []

    def watch(model, step, x, y):
        model.eval()
        model(x)

    nets = [dense(norm="batch", dropout=0.3) for _ in range(2)]
    nets[0].layers[2].register_forward_hook(lambda module, x, y: modes.append(module.training))
    watched = fit(nets[0], examples(), watch=watch, watch_at=watch_at, parts=[], **HOW)
    untouched = fit(nets[1], examples(), parts=[], **HOW)
    assert modes.count(True) == HOW["steps"]
    np.testing.assert_array_equal(watched.loss, untouched.loss)
    assert all(module.training for module in nets[0].modules())


def test_a_penalty_or_a_schedule_may_change_the_mode_too():
    nets = [dense(norm="batch") for _ in range(2)]
    histories = []
    for net, change in zip(nets, (True, False), strict=True):

        def penalty(model, change=change):
            model.train(not change)
            return sum(p.flatten(1).square().sum(1) for p in model.parameters())

        def schedule(done, net=net, change=change):
            net.train(not change)
            return 1 - done

        histories.append(fit(net, examples(), penalty=penalty, schedule=schedule, **HOW))
    np.testing.assert_array_equal(*(history.loss for history in histories))
    assert nets[0].training


@both_kinds
def test_looking_at_a_network_leaves_the_mode_of_every_layer(build):
    net = build(norm="batch")
    net.layers[2].eval()
    before = [module.training for module in net.modules()]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, net.n_in)), rng.integers(4, size=9)
    outputs(net, Split(x, y, x, y))
    assert [module.training for module in net.modules()] == before
    probes.jacobian_singular_values(net, inputs(net)[:, 0])
    assert [module.training for module in net.modules()] == before
    net.replica(0)
    assert [module.training for module in net.modules()] == before

"""A stack of networks gives for each what the network alone gives: values, gradients, running statistics, training."""

import copy
import pickle

import pytest
import torch
from torch import nn

from utils import networks as before
from utils import sequences
from utils.lab import networks, replicas
from utils.lab.replicas import Stack

R, B, N_IN, N_OUT = 3, 12, 64, 4
SEEDS = (5, 0, 3)
# The same sums in another order, of numbers up to about ten, which norms of nearly constant values make larger.
ATOL = 1e-9


class LpNorm(nn.Module):
    """Batch norm by the mean absolute deviation, as a reader would write it for one network."""

    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.register_buffer("running_mean", torch.zeros(features))

    def forward(self, x):
        mean = self.running_mean
        if self.training:
            mean = x.mean(0)
            with torch.no_grad():
                self.running_mean.copy_(0.9 * self.running_mean + 0.1 * mean)
        return self.weight * (x - mean) / ((x - mean).abs().mean(0) + 1e-5)


class ReadsItsShape(nn.Module):
    def forward(self, x):
        return x / x.shape[-1] - x.mean() / len(x) ** 0.5


class Branches(nn.Module):
    """What it does depends on its numbers: vmap cannot."""

    def forward(self, x):
        return x.relu() if x.mean() > 0 else x.tanh()


class Tied(nn.Module):
    """Two layers with one weight, and one module under two names."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(N_IN, N_IN), nn.Linear(N_IN, N_IN)
        self.second.weight = self.first.weight
        self.again = self.first
        self.head = nn.Linear(N_IN, N_OUT)

    def forward(self, x):
        return self.head(torch.tanh(self.again(torch.tanh(self.second(self.first(x))))))


def dense(*between, **linear):
    return nn.Sequential(nn.Linear(N_IN, 16, **linear), *between, nn.Linear(16, N_OUT))


def images(*between, **conv):
    first = nn.Conv2d(1, 8, 3, **({"padding": 1} | conv))
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), first, *between, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, N_OUT)
    )


KINDS = {
    "linear": lambda: dense(),
    "no bias": lambda: dense(nn.ReLU(), bias=False),
    "in place": lambda: dense(nn.ReLU(inplace=True)),
    "batch norm": lambda: dense(nn.BatchNorm1d(16), nn.Sigmoid()),
    "batch norm, average": lambda: dense(nn.BatchNorm1d(16, momentum=None), nn.Sigmoid()),
    "batch norm, no gamma": lambda: dense(nn.BatchNorm1d(16, affine=False), nn.ELU()),
    "batch norm, no statistics": lambda: dense(nn.BatchNorm1d(16, track_running_stats=False), nn.GELU()),
    "layer norm": lambda: dense(nn.LayerNorm(16), nn.ReLU()),
    "layer norm, no gamma": lambda: dense(nn.LayerNorm(16, elementwise_affine=False), nn.ReLU()),
    "RMS norm": lambda: dense(nn.RMSNorm(16), nn.ReLU()),
    "group norm": lambda: dense(nn.GroupNorm(4, 16), nn.ReLU()),
    "softmax": lambda: dense(nn.Softmax(dim=-1)),
    "softmax over the batch": lambda: dense(nn.Softmax(dim=0)),
    "PReLU": lambda: dense(nn.PReLU()),
    "reads its shape": lambda: dense(ReadsItsShape()),
    "branches": lambda: dense(Branches()),
    "a norm of the reader's": lambda: dense(LpNorm(16), nn.Tanh()),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(N_IN, 9), nn.BatchNorm1d(9)), nn.Sequential(nn.Linear(9, 4))
    ),
    "weight norm": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(N_IN, 8)), nn.Linear(8, N_OUT)
    ),
    "spectral norm": lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(N_IN, 8)), nn.Linear(8, N_OUT)
    ),
    "tied": Tied,
    "convolution": lambda: images(nn.ReLU()),
    "strided, replicated border": lambda: images(nn.ReLU(), stride=2, padding_mode="replicate"),
    "dilated, grouped": lambda: images(nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4), nn.Tanh()),
    "batch norm of images": lambda: images(nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
    "group norm of images": lambda: images(nn.GroupNorm(2, 8), nn.ReLU(), nn.AvgPool2d(2)),
    "instance norm of images": lambda: images(nn.InstanceNorm2d(8), nn.ReLU()),
    "layer norm of images": lambda: images(nn.LayerNorm([8, 8, 8]), nn.ReLU()),
    "local response norm": lambda: images(nn.LocalResponseNorm(3), nn.ReLU()),
    "pixels as features": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Linear(8, 3), nn.Flatten(), nn.Linear(24, 4)
    ),
    "recurrent": lambda: networks.RNN(N_IN, N_OUT, seed=0, token=8, norm=nn.LayerNorm),
    "the library's recurrent": lambda: nn.Sequential(nn.Unflatten(1, (8, 8)), Recurrent()),
    "transformer": lambda: networks.Transformer(N_IN, N_OUT, seed=0, token=8),
}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.RNN(8, N_OUT, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0][:, -1]


def shaken(network, seed):
    """The network in float64, with numbers that no two networks or channels have alike."""
    generator = torch.Generator().manual_seed(seed)
    network.double()
    with torch.no_grad():
        for name, value in network.state_dict().items():
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


def assert_same_numbers(ours, theirs):
    """Parameters and buffers of two networks."""
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=ATOL, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_each_replica_is_what_the_network_alone_is(kind):
    alone = several(KINDS[kind])
    stack, x = Stack(alone), inputs()
    for training in (True, True, False):  # the second time with statistics that have moved
        stack.train(training)
        ours = stack(x)
        gradients = torch.autograd.grad(ours.square().sum(), list(stack.parameters()), materialize_grads=True)
        for r, network in enumerate(alone):
            theirs = network.train(training)(x[r])
            assert_close(ours[r], theirs)
            expected = torch.autograd.grad(theirs.square().sum(), list(network.parameters()), materialize_grads=True)
            for g, h in zip(gradients, expected, strict=True):
                assert_close(g[r], h)
            assert_same_numbers(stack.replica(r), network)


@pytest.mark.parametrize("kind", KINDS)
def test_training_moves_each_as_it_moves_alone(kind):
    alone = several(KINDS[kind])
    stack, optimizer = Stack(alone), None
    optimizer = torch.optim.SGD(stack.parameters(), lr=0.01, momentum=0.5)
    for step in range(3):
        optimizer.zero_grad()
        stack(inputs(step)).square().mean((1, 2)).sum().backward()
        optimizer.step()
    for r, network in enumerate(alone):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.5)
        for step in range(3):
            optimizer.zero_grad()
            network(inputs(step)[r]).square().mean().backward()
            optimizer.step()
        assert_same_numbers(stack.replica(r), network)


@pytest.mark.parametrize("kind", ["batch norm", "batch norm of images", "group norm", "convolution", "layer norm"])
def test_what_is_fused_is_what_vmap_gives(kind, monkeypatch):
    alone, x = several(KINDS[kind]), inputs()
    fused = Stack(alone)(x)
    monkeypatch.setattr(replicas, "FUSED", {})
    assert_close(Stack(alone)(x), fused)


@pytest.mark.parametrize("kind", KINDS)
def test_a_replica_has_the_structure_the_modes_and_what_is_frozen(kind):
    alone = several(KINDS[kind])
    for network in alone:
        next(network.parameters()).requires_grad_(False)
        next(iter(network.children())).eval()
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


def test_networks_that_are_stacked_are_copied():
    alone = several(KINDS["batch norm"])
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
    alone = several(KINDS["batch norm of images"])
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


def test_one_that_diverges_disturbs_no_other():
    alone, x = several(KINDS["batch norm of images"]), inputs()
    expected = Stack(alone)(x)
    with torch.no_grad():
        for p in alone[1].parameters():
            p.fill_(torch.nan)
    ours = Stack(alone)(x)
    assert torch.equal(ours[[0, 2]], expected[[0, 2]])
    assert ours[1].isnan().all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "networks: expected at least one nn.Module"),
        ([nn.Linear(2, 2), None], "networks: expected at least one nn.Module"),
        ([nn.Linear(2, 2), nn.Linear(2, 3)], "differ in their numbers only"),
        ([nn.Linear(2, 2), nn.Linear(2, 2, bias=False)], "differ in their numbers only"),
        ([nn.Linear(2, 2), nn.Linear(2, 2).double()], "differ in their numbers only"),
        ([nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh())], "differ in their numbers only"),
    ],
)
def test_what_cannot_be_stacked_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Stack(wrong)


def test_inputs_of_another_number_are_refused():
    stack = Stack(several(KINDS["linear"]))
    with pytest.raises(ValueError, match=r"x: expected shape \(3, B, \.\.\.\), got \(2, 12, 64\)"):
        stack(inputs()[:2])
    with pytest.raises(IndexError, match="r: expected 0 to 2, got 3"):
        stack.replica(3)


# Networks of a seed, against the classes that built a stack at once


@pytest.mark.parametrize("place", networks.PLACES)
@pytest.mark.parametrize("norm", [None, *networks.NORMS])
@pytest.mark.parametrize("kind", ["mlp", "conv_net"])
def test_networks_start_and_answer_as_before(kind, norm, place):
    how = {"norm": norm, "place": place, "norm_input": "batch", "activation": "tanh", "init": "default"}
    if kind == "mlp" and norm == "instance":
        pytest.skip("instance norm needs images")
    if kind == "mlp":
        ours = Stack([networks.mlp(N_IN, N_OUT, seed=seed, width=16, depth=2, **how) for seed in SEEDS])
        theirs = before.MLP(N_IN, N_OUT, seeds=SEEDS, width=16, depth=2, **how)
    else:
        ours = Stack([networks.conv_net((1, 8, 8), N_OUT, seed=seed, channels=(4, 8), **how) for seed in SEEDS])
        theirs = before.ConvNet((1, 8, 8), N_OUT, seeds=SEEDS, channels=(4, 8), **how)
    x = inputs().float()
    for training in (True, False):
        torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm", [None, "layer"])
def test_recurrent_networks_start_and_answer_as_before(norm):
    ours = Stack([networks.RNN(N_IN, N_OUT, seed=seed, token=8, norm=norm, gain=1.5) for seed in SEEDS])
    theirs = sequences.RNN(N_IN, N_OUT, seeds=SEEDS, token=8, norm=norm, gain=1.5)
    torch.testing.assert_close(ours(inputs().float()), theirs(inputs().float()), rtol=0, atol=1e-4)


@pytest.mark.parametrize("place", ["pre", "post", "none"])
def test_transformers_start_and_answer_as_before(place):
    ours = Stack([networks.Transformer(N_IN, N_OUT, seed=seed, token=8, place=place) for seed in SEEDS])
    theirs = sequences.Transformer(N_IN, N_OUT, seeds=SEEDS, token=8, place=place)
    torch.testing.assert_close(ours(inputs().float()), theirs(inputs().float()), rtol=0, atol=1e-4)

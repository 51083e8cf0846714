"""What can be stacked, what a stack keeps of its networks, and how it is looked into."""

import copy
import functools
import pickle

import pytest
import torch
from replica_fixtures import (
    FUSED_KINDS,
    N_IN,
    N_OUT,
    OTHER_KINDS,
    B,
    LpNorm,
    Own,
    R,
    Tied,
    all_kinds,
    assert_close,
    assert_same_numbers,
    dense,
    frozen,
    images,
    inputs,
    several,
    tensors,
)
from torch import nn

from utils.lab.networks import mlp
from utils.lab.replicas import Stack, evaluation_mode


@all_kinds
def test_a_replica_has_the_structure_the_modes_and_what_is_frozen_and_nothing_is_shared(build):
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
        with torch.no_grad():
            for value in one.state_dict().values():
                value += 1
        assert_same_numbers(stack.replica(r), network)
    before = copy.deepcopy(alone)
    with torch.no_grad():
        for value in stack.state_dict().values():
            value += 1
    for network, old in zip(alone, before, strict=True):
        assert_same_numbers(network, old)


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


def test_what_is_tied_stays_tied_but_not_over_replicas():
    stack = Stack(several(OTHER_KINDS["tied"]))
    for network in (stack.network, stack.replica(1)):
        assert network[1].first.weight is network[1].second.weight
        assert network[1].first is network[1].again
    stack = Stack(several(OTHER_KINDS["weight norm"]))
    with nn.utils.parametrize.cached(), pytest.raises(ValueError, match="parametrize.cached: expected none around"):
        stack(inputs())


def test_a_stack_of_seeds_has_one_network_per_seed():
    built = []
    stack = Stack.of(lambda seed: built.append(seed) or mlp(N_IN, N_OUT, seed=seed), torch.tensor([5, 0, 5]))
    assert built == [5, 0]
    assert (stack.seeds, stack.replicas, type(stack.seeds[0])) == ((5, 0, 5), 3, int)
    for r, seed in enumerate(stack.seeds):
        assert_same_numbers(stack.replica(r), mlp(N_IN, N_OUT, seed=seed))
    assert Stack([nn.Linear(2, 2)] * 2).seeds == (0, 1)
    assert Stack([nn.Linear(2, 2)] * 2, seeds=[3, 3]).seeds == (3, 3)


UNTIED = Tied()
UNTIED.second.weight = nn.Parameter(torch.zeros(16, 16))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "networks: expected at least one nn.Module"),
        ([nn.Linear(2, 2), nn.Linear(2, 3)], "differ in network.*, weight, bias"),
        ([nn.Linear(2, 2), nn.Linear(2, 2, bias=False)], "differ in network, bias"),
        ([nn.Linear(2, 2), frozen(nn.Linear(2, 2))], "differ in weight, bias"),
        ([nn.Linear(2, 2), nn.Linear(2, 2).eval()], "differ in network.training"),
        ([nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh())], "differ in the numbers in their tensors only.*in 0"),
        ([nn.Sequential(nn.Dropout(0.1)), nn.Sequential(nn.Dropout(0.2))], "differ in 0, 0.p"),
        ([LpNorm(2, "in place"), LpNorm(2, "anew")], "differ in network.keep"),
        ([Tied(), UNTIED], "differ in second.weight"),
        ([nn.LazyLinear(2), nn.LazyLinear(2)], "expected networks that know their sizes, got a lazy one; call each"),
    ],
)
def test_what_cannot_be_stacked_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Stack(wrong)


@pytest.mark.parametrize("seeds", [[0], [0, 2**63], "12"])
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
        ([nn.BatchNorm2d(16)], "expected 4D input"),
        ([nn.Unflatten(1, (1, 4, 4)), nn.BatchNorm1d(1)], "expected 2D or 3D input"),
        ([nn.LayerNorm([4, 4])], "Given normalized_shape"),
        ([nn.BatchNorm1d(8)], "running_mean should contain"),
        *(([layer], ".") for layer in (nn.Linear(8, 3), nn.Unflatten(1, (1, 5, 4)))),
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
    found = stack.record(inputs(), kinds)
    for r, network in enumerate(alone):
        expected = recorded_alone(network, inputs()[r], kinds)
        assert [names[module] for module, _, _ in found] == [name for name, _, _ in expected]
        for (_, x, y), (_, own_x, own_y) in zip(found, expected, strict=True):
            assert_close(x[r], own_x)
            assert_close(y[r], own_y)
        assert_same_numbers(stack.replica(r), network)
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
        (X.double(), None, "data: expected torch.float32, as the network, got torch.float64"),
        (X[:2], None, r"data: expected rows that the network takes, got shape \(2, 5, 64\)"),
        (X[:, :, 1:], None, r"data: expected rows that the network takes, got shape \(3, 5, 63\)"),
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
    flat = Stack([nn.Flatten(), nn.Flatten()])  # no parameters
    flat.check(torch.zeros(2, 3, 4, 5), torch.full((2, 3), 19))
    with pytest.raises(ValueError, match="y: expected classes from 0 to 19, got 20 to 20"):
        flat.check(torch.zeros(2, 3, 4, 5), torch.full((2, 3), 20), "y")


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

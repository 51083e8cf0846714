"""`utils.lab.sync_batch_norm.convert` against the unconverted network: whatever a batch norm has and does, it keeps."""

import copy
import functools
import inspect
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrizations, prune

from utils.lab.replicas import Stack
from utils.lab.sync_batch_norm import Processes, SyncBatchNorm, convert

theirs = nn.SyncBatchNorm.convert_sync_batchnorm


class One:
    """A group of one process, which notes whether it was asked."""

    asked = False

    def gather(self, values):
        self.asked = True
        return values[None]

    def add(self, values):
        return values.clone()


def changed(norm, *none, **attributes):
    """The batch norm without some of its parameters, as `bias=False` has it, and with other attributes."""
    for name, value in (dict.fromkeys(none) | attributes).items():
        setattr(norm, name, value)
    return norm


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype) + 0.5


def drawn(net):
    """The network with other parameters and statistics than those it was made with."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return net


def things(net):
    """Every parameter and buffer by every name that it has, in order."""
    named = [*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False)]
    return [(name, id(value)) for name, value in named]


def outcome(net, x):
    """Two steps of training and an evaluation: outputs, gradients, and the state in the end."""
    x, found = x.clone().requires_grad_(), []
    for seed in range(2):
        y = net.train()(x)
        y.backward(numbers(*y.shape, seed=seed, dtype=y.dtype))
        found.append(y.detach())
    found += [x.grad, *(p.grad for p in net.parameters() if p.requires_grad)]
    return [*found, *(b for _, b in net.named_buffers()), net.eval()(x).detach()]


def assert_same(found, wanted, tolerance=1e-12):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


CASES = {
    "plain": lambda: nn.BatchNorm2d(3),
    "without weight and bias": lambda: nn.BatchNorm2d(3, affine=False),
    "without bias": lambda: changed(nn.BatchNorm2d(3), "bias"),
    "without weight": lambda: changed(nn.BatchNorm2d(3), "weight"),
    "average of all batches": lambda: nn.BatchNorm2d(3, momentum=None),
    "momentum 1": lambda: nn.BatchNorm2d(3, momentum=1.0),
    "another eps": lambda: nn.BatchNorm2d(3, eps=0.3),
    "without statistics": lambda: nn.BatchNorm2d(3, track_running_stats=False),
    "statistics taken away": lambda: changed(nn.BatchNorm2d(3), "running_mean", "running_var"),
    "frozen": lambda: nn.BatchNorm2d(3).requires_grad_(False),
    "bias frozen": lambda: changed(nn.BatchNorm2d(3), bias=nn.Parameter(torch.zeros(3), requires_grad=False)),
    # changed after it was made: statistics stay, and evaluation uses them
    "statistics kept": lambda: changed(nn.BatchNorm2d(3), track_running_stats=False),
    "pruned": lambda: prune.l1_unstructured(nn.BatchNorm2d(3), "weight", amount=1),
    "of PyTorch's kind": lambda: nn.SyncBatchNorm(3),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_a_converted_network_does_what_it_did(make):
    before, net = (drawn(nn.Sequential(nn.Conv2d(2, 3, 2), make(), nn.ReLU()).double()) for _ in range(2))
    x = numbers(4, 2, 4, 4)
    names, state = things(net), list(net.state_dict())
    frozen = [p.requires_grad for p in net.parameters()]
    options = {name: getattr(net[1], name) for name in ("num_features", "eps", "momentum", "affine")}
    assert convert(net, One()) is net
    assert type(net[1]) is SyncBatchNorm
    assert things(net) == names  # the very objects, in the same order
    assert list(net.state_dict()) == state
    assert [p.requires_grad for p in net.parameters()] == frozen
    assert isinstance(net[1], _BatchNorm)
    assert {name: getattr(net[1], name) for name in options} == options
    assert_same(outcome(net, x), outcome(before, x))


@pytest.mark.skipif("bias" not in inspect.signature(nn.BatchNorm1d).parameters, reason="this PyTorch has no bias=False")
def test_without_bias_as_pytorch_makes_it():
    net = convert(nn.BatchNorm1d(3, bias=False), One())
    assert list(net.state_dict()) == ["weight", "running_mean", "running_var", "num_batches_tracked"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_dtypes_and_devices_stay(dtype):
    net = nn.Sequential(nn.BatchNorm1d(3)).to(dtype)
    net[0].running_var = net[0].running_var.float()  # as mixed precision has it
    wanted = {name: value.dtype for name, value in theirs(copy.deepcopy(net)).state_dict().items()}
    assert {name: value.dtype for name, value in convert(net, One()).state_dict().items()} == wanted
    assert net(numbers(5, 3, dtype=dtype)).dtype == dtype
    net = convert(nn.Sequential(nn.BatchNorm1d(3, device="meta"), nn.BatchNorm1d(3)), One())
    assert [value.device.type for value in net.state_dict().values()] == ["meta"] * 5 + ["cpu"] * 5


def test_modes_stay_module_by_module():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3).eval(), nn.Sequential(nn.BatchNorm1d(3)).eval()).train()
    net[1].eval()
    modes = [module.training for module in net.modules()]
    assert [module.training for module in convert(net).modules()] == modes == [True, True, False, True, True]
    outer = convert(nn.Sequential(nn.BatchNorm1d(3)).train().append(nn.Identity().eval()))
    assert [module.training for module in outer.modules()] == [True, True, False]


class Shared(nn.Module):
    """One batch norm by three names in two parents, and parameters that several modules share."""

    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm1d(3)
        self.again = self.first
        self.inner = nn.Sequential(self.first, nn.BatchNorm1d(3))
        self.inner[1].weight = self.first.weight
        self.linear = nn.Linear(3, 3)
        self.linear.bias = self.inner[1].bias

    def forward(self, x):
        return self.again(self.linear(self.inner(self.first(x))))


def test_what_is_shared_stays_shared():
    net = drawn(Shared().double())
    before, x = copy.deepcopy(net), numbers(5, 3)
    names, held, mean = things(net), net.first, net.first.running_mean
    convert(net, One())
    assert net.first is net.again is net.inner[0] is held
    assert net.first.running_mean is mean
    assert {type(net.first), type(net.inner[1])} == {SyncBatchNorm}
    assert net.inner[1].weight is net.first.weight
    assert net.linear.bias is net.inner[1].bias
    assert things(net) == names
    assert_same(outcome(net, x), outcome(before, x))


def test_hooks_are_called_and_can_be_removed():
    calls, net = [], nn.Sequential(nn.BatchNorm1d(3))
    names = [
        "forward_pre_hook",
        "forward_hook",
        "full_backward_hook",
        "state_dict_post_hook",
        "load_state_dict_pre_hook",
    ]
    handles = [getattr(net[0], f"register_{name}")(lambda *_, name=name: calls.append(name)) for name in names]
    handles.append(net[0].weight.register_hook(lambda *_: calls.append("gradient")))
    convert(net, One())

    def use():
        calls.clear()
        net(numbers(4, 3, dtype=torch.float32).requires_grad_()).sum().backward()
        net.load_state_dict(net.state_dict())
        return set(calls)

    assert use() == {*names, "gradient"}
    for handle in handles:
        handle.remove()
    assert use() == set()


def test_containers_and_attributes():
    first = nn.BatchNorm1d(2)
    net = nn.ModuleList([first, nn.Sequential(nn.BatchNorm3d(2)), nn.GroupNorm(1, 2), nn.InstanceNorm1d(2)])
    first.my_tag, first.inside = 1, nn.Sequential(nn.BatchNorm1d(5))
    first.register_buffer("extra", torch.ones(2), persistent=False)
    state, names = list(net.state_dict()), [name for name, _ in net.named_modules()]
    convert(net)
    assert (first.my_tag, first.num_features) == (1, 2)
    kinds = [net[0], first.inside[0], net[1][0], net[2], net[3]]
    assert [type(m) for m in kinds] == [SyncBatchNorm] * 3 + [nn.GroupNorm, nn.InstanceNorm1d]
    assert list(net.state_dict()) == state
    assert [name for name, _ in net.named_modules()] == names
    assert "extra" in dict(first.named_buffers())


def test_copies_and_pickles():
    net, x = convert(drawn(nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, affine=False))), One()), numbers(4, 3)
    torch.save(net, file := io.BytesIO())
    file.seek(0)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(file, weights_only=False)):
        assert [type(module) for module in twin] == [SyncBatchNorm] * 2
        assert not {id(p) for p in twin.parameters()} & {id(p) for p in net.parameters()}
        assert_same(outcome(twin, x.float()), outcome(copy.deepcopy(net), x.float()))


def test_a_state_goes_back_to_the_network_it_was():
    net = drawn(nn.Sequential(nn.BatchNorm1d(3)))
    other = convert(copy.deepcopy(net))
    nn.Sequential(nn.BatchNorm1d(3)).load_state_dict(other.state_dict())
    # as saved before PyTorch 0.4.1
    other.load_state_dict({key: value for key, value in net.state_dict().items() if "tracked" not in key})
    assert other[0].num_batches_tracked == 0


def test_the_root_and_converting_twice():
    first, second = One(), One()
    net = nn.BatchNorm1d(3)
    names = things(net)
    assert convert(net) is net
    assert (type(net), type(net.group)) == (SyncBatchNorm, Processes)
    assert [convert(net, *group).group for group in ([first], [], [second])] == [first, first, second]
    assert things(net) == names
    with pytest.raises(ValueError, match="^module: expected"):
        convert(heir(_BatchNorm, forward=by_name))


def test_the_group_of_pytorchs_own_stays():
    group = object()
    net = nn.Sequential(nn.SyncBatchNorm(3, process_group=group), nn.SyncBatchNorm(3))
    assert [norm.group.group for norm in convert(net)] == [group, None]


class Act(nn.BatchNorm2d):
    """An activation behind it."""

    def forward(self, x):
        return F.relu(super().forward(x))


class Leaky(Act):
    """One subclass of another, with a decorator, an argument and a method of its own."""

    slope = 0.1

    def __init__(self, channels):
        super().__init__(channels, eps=1e-3)
        self.twice = 2

    @functools.wraps(Act.forward)
    def forward(self, x):
        return self.twice * super().forward(x) - self.slope * self.rest(x)

    def rest(self, x):
        return x.tanh()


class Frozen(nn.BatchNorm2d):
    """Never trains."""

    def train(self, mode=True):
        return super().train(False)


class Called(nn.BatchNorm2d):
    """Something around the whole call."""

    def __call__(self, x):
        return 2 * super().__call__(x)


class Loose(_BatchNorm):
    """Of PyTorch's base class, for inputs of any shape."""

    def _check_input_dim(self, x):
        pass


@pytest.mark.parametrize("kind", [Act, Leaky, Frozen, Called, Loose])
def test_a_subclass_keeps_what_it_does(kind):
    net = drawn(nn.Sequential(kind(3), kind(3)).double())
    before, x, group = copy.deepcopy(net), numbers(4, 3, 2, 2), One()
    names = things(net)
    assert convert(net, group) is net
    assert things(net) == names
    assert type(net[0]) is type(net[1])
    assert {SyncBatchNorm, kind} <= set(type(net[0]).__mro__)
    use = (lambda net, x: [net.train()(x)]) if kind is Frozen else outcome
    twins = [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    assert_same(use(net, x), use(before, x))
    assert group.asked is (kind is not Frozen)
    for twin in twins:
        assert [type(a) is type(b) for a, b in zip(twin, net, strict=True)] == [True, True]
        assert twin[0].weight is not net[0].weight
        use(twin, x)
        assert_same(list(twin.state_dict().values()), list(net.state_dict().values()))


def heir(*bases, forward=None, name="Heir"):
    """One of a class with these bases and this forward."""
    return type(name, bases, {} if forward is None else {"forward": forward})(3)


MIXIN = type("Mixin", (), {"forward": lambda self, x: x})


def by_name(self, x):
    return nn.BatchNorm2d.forward(self, x).relu()


REFUSED = {
    "forward of a mixin": (
        lambda: heir(MIXIN, nn.BatchNorm2d),
        r"calls super\(\)\.forward.*got Mixin\.forward, which does not; call it",
    ),
    "forward of a direct heir": (lambda: heir(_BatchNorm, forward=torch.relu), r"got Heir\.forward"),
    "forward by name": (lambda: heir(nn.BatchNorm2d, forward=by_name), r"got Heir\.forward"),
    "forward of PyTorch's own": (lambda: heir(nn.SyncBatchNorm, forward=Act.forward), r"got SyncBatchNorm\.forward"),
    "no function": (lambda: heir(nn.BatchNorm2d, forward=functools.partial(Act.forward)), r"got Heir\.forward"),
    "forward of one object": (
        lambda: changed(nn.BatchNorm2d(3), forward=torch.relu),
        "called forward, got one; delete or rename",
    ),
    "an attribute that is ours": (
        lambda: changed(nn.BatchNorm2d(3), group=torch.relu),
        "called group, got one; delete or rename",
    ),
    "parametrized": (
        lambda: parametrizations.spectral_norm(nn.BatchNorm2d(3)),
        "parametrized weight;.*remove_parametrizations",
    ),
    "of a stack": (
        lambda: Stack([nn.BatchNorm2d(3), nn.BatchNorm2d(3)]).network,
        "of one network, got one of a stack, with numbers of several; convert a network alone",
    ),
    "lazy": (lambda: nn.LazyBatchNorm2d(), "LazyBatchNorm2d, .*run one batch"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_would_be_lost_is_refused_and_nothing_is_changed(make, message):
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3), make()), nn.BatchNorm2d(3))
    names, kinds = things(net), [type(module) for module in net.modules()]
    with pytest.raises(ValueError, match=rf"(?s)^1\.1: expected .*{message}"):
        convert(net)
    assert things(net) == names
    assert [type(module) for module in net.modules()] == kinds

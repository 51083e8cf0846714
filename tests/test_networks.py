"""Stacked networks against PyTorch's own layers, against closed forms, and against networks written out by hand."""

import copy
import functools
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from utils.byhand import activation_norms
from utils.networks import (
    ACTIVATIONS,
    INITS,
    MLP,
    NORMS,
    PLACES,
    BatchNorm,
    BatchRenorm,
    Conv2d,
    ConvNet,
    Dropout,
    GroupNorm,
    Linear,
    RMSNorm,
    initialize,
)

SEEDS = (5, 0, 3)
# The same sums in another order, of numbers up to about ten, which a norm of nearly constant values makes 1 / sqrt(eps)
# = 316 times larger, twice.
ATOL = 1e-10


def dense(**how):
    return MLP(6, 4, **{"seeds": SEEDS, "width": 8, "depth": 2} | how)


def conv(**how):
    return ConvNet((2, 5, 4), 4, **{"seeds": SEEDS, "channels": (4, 8), "pool_after": (2,)} | how)


KINDS = {"dense": dense, "conv": conv}
ONE_VALUE = ("dense", "instance")  # has no variance; the error has a test of its own
both_kinds = pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)


def inputs(net, n=7, *, seed=0, dtype=torch.float64):
    return torch.randn(net.replicas, n, net.n_in, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def trained(net, seed=1):
    """The network with parameters and running statistics that no two replicas or channels have alike, in float64."""
    generator = torch.Generator().manual_seed(seed)
    net.double()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.add_(noise if name.endswith("running_var") else noise - 0.5)
    return net


def one_by_one(net, x):
    """Outputs of the plain networks, each on its own examples."""
    return torch.stack([net.replica(r)(x[r]) for r in range(net.replicas)])


def assert_close(ours, theirs, atol=ATOL):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def weights(net):
    return [layer.weight for layer in net.layers if type(layer).__name__ in ("Linear", "Conv2d")]


def kinds(modules):
    return [type(module).__name__ for module in modules]


def global_state():
    return torch.random.get_rng_state().tolist(), repr(np.random.get_state())  # noqa: NPY002


@pytest.mark.parametrize(
    ("kind", "norm"), [pair for pair in itertools.product(KINDS, [None, *NORMS]) if pair != ONE_VALUE]
)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_stack_computes_what_its_replicas_compute_alone(kind, norm, place, activation):
    net = trained(
        KINDS[kind](norm=norm, place=place, activation=activation, norm_input="batch" if norm == "batch" else None)
    )
    plain = [net.replica(r) for r in range(net.replicas)]
    for n in (7, 4, 9):  # in training, on batches of several sizes
        x = inputs(net, n, seed=n)
        y = net(x)
        assert y.shape == (3, n, 4)
        assert y.dtype == torch.float64
        assert_close(y, torch.stack([one(x[r]) for r, one in enumerate(plain)]))
    net.eval()
    for r, one in enumerate(plain):
        one.eval()
        assert_close(net(x)[r], one(x[r]))
        ours, theirs = net.replica(r).state_dict(), one.state_dict()
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            assert_close(ours[name], value)


@both_kinds
@pytest.mark.parametrize(
    "options", [{}, {"momentum": None}, {"momentum": 0.3}, {"affine": False}, {"eps": 0.5}, {"momentum": 0.0}]
)
def test_batch_norm_is_that_of_pytorch(build, options):
    norm = BatchNorm(3, 4, **options)
    if norm.weight is not None:
        norm.weight.data, norm.bias.data = torch.rand(3, 4), torch.rand(3, 4)
    norm.double()
    kind = nn.BatchNorm1d if build is dense else nn.BatchNorm2d
    plain = [kind(4, **options).double() for _ in range(3)]
    for r, one in enumerate(plain):
        if norm.weight is not None:
            one.weight.data, one.bias.data = norm.weight.data[r].clone(), norm.bias.data[r].clone()
    for n in (2, 6, 5):
        own = torch.randn(3, n, 4, *[2, 3][: 2 * (build is conv)], generator=torch.Generator().manual_seed(n)).double()
        x = own.transpose(1, 2) if build is dense else own.transpose(0, 1).flatten(1, 2)
        y = norm(x)
        y = y.transpose(1, 2) if build is dense else y.unflatten(1, (3, 4)).transpose(0, 1)
        assert_close(
            y, torch.stack([one(its) for one, its in zip(plain, own, strict=True)]), 1e-12
        )  # no small variance
    for r, one in enumerate(plain):
        assert_close(norm.running_mean[r], one.running_mean, 1e-14)  # of order one: some roundings
        assert_close(norm.running_var[r], one.running_var, 1e-14)
        assert norm.num_batches_tracked == one.num_batches_tracked == 3
    before = copy.deepcopy(norm.state_dict())
    norm.eval()(x)
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name])  # evaluation leaves the statistics alone


@both_kinds
@pytest.mark.parametrize("options", [{"momentum": None}, {"affine": False}, {"momentum": 0.5, "eps": 0.1}])
def test_options_of_batch_norm_reach_the_replicas(build, options):
    net = trained(build(norm=functools.partial(BatchNorm, **options)))
    plain = [net.replica(r) for r in range(3)]
    norms = [module for module in plain[0] if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) == 2
    for name, value in options.items():
        assert {getattr(norm, name) for norm in norms} == {value}
    for n in (3, 5, 4):
        x = inputs(net, n, seed=n)
        assert_close(net(x), torch.stack([one(x[r]) for r, one in enumerate(plain)]))
    net.eval()
    assert_close(net(x), torch.stack([one.eval()(x[r]) for r, one in enumerate(plain)]))


@both_kinds
def test_options_of_group_norm_reach_the_replicas(build):
    net = trained(build(norm=functools.partial(GroupNorm, groups=2, eps=0.5)))
    norms = [module for module in net.replica(0) if isinstance(module, nn.GroupNorm)]
    assert [(norm.num_groups, norm.eps) for norm in norms] == [(2, 0.5)] * 2
    assert_close(net(inputs(net)), one_by_one(net, inputs(net)))


@pytest.mark.parametrize(
    ("groups", "shape"), [(1, (5,)), (2, (6,)), (3, (6,)), (1, (5, 2, 3)), (2, (6, 2, 3)), (6, (6, 2, 3))]
)
@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_group_norm_is_layer_group_and_instance_norm_of_pytorch(groups, shape, eps):
    generator = torch.Generator().manual_seed(0)
    norm = GroupNorm(3, shape[0], groups=groups, eps=eps).double()
    norm.weight.data.uniform_(0.5, 2, generator=generator)
    norm.bias.data.uniform_(-1, 1, generator=generator)
    own = torch.randn(3, 7, *shape, generator=generator, dtype=torch.float64)
    if len(shape) == 1:
        y = norm(own.transpose(1, 2)).transpose(1, 2)
    else:
        y = norm(own.transpose(0, 1).flatten(1, 2)).unflatten(1, (3, shape[0])).transpose(0, 1)
    for r in range(3):
        w, b = norm.weight[r], norm.bias[r]
        oracles = [F.group_norm(own[r], groups, w, b, eps)]
        columns = (-1, *[1] * (len(shape) - 1))
        if groups == 1:
            oracles.append(F.layer_norm(own[r], shape, eps=eps) * w.view(columns) + b.view(columns))
        if groups == shape[0]:
            oracles.append(F.instance_norm(own[r], weight=w, bias=b, eps=eps))
        for theirs in oracles:
            assert_close(y[r], theirs, 1e-12)  # of order one: some roundings


@pytest.mark.parametrize(("norm", "groups"), [("layer", 1), ("instance", 8), ("group", 4)])
def test_names_of_the_norms_that_look_at_one_example(norm, groups):
    norms = [module for module in conv(norm=norm, channels=(8, 8)).replica(0) if isinstance(module, nn.GroupNorm)]
    assert [one.num_groups for one in norms] == [groups, groups]
    assert not any("running" in name for name in conv(norm=norm, channels=(8, 8)).state_dict())


def test_a_dense_network_written_out():
    net = trained(dense(activation="tanh", norm="layer", place="after"))
    x = inputs(net)
    for r in range(3):
        h = x[r]
        for linear, norm in ((net.layers[1], net.layers[3]), (net.layers[4], net.layers[6])):
            h = torch.tanh(h @ linear.weight[r].T + linear.bias[r])
            h = F.layer_norm(h, (8,), norm.weight[r], norm.bias[r])
        assert_close(net(x)[r], h @ net.layers[7].weight[r].T + net.layers[7].bias[r])


def test_a_convolutional_network_written_out():
    net = trained(conv(activation="relu", norm="batch", place="after_pool", pool_after=(1,), kernel_size=5)).eval()
    x = inputs(net)
    for r in range(3):
        h = x[r].reshape(-1, 2, 5, 4)  # channels, rows, columns: the order of the pixels
        for i, pool in ((1, True), (len(net.layers) - 5, False)):
            convolution, norm = net.layers[i], net.layers[i + 2 + pool]
            h = torch.relu(F.conv2d(h, convolution.weight[r], convolution.bias[r], padding=2))
            h = F.max_pool2d(h, 2) if pool else h
            mean, var = norm.running_mean[r, :, None, None], norm.running_var[r, :, None, None]
            h = norm.weight[r, :, None, None] * (h - mean) / torch.sqrt(var + 1e-5) + norm.bias[r, :, None, None]
        assert_close(net(x)[r], h.reshape(-1, 8 * 2 * 2) @ net.layers[-1].weight[r].T + net.layers[-1].bias[r])


@pytest.mark.parametrize(
    ("place", "order"),
    [
        ("before", ["Conv2d", "BatchNorm2d", "Tanh", "MaxPool2d", "Dropout"]),
        ("after", ["Conv2d", "Tanh", "BatchNorm2d", "MaxPool2d", "Dropout"]),
        ("after_pool", ["Conv2d", "Tanh", "MaxPool2d", "BatchNorm2d", "Dropout"]),
    ],
)
def test_order_of_the_parts_of_a_layer(place, order):
    how = {"norm": "batch", "place": place, "activation": "tanh", "dropout": 0.5, "norm_input": "batch"}
    without_pool = [name for name in order if name != "MaxPool2d"]
    expected = ["Unflatten", "BatchNorm2d", *without_pool, *order, "Flatten", "Linear"]
    assert kinds(conv(**how).replica(1)) == expected
    flat = [name.replace("Conv2d", "Linear").replace("2d", "1d") for name in without_pool]
    assert kinds(dense(**how).replica(1)) == ["BatchNorm1d", *flat, *flat, "Linear"]


FUNCTIONS = {
    "relu": lambda x: x.clamp(min=0),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "tanh": torch.tanh,
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "elu": lambda x: torch.where(x > 0, x, torch.expm1(x)),
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "identity": lambda x: x,
}


@both_kinds
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_what_their_names_say(build, name):
    layer = next(layer for layer in build(activation=name).layers if isinstance(layer, ACTIVATIONS[name]))
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    assert_close(layer(x), FUNCTIONS[name](x), 1e-14)  # some roundings of numbers up to three
    own = build(activation=nn.Softplus())
    assert kinds(own.layers).count("Softplus") == kinds(own.replica(0)).count("Softplus") == 2


def test_images_keep_the_order_of_their_pixels_and_lie_channels_last():
    x = torch.arange(3 * 2 * 40.0).reshape(3, 2, 40)
    images = conv().layers[0](x)
    assert torch.equal(images, x.reshape(3, 2, 2, 5, 4).transpose(0, 1).reshape(2, 6, 5, 4))
    assert images.is_contiguous(memory_format=torch.channels_last)


@both_kinds
def test_without_extras_there_are_none(build):
    net = build(norm=None, activation="identity", dropout=0.0)
    middle = {
        dense: ["Linear", "Identity"] * 2,
        conv: ["Unflatten", *["Conv2d", "Identity"] * 2, "MaxPool2d", "Flatten"],
    }
    assert kinds(net.replica(0)) == [*middle[build], "Linear"]


def test_sizes_of_the_layers():
    net = MLP(6, 4, seeds=[0], width=8, depth=3)
    assert [tuple(w.shape) for w in weights(net)] == [(1, 8, 6), (1, 8, 8), (1, 8, 8), (1, 4, 8)]
    net = ConvNet((3, 9, 10), 4, seeds=range(2), channels=(8, 4, 5), pool_after=(1, 3), kernel_size=5)
    shapes = [(2, 8, 3, 5, 5), (2, 4, 8, 5, 5), (2, 5, 4, 5, 5), (2, 4, 5 * 2 * 2)]
    assert [tuple(w.shape) for w in weights(net)] == shapes
    assert net(torch.zeros(2, 1, 3 * 9 * 10)).shape == (2, 1, 4)
    net = MLP(np.int64(6), np.int64(4), seeds=np.arange(2))
    assert (net.n_in, net.n_out, net.seeds, net.replicas) == (6, 4, (0, 1), 2)
    assert {type(number) for number in (net.n_in, net.n_out, *net.seeds)} == {int}
    assert [tuple(w.shape) for w in weights(net)] == [(2, 100, 6), (2, 100, 100), (2, 100, 100), (2, 4, 100)]


@both_kinds
def test_norm_input_normalizes_what_comes_in(build):
    net = build(norm="batch", norm_input="batch")
    x = 100 + 10 * inputs(net, 50, dtype=torch.float32)
    assert_close(
        net(x), net((x - 100) / 10), 2e-4
    )  # roundings of numbers of order 100, in float32, over a deviation of 10
    first = net.replica(0)[int(build is conv)]
    assert first.num_features == (2 if build is conv else 6)


@both_kinds
@pytest.mark.parametrize(
    "norm", [None, *NORMS, functools.partial(BatchNorm, affine=False), lambda r, c: BatchNorm(r, c)]
)
@pytest.mark.parametrize("place", PLACES)
def test_the_bias_is_left_out_directly_before_a_batch_norm_only(build, norm, place):
    net = build(norm=norm, place=place)
    hidden = [layer for layer in net.layers if type(layer).__name__ in ("Linear", "Conv2d")][:-1]
    left_out = norm not in (None, "layer", "group", "instance") and place == "before"
    assert [layer.bias is None for layer in hidden] == [left_out, left_out]
    plain = [layer for layer in net.replica(0) if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert [layer.bias is None for layer in plain] == [left_out, left_out, False]


@both_kinds
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_that_of_the_parameters(build, dtype):
    exact = trained(build(norm="batch")).eval()
    net = copy.deepcopy(exact).to(dtype)
    x = inputs(net)
    y = net(x.to(dtype))
    assert y.dtype == dtype
    assert {p.dtype for p in net.replica(0).parameters()} == {dtype}
    assert_close(one_by_one(net, x.to(dtype)).to(torch.float64), exact(x), 1e-4 if dtype == torch.float32 else ATOL)
    assert_close(
        y.to(torch.float64), exact(x), 1e-4 if dtype == torch.float32 else ATOL
    )  # some hundred roundings of 6e-8


@both_kinds
def test_replicas_know_nothing_of_each_other(build):
    net = trained(build(norm="batch"))
    x = inputs(net)
    expected = net(x)
    x[1] = np.nan
    y = net(x)
    assert torch.equal(y[[0, 2]], expected[[0, 2]])
    assert y[1].isnan().all()
    with torch.no_grad():
        for p in net.parameters():
            p[1] = np.inf
    assert torch.equal(net(inputs(net))[[0, 2]], expected[[0, 2]])


@both_kinds
@pytest.mark.parametrize("training", [True, False])
def test_a_replica_is_in_the_same_mode_and_shares_no_memory(build, training):
    net = trained(build(norm="batch", dropout=0.5)).train(training)
    before = copy.deepcopy(net.state_dict())
    one = net.replica(2)
    assert {module.training for module in one.modules()} == {training}
    assert net.training is training
    assert all(p.requires_grad for p in one.parameters())
    with torch.no_grad():
        for value in one.state_dict().values():
            value += 1
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    one = net.replica(2).state_dict()
    expected = copy.deepcopy(one)
    with torch.no_grad():
        for value in net.state_dict().values():
            value += 1
    for name, value in one.items():
        assert torch.equal(value, expected[name])


@both_kinds
@pytest.mark.parametrize("norm", [None, "batch"])
def test_copies_pickles_and_state_dicts_bring_everything_back(build, norm):
    net = trained(build(norm=norm, dropout=0.5))
    x = inputs(net)
    net(x)  # dropout has drawn masks: a copy goes on from there
    same = copy.deepcopy(net), pickle.loads(pickle.dumps(net))
    for _ in range(2):
        expected = net(x)
        for other in same:
            assert torch.equal(other(x), expected)
    other = build(norm=norm, dropout=0.5, seeds=(7, 8, 9)).double()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.eval()(x), net.eval()(x))


@both_kinds
def test_one_seed_one_initialization_whatever_stands_beside_it(build):
    net, alone, twice = build(seeds=(3, 1, 4)), build(seeds=[1]), build(seeds=(1, 4, 1))
    for together, single, double in zip(net.parameters(), alone.parameters(), twice.parameters(), strict=True):
        assert torch.equal(together[1], single[0])
        assert torch.equal(double[0], single[0])
        assert torch.equal(double[2], single[0])
        assert torch.equal(double[1], together[2])
        assert not torch.equal(together[0], together[1])


@both_kinds
@pytest.mark.parametrize("init", INITS)
def test_the_initial_weights_do_not_depend_on_what_is_between_the_layers(build, init):
    nets = [
        build(init=init),
        build(init=init, norm="batch"),
        build(init=init, norm="layer", place="after", norm_input="batch"),
        build(init=init, norm="batch", place="after", activation="sigmoid", dropout=0.3),
    ]
    for other in nets[1:]:
        for w, v in zip(weights(nets[0]), weights(other), strict=True):
            assert torch.equal(w, v)
    for layer, other in ((net.layers[-1], nets[1].layers[-1]) for net in nets):
        assert torch.equal(layer.bias, other.bias)


def xavier(fan_in, fan_out):
    return math.sqrt(2 / (fan_in + fan_out))


UNIFORM, NORMAL = 9 / 5, 3.0  # fourth moments of the standardized distributions
DISTRIBUTIONS = {
    "default": (lambda fan_in, fan_out: 1 / math.sqrt(3 * fan_in), UNIFORM),
    "kaiming_normal": (lambda fan_in, fan_out: math.sqrt(2 / fan_in), NORMAL),
    "kaiming_uniform": (lambda fan_in, fan_out: math.sqrt(2 / fan_in), UNIFORM),
    "xavier_normal": (xavier, NORMAL),
    "xavier_uniform": (xavier, UNIFORM),
}


@pytest.mark.parametrize("init", DISTRIBUTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_initial_weights_have_the_distribution_that_their_name_promises(init, kind):
    if kind == "dense":
        net, seeds = MLP(300, 20, seeds=range(10), width=100, depth=1, init=init), 10
        fans = [(300, 100), (100, 20)]
    else:
        net, seeds = ConvNet((8, 4, 4), 20, seeds=range(10), channels=(32, 16), init=init), 10
        fans = [(8 * 9, 32 * 9), (32 * 9, 16 * 9), (16, 20)]
    std, fourth = DISTRIBUTIONS[init]
    for weight, fan in zip(weights(net), fans, strict=True):
        z = weight.detach().double().flatten() / std(*fan)
        n = len(z)
        # Five standard errors: of the mean 1/√n, of the square (μ₄ - 1)/n, of the fourth power at most 96/n.
        assert abs(z.mean()) < 5 / math.sqrt(n)
        assert abs((z**2).mean() - 1) < 5 * math.sqrt((fourth - 1) / n)
        assert abs((z**4).mean() - fourth) < 5 * math.sqrt(96 / n)
        if fourth == UNIFORM:
            assert abs(z).max() <= math.sqrt(3) * (1 + 1e-6)  # a rounding in float32
        else:
            assert abs(z).max() > 2.5
    assert net.replicas == seeds


@pytest.mark.parametrize(("norm", "place"), [(None, "before"), ("batch", "after")])
def test_default_biases_are_those_of_pytorch(norm, place):
    net = MLP(400, 50, seeds=range(40), width=50, depth=1, norm=norm, place=place)
    linear = [layer for layer in net.layers if type(layer).__name__ == "Linear"]
    for layer, fan_in in zip(linear, (400, 50), strict=True):
        z = layer.bias.detach().double().flatten() * math.sqrt(fan_in)  # uniform within ±1
        assert abs(z).max() <= 1 + 1e-6  # a rounding in float32
        # Five standard errors of 2000 numbers: variances 1/3 and 4/45.
        assert abs(z.mean()) < 5 * math.sqrt(1 / 3 / len(z))
        assert abs((z**2).mean() - 1 / 3) < 5 * math.sqrt(4 / 45 / len(z))
        assert len(set(z.tolist())) > 1900  # other numbers in every replica
    image = ConvNet((4, 4, 4), 10, seeds=range(20), channels=(50,), pool_after=())
    assert 0.9 / 6 < image.layers[1].bias.abs().max() <= 1 / 6  # fan_in 4 · 9


@both_kinds
@pytest.mark.parametrize(
    "init", [*(name for name in INITS if name != "default"), lambda weight, generator: nn.init.ones_(weight)]
)
def test_biases_are_zero_without_the_default_initialization(build, init):
    biases = [p for name, p in build(init=init).named_parameters() if name.endswith("bias")]
    assert len(biases) == 3
    assert not any(bias.any() for bias in biases)


def test_orthogonal_and_zero_weights():
    net = MLP(8, 3, seeds=SEEDS, width=8, depth=1, init="orthogonal")
    for weight in weights(net):
        for one in weight:
            assert_close(one @ one.T, torch.eye(len(one)), 1e-5)  # some roundings in float32
    assert not any(w.any() for w in weights(conv(init="zeros")))
    assert set(DISTRIBUTIONS) | {"orthogonal", "zeros"} == set(INITS)


@both_kinds
def test_an_initialization_of_ones_own_gets_one_replica_and_a_generator(build):
    shapes = []

    def init(weight, generator):
        shapes.append(tuple(weight.shape))
        weight.normal_(2, 1e-3, generator=generator)

    net, again = build(init=init), build(init=init)
    assert shapes == 2 * 3 * [tuple(w.shape[1:]) for w in weights(net)]
    for w, v in zip(weights(net), weights(again), strict=True):
        assert abs(w - 2).max() < 0.01  # ten standard deviations
        assert torch.equal(w, v)
        assert not torch.equal(w[0], w[1])


def test_dropout_drops_a_share_and_scales_up_the_rest():
    x = torch.full((4, 100, 250), 3.0, requires_grad=True)
    layer = Dropout(0.2, generator=torch.Generator().manual_seed(0))
    y = layer(x)
    dropped = y == 0
    assert (y[~dropped] == torch.tensor(3.0) * torch.tensor(1.25)).all()
    n = 25_000
    for r in range(4):
        assert abs(dropped[r].double().mean() - 0.2) < 5 * math.sqrt(0.2 * 0.8 / n)  # five standard errors
    for r, s in itertools.combinations(range(4), 2):  # independent: both dropped in 4 % of the places
        assert abs((dropped[r] & dropped[s]).double().mean() - 0.04) < 5 * math.sqrt(0.04 * 0.96 / n)
    gradient = torch.autograd.grad(y.sum(), x)[0]
    assert torch.equal(gradient, torch.where(dropped, 0.0, 1.25))
    assert not torch.equal(layer(x), y)
    assert layer.eval()(x) is x


@both_kinds
def test_dropout_is_after_every_hidden_layer_and_the_same_every_time(build):
    net, again = build(dropout=0.5), build(dropout=0.5)
    assert kinds(net.layers).count("Dropout") == kinds(net.replica(0)).count("Dropout") == 2
    assert {one.p for one in net.replica(0) if isinstance(one, nn.Dropout)} == {0.5}
    x = inputs(net, dtype=torch.float32)
    first, second = net(x), net(x)
    assert not torch.equal(first, second)
    assert torch.equal(again(x), first)
    assert torch.equal(again(x), second)
    assert torch.equal(net.eval()(x), again.eval()(x))
    assert not torch.equal(build(dropout=0.5, seeds=(5, 0, 4))(x)[:2], first[:2])


@both_kinds
def test_dropout_draws_other_masks_in_every_layer(build):
    net, masks = (
        build(dropout=0.5, activation="sigmoid", **({"channels": (8, 8), "pool_after": ()} if build is conv else {})),
        [],
    )
    for layer in net.layers:
        if isinstance(layer, Dropout):
            layer.register_forward_hook(lambda layer, x, y: masks.append(y == 0))
    net(inputs(net, 40, dtype=torch.float32))
    assert len(masks) == 2
    assert masks[0].shape == masks[1].shape
    n = masks[0].numel()
    # Five standard errors: two independent masks agree in half of the places.
    assert abs((masks[0] == masks[1]).double().mean() - 0.5) < 5 * math.sqrt(0.25 / n)


@both_kinds
def test_global_random_numbers_are_left_alone(build):
    before = global_state()
    net = build(norm="batch", dropout=0.5)
    net(inputs(net, dtype=torch.float32))
    net.replica(0)
    assert global_state() == before
    torch.manual_seed(0)
    other = build(norm="batch", dropout=0.5)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters(), strict=True))


def test_batch_norm_of_one_value_is_refused_in_training_only():
    net = dense(norm="batch")
    x = inputs(net, 1, dtype=torch.float32)
    with pytest.raises(ValueError, match="batch norm: expected more than one value for each channel.*at least two"):
        net(x)
    assert net.layers[2].num_batches_tracked == 0
    assert net.eval()(x).shape == (3, 1, 4)
    small = {"seeds": SEEDS, "channels": (4,), "pool_after": (1,), "norm": "batch"}
    assert ConvNet((1, 2, 2), 4, **small)(torch.zeros(3, 1, 4)).shape == (3, 1, 4)  # four pixels
    net = ConvNet((1, 2, 2), 4, place="after_pool", **small)  # one
    with pytest.raises(ValueError, match="batch norm: expected more than one value"):
        net(torch.zeros(3, 1, 4))
    assert net(torch.zeros(3, 2, 4)).shape == (3, 2, 4)


def test_group_norm_of_one_value_is_refused():
    net = dense(norm="instance")
    for mode in (True, False):
        with pytest.raises(ValueError, match="8 features of 1 pixel in 8 groups; instance norm needs images of more"):
            net.train(mode)(inputs(net, dtype=torch.float32))
    net = ConvNet((1, 2, 2), 4, seeds=SEEDS, channels=(4,), pool_after=(1,), norm="instance", place="after_pool")
    with pytest.raises(ValueError, match="group norm: expected more than one value a group, got 4 features of 1 pixel"):
        net(torch.zeros(3, 2, 4))
    net = ConvNet((1, 2, 2), 4, seeds=SEEDS, channels=(8,), pool_after=(1,), norm="group", place="after_pool")
    assert net(torch.zeros(3, 1, 4)).shape == (3, 1, 4)  # two values each


@both_kinds
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"activation": "swish"}, "activation: expected one of relu, sigmoid, .*, got 'swish'"),
        ({"activation": nn.PReLU()}, "activation: expected a module without parameters, got PReLU"),
        ({"activation": None}, "activation: expected one of"),
        ({"norm": "batchnorm"}, "norm: expected one of batch, layer, instance, group, got 'batchnorm'"),
        ({"norm": functools.partial(GroupNorm, groups=0)}, "groups: expected a positive integer, got 0"),
        ({"norm": functools.partial(GroupNorm, groups=3)}, "groups: expected a divisor of the . channels, got 3"),
        ({"norm_input": True}, "norm_input: expected one of batch, layer, instance, group, got True"),
        ({"place": "behind"}, "place: expected one of before, after, after_pool, got 'behind'"),
        ({"init": "he"}, "init: expected one of default, kaiming_normal, .*, got 'he'"),
        ({"dropout": 1.0}, "dropout: expected a number from 0 to below 1, got 1.0"),
        ({"dropout": -0.1}, "dropout: expected a number from 0 to below 1, got -0.1"),
        ({"dropout": math.nan}, "dropout: expected a number from 0 to below 1, got nan"),
        ({"seeds": 16}, r"seeds: expected integers, one a replica, such as range\(16\), got 16"),
        ({"seeds": [0.5]}, "seeds: expected integers"),
        ({"seeds": "12"}, "seeds: expected integers"),
        ({"seeds": []}, "seeds: expected at least one integer from 0"),
        ({"seeds": [3, -1]}, "seeds: expected at least one integer from 0"),
        ({"seeds": [2**63]}, "seeds: expected at least one integer from 0"),
    ],
)
def test_arguments_that_no_network_takes(build, how, message):
    with pytest.raises(ValueError, match=message):
        build(**how)


@pytest.mark.parametrize(
    ("sizes", "how", "message"),
    [
        ((0, 2), {}, "n_in: expected a positive integer, got 0"),
        ((2, 2.0), {}, "n_out: expected a positive integer, got 2.0"),
        ((2, True), {}, "n_out: expected a positive integer, got True"),
        ((2, 2), {"width": -3}, "width: expected a positive integer, got -3"),
        ((2, 2), {"depth": 0}, "depth: expected a positive integer, got 0"),
    ],
)
def test_arguments_that_dense_networks_do_not_take(sizes, how, message):
    with pytest.raises(ValueError, match=message):
        MLP(*sizes, seeds=range(2), **how)


@pytest.mark.parametrize(
    ("shape", "how", "message"),
    [
        (8, {}, "image_shape, channels, pool_after: expected sequences of integers"),
        ((1, 8, 8), {"channels": 4}, "image_shape, channels, pool_after: expected sequences of integers"),
        ((1, 8, 8), {"pool_after": 1}, "image_shape, channels, pool_after: expected sequences of integers"),
        ((8, 8), {}, r"image_shape, channels: expected \(C, H, W\) and at least one convolution, got \(8, 8\)"),
        ((1, 8, 8), {"channels": ()}, "expected .* at least one convolution"),
        ((1, 0, 8), {}, "image_shape: expected a positive integer, got 0"),
        ((1, 8, 8), {"channels": (4, 0)}, "channels: expected a positive integer, got 0"),
        ((1, 8, 8), {"pool_after": (0,)}, r"pool_after: expected convolutions from 1 to 2, got \(0,\)"),
        ((1, 8, 8), {"pool_after": (3,)}, "pool_after: expected convolutions from 1 to 2"),
        ((1, 8, 3), {}, "image_shape: expected at least 4 pixels a side for 2 poolings, .*; pool less often"),
        ((1, 8, 8), {"kernel_size": 2}, "kernel_size: expected an odd number, got 2"),
        ((1, 8, 8), {"kernel_size": 0}, "kernel_size: expected a positive integer, got 0"),
        ((1, 8, 8), {"norm_input": "group"}, "groups: expected a divisor of the 1 channels, got 4"),
    ],
)
def test_arguments_that_convolutional_networks_do_not_take(shape, how, message):
    with pytest.raises(ValueError, match=message):
        ConvNet(shape, 2, seeds=range(2), **how)


def test_the_smallest_images_that_can_be_pooled():
    assert ConvNet((1, 4, 5), 2, seeds=range(2))(torch.zeros(2, 3, 20)).shape == (2, 3, 2)


@both_kinds
@pytest.mark.parametrize(
    "change", [lambda s: s[1:], lambda s: (2, *s[1:]), lambda s: (*s[:2], s[2] + 1), lambda s: (*s, 1)]
)
def test_inputs_of_the_wrong_shape_are_refused(build, change):
    net = build()
    with pytest.raises(ValueError, match=rf"x: expected shape \(3, B, {net.n_in}\), got"):
        net(torch.zeros(change((3, 5, net.n_in))))


@pytest.mark.parametrize("r", [-1, 3])
def test_replicas_that_do_not_exist(r):
    with pytest.raises(IndexError, match=f"r: expected 0 to 2, got {r}"):
        dense().replica(r)


@pytest.mark.parametrize("groups", [1, 3])
def test_group_norm_of_numbers_far_from_zero_stays_accurate(groups):
    generator = torch.Generator().manual_seed(0)
    norm = GroupNorm(3, 24, groups=groups)
    norm.weight.data.uniform_(0.5, 2, generator=generator)
    norm.bias.data.uniform_(-1, 1, generator=generator)
    x = (1e4 + torch.randn(3, 24, 50, generator=generator)).requires_grad_()
    direction = torch.randn(3, 24, 50, generator=generator)
    y = norm(x)
    ours = torch.autograd.grad((y * direction).sum(), [x, norm.weight, norm.bias])
    for r in range(3):
        own = x[r].detach().double().T.requires_grad_()
        w, b = (p[r].detach().double().requires_grad_() for p in (norm.weight, norm.bias))
        theirs = F.group_norm(own, groups, w, b)
        wanted = torch.autograd.grad((theirs * direction[r].T).sum(), [own, w, b])
        # The average is wrong by at most a rounding or two of 1e4, 1e-3 each, over deviations of 0.2 and more, times a
        # weight of at most 2. Without centring first the squares alone would be wrong by 8.
        assert_close(y[r].T.double(), theirs, 0.02)
        for mine, expected in zip(ours, (wanted[0].T, *wanted[1:]), strict=True):
            error = (mine[r].double() - expected).abs().max()
            assert error < 0.02 * expected.abs().max()  # as the output, in proportion


@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_rms_norm_is_that_of_pytorch(eps):
    generator = torch.Generator().manual_seed(0)
    norm = RMSNorm(3, 5, eps=eps).double()
    norm.weight.data.uniform_(0.5, 2, generator=generator)
    x = (1 + torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)).requires_grad_()
    direction = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)
    y = norm(x)
    ours = torch.autograd.grad((y * direction).sum(), [x, norm.weight])
    for r in range(3):
        plain = nn.RMSNorm(5, eps).double()
        plain.weight.data = norm.weight.data[r].clone()
        own = x[r].detach().T.requires_grad_()
        theirs = plain(own)
        assert_close(y[r].T, theirs, 1e-12)  # of order one: some roundings
        wanted = torch.autograd.grad((theirs * direction[r].T).sum(), [own, plain.weight])
        assert_close(ours[0][r].T, wanted[0], 1e-12)
        assert_close(ours[1][r], wanted[1], 1e-12)
    assert [name for name, p in norm.named_parameters()] == ["weight"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_replicas_with_rms_norm(place, eps):
    net = trained(dense(norm=functools.partial(RMSNorm, eps=eps), norm_input=RMSNorm, place=place, activation="tanh"))
    norms = [module for module in net.replica(0) if isinstance(module, nn.RMSNorm)]
    assert [(norm.normalized_shape, norm.eps) for norm in norms] == [((6,), 1e-5), ((8,), eps), ((8,), eps)]
    assert_close(net(inputs(net)), one_by_one(net, inputs(net)))
    hidden = [layer for layer in net.layers if isinstance(layer, Linear)]
    assert all(layer.bias is not None for layer in hidden)  # nothing is subtracted


def test_rms_norm_of_images_is_refused():
    net = conv(norm=RMSNorm)
    with pytest.raises(ValueError, match=r"RMS norm: expected features of shape \(R, C, B\), got \(7, 12, 5, 4\)"):
        net(inputs(net, dtype=torch.float32))


LIMITS = [(3.0, 5.0), (1.0, 0.0), (1.2, 0.3), (1e6, 1e6)]


def renorms(options, *, seed=0):
    """Batch renormalization of 3 · 4 channels in PyTorch, and each replica's in NumPy, in one state."""
    rng = np.random.default_rng(seed)
    norm = BatchRenorm(3, 4, **options).double()
    plain = [activation_norms.BatchRenorm(4, **options) for _ in range(3)]
    for r, one in enumerate(plain):
        own = {"running_mean": rng.normal(size=4), "running_var": rng.uniform(0.3, 3, size=4)}
        if options.get("affine", True):
            own |= {"weight": rng.uniform(0.5, 2, size=4), "bias": rng.normal(size=4)}
            one.gamma, one.beta = own["weight"].copy(), own["bias"].copy()
        one.running_mean, one.running_var = own["running_mean"].copy(), own["running_var"].copy()
        for name, value in own.items():
            getattr(norm, name).data[r] = torch.from_numpy(value)
    return norm, plain


def batches_of_channels(rng, n, build):
    """Numbers of 3 replicas as NumPy has them, (R, N, C, ...), some channels narrow and some far away."""
    place = [2, 3][: 2 * (build is conv)]
    scale, shift = (rng.uniform(*ends, size=(3, 1, 4, *[1] * len(place))) for ends in ((0.2, 4), (-2, 2)))
    return scale * rng.normal(size=(3, n, 4, *place)) + shift


def laid_out(own, build):
    """(R, N, C) as (R, C, N), or (R, N, C, H, W) as (N, R·C, H, W)."""
    own = torch.as_tensor(own)
    return own.transpose(1, 2) if build is dense else own.transpose(0, 1).flatten(1, 2)


def laid_back(x, build):
    return x.transpose(1, 2) if build is dense else x.unflatten(1, (3, 4)).transpose(0, 1)


@both_kinds
@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}, {"momentum": 0.4, "eps": 0.1}])
def test_batch_renormalization_is_that_of_notebook_seven(build, limits, options):
    norm, plain = renorms({"r_max": limits[0], "d_max": limits[1]} | options)
    rng = np.random.default_rng(1)
    corrections = []
    for n in (6, 2, 5, 9):
        own, direction = batches_of_channels(rng, n, build), rng.normal(size=(3, n, 4, *[2, 3][: 2 * (build is conv)]))
        x = laid_out(own, build).requires_grad_()
        y = norm(x)
        learned = [] if norm.weight is None else [norm.weight, norm.bias]
        dx, *rest = torch.autograd.grad((y * laid_out(direction, build)).sum(), [x, *learned])
        for r, one in enumerate(plain):
            # Sums of up to 54 numbers of order ten in another order; deviations of 0.1 and more, limits within reach.
            assert_close(laid_back(y, build)[r].detach(), torch.from_numpy(one.forward(own[r])), 1e-11)
            assert_close(laid_back(dx, build)[r], torch.from_numpy(one.backward(direction[r])), 1e-11)
            if learned:
                assert_close(rest[0][r], torch.from_numpy(one.grad_gamma), 1e-10)
                assert_close(rest[1][r], torch.from_numpy(one.grad_beta), 1e-11)
            assert_close(norm.running_mean[r], torch.from_numpy(one.running_mean), 1e-13)
            assert_close(norm.running_var[r], torch.from_numpy(one.running_var), 1e-13)
            assert norm.num_batches_tracked == one.num_batches_tracked
            corrections.append([part.reshape(-1) for part in one._correction])
    r, d = np.concatenate([pair[0] for pair in corrections]), np.concatenate([pair[1] for pair in corrections])
    if limits == (1.2, 0.3):  # the limits were met, on both sides, and so were numbers between them
        for values, low, high in ((r, 1 / 1.2, 1.2), (d, -0.3, 0.3)):
            assert (values == low).any()
            assert (values == high).any()
            assert ((values > low) & (values < high)).any()
    own = batches_of_channels(rng, 5, build)
    before = copy.deepcopy(norm.eval().state_dict())
    for r, one in enumerate(plain):
        assert_close(
            laid_back(norm(laid_out(own, build)), build)[r], torch.from_numpy(one.eval().forward(own[r])), 1e-11
        )
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name])


@both_kinds
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}, {"momentum": 0.3, "eps": 0.5}])
def test_batch_renormalization_that_may_correct_nothing_is_batch_norm(build, options):
    nets = [
        trained(build(norm=functools.partial(BatchRenorm, r_max=1, d_max=0, **options))),
        trained(build(norm=functools.partial(BatchNorm, **options))),
    ]
    assert list(nets[0].state_dict()) == list(nets[1].state_dict())
    for n in (7, 4, 9):
        x, losses = inputs(nets[0], n, seed=n), [net(inputs(net, n, seed=n)).square().sum() for net in nets]
        assert_close(nets[0](x), nets[1](x))
        ours, theirs = (
            torch.autograd.grad(loss, list(net.parameters())) for loss, net in zip(losses, nets, strict=True)
        )
        for a, b in zip(ours, theirs, strict=True):
            assert_close(a, b, 1e-9 * max(1, b.abs().max().item()))  # as ATOL, ten times in a gradient
    for mode in (True, False):
        outputs = [net.train(mode)(inputs(net)) for net in nets]
        assert_close(*outputs)
    for name, value in nets[0].state_dict().items():
        assert_close(value, nets[1].state_dict()[name])


@both_kinds
def test_the_limits_of_batch_renormalization_can_be_changed_on_the_way(build):
    norm, plain = renorms({"r_max": 1.0, "d_max": 0.0})
    rng = np.random.default_rng(2)
    for limits in ((1.0, 0.0), (1.5, 0.5), (3.0, 5.0)):
        own = batches_of_channels(rng, 6, build)
        norm.r_max, norm.d_max = limits
        y = laid_back(norm(laid_out(own, build)), build)
        for r, one in enumerate(plain):
            one.r_max, one.d_max = limits
            assert_close(y[r].detach(), torch.from_numpy(one.forward(own[r])), 1e-11)


@both_kinds
def test_far_limits_make_the_batch_what_evaluation_makes_of_it(build):
    net = trained(build(norm=functools.partial(BatchRenorm, r_max=1e9, d_max=1e9), place="after", activation="tanh"))
    x = inputs(net)
    expected = copy.deepcopy(net).eval()(x)
    assert_close(net(x), expected, 1e-9)  # as ATOL; the corrections undo divisions by small deviations


@both_kinds
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}, {"eps": 0.5}])
def test_a_replica_with_batch_renormalization_is_there_in_evaluation_only(build, options):
    net = trained(build(norm=functools.partial(BatchRenorm, **options)))
    net(inputs(net))
    with pytest.raises(ValueError, match="replica: expected a network in evaluation mode: PyTorch has no batch renorm"):
        net.replica(0)
    net.eval()
    norms = [module for module in net.replica(0) if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) == 2
    for name, value in options.items():
        assert {getattr(norm, name) for norm in norms} == {value}
    assert_close(net(inputs(net)), one_by_one(net, inputs(net)))


@both_kinds
def test_batch_renormalization_keeps_replicas_apart(build):
    net = trained(build(norm=BatchRenorm))
    same, x = copy.deepcopy(net), inputs(net)
    expected = net(x)
    x[1] = math.nan
    assert torch.equal(same(x)[[0, 2]], expected[[0, 2]])
    for name, value in net.state_dict().items():
        if value.dim():
            assert torch.equal(same.state_dict()[name][[0, 2]], value[[0, 2]])


def test_batch_renormalization_of_one_value_is_refused_in_training_only():
    norm = BatchRenorm(3, 4)
    for x in (torch.zeros(3, 4, 1), torch.zeros(1, 12, 1, 1)):
        with pytest.raises(ValueError, match="batch norm: expected more than one value for each channel"):
            norm.train()(x)
        assert norm.num_batches_tracked == 0
        assert norm.eval()(x).shape == x.shape


@pytest.mark.parametrize(
    ("limits", "said"), [({"r_max": 0.5}, "r_max: .* 1, got 0.5"), ({"d_max": -1}, "d_max: .* -1")]
)
def test_batch_renormalization_refuses_limits(limits, said):
    with pytest.raises(ValueError, match=said):
        BatchRenorm(3, 4, **limits)


@pytest.mark.parametrize("default_bias", [True, False])
def test_weights_are_drawn_before_biases_replica_by_replica(default_bias):
    layers = [Linear(4, 5, 3), Conv2d(4, 2, 3), Linear(4, 3, 2)]
    layers[2].bias = None
    for layer in layers[:2]:
        layer.bias.data.fill_(9)
    seeds, calls = (3, 8, 3, 0), []

    def init(weight, generator):
        calls.append(tuple(weight.shape))
        weight.normal_(generator=generator)

    initialize(layers, seeds, init, default_bias=default_bias)
    assert calls == 3 * [(3, 5), (3, 2, 3, 3), (2, 3)]  # once a seed
    for r, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        for layer in layers:
            assert torch.equal(layer.weight[r], torch.empty(layer.weight.shape[1:]).normal_(generator=generator))
        for layer, fan_in in zip(layers[:2], (5, 2 * 9), strict=True):
            expected = torch.zeros(3)
            if default_bias:
                expected.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
            assert_close(layer.bias[r], expected, 1e-7)  # a rounding of the bound in float32
    assert all(p.requires_grad for layer in layers for p in layer.parameters())


def test_a_bias_that_is_left_out_changes_no_other_number():
    ours, theirs = ([Linear(2, 5, 3), Linear(2, 3, 4), Conv2d(2, 2, 3)] for _ in range(2))
    theirs[0].bias = theirs[1].bias = None
    for layers in (ours, theirs):
        initialize(layers, (1, 2), INITS["default"], default_bias=True)
    assert torch.equal(ours[2].bias, theirs[2].bias)
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(ours, theirs, strict=True))

"""Networks of one seed against PyTorch's own layers, against closed forms, and against loops written out by hand."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from network_fixtures import (
    N_IN,
    NORMAL,
    UNIFORM,
    assert_close,
    assert_distributed,
    assert_same_function,
    conv,
    conv_net,
    dense,
    inputs,
    shaken,
    weights,
    xavier,
)
from torch import nn
from torch.nn import functional as F

from utils.lab.networks import ACTIVATIONS, INITS, NORMS, PLACES, Dropout, initialize, mlp

layered = pytest.mark.parametrize("build", [dense, conv])
all_kinds = pytest.mark.parametrize("build", N_IN)


def test_a_dense_network_is_what_one_writes_with_pytorch():
    network = shaken(dense(activation="tanh", norm="batch", dropout=0.0))
    hidden = [(nn.Linear(n, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh()) for n in (6, 8)]
    plain = nn.Sequential(*hidden[0], *hidden[1], nn.Linear(8, 4)).double()
    plain.load_state_dict(network.state_dict())
    for training in (True, True, False):
        network.train(training)
        assert_same_function(network, plain.train(training), dict(plain.named_parameters()), inputs(dense))


def test_a_dense_network_with_layer_norm_written_out():
    network = shaken(dense(activation="relu", norm="layer", place="after"))
    h = x = inputs(dense)
    for linear, norm in ((network[0], network[2]), (network[3], network[5])):
        h = F.layer_norm((h @ linear.weight.T + linear.bias).clamp(min=0), (8,), norm.weight, norm.bias)
    assert_close(network(x), h @ network[6].weight.T + network[6].bias)


def test_a_convolutional_network_written_out():
    network = shaken(conv(activation="relu", norm="batch", place="after_pool", pool_after=(1,), kernel_size=5)).eval()
    x = inputs(conv)
    h = x.reshape(-1, 2, 5, 4)  # channels, rows, columns: the order of the pixels
    for i, pool in ((1, True), (5, False)):
        layer, norm = network[i], network[i + 2 + pool]
        h = torch.relu(F.conv2d(h, layer.weight, layer.bias, padding=2))
        h = F.batch_norm(F.max_pool2d(h, 2) if pool else h, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    assert_close(network(x), h.reshape(-1, 8 * 2 * 2) @ network[-1].weight.T + network[-1].bias)


@pytest.mark.parametrize(("place", "position"), [("before", 1), ("after", 2), ("after_pool", 3)])
def test_order_of_the_parts_of_a_layer(place, position):
    def kinds(network):
        return [type(module).__name__ for module in network]

    order = ["Conv2d", "Tanh", "MaxPool2d", "Dropout"]
    order.insert(position, "BatchNorm2d")
    how = {"norm": "batch", "place": place, "activation": "tanh", "dropout": 0.5, "norm_input": nn.BatchNorm2d}
    without_pool = [name for name in order if name != "MaxPool2d"]
    assert kinds(conv(**how)) == ["Unflatten", "BatchNorm2d", *without_pool, *order, "Flatten", "Linear"]
    flat = [name.replace("Conv2d", "Linear").replace("2d", "1d") for name in without_pool]
    assert kinds(dense(**how | {"norm_input": "batch"})) == ["BatchNorm1d", *flat, *flat, "Linear"]
    assert kinds(dense(place=place)) == ["Linear", "ReLU"] * 2 + ["Linear"]


def test_sizes_of_the_layers():
    assert [tuple(w.shape) for w in weights(mlp(6, 4, seed=0, width=8))] == [(8, 6), (8, 8), (8, 8), (4, 8)]
    assert weights(mlp(np.int64(6), np.int64(4), seed=np.int64(0)))[1].shape == (100, 100)


FUNCTIONS = {
    "relu": lambda x: x.clamp(min=0),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "tanh": torch.tanh,
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "elu": lambda x: torch.where(x > 0, x, torch.expm1(x)),
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "identity": lambda x: x,
}


@layered
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_what_their_names_say(build, name):
    found = [layer for layer in build(activation=name) if isinstance(layer, ACTIVATIONS[name])]
    assert len(set(found)) == 2
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    assert_close(found[0](x), FUNCTIONS[name](x), 1e-14)  # some roundings of numbers up to three
    for own in (ACTIVATIONS[name], lambda: ACTIVATIONS[name]()):
        assert len({layer for layer in build(activation=own) if isinstance(layer, ACTIVATIONS[name])}) == 2


@pytest.mark.parametrize(("name", "groups"), [("layer", 1), ("instance", 8), ("group", 4)])
def test_names_of_the_norms_that_look_at_one_example(name, groups):
    network = conv(norm=name, norm_input="layer", channels=(8, 8))
    assert [one.num_groups for one in network if isinstance(one, nn.GroupNorm)] == [1, groups, groups]
    x = inputs(conv, 3, dtype=torch.float32).reshape(3, 2, 5, 4)
    assert_close(network[1](x), F.layer_norm(x, (2, 5, 4)), 1e-5)  # a few roundings in float32


@layered
@pytest.mark.parametrize("norm", [None, *NORMS, nn.BatchNorm1d, lambda c: nn.BatchNorm2d(c, affine=False)])
@pytest.mark.parametrize("place", PLACES)
def test_the_bias_is_left_out_directly_before_a_batch_norm_only(build, norm, place):
    if build is dense and norm == "instance":
        with pytest.raises(ValueError, match="norm: expected a norm for features, got 'instance', which needs images"):
            build(norm=norm, place=place)
        return
    hidden = [m for m in build(norm=norm, place=place) if isinstance(m, nn.Linear | nn.Conv2d)]
    left_out = norm not in (None, "layer", "group", "instance") and place == "before"
    assert [layer.bias is None for layer in hidden] == [left_out, left_out, False]


DISTRIBUTIONS = {
    "default": (lambda fan_in, fan_out: 1 / math.sqrt(3 * fan_in), UNIFORM),
    "kaiming_normal": (lambda fan_in, fan_out: math.sqrt(2 / fan_in), NORMAL),
    "kaiming_uniform": (lambda fan_in, fan_out: math.sqrt(2 / fan_in), UNIFORM),
    "xavier_normal": (xavier, NORMAL),
    "xavier_uniform": (xavier, UNIFORM),
}


@pytest.mark.parametrize("init", DISTRIBUTIONS)
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_initial_weights_have_the_distribution_that_their_name_promises(init, kind):
    if kind == "dense":
        networks = [mlp(300, 20, seed=seed, width=100, depth=1, init=init) for seed in range(10)]
        fans = [(300, 100), (100, 20)]
    else:
        networks = [
            conv_net((8, 4, 4), 20, seed=seed, channels=(32, 16), pool_after=(1, 2), init=init) for seed in range(10)
        ]
        fans = [(8 * 9, 32 * 9), (32 * 9, 16 * 9), (16, 20)]
    std, fourth = DISTRIBUTIONS[init]
    for of_one_layer, fan in zip(zip(*map(weights, networks), strict=True), fans, strict=True):
        assert_distributed(of_one_layer, std(*fan), fourth)


def test_default_biases_are_those_of_pytorch():
    networks = [mlp(400, 50, seed=seed, width=50, depth=1) for seed in range(40)]
    for i, fan_in in ((0, 400), (2, 50)):
        assert_distributed([network[i].bias for network in networks], 1 / math.sqrt(3 * fan_in), UNIFORM)
    image = conv_net((4, 4, 4), 10, seed=0, channels=(500,), pool_after=())
    assert 0.98 / 6 < image[1].bias.abs().max() <= 1 / 6  # fan_in 4 · 9


def test_orthogonal_and_zero_weights():
    for weight in weights(mlp(8, 3, seed=1, width=8, depth=1, init="orthogonal")):
        assert_close(weight @ weight.T, torch.eye(len(weight)), 1e-5)  # some roundings in float32
    assert not any(w.any() for w in weights(conv(init="zeros")))
    assert set(DISTRIBUTIONS) | {"orthogonal", "zeros"} == set(INITS)


def test_an_initialization_may_be_a_function_of_a_weight_and_a_generator():
    layers = nn.ModuleList([nn.Linear(5, 3), nn.Sequential(nn.Conv2d(2, 3, 3)), nn.Linear(3, 2, bias=False)])
    assert initialize(layers, 8, lambda weight, generator: weight.normal_(generator=generator)) is layers
    generator = torch.Generator().manual_seed(8)
    for p in weights(layers):
        assert torch.equal(p, torch.empty_like(p).normal_(generator=generator))
    assert not layers[0].bias.any()
    assert not layers[1][0].bias.any()
    assert all(p.requires_grad for p in layers.parameters())


@layered
@pytest.mark.parametrize("init", INITS)
def test_the_initial_weights_do_not_depend_on_what_is_between_the_layers(build, init):
    networks = [
        build(init=init),
        build(init=init, norm="batch"),
        build(init=init, norm="layer", place="after", norm_input="batch"),
        build(init=init, norm="batch", place="after", activation="sigmoid", dropout=0.3),
    ]
    for other in networks[1:]:
        for w, v in zip(weights(networks[0]), weights(other), strict=True):
            assert torch.equal(w, v)
        assert torch.equal(networks[0][-1].bias, other[-1].bias)
    biases = [p for name, p in networks[0].named_parameters() if name.endswith("bias")]
    assert [bool(bias.any()) for bias in biases] == [init == "default"] * 3


def test_dropout_drops_a_share_and_scales_up_the_rest():
    x = torch.full((100, 250), 3.0, requires_grad=True)
    layer = Dropout(0.2, generator=torch.Generator().manual_seed(0))
    y, again = layer(x), layer(x)
    dropped = y == 0
    assert (y[~dropped] == 3.75).all()
    assert abs(dropped.double().mean() - 0.2) < 5 * math.sqrt(0.2 * 0.8 / 25_000)  # five standard errors
    # The second time independent of the first: both dropped in 4 % of the places.
    both = (dropped & (again == 0)).double().mean()
    assert abs(both - 0.04) < 5 * math.sqrt(0.04 * 0.96 / 25_000)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.where(dropped, 0.0, 1.25))
    assert layer.eval()(x) is x


@layered
def test_dropout_is_after_every_hidden_layer_and_the_same_every_time(build):
    how = {"dropout": 0.5, "activation": "sigmoid"}
    network, again, other = build(**how), build(**how), build(**how, seed=6)
    assert [layer.p for layer in network if isinstance(layer, Dropout)] == [0.5, 0.5]
    x = inputs(build, dtype=torch.float32)
    first, second = network(x), network(x)
    assert not torch.equal(first, second)
    assert torch.equal(again(x), first)
    for twin in (copy.deepcopy(again), pickle.loads(pickle.dumps(again))):
        assert torch.equal(twin(x), second)
    assert torch.equal(network.eval()(x), again.eval()(x))
    other.load_state_dict(network.state_dict())
    assert not torch.equal(other(x), first)  # other masks for another seed


def test_masks_have_nothing_to_do_with_each_other_or_with_the_weights():
    network, masks = mlp(40, 4, seed=0, width=40, depth=2, dropout=0.5, activation="sigmoid"), []
    for layer in network:
        if isinstance(layer, Dropout):
            layer.register_forward_hook(lambda layer, x, y: masks.append(y == 0))
    network(torch.zeros(40, 40))
    for a, b in itertools.combinations([*masks, network[0].weight < 0], 2):
        # Five standard errors: two independent masks agree in half of the places.
        assert abs((a == b).double().mean() - 0.5) < 5 * math.sqrt(0.25 / 1600)


class Drawn(nn.Module):
    """A norm that draws its first numbers, as a reader's may."""

    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))

    def forward(self, x):
        return x * self.weight.mean()


@all_kinds
def test_a_network_depends_on_its_seed_alone_and_leaves_global_random_numbers(build):
    networks, before = [], np.random.get_state()[1].tolist()  # noqa: NPY002
    for global_seed in (0, 1):
        torch.manual_seed(global_seed)
        state = torch.random.get_rng_state()
        networks.append(build(norm=Drawn))
        networks[-1](inputs(build, dtype=torch.float32))
        assert torch.equal(torch.random.get_rng_state(), state)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    own, again, other = ([*each.state_dict().items()] for each in (*networks, build(norm=Drawn, seed=6)))
    for (name, p), (_, q), (_, o) in zip(own, again, other, strict=True):
        assert torch.equal(p, q)
        assert not torch.equal(p, o) or name.endswith("bias")
    assert build(seed=2**63 - 1)(inputs(build, dtype=torch.float32)).isfinite().all()


@all_kinds
def test_arguments_that_no_network_takes(build):
    with pytest.raises(ValueError, match="seed: expected an integer from 0 to"):
        build(seed=2**63)
    with pytest.raises(ValueError, match=r"norm: expected (one of batch|a class).*, got LayerNorm\(\(8,\)"):
        build(norm=nn.LayerNorm(8))


@layered
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"activation": nn.PReLU()}, "activation: expected .* a class or function that returns a module, got PReLU"),
        ({"activation": torch.Tensor}, "activation: expected one of"),
        ({"norm": lambda channels: torch.relu}, "norm: expected a callable that returns a module, got builtin_"),
        ({"norm_input": "group"}, "norm_input: expected channels for four groups, got [26]; use another norm"),
        ({"dropout": 1.0}, "dropout: expected a number from 0 to below 1, got 1.0"),
    ],
)
def test_arguments_that_no_layered_network_takes(build, how, message):
    with pytest.raises(ValueError, match=message):
        build(**how)


@pytest.mark.parametrize("name", ["n_in", "n_out", "width", "depth"])
def test_sizes_are_positive(name):
    with pytest.raises(ValueError, match=f"{name}: expected a positive integer, got 0"):
        mlp(**{"n_in": 12, "n_out": 2, "seed": 0} | {name: 0})


def test_what_has_no_layers_or_no_share_is_refused():
    with pytest.raises(ValueError, match="network: expected a Module, got list"):
        initialize([nn.Linear(2, 2)], 0)
    with pytest.raises(ValueError, match="dropout: expected a number from 0 to below 1, got 1"):
        Dropout(1, generator=torch.Generator())

"""Networks of one seed against PyTorch's own layers, against closed forms, and against loops written out by hand."""

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

from utils.lab.networks import ACTIVATIONS, INITS, NORMS, PLACES, Dropout, conv_net, initialize, mlp
from utils.lab.sequences import RNN, Transformer

# The same sums in another order, of numbers up to about ten, through a few layers and time steps in float64.
ATOL = 1e-10


def dense(**how):
    return mlp(6, 4, **{"seed": 5, "width": 8, "depth": 2} | how)


def conv(**how):
    return conv_net((2, 5, 4), 4, **{"seed": 5, "channels": (4, 8), "pool_after": (2,)} | how)


def rnn(**how):
    return RNN(12, 4, **{"seed": 5, "token": 3, "width": 6} | how)


def transformer(**how):
    return Transformer(12, 4, **{"seed": 5, "token": 3, "width": 8} | how)


N_IN = {dense: 6, conv: 40, rnn: 12, transformer: 12}
layered = pytest.mark.parametrize("build", [dense, conv])
all_kinds = pytest.mark.parametrize("build", N_IN)


def inputs(build, n=7, *, dtype=torch.float64):
    return torch.randn(n, N_IN[build], generator=torch.Generator().manual_seed(n), dtype=dtype)


def shaken(network):
    """The network in float64 with parameters and running statistics that no two units or layers have alike."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.double().state_dict().items():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.add_(noise if name.endswith("running_var") else 0.6 * (noise - 0.5))
    return network


def assert_close(ours, theirs, atol=ATOL):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def weights(network):
    return [layer.weight for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


def kinds(network):
    return [type(module).__name__ for module in network]


def assert_same_function(network, plain, same, x):
    """Outputs, and gradients of a random combination of them: same has the parameters of the plain one by our names."""
    assert set(same) == set(dict(network.named_parameters()))
    with torch.no_grad():
        for name, p in network.named_parameters():
            same[name].copy_(p)
    direction = torch.randn(len(x), 4, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    x = x.clone().requires_grad_()
    ours, theirs = network(x), plain(x)
    assert_close(ours, theirs)
    found, expected = (
        torch.autograd.grad((y * direction).sum(), [x, *parameters], materialize_grads=True)
        for y, parameters in ((ours, network.parameters()), (theirs, (same[n] for n, _ in network.named_parameters())))
    )
    for name, g, h in zip(["x", *same], found, expected, strict=True):
        assert g.shape == h.shape, name
        assert_close(g, h)


# Fully connected and convolutional networks


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
        h = F.max_pool2d(h, 2) if pool else h
        mean, var, gamma, beta = (
            t[:, None, None] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        h = gamma * (h - mean) / torch.sqrt(var + 1e-5) + beta
    assert_close(network(x), h.reshape(-1, 8 * 2 * 2) @ network[-1].weight.T + network[-1].bias)


@pytest.mark.parametrize(
    ("place", "order"),
    [
        ("before", ["Conv2d", "BatchNorm2d", "Tanh", "MaxPool2d", "Dropout"]),
        ("after", ["Conv2d", "Tanh", "BatchNorm2d", "MaxPool2d", "Dropout"]),
        ("after_pool", ["Conv2d", "Tanh", "MaxPool2d", "BatchNorm2d", "Dropout"]),
    ],
)
def test_order_of_the_parts_of_a_layer(place, order):
    how = {"norm": "batch", "place": place, "activation": "tanh", "dropout": 0.5, "norm_input": nn.BatchNorm2d}
    without_pool = [name for name in order if name != "MaxPool2d"]
    assert kinds(conv(**how)) == ["Unflatten", "BatchNorm2d", *without_pool, *order, "Flatten", "Linear"]
    flat = [name.replace("Conv2d", "Linear").replace("2d", "1d") for name in without_pool]
    assert kinds(dense(**how | {"norm_input": "batch"})) == ["BatchNorm1d", *flat, *flat, "Linear"]
    assert kinds(dense(place=place)) == ["Linear", "ReLU"] * 2 + ["Linear"]


def test_sizes_of_the_layers():
    assert [tuple(w.shape) for w in weights(mlp(6, 4, seed=0, width=8))] == [(8, 6), (8, 8), (8, 8), (4, 8)]
    assert weights(mlp(np.int64(6), np.int64(4), seed=np.int64(0)))[1].shape == (100, 100)
    network = conv_net((3, 9, 10), 4, seed=0, channels=(8, 4, 5), pool_after=(1, 3), kernel_size=5)
    shapes = [(8, 3, 5, 5), (4, 8, 5, 5), (5, 4, 5, 5), (4, 5 * 2 * 2)]
    assert [tuple(w.shape) for w in weights(network)] == shapes
    assert network(torch.zeros(1, 3 * 9 * 10)).shape == (1, 4)
    assert [len(w) for w in weights(conv_net((1, 4, 5), 2, seed=0))] == [16, 32, 2]  # pooled to one pixel


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


@pytest.mark.parametrize("own", [nn.Softplus, lambda: nn.Softplus(), functools.partial(nn.Softplus, beta=1)])
def test_an_activation_may_be_a_class_or_function(own):
    assert len({layer for layer in dense(activation=own) if isinstance(layer, nn.Softplus)}) == 2


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


# Initial weights


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


def assert_distributed(values, std, fourth):
    z = torch.cat([v.detach().double().flatten() for v in values]) / std
    n = len(z)
    # Five standard errors: of the mean 1/√n, of the square (μ₄ - 1)/n, of the fourth power at most 96/n.
    assert abs(z.mean()) < 5 / math.sqrt(n)
    assert abs((z**2).mean() - 1) < 5 * math.sqrt((fourth - 1) / n)
    assert abs((z**4).mean() - fourth) < 5 * math.sqrt(96 / n)
    assert len(z.unique()) > 0.9 * n  # other numbers for every seed
    if fourth == UNIFORM:
        assert abs(z).max() <= math.sqrt(3) * (1 + 1e-6)  # a rounding in float32


@pytest.mark.parametrize("init", DISTRIBUTIONS)
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_initial_weights_have_the_distribution_that_their_name_promises(init, kind):
    if kind == "dense":
        networks = [mlp(300, 20, seed=seed, width=100, depth=1, init=init) for seed in range(10)]
        fans = [(300, 100), (100, 20)]
    else:
        networks = [conv_net((8, 4, 4), 20, seed=seed, channels=(32, 16), init=init) for seed in range(10)]
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


def test_weights_are_drawn_before_biases():
    def draw(weight, generator):
        weight.normal_(generator=generator)

    for init in ("default", draw):
        layers = nn.ModuleList([nn.Linear(5, 3), nn.Sequential(nn.Conv2d(2, 3, 3)), nn.Linear(3, 2, bias=False)])
        assert initialize(layers, 8, init) is layers
        generator = torch.Generator().manual_seed(8)
        for weight in weights(layers):
            expected = torch.empty_like(weight)
            bound = weight[0].numel() ** -0.5
            if init is draw:
                expected.normal_(generator=generator)
            else:
                expected.uniform_(-bound, bound, generator=generator)
            assert_close(weight.detach(), expected, 1e-7)  # a rounding of the bound in float32
        for bias, fan_in in ((layers[0].bias, 5), (layers[1][0].bias, 18)):
            expected = torch.zeros(3).uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
            assert_close(bias.detach(), torch.zeros(3) if init is draw else expected, 1e-7)
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


# Dropout


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
    network, again = build(dropout=0.5, activation="sigmoid"), build(dropout=0.5, activation="sigmoid")
    assert [layer.p for layer in network if isinstance(layer, Dropout)] == [0.5, 0.5]
    x = inputs(build, dtype=torch.float32)
    first, second = network(x), network(x)
    assert not torch.equal(first, second)
    assert torch.equal(again(x), first)
    assert torch.equal(copy.deepcopy(again)(x), second)
    assert torch.equal(pickle.loads(pickle.dumps(again))(x), second)
    assert torch.equal(network.eval()(x), again.eval()(x))
    other = build(dropout=0.5, activation="sigmoid", seed=6)
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


# Recurrent networks


NORM_OF_FEATURES = {None: None, "layer": nn.LayerNorm, nn.LayerNorm: nn.LayerNorm, nn.RMSNorm: nn.RMSNorm}
SIZES = {"several steps": {}, "one step": {"token": 12}, "a number per step": {"token": 1}, "squares": {"token": 6}}


class PlainRNN(nn.Module):
    """``nn.RNN`` without a norm; with one, a linear layer and a norm for each step."""

    def __init__(self, token, width, norm):
        super().__init__()
        self.token, self.width, self.head = token, width, nn.Linear(width, 4)
        if norm is None:
            self.layer = nn.RNN(token, width, batch_first=True)
            self.layer.bias_hh_l0.data.zero_()
            read, recurrent, bias = self.layer.weight_ih_l0, self.layer.weight_hh_l0, self.layer.bias_ih_l0
        else:
            self.read, self.remember = nn.Linear(token, width), nn.Linear(width, width, bias=False)
            read, recurrent, bias = self.read.weight, self.remember.weight, self.read.bias
        self.norm = norm and NORM_OF_FEATURES[norm](width)
        self.same = {"inputs.weight": read, "inputs.bias": bias, "recurrent.weight": recurrent}
        self.same |= {f"norm.{name}": p for name, p in self.norm.named_parameters()} if norm else {}
        self.same |= {"head.weight": self.head.weight, "head.bias": self.head.bias}

    def states(self, x):
        if self.norm is None:
            return self.layer(x.unflatten(1, (-1, self.token)))[0].unbind(1)
        h, found = x.new_zeros(len(x), self.width), []
        for now in x.split(self.token, dim=1):
            h = torch.tanh(self.norm(self.read(now) + self.remember(h)))
            found.append(h)
        return found

    def forward(self, x):
        return self.head(self.states(x)[-1])


@pytest.mark.parametrize("norm", NORM_OF_FEATURES)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_recurrent_network_is_that_of_pytorch(norm, size):
    how = {"token": 3, "width": 6, "norm": norm} | size
    network, plain = shaken(rnn(**how)), PlainRNN(**how).double()
    for n in (7, 1):
        x = inputs(rnn, n)
        assert_same_function(network, plain, plain.same, x)
        for ours, theirs in zip(network.states(x), plain.states(x), strict=True):
            assert_close(ours, theirs)


@pytest.mark.parametrize("gain", [1.0, 0.3, 2.5])
@pytest.mark.parametrize("width", [1, 6, 32])
def test_recurrent_weights_are_orthogonal_at_the_start(gain, width):
    w = rnn(width=width, gain=gain).recurrent.weight
    assert_close(w @ w.T, gain**2 * torch.eye(width), 1e-5 * gain**2)  # some roundings in float32


def test_only_the_recurrent_weights_are_orthogonal():
    networks = [RNN(20, 10, seed=seed, token=10, width=10, gain=3.0) for seed in range(100)]
    for name in ("inputs", "head"):
        found = [network.get_submodule(name).weight for network in networks]
        assert_distributed(found, xavier(10, 10), NORMAL)
        assert len({round(float((w @ w.T)[0, 0].detach()), 3) for w in found}) > 50  # not as of orthogonal ones
    assert not any(network.inputs.bias.any() or network.head.bias.any() for network in networks)


# Transformers


class PlainTransformer(nn.Module):
    """``nn.TransformerEncoderLayer`` without dropout."""

    def __init__(self, *, token, width, depth=2, heads=2, norm=nn.LayerNorm, place="pre"):
        super().__init__()
        norm = nn.Identity if place == "none" else functools.partial(norm, width)
        self.embed, self.head = nn.Linear(token, width), nn.Linear(width, 4)
        self.places, self.layers = nn.Parameter(torch.zeros(width, 12 // token)), nn.ModuleList()
        self.last_norm = norm() if place == "pre" else nn.Identity()
        self.same = {name: p for name, p in self.named_parameters() if "layers" not in name}
        for i in range(depth):
            how = {"dropout": 0.0, "activation": "relu", "batch_first": True, "norm_first": place == "pre"}
            layer = nn.TransformerEncoderLayer(width, heads, 2 * width, **how)
            layer.norm1, layer.norm2 = norm(), norm()
            attention = layer.self_attn
            parts = {"project": attention.out_proj, "widen": layer.linear1, "narrow": layer.linear2}
            parts |= {"norms.0": layer.norm1, "norms.1": layer.norm2}
            own = {"qkv.weight": attention.in_proj_weight, "qkv.bias": attention.in_proj_bias}
            own |= {f"{part}.{name}": p for part, module in parts.items() for name, p in module.named_parameters()}
            self.same |= {f"blocks.{i}.{name}": p for name, p in own.items()}
            self.layers.append(layer)

    def forward(self, x):
        z = self.embed(x.unflatten(1, (-1, self.embed.in_features))) + self.places.T
        for layer in self.layers:
            z = layer(z)
        return self.head(self.last_norm(z).mean(1))


@pytest.mark.parametrize(
    ("norm", "place"),
    [(nn.LayerNorm, "pre"), (nn.LayerNorm, "post"), (nn.RMSNorm, "pre"), (nn.RMSNorm, "post"), (nn.LayerNorm, "none")],
)
@pytest.mark.parametrize(
    "size", [{}, {"token": 12}, {"token": 1}, {"heads": 1, "depth": 1}, {"heads": 8, "depth": 3}, {"heads": 4}]
)
def test_a_transformer_is_that_of_pytorch(norm, place, size):
    how = {"token": 3, "width": 8, "norm": norm, "place": place} | size
    network, plain = shaken(transformer(**how)), PlainTransformer(**how).double()
    for n in (7, 1):
        assert_same_function(network, plain, plain.same, inputs(transformer, n))


def test_transformers_start_as_their_initialization_says():
    networks = [Transformer(24, 4, seed=seed, token=3, width=16, depth=1) for seed in range(60)]
    assert_distributed([network.places for network in networks], 0.5, NORMAL)
    for name in ("embed", "blocks.0.qkv", "blocks.0.project", "blocks.0.widen", "blocks.0.narrow", "head"):
        found = [network.get_submodule(name).weight for network in networks]
        assert_distributed(found, xavier(*found[0].shape), UNIFORM)
    assert not any(p.any() for name, p in networks[0].named_parameters() if name.endswith("bias"))
    w = transformer(init="orthogonal").blocks[0].project.weight
    assert_close(w @ w.T, torch.eye(8), 1e-5)  # some roundings in float32


def test_sizes_of_sequences():
    assert tuple(RNN(12, 4, seed=0, token=np.int64(4)).inputs.weight.shape) == (32, 4)
    network = Transformer(12, 4, seed=0, token=4)
    assert (network.embed.weight.shape, network.blocks[0].heads, len(network.blocks)) == ((16, 4), 2, 2)
    same = Transformer(12, 4, seed=0, token=4, place="none", norm=None).state_dict()
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in same.items())


# Random numbers and refusals


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
    other = build(norm=Drawn, seed=6)
    for (name, p), q, o in zip(
        networks[0].named_parameters(), networks[1].parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(p, q)
        assert not torch.equal(p, o) or name.endswith("bias")
    assert build(seed=2**63 - 1)(inputs(build, dtype=torch.float32)).isfinite().all()


@all_kinds
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"seed": -1}, "seed: expected an integer from 0 to .*, got -1"),
        ({"seed": 2**63}, "seed: expected an integer from 0 to"),
        ({"seed": None}, "seed: expected an integer from 0 to .*, got None"),
        ({"norm": "batchnorm"}, "norm: expected .*, got 'batchnorm'"),
        ({"norm": nn.LayerNorm(8)}, r"norm: expected (one of batch|a class).*, got LayerNorm\(\(8,\)"),
        ({"norm": True}, "norm: expected .*, got True"),
    ],
)
def test_arguments_that_no_network_takes(build, how, message):
    with pytest.raises(ValueError, match=message):
        build(**how)


@layered
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"activation": "swish"}, "activation: expected one of relu, sigmoid, .*, got 'swish'"),
        ({"activation": nn.PReLU()}, "activation: expected .* a class or function that returns a module, got PReLU"),
        ({"activation": None}, "activation: expected one of"),
        ({"activation": torch.Tensor}, "activation: expected one of"),
        ({"norm": lambda channels: torch.relu}, "norm: expected a callable that returns a module, got builtin_"),
        (
            {"norm_input": True},
            "norm_input: expected one of batch, layer, instance, group, got True; or pass a class or",
        ),
        ({"norm_input": "group"}, "norm_input: expected channels for four groups, got [26]; use another norm"),
        ({"place": "behind"}, "place: expected one of before, after, after_pool, got 'behind'"),
        ({"init": "he"}, "init: expected one of default, kaiming_normal, .*, got 'he'"),
        ({"dropout": 1.0}, "dropout: expected a number from 0 to below 1, got 1.0"),
        ({"dropout": -0.1}, "dropout: expected a number from 0 to below 1, got -0.1"),
        ({"dropout": math.nan}, "dropout: expected a number from 0 to below 1, got nan"),
    ],
)
def test_arguments_that_no_layered_network_takes(build, how, message):
    with pytest.raises(ValueError, match=message):
        build(**how)


@pytest.mark.parametrize(
    ("build", "sizes", "how", "message"),
    [
        (mlp, (0, 2), {}, "n_in: expected a positive integer, got 0"),
        (mlp, (2, 2.0), {}, "n_out: expected a positive integer, got 2.0"),
        (mlp, (2, True), {}, "n_out: expected a positive integer, got True"),
        (mlp, (2, 2), {"width": -3}, "width: expected a positive integer, got -3"),
        (mlp, (2, 2), {"depth": 0}, "depth: expected a positive integer, got 0"),
        (conv_net, (8, 2), {}, "image_shape, channels, pool_after: expected sequences of integers"),
        (conv_net, ((1, 8, 8), 2), {"channels": 4}, "expected sequences of integers"),
        (conv_net, ((1, 8, 8), 2), {"pool_after": 1}, "expected sequences of integers"),
        (conv_net, ((8, 8), 2), {}, r"image_shape, channels: expected \(C, H, W\) and .*, got \(8, 8\) and \(16, 32\)"),
        (conv_net, ((1, 8, 8), 2), {"channels": ()}, r"expected .* at least one convolution, got \(1, 8, 8\) and \(\)"),
        (conv_net, ((1, 0, 8), 2), {}, "image_shape: expected a positive integer, got 0"),
        (conv_net, ((1, 8, 8), 2.5), {}, "n_out: expected a positive integer, got 2.5"),
        (conv_net, ((1, 8, 8), 2), {"channels": (4, 0)}, "channels: expected a positive integer, got 0"),
        (conv_net, ((1, 8, 8), 2), {"pool_after": (0,)}, "pool_after: expected a positive integer, got 0"),
        (conv_net, ((1, 8, 8), 2), {"pool_after": (3,)}, "pool_after: expected convolutions from 1 to 2, got 3"),
        (conv_net, ((1, 8, 3), 2), {}, "expected at least 4 pixels per side for 2 poolings, got 8 × 3; pool less"),
        (conv_net, ((1, 8, 8), 2), {"kernel_size": 2}, "kernel_size: expected an odd number, got 2"),
        (conv_net, ((1, 8, 8), 2), {"kernel_size": 0}, "kernel_size: expected a positive integer, got 0"),
        (RNN, (0, 2), {"token": 3}, "n_in: expected a positive integer, got 0"),
        (RNN, (12, -1), {"token": 3}, "n_out: expected a positive integer, got -1"),
        (RNN, (12, 2), {"token": 5}, "token: expected a divisor of the 12 numbers of a sequence, got 5"),
        (RNN, (12, 2), {"token": 0}, "token: expected a positive integer, got 0"),
        (RNN, (12, 2), {"token": 3, "width": 0}, "width: expected a positive integer, got 0"),
        (RNN, (12, 2), {"token": 3, "gain": 0}, "gain: expected a positive number, got 0"),
        (RNN, (12, 2), {"token": 3, "gain": math.nan}, "gain: expected a positive number, got nan"),
        (Transformer, (12.0, 2), {"token": 3}, "n_in: expected a positive integer, got 12.0"),
        (Transformer, (12, True), {"token": 3}, "n_out: expected a positive integer, got True"),
        (Transformer, (12, 2), {"token": 24}, "token: expected a divisor of the 12 numbers of a sequence, got 24"),
        (
            Transformer,
            (12, 2),
            {"token": 3, "width": 8, "heads": 3},
            "heads: expected a divisor of the width, 8, got 3",
        ),
        (Transformer, (12, 2), {"token": 3, "heads": 2.0}, "heads: expected a positive integer, got 2.0"),
        (Transformer, (12, 2), {"token": 3, "depth": 0}, "depth: expected a positive integer, got 0"),
        (Transformer, (12, 2), {"token": 3, "place": "before"}, "place: expected one of pre, post, none, got 'before'"),
        (
            Transformer,
            (12, 2),
            {"token": 3, "init": "he"},
            "init: expected one of default, kaiming_normal, .*, got 'he'",
        ),
        (Transformer, (12, 2), {"token": 3, "norm": None}, "norm: expected .*, got None; for no norm use place='none'"),
    ],
)
def test_sizes_and_arguments_that_a_kind_of_network_does_not_take(build, sizes, how, message):
    with pytest.raises(ValueError, match=message):
        build(*sizes, seed=0, **how)


def test_what_has_no_layers_or_no_share_is_refused():
    with pytest.raises(ValueError, match="network: expected a Module, got list"):
        initialize([nn.Linear(2, 2)], 0)
    with pytest.raises(ValueError, match="dropout: expected a number from 0 to below 1, got 1"):
        Dropout(1, generator=torch.Generator())

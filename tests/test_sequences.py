"""Replicas that read sequences against PyTorch's own cells and layers, and against loops written out by hand."""

import copy
import functools
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from utils.data import Split
from utils.lab.training import batches, fit, outputs, sweep
from utils.networks import INITS, GroupNorm, RMSNorm
from utils.sequences import RNN, Transformer

SEEDS = (5, 0, 3)
# The same sums in another order, of numbers up to about a hundred, through a few layers and time steps in float64.
ATOL = 1e-10
PLAIN_NORMS = {"layer": nn.LayerNorm, RMSNorm: functools.partial(nn.RMSNorm, eps=1e-5)}


def rnn(**how):
    return RNN(12, 4, **{"seeds": SEEDS, "token": 3, "width": 6} | how)


def transformer(**how):
    return Transformer(12, 4, **{"seeds": SEEDS, "token": 3, "width": 8} | how)


both_kinds = pytest.mark.parametrize("build", [rnn, transformer])


def inputs(net, n=7, *, seed=0, dtype=torch.float64):
    return torch.randn(net.replicas, n, net.n_in, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def shaken(net, seed=1):
    """The network in float64 with parameters that no two replicas, units or layers have alike."""
    generator = torch.Generator().manual_seed(seed)
    net.double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.6 * (torch.rand(p.shape, generator=generator, dtype=p.dtype) - 0.5))
    return net


def assert_close(ours, theirs, atol=ATOL):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


class PlainRNN(nn.Module):
    """One recurrent network: ``nn.RNNCell`` without a norm, a linear layer and a norm for each step with one."""

    def __init__(self, n_in, n_out, *, token, width, norm=None):
        super().__init__()
        self.token, self.width = token, width
        self.head = nn.Linear(width, n_out)
        if norm is None:
            self.cell, self.norm = nn.RNNCell(token, width), None
            self.cell.bias_hh.data.zero_()
            self.cell.bias_hh.requires_grad_(False)  # a second bias would be learned twice as fast
            self.same = {
                "inputs.weight": self.cell.weight_ih,
                "inputs.bias": self.cell.bias_ih,
                "recurrent.weight": self.cell.weight_hh,
            }
        else:
            self.read, self.remember = nn.Linear(token, width), nn.Linear(width, width, bias=False)
            self.norm = PLAIN_NORMS[norm](width)
            self.same = {
                "inputs.weight": self.read.weight,
                "inputs.bias": self.read.bias,
                "recurrent.weight": self.remember.weight,
                **{f"norm.{name}": p for name, p in self.norm.named_parameters()},
            }
        self.same |= {"head.weight": self.head.weight, "head.bias": self.head.bias}

    def states(self, x):
        h, found = x.new_zeros(len(x), self.width), []
        for start in range(0, x.shape[1], self.token):
            now = x[:, start : start + self.token]
            h = self.cell(now, h) if self.norm is None else torch.tanh(self.norm(self.read(now) + self.remember(h)))
            found.append(h)
        return found

    def forward(self, x):
        return self.head(self.states(x)[-1])


class PlainTransformer(nn.Module):
    """One transformer, of ``nn.TransformerEncoderLayer``."""

    def __init__(self, n_in, n_out, *, token, width, depth=2, heads=2, norm="layer", place="pre"):
        super().__init__()
        self.embed, self.head = nn.Linear(token, width), nn.Linear(width, n_out)
        self.places = nn.Parameter(torch.zeros(width, n_in // token))
        self.same = {
            "embed.weight": self.embed.weight,
            "embed.bias": self.embed.bias,
            "places": self.places,
            "head.weight": self.head.weight,
            "head.bias": self.head.bias,
        }
        self.layers = nn.ModuleList()
        for i in range(depth):
            how = {"dropout": 0.0, "activation": "relu", "batch_first": True, "norm_first": place == "pre"}
            layer = nn.TransformerEncoderLayer(width, heads, 2 * width, **how)
            attention = layer.self_attn
            self.same |= {
                f"blocks.{i}.qkv.weight": attention.in_proj_weight,
                f"blocks.{i}.qkv.bias": attention.in_proj_bias,
            }
            for ours, theirs in (("project", attention.out_proj), ("widen", layer.linear1), ("narrow", layer.linear2)):
                self.same |= {f"blocks.{i}.{ours}.{name}": p for name, p in theirs.named_parameters()}
            for k, name in enumerate(("norm1", "norm2")):
                own = nn.Identity() if place == "none" else PLAIN_NORMS[norm](width)
                setattr(layer, name, own)
                self.same |= {f"blocks.{i}.norms.{k}.{name}": p for name, p in own.named_parameters()}
            self.layers.append(layer)
        self.last_norm = PLAIN_NORMS[norm](width) if place == "pre" else nn.Identity()
        self.same |= {f"last_norm.{name}": p for name, p in self.last_norm.named_parameters()}

    def forward(self, x):
        z = self.embed(x.unflatten(1, (-1, self.embed.in_features))) + self.places.T
        for layer in self.layers:
            z = layer(z)
        return self.head(self.last_norm(z).mean(1))


def copied(plain, net, r):
    """The plain network with the numbers of replica r; none is left over."""
    plain.double()
    own = dict(net.named_parameters())
    assert set(plain.same) == set(own)
    assert {id(p) for p in plain.same.values()} == {id(p) for p in plain.parameters() if p.requires_grad}
    with torch.no_grad():
        for name, p in plain.same.items():
            p.copy_(own[name][r])
    return plain


def assert_same_function(net, plain, x):
    """Outputs, and the gradients of a random combination of them, of every replica."""
    x = x.clone().requires_grad_()
    y = net(x)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=y.dtype)
    names = [name for name, p in net.named_parameters()]
    gradients = torch.autograd.grad((y * direction).sum(), [x, *net.parameters()], materialize_grads=True)
    for r, one in enumerate(plain):
        own = x[r].detach().requires_grad_()
        theirs = one(own)
        assert_close(y[r], theirs)
        wanted = torch.autograd.grad(
            (theirs * direction[r]).sum(), [own, *(one.same[name] for name in names)], materialize_grads=True
        )
        for name, ours, expected in zip(["x", *names], gradients, wanted, strict=True):
            torch.testing.assert_close(ours[r], expected, rtol=0, atol=ATOL, msg=lambda m, name=name: f"{name}: {m}")


SIZES = {"several steps": {}, "one step": {"token": 12}, "a number a step": {"token": 1}, "squares": {"token": 6}}


@pytest.mark.parametrize("norm", [None, "layer", RMSNorm])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_recurrent_replicas_are_what_pytorch_computes_for_one(norm, size):
    how = {"token": 3, "width": 6, "norm": norm} | size
    net = shaken(rnn(**how))
    plain = [copied(PlainRNN(12, 4, **how), net, r) for r in range(3)]
    for n in (7, 1):
        x = inputs(net, n, seed=n)
        assert_same_function(net, plain, x)
        states = net.states(x)
        assert [tuple(h.shape) for h in states] == [(3, 6, n)] * (12 // how["token"])
        for r, one in enumerate(plain):
            for ours, theirs in zip(states, one.states(x[r]), strict=True):
                assert_close(ours[r].T, theirs)


def test_a_recurrent_network_with_layer_norm_written_out():
    net = shaken(rnn(norm="layer"))
    x = inputs(net)
    for r in range(3):
        w_x, b, w_h = net.inputs.weight[r], net.inputs.bias[r], net.recurrent.weight[r]
        h = torch.zeros(7, 6, dtype=torch.float64)
        for now in x[r].split(3, dim=1):
            a = now @ w_x.T + b + h @ w_h.T
            mean, var = a.mean(1, keepdim=True), a.var(1, correction=0, keepdim=True)
            h = torch.tanh((a - mean) / torch.sqrt(var + 1e-5) * net.norm.weight[r] + net.norm.bias[r])
        assert_close(net(x)[r], h @ net.head.weight[r].T + net.head.bias[r])


def test_a_norm_of_ones_own_gets_the_numbers_of_replicas_and_units():
    net = shaken(rnn(norm=functools.partial(GroupNorm, groups=2, eps=0.5)))
    assert (net.norm.weight.shape, net.norm.groups, net.norm.eps) == ((3, 6), 2, 0.5)
    net = shaken(transformer(norm=functools.partial(RMSNorm, eps=0.5), depth=3))
    norms = [*(norm for block in net.blocks for norm in block.norms), net.last_norm]
    assert [(tuple(norm.weight.shape), norm.eps) for norm in norms] == 7 * [((3, 8), 0.5)]


@pytest.mark.parametrize(
    ("norm", "place"), [("layer", "pre"), ("layer", "post"), (RMSNorm, "pre"), (RMSNorm, "post"), ("layer", "none")]
)
@pytest.mark.parametrize(
    "size", [{}, {"token": 12}, {"token": 1}, {"heads": 1, "depth": 1}, {"heads": 8, "depth": 3}, {"heads": 4}]
)
def test_transformer_replicas_are_what_pytorch_computes_for_one(norm, place, size):
    how = {"token": 3, "width": 8, "norm": norm, "place": place} | size
    net = shaken(transformer(**how))
    plain = [copied(PlainTransformer(12, 4, **how), net, r) for r in range(3)]
    for n in (7, 1):
        assert_same_function(net, plain, inputs(net, n, seed=n))


def test_a_transformer_without_norms_written_out():
    net = shaken(transformer(place="none", heads=2, depth=1))
    x, block = inputs(net), net.blocks[0]
    assert len(block.norms) == 0
    assert net.last_norm is None

    def linear(layer, r, z):
        return layer.weight[r] @ z + layer.bias[r]

    for r in range(3):
        for i, example in enumerate(x[r]):
            tokens = [linear(net.embed, r, example[3 * t : 3 * t + 3]) + net.places[r, :, t] for t in range(4)]
            q, k, v = zip(*(linear(block.qkv, r, z).chunk(3) for z in tokens), strict=True)
            out = []
            for t, z in enumerate(tokens):
                heads = []
                for own in (slice(0, 4), slice(4, 8)):
                    scores = torch.stack([q[t][own] @ k[s][own] / math.sqrt(4) for s in range(4)]).exp()
                    heads.append(sum(p * v[s][own] for s, p in enumerate(scores / scores.sum())))
                z = z + linear(block.project, r, torch.cat(heads))
                out.append(z + linear(block.narrow, r, linear(block.widen, r, z).clamp(min=0)))
            assert_close(net(x)[r, i], linear(net.head, r, sum(out) / 4))


def test_the_places_alone_tell_one_order_of_the_tokens_from_another():
    net = shaken(transformer())
    x = inputs(net)
    turned = x.unflatten(2, (4, 3)).flip(2).flatten(2)
    assert (net(x) - net(turned)).abs().max() > 0.01
    with torch.no_grad():
        net.places.zero_()
    assert_close(net(x), net(turned))


@both_kinds
def test_replicas_know_nothing_of_each_other(build):
    net = shaken(build(norm="layer"))
    x = inputs(net)
    expected = net(x)
    x[1] = math.nan
    y = net(x)
    assert torch.equal(y[[0, 2]], expected[[0, 2]])
    assert y[1].isnan().all()
    with torch.no_grad():
        for p in net.parameters():
            p[1] = math.inf
    assert torch.equal(net(inputs(net))[[0, 2]], expected[[0, 2]])


@both_kinds
def test_one_seed_one_initialization_whatever_stands_beside_it(build):
    net, alone, twice = build(seeds=(3, 1, 4)), build(seeds=[1]), build(seeds=(1, 4, 1))
    drawn = 0
    pairs = zip(net.named_parameters(), alone.parameters(), twice.parameters(), strict=True)
    for (name, together), single, double in pairs:
        assert torch.equal(together[1], single[0])
        assert torch.equal(double[0], single[0])
        assert torch.equal(double[2], single[0])
        assert torch.equal(double[1], together[2])
        if name == "places" or (name.endswith("weight") and "norm" not in name):
            drawn += 1
            for other in (together[0], together[2]):
                assert not torch.equal(other, together[1])
    assert drawn == (3 if build is rnn else 2 + 2 * 4 + 1)


@both_kinds
def test_networks_with_and_without_norms_start_alike(build):
    options = [{"norm": RMSNorm}, {"norm": None} if build is rnn else {"place": "none"}]
    ours = dict(build(norm="layer").named_parameters())
    for how in options:
        for name, p in build(**how).named_parameters():
            if "norm" not in name:
                assert torch.equal(p, ours[name])
    for name, p in ours.items():
        if name.endswith("bias"):
            assert not p.any()
        elif "norm" in name:
            assert (p == 1).all()


@pytest.mark.parametrize("gain", [1.0, 0.3, 2.5])
@pytest.mark.parametrize("width", [1, 6, 32])
def test_recurrent_weights_are_orthogonal_at_the_start(gain, width):
    net = rnn(width=width, gain=gain)
    for w in net.recurrent.weight.detach():
        assert_close(w @ w.T, gain**2 * torch.eye(width), 1e-5 * gain**2)  # some roundings in float32
    assert net.recurrent.bias is None


@pytest.mark.parametrize("token", [10, 20])  # the inputs and the head are as wide as the hidden state, or wider
def test_only_the_recurrent_weights_are_orthogonal(token):
    net = RNN(20, 10, seeds=range(100), token=token, width=10, gain=3.0)
    for weight in (net.inputs.weight, net.head.weight):
        _, n_out, n_in = weight.shape
        z = weight.detach().double().flatten() / math.sqrt(2 / (n_in + n_out))
        # Five standard errors of normal numbers: of the mean 1/√n, of the square √(2/n), of the fourth power √(96/n).
        assert abs(z.mean()) < 5 / math.sqrt(len(z))
        assert abs((z**2).mean() - 1) < 5 * math.sqrt(2 / len(z))
        assert abs((z**4).mean() - 3) < 5 * math.sqrt(96 / len(z))
        products = weight.detach() @ weight.detach().mT
        assert (products - products[:1]).abs().max() > 0.1  # orthogonal ones have the same in every replica


def test_transformers_start_as_their_initialization_says():
    net = Transformer(24, 4, seeds=range(60), token=3, width=16, depth=1)
    z = net.places.detach().double().flatten() / 0.5
    assert z.numel() == 60 * 16 * 8
    assert abs(z.mean()) < 5 / math.sqrt(len(z))  # five standard errors, as above
    assert abs((z**2).mean() - 1) < 5 * math.sqrt(2 / len(z))
    block = net.blocks[0]
    for layer in (net.embed, block.qkv, block.project, block.widen, block.narrow, net.head):
        _, n_out, n_in = layer.weight.shape
        z = layer.weight.detach().double().flatten() / math.sqrt(6 / (n_in + n_out))  # uniform within ±1
        assert 0.98 < abs(z).max() <= 1 + 1e-6  # a rounding in float32; 0.98 ** 2880 is 5e-26
        assert abs((z**2).mean() - 1 / 3) < 5 * math.sqrt(4 / 45 / len(z))
    for init in INITS:
        net = transformer(init=init)
        assert all(p.isfinite().all() for p in net.parameters())
        assert not net.head.bias.any()
    assert not transformer(init="zeros").blocks[1].widen.weight.any()
    w = transformer(init="orthogonal").blocks[0].project.weight.detach()
    assert_close(w @ w.mT, torch.eye(8).expand(3, 8, 8), 1e-5)  # some roundings in float32


@both_kinds
def test_sizes(build):
    net = build(seeds=np.arange(2), token=np.int64(4))
    assert (net.n_in, net.n_out, net.token, net.seeds, net.replicas) == (12, 4, 4, (0, 1), 2)
    assert {type(number) for number in (net.n_in, net.n_out, net.token, *net.seeds)} == {int}
    for n in (1, 5):
        assert net(torch.zeros(2, n, 12)).shape == (2, n, 4)
    sizes = {name: tuple(p.shape[1:]) for name, p in net.named_parameters()}
    if build is rnn:
        assert (sizes["inputs.weight"], sizes["recurrent.weight"], sizes["head.weight"]) == ((6, 4), (6, 6), (4, 6))
        assert RNN(12, 4, seeds=[0], token=3).recurrent.weight.shape == (1, 32, 32)
    else:
        assert (sizes["embed.weight"], sizes["places"], sizes["head.weight"]) == ((8, 4), (8, 3), (4, 8))
        net = Transformer(12, 4, seeds=[0], token=3)
        assert (net.embed.weight.shape, len(net.blocks), net.blocks[0].heads) == ((1, 16, 3), 2, 2)


@both_kinds
def test_precision_is_that_of_the_parameters(build):
    exact = shaken(build(norm="layer"))
    net = copy.deepcopy(exact).float()
    x = inputs(net)
    y = net(x.float())
    assert (y.dtype, exact(x).dtype) == (torch.float32, torch.float64)
    assert_close(y.double(), exact(x), 1e-3)  # some hundred roundings of 6e-8 of numbers up to ten, in a loop or two


@both_kinds
def test_copies_pickles_and_state_dicts_bring_everything_back(build):
    net = shaken(build(norm="layer"))
    x = inputs(net)
    other = build(norm="layer", seeds=(7, 8, 9)).double()
    other.load_state_dict(net.state_dict())
    for same in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), other, copy.deepcopy(net).eval()):
        assert torch.equal(same(x), net(x))


@both_kinds
def test_global_random_numbers_and_inputs_are_left_alone(build):
    before = torch.random.get_rng_state()
    net = build(norm="layer")
    x = inputs(net, dtype=torch.float32)
    kept = x.clone()
    net(x)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(x, kept)


def examples(seed, *, n=45, d=12, classes=4):
    """Gaussian clouds, a little apart."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, d))
    parts = [rng.integers(classes, size=size) for size in (n, n // 3)]
    return Split(*(a for y in parts for a in (centres[y] + rng.standard_normal((len(y), d)), y)))


TRAINED = {
    "rnn": (rnn, PlainRNN, {"token": 3, "width": 6, "norm": None}),
    "rnn, layer": (rnn, PlainRNN, {"token": 3, "width": 6, "norm": "layer"}),
    "rnn, one step": (rnn, PlainRNN, {"token": 12, "width": 6, "norm": None}),
    "pre": (transformer, PlainTransformer, {"token": 3, "width": 8, "place": "pre"}),
    "post, rms": (transformer, PlainTransformer, {"token": 3, "width": 8, "place": "post", "norm": RMSNorm}),
    "none": (transformer, PlainTransformer, {"token": 3, "width": 8, "place": "none"}),
    "one step": (transformer, PlainTransformer, {"token": 12, "width": 8}),
}


@pytest.mark.parametrize(("build", "plain_kind", "how"), TRAINED.values(), ids=TRAINED)
@pytest.mark.parametrize(
    ("optimizer", "settings"), [("sgd", {}), ("sgd", {"momentum": 0.9, "weight_decay": 0.01}), ("adam", {})]
)
def test_each_replica_is_trained_as_it_would_be_alone(build, plain_kind, how, optimizer, settings):
    net, rates = build(**how).double(), np.array([0.01, 0.03, 0.002])
    alone = [copied(plain_kind(12, 4, **how), net, r) for r in range(3)]
    splits = [examples(0), examples(1), examples(0)]
    history = fit(net, splits, steps=8, batch_size=9, learning_rates=rates, optimizer=optimizer, **settings)
    for r, plain in enumerate(alone):
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
        stepper = kind([p for p in plain.parameters() if p.requires_grad], lr=rates[r], **settings)
        x, y = torch.tensor(splits[r].x_train), torch.tensor(splits[r].y_train)
        for step, rows in enumerate(batches(45, 9, 8, seed=SEEDS[r])):
            loss = F.cross_entropy(plain(x[rows]), y[rows])
            stepper.zero_grad()
            loss.backward()
            stepper.step()
            assert abs(history.loss[step, r] - loss.item()) < ATOL
        for name, p in net.named_parameters():
            # Adam divides a gradient by its size plus 1e-8: roundings of 1e-16 may grow by 1e8 where it is 0, as in the
            # biases of the keys, and are then multiplied by the rate and the number of steps.
            assert_close(p[r], plain.same[name], 1e-8 if optimizer == "adam" else ATOL)
        right = plain(torch.tensor(splits[r].x_test)).argmax(1).numpy() == splits[r].y_test
        assert history.final()[r] == 100 * right.mean()


@both_kinds
def test_a_sweep_is_every_seed_at_every_rate(build):
    splits, rates = [examples(0), examples(1)], (0.02, 0.1)
    how = {"steps": 6, "batch_size": 9, "evaluate": 3}
    history = sweep(lambda seeds: build(seeds=seeds).double(), splits, learning_rates=rates, **how)
    assert list(zip(history.seeds.tolist(), history.learning_rates.tolist(), strict=True)) == [
        (seed, rate) for seed in (0, 1) for rate in rates
    ]
    for r, (seed, rate) in enumerate(zip(history.seeds.tolist(), history.learning_rates, strict=True)):
        net = build(seeds=[seed]).double()
        alone = fit(net, splits[seed], learning_rates=rate, **how)
        np.testing.assert_allclose(history.loss[:, r], alone.loss[:, 0], rtol=0, atol=ATOL)
        np.testing.assert_array_equal(history.accuracy["test"][:, r], alone.accuracy["test"][:, 0])


@both_kinds
def test_outputs_in_blocks_are_those_at_once(build):
    net, split = build().double(), examples(0, n=300)
    assert_close(outputs(net, split, "train"), net(torch.tensor(split.x_train).expand(3, -1, -1)).detach())


@both_kinds
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"seeds": 16}, r"seeds: expected integers, one a replica, such as range\(16\), got 16"),
        ({"seeds": []}, "seeds: expected at least one integer from 0"),
        ({"seeds": [-1]}, "seeds: expected at least one integer from 0"),
        ({"token": 5}, "token: expected a divisor of the 12 numbers of a sequence, got 5"),
        ({"token": 24}, "token: expected a divisor of the 12 numbers of a sequence, got 24"),
        ({"token": 0}, "token: expected a positive integer, got 0"),
        ({"token": 3.0}, "token: expected a positive integer, got 3.0"),
        ({"token": True}, "token: expected a positive integer, got True"),
        ({"width": 0}, "width: expected a positive integer, got 0"),
        ({"norm": "layernorm"}, "norm: expected one of batch, layer, instance, group, got 'layernorm'"),
        ({"norm": functools.partial(GroupNorm, groups=5)}, "groups: expected a divisor of the . channels, got 5"),
    ],
)
def test_arguments_that_no_network_takes(build, how, message):
    with pytest.raises(ValueError, match=message):
        build(**how)


@pytest.mark.parametrize("kind", [RNN, Transformer])
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 2), "n_in: expected a positive integer, got 0"),
        ((12.0, 2), "n_in: expected a positive integer, got 12.0"),
        ((12, -1), "n_out: expected a positive integer, got -1"),
        ((12, True), "n_out: expected a positive integer, got True"),
    ],
)
def test_sizes_that_no_network_takes(kind, sizes, message):
    with pytest.raises(ValueError, match=message):
        kind(*sizes, seeds=range(2), token=3)


@pytest.mark.parametrize("gain", [0, -1.0, math.nan])
def test_gains_that_are_not_positive(gain):
    with pytest.raises(ValueError, match=f"gain: expected a positive number, got {gain}"):
        rnn(gain=gain)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"heads": 3}, "heads: expected a divisor of the width, 8, got 3"),
        ({"heads": 0}, "heads: expected a positive integer, got 0"),
        ({"heads": 2.0}, "heads: expected a positive integer, got 2.0"),
        ({"depth": 0}, "depth: expected a positive integer, got 0"),
        ({"place": "before"}, "place: expected one of pre, post, none, got 'before'"),
        ({"place": None}, "place: expected one of pre, post, none, got None"),
        ({"init": "he"}, "init: expected one of default, kaiming_normal, .*, got 'he'"),
        ({"norm": None}, "norm: expected .* with place 'pre', got None; .* place='none'"),
        ({"norm": None, "place": "post"}, "norm: expected .* with place 'post', got None"),
    ],
)
def test_arguments_that_transformers_do_not_take(how, message):
    with pytest.raises(ValueError, match=message):
        transformer(**how)


def test_no_norm_where_there_is_no_place_for_it():
    net, same = transformer(place="none", norm=None), transformer(place="none")
    assert torch.equal(net(inputs(net, dtype=torch.float32)), same(inputs(net, dtype=torch.float32)))


@both_kinds
@pytest.mark.parametrize("shape", [(5, 12), (2, 5, 12), (3, 5, 11), (3, 5, 24), (3, 5, 12, 1), (3, 5, 4, 3)])
def test_inputs_of_the_wrong_shape_are_refused(build, shape):
    net = build()
    for method in [net, *([net.states] if build is rnn else [])]:
        with pytest.raises(ValueError, match=r"x: expected shape \(3, B, 12\), got \("):
            method(torch.zeros(shape))

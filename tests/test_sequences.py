"""Recurrent networks and transformers against those of PyTorch, and how they start."""

import functools

import numpy as np
import pytest
import torch
from network_fixtures import (
    NORMAL,
    UNIFORM,
    assert_close,
    assert_distributed,
    assert_same_function,
    inputs,
    rnn,
    shaken,
    transformer,
    xavier,
)
from torch import nn

from utils.lab.sequences import RNN, Transformer

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


@pytest.mark.parametrize(
    ("build", "names"), [(RNN, ("token", "width")), (Transformer, ("token", "width", "depth", "heads"))]
)
def test_sizes_are_positive(build, names):
    for name in ("n_in", "n_out", *names):
        with pytest.raises(ValueError, match=f"{name}: expected a positive integer, got 0"):
            build(**{"n_in": 12, "n_out": 2, "seed": 0, "token": 3} | {name: 0})


@pytest.mark.parametrize(
    ("build", "how", "message"),
    [
        (RNN, {"token": 5}, "token: expected a divisor of the 12 numbers of a sequence, got 5"),
        (RNN, {"gain": 0}, "gain: expected a positive number, got 0"),
        (Transformer, {"token": 24}, "token: expected a divisor of the 12 numbers of a sequence, got 24"),
        (Transformer, {"width": 8, "heads": 3}, "heads: expected a divisor of the width, 8, got 3"),
        (Transformer, {"norm": None}, "norm: expected .*, got None; for no norm use place='none'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(build, how, message):
    with pytest.raises(ValueError, match=message):
        build(**{"n_in": 12, "n_out": 2, "seed": 0, "token": 3} | how)

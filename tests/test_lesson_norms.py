"""The modules and norms of lesson 07, as its cells define them, against PyTorch's; and what is wrong is rejected."""

import tomllib
from functools import cache

import numpy as np
import parity
import pytest
import torch
from edits import FOLDER
from lesson_norms import CHECKS, NORMS, definitions, modules
from torch import nn
from twins import array, close

LESSON = definitions()
WRONG = tomllib.loads((FOLDER / "lesson_07.toml").read_text(encoding="utf-8"))
EVERY = [(family, name) for family in NORMS for name in CHECKS[family]]
# A module of the lesson, with arguments, and an input.
EXAMPLES = {
    "GroupNorm": ((2, 6), (4, 6, 5, 3)),
    "LayerNorm": ((8,), (4, 5, 8)),
    "Recurrent": ((nn.LayerNorm, 1.5), (4, 1, 7, 28)),
    "Block": ((True,), (4, 5, 64)),
}


def numbers(shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(0.5, 2, shape))


def gradients(net, x, dy, *names):
    """Output, gradient of the input and those of the parameters with these names, or of all."""
    x = x.clone().requires_grad_()
    net.zero_grad()
    y = net(x)
    y.backward(dy)
    own = dict(net.named_parameters())
    return [array(a) for a in (y, x.grad, *(own[name].grad for name in names or own))]


@cache
def found(name):
    """What the checks of its norm find wrong with the lesson after an edit."""
    wrong = WRONG[name]
    lesson = definitions(wrong["of"], [(edit["find"], edit["replace"]) for edit in wrong["edits"]])
    family = wrong["caught_by"].split("-")[0]
    return parity.failures(NORMS[family](lesson), CHECKS[family])


def test_every_module_of_the_lesson_is_compared():
    assert set(modules(LESSON)) == set(EXAMPLES)


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_a_norm_of_the_lesson_passes(family, name):
    CHECKS[family][name](NORMS[family](LESSON))


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_one_is_rejected(name):
    assert WRONG[name]["caught_by"] in found(name), f"{WRONG[name]['why']} Found by {list(found(name)) or 'nothing'}"


@pytest.mark.parametrize("family", ["axes", "group", "layer", "rms"])
def test_every_check_finds_something(family):
    every = [found(name) for name in WRONG if WRONG[name]["caught_by"].startswith(f"{family}-")]
    assert set().union(*every) == set(CHECKS[family])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_module_does_not_look_at_the_batch_and_keeps_dtype_mode_and_state(name, dtype):
    how, shape = EXAMPLES[name]
    net = LESSON[name](*how).to(dtype)
    x = numbers(shape).to(dtype)
    with torch.no_grad():
        y = net(x)
        assert y.dtype == dtype
        # Other shapes take other kernels, which add in another order.
        tolerance = 1e-5 if dtype == torch.float32 else 1e-12
        close(net(x[:1]), y[:1], tolerance, "one example alone")
        close(net.eval()(x), y, tolerance, "evaluation")
        other = LESSON[name](*how).to(dtype)
        for parameter in other.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
        net.load_state_dict(other.state_dict())
        close(net(x), other.eval()(x), tolerance, "after load_state_dict")


@pytest.mark.parametrize("shape", [(4, 1, 7, 28), (1, 1, 28, 28), (3, 1, 1, 28)])
def test_the_recurrent_network_is_that_of_pytorch_with_a_norm(shape):
    ours = LESSON["Recurrent"](nn.Identity, 1.5).double()
    theirs = nn.RNN(28, 64, batch_first=True).double()
    answer = nn.Linear(64, 10).double()
    nn.init.normal_(ours.read.bias, generator=torch.Generator().manual_seed(0))
    theirs.load_state_dict(
        {
            "weight_ih_l0": ours.read.weight.detach(),
            "bias_ih_l0": ours.read.bias.detach(),
            "weight_hh_l0": ours.remember.weight.detach(),
            "bias_hh_l0": torch.zeros(64).double(),
        }
    )
    answer.load_state_dict(ours.answer.state_dict())
    x, dy = numbers(shape), numbers((shape[0], 10), seed=1)
    got = gradients(ours, x, dy, "read.weight", "read.bias", "remember.weight")
    leaf = x.clone().requires_grad_()
    y = answer(theirs(leaf.squeeze(1))[0][:, -1])
    y.backward(dy)
    own = theirs.weight_ih_l0, theirs.bias_ih_l0, theirs.weight_hh_l0
    for ours, reference in zip(got, (y, leaf.grad, *(one.grad for one in own)), strict=True):
        close(ours, reference)


def test_the_norm_of_the_recurrent_network_sees_one_state_of_one_sequence():
    net = LESSON["Recurrent"](nn.LayerNorm, 4.0).double()
    x = numbers((3, 1, 5, 28))
    h = np.zeros((3, 64))
    for t in range(5):
        a = array(x)[:, 0, t] @ array(net.read.weight).T + array(net.read.bias) + h @ array(net.remember.weight).T
        a = (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, keepdims=True) + 1e-5)
        h = np.tanh(a)
    close(net(x), h @ array(net.answer.weight).T + array(net.answer.bias))


@pytest.mark.parametrize("pre", [True, False])
@pytest.mark.parametrize("shape", [(4, 5, 64), (1, 7, 64), (3, 1, 64)])
def test_a_block_is_the_layer_of_pytorch(shape, pre):
    ours = LESSON["Block"](pre).double()
    how = {"dropout": 0.0, "batch_first": True, "norm_first": pre}
    theirs = nn.TransformerEncoderLayer(64, 4, 256, **how).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    names = {"attention": "self_attn", "dense.0": "linear1", "dense.2": "linear2"}
    names |= {"norms.0.gamma": "norm1.weight", "norms.0.beta": "norm1.bias"}
    names |= {"norms.1.gamma": "norm2.weight", "norms.1.beta": "norm2.bias"}

    def renamed(name):
        own = next(own for own in names if name.startswith(own))
        return names[own] + name.removeprefix(own)

    theirs.load_state_dict({renamed(name): value for name, value in ours.state_dict().items()})
    x, dy = numbers(shape), numbers(shape, seed=1)
    every = [name for name, _ in ours.named_parameters()]
    for training in (True, False):
        got = gradients(ours.train(training), x, dy, *every)
        want = gradients(theirs.train(training), x, dy, *map(renamed, every))
        for name, a, b in zip(("y", "dx", *every), got, want, strict=True):
            # The gradient of the key's bias is zero: a softmax does not see what all keys share.
            close(a, b, what=name) if np.abs(b).max() > 1e-10 else close(a + 1, b + 1, what=name)

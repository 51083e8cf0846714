"""Training a stack against training each of its networks alone with torch.optim; evaluation."""

import copy
import functools
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_fixtures import (
    CLASSES,
    HOW,
    KINDS,
    RATES,
    SEEDS,
    N,
    assert_same_history,
    examples,
    orders,
    stack,
    states_equal,
)

from utils.data import Split
from utils.lab.optim import SGD, Adam
from utils.lab.replicas import Stack
from utils.lab.training import batches, cross_entropy, fit, outputs


def train_alone(net, split, rows, rate, *, optimizer, schedule=lambda step: 1, term=lambda net: 0, **settings):
    """A network under torch.optim on given rows; the loss of every step."""
    stepper, losses = optimizer(net.parameters(), lr=rate, **settings), []
    scheduler = torch.optim.lr_scheduler.LambdaLR(stepper, schedule)
    x, y = torch.tensor(split.x_train, dtype=next(net.parameters()).dtype), torch.tensor(split.y_train)
    for batch in rows:
        loss = F.cross_entropy(net(x[batch]), y[batch]) + term(net)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        scheduler.step()
        losses.append(loss.item())
    return np.array(losses)


NETWORKS = {
    "mlp": ("mlp", {}),
    "mlp, batch norm": ("mlp", {"norm": "batch", "activation": "tanh"}),
    "mlp, batch norm after, and of inputs": ("mlp", {"norm": "batch", "place": "after", "norm_input": "batch"}),
    "mlp, averages": ("mlp", {"norm": functools.partial(nn.BatchNorm1d, momentum=None, affine=False)}),
    "mlp, RMS norm": ("mlp", {"norm": nn.RMSNorm}),
    "conv_net, layer norm": ("conv_net", {"norm": "layer"}),
    "conv_net, batch norm": ("conv_net", {"norm": "batch"}),
    "RNN, layer norm": ("RNN", {"norm": "layer"}),
    "Transformer": ("Transformer", {}),
}
FALLING = {"weight_decay": 0.01, "schedule": lambda step: 1 / (1 + step)}
OPTIMIZERS = {
    "momentum": (SGD, torch.optim.SGD, {"momentum": 0.9, **FALLING}),
    "adam": (Adam, torch.optim.Adam, {}),
    "adam, all": (Adam, torch.optim.Adam, {"betas": (0.8, 0.9), "eps": 1e-3, **FALLING}),
}


STRENGTHS = torch.tensor([0.5, 0.0, 0.05], dtype=torch.float64)


def penalized(model, x, y):
    """The cross-entropy and fourth powers of all parameters of each replica, with a strength of its own."""
    return cross_entropy(model, x, y) + STRENGTHS * sum(p.pow(4).flatten(1).sum(1) for p in model.parameters())


@pytest.mark.parametrize(("kind", "how"), NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(("optimizer", "reference", "settings"), OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("own", [{}, {"batch_size": orders, "loss": penalized}], ids=["default", "own loss and rows"])
def test_each_network_is_what_it_would_be_alone(kind, how, optimizer, reference, settings, own):
    net, shared, rates = stack(kind, **how).double(), examples(0), np.array(RATES) * 0.1
    splits, alone = [shared, examples(1), shared], [net.replica(r) for r in range(3)]
    ours = {"learning_rates": rates, "optimizer": functools.partial(optimizer, **settings)}
    history = fit(net, splits, **HOW | ours | own)
    for r, plain in enumerate(alone):

        def term(one, strength=STRENGTHS[r] if own else 0):
            return strength * sum(p.pow(4).sum() for p in one.parameters())

        rows = orders(SEEDS[r]) if own else batches(N, 8, 10, seed=SEEDS[r])
        losses = train_alone(plain, splits[r], rows, rates[r], optimizer=reference, term=term, **settings)
        # Ten steps in float64: roundings of 1e-16, which norms and training make up to a million times larger.
        torch.testing.assert_close(dict(net.replica(r).state_dict()), dict(plain.state_dict()), rtol=0, atol=1e-9)
        np.testing.assert_allclose(history.loss[:, r], losses, rtol=0, atol=1e-9)
    assert history.seeds.tolist() == list(SEEDS)
    assert history.loss.dtype == np.float64
    assert not history.diverged.any()


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *itertools.product(("mlp", "conv_net"), ({}, {"norm": "batch"})),
        ("RNN", {"norm": "layer"}),
        ("Transformer", {"place": "none"}),
    ],
)
@pytest.mark.parametrize(("optimizer", "reference"), [(SGD, torch.optim.SGD), (Adam, torch.optim.Adam)])
def test_a_network_that_diverges_disturbs_no_other(kind, how, optimizer, reference):
    net, same = stack(kind, **how), stack(kind, **how)
    plain, split = net.replica(1), examples(0, validation=True)
    settings = {"steps": [3, 12], "batch_size": 8, "optimizer": optimizer}
    history = fit(net, split, learning_rates=[0.1, 1e25, 0.02], **settings)
    tame = fit(same, split, learning_rates=[0.1, 0.1, 0.02], **settings)
    assert states_equal(net, same, [0, 2])
    np.testing.assert_array_equal(history.loss[:, [0, 2]], tame.loss[:, [0, 2]])
    np.testing.assert_array_equal(history.diverged_at[[0, 2]], np.inf)
    for part in ("validation", "test"):
        np.testing.assert_array_equal(history.accuracy[part][:, [0, 2]], tame.accuracy[part][:, [0, 2]])
        assert np.isfinite(history.accuracy[part]).all()
    if "norm" not in how:  # which keeps the hidden units small
        losses = train_alone(plain, split, batches(N, 8, 12, seed=SEEDS[1]), 1e25, optimizer=reference)
        first = next(step for step, loss in enumerate(losses, 1) if not math.isfinite(loss))
        assert 1 < first == history.diverged_at[1]
        np.testing.assert_allclose(history.loss[: first - 1, 1], losses[: first - 1], rtol=1e-4)  # in float32
        assert (history.loss[first - 1 :, 1] == np.inf).all()
        assert (history.final()[1], history.final("validation")[1]) == (0, 0)


@pytest.mark.parametrize("value", [math.inf, math.nan, -math.inf])
def test_a_loss_that_is_finite_again_stays_infinite(value):
    net, calls = stack(), []

    def third_is_none(model, x, y):
        calls.append(y)
        return cross_entropy(model, x, y) + torch.tensor([0, value if len(calls) == 3 else 0, 0])

    history = fit(net, examples(0), loss=third_is_none, **HOW)
    assert all(p.isfinite().all() for p in net.parameters())
    expected = np.ones((10, 3), dtype=bool)
    expected[2:, 1] = False
    np.testing.assert_array_equal(np.isfinite(history.loss), expected)
    assert (history.loss[~expected] == np.inf).all()
    assert history.diverged_at.tolist() == [math.inf, 3, math.inf]


def test_a_network_whose_outputs_are_not_numbers_classifies_nothing():
    net = Stack([nn.Linear(1, 3) for _ in range(3)])
    with torch.no_grad():
        net.network.bias.zero_()
        net.network.weight.zero_()[:, 0, 0] = torch.tensor([1, 100, math.nan])  # right, infinite, not a number
    split = Split(np.ones((9, 1)), np.zeros(9, dtype=int), np.full((5, 1), 1e37), np.zeros(5, dtype=int))
    assert fit(net, split, steps=1, batch_size=4, learning_rates=0.0).final().tolist() == [100, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_leaves_the_training_alone(kind):
    how = {"dropout": 0.4, "norm": "batch"} if kind in ("mlp", "conv_net") else {}
    nets, split = [stack(kind, **how) for _ in range(3)], examples(0, validation=True)
    for net, steps in zip(nets, (10, range(1, 11), [7, 10, 2]), strict=True):
        fit(net, split, **HOW | {"steps": steps})
        assert all(module.training for module in net.modules())
        assert states_equal(net, nets[0])
    before = copy.deepcopy(nets[0])
    for mode in (True, False):
        outputs(nets[0].train(mode), split)
        assert {module.training for module in nets[0].modules()} == {mode}
    assert states_equal(nets[0], before)


@pytest.mark.parametrize("n", [384, 387])  # whole blocks of 128; a rest of 3, 65 and 1
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_outputs_and_accuracy_by_hand(n, part):
    splits = [examples(seed, n=n, validation=True) for seed in (0, 1)]
    splits.append(splits[0])
    net = stack(norm="batch", dropout=0.3)
    history = fit(net, splits, **HOW)
    logits = outputs(net, splits, part)
    assert logits.shape == (3, {"train": n, "validation": n // 2, "test": n // 3}[part], CLASSES)
    assert not logits.requires_grad
    for r, split in enumerate(splits):
        x, y = getattr(split, f"x_{part}"), getattr(split, f"y_{part}")
        theirs = net.replica(r).eval()(torch.tensor(x, dtype=torch.float32))
        torch.testing.assert_close(logits[r], theirs, rtol=0, atol=1e-5)  # some roundings in float32
        if part != "train":
            right = sum(int(a) == b for a, b in zip(logits[r].argmax(1), y, strict=True))
            assert history.final(part)[r] == pytest.approx(100 * right / len(y), abs=1e-12)
    assert torch.equal(outputs(net, splits), outputs(net, splits, "test"))


@pytest.mark.parametrize("steps", [np.int64(3), [7], [9, 2, 7], range(1, 4), np.array([1, 4])], ids=str)
def test_the_steps_after_which_the_networks_are_evaluated(steps):
    history = fit(stack(), examples(0, validation=True), **HOW | {"steps": steps})
    expected = np.sort(np.atleast_1d(steps))
    assert history.steps.tolist() == expected.tolist()
    assert history.loss.shape == (expected[-1], 3)
    shapes = {part: values.shape for part, values in history.accuracy.items()}
    assert shapes == dict.fromkeys(("validation", "test"), (len(expected), 3))


def test_accuracies_are_those_after_the_step():
    early, late = (fit(stack(), examples(0, validation=True), **HOW | {"steps": steps}) for steps in (4, [4, 10]))
    for part, values in early.accuracy.items():
        np.testing.assert_array_equal(values[-1], late.accuracy[part][0])
    assert list(fit(stack(), examples(0), **HOW).accuracy) == ["test"]


@pytest.mark.parametrize("kind", ["mlp", "conv_net"])
def test_the_same_seeds_give_the_same_bits_and_leave_global_random_numbers_alone(kind):
    def state():
        return torch.random.get_rng_state().tolist(), repr(np.random.get_state())  # noqa: NPY002

    nets, before = [stack(kind, norm="batch", dropout=0.2) for _ in range(2)], state()
    split = examples(0, validation=True)
    assert_same_history(*(fit(net, split, optimizer=Adam, **HOW | {"steps": range(1, 9)}) for net in nets))
    assert states_equal(*nets)
    assert state() == before


def test_another_seed_gives_other_batches():
    nets = [stack(init="zeros", seeds=seeds) for seeds in ((4, 0, 7), (4, 1, 7))]
    for net in nets:
        fit(net, examples(0), **HOW)
    assert states_equal(*nets, [0, 2])
    assert not states_equal(*nets, [1])


def test_one_split_and_one_rate_for_all_are_lists_of_them():
    split, histories = examples(0, validation=True), []
    splits = split, [split] * 3, (split, copy.copy(split), split)
    for one, rate in zip(splits, (0.1, [0.1] * 3, np.full(3, 0.1)), strict=True):
        histories.append(fit(net := stack(), one, **HOW | {"learning_rates": rate}))
        assert_same_history(histories[-1], histories[0])
        assert torch.equal(outputs(net, one), outputs(net, split))
    assert histories[0].learning_rates.tolist() == [0.1] * 3


def test_arguments_are_left_alone_and_may_be_in_any_layout():
    split, rates, nets = examples(0, validation=True), np.array(RATES), [stack(norm="batch") for _ in range(2)]
    turned = {name: value[::-1].copy()[::-1] for name, value in vars(split).items() if isinstance(value, np.ndarray)}
    assert len(turned) == 6
    for array in turned.values():
        array.flags.writeable = False
    histories = [
        fit(net, one, **HOW | {"learning_rates": rates})
        for net, one in zip(nets, (split, Split(**turned)), strict=True)
    ]
    assert_same_history(*histories)
    for name, array in turned.items():
        np.testing.assert_array_equal(getattr(split, name), array)
    rates[:] = 0
    assert histories[0].learning_rates.tolist() == list(RATES)


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_frozen_parameters_stay(optimizer):
    net = stack(norm="batch")
    for p in (net.network[0].weight, net.network[1].bias):
        p.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    fit(net, examples(0), optimizer=functools.partial(optimizer, weight_decay=0.1), **HOW)
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert set(before) - moved == {"network.0.weight", "network.1.bias"}

"""Training a stack against training each of its networks alone with torch.optim, and what `fit` does besides."""

import copy
import functools
import io
import math
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from utils.data import Split, digits
from utils.lab import training
from utils.lab.networks import conv_net, mlp
from utils.lab.optim import SGD, Adam
from utils.lab.replicas import Stack
from utils.lab.sequences import RNN, Transformer
from utils.lab.training import batches, cross_entropy, fit, outputs, sweep

N, CLASSES, SEEDS, RATES = 45, 3, (4, 0, 7), (0.1, 0.3, 0.02)
HOW = {"steps": 10, "batch_size": 8, "learning_rates": RATES}
KINDS = {
    "mlp": functools.partial(mlp, 16, CLASSES, width=12, depth=2),
    "conv_net": functools.partial(conv_net, (1, 4, 4), CLASSES, channels=(8, 8), pool_after=(1,)),
    "RNN": functools.partial(RNN, 16, CLASSES, token=4, width=8),
    "Transformer": functools.partial(Transformer, 16, CLASSES, token=4, width=8, depth=1),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
two_kinds = pytest.mark.parametrize("kind", ["mlp", "conv_net"])


def examples(seed, *, n=N, d=16, validation=False):
    """Gaussian clouds, a little apart."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((CLASSES, d))

    def part(n):
        y = rng.integers(CLASSES, size=n)
        return centres[y] + rng.standard_normal((n, d)), y

    x_validation, y_validation = part(n // 2) if validation else (None, None)
    return Split(*part(n), *part(n // 3), x_validation=x_validation, y_validation=y_validation)


def stack(kind="mlp", seeds=SEEDS, **how):
    return Stack.of(lambda seed: KINDS[kind](seed=seed, **how), seeds)


def train_alone(
    net, split, rows, rate, *, optimizer=torch.optim.SGD, schedule=lambda step: 1, term=lambda net: 0, **settings
):
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


def assert_same_network(ours, theirs, atol=1e-9):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=atol)


def assert_same_history(ours, theirs):
    for name in ("seeds", "learning_rates", "steps", "loss", "diverged_at"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert list(ours.accuracy) == list(theirs.accuracy)
    for part, values in ours.accuracy.items():
        np.testing.assert_array_equal(values, theirs.accuracy[part])


def states_equal(ours, theirs, replicas=slice(None)):
    pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    return all(torch.equal(a[replicas], b[replicas]) for a, b in pairs)


# Every network of a stack is trained as it is alone


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


def orders(seed):
    """Rows that no shuffling gives: the first and the last often, also twice in a batch, and most never."""
    rows = np.random.default_rng(100 + seed).integers(N // 3, size=(10, 8))
    rows[:, :3] = [0, N - 1, N - 1]
    return rows


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
        assert_same_network(net.replica(r), plain)
        np.testing.assert_allclose(history.loss[:, r], losses, rtol=0, atol=1e-9)
    assert history.seeds.tolist() == list(SEEDS)
    assert history.loss.dtype == np.float64
    assert not history.diverged.any()


def test_single_precision_is_as_good_as_that_of_the_networks_alone():
    net = Stack.of(lambda seed: mlp(64, 10, seed=seed, width=20, depth=2, norm="batch"), SEEDS)
    split, alone = digits(seed=0), [net.replica(r) for r in range(3)]
    history = fit(net, split, steps=30, batch_size=60, learning_rates=0.1)
    assert (history.final() > 60).all()
    for r, plain in enumerate(alone):
        train_alone(plain, split, batches(len(split.x_train), 60, 30, seed=SEEDS[r]), 0.1)
        assert_same_network(net.replica(r), plain, atol=1e-3)  # as above, with roundings of 6e-8
    assert next(net.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("mlp", {}),
        ("mlp", {"norm": "batch"}),
        ("conv_net", {}),
        ("conv_net", {"norm": "batch"}),
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
    assert np.isfinite(history.loss[:2]).all()
    assert (history.loss[2:, 1] == np.inf).all()
    assert np.isfinite(history.loss[:, [0, 2]]).all()
    assert history.diverged_at.tolist() == [math.inf, 3, math.inf]


def test_a_network_whose_outputs_are_not_numbers_classifies_nothing():
    net = Stack([nn.Linear(1, 3) for _ in range(3)])
    with torch.no_grad():
        net.network.bias.zero_()
        net.network.weight.zero_()[:, 0, 0] = torch.tensor(
            [1, 100, math.nan]
        )  # the right class is largest, or infinite
    split = Split(np.ones((9, 1)), np.zeros(9, dtype=int), np.full((5, 1), 1e37), np.zeros(5, dtype=int))
    assert fit(net, split, steps=1, batch_size=4, learning_rates=0.0).final().tolist() == [100, 0, 0]


# Evaluation


@every_kind
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


def test_training_is_in_training_mode_whatever_came_before():
    net, same, modes = stack(norm="batch"), stack(norm="batch").eval(), []
    fit(net, examples(0), **HOW)
    fit(same, examples(0), watch=lambda model, *_: modes.append(model.training), **HOW)
    assert modes == [True] * 10
    assert states_equal(net, same)
    assert same.training


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


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(np.int64(3), [3]), ([7], [7]), ([9, 2, 7], [2, 7, 9]), (range(1, 4), [1, 2, 3]), (np.array([1, 4]), [1, 4])],
)
def test_the_steps_after_which_the_networks_are_evaluated(steps, expected):
    history = fit(stack(), examples(0, validation=True), **HOW | {"steps": steps})
    assert history.steps.tolist() == expected
    assert history.loss.shape == (expected[-1], 3)
    shapes = {part: values.shape for part, values in history.accuracy.items()}
    assert shapes == dict.fromkeys(("validation", "test"), (len(expected), 3))


def test_accuracies_are_those_after_the_step():
    split = examples(0, validation=True)
    history = fit(stack(norm="batch"), split, **HOW | {"steps": [4, 10]})
    for part, values in fit(stack(norm="batch"), split, **HOW | {"steps": 4}).accuracy.items():
        np.testing.assert_array_equal(values[-1], history.accuracy[part][0])
    assert list(fit(stack(), examples(0), **HOW).accuracy) == ["test"]


# The same numbers again


@two_kinds
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
    split, nets = examples(0, validation=True), [stack() for _ in range(3)]
    splits = (split, [split] * 3, (split, copy.copy(split), split))
    rates = (0.1, [0.1] * 3, np.full(3, 0.1))
    how = [{**HOW, "learning_rates": rate} for rate in rates]
    histories = [fit(net, one, **each) for net, one, each in zip(nets, splits, how, strict=True)]
    for net, history in zip(nets, histories, strict=True):
        assert_same_history(history, histories[0])
        assert states_equal(net, nets[0])
    assert histories[0].learning_rates.tolist() == [0.1] * 3
    assert torch.equal(outputs(nets[0], split), outputs(nets[0], [split] * 3))


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


# What can be seen of a training


def test_a_progress_bar_on_a_terminal_only(capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    fit(stack(), examples(0), **HOW)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys, "stderr", Terminal())
    fit(stack(), examples(0), **HOW)
    assert "10/10" in sys.stderr.getvalue()
    assert "step" in sys.stderr.getvalue()
    assert capsys.readouterr().out == ""


def test_seconds_are_those_of_the_steps_without_evaluations_and_watch(monkeypatch):
    now, net = [0.0], stack()

    def pass_by(seconds):
        now[0] += seconds

    net.register_forward_pre_hook(lambda model, given: pass_by(1 if model.training else 3600))
    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])
    history = fit(net, examples(0), watch=lambda *_: pass_by(60), **HOW | {"steps": [1, 2, 5]})
    assert history.seconds == 5


@two_kinds
def test_a_watch_sees_the_batch_of_the_step_and_the_parameters_before_it(kind):
    net, splits, seen = stack(kind, norm="batch").double(), [examples(seed) for seed in range(3)], []
    start = copy.deepcopy(net.state_dict())

    def watch(model, step, x, y):
        assert model is net
        assert (x.dtype, y.dtype) == (torch.float64, torch.int64)
        seen.append((step, x.clone(), y.clone(), copy.deepcopy(model.state_dict())))
        x.zero_()  # its own: the step is none the wiser
        y.zero_()

    history = fit(net, splits, watch=watch, **HOW)
    assert [step for step, *_ in seen] == list(range(1, 11))
    rows = [batches(N, 8, 10, seed=seed) for seed in SEEDS]
    for step, x, y, state in seen:
        for r, split in enumerate(splits):
            np.testing.assert_array_equal(x[r], split.x_train[rows[r][step - 1]])
            np.testing.assert_array_equal(y[r], split.y_train[rows[r][step - 1]])
        shorter = stack(kind, norm="batch").double()
        shorter.load_state_dict(start)
        if step > 1:  # as a training that stops one step earlier leaves them
            fit(shorter, splits, **HOW | {"steps": step - 1})
        assert all(torch.equal(value, state[name]) for name, value in shorter.state_dict().items())
        loss = F.cross_entropy(shorter(x).transpose(1, 2), y, reduction="none").mean(1)
        np.testing.assert_array_equal(history.loss[step - 1], loss.detach())


def test_a_watch_may_change_modes():
    nets = [stack(norm="batch", dropout=0.2) for _ in range(3)]

    def freeze_norm(model, step, x, y):
        model.network[1].eval()

    watches = (None, lambda model, *_: model.eval(), freeze_norm)
    histories = [fit(net, examples(0), watch=watch, **HOW) for net, watch in zip(nets, watches, strict=True)]
    for net, history in zip(nets, histories, strict=True):
        assert_same_history(history, histories[0])
        assert states_equal(net, nets[0])
        assert all(module.training for module in net.modules())


# Batches


def test_batches_are_the_epochs_one_after_the_other():
    rows = batches(10, 3, 7, seed=5)
    assert rows.shape == (7, 3)
    assert rows.dtype == np.int64
    rng = np.random.default_rng(5)
    orders = [rng.permutation(10) for _ in range(3)]  # of ten, nine are seen; the tenth is dropped
    np.testing.assert_array_equal(rows, np.concatenate([order[:9] for order in orders]).reshape(9, 3)[:7])
    assert not np.array_equal(rows, batches(10, 3, 7, seed=6))


def test_without_reshuffling_the_first_epoch_comes_again():
    rows = batches(10, 3, 8, seed=5, reshuffle=False)
    np.testing.assert_array_equal(rows, np.tile(batches(10, 3, 3, seed=5), (3, 1))[:8])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 0, 5), "batch_size: expected a positive integer, got 0"),
        ((10, 2.0, 5), "batch_size: expected a positive integer, got 2.0"),
        ((10, True, 5), "batch_size: expected a positive integer, got True"),
        ((10, 2, 0), "steps: expected a positive integer, got 0"),
        ((10, 11, 5), "batch_size: expected at most the 10 training examples, got 11"),
    ],
)
def test_batches_that_there_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        batches(*arguments, seed=0)


@pytest.mark.parametrize("as_given", [np.asarray, np.ndarray.tolist, lambda rows: rows.astype("u1")])
def test_rows_may_be_arrays_lists_or_small_integers_and_are_asked_for_once_per_seed(as_given):
    net, same, asked = stack(seeds=(4, 0, 4)), stack(seeds=(4, 0, 4)), []

    def rows(seed):
        asked.append(seed)
        return as_given(batches(N, 8, 10, seed=seed))

    assert_same_history(fit(net, examples(0), **HOW), fit(same, examples(0), **HOW | {"batch_size": rows}))
    assert states_equal(net, same)
    assert sorted(asked) == [0, 4]
    assert {type(seed) for seed in asked} == {int}


def replaced(value, seed=0):
    """Rows of which one will not do."""

    def rows(which):
        found = orders(which)
        found[4, 2] = value if which == seed else found[4, 2]
        return found

    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda s: orders(s)[:9], r"expected integers of shape \(steps, batch_size\), \(10, 8\) here, .* of \(9, 8\)"),
        (lambda s: orders(s)[:, : 8 - s % 2], r"\(10, 8\) here, for seed 7, got int64 of \(10, 7\)"),
        (lambda s: orders(s).ravel()[:10], r"got int64 of \(10,\)"),
        (lambda s: orders(s).astype(float), r"got float64 of \(10, 8\)"),
        (lambda s: orders(s) > 3, r"got bool of \(10, 8\)"),
        (lambda s: None, r"got object of \(\)"),
        (lambda s: [[0, 1], [2]] * 5, "batch_size: expected an array of numbers, got rows of different lengths"),
        (lambda s: orders(s)[:, :0], "batch_size: expected rows from 0 to 44 for seed 4, got others or none"),
        (replaced(N), "batch_size: expected rows from 0 to 44 for seed 0, got others or none"),
        (replaced(-1), "batch_size: expected rows from 0 to 44 for seed 0"),
        (replaced(2**62, 7), "batch_size: expected rows from 0 to 44 for seed 7"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_refused(rows, message):
    net = stack()
    before = copy.deepcopy(net)
    with pytest.raises(ValueError, match=message):
        fit(net, examples(0), **HOW | {"batch_size": rows})
    assert states_equal(net, before)


# Losses


class Idle(nn.Module):
    """A linear layer beside parameters of which it makes no use."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, CLASSES)
        self.idle, self.unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.layer(x)


def test_a_loss_is_asked_for_once_per_step_and_moves_what_the_outputs_do_not_depend_on():
    net, modes = Stack([Idle() for _ in range(3)]), []

    def loss(model, x, y):
        assert model is net
        modes.append(model.training)
        return cross_entropy(model, x, y) + model.network.idle.sum(1)

    fit(net, examples(0), loss=loss, **HOW | {"steps": range(1, 11)})
    assert modes == [True] * 10
    expected = 1 - 10 * torch.tensor(RATES)[:, None].expand(3, 2)
    torch.testing.assert_close(net.network.idle.detach(), expected, rtol=0, atol=1e-5)  # down a slope, in float32
    assert (net.network.unused == 1).all()


@pytest.mark.parametrize(
    ("value", "got"),
    [(torch.tensor(1.0), r"\(\)"), (torch.zeros(3, 1), r"\(3, 1\)"), (torch.zeros(1), r"\(1,\)"), (0.5, "float")],
)
def test_a_loss_of_another_shape_is_refused(value, got):
    net = stack()
    before = copy.deepcopy(net)
    with pytest.raises(ValueError, match=rf"loss: expected a Tensor of shape \(3,\), .*, got {got}"):
        fit(net, examples(0), loss=lambda *_: value, **HOW)
    assert states_equal(net, before)


# Sweeps


def one_mlp(seed):
    return KINDS["mlp"](seed=seed)


def test_a_sweep_is_a_fit_of_every_seed_at_every_rate():
    splits, rates, built = [examples(seed, validation=True) for seed in range(2)], [0.3, 0.01, 0.1], []

    def build(seed):
        built.append(seed)
        return KINDS["mlp"](seed=seed, norm="batch")

    how = {"steps": [2, 6], "batch_size": 8, "optimizer": functools.partial(SGD, momentum=0.5)}
    history = sweep(build, splits, learning_rates=rates, **how)
    assert built == [0, 1]
    net = stack(seeds=[0, 0, 0, 1, 1, 1], norm="batch")
    assert_same_history(history, fit(net, [splits[0]] * 3 + [splits[1]] * 3, learning_rates=rates * 2, **how))
    table = history.grid(history.final())
    for seed, split in enumerate(splits):
        for i, rate in enumerate(sorted(rates)):
            alone = fit(stack(seeds=[seed], norm="batch"), split, learning_rates=rate, **how)
            assert table[seed, i] == alone.final()[0]
            np.testing.assert_allclose(history.at(rate).loss[:, seed], alone.loss[:, 0], rtol=0, atol=1e-5)  # float32
    assert sweep(build, splits, learning_rates=0.1, **how).learning_rates.tolist() == [0.1, 0.1]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"learning_rates": []}, "learning_rates: expected at least one"),
        ({"learning_rates": [[0.1, 0.2]]}, "learning_rates: expected at least one"),
        ({"learning_rates": [0.1, -0.2]}, "learning_rates: expected finite numbers of at least 0"),
        ({"learning_rates": [0.1, math.nan]}, "learning_rates: expected finite numbers of at least 0"),
        ({"learning_rates": [math.inf]}, "learning_rates: expected finite numbers of at least 0"),
        ({"learning_rates": "fast"}, "learning_rates: expected numbers"),
        ({"learning_rates": [True]}, "learning_rates: expected numbers"),
        ({"learning_rates": [0.3, 5.0, 0.1 * 3]}, "learning_rates: expected every rate once"),  # up to rounding
        ({"splits": []}, "splits: expected a list of Split, at least one"),
        ({"splits": examples(0)}, "splits: expected a list of Split, at least one, got Split"),
        ({"splits": ["digits"]}, "split: expected a Split, or a list"),
        ({"build": lambda seed: "a network"}, "networks: expected at least one nn.Module"),
        ({"build": "mlp"}, "build: expected a function from a seed to a network, got str"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(how, message):
    ready = {"build": one_mlp, "splits": [examples(0)], "learning_rates": [0.1], "steps": 1, "batch_size": 1}
    with pytest.raises(ValueError, match=message):
        sweep(**ready | how)


def test_rates_that_are_close_but_not_the_same_can_be_swept():
    how = {"steps": 1, "batch_size": 4, "learning_rates": [0.1, 0.1 * (1 + 1e-6), 0.0]}
    assert len(sweep(one_mlp, [examples(0)], **how).rates) == 3


# What does not fit together


def labels(y):
    return Split(np.ones((3, 16)), np.array(y), np.ones((1, 16)), np.array([0]))


VALIDATED = examples(0, validation=True)


@pytest.mark.parametrize(
    ("split", "how", "message"),
    [
        (None, {"model": mlp(16, CLASSES, seed=0)}, "model: expected a Stack, got Sequential"),
        (None, {"steps": 0}, "steps: expected a positive integer, got 0"),
        (None, {"steps": 10.0}, "steps: expected a positive integer, got 10.0"),
        (None, {"steps": []}, "steps: expected a number, or at least one step after which to evaluate"),
        (None, {"steps": [2, 7, 2]}, r"steps: expected .* each once, got \[2, 7, 2\]"),
        (None, {"steps": [3, 0]}, "steps: expected a positive integer, got 0"),
        (None, {"steps": [2.5]}, "steps: expected a positive integer, got 2.5"),
        (None, {"batch_size": N + 1}, "batch_size: expected at most the 45 training examples, got 46"),
        (None, {"batch_size": 0}, "batch_size: expected a positive integer, got 0"),
        (None, {"batch_size": True}, "batch_size: expected a positive integer, got True"),
        (None, {"learning_rates": [0.1, 0.2]}, r"learning_rates: expected one, or one for each of the 3 .* \(2,\)"),
        (None, {"learning_rates": [[0.1, 0.2, 0.3]]}, r"learning_rates: expected one, .* got shape \(1, 3\)"),
        (None, {"learning_rates": [0.1, -0.2, 0.3]}, "learning_rates: expected finite numbers of at least 0"),
        (None, {"learning_rates": math.nan}, "learning_rates: expected finite numbers of at least 0"),
        (None, {"learning_rates": "fast"}, "learning_rates: expected numbers"),
        (None, {"optimizer": "sgd"}, "optimizer: expected a function, got str"),
        (None, {"optimizer": functools.partial(SGD, momentum=1.0)}, "momentum: expected a number from 0 to below 1"),
        (None, {"loss": None}, "loss: expected a function, got NoneType"),
        (None, {"watch": "probe"}, "watch: expected a function, got str"),
        (None, {"watch": False}, "watch: expected a function, got bool"),
        ([], {}, "split: expected one, or one for each of the 3 replicas, got 0"),
        ([examples(0)] * 2, {}, "split: expected one, or one for each of the 3 replicas, got 2"),
        ("digits", {}, "split: expected a Split, or a list of one for each replica, got str"),
        (["digits"] * 3, {}, "split: expected a Split, or a list"),
        (labels([0, 1, 3]), {"batch_size": 2}, r"split: expected classes from 0 to 2, got 0 to 3 \(torch.int64\)"),
        (labels([0, -1, 2]), {"batch_size": 2}, "split: expected classes from 0 to 2, got -1 to 2"),
        (labels([0.0, 1.0, 2.0]), {"batch_size": 2}, r"split: expected classes from 0 to 2, .* \(torch.float64\)"),
        (examples(0, d=15), {}, r"split: expected rows that the network takes, got shape \(3, 2, 15\)"),
        ([VALIDATED, VALIDATED, examples(0, n=60)], {}, "split: expected splits of one size, got x_train of shapes"),
        ([VALIDATED, VALIDATED, examples(0)], {}, "split: expected a validation part in every split"),
        ([examples(0), VALIDATED, VALIDATED], {}, "split: expected a validation part in every split"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_the_first_step(split, how, message):
    net = stack()
    before = copy.deepcopy(net)
    ready = {"model": net, "watch": lambda *_: pytest.fail("a step was taken"), **HOW}
    with pytest.raises(ValueError, match=message):
        fit(**{**ready, "split": examples(0) if split is None else split, **how})
    assert states_equal(net, before)


def test_a_batch_of_one_is_refused_by_batch_norm():
    with pytest.raises(ValueError, match="batch norm: expected more than one value per channel"):
        fit(stack(norm="batch"), examples(0), **HOW | {"batch_size": 1})
    net = stack("conv_net", norm="batch")
    assert fit(net, examples(0), **HOW | {"batch_size": 1}).loss.shape == (10, 3)  # several pixels


@pytest.mark.parametrize(
    ("model", "split", "part", "message"),
    [
        (stack(), examples(0), "validation", "split: expected a validation part in every split, got one without"),
        (stack(), examples(0), "tset", "part: expected one of train, validation, test, got 'tset'"),
        (stack(), [examples(0)], "test", "split: expected one, or one for each of the 3 replicas, got 1"),
        (stack(), examples(0, d=64), "test", "split: expected rows that the network takes, got shape"),
        (mlp(16, CLASSES, seed=0), examples(0), "test", "model: expected a Stack, got Sequential"),
    ],
)
def test_outputs_that_there_cannot_be(model, split, part, message):
    with pytest.raises(ValueError, match=message):
        outputs(model, split, part)

"""The steps of `fit`: what a watch sees, batches, losses, and what does not fit together."""

import copy
import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_fixtures import CLASSES, HOW, RATES, SEEDS, N, assert_same_history, examples, orders, stack, states_equal

from utils.data import Split
from utils.lab import training
from utils.lab.networks import mlp
from utils.lab.optim import SGD
from utils.lab.replicas import Stack
from utils.lab.training import batches, cross_entropy, fit, outputs


def test_a_progress_bar_after_two_seconds_where_somebody_watches(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    fit(stack(), examples(0), **HOW)  # takes less
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(training, "SECONDS_WITHOUT_BAR", 0)
    fit(stack(), examples(0), **HOW)
    shown = capsys.readouterr()
    assert "0/10" in shown.err
    assert "step" in shown.err
    assert shown.out == ""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    fit(stack(), examples(0), **HOW)
    assert capsys.readouterr() == ("", "")


def test_seconds_are_those_of_the_steps_without_evaluations_and_watch(monkeypatch):
    now, net = [0.0], stack()

    def pass_by(seconds):
        now[0] += seconds

    net.register_forward_pre_hook(lambda model, given: pass_by(1 if model.training else 3600))
    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])
    history = fit(net, examples(0), watch=lambda *_: pass_by(60), **HOW | {"steps": [1, 2, 5]})
    assert history.seconds == 5


@pytest.mark.parametrize("kind", ["mlp", "conv_net"])
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


def test_training_is_in_training_mode_whatever_came_before_or_a_watch_does():
    nets, modes, histories = [stack(norm="batch", dropout=0.2) for _ in range(3)], [], []

    def change(model, *_):
        modes.append(model.training)
        model.eval()

    watches = None, change, lambda model, *_: model.network[1].eval()
    for net, watch in zip(nets, watches, strict=True):
        histories.append(fit(net.train(net is nets[0]), examples(0), watch=watch, **HOW))
    for net, history in zip(nets, histories, strict=True):
        assert_same_history(history, histories[0])
        assert states_equal(net, nets[0])
        assert all(module.training for module in net.modules())
    assert modes == [True] * 10


def test_batches_are_the_epochs_one_after_the_other():
    rows = batches(10, 3, 7, seed=5)
    assert rows.shape == (7, 3)
    assert rows.dtype == np.int64
    rng = np.random.default_rng(5)
    orders = [rng.permutation(10) for _ in range(3)]  # of ten, nine are seen; the tenth is dropped
    np.testing.assert_array_equal(rows, np.concatenate([order[:9] for order in orders]).reshape(9, 3)[:7])
    assert not np.array_equal(rows, batches(10, 3, 7, seed=6))
    again = batches(10, 3, 8, seed=5, reshuffle=False)
    np.testing.assert_array_equal(again, np.tile(batches(10, 3, 3, seed=5), (3, 1))[:8])


def test_batches_that_there_cannot_be():
    for n, batch_size, steps, name in ((10, 0, 5, "batch_size"), (10, 2, 0, "steps")):
        with pytest.raises(ValueError, match=f"{name}: expected a positive integer, got 0"):
            batches(n, batch_size, steps, seed=0)
    with pytest.raises(ValueError, match="batch_size: expected at most the 10 training examples, got 11"):
        batches(10, 11, 5, seed=0)


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


def replaced(value):
    """Rows of which one will not do, for seed 0."""

    def rows(seed):
        found = orders(seed)
        found[4, 2] = found[4, 2] if seed else value
        return found

    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda s: orders(s)[:9], r"expected integers of shape \(steps, batch_size\), \(10, 8\) here, .* of \(9, 8\)"),
        (lambda s: orders(s)[:, : 8 - s % 2], r"\(10, 8\) here, for seed 7, got int64 of \(10, 7\)"),
        (lambda s: orders(s).astype(float), r"got float64 of \(10, 8\)"),
        (lambda s: orders(s) > 3, r"got bool of \(10, 8\)"),
        (lambda s: None, r"got object of \(\)"),
        (lambda s: [[0, 1], [2]] * 5, "batch_size: expected an array of numbers, got rows of different lengths"),
        (lambda s: orders(s)[:, :0], "batch_size: expected rows from 0 to 44 for seed 4, got others or none"),
        (replaced(N), "batch_size: expected rows from 0 to 44 for seed 0, got others or none"),
        (replaced(-1), "batch_size: expected rows from 0 to 44 for seed 0"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_refused(rows, message):
    net = stack()
    before = copy.deepcopy(net)
    with pytest.raises(ValueError, match=message):
        fit(net, examples(0), **HOW | {"batch_size": rows})
    assert states_equal(net, before)


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


@pytest.mark.parametrize("value", [torch.tensor(1.0), torch.zeros(3, 1), torch.zeros(1), 0.5])
def test_a_loss_of_another_shape_is_refused(value):
    net = stack()
    before = copy.deepcopy(net)
    with pytest.raises(ValueError, match=r"loss: expected a Tensor of shape \(3,\), .*, got (\(|float)"):
        fit(net, examples(0), loss=lambda *_: value, **HOW)
    assert states_equal(net, before)


def labels(y):
    return Split(np.ones((N, 16)), np.resize(y, N), np.ones((1, 16)), np.array([0]))


ONE, VALIDATED, SPLIT = examples(0), examples(0, validation=True), "split: expected "


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"model": mlp(16, CLASSES, seed=0)}, "model: expected a Stack, got Sequential"),
        ({"steps": 0}, "steps: expected a positive integer, got 0"),
        ({"steps": []}, "steps: expected a number, or at least one step after which to evaluate"),
        ({"steps": [2, 7, 2]}, r"steps: expected .* each once, got \[2, 7, 2\]"),
        ({"steps": [3, 0]}, "steps: expected a positive integer, got 0"),
        ({"batch_size": N + 1}, "batch_size: expected at most the 45 training examples, got 46"),
        ({"learning_rates": [0.1, 0.2]}, r"learning_rates: expected one, or one for each of the 3 .* \(2,\)"),
        ({"optimizer": torch.optim.SGD}, "optimizer: expected one of utils.lab.optim, got torch.optim.SGD"),
        ({"optimizer": functools.partial(SGD, momentum=1.0)}, "momentum: expected a number from 0 to below 1"),
        ({"split": []}, SPLIT + "one, or one for each of the 3 replicas, got 0"),
        ({"split": [ONE] * 2}, SPLIT + "one, or one for each of the 3 replicas, got 2"),
        ({"split": labels([0, 1, 3])}, SPLIT + r"classes from 0 to 2, got 0 to 3 \(torch.int64\)"),
        ({"split": labels([0, -1, 2])}, SPLIT + "classes from 0 to 2, got -1 to 2"),
        ({"split": labels([0.0, 1.0, 2.0])}, SPLIT + r"classes from 0 to 2, .* \(torch.float64\)"),
        ({"split": examples(0, d=15)}, SPLIT + r"rows that the network takes, got shape \(3, 2, 15\)"),
        ({"split": [VALIDATED, VALIDATED, examples(0, n=60)]}, SPLIT + "splits of one size, got x_train of shapes"),
        ({"split": [VALIDATED, VALIDATED, ONE]}, SPLIT + "a validation part in every split"),
        ({"split": [ONE, VALIDATED, VALIDATED]}, SPLIT + "a validation part in every split"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_the_first_step(how, message):
    net = stack()
    before = copy.deepcopy(net)
    ready = {"model": net, "split": ONE, "watch": lambda *_: pytest.fail("a step was taken"), **HOW}
    with pytest.raises(ValueError, match=message):
        fit(**ready | how)
    assert states_equal(net, before)


@pytest.mark.parametrize(
    ("split", "part", "message"),
    [
        (ONE, "validation", SPLIT + "a validation part in every split, got one without"),
        (ONE, "tset", "part: expected one of train, validation, test, got 'tset'"),
        ([ONE], "test", SPLIT + "one, or one for each of the 3 replicas, got 1"),
        (examples(0, d=64), "test", SPLIT + "rows that the network takes, got shape"),
    ],
)
def test_outputs_that_there_cannot_be(split, part, message):
    with pytest.raises(ValueError, match=message):
        outputs(stack(), split, part)

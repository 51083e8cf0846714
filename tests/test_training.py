"""Training all replicas at once against training each alone with PyTorch, and what is kept of it."""

import copy
import functools
import io
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from utils.data import Split, digits
from utils.lab import training
from utils.lab.training import History, batches, fit, outputs, sweep
from utils.networks import MLP, BatchNorm, ConvNet

N, CLASSES, SEEDS, RATES = 45, 3, (4, 0, 7), (0.1, 0.3, 0.02)


def examples(seed, *, n=N, d=16, classes=CLASSES, validation=False):
    """Gaussian clouds, a little apart."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, d))

    def part(n):
        y = rng.integers(classes, size=n)
        return centres[y] + rng.standard_normal((n, d)), y

    x_validation, y_validation = part(n // 2) if validation else (None, None)
    return Split(*part(n), *part(n // 3), x_validation=x_validation, y_validation=y_validation)


def dense(**how):
    return MLP(16, CLASSES, **{"seeds": SEEDS, "width": 12, "depth": 2} | how)


def conv(**how):
    return ConvNet((1, 4, 4), CLASSES, **{"seeds": SEEDS, "channels": (8, 8), "pool_after": (1,)} | how)


both_kinds = pytest.mark.parametrize("build", [dense, conv])
HOW = {"steps": 10, "batch_size": 8, "learning_rates": RATES}


def train_alone(
    net, split, seed, rate, *, steps, batch_size, optimizer="sgd", schedule=None, reshuffle=True, **settings
):
    """A plain network under torch.optim, in its own precision; the loss of every step."""
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    optimizer, losses = kind(net.parameters(), lr=rate, fused=True, **settings), []
    x = torch.tensor(split.x_train, dtype=next(net.parameters()).dtype)
    y = torch.tensor(split.y_train)
    for step, rows in enumerate(batches(len(x), batch_size, steps, seed=seed, reshuffle=reshuffle)):
        if schedule:
            optimizer.param_groups[0]["lr"] = rate * schedule(step / steps)
        loss = F.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
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
    return all(torch.equal(a, b) if a.dim() == 0 else torch.equal(a[replicas], b[replicas]) for a, b in pairs)


# Fifty steps in float64: roundings of 1e-16, which norms and training make up to a million times larger.
@both_kinds
@pytest.mark.parametrize(
    ("norm", "place"),
    [(None, "before"), ("batch", "before"), ("batch", "after"), ("layer", "before"), ("group", "before")],
)
@pytest.mark.parametrize(("optimizer", "own"), [("sgd", {}), ("sgd", {"momentum": 0.9}), ("adam", {})])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_each_replica_is_what_it_would_be_alone(build, norm, place, optimizer, own, weight_decay):
    net = build(norm=norm, place=place, activation="tanh" if build is dense else "relu").double()
    shared = examples(0)
    splits = [shared, examples(1), shared]
    rates = np.array(RATES) * (0.1 if own or optimizer == "adam" else 0.3)  # far from chaos, which enlarges roundings
    how = {"steps": 50, "batch_size": 8, "optimizer": optimizer, "weight_decay": weight_decay, **own}
    alone = [net.replica(r) for r in range(3)]
    history = fit(net, splits, learning_rates=rates, **how)
    for r, plain in enumerate(alone):
        losses = train_alone(plain, splits[r], SEEDS[r], rates[r], **how)
        assert_same_network(net.replica(r), plain)
        np.testing.assert_allclose(history.loss[:, r], losses, rtol=0, atol=1e-9)
        plain.eval()
        right = plain(torch.tensor(splits[r].x_test)).argmax(1).numpy() == splits[r].y_test
        assert history.final()[r] == 100 * right.mean()
    assert not history.diverged.any()
    tracked = [int(value) for name, value in net.state_dict().items() if name.endswith("num_batches_tracked")]
    assert tracked == ([50, 50] if norm == "batch" else [])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_batch_norm_with_options_and_a_schedule_without_reshuffling(optimizer):
    net = dense(norm=functools.partial(BatchNorm, momentum=None, affine=False), place="after", norm_input="batch")
    net.double()
    seen = []

    def schedule(share):
        seen.append(share)
        return 1 - share

    how = {"steps": 20, "batch_size": 7, "optimizer": optimizer, "reshuffle": False}
    alone, split = [net.replica(r) for r in range(3)], examples(0)
    rates = [0.01, 0.03, 0.002]
    fit(net, split, learning_rates=rates, schedule=schedule, **how)
    assert seen == [step / 20 for step in range(20)]
    for r, plain in enumerate(alone):
        train_alone(plain, split, SEEDS[r], rates[r], schedule=lambda share: 1 - share, **how)
        assert_same_network(net.replica(r), plain)


def test_default_precision_is_as_good_as_that_of_the_plain_networks():
    net, split = MLP(64, 10, seeds=SEEDS, width=20, depth=2, norm="batch"), digits(seed=0)
    alone = [net.replica(r) for r in range(3)]
    history = fit(net, split, steps=30, batch_size=60, learning_rates=0.1)
    assert (history.final() > 60).all()
    for r, plain in enumerate(alone):
        train_alone(plain, split, SEEDS[r], 0.1, steps=30, batch_size=60)
        assert_same_network(net.replica(r), plain, atol=1e-3)  # as above, with roundings of 6e-8
        assert next(net.parameters()).dtype == torch.float32


@both_kinds
@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize(("optimizer", "huge"), [("sgd", 1e25), ("adam", 1e25)])
def test_a_replica_that_diverges_disturbs_no_other(build, norm, optimizer, huge):
    how = {"steps": 12, "batch_size": 8, "optimizer": optimizer, "evaluate": 3}
    net, same = build(norm=norm, activation="relu"), build(norm=norm, activation="relu")
    plain = net.replica(1)
    split = examples(0, validation=True)
    history = fit(net, split, learning_rates=[0.1, huge, 0.02], **how)
    tame = fit(same, split, learning_rates=[0.1, 0.1, 0.02], **how)
    assert states_equal(net, same, [0, 2])
    np.testing.assert_array_equal(history.loss[:, [0, 2]], tame.loss[:, [0, 2]])
    np.testing.assert_array_equal(history.diverged_at[[0, 2]], np.inf)
    for part in ("validation", "test"):
        np.testing.assert_array_equal(history.accuracy[part][:, [0, 2]], tame.accuracy[part][:, [0, 2]])
        assert np.isfinite(history.accuracy[part]).all()
    how.pop("evaluate")
    losses = train_alone(plain, split, SEEDS[1], huge, **how)
    first = next((step for step, loss in enumerate(losses, 1) if not math.isfinite(loss)), math.inf)
    assert history.diverged_at[1] == first
    if norm is None:
        assert 1 < first <= 12
        assert history.diverged.tolist() == [False, True, False]
        before = int(first) - 1
        np.testing.assert_allclose(history.loss[:before, 1], losses[:before], rtol=1e-4)  # some roundings in float32
        assert (history.loss[before:, 1] == np.inf).all()
        assert (history.final()[1], history.final("validation")[1]) == (0, 0)


def test_a_loss_that_is_finite_again_stays_infinite():
    class Once(nn.Identity):
        steps = -1000

        def forward(self, x):
            self.steps += self.training
            return 0 * x + (3e38 if self.steps == 3 else 1)

    once = Once()
    net = MLP(16, 2, seeds=SEEDS, width=1, depth=1, activation=once)
    once.steps = 0  # building the network has tried a copy
    with torch.no_grad():  # outputs 3e38 and -3e38 at the third step: their difference, but no gradient, is infinite
        net.layers[-1].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    split = Split(np.ones((9, 16)), np.ones(9, dtype=int), np.ones((5, 16)), np.ones(5, dtype=int))
    history = fit(net, split, steps=5, batch_size=8, learning_rates=0.0)
    assert net.layers[-1].weight.isfinite().all()
    assert np.isfinite(history.loss[:2]).all()
    assert (history.loss[2:] == np.inf).all()
    np.testing.assert_array_equal(history.diverged_at, 3)


def test_a_network_whose_outputs_are_not_numbers_classifies_nothing():
    net = MLP(1, 3, seeds=SEEDS, width=1, depth=1, activation="identity", init="zeros")
    with torch.no_grad():
        net.layers[1].weight.fill_(1)
        net.layers[-1].weight[:, 0, 0] = torch.tensor([1, 100, math.nan])  # the right class is the largest, or infinite
    split = Split(np.ones((9, 1)), np.zeros(9, dtype=int), np.full((5, 1), 1e37), np.zeros(5, dtype=int))
    history = fit(net, split, steps=1, batch_size=4, learning_rates=0.0)
    assert history.final().tolist() == [100, 0, 0]


@both_kinds
def test_evaluation_leaves_the_training_alone(build):
    nets = [build(norm="batch", dropout=0.4) for _ in range(3)]
    split = examples(0, validation=True)
    for net, evaluate in zip(nets, (None, 1, [2, 7]), strict=True):
        fit(net, split, evaluate=evaluate, **HOW)
        assert net.training
        assert states_equal(net, nets[0])
    state = copy.deepcopy(nets[0].state_dict())
    for mode in (True, False):
        outputs(nets[0].train(mode), split)
        assert {module.training for module in nets[0].modules()} == {mode}
    for name, value in nets[0].state_dict().items():
        assert torch.equal(value, state[name])
        assert not value.isnan().any()


def test_the_mode_comes_back_after_an_error():
    net = dense()

    def fail(x):
        raise KeyboardInterrupt

    net.layers.forward = fail
    with pytest.raises(KeyboardInterrupt):
        outputs(net, examples(0))
    assert net.training


def test_training_starts_in_training_mode():
    net, same = dense(norm="batch"), dense(norm="batch").eval()
    for one in (net, same):
        fit(one, examples(0), **HOW)
    assert states_equal(net, same)


@pytest.mark.parametrize("n", [384, 387])  # whole blocks of 128; a rest of 3, 65 and 1
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_outputs_and_accuracy_by_hand(n, part):
    splits = [examples(seed, n=n, validation=True) for seed in (0, 1)]
    splits.append(splits[0])
    net = dense(norm="batch", dropout=0.3)
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
    torch.testing.assert_close(outputs(net, splits), outputs(net, splits, "test"), rtol=0, atol=0)


def test_losses_are_those_before_the_step():
    net, split = dense(), examples(0)
    alone = net.replica(1)
    history = fit(net, split, **HOW)
    rows = batches(N, 8, 10, seed=SEEDS[1])[0]
    first = F.cross_entropy(alone(torch.tensor(split.x_train[rows]).float()), torch.tensor(split.y_train[rows]))
    assert history.loss[0, 1] == pytest.approx(first.item(), abs=1e-6)  # some roundings in float32
    assert history.loss.shape == (10, 3)
    assert history.loss.dtype == np.float64


@pytest.mark.parametrize(
    ("evaluate", "expected"),
    [
        (None, [10]),
        (1, list(range(1, 11))),
        (3, [3, 6, 9, 10]),
        (5, [5, 10]),
        (np.int64(4), [4, 8, 10]),
        (99, [10]),
        ([7, 2], [2, 7, 10]),
        ((10,), [10]),
        (np.array([1, 4]), [1, 4, 10]),
        ([], [10]),
    ],
)
def test_schedules_of_evaluations(evaluate, expected):
    history = fit(dense(), examples(0, validation=True), evaluate=evaluate, **HOW)
    assert history.steps.tolist() == expected
    assert {part: values.shape for part, values in history.accuracy.items()} == {
        part: (len(expected), 3) for part in ("validation", "test")
    }


@pytest.mark.parametrize("parts", [("validation",), ("test",), ["test", "validation"], ()])
def test_only_the_parts_that_are_wanted_are_evaluated(parts):
    nets, split = [dense(), dense()], examples(0, validation=True)
    history, both = fit(nets[0], split, parts=parts, **HOW), fit(nets[1], split, **HOW)
    assert list(both.accuracy) == ["validation", "test"]
    assert list(history.accuracy) == list(parts)
    for part in parts:
        np.testing.assert_array_equal(history.accuracy[part], both.accuracy[part])
    assert states_equal(*nets)


def test_accuracies_are_those_after_the_step():
    split, long = examples(0, validation=True), dense(norm="batch")
    history = fit(long, split, evaluate=[4], **HOW)
    short = dense(norm="batch")
    for part, values in fit(short, split, **HOW | {"steps": 4}).accuracy.items():
        np.testing.assert_array_equal(values[-1], history.accuracy[part][0])


@both_kinds
def test_the_same_seeds_give_the_same_bits(build):
    split = examples(0, validation=True)
    nets = [build(norm="batch", dropout=0.2) for _ in range(2)]
    first, second = (fit(net, split, optimizer="adam", evaluate=2, **HOW) for net in nets)
    assert_same_history(first, second)
    assert states_equal(*nets)


def test_another_seed_gives_another_training():
    split = examples(0)
    nets = [dense(init="zeros", seeds=seeds) for seeds in ((4, 0, 7), (4, 1, 7))]
    for net in nets:
        fit(net, split, **HOW)
    assert states_equal(*nets, [0, 2])
    assert not states_equal(*nets)


def test_global_random_numbers_are_left_alone():
    def state():
        return torch.random.get_rng_state().tolist(), repr(np.random.get_state())  # noqa: NPY002

    before = state()
    fit(conv(norm="batch", dropout=0.2), examples(0, validation=True), evaluate=2, optimizer="adam", **HOW)
    assert state() == before


def test_one_split_for_all_is_a_list_of_it():
    split = examples(0, validation=True)
    nets = [dense() for _ in range(3)]
    histories = [
        fit(net, splits, **HOW)
        for net, splits in zip(nets, (split, [split] * 3, (split, copy.copy(split), split)), strict=True)
    ]
    for net, history in zip(nets, histories, strict=True):
        assert_same_history(history, histories[0])
        assert states_equal(net, nets[0])
    assert torch.equal(outputs(nets[0], split), outputs(nets[0], [split] * 3))


def test_one_rate_for_all_is_a_list_of_it():
    nets = [dense() for _ in range(2)]
    histories = [
        fit(net, examples(0), **HOW | {"learning_rates": rates})
        for net, rates in zip(nets, (0.1, [0.1] * 3), strict=True)
    ]
    assert_same_history(*histories)
    assert states_equal(*nets)
    assert histories[0].learning_rates.tolist() == [0.1] * 3


def test_arguments_are_left_alone_and_nothing_is_shared():
    split, rates = examples(0, validation=True), np.array(RATES)
    arrays = [value for value in vars(split).values() if isinstance(value, np.ndarray)]
    assert len(arrays) == 6
    before = [array.copy() for array in arrays]
    history = fit(dense(norm="batch"), split, **HOW | {"learning_rates": rates})
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)
    rates[:] = 0
    assert history.learning_rates.tolist() == list(RATES)


def test_the_layout_of_the_data_does_not_matter():
    split, nets = examples(0), [dense(), dense()]
    turned = Split(*(array[::-1].copy()[::-1] for array in (split.x_train, split.y_train, split.x_test, split.y_test)))
    for name in ("x_train", "y_train", "x_test", "y_test"):
        getattr(split, name).flags.writeable = False
    assert_same_history(*(fit(net, one, **HOW) for net, one in zip(nets, (split, turned), strict=True)))


def test_frozen_parameters_stay():
    net = dense(norm="batch")
    frozen = [net.layers[1].weight, net.layers[2].weight]
    for p in frozen:
        p.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    fit(net, examples(0), optimizer="adam", **HOW)
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert set(before) - moved == {"layers.1.weight", "layers.2.weight"}


def test_a_progress_bar_only_when_it_is_wanted(capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def shown(progress):
        fit(dense(), examples(0), progress=progress, **HOW)
        return sys.stderr.getvalue() if isinstance(sys.stderr, Terminal) else capsys.readouterr().err

    assert shown(None) == shown(False) == ""
    assert "10/10" in shown(True)
    assert "step" in shown(True)
    for progress, expected in ((None, True), (True, True), (False, False)):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Terminal())
            assert ("10/10" in shown(progress)) is expected
    assert capsys.readouterr().out == ""


def test_seconds_are_those_of_the_steps_without_the_evaluations(monkeypatch):
    now = [0.0]

    class Clockwork(nn.Identity):  # a forward pass takes a second in training and an hour in evaluation
        def forward(self, x):
            now[0] += 1 if self.training else 3600
            return x

    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])
    net = dense(depth=1, activation=Clockwork())
    assert fit(net, examples(0), steps=5, batch_size=8, learning_rates=0.1, evaluate=1, progress=False).seconds == 5


def test_batches_are_the_epochs_one_after_the_other():
    rows = batches(10, 3, 7, seed=5)
    assert rows.shape == (7, 3)
    assert rows.dtype == np.int64
    epochs = [rows[:3].ravel(), rows[3:6].ravel()]
    for epoch in epochs:  # nine of ten, each once; the tenth is dropped
        assert len(set(epoch.tolist())) == 9
        assert set(epoch.tolist()) < set(range(10))
    assert not np.array_equal(*epochs)
    rng = np.random.default_rng(5)
    orders = [rng.permutation(10) for _ in range(3)]
    np.testing.assert_array_equal(rows, np.concatenate([order[:9] for order in orders]).reshape(9, 3)[:7])


@pytest.mark.parametrize(("n", "batch_size", "steps"), [(12, 4, 9), (12, 12, 3), (7, 1, 7), (5, 3, 4)])
def test_every_example_comes_at_most_once_an_epoch(n, batch_size, steps):
    rows = batches(n, batch_size, steps, seed=0)
    per_epoch = n // batch_size
    for first in range(0, steps, per_epoch):
        epoch = rows[first : first + per_epoch].ravel()
        assert len(np.unique(epoch)) == len(epoch)
        if n % batch_size == 0 and len(epoch) == n:
            assert set(epoch.tolist()) == set(range(n))


def test_without_reshuffling_the_first_epoch_comes_again():
    rows = batches(10, 3, 8, seed=5, reshuffle=False)
    np.testing.assert_array_equal(rows, np.tile(batches(10, 3, 3, seed=5), (3, 1))[:8])


def test_batches_depend_on_the_seed_only():
    np.testing.assert_array_equal(batches(20, 4, 9, seed=1), batches(20, 4, 9, seed=1))
    np.testing.assert_array_equal(batches(20, 4, 5, seed=1), batches(20, 4, 9, seed=1)[:5])
    assert not np.array_equal(batches(20, 4, 9, seed=1), batches(20, 4, 9, seed=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 0, 5), "batch_size: expected a positive integer, got 0"),
        ((10, 2.0, 5), "batch_size: expected a positive integer, got 2.0"),
        ((10, True, 5), "batch_size: expected a positive integer, got True"),
        ((10, 2, 0), "steps: expected a positive integer, got 0"),
        ((10, 2, -1), "steps: expected a positive integer, got -1"),
        ((10, 11, 5), "batch_size: expected at most the 10 training examples, got 11"),
    ],
)
def test_batches_that_there_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        batches(*arguments, seed=0)


def test_a_sweep_is_every_seed_at_every_rate():
    splits, rates, built = [examples(seed, validation=True) for seed in range(2)], [0.3, 0.01, 0.1], []

    def build(seeds):
        assert isinstance(seeds, list)
        built.append(dense(seeds=seeds, norm="batch"))
        return built[-1]

    how = {"steps": 6, "batch_size": 8, "evaluate": 2, "momentum": 0.5}
    history = sweep(build, splits, learning_rates=rates, **how)
    net = dense(seeds=[0, 0, 0, 1, 1, 1], norm="batch")
    every = [splits[0]] * 3 + [splits[1]] * 3
    assert_same_history(history, fit(net, every, learning_rates=rates * 2, **how))
    assert states_equal(built[0], net)
    assert len(built) == 1
    table = history.grid(history.final())
    assert table.shape == (2, 3)
    for seed, split in enumerate(splits):
        for i, rate in enumerate(sorted(rates)):
            alone = fit(dense(seeds=[seed], norm="batch"), split, learning_rates=rate, **how)
            assert table[seed, i] == alone.final()[0]
            np.testing.assert_allclose(history.at(rate).loss[:, seed], alone.loss[:, 0], rtol=0, atol=1e-5)  # float32
    assert sweep(build, splits, learning_rates=0.1, **how).learning_rates.tolist() == [0.1, 0.1]


@pytest.mark.parametrize("rates", [[], [[0.1, 0.2]]])
def test_a_sweep_needs_rates(rates):
    with pytest.raises(ValueError, match="learning_rates: expected at least one"):
        sweep(lambda seeds: dense(seeds=seeds), [examples(0)], learning_rates=rates, steps=1, batch_size=1)


@pytest.mark.parametrize("rates", [[0.1, -0.2], [0.1, math.nan], [math.inf], "fast", [True], None])
def test_the_rates_of_a_sweep_are_numbers(rates):
    with pytest.raises(ValueError, match="learning_rates: expected (finite )?numbers"):
        sweep(lambda seeds: dense(seeds=seeds), [examples(0)], learning_rates=rates, steps=1, batch_size=1)


def test_the_network_of_a_sweep_has_the_seeds_that_it_was_built_from():
    for wrong in ([0, 0, 1, 2], [0, 0, 1], [0, 1, 0, 1]):
        with pytest.raises(ValueError, match=r"build: expected a network with the seeds \[0, 0, 1, 1\], got "):
            sweep(
                lambda seeds, wrong=wrong: dense(seeds=wrong),
                [examples(0)] * 2,
                learning_rates=[0.1, 1],
                steps=1,
                batch_size=1,
            )


def test_a_sweep_needs_splits():
    with pytest.raises(ValueError, match="splits: expected a list of Split, at least one"):
        sweep(lambda seeds: dense(seeds=seeds), [], learning_rates=[0.1], steps=1, batch_size=1)
    with pytest.raises(ValueError, match="splits: expected a list of Split, at least one, got Split"):
        sweep(lambda seeds: dense(seeds=seeds), examples(0), learning_rates=[0.1], steps=1, batch_size=1)


def swept(table, *, rates=(0.1, 1.0, 10.0), part="test", shuffled=False):
    """A history whose last accuracies of seeds 3, 4, ... at the rates are in a table."""
    table = np.array(table, dtype=np.float64)
    seeds, rates = np.repeat(np.arange(len(table)) + 3, len(rates)), np.tile(rates, len(table))
    order = np.random.default_rng(0).permutation(len(seeds)) if shuffled else np.arange(len(seeds))
    last = table.ravel()[order]
    accuracy = {part: np.stack([100 - last, last])}
    loss = np.stack([last + 1, last + 2])
    return History(seeds[order], rates[order], np.array([10, 20]), accuracy, loss, last + 3, 6.0)


def test_a_grid_has_a_row_for_each_seed_and_a_column_for_each_rate():
    table = [[1, 2, 3], [4, 5, 6]]
    history = swept(table, rates=(10.0, 0.1, 1.0), shuffled=True)
    ascending = [[2, 3, 1], [5, 6, 4]]
    assert history.rates.tolist() == [0.1, 1, 10]
    np.testing.assert_array_equal(history.grid(history.final()), ascending)
    np.testing.assert_array_equal(history.grid(history.loss), [np.array(ascending) + 1, np.array(ascending) + 2])
    np.testing.assert_array_equal(history.grid(history.diverged_at.tolist()), np.array(ascending) + 3)


@pytest.mark.parametrize(("seeds", "rates"), [([0, 0, 1], [1, 2, 1]), ([0, 0, 1, 1], [1, 1, 1, 2]), ([0, 0], [1, 1])])
def test_no_grid_of_pairs_that_are_missing_or_there_twice(seeds, rates):
    n = len(seeds)
    history = History(np.array(seeds), np.array(rates), np.array([1]), {"test": np.zeros((1, n))}, None, None, 0.0)
    with pytest.raises(ValueError, match=f"grid: expected one replica for each of .* got {n} replicas with"):
        history.grid(np.zeros(n))


def test_the_replicas_at_one_rate():
    history = swept([[1, 2, 3], [4, 5, 6]], shuffled=True)
    some = history.at(1.0)
    assert sorted(zip(some.seeds.tolist(), some.final().tolist(), strict=True)) == [(3, 2), (4, 5)]
    np.testing.assert_array_equal(some.learning_rates, 1)
    np.testing.assert_array_equal(some.loss, [some.final() + 1, some.final() + 2])
    np.testing.assert_array_equal(some.diverged_at, some.final() + 3)
    np.testing.assert_array_equal(some.steps, [10, 20])
    assert some.seconds == 2.0
    assert history.at(0.1 + 1e-12).rates.tolist() == [0.1]  # however the rate was computed
    with pytest.raises(ValueError, match=r"rate: expected one of \[0.1, 1.0, 10.0\], got 0.11"):
        history.at(0.11)


# One notion of the same rate, in every method: equal up to rounding, 1e-9; an independent oracle is `math.isclose`.


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (0.3, 0.1 * 3, True),
        (0.7, 0.1 * 7, True),
        (1e-12, 1e-12 * (1 + 2e-16), True),
        (0.1, 0.1 * (1 + 1e-6), False),
        (0.1, 0.1001, False),
        (1e-12, 2e-12, False),
        (0.0, 1e-300, False),
        (0.0, 0.0, True),
    ],
)
def test_two_rates_are_one_if_they_differ_by_rounding_only(one, other, same):
    assert math.isclose(one, other, rel_tol=1e-9, abs_tol=0) is same
    seeds, rates = np.array([0, 1, 0, 1]), np.array([one, other, 5.0, 5.0])
    accuracy = {"test": np.array([[80.0, 90, 10, 20]]), "validation": np.array([[80.0, 90, 10, 20]])}
    history = History(seeds, rates, np.array([1]), accuracy, np.ones((1, 4)), np.full(4, np.inf), 4.0)
    assert len(history.rates) == (2 if same else 3)
    assert len(history.at(one).seeds) == len(history.at(other).seeds) == (2 if same else 1)
    if same:
        np.testing.assert_array_equal(history.grid(history.final()), [[80, 10], [90, 20]])
        assert history.best_rate() == min(one, other)
        np.testing.assert_array_equal(history.at_best(), [80, 90])
        np.testing.assert_array_equal(history.usable_range(50)[0], [min(one, other)] * 2)
    else:
        with pytest.raises(ValueError, match="grid: expected one replica for each of 2 seeds and 3 learning rates"):
            history.grid(history.final())
    built = []
    how = {"steps": 1, "batch_size": 4, "learning_rates": [one, 5.0, other]}
    if same:
        with pytest.raises(ValueError, match="learning_rates: expected every rate once, got "):
            sweep(built.append, [examples(0)], **how)
        assert not built
    else:
        assert len(sweep(lambda seeds: dense(seeds=seeds), [examples(0)], **how).rates) == 3


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=5),
    st.lists(st.integers(-3, 3), min_size=5, max_size=5),
)
def test_every_rate_finds_itself_and_what_rates_calls_one(rates, steps):
    rates = np.array([rate + k * np.spacing(rate) for rate in rates for k in steps])
    history = History(np.arange(len(rates)), rates, np.array([1]), {}, np.ones((1, len(rates))), rates, 1.0)
    found = [history.at(rate).seeds.tolist() for rate in rates]
    assert all(i in seeds for i, seeds in enumerate(found))
    assert len({tuple(seeds) for seeds in found}) == len(history.rates)
    assert sorted(i for rate in history.rates for i in history.at(rate).seeds) == list(range(len(rates)))


def test_a_rate_of_zero_can_be_asked_for():
    assert swept([[1, 2]], rates=(0.0, 1e-12)).at(0).final().tolist() == [1]


def test_the_final_accuracy_of_a_part():
    history = swept([[1, 2, 3]])
    assert history.final().tolist() == [1, 2, 3]
    with pytest.raises(
        ValueError, match=r"part: expected one of test, got 'validation'; .* with_validation\(seed=...\)"
    ):
        history.final("validation")
    for method in (
        history.best_rate,
        lambda: history.steps_to(1, "validation"),
        lambda: history.usable_range(1, "validation"),
    ):
        with pytest.raises(ValueError, match="part: expected one of test"):
            method()


def test_divergence():
    history = History(*3 * [np.arange(3)], {}, None, np.array([np.inf, 1, 7]), 0.0)
    assert history.diverged.tolist() == [False, True, True]


def test_the_best_rate_has_the_highest_median():
    assert swept([[90, 80, 10], [0, 80, 10], [90, 70, 95]], part="validation").best_rate() == 0.1
    assert swept([[90, 80, 10], [0, 80, 10], [10, 70, 95]], part="validation", shuffled=True).best_rate() == 1.0
    history = swept([[10, 80, 80], [10, 80, 80]])
    assert history.best_rate("test") == 1.0  # the smallest of several
    assert isinstance(history.best_rate("test"), float)


def test_steps_to_an_accuracy():
    accuracy = np.array([[10.0, 90, 20, 50], [50, 40, 20, 60], [70, 30, 20, 90]])
    history = History(
        np.arange(4), np.ones(4), np.array([5, 10, 12]), {"test": accuracy, "validation": accuracy / 2}, None, None, 0.0
    )
    assert history.steps_to(50).tolist() == [10, 5, np.inf, 5]  # reached exactly counts, and so does once
    assert history.steps_to([70, 91, 20, 55]).tolist() == [12, np.inf, 5, 10]
    assert history.steps_to(35, "validation").tolist() == [12, 5, np.inf, 12]


def test_at_best_is_the_accuracy_at_the_rate_that_validation_chooses():
    history = swept([[90, 80, 10], [0, 80, 10], [10, 70, 95]], part="validation", shuffled=True)
    np.testing.assert_array_equal(np.sort(history.at_best("validation")), [70, 80, 80])
    with pytest.raises(ValueError, match="part: expected one of validation, got 'test'"):
        history.at_best()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([10, 20, 30, 40, 50], (0, 0)),  # nowhere
        ([90, 90, 91, 90, 90], (1, 16)),  # everywhere
        ([10, 90, 95, 90, 10], (2, 8)),
        ([90, 10, 85, 95, 80], (4, 16)),  # beyond a gap does not count; reached exactly does
        ([95, 90, 10, 90, 90], (1, 2)),  # at one end
        ([10, 10, 10, 10, 80], (16, 16)),
        ([95, 10, 10, 10, 95], (1, 1)),  # the first of two that are best
    ],
)
def test_the_usable_range_is_around_the_best_rate(row, expected):
    rates = (1.0, 2.0, 4.0, 8.0, 16.0)
    low, high = swept([row, [0] * 5], rates=rates, shuffled=True).usable_range(80)
    assert (low.tolist(), high.tolist()) == ([expected[0], 0], [expected[1], 0])
    assert low.dtype == high.dtype == np.float64


def test_the_usable_range_with_a_threshold_for_each_seed():
    low, high = swept([[50, 60, 50], [50, 60, 50]], part="validation").usable_range([50, 60], "validation")
    assert (low.tolist(), high.tolist()) == ([0.1, 1.0], [10.0, 1.0])


def labels(y):
    return Split(np.ones((3, 16)), np.array(y), np.ones((1, 16)), np.array([0]))


VALIDATED = examples(0, validation=True)
REGRESSION = Split(np.ones((9, 16)), np.arange(9) / 2, np.ones((5, 16)), np.ones(5))


@both_kinds
@pytest.mark.parametrize(
    ("split", "how", "message"),
    [
        (None, {"batch_size": N + 1}, "batch_size: expected at most the 45 training examples, got 46"),
        (None, {"batch_size": 0}, "batch_size: expected a positive integer, got 0"),
        (None, {"steps": 0}, "steps: expected a positive integer, got 0"),
        (None, {"learning_rates": [0.1, 0.2]}, r"learning_rates: expected one, or one for each of the 3 .* \(2,\)"),
        (None, {"learning_rates": [[0.1, 0.2, 0.3]]}, r"learning_rates: expected one, .* got shape \(1, 3\)"),
        (None, {"learning_rates": [0.1, -0.2, 0.3]}, "learning_rates: expected finite numbers of at least 0"),
        (None, {"learning_rates": math.nan}, "learning_rates: expected finite numbers of at least 0"),
        (None, {"learning_rates": math.inf}, "learning_rates: expected finite numbers of at least 0"),
        (None, {"optimizer": "rmsprop"}, "optimizer: expected one of sgd, adam, got 'rmsprop'"),
        (None, {"steps": 10.0}, "steps: expected a positive integer, got 10.0"),
        (None, {"steps": -3}, "steps: expected a positive integer, got -3"),
        (None, {"batch_size": True}, "batch_size: expected a positive integer, got True"),
        (None, {"momentum": -0.5}, "momentum: expected a number from 0 to below 1, got -0.5"),
        (None, {"betas": (0.9, 0.99)}, "settings of sgd: expected one of momentum, weight_decay, got 'betas'"),
        (None, {"optimizer": "adam", "momentum": 0.9}, "settings of adam: expected one of betas, eps, .* 'momentum'"),
        (None, {"schedule": lambda share: math.nan}, "schedule: expected a number of at least 0, got nan"),
        (None, {"schedule": lambda share: 1 - 2 * share}, "schedule: expected a number of at least 0, got -0.1999"),
        (None, {"schedule": lambda share: None}, "schedule: expected a number of at least 0, got None"),
        (None, {"evaluate": [2, 7, 2]}, r"evaluate: expected every step once, got \[2, 7, 2\]"),
        (None, {"evaluate": [2.5]}, "evaluate: expected an integer from 1 to 10, got 2.5"),
        (None, {"evaluate": True}, "evaluate: expected a positive integer, got True"),
        (None, {"watch_at": [3, 3]}, r"watch_at: expected every step once, got \[3, 3\]"),
        (None, {"watch_at": 11.0}, "watch_at: expected a positive integer, got 11.0"),
        (None, {"parts": ["test", "test"]}, "parts: expected every part once"),
        (None, {"parts": "test"}, "parts: expected a list, got str"),
        (None, {"learning_rates": []}, r"learning_rates: expected one, or one for each of the 3 .* \(0,\)"),
        (None, {"learning_rates": "fast"}, "learning_rates: expected numbers"),
        ([], {}, "split: expected one, or one for each of the 3 replicas, got 0"),
        (REGRESSION, {"batch_size": 2}, r"split: expected classes from 0 to 2, .* \(torch.float64\)"),
        (None, {"momentum": 1.0}, "momentum: expected a number from 0 to below 1"),
        (None, {"evaluate": 0}, "evaluate: expected a positive integer, got 0"),
        (None, {"evaluate": [3, 11]}, "evaluate: expected an integer from 1 to 10, got 11"),
        (None, {"evaluate": [0]}, "evaluate: expected an integer from 1 to 10, got 0"),
        (labels([0, 1, 3]), {"batch_size": 2}, r"split: expected classes from 0 to 2, got 0 to 3 \(torch.int64\)"),
        (labels([0, -1, 2]), {"batch_size": 2}, "split: expected classes from 0 to 2, got -1 to 2"),
        (labels([0.0, 1.0, 2.0]), {"batch_size": 2}, r"split: expected classes from 0 to 2, .* \(torch.float64\)"),
        (examples(0, d=15), {}, "split: expected 16 (features|pixels).*, as the network, got 15 a row"),
        ("digits", {}, "split: expected a Split, or a list of one for each replica, got str"),
        (["digits"] * 3, {}, "split: expected a Split, or a list"),
        ({}, {}, "split: expected a Split, or a list of one for each replica, got dict"),
        ([examples(0)] * 2, {}, "split: expected one, or one for each of the 3 replicas, got 2"),
        ([examples(0)] * 4, {}, "split: expected one, or one for each of the 3 replicas, got 4"),
        ([VALIDATED, VALIDATED, examples(0, n=60)], {}, "split: expected splits of one size, got x_train of shapes"),
        ([VALIDATED, VALIDATED, examples(0)], {}, "split: expected a validation part in every split"),
        ([examples(0), VALIDATED, VALIDATED], {}, "split: expected a validation part in every split"),
        (None, {"parts": ["test", "validation"]}, "split: expected a validation part in every split"),
        (None, {"parts": ["tset"]}, "parts: expected one of validation, test, got 'tset'"),
    ],
)
def test_what_does_not_fit_together_is_refused(build, split, how, message):
    net = build()
    before = copy.deepcopy(net.state_dict())
    never = {"watch": lambda *_: pytest.fail("a step was taken")}
    with pytest.raises(ValueError, match=message):
        fit(net, examples(0) if split is None else split, **HOW | never | how)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_images_of_the_wrong_size_are_refused():
    with pytest.raises(
        ValueError, match=r"split: expected 16 pixels \(images of shape \(1, 4, 4\)\), as the network, got 64"
    ):
        fit(conv(), digits(seed=0), **HOW)


def test_a_batch_of_one_is_refused_by_batch_norm():
    with pytest.raises(ValueError, match="batch norm: expected more than one value for each channel"):
        fit(dense(norm="batch"), examples(0), **HOW | {"batch_size": 1})
    assert fit(conv(norm="batch"), examples(0), **HOW | {"batch_size": 1}).loss.shape == (10, 3)  # several pixels


def test_outputs_of_a_part_that_is_not_there():
    with pytest.raises(ValueError, match="split: expected a validation part in every split, got one without"):
        outputs(dense(), examples(0), "validation")
    with pytest.raises(ValueError, match="part: expected one of train, validation, test, got 'tset'"):
        outputs(dense(), examples(0), "tset")
    with pytest.raises(ValueError, match="split: expected one, or one for each of the 3 replicas, got 1"):
        outputs(dense(), [examples(0)])
    with pytest.raises(ValueError, match="split: expected 16 features, as the network, got 64 a row"):
        outputs(dense(), digits(seed=0))


@pytest.mark.parametrize(
    ("watch_at", "expected"),
    [
        (None, range(1, 11)),
        (1, range(1, 11)),
        (4, [4, 8, 10]),
        (5, [5, 10]),
        (np.int64(25), [10]),
        ([7, 2], [2, 7, 10]),
        (range(1, 4), [1, 2, 3, 10]),
        (np.array([3]), [3, 10]),
        ([], [10]),
    ],
)
def test_a_watch_is_called_at_its_steps_and_at_the_last(watch_at, expected):
    seen = []
    fit(dense(), examples(0), watch=lambda model, step, x, y: seen.append(step), watch_at=watch_at, **HOW)
    assert seen == list(expected)


@both_kinds
def test_a_watch_sees_the_batch_of_the_step_and_the_parameters_before_it(build):
    net, splits = build(norm="batch").double(), [examples(0), examples(1), examples(2)]
    seen = []

    def watch(model, step, x, y):
        assert model is net
        assert model.training
        assert (x.dtype, y.dtype) == (torch.float64, torch.int64)
        seen.append((step, x.clone(), y.clone(), copy.deepcopy(model.state_dict())))
        x.zero_()  # its own: the step is none the wiser

    start = copy.deepcopy(net.state_dict())
    history = fit(net, splits, watch=watch, watch_at=3, **HOW | {"evaluate": 2})
    assert [step for step, *_ in seen] == [3, 6, 9, 10]
    rows = [batches(N, 8, 10, seed=seed) for seed in SEEDS]
    for step, x, y, state in seen:
        for r, split in enumerate(splits):
            np.testing.assert_array_equal(x[r], split.x_train[rows[r][step - 1]])
            np.testing.assert_array_equal(y[r], split.y_train[rows[r][step - 1]])
        # As a training that stops one step earlier leaves them.
        shorter = build(norm="batch").double()
        shorter.load_state_dict(start)
        fit(shorter, splits, **HOW | {"steps": step - 1})
        for name, value in shorter.state_dict().items():
            assert torch.equal(value, state[name])
        loss = F.cross_entropy(shorter(x).transpose(1, 2), y, reduction="none").mean(1)
        np.testing.assert_array_equal(history.loss[step - 1], loss.detach())


def test_nobody_watches_unless_asked():
    net, same = dense(), dense()
    assert_same_history(fit(net, examples(0), watch_at=3, **HOW), fit(same, examples(0), **HOW))
    assert states_equal(net, same)


@pytest.mark.parametrize(
    ("watch_at", "message"),
    [
        (0, "watch_at: expected a positive integer, got 0"),
        ([3, 11], "watch_at: expected an integer from 1 to 10, got 11"),
        ([0], "watch_at: expected an integer from 1 to 10, got 0"),
    ],
)
def test_steps_that_do_not_come_cannot_be_watched(watch_at, message):
    with pytest.raises(ValueError, match=message):
        fit(dense(), examples(0), watch=lambda *_: None, watch_at=watch_at, **HOW)


def orders(seeds=SEEDS, *, steps=10, batch_size=8, n=N):
    """Rows that no shuffling gives: some examples come often, also twice in a batch, and most never."""
    return {seed: np.random.default_rng(100 + seed).integers(n // 3, size=(steps, batch_size)) for seed in seeds}


def train_on_rows(net, split, rows, rate, *, optimizer="sgd", penalty=None, **settings):
    """A plain network under torch.optim on given rows, with a term of its own; the loss without it at every step."""
    kind, losses = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer], []
    stepper = kind(net.parameters(), lr=rate, **settings)
    x, y = torch.tensor(split.x_train, dtype=next(net.parameters()).dtype), torch.tensor(split.y_train)
    for batch in rows:
        loss = F.cross_entropy(net(x[batch]), y[batch])
        stepper.zero_grad()
        (loss if penalty is None else loss + penalty(net)).backward()
        stepper.step()
        losses.append(loss.item())
    return np.array(losses)


OPTIMIZERS = [("sgd", {}), ("sgd", {"momentum": 0.9, "weight_decay": 0.01}), ("adam", {})]


@both_kinds
@pytest.mark.parametrize("reshuffle", [True, False])
def test_rows_of_batches_are_the_default(build, reshuffle):
    nets, split = [build(norm="batch", dropout=0.2) for _ in range(2)], examples(0, validation=True)
    rows = {seed: batches(N, 8, 10, seed=seed, reshuffle=reshuffle) for seed in SEEDS}
    default = fit(nets[0], split, reshuffle=reshuffle, evaluate=3, **HOW)
    given = fit(nets[1], split, rows=rows, evaluate=3, **HOW)  # here reshuffle has nothing to say
    assert_same_history(given, default)
    assert states_equal(*nets)


@both_kinds
@pytest.mark.parametrize(("optimizer", "settings"), OPTIMIZERS)
def test_rows_are_what_is_trained_on(build, optimizer, settings):
    net, splits = build(norm="batch", activation="tanh").double(), [examples(seed) for seed in range(3)]
    alone, rows, rates = [net.replica(r) for r in range(3)], orders(), np.array(RATES) * 0.1
    assert all(len(np.unique(batch)) < 8 for batch in np.concatenate(list(rows.values()))[:3])
    kept = copy.deepcopy(rows)
    history = fit(net, splits, rows=rows, optimizer=optimizer, **HOW | {"learning_rates": rates}, **settings)
    for r, plain in enumerate(alone):
        losses = train_on_rows(plain, splits[r], rows[SEEDS[r]], rates[r], optimizer=optimizer, **settings)
        # Ten steps in float64: roundings of 1e-16, which norms and training make up to a million times larger.
        assert_same_network(net.replica(r), plain)
        np.testing.assert_allclose(history.loss[:, r], losses, rtol=0, atol=1e-9)
    for seed, values in rows.items():
        np.testing.assert_array_equal(values, kept[seed])


def test_rows_may_be_lists_small_integers_and_of_more_seeds():
    rows, split = orders(), examples(0)
    others = {9: "never looked at", **{seed: values.tolist() for seed, values in rows.items()}}
    small = {seed: values.astype(kind) for (seed, values), kind in zip(rows.items(), ("u1", "i2", "u8"), strict=True)}
    nets = [dense() for _ in range(3)]
    histories = [fit(net, split, rows=one, **HOW) for net, one in zip(nets, (rows, others, small), strict=True)]
    for net, history in zip(nets, histories, strict=True):
        assert_same_history(history, histories[0])
        assert states_equal(net, nets[0])


def test_a_watch_sees_the_given_rows():
    rows, splits, steps = orders(), [examples(seed) for seed in range(3)], []

    def watch(model, step, x, y):
        steps.append(step)
        for r, split in enumerate(splits):
            np.testing.assert_array_equal(x[r], split.x_train[rows[SEEDS[r]][step - 1]])
            np.testing.assert_array_equal(y[r], split.y_train[rows[SEEDS[r]][step - 1]])

    fit(dense().double(), splits, rows=rows, watch=watch, **HOW)
    assert steps == list(range(1, 11))


def test_replicas_of_one_seed_have_the_same_rows_in_a_sweep():
    rows, splits = orders((0, 1)), [examples(0), examples(1)]

    def build(seeds):
        return dense(seeds=seeds).double()

    history = sweep(build, splits, learning_rates=(0.1, 0.3), steps=10, batch_size=8, rows=rows)
    for r, (seed, rate) in enumerate([(0, 0.1), (0, 0.3), (1, 0.1), (1, 0.3)]):
        losses = train_on_rows(build([seed]).replica(0), splits[seed], rows[seed], rate)
        np.testing.assert_allclose(history.loss[:, r], losses, rtol=0, atol=1e-9)  # as above


def changed(value, seed=0):
    """Rows with one entry that will not do."""
    rows = orders()
    rows[seed] = rows[seed].copy()
    rows[seed][4, 2] = value
    return rows


@pytest.mark.parametrize(("steps", "batch_size"), [(0, 8), (10, 0), (-1, 8)])
def test_rows_for_no_step_are_refused(steps, batch_size):
    with pytest.raises(ValueError, match="(steps|batch_size): expected a positive integer, got"):
        fit(dense(), examples(0), steps=steps, batch_size=batch_size, learning_rates=0.1, rows=orders())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, r"rows: expected an entry for every seed, got none for \[0, 4, 7\]"),
        (orders((4, 7, 1)), r"rows: expected an entry for every seed, got none for \[0\]"),
        (orders() | {0: orders()[0][:9]}, r"rows\[0\]: expected integers of shape \(10, 8\), got int64 of \(9, 8\)"),
        (orders() | {7: orders()[7][:, :7]}, r"rows\[7\]: expected integers of shape \(10, 8\), .* \(10, 7\)"),
        (orders() | {4: orders()[4].ravel()}, r"rows\[4\]: expected integers of shape \(10, 8\), .* of \(80,\)"),
        (orders(steps=11), r"expected integers of shape \(10, 8\), got int64 of \(11, 8\)"),
        (orders() | {0: orders()[0].astype(float)}, r"rows\[0\]: expected integers of .*, got float64 of \(10, 8\)"),
        (orders() | {0: orders()[0] > 3}, r"rows\[0\]: expected integers of shape .*, got bool of"),
        (changed(N), r"rows\[0\]: expected rows from 0 to 44, got \d+ to 45"),
        (changed(-1), r"rows\[0\]: expected rows from 0 to 44, got -1 to"),
        (changed(2**62, 7), r"rows\[7\]: expected rows from 0 to 44, got \d+ to 4611686018427387904"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_refused(rows, message):
    net = dense()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=message):
        fit(net, examples(0), rows=rows, **HOW)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_first_and_the_last_row_can_be_trained_on():
    rows = {seed: np.tile([0, N - 1] * 4, (10, 1)) for seed in SEEDS}
    net, split = dense().double(), examples(0)
    plain = net.replica(1)
    losses = train_on_rows(plain, split, rows[0], 0.3)
    np.testing.assert_allclose(fit(net, split, rows=rows, **HOW).loss[:, 1], losses, rtol=0, atol=1e-9)  # as above


STRENGTHS = torch.tensor([0.5, 0.0, 0.05], dtype=torch.float64)


def sizes(model):
    """Sums of fourth powers of all parameters of each replica, with a strength of its own: no weight decay."""
    return STRENGTHS * sum(p.pow(4).flatten(1).sum(1) for p in model.parameters())


@both_kinds
@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize(("optimizer", "settings"), OPTIMIZERS)
def test_a_penalty_is_a_term_of_each_replicas_own_loss(build, norm, optimizer, settings):
    net, split = build(norm=norm, activation="tanh").double(), examples(0)
    alone, without = [net.replica(r) for r in range(3)], copy.deepcopy(net)
    rates, rows = np.array(RATES) * 0.1, {seed: batches(N, 8, 10, seed=seed) for seed in SEEDS}
    how = HOW | {"learning_rates": rates, "optimizer": optimizer} | settings
    history, plainly = fit(net, split, penalty=sizes, **how), fit(without, split, **how)
    for r, plain in enumerate(alone):

        def term(one, strength=STRENGTHS[r]):
            return strength * sum(p.pow(4).sum() for p in one.parameters())

        losses = train_on_rows(plain, split, rows[SEEDS[r]], rates[r], optimizer=optimizer, penalty=term, **settings)
        # Ten steps in float64, as above; the losses are those of the cross-entropy alone.
        assert_same_network(net.replica(r), plain)
        np.testing.assert_allclose(history.loss[:, r], losses, rtol=0, atol=1e-9)
    assert states_equal(net, without, [1])  # a strength of zero
    np.testing.assert_array_equal(history.loss[:, 1], plainly.loss[:, 1])
    np.testing.assert_array_equal(history.loss[0], plainly.loss[0])  # before any step
    assert (history.loss[1:, [0, 2]] != plainly.loss[1:, [0, 2]]).all()


def test_a_penalty_that_is_not_a_number_disturbs_its_own_replica_only():
    nets, split = [dense(norm="batch") for _ in range(2)], examples(0)
    blow = torch.tensor([0.0, math.nan, 0.0])
    histories = [
        fit(net, split, penalty=term, **HOW)
        for net, term in zip(nets, (lambda model: blow * model.layers[1].weight.sum((1, 2)), None), strict=True)
    ]
    assert states_equal(*nets, [0, 2])
    assert histories[0].diverged_at.tolist() == [math.inf, 2, math.inf]  # the loss of the first step is a number
    np.testing.assert_array_equal(histories[0].loss[:, [0, 2]], histories[1].loss[:, [0, 2]])
    assert histories[0].loss[0, 1] == histories[1].loss[0, 1]


def test_a_penalty_is_asked_for_once_a_step_in_training_mode():
    net, modes = dense(norm="batch"), []

    def nothing(model):
        assert model is net
        modes.append(model.training)
        return torch.zeros(3)

    same = dense(norm="batch")
    assert_same_history(
        fit(net, examples(0), penalty=nothing, evaluate=1, **HOW), fit(same, examples(0), evaluate=1, **HOW)
    )
    assert modes == 10 * [True]
    assert states_equal(net, same)


def test_a_penalty_moves_what_the_outputs_do_not_depend_on():
    net = dense()
    net.idle, net.unused = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(3))
    fit(net, examples(0), penalty=lambda model: model.idle.sum(1), **HOW)
    expected = 1 - 10 * torch.tensor(RATES)[:, None].expand(3, 2)
    torch.testing.assert_close(net.idle.detach(), expected, rtol=0, atol=1e-5)  # ten steps down a slope, in float32
    assert (net.unused == 1).all()


@pytest.mark.parametrize(
    ("value", "got"),
    [(torch.tensor(1.0), r"\(\)"), (torch.zeros(3, 1), r"\(3, 1\)"), (torch.zeros(1), r"\(1,\)"), (0.5, "float")],
)
def test_a_penalty_of_another_shape_is_refused(value, got):
    net = dense()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=rf"penalty: expected a Tensor of shape \(3,\), .*, got {got}"):
        fit(net, examples(0), penalty=lambda model: value, **HOW)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())

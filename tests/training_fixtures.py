"""Small stacks and examples for the tests of training."""

import functools

import numpy as np
import torch
from network_fixtures import conv_net

from utils.data import Split
from utils.lab.networks import mlp
from utils.lab.replicas import Stack
from utils.lab.sequences import RNN, Transformer

N, CLASSES, SEEDS, RATES = 45, 3, (4, 0, 7), (0.1, 0.3, 0.02)
HOW = {"steps": 10, "batch_size": 8, "learning_rates": RATES}
KINDS = {
    "mlp": functools.partial(mlp, 16, CLASSES, width=12, depth=2),
    "conv_net": functools.partial(conv_net, (1, 4, 4), CLASSES, channels=(8, 8), pool_after=(1,)),
    "RNN": functools.partial(RNN, 16, CLASSES, token=4, width=8),
    "Transformer": functools.partial(Transformer, 16, CLASSES, token=4, width=8, depth=1),
}


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


def assert_same_history(ours, theirs):
    for name in ("seeds", "learning_rates", "steps", "loss", "diverged_at"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert list(ours.accuracy) == list(theirs.accuracy)
    for part, values in ours.accuracy.items():
        np.testing.assert_array_equal(values, theirs.accuracy[part])


def states_equal(ours, theirs, replicas=slice(None)):
    pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    return all(torch.equal(a[replicas], b[replicas]) for a, b in pairs)


def orders(seed):
    """Rows that no shuffling gives: the first and the last often, also twice in a batch, and most never."""
    rows = np.random.default_rng(100 + seed).integers(N // 3, size=(10, 8))
    rows[:, :3] = [0, N - 1, N - 1]
    return rows

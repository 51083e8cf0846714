"""Stacks of several kinds in float64, and batches, for the tests of probes."""

from functools import partial

import numpy as np
import pytest
import torch
from network_fixtures import conv_net

from utils.lab.networks import mlp
from utils.lab.replicas import Stack
from utils.lab.sequences import RNN, Transformer

SEEDS, N_IN, CLASSES = (5, 0, 3), 32, 4
RATES = np.array([0.3, 0.7, 0.05])
LENGTHS = np.array([0.1, 0.4, 1.5])
# Everything in float64 and of order one: the same sums in another order, made larger by norms of a few values.
TIGHT = {"rtol": 1e-9, "atol": 1e-11}

dense = partial(mlp, N_IN, CLASSES, width=8, depth=2, activation="tanh")
conv = partial(conv_net, (2, 4, 4), CLASSES, channels=(4, 6), pool_after=(1,), activation="tanh")
# Networks, and the layers of each with their names and those of what belongs to them.
AFTER = {"norm": "batch", "place": "after", "norm_input": "batch"}
KINDS = {
    "mlp": (dense, [["0."], ["2."], ["4."]]),
    "mlp, batch norm": (partial(dense, norm="batch"), [["0.", "1."], ["3.", "4."], ["6."]]),
    "mlp, batch norm after, and of inputs": (partial(dense, **AFTER), [["1.", "0.", "3."], ["4.", "6."], ["7."]]),
    "conv_net, batch norm": (partial(conv, norm="batch"), [["1.", "2."], ["5.", "6."], ["9."]]),
    "conv_net, batch norm after pooling": (
        partial(conv, norm="batch", place="after_pool"),
        [["1.", "4."], ["5.", "7."], ["9."]],
    ),
    "RNN": (
        partial(RNN, n_in=N_IN, n_out=CLASSES, token=8, width=5, norm="layer"),
        [["inputs."], ["recurrent.", "norm."], ["head."]],
    ),
    "Transformer": (
        partial(Transformer, n_in=N_IN, n_out=CLASSES, token=8, width=6, depth=1),
        [
            ["embed.", "places"],
            *(["blocks.0.qkv."], ["blocks.0.project."], ["blocks.0.widen."]),
            ["blocks.0.narrow.", "blocks.0.norms.", "last_norm."],
            ["head."],
        ],
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
both_modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def stack(kind="mlp", training=True, **how):
    """A stack in float64, with numbers that no two replicas or channels have alike."""
    build = KINDS[kind][0] if isinstance(kind, str) else kind
    net, generator = Stack.of(lambda seed: build(seed=seed, **how), SEEDS).double(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.add_(noise if name.endswith("running_var") else noise - 0.5)
            else:
                value.add_(3)
    return net.train(training)


def batch(n=7, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, n, N_IN, generator=generator, dtype=dtype)
    return x, torch.randint(CLASSES, (3, n), generator=generator)

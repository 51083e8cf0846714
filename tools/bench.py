"""Time our code against PyTorch's, side by side on one thread; the ratios are what counts."""

import argparse
import itertools
import json
import statistics
import timeit
from pathlib import Path

import numpy as np
import torch
from execute import ROOT
from guard import RESULTS, one_sentence
from results import Results
from torch import nn
from torch.nn import functional as F

from utils.byhand.normalization import BatchNorm
from utils.lab.networks import initialize, mlp
from utils.lab.optim import SGD
from utils.lab.replicas import Stack
from utils.lab.training import cross_entropy
from utils.runtime import configure

WARM_UP_ROUNDS = 3
ROUNDS = 20
REPLICAS, N_EXAMPLES = 16, 1300
MLP_SIZES, MLP_BATCH = (64, 100, 100, 100, 10), 60
PEAK_SIZE = 512  # of the square matrices whose product sets the pace
TORCH_LAYERS = {2: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}


def batch_norm(*shape):
    """One training step of batch norm in float32, forward and backward, as two functions: ours and theirs."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal(shape, dtype=np.float32), rng.standard_normal(shape, dtype=np.float32)
    layer, torch_layer = BatchNorm(shape[1]), TORCH_LAYERS[len(shape)](shape[1])
    torch_x, torch_dy = torch.tensor(x, requires_grad=True), torch.tensor(dy)
    wanted = (torch_x, torch_layer.weight, torch_layer.bias)

    def ours():
        layer.forward(x)
        layer.backward(dy)

    def theirs():
        torch.autograd.grad(torch_layer(torch_x), wanted, torch_dy)

    return ours, theirs


def replicas(build, *, batch_size):
    """One step of SGD of 16 networks, as two functions: ours as replicas, theirs as the fastest plain loop we know.

    `build` makes a network for images of 64 pixels and ten classes from a seed.
    """
    net, rng = Stack.of(build, range(REPLICAS)), np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((REPLICAS, N_EXAMPLES, MLP_SIZES[0]), dtype=np.float32))
    y = torch.from_numpy(rng.integers(MLP_SIZES[-1], size=(REPLICAS, N_EXAMPLES)))
    rows = torch.from_numpy(rng.integers(N_EXAMPLES, size=(REPLICAS, batch_size)))
    plain = [net.replica(r).to(memory_format=torch.channels_last) for r in range(REPLICAS)]
    optimizers = [torch.optim.SGD(one.parameters(), lr=0.01, fused=True) for one in plain]
    parameters = list(net.parameters())
    sgd, every = SGD(parameters, torch.full((REPLICAS,), 0.01)), torch.arange(REPLICAS)[:, None]

    def ours():
        loss = cross_entropy(net, x[every, rows], y[every, rows]).sum()
        sgd.step(torch.autograd.grad(loss, parameters))

    def theirs():
        for one, optimizer, own_x, own_y, own_rows in zip(plain, optimizers, x, y, rows, strict=True):
            loss = F.cross_entropy(one(own_x[own_rows]), own_y[own_rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return ours, theirs


def _mlp(norm):
    n_in, *hidden, n_out = MLP_SIZES
    shape = {"width": hidden[0], "depth": len(hidden), "activation": "sigmoid", "norm": norm}
    return replicas(lambda seed: mlp(n_in, n_out, seed, **shape), batch_size=MLP_BATCH)


def _conv(seed):
    """Two convolutions with batch norm, and a linear layer."""
    layers = [nn.Unflatten(1, (1, 8, 8))]
    for n_in, n_out in ((1, 16), (16, 32)):
        conv = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)]
    return initialize(nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 10)), seed)


# Name: the ratio of times, ours over PyTorch's, that we want to stay below, and what makes the two callables.
BENCHMARKS = {
    "batchnorm_60x50": (2.0, lambda: batch_norm(60, 50)),
    "replicas_mlp": (0.4, lambda: _mlp(None)),
    "replicas_mlp_bn": (0.4, lambda: _mlp("batch")),
    "replicas_conv": (0.65, lambda: replicas(_conv, batch_size=64)),
}


def measure(ours, theirs, rounds):
    """Median seconds of two functions, timed in turn so that a busy machine slows both."""
    for _ in range(WARM_UP_ROUNDS):
        ours()
        theirs()
    times = [[timeit.timeit(function, number=1) for function in (ours, theirs)] for _ in range(rounds)]
    return tuple(statistics.median(side) for side in zip(*times, strict=True))


def share_of_peak(seconds, rounds):
    """Floating-point operations per second in the matrix products of a step of `_mlp`, and in one large product."""
    forward = [2 * MLP_BATCH * n_in * n_out for n_in, n_out in itertools.pairwise(MLP_SIZES)]
    step = REPLICAS * (3 * sum(forward) - forward[0])  # backward, two products per layer; one in the first layer
    a = torch.randn(PEAK_SIZE, PEAK_SIZE, generator=torch.Generator().manual_seed(0))
    out = torch.empty_like(a)
    _, peak = measure(lambda: None, lambda: torch.mm(a, a, out=out), rounds)
    return step / seconds, 2 * PEAK_SIZE**3 / peak


def _rounds(text):
    """A number of rounds from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


@one_sentence("bench", RESULTS)
def main():
    """Measure, print a table, write the ratios; a missed target is a finding and not a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json", help="file for the ratios")
    parser.add_argument("--rounds", type=_rounds, default=ROUNDS, help=f"how often each is timed (default {ROUNDS})")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    with Results.alone(out.parent, shared=True) as folder:
        folder.check([out.name])
        results = _measured(arguments.rounds)
        folder.write(out.name, json.dumps(results, indent=2) + "\n")
    print(f"Ratios: {out}")


def _measured(rounds):
    """The ratios and targets of all benchmarks, which are printed as they come."""
    configure()
    widest, results, seconds = max(map(len, BENCHMARKS)), {}, {}
    print(f"{'name':{widest}}  {'ours ms':>8}  {'torch ms':>8}  {'ratio':>6}  {'target':>6}", flush=True)
    for name, (target, make) in BENCHMARKS.items():
        ours, theirs = measure(*make(), rounds)
        ratio, seconds[name] = ours / theirs, ours
        results[name] = {"ratio": round(ratio, 3), "target": target}
        verdict = "ok" if ratio <= target else "above target"
        row = f"{name:{widest}}  {1e3 * ours:8.2f}  {1e3 * theirs:8.2f}  {ratio:6.2f}  {target:6.2f}  {verdict}"
        print(row, flush=True)
    reached, peak = (1e-9 * rate for rate in share_of_peak(seconds["replicas_mlp"], rounds))
    print(f"replicas_mlp: {reached:.0f} of {peak:.0f} GFLOP/s of a matrix product, {reached / peak:.0%}")
    return results


if __name__ == "__main__":
    main()

"""The experiments of three papers on the whole of MNIST, in units of at most some minutes.

Ioffe and Szegedy (2015), figure 1; Glorot and Bengio (2010), table 1; He, Zhang, Ren and Sun (2015), figure 3.
"""

import functools
import io
import zipfile

import guard  # noqa: F401  puts this checkout's helpers first
import numpy as np
import torch
from stacked import Stack, batches, gaussian, he, normalized, standard, take, xavier

from utils import data
from utils.files import write_atomically

VALIDATION = 10_000  # of the 60 000 images for training
DIGITS = 4

# Ioffe and Szegedy. The paper gives neither rate nor standard deviation: these two are ours.
SIGMOIDS = (100, 100, 100)
SMALL = 0.1  # the standard deviation of the weights at the start
PAPER_RATE = 0.1
STEPS = (100, 200, 500, 1000, 2000, 3000, 5000, 7500, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000, 50_000)
SEARCH_STEPS = 10_000
SEARCH_SEEDS = (0, 1)
RATES = tuple(2.0**k for k in range(-3, 5))
LOOKED_AT = 2000  # test images whose inputs to the sigmoids give the percentiles

# Glorot and Bengio: unit, start, and the rate with which the search begins.
WIDE = (1000,) * 5
ARMS = {
    "sigmoid": ("sigmoid", standard, 0.08),
    "tanh": ("tanh", standard, 0.04),
    "tanh normalized": ("tanh", normalized, 0.02),
    "softsign": ("softsign", standard, 0.08),
}
SEARCH_EPOCHS = 1
MOST_RATES = 4

# He and others: thirty layers of weights.
DEEP = (100,) * 29
STARTS = {"Xavier": xavier, "He": he}
HE_EPOCHS = 3
MOMENTUM = 0.9


def rounded(values):
    """Numbers with a few digits, as lists."""
    return np.vectorize(lambda value: float(f"{value:.{DIGITS}g}"), otypes=[float])(np.asarray(values)).tolist()


@functools.lru_cache(maxsize=2)
def images(*, binary=False, device="cpu"):
    """All of MNIST in one order: pixels from 0 to 1, or 0 and 1 without those that are 0 in all training images."""
    split = data.mnist(seed=0)
    x_train, x_test = split.x_train / np.float32(255), split.x_test / np.float32(255)
    if binary:
        used = (x_train > 0.5).any(axis=0)
        x_train, x_test = ((x[:, used] > 0.5).astype(np.float32) for x in (x_train, x_test))
    return [torch.tensor(each, device=device) for each in (x_train, split.y_train, x_test, split.y_test)]


def _per_replica(rates, device):
    return torch.tensor(rates, dtype=torch.float32, device=device).reshape(-1, 1, 1)


@torch.no_grad()
def train(stack, x, y, *, seeds, size, rate, last, first=0, watch=lambda step: None):
    """Take steps `first` to `last`, and call `watch` after each; orders of images are those of the seeds."""
    per_epoch = len(x) // size
    for step in range(first, last):
        if step == first or step % per_epoch == 0:
            order = batches(len(x), size, seeds, step // per_epoch, x.device)
        stack.step(*take(x, y, order[step % per_epoch]), rate)
        watch(step + 1)


def sigmoids(norm, seeds, width, device):
    """The network of Ioffe and Szegedy's figure 1."""
    return Stack((width, *SIGMOIDS, 10), seeds, "sigmoid", gaussian(SMALL), norm=norm, device=device)


@torch.no_grad()
def ioffe_search(arm, device="cpu"):
    """The rate with the fewest errors on the validation images, for one of the two networks."""
    x, y, *_ = images(binary=True, device=device)
    seeds = [seed for _ in RATES for seed in SEARCH_SEEDS]
    rates = [rate for rate in RATES for _ in SEARCH_SEEDS]
    stack = sigmoids(arm == "batch norm", seeds, x.shape[1], device)
    known, new = (x[:-VALIDATION], y[:-VALIDATION]), (x[-VALIDATION:], y[-VALIDATION:])
    train(stack, *known, seeds=seeds, size=60, rate=_per_replica(rates, device), last=SEARCH_STEPS)
    errors = np.reshape(stack.errors(*new, stack.statistics(known[0][:6000], 60)), (len(RATES), -1)).mean(1)
    return {"rates": list(RATES), "errors": rounded(errors), "rate": RATES[int(np.argmin(errors))]}


@torch.no_grad()
def ioffe(arm, rate, first, n, device="cpu"):
    """Test accuracy over the steps, and what comes into the sigmoids of the last hidden layer."""
    x, y, x_test, y_test = images(binary=True, device=device)
    seeds = list(range(first, first + n))
    stack = sigmoids(arm == "batch norm", seeds, x.shape[1], device)
    accuracy, percentiles = [], []

    def watch(step):
        if step in STEPS:
            statistics = stack.statistics(x[:6000], 60)
            accuracy.append(100 - np.array(stack.errors(x_test, y_test, statistics)))
            inputs = torch.cat([found[2][-2] for found in stack.parts(x_test[:LOOKED_AT], statistics)], dim=1)
            percentiles.append(np.percentile(inputs.cpu().numpy(), (15, 50, 85), axis=1))

    train(stack, x, y, seeds=seeds, size=60, rate=rate, last=STEPS[-1], watch=watch)
    found = np.array(percentiles)  # (steps, 3, seeds, units)
    move = np.ptp(found[:, 1], axis=0) / (found[:, 2] - found[:, 0]).mean(0)
    return {
        "steps": list(STEPS),
        "rate": rate,
        "accuracy": rounded(np.transpose(accuracy)),
        "percentiles": rounded(found[..., 0].transpose(2, 0, 1)),
        "move": rounded(np.median(move, axis=1)),
    }


@torch.no_grad()
def spreads(stack, x, y):
    """Standard deviations per replica and layer: of activations, of gradients there, and of gradients of weights."""
    n = len(stack.W[0])
    x, y = x.expand(n, *x.shape), y.expand(n, *y.shape)
    gradients, weights = {}, {}

    def keep(layer, h, delta, *_):
        gradients[layer] = (delta * y.shape[1]).std(dim=(1, 2)).tolist()
        weights[layer] = torch.bmm(h.transpose(1, 2), delta).std(dim=(1, 2)).tolist()

    _, outputs, *_ = stack.forward(x)
    stack.backward(x, y, 1.0, keep)
    layers = range(len(stack.W))
    return {
        "activations": rounded(np.transpose([h.std(dim=(1, 2)).tolist() for h in outputs[1:]])),
        "gradients": rounded(np.transpose([gradients[layer] for layer in layers])),
        "weight gradients": rounded(np.transpose([weights[layer] for layer in layers])),
    }


def wide(arm, seed, width, device):
    """The network of Glorot and Bengio's table 1."""
    unit, start, _ = ARMS[arm]
    return Stack((width, *WIDE, 10), [seed], unit, start, device=device)


def _score(stack, x, y):
    """The percentage of errors, and the cross-entropy, of one network."""
    logits = torch.cat([found[0][0] for found in stack.parts(x)])
    loss = torch.nn.functional.cross_entropy(logits, y)
    return float(100 * (logits.argmax(1) != y).double().mean()), float(loss.nan_to_num(torch.inf))


@torch.no_grad()
def glorot_search(arm, device="cpu"):
    """The rate, of a grid in factors of two, with the fewest errors on the validation images after an epoch.

    It begins with three rates and goes on beside the best while that is at an end of the grid. Between rates with the
    same errors the cross-entropy decides.
    """
    x, y, *_ = images(device=device)
    known, new = (x[:-VALIDATION], y[:-VALIDATION]), (x[-VALIDATION:], y[-VALIDATION:])
    middle, found = ARMS[arm][2], {}

    def measure(rate):
        stack = wide(arm, 0, x.shape[1], device)
        train(stack, *known, seeds=[0], size=10, rate=rate, last=SEARCH_EPOCHS * (len(known[0]) // 10))
        found[rate] = _score(stack, *new)

    for rate in (middle / 2, middle, 2 * middle):
        measure(rate)
    while len(found) < MOST_RATES:
        best = min(found, key=found.get)
        if min(found) < best < max(found):
            break
        measure(best / 2 if best == min(found) else 2 * best)
    best, rates = min(found, key=found.get), sorted(found)
    errors, losses = zip(*(found[rate] for rate in rates), strict=True)
    return {
        "rates": rates,
        "errors": rounded(errors),
        "losses": rounded(losses),
        "rate": best,
        "at an end": best in (rates[0], rates[-1]),
    }


def _saved(folder, name, stack, until):
    """The last epoch, before `until`, after which this network was kept; its weights go into the stack."""
    found = {int(path.stem.rpartition("-")[2]): path for path in folder.glob(f"{name}-*.npz")}
    for epoch in sorted((epoch for epoch in found if epoch < until), reverse=True):
        try:
            with open(found[epoch], "rb") as opened, np.load(opened) as file:
                kept = [torch.from_numpy(file[f"arr_{k}"]) for k in range(len(stack.parameters()))]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            continue  # a damaged file: what it had is computed again
        for parameter, value in zip(stack.parameters(), kept, strict=True):
            parameter.copy_(value)
        return epoch
    return 0


@torch.no_grad()
def glorot(arm, rate, seed, until, folder, name, device="cpu"):
    """Train to the end of an epoch, from where the network was kept in `folder`, and keep it for the next unit."""
    x, y, x_test, y_test = images(device=device)
    known, new = (x[:-VALIDATION], y[:-VALIDATION]), (x[-VALIDATION:], y[-VALIDATION:])
    stack, per_epoch = wide(arm, seed, x.shape[1], device), len(x[:-VALIDATION]) // 10
    at_start = spreads(stack, new[0][:300], new[1][:300])
    begun = _saved(folder, name, stack, until)
    train(stack, *known, seeds=[seed], size=10, rate=rate, first=begun * per_epoch, last=until * per_epoch)
    packed = io.BytesIO()
    np.savez(packed, *(parameter.cpu().numpy() for parameter in stack.parameters()))
    write_atomically(folder / f"{name}-{until}.npz", packed.getvalue())
    for epoch in range(until):
        (folder / f"{name}-{epoch}.npz").unlink(missing_ok=True)
    error, loss = _score(stack, x_test, y_test)
    return {
        "rate": rate,
        "epoch": until,
        "error": error,
        "loss": float(f"{loss:.{DIGITS}g}"),
        "at the start": at_start,
        "now": spreads(stack, new[0][:300], new[1][:300]),
    }


@torch.no_grad()
def thirty_layers(arm, rate, first, n, device="cpu"):
    """Test errors of a network of thirty layers after each epoch, and how its signal shrinks at the start."""
    x, y, x_test, y_test = images(device=device)
    seeds, errors = list(range(first, first + n)), []
    sizes, per_epoch = (x.shape[1], *DEEP, 10), len(x) // 128
    stack = Stack(sizes, seeds, "relu", STARTS[arm], momentum=MOMENTUM, device=device)
    at_start = spreads(stack, x[:300], y[:300])

    def watch(step):
        if step % per_epoch == 0:
            errors.append(stack.errors(x_test, y_test))

    train(stack, x, y, seeds=seeds, size=128, rate=rate, last=HE_EPOCHS * per_epoch, watch=watch)
    return {"rate": rate, "errors": rounded(np.transpose(errors)), "at the start": at_start}

"""Train all replicas of a stack at once, each at its own learning rate."""

import inspect
import os
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from utils.arrays import _array, generator, instance, one_of, whole
from utils.data import Split
from utils.lab.history import History, one_or_each
from utils.lab.optim import SGD
from utils.lab.replicas import Stack, evaluation_mode

__all__ = ["batches", "cross_entropy", "fit", "outputs"]

SECONDS_WITHOUT_BAR = 2
_EXAMPLES_AT_ONCE = 128  # of each replica in an evaluation: larger blocks leave the cache


def batches(n, batch_size, steps, seed, *, reshuffle=True):
    """Which examples each step sees: every example once per epoch, in random order; a rest is dropped.

    Parameters
    ----------
    n, batch_size, steps : int
        Number of examples, of them in a batch, and of batches.
    seed : int
    reshuffle : bool
        Draw a new order for every epoch; otherwise the batches of the first epoch come again and again.

    Returns
    -------
    ndarray, shape (steps, batch_size), int64

    Raises
    ------
    ValueError
        If batch_size or steps is not a positive integer, or a batch is larger than the data.
    """
    n, batch_size, steps = whole(n, "n"), whole(batch_size, "batch_size"), whole(steps, "steps")
    if batch_size > n:
        raise ValueError(f"batch_size: expected at most the {n} training examples, got {batch_size}")
    rng, per_epoch = generator(seed), n // batch_size
    epochs = -(-steps // per_epoch)
    orders = [rng.permutation(n) for _ in range(epochs if reshuffle else 1)]
    rows = np.concatenate([order[: per_epoch * batch_size].reshape(-1, batch_size) for order in orders])
    return rows[np.arange(steps) % len(rows)]


def cross_entropy(model, x, y):
    """The cross-entropy of every replica, the mean over its batch.

    Parameters
    ----------
    model : Stack
    x : Tensor, shape (R, B, ...)
    y : Tensor, shape (R, B), int64

    Returns
    -------
    Tensor, shape (R,)
    """
    return F.cross_entropy(model(x).transpose(1, 2), y, reduction="none").mean(1)


def fit(model, split, *, steps, batch_size, learning_rates, optimizer=SGD, loss=cross_entropy, watch=None):
    """Train every replica on its own batches, at its own rate.

    The losses of the replicas are added up, unweighted, so that each gets the gradient of its own loss. A replica that
    diverges is recorded as such and disturbs no other; if its last step does it, only an accuracy of 0 shows that.

    Parameters
    ----------
    model : Stack
        Trained in place, on the device where it is; left in training mode.
    split : Split or list of R Split
        The training part is learned from, the others are evaluated on; their y are classes.
    steps : int or sequence of int
        How many steps, after which the networks are evaluated; or several steps after each of which they are, such as
        ``range(50, 401, 50)``, where the last is the end.
    batch_size : int or callable
        Examples per step, drawn as in `batches`; or a function from a seed to the rows of the training part that each
        step sees, integers of shape (steps, batch_size), such as
        ``functools.partial(batches, len(split.x_train), 32, steps, reshuffle=False)``.
    learning_rates : float or sequence of R floats
        One for all replicas, or one per replica.
    optimizer : callable
        From parameters and rates to an optimizer of `utils.lab.optim`, such as
        ``functools.partial(optim.SGD, momentum=0.9)``; those of ``torch.optim`` have one rate for all.
    loss : callable
        From model, x and y to the loss of every replica, shape (R,).
    watch : callable, optional
        Called with the model, the number of the step, from 1, and its batch, x (R, B, ...) and y (R, B), *before* the
        step, for example with a probe of `utils.lab.probes`.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If model, split and arguments do not fit together. Divergence raises nothing.
    """
    splits, split_of = _per_replica(split, model)
    rates = one_or_each(learning_rates, model.replicas, "learning_rates")
    evaluated = _evaluations(steps)
    for name, function in (("optimizer", optimizer), ("loss", loss)):
        instance(function, Callable, name, what="a function")
    instance(watch, Callable | None, "watch", what="a function")
    if inspect.isclass(optimizer) and issubclass(optimizer, torch.optim.Optimizer):
        raise ValueError(f"optimizer: expected one of utils.lab.optim, got torch.optim.{optimizer.__name__}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    stepper = optimizer(parameters, rates)
    x, y = _tensors(splits, "train", model)
    parts = [part for part in ("validation", "test") if any(getattr(one, f"x_{part}") is not None for one in splits)]
    held_out = {part: _tensors(splits, part, model) for part in parts}
    rows, split_of = _rows(batch_size, evaluated[-1], model.seeds, x.shape[1]).to(x.device), split_of.to(x.device)

    losses = torch.empty(evaluated[-1], model.replicas, dtype=x.dtype, device=x.device)
    accuracy, seconds, every = {part: [] for part in parts}, 0.0, split_of[:, None]
    model.train()
    look = {"unit": "step", "leave": False, "delay": SECONDS_WITHOUT_BAR}
    nobody_watches = bool(os.environ.get("TQDM_DISABLE"))  # which tqdm itself heeds outside of notebooks only
    for step in tqdm(range(1, evaluated[-1] + 1), disable=nobody_watches, **look):
        batch = x[every, rows[step - 1]], y[every, rows[step - 1]]
        if watch:
            watch(model, step, *(part.clone() for part in batch))
        began = time.perf_counter()
        model.train()  # whatever the watch did
        own = _one_per_replica(loss(model, *batch), model.replicas)
        stepper.step(torch.autograd.grad(own.sum(), parameters, materialize_grads=True))
        losses[step - 1] = own.detach()
        seconds += time.perf_counter() - began
        if step in evaluated:
            for part, (x_part, y_part) in held_out.items():
                accuracy[part].append(_accuracy(_outputs(model, x_part, split_of), y_part[split_of]))

    losses = losses.double().cpu().numpy()
    bad = ~np.isfinite(losses)
    diverged_at = np.where(bad.any(axis=0), bad.argmax(axis=0) + 1.0, np.inf)
    losses[np.maximum.accumulate(bad, axis=0)] = np.inf
    accuracy = {part: np.array(values) for part, values in accuracy.items()}
    return History(np.array(model.seeds), rates, np.array(evaluated), accuracy, losses, diverged_at, seconds)


def outputs(model, split, part="test"):
    """Logits of every replica for a part of its split, in evaluation mode.

    Parameters
    ----------
    model, split
        As in `fit`.
    part : {"train", "validation", "test"}

    Returns
    -------
    Tensor, shape (R, n, n_out)

    Raises
    ------
    ValueError
        If split and model do not fit.
    """
    splits, which = _per_replica(split, model)
    return _outputs(model, _tensors(splits, part, model)[0], which)


def _evaluations(steps):
    """The steps after which the networks are evaluated, ascending; the last of them is the end."""
    if np.ndim(_array(steps, "steps")) == 0:
        return [whole(steps, "steps")]
    found = [whole(step, "steps") for step in steps]
    if not found or len(set(found)) < len(found):
        raise ValueError(
            f"steps: expected a number, or at least one step after which to evaluate, each once, got {found}"
        )
    return sorted(found)


def _rows(batch_size, steps, seeds, n):
    """Which examples each step sees, for every replica: (steps, R, batch_size)."""
    different_seeds = dict.fromkeys(seeds)
    if not isinstance(batch_size, Callable):
        found = {seed: batches(n, batch_size, steps, seed=seed) for seed in different_seeds}
    else:
        found = {seed: _array(batch_size(seed), "batch_size") for seed in different_seeds}
    shape = (steps, *next(iter(found.values())).shape[1:2])
    for seed, rows in found.items():
        if rows.shape != shape or rows.ndim != 2 or not np.issubdtype(rows.dtype, np.integer):
            raise ValueError(
                f"batch_size: expected integers of shape (steps, batch_size), {shape} here, for seed {seed}, "
                f"got {rows.dtype} of {rows.shape}"
            )
        if not rows.size or rows.min() < 0 or rows.max() >= n:
            raise ValueError(f"batch_size: expected rows from 0 to {n - 1} for seed {seed}, got others or none")
    return torch.from_numpy(np.stack([found[seed] for seed in seeds], axis=1).astype(np.int64))


def _per_replica(splits, model):
    """One split for each replica, as the different ones and which replica has which."""
    replicas = instance(model, Stack, "model").replicas
    if isinstance(splits, Split):
        splits = [splits] * replicas
    if not isinstance(splits, Sequence) or not all(isinstance(split, Split) for split in splits):
        raise ValueError(f"split: expected a Split, or a list of one for each replica, got {type(splits).__name__}")
    if len(splits) != replicas:
        raise ValueError(f"split: expected one, or one for each of the {replicas} replicas, got {len(splits)}")
    distinct = {id(split): split for split in splits}
    place = {key: i for i, key in enumerate(distinct)}
    return list(distinct.values()), torch.tensor([place[id(split)] for split in splits])


def _tensors(splits, part, model):
    """One part of all splits, stacked: x (S, n, d) in the model's precision, y (S, n)."""
    one_of(part, ("train", "validation", "test"), "part")
    if any(getattr(split, f"x_{part}", None) is None for split in splits):
        raise ValueError(f"split: expected a {part} part in every split, got one without")
    parts = [(getattr(split, f"x_{part}"), getattr(split, f"y_{part}")) for split in splits]
    shapes = {x.shape for x, _ in parts}
    if len(shapes) > 1:
        raise ValueError(f"split: expected splits of one size, got x_{part} of shapes {sorted(shapes)}")
    first = next(model.parameters())
    # Copies: PyTorch takes no array that is read-only or runs backwards.
    x = torch.stack([torch.tensor(np.ascontiguousarray(x), dtype=first.dtype) for x, _ in parts]).to(first.device)
    y = torch.stack([torch.tensor(np.ascontiguousarray(y)) for _, y in parts]).to(first.device)
    model.check(x[:1, :2].expand(model.replicas, *x[:1, :2].shape[1:]), y, "split")
    return x, y


@torch.no_grad()
def _outputs(model, x, which):
    """Logits in evaluation mode, a few examples at a time; the mode of every layer is put back."""
    which = which.to(x.device)
    with evaluation_mode(model):
        pieces = [model(x[which, i : i + _EXAMPLES_AT_ONCE]) for i in range(0, x.shape[1], _EXAMPLES_AT_ONCE)]
    return torch.cat(pieces, dim=1)


def _accuracy(logits, y):
    """Percent of right answers of each replica; one whose outputs are not numbers has none."""
    right = (logits.argmax(-1) == y) & logits.isfinite().all(-1)
    return 100 * right.double().mean(1).cpu().numpy()


def _one_per_replica(losses, replicas):
    """The losses, if there is one number per replica: another shape would be broadcast, and counted R times."""
    if not isinstance(losses, torch.Tensor) or losses.shape != (replicas,):
        got = tuple(losses.shape) if isinstance(losses, torch.Tensor) else type(losses).__name__
        raise ValueError(f"loss: expected a Tensor of shape ({replicas},), one number per replica, got {got}")
    return losses

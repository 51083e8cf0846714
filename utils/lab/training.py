"""Train all replicas at once, each at its own learning rate, and keep what came of it."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from utils.arrays import _array, generator, instance, number, numeric, one_of, whole
from utils.data import Split
from utils.lab.optim import SGD, Adam
from utils.networks import evaluation_mode

__all__ = ["History", "batches", "fit", "outputs", "sweep"]

OPTIMIZERS = {"sgd": SGD, "adam": Adam}
_ROUNDING = 1 + 1e-9  # rates whose ratio is at most this are one, computed in two ways
_EXAMPLES_AT_ONCE = 128  # of each replica in an evaluation: larger blocks leave the cache


def _different(rates):
    """The rates that differ by more than rounding, ascending, and which of them each rate is."""
    found = []
    for rate in np.sort(rates):
        if not found or rate > found[-1] * _ROUNDING:
            found.append(rate)
    found = np.array(found, dtype=np.float64)
    return found, np.searchsorted(found, rates, side="right") - 1


def _one_or_each(values, n, name, what="replicas"):
    """One number for all of n, or one for each, as shape (n,)."""
    values = numeric(values, name)
    if values.shape not in ((), (n,)):
        raise ValueError(f"{name}: expected one, or one for each of the {n} {what}, got shape {values.shape}")
    return np.array(np.broadcast_to(values, n))


@dataclass(frozen=True, eq=False)
class History:
    """What came of a training.

    Parameters
    ----------
    seeds : ndarray, shape (R,), int64
    learning_rates : ndarray, shape (R,), float64
    steps : ndarray, shape (E,), int64
        After which the networks were evaluated.
    accuracy : dict of str to ndarray, shape (E, R), float64
        In percent, for "test" and, where the split has one, "validation". A network whose outputs are not numbers
        classifies nothing: 0.
    loss : ndarray, shape (steps, R), float64
        On the batch of each step, before the step; infinite from the step on at which a replica diverged.
    diverged_at : ndarray, shape (R,), float64
        First step at which the loss was not a finite number; infinity for never.
    seconds : float
        Wall-clock time of the training steps, without evaluations, all replicas together.
    """

    seeds: np.ndarray
    learning_rates: np.ndarray
    steps: np.ndarray
    accuracy: dict
    loss: np.ndarray
    diverged_at: np.ndarray
    seconds: float

    @property
    def diverged(self):
        """Which replicas diverged; shape (R,), bool."""
        return np.isfinite(self.diverged_at)

    @property
    def rates(self):
        """The learning rates that occur, ascending; those that differ by rounding only are one, the smallest."""
        return _different(self.learning_rates)[0]

    def grid(self, values):
        """Values of the replicas as a table of seeds and learning rates, both ascending.

        Parameters
        ----------
        values : array_like, shape (..., R)

        Returns
        -------
        ndarray, shape (..., n_seeds, n_rates)

        Raises
        ------
        ValueError
            If there is not exactly one replica for each seed and rate, or not one value for each replica.
        """
        rates, which = _different(self.learning_rates)
        values, shape = _array(values, "values"), (len(np.unique(self.seeds)), len(rates))
        if values.shape[-1:] != self.seeds.shape:
            raise ValueError(f"values: expected shape (..., {len(self.seeds)}), one per replica, got {values.shape}")
        pairs = set(zip(self.seeds.tolist(), which.tolist(), strict=True))
        if not len(pairs) == len(self.seeds) == shape[0] * shape[1]:
            raise ValueError(
                f"grid: expected one replica for each of {shape[0]} seeds and {shape[1]} learning rates, "
                f"got {len(self.seeds)} replicas with {len(pairs)} different pairs"
            )
        order = np.lexsort((which, self.seeds))
        return values[..., order].reshape(*values.shape[:-1], *shape)

    def final(self, part="test"):
        """Accuracy after the last step.

        Parameters
        ----------
        part : {"test", "validation"}

        Returns
        -------
        ndarray, shape (R,), float64
            Percent.

        Raises
        ------
        ValueError
            If the split had no such part.
        """
        hint = "; a split gets a validation part from with_validation(seed=...)"
        return self.accuracy[one_of(part, self.accuracy, "part", hint=hint)][-1]

    def best_rate(self, part="validation"):
        """The learning rate with the highest median accuracy over the seeds after the last step.

        Parameters
        ----------
        part : {"validation", "test"}

        Returns
        -------
        float
            The smallest, if several are best.
        """
        return float(self.rates[np.median(self.grid(self.final(part)), axis=0).argmax()])

    def at_best(self, part="test"):
        """Accuracy after the last step of every seed, at the rate that is best on validation images.

        Parameters
        ----------
        part : {"test", "validation"}

        Returns
        -------
        ndarray, shape (n_seeds,), float64
            Percent.

        Raises
        ------
        ValueError
            If the split had no such part, or none for validation.
        """
        return self.at(self.best_rate()).final(part)

    def at(self, rate):
        """The replicas with one learning rate.

        Parameters
        ----------
        rate : float

        Returns
        -------
        History

        Raises
        ------
        ValueError
            If no replica has this rate.
        """
        rates, which = _different(self.learning_rates)
        rate = number(rate, "rate", at_least=0)
        near = np.flatnonzero((rates <= rate * _ROUNDING) & (rate <= rates * _ROUNDING))
        if not near.size:
            raise ValueError(f"rate: expected one of {rates.tolist()}, got {rate}")
        chosen = np.flatnonzero(which == near[0])
        return History(
            self.seeds[chosen],
            self.learning_rates[chosen],
            self.steps,
            {part: values[:, chosen] for part, values in self.accuracy.items()},
            self.loss[:, chosen],
            self.diverged_at[chosen],
            self.seconds * len(chosen) / len(self.seeds),
        )

    def steps_to(self, accuracy, part="test"):
        """Steps until an accuracy was first seen at an evaluation.

        Parameters
        ----------
        accuracy : float or array_like, shape (R,)
            Percent.
        part : {"test", "validation"}

        Returns
        -------
        ndarray, shape (R,), float64
            Infinity for never.
        """
        self.final(part)
        reached = self.accuracy[part] >= _one_or_each(accuracy, len(self.seeds), "accuracy")
        return np.where(reached.any(axis=0), self.steps[reached.argmax(axis=0)], np.inf)

    def usable_range(self, accuracy, part="test"):
        """The learning rates around the best one with which an accuracy is reached in the end, for each seed.

        Parameters
        ----------
        accuracy : float or array_like, shape (n_seeds,)
            Percent.
        part : {"test", "validation"}

        Returns
        -------
        low, high : ndarray, shape (n_seeds,), float64
            Smallest and largest of the neighbouring rates that will do; both 0 where none does.
        """
        table, rates = self.grid(self.final(part)), self.rates
        usable = table >= _one_or_each(accuracy, len(table), "accuracy", "seeds")[:, None]
        low, high = np.zeros(len(table)), np.zeros(len(table))
        for i, row in enumerate(usable):
            first = last = int(table[i].argmax())
            if not row[first]:
                continue
            while first > 0 and row[first - 1]:
                first -= 1
            while last < len(rates) - 1 and row[last + 1]:
                last += 1
            low[i], high[i] = rates[first], rates[last]
        return low, high


def batches(n, batch_size, steps, *, seed, reshuffle=True):
    """Which examples each step sees: every example once an epoch, in random order; what is left over is dropped.

    Parameters
    ----------
    n : int
        Examples.
    batch_size, steps : int
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


def _rows(rows, seeds, shape, n):
    """Which examples each step sees, for every replica: (steps, R, batch_size)."""
    missing = sorted(set(seeds) - set(instance(rows, Mapping, "rows", what="a dict with an entry for every seed")))
    if missing:
        raise ValueError(f"rows: expected an entry for every seed, got none for {missing}")
    found = {seed: _array(rows[seed], f"rows[{seed}]") for seed in set(seeds)}
    for seed, values in found.items():
        if values.shape != shape or not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"rows[{seed}]: expected integers of shape {shape}, got {values.dtype} of {values.shape}")
        if values.min() < 0 or values.max() >= n:
            raise ValueError(f"rows[{seed}]: expected rows from 0 to {n - 1}, got {values.min()} to {values.max()}")
    return torch.from_numpy(np.stack([found[seed] for seed in seeds], axis=1).astype(np.int64))


def _per_replica(splits, model):
    """One split for each replica, as the different ones and which replica has which."""
    replicas = instance(model, nn.Module, "model", what="a ReplicaNet").replicas
    if isinstance(splits, Split):
        splits = [splits] * replicas
    if not isinstance(splits, Sequence) or not all(isinstance(split, Split) for split in splits):
        raise ValueError(f"split: expected a Split, or a list of one for each replica, got {type(splits).__name__}")
    if len(splits) != replicas:
        raise ValueError(f"split: expected one, or one for each of the {replicas} replicas, got {len(splits)}")
    different = {id(split): split for split in splits}
    place = {key: i for i, key in enumerate(different)}
    return list(different.values()), torch.tensor([place[id(split)] for split in splits])


def _tensors(splits, part, model):
    """One part of all splits, stacked: x (S, n, d) in the model's precision, y (S, n)."""
    one_of(part, ("train", "validation", "test"), "part")
    if any(getattr(split, f"x_{part}", None) is None for split in splits):
        raise ValueError(f"split: expected a {part} part in every split, got one without")
    parts = [(getattr(split, f"x_{part}"), getattr(split, f"y_{part}")) for split in splits]
    shapes = {x.shape for x, _ in parts}
    if len(shapes) > 1:
        raise ValueError(f"split: expected splits of one size, got x_{part} of shapes {sorted(shapes)}")
    if parts[0][0].shape[1] != model.n_in:
        image = getattr(model, "image_shape", None)
        wanted = f"{model.n_in} pixels (images of shape {image})" if image else f"{model.n_in} features"
        raise ValueError(f"split: expected {wanted}, as the network, got {parts[0][0].shape[1]} a row")
    dtype = next(model.parameters()).dtype
    # Copies: PyTorch takes no array that is read-only or runs backwards.
    x = torch.stack([torch.tensor(np.ascontiguousarray(x), dtype=dtype) for x, _ in parts])
    y = torch.stack([torch.tensor(np.ascontiguousarray(y)) for _, y in parts])
    if y.dtype != torch.int64 or y.min() < 0 or y.max() >= model.n_out:
        raise ValueError(f"split: expected classes from 0 to {model.n_out - 1}, got {y.min()} to {y.max()} ({y.dtype})")
    return x, y


def _evaluation_steps(evaluate, steps, name="evaluate"):
    """The schedule of evaluations; the last step is always in it."""
    if evaluate is None:
        return [steps]
    if np.ndim(_array(evaluate, name)) == 0:
        every = whole(evaluate, name)
        return sorted({*range(every, steps + 1, every), steps})
    found = [whole(step, name, at_most=steps) for step in evaluate]
    if len(set(found)) < len(found):
        raise ValueError(f"{name}: expected every step once, got {found}")
    return sorted({*found, steps})


@torch.no_grad()
def _outputs(model, x, which):
    """Logits in evaluation mode, a few examples at a time; the mode of every layer is put back."""
    with evaluation_mode(model):
        pieces = [model(x[which, i : i + _EXAMPLES_AT_ONCE]) for i in range(0, x.shape[1], _EXAMPLES_AT_ONCE)]
    return torch.cat(pieces, dim=1)


def outputs(model, split, part="test"):
    """Logits of every replica for a part of its split, in evaluation mode.

    Parameters
    ----------
    model : ReplicaNet
    split : Split or list of R Split
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


def _accuracy(logits, y):
    """Percent of right answers of each replica; one whose outputs are not numbers has none."""
    right = (logits.argmax(-1) == y) & logits.isfinite().all(-1)
    return 100 * right.double().mean(1).numpy()


def _penalty(term, shape):
    """One number a replica: another shape would be broadcast, and counted R times."""
    if not isinstance(term, torch.Tensor) or term.shape != shape:
        got = tuple(term.shape) if isinstance(term, torch.Tensor) else type(term).__name__
        raise ValueError(f"penalty: expected a Tensor of shape {tuple(shape)}, one number a replica, got {got}")
    return term


def fit(
    model,
    split,
    *,
    steps,
    batch_size,
    learning_rates,
    optimizer="sgd",
    schedule=None,
    reshuffle=True,
    rows=None,
    penalty=None,
    evaluate=None,
    parts=None,
    watch=None,
    watch_at=None,
    progress=None,
    **settings,
):
    """Train every replica with the cross-entropy of its own batches, at its own rate.

    The losses of the replicas are added up, unweighted, so that each gets the gradient of its own loss. A replica that
    diverges is recorded as such and disturbs no other.

    Parameters
    ----------
    model : ReplicaNet
        Trained in place; left in training mode.
    split : Split or list of R Split
        The training part is learned from, the others are evaluated on.
    steps, batch_size : int
    learning_rates : float or sequence of R floats
    optimizer : {"sgd", "adam"}
    schedule : callable, optional
        From the share of steps done, 0 to below 1, to a factor on all learning rates, at least 0; called for all steps
        before the first one.
    reshuffle : bool
        Draw a new order of the examples for every epoch.
    rows : dict of int to array_like, shapes (steps, batch_size), optional
        For every seed, which training examples each step sees; by default those of `batches`.
    penalty : callable, optional
        From the model to a Tensor of shape (R,) that is added to the losses, for the gradients only.
    evaluate : int or sequence of int, optional
        Every so many steps, or after these steps, each named once; the last step comes in any case.
    parts : sequence of {"validation", "test"}, optional
        Evaluated; by default those that the split has.
    watch : callable, optional
        Called with the model, the number of the step and its batch, x (R, B, n_in) and y (R, B), *before* the step, for
        example with a probe of `utils.lab.probes`.
    watch_at : int or sequence of int, optional
        The steps at which it is called, as `evaluate`; by default all.
    progress : bool, optional
        Show a progress bar; by default on a terminal only.
    **settings
        Of the optimizer: momentum (SGD), betas and eps (Adam), weight_decay.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If model, split and arguments do not fit together. Divergence raises nothing.

    Notes
    -----
    The seed of a replica, ``model.seeds[r]``, also draws its batches: see `batches`.
    """
    splits, which = _per_replica(split, model)
    rates = _one_or_each(learning_rates, model.replicas, "learning_rates")
    steps, batch_size = whole(steps, "steps"), whole(batch_size, "batch_size")
    kind = OPTIMIZERS[one_of(optimizer, OPTIMIZERS, "optimizer")]
    known = [name for name, p in inspect.signature(kind).parameters.items() if p.kind is p.KEYWORD_ONLY]
    for name in settings:
        one_of(name, known, f"settings of {optimizer}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    stepper = kind(parameters, rates, **settings)
    for name, function in (("schedule", schedule), ("penalty", penalty), ("watch", watch)):
        instance(function, Callable | None, name, what="a function")
    factors = [number(schedule(step / steps), "schedule", at_least=0) for step in range(steps if schedule else 0)]
    x, y = _tensors(splits, "train", model)
    if parts is None:
        parts = [p for p in ("validation", "test") if any(getattr(one, f"x_{p}") is not None for one in splits)]
    for part in instance(parts, list | tuple, "parts", what="a list"):
        one_of(part, ("validation", "test"), "parts")
    if len(set(parts)) < len(parts):
        raise ValueError(f"parts: expected every part once, got {parts}")
    held_out = {part: _tensors(splits, part, model) for part in parts}
    if rows is None:
        different = dict.fromkeys(model.seeds)
        rows = {s: batches(x.shape[1], batch_size, steps, seed=s, reshuffle=reshuffle) for s in different}
    rows = _rows(rows, model.seeds, (steps, batch_size), x.shape[1])
    when = _evaluation_steps(evaluate, steps)
    watched = _evaluation_steps(1 if watch_at is None else watch_at, steps, "watch_at")

    losses = torch.empty(steps, model.replicas, dtype=x.dtype)
    accuracy, seconds = {part: [] for part in parts}, 0.0
    every = which[:, None]
    for step in tqdm(range(1, steps + 1), disable=None if progress is None else not progress, unit="step"):
        batch = rows[step - 1]
        if watch and step in watched:
            watch(model, step, x[every, batch], y[every, batch])
        began = time.perf_counter()
        model.train()  # whatever the watch did
        logits = model(x[every, batch])
        loss = F.cross_entropy(logits.transpose(1, 2), y[every, batch], reduction="none").mean(1)
        total = loss if penalty is None else loss + _penalty(penalty(model), loss.shape)
        gradients = torch.autograd.grad(total.sum(), parameters, materialize_grads=True)
        losses[step - 1] = loss.detach()
        stepper.step(gradients, factors[step - 1] if factors else 1.0)
        seconds += time.perf_counter() - began
        if step in when:
            for part, (x_part, y_part) in held_out.items():
                accuracy[part].append(_accuracy(_outputs(model, x_part, which), y_part[which]))

    model.train()
    losses = losses.double().numpy()
    bad = ~np.isfinite(losses)
    diverged_at = np.where(bad.any(axis=0), bad.argmax(axis=0) + 1.0, np.inf)
    losses[np.maximum.accumulate(bad, axis=0)] = np.inf
    accuracy = {part: np.array(values) for part, values in accuracy.items()}
    return History(np.array(model.seeds), rates, np.array(when), accuracy, losses, diverged_at, seconds)


def sweep(build, splits, *, learning_rates, **how):
    """Every seed at every learning rate, in one training.

    Parameters
    ----------
    build : callable
        From a list of seeds to a `ReplicaNet` with these seeds.
    splits : list of Split
        That of seed 0, of seed 1, and so on.
    learning_rates : sequence of float
        Each once; rates that differ by rounding only are the same.
    **how
        Further arguments of `fit`.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        As `fit`; also if there are no learning rates or splits, two rates are the same up to rounding, or `build` gives
        other seeds.
    """
    if not isinstance(splits, Sequence) or not splits or isinstance(splits, str):
        raise ValueError(f"splits: expected a list of Split, at least one, got {type(splits).__name__}")
    rates = np.atleast_1d(numeric(learning_rates, "learning_rates"))
    if rates.ndim != 1 or not rates.size:
        raise ValueError(f"learning_rates: expected at least one, got {learning_rates!r}")
    if not (np.isfinite(rates) & (rates >= 0)).all():
        raise ValueError(f"learning_rates: expected finite numbers of at least 0, got {rates.tolist()}")
    if len(_different(rates)[0]) < len(rates):
        raise ValueError(f"learning_rates: expected every rate once, got {rates.tolist()}")
    seeds = np.repeat(np.arange(len(splits)), len(rates)).tolist()
    model = instance(build, Callable, "build", what="a function")(seeds)
    if list(instance(model, nn.Module, "build", what="a function that gives a ReplicaNet").seeds) != seeds:
        raise ValueError(f"build: expected a network with the seeds {seeds}, got {list(model.seeds)}")
    return fit(model, [splits[seed] for seed in seeds], learning_rates=np.tile(rates, len(splits)), **how)

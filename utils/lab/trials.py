"""Train every seed at every learning rate, and give what an experiment of `utils.evidence` returns."""

from collections.abc import Mapping

import numpy as np
import torch

from utils.arrays import numeric
from utils.lab.replicas import Stack
from utils.lab.training import fit

__all__ = ["scores"]


def scores(build, splits, *, rates, device="cpu", **how):
    """Accuracy on validation and test images of every seed at every learning rate.

    Parameters
    ----------
    build : callable
        From a seed to a network.
    splits : dict of int to Split
        By seed; each with a validation part.
    rates : sequence of float
    device : str
        Where the networks are trained, such as "cuda".
    **how
        Further arguments of `utils.lab.training.fit`, such as steps and batch_size.

    Returns
    -------
    dict of float to ndarray, shape (len(splits), 2), float64
        For each rate, in percent: on validation images, on test images.

    Raises
    ------
    ValueError
        As `utils.lab.training.fit`; also if a split has no validation part.

    Examples
    --------
    >>> from utils import data
    >>> from utils.lab.networks import mlp
    >>> splits = {seed: data.digits(seed=seed).with_validation(seed=seed) for seed in range(2)}
    >>> found = scores(lambda seed: mlp(64, 10, seed), splits, rates=[0.1, 0.2], steps=5, batch_size=32)
    >>> {rate: values.shape for rate, values in found.items()}
    {0.1: (2, 2), 0.2: (2, 2)}
    """
    if not isinstance(splits, Mapping) or not splits or any(each.x_validation is None for each in splits.values()):
        raise ValueError("splits: expected a split with a validation part for each seed, in a dict")
    seeds, rates = list(splits), numeric(rates, "rates")
    if rates.ndim != 1 or not rates.size:
        raise ValueError(f"rates: expected at least one learning rate, shape (n,), got shape {rates.shape}")
    rates = rates.tolist()
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device: expected the name of a device of PyTorch, got {device!r} ({error})") from None
    model = Stack.of(build, np.repeat(seeds, len(rates))).to(device)
    each = [splits[seed] for seed in model.seeds]
    history = fit(model, each, learning_rates=np.tile(rates, len(seeds)), **how)
    found = np.stack([history.final("validation"), history.final("test")], axis=1).reshape(len(seeds), len(rates), 2)
    return {rate: found[:, place] for place, rate in enumerate(rates)}

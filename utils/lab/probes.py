"""What happens inside networks while they train: activations, gradients, the loss along a step.

Every probe looks at all replicas at once and leaves no trace: hooks are removed, weights and running statistics put
back, and the mode is kept, also when something fails in between. Losses are means over each replica's batch.
"""

from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from utils.arrays import by_identity, instance, numeric
from utils.lab.history import one_or_each
from utils.lab.networks import ACTIVATIONS
from utils.lab.replicas import Stack
from utils.lab.training import cross_entropy

__all__ = [
    "CovariateShift",
    "Landscape",
    "activations",
    "covariate_shift",
    "gradient_norms",
    "landscape",
]

ACTIVATION_KINDS = (*ACTIVATIONS.values(), nn.SiLU, nn.Softplus)


@contextmanager
def _untouched(model, x, *labels):
    """Refuse what the model cannot be asked about; put numbers and generators of random numbers back afterwards."""
    instance(model, Stack, "model")
    own = [each for m in model.modules() for each in vars(m).values() if isinstance(each, torch.Generator)]
    drawn = {each: each.get_state() for each in (torch.default_generator, *own)}
    before = [(t, t.detach().clone()) for t in (*model.parameters(), *model.buffers())]
    try:
        model.check(x)
        for y in labels:
            if instance(y, torch.Tensor, "y", what="a Tensor").shape != x.shape[:2]:
                raise ValueError(f"y: expected shape {tuple(x.shape[:2])}, as x, got {tuple(y.shape)}")
            model.check(x, y, "y")
        yield drawn
    finally:
        _rewind(drawn)
        with torch.no_grad():
            for t, value in before:
                t.copy_(value)


def _rewind(drawn):
    """Let generators draw once more what they drew since."""
    for each, state in drawn.items():
        each.set_state(state)


def _by_unit(values):
    """(R, units, n) of (R, B, units), (R, B, T, units) or (R, B, channels, H, W), where places count as examples."""
    axis = 2 if values.dim() == 5 else values.dim() - 1
    return values.movedim(axis, 1).flatten(2)


def _weights(model):
    """The weight of every linear layer and convolution."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    weights = [layer._parameters.get("weight") for layer in layers]  # None if it is computed, as by weight norm
    if not weights or any(weight is None or not weight.requires_grad for weight in weights):
        raise ValueError(
            "model: expected linear layers or convolutions whose weights are all learned, got none, a frozen weight, "
            "or one that is computed from other parameters"
        )
    return weights


def _gradients(model, x, y, wanted, drawn):
    losses = cross_entropy(model, x, y)
    _rewind(drawn)  # dropout drops the same when the batch is looked at again
    return losses.detach(), torch.autograd.grad(losses.sum(), wanted, materialize_grads=True)


def activations(model, x, kinds=ACTIVATION_KINDS):
    """Inputs and outputs of all activation functions, in the order in which they are called.

    Parameters
    ----------
    model : Stack
        In the mode that is to be looked at.
    x : Tensor, shape (R, B, ...)
    kinds : tuple of type
        Of the activation functions.

    Returns
    -------
    list of tuple of two Tensor, shapes (R, units, n)
        n is the number of examples, or of examples times pixels, or times tokens.

    Raises
    ------
    ValueError
        If x does not fit the model, or kinds are no types.
    """
    with _untouched(model, x), torch.no_grad():
        return [(_by_unit(z), _by_unit(h)) for _, z, h in model.record(x, kinds)]


def gradient_norms(model, x, y):
    """Euclidean norm of the gradient with respect to every weight matrix or filter bank.

    Parameters
    ----------
    model, x, y
        As in `utils.lab.training.cross_entropy`.

    Returns
    -------
    ndarray, shape (layers, R), float64
        From the first layer to the output layer.

    Raises
    ------
    ValueError
        If x and y do not fit the model, or a weight is not learned.
    """
    with _untouched(model, x, y) as drawn:
        _, gradients = _gradients(model, x, y, _weights(model), drawn)
    return torch.stack([g.double().flatten(1).norm(dim=1) for g in gradients]).cpu().numpy()


@by_identity
class Landscape(NamedTuple):
    """The loss along the direction of the current gradient g; arrays of float64."""

    lengths: np.ndarray  #: Step lengths eta, shape (K, R): the places are p - eta g.
    loss_here: np.ndarray  #: Where the walk begins, shape (R,).
    gradient_norm: np.ndarray  #: Where the walk begins, shape (R,).
    loss: np.ndarray  #: At the places, shape (K, R).
    gradient_difference: np.ndarray  #: Norm of the difference of the gradient *vectors* there and here, shape (K, R).

    @property
    def loss_range(self):
        """Largest minus smallest loss along the walk; shape (R,)."""
        return self.loss.max(axis=0) - self.loss.min(axis=0)

    @property
    def predictiveness(self):
        """Largest change of the gradient along the walk, small is predictable; shape (R,)."""
        return self.gradient_difference.max(axis=0)

    @property
    def relative_predictiveness(self):
        """The same in units of the gradient's own norm; shape (R,)."""
        return self.predictiveness / self.gradient_norm

    @property
    def smoothness(self):
        """Effective beta-smoothness: largest change of the gradient per distance walked; shape (R,)."""
        return (self.gradient_difference / (self.lengths * self.gradient_norm)).max(axis=0)


def landscape(model, x, y, lengths):
    """Walk along the current gradient and look at loss and gradient on the way; the batch stays the same.

    Parameters
    ----------
    model, x, y
        As in `utils.lab.training.cross_entropy`.
    lengths : array_like, shape (K,) or (K, R)
        Positive step lengths.

    Returns
    -------
    Landscape

    Raises
    ------
    ValueError
        If lengths are not positive, or x and y do not fit the model.

    Notes
    -----
    Santurkar, Tsipras, Ilyas and Madry (2018), figure 4, where the lengths are 1/2 to 4 times the learning rate.
    """
    losses, differences = [], []
    with _untouched(model, x, y) as drawn:
        lengths = numeric(lengths, "lengths")
        if lengths.ndim == 1:
            lengths = np.repeat(lengths[:, None], model.replicas, axis=1)
        positive = lengths.size and ((lengths > 0) & (lengths < np.inf)).all()
        if lengths.ndim != 2 or lengths.shape[1] != model.replicas or not positive:
            raise ValueError(f"lengths: expected positive numbers, shape (K,) or (K, {model.replicas}), got {lengths}")
        parameters = [p for p in model.parameters() if p.requires_grad]
        here = [p.detach().clone() for p in parameters]
        loss_here, g = _gradients(model, x, y, parameters, drawn)
        for eta in torch.as_tensor(lengths):
            with torch.no_grad():
                for p, start, slope in zip(parameters, here, g, strict=True):
                    p.copy_(start - eta.to(p.dtype).view(-1, *[1] * (p.dim() - 1)) * slope)
            loss, there = _gradients(model, x, y, parameters, drawn)
            losses.append(loss.double())
            differences.append(_norm(a - b for a, b in zip(there, g, strict=True)))
    results = (loss_here.double(), _norm(g), torch.stack(losses), torch.stack(differences))
    return Landscape(lengths, *(value.cpu().numpy() for value in results))


def _norm(tensors):
    """Norm of each replica's part of several tensors with a leading axis R; shape (R,), float64."""
    return torch.stack([t.double().flatten(1).square().sum(1) for t in tensors]).sum(0).sqrt()


@by_identity
class CovariateShift(NamedTuple):
    """How much the gradient of a layer changes when the layers before it are updated; shapes (layers, R), float64."""

    difference: np.ndarray  #: Norm of the difference of the two gradients.
    relative: np.ndarray  #: The same over the norm of the gradient before.
    cosine: np.ndarray  #: Of the angle between the two.


def covariate_shift(model, x, y, learning_rates):
    """Internal covariate shift as a change of gradients: before and after the *preceding* layers' update, same batch.

    Parameters
    ----------
    model, x, y
        As in `utils.lab.training.cross_entropy`.
    learning_rates : float or array_like, shape (R,)
        Of the update, a step of gradient descent.

    Returns
    -------
    CovariateShift
        The first layer has no preceding ones, so its row is zero (cosine one) up to rounding.

    Raises
    ------
    ValueError
        If x, y and learning_rates do not fit the model, or a weight is not learned.

    Notes
    -----
    Santurkar, Tsipras, Ilyas and Madry (2018), definition 2.1. Batch norm's parameters count as part of the layer that
    they follow. This is not the shift of distributions that Ioffe and Szegedy (2015) mean.
    """
    rows = []
    with _untouched(model, x, y) as drawn:
        rates = torch.from_numpy(one_or_each(learning_rates, model.replicas, "learning_rates"))
        groups = _parameter_groups(model)
        parameters = [p for group in groups for p in group]
        _, gradients = _gradients(model, x, y, parameters, drawn)
        before = dict(zip(map(id, parameters), gradients, strict=True))
        for group in groups:
            weight = group[0]
            _, (after,) = _gradients(model, x, y, [weight], drawn)
            a, b = (t.double().flatten(1) for t in (before[id(weight)], after))
            difference = (a - b).norm(dim=1)
            relative = difference / a.norm(dim=1).clamp_min(1e-300)
            rows.append((difference, relative, F.cosine_similarity(a, b, dim=1)))
            with torch.no_grad():  # this layer precedes all that follow
                for p in group:
                    p -= rates.to(p.dtype).view(-1, *[1] * (p.dim() - 1)) * before[id(p)]
    return CovariateShift(*(torch.stack(column).cpu().numpy() for column in zip(*rows, strict=True)))


def _parameter_groups(model):
    """Parameters of every weight layer, its weight first, with those of what follows it up to the next one."""
    groups, early, weights = [], [], {id(weight) for weight in _weights(model)}
    for layer in model.network.modules():
        parameters = [p for p in layer.parameters(recurse=False) if p.requires_grad]
        if parameters and id(parameters[0]) in weights:
            groups.append(parameters)
        elif groups:
            groups[-1] += parameters
        else:
            early += parameters  # of a norm on the inputs
    groups[0] += early
    return groups

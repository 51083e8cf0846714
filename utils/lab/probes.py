"""What happens inside networks while they train: activations, gradients, the loss along a step.

Every probe looks at all replicas at once and leaves no trace: hooks are removed, weights and running statistics put
back, and the mode is kept, also when something fails in between. Losses are means over each replica's batch.
"""

from collections.abc import Iterable
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from utils.arrays import by_identity, instance, numeric, whole
from utils.networks import Conv2d, Linear, evaluation_mode

__all__ = [
    "CovariateShift",
    "Landscape",
    "activations",
    "covariate_shift",
    "gradient_norms",
    "jacobian_singular_values",
    "landscape",
    "layer_statistics",
    "percentiles",
    "product_singular_values",
    "update_to_data",
]

_NEARLY_FLAT = 0.1  # of the steepest slope: below it an activation counts as saturated


@contextmanager
def _untouched(model):
    """Put parameters, running statistics and the generator of dropout's masks back afterwards."""
    masks = model._generator.get_state()
    with torch.no_grad():
        before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        yield
    finally:
        model._generator.set_state(masks)
        with torch.no_grad():
            for name, value in model.state_dict().items():
                value.copy_(before[name])


def _by_unit(values, replicas):
    """(R, units, n) of what a layer gives: (R, units, B), or (B, R·channels, H, W), where pixels count as examples."""
    if values.dim() == 3:
        return values
    return values.unflatten(1, (replicas, -1)).permute(1, 2, 0, 3, 4).flatten(2)


def _weight_layers(model):
    return [layer for layer in model.layers if isinstance(layer, Linear | Conv2d)]


def _check(model, x, *labels):
    """Refuse what no network can be asked about: other objects, and batches of another dtype or without classes."""
    dtype = next(instance(model, nn.Module, "model", what="a ReplicaNet").parameters()).dtype
    if instance(x, torch.Tensor, "x").dtype != dtype:
        raise ValueError(f"x: expected {dtype}, as the network, got {x.dtype}")
    if x.dim() != 3 or x.shape[0] != model.replicas or x.shape[2] != model.n_in:
        raise ValueError(f"x: expected shape ({model.replicas}, B, {model.n_in}), got {tuple(x.shape)}")
    for y in labels:
        if instance(y, torch.Tensor, "y").shape != x.shape[:2] or y.dtype != torch.int64:
            raise ValueError(f"y: expected int64 of shape {tuple(x.shape[:2])}, got {y.dtype} of {tuple(y.shape)}")
        if y.numel() and not 0 <= y.min() <= y.max() < model.n_out:
            raise ValueError(f"y: expected classes from 0 to {model.n_out - 1}, got {y.min()} to {y.max()}")


def _losses(model, x, y):
    """The loss of every replica, shape (R,)."""
    return F.cross_entropy(model(x).transpose(1, 2), y, reduction="none").mean(1)


def _gradients(model, x, y, wanted):
    masks = model._generator.get_state()
    losses = _losses(model, x, y)
    model._generator.set_state(masks)  # dropout drops the same when the batch is looked at again
    return losses.detach(), torch.autograd.grad(losses.sum(), wanted)


def activations(model, x):
    """Inputs and outputs of all activation functions, from the first hidden layer to the last.

    Parameters
    ----------
    model : ReplicaNet
        In the mode that is to be looked at.
    x : Tensor, shape (R, B, n_in)

    Returns
    -------
    list of tuple of two Tensor, shapes (R, units, n)
        n is the number of examples, or of examples times pixels.

    Raises
    ------
    ValueError
        If x does not fit the model.
    """
    _check(model, x)
    seen = []

    def keep(values):
        seen.append(_by_unit(values.detach().clone(), model.replicas))

    with _untouched(model), torch.no_grad():
        handles = [  # the inputs before the activation, which may change them in place
            model.activation.register_forward_pre_hook(lambda module, inputs: keep(inputs[0])),
            model.activation.register_forward_hook(lambda module, inputs, output: keep(output)),
        ]
        try:
            model(x)
        finally:
            for handle in handles:
                handle.remove()
    return list(zip(seen[::2], seen[1::2], strict=True))


def percentiles(model, x, *, layer=-1, unit=0, q=(15, 50, 85)):
    """Percentiles, over a batch, of the input to one unit's activation function.

    Parameters
    ----------
    model : ReplicaNet
    x : Tensor, shape (R, B, n_in)
    layer, unit : int
        Which hidden layer and which of its units (or channels).
    q : sequence of float
        Percent.

    Returns
    -------
    ndarray, shape (R, len(q)), float64

    Raises
    ------
    ValueError
        If there is no such layer or unit, or x does not fit the model.

    Notes
    -----
    Ioffe and Szegedy (2015), figure 1 (b, c), with the last hidden layer.
    """
    layers, q = activations(model, x), numeric(q, "q")
    if q.ndim > 1 or not ((q >= 0) & (q <= 100)).all():
        raise ValueError(f"q: expected a list of percents from 0 to 100, got {q}")
    inputs = layers[whole(layer, "layer", at_least=-len(layers), at_most=len(layers) - 1)][0]
    unit = whole(unit, "unit", at_least=0, at_most=inputs.shape[1] - 1)
    return np.percentile(inputs[:, unit].double().numpy(), q, axis=1).T


def _slopes(activation, z):
    """Derivative of an activation function at every value of z."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        return torch.autograd.grad(activation(z.clone()).sum(), z)[0]  # it may change its input in place


def layer_statistics(model, x):
    """Mean, spread, saturation and dead units of every hidden layer.

    Parameters
    ----------
    model : ReplicaNet
        In the mode that is to be looked at.
    x : Tensor, shape (R, B, n_in)

    Returns
    -------
    dict of str to ndarray, shape (layers, R), float64
        "mean" and "std": of the inputs to the activation function, over units and examples. "output_mean",
        "output_std": of its outputs. "saturated": share of values where its slope is less than a tenth of the
        steepest. "dead": share of units whose slope is zero for every example.
    """
    grid = torch.linspace(-8, 8, 4001, dtype=next(model.parameters()).dtype)
    steepest = _slopes(model.activation, grid).abs().max()
    rows = {key: [] for key in ("mean", "std", "output_mean", "output_std", "saturated", "dead")}
    for z, h in activations(model, x):
        slope = _slopes(model.activation, z).abs()
        for prefix, values in (("", z), ("output_", h)):
            rows[f"{prefix}mean"].append(values.double().mean((1, 2)))
            rows[f"{prefix}std"].append(values.double().std((1, 2), correction=0))
        rows["saturated"].append((slope < _NEARLY_FLAT * steepest).double().mean((1, 2)))
        rows["dead"].append((slope == 0).all(dim=2).double().mean(1))
    return {key: torch.stack(values).numpy() for key, values in rows.items()}


def gradient_norms(model, x, y):
    """Euclidean norm of the gradient with respect to every weight matrix or filter bank.

    Parameters
    ----------
    model : ReplicaNet
    x : Tensor, shape (R, B, n_in)
    y : Tensor, shape (R, B), int64

    Returns
    -------
    ndarray, shape (layers, R), float64
        From the first layer to the output layer.
    """
    _check(model, x, y)
    weights = [layer.weight for layer in _weight_layers(model)]
    with _untouched(model):
        _, gradients = _gradients(model, x, y, weights)
    return torch.stack([g.double().flatten(1).norm(dim=1) for g in gradients]).numpy()


def update_to_data(model, x, y, learning_rates):
    """Size of the next gradient step over the size of the weights, for every layer.

    Parameters
    ----------
    model, x, y
        As in `gradient_norms`.
    learning_rates : float or array_like, shape (R,)

    Returns
    -------
    ndarray, shape (layers, R), float64
    """
    sizes = torch.stack([layer.weight.detach().double().flatten(1).norm(dim=1) for layer in _weight_layers(model)])
    return np.asarray(learning_rates) * gradient_norms(model, x, y) / sizes.numpy()


def _matrix(m):
    """One or several matrices in double precision."""
    m = torch.from_numpy(numeric(m.detach() if isinstance(m, torch.Tensor) else m, "matrices"))
    if m.dim() < 2:
        raise ValueError(f"matrices: expected shapes (n_out, n_in) or (R, n_out, n_in), got {tuple(m.shape)}")
    return m


def product_singular_values(matrices):
    """Singular values of a product of matrices, in double precision.

    Parameters
    ----------
    matrices : sequence of Tensor or ndarray, shapes (R, n_out, n_in) or (n_out, n_in)
        The first is applied first.

    Returns
    -------
    ndarray, shape (R, k) or (k,), float64
        Descending.

    Raises
    ------
    ValueError
        If there are none, or neighbours do not fit.
    """
    matrices = [_matrix(m) for m in instance(matrices, Iterable, "matrices", what="a sequence of matrices")]
    if not matrices:
        raise ValueError("matrices: expected at least one, got none")
    product = matrices[0]
    for m in matrices[1:]:
        if m.shape[-1] != product.shape[-2]:
            raise ValueError(f"matrices: expected {product.shape[-2]} columns, got shape {tuple(m.shape)}")
        product = m @ product
    return torch.linalg.svdvals(product).numpy()


def jacobian_singular_values(model, x):
    """Singular values of the Jacobian of all logits with respect to the input, in evaluation mode.

    Parameters
    ----------
    model : ReplicaNet
    x : Tensor, shape (R, n_in)
        One example for each replica.

    Returns
    -------
    ndarray, shape (R, min(n_in, n_out)), float64
        Descending.
    """
    x = x.detach()[:, None].clone().requires_grad_()
    with evaluation_mode(model):
        logits = model(x)[:, 0]
        rows = [torch.autograd.grad(one.sum(), x, retain_graph=True)[0][:, 0] for one in logits.unbind(1)]
    return torch.linalg.svdvals(torch.stack(rows, dim=1).double()).numpy()


@by_identity
class Landscape(NamedTuple):
    """The loss along the direction of the current gradient g.

    Parameters
    ----------
    lengths : ndarray, shape (K, R), float64
        Step lengths eta: the places are p - eta g.
    loss_here, gradient_norm : ndarray, shape (R,), float64
        Where the walk begins.
    loss : ndarray, shape (K, R), float64
    gradient_difference : ndarray, shape (K, R), float64
        Norm of the difference of the gradient *vectors* there and here.
    """

    lengths: np.ndarray
    loss_here: np.ndarray
    gradient_norm: np.ndarray
    loss: np.ndarray
    gradient_difference: np.ndarray

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
    r"""Walk along the current gradient and look at loss and gradient on the way; the batch stays the same.

    Parameters
    ----------
    model : ReplicaNet
    x : Tensor, shape (R, B, n_in)
    y : Tensor, shape (R, B), int64
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

    .. math:: L(p - \eta g), \quad \|g(p) - g(p - \eta g)\|, \quad
              \max_\eta \frac{\|g(p) - g(p - \eta g)\|}{\|\eta g\|}
    """
    _check(model, x, y)
    lengths = numeric(lengths, "lengths")
    if lengths.ndim == 1:
        lengths = np.repeat(lengths[:, None], model.replicas, axis=1)
    positive = lengths.size and ((lengths > 0) & (lengths < np.inf)).all()
    if lengths.ndim != 2 or lengths.shape[1] != model.replicas or not positive:
        raise ValueError(f"lengths: expected positive numbers, shape (K,) or (K, {model.replicas}), got {lengths}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    losses, differences = [], []
    with _untouched(model):
        here = [p.detach().clone() for p in parameters]
        loss_here, g = _gradients(model, x, y, parameters)
        for eta in torch.as_tensor(lengths):
            with torch.no_grad():
                for p, start, slope in zip(parameters, here, g, strict=True):
                    p.copy_(start - eta.to(p.dtype).view(-1, *[1] * (p.dim() - 1)) * slope)
            loss, there = _gradients(model, x, y, parameters)
            losses.append(loss.double())
            differences.append(_norm(a - b for a, b in zip(there, g, strict=True)))
    results = (loss_here.double(), _norm(g), torch.stack(losses), torch.stack(differences))
    return Landscape(lengths, *(value.numpy() for value in results))


def _norm(tensors):
    """Norm of each replica's part of several tensors with a leading axis R; shape (R,), float64."""
    return torch.stack([t.double().flatten(1).square().sum(1) for t in tensors]).sum(0).sqrt()


@by_identity
class CovariateShift(NamedTuple):
    """How much the gradient of a layer changes when the layers before it are updated.

    Parameters
    ----------
    difference : ndarray, shape (layers, R), float64
        Norm of the difference of the two gradients.
    relative : ndarray, shape (layers, R), float64
        The same over the norm of the gradient before.
    cosine : ndarray, shape (layers, R), float64
        Of the angle between the two.
    """

    difference: np.ndarray
    relative: np.ndarray
    cosine: np.ndarray


def covariate_shift(model, x, y, learning_rates):
    """Internal covariate shift as a change of gradients: before and after the *preceding* layers' update, same batch.

    Parameters
    ----------
    model : ReplicaNet
    x : Tensor, shape (R, B, n_in)
    y : Tensor, shape (R, B), int64
    learning_rates : float or array_like, shape (R,)
        Of the update, a step of gradient descent.

    Returns
    -------
    CovariateShift
        The first layer has no preceding ones, so its row is zero (cosine one) up to rounding.

    Notes
    -----
    Santurkar, Tsipras, Ilyas and Madry (2018), definition 2.1. Batch norm's parameters count as part of the layer that
    they follow. This is not the shift of distributions that Ioffe and Szegedy (2015) mean.
    """
    _check(model, x, y)
    groups = _parameter_groups(model)
    parameters = [p for group in groups for p in group]
    rates = torch.as_tensor(learning_rates, dtype=torch.float64).expand(model.replicas)
    rows = []
    with _untouched(model):
        _, gradients = _gradients(model, x, y, parameters)
        before = dict(zip(map(id, parameters), gradients, strict=True))
        for group in groups:
            weight = group[0]
            _, (after,) = _gradients(model, x, y, [weight])
            a, b = (t.double().flatten(1) for t in (before[id(weight)], after))
            rows.append(
                (
                    (a - b).norm(dim=1),
                    (a - b).norm(dim=1) / a.norm(dim=1).clamp_min(1e-300),
                    F.cosine_similarity(a, b, dim=1),
                )
            )
            with torch.no_grad():  # this layer precedes all that follow
                for p in group:
                    p -= rates.to(p.dtype).view(-1, *[1] * (p.dim() - 1)) * before[id(p)]
    return CovariateShift(*(torch.stack(column).numpy() for column in zip(*rows, strict=True)))


def _parameter_groups(model):
    """Parameters of every weight layer, its weight first, with those of what follows it up to the next one."""
    groups, early = [], []
    for layer in model.layers:
        parameters = [p for p in layer.parameters() if p.requires_grad]
        if isinstance(layer, Linear | Conv2d):
            groups.append(parameters)
        elif groups:
            groups[-1] += parameters
        else:
            early += parameters  # of a norm on the inputs
    groups[0] += early
    return groups

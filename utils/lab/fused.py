"""Layers that are computed for R networks at once.

Linear layers become one batched matrix product, convolutions one grouped convolution, and batch norm sees R·C channels.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from utils.arrays import by_identity
from utils.lab.networks import Dropout

__all__ = []  # all of it is for utils.lab.replicas


@by_identity
class Values(NamedTuple):
    """Numbers of all replicas on their way through the layers, in the layout that the last layer left."""

    x: torch.Tensor
    layout: str  # "rows" (R, B, ...), "columns" (R, features, B), "maps" (B, R·C, H, W) channels last
    replicas: int

    def rows(self):
        """As (R, B, ...)."""
        if self.layout == "columns":
            return self.x.transpose(1, 2)
        if self.layout == "maps":
            return self.x.unflatten(1, (self.replicas, -1)).transpose(0, 1)
        return self.x

    def columns(self):
        """As (R, features, B), for values of shape (B, features) per network."""
        return self.x if self.layout == "columns" else self.rows().transpose(1, 2)

    def maps(self):
        """As (B, R·C, H, W), for values of shape (B, C, H, W) per network."""
        if self.layout == "maps":
            return self.x
        return self.x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)

    @property
    def dim(self):
        """How many axes the values of one network have."""
        return {"columns": 2, "maps": 4}.get(self.layout, self.x.dim() - 1)


def _linear(layer, values):
    if values.dim != 2:
        return None
    x = values.columns()
    y = torch.bmm(layer.weight, x) if layer.bias is None else torch.baddbmm(layer.bias[:, :, None], layer.weight, x)
    return Values(y, "columns", values.replicas)


def _conv2d(layer, values):
    if values.dim != 4 or layer.padding_mode != "zeros":
        return None
    bias = None if layer.bias is None else layer.bias.flatten()
    how = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    y = F.conv2d(values.maps(), layer.weight.flatten(0, 1), bias, groups=values.replicas * layer.groups, **how)
    return Values(y, "maps", values.replicas)


def _batch_norm(layer, values):
    if values.dim != (2 if isinstance(layer, nn.BatchNorm1d) else 4):
        return None
    own = values.columns() if values.dim == 2 else values.maps()
    x = own.reshape(1, -1, own.shape[2]) if values.dim == 2 else own  # (1, R·C, B): B takes the place of the pixels
    tracked = layer.running_mean is not None and (layer.track_running_stats or not layer.training)
    mean, var = (layer.running_mean, layer.running_var) if tracked else (None, None)
    batch, momentum = layer.training or not tracked, layer.momentum
    if batch and x.numel() == x.shape[1]:
        raise ValueError(
            "batch norm: expected more than one value per channel in training, got one; "
            "use a batch of at least two examples"
        )
    if layer.training and tracked:
        if momentum is None and len(layer.num_batches_tracked.unique()) > 1:
            return None  # another momentum per replica
        layer.num_batches_tracked += 1
        momentum = 1 / int(layer.num_batches_tracked[0]) if momentum is None else momentum
    flat = (None if t is None else t.view(-1) for t in (mean, var, layer.weight, layer.bias))
    y = F.batch_norm(x, *flat, batch, momentum or 0.0, layer.eps)
    return Values(y.view(own.shape), "columns" if values.dim == 2 else "maps", values.replicas)


class _NormalizeFeatures(torch.autograd.Function):
    """Normalize (R, groups, features, B) over the features, with the closed form of the backward pass.

    Takes less time than automatic differentiation of the same formula: fewer and better shaped operations.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, eps):  # weight and bias: (R, groups, features, 1)
        x_hat = x - x.mean(dim=2, keepdim=True)
        inv_std = torch.rsqrt(x_hat.square().mean(dim=2, keepdim=True) + eps)
        x_hat *= inv_std
        ctx.save_for_backward(x_hat, inv_std, weight)
        return (x_hat * weight).add_(bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        x_hat, inv_std, weight = ctx.saved_tensors
        product = dy * x_hat
        dweight, dbias = product.sum(dim=3, keepdim=True), dy.sum(dim=3, keepdim=True)
        average = weight.mT / weight.shape[2]  # of the features, weighted
        along_ones, along_x_hat = average @ dy, average @ product
        dx = (dy * weight).sub_(along_ones).sub_(x_hat * along_x_hat).mul_(inv_std)
        return dx, dweight, dbias, None


def _group_norm(layer, values):
    if values.dim not in ((2, 4) if isinstance(layer, nn.GroupNorm) else (2,)) or layer.weight is None:
        return None
    if layer.weight.dim() != 2 or layer.bias is None:
        return None
    x, groups = values.maps() if values.dim == 4 else values.columns(), getattr(layer, "num_groups", 1)
    if groups == (x.shape[1:].numel() // values.replicas if values.dim == 4 else x.shape[1]):
        raise ValueError("group norm: expected more than one value per group, got one; use fewer groups, or images")
    if values.dim == 4:
        y = F.group_norm(x, values.replicas * groups, layer.weight.flatten(), layer.bias.flatten(), layer.eps)
        return Values(y, "maps", values.replicas)
    grouped = x.reshape(values.replicas, groups, x.shape[1] // groups, -1)
    weight, bias = (p.view(*grouped.shape[:3], 1) for p in (layer.weight, layer.bias))
    return Values(_NormalizeFeatures.apply(grouped, weight, bias, layer.eps).view(x.shape), "columns", values.replicas)


def _as_it_is(layer, values):
    return values._replace(x=layer(values.x))


def _pool(layer, values):
    return Values(layer(values.maps()), "maps", values.replicas) if values.dim == 4 else None


def _flatten(layer, values):
    if values.dim != 4 or (layer.start_dim, layer.end_dim) != (1, -1):
        return None
    x = values.maps()
    return Values(x.reshape(len(x), values.replicas, -1).permute(1, 2, 0), "columns", values.replicas)


def _unflatten(layer, values):
    if values.dim != 2 or layer.dim != 1 or len(layer.unflattened_size) != 3:
        return None
    x = values.rows()
    return Values(x.reshape(*x.shape[:2], *layer.unflattened_size), "rows", values.replicas)


# Layers that are computed for all replicas at once; each returns None for values that it does not know.
FUSED = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _group_norm,
    nn.MaxPool2d: _pool,
    nn.AvgPool2d: _pool,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    **dict.fromkeys(
        (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Identity, Dropout),
        _as_it_is,
    ),
}

"""Stack networks of one kind, one per seed and learning rate, and train them together.

A `Stack` has the modules of one network, whose parameters and buffers have a leading axis for the R replicas. Linear
layers become one batched matrix product, convolutions one grouped convolution, and batch norm sees R·C channels;
whatever else a network has runs under ``torch.func.vmap``, or replica by replica where that fails. So any ``nn.Module``
can be stacked, and `Stack.replica` gives one network back as it was.
"""

import copy
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from utils.arrays import by_identity, instance

__all__ = ["Stack"]


@by_identity
class _Values(NamedTuple):
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
    return _Values(y, "columns", values.replicas)


def _conv2d(layer, values):
    if values.dim != 4 or layer.padding_mode != "zeros":
        return None
    bias = None if layer.bias is None else layer.bias.flatten()
    how = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    y = F.conv2d(values.maps(), layer.weight.flatten(0, 1), bias, groups=values.replicas * layer.groups, **how)
    return _Values(y, "maps", values.replicas)


def _batch_norm(layer, values):
    if values.dim not in (2, 4):
        return None
    own = values.columns() if values.dim == 2 else values.maps()
    x = own.reshape(1, -1, own.shape[2]) if values.dim == 2 else own  # (1, R·C, B): B takes the place of the pixels
    batch = layer.training or layer.running_mean is None
    if batch and x.numel() == x.shape[1]:
        raise ValueError(
            "batch norm: expected more than one value per channel in training, got one; "
            "use a batch of at least two examples"
        )
    momentum, mean, var = layer.momentum, layer.running_mean, layer.running_var
    if layer.training and mean is not None:
        layer.num_batches_tracked += 1
        momentum = 1 / int(layer.num_batches_tracked[0]) if momentum is None else momentum
    flat = (None if t is None else t.view(-1) for t in (mean, var, layer.weight, layer.bias))
    y = F.batch_norm(x, *flat, batch, momentum or 0.0, layer.eps)
    return _Values(y.view(own.shape), "columns" if values.dim == 2 else "maps", values.replicas)


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
    if values.dim not in (2, 4) or layer.weight is None or layer.bias is None:
        return None
    x, groups = values.maps() if values.dim == 4 else values.columns(), getattr(layer, "num_groups", 1)
    if values.dim == 4 and not isinstance(layer, nn.GroupNorm):
        return None
    if values.dim == 4:
        y = F.group_norm(x, values.replicas * groups, layer.weight.flatten(), layer.bias.flatten(), layer.eps)
        return _Values(y, "maps", values.replicas)
    if x.shape[1] == groups:
        raise ValueError("group norm: expected more than one value per group, got one; use fewer groups, or images")
    grouped = x.reshape(values.replicas, groups, x.shape[1] // groups, -1)
    weight, bias = (p.view(*grouped.shape[:3], 1) for p in (layer.weight, layer.bias))
    return _Values(_NormalizeFeatures.apply(grouped, weight, bias, layer.eps).view(x.shape), "columns", values.replicas)


def _as_it_is(layer, values):
    return values._replace(x=layer(values.x))


def _pool(layer, values):
    return _Values(layer(values.maps()), "maps", values.replicas) if values.dim == 4 else None


def _flatten(layer, values):
    if values.dim != 4 or (layer.start_dim, layer.end_dim) != (1, -1):
        return None
    x = values.maps()
    return _Values(x.reshape(len(x), values.replicas, -1).permute(1, 2, 0), "columns", values.replicas)


def _unflatten(layer, values):
    if values.dim != 2 or layer.dim != 1 or len(layer.unflattened_size) != 3:
        return None
    x = values.rows()
    return _Values(x.reshape(*x.shape[:2], *layer.unflattened_size), "rows", values.replicas)


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
        (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Identity), _as_it_is
    ),
}


def _each(function):
    """The function of one network for all replicas, without warnings that some of its operations run one by one."""

    def run(*tensors):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop because we have not yet implemented")
            return vmap(function)(*tensors)

    return run


def _tensors(module):
    """Parameters and buffers by name, a shared one under the name of each module that has it."""
    found = {}
    for place, owner in module.named_modules():  # a module that stands in two places comes once
        for name, t in {**owner._parameters, **owner._buffers}.items():
            if t is not None:
                found[f"{place}.{name}".lstrip(".")] = t
    return found


def _replace(module, new):
    """Put other numbers in the place of all parameters and buffers; what is shared stays shared."""
    made = {}
    for name, t in _tensors(module).items():
        if id(t) not in made:
            value = new(name, t)
            made[id(t)] = nn.Parameter(value, t.requires_grad) if isinstance(t, nn.Parameter) else value
        path, _, last = name.rpartition(".")
        owner = module.get_submodule(path)
        (owner._parameters if last in owner._parameters else owner._buffers)[last] = made[id(t)]


class Stack(nn.Module):
    """R networks of one structure that share nothing but the computation.

    Parameters
    ----------
    networks : sequence of nn.Module, length R
        Alike but for their numbers; they are copied. Each takes (B, ...) and returns (B, ...).

    Attributes
    ----------
    network : nn.Module
        The structure. Its parameters and buffers have the names of one network and a leading axis of length R.
    replicas : int

    Raises
    ------
    ValueError
        If there is none, or two differ in more than their numbers.

    Examples
    --------
    >>> nets = [nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)) for _ in range(16)]
    >>> Stack(nets)(torch.zeros(16, 5, 64)).shape
    torch.Size([16, 5, 10])
    """

    def __init__(self, networks):
        super().__init__()
        networks = list(instance(networks, Iterable, "networks", what="a list of nn.Module"))
        if not networks or not all(isinstance(network, nn.Module) for network in networks):
            raise ValueError(f"networks: expected at least one nn.Module, got {networks!r}")
        tensors = [_tensors(network) for network in networks]
        shapes = [{name: (t.shape, t.dtype) for name, t in of.items()} for of in tensors]
        if any(repr(network) != repr(networks[0]) for network in networks) or any(s != shapes[0] for s in shapes):
            raise ValueError("networks: expected networks that differ in their numbers only, got others")
        self.replicas = len(networks)
        self.network = copy.deepcopy(networks[0])
        _replace(self.network, lambda name, t: torch.stack([of[name].detach() for of in tensors]))
        self._in_a_loop = set()  # modules for which vmap does not work, by their place

    def forward(self, x):
        """All networks, each on its own examples.

        Parameters
        ----------
        x : Tensor, shape (R, B, ...)

        Returns
        -------
        Tensor, shape (R, B, ...)

        Raises
        ------
        ValueError
            If x does not have R parts.
        """
        if instance(x, torch.Tensor, "x").dim() < 2 or x.shape[0] != self.replicas:
            raise ValueError(f"x: expected shape ({self.replicas}, B, ...), got {tuple(x.shape)}")
        return self._through(self.network, _Values(x, "rows", self.replicas), "network").rows()

    def _through(self, module, values, place):
        """One module of all networks."""
        fused = FUSED.get(type(module))
        out = fused(module, values) if fused else None
        if out is not None:
            return out
        if type(module) is nn.Sequential:
            for name, layer in module.named_children():
                values = self._through(layer, values, f"{place}.{name}")
            return values
        return _Values(self._one_by_one(module, values.rows(), place), "rows", self.replicas)

    def _one_by_one(self, module, x, place):
        """A module that is not known, each replica by itself."""

        def alone(tensors, x):
            return functional_call(module, tensors, (x,), tie_weights=False)

        tensors, key = _tensors(module), (place, module.training)
        if key not in self._in_a_loop:
            try:  # on copies: a module that fails half way may have moved its buffers
                trial = {name: t.detach().clone() for name, t in tensors.items()}
                with torch.no_grad():
                    _each(alone)(trial, x.detach())
            except RuntimeError:
                self._in_a_loop.add(key)
        if key not in self._in_a_loop:
            return _each(alone)(tensors, x)
        return torch.stack([alone({name: t[r] for name, t in tensors.items()}, x[r]) for r in range(self.replicas)])

    def replica(self, r):
        """One of the networks, as it is now.

        Parameters
        ----------
        r : int
            0 to R - 1.

        Returns
        -------
        nn.Module
            Of the structure of those that were stacked, with the modes of the stack; shares no memory with it.

        Raises
        ------
        IndexError
            If there is no such replica.
        """
        if not 0 <= r < self.replicas:
            raise IndexError(f"r: expected 0 to {self.replicas - 1}, got {r}")
        network = copy.deepcopy(self.network)
        _replace(network, lambda name, t: t.detach()[r].clone())
        return network

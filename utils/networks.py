"""Fully connected and convolutional networks of which R replicas, one a seed and learning rate, train as one.

The replicas share nothing but the computation: a linear layer is one batched matrix product, a convolution one grouped
convolution, and batch norm sees R·C channels. `ReplicaNet.replica` gives one of them as an ordinary ``nn.Sequential``.

Inside, dense layers see (R, features, B) and convolutions (B, R·channels, H, W), channels last in memory: then each
channel's values lie together, and no transposition is needed before a batch norm.
"""

import copy
import math
import operator
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from utils.arrays import instance, number, one_of, whole

__all__ = [
    "ACTIVATIONS",
    "INITS",
    "NORMS",
    "PLACES",
    "BatchNorm",
    "BatchRenorm",
    "Conv2d",
    "ConvNet",
    "GroupNorm",
    "Linear",
    "MLP",
    "RMSNorm",
    "ReplicaNet",
    "initialize",
]

#: The activation functions by name.
#:
#: :meta hide-value:
ACTIVATIONS = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
}
#: How weights can begin, by name. The first is PyTorch's own for linear layers and convolutions: uniform within
#: ±1/√fan_in.
#:
#: :meta hide-value:
INITS = {
    "default": lambda weight, generator: nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator),
    "kaiming_normal": lambda weight, generator: nn.init.kaiming_normal_(weight, generator=generator),
    "kaiming_uniform": lambda weight, generator: nn.init.kaiming_uniform_(weight, generator=generator),
    "xavier_normal": lambda weight, generator: nn.init.xavier_normal_(weight, generator=generator),
    "xavier_uniform": lambda weight, generator: nn.init.xavier_uniform_(weight, generator=generator),
    "orthogonal": lambda weight, generator: nn.init.orthogonal_(weight, generator=generator),
    "zeros": lambda weight, generator: nn.init.zeros_(weight),
}
#: Where a norm can be: before or after the activation, or after the pooling that follows it.
PLACES = ("before", "after", "after_pool")


def _sizes_and_eps(replicas, channels, eps):
    """The sizes of a norm and its eps, checked."""
    return whole(replicas, "replicas"), whole(channels, "channels"), number(eps, "eps", at_least=0)


def _seeds(seeds):
    try:
        checked = tuple(operator.index(seed) for seed in seeds)
    except TypeError:
        raise ValueError(f"seeds: expected integers, one a replica, such as range(16), got {seeds!r}") from None
    if not checked or not 0 <= min(checked) <= max(checked) < 2**63:
        raise ValueError(f"seeds: expected at least one integer from 0 to below 2**63, got {seeds!r}")
    return checked


@contextmanager
def evaluation_mode(model):
    """Evaluation mode for a while; afterwards every module has the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training


class Linear(nn.Module):
    """R linear layers side by side: (R, n_in, B) to (R, n_out, B).

    Parameters
    ----------
    replicas, n_in, n_out : int
    """

    def __init__(self, replicas, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(replicas, n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(replicas, n_out))  # None where a batch norm would subtract it again

    def forward(self, x):
        """Apply each replica's matrix and bias to its own examples.

        Parameters
        ----------
        x : Tensor, shape (R, n_in, B)

        Returns
        -------
        Tensor, shape (R, n_out, B)
        """
        if self.bias is None:
            return torch.bmm(self.weight, x)
        return torch.baddbmm(self.bias[:, :, None], self.weight, x)

    def replica(self, r, conv):
        """Replica r as ``nn.Linear``, without its numbers.

        Parameters
        ----------
        r : int
        conv : bool
            Whether it is for images; not used.

        Returns
        -------
        nn.Linear
        """
        _, n_out, n_in = self.weight.shape
        return nn.Linear(n_in, n_out, bias=self.bias is not None)


class Conv2d(nn.Module):
    """R convolutions side by side as one grouped convolution: (B, R·c_in, H, W) to (B, R·c_out, H, W).

    Parameters
    ----------
    replicas, c_in, c_out : int
    kernel_size : int
        Odd; the image is padded with zeros so that it keeps its size.
    """

    def __init__(self, replicas, c_in, c_out, *, kernel_size=3):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(replicas, c_out, c_in, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(replicas, c_out))  # or None, as above

    def forward(self, x):
        """Apply each replica's filters to its own channels.

        Parameters
        ----------
        x : Tensor, shape (B, R·c_in, H, W)

        Returns
        -------
        Tensor, shape (B, R·c_out, H, W)
        """
        replicas, padding = len(self.weight), self.weight.shape[-1] // 2
        bias = None if self.bias is None else self.bias.flatten()
        return F.conv2d(x, self.weight.flatten(0, 1), bias, padding=padding, groups=replicas)

    def replica(self, r, conv):
        """Replica r as ``nn.Conv2d``, without its numbers.

        Parameters
        ----------
        r : int
        conv : bool
            Whether it is for images; not used.

        Returns
        -------
        nn.Conv2d
        """
        _, c_out, c_in, size, _ = self.weight.shape
        return nn.Conv2d(c_in, c_out, size, padding=size // 2, bias=self.bias is not None)


class BatchNorm(nn.Module):
    """Batch norm of R replicas with C features or channels each, by ``torch.nn.functional.batch_norm``.

    Parameters
    ----------
    replicas, channels : int
    eps, momentum, affine
        As in ``torch.nn.BatchNorm1d``; momentum is the weight of the new batch, None means the average of all batches.

    Raises
    ------
    ValueError
        In training, if a channel has a single value.
    """

    swallows_bias = True

    def __init__(self, replicas, channels, *, eps=1e-5, momentum=0.1, affine=True):
        super().__init__()
        replicas, channels, self.eps = _sizes_and_eps(replicas, channels, eps)
        self.momentum = None if momentum is None else number(momentum, "momentum", at_least=0, at_most=1)
        self.weight = nn.Parameter(torch.ones(replicas, channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(replicas, channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(replicas, channels))
        self.register_buffer("running_var", torch.ones(replicas, channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x):
        """Normalize each channel of each replica over the examples (and pixels).

        Parameters
        ----------
        x : Tensor, shape (R, C, B) or (B, R·C, H, W)

        Returns
        -------
        Tensor, shape of x

        Raises
        ------
        ValueError
            In training, if a channel has a single value.
        """
        return self._normalize(x, self.weight, self.bias)

    def _normalize(self, x, weight, bias):
        """Batch norm with this scale and shift, each of shape (R, C), or None."""
        dense = instance(x, torch.Tensor, "x", what="a Tensor").dim() == 3
        values = x.reshape(1, -1, x.shape[2]) if dense else x  # (1, R·C, B): B takes the place of the pixels
        if self.training:
            if values.numel() == values.shape[1]:
                raise ValueError(
                    "batch norm: expected more than one value for each channel in training, got one; "
                    "use a batch of at least two examples"
                )
            self.num_batches_tracked += 1
        momentum = 1 / max(1, int(self.num_batches_tracked)) if self.momentum is None else self.momentum
        weight, bias = (None, None) if weight is None else (weight.flatten(), bias.flatten())
        mean, var = self.running_mean.view(-1), self.running_var.view(-1)
        y = F.batch_norm(values, mean, var, weight, bias, self.training, momentum, self.eps)
        return y.view(x.shape) if dense else y

    def replica(self, r, conv):
        """Replica r as PyTorch's layer, without its numbers.

        Parameters
        ----------
        r : int
        conv : bool
            Whether it is for images.

        Returns
        -------
        nn.BatchNorm1d or nn.BatchNorm2d
        """
        kind = nn.BatchNorm2d if conv else nn.BatchNorm1d
        return kind(self.running_mean.shape[1], self.eps, self.momentum, affine=self.weight is not None)


class _NormalizeFeatures(torch.autograd.Function):
    """Normalize (R, groups, features, B) over the features, with the closed form of the backward pass (notebook 07).

    Less time than automatic differentiation of the same formula: fewer and better shaped operations.
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


class GroupNorm(nn.Module):
    """Group norm of R replicas: statistics of each example over groups of channels (and their pixels).

    Parameters
    ----------
    replicas, channels : int
    groups : int
        Of each replica; 1 is layer norm, `channels` is instance norm.
    eps : float

    Raises
    ------
    ValueError
        If groups does not divide channels, or each group has a single value.
    """

    swallows_bias = False

    def __init__(self, replicas, channels, *, groups=4, eps=1e-5):
        super().__init__()
        replicas, channels, self.eps = _sizes_and_eps(replicas, channels, eps)
        self.groups = whole(groups, "groups")
        if channels % self.groups:
            raise ValueError(f"groups: expected a divisor of the {channels} channels, got {groups}")
        self.weight = nn.Parameter(torch.ones(replicas, channels))
        self.bias = nn.Parameter(torch.zeros(replicas, channels))

    def forward(self, x):
        """Normalize each example by itself.

        Parameters
        ----------
        x : Tensor, shape (R, C, B) or (B, R·C, H, W)

        Returns
        -------
        Tensor, shape of x

        Raises
        ------
        ValueError
            If a group has a single value.
        """
        replicas, channels = self.weight.shape
        pixels = x.shape[2:].numel() if instance(x, torch.Tensor, "x", what="a Tensor").dim() == 4 else 1
        if channels * pixels == self.groups:
            raise ValueError(
                f"group norm: expected more than one value a group, got {channels} features of {pixels} pixel in "
                f"{self.groups} groups; instance norm needs images of more than one pixel"
            )
        if x.dim() == 4:
            return F.group_norm(x, replicas * self.groups, self.weight.flatten(), self.bias.flatten(), self.eps)
        grouped = x.reshape(replicas, self.groups, channels // self.groups, -1)
        weight, bias = (p.view(*grouped.shape[:3], 1) for p in (self.weight, self.bias))
        return _NormalizeFeatures.apply(grouped, weight, bias, self.eps).view(x.shape)

    def replica(self, r, conv):
        """Replica r as PyTorch's layer, without its numbers.

        Parameters
        ----------
        r : int
        conv : bool
            Whether it is for images.

        Returns
        -------
        nn.GroupNorm
        """
        return nn.GroupNorm(self.groups, self.weight.shape[1], self.eps)


class RMSNorm(nn.Module):
    """RMS norm of R replicas over the features of each example, which are not centred.

    Parameters
    ----------
    replicas, channels : int
    eps : float
    """

    swallows_bias = False

    def __init__(self, replicas, channels, *, eps=1e-5):
        super().__init__()
        replicas, channels, self.eps = _sizes_and_eps(replicas, channels, eps)
        self.weight = nn.Parameter(torch.ones(replicas, channels))

    def forward(self, x):
        """Divide each example by its root mean square.

        Parameters
        ----------
        x : Tensor, shape (R, C, B)

        Returns
        -------
        Tensor, shape of x

        Raises
        ------
        ValueError
            For images.
        """
        if instance(x, torch.Tensor, "x", what="a Tensor").dim() != 3:
            raise ValueError(f"RMS norm: expected features of shape (R, C, B), got {tuple(x.shape)}")
        scale = torch.rsqrt(x.square().mean(dim=1, keepdim=True) + self.eps)
        return self.weight[:, :, None] * (x * scale)

    def replica(self, r, conv):
        """Replica r as PyTorch's layer, without its numbers.

        Parameters
        ----------
        r : int
        conv : bool
            Not used: there is none for images.

        Returns
        -------
        nn.RMSNorm
        """
        return nn.RMSNorm(self.weight.shape[1], self.eps)


class BatchRenorm(BatchNorm):
    """Batch renormalization of R replicas, as `utils.byhand.activation_norms.BatchRenorm`.

    Parameters
    ----------
    replicas, channels : int
    r_max, d_max : float
        Limits of the correction; 1 and 0 make it batch norm. May be changed during training.
    eps, momentum, affine
        As in `BatchNorm`.

    Raises
    ------
    ValueError
        If r_max is below 1 or d_max below 0.
    """

    def __init__(self, replicas, channels, *, r_max=3.0, d_max=5.0, eps=1e-5, momentum=0.1, affine=True):
        super().__init__(replicas, channels, eps=eps, momentum=momentum, affine=affine)
        self.r_max = number(r_max, "r_max", at_least=1, finite=False)
        self.d_max = number(d_max, "d_max", at_least=0, finite=False)

    def forward(self, x):
        """Normalize each channel of each replica; in training, corrected towards the running statistics.

        Parameters
        ----------
        x : Tensor, shape (R, C, B) or (B, R·C, H, W)

        Returns
        -------
        Tensor, shape of x

        Raises
        ------
        ValueError
            In training, if a channel has a single value.
        """
        if not self.training:
            return super().forward(x)
        dense = instance(x, torch.Tensor, "x", what="a Tensor").dim() == 3
        shape, dim = ((*self.running_mean.shape, 1), 2) if dense else ((1, -1, 1, 1), (0, 2, 3))
        with torch.no_grad():
            mean = x.mean(dim, keepdim=True)
            var = (x - mean).square().mean(dim, keepdim=True)  # a tenth of the time of torch.var_mean
            std = (self.running_var + self.eps).sqrt().view(shape)  # before this batch moves it
            r = ((var + self.eps).sqrt() / std).clamp(1 / self.r_max, self.r_max)
            d = ((mean - self.running_mean.view(shape)) / std).clamp(-self.d_max, self.d_max)
        # Batch norm is gamma * x_hat + beta: with gamma * r and beta + gamma * d in their place it is renormalized.
        gamma = torch.ones_like(self.running_mean) if self.weight is None else self.weight
        beta = torch.zeros_like(self.running_mean) if self.bias is None else self.bias
        own = gamma * r.view_as(gamma), beta + gamma * d.view_as(gamma)
        return self._normalize(x, *own)

    def replica(self, r, conv):
        """Replica r as PyTorch's batch norm, which it is in evaluation.

        Parameters
        ----------
        r : int
        conv : bool
            Whether it is for images.

        Returns
        -------
        nn.BatchNorm1d or nn.BatchNorm2d

        Raises
        ------
        ValueError
            In training: PyTorch has no batch renormalization.
        """
        if self.training:
            raise ValueError("replica: expected a network in evaluation mode: PyTorch has no batch renormalization")
        return super().replica(r, conv)


def _layer_norm(replicas, channels):
    return GroupNorm(replicas, channels, groups=1)


def _instance_norm(replicas, channels):
    return GroupNorm(replicas, channels, groups=channels)


#: The norms by name.
#:
#: :meta hide-value:
NORMS = {"batch": BatchNorm, "layer": _layer_norm, "instance": _instance_norm, "group": GroupNorm}


def initialize(layers, seeds, init_weight, *, default_bias):
    """Draw the weights of all layers, then the biases, so that networks with and without biases start alike.

    Parameters
    ----------
    layers : list of Linear or Conv2d
        Changed in place.
    seeds : sequence of int, length R
        Replicas of one seed start alike.
    init_weight : callable
        As `init` of `ReplicaNet`.
    default_bias : bool
        Draw biases as PyTorch does, instead of zeros.
    """
    drawn = {}
    for seed in dict.fromkeys(seeds):
        generator = torch.Generator().manual_seed(seed)
        weights = [torch.empty(layer.weight.shape[1:]) for layer in layers]
        for weight in weights:
            init_weight(weight, generator)
        biases = []
        for layer, weight in zip(layers, weights, strict=True):
            bound = weight[0].numel() ** -0.5 if default_bias else 0.0
            biases.append(torch.empty(layer.weight.shape[1]).uniform_(-bound, bound, generator=generator))
        drawn[seed] = weights, biases
    with torch.no_grad():
        for i, layer in enumerate(layers):
            layer.weight.copy_(torch.stack([drawn[seed][0][i] for seed in seeds]))
            if layer.bias is not None:
                layer.bias.copy_(torch.stack([drawn[seed][1][i] for seed in seeds]))


class Dropout(nn.Module):
    """Dropout whose masks come from a generator of its own; other masks for every replica.

    Parameters
    ----------
    p : float
        Share of values set to zero, in [0, 1).
    generator : torch.Generator
    """

    def __init__(self, p, *, generator):
        super().__init__()
        self.p, self.generator = number(p, "dropout", at_least=0, below=1), generator

    def forward(self, x):
        """Drop values in training, and scale up the others."""
        if not self.training:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * kept.div_(1 - self.p)

    def replica(self, r, conv):
        """As ``nn.Dropout``."""
        return nn.Dropout(self.p)


class _Images(nn.Module):
    """Pixels in a row, (R, B, d), as images, (B, R·C, H, W)."""

    def __init__(self, image_shape):
        super().__init__()
        self.image_shape = image_shape

    def forward(self, x):
        replicas, n, _ = x.shape
        images = x.reshape(replicas, n, *self.image_shape).transpose(0, 1).flatten(1, 2)
        return images.contiguous(memory_format=torch.channels_last)

    def replica(self, r, conv):
        return nn.Unflatten(1, self.image_shape)


class _Features(nn.Module):
    """Images, (B, R·C, H, W), as features, (R, C·H·W, B)."""

    def __init__(self, replicas):
        super().__init__()
        self.replicas = replicas

    def forward(self, x):
        return x.reshape(len(x), self.replicas, -1).permute(1, 2, 0)

    def replica(self, r, conv):
        return nn.Flatten()


class _Rows(nn.Module):
    """Rows of features, (R, B, d), as columns, (R, d, B)."""

    def forward(self, x):
        return x.transpose(1, 2)

    def replica(self, r, conv):
        return None


# What a stack computes as its replicas do alone; the tests hold each against PyTorch's own layer.
_KNOWN = {Linear, Conv2d, BatchNorm, GroupNorm, RMSNorm, BatchRenorm, Dropout, _Images, _Features, _Rows, nn.MaxPool2d}
_KNOWN |= set(ACTIVATIONS.values())
_BATCHES = (48, 60, 7)  # sizes of the batch that is tried on unknown modules; some want a divisor


def _norm(value, name):
    """What builds a norm, or None."""
    if value is None or isinstance(value, _Checked):
        return value
    return _Checked(value if isinstance(value, Callable) else NORMS[one_of(value, NORMS, name)], name)


class _Checked:
    """A callable that builds norms with parameters of the right shapes."""

    def __init__(self, build, name):
        self.build, self.name = build, name

    def __call__(self, replicas, channels):
        try:
            norm = self.build(replicas, channels)
        except TypeError as error:
            raise ValueError(
                f"{self.name}: expected a callable that takes the numbers of replicas and of channels, got {error}"
            ) from error
        if not isinstance(norm, nn.Module):
            raise ValueError(f"{self.name}: expected a callable that returns a module, got {type(norm).__name__}")
        for key, p in norm.named_parameters():
            if p.shape[:1] != (replicas,):
                raise ValueError(
                    f"{self.name}: expected parameters with a leading axis of the {replicas} replicas, got {key} of "
                    f"shape {tuple(p.shape)} in {type(norm).__name__}; write the norm like utils.networks.GroupNorm"
                )
        return norm


def _acts_on_each_value(module):
    """Whether the output for each value depends on that value alone, and neither on its place nor on the shape."""
    values = 3 * torch.randn(105, generator=torch.Generator().manual_seed(0))
    try:
        for training in (True, False):
            one = copy.deepcopy(module).train(training)
            pieces = torch.cat([one(piece.clone()) for piece in values.split(13)])
            for shape in ((15, 7), (3, 5, 7), (1, 3, 5, 7)):
                whole = one(values.view(shape).clone())
                if whole.shape != shape or not torch.allclose(whole.flatten(), pieces, atol=1e-6, equal_nan=True):
                    return False
    except Exception:  # of somebody else's module
        return False
    return True


def _activation(value):
    """An activation as a module that stacked networks may use."""
    if not isinstance(value, nn.Module):
        return ACTIVATIONS[one_of(value, ACTIVATIONS, "activation")]()
    if any(True for _ in value.parameters()):
        raise ValueError(f"activation: expected a module without parameters, got {value}")
    if type(value) not in _KNOWN and not _acts_on_each_value(value):
        raise ValueError(
            "activation: expected a module that acts on each value by itself and draws no random numbers, "
            f"got {value}; put what looks at several values into a norm, and noise into dropout"
        )
    return value


def _alone(layer, r, conv):
    """One layer of replica r as PyTorch's own, with its numbers, mode and what may be trained; or None for nothing."""
    if isinstance(layer, nn.Sequential):
        parts = [_alone(part, r, conv) for part in layer]
        plain = nn.Sequential(*(part for part in parts if part is not None))
        plain.training = layer.training
        return plain
    if nn.utils.parametrize.is_parametrized(layer):
        raise ValueError(
            f"replica: expected layers without parametrizations, got {type(layer).__name__} with some; "
            "call torch.nn.utils.parametrize.remove_parametrizations first"
        )
    if not hasattr(layer, "replica"):
        if any(True for _ in layer.state_dict()) or not (isinstance(layer, nn.MaxPool2d) or _acts_on_each_value(layer)):
            raise ValueError(
                f"replica: expected modules with a method replica(r, conv), or that act on each value by themselves, "
                f"got {type(layer).__name__}; write the method as utils.networks.GroupNorm does"
            )
        return copy.deepcopy(layer)
    with torch.device("meta"):  # no numbers are drawn that ours replace anyway
        plain = layer.replica(r, conv)
    if plain is None:
        return None
    state = {key: (value if value.dim() == 0 else value[r]).clone() for key, value in layer.state_dict().items()}
    try:
        plain.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"replica: expected numbers that fit {type(plain).__name__}, got {error}") from None
    trained = dict(layer.named_parameters())
    for key, p in plain.named_parameters():
        p.requires_grad_(trained[key].requires_grad)
    return plain.train(layer.training)


def _is_known(module):
    """Whether the tests of this course answer for a module and all of its parts."""
    return type(module) in _KNOWN or (isinstance(module, nn.Sequential) and all(map(_is_known, module)))


def _some_batch(model):
    """Random inputs that the model takes."""
    failure = None
    for n in _BATCHES:
        x = torch.randn(model.replicas, n, model.n_in, generator=torch.Generator().manual_seed(0))
        x = x.to(next(model.parameters()))
        try:
            copy.deepcopy(model)(x)
        except Exception as error:  # of somebody else's module
            failure = failure or error
        else:
            return x
    raise failure


def _without_dropout(model):
    """A copy that drops nothing, in the same modes."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, Dropout | nn.Dropout):
            module.p = 0.0
    return model


@torch.no_grad()
def _agree(ours, theirs, x, r):
    """Whether replica r of a network answers as another one; None if the other one draws random numbers.

    As far as rounding lets them, which is less than what a tiny change of the inputs does.
    """
    start, examples = copy.deepcopy(theirs.state_dict()), x[r] if isinstance(theirs, nn.Sequential) else x[r : r + 1]
    right, again, moved = [], [], []
    for found, inputs in ((moved, examples * (1 + 1e-5)), (again, examples), (right, examples)):
        theirs.load_state_dict(start)
        found.append(theirs(inputs).reshape(len(x[r]), -1))
    right, again, moved, answer = right[0], again[0], moved[0], ours(x)[r]
    if not torch.allclose(right, again, equal_nan=True):
        return None
    finite = right[right.isfinite()].abs()
    rounding = (moved - right).nan_to_num(0, 0, 0).abs().max() + 1e-4 * (finite.max() if len(finite) else 0)
    return answer.shape == right.shape and torch.allclose(answer, right, 0, float(rounding), equal_nan=True)


def refuse_mixing(build):
    """Refuse norms with which a replica does not compute what the same network computes alone.

    Three replicas are built and one of them alone, and both see the same examples. Where a norm draws random numbers in
    training, only this can be said there: no gradient goes from the output of one replica to the inputs of another.

    Parameters
    ----------
    build : callable
        From seeds to a network.

    Raises
    ------
    ValueError
        If there is a difference.
    """
    r, why, (stack, alone) = 1, None, (_without_dropout(build(seeds)) for seeds in ((0, 1, 2), (1,)))
    numbers = stack.state_dict()
    for key, value in alone.state_dict().items():
        if numbers[key].numel() == 3 * value.numel() and numbers[key].shape != value.shape:
            value.copy_(numbers[key].reshape(3, *value.shape)[r])
        else:
            value.copy_(numbers[key])
    fresh = copy.deepcopy((stack, alone))
    try:
        one = _some_batch(alone)
        x = torch.randn(3, *one.shape[1:], generator=torch.Generator().manual_seed(1)).to(one)
        x[r] = one[0]
        inputs = x.clone().requires_grad_()
        y = copy.deepcopy(stack)(inputs)[r]
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y)
        (reached,) = torch.autograd.grad((y * weights).nan_to_num().sum(), inputs)
        if reached[[0, 2]].any():
            why = "one whose output depends on the examples of others"
        elif (same := _agree(stack, alone, x, r)) is False:
            why = "another output in training"
        else:
            stack, alone = (model.eval() for model in (fresh if same is None else (stack, alone)))
            if _agree(stack, alone, x, r) is False:
                why = "another output in evaluation"
    except Exception as error:  # of somebody else's module
        why = f"{type(error).__name__}: {error}"
    if why:
        raise ValueError(
            f"norm: expected replicas that compute what they compute alone, got {why}; features come as (R, C, B), "
            "images as (B, R·C, H, W): keep the replicas apart, as utils.networks.GroupNorm does"
        )


class ReplicaNet(nn.Module):
    """R networks that train as one; `MLP` and `ConvNet` build their layers.

    Parameters
    ----------
    seeds : sequence of int, length R
        Of the initialization; replicas of one seed start alike.
    n_in, n_out : int
        Inputs and classes.
    activation : {"relu", "sigmoid", "tanh", "leaky_relu", "elu", "gelu", "identity"} or nn.Module
        A module must act on each value by itself.
    norm : {None, "batch", "layer", "instance", "group"} or callable
        A callable gets the numbers of replicas and of channels and returns a module, for example
        ``functools.partial(BatchNorm, affine=False)``.
    place : {"before", "after", "after_pool"}
        Of the norm: before the activation, after it, or after it and the pooling.
    norm_input : as norm
        Of the inputs, as the first layer.
    init : {"default", "kaiming_normal", "xavier_normal", ...} or callable
        Of the weights. A callable gets one replica's weight of shape (out, in) or (out, in, k, k), to be changed in
        place, and a torch.Generator. Biases are PyTorch's with "default" and zero otherwise.
    dropout : float
        After every hidden layer.

    Attributes
    ----------
    layers : nn.Sequential
    seeds : tuple of int

    Raises
    ------
    ValueError
        If an argument is unknown or out of range.
    """

    def __init__(self, seeds, n_in, n_out, *, activation, norm, place, norm_input, init, dropout):
        super().__init__()
        self.seeds = _seeds(seeds)
        self.n_in, self.n_out = whole(n_in, "n_in"), whole(n_out, "n_out")
        activation = _activation(activation)
        norm, norm_input = _norm(norm, "norm"), _norm(norm_input, "norm_input")
        init_weight = init if isinstance(init, Callable) else INITS[one_of(init, INITS, "init")]
        one_of(place, PLACES, "place")
        self.activation, self._norm, self._norm_input = activation, norm, norm_input
        self._place, self._dropout = place, number(dropout, "dropout", at_least=0, below=1)
        self._generator = torch.Generator().manual_seed(int(np.random.SeedSequence(self.seeds).generate_state(1)[0]))
        self.layers = nn.Sequential(*self._build(norm_input))
        weighted = [layer for layer in self.layers if isinstance(layer, Linear | Conv2d)]
        initialize(weighted, self.seeds, init_weight, default_bias=init == "default")

    @property
    def replicas(self):
        """R."""
        return len(self.seeds)

    def _check_norms(self, how, build):
        """Refuse a norm that nobody has tested if it mixes the replicas."""
        begun = isinstance(how["norm"], _Checked) or isinstance(how["norm_input"], _Checked)
        if not begun and not self._all_known:
            how = how | {"norm": self._norm, "norm_input": self._norm_input}
            refuse_mixing(lambda seeds: build(seeds, how))

    @property
    def _all_known(self):
        return all(_is_known(layer) or layer is self.activation for layer in self.layers)

    def _hidden(self, layer, channels, pool=None):
        """One hidden layer with its norm, activation, pooling and dropout in their order."""
        parts = {"layer": layer, "activation": self.activation, "pool": pool}
        if self._norm is not None:
            parts["norm"] = self._norm(self.replicas, channels)
            if self._place == "before" and getattr(parts["norm"], "swallows_bias", False):
                layer.bias = None
        if self._dropout:
            parts["dropout"] = Dropout(self._dropout, generator=self._generator)
        order = {
            "before": ("layer", "norm", "activation", "pool", "dropout"),
            "after": ("layer", "activation", "norm", "pool", "dropout"),
            "after_pool": ("layer", "activation", "pool", "norm", "dropout"),
        }
        return [parts[name] for name in order[self._place] if parts.get(name) is not None]

    def forward(self, x):
        """All replicas, each on its own examples.

        Parameters
        ----------
        x : Tensor, shape (R, B, n_in), float

        Returns
        -------
        Tensor, shape (R, B, n_out)
            Logits.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        if (
            instance(x, torch.Tensor, "x", what="a Tensor").dim() != 3
            or x.shape[0] != self.replicas
            or x.shape[2] != self.n_in
        ):
            raise ValueError(f"x: expected shape ({self.replicas}, B, {self.n_in}), got {tuple(x.shape)}")
        return self.layers(x).transpose(1, 2)

    def replica(self, r):
        """One of the networks, as it is now, made of PyTorch's own layers.

        Parameters
        ----------
        r : int
            0 to R - 1.

        Returns
        -------
        nn.Sequential
            From (B, n_in) to (B, n_out), in the same mode (training or evaluation); shares no memory.

        Raises
        ------
        IndexError
            If there is no such replica.
        ValueError
            If r is not an integer, or if a layer has no counterpart for a network alone, or one that computes something
            else: a norm of your own needs a method ``replica(r, conv)`` as those here have it, and parametrizations
            have to be removed before.
        """
        if not 0 <= whole(r, "r", at_least=-(2**62)) < self.replicas:
            raise IndexError(f"r: expected 0 to {self.replicas - 1}, got {r}")
        modules, conv = [], False
        for layer in self.layers:
            conv = (conv or isinstance(layer, _Images)) and not isinstance(layer, _Features)
            modules.append(_alone(layer, r, conv))
        plain = nn.Sequential(*(module for module in modules if module is not None))
        plain.training = self.training
        if not self._all_known:
            try:
                same = _agree(_without_dropout(self), _without_dropout(plain), _some_batch(self), r)
                why = {True: None, False: "computes something else", None: "draws random numbers"}[same]
            except Exception as error:  # of somebody else's module
                why = f"fails with {type(error).__name__}: {error}"
            if why:
                raise ValueError(
                    f"replica: expected a network that answers as replica {r} of the stack does, got one that {why}; "
                    "look at the method replica of its norms"
                )
        return plain


class MLP(ReplicaNet):
    """Fully connected networks: `depth` hidden layers of `width` units, then a linear layer to the classes.

    Parameters
    ----------
    n_in, n_out : int
        Inputs and classes.
    seeds : sequence of int, length R
    width, depth : int
        Units of a hidden layer; hidden layers.
    activation, norm, place, norm_input, init, dropout
        As in `ReplicaNet`.

    Raises
    ------
    ValueError
        If an argument is unknown or out of range.

    Examples
    --------
    >>> net = MLP(64, 10, seeds=range(16), norm="batch")
    >>> net(torch.zeros(16, 32, 64)).shape
    torch.Size([16, 32, 10])
    """

    def __init__(
        self,
        n_in,
        n_out,
        *,
        seeds,
        width=100,
        depth=3,
        activation="relu",
        norm=None,
        place="before",
        norm_input=None,
        init="default",
        dropout=0.0,
    ):
        self._width, self._depth = whole(width, "width"), whole(depth, "depth")
        how = {"activation": activation, "norm": norm, "place": place, "norm_input": norm_input}
        super().__init__(seeds, n_in, n_out, init=init, dropout=dropout, **how)
        self._check_norms(how, lambda seeds, how: MLP(n_in, n_out, seeds=seeds, width=width, depth=depth, **how))

    def _build(self, norm_input):
        layers, n = [_Rows()], self.n_in
        if norm_input is not None:
            layers.append(norm_input(self.replicas, n))
        for _ in range(self._depth):
            layers += self._hidden(Linear(self.replicas, n, self._width), self._width)
            n = self._width
        return [*layers, Linear(self.replicas, n, self.n_out)]


class ConvNet(ReplicaNet):
    """Convolutional networks: 3×3 convolutions, max pooling after some of them, then a linear layer to the classes.

    Parameters
    ----------
    image_shape : tuple of three int
        Channels, height and width of the images, which come as rows of C·H·W pixels.
    n_out : int
        Classes.
    seeds : sequence of int, length R
    channels : sequence of int
        Output channels of each convolution.
    pool_after : sequence of int
        Convolutions (from 1) after which the image is halved by 2×2 max pooling.
    kernel_size : int
        Odd.
    activation, norm, place, norm_input, init, dropout
        As in `ReplicaNet`.

    Raises
    ------
    ValueError
        If an argument is unknown or out of range, or the image is too small for so much pooling.

    Examples
    --------
    >>> net = ConvNet((1, 8, 8), 10, seeds=range(4), channels=(8, 16), norm="batch")
    >>> net(torch.zeros(4, 32, 64)).shape
    torch.Size([4, 32, 10])
    """

    def __init__(
        self,
        image_shape,
        n_out,
        *,
        seeds,
        channels=(16, 32),
        pool_after=(1, 2),
        kernel_size=3,
        activation="relu",
        norm=None,
        place="before",
        norm_input=None,
        init="default",
        dropout=0.0,
    ):
        try:
            self.image_shape = tuple(whole(size, "image_shape") for size in image_shape)
            self._channels = [whole(c, "channels") for c in channels]
            self._pool_after = {whole(i, "pool_after", at_least=0) for i in pool_after}
        except TypeError as error:
            raise ValueError(f"image_shape, channels, pool_after: expected sequences of integers ({error})") from None
        if len(self.image_shape) != 3 or not self._channels:
            raise ValueError(
                f"image_shape, channels: expected (C, H, W) and at least one convolution, got {image_shape}, {channels}"
            )
        if not self._pool_after <= set(range(1, len(self._channels) + 1)):
            raise ValueError(f"pool_after: expected convolutions from 1 to {len(self._channels)}, got {pool_after}")
        side = 2 ** len(self._pool_after)
        if min(self.image_shape[1:]) < side:
            raise ValueError(
                f"image_shape: expected at least {side} pixels a side for {len(self._pool_after)} poolings, "
                f"got {self.image_shape}; pool less often"
            )
        if whole(kernel_size, "kernel_size") % 2 == 0:
            raise ValueError(f"kernel_size: expected an odd number, got {kernel_size}")
        self._kernel_size = kernel_size
        how = {"activation": activation, "norm": norm, "place": place, "norm_input": norm_input}
        super().__init__(seeds, math.prod(self.image_shape), n_out, init=init, dropout=dropout, **how)
        shape = {"channels": channels, "pool_after": pool_after, "kernel_size": kernel_size}
        self._check_norms(how, lambda seeds, how: ConvNet(image_shape, n_out, seeds=seeds, **shape, **how))

    def _build(self, norm_input):
        c, height, width = self.image_shape
        layers = [_Images(self.image_shape)]
        if norm_input is not None:
            layers.append(norm_input(self.replicas, c))
        for i, c_out in enumerate(self._channels, 1):
            conv = Conv2d(self.replicas, c, c_out, kernel_size=self._kernel_size)
            pool = nn.MaxPool2d(2) if i in self._pool_after else None
            layers += self._hidden(conv, c_out, pool)
            c, height, width = c_out, height // (2 if pool else 1), width // (2 if pool else 1)
        return [*layers, _Features(self.replicas), Linear(self.replicas, c * height * width, self.n_out)]

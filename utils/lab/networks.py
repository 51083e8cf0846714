"""Networks for one seed: ordinary modules of PyTorch, whose inputs are rows of features or pixels."""

import functools
import inspect
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from utils.arrays import instance, number, one_of, whole

__all__ = ["ACTIVATIONS", "INITS", "NORMS", "PLACES", "Dropout", "initialize", "make_norm", "mlp", "second_generator"]

#: Activation functions by name.
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
#: Initial weights by name; "default" is PyTorch's own for linear layers and convolutions, uniform within ±1/√fan_in.
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
#: Norms by name: from the number of features, or of the channels of images, to a module. The layer norm of images is
#: over channels and pixels.
#:
#: :meta hide-value:
NORMS = {
    "batch": lambda channels, images: (nn.BatchNorm2d if images else nn.BatchNorm1d)(channels),
    "layer": lambda channels, images: nn.GroupNorm(1, channels),
    "instance": lambda channels, images: nn.GroupNorm(channels, channels),
    "group": lambda channels, images: nn.GroupNorm(4, channels),
}
#: Places of a norm: before the activation, after it, or after it and the pooling.
PLACES = ("before", "after", "after_pool")
_ORDER = {
    "before": ("layer", "norm", "activation", "pool", "dropout"),
    "after": ("layer", "activation", "norm", "pool", "dropout"),
    "after_pool": ("layer", "activation", "pool", "norm", "dropout"),
}


class Dropout(nn.Module):
    """Dropout whose masks come from a generator of its own; those of ``nn.Dropout`` come from the global one.

    Parameters
    ----------
    p : float
        Share of the values that are dropped in training, in [0, 1).
    generator : torch.Generator
        Draws the masks.

    Raises
    ------
    ValueError
        If p is no such number.
    """

    def __init__(self, p, *, generator):
        super().__init__()
        self.p, self.generator = number(p, "dropout", at_least=0, below=1), generator

    def forward(self, x):
        """Drop values in training, and scale up the others.

        Parameters
        ----------
        x : torch.Tensor

        Returns
        -------
        torch.Tensor
            Of the shape and dtype of x.
        """
        if not self.training:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * kept.div_(1 - self.p)


def make_norm(norm, name, channels, *, images):
    """Make a norm of so many features, or channels of images.

    Parameters
    ----------
    norm : str, callable or None
        One of `NORMS`, or a class or function of the number of channels that returns a module.
    name : str
        That of the argument, for messages.
    channels : int
    images : bool
        Whether the norm is for images (N, C, H, W), or for features (N, C).

    Returns
    -------
    torch.nn.Module or None
        None for None.

    Raises
    ------
    ValueError
        If there is no such norm, if it is not for features, or if the callable returns no module.
    """
    if norm is None:
        return None
    if isinstance(norm, nn.Module) or not isinstance(norm, Callable):
        hint = "; or pass a class or function of the number of channels"
        if one_of(norm, NORMS, name, hint=hint) == "group" and channels % 4:
            raise ValueError(f"{name}: expected channels for four groups, got {channels}; use another norm")
        if norm == "instance" and not images:
            raise ValueError(
                f"{name}: expected a norm for features, got 'instance', which needs images; use another norm"
            )
        return NORMS[norm](channels, images)
    made = norm(channels)
    if not isinstance(made, nn.Module):
        raise ValueError(f"{name}: expected a callable that returns a module, got {type(made).__name__}")
    return made


def _make_activation(activation):
    """A new module for each layer."""
    if isinstance(activation, str):
        return ACTIVATIONS[one_of(activation, ACTIVATIONS, "activation")]()
    makes = callable(activation) and (inspect.isclass(activation) or not isinstance(activation, nn.Module))
    made = activation() if makes else None
    if not isinstance(made, nn.Module):
        raise ValueError(
            f"activation: expected one of {', '.join(ACTIVATIONS)}, or a class or function that returns a module, "
            f"got {activation!r}"
        )
    return made


def _hidden(layer, norm, activation, place, dropout, pool=None):
    """One hidden layer with its norm, activation, pooling and dropout in their order."""
    if place == "before" and isinstance(norm, nn.modules.batchnorm._BatchNorm):
        layer.register_parameter("bias", None)  # batch norm would subtract it again
    parts = {"layer": layer, "norm": norm, "activation": activation, "pool": pool, "dropout": dropout}
    return [parts[name] for name in _ORDER[place] if parts[name] is not None]


def second_generator(seed):
    """A generator whose numbers have nothing to do with those that the same seed draws for the weights.

    Parameters
    ----------
    seed : int
        At least 0.

    Returns
    -------
    torch.Generator

    Raises
    ------
    ValueError
        If seed is no such number.
    """
    entropy = [whole(seed, "seed", at_least=0, at_most=2**63 - 1), 1]
    return torch.Generator().manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))


def by_its_seed(build):
    """Modules that draw numbers when they are made draw them by the seed of the network, not from the global ones."""

    @functools.wraps(build)
    def alone(*args, **how):
        seed = inspect.signature(build).bind(*args, **how).arguments["seed"]
        with torch.random.fork_rng(devices=()):
            torch.set_rng_state(second_generator(seed).get_state())
            return build(*args, **how)

    return alone


def initialize(network, seed, init="default"):
    """Draw the weights of all layers, then the biases, so that networks with and without biases start alike.

    Parameters
    ----------
    network : nn.Module
        Its linear layers and convolutions are changed in place, also those inside modules of your own.
    seed : int
    init : str or callable
        One of `INITS`, or a function of a weight, to be changed in place, and a ``torch.Generator``. Biases are drawn
        as PyTorch draws them with "default" and are zero otherwise.

    Returns
    -------
    nn.Module
        The network.

    Raises
    ------
    ValueError
        If seed is not an integer from 0 to below 2**63, or the name is unknown.
    """
    instance(network, nn.Module, "network")
    draw = init if isinstance(init, Callable) else INITS[one_of(init, INITS, "init")]
    generator = torch.Generator().manual_seed(whole(seed, "seed", at_least=0, at_most=2**63 - 1))
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    with torch.no_grad():
        for layer in layers:
            draw(layer.weight, generator)
        for layer in layers:
            bound = layer.weight[0].numel() ** -0.5 if init == "default" else 0.0
            bias = torch.empty(len(layer.weight)).uniform_(-bound, bound, generator=generator)
            if layer.bias is not None:
                layer.bias.copy_(bias)
    return network


@by_its_seed
def mlp(
    n_in,
    n_out,
    seed,
    *,
    width=100,
    depth=3,
    activation="relu",
    norm=None,
    place="before",
    norm_input=None,
    init="default",
    dropout=0.0,
):
    """A fully connected network: `depth` hidden layers of `width` units, then a linear layer to the classes.

    Parameters
    ----------
    n_in, n_out : int
        Inputs and classes.
    seed : int
        Of the initial weights and of dropout's masks.
    width, depth : int
        Units of a hidden layer; hidden layers.
    activation : str or callable
        One of `ACTIVATIONS`, or a class or function that returns a module.
    norm : None, str or callable
        One of `NORMS`, or a function of the number of features that returns a module, such as ``nn.BatchNorm1d``.
    place : {"before", "after", "after_pool"}
        Of the norm: before or after the activation; without pooling the last is as "after".
    norm_input : as norm
        Of the inputs, as the first layer.
    init : str or callable
        As in `initialize`.
    dropout : float
        After every hidden layer.

    Returns
    -------
    nn.Sequential
        From (B, n_in) to logits (B, n_out). A layer directly before a batch norm has no bias.

    Raises
    ------
    ValueError
        If an argument is unknown or out of range.

    Examples
    --------
    >>> mlp(64, 10, seed=0, norm="batch")(torch.zeros(32, 64)).shape
    torch.Size([32, 10])
    """
    n, n_out, width = whole(n_in, "n_in"), whole(n_out, "n_out"), whole(width, "width")
    one_of(place, PLACES, "place")
    masks = second_generator(seed)
    layers = [make_norm(norm_input, "norm_input", n, images=False)]
    for _ in range(whole(depth, "depth")):
        own = make_norm(norm, "norm", width, images=False)
        drop = Dropout(dropout, generator=masks) if number(dropout, "dropout", at_least=0, below=1) else None
        layers += _hidden(nn.Linear(n, width), own, _make_activation(activation), place, drop)
        n = width
    layers.append(nn.Linear(n, n_out))
    return initialize(nn.Sequential(*(layer for layer in layers if layer is not None)), seed, init)

"""Networks for one seed: ordinary modules of PyTorch, whose inputs are rows of features or pixels.

`utils.lab.replicas` stacks them.
"""

import inspect
import math
import operator
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from utils.arrays import instance, number, one_of, whole

__all__ = ["ACTIVATIONS", "INITS", "NORMS", "PLACES", "RNN", "Dropout", "Transformer", "conv_net", "initialize", "mlp"]

#: Activation functions by name.
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
INITS = {
    "default": lambda weight, generator: nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator),
    "kaiming_normal": lambda weight, generator: nn.init.kaiming_normal_(weight, generator=generator),
    "kaiming_uniform": lambda weight, generator: nn.init.kaiming_uniform_(weight, generator=generator),
    "xavier_normal": lambda weight, generator: nn.init.xavier_normal_(weight, generator=generator),
    "xavier_uniform": lambda weight, generator: nn.init.xavier_uniform_(weight, generator=generator),
    "orthogonal": lambda weight, generator: nn.init.orthogonal_(weight, generator=generator),
    "zeros": lambda weight, generator: nn.init.zeros_(weight),
}
#: Norms by name: from the number of features, or of the channels of images, to a module.
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
    """Dropout whose masks come from a generator of its own.

    Parameters
    ----------
    p : float
        Share of values set to zero, in [0, 1).
    generator : torch.Generator

    Raises
    ------
    ValueError
        If p is out of range.
    """

    def __init__(self, p, *, generator):
        super().__init__()
        self.p, self.generator = number(p, "dropout", at_least=0, below=1), generator

    def forward(self, x):
        """Drop values in training, and scale up the others.

        Parameters
        ----------
        x : Tensor

        Returns
        -------
        Tensor, shape of x
        """
        if not self.training:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * kept.div_(1 - self.p)


def _make_norm(norm, name, channels, *, images):
    """A norm of so many features, or channels of images; None stays None."""
    if norm is None:
        return None
    if not isinstance(norm, Callable):
        return NORMS[one_of(norm, NORMS, name)](channels, images)
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


def initialize(network, seed, init="default"):
    """Draw the weights of all layers, then the biases, so that networks with and without biases start alike.

    Parameters
    ----------
    network : nn.Module
        Its linear layers and convolutions are changed in place.
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


def mlp(
    n_in,
    n_out,
    *,
    seed,
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
    place : {"before", "after"}
        Of the norm: before or after the activation.
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
    masks = torch.Generator().manual_seed(whole(seed, "seed", at_least=0, at_most=2**63 - 1))
    layers = [_make_norm(norm_input, "norm_input", n, images=False)]
    for _ in range(whole(depth, "depth")):
        own = _make_norm(norm, "norm", width, images=False)
        drop = Dropout(dropout, generator=masks) if number(dropout, "dropout", at_least=0, below=1) else None
        layers += _hidden(nn.Linear(n, width), own, _make_activation(activation), place, drop)
        n = width
    layers.append(nn.Linear(n, n_out))
    return initialize(nn.Sequential(*(layer for layer in layers if layer is not None)), seed, init)


def conv_net(
    image_shape,
    n_out,
    *,
    seed,
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
    """A convolutional network: convolutions, max pooling after some of them, then a linear layer to the classes.

    Parameters
    ----------
    image_shape : tuple of three int
        Channels, height and width of the images, which come as rows of C·H·W pixels.
    n_out : int
        Classes.
    channels : sequence of int
        Output channels of each convolution.
    pool_after : sequence of int
        Convolutions (from 1) after which the image is halved by 2×2 max pooling.
    kernel_size : int
        Odd; the image is padded with zeros, so that it keeps its size.
    place : {"before", "after", "after_pool"}
    seed, activation, norm, norm_input, init, dropout
        As in `mlp`.

    Returns
    -------
    nn.Sequential
        From (B, C·H·W) to logits (B, n_out).

    Raises
    ------
    ValueError
        If an argument is unknown or out of range, or the image is too small for so much pooling.

    Examples
    --------
    >>> conv_net((1, 8, 8), 10, seed=0, channels=(8, 16), norm="batch")(torch.zeros(32, 64)).shape
    torch.Size([32, 10])
    """
    try:
        c, height, width = (whole(size, "image_shape") for size in image_shape)
        channels = [whole(size, "channels") for size in channels]
        pooled = {whole(i, "pool_after", at_most=len(channels)) for i in pool_after}
    except TypeError as error:
        raise ValueError(f"image_shape, channels, pool_after: expected sequences of integers, got {error}") from None
    if not channels or min(height, width) < 2 ** len(pooled):
        raise ValueError(
            f"image_shape, channels: expected at least one convolution and {2 ** len(pooled)} pixels per side for "
            f"{len(pooled)} poolings, got {image_shape} and {channels}"
        )
    if whole(kernel_size, "kernel_size") % 2 == 0:
        raise ValueError(f"kernel_size: expected an odd number, got {kernel_size}")
    one_of(place, PLACES, "place")
    masks = torch.Generator().manual_seed(whole(seed, "seed", at_least=0, at_most=2**63 - 1))
    layers = [nn.Unflatten(1, (c, height, width)), _make_norm(norm_input, "norm_input", c, images=True)]
    for i, c_out in enumerate(channels, 1):
        conv = nn.Conv2d(c, c_out, kernel_size, padding=kernel_size // 2)
        pool, own = nn.MaxPool2d(2) if i in pooled else None, _make_norm(norm, "norm", c_out, images=True)
        drop = Dropout(dropout, generator=masks) if number(dropout, "dropout", at_least=0, below=1) else None
        layers += _hidden(conv, own, _make_activation(activation), place, drop, pool)
        c, height, width = c_out, height // (2 if pool else 1), width // (2 if pool else 1)
    layers += [nn.Flatten(), nn.Linear(c * height * width, whole(n_out, "n_out"))]
    return initialize(nn.Sequential(*(layer for layer in layers if layer is not None)), seed, init)


class RNN(nn.Module):
    r"""A recurrent network with tanh, which answers after the last time step.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of a sequence; classes.
    seed : int
    token : int
        Numbers per time step; divides n_in.
    width : int
        Of the hidden state.
    norm : None, "layer" or callable
        Of the summed inputs of the hidden units, with the same parameters at every time step.
    gain : float
        On the recurrent weights at the start, which are orthogonal.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    .. math:: h_t = 	anh(\mathrm{norm}(W_x x_t + W_h h_{t-1} + b)) , \quad h_0 = 0

    Ba, Kiros and Hinton, Layer normalization (2016), equation 4.

    Examples
    --------
    >>> RNN(64, 10, seed=0, token=8)(torch.zeros(5, 64)).shape
    torch.Size([5, 10])
    """

    def __init__(self, n_in, n_out, *, seed, token, width=32, norm=None, gain=1.0):
        super().__init__()
        self.token, gain = _token(token, n_in), number(gain, "gain", above=0)
        self.inputs = nn.Linear(self.token, whole(width, "width"))
        self.recurrent = nn.Linear(width, width, bias=False)  # the bias of the inputs will do
        self.norm = _make_norm(norm, "norm", width, images=False)
        self.head = nn.Linear(width, whole(n_out, "n_out"))

        def draw(weight, generator):
            if weight is self.recurrent.weight:
                nn.init.orthogonal_(weight, gain=gain, generator=generator)
            else:
                nn.init.xavier_normal_(weight, generator=generator)

        initialize(self, seed, draw)

    def states(self, x):
        """The hidden state after every time step.

        Parameters
        ----------
        x : Tensor, shape (B, n_in)

        Returns
        -------
        list of T Tensor, shape (B, width)
        """
        found = []
        for z in self.inputs(x.unflatten(1, (-1, self.token))).unbind(1):
            if found:
                z = z + self.recurrent(found[-1])
            found.append(torch.tanh(z if self.norm is None else self.norm(z)))
        return found

    def forward(self, x):
        """Logits of a batch.

        Parameters
        ----------
        x : Tensor, shape (B, n_in)

        Returns
        -------
        Tensor, shape (B, n_out)
        """
        return self.head(self.states(x)[-1])


def _token(token, n_in):
    """Numbers of a time step, which divide those of a sequence."""
    if whole(n_in, "n_in") % whole(token, "token"):
        raise ValueError(f"token: expected a divisor of the {n_in} numbers of a sequence, got {token}")
    return operator.index(token)


class _Block(nn.Module):
    """One layer of a transformer: attention, then two linear layers with ReLU, each with a skip connection."""

    def __init__(self, width, heads, norm, place):
        super().__init__()
        self.heads, self.place = heads, place
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norms = nn.ModuleList([norm(width) for _ in range(2 if place != "none" else 0)])

    def attend(self, x):
        """Scaled dot products of all tokens of an example: (B, T, width) to the same."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, T, size)
        weights = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1)
        return self.project((weights @ v).transpose(1, 2).flatten(2))

    def forward(self, x):
        for i, branch in enumerate((self.attend, lambda z: self.narrow(torch.relu(self.widen(z))))):
            if self.place == "pre":
                x = x + branch(self.norms[i](x))
            elif self.place == "post":
                x = self.norms[i](x + branch(x))
            else:
                x = x + branch(x)
        return x


class Transformer(nn.Module):
    """A transformer: tokens and their places are embedded, pass `depth` layers, and their mean is classified.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of a sequence; classes.
    seed : int
    token : int
        Numbers of a token.
    width : int
        Of a token inside; divisible by heads.
    depth, heads : int
    norm : callable
        From the number of features to a norm of the last axis, of each token by itself.
    place : {"pre", "post", "none"}
        Before each branch, and once at the end; after each sum of branch and skip connection; or no norm at all.
    init : str
        One of `INITS`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    The layers are those of ``nn.TransformerEncoderLayer`` without dropout, with a hidden layer twice as wide. Vaswani
    and others (2017) have norms "post"; Xiong and others, On layer normalization in the transformer architecture
    (2020), table 1, compare both.

    Examples
    --------
    >>> Transformer(64, 10, seed=0, token=8)(torch.zeros(5, 64)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        n_in,
        n_out,
        *,
        seed,
        token,
        width=16,
        depth=2,
        heads=2,
        norm=nn.LayerNorm,
        place="pre",
        init="xavier_uniform",
    ):
        super().__init__()
        self.token, width = _token(token, n_in), whole(width, "width")
        if width % whole(heads, "heads"):
            raise ValueError(f"heads: expected a divisor of the width, {width}, got {heads}")
        one_of(place, ("pre", "post", "none"), "place")
        if not isinstance(norm, Callable):
            raise ValueError(f"norm: expected a class or function, such as nn.LayerNorm, got {norm!r}")
        self.embed = nn.Linear(self.token, width)
        self.blocks = nn.Sequential(*(_Block(width, heads, norm, place) for _ in range(whole(depth, "depth"))))
        self.last_norm = norm(width) if place == "pre" else nn.Identity()
        self.head = nn.Linear(width, whole(n_out, "n_out"))
        initialize(self, seed, one_of(init, INITS, "init"))
        places = torch.Generator().manual_seed(_own_seed(seed))
        self.places = nn.Parameter(torch.empty(width, n_in // self.token).normal_(std=0.5, generator=places))

    def forward(self, x):
        """Logits of a batch.

        Parameters
        ----------
        x : Tensor, shape (B, n_in)

        Returns
        -------
        Tensor, shape (B, n_out)
        """
        z = self.embed(x.unflatten(1, (-1, self.token))) + self.places.T
        return self.head(self.last_norm(self.blocks(z)).mean(1))


def _own_seed(seed):
    """Another seed, so that places are not drawn with the numbers of the first weights."""
    return int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])

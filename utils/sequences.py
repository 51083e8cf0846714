"""Networks that read their inputs as a sequence: R recurrent networks, or R transformers, that train as one.

The inputs are the rows of `utils.networks`, (R, B, n_in), cut into n_in / token numbers a time step: an image of 8 × 8
pixels with token = 8 is read line by line. They fit `utils.lab.training` as the other networks do.
"""

import itertools

import numpy as np
import torch
from torch import nn

from utils.arrays import instance, number, one_of, whole
from utils.networks import (
    INITS,
    Linear,
    _Checked,
    _is_known,
    _norm,
    _seeds,
    initialize,
    refuse_mixing,
)

__all__ = ["RNN", "Transformer"]


def _own_seed(seed):
    """Another seed, so that places are not drawn with the numbers of the first weights."""
    return int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])


class SequenceNet(nn.Module):
    """What both kinds have in common.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of a sequence; classes.
    seeds : sequence of int, length R
        Of the initialization.
    token : int
        Numbers of a time step; divides n_in.

    Attributes
    ----------
    seeds : tuple of int
    n_in, n_out, token : int

    Raises
    ------
    ValueError
        If an argument is out of range.
    """

    def __init__(self, n_in, n_out, *, seeds, token):
        super().__init__()
        self.seeds = _seeds(seeds)
        self.n_in, self.n_out = whole(n_in, "n_in"), whole(n_out, "n_out")
        if self.n_in % whole(token, "token"):
            raise ValueError(f"token: expected a divisor of the {n_in} numbers of a sequence, got {token}")
        self.token = int(token)

    @property
    def replicas(self):
        """R."""
        return len(self.seeds)

    def _tokens(self, x):
        """Rows (R, B, n_in) as (R, token, T · B): time is the slower axis."""
        if (
            instance(x, torch.Tensor, "x", what="a Tensor").dim() != 3
            or x.shape[0] != self.replicas
            or x.shape[2] != self.n_in
        ):
            raise ValueError(f"x: expected shape ({self.replicas}, B, {self.n_in}), got {tuple(x.shape)}")
        return x.unflatten(2, (-1, self.token)).permute(0, 3, 2, 1).flatten(2)

    def _check_norms(self, given, build):
        """Refuse a norm that nobody has tested if it mixes the replicas."""
        own = (Linear, SequenceNet, _Block, nn.ModuleList)
        tested = all(_is_known(module) or isinstance(module, own) for module in self.modules())
        if not tested and not isinstance(given, _Checked):
            refuse_mixing(build)

    def _draw(self, init_weight, *, default_bias):
        layers = [layer for layer in self.modules() if isinstance(layer, Linear)]
        initialize(layers, self.seeds, init_weight, default_bias=default_bias)


class RNN(SequenceNet):
    r"""Recurrent networks with tanh, which answer after the last time step.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of a sequence; classes.
    seeds : sequence of int, length R
    token : int
        Numbers of a time step.
    width : int
        Of the hidden state.
    norm : {None, "layer"} or callable
        Of the summed inputs of the hidden units, with the same parameters at every time step. A callable gets the
        numbers of replicas and of units.
    gain : float
        On the recurrent weights at the start, which are orthogonal.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    .. math:: h_t = \tanh(\mathrm{norm}(W_x x_t + W_h h_{t-1} + b)) , \quad h_0 = 0

    Ba, Kiros and Hinton, Layer normalization (2016), equation 4.

    Examples
    --------
    >>> RNN(64, 10, seeds=range(4), token=8)(torch.zeros(4, 5, 64)).shape
    torch.Size([4, 5, 10])
    """

    def __init__(self, n_in, n_out, *, seeds, token, width=32, norm=None, gain=1.0):
        super().__init__(n_in, n_out, seeds=seeds, token=token)
        given, norm = norm, _norm(norm, "norm")
        replicas, width = self.replicas, whole(width, "width")
        gain = number(gain, "gain", above=0)
        self.inputs = Linear(replicas, self.token, width)
        self.recurrent = Linear(replicas, width, width)
        self.recurrent.bias = None  # that of the inputs will do
        self.norm = None if norm is None else norm(replicas, width)
        self.head = Linear(replicas, width, self.n_out)

        recurrent = itertools.cycle((False, True, False))  # the shape does not tell: others may be square, too

        def draw(weight, generator):
            if next(recurrent):
                nn.init.orthogonal_(weight, gain=gain, generator=generator)
            else:
                nn.init.xavier_normal_(weight, generator=generator)

        self._draw(draw, default_bias=False)
        self._check_norms(given, lambda seeds: RNN(n_in, n_out, seeds=seeds, token=token, width=width, norm=norm))

    def states(self, x):
        """The hidden state after every time step.

        Parameters
        ----------
        x : Tensor, shape (R, B, n_in)

        Returns
        -------
        list of T Tensor, shape (R, width, B)

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        summed = self.inputs(self._tokens(x)).split(x.shape[1], dim=2)  # all time steps at once
        found, weight = [], self.recurrent.weight
        for z in summed:
            if found:
                z = torch.baddbmm(z, weight, found[-1])
            found.append(torch.tanh(z if self.norm is None else self.norm(z)))
        return found

    def forward(self, x):
        """Logits of all replicas, each on its own examples.

        Parameters
        ----------
        x : Tensor, shape (R, B, n_in)

        Returns
        -------
        Tensor, shape (R, B, n_out)

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        return self.head(self.states(x)[-1]).transpose(1, 2)


class _Block(nn.Module):
    """One layer of a transformer: attention, then two linear layers with ReLU, each with a skip connection."""

    def __init__(self, replicas, width, heads, norm, place):
        super().__init__()
        self.heads, self.place = heads, place
        self.qkv, self.project = Linear(replicas, width, 3 * width), Linear(replicas, width, width)
        self.widen, self.narrow = Linear(replicas, width, 2 * width), Linear(replicas, 2 * width, width)
        self.norms = nn.ModuleList([norm(replicas, width) for _ in range(2 if place != "none" else 0)])

    def attend(self, x, length):
        """Scaled dot products of all tokens of an example: (R, width, T · B) to the same.

        Products of all pairs of tokens are written out: no transposition is needed, and sequences are short.
        """
        replicas, width, _ = x.shape
        q, k, v = self.qkv(x).view(replicas, 3, self.heads, width // self.heads, length, -1).unbind(1)
        scores = (q.unsqueeze(4) * k.unsqueeze(3)).sum(2) * (width // self.heads) ** -0.5  # (R, heads, T, T, B)
        mixed = (torch.softmax(scores, 3).unsqueeze(2) * v.unsqueeze(3)).sum(4)
        return self.project(mixed.reshape(x.shape))

    def forward(self, x, length):
        branches = (lambda z: self.attend(z, length), lambda z: self.narrow(torch.relu(self.widen(z))))
        for i, branch in enumerate(branches):
            if self.place == "pre":
                x = x + branch(self.norms[i](x))
            elif self.place == "post":
                x = self.norms[i](x + branch(x))
            else:
                x = x + branch(x)
        return x


class Transformer(SequenceNet):
    """Transformers: tokens and their places are embedded, pass `depth` layers, and their mean is classified.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of a sequence; classes.
    seeds : sequence of int, length R
    token : int
        Numbers of a token.
    width : int
        Of a token inside; divisible by heads.
    depth, heads : int
    norm : {"layer"} or callable
        Of each token by itself. A callable gets the numbers of replicas and of features.
    place : {"pre", "post", "none"}
        Before each branch, and once at the end; after each sum of branch and skip connection; or no norm at all.
    init : str
        How weights begin, one of `utils.networks.INITS`.

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
    >>> Transformer(64, 10, seeds=range(4), token=8)(torch.zeros(4, 5, 64)).shape
    torch.Size([4, 5, 10])
    """

    def __init__(
        self, n_in, n_out, *, seeds, token, width=16, depth=2, heads=2, norm="layer", place="pre", init="xavier_uniform"
    ):
        super().__init__(n_in, n_out, seeds=seeds, token=token)
        given, norm = norm, _norm(norm, "norm")
        replicas, width = self.replicas, whole(width, "width")
        if width % whole(heads, "heads"):
            raise ValueError(f"heads: expected a divisor of the width, {width}, got {heads}")
        if one_of(place, ("pre", "post", "none"), "place") != "none" and norm is None:
            raise ValueError(f"norm: expected a name or a callable with place {place!r}, got None; or use place='none'")
        self.embed = Linear(replicas, self.token, width)
        self.blocks = nn.ModuleList([_Block(replicas, width, heads, norm, place) for _ in range(whole(depth, "depth"))])
        self.last_norm = norm(replicas, width) if place == "pre" else None
        self.head = Linear(replicas, width, self.n_out)
        self._draw(INITS[one_of(init, INITS, "init")], default_bias=False)
        self.places = nn.Parameter(torch.empty(replicas, width, self.n_in // self.token))
        with torch.no_grad():
            for place_of, seed in zip(self.places, self.seeds, strict=True):
                place_of.normal_(std=0.5, generator=torch.Generator().manual_seed(_own_seed(seed)))
        how = {"token": token, "width": width, "depth": depth, "heads": heads, "norm": norm, "place": place}
        self._check_norms(given, lambda seeds: Transformer(n_in, n_out, seeds=seeds, **how))

    def forward(self, x):
        """Logits of all replicas, each on its own examples.

        Parameters
        ----------
        x : Tensor, shape (R, B, n_in)

        Returns
        -------
        Tensor, shape (R, B, n_out)

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        length = self.n_in // self.token
        z = self.embed(self._tokens(x))
        z = (z.unflatten(2, (length, -1)) + self.places[..., None]).flatten(2)
        for block in self.blocks:
            z = block(z, length)
        if self.last_norm is not None:
            z = self.last_norm(z)
        return self.head(z.unflatten(2, (length, -1)).mean(2)).transpose(1, 2)

"""Networks for one seed that read their inputs as a sequence: a recurrent network and a transformer.

The inputs are rows of numbers, cut into n_in / token numbers per time step: an image of 8 × 8 pixels with token = 8 is
read line by line. `utils.lab.replicas` stacks them as other networks.
"""

from collections.abc import Callable

import torch
from torch import nn

from utils.arrays import number, one_of, whole
from utils.lab.networks import INITS, by_its_seed, initialize, make_norm, second_generator

__all__ = ["RNN", "Transformer"]


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
    .. math:: h_t = \tanh(\mathrm{norm}(W_x x_t + W_h h_{t-1} + b)) , \quad h_0 = 0

    Ba, Kiros and Hinton, Layer normalization (2016), equation 4.
    """

    @by_its_seed
    def __init__(self, n_in, n_out, seed, *, token, width=32, norm=None, gain=1.0):
        super().__init__()
        self.token, width, gain = _token(token, n_in), whole(width, "width"), number(gain, "gain", above=0)
        self.inputs = nn.Linear(self.token, width)
        self.recurrent = nn.Linear(width, width, bias=False)  # the bias of the inputs will do
        self.norm = make_norm(norm, "norm", width, images=False)
        self.activation = nn.Tanh()
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
            found.append(self.activation(z if self.norm is None else self.norm(z)))
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
    if whole(n_in, "n_in") % (token := whole(token, "token")):
        raise ValueError(f"token: expected a divisor of the {n_in} numbers of a sequence, got {token}")
    return token


class _Block(nn.Module):
    """One layer of a transformer: attention, then two linear layers with ReLU, each with a skip connection."""

    def __init__(self, width, heads, norm, place):
        super().__init__()
        self.heads, self.place = heads, place
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.activation = nn.ReLU()
        self.norms = nn.ModuleList([norm(width) for _ in range(2 if place != "none" else 0)])

    def attend(self, x):
        """Scaled dot products of all tokens of an example: (B, T, width) to the same."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, T, size)
        weights = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1)
        return self.project((weights @ v).transpose(1, 2).flatten(2))

    def forward(self, x):
        for i, branch in enumerate((self.attend, lambda z: self.narrow(self.activation(self.widen(z))))):
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
    n_in, n_out, seed, token
        As in `RNN`.
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

    @by_its_seed
    def __init__(
        self,
        n_in,
        n_out,
        seed,
        *,
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
        if place != "none" and (isinstance(norm, nn.Module) or not isinstance(norm, Callable)):
            raise ValueError(
                f"norm: expected a class or function, such as nn.LayerNorm, got {norm!r}; for no norm use place='none'"
            )
        self.embed = nn.Linear(self.token, width)
        self.blocks = nn.Sequential(*(_Block(width, heads, norm, place) for _ in range(whole(depth, "depth"))))
        self.last_norm = norm(width) if place == "pre" else nn.Identity()
        self.head = nn.Linear(width, whole(n_out, "n_out"))
        initialize(self, seed, one_of(init, INITS, "init"))
        places = torch.empty(width, n_in // self.token)
        self.places = nn.Parameter(places.normal_(std=0.5, generator=second_generator(seed)))

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

"""Where training starts: fans, gains, and the initial weights that carry Glorot's and He's names.

Shapes are PyTorch's: (out, in) of a linear layer, (out, in, height, width) of a convolution. Randomness is an argument:
``rng`` is a seed or a ``numpy.random.Generator``. Biases are another matter: zero everywhere here.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np

from utils.arrays import float_array, generator, instance, matrix, number, one_of

__all__ = [
    "fans",
    "gain",
    "kaiming_normal",
    "kaiming_uniform",
    "lsuv",
    "normal",
    "pytorch_default",
    "xavier_normal",
    "xavier_uniform",
]

_GAINS = {"linear": 1.0, "conv": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def _sizes(shape):
    """The shape as a tuple of integers, at least two of them."""
    try:
        sizes = tuple(shape)
    except TypeError:
        sizes = ()
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n > 0 for n in sizes)
    if len(sizes) < 2 or not whole:
        raise ValueError(f"shape: expected (out, in) or (out, in, *kernel), positive integers, got {shape!r}")
    return tuple(int(n) for n in sizes)


def _normal(shape, std, rng):
    return std * generator(rng, "rng").standard_normal(_sizes(shape))


def _uniform(shape, std, rng):
    """Uniform numbers of this standard deviation: the bound is √3 times it."""
    bound = math.sqrt(3) * std
    return generator(rng, "rng").uniform(-bound, bound, _sizes(shape))


def fans(shape):
    """How many numbers go into one unit, and to how many units one number goes.

    Parameters
    ----------
    shape : sequence of int
        (out, in) or (out, in, *kernel).

    Returns
    -------
    fan_in, fan_out : int
        in · kernel and out · kernel, where kernel is the number of its pixels: 144 and 288 for (32, 16, 3, 3).

    Raises
    ------
    ValueError
        If there are fewer than two sizes, or one is not a positive integer.
    """
    out, into, *kernel = _sizes(shape)
    return into * math.prod(kernel), out * math.prod(kernel)


def gain(nonlinearity, param=None):
    """Factor on the standard deviation that makes up for an activation, as ``torch.nn.init.calculate_gain``.

    Parameters
    ----------
    nonlinearity : {"linear", "conv", "sigmoid", "tanh", "relu", "leaky_relu", "selu"}
    param : float, optional
        Negative slope a of leaky ReLU; 0.01 by default.

    Returns
    -------
    float
        √2 for ReLU and √(2 / (1 + a²)) for leaky ReLU keep the second moment (He et al., 2015). The others are
        conventions.

    Raises
    ------
    ValueError
        For an unknown name, a param where there is none, or one that is not a finite number.
    """
    if one_of(nonlinearity, [*_GAINS, "leaky_relu"], "nonlinearity") == "leaky_relu":
        return math.sqrt(2 / (1 + number(0.01 if param is None else param, "param") ** 2))
    if param is not None:
        raise ValueError(f"param: expected none for {nonlinearity}, got {param!r}; only leaky_relu has one")
    return _GAINS[nonlinearity]


def normal(shape, *, std, rng):
    """Normal numbers of one standard deviation, whatever the fans.

    Parameters
    ----------
    shape : sequence of int
    std : float
    rng : int or numpy.random.Generator

    Returns
    -------
    ndarray of this shape, float64
    """
    return _normal(shape, number(std, "std", at_least=0), rng)


def _xavier_std(shape, gain):
    return number(gain, "gain", at_least=0) * math.sqrt(2 / sum(fans(shape)))


def xavier_normal(shape, *, rng, gain=1.0):
    """Normal numbers of variance 2 gain² / (fan_in + fan_out): Glorot and Bengio (2010).

    Parameters
    ----------
    shape, rng
        As in `normal`.
    gain : float
        See the function of this name.

    Returns
    -------
    ndarray of this shape, float64
    """
    return _normal(shape, _xavier_std(shape, gain), rng)


def xavier_uniform(shape, *, rng, gain=1.0):
    """Uniform numbers of variance 2 gain² / (fan_in + fan_out): Glorot and Bengio (2010), equation 16.

    Parameters
    ----------
    shape, rng, gain
        As in `xavier_normal`.

    Returns
    -------
    ndarray of this shape, float64
    """
    return _uniform(shape, _xavier_std(shape, gain), rng)


def _kaiming_std(shape, mode, a):
    fan_in, fan_out = fans(shape)
    fan = fan_out if one_of(mode, ("fan_in", "fan_out"), "mode") == "fan_out" else fan_in
    return gain("leaky_relu", number(a, "a")) / math.sqrt(fan)


def kaiming_normal(shape, *, rng, mode="fan_in", a=0.0):
    """Normal numbers of variance 2 / ((1 + a²) fan): He, Zhang, Ren and Sun (2015).

    Parameters
    ----------
    shape, rng
        As in `normal`.
    mode : {"fan_in", "fan_out"}
        Keep the second moment of the signal on its way forward, or of the gradient on its way back.
    a : float
        Negative slope of the activation: 0 for ReLU, 1 for a linear layer.

    Returns
    -------
    ndarray of this shape, float64

    Raises
    ------
    ValueError
        For another mode, or a slope that is not a finite number.
    """
    return _normal(shape, _kaiming_std(shape, mode, a), rng)


def kaiming_uniform(shape, *, rng, mode="fan_in", a=0.0):
    """Uniform numbers of variance 2 / ((1 + a²) fan): He, Zhang, Ren and Sun (2015).

    Parameters
    ----------
    shape, rng, mode, a
        As in `kaiming_normal`.

    Returns
    -------
    ndarray of this shape, float64
    """
    return _uniform(shape, _kaiming_std(shape, mode, a), rng)


def pytorch_default(shape, *, rng):
    """PyTorch's weights of linear layers and convolutions: uniform within ±1 / √fan_in, variance 1 / (3 fan_in).

    Parameters
    ----------
    shape, rng
        As in `kaiming_normal`.

    Returns
    -------
    ndarray of this shape, float64
        ``nn.Linear`` calls ``kaiming_uniform_`` with the slope √5, for which 2 / (1 + a²) is 1/3. Its biases are drawn
        from the same interval.
    """
    return kaiming_uniform(shape, rng=rng, a=math.sqrt(5))


def lsuv(weights, activation, X):
    """Rescale the weights of dense layers, one after another, so that each gives numbers of variance one on data.

    Parameters
    ----------
    weights : sequence of ndarray, shapes (out, in), float
        In the order of the layers; orthogonal in the paper.
    activation : callable
        Between the layers, each value by itself.
    X : array_like, shape (n, d), float
        A batch of examples.

    Returns
    -------
    list of ndarray
        New arrays. The variance is that of all outputs of a layer before its activation, over units and examples;
        without biases it goes with the square of the weights, so that the paper's loop ends after its first round.

    Raises
    ------
    ValueError
        If shapes do not fit, or a layer gives the same number everywhere, which no factor can mend.

    Notes
    -----
    Layer-sequential unit variance, Mishkin and Matas (2016), algorithm 1.
    """
    signal, scaled = matrix(X, "X"), []
    instance(weights, Iterable, "weights", what="a sequence of arrays")
    instance(activation, Callable, "activation", what="a function")
    for i, weight in enumerate(weights):
        weight = float_array(weight, f"weights[{i}]")
        if weight.ndim != 2 or weight.shape[1] != signal.shape[1]:
            raise ValueError(f"weights[{i}]: expected shape (out, {signal.shape[1]}), got {weight.shape}")
        z = signal @ weight.T
        std = float(z.std())
        if not (np.isfinite(std) and std > 0):
            raise ValueError(
                f"weights[{i}]: expected outputs that differ, got a standard deviation of {std}; "
                "the layer before puts out nothing, or the weights are zero"
            )
        scaled.append(weight / std)
        signal = np.asarray(activation(z / std))
    return scaled

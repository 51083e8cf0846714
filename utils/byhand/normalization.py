r"""Batch normalization and its relatives in NumPy: one forward, one backward, over any axes.

The choice of axes makes the method: statistics over (0,) or (0, 2, 3) are batch normalization, over (1,) layer
normalization, over (2, 3) instance normalization. Derived in notebook 03.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from utils.arrays import by_identity, float_array, instance, number, numeric, whole

__all__ = ["BatchNorm", "Cache", "normalize_backward", "normalize_forward"]


@by_identity
class Cache(NamedTuple):
    """What the backward pass needs to know of the forward pass.

    Parameters
    ----------
    x_hat : ndarray, shape of x
        The normalized values, in x's precision (float32 for float16).
    inv_std : ndarray, shape of x with 1 in the reduced axes, float64
        One over the square root of variance plus eps.
    mean, var : ndarray, shape of inv_std, float64
        Mean and biased variance.
    gamma : ndarray or None
        As given, float64.
    beta_shape : tuple or None
        Shape of beta as given.
    axes : tuple of int
    dtype : numpy.dtype
        Of x.
    """

    x_hat: np.ndarray
    inv_std: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    gamma: np.ndarray | None
    beta_shape: tuple | None
    axes: tuple
    dtype: np.dtype


_TERMS = 4096  # added up in x's own precision before float64 takes over
_BLOCK = 2**17  # numbers that stay in the cache from one operation to the next: half a megabyte in float32
_BUFFER = 512  # numbers; see `_shorten_buffer`


@lru_cache  # every step of training asks for the same, and for small arrays the answer takes as long as the sum
def _plan(shape, axes):
    """For sums over axes: all axes, those kept, the shape with 1 in the others, blocks of at most `_TERMS` terms."""
    every = list(range(len(shape)))
    kept = [axis for axis in every if axis not in axes]
    thin = [1 if axis in axes else n for axis, n in enumerate(shape)]
    terms = math.prod(shape[axis] for axis in axes)
    if terms <= _TERMS:
        return every, kept, thin, [...]
    longest = max(axes, key=lambda axis: shape[axis])
    rows = max(1, _TERMS * shape[longest] // terms)
    before = (slice(None),) * longest
    return every, kept, thin, [(*before, slice(first, first + rows)) for first in range(0, shape[longest], rows)]


def _sum(axes, a, b=None):
    """Sum of a, or of a * b, over axes, which stay with length 1; float64, and no array of the size of a is made."""
    every, kept, thin, blocks = _plan(a.shape, axes)
    if b is None:
        parts = [np.einsum(a[rows], every, kept) for rows in blocks]
    else:
        parts = [np.einsum(a[rows], every, b[rows], every, kept) for rows in blocks]
    total = parts[0].astype(np.float64) if len(parts) == 1 else np.sum(parts, axis=0, dtype=np.float64)
    return total.reshape(thin)


def _in_cache(a, *others):
    """Parts of a along its first axis, each with what belongs to it of the others; None stays None.

    All operations on one part, and then all on the next, take less time than each operation on all of a: memory is
    slower than arithmetic. To copy a part and change the copy is as fast as to write the result elsewhere, or faster.
    """

    def cut(b, part):
        return b if b is None or b.ndim < a.ndim or len(b) == 1 else b[part]

    rows = max(1, _BLOCK * len(a) // a.size)
    if rows >= len(a):
        return [(a, *others)]
    parts = [slice(first, first + rows) for first in range(0, len(a), rows)]
    return [[cut(b, part) for b in (a, *others)] for part in parts]


def _shorten_buffer(shape, axes):
    """Spare NumPy needless copies of statistics that broadcast; the end of `np.errstate` puts the old buffer back.

    NumPy copies the operands of rows shorter than its buffer, 8192 numbers, into it (numpy#17471), which takes as long
    as the arithmetic. Longer rows it reads where they are. For rows shorter than 512 many small copies are even slower.
    """
    last, row = len(shape) - 1, 1
    for axis in range(last, -1, -1):  # a row is C numbers for (N, C) and H * W for (N, C, H, W)
        if row >= _BUFFER or (axis in axes) != (last in axes):
            break
        row *= shape[axis]
    if row >= _BUFFER:
        np.setbufsize(_BUFFER)


def _broadcast_axes(shape, x):
    """The axes of x along which a parameter of this shape is repeated."""
    padded = (1,) * (x.ndim - len(shape)) + tuple(shape)
    return tuple(axis for axis, n in enumerate(padded) if n == 1)


def _parameter(value, name, x):
    """A parameter as float64, checked to broadcast against x."""
    if value is None:
        return None
    value = float_array(value, name, finite=False).astype(np.float64)
    try:
        fits = np.broadcast(value, x).shape == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: expected a shape that broadcasts against x, {x.shape}, got {value.shape}")
    return value


def _checked(x, axes, eps):
    """What all forward passes ask of x, of the axes and of eps; the axes come ascending and from 0 on."""
    x = float_array(x, "x", finite=False)
    if x.size == 0 or x.ndim == 0:
        raise ValueError(f"x: expected an array with at least one element, got shape {x.shape}")
    listed = axes if isinstance(axes, tuple | list) else (axes,)
    found = tuple(sorted({whole(a, "axes", at_least=-x.ndim, at_most=x.ndim - 1) % x.ndim for a in listed}))
    if not found or len(found) < len(listed):
        raise ValueError(f"axes: expected at least one axis, and each once, got {axes}")
    return x, found, number(eps, "eps", at_least=0)


def normalize_forward(x, gamma=None, beta=None, *, axes, eps=1e-5):
    r"""Normalize over axes, then scale and shift.

    Parameters
    ----------
    x : array_like, float16, float32 or float64
    gamma, beta : array_like, broadcastable to x, optional
        Scale and shift; for images with statistics per channel of shape (C, 1, 1). One and zero if not given.
    axes : int or tuple of int
        Over which mean and variance are taken: (0,) for batch norm of (N, C), (0, 2, 3) for that of (N, C, H, W), (1,)
        for layer norm, (2, 3) for instance norm.
    eps : float
        Added to the variance; at least 0.

    Returns
    -------
    y : ndarray, shape and dtype of x
    cache : Cache
        For `normalize_backward`.

    Raises
    ------
    ValueError
        If x is not an array of floats or has no elements, axes are not axes of x, eps is negative, or gamma or beta do
        not broadcast. NaN and infinity are let through: training code must be able to see divergence.

    Notes
    -----
    .. math:: \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \quad y = \gamma \hat x + \beta, \quad
              \sigma^2 = \tfrac1m \textstyle\sum (x - \mu)^2

    Ioffe and Szegedy (2015), algorithm 1, with the biased variance. The variance is taken of the centred values (two
    passes), and the mean is corrected by what its own rounding left in them.

    Examples
    --------
    >>> y, cache = normalize_forward([[2.0], [2.0], [6.0], [6.0]], axes=0, eps=0.0)
    >>> y.ravel()
    array([-1., -1.,  1.,  1.])
    """
    x, axes, eps = _checked(x, axes, eps)
    gamma, beta = _parameter(gamma, "gamma", x), _parameter(beta, "beta", x)
    work = x.astype(np.float32) if x.dtype == np.float16 else x
    m = math.prod(x.shape[axis] for axis in axes)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        _shorten_buffer(x.shape, axes)
        rough = (_sum(axes, work) / m).astype(work.dtype)
        x_hat, mean, var = np.empty_like(work), rough.astype(np.float64), np.zeros(rough.shape)
        for out, part, centre, squares in _in_cache(x_hat, work, rough, var):
            out[...] = part
            out -= centre
            squares += _sum(axes, out, out)
        var /= m
        if (mean**2 > var).any():  # the rounding of a large mean can be seen: take it out
            left = np.where(np.isfinite(mean), _sum(axes, x_hat) / m, 0)  # an infinite mean stays infinite
            x_hat -= left.astype(work.dtype)
            mean, var = mean + left, np.maximum(var - left**2, 0)
        inv_std = 1 / np.sqrt(var + eps)
        y, small = np.empty_like(x_hat), [None if a is None else a.astype(work.dtype) for a in (inv_std, gamma, beta)]
        for part, out, factor, scale, shift in _in_cache(x_hat, y, *small):
            part *= factor
            out[...] = part
            if scale is not None:
                out *= scale
            if shift is not None:
                out += shift
        y = y.astype(x.dtype, copy=False)
    shape = None if beta is None else beta.shape
    return y, Cache(x_hat, inv_std, mean, var, gamma, shape, axes, x.dtype)


def normalize_backward(dy, cache):
    r"""Gradients of a loss with respect to x, gamma and beta.

    Parameters
    ----------
    dy : array_like, shape of x, float
        Gradient with respect to y.
    cache : Cache
        From `normalize_forward`.

    Returns
    -------
    dx : ndarray, shape of x, dtype of x
    dgamma, dbeta : ndarray or None, shapes of gamma and beta, float64

    Raises
    ------
    ValueError
        If dy is not an array of floats of x's shape.

    Notes
    -----
    .. math:: \frac{\partial L}{\partial x} = \frac{1}{\sqrt{\sigma^2 + \epsilon}} \left( g - \overline{g}
              - \hat x\, \overline{g \hat x} \right), \quad g = \gamma \frac{\partial L}{\partial y}

    with averages over the normalized axes: the part of the gradient along the constant vector and the part along
    x_hat are taken away. One array of the size of x is made; a second one where gamma varies within the axes.
    """
    dy = float_array(dy, "dy", finite=False)
    instance(cache, Cache, "cache")
    x_hat, inv_std, axes, gamma = cache.x_hat, cache.inv_std, cache.axes, cache.gamma
    if dy.shape != x_hat.shape:
        raise ValueError(f"dy: expected the shape of x, {x_hat.shape}, got {dy.shape}")
    m = math.prod(dy.shape[axis] for axis in axes)
    with np.errstate(invalid="ignore", over="ignore"):
        dy = dy.astype(x_hat.dtype, copy=False)
        # Sums for gamma and beta; for batch norm these are the very sums that dx needs.
        over_gamma = axes if gamma is None else _broadcast_axes(gamma.shape, dy)
        over_beta = axes if cache.beta_shape is None else _broadcast_axes(cache.beta_shape, dy)
        for_gamma, for_beta = _sum(over_gamma, dy, x_hat), _sum(over_beta, dy)
        dgamma = None if gamma is None else for_gamma.reshape(gamma.shape)
        dbeta = None if cache.beta_shape is None else for_beta.reshape(cache.beta_shape)
        g, scale = dy, 1.0 if gamma is None else gamma
        if not set(axes) <= set(over_gamma):  # gamma varies within the axes, as in layer norm
            g, scale = dy * gamma.astype(dy.dtype), 1.0
        factor = (scale * inv_std).astype(dy.dtype)
        if not axes:  # evaluation: the statistics do not depend on x
            return (g * factor).astype(cache.dtype, copy=False), dgamma, dbeta
        if over_gamma == over_beta == axes:
            along_x_hat, along_ones = for_gamma / m, for_beta / m
        else:
            along_x_hat, along_ones = _sum(axes, g, x_hat) / m, _sum(axes, g) / m
        _shorten_buffer(dy.shape, axes)
        dx, small = np.empty_like(x_hat), [a.astype(dy.dtype) for a in (along_x_hat, along_ones)]
        for out, part, part_g, slope, mean_g, scale in _in_cache(dx, x_hat, g, *small, factor):
            out[...] = part
            out *= slope
            np.subtract(part_g, out, out=out)
            out -= mean_g
            out *= scale
        return dx.astype(cache.dtype, copy=False), dgamma, dbeta


class BatchNorm:
    r"""Batch normalization with running statistics, as ``torch.nn.BatchNorm1d``, ``2d`` and ``3d``, in NumPy.

    Parameters
    ----------
    num_features : int
        C, of inputs (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W).
    eps : float
        Added to the variance, positive.
    momentum : float or None
        Weight of the *new* batch in the running statistics; None for the average over all batches so far.
    affine : bool
        Learn gamma and beta.
    track_running_stats : bool
        Keep running statistics for evaluation; without them evaluation uses the batch too.

    Attributes
    ----------
    gamma, beta : ndarray, shape (C,), float64, or None
        ``weight`` and ``bias`` of PyTorch.
    grad_gamma, grad_beta : ndarray, shape (C,), float64, or None
        Of the last backward pass; overwritten, not added up.
    running_mean, running_var : ndarray, shape (C,), float64, or None
        The variance is the unbiased one, as in PyTorch.
    num_batches_tracked : int or None
    training : bool

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Ioffe and Szegedy (2015), algorithms 1 and 2. The batch is normalized with the biased variance; the running
    variance takes the unbiased one. :math:`r \leftarrow (1 - p)\, r + p\, \mu` with p = momentum: the papers and the
    lectures write p for the weight of the *old* value.

    Examples
    --------
    >>> import numpy as np
    >>> bn = BatchNorm(1, eps=1e-12)
    >>> bn.forward(np.array([[2.0], [2.0], [6.0], [6.0]])).ravel().round(6)
    array([-1., -1.,  1.,  1.])
    >>> bn.backward(np.array([[1.0], [0.0], [0.0], [0.0]])).ravel().round(6) + 0.0
    array([ 0.25, -0.25,  0.  ,  0.  ])
    """

    def __init__(self, num_features, *, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        self.num_features = num_features = whole(num_features, "num_features")
        self.eps = number(eps, "eps", above=0, hint="; use 1e-12 where none is meant")
        self.momentum = None
        if momentum is not None:
            hint = "; None averages over all batches"
            self.momentum = number(momentum, "momentum", at_least=0, at_most=1, hint=hint)
        self.affine, self.track_running_stats, self.training = affine, track_running_stats, True
        self.gamma, self.beta = (np.ones(num_features), np.zeros(num_features)) if affine else (None, None)
        self.grad_gamma = self.grad_beta = None
        self.running_mean, self.running_var, self.num_batches_tracked = None, None, None
        if track_running_stats:
            self.running_mean, self.running_var = np.zeros(num_features), np.ones(num_features)
            self.num_batches_tracked = 0
        self._cache = None

    def train(self, mode=True):
        """Use the statistics of the batch, and update the running ones.

        Parameters
        ----------
        mode : bool
            False for evaluation.

        Returns
        -------
        BatchNorm
            Itself.
        """
        self.training = bool(mode)
        return self

    def eval(self):
        """Use the running statistics, and leave them alone.

        Returns
        -------
        BatchNorm
            Itself.
        """
        return self.train(False)

    def _columns(self, values, x):
        """Values of shape (C,) as (1, C, 1, ...), to broadcast against x."""
        return None if values is None else values.reshape(1, -1, *[1] * (x.ndim - 2))

    def _check(self, x):
        x = float_array(x, "x", finite=False)
        if not 2 <= x.ndim <= 5 or x.shape[1] != self.num_features:
            raise ValueError(
                f"x: expected shape (N, {self.num_features}) or (N, {self.num_features}, ...) with at most three axes "
                f"for the place, got {x.shape}"
            )
        return x

    def forward(self, x):
        """Normalize a batch.

        Parameters
        ----------
        x : array_like, shape (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), float

        Returns
        -------
        ndarray, shape and dtype of x

        Raises
        ------
        ValueError
            If the shape does not fit, x is not an array of floats, or each feature has only one value in training.
        """
        x = self._check(x)
        gamma, beta = self._columns(self.gamma, x), self._columns(self.beta, x)
        if not self.training and self.track_running_stats:
            return self._forward_eval(x, gamma, beta)
        m = x.size // self.num_features
        if m < 2:
            raise ValueError(
                f"x: expected more than one value for each feature in training, got {m} (shape {x.shape}): "
                "the variance of one number is zero, and nothing would be left of it; use a larger batch, or eval()"
            )
        axes = (0, *range(2, x.ndim))
        y, self._cache = normalize_forward(x, gamma, beta, axes=axes, eps=self.eps)
        if self.training and self.track_running_stats:
            self._track(self._cache.mean.reshape(-1), self._cache.var.reshape(-1) * m / (m - 1))
        return y

    def _track(self, mean, unbiased_var):
        """Move the running statistics towards those of a batch."""
        self.num_batches_tracked += 1
        p = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        with np.errstate(invalid="ignore", over="ignore"):
            self.running_mean = (1 - p) * self.running_mean + p * mean
            self.running_var = (1 - p) * self.running_var + p * unbiased_var

    def _forward_eval(self, x, gamma, beta):
        """Normalize with the running statistics: one straight line for each feature."""
        work = x.astype(np.float32) if x.dtype == np.float16 else x
        mean, var = self._columns(self.running_mean, x), self._columns(self.running_var, x)
        with np.errstate(invalid="ignore", over="ignore"):
            inv_std = 1 / np.sqrt(var + self.eps)
            x_hat = (work - mean.astype(work.dtype)) * inv_std.astype(work.dtype)
            y = x_hat.copy() if gamma is None else x_hat * gamma.astype(work.dtype) + beta.astype(work.dtype)
            y = y.astype(x.dtype, copy=False)
        shape = None if beta is None else beta.shape
        self._cache = Cache(x_hat, inv_std, mean, var, gamma, shape, (), x.dtype)
        return y

    def backward(self, dy):
        """Gradient of a loss with respect to the last input; sets grad_gamma and grad_beta.

        Parameters
        ----------
        dy : array_like, shape of the last x, float

        Returns
        -------
        ndarray, shape and dtype of the last x

        Raises
        ------
        ValueError
            Before forward, or if dy has another shape.
        """
        if self._cache is None:
            raise ValueError("backward: expected forward(x) before backward(dy), got backward first")
        dx, dgamma, dbeta = normalize_backward(dy, self._cache)
        if self.affine:
            self.grad_gamma, self.grad_beta = dgamma.reshape(-1), dbeta.reshape(-1)
        return dx

    def state_dict(self):
        """Parameters and running statistics, with the keys of PyTorch.

        Returns
        -------
        dict of str to ndarray
            Copies: weight, bias, running_mean, running_var (each of shape (C,), float64) and num_batches_tracked
            (shape (), int64), as far as there are any.
        """
        state = {"weight": self.gamma, "bias": self.beta} if self.affine else {}
        if self.track_running_stats:
            state |= {"running_mean": self.running_mean, "running_var": self.running_var}
            state["num_batches_tracked"] = np.asarray(self.num_batches_tracked, dtype=np.int64)
        return {key: np.array(value) for key, value in state.items()}

    def load_state_dict(self, state):
        """Take over parameters and running statistics, from here or from PyTorch.

        Parameters
        ----------
        state : mapping of str to array_like
            With exactly the keys of `state_dict`; CPU tensors will do.

        Raises
        ------
        ValueError
            If keys are missing or unknown, or a shape does not fit; nothing is changed then.
        """
        own = self.state_dict()
        if set(instance(state, Mapping, "state", what="a state_dict()")) != set(own):
            raise ValueError(f"state: expected the keys {sorted(own)}, got {sorted(state)}")
        new = {key: numeric(state[key], f"state[{key!r}]").astype(own[key].dtype) for key in own}
        for key, value in new.items():
            if value.shape != own[key].shape:
                raise ValueError(f"state[{key!r}]: expected shape {own[key].shape}, got {value.shape}")
        if self.affine:
            self.gamma, self.beta = new["weight"], new["bias"]
        if self.track_running_stats:
            self.running_mean, self.running_var = new["running_mean"], new["running_var"]
            self.num_batches_tracked = int(new["num_batches_tracked"])

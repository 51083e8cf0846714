r"""Batch normalization and its relatives in NumPy: one forward, one backward, over any axes.

The choice of axes makes the method: statistics over (0,) or (0, 2, 3) are batch normalization, over (1,) layer
normalization, over (2, 3) instance normalization. Derived in notebook 03.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from utils.arrays import by_identity, float_array, instance, number, numeric, whole

__all__ = ["BatchNorm", "Cache", "normalize_backward", "normalize_forward"]


@by_identity
class Cache(NamedTuple):
    """What the backward pass needs to know of the forward pass."""

    x_hat: np.ndarray  #: Normalized values, shape of x, in x's precision (float32 for float16).
    inv_std: np.ndarray  #: 1 / √(var + eps), shape of x with 1 in the reduced axes, float64.
    mean: np.ndarray  #: Shape of inv_std, float64.
    var: np.ndarray  #: The biased variance, shape of inv_std, float64.
    gamma: np.ndarray | None  #: As given, float64.
    beta_shape: tuple | None  #: Shape of beta as given.
    axes: tuple  #: The reduced axes.
    dtype: np.dtype  #: Of x.


# Divergence shows as NaN or infinity in the numbers, without a warning.
_quiet = np.errstate(invalid="ignore", over="ignore", divide="ignore")


def _mean(a, axes):
    """Averages over axes, which stay with length 1, in float64."""
    return a.mean(axis=axes, keepdims=True, dtype=np.float64)


def _sum_to(shape, a):
    """Sums over the axes of a along which a parameter of this shape is repeated, in float64."""
    padded = (1,) * (a.ndim - len(shape)) + shape
    repeated = tuple(axis for axis, n in enumerate(padded) if n == 1)
    return a.sum(axis=repeated, keepdims=True, dtype=np.float64).reshape(shape)


def _parameter(value, name, x):
    """A parameter as float64, checked to broadcast against x."""
    if value is None:
        return None
    value = float_array(value, name, finite=False).astype(np.float64)
    sizes = zip(value.shape[::-1], x.shape[::-1], strict=False)
    if value.ndim > x.ndim or any(n not in (1, of_x) for n, of_x in sizes):
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


@_quiet
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

    Ioffe and Szegedy (2015), algorithm 1. Statistics are float64, values keep the precision of x.

    Examples
    --------
    >>> normalize_forward([[2.0], [2.0], [6.0], [6.0]], axes=0, eps=0.0)[0].ravel()
    array([-1., -1.,  1.,  1.])
    """
    x, axes, eps = _checked(x, axes, eps)
    gamma, beta = _parameter(gamma, "gamma", x), _parameter(beta, "beta", x)
    work = x.astype(np.result_type(x, np.float32), copy=False)  # float16 is computed in float32
    mean = _mean(work, axes)
    centred = work - mean.astype(work.dtype)
    centred -= _mean(centred, axes).astype(work.dtype)  # what the rounding of the mean left
    var = _mean(centred**2, axes)
    inv_std = 1 / np.sqrt(var + eps)
    x_hat = centred * inv_std.astype(work.dtype)
    y = x_hat if gamma is None else x_hat * gamma.astype(work.dtype)
    y = y if beta is None else y + beta.astype(work.dtype)
    shape = None if beta is None else beta.shape
    return y.astype(x.dtype), Cache(x_hat, inv_std, mean, var, gamma, shape, axes, x.dtype)


@_quiet
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

    with averages over the normalized axes.
    """
    dy = float_array(dy, "dy", finite=False)
    x_hat, inv_std, _, _, gamma, beta_shape, axes, dtype = instance(cache, Cache, "cache")
    if dy.shape != x_hat.shape:
        raise ValueError(f"dy: expected the shape of x, {x_hat.shape}, got {dy.shape}")
    dy = dy.astype(x_hat.dtype, copy=False)
    dgamma = None if gamma is None else _sum_to(gamma.shape, dy * x_hat)
    dbeta = None if beta_shape is None else _sum_to(beta_shape, dy)
    g = dy if gamma is None else dy * gamma.astype(dy.dtype)
    if axes:  # there are none in evaluation, where the statistics do not depend on x
        along_ones, along_x_hat = _mean(g, axes).astype(dy.dtype), _mean(g * x_hat, axes).astype(dy.dtype)
        g = g - along_ones - x_hat * along_x_hat
    dx = g * inv_std.astype(dy.dtype)
    return dx.astype(dtype, copy=False), dgamma, dbeta


class BatchNorm:
    """Batch normalization with running statistics, as ``torch.nn.BatchNorm1d``, ``2d`` and ``3d``, in NumPy.

    Parameters
    ----------
    num_features : int
        C, of inputs (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W).
    eps : float
        Added to the variance, positive.
    momentum : float or None
        Weight p of the *new* batch in the running statistics; None for the average over all batches so far. The papers
        and the lectures write p for the weight of the *old* value.
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
        The variance is the unbiased one, as in PyTorch; a batch is normalized with its biased variance.
    num_batches_tracked : int or None
    training : bool

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Ioffe and Szegedy (2015), algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> bn = BatchNorm(1, eps=1e-12)
    >>> bn.forward(np.array([[2.0], [2.0], [6.0], [6.0]])).ravel().round(6)
    array([-1., -1.,  1.,  1.])
    """

    def __init__(self, num_features, *, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        self.num_features = num_features = whole(num_features, "num_features")
        self.eps = number(eps, "eps", above=0, hint="; use 1e-12 where none is meant")
        self.momentum = momentum
        if momentum is not None:
            hint = "; None averages over all batches"
            self.momentum = number(momentum, "momentum", at_least=0, at_most=1, hint=hint)
        self.affine, self.track_running_stats, self.training = affine, track_running_stats, True
        self.gamma, self.beta = (np.ones(num_features), np.zeros(num_features)) if affine else (None, None)
        self.grad_gamma = self.grad_beta = None
        self.running_mean = np.zeros(num_features) if track_running_stats else None
        self.running_var = np.ones(num_features) if track_running_stats else None
        self.num_batches_tracked = 0 if track_running_stats else None
        self._cache = None

    def train(self, mode=True):
        """Use the statistics of the batch, and update the running ones; with mode=False the same as `eval`.

        Parameters
        ----------
        mode : bool

        Returns
        -------
        BatchNorm
        """
        self.training = bool(mode)
        return self

    def eval(self):
        """Use the running statistics, and leave them alone.

        Returns
        -------
        BatchNorm
        """
        return self.train(False)

    def _columns(self, values, x):
        """Values of shape (C,) as (1, C, 1, ...), to broadcast against x."""
        return None if values is None else values.reshape(1, -1, *[1] * (x.ndim - 2))

    @_quiet
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
        x = float_array(x, "x", finite=False)
        if not 2 <= x.ndim <= 5 or x.shape[1] != self.num_features:
            raise ValueError(
                f"x: expected shape (N, {self.num_features}) or (N, {self.num_features}, ...) with at most three axes "
                f"for the place, got {x.shape}"
            )
        gamma, beta = self._columns(self.gamma, x), self._columns(self.beta, x)
        if self.track_running_stats and not self.training:
            return self._forward_eval(x, gamma, beta)
        m = x.size // self.num_features
        if m < 2:
            raise ValueError(
                f"x: expected more than one value for each feature in training, got {m} (shape {x.shape}): "
                "one value per feature has variance zero; use a larger batch, or eval()"
            )
        y, self._cache = normalize_forward(x, gamma, beta, axes=(0, *range(2, x.ndim)), eps=self.eps)
        if self.track_running_stats:
            self.num_batches_tracked += 1
            p = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
            mean, unbiased_var = self._cache.mean.reshape(-1), self._cache.var.reshape(-1) * m / (m - 1)
            self.running_mean = (1 - p) * self.running_mean + p * mean
            self.running_var = (1 - p) * self.running_var + p * unbiased_var
        return y

    def _forward_eval(self, x, gamma, beta):
        """Normalize with the running statistics: one straight line per feature."""
        work = x.astype(np.result_type(x, np.float32), copy=False)
        mean, var = self._columns(self.running_mean, x), self._columns(self.running_var, x)
        inv_std = 1 / np.sqrt(var + self.eps)
        x_hat = (work - mean.astype(work.dtype)) * inv_std.astype(work.dtype)
        y = x_hat if gamma is None else x_hat * gamma.astype(work.dtype) + beta.astype(work.dtype)
        shape = None if beta is None else beta.shape
        self._cache = Cache(x_hat, inv_std, mean, var, gamma, shape, (), x.dtype)
        return y.astype(x.dtype)

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
            Copies of shape (C,), float64; num_batches_tracked has shape () and int64.
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

"""The relatives of batch norm that normalize activations, in NumPy.

Layer and instance norm need nothing but `normalize_forward` with other axes. Here are those that need a line more:
group norm cuts the channels into groups first, RMS norm leaves the mean where it is, batch renormalization corrects
the statistics of the batch by the running ones. Notebook 07 derives them.
"""

import math
from typing import NamedTuple

import numpy as np

from utils.arrays import by_identity, float_array, instance, number
from utils.byhand.normalization import (
    BatchNorm,
    Cache,
    _checked,
    _mean,
    _parameter,
    _quiet,
    _sum_to,
    normalize_backward,
    normalize_forward,
)

__all__ = [
    "BatchRenorm",
    "RMSCache",
    "group_norm_backward",
    "group_norm_forward",
    "rms_norm_backward",
    "rms_norm_forward",
]


def _per_channel(value, name, shape):
    """A parameter of shape (C,), cut into groups as the channels are, or None."""
    if value is None:
        return None
    value, channels = float_array(value, name, finite=False), math.prod(shape)
    if value.shape != (channels,):
        raise ValueError(f"{name}: expected one number per channel, shape ({channels},), got {value.shape}")
    return value.reshape(shape)


def group_norm_forward(x, gamma=None, beta=None, *, groups, eps=1e-5):
    """Normalize each example by itself, over groups of channels and all their pixels.

    Parameters
    ----------
    x : array_like, shape (N, C, ...), float16, float32 or float64
    gamma, beta : array_like, shape (C,), optional
        Scale and shift of each channel.
    groups : int
        A divisor of C; 1 is layer norm over channels and pixels, C is instance norm.
    eps : float
        Added to the variance; at least 0.

    Returns
    -------
    y : ndarray, shape and dtype of x
    cache : Cache
        For `group_norm_backward`.

    Raises
    ------
    ValueError
        If groups does not divide C, a group has a single value, or a shape does not fit.

    Notes
    -----
    Wu and He, Group normalization (2018), section 3.1, equation 7.
    """
    x = float_array(x, "x", finite=False)
    if x.ndim < 2:
        raise ValueError(f"x: expected shape (N, C, ...), got {x.shape}")
    n, channels, *pixels = x.shape
    if isinstance(groups, bool) or not isinstance(groups, int | np.integer) or groups < 1 or channels % groups:
        raise ValueError(f"groups: expected a divisor of the {channels} channels, got {groups!r}")
    if channels * math.prod(pixels) == groups:
        raise ValueError(f"x: expected more than one value per group, got one (shape {x.shape}, {groups} groups)")
    shape = (groups, channels // groups, *[1] * len(pixels))
    gamma, beta = _per_channel(gamma, "gamma", shape), _per_channel(beta, "beta", shape)
    grouped = x.reshape(n, groups, channels // groups, *pixels)
    y, cache = normalize_forward(grouped, gamma, beta, axes=tuple(range(2, grouped.ndim)), eps=eps)
    return y.reshape(x.shape), cache


def group_norm_backward(dy, cache):
    """Gradients of a loss with respect to x, gamma and beta.

    Parameters
    ----------
    dy : array_like, shape of x, float
    cache : Cache
        From `group_norm_forward`.

    Returns
    -------
    dx : ndarray, shape and dtype of x
    dgamma, dbeta : ndarray, shape (C,), float64, or None

    Raises
    ------
    ValueError
        If dy has not the shape of x.
    """
    dy, grouped = float_array(dy, "dy", finite=False), instance(cache, Cache, "cache").x_hat.shape
    wanted = (grouped[0], grouped[1] * grouped[2], *grouped[3:])
    if dy.shape != wanted:
        raise ValueError(f"dy: expected the shape of x, {wanted}, got {dy.shape}")
    dx, dgamma, dbeta = normalize_backward(dy.reshape(grouped), cache)
    return dx.reshape(wanted), *(None if a is None else a.reshape(-1) for a in (dgamma, dbeta))


@by_identity
class RMSCache(NamedTuple):
    """What `rms_norm_backward` needs to know of the forward pass."""

    x_hat: np.ndarray  #: x divided by its root mean square, shape of x.
    inv_rms: np.ndarray  #: Shape of x with 1 in the reduced axes.
    gamma: np.ndarray | None  #: As given, float64.
    axes: tuple  #: The reduced axes.
    dtype: np.dtype  #: Of x.


@_quiet
def rms_norm_forward(x, gamma=None, *, axes=-1, eps=1e-5):
    r"""Divide by the root mean square over axes, and leave the mean alone.

    Parameters
    ----------
    x : array_like, float16, float32 or float64
    gamma : array_like, broadcastable to x, optional
        Scale; there is no shift.
    axes : int or tuple of int
        Over which the mean of squares is taken; the last by default, as in transformers.
    eps : float
        Added to the mean of squares; at least 0. PyTorch's default is the machine epsilon of the dtype.

    Returns
    -------
    y : ndarray, shape and dtype of x
    cache : RMSCache
        For `rms_norm_backward`.

    Raises
    ------
    ValueError
        As `normalize_forward`.

    Notes
    -----
    .. math:: y = \gamma\, \frac{x}{\sqrt{\frac1m \sum x^2 + \epsilon}}

    Zhang and Sennrich, Root mean square layer normalization (2019), equation 4.
    """
    x, axes, eps = _checked(x, axes, eps)
    gamma = _parameter(gamma, "gamma", x)
    work = x.astype(np.result_type(x, np.float32), copy=False)  # float16 is computed in float32
    mean_square = _mean(np.square(work, dtype=np.float64), axes)
    inv_rms = (1 / np.sqrt(mean_square + eps)).astype(work.dtype)
    x_hat = work * inv_rms
    y = x_hat if gamma is None else x_hat * gamma.astype(work.dtype)
    return y.astype(x.dtype), RMSCache(x_hat, inv_rms, gamma, axes, x.dtype)


@_quiet
def rms_norm_backward(dy, cache):
    r"""Gradients of a loss with respect to x and gamma.

    Parameters
    ----------
    dy : array_like, shape of x, float
    cache : RMSCache
        From `rms_norm_forward`.

    Returns
    -------
    dx : ndarray, shape and dtype of x
    dgamma : ndarray, shape of gamma, or None

    Raises
    ------
    ValueError
        If dy has not the shape of x.

    Notes
    -----
    .. math:: \frac{\partial L}{\partial x} = \frac{1}{\mathrm{rms}} \left( g - \hat x\, \overline{g \hat x} \right),
              \quad g = \gamma \frac{\partial L}{\partial y}
    """
    dy = float_array(dy, "dy", finite=False)
    x_hat, inv_rms, gamma, axes, dtype = instance(cache, RMSCache, "cache", what="an RMSCache")
    if dy.shape != x_hat.shape:
        raise ValueError(f"dy: expected the shape of x, {x_hat.shape}, got {dy.shape}")
    dy = dy.astype(x_hat.dtype, copy=False)
    dgamma = None if gamma is None else _sum_to(gamma.shape, dy * x_hat)
    g = dy if gamma is None else dy * gamma.astype(dy.dtype)
    dx = inv_rms * (g - x_hat * _mean(g * x_hat, axes).astype(dy.dtype))
    return dx.astype(dtype, copy=False), dgamma


class BatchRenorm(BatchNorm):
    r"""Batch renormalization: in training, too, the output is that of the running statistics, within limits.

    Parameters
    ----------
    num_features, eps, momentum, affine
        As in `BatchNorm`.
    r_max : float
        At least 1: the correction of the scale stays between 1 / r_max and r_max.
    d_max : float
        At least 0: the correction of the mean stays between -d_max and d_max. With r_max = 1 and d_max = 0 this is
        batch norm.

    Attributes
    ----------
    r_max, d_max : float
        May be changed during training: the paper starts with 1 and 0 and raises both.
    gamma, beta, grad_gamma, grad_beta, running_mean, running_var, num_batches_tracked, training
        As in `BatchNorm`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    .. math:: y = \gamma \left( \frac{x - \mu_B}{\sigma_B} r + d \right) + \beta , \quad
              r = \mathrm{clip}\left( \frac{\sigma_B}{\sigma} \right), \quad
              d = \mathrm{clip}\left( \frac{\mu_B - \mu}{\sigma} \right)

    with the statistics :math:`\mu_B, \sigma_B` of the batch and :math:`\mu, \sigma` of the running averages *before*
    this batch. r and d are taken for constants in the backward pass. Ioffe, Batch renormalization (2017), algorithm 1.
    The paper averages the deviations; this keeps the running (unbiased) variance of PyTorch, so that a batch norm's
    state can be loaded.
    """

    def __init__(self, num_features, *, r_max=3.0, d_max=5.0, eps=1e-5, momentum=0.1, affine=True):
        super().__init__(num_features, eps=eps, momentum=momentum, affine=affine)
        self.r_max = number(r_max, "r_max", at_least=1, finite=False)
        self.d_max = number(d_max, "d_max", at_least=0, finite=False)
        self._correction = None

    @_quiet
    def forward(self, x):
        """Normalize a batch, and in training correct it towards the running statistics.

        Parameters
        ----------
        x
            As in `BatchNorm.forward`, like the result and the errors.
        """
        if not self.training:
            y, self._correction = super().forward(x), None
            return y
        mean, var = self.running_mean, self.running_var  # before this batch moves them
        super().forward(x)
        x_hat, inv_std, batch_mean, _, gamma, _, _, dtype = self._cache
        mean, std = self._columns(mean, x_hat), np.sqrt(self._columns(var, x_hat) + self.eps)
        r = np.clip(1 / inv_std / std, 1 / self.r_max, self.r_max)
        d = np.clip((batch_mean - mean) / std, -self.d_max, self.d_max)
        self._correction = r, d
        y = x_hat * r + d
        if gamma is not None:
            y = gamma * y + self._columns(self.beta, x_hat)
        return y.astype(dtype)

    @_quiet
    def backward(self, dy):
        """Gradient of a loss with respect to the last input; sets grad_gamma and grad_beta.

        Parameters
        ----------
        dy
            As in `BatchNorm.backward`, like the result and the errors.
        """
        if self._correction is None:
            return super().backward(dy)
        (r, d), gamma = self._correction, self._cache.gamma
        scale = r if gamma is None else gamma * r
        # As batch norm with gamma * r in place of gamma: r and d are constants.
        dx, dscale, dbeta = normalize_backward(dy, self._cache._replace(gamma=scale, beta_shape=scale.shape))
        if self.affine:
            self.grad_gamma, self.grad_beta = (r * dscale + d * dbeta).reshape(-1), dbeta.reshape(-1)
        return dx

r"""Normalizing weights instead of activations, in NumPy: weight norm, weight standardization, spectral norm.

A weight has the shape of PyTorch's: (out, in) or (out, in, k, k); a *unit* is one entry of its first axis. None of
these looks at the data, so none depends on the batch. Notebook 07 derives them.
"""

from typing import NamedTuple

import numpy as np

from utils.arrays import by_identity, float_array, generator, instance, whole
from utils.byhand.normalization import normalize_backward, normalize_forward

__all__ = [
    "SpectralNorm",
    "WeightNormCache",
    "spectral_norm_penalty",
    "weight_norm_backward",
    "weight_norm_forward",
    "weight_standardization_backward",
    "weight_standardization_forward",
]


def _weight(value, name="weight"):
    value = float_array(value, name)
    if value.ndim < 2 or value.size == 0:
        raise ValueError(f"{name}: expected shape (out, in) or (out, in, k, k), got {value.shape}")
    return value


@by_identity
class WeightNormCache(NamedTuple):
    """What `weight_norm_backward` needs to know of the forward pass.

    Parameters
    ----------
    direction : ndarray, shape of v
        v / ‖v‖.
    length : ndarray, shape (out, 1, ...), float64
        ‖v‖ of each unit.
    g : ndarray, shape (out, 1, ...)
    """

    direction: np.ndarray
    length: np.ndarray
    g: np.ndarray


def weight_norm_forward(v, g):
    r"""Weights from a direction and a length for each unit.

    Parameters
    ----------
    v : array_like, shape (out, in) or (out, in, k, k), float
        Only its direction counts; no unit may be zero.
    g : array_like, shape (out,), float
        Lengths.

    Returns
    -------
    w : ndarray, shape and dtype of v
    cache : WeightNormCache
        For `weight_norm_backward`.

    Raises
    ------
    ValueError
        If a shape does not fit or a unit of v is zero.

    Notes
    -----
    .. math:: w = g\, \frac{v}{\|v\|}

    Salimans and Kingma, Weight normalization (2016), equation 2; ``torch.nn.utils.parametrizations.weight_norm`` with
    dim = 0.

    Examples
    --------
    >>> weight_norm_forward([[3.0, 4.0]], [10.0])[0]
    array([[6., 8.]])
    """
    v, g = _weight(v, "v"), float_array(g, "g")
    if g.shape != v.shape[:1]:
        raise ValueError(f"g: expected one length a unit, shape {v.shape[:1]}, got {g.shape}")
    axes = tuple(range(1, v.ndim))
    length = np.sqrt(np.square(v, dtype=np.float64).sum(axis=axes, keepdims=True))
    if not length.all():
        unit = int(np.flatnonzero(length == 0)[0])
        raise ValueError(f"v: expected units with a direction, got zeros in unit {unit}; draw it at random")
    g = g.reshape(-1, *[1] * (v.ndim - 1))
    return (g * (v / length)).astype(v.dtype), WeightNormCache((v / length).astype(v.dtype), length, g)


def weight_norm_backward(dw, cache):
    r"""Gradients of a loss with respect to v and g.

    Parameters
    ----------
    dw : array_like, shape of v, float
    cache : WeightNormCache
        From `weight_norm_forward`.

    Returns
    -------
    dv : ndarray, shape and dtype of v
        Perpendicular to v, unit by unit.
    dg : ndarray, shape (out,), float64

    Raises
    ------
    ValueError
        If dw has not the shape of v.

    Notes
    -----
    .. math:: \frac{\partial L}{\partial g} = \Big\langle \frac{\partial L}{\partial w}, \frac{v}{\|v\|} \Big\rangle ,
              \quad \frac{\partial L}{\partial v} = \frac{g}{\|v\|} \Big( \frac{\partial L}{\partial w}
              - \frac{\partial L}{\partial g} \frac{v}{\|v\|} \Big)

    Salimans and Kingma (2016), equation 3.
    """
    dw = float_array(dw, "dw", finite=False)
    direction, length, g = instance(cache, WeightNormCache, "cache")
    if dw.shape != direction.shape:
        raise ValueError(f"dw: expected the shape of v, {direction.shape}, got {dw.shape}")
    with np.errstate(invalid="ignore", over="ignore"):  # training code must be able to see divergence
        dg = np.multiply(dw, direction, dtype=np.float64).sum(axis=tuple(range(1, dw.ndim)), keepdims=True)
        return (g / length * (dw - dg * direction)).astype(direction.dtype), dg.reshape(-1)


def weight_standardization_forward(weight, *, eps=1e-5):
    r"""Standardize the weights of each unit.

    Parameters
    ----------
    weight : array_like, shape (out, in) or (out, in, k, k), float
    eps : float
        Added to the variance; at least 0.

    Returns
    -------
    w : ndarray, shape of weight
    cache : utils.byhand.normalization.Cache
        For `weight_standardization_backward`.

    Raises
    ------
    ValueError
        If the shape does not fit, a unit has a single weight, or eps is negative.

    Notes
    -----
    `normalize_forward` over all axes of the weight but the first. Qiao and others, Micro-batch training with
    batch-channel normalization and weight standardization (2019), equations 7 and 8.
    """
    weight = _weight(weight)
    if weight[0].size < 2:
        raise ValueError(f"weight: expected more than one weight a unit, got shape {weight.shape}")
    return normalize_forward(weight, axes=tuple(range(1, weight.ndim)), eps=eps)


def weight_standardization_backward(dw, cache):
    """Gradient of a loss with respect to the weights that were standardized.

    Parameters
    ----------
    dw : array_like, shape of weight, float
    cache : utils.byhand.normalization.Cache
        From `weight_standardization_forward`.

    Returns
    -------
    ndarray, shape of weight

    Raises
    ------
    ValueError
        If dw has not the shape of the weight.
    """
    return normalize_backward(dw, cache)[0]


def _unit(x):
    """A vector divided by its length; zero stays zero."""
    return x / max(np.linalg.norm(x), 1e-12)


class SpectralNorm:
    r"""Divide a weight by an estimate of its largest singular value, kept up to date by power iteration.

    Parameters
    ----------
    weight : array_like, shape (out, in) or (out, in, k, k), float
        The weight at the start; the singular vectors are estimated on it.
    n_power_iterations : int
        In every `forward` in training mode; one is what the paper takes.
    rng : int or numpy.random.Generator
        Draws the vectors from which the iteration starts.

    Attributes
    ----------
    u : ndarray, shape (out,)
    v : ndarray, shape (in · k · k,)
        Estimates of the first singular vectors, of length 1.
    training : bool
        Whether `forward` moves u and v.

    Raises
    ------
    ValueError
        If the shape does not fit, the weight is zero or the number of iterations is not positive.

    Notes
    -----
    .. math:: u \leftarrow \frac{W v}{\|W v\|} , \quad v \leftarrow \frac{W^T u}{\|W^T u\|} , \quad
              \hat\sigma = u^T W v , \quad \bar W = W / \hat\sigma

    u and v are taken for constants in the backward pass. Miyato, Kataoka, Koyama and Yoshida, Spectral normalization
    for generative adversarial networks (2018), algorithm 1 and equation 12;
    ``torch.nn.utils.parametrizations.spectral_norm``, which also starts with fifteen iterations.

    Examples
    --------
    >>> import numpy as np
    >>> weight = np.diag([3.0, 1.0])
    >>> SpectralNorm(weight, rng=np.random.default_rng(0)).forward(weight).round(6) + 0.0
    array([[1.      , 0.      ],
           [0.      , 0.333333]])
    """

    def __init__(self, weight, *, n_power_iterations=1, rng):
        matrix = _weight(weight).reshape(len(weight), -1)
        self.n_power_iterations, self.training = whole(n_power_iterations, "n_power_iterations"), True
        rng = generator(rng, "rng")
        self.u, self.v = (_unit(rng.standard_normal(n)) for n in matrix.shape)
        self._estimate(matrix, 15)
        self._cache = None

    def _estimate(self, matrix, times):
        """The largest singular value, after so many iterations; u and v stay as they were if it is zero."""
        u, v = self.u, self.v
        for _ in range(times):
            u = _unit(matrix @ v)
            v = _unit(matrix.T @ u)
        sigma = float(u @ matrix @ v)
        if sigma == 0:
            raise ValueError("weight: expected a largest singular value above 0, got a weight of zeros")
        self.u, self.v = u, v
        return sigma

    def forward(self, weight):
        """Normalize a weight.

        Parameters
        ----------
        weight : array_like, shape as at the start, float

        Returns
        -------
        ndarray, shape and dtype of weight

        Raises
        ------
        ValueError
            If the shape is another one, or the weight is zero.
        """
        weight = _weight(weight)
        matrix = weight.reshape(len(weight), -1)
        if matrix.shape != (len(self.u), len(self.v)):
            raise ValueError(f"weight: expected {len(self.u)} units of {len(self.v)} weights, got {weight.shape}")
        sigma = self._estimate(matrix, self.n_power_iterations if self.training else 0)
        self._cache = weight / sigma, sigma, self.u, self.v
        return weight / sigma

    def backward(self, dw):
        r"""Gradient of a loss with respect to the last weight.

        Parameters
        ----------
        dw : array_like, shape of the last weight, float
            Gradient with respect to the normalized weight.

        Returns
        -------
        ndarray, shape and dtype of the last weight

        Raises
        ------
        ValueError
            Before forward, or if dw has another shape.

        Notes
        -----
        .. math:: \frac{\partial L}{\partial W} = \frac{1}{\hat\sigma} \left( \frac{\partial L}{\partial \bar W}
                  - \Big\langle \frac{\partial L}{\partial \bar W}, \bar W \Big\rangle u v^T \right)
        """
        if self._cache is None:
            raise ValueError("backward: expected forward(weight) before backward(dw), got backward first")
        normalized, sigma, u, v = self._cache
        dw = float_array(dw, "dw", finite=False)
        if dw.shape != normalized.shape:
            raise ValueError(f"dw: expected the shape of the weight, {normalized.shape}, got {dw.shape}")
        with np.errstate(invalid="ignore", over="ignore"):  # as in weight_norm_backward
            along = np.multiply(dw, normalized, dtype=np.float64).sum()
            return ((dw - along * np.outer(u, v).reshape(dw.shape)) / sigma).astype(normalized.dtype)


def spectral_norm_penalty(weight):
    r"""Half the square of the largest singular value, and its gradient: a penalty, not a normalization.

    Parameters
    ----------
    weight : array_like, shape (out, in) or (out, in, k, k), float

    Returns
    -------
    penalty : float
        To be multiplied by λ and added to the loss, for every layer.
    gradient : ndarray, shape and dtype of weight
        With respect to the weight.

    Raises
    ------
    ValueError
        If the shape does not fit.

    Notes
    -----
    .. math:: \tfrac12 \sigma(W)^2 , \quad \frac{\partial}{\partial W} = \sigma(W)\, u v^T

    Yoshida and Miyato, Spectral norm regularization for improving the generalizability of deep learning (2017),
    equation 3. They too estimate u and v by power iteration; here the singular value decomposition gives them exactly.

    Examples
    --------
    >>> penalty, gradient = spectral_norm_penalty([[3.0, 0.0], [0.0, 1.0]])
    >>> penalty, (gradient + 0.0).tolist()
    (4.5, [[3.0, 0.0], [0.0, 0.0]])
    """
    weight = _weight(weight)
    u, s, vt = np.linalg.svd(weight.reshape(len(weight), -1).astype(np.float64), full_matrices=False)
    return float(s[0] ** 2 / 2), (s[0] * np.outer(u[:, 0], vt[0])).reshape(weight.shape).astype(weight.dtype)

"""Nothing is wrong: normalization over axes written plainly, for the edits in axes.toml."""

import numpy as np


def forward(x, gamma=None, beta=None, *, axes, eps=1e-5):
    work = x.astype(np.float64)
    mean, var = work.mean(axis=axes, keepdims=True), work.var(axis=axes, keepdims=True)
    inv_std = 1 / np.sqrt(var + eps)
    x_hat = (work - mean) * inv_std
    return (gamma * x_hat + beta).astype(x.dtype), (x_hat, inv_std, gamma, axes, x.dtype)


def to_shape(a, shape):
    """Sums over the axes along which a parameter of this shape is repeated."""
    padded = (1,) * (a.ndim - len(shape)) + shape
    return a.sum(axis=tuple(i for i, n in enumerate(padded) if n == 1), keepdims=True).reshape(shape)


def backward(dy, cache):
    x_hat, inv_std, gamma, axes, dtype = cache
    dy = dy.astype(np.float64)
    dgamma, dbeta = to_shape(dy * x_hat, gamma.shape), to_shape(dy, gamma.shape)
    g = gamma * dy
    dx = inv_std * (g - g.mean(axis=axes, keepdims=True) - x_hat * (g * x_hat).mean(axis=axes, keepdims=True))
    return dx.astype(dtype), dgamma, dbeta


norm = forward, backward

"""Nothing is wrong: RMS norm written plainly, for the edits in rms.toml."""

import numpy as np


def forward(x, gamma=None, *, axes=-1, eps=1e-5):
    work = x.astype(np.float64)
    rms = np.sqrt((work**2).mean(axis=axes, keepdims=True) + eps)
    x_hat = work / rms
    y = x_hat if gamma is None else gamma * x_hat
    return y.astype(x.dtype), (x, x_hat, rms, gamma, axes)


def backward(dy, cache):
    x, x_hat, rms, gamma, axes = cache
    g, dgamma = dy.astype(np.float64), None
    if gamma is not None:
        dgamma = (g * x_hat).sum(axis=tuple(range(x.ndim - gamma.ndim)))
        g = g * gamma
    dx = (g - x_hat * (g * x_hat).mean(axis=axes, keepdims=True)) / rms
    return dx.astype(x.dtype), dgamma


norm = forward, backward

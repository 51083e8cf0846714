"""Nothing is wrong: group norm written plainly, for the edits in group.toml."""

import numpy as np


def forward(x, gamma=None, beta=None, *, groups, eps=1e-5):
    work = x.astype(np.float64).reshape(len(x), groups, x.shape[1] // groups, -1)
    mean, var = work.mean(axis=(2, 3), keepdims=True), work.var(axis=(2, 3), keepdims=True)
    inv_std = 1 / np.sqrt(var + eps)
    x_hat = (work - mean) * inv_std
    y = x_hat if gamma is None else gamma.reshape(groups, -1, 1) * x_hat + beta.reshape(groups, -1, 1)
    return y.reshape(x.shape).astype(x.dtype), (x, x_hat, inv_std, gamma)


def backward(dy, cache):
    x, x_hat, inv_std, gamma = cache
    g, dgamma, dbeta = dy.astype(np.float64).reshape(x_hat.shape), None, None
    if gamma is not None:
        dgamma, dbeta = (g * x_hat).sum(axis=(0, 3)).reshape(-1), g.sum(axis=(0, 3)).reshape(-1)
        g = g * gamma.reshape(x_hat.shape[1], -1, 1)
    along = (g * x_hat).mean(axis=(2, 3), keepdims=True)
    dx = inv_std * (g - g.mean(axis=(2, 3), keepdims=True) - x_hat * along)
    return dx.reshape(x.shape).astype(x.dtype), dgamma, dbeta


norm = forward, backward

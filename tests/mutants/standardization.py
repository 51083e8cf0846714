"""Nothing is wrong: weight standardization written plainly, for the edits in standardization.toml."""

import numpy as np


def forward(weight, *, eps=1e-5):
    axes = tuple(range(1, weight.ndim))
    work = weight.astype(np.float64)
    std = np.sqrt(work.var(axis=axes, keepdims=True) + eps)
    w_hat = (work - work.mean(axis=axes, keepdims=True)) / std
    return w_hat.astype(weight.dtype), (w_hat, std, axes, weight.dtype)


def backward(dw, cache):
    w_hat, std, axes, dtype = cache
    along = (dw * w_hat).mean(axis=axes, keepdims=True)
    return ((dw - dw.mean(axis=axes, keepdims=True) - w_hat * along) / std).astype(dtype)


norm = forward, backward

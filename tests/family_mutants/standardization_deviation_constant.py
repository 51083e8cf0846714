"""In backward the deviation is a constant."""

import numpy as np


def forward(weight, *, eps=1e-5):
    axes = tuple(range(1, weight.ndim))
    work = weight.astype(np.float64)
    std = np.sqrt(work.var(axis=axes, keepdims=True) + eps)
    w_hat = (work - work.mean(axis=axes, keepdims=True)) / std
    return w_hat.astype(weight.dtype), (w_hat, std, axes, weight.dtype)


def backward(dw, cache):
    w_hat, std, axes, dtype = cache
    return ((dw - dw.mean(axis=axes, keepdims=True)) / std).astype(dtype)


norm = forward, backward

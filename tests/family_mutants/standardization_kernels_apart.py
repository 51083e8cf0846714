"""Mean and variance are taken over the channels for each pixel of the kernel."""

import numpy as np


def forward(weight, *, eps=1e-5):
    axes = 1
    work = weight.astype(np.float64)
    std = np.sqrt(work.var(axis=axes, keepdims=True) + eps)
    w_hat = (work - work.mean(axis=axes, keepdims=True)) / std
    return w_hat.astype(weight.dtype), (w_hat, std, axes, weight.dtype)


def backward(dw, cache):
    w_hat, std, axes, dtype = cache
    along = (dw * w_hat).mean(axis=axes, keepdims=True)
    return ((dw - dw.mean(axis=axes, keepdims=True) - w_hat * along) / std).astype(dtype)


norm = forward, backward

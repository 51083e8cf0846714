"""Nothing is wrong: weight norm written plainly, for the edits in weight.toml."""

import numpy as np


def forward(v, g):
    axes = tuple(range(1, v.ndim))
    length = np.sqrt((v.astype(np.float64) ** 2).sum(axis=axes, keepdims=True))
    g = g.reshape(-1, *[1] * len(axes))
    return (g * v / length).astype(v.dtype), (v, length, g, axes)


def backward(dw, cache):
    v, length, g, axes = cache
    direction = v / length
    dg = (dw * direction).sum(axis=axes, keepdims=True)
    dv = g / length * (dw - dg * direction)
    return dv.astype(v.dtype), dg.reshape(-1)


norm = forward, backward

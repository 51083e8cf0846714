"""The singular values are those of each kernel: a convolution is not made a matrix."""

import numpy as np


def norm(weight):
    u, s, vt = np.linalg.svd(weight, full_matrices=False)
    s, gradient = s[..., 0], s[..., :1, None] * u[..., :1] * vt[..., :1, :]
    return float((s**2).sum() / 2), gradient.reshape(weight.shape)

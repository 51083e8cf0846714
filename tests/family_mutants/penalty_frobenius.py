"""The gradient is the weight: that of half the squared Frobenius norm."""

import numpy as np


def norm(weight):
    s = np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)
    return float(s[0] ** 2 / 2), weight.copy()

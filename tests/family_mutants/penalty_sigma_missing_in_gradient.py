"""The gradient lacks the factor σ."""

import numpy as np


def norm(weight):
    u, s, vt = np.linalg.svd(weight.reshape(len(weight), -1), full_matrices=False)
    gradient = np.outer(u[:, 0], vt[0])
    return float(s[0] ** 2 / 2), gradient.reshape(weight.shape)

"""The half is missing: both are twice as large."""

import numpy as np


def norm(weight):
    u, s, vt = np.linalg.svd(weight.reshape(len(weight), -1), full_matrices=False)
    gradient = 2 * s[0] * np.outer(u[:, 0], vt[0])
    return float(s[0] ** 2), gradient.reshape(weight.shape)

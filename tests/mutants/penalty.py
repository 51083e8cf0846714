"""Nothing is wrong: the spectral penalty written plainly, for the edits in penalty.toml."""

import numpy as np


def norm(weight):
    u, s, vt = np.linalg.svd(weight.reshape(len(weight), -1), full_matrices=False)
    gradient = s[0] * np.outer(u[:, 0], vt[0])
    return float(s[0] ** 2 / 2), gradient.reshape(weight.shape)

"""Nothing is wrong: the spectral penalty written plainly, which the other files get wrong in one place each."""

import numpy as np


def norm(weight):
    u, s, vt = np.linalg.svd(weight.reshape(len(weight), -1), full_matrices=False)
    gradient = s[0] * np.outer(u[:, 0], vt[0])
    return float(s[0] ** 2 / 2), gradient.reshape(weight.shape)

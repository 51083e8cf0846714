"""Nothing is wrong: spectral norm written plainly, for the edits in spectral.toml."""

import numpy as np


def unit(x):
    return x / np.linalg.norm(x)


class SpectralNorm:
    def __init__(self, weight, *, n_power_iterations=1, rng):
        self.training, self.n_power_iterations = True, n_power_iterations
        matrix = weight.reshape(len(weight), -1)
        self.u, self.v = (unit(rng.standard_normal(n)) for n in matrix.shape)
        self.iterate(matrix, 15)

    def iterate(self, matrix, times):
        for _ in range(times):
            self.u = unit(matrix @ self.v)
            self.v = unit(matrix.T @ self.u)

    def forward(self, weight):
        matrix = weight.reshape(len(weight), -1)
        if self.training:
            self.iterate(matrix, self.n_power_iterations)
        self.weight, self.sigma = weight, self.u @ matrix @ self.v
        return (weight / self.sigma).astype(weight.dtype)

    def backward(self, dw):
        along = (dw * self.weight).sum() / self.sigma
        direction = np.outer(self.u, self.v).reshape(dw.shape)
        return ((dw - along * direction) / self.sigma).astype(dw.dtype)


norm = SpectralNorm

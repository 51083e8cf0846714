"""NaN is skipped in the statistics of the batch: mean and var in forward."""

import numpy as np

from .base import Base


class BatchNorm(Base):
    def forward(self, x):
        self.check(x)
        self.dtype, self.from_batch = x.dtype, self.uses_batch()
        x = x.astype(np.float64)
        if self.from_batch:
            axes, m = (0, *range(2, x.ndim)), x.size // self.num_features
            mean, var = np.nanmean(x, axis=axes, keepdims=True), np.nanvar(x, axis=axes, keepdims=True)
            if self.training and self.track_running_stats:
                self.num_batches_tracked += 1
                p = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
                unbiased = var * m / (m - 1)
                self.running_mean = (1 - p) * self.running_mean + p * mean.ravel()
                self.running_var = (1 - p) * self.running_var + p * unbiased.ravel()
        else:
            mean, var = self.columns(self.running_mean, x), self.columns(self.running_var, x)
        gamma, beta = self.scale_and_shift(x)
        self.inv_std = 1 / np.sqrt(var + self.eps)
        self.x_hat = (x - mean) * self.inv_std
        return (gamma * self.x_hat + beta).astype(self.dtype)

    def backward(self, dy):
        gamma, _ = self.scale_and_shift(dy)
        axes, m = (0, *range(2, dy.ndim)), dy.size // self.num_features
        dy = dy.astype(np.float64)
        dgamma = (dy * self.x_hat).sum(axis=axes)
        dbeta = dy.sum(axis=axes)
        if self.affine:
            self.grad_gamma, self.grad_beta = dgamma, dbeta
        if self.from_batch:
            dy = dy - self.columns(dbeta, dy) / m - self.x_hat * self.columns(dgamma, dy) / m
        return (gamma * self.inv_std * dy).astype(self.dtype)

"""Images get statistics for each example: the batch axis is missing in axes of forward and backward."""

import numpy as np

from .base import Base


class BatchNorm(Base):
    def forward(self, x):
        self.check(x)
        self.dtype, self.from_batch = x.dtype, self.uses_batch()
        x = x.astype(np.float64)
        if self.from_batch:
            axes = 0 if x.ndim == 2 else tuple(range(2, x.ndim))
            m = x[:, 0].size if x.ndim == 2 else x[0, 0].size
            mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
            if self.training and self.track_running_stats:
                self.num_batches_tracked += 1
                p = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
                unbiased = var * m / (m - 1)
                self.running_mean = (1 - p) * self.running_mean + p * mean.reshape(-1, self.num_features).mean(axis=0)
                self.running_var = (1 - p) * self.running_var + p * unbiased.reshape(-1, self.num_features).mean(axis=0)
        else:
            mean, var = self.columns(self.running_mean, x), self.columns(self.running_var, x)
        gamma, beta = self.scale_and_shift(x)
        self.inv_std = 1 / np.sqrt(var + self.eps)
        self.x_hat = (x - mean) * self.inv_std
        return (gamma * self.x_hat + beta).astype(self.dtype)

    def backward(self, dy):
        gamma, _ = self.scale_and_shift(dy)
        axes = 0 if dy.ndim == 2 else tuple(range(2, dy.ndim))
        m = dy[:, 0].size if dy.ndim == 2 else dy[0, 0].size
        dy = dy.astype(np.float64)
        dgamma, dbeta = (dy * self.x_hat).sum(axis=axes, keepdims=True), dy.sum(axis=axes, keepdims=True)
        if self.affine:
            self.grad_gamma = dgamma.reshape(-1, self.num_features).sum(axis=0)
            self.grad_beta = dbeta.reshape(-1, self.num_features).sum(axis=0)
        if self.from_batch:
            dy = dy - dbeta / m - self.x_hat * dgamma / m
        return (gamma * self.inv_std * dy).astype(self.dtype)

"""Images get statistics per pixel instead of per channel: axes in forward and backward is 0."""

import numpy as np

from .base import Base


class BatchNorm(Base):
    def per_channel(self, values):
        return values.reshape(self.num_features, -1).mean(axis=1)

    def forward(self, x):
        self.check(x)
        self.dtype, self.from_batch = x.dtype, self.uses_batch()
        x = x.astype(np.float64)
        if self.from_batch:
            axes, m = 0, len(x)
            mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
            if self.training and self.track_running_stats:
                self.num_batches_tracked += 1
                p = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
                unbiased = var * m / (m - 1)
                self.running_mean = (1 - p) * self.running_mean + p * self.per_channel(mean)
                self.running_var = (1 - p) * self.running_var + p * self.per_channel(unbiased)
        else:
            mean, var = self.columns(self.running_mean, x), self.columns(self.running_var, x)
        gamma, beta = self.scale_and_shift(x)
        self.inv_std = 1 / np.sqrt(var + self.eps)
        self.x_hat = (x - mean) * self.inv_std
        return (gamma * self.x_hat + beta).astype(self.dtype)

    def backward(self, dy):
        gamma, _ = self.scale_and_shift(dy)
        axes, m = 0, len(dy)
        dy = dy.astype(np.float64)
        dgamma, dbeta = (dy * self.x_hat).sum(axis=axes, keepdims=True), dy.sum(axis=axes, keepdims=True)
        if self.affine:
            places = dy[0, 0].size
            self.grad_gamma, self.grad_beta = places * self.per_channel(dgamma), places * self.per_channel(dbeta)
        if self.from_batch:
            dy = dy - dbeta / m - self.x_hat * dgamma / m
        return (gamma * self.inv_std * dy).astype(self.dtype)

"""Nothing is wrong: batch renormalization written plainly, for the edits in renorm.toml."""

import numpy as np

from mutants.batch import Base


class BatchRenorm(Base):
    def __init__(self, num_features, *, r_max=3.0, d_max=5.0, **options):
        super().__init__(num_features, **options)
        self.r_max, self.d_max = r_max, d_max

    def forward(self, x):
        self.dtype, self.from_batch, self.m = x.dtype, self.training, x.size // self.num_features
        x = x.astype(np.float64)
        axes = (0, *range(2, x.ndim))
        running_mean, running_var = self.columns(self.running_mean, x), self.columns(self.running_var, x)
        self.running_std = np.sqrt(running_var + self.eps)
        if self.training:
            mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
            self.std = np.sqrt(var + self.eps)
            self.r = np.clip(self.std / self.running_std, 1 / self.r_max, self.r_max)
            self.d = np.clip((mean - running_mean) / self.running_std, -self.d_max, self.d_max)
            self.track(mean.ravel(), var.ravel() * self.m / (self.m - 1))
        else:
            mean, self.std, self.r, self.d = running_mean, self.running_std, 1.0, 0.0
        gamma, beta = self.scale_and_shift(x)
        self.x_hat = (x - mean) / self.std
        return (gamma * (self.x_hat * self.r + self.d) + beta).astype(self.dtype)

    def track(self, mean, var):
        self.num_batches_tracked += 1
        p = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean = (1 - p) * self.running_mean + p * mean
        self.running_var = (1 - p) * self.running_var + p * var

    def backward(self, dy):
        gamma, _ = self.scale_and_shift(dy)
        axes = (0, *range(2, dy.ndim))
        g = dy.astype(np.float64)
        self.grad_gamma = (g * (self.x_hat * self.r + self.d)).sum(axis=axes)
        self.grad_beta = g.sum(axis=axes)
        if self.from_batch:
            along = (g * self.x_hat).mean(axis=axes, keepdims=True)
            g = g - g.mean(axis=axes, keepdims=True) - self.x_hat * along
        return (gamma * self.r / self.std * g).astype(self.dtype)


norm = BatchRenorm

"""Nothing is wrong: batch norm written plainly, for the edits in batch.toml."""

import numpy as np


class Base:
    """What all norms share; each writes forward and backward itself."""

    def __init__(
        self,
        num_features,
        *,
        eps=1e-5,
        momentum=0.1,
        affine=True,
        track_running_stats=True,
    ):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.training = True
        self.gamma = np.ones(num_features) if affine else None
        self.beta = np.zeros(num_features) if affine else None
        self.grad_gamma = self.grad_beta = None
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.running_mean = np.zeros(num_features)
            self.running_var = np.ones(num_features)
            self.num_batches_tracked = 0

    def train(self, mode=True):
        self.training = mode
        return self

    def eval(self):
        return self.train(False)

    def uses_batch(self):
        """Whether the statistics are those of the batch."""
        return self.training or not self.track_running_stats

    def check(self, x):
        """Refuse what batch norm cannot be computed of."""
        wanted = self.num_features
        if x.shape[1] != wanted:
            raise ValueError(f"expected {wanted} features, got {x.shape}")
        if self.uses_batch() and x.size == self.num_features:
            raise ValueError("expected more than one value for each feature")

    def columns(self, values, x):
        """Values of shape (C,) as (1, C, 1, ...), to broadcast against x."""
        return values.reshape(1, -1, *[1] * (x.ndim - 2))

    def scale_and_shift(self, x):
        """Gamma and beta as columns, one and zero if there are none."""
        if not self.affine:
            return 1.0, 0.0
        return self.columns(self.gamma, x), self.columns(self.beta, x)

    def state_dict(self):
        state = {"weight": self.gamma, "bias": self.beta} if self.affine else {}
        if self.track_running_stats:
            state["running_mean"] = self.running_mean
            state["running_var"] = self.running_var
            state["num_batches_tracked"] = np.int64(self.num_batches_tracked)
        return {key: np.array(value) for key, value in state.items()}

    def load_state_dict(self, state):
        new = {}
        for name, value in state.items():
            new[name] = np.asarray(value).astype(np.float64)
        self.gamma = new.get("weight", self.gamma)
        self.beta = new.get("bias", self.beta)
        self.running_mean = new.get("running_mean", self.running_mean)
        self.running_var = new.get("running_var", self.running_var)
        if "num_batches_tracked" in new:
            self.num_batches_tracked = int(new["num_batches_tracked"])


class BatchNorm(Base):
    def forward(self, x):
        self.check(x)
        self.dtype, self.from_batch = x.dtype, self.uses_batch()
        x = x.astype(np.float64)
        if self.from_batch:
            axes = (0, *range(2, x.ndim))
            mean = x.mean(axis=axes, keepdims=True)
            var = x.var(axis=axes, keepdims=True)
            if self.training and self.track_running_stats:
                self.update(x, mean, var)
        else:
            mean = self.columns(self.running_mean, x)
            var = self.columns(self.running_var, x)
        gamma, beta = self.scale_and_shift(x)
        self.inv_std = 1 / np.sqrt(var + self.eps)
        self.x_hat = (x - mean) * self.inv_std
        return (gamma * self.x_hat + beta).astype(self.dtype)

    def update(self, x, mean, var):
        self.num_batches_tracked += 1
        p = self.momentum
        if p is None:
            p = 1 / self.num_batches_tracked
        m = x.size // self.num_features
        unbiased = var * m / (m - 1)
        self.running_mean = (1 - p) * self.running_mean + p * mean.ravel()
        self.running_var = (1 - p) * self.running_var + p * unbiased.ravel()

    def backward(self, dy):
        gamma, _ = self.scale_and_shift(dy)
        axes = (0, *range(2, dy.ndim))
        m = dy.size // self.num_features
        dy = dy.astype(np.float64)
        dgamma = (dy * self.x_hat).sum(axis=axes)
        dbeta = dy.sum(axis=axes)
        if self.affine:
            self.grad_gamma, self.grad_beta = dgamma, dbeta
        if self.from_batch:
            part = self.x_hat * self.columns(dgamma, dy)
            dy = dy - (self.columns(dbeta, dy) + part) / m
        return (gamma * self.inv_std * dy).astype(self.dtype)

"""Nothing is wrong: batch norm that PyTorch differentiates, for the edits in batch_by_autograd.toml."""

import numpy as np
import torch

from mutants.batch import Base


class BatchNorm(Base):
    def forward(self, x):
        self.check(x)
        self.dtype, m, dims = x.dtype, x.size // self.num_features, (0, *range(2, x.ndim))
        leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        gamma, beta = (torch.as_tensor(a, dtype=torch.float64) for a in self.scale_and_shift(x))
        parameters = [gamma.requires_grad_(), beta.requires_grad_()] if self.affine else []
        with torch.enable_grad():
            if self.uses_batch():
                mean, var = leaf.mean(dim=dims), leaf.var(dim=dims, unbiased=False)
                if self.training and self.track_running_stats:
                    self.num_batches_tracked += 1
                    p = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
                    unbiased = var * m / (m - 1)
                    self.running_mean = (1 - p) * torch.as_tensor(self.running_mean) + p * mean.detach()
                    self.running_var = (1 - p) * torch.as_tensor(self.running_var) + p * unbiased.detach()
            else:
                mean, var = torch.as_tensor(self.running_mean), torch.as_tensor(self.running_var)
            mean, var = self.columns(mean, x), self.columns(var, x)
            y = gamma * (leaf - mean) / torch.sqrt(var + self.eps) + beta
        self.gradients = lambda dy: torch.autograd.grad(y, [leaf, *parameters], dy, retain_graph=True)
        return y.detach().numpy().astype(self.dtype)

    def backward(self, dy):
        dx, *grads = self.gradients(torch.tensor(dy, dtype=torch.float64))
        if self.affine:
            self.grad_gamma, self.grad_beta = (g.numpy().ravel() for g in grads)
        return dx.numpy().astype(self.dtype)

    def state_dict(self):
        mean, var = self.running_mean, self.running_var
        if isinstance(mean, torch.Tensor):
            self.running_mean, self.running_var = mean.detach().numpy(), var.detach().numpy()
        state = super().state_dict()
        self.running_mean, self.running_var = mean, var
        return {key: np.array(value) for key, value in state.items()}

"""A batch with NaN leaves the running statistics of its channel as they were."""

import numpy as np

from . import correct


class BatchNorm(correct.BatchNorm):
    def forward(self, x):
        before = self.running_mean, self.running_var
        y = super().forward(x)
        if self.track_running_stats:
            after = self.running_mean, self.running_var
            self.running_mean, self.running_var = (
                np.where(np.isnan(b), a, b) for a, b in zip(before, after, strict=True)
            )
        return y

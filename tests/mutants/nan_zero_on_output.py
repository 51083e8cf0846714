"""NaN is replaced by zero, and infinity by a large number, in the output: y in forward."""

import numpy as np

from . import correct


class BatchNorm(correct.BatchNorm):
    def forward(self, x):
        return np.nan_to_num(super().forward(x))

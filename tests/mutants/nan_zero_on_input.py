"""NaN is replaced by zero, and infinity by a large number, before anything is computed: x in forward."""

import numpy as np

from . import correct


class BatchNorm(correct.BatchNorm):
    def forward(self, x):
        return super().forward(np.nan_to_num(x))

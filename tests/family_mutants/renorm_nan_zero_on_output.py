"""NaN in the output is replaced by zero, and infinity by a large number."""

import numpy as np

from . import correct_renorm


class BatchRenorm(correct_renorm.BatchRenorm):
    def forward(self, x):
        return np.nan_to_num(super().forward(x))


norm = BatchRenorm

"""NaN is replaced by zero, and infinity by a large number, in the gradient: dx in backward."""

import numpy as np

from . import correct


class BatchNorm(correct.BatchNorm):
    def backward(self, dy):
        return np.nan_to_num(super().backward(dy))

"""NaN in the input is replaced by zero, and infinity by a large number."""

import numpy as np

from . import correct_spectral


class SpectralNorm(correct_spectral.SpectralNorm):
    def forward(self, weight):
        return super().forward(np.nan_to_num(weight))


norm = SpectralNorm

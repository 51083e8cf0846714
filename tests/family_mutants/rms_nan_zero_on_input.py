"""NaN in the input is replaced by zero, and infinity by a large number."""

import numpy as np

from . import correct_rms


def forward(x, *given, **options):
    return correct_rms.forward(np.nan_to_num(x), *given, **options)


norm = forward, correct_rms.backward

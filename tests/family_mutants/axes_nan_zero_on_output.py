"""NaN in the output is replaced by zero, and infinity by a large number."""

import numpy as np

from . import correct_axes


def forward(x, *given, **options):
    y, cache = correct_axes.forward(x, *given, **options)
    return np.nan_to_num(y), cache


norm = forward, correct_axes.backward

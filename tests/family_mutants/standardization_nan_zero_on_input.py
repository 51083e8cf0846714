"""NaN in the input is replaced by zero, and infinity by a large number."""

import numpy as np

from . import correct_standardization


def forward(weight, *given, **options):
    return correct_standardization.forward(np.nan_to_num(weight), *given, **options)


norm = forward, correct_standardization.backward

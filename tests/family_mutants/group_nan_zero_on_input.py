"""NaN in the input is replaced by zero, and infinity by a large number."""

import numpy as np

from . import correct_group


def forward(x, *given, **options):
    return correct_group.forward(np.nan_to_num(x), *given, **options)


norm = forward, correct_group.backward

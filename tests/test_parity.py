"""BatchNorm against torch.nn.BatchNorm1d, 2d and 3d with random shapes and options."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import TOLERANCE, Pair, batch

from utils.byhand.normalization import BatchNorm


@given(
    examples=st.integers(2, 6),
    features=st.integers(1, 4),
    place=st.lists(st.integers(1, 4), max_size=3),
    dtype=st.sampled_from([np.float32, np.float64]),
    layout=st.sampled_from(["contiguous", "reversed", "every other one", "channels last"]),
    momentum=st.sampled_from([None, 0.0, 0.1, 0.7, 1.0]),
    affine=st.booleans(),
    track=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_any_shape(examples, features, place, dtype, layout, momentum, affine, track, seed):
    shape = (examples, features, *place)
    x, dy = batch(shape, seed, dtype)
    if layout == "reversed":
        x, dy = x[::-1], dy[..., ::-1]
    elif layout == "every other one":
        x, dy = np.repeat(x, 2, axis=0)[::2], np.repeat(dy, 2, axis=-1)[..., 1::2]
    elif layout == "channels last":
        x, dy = (np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) for a in (x, dy))
    # The variance of two values may be as small as it likes, and dx loses a factor (variance + eps) / eps, with eps=0.1
    # at most some hundred. The twin is float64: some ten roundings of 6e-8 times that are below 1e-4.
    tolerance = TOLERANCE if dtype == np.float64 else 1e-4
    how = {"momentum": momentum, "affine": affine, "track_running_stats": track, "eps": 0.1}
    pair = Pair(BatchNorm, len(shape), features=features, seed=seed, **how)
    pair.step(x, dy).compare(tolerance=tolerance, where="training ")
    pair.step(x[: max(2, examples - 1)], dy[: max(2, examples - 1)]).compare(tolerance=tolerance, where="second step ")
    pair.eval().step(x, dy).compare(tolerance=tolerance, where="evaluation ")
    assert set(pair.dtypes.values()) == {np.dtype(dtype)}

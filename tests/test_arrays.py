"""What counts as an array of numbers, and the sentences for everything else."""

import numpy as np
import pytest

from utils import arrays
from utils.arrays import float_array, matrix, targets

FLOATS = [np.float16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_pass_as_they_are_and_are_not_copied(dtype):
    values = np.array([[1, 2], [3, 4]], dtype=dtype)
    checked = matrix(values)
    assert checked.dtype == dtype
    assert np.shares_memory(checked, values)


def test_read_only_strided_arrays_and_lists_pass():
    values = np.arange(24.0).reshape(4, 6)[::2, ::3]
    values.flags.writeable = False
    np.testing.assert_array_equal(matrix(values), [[0, 3], [12, 15]])
    np.testing.assert_array_equal(matrix([[1.0, 2.0]]), [[1, 2]])
    np.testing.assert_array_equal(targets([1.0, 2.0], 2), [1, 2])
    np.testing.assert_array_equal(float_array([np.nan, np.inf], "w", finite=False), [np.nan, np.inf])


@pytest.mark.parametrize(
    ("values", "got"),
    [
        *((np.ones((1, 2), dtype=kind), kind) for kind in ("int64", "uint8", "bool", "complex128", "object")),
        ([["a", "b"]], "<U1"),
    ],
)
def test_other_types_are_refused_with_their_name(values, got):
    with pytest.raises(ValueError, match=rf"ages: expected floating-point numbers .*got {got}.*ages\.astype"):
        float_array(values, "ages")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_counted_and_located(bad):
    X = np.zeros((3, 4))
    X[1, 2] = X[2, 0] = bad
    with pytest.raises(ValueError, match=r"expected finite numbers, got 2 NaN or infinite of 12.*index \(1, 2\)"):
        matrix(X)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), r"expected shape \(n, d\).*got \(\)"),
        ((5,), r"expected shape \(n, d\).*got \(5,\); for one feature use X\.reshape\(-1, 1\)"),
        ((2, 3, 4), r"expected shape \(n, d\).*got \(2, 3, 4\)$"),
        ((0, 3), r"at least one example and one feature, got an empty array of shape \(0, 3\)"),
        ((3, 0), r"at least one example and one feature, got an empty array of shape \(3, 0\)"),
    ],
)
def test_tables_of_another_shape_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        matrix(np.ones(shape))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: matrix(np.ones((1, 3)), min_rows=2), r"X: expected at least 2 examples, got 1 \(shape \(1, 3\)\)"),
        (lambda: matrix(np.ones((5, 3)), "Z", n_features=4), "Z: expected 4 features, as in fit, got 3"),
        (lambda: matrix([[1.0, 2.0], [3.0]]), "X: expected an array of numbers, got rows of different lengths"),
        (lambda: targets([1.0, np.nan], 2), "y: expected finite numbers, got 1 NaN"),
        (lambda: targets([1, 2], 2), "y: expected floating-point numbers.*got int64"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 1), (1, 3), ()])
def test_targets_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"y: expected shape \(3,\), one target per example, got \(") as caught:
        targets(np.ones(shape), 3)
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "limits", "expected"),
    [
        (0, {"at_least": 0}, "a number of at least 0"),
        (0.5, {"at_least": 0, "below": 1}, "a number from 0 to below 1"),
        (1.0, {"at_least": 0, "at_most": 1}, "a number from 0 to 1"),
        (0.25, {"above": 0, "below": 1}, "a number between 0 and 1"),
        (1e-300, {"above": 0}, "a positive number"),
        (3, {"above": 2}, "a number above 2"),
        (np.float32(0.5), {}, "a finite number"),
    ],
)
def test_a_number_is_in_its_range(value, limits, expected):
    assert arrays.number(value, "p", **limits) == float(value)
    ends = [limits[key] for key in ("above", "below") if key in limits]  # these are outside
    beyond = [limits[key] + step for key, step in (("at_least", -1), ("above", -1), ("at_most", 1)) if key in limits]
    for wrong in (*ends, *beyond, np.nan, None, "1", True, [0.5]):
        with pytest.raises(ValueError, match=f"^p: expected {expected}, got "):
            arrays.number(wrong, "p", **limits)
    with pytest.raises(ValueError, match="^p: expected a .*, got inf; why$"):
        arrays.number(np.inf, "p", **limits, hint="; why")


def test_an_infinite_number_can_be_let_through():
    assert arrays.number(np.inf, "p", at_least=0, finite=False) == np.inf
    assert np.isnan(arrays.number(np.nan, "p", finite=False))
    with pytest.raises(ValueError, match="p: expected a number of at least 0, got -inf"):
        arrays.number(-np.inf, "p", at_least=0, finite=False)


def test_an_integer_is_in_its_range():
    for value in (1, 5, np.int8(3), np.array(2)):
        assert type(arrays.whole(value, "n", at_most=5)) is int
    for wrong in (0, 6, 2.0, np.float64(2), True, np.True_, "2", None, [2], np.nan):
        with pytest.raises(ValueError, match="n: expected an integer from 1 to 5, got "):
            arrays.whole(wrong, "n", at_most=5)


def test_a_seed_or_a_generator_makes_a_generator():
    drawn = np.random.default_rng(3)
    assert arrays.generator(drawn) is drawn
    assert arrays.generator(np.int64(3)).random() == arrays.generator(3).random() == np.random.default_rng(3).random()

"""The data sets against scikit-learn's own, the generators against what they promise."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import skew, spearmanr
from sklearn import datasets

from utils import data
from utils.data import Split

SKLEARN = {
    data.iris: datasets.load_iris,
    data.wine: datasets.load_wine,
    data.breast_cancer: datasets.load_breast_cancer,
    data.diabetes: datasets.load_diabetes,
    data.diabetes_in_own_units: lambda: datasets.load_diabetes(scaled=False),
    data.digits: datasets.load_digits,
}
CLASSES = [data.iris, data.wine, data.breast_cancer, data.digits]
EVERY = [*SKLEARN, data.ages_and_incomes]


def rows(x, y):
    """The examples with their targets, in an order of their own."""
    table = np.column_stack([x, y])
    return table[np.lexsort(table.T)]


def same(one, other):
    parts = ("x_train", "y_train", "x_test", "y_test")
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in parts)


@pytest.mark.parametrize(("load", "original"), SKLEARN.items())
def test_a_split_has_every_example_once_with_its_target(load, original):
    bunch, split = original(), load(seed=3)
    np.testing.assert_array_equal(rows(split.x, split.y), rows(bunch.data, bunch.target))
    assert split.feature_names == tuple(bunch.feature_names)


@pytest.mark.parametrize("load", EVERY)
def test_the_seed_decides_the_split(load):
    assert same(load(seed=1), load(seed=1))
    assert not same(load(seed=1), load(seed=2))
    assert same(load(seed=np.random.default_rng(1)), load(seed=1))


@pytest.mark.parametrize("load", EVERY)
def test_a_generator_is_drawn_from(load):
    rng = np.random.default_rng(1)
    assert not same(load(seed=rng), load(seed=rng))


@pytest.mark.parametrize("load", EVERY)
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_dtypes_and_sizes(load, fraction):
    split = load(test_fraction=fraction)
    assert split.x_train.dtype == split.x_test.dtype == np.float64
    assert split.y.dtype == (np.int64 if load in CLASSES else np.float64)
    assert len(split.x_test) == np.ceil(fraction * len(split.x))
    assert len(split.feature_names) == split.x.shape[1]
    assert all(type(name) is str for name in split.feature_names)


@pytest.mark.parametrize("load", CLASSES)
def test_classes_are_split_alike(load):
    split = load(seed=5)
    shares = [np.bincount(y) / len(y) for y in (split.y_train, split.y_test)]
    # The counts of a class are rounded to whole examples in each part.
    np.testing.assert_allclose(*shares, atol=2 / len(split.y_test))


@pytest.mark.parametrize("load", EVERY)
@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1.5, np.nan])
def test_a_fraction_that_leaves_a_part_empty_is_refused(load, fraction):
    with pytest.raises(ValueError, match=f"expected a number between 0 and 1, got {fraction}"):
        load(test_fraction=fraction)


def test_hold_out_splits_the_training_part_and_leaves_the_test_part_alone():
    split = data.wine(seed=0)
    inner = split.hold_out(seed=1, fraction=0.2)
    np.testing.assert_array_equal(rows(inner.x, inner.y), rows(split.x_train, split.y_train))
    assert len(inner.x_test) == np.ceil(0.2 * len(split.x_train))
    assert inner.feature_names == split.feature_names
    assert same(inner, split.hold_out(seed=1, fraction=0.2))
    with pytest.raises(ValueError, match="expected a number between 0 and 1, got 2"):
        split.hold_out(seed=1, fraction=2)


class TestSplit:
    X, y = np.ones((3, 2)), np.ones(3)

    def test_all_examples_are_those_for_training_and_then_those_for_testing(self):
        split = Split(self.X, self.y, 2 * self.X[:1], 2 * self.y[:1])
        np.testing.assert_array_equal(split.x, [[1, 1], [1, 1], [1, 1], [2, 2]])
        np.testing.assert_array_equal(split.y, [1, 1, 1, 2])
        assert split.feature_names == ()

    def test_it_cannot_be_changed(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            data.iris().x_train = self.X

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((X[:, 0], y, X, y), r"x_train: expected shape \(n, d\).*got \(3,\)"),
            ((X[:0], y[:0], X, y), r"x_train: .*got an empty array of shape \(0, 2\)"),
            ((X, y, X[:0], y[:0]), r"x_test: .*got an empty array of shape \(0, 2\)"),
            ((X.astype(int), y, X, y), "x_train: expected floating-point numbers.*got int64"),
            ((X, y, X * np.nan, y), "x_test: expected finite numbers, got 6 NaN"),
            ((X, y, X[:, :1], y), "x_test: expected 2 features, as x_train, got 1"),
            ((X, y[:2], X, y), r"y_train: expected shape \(3,\), one target an example, got \(2,\)"),
            ((X, y, X, y[:, None]), r"y_test: expected shape \(3,\), one target an example, got \(3, 1\)"),
            ((X, y * np.inf, X, y), "y_train: expected finite targets, got NaN or infinity"),
            ((X, y, X, y, ("age",)), "feature_names: expected 2 names, got 1"),
        ],
    )
    def test_parts_that_do_not_fit_are_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            Split(*arguments)


class TestAgesAndIncomes:
    def test_ranges_and_shapes_are_as_promised(self):
        split = data.ages_and_incomes(n=4000)
        age, income = split.x.T
        assert 10 <= age.min() < 11  # 4000 uniform ages come within a year of both ends
        assert 49 < age.max() <= 50
        assert 10_000 <= income.min() < 20_000
        assert 490_000 < income.max() <= 500_000
        # A Gaussian copula of 0.5 has this rank correlation; the standard error at 4000 is 0.016.
        np.testing.assert_allclose(spearmanr(age, income).statistic, 6 / np.pi * np.arcsin(0.25), atol=0.05)
        # The square of a uniform variable has skewness 0.64, the uniform one none; standard errors 0.03.
        np.testing.assert_allclose([skew(age), skew(income)], [0, 0.6389], atol=0.1)

    def test_both_features_contribute_alike(self):
        split = data.ages_and_incomes(n=4000)
        Z = (split.x - split.x.mean(axis=0)) / split.x.std(axis=0)
        # Ten points for a standard deviation of either; the noise of 3 leaves standard errors of 0.05, the sample's
        # deviation errs by 1 %.
        np.testing.assert_allclose(np.linalg.lstsq(Z, split.y - 50, rcond=None)[0], [10, 10], atol=0.4)

    def test_it_needs_eight_people(self):
        assert len(data.ages_and_incomes(n=8).x) == 8
        with pytest.raises(ValueError, match="n: expected at least 8 people, got 7"):
            data.ages_and_incomes(n=7)


class TestTwoFeatures:
    @pytest.mark.parametrize(("ratio", "correlation"), [(1.0, 0.5), (1e-3, -0.9), (1000.0, 0.0)])
    def test_scales_and_correlation_are_exact(self, ratio, correlation):
        X, y = data.two_features(seed=0, ratio=ratio, correlation=correlation, n=37)
        np.testing.assert_allclose(X.std(axis=0), [1, ratio], rtol=1e-12)  # rounding, here and below
        np.testing.assert_allclose(np.corrcoef(X, rowvar=False)[0, 1], correlation, atol=1e-12)
        np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-13 * ratio + 1e-13)
        np.testing.assert_allclose(y.mean(), 0, atol=1e-13)
        assert X.shape == (37, 2)

    def test_without_noise_the_features_explain_the_target(self):
        X, y = data.two_features(seed=0, ratio=10, noise=0)
        np.testing.assert_allclose(np.linalg.lstsq(X, y, rcond=None)[0], [1.5, 0.15], rtol=1e-12)  # rounding

    def test_the_noise_has_the_deviation_asked_for(self):
        quiet, loud = (data.two_features(seed=0, n=2000, noise=noise)[1] for noise in (0, 0.5))
        np.testing.assert_allclose(np.std(loud - quiet), 0.5, rtol=0.08)  # five standard errors of 1 / sqrt(4000)

    def test_the_seed_decides(self):
        one, again, other = (data.two_features(seed=seed)[0] for seed in (0, np.random.default_rng(0), 1))
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)

    @pytest.mark.parametrize(
        "arguments", [{"n": 2}, {"ratio": 0}, {"ratio": -1}, {"ratio": np.nan}, {"correlation": 1}, {"correlation": -1}]
    )
    def test_what_is_out_of_range_is_refused(self, arguments):
        with pytest.raises(ValueError, match="expected n >= 3, ratio > 0 and -1 < correlation < 1, got") as caught:
            data.two_features(seed=0, **arguments)
        assert str(*arguments.values()) in str(caught.value)


class TestPhotoPatches:
    def test_every_patch_is_a_piece_of_its_photograph(self):
        photos = datasets.load_sample_images().images
        for i, patch in enumerate(data.photo_patches(n=4, size=8)):
            photo = photos[i % 2]
            corners = np.argwhere((photo[:-7, :-7] == patch[:, 0, 0]).all(axis=-1))
            pieces = (photo[top : top + 8, left : left + 8] for top, left in corners)
            assert any(np.array_equal(piece, patch.transpose(1, 2, 0)) for piece in pieces)

    def test_shape_dtype_and_seed(self):
        patches = data.photo_patches(n=6, size=5, seed=4)
        assert patches.shape == (6, 3, 5, 5)
        assert patches.dtype == np.float64
        assert 0 <= patches.min() < patches.max() <= 255
        np.testing.assert_array_equal(patches, data.photo_patches(n=6, size=5, seed=4))
        assert not np.array_equal(patches, data.photo_patches(n=6, size=5, seed=5))

    @pytest.mark.parametrize(
        ("arguments", "got"),
        [
            ({"n": 1}, "n=1, size=16"),
            ({"size": 0}, "n=512, size=0"),
            ({"size": 401}, "n=512, size=401"),
        ],
    )
    def test_what_is_out_of_range_is_refused(self, arguments, got):
        with pytest.raises(ValueError, match=f"expected n of at least 2 and size from 1 to 400, got {got}"):
            data.photo_patches(**arguments)

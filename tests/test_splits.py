"""A split: what fits together, and what its methods leave as it was."""

import dataclasses

import numpy as np
import pytest

from utils import data
from utils.splits import Split


def rows(x, y):
    """The examples with their targets, in an order of their own."""
    table = np.column_stack([x, y])
    return table[np.lexsort(table.T)]


def everything(split):
    return {field.name: getattr(split, field.name) for field in dataclasses.fields(split)}


def assert_same_but(changed, one, other):
    for name, value in everything(one).items():
        if name not in changed:
            np.testing.assert_array_equal(everything(other)[name], value)


class TestSplit:
    X, y = np.ones((3, 2)), np.ones(3)

    def test_all_examples_are_those_for_training_and_then_those_for_testing(self):
        split = Split(self.X, self.y, 2 * self.X[:1], 2 * self.y[:1])
        np.testing.assert_array_equal(split.x, [[1, 1], [1, 1], [1, 1], [2, 2]])
        np.testing.assert_array_equal(split.y, [1, 1, 1, 2])
        assert split.feature_names == ()
        split = dataclasses.replace(split, x_validation=3 * self.X, y_validation=3 * self.y)
        np.testing.assert_array_equal(split.y, [1, 1, 1, 3, 3, 3, 2])
        np.testing.assert_array_equal(split.x[:, 1], split.y)

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
            ((X, y[:2], X, y), r"y_train: expected shape \(3,\), one target per example, got \(2,\)"),
            ((X, y, X, y[:, None]), r"y_test: expected shape \(3,\), one target per example, got \(3, 1\)"),
            ((X, y * np.inf, X, y), "y_train: expected finite targets, got NaN or infinity"),
            ((X, y, X, y, ("age",)), "feature_names: expected 2 names, got 1"),
            ((X, y, X, y, (), X), "expected both x_validation and y_validation or neither, got one of them"),
            ((X, y, X, y, (), None, y), "expected both x_validation and y_validation or neither, got one of them"),
            ((X, y, X, y, (), X[:, :1], y), "x_validation: expected 2 features, as x_train, got 1"),
            ((X, y, X, y, (), X * np.inf, y), "x_validation: expected finite numbers"),
            ((X, y, X, y, (), X, y * np.nan), "y_validation: expected finite targets"),
        ],
    )
    def test_parts_that_do_not_fit_are_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            Split(*arguments)

    def test_a_shape_is_channels_height_and_width(self):
        for shape in [(1, 1, 2), (2, 1, 1), (np.int64(1), 2, 1)]:
            assert Split(self.X, self.y, self.X, self.y, image_shape=shape).image_shape == shape
        wrong = (1, 1, 3), (1, 2), (2,), (1, 1, 1, 2), (-1, -2, 1), (1.0, 2.0, 1.0), 2, [1, 1, 2], "112", ()
        for shape in wrong:
            with pytest.raises(ValueError, match=r"image_shape: expected a tuple .* with product 2, .* got ") as raised:
                Split(self.X, self.y, self.X, self.y, image_shape=shape)
            assert repr(shape) in str(raised.value)


def test_a_part_is_held_out_of_the_training_part():
    split = data.digits(seed=0)
    inner = split.hold_out(seed=1, fraction=0.2)
    three = split.with_validation(seed=1, fraction=0.2)
    np.testing.assert_array_equal(rows(inner.x, inner.y), rows(split.x_train, split.y_train))
    assert_same_but(("x_train", "y_train", "x_validation", "y_validation"), split, three)
    for part in "xy":
        np.testing.assert_array_equal(getattr(three, f"{part}_train"), getattr(inner, f"{part}_train"))
        np.testing.assert_array_equal(getattr(three, f"{part}_validation"), getattr(inner, f"{part}_test"))
    np.testing.assert_array_equal(rows(three.x, three.y), rows(split.x, split.y))
    assert len(inner.x_test) == np.ceil(0.2 * len(split.x_train))
    assert inner.image_shape == split.image_shape == (1, 8, 8)
    assert inner.feature_names == split.feature_names
    shares = [np.bincount(y) / len(y) for y in (inner.y_train, inner.y_test)]
    np.testing.assert_allclose(*shares, atol=2 / len(inner.y_test))  # whole examples of each class


def test_the_seed_decides_the_held_out_part():
    split = data.iris(seed=0)
    one, again, other = (split.with_validation(seed=seed) for seed in (1, np.random.default_rng(1), 2))
    assert_same_but((), one, again)
    assert not np.array_equal(one.x_validation, other.x_validation)
    for hold_out in (split.hold_out, split.with_validation):
        for fraction in (0, 2):
            with pytest.raises(ValueError, match=f"^fraction: expected a number between 0 and 1, got {fraction}"):
                hold_out(seed=0, fraction=fraction)
    with pytest.raises(ValueError, match="expected a split without a validation part, got one with it"):
        one.with_validation(seed=0)


def test_splitting_keeps_the_dtype():
    split = data.digits().map(lambda x: x.astype(np.float32))
    inner, three = split.hold_out(seed=0), split.with_validation(seed=0)
    standard = data.standardize_channels(three)
    arrays = inner.x_train, inner.x_test, three.x_train, three.x_validation, standard.x
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}
    assert three.y.dtype == np.int64
    assert inner.image_shape == three.image_shape == standard.image_shape == (1, 8, 8)


def test_a_function_sees_each_part_once_and_by_itself():
    for split in (data.wine(seed=0), data.digits(seed=0).with_validation(seed=1)):
        sizes = []

        def centred(x, sizes=sizes):
            sizes.append(len(x))
            return x - x.mean(axis=0)

        moved = split.map(centred)
        parts = {name: x for name, x in everything(split).items() if name.startswith("x_") and x is not None}
        assert sorted(sizes) == sorted(map(len, parts.values()))
        for name, x in parts.items():
            np.testing.assert_array_equal(getattr(moved, name), x - x.mean(axis=0))
        assert_same_but(parts, split, moved)
    fewer = split.map(lambda x: x[:, :3])
    assert fewer.x_validation.shape == (len(split.x_validation), 3)
    assert (fewer.feature_names, fewer.image_shape) == ((), None)
    with pytest.raises(ValueError, match="y_train: expected shape"):
        split.map(lambda x: x[1:])
    with pytest.raises(ValueError, match="x_train"):
        split.map(lambda x: x * np.nan)


def test_the_first_training_examples():
    split = data.iris(seed=0).with_validation(seed=1)
    most = len(split.x_train)
    for n in (1, np.int64(70), most):
        few = split.first(n)
        np.testing.assert_array_equal(few.x_train, split.x_train[:n])
        np.testing.assert_array_equal(few.y_train, split.y_train[:n])
        assert_same_but(("x_train", "y_train"), split, few)
    for n in (0, -1, most + 1):
        with pytest.raises(ValueError, match=f"n: expected an integer from 1 to {most}, got {n}; there are no more"):
            split.first(n)


def many_classes(n=1000):
    """As many classes as examples: of n labels drawn at random about one is right by chance."""
    x = np.zeros((n, 1))
    return Split(x, np.arange(n), x[:5], np.arange(5), x_validation=x[:3], y_validation=np.arange(3))


@pytest.mark.parametrize("share", [0, 0.1, 0.25, 0.9999, 1])
def test_the_share_of_wrong_labels_is_exact(share):
    split = many_classes()
    wrong = split.with_wrong_labels(share, seed=3)
    changed = np.flatnonzero(wrong.y_train != split.y_train)
    # The most of 20 seeds is the share itself: at each about one label in 1000 / share is right by chance.
    most = max(np.sum(split.with_wrong_labels(share, seed=s).y_train != split.y_train) for s in range(20))
    assert most == round(share * 1000)
    assert most - 6 <= len(changed) <= most  # Poisson with mean 1: more than 6 once in ten thousand
    if len(changed) > 50:
        assert changed.min() < 100  # all over the data
        assert changed.max() >= 900
    np.testing.assert_array_equal(split.y_train, np.arange(1000))
    assert wrong.y_train.dtype == np.int64
    assert_same_but(("y_train",), split, wrong)


def test_wrong_labels_are_drawn_among_all_classes_alike():
    split = data.digits(seed=0)
    wrong = split.with_wrong_labels(1, seed=0).y_train
    n = len(wrong)
    # Counts of drawn labels are binomial, 5 standard deviations.
    np.testing.assert_allclose(np.bincount(wrong), np.full(10, n / 10), rtol=0, atol=5 * np.sqrt(0.09 * n))
    np.testing.assert_allclose(np.sum(wrong == split.y_train), n / 10, rtol=0, atol=5 * np.sqrt(0.09 * n))


def test_wrong_labels_are_those_of_their_seed():
    split, seeds = data.digits(seed=0), (1, 1, np.random.default_rng(1), 2)
    one, again, drawn, other = (split.with_wrong_labels(0.3, seed=seed).y_train.tolist() for seed in seeds)
    assert one == again == drawn != other


def test_wrong_labels_need_a_share_and_classes():
    for share in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=f"share: expected a number from 0 to 1, got {share}"):
            data.iris().with_wrong_labels(share, seed=0)
    with pytest.raises(ValueError, match=r"y_train: expected classes to draw from \(int64\), got float64"):
        data.diabetes().with_wrong_labels(0.5, seed=0)

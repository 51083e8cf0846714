"""Questions about a training, on histories that are written by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.lab.history import History, different, one_or_each


def swept(table, *, rates=(0.1, 1.0, 10.0), part="test", shuffled=False):
    """A history whose last accuracies of seeds 3, 4, ... at the rates are in a table."""
    table = np.array(table, dtype=np.float64)
    seeds, rates = np.repeat(np.arange(len(table)) + 3, len(rates)), np.tile(rates, len(table))
    order = np.random.default_rng(0).permutation(len(seeds)) if shuffled else np.arange(len(seeds))
    last = table.ravel()[order]
    accuracy = {part: np.stack([100 - last, last])}
    loss = np.stack([last + 1, last + 2])
    return History(seeds[order], rates[order], np.array([10, 20]), accuracy, loss, last + 3, 6.0)


def test_a_grid_has_a_row_for_each_seed_and_a_column_for_each_rate():
    history = swept([[1, 2, 3], [4, 5, 6]], rates=(10.0, 0.1, 1.0), shuffled=True)
    ascending = np.array([[2, 3, 1], [5, 6, 4]])
    assert history.rates.tolist() == [0.1, 1, 10]
    np.testing.assert_array_equal(history.grid(history.final()), ascending)
    np.testing.assert_array_equal(history.grid(history.loss), [ascending + 1, ascending + 2])
    np.testing.assert_array_equal(history.grid(history.diverged_at.tolist()), ascending + 3)


@pytest.mark.parametrize(("seeds", "rates"), [([0, 0, 1], [1, 2, 1]), ([0, 0, 1, 1], [1, 1, 1, 2]), ([0, 0], [1, 1])])
def test_no_grid_of_pairs_that_are_missing_or_there_twice(seeds, rates):
    n = len(seeds)
    history = History(np.array(seeds), np.array(rates), np.array([1]), {"test": np.zeros((1, n))}, None, None, 0.0)
    with pytest.raises(ValueError, match=f"grid: expected one replica for each of .* got {n} replicas with"):
        history.grid(np.zeros(n))


def test_no_grid_of_other_numbers_than_one_per_replica():
    for shape in [(), (5,), (6, 2)]:
        with pytest.raises(ValueError, match=r"values: expected shape \(..., 6\), one per replica, got "):
            swept([[1, 2, 3], [4, 5, 6]]).grid(np.zeros(shape))


def test_the_replicas_at_one_rate():
    history = swept([[1, 2, 3], [4, 5, 6]], shuffled=True)
    some = history.at(1.0)
    assert sorted(zip(some.seeds.tolist(), some.final().tolist(), strict=True)) == [(3, 2), (4, 5)]
    np.testing.assert_array_equal(some.learning_rates, 1)
    np.testing.assert_array_equal(some.accuracy["test"], [100 - some.final(), some.final()])
    np.testing.assert_array_equal(some.loss, [some.final() + 1, some.final() + 2])
    np.testing.assert_array_equal(some.diverged_at, some.final() + 3)
    np.testing.assert_array_equal(some.steps, [10, 20])
    assert some.seconds == 2.0
    assert swept([[1, 2]], rates=(0.0, 1e-12)).at(0).final().tolist() == [1]
    with pytest.raises(ValueError, match=r"rate: expected one of \[0.1, 1.0, 10.0\], got 0.11"):
        history.at(0.11)


# One notion of the same rate, in every method: equal up to rounding, 1e-9; an independent oracle is `math.isclose`.


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (0.3, 0.1 * 3, True),
        (1e-12, 1e-12 * (1 + 2e-16), True),
        (0.1, 0.1 * (1 + 1e-6), False),
        (1e-12, 2e-12, False),
        (0.0, 1e-300, False),
        (0.0, 0.0, True),
    ],
)
def test_two_rates_are_one_if_they_differ_by_rounding_only(one, other, same):
    assert math.isclose(one, other, rel_tol=1e-9, abs_tol=0) is same
    seeds, rates = np.array([0, 1, 0, 1]), np.array([one, other, 5.0, 5.0])
    accuracy = {"test": np.array([[80.0, 90, 10, 20]]), "validation": np.array([[80.0, 90, 10, 20]])}
    history = History(seeds, rates, np.array([1]), accuracy, np.ones((1, 4)), np.full(4, np.inf), 4.0)
    found, which = different(rates)
    assert found.tolist() == sorted({min(one, other) if same else one, min(one, other) if same else other, 5.0})
    assert (which[0] == which[1]) == same
    assert history.rates.tolist() == found.tolist()
    assert len(history.at(one).seeds) == len(history.at(other).seeds) == (2 if same else 1)
    if same:
        np.testing.assert_array_equal(history.grid(history.final()), [[80, 10], [90, 20]])
        assert history.best_rate() == min(one, other)
        np.testing.assert_array_equal(history.at_best(), [80, 90])
        np.testing.assert_array_equal(history.usable_range(50)[0], [min(one, other)] * 2)
    else:
        with pytest.raises(ValueError, match="grid: expected one replica for each of 2 seeds and 3 learning rates"):
            history.grid(history.final())


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=5), st.lists(st.integers(-3, 3), min_size=5, max_size=5))
def test_every_rate_finds_itself_and_what_rates_calls_one(rates, steps):
    rates = np.array([rate + k * np.spacing(rate) for rate in rates for k in steps])
    history = History(np.arange(len(rates)), rates, np.array([1]), {}, np.ones((1, len(rates))), rates, 1.0)
    found = [history.at(rate).seeds.tolist() for rate in rates]
    assert all(i in seeds for i, seeds in enumerate(found))
    assert len({tuple(seeds) for seeds in found}) == len(history.rates)
    assert sorted(i for rate in history.rates for i in history.at(rate).seeds) == list(range(len(rates)))


def test_one_number_for_all_or_one_for_each():
    for values in (2, [2.0, 2.0, 2.0], np.full(3, 2)):
        one = one_or_each(values, 3, "rate")
        assert (one.tolist(), one.dtype) == ([2, 2, 2], np.float64)
        one[0] = 5  # its own memory
        assert one.tolist() == [5, 2, 2]
    for wrong in ([2.0], [2.0] * 4, [[2.0] * 3]):
        with pytest.raises(ValueError, match=r"rate: expected one, or one for each of the 3 seeds, got shape"):
            one_or_each(wrong, 3, "rate", "seeds")


def test_the_final_accuracy_of_a_part_that_is_there():
    history = swept([[1, 2, 3]])
    assert history.final().tolist() == [1, 2, 3]
    for question in (
        lambda: history.final("validation"),
        history.best_rate,
        history.at_best,
        lambda: history.steps_to(1, "validation"),
        lambda: history.usable_range(1, "validation"),
    ):
        with pytest.raises(ValueError, match=r"part: expected one of test, got 'validation'; .* with_validation\(seed"):
            question()


def test_the_best_rate_has_the_highest_median_and_is_chosen_on_validation_images():
    assert swept([[90, 80, 10], [0, 80, 10], [90, 70, 95]], part="validation").best_rate() == 0.1
    history = swept([[90, 80, 10], [0, 80, 10], [10, 70, 95]], part="validation", shuffled=True)
    assert history.best_rate() == 1.0
    assert isinstance(history.best_rate(), float)
    assert swept([[10, 80, 80], [10, 80, 80]]).best_rate("test") == 1.0  # the smallest of several
    np.testing.assert_array_equal(np.sort(history.at_best("validation")), [70, 80, 80])
    history.accuracy["test"] = 100 - history.accuracy["validation"]
    np.testing.assert_array_equal(np.sort(history.at_best()), [20, 20, 30])


def test_steps_to_an_accuracy():
    accuracy = np.array([[10.0, 90, 20, 50], [50, 40, 20, 60], [70, 30, 20, 90]])
    parts = {"test": accuracy, "validation": accuracy / 2}
    history = History(np.arange(4), np.ones(4), np.array([5, 10, 12]), parts, None, np.array([np.inf, 1, 7, 2]), 0.0)
    assert history.diverged.tolist() == [False, True, True, True]
    assert history.steps_to(50).tolist() == [10, 5, np.inf, 5]  # reached exactly counts, and so does once
    assert history.steps_to([70, 91, 20, 55]).tolist() == [12, np.inf, 5, 10]
    assert history.steps_to(35, "validation").tolist() == [12, 5, np.inf, 12]
    with pytest.raises(ValueError, match="accuracy: expected one, or one for each of the 4 replicas"):
        history.steps_to([50, 60])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([10, 20, 30, 40, 50], (0, 0)),  # nowhere
        ([90, 90, 91, 90, 90], (1, 16)),  # everywhere
        ([10, 90, 95, 90, 10], (2, 8)),
        ([90, 10, 85, 95, 80], (4, 16)),  # beyond a gap does not count; reached exactly does
        ([95, 90, 10, 90, 90], (1, 2)),  # at one end
        ([10, 10, 10, 10, 80], (16, 16)),
        ([95, 10, 10, 10, 95], (1, 1)),  # the first of two that are best
    ],
)
def test_the_usable_range_is_around_the_best_rate(row, expected):
    low, high = swept([row, [0] * 5], rates=(1.0, 2.0, 4.0, 8.0, 16.0), shuffled=True).usable_range(80)
    assert (low.tolist(), high.tolist()) == ([expected[0], 0], [expected[1], 0])
    assert low.dtype == high.dtype == np.float64


def test_the_usable_range_with_a_threshold_for_each_seed():
    history = swept([[50, 60, 50], [50, 60, 50]], part="validation")
    assert np.array_equal(history.usable_range([50, 60], "validation"), [[0.1, 1.0], [10.0, 1.0]])
    with pytest.raises(ValueError, match="accuracy: expected one, or one for each of the 2 seeds"):
        history.usable_range([50] * 6, "validation")

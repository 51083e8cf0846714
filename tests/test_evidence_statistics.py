"""Words from numbers: the interval against the binomial distribution, and how often a word is wrong."""

import itertools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from utils.evidence import Claim, Experiment
from utils.evidence.running import run
from utils.evidence.statistics import condition, counts, coverage, expected_errors, interval, median, together

DRAWS = int(os.environ.get("DRAWS", "1000"))
FACTS = {"statement": "s", "quote": "q", "source": "o", "prediction": "p", "unit": "percentage points"}


def claim(smallest=1.0, direction="at least"):
    return Claim("a-claim", **FACTS, smallest=smallest, direction=direction, lab="01_x", kind="experiment")


def tails(n):
    """P(fewer than k heads of n coins), by counting."""
    chances = np.array([float(np.prod(np.arange(n - k + 1, n + 1) / np.arange(1, k + 1))) for k in range(n + 1)])
    return np.concatenate([[0.0], np.cumsum(chances / 2.0**n)])


class TestInterval:
    @pytest.mark.parametrize("n", range(1, 70))
    def test_it_is_the_narrowest_with_the_confidence(self, n):
        k = interval(n)
        below = tails(n)  # of every k
        assert below[k] <= 0.025 < below[k + 1]
        assert coverage(n) == pytest.approx(1 - 2 * below[k], abs=1e-12)
        assert coverage(n) >= 0.95

    @pytest.mark.parametrize(("n", "percent"), [(16, "97.9"), (32, "98.0"), (64, "96.7"), (5, "100.0")])
    def test_coverage_at_the_numbers_of_seeds_that_are_run(self, n, percent):
        assert f"{100 * coverage(n):.1f}" == percent

    def test_fewer_than_six_numbers_decide_nothing(self):
        for n in range(1, 6):
            found = condition([100.0] * n, claim())
            assert (found["low"], found["high"], found["word"]) == (-np.inf, np.inf, "undecided")
        assert condition([100.0] * 6, claim())["word"] == "holds"

    def test_it_is_made_of_order_statistics(self):
        found = condition(np.arange(16.0, 0, -1), claim())
        assert found == {"median": 8.5, "low": 4.0, "high": 13.0, "word": "holds"}

    @pytest.mark.parametrize(
        ("values", "expected"),
        [([1, 2], 1.5), ([1, np.inf], 1), ([-np.inf, 3], 3), ([np.inf, np.inf], np.inf), ([1, 2, np.inf], 2)],
    )
    def test_the_median_is_finite_where_there_is_no_middle(self, values, expected):
        assert median(np.array(values, float)) == expected


class TestWords:
    NUMBERS = st.lists(st.sampled_from([-np.inf, -2.0, 0.0, 1.0, 1.0, 2.5, np.inf]), min_size=6, max_size=30)

    @given(NUMBERS, st.sampled_from([-2.0, 0.0, 1.0]))
    @settings(derandomize=True, deadline=None, max_examples=80)
    def test_a_claim_in_the_other_direction_about_negative_numbers_has_the_same_word(self, effect, smallest):
        one = condition(effect, claim(smallest))
        other = condition([-x for x in effect], claim(-smallest, "at most"))
        assert one["word"] == other["word"]
        assert (one["low"], one["high"]) == (-other["high"], -other["low"])

    @given(NUMBERS)
    @settings(derandomize=True, deadline=None, max_examples=50)
    def test_it_holds_or_fails_as_its_opposite_fails_or_holds(self, effect):
        """Off the threshold, which belongs to the claim."""
        opposite = {"holds": "fails", "fails": "holds", "undecided": "undecided"}
        words = [condition(effect, claim(0.5, direction))["word"] for direction in ("at least", "at most")]
        assert opposite[words[0]] == words[1]

    @pytest.mark.parametrize(
        ("effect", "word"),
        [
            ([1.0] * 16, "holds"),
            ([0.999] * 16, "fails"),
            ([0.0] * 3 + [1.0] * 13, "holds"),
            ([0.0] * 4 + [1.0] * 12, "undecided"),
            ([0.0] * 13 + [1.0] * 3, "fails"),
            ([0.0] * 12 + [1.0] * 4, "undecided"),
            ([np.inf] * 16, "holds"),
            ([-np.inf] * 16, "fails"),
        ],
    )
    def test_the_threshold_itself_belongs_to_the_claim(self, effect, word):
        assert condition(effect, claim())["word"] == word

    @pytest.mark.parametrize(
        ("effect", "message"),
        [
            ([], r"expected one number per seed, shape \(n,\), got shape \(0,\)"),
            (1.0, r"expected one number per seed, shape \(n,\), got shape \(\)"),
            ([1.0, np.nan, np.nan], "got 2 of 3 that are NaN: 'never reached' is infinity"),
            (["a"], "effect: expected numbers"),
        ],
    )
    def test_what_is_no_number_per_seed_is_refused(self, effect, message):
        with pytest.raises(ValueError, match=message):
            condition(effect, claim())


class TestTogether:
    def test_of_all_words_of_three_conditions(self):
        for words in itertools.product(("holds", "fails", "undecided", "not judged"), repeat=3):
            if set(words) == {"holds"}:
                expected = "holds"
            elif set(words) == {"fails"}:
                expected = "fails"
            else:
                expected = "depends" if "holds" in words and "fails" in words else "undecided"
            assert together(words) == expected

    def test_of_nothing(self):
        assert together([]) == "undecided"

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (["holds"] * 3 + ["undecided"] * 2, "3 of 5 hold, none fails"),
            (["holds", "fails"], "1 of 2 holds, 1 fails"),
            (["fails", "fails", "not judged"], "none of 3 holds, 2 fail, 1 not judged"),
        ],
    )
    def test_counts_in_words(self, words, text):
        assert counts(words) == text

    def test_expected_errors(self):
        """Of a hundred decided conditions with 64 seeds, 1.6 at most; the others cannot be wrong."""
        many = [(64, "holds")] * 50 + [(64, "fails")] * 50 + [(16, "undecided"), (16, "not judged")] * 100
        assert expected_errors(many) == pytest.approx(100 * binom.cdf(23, 64, 0.5))
        assert expected_errors([(16, "holds")]) == pytest.approx(0.0106, abs=1e-4)
        assert expected_errors([]) == 0


def made_up(rng, step, shift, luck=1.0):
    """An experiment whose rates are all as good as each other: what a seed chooses is noise.

    A network that is lucky on validation images is lucky on test images, too; `step` is that of a grid of accuracies.
    """

    def function(seeds, data, steps, rates, device):
        found = {}
        for arm, grid in rates.items():
            found[arm] = {}
            for rate in grid:
                good = luck * rng.normal(size=len(seeds))
                scores = np.stack([good + rng.normal(size=len(seeds)) for _ in range(2)], axis=1)
                scores[:, 1] += 90 + shift * (arm == "one")
                found[arm][rate] = np.round(scores / step) * step if step else scores
        return found

    grid = dict.fromkeys(("one", "other"), (0.1, 0.2, 0.4, 0.8, 1.6))
    conditions = {"a-claim": {"here": (None, "one", "other")}}
    return Experiment("made_up", function, conditions, "experiment", grid, steps=300)


def words_of(n, *, step=0.0, shift=1.0, smallest=1.0, direction="at least"):
    """How often each word comes out, in DRAWS runs of n seeds."""
    experiment = made_up(np.random.default_rng(0), step, shift)
    found = dict.fromkeys(("holds", "fails", "undecided"), 0)
    for _ in range(DRAWS):
        effect = run(experiment, range(n)).effects["a-claim"]["here"]
        found[condition(effect, claim(smallest, direction))["word"]] += 1
    return found


def at_most(chance):
    """The most that so many draws give, but for one case in a thousand."""
    return binom.ppf(0.999, DRAWS, chance)


@pytest.mark.timeout(3600)
class TestHowOftenAWordIsWrong:
    """At the threshold itself, where chance has it easiest."""

    @pytest.mark.parametrize("n", [16, 32, 64])
    def test_on_a_continuous_scale(self, n):
        found = words_of(n)
        print(n, found, f"promised {DRAWS * (1 - coverage(n)):.0f}")
        assert found["holds"] + found["fails"] <= at_most(1 - coverage(n))
        # Both sides have their half, and no more.
        assert max(found["holds"], found["fails"]) <= at_most((1 - coverage(n)) / 2)

    @pytest.mark.parametrize("direction", ["at least", "at most"])
    def test_on_a_grid_of_accuracies_with_ties(self, direction):
        """In steps of half a point, the median on the threshold belongs to the claim: only "fails" is wrong."""
        found = words_of(16, step=0.5, direction=direction)
        print(direction, found)
        assert found["fails"] <= at_most((1 - coverage(16)) / 2)

    @pytest.mark.parametrize(("smallest", "direction"), [(1.01, "at least"), (0.99, "at most")])
    def test_on_a_grid_with_the_threshold_just_beyond_the_median(self, smallest, direction):
        found = words_of(16, step=0.5, smallest=smallest, direction=direction)
        print(smallest, direction, found)
        assert found["holds"] <= at_most((1 - coverage(16)) / 2)

    def test_an_effect_that_is_there_is_found(self):
        found = words_of(16, shift=4.0)
        assert found["fails"] == 0
        assert found["holds"] > 0.9 * DRAWS

"""The first edition: verdicts of one run against their rule, and the cards as notebooks keep them."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.evidence import MIME, VERDICTS, check, claims, judge
from utils.evidence.statistics import interval

ENTRIES = {
    "statement": "A statement.",
    "quote": "words",
    "source": "somebody",
    "prediction": "before",
    "smallest": 1.0,
    "direction": "at least",
    "unit": "points",
    "notebook": "01_input_standardization",
    "edition": 1,
    "verdict": "supported",
    "why": "Because.",
}


OLD = next(name for name, claim in claims().items() if claim.edition == 1)


@pytest.fixture(autouse=True)
def _in_a_readers_hands(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("DATASET", raising=False)


@pytest.fixture
def claim(tmp_path):
    """Write a claims file with one claim, other entries on demand, and return its path."""

    def write(**entries):
        lines = (f"{key} = {json.dumps(value)}" for key, value in {**ENTRIES, **entries}.items() if value is not None)
        path = tmp_path / "claims.toml"
        path.write_text("[claims.a-claim]\n" + "\n".join(lines), encoding="utf-8")
        return path

    return write


class TestInterval:
    @given(st.lists(st.sampled_from([-np.inf, -1.5, 0.0, 1.0, 1.0, 2.5, np.inf]), min_size=1, max_size=40))
    @settings(derandomize=True, deadline=None, max_examples=60)
    def test_it_is_that_of_the_order_statistics_of_the_second_edition(self, effect):
        """SciPy's quantile test against ours, which tests/test_evidence_statistics.py holds against the binomial."""
        (part,) = judge(OLD, effect=effect).parts
        k = interval(len(effect))
        assert (part["low"], part["high"]) == (
            (np.sort(effect)[k - 1], np.sort(effect)[-k]) if k else (-np.inf, np.inf)
        )

    @pytest.mark.parametrize(
        ("effect", "median"),
        [([3.0, 1.0, 2.0], 2), ([1.0, 2.0, 3.0, 5.0], 2.5), ([1.0, np.inf], 1), ([np.inf], np.inf)],
    )
    def test_the_median(self, effect, median, claim):
        assert judge("a-claim", effect=effect, path=claim()).parts[0]["median"] == median


class TestVerdict:
    # The interval of sixteen effects, all of them x except for three on either side, is x to x.
    @pytest.mark.parametrize(
        ("direction", "effect", "verdict"),
        [
            ("at least", [1.0] * 16, "supported"),  # the boundary belongs to the claim
            ("at least", [-9.0] * 3 + [1.0] * 13, "supported"),
            ("at least", [-9.0] * 4 + [1.0] * 12, "inconclusive"),
            ("at least", [0.999] * 13 + [9.0] * 3, "refuted"),
            ("at least", [0.999] * 12 + [9.0] * 4, "inconclusive"),
            ("at least", [np.inf] * 16, "supported"),
            ("at least", [-np.inf] * 16, "refuted"),
            ("at most", [1.0] * 16, "supported"),
            ("at most", [1.0] * 13 + [9.0] * 3, "supported"),
            ("at most", [1.0] * 12 + [9.0] * 4, "inconclusive"),
            ("at most", [-9.0] * 3 + [1.001] * 13, "refuted"),
            ("at most", [-9.0] * 4 + [1.001] * 12, "inconclusive"),
            ("at most", [np.inf] * 16, "refuted"),
            ("at most", [-np.inf] * 16, "supported"),
        ],
    )
    def test_it_follows_from_the_interval_and_the_direction(self, direction, effect, verdict, claim):
        assert judge("a-claim", effect=effect, path=claim(direction=direction)).verdict == verdict

    @pytest.mark.parametrize("n", range(1, 6))
    @pytest.mark.parametrize("direction", ["at least", "at most"])
    def test_five_seeds_can_tell_nothing(self, n, direction, claim):
        for effect in ([100.0] * n, [-100.0] * n, [np.inf] * n):
            assert judge("a-claim", effect=effect, path=claim(direction=direction)).verdict == "inconclusive"

    def test_six_equal_seeds_can(self, claim):
        assert judge("a-claim", effect=[100.0] * 6, path=claim()).verdict == "supported"

    @pytest.mark.parametrize(
        ("verdicts", "together"),
        [
            (["supported", "supported"], "supported"),
            (["supported", "refuted"], "supported in part"),
            (["inconclusive", "supported"], "supported in part"),
            (["refuted", "refuted"], "refuted"),
            (["refuted", "inconclusive"], "refuted"),
            (["inconclusive", "inconclusive"], "inconclusive"),
            (["supported", "refuted", "inconclusive"], "supported in part"),
            (["supported"], "supported"),
        ],
    )
    def test_several_conditions_are_put_together(self, verdicts, together, claim):
        effects = {"supported": [2.0] * 16, "refuted": [0.0] * 16, "inconclusive": [0.0, 2.0] * 8}
        card = judge("a-claim", effect={f"case {i}": effects[v] for i, v in enumerate(verdicts)}, path=claim())
        assert card.verdict == together
        assert [part["verdict"] for part in card.parts] == verdicts
        assert [part["condition"] for part in card.parts] == [f"case {i}" for i in range(len(verdicts))]

    def test_a_missing_value_makes_it_inconclusive(self, claim):
        card = judge("a-claim", effect=[np.nan] + [2.0] * 15, path=claim())
        assert card.verdict == "inconclusive"
        assert (card.parts[0]["low"], card.parts[0]["high"]) == (-np.inf, np.inf)

    @pytest.mark.parametrize(("error", "verdict"), [(0.0, "supported"), (1e-9, "supported"), (1.1e-9, "refuted")])
    def test_of_an_identity_it_is_the_error_against_the_tolerance(self, error, verdict, claim):
        assert check("a-claim", error, 1e-9, path=claim()).verdict == verdict

    def test_of_an_identity_whose_error_is_no_number_it_is_not_supported(self, claim):
        assert check("a-claim", np.nan, 1e-9, path=claim()).verdict != "supported"

    @pytest.mark.parametrize(
        ("effect", "got"), [([], r"\(0,\)"), (1.0, r"\(\)"), (np.ones((2, 8)), r"\(2, 8\)"), ({"a": []}, r"\(0,\)")]
    )
    def test_an_effect_of_another_shape_is_refused(self, effect, got, claim):
        with pytest.raises(ValueError, match=rf"effect: expected one number per seed, shape \(n,\), got shape {got}"):
            judge("a-claim", effect=effect, path=claim())

    def test_an_empty_dict_is_refused(self, claim):
        with pytest.raises(ValueError, match="effect: expected at least one condition, got an empty dict"):
            judge("a-claim", effect={}, path=claim())

    @pytest.mark.parametrize("tolerance", [0, -1, np.nan])
    def test_a_tolerance_that_is_not_positive_is_refused(self, tolerance, claim):
        with pytest.raises(ValueError, match=f"tolerance: expected a positive number, got {tolerance}"):
            check("a-claim", 0.0, tolerance, path=claim())


class TestContinuousIntegration:
    @pytest.mark.parametrize("value", ["true", "1", "True", "yes"])
    def test_a_verdict_that_differs_is_an_error(self, value, claim, monkeypatch):
        monkeypatch.setenv("CI", value)
        with pytest.raises(AssertionError, match="a-claim: the verdict is 'refuted', .* records 'supported'"):
            judge("a-claim", effect=[0.0] * 16, path=claim())
        with pytest.raises(AssertionError, match="a-claim: the verdict is 'refuted', .* records 'supported'"):
            check("a-claim", 1.0, 1e-9, path=claim())

    def test_the_error_has_the_result_of_each_condition_and_says_what_to_change(self, claim, monkeypatch):
        monkeypatch.setenv("CI", "true")
        with pytest.raises(AssertionError) as caught:
            judge("a-claim", effect={"wine": [2.0] * 16, "iris": [0.0] * 16}, path=claim())
        assert str(caught.value).splitlines() == [
            "claim a-claim: the verdict is 'supported in part', data/claims.toml records 'supported':",
            "wine — supported: median 2 points, 95 % interval 2 to 2, 16 seeds; the claim needs at least 1",
            "iris — refuted: median 0 points, 95 % interval 0 to 0, 16 seeds; the claim needs at least 1",
            "If the experiment is right, correct verdict and why in data/claims.toml, then run make notebooks.",
        ]

    @pytest.mark.parametrize("verdict", VERDICTS)
    def test_the_recorded_verdict_is_none(self, verdict, claim, monkeypatch):
        monkeypatch.setenv("CI", "true")
        good, bad = [2.0] * 16, [0.0] * 16
        effect = {"supported": good, "refuted": bad, "supported in part": {"a": good, "b": bad}}.get(verdict, [2.0])
        card = judge("a-claim", effect=effect, path=claim(verdict=verdict))
        assert card.verdict == verdict
        assert not card.differs

    @pytest.mark.parametrize("value", ["", "0", "false", "False", "no", " "])
    def test_elsewhere_the_card_says_that_it_differs(self, value, claim, monkeypatch):
        monkeypatch.setenv("CI", value)
        card = judge("a-claim", effect=[0.0] * 16, path=claim())
        assert card.differs
        assert "This differs from the recorded verdict (supported)." in repr(card)
        assert "differs from the recorded verdict" in card._repr_mimebundle_()["text/html"]

    def test_on_other_data_nothing_is_an_error(self, claim, monkeypatch):
        monkeypatch.setenv("CI", "true")
        monkeypatch.setenv("DATASET", "mnist")
        assert judge("a-claim", effect=[0.0] * 16, path=claim()).differs
        assert check("a-claim", 1.0, 1e-9, path=claim()).differs
        assert judge("a-claim", effect=[np.nan] * 16, path=claim()).verdict == "inconclusive"

    def test_a_missing_value_is_an_error(self, claim, monkeypatch):
        monkeypatch.setenv("CI", "true")
        with pytest.raises(ValueError, match="effect: 2 of 8 are NaN"):
            judge("a-claim", effect=[np.nan] * 2 + [2.0] * 6, path=claim(verdict="inconclusive"))


class TestCard:
    KEYS = {"id", "verdict", "median", "low", "high", "n", "unit", "smallest"}

    def test_json_of_one_condition(self, claim):
        card = judge("a-claim", effect=np.arange(1.0, 17), path=claim()).to_json()
        assert card == {
            "id": "a-claim",
            "verdict": "supported",
            "median": 8.5,
            "low": 4.0,
            "high": 13.0,
            "n": 16,
            "unit": "points",
            "smallest": 1.0,
        }

    def test_json_of_several_conditions(self, claim):
        card = judge("a-claim", effect={"a": [2.0] * 16, "b": [0.0] * 7}, path=claim()).to_json()
        assert set(card) == self.KEYS | {"parts"}
        assert (card["verdict"], card["median"], card["n"]) == ("supported in part", 2.0, 16)
        assert [set(part) for part in card["parts"]] == [{"condition", "verdict", "median", "low", "high", "n"}] * 2
        assert (card["parts"][1]["median"], card["parts"][1]["n"]) == (0.0, 7)

    def test_json_of_an_identity(self, claim):
        card = check("a-claim", 3e-16, 1e-9, path=claim()).to_json()
        assert set(card) == self.KEYS
        assert (card["median"], card["smallest"]) == (3e-16, 1e-9)

    @pytest.mark.parametrize("effect", [[np.inf] * 8, [-np.inf] * 8, [np.nan] * 8, [1.0], np.full(8, 2, np.float32)])
    def test_json_is_strict_and_its_words_are_read_by_float(self, effect, claim):
        card = judge("a-claim", effect={"a": effect, "b": effect}, path=claim())
        stored = json.loads(json.dumps(card.to_json(), allow_nan=False))
        for part, kept in zip(card.parts, stored["parts"], strict=True):
            for key in ("median", "low", "high"):
                np.testing.assert_equal(float(kept[key]), part[key])

    def test_it_says_what_was_found_in_words(self, claim):
        text = repr(judge("a-claim", effect=np.arange(1.0, 17), path=claim()))
        assert text.splitlines() == [
            "SUPPORTED: A statement.",
            "median 8.5 points, 95 % interval 4 to 13, 16 seeds; the claim needs at least 1",
            "Because.",
            "[a-claim]",
        ]

    def test_it_names_the_conditions(self, claim):
        text = repr(judge("a-claim", effect={"wine": [2.0] * 16, "iris": [0.0] * 16}, path=claim()))
        assert "wine — supported: median 2 points" in text
        assert "iris — refuted: median 0 points" in text

    def test_it_shows_the_tolerance(self, claim):
        assert "error 3.0e-16 points, tolerance 1e-09" in repr(check("a-claim", 3e-16, 1e-9, path=claim()))

    @pytest.mark.parametrize(
        ("effect", "shown"),
        [
            (np.inf, "∞"),
            (-np.inf, "−∞"),
            (2.0, "2"),
            (1234.4, "1 234"),
            (-1234.4, "-1 234"),
            (999.7, "1 000"),
            (-999.7, "-1 000"),
            (0.01234, "0.0123"),
            (2.5e7, "2.5e+07"),
        ],
    )
    def test_numbers_are_short_and_without_needless_exponent(self, effect, shown, claim):
        assert f"median {shown} points" in repr(judge("a-claim", effect=[effect] * 7, path=claim()))

    def test_html_is_escaped(self, claim):
        words = {key: f"<em>{key}</em> & 'more'" for key in ("statement", "quote", "source", "why", "unit")}
        for recorded in ("supported in part", "refuted"):
            card = judge(
                "a-claim", effect={"<i>x</i>": [2.0] * 7, "y": [0.0] * 7}, path=claim(**words, verdict=recorded)
            )
            page = card._repr_mimebundle_()["text/html"]
            assert "&lt;i&gt;x&lt;/i&gt;" in page
            assert "&lt;em&gt;quote&lt;/em&gt; &amp; &#x27;more&#x27;" in page
            assert set(re.findall(r"</?(\w+)", page)) == {"div", "b", "code"}

    def test_a_notebook_gets_text_html_and_json_of_the_same(self, claim):
        card = judge("a-claim", effect=[2.0] * 16, path=claim())
        bundle = card._repr_mimebundle_()
        assert set(bundle) == {"text/plain", "text/html", MIME}
        assert bundle["text/plain"] == repr(card)
        assert bundle[MIME] == card.to_json()
        for words in ("supported", "A statement.", "“words”", "somebody", "median 2 points", "Because.", "a-claim"):
            assert words in bundle["text/html"]

    def test_the_colour_of_every_verdict_is_another(self, claim):
        effects = [[2.0] * 16, [0.0] * 16, [2.0], {"a": [2.0] * 16, "b": [0.0] * 16}]
        pages = [judge("a-claim", effect=effect, path=claim())._repr_mimebundle_()["text/html"] for effect in effects]
        assert len({re.search("#[0-9A-F]{6}", page).group() for page in pages}) == 4


class TestTimed:
    """Times depend on the machine: their verdict is shown, and never an error."""

    @pytest.mark.parametrize("effect", [[0.0] * 16, [1.0], [-np.inf] * 16, {"a": [2.0] * 16, "b": [0.0] * 16}])
    @pytest.mark.parametrize("ci", ["true", ""])
    def test_another_verdict_is_no_error(self, effect, ci, claim, monkeypatch):
        monkeypatch.setenv("CI", ci)
        card = judge("a-claim", effect=effect, timed=True, path=claim())
        assert card.verdict != "supported"
        assert card.differs
        assert f"the record says supported. {card.claim.why}" in repr(card)

    @pytest.mark.parametrize("how", [{}, {"timed": False}])
    def test_without_it_another_verdict_is_one(self, how, claim, monkeypatch):
        monkeypatch.setenv("CI", "true")
        with pytest.raises(AssertionError, match="a-claim: the verdict is 'refuted', .* records 'supported'"):
            judge("a-claim", effect=[0.0] * 16, path=claim(), **how)

    def test_the_card_says_so_in_its_json_and_is_the_same_else(self, claim, monkeypatch):
        monkeypatch.setenv("CI", "true")
        effect = np.arange(1.0, 17)
        timed = judge("a-claim", effect=effect, timed=True, path=claim())
        other = judge("a-claim", effect=effect, path=claim())
        assert timed.to_json() == {**other.to_json(), "timed": True}
        assert repr(timed) == repr(other)

    def test_a_missing_value_is_an_error_all_the_same(self, claim, monkeypatch):
        monkeypatch.setenv("CI", "true")
        with pytest.raises(ValueError, match="effect: 1 of 8 are NaN"):
            judge("a-claim", effect=[np.nan] + [2.0] * 7, timed=True, path=claim())

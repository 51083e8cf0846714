"""Cards: text, HTML and JSON of the same."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from evidence_fixtures import write_claims

from utils.evidence import MIME, WORDS, Card, claims
from utils.evidence.cards import COLOURS, MARKS, WIDTH, from_json, number_in_words

CONCLUSION = {"holds": "It helps.", "fails": "It does not help.", "depends": "It helps on digits."}


@pytest.fixture
def claim(tmp_path):
    def make(**entries):
        path = write_claims(tmp_path / "claims.toml", a_claim={"conclusion": CONCLUSION, **entries})
        return claims(path)["a-claim"]

    return make


def condition(name="here", word="holds", low=1.5, middle=2.0, high=2.5, **more):
    return {"name": name, "median": middle, "low": low, "high": high, "word": word, **more}


def column(dataset="digits", budget=1, *conditions, n=16, live=False, trains=True):
    conditions = list(conditions) or [condition()]
    return {"dataset": dataset, "budget": budget, "n": n, "live": live, "trains": trains, "conditions": conditions}


def four_columns(*conditions):
    sizes = {("digits", 1): 64, ("digits", 4): 64, ("mnist_5k", 1): 32, ("mnist_5k", 4): 16}
    return [column(dataset, budget, *conditions, n=n) for (dataset, budget), n in sizes.items()]


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text; every tag that is opened is closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


class TestText:
    @pytest.mark.parametrize("labels", [["here"], ["a long name of a condition, with much to say, " * 4, "there"]])
    @pytest.mark.parametrize("word", [*WORDS, None])
    @pytest.mark.parametrize("numbers", [(1.5, 2.0, 2.5), (-np.inf, -123456.7, np.inf)])
    def test_no_line_has_more_than_ninety_columns(self, labels, word, numbers, claim):
        low, middle, high = numbers
        conditions = [condition(label, low=low, middle=middle, high=high) for label in labels]
        long = claim(
            statement="many words " * 30, quote="quoted " * 30, changed="because " * 30, unit="many units " * 8
        )
        card = Card(long, word, four_columns(*conditions), {"fine grid": "a reason " * 20}, "a note " * 30)
        assert WIDTH == 90
        assert max(map(len, repr(card).splitlines())) <= 90

    def test_it_says_all_that_there_is_to_say(self, claim):
        runs = [
            column("digits", 1),
            column("mnist_5k", 4, condition(word="not judged", reason="nothing to gain"), n=32),
        ]
        card = Card(
            claim(changed="The threshold.", setting="One layer."),
            "undecided",
            runs,
            {"fine grid": "There is one rate."},
            "A note.",
        )
        text, page = repr(card), Page(card.to_html()).text
        assert text.startswith("UNDECIDED: A statement.")
        for words in (
            "A note.",
            "holds if at least 1 percentage point",
            "digits T",
            "MNIST 4T",
            "2.0",
            "(1.5 to 2.5)",
            "16",
            "32 seeds",
            "A statement.",
            "“words” — somebody",
            "before",
            "97.9 %",
            "98.0 %",
            "1 of 2 holds, none fails, 1 not judged",
            "The threshold.",
            "One layer.",
            "fine grid",
            "There is one rate.",
            "nothing to gain",
            "a-claim",
        ):
            assert words in " ".join(text.split()), words
            assert words in page, words

    @pytest.mark.parametrize(
        ("word", "sentence"), [*CONCLUSION.items(), ("undecided", "A statement."), (None, "A statement.")]
    )
    def test_the_conclusion_is_that_of_the_word(self, word, sentence, claim):
        card = Card(claim(), word, [column()])
        assert repr(card).splitlines()[0] == f"{(word or 'not recorded yet').upper()}: {sentence}"

    def test_an_identity_has_an_error_and_no_seeds(self, claim):
        made = claim(kind="identity", smallest=1e-9, direction="at most", unit="largest error")
        card = Card(made, "holds", [column("own data", 1, condition(middle=3e-13), n=1, trains=False)])
        text = repr(card)
        assert text.index("holds if the largest error is at most") < text.index("✓")
        assert "seeds" not in text

    @pytest.mark.parametrize("x", [0.0, 2.0, -1.25, 12.34, 99.6, 1234.4, -1234.4, 0.5, -0.0625])
    def test_numbers_are_short_and_right(self, x):
        shown = number_in_words(x)
        assert len(shown) <= 6
        assert float("".join(shown.split()).replace("−", "-")) == pytest.approx(x, rel=0.05)

    def test_infinity_is_a_sign(self):
        assert [number_in_words(x) for x in (np.inf, -np.inf)] == ["∞", "−∞"]

    def test_points_have_one_digit_after_the_point(self, claim):
        text = repr(Card(claim(), None, [column("digits", 1, condition(low=-0.04, middle=0.22, high=12.0))]))
        assert re.search(r"\b0\.2 *\(0\.0 to 12\.0\) ✓", text)


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


class TestHtml:
    def test_white_on_every_colour_has_a_contrast_of_four_and_a_half(self):
        """WCAG 2.2, 1.4.3."""
        assert set(COLOURS) == set(WORDS)
        for colour in COLOURS.values():
            assert 1.05 / (luminance(colour) + 0.05) >= 4.5
        assert len(set(COLOURS.values())) == 4

    def test_every_mark_is_read_as_a_word(self, claim):
        conditions = [condition(word, word) for word in MARKS]
        page = Page(Card(claim(), "depends", [column("digits", 1, *conditions)]).to_html())
        labels = [attributes["aria-label"] for tag, attributes in page.tags if attributes.get("role") == "img"]
        assert labels == list(MARKS)
        assert len(set(MARKS.values())) == len(MARKS)

    def test_every_number_has_a_row_and_a_column_with_a_head(self, claim):
        page = Page(Card(claim(), "holds", four_columns(condition("a"), condition("b"))).to_html())
        scopes = [attributes["scope"] for tag, attributes in page.tags if tag == "th"]
        assert scopes.count("col") >= 4
        assert scopes.count("row") == 2
        assert sum(attributes.get("role") == "img" for _, attributes in page.tags) == 8

    def test_what_is_folded_is_not_the_verdict(self, claim):
        shown, folded = Card(claim(), "holds", [column()]).to_html().split("<details")
        assert "It helps." in shown
        assert "(1.5 to 2.5)" in shown
        assert "somebody" not in shown
        assert "somebody" in folded

    def test_the_setting_is_folded_directly_after_the_statement(self, claim):
        card = Card(claim(setting="One layer."), "holds", [column()])
        shown, folded = card.to_html().split("<details")
        assert "One layer." not in shown
        assert Page(f"<details{folded.removesuffix('</div>')}").text.count("One layer.") == 1
        for text in (repr(card), Page(card.to_html()).text):
            assert re.search(r"Statement[:.] *A statement\.\s*Setting[:.] *One layer\.\s*Source", text)
        assert "Setting" not in repr(Card(claim(), "holds", [column()]))

    def test_text_is_escaped(self, claim):
        words = dict.fromkeys(
            ("statement", "quote", "source", "prediction", "changed", "setting", "unit"), "<em>x</em> & 'more'"
        )
        card = Card(
            claim(**words, conclusion={}), None, [column("<kbd>", 1, condition("<kbd>", reason="<kbd>"))], note="<u>"
        )
        page = Page(card.to_html())
        assert {"em", "kbd", "u"}.isdisjoint(tag for tag, _ in page.tags)
        assert "<em>x</em> & 'more'" in page.text


class TestJson:
    def test_it_has_what_the_tools_are_promised(self, claim):
        runs = [column("digits", 1, condition(low=-np.inf), n=64), column("mnist_5k", 4, live=True)]
        card = Card(claim(), "depends", runs)
        stored = json.loads(json.dumps(card.to_json(), allow_nan=False))
        assert (stored["id"], stored["word"], stored["n"], stored["edition"]) == ("a-claim", "depends", 64, 2)
        first, second = stored["conditions"]
        assert first == {
            "name": "here",
            "dataset": "digits",
            "budget": 1,
            "n": 64,
            "live": False,
            "trains": True,
            "median": 2.0,
            "low": "-Infinity",
            "high": 2.5,
            "word": "holds",
        }
        assert (second["dataset"], second["budget"], second["n"], second["live"]) == ("mnist_5k", 4, 16, True)
        assert MIME == "application/vnd.course.claim+json"

    def test_a_card_comes_back_from_it(self, claim):
        odd = condition("b", "not judged", low=-np.inf, high=np.inf, reason="nothing to gain")
        runs = [column("digits", 1, condition(), odd), column("own data", 1, trains=False, live=True)]
        card = Card(claim(), "depends", runs, {"fine grid": "A reason."})
        again = from_json(json.loads(json.dumps(card.to_json())), claim())
        assert repr(again) == repr(card)
        assert again.to_json() == card.to_json()
        assert again.to_html() == card.to_html()

    def test_a_card_without_numbers_comes_back(self, claim):
        card = Card(claim(), None, [], note="Nothing.")
        assert card.to_json()["conditions"] == []
        assert repr(from_json(card.to_json(), claim(), "Nothing.")) == repr(card)

    def test_a_notebook_gets_all_three(self, claim):
        card = Card(claim(), "holds", [column()])
        bundle = card._repr_mimebundle_()
        assert bundle == {"text/plain": repr(card), "text/html": card.to_html(), MIME: card.to_json()}

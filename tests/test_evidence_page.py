"""The evidence page: a row per claim, intervals as pictures, tallies, and what has to be said openly."""

import math
import re

import collected
import evidence_page
import publish
import pytest
from site_fixtures import (
    NOTEBOOKS,
    Tags,
    card_of,
    claim,
    verdict,
)

from utils import evidence


@pytest.fixture(scope="module")
def verdicts():
    return collected.verdicts(NOTEBOOKS)


class TestEvidencePage:
    @pytest.mark.parametrize(
        ("effect", "direction", "smallest", "wanted"),
        [
            (2.0, "at least", 2.0, 0.0),
            (6.0, "at least", 2.0, 2.0),
            (6.0, "at most", 2.0, -2.0),
            (0.0, "at least", -1.0, 1.0),
            (3.0, "at least", 0.0, 3.0),
            (math.inf, "at most", 2.0, -math.inf),
        ],
    )
    def test_effects_are_relative_to_what_matters(self, effect, direction, smallest, wanted):
        assert evidence_page.relative(effect, claim(direction=direction, smallest=smallest)) == wanted

    def test_positions_grow_with_the_effect_and_stay_inside(self):
        places = [evidence_page.position(x) for x in (-math.inf, -100, -1, 0, 0.1, 5, 100, math.inf)]
        assert places == sorted(places)
        assert places[0] == places[1] == 0
        assert places[3] == 0.5
        assert places[-1] == places[-2] == 1

    def test_the_side_of_each_interval_is_its_verdict(self, verdicts):
        for found in verdicts:
            for part in found.parts:
                ends = sorted(evidence_page.relative(part[key], found.claim) for key in ("low", "high"))
                if not found.is_identity and part["word"] == "holds":
                    assert ends[0] >= 0, found.claim.id
                if not found.is_identity and part["word"] == "fails":
                    assert ends[1] <= 0, found.claim.id

    def test_each_claim_is_a_row_that_links_to_its_cell(self, verdicts):
        tags = Tags(evidence_page.table(verdicts))
        rows = [row["id"] for row in tags.all("tr") if "id" in row]
        assert rows == [f"row-{found.claim.id}" for found in verdicts]
        wanted = [f"notebooks/{v.page}.html#{publish.anchor(v.claim.id)}" for v in verdicts]
        assert [link["href"] for link in tags.all("a")] == wanted
        assert all(picture["aria-label"] for picture in tags.all("svg"))
        assert len(tags.all("svg")) == sum(not found.is_identity for found in verdicts)

    def test_html_for_pages_has_no_empty_line_and_is_balanced(self, verdicts):
        for make in (evidence_page.table, evidence_page.picture, evidence_page.tally):
            text = make(verdicts)
            Tags(text)
            assert "\n\n" not in text

    def test_the_picture_has_a_line_for_each_condition_and_says_the_count(self, verdicts):
        drawn = [part for found in verdicts if not found.is_identity for part in found.parts]
        tags = Tags(evidence_page.picture(verdicts))
        assert len(tags.all("circle")) == len(drawn)
        for word in ("fails", "undecided"):
            number = sum(found.word == word for found in verdicts)
            assert f"{number} {word}" in tags.all("svg")[0]["aria-label"]

    def test_the_picture_has_a_scale_for_each_lesson(self, verdicts):
        lessons = sorted({found.stem[:2] for found in verdicts if not found.is_identity})
        drawn = re.sub(r"<[^>]*>", "|", evidence_page.picture(verdicts))
        assert re.findall(r"lesson (\d\d)", drawn) == lessons
        assert drawn.count("|what matters|") == len(lessons)

    def test_the_tally_counts_every_claim_once(self):
        found = [verdict(claim(), word) for word in (*evidence.WORDS, "fails", "not recorded yet")]
        text = evidence_page.tally(found)
        Tags(text)
        assert sum(map(int, re.findall(r"<b>(\d+)</b>", text))) == len(found)
        assert re.findall(r"<p>(\d+) claims", text) == [str(len(found))]
        assert "<b>2</b> fails" in text

    def test_what_chance_may_do_is_the_sum_over_the_decided_conditions(self):
        text = evidence_page.luck([verdict(claim())] * 100 + [verdict(claim(), "undecided")])
        wrong = sum(math.comb(16, k) for k in range(4)) / 2**16  # at most three of sixteen coins show heads
        assert "the 100 intervals" in text
        assert f"up to {100 * wrong:.1f} to" in text

    def test_what_is_to_be_said_openly_is_folded_into_the_row(self):
        stated = claim(
            changed="The unit <was> changed.",
            setting="Held <fixed>.",
            conclusion={"depends": "It depends on the place."},
        )
        card = card_of(stated).to_json()
        conditions = [each | {"condition": each["name"]} for each in card["conditions"]]
        conditions[1] |= {"word": "not judged", "reason": "Nothing to gain."}
        text = evidence_page.table([collected.Verdict(stated, "labs/01_x", "cell", card, "depends", conditions)])
        Tags(text)
        for said in (
            "Held &lt;fixed&gt;.",
            "The unit &lt;was&gt; changed.",
            "three epochs",
            "They are too many.",
            "there: Nothing to gain.",
        ):
            assert said in text
        assert "<b>It depends on the place.</b>" in text
        assert text.count("<details") == 5

    def test_links_to_a_retired_claim_land_on_its_reason(self):
        gone = evidence.Retired("old-claim", "a > b", "It is an identity.")
        text = evidence_page.retired_list({gone.id: gone})
        assert [each["id"] for each in Tags(text).all("li")] == ["row-old-claim"]
        assert "a &gt; b" in text
        assert "It is an identity." in text
        assert evidence_page.retired_list({}) == "<p>No claim has been retired so far.</p>"

    def test_what_is_far_away_is_an_arrow_at_the_edge(self):
        found = verdict(claim(direction="at most"), "fails", median=1e9, low=1e8, high="Infinity")
        assert len(Tags(evidence_page.drawing(found)).all("path")) == 1

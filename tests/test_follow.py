"""The pages "Follow the lecture": every statement of a source in its order, with links to cells that exist."""

import re
from dataclasses import replace

import collected
import covered
import follow
import nbformat
import pytest
from publish import cell_anchor, published
from site_fixtures import NOTEBOOKS

from utils import evidence

pytestmark = pytest.mark.timeout(120)  # all notebooks are read
SOURCES, ROWS = covered.load()
BY_ID = {row.id: row for row in ROWS}


@pytest.fixture(scope="module")
def course():
    opened = {path: nbformat.read(path, as_version=4) for path in NOTEBOOKS}
    return follow.Course(
        sources=SOURCES,
        rows=BY_ID,
        lessons={path.stem: found for path, found in opened.items() if path.parent.name == "notebooks"},
        labs={path.stem: found for path, found in opened.items() if path.parent.name == "labs"},
        verdicts={found.claim.id: found for found in collected.verdicts(NOTEBOOKS)},
        terms={"variance": ("方差", "變異數")},
    )


@pytest.fixture(scope="module")
def pages(course):
    lessons = [collected.summary(path) for path in NOTEBOOKS if path.parent.name == "notebooks"]
    return {name: follow.page(course, source, lessons) for name, source in SOURCES.items()}


@pytest.fixture(scope="module")
def anchors():
    """The places of all cells, as they are on the pages of the notebooks."""
    found = set()
    for path in NOTEBOOKS:
        page = path.stem if path.parent.name == "notebooks" else f"labs/{path.stem}"
        made = published(nbformat.read(path, as_version=4), page, claims=evidence.claims())
        found |= {
            f"{page}.html#{name}" for cell in made.cells for name in re.findall(r"^\((\S+)\)=$", cell.source, re.M)
        }
    return found


def test_nothing_is_wrong_with_the_sources(course):
    assert list(course.faults()) == []


@pytest.mark.parametrize("name", SOURCES)
def test_a_page_has_every_statement_in_the_order_of_the_lecture(pages, name):
    source, page, last = SOURCES[name], pages[name], 0
    for said in source.statements:
        words = follow.text(said.quote or said.paraphrase)
        at = page.find(words, last)
        assert at > 0, f"{words} is not on the page, or not in order"
        last = at
    assert page.count('<tr role="row" id="said-') == len(source.statements)


@pytest.mark.parametrize("name", SOURCES)
def test_every_link_of_a_page_leads_to_a_cell_that_exists(pages, anchors, name):
    links = {link for link in re.findall(r'href="\.\./notebooks/([^"]+)"', pages[name]) if "#cell-" in link}
    assert len(links) > 10
    assert links - anchors == set()


@pytest.mark.parametrize("name", SOURCES)
def test_a_page_says_where_to_watch_and_an_hour_is_at_most_an_hour(pages, course, name):
    source = SOURCES[name]
    assert source.video in pages[name]
    total = sum(course.chapters[section].minutes for section in source.hour)
    assert 40 <= total <= follow.HOUR
    assert f"they take {total} minutes" in pages[name]
    for word in source.find:
        assert f"single: ! {word}" in pages[name]


@pytest.mark.parametrize("name", SOURCES)
def test_the_word_of_a_claim_is_that_of_the_record(pages, course, name):
    judged = {claim for said in SOURCES[name].statements for row in said.rows for claim in BY_ID[row].claims}
    for claim in judged:
        found = course.verdicts[claim]
        assert f'#claim-{claim}">{found.word}</a>' in pages[name]


def test_a_lesson_names_the_lectures_that_it_goes_with(course):
    assert "[Lee 2021](../follow/lee-2021.md)" in follow.goes_with(course, "02_loss_surfaces")
    assert all(follow.goes_with(course, stem) for stem in course.lessons)


def test_a_prediction_is_asked_before_its_cells_only():
    def cell(name, source):
        return nbformat.v4.new_markdown_cell(source, id=name)

    cells = (cell("ask", "**Predict.** Which?"), cell("run", ""), cell("told", "<details>"), cell("later", ""))
    chapter = follow.Chapter("01_x", "1. A", cells)
    assert chapter.question_before(["run"]) == "ask"
    assert chapter.question_before(["later"]) is None


LEE = SOURCES["Lee"]
FIRST, *REST = LEE.statements
WRONG = {
    "a place that there is not": ({"at": 99}, "there is no place 99"),
    "no row": ({"rows": ()}, "no row teaches it"),
    "a row that is gone": ({"rows": ("gone",)}, "there is no row gone"),
    "no words": ({"quote": "", "paraphrase": ""}, "expected a quote or a paraphrase, found none"),
    "both": ({"quote": "a", "paraphrase": "b"}, "found both"),
    "Chinese without a translation": ({"quote": "归一化", "paraphrase": "", "english": ""}, "add english"),
}


@pytest.mark.parametrize(("change", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_statement_is_a_fault_with_a_sentence(change, sentence):
    found = replace(LEE, statements=(replace(FIRST, **change),))
    assert any(sentence in fault for fault in covered.faults_of_source(found, BY_ID))


def test_an_order_that_is_not_the_lecture_s_a_double_and_an_edited_quotation_are_faults():
    late = next(said for said in REST if said.at > FIRST.at)
    faults = " ".join(covered.faults_of_source(replace(LEE, statements=(late, FIRST, FIRST)), BY_ID))
    assert "bring it into the order" in faults
    assert "it stands twice" in faults
    quoted = next(said for said in LEE.statements if said.quote)
    edited = tuple(replace(said, quote="other words") if said is quoted else said for said in LEE.statements)
    (fault,) = covered.faults_of_source(replace(LEE, statements=edited), BY_ID)
    assert "compare them with the source" in fault


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hour": ("01_input_standardization/gone",)}, "gone teaches nothing of this source"),
        ({"hour": LEE.hour * 3}, "expected at most 60 minutes"),
        ({"before": ("99_x",)}, "there is no lesson 99_x"),
    ],
)
def test_a_wrong_path_is_a_fault_with_a_sentence(course, change, sentence):
    wrong = replace(course, sources={"Lee": replace(LEE, **change)})
    assert sentence in next(wrong.faults())
    with pytest.raises(ValueError, match=r"data/coverage\.toml: Lee"):
        follow.checked(wrong)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"section": "gone-question"}, "has no section gone-question"),
        ({"heading": "1. Another"}, "is headed"),
        ({"cells": ("gone",)}, "has no cell gone"),
        ({"claims": ("no-such-claim",)}, "expected a claim that a lab judges"),
    ],
)
def test_a_row_that_fits_no_notebook_stops_the_page(course, change, sentence):
    name = FIRST.rows[0]
    row = replace(BY_ID[name], **{"lab": BY_ID[name].lab, **change})
    wrong = replace(course, rows={**BY_ID, name: row})
    with pytest.raises(ValueError, match=sentence):
        follow.statement(wrong, LEE, replace(FIRST, rows=(name,)), 1, {})


def test_a_source_without_statements_or_unknown_is_refused(tmp_path):
    text = covered.COVERAGE.read_text(encoding="utf-8")
    path = tmp_path / "coverage.toml"
    path.write_text(text.replace("[sources.Lee]", "[sources.Bishop]"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"Bishop: found under \[sources\], not under \[said\]"):
        covered.load(path)


def test_no_two_cells_share_a_place():
    places = [
        cell_anchor(path.stem if path.parent.name == "notebooks" else f"labs/{path.stem}", cell.id)
        for path in NOTEBOOKS
        for cell in nbformat.read(path, as_version=4).cells
    ]
    assert len(places) == len(set(places))

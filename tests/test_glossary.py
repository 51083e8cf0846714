"""The glossary says where a term is introduced, the bibliography who cites what: both held against the notebooks."""

import importlib
import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from utils import evidence

ROOT = Path(__file__).resolve().parents[1]
GLOSSARY = ROOT / "site" / "glossary.md"
# Words that earlier notebooks use in another sense: a gain of accuracy, a dead pixel.
OTHER_SENSE = {"gain", "dead unit"}
LINK = r"\[(\d\d)(?:, ([\w ]+))?\]\(notebooks/([^)#]+)\.ipynb(?:#([^)]+))?\)(?:; named in ([\d, ]+))?$"
ESSENTIAL = """
activation function, batch normalization, batch renormalization, beta, bias, condition number, dead unit,
dropout, effective learning rate, epsilon, evaluation mode, exploding gradient, fan-in, fan-out, fold, frozen
statistics, gain, gamma, ghost batch, gradient accumulation, gradient check, gradient descent, group
normalization, He initialization, Hessian, initialization, instance normalization, internal covariate shift,
layer normalization, learning rate, loss surface, LSUV, mini-batch, momentum, normalization, orthogonal,
outlier, precise statistics, RMS norm, running statistics, saturation, singular value, spectral
normalization, standardize, synchronized batch norm, transformer, usable rate, vanishing gradient, warm-up,
weight decay, weight normalization, weight standardization, whitening, Xavier initialization, z-score
"""


class Term(NamedTuple):
    forms: list
    simplified: str
    traditional: str
    meaning: str
    stem: str
    section: str | None
    anchor: str | None
    earlier: list


def plain_chinese(cell, language):
    """What a cell shows; it must be marked with its script, which decides on the shape of the characters."""
    match = re.fullmatch(rf"\[(.+)\]{{\.language-{language}}}", cell)
    assert match, f"{cell}: expected [..]{{.language-{language}}}"
    return re.sub(r"{index}`!?([^`]*)`", r"\1", match[1])


def term(cells):
    english, simplified, traditional, meaning, where = cells
    first, *others = re.sub(r"{index}`!?([^`]*)`", r"\1", english).split(", ")
    link = re.match(LINK, where)
    assert link, f"{first}: expected a link to a notebook and its section, got {where}"
    assert link[3].startswith(link[1])
    chinese = plain_chinese(simplified, "zh-Hans"), plain_chinese(traditional, "zh-Hant")
    earlier = link[5].split(", ") if link[5] else []
    return Term([first, *others], *chinese, meaning, link[3], link[2], link[4], earlier)


def rows():
    text = GLOSSARY.read_text(encoding="utf-8")
    table = text.split("```{list-table}")[1].split("```")[0]
    cells = [re.split(r"\n  - ", row.strip()) for row in re.split(r"^\* - ", table, flags=re.MULTILINE)[1:]]
    assert all(len(row) == 5 for row in cells), [row for row in cells if len(row) != 5]
    return [term(row) for row in cells[1:]]  # the first is the head


TERMS = rows()
NAMES = [one.forms[0] for one in TERMS]


def sections(cells):
    """Headings of a notebook with the prose beneath them; the first, without heading, is the introduction."""
    found = [("", "")]
    for cell in cells:
        for piece in re.split(r"^(?=## )", cell, flags=re.MULTILINE):
            heading = re.match(r"## (.+)", piece)
            if heading:
                found.append((heading[1].strip(), ""))
            found[-1] = (found[-1][0], f"{found[-1][1]}\n{piece}")
    return found


def names(text, forms):
    """Whether one of the forms stands in the text as a word, in either number."""
    text = " ".join(text.replace("*", "").lower().split())
    for form in forms:
        before = r"(?<![a-z-])" if form[0].isalpha() else ""
        after = r"(?:s|es)?(?![a-z])" if form[-1].isalpha() else ""
        if re.search(before + re.escape(form.lower()) + after, text):
            return True
    return False


@pytest.fixture(scope="module")
def notebooks():
    """Sections of every notebook, by its file name without ending."""
    found = {}
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found[path.stem] = sections("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return found


class TestGlossary:
    def test_it_has_the_terms_of_the_course_once_each_in_order(self):
        assert len(NAMES) >= 80
        assert sorted(NAMES, key=str.lower) == NAMES
        assert len({name.lower() for name in NAMES}) == len(NAMES)
        assert set(" ".join(ESSENTIAL.split()).split(", ")) <= set(NAMES)

    @pytest.mark.parametrize("one", TERMS, ids=NAMES)
    def test_its_section_has_the_term_and_earlier_notebooks_are_named(self, one, notebooks):
        assert one.stem in notebooks
        beneath = dict(notebooks[one.stem])
        if one.section and one.section.startswith("section "):
            number = one.section.removeprefix("section ") + "."
            headings = [heading for heading in beneath if heading.startswith(number)]
        else:
            headings = [heading for heading in beneath if heading.lower() == (one.section or "")]
        assert len(headings) == 1, f"{one.stem} has no {one.section}"
        assert names(beneath[headings[0]], one.forms), f"not in {one.stem}, {one.section}"
        if one.anchor:
            slug = re.sub(r"[^\w\- ]", "", headings[0].lower()).replace(" ", "-")
            assert one.anchor == slug
        before = {stem: found for stem, found in notebooks.items() if stem < one.stem}
        earlier = [stem[:2] for stem, found in before.items() if any(names(text, one.forms) for _, text in found)]
        assert one.earlier == earlier or one.forms[0] in OTHER_SENSE

    def test_each_script_is_in_its_own_column(self):
        """GB 2312 has the simplified characters only, Big 5 the traditional ones."""
        for one in TERMS:
            one.simplified.encode("gb2312")
            one.traditional.encode("big5")
            for text in (one.simplified, one.traditional):
                assert re.search(r"[\u4e00-\u9fff]", text), one

    def test_every_meaning_is_one_short_sentence(self):
        for one in TERMS:
            assert one.meaning.endswith("."), one
            assert "\n" not in one.meaning, one
            assert len(one.meaning.split()) <= 25, one

    def test_a_word_inside_another_is_not_the_term(self):
        assert names("several-fold, tenfold, folds", ["fold"])
        assert not names("several-fold, tenfold", ["fold"])
        assert not names("critical", ["critic"])


@pytest.fixture(scope="module")
def bibliography():
    pytest.importorskip("pybtex", reason="pybtex comes with the extra 'site': make site installs it")
    return importlib.import_module("bibliography")


@pytest.fixture(scope="module")
def found(bibliography):
    return bibliography.references()


class TestBibliography:
    def test_every_entry_is_used(self, bibliography, found):
        notebooks, claims = bibliography.prose(), evidence.claims()
        assert [key for key, entry in found.items() if not any(bibliography.uses(entry, notebooks, claims))] == []

    def test_everything_in_further_reading_has_an_entry(self, bibliography, found):
        parts = []
        lessons = {stem: cells for stem, cells in bibliography.prose().items() if not stem.startswith("labs/")}
        for stem, cells in lessons.items():
            reading = [cell for cell in cells if cell.startswith("## Further reading")]
            assert len(reading) == 1, stem
            items = re.findall(r"^- (.+)$", reading[0], flags=re.MULTILINE)
            parts += [(stem, part) for item in items for part in item.split(";")]
        assert len(parts) > 30
        assert [p for p in parts if not any(bibliography.cited(entry, p[1]) for entry in found.values())] == []

    def test_every_claim_comes_from_an_entry(self, bibliography, found):
        sources = {claim.source for claim in evidence.claims().values()}
        assert [s for s in sources if not any(bibliography.cited(entry, s) for entry in found.values())] == []

    def test_arxiv_numbers_in_the_notebooks_are_those_of_the_entries(self, bibliography, found):
        known = {entry.fields["eprint"] for entry in found.values() if "eprint" in entry.fields}
        text = "\n".join(cell for cells in bibliography.prose().values() for cell in cells)
        named = set(re.findall(r"arXiv (\d{4}\.\d{4,5})", text))
        assert len(named) > 5
        assert named <= known

    def test_numbers_are_well_formed_and_fit_the_year(self, found):
        for key, entry in found.items():
            year = int(entry.fields.get("year", 0))
            if "eprint" in entry.fields:
                assert re.fullmatch(r"\d{4}\.\d{4,5}", entry.fields["eprint"]), key
                later = year - (2000 + int(entry.fields["eprint"][:2]))
                assert 0 <= later <= 1, f"{key}: a paper appears within a year"
                assert 1 <= int(entry.fields["eprint"][2:4]) <= 12, key
            if "doi" in entry.fields:
                assert re.fullmatch(r"10\.\d{4,9}/\S+", entry.fields["doi"]), key
            if "url" in entry.fields:
                assert entry.fields["url"].startswith("https://"), key
            papers = "keywords" not in entry.fields
            assert not papers or (year and entry.persons["author"]), f"{key}: expected authors and a year"
            places = {"eprint", "doi", "url", "number"} & set(entry.fields)
            assert not papers or places, f"{key}: where is it to be found?"

    def test_papers_stand_in_the_order_of_their_first_authors(self, found):
        last = [e.persons["author"][0].last_names[0] for e in found.values() if "keywords" not in e.fields]
        assert last == sorted(last, key=str.lower)

    def test_the_page_lists_each_entry_once_with_those_who_cite_it(self, bibliography, found):
        text = bibliography.entries()
        assert sorted(re.findall(r'^:filter: key == "(.+)"$', text, flags=re.MULTILINE)) == sorted(found)
        notebooks, claims, linked = bibliography.prose(), evidence.claims(), []
        for key in ("ioffe2015batch", "glorot2010understanding"):
            after = text.split(f'key == "{key}"')[1].split("```{bibliography}")[0]
            links = re.findall(r"\(notebooks/(.+?)\.ipynb\)", after), re.findall(r"\(#claim-(.+?)\)", after)
            read = [stem for stem, cells in notebooks.items() if bibliography.cited(found[key], "\n".join(cells))]
            judged = [name for name, claim in claims.items() if bibliography.cited(found[key], claim.source)]
            assert links == (read, judged)
            linked += sum(links, [])
        assert set(linked) & set(notebooks)
        assert set(linked) & set(claims)

    def test_an_entry_that_does_not_say_how_it_is_cited_is_refused(self, bibliography, tmp_path):
        path = tmp_path / "r.bib"
        path.write_text("@misc{someone2020, title = {Something}}", encoding="utf-8")
        (entry,) = bibliography.references(path).values()
        with pytest.raises(ValueError, match="someone2020: expected `mentions`"):
            bibliography.mentions(entry)

    def test_what_nobody_wrote_is_cited_by_nobody(self, bibliography, found):
        assert not any(bibliography.cited(entry, "Nobody and Noone, Nothing (2020)") for entry in found.values())
        assert not bibliography.cited(found["ioffe2017batch"], "Ioffe and Szegedy (2015)")
        assert bibliography.cited(found["ioffe2017batch"], "- Ioffe, *Batch\n  renormalization* (2017).")

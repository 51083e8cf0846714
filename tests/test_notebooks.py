"""Every lesson and every lab keeps to its rules, and what names notebooks names those that exist."""

import html
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from notebook_rules import WITHOUT_LESSON, Notebook, misplaced, read, rules_of
from notebook_rules.code import narrow_code

from utils import evidence

ROOT = Path(__file__).resolve().parents[1]
LESSONS, LABS = (sorted((ROOT / place).glob("[0-9]*.ipynb")) for place in ("notebooks", "notebooks/labs"))
NOTEBOOKS = [*LESSONS, *LABS]
HOMEWORK = sorted((ROOT / "homework").glob("*/hw*/*.ipynb"))
LINK = r"\[[^\]]*\]\(([^)\s#]+)[^)]*\)"


@cache
def opened(path):
    return Notebook(read(path), path, evidence.claims())


def name_of(path):
    """A name for tests: those of a lesson and its lab differ in the folder."""
    return path.relative_to(ROOT / "notebooks").with_suffix("").as_posix()


def links_of_readme():
    """The files that README.md links to, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [link for link in re.findall(LINK, text) if not re.match(r"[a-z]+:", link)]


def test_there_are_lessons_and_labs():
    assert LESSONS
    assert LABS


def test_every_notebook_has_its_place_and_every_lesson_its_lab():
    found = misplaced(ROOT / "notebooks")
    assert found == [], "\n".join(found)


def test_lessons_are_numbered_from_one():
    assert [path.stem[:3] for path in LESSONS] == [f"{number:02}_" for number in range(1, len(LESSONS) + 1)]


RULED = [(path, name, rule) for path in NOTEBOOKS for name, rule in rules_of(opened(path)).items()]


@pytest.mark.parametrize(("path", "rule"), [pytest.param(p, r, id=f"{name_of(p)}-{name}") for p, name, r in RULED])
def test_rule(path, rule):
    faults = list(rule(opened(path)))
    assert not faults, "\n".join([rule.__doc__, *faults])


@pytest.mark.parametrize("path", HOMEWORK, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_code_of_homework_has_80_columns(path):
    assert list(narrow_code(Notebook(read(path), path, {}))) == []


def test_there_is_homework_to_look_at():
    assert len(HOMEWORK) == 12  # sources and what students get


@pytest.mark.parametrize("path", [path for path in LABS if path.stem not in WITHOUT_LESSON], ids=name_of)
def test_a_lesson_links_its_lab(path):
    lesson = read(ROOT / "notebooks" / path.name)
    linked = any(f"](labs/{path.name})" in cell.source for cell in lesson.cells if cell.cell_type == "markdown")
    assert linked, (
        f"{path.name}: expected a link to labs/{path.name}, found none: link the lab where its claims come up"
    )


def faults_of_claims(claims):
    """What is wrong with the labs that claims name, each as a sentence."""
    for name, claim in claims.items():
        if claim.lab not in {path.stem for path in LABS}:
            yield f"claim {name}: expected a lab that exists, got {claim.lab!r}: correct it in data/claims.toml"


def test_every_claim_belongs_to_a_lab_that_exists():
    assert list(faults_of_claims(evidence.claims())) == []


def test_a_claim_of_a_lab_that_does_not_exist_is_noticed():
    claim = replace(next(iter(evidence.claims().values())), lab="99_x")
    (fault,) = faults_of_claims({"a-claim": claim})
    assert re.fullmatch(r"claim a-claim: expected a lab that exists, got '99_x': correct it in .*", fault)


def test_the_readme_links_each_notebook_once():
    links = Counter(link for link in links_of_readme() if link.endswith(".ipynb"))
    assert links == Counter(path.relative_to(ROOT).as_posix() for path in NOTEBOOKS)


def test_the_table_of_the_readme_names_each_lesson_beside_its_lab():
    rows = re.findall(r"^\|.*\.ipynb.*$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M)
    labs = {path.stem for path in LABS}
    wanted = [[f"notebooks/{path.name}", f"notebooks/labs/{path.name}"][: 1 + (path.stem in labs)] for path in LESSONS]
    assert [re.findall(LINK, row) for row in rows] == wanted


def test_no_link_of_the_readme_is_dead():
    assert [link for link in links_of_readme() if not (ROOT / link).exists()] == []


def cards(path):
    """Every stored card of a notebook: its cell, what it holds, its claim."""
    for cell in read(path).cells:
        for output in cell.get("outputs", []):
            if card := output.get("data", {}).get(evidence.MIME):
                yield cell, output.data, evidence.claims()[card["id"]]


def told(claim, word):
    """What a card has to tell of a claim."""
    texts = {key: getattr(claim, key) for key in ("statement", "quote", "source", "prediction", "changed", "setting")}
    return texts | {"conclusion": claim.conclusion.get(word, "")}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_cards_say_what_the_claims_say_now(path):
    for cell, data, claim in cards(path):
        texts, shown = told(claim, data[evidence.MIME].get("word")), html.unescape(data["text/html"])
        changed = [key for key, text in texts.items() if text not in shown]
        assert not changed, f"{cell.id}: {changed} changed in data/claims.toml: run make notebooks"
        plain = " ".join(data["text/plain"].split())
        assert [key for key, text in texts.items() if " ".join(text.split()) not in plain] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_cards_have_the_word_of_the_record(path):
    record = evidence.Record()
    stale = {
        cell.id: data[evidence.MIME]["word"]
        for cell, data, claim in cards(path)
        if data[evidence.MIME]["word"] != record.saved_word(claim.id)
    }
    assert stale == {}, f"{stale}: data/evidence.json has other words: run make notebooks"

"""Every lesson and every lab keeps to its rules, and what names notebooks names those that exist."""

import html
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from notebook_rules import LAB_RULES, RULES, Notebook, misplaced, read

from utils import evidence

ROOT = Path(__file__).resolve().parents[1]
LESSONS, LABS = (sorted((ROOT / place).glob("[0-9]*.ipynb")) for place in ("notebooks", "notebooks/labs"))
NOTEBOOKS = [*LESSONS, *LABS]
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


RULED = [(path, name, rule) for path in LESSONS for name, rule in RULES.items()]
RULED += [(path, name, rule) for path in LABS for name, rule in LAB_RULES.items()]


@pytest.mark.parametrize(("path", "rule"), [pytest.param(p, r, id=f"{name_of(p)}-{name}") for p, name, r in RULED])
def test_rule(path, rule):
    faults = list(rule(opened(path)))
    assert not faults, "\n".join([rule.__doc__, *faults])


@pytest.mark.parametrize("path", LABS, ids=name_of)
def test_a_lesson_links_its_lab(path):
    lesson = read(ROOT / "notebooks" / path.name)
    linked = any(f"](labs/{path.name})" in cell.source for cell in lesson.cells if cell.cell_type == "markdown")
    assert linked, (
        f"{path.name}: expected a link to labs/{path.name}, found none: link the lab where its claims come up"
    )


def faults_of_claims(claims):
    """What is wrong with the notebooks that claims name, each as a sentence."""
    lessons, labs = ({path.stem for path in paths} for paths in (LESSONS, LABS))
    for name, claim in claims.items():
        if (claim.lab or claim.notebook) not in (labs if claim.lab else lessons):
            key, stem = ("lab", claim.lab) if claim.lab else ("notebook", claim.notebook)
            yield f"claim {name}: expected a {key} that exists, got {stem!r}: correct the key {key} in data/claims.toml"


def test_every_claim_belongs_to_a_notebook_that_exists():
    assert list(faults_of_claims(evidence.claims())) == []


@pytest.mark.parametrize("place", [{"notebook": "99_x", "lab": ""}, {"notebook": "", "lab": "99_x"}])
def test_a_claim_of_a_notebook_that_does_not_exist_is_noticed(place):
    claim = replace(next(iter(evidence.claims().values())), **place)
    (fault,) = faults_of_claims({"a-claim": claim})
    assert re.fullmatch(r"claim a-claim: expected a \w+ that exists, got '\w+': correct the key \w+ in .*", fault)


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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_cards_say_what_the_claims_say_now(path):
    for cell in read(path).cells:
        for output in cell.get("outputs", []):
            card = output.get("data", {}).get(evidence.MIME)
            if card:
                claim = evidence.claims()[card["id"]]
                shown = html.unescape(output.data["text/html"])
                changed = [key for key in ("statement", "quote", "source", "why") if getattr(claim, key) not in shown]
                assert not changed, f"{cell.id}: {changed} changed in data/claims.toml: run make notebooks"
                for key in ("statement", "why"):
                    assert getattr(claim, key) in output.data["text/plain"]

"""Every notebook keeps to every rule, and what names notebooks names those that exist."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from notebook_rules import RULES, Notebook, read

from utils import evidence

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
LINK = r"\[[^\]]*\]\(([^)\s#]+)[^)]*\)"


@cache
def opened(path):
    return Notebook(read(path), path, evidence.claims())


def links_of_readme():
    """The files that README.md links to, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [link for link in re.findall(LINK, text) if not re.match(r"[a-z]+:", link)]


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_no_notebook_is_overlooked():
    found = [path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    assert sorted(found) == NOTEBOOKS


def test_notebooks_are_numbered_from_one():
    assert [path.stem[:3] for path in NOTEBOOKS] == [f"{number:02}_" for number in range(1, len(NOTEBOOKS) + 1)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_rule(path, rule):
    faults = list(RULES[rule](opened(path)))
    assert not faults, "\n".join([RULES[rule].__doc__, *faults])


def test_every_claim_belongs_to_a_notebook_that_exists():
    stems = {path.stem for path in NOTEBOOKS}
    assert {name: claim.notebook for name, claim in evidence.claims().items() if claim.notebook not in stems} == {}


def test_the_readme_links_each_notebook_once():
    links = Counter(link for link in links_of_readme() if link.endswith(".ipynb"))
    assert links == Counter(f"notebooks/{path.name}" for path in NOTEBOOKS)


def test_the_table_of_the_readme_names_each_notebook():
    rows = re.findall(rf"^\| *{LINK} *\|", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M)
    assert [row for row in rows if row.endswith(".ipynb")] == [f"notebooks/{path.name}" for path in NOTEBOOKS]


def test_no_link_of_the_readme_is_dead():
    assert [link for link in links_of_readme() if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cards_say_what_the_claims_say_now(path):
    for cell in read(path).cells:
        for output in cell.get("outputs", []):
            card = output.get("data", {}).get(evidence.MIME)
            if card:
                claim = evidence.claims()[card["id"]]
                shown = output.data["text/plain"]
                assert claim.statement in shown, f"{cell.id}: re-run the notebook, the statement has changed"
                assert claim.why in shown, f"{cell.id}: re-run the notebook, the reason has changed"

"""Claims, cards, notebooks and tags for the tests of the site and of its evidence page."""

import html.parser
from pathlib import Path

import collected
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from utils import evidence

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
LABS = sorted((ROOT / "notebooks" / "labs").glob("[0-9]*.ipynb"))
NOTEBOOKS = [*LESSONS, *LABS]


NUMBERS = {"median": 3.0, "low": 2.5, "high": 4.0, "n": 16}


TEXTS = {name: f"the {name}" for name in ("statement", "quote", "source", "prediction", "unit")}
STATED = {"id": "a-claim", **TEXTS, "smallest": 2.0, "direction": "at least"}


def claim(**changes):
    """A claim; by default it holds from an effect of two on."""
    return evidence.Claim(**{**STATED, "lab": "01_x", "kind": "measurement", **changes})


def card_of(stated, word="depends", **run):
    """The card of a claim, with one condition that holds and one that fails."""
    numbers = (
        {"median": 3.0, "low": 2.5, "high": 4.0, "word": "holds"},
        {"median": 1, "low": 0, "high": 1.5, "word": "fails"},
    )
    conditions = [{"name": name, **each} for name, each in zip(("here", "there"), numbers, strict=True)]
    run = {"dataset": "digits", "budget": 1, "n": 16, "trains": True, "live": True, **run}
    return evidence.Card(stated, word, [run | {"conditions": conditions}], {"three epochs": "They are too many."})


def verdict(stated, word="holds", **numbers):
    """What is collected of a card with one condition."""
    part = {"condition": "here", "word": word, **NUMBERS, **numbers}
    return collected.Verdict(stated, "labs/01_x", "cell", {}, word, [part])


def notebook_with(*outputs, kind=new_code_cell):
    cells = [new_markdown_cell("# Do it\n\nWhy.", id="title"), kind("# a comment", id="cell")]
    cells[1].outputs = list(outputs)
    return new_notebook(cells=cells)


def card_output(card):
    return new_output("execute_result", data=card._repr_mimebundle_(), execution_count=1)


def figure(alt):
    return new_output("display_data", data={"image/png": "AAAA"}, metadata={"image/png": {"alt": alt} if alt else {}})


class Tags(html.parser.HTMLParser):
    """The tags of a piece of HTML, each with its attributes; unbalanced ones are an error."""

    EMPTY = ("br", "input")

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

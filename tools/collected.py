"""What executed notebooks say about themselves, for README and site: title, minutes, goals, sections, verdicts."""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from execute import label  # which puts this checkout's helpers first, too

from utils import evidence
from utils.evidence.cards import UNRECORDED, column_name

HEADING = re.compile(r"^## (.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """What is beneath one H2 of a notebook: its title, and its cells."""

    title: str
    cells: tuple

    def code(self, tag):
        """The code cells with a tag, "core" or "optional", in order."""
        return [cell for cell in self.cells if cell.cell_type == "code" and tag in cell.metadata.get("tags", [])]

    @property
    def has_prediction(self):
        """Whether the reader is asked for a prediction."""
        return any("**Predict.**" in cell.source for cell in self.cells if cell.cell_type == "markdown")


@dataclass(frozen=True)
class Summary:
    """One notebook: file name without ending, title, first paragraphs, minutes, what to know, goals and sections."""

    stem: str
    title: str
    intro: str
    minutes: int
    before: str
    goals: tuple
    sections: tuple

    @property
    def number(self):
        """Its two digits."""
        return self.stem[:2]

    @property
    def link(self):
        """A link to it from a page of the site."""
        return f"[{self.number} {self.title}](notebooks/{self.stem}.ipynb)"


@dataclass(frozen=True)
class Verdict:
    """One claim, the notebook that judges it (beneath notebooks/, without ending), the cell, the JSON of its card.

    `word` and `conditions` are those of the record where the claim has one, and of the card otherwise.
    """

    claim: evidence.Claim
    page: str
    cell: str
    card: dict
    word: str
    conditions: list

    @property
    def stem(self):
        """The file name of the notebook without ending."""
        return self.page.rsplit("/", 1)[-1]

    @property
    def place(self):
        """The notebook in words: lab 02."""
        return f"{'lab' if '/' in self.page else 'lesson'} {self.stem[:2]}"

    @property
    def parts(self):
        """Every condition with its name, word, n and numbers, infinities as numbers too."""
        keys = ("median", "low", "high")
        return [{**each, **{key: float(each[key]) for key in keys}} for each in self.conditions]

    @property
    def is_identity(self):
        """Whether it is an exact identity: one number, no interval."""
        return all(part["n"] == 1 for part in self.parts)


def _found(pattern, text, what, path):
    match = re.search(pattern, text, re.MULTILINE | re.DOTALL)
    if not match:
        raise ValueError(f"{path}: expected {what}, found none: see 'A lesson' in CONTRIBUTING.md")
    return match[1].strip()


def sections(notebook):
    """The H2s of a notebook, each with its cells; what stands before the first belongs to none."""
    found = []
    for cell in notebook.cells:
        title = HEADING.search(cell.source) if cell.cell_type == "markdown" else None
        if title:
            found.append((title[1], []))
        if found:
            found[-1][1].append(cell)
    return [Section(title, tuple(cells)) for title, cells in found]


def title(path):
    """The title of a notebook."""
    cells = nbformat.read(path, as_version=4).cells
    return _found(r"^# (.+?)$", cells[0].source if cells else "", "a title", path)


def summary(path):
    """What a notebook says about itself; a ValueError names what is not where CONTRIBUTING.md wants it."""
    notebook = nbformat.read(path, as_version=4)
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    goals = _found(
        r"\*\*You will be able to\*\*\s*\n(.+?)\n\s*\n(?!- )", text, "goals after 'You will be able to'", path
    )
    return Summary(
        stem=Path(path).stem,
        title=_found(r"^# (.+?)$", text, "a title", path),
        intro=_found(r"^# [^\n]+\n(.*?)(?=\n\n\*\*You will|\Z)", text, "an introduction after the title", path),
        minutes=int(_found(r"\*\*Minutes\*\*: (\d+)", text, "the minutes of the core path", path)),
        before=_found(r"\*\*Before you start\*\*: (.+?)\.(?: |\n|$)", text, "'Before you start'", path),
        goals=tuple(goal.removeprefix("- ") for goal in goals.split("\n") if goal.startswith("- ")),
        sections=tuple(sections(notebook)),
    )


def slug(heading):
    """The anchor that MyST gives to a heading, which is GitHub's."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def home(claim):
    """The notebook that judges a claim, beneath notebooks/, without ending."""
    return f"labs/{claim.lab}"


def _verdict(claim, page, cell, card, record):
    runs = record.runs(claim.id)
    word = record.saved_word(claim.id) if runs else card["word"]
    conditions = [{**run, **each} for run in runs for each in run["conditions"]] or card["conditions"]
    named = [{**each, "condition": f"{each['name']}, {column_name(each)}"} for each in conditions]
    return Verdict(claim, page, cell, card, word or UNRECORDED, named)


def verdicts(paths, record=None):
    """Every claim whose card is in the executed notebook that judges it, in their order."""
    known, found, record = evidence.claims(), [], record or evidence.Record()
    for path in paths:
        page = label(Path(path))
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                card = output.get("data", {}).get(evidence.MIME)
                if card and card["id"] not in known:
                    raise ValueError(
                        f"{path}, cell {cell.id}: expected a claim of data/claims.toml, got {card['id']!r}: "
                        f"make notebooks"
                    )
                if card and home(known[card["id"]]) == page:
                    found.append(_verdict(known[card["id"]], page, cell.id, card, record))
    return found

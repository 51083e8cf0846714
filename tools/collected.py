"""What executed notebooks say about themselves, for README and site: title, minutes, goals, sections, verdicts."""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from execute import label  # which puts this checkout's helpers first, too

from utils import evidence

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
    """One card: the claim, the notebook that judges it (beneath notebooks/, without ending), the cell, the JSON."""

    claim: evidence.Claim
    page: str
    cell: str
    card: dict

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
        """The card's conditions, or the card itself where there is one only, with infinities as numbers."""
        keys = ("median", "low", "high")
        return [{**part, **{key: float(part[key]) for key in keys}} for part in self.card.get("parts", [self.card])]

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


def verdicts(paths):
    """Every verdict in executed notebooks, in their order."""
    known, found = evidence.claims(), []
    for path in paths:
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                card = output.get("data", {}).get(evidence.MIME)
                if card and card["id"] not in known:
                    raise ValueError(
                        f"{path}, cell {cell.id}: expected a claim of data/claims.toml, got {card['id']!r}: "
                        f"make notebooks"
                    )
                if card:
                    found.append(Verdict(known[card["id"]], label(Path(path)), cell.id, card))
    return found

"""Cards: what the record and a live run say of a claim, as text, as HTML, and as JSON for the tools that collect it."""

import html
import os
import textwrap
from dataclasses import dataclass, field

from utils.evidence.claims import Claim
from utils.evidence.protocol import in_points
from utils.evidence.statistics import NOT_JUDGED, counts, coverage

__all__ = ["MIME", "Card"]

#: The type of a card among the outputs of a cell.
MIME = "application/vnd.course.claim+json"
WIDTH = 90
MARKS = {"holds": "✓", "fails": "✗", "undecided": "?", NOT_JUDGED: "–"}
# White on each of these, and each on white, has a contrast of at least 4.5 to 1; a word always stands beside it.
COLOURS = {"holds": "#00609c", "depends": "#6a4a9c", "fails": "#a84300", "undecided": "#5f5f5f"}
NAMES = {"mnist_5k": "MNIST", "own data": ""}
MILLION = " million"
UNRECORDED = "not recorded yet"


def strict():
    """Whether a live run that contradicts the record is an error: in CI only."""
    return os.environ.get("CI", "").strip().lower() not in ("", "0", "false", "no")


def number_in_words(x):
    """Three digits or so, as a reader says them; a power of ten only where the number has no name."""
    size = abs(x)
    if size == float("inf"):
        text = "∞"
    elif size >= 999.5e6 or 0 < size < 1e-3:
        text = _as_power(size)
    elif size >= 999.5e3:
        text = f"{size / 1e6:.{int(size < 9.95e6)}f}{MILLION}"
    elif size >= 99.5:
        text = f"{float(f'{size:.3g}'):,.0f}".replace(",", " ")
    else:
        text = f"{size:.2g}" if 0 < size < 0.95 else f"{size:.1f}"
    return f"−{text}" if x < 0 else text


def _as_power(x):
    """``3·10⁻¹⁵``, with one digit."""
    digit, exponent = f"{x:.0e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digit}·10{raised}".removeprefix("1·")


def column_name(run):
    """The head of a column: ``digits 4T``."""
    budget = {0: "", 1: "T"}.get(run["budget"], f"{run['budget']}T")
    data = NAMES.get(run["dataset"], run["dataset"].replace("_", " "))
    apart = ", " if " " in data else " "
    return apart.join(part for part in (data, budget * bool(run.get("trains", True))) if part) or "measured"


@dataclass(frozen=True, eq=False)
class Card:
    """What is known of a claim.

    Parameters
    ----------
    claim : Claim
    word : str or None
        That of the record; None if nothing is recorded.
    runs : list of dict
        A column each: dataset, budget, n, live, trains and conditions.
    waived : dict of str to str
        Rules that the experiment does not keep, with the reasons.
    note : str
        Where the numbers come from, if that has to be said.
    """

    claim: Claim
    word: str | None
    runs: list
    waived: dict = field(default_factory=dict)
    note: str = ""

    @property
    def verdict(self):
        """The word in words."""
        return self.word or UNRECORDED

    @property
    def sentence(self):
        """What a student can repeat."""
        return self.claim.conclusion.get(self.word, self.claim.statement)

    @property
    def labels(self):
        """The names of all conditions, in order."""
        return list(dict.fromkeys(each["name"] for run in self.runs for each in run["conditions"]))

    def cells(self, label):
        """One condition's cell in every column; an empty text where it was not measured.

        Parameters
        ----------
        label : str

        Yields
        ------
        str
        """
        for run in self.runs:
            found = [each for each in run["conditions"] if each["name"] == label]
            yield self._cell(found[0]) if found else ""

    def _cell(self, each):
        mark = MARKS[each["word"]]
        if self.claim.kind == "identity":
            return f"error {number_in_words(each['median'])} {mark}"
        middle, low, high = numbers = [self._number(each[key]) for key in ("median", "low", "high")]
        if all(number.endswith(MILLION) for number in numbers):
            low = low.removesuffix(MILLION)
        return f"{middle} ({low} to {high}) {mark}"

    def _number(self, x):
        """Points with one digit after the point: test sets of a thousand images show no finer step."""
        if in_points(self.claim) and abs(x) != float("inf"):
            return f"{x:.1f}".replace("-", "−").replace("−0.0", "0.0")
        return number_in_words(x)

    @property
    def threshold(self):
        """When a condition holds."""
        if self.claim.kind == "identity":
            return f"holds if the {self.claim.unit} is at most {number_in_words(self.claim.smallest)}"
        unit, smallest = self.claim.unit, f"{self.claim.smallest:g}".replace("-", "−")
        if abs(self.claim.smallest) == 1:
            unit = unit.replace("points", "point", 1)
        return f"holds if {self.claim.direction} {smallest} {unit}"

    def _said_of(self, run):
        """The number of seeds of a column, and whether it was measured just now."""
        seeds = [] if self.claim.kind == "identity" else [f"{run['n']} seeds"]
        return seeds + ["now"] * run["live"]

    @property
    def shared(self):
        """What is the same for all columns."""
        said = [self._said_of(run) for run in self.runs]
        return [part for part in said[0] if all(part in other for other in said)] if said else []

    @property
    def heads(self):
        """The heads of the columns, with what is not the same for all.

        Yields
        ------
        str
        """
        for run in self.runs:
            yield ", ".join([column_name(run), *(part for part in self._said_of(run) if part not in self.shared)])

    @property
    def caption(self):
        """When a condition holds, and what is the same for all columns."""
        return "; ".join([self.threshold, *(part.replace("now", "measured now") for part in self.shared)])

    def _words(self):
        return [each["word"] for run in self.runs for each in run["conditions"]]

    def details(self):
        """What is folded: statement, setting, source, prediction, method, and what has to be said openly.

        Returns
        -------
        dict of str to str
        """
        sizes = sorted({run["n"] for run in self.runs})
        exact = ", ".join(f"{100 * coverage(n):.1f} % with {n}" for n in sizes)
        if self.claim.kind == "identity":
            method = "The number is the largest deviation from an identity."
        else:
            method = (
                f"Each number is the median over the seeds, with its exact interval: {exact}. {counts(self._words())}"
            )
        found = {
            "Statement": self.claim.statement,
            "Setting": self.claim.setting,
            "Source": f"“{self.claim.quote}” — {self.claim.source}",
            "Predicted before the run": self.claim.prediction,
            "Method": method if sizes else "",
            "Changed after a run": self.claim.changed,
            **{f"Rule not kept ({rule})": reason for rule, reason in self.waived.items()},
        }
        for run in self.runs:
            for each in run["conditions"]:
                if "reason" in each:
                    found[f"Not judged ({column_name(run)}, {each['name']})"] = each["reason"]
        return {key: text for key, text in found.items() if text}

    def to_json(self):
        """What is stored in the notebook.

        Returns
        -------
        dict
            Keys id, edition, kind, word, n (of the first column), and conditions: one for each column and condition,
            with name, dataset, budget, n, live, median, low, high, word.
        """
        conditions = [
            {
                "name": each["name"],
                **{key: run[key] for key in ("dataset", "budget", "n", "live", "trains")},
                **{key: _as_json(each[key]) for key in ("median", "low", "high")},
                "word": each["word"],
                **({"reason": each["reason"]} if "reason" in each else {}),
            }
            for run in self.runs
            for each in run["conditions"]
        ]
        n = self.runs[0]["n"] if self.runs else 0
        found = {"id": self.claim.id, "edition": 2, "kind": self.claim.kind, "word": self.word, "n": n}
        return found | {"conditions": conditions} | ({"waived": self.waived} if self.waived else {})

    def __repr__(self):
        lines = textwrap.wrap(f"{self.verdict.upper()}: {self.sentence}", WIDTH, break_on_hyphens=False)
        lines += textwrap.wrap(self.note, WIDTH)
        lines += textwrap.wrap(self.caption, WIDTH)
        lines += self._table() if self.runs else []
        for key, text in self.details().items():
            lines += textwrap.wrap(f"{key}: {text}", WIDTH, break_on_hyphens=False)
        return "\n".join([*lines, f"[{self.claim.id}]"])

    def _table(self):
        """The lines of the table: labels beside the numbers, or above them, or each number in a line of its own."""
        rows = [["", *self.heads], *([label, *self.cells(label)] for label in self.labels)]
        first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
        numbers = sum(widths) + 3 * len(widths)
        for label, *cells in rows:
            line = " | ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
            if first + numbers <= WIDTH:
                yield f"{label.ljust(first)} | {line}"
                continue
            yield from textwrap.wrap(label, WIDTH)
            if numbers < WIDTH:
                yield f"  {line}"
            elif label:
                yield from (f"  {head}: {cell}" for head, cell in zip(self.heads, cells, strict=True))

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": repr(self), "text/html": self.to_html(), MIME: self.to_json()}

    def to_html(self):
        """The card for a page of any theme.

        Returns
        -------
        str
        """
        escape, colour = html.escape, COLOURS.get(self.word, COLOURS["undecided"])
        text = "max-width: 44em; margin: 0.3em 0; overflow-wrap: break-word"
        badge = f"background: {colour}; color: #fff; padding: 0.05em 0.5em; border-radius: 0.2em"
        folded = "".join(f'<p style="{text}"><b>{escape(k)}.</b> {escape(t)}</p>' for k, t in self.details().items())
        shown = [escape(self.note), f"<i>{escape(self.caption)}</i>"]
        lines = "".join(f'<div style="{text}">{each}</div>' for each in shown if each)
        return (
            f'<div class="claim-card" style="border-left: 6px solid {colour}; padding: 0.4em 0.9em; margin: 0.5em 0; '
            f'max-width: 62em"><div style="{text}"><b style="{badge}">{escape(self.verdict)}</b> &nbsp;'
            f"{escape(self.sentence)}</div>{lines}{self._html_table() if self.runs else ''}"
            f"<details><summary>Statement, setting, source, prediction, method</summary>{folded}"
            f'<p style="{text}"><code>{escape(self.claim.id)}</code></p></details></div>'
        )

    def _html_table(self):
        """The table, which scrolls inside the card where it is wider."""
        cell = "padding: 0.25em 1em 0.25em 0; text-align: left; vertical-align: top; white-space: normal; border: 0"
        wide, row = f"{cell}; min-width: 7em; font-weight: normal", "background: none; border: 0"
        head = "".join(f'<th scope="col" style="{cell}">{html.escape(name)}</th>' for name in self.heads)
        rows = "".join(
            f'<tr style="{row}; border-top: 1px solid rgba(128, 128, 128, 0.4)">'
            f'<th scope="row" style="{wide}">{html.escape(label)}</th>'
            + "".join(f'<td style="{cell}">{_in_two(text)}</td>' for text in self.cells(label))
            + "</tr>"
            for label in self.labels
        )
        return (
            f'<div style="overflow-x: auto; margin: 0.4em 0" tabindex="0" role="region" '
            f'aria-label="Numbers of {html.escape(self.claim.id)}">'
            f'<table style="border-collapse: collapse; margin: 0; font-size: 0.92em"><thead><tr style="{row}">'
            f'<td style="{wide}"></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        )


def _in_two(text):
    """A cell that may be cut in one place only: before its interval."""
    parts = [f"({part}" if i else part.strip() for i, part in enumerate(text.split("(", 1))]
    return " ".join(f'<span style="white-space: nowrap">{_spoken(part)}</span>' for part in parts)


def _spoken(text):
    """A cell whose mark is read as a word."""
    for word, mark in MARKS.items():
        if text.endswith(mark):
            return f'{html.escape(text[: -len(mark)])}<span role="img" aria-label="{word}"><b>{mark}</b></span>'
    return html.escape(text)


def _as_json(x):
    """JSON has no infinity: it travels as the word that float() reads."""
    return x if abs(x) != float("inf") else ("Infinity" if x > 0 else "-Infinity")


def from_json(found, claim, note=""):
    """The card that a notebook has stored.

    Parameters
    ----------
    found : dict
        As `Card.to_json` gives it.
    claim : Claim
    note : str

    Returns
    -------
    Card
    """
    runs = {}
    for each in found["conditions"]:
        key = each["dataset"], each["budget"]
        run = {name: each[name] for name in ("dataset", "budget", "n", "live", "trains")} | {"conditions": []}
        numbers = {name: float(each[name]) for name in ("median", "low", "high")}
        kept = {name: each[name] for name in ("name", "word", "reason") if name in each}
        runs.setdefault(key, run)["conditions"].append({**kept, **numbers})
    return Card(claim, found["word"], list(runs.values()), found.get("waived", {}), note)

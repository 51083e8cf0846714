"""Rules about the text of a notebook."""

import re

from .base import cell_rule, prose, rule, text_rule, where

PROSE_WORDS = 150
# What looks like a measured number and is none: that of a lecture or a version, and the level of an interval.
CITED = (
    r"(?i)\b(arXiv|chapters?|figures?|lectures?|numbers?|Python|PyTorch|sections?|version)[ :]+\d[\d.]*( and \d[\d.]*)?"
    r"|\b\d+ ?% (confidence )?interval"
)
MEASURED = r"(?<![\w.])\d+(\.\d+)?( ?%| ?×(?! ?\d)| ?(seconds?|ms)\b| s\b)|(?<![\w.])\d+\.\d+"


@text_rule
def short_prose(cell):
    """A cell of text has at most 150 words; formulas, code blocks and tables do not count."""
    words = [word for word in prose(cell).split() if re.search(r"\w", word)]
    if len(words) > PROSE_WORDS:
        yield f"{len(words)} words instead of at most {PROSE_WORDS}"


@text_rule
def no_measured_numbers(cell):
    """Text states no number that a run could change: no decimals, percentages, factors or seconds.

    A number that is given, not measured, stands in a formula or in code; that of a section or lecture is no number.
    """
    text = re.sub(r"`[^`]*`", " ", prose(cell).replace("\N{NO-BREAK SPACE}", " "))
    for match in re.finditer(MEASURED, re.sub(CITED, " ", text)):
        yield f"the number {match.group()!r} in text"


@rule
def text_between_code(nb):
    """No code cell follows another one without a sentence between them."""
    for before, cell in zip(nb.json.cells, nb.json.cells[1:], strict=False):
        if before.cell_type == cell.cell_type == "code":
            yield f"a code cell directly after another, {where(cell)}"


@cell_rule
def nothing_to_do(cell):
    """Nothing is left to be done."""
    yield from re.findall(r"\b(?:TODO|FIXME|XXX)\b", cell.source)

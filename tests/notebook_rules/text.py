"""Rules about the text of a notebook."""

import re

from .base import LAB_RULES, cell_rule, lesson_rule, prose, rule, text_rule, where
from .parts import introduction, numbered_sections, sections
from .prompts import is_change

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


def no_measured_numbers(nb):
    """Text states no number that a run could change: no decimals, percentages, factors or seconds.

    A number that is given, not measured, stands in a formula or in code; that of a section or lecture is no number.
    """
    for cell in nb.json.cells:
        yield from (f"the number {number!r} in text, {where(cell)}" for number in measured(cell))


rule(no_measured_numbers, LAB_RULES)


@lesson_rule
def numbers_are_printed(nb):
    """A measured number in text stands, rounded as printed, in a text output of its section.

    The introduction and sections without a number, such as the Recap, may repeat what any section prints. What a
    *Change this* says is compared with what the change prints, by tests/test_changes.py.
    """
    numbered = [cells for _, cells in numbered_sections(nb)]
    for cells in [introduction(nb), *(cells for _, cells in sections(nb))]:
        printed = printed_by(cells if cells in numbered else nb.json.cells)
        for cell in (cell for cell in cells if not is_change(cell)):
            for number in measured(cell):
                if not is_printed(number, printed):
                    yield f"the number {number!r} in text stands in no output of its section, {where(cell)}"


def measured(cell):
    """The numbers in a cell of text that a run could change."""
    if cell.cell_type != "markdown":
        return []
    text = re.sub(r"`[^`]*`", " ", prose(cell).replace("\N{NO-BREAK SPACE}", " "))
    return [match.group() for match in re.finditer(MEASURED, re.sub(CITED, " ", without_commas(text)))]


def without_commas(text):
    """A text with 12,000 written as 12000."""
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)


def printed_by(cells):
    """The text outputs of some cells: what is printed, values, cards, and the text beside a picture."""
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    data = [output.get("data", {}) for output in outputs]
    shown = [each.get(mime, "") for each in data for mime in ("text/plain", "text/markdown")]
    return "\n".join([*(output.get("text", "") for output in outputs), *shown])


def is_printed(number, printed):
    """Whether a measured number, such as "1.50", "12 %" or "3 ×", stands in a printed text with the same digits."""
    digits = re.match(r"[\d.]+", number)[0]
    return re.search(rf"(?<![\d.]){re.escape(digits)}(?!\.?\d)", without_commas(printed)) is not None


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

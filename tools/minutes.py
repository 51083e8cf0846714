"""How many minutes a lesson takes, counted: reading, code, predictions, figures and verdicts."""

import math

import guard  # noqa: F401  puts this checkout's helpers first

from utils.evidence import MIME

WORDS, LINES = 180, 10  # per minute
PREDICTION, FIGURE, VERDICT = 1.5, 1, 1  # minutes each


def minutes(notebook):
    """The minutes of the core path of an executed notebook, rounded up; its cells without the tag ``optional``."""
    return of_cells([cell for cell in notebook.cells if not _is_optional(cell)])


def optional_minutes(notebook):
    """The minutes of its cells with the tag ``optional``, in the same way."""
    return of_cells([cell for cell in notebook.cells if _is_optional(cell)])


def _is_optional(cell):
    return "optional" in cell.metadata.get("tags", [])


def of_cells(cells):
    """The minutes of these cells of an executed notebook, rounded up."""
    return math.ceil(exact_minutes(cells))


def exact_minutes(cells):
    """The minutes of these cells of an executed notebook."""
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    code = [cell for cell in cells if cell.cell_type == "code"]
    shown = [cell.source for cell in code if "hide-input" not in cell.metadata.get("tags", [])]
    outputs = [output.get("data", {}) for cell in code for output in cell.get("outputs", [])]
    words = sum(len(text.split()) for text in texts)
    lines = sum(bool(line.strip()) for source in shown for line in source.splitlines())
    predictions = sum(text.count("**Predict.**") for text in texts)
    figures = sum("image/png" in data for data in outputs)
    verdicts = sum(MIME in data for data in outputs)
    return words / WORDS + lines / LINES + PREDICTION * predictions + FIGURE * figures + VERDICT * verdicts

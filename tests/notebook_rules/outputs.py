"""Rules about what a run has stored in a notebook."""

from .base import cell_rule, code_cells, code_rule, found_in, output_rule, prose, rule, texts_of, where

TOLERANCE = 5
WIDE = 20, 3  # the widest, and how many of a notebook may be wider than TOLERANCE


@cell_rule
def no_absolute_paths(cell):
    """Neither source nor outputs name a folder of one computer."""
    roots = "|".join(("home", "Users", "tmp", "work", "root", "mnt", "private", "var", "opt"))
    pattern = rf"(?<![\w.:/-])/(?:{roots})/|\bfile://|(?<![\w\\])[A-Z]:\\\\?\w"
    stored = [text for output in cell.get("outputs", []) for text in texts_of(output)]
    for text in [prose(cell) if cell.cell_type == "markdown" else cell.source, *stored]:
        yield from map(repr, found_in(text, pattern))


@rule
def executed_in_order(nb):
    """All code cells have been executed, from top to bottom, in a fresh kernel."""
    for number, cell in enumerate(code_cells(nb), start=1):
        if cell.execution_count != number:
            yield f"executed as number {cell.execution_count} instead of {number}, {where(cell)}"
            return  # all that follow are wrong too


@output_rule
def no_stored_errors(output):
    """No cell has failed."""
    if output.output_type == "error":
        yield f"{output.get('ename')}"


@output_rule
def no_stderr(output):
    """No cell has written to stderr: a warning is dealt with, progress bars are for scripts."""
    if output.get("name") == "stderr":
        yield f"{output.text[:80]!r}"


@output_rule
def alt_text(output):
    """Every picture has a text for those who cannot see it, in the metadata and as text/plain."""
    for mime in output.get("data", {}):
        if mime.startswith("image/"):
            alt = output.metadata.get(mime, {}).get("alt", "")
            if not alt.strip() or alt != output.data.get("text/plain"):
                yield "a picture whose alt text is missing or not its text/plain"


@code_rule
def small_tolerance(cell):
    """The tolerance ``compare`` of a cell is above zero and at most twenty: a wider one would compare nothing."""
    tolerance = cell.metadata.get("compare", 1)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 < tolerance <= WIDE[0]:
        yield f"compare is {tolerance!r} instead of a number up to {WIDE[0]}"


@rule
def few_wide_tolerances(nb):
    """Three cells have a tolerance above five: networks that barely train end elsewhere on another processor."""
    found = {where(cell): cell.metadata.get("compare") for cell in code_cells(nb)}
    wide = [place for place, value in found.items() if isinstance(value, int | float) and value > TOLERANCE]
    if len(wide) > WIDE[1]:
        yield f"compare is above {TOLERANCE} in {len(wide)} cells instead of at most {WIDE[1]}, {wide[-1]}"


@output_rule
def no_addresses(output):
    """No output shows where in memory an object lies."""
    for text in texts_of(output):
        yield from map(repr, found_in(text, r"\bat 0x[0-9A-Fa-f]+"))

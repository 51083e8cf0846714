"""A deck of slides for each lesson, from the same cells, with reveal.js; nothing is executed.

Slide types are in the metadata of the cells, as JupyterLab sets them. Answers to predict prompts and what to change
go to the speaker's notes. ``site/slides/deck.js`` lays a section onto slides that it fits.
"""

import argparse
import ast
import base64
import re
import struct
import tempfile
from copy import deepcopy
from pathlib import Path

import assets
import jinja2
import nbformat
from execute import find_notebooks
from guard import RESULTS, ROOT, one_sentence
from nbconvert import SlidesExporter
from results import Results
from traitlets.config import Config

from utils.files import write_atomically

SOURCES = ROOT / "site" / "slides"
SLIDE_TYPES = ("slide", "subslide", "fragment", "skip", "notes", "-", "")
SHOWN_FIRST = ["text/html", "image/png", "text/markdown", "text/plain"]
ANSWER = re.compile(r"<details>\s*<summary>(?P<title>.*?)</summary>(?P<text>.*?)</details>", re.DOTALL)
HEADING = re.compile(r"^##? +(.+?)\s*$", re.MULTILINE)
PARAGRAPHS = re.compile(r"^```.*?^```|\S.*?(?=\n\s*\n|\s*\Z)", re.DOTALL | re.MULTILINE)
CHANGE = "**Change this.**"
DRAWING = {"fig", "ax", "axes", "plt", "plotting", "widgets", "display"}
FOLDED = "hide-input"
FEW_LINES = 6
TO_NOTEBOOK = re.compile(r"\[([^\]]+)\]\((?!\w+:)[^)\s]+\.ipynb[^)]*\)")  # there are no notebooks beside the decks
FOR_TESTS = re.compile(r"^# NBVAL_\w+\n", re.MULTILINE)


class SlidesError(ValueError):
    """A notebook that no deck can be made from; the message says what to do."""


def split_prose(source):
    """Part what the audience sees from the notes: folded answers, and "Change this" with the code after it."""
    notes = [f"**{match['title'].strip()}.** {match['text'].strip()}" for match in ANSWER.finditer(source)]
    last = visible = []
    for part in PARAGRAPHS.findall(ANSWER.sub("", source)):
        code_to_try = part.startswith("```") and last is notes
        last = notes if part.startswith(CHANGE) or code_to_try else visible
        last.append(part.strip())
    return "\n\n".join(visible), "\n\n".join(notes)


def only_draws(cell):
    """Whether a cell is folded, or shows a picture or a table and has few lines that do anything else.

    On a slide the picture is what counts; the notebook shows how it is drawn.
    """
    if FOLDED in cell.metadata.get("tags", []):
        return True
    shown = {mime for output in cell.outputs for mime in output.get("data", {})}
    if not shown & {"image/png", "text/markdown"} or re.search(r"^[%!]", cell.source, re.MULTILINE):
        return False
    others, drawing = 0, set(DRAWING)
    for statement in ast.parse(cell.source).body:
        names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        if not names & drawing:
            others += statement.end_lineno - statement.lineno + 1
        elif "plt" in names and isinstance(statement, ast.Assign):
            drawing |= names  # fig, (left, right) = plt.subplots(...)
    return others <= FEW_LINES


def slide_type_of(cell, where):
    """The slide type of a cell; "-" where none is set."""
    kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
    if kind not in SLIDE_TYPES:
        expected = ", ".join(kind for kind in SLIDE_TYPES if kind)
        raise SlidesError(f"{where}, cell {cell.id}: expected a slide type of {expected}; got {kind!r}, correct it")
    return kind or "-"


def _describe_pictures(cell):
    """Put width, height and alternative text of each picture where the template finds them."""
    for output in cell.outputs:
        if "image/png" in output.get("data", {}):
            header = base64.b64decode(output.data["image/png"][:64])
            dots, lines = struct.unpack(">II", header[16:24])
            about = output.metadata.get("image/png", {})
            width, alt = about.get("width", dots), about.get("alt") or output.data.get("text/plain", "")
            height = round(lines * width / dots)
            output.metadata.update(width=width, height=height, alt=alt)


def prepare(notebook, where="notebook"):
    """A copy of a notebook with what is on its slides.

    Metadata of its cells: ``notes``, ``section`` (the heading that the slide repeats) and ``hide_code``; of the
    notebook: ``title``. A SlidesError if no cell is shown, or for a slide type that nobody knows.
    """
    deck, section, title = deepcopy(notebook), "", where
    deck.metadata.pop("widgets", None)  # their picture is shown
    cells = []
    for cell in deck.cells:
        kind = slide_type_of(cell, where)
        if kind == "skip" or (kind == "notes" and cell.cell_type != "markdown"):
            continue
        if cell.cell_type == "markdown":
            visible, notes = split_prose(TO_NOTEBOOK.sub(r"\1", cell.source))
            if kind == "notes":  # goes with the slide before
                kind, visible, notes = "-", "", "\n\n".join(filter(None, (visible, notes)))
            heading = HEADING.search(visible)
            section = heading[1] if heading else section
            title = section if visible.startswith("# ") else title
            cell.source, cell.metadata.notes = visible, notes
        elif cell.cell_type == "code":
            cell.metadata.hide_code = only_draws(cell)
            cell.source = FOR_TESTS.sub("", cell.source)
            _describe_pictures(cell)
        cell.metadata.section = section.replace("`", "")
        cell.metadata.slideshow = {"slide_type": kind}
        cells.append(cell)
    if not any(cell.source for cell in cells):
        raise SlidesError(f"{where}: expected cells that are shown, got none: give some the slide type slide")
    deck.cells, deck.metadata.title = cells, title.replace("`", "")
    return deck


def as_deck(notebook, where="notebook"):
    """A notebook as a page of slides, and its title; scripts and styles are expected in ``lib`` beside it."""
    deck = prepare(notebook, where)
    exporter = SlidesExporter(
        config=Config(NbConvertBase={"display_data_priority": SHOWN_FIRST}),
        extra_template_basedirs=[str(SOURCES)],
        template_name="deck",
        exclude_anchor_links=True,
    )
    return exporter.from_notebook_node(deck)[0], deck.metadata.title


def write_decks(paths, out):
    """Write a deck for each notebook, what they load, and at last the page that lists them; gives the decks."""
    assets.unpack("reveal.js", out / "lib" / "reveal")
    assets.unpack("mathjax", out / "lib" / "mathjax")
    for name in ("deck.css", "deck.js"):
        write_atomically(out / "lib" / name, (SOURCES / name).read_text(encoding="utf-8"))
    decks = []
    for path in paths:
        page, title = as_deck(nbformat.read(path, as_version=4), path.name)
        write_atomically(out / f"{path.stem}.html", page)
        decks.append((path.stem, title))
    listing = jinja2.Environment(loader=jinja2.FileSystemLoader(SOURCES)).get_template("index.html.j2")
    write_atomically(out / "index.html", listing.render(decks=decks) + "\n")
    return [out / f"{stem}.html" for stem, _ in decks]


@one_sentence("slides", RESULTS, SlidesError, assets.AssetError)
def main():
    """Make the decks and say where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="folder for results; slides go to slides/")
    parser.add_argument("notebooks", nargs="*", help="some notebooks only")
    arguments = parser.parse_args()
    out = arguments.build.resolve() / "slides"
    paths = find_notebooks(arguments.notebooks)
    with Results.alone(out) as results, tempfile.TemporaryDirectory(prefix="slides-work-", dir=out.parent) as folder:
        decks = write_decks(paths, Path(folder))
        results.write_tree(Path(folder), whole=not arguments.notebooks)
    print(f"Slides: {len(decks)} decks, open {out / 'index.html'}")


if __name__ == "__main__":
    main()

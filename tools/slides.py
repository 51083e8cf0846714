"""A deck of slides for each lesson, from the same cells, with reveal.js; nothing is executed.

Slide types are in the metadata of the cells, as JupyterLab sets them. A *subslide* and a
*fragment* are shown whole, text and code; so are the title, predictions, *Recap* and *In practice*. Of other cells a
slide has headings, formulas, lists, outputs, and of each paragraph the first sentence and a question at the end; the
rest, answers and what to change go to the speaker's notes. ``site/slides/deck.js`` lays a section onto slides.
"""

import argparse
import base64
import re
import struct
import tempfile
from copy import deepcopy
from itertools import zip_longest
from pathlib import Path

import assets
import jinja2
import nbformat
from execute import find_notebooks
from guard import RESULTS, ROOT, one_sentence
from minutes import exact_minutes
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
CHANGE, PREDICT = "**Change this.**", "**Predict.**"
WHOLE = re.compile(r"\A# |^## (Recap|In practice)|\*\*Predict\.", re.MULTILINE)
FOLDED = "hide-input"
# Bold words that lead a paragraph are no sentence, nor are 20 characters; a letter before the point is an initial.
LEAD = re.compile(r"(\*\*[^*]+\*\*)?")
SENTENCE = re.compile(r"""(?<!\b[A-Z])[.!?][)*”"]*(?=\s+["“(*\[$`A-Z])""")
LED_TO = ("$$", "- ", "1. ", "|", "```")
IN_ONE_PIECE = ("#", "![", PREDICT, *LED_TO)
TO_NOTEBOOK = re.compile(r"\[([^\]]+)\]\((?!\w+:)[^)\s]+\.ipynb[^)]*\)")  # there are no notebooks beside the decks
FOR_TESTS = re.compile(r"^# NBVAL_\w+\n", re.MULTILINE)


class SlidesError(ValueError):
    """A notebook that no deck can be made from; the message says what to do."""


def split_prose(source, whole=True, after=False):
    """Part what the audience sees from the notes: folded answers, and "Change this" with the code after it.

    Where it is not shown whole, also what follows the first sentence of a paragraph, except a question at its end, or a
    sentence that leads to what comes next; ``after``: the slide goes on after this text.
    """
    notes = [f"**{match['title'].strip()}.** {match['text'].strip()}" for match in ANSWER.finditer(source)]
    last = visible = []
    parts = [part.strip() for part in PARAGRAPHS.findall(ANSWER.sub("", source))]
    for part, following in zip_longest(parts, parts[1:], fillvalue=""):
        code_to_try = part.startswith("```") and last is notes
        last = notes if part.startswith(CHANGE) or code_to_try else visible
        if last is visible and not whole and not part.startswith(IN_ONE_PIECE) and "$$" not in part:
            ends = [match.end() for match in SENTENCE.finditer(part, max(20, LEAD.match(part).end()))]
            ends = [0, *(end for end in ends if all(part.count(mark, 0, end) % 2 == 0 for mark in "*$`")), len(part)]
            goes_on = part.endswith(":") and (following or after)
            leads = bool(len(ends) > 2 and (part.endswith("?") or goes_on or following.startswith(LED_TO)))
            rest = part[ends[1] : ends[-2]] if leads else part[ends[1] :]
            notes += [rest.strip()] * bool(rest.strip())
            part = part[: ends[1]] + part[ends[-2] :] * leads
        last.append(part)
    return "\n\n".join(visible), "\n\n".join(notes)


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


def _is_shown(cell, where):
    """Whether a slide has code or outputs of a cell."""
    if cell is None or cell.cell_type != "code":
        return False
    kind = slide_type_of(cell, where)
    return kind in ("subslide", "fragment") or (kind == "-" and bool(cell.outputs))


def prepare(notebook, where="notebook"):
    """A copy of a notebook with what is on its slides.

    Metadata of its cells: ``notes``, ``minutes`` and ``section`` (the heading that the slide repeats); of the notebook:
    ``title``. A SlidesError if no cell is shown, or for a slide type that nobody knows.
    """
    deck, section, title, asked = deepcopy(notebook), "", where, False
    deck.metadata.pop("widgets", None)  # their picture is shown
    cells = []
    for cell, following in zip_longest(deck.cells, deck.cells[1:]):
        kind, notes = slide_type_of(cell, where), ""
        if kind == "skip" or cell.cell_type == "raw" or (kind == "notes" and cell.cell_type == "code"):
            continue
        if cell.cell_type == "markdown":
            whole = kind in ("subslide", "fragment", "notes") or WHOLE.search(cell.source)
            visible, notes = split_prose(TO_NOTEBOOK.sub(r"\1", cell.source), whole, _is_shown(following, where))
            if kind == "notes":  # goes with the slide before
                kind, visible, notes = "-", "", "\n\n".join(filter(None, (visible, notes)))
            heading = HEADING.search(visible)
            section = heading[1] if heading else section
            title = section if visible.startswith("# ") else title
            minutes, shown, cell.source = exact_minutes([cell]), visible, visible
        else:
            cell.source = FOR_TESTS.sub("", cell.source)
            if kind == "-":
                cell.metadata.tags = sorted({*cell.metadata.get("tags", []), FOLDED})
            _describe_pictures(cell)
            minutes = exact_minutes([cell])
            shown = FOLDED not in cell.metadata.get("tags", []) or cell.outputs
        if shown:
            kind = "subslide" if asked and kind != "slide" else kind  # what answers a question is not beside it
            asked = PREDICT in cell.source
            cell.metadata.update(notes=notes, minutes=minutes, section=section.replace("`", ""))
            cell.metadata.slideshow = {"slide_type": kind}
            cells.append(cell)
        elif cells:
            cells[-1].metadata.minutes += minutes
            cells[-1].metadata.notes = "\n\n".join(filter(None, (cells[-1].metadata.notes, notes)))
    if not cells:
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

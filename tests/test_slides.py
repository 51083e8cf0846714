"""The decks as they are written, without a browser; tests/browser/test_slides.py looks at them in one."""

import base64
import re
import sys
from copy import deepcopy
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import slides
from minutes import minutes
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import notebooks

pytestmark = pytest.mark.timeout(300)  # decks are made

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
# A PNG of one pixel.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
LOADS = {"src", "href", "data", "srcset", "poster", "action"}


class Deck(HTMLParser):
    """What a deck has: its slides with their text, what stands in notes, pictures, addresses."""

    def __init__(self, page):
        super().__init__()
        self.slides, self.notes, self.pictures, self.addresses, self.open = {}, [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [value for name, value in attrs.items() if name in LOADS]
        if tag == "img":
            self.pictures.append(attrs)
        if tag == "section":
            self.open.append(attrs.get("id"))
            self.slides.setdefault(attrs.get("id"), "")
        if tag == "aside":
            self.open.append("notes")
            self.notes.append("")

    def handle_endtag(self, tag):
        if tag in ("section", "aside"):
            self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "notes":
            self.notes[-1] += data
        elif self.open:
            self.slides[self.open[-1]] += data


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def both(request):
    notebook = nbformat.read(request.param, as_version=4)
    page, _ = slides.as_deck(notebook, request.param.name)
    return notebook, page, Deck(page)


def kind(cell):
    return cell.metadata.get("slideshow", {}).get("slide_type", "-")


def optional(cell):
    return "optional" in cell.metadata.get("tags", [])


def headings(cell):
    return re.findall(r"^##? +(.*)$", cell.source, flags=re.M) if cell.cell_type == "markdown" else []


def squeezed(text):
    return "".join(text.split())


def test_every_heading_begins_a_slide(both):
    notebook, _, deck = both
    for cell in notebook.cells:
        if headings(cell) and not optional(cell) and headings(cell) != ["Further reading"]:
            assert kind(cell) == "slide", cell.id
            assert cell.id in deck.slides


def test_optional_cells_are_not_in_the_deck(both):
    notebook, page, deck = both
    cells = [cell for cell in notebook.cells if optional(cell)]
    if not cells:
        pytest.skip("this lesson has no optional cells")
    shown = squeezed(" ".join(deck.slides.values()))
    for cell in cells:
        assert kind(cell) == "skip", cell.id
        assert f'id="{cell.id}"' not in page
        if cell.cell_type == "code":
            assert squeezed(cell.source) not in shown


def test_code_is_shown_where_the_cell_begins_or_extends_a_slide_by_its_type(both):
    notebook, _, deck = both
    shown = squeezed(" ".join(deck.slides.values()))
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and kind(cell) != "skip"]
    chosen = [cell.id for cell in cells if kind(cell) in ("subslide", "fragment")]
    assert len(chosen) < len(cells) / 2
    for cell in cells:
        lines = [line for line in slides.FOR_TESTS.sub("", cell.source).splitlines() if line.strip()]
        assert (squeezed("\n".join(lines)) in shown) == (cell.id in chosen), cell.id
        assert cell.id not in chosen or len(lines) <= 15, cell.id


def test_answers_are_in_the_notes_and_nowhere_else(both):
    notebook, _, deck = both
    cells = [cell for cell in notebook.cells if "<details>" in cell.source and not optional(cell)]
    shown, notes = " ".join(deck.slides.values()), " ".join(deck.notes)
    answers = len(re.findall(r"^Answer\b[^.\n]*\.", notes, flags=re.M))
    assert answers == sum(cell.source.count("<details>") for cell in cells) > 0
    assert notes.count("Change this.") >= sum(cell.source.count(slides.CHANGE) for cell in cells)
    for words in ("Answer to the prediction", "Change this."):
        assert words not in shown
    for cell in cells:
        for match in slides.ANSWER.finditer(cell.source):
            words = re.match(r"[\w ,]*", match["text"].strip())[0].strip()
            if len(words) > 20:
                assert words in notes
                assert words not in shown


def test_the_question_stands_before_the_slide_with_the_result(both):
    notebook, _, _ = both
    cells = slides.prepare(notebook).cells
    asked = [i for i, cell in enumerate(cells) if "**Predict.**" in cell.source]
    assert asked
    for i in asked:
        assert kind(cells[i + 1]) in ("slide", "subslide"), f"{cells[i + 1].id} after the question in {cells[i].id}"


def test_minutes_are_those_of_the_cells(both):
    notebook, _, _ = both
    counted = sum(cell.metadata.minutes for cell in slides.prepare(notebook).cells)
    assert 20 < counted <= minutes(notebook)  # code that is not on a slide is not read there


def test_pictures_have_alternative_text_and_size(both):
    notebook, _, deck = both
    assert deck.pictures
    for picture in deck.pictures:
        assert len(picture["alt"]) > 20
        assert int(picture["width"]) > 100
        assert int(picture["height"]) > 100
        data = picture["src"].removeprefix("data:image/png;base64,")
        dots = int.from_bytes(base64.b64decode(data[:64])[16:20], "big")
        assert dots / int(picture["width"]) > 1.8  # 200 dots per inch of a figure of 110 pixels per inch


def test_nothing_is_loaded_from_elsewhere(both):
    _, page, deck = both
    inside = ("data:", "lib/", "#")
    assert [address for address in deck.addresses if not address.startswith(inside)] == []
    text = re.sub(r"base64,[^\"]*", "", page)
    assert not re.search(r"(@import|url\()\s*[\"']?\s*(https?:)?//|import\s+.*from\s+[\"']https?:", text)
    for word in ("require.js", "jquery", "mermaid", "fonts.googleapis", "widget-view"):
        assert word not in text


def test_ids_are_those_of_the_cells(both):
    notebook, page, deck = both
    ids = re.findall(r'<section [^>]*\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids)) > 10
    assert set(ids) <= {cell.id for cell in notebook.cells}
    assert not set(ids) & set(re.findall(r'<h\d id="([^"]*)"', page))


def test_make_notebooks_keeps_slide_types(both):
    before, _, _ = both
    after = deepcopy(before)
    notebooks.normalize(after)
    assert [kind(cell) for cell in after.cells] == [kind(cell) for cell in before.cells]


# One rule each, on small notebooks


def deck_of(*cells):
    page, title = slides.as_deck(new_notebook(cells=list(cells)), "small.ipynb")
    return page, title, Deck(page)


def prose(source, kind=None):
    return new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}} if kind else {})


def shows(source, **data):
    return new_code_cell(source, outputs=[new_output("display_data", data=data, metadata={})])


def test_split_prose_takes_answers_and_changes():
    visible, notes = slides.split_prose(
        "It falls.\n\n<details><summary>Answer to it</summary>\n\nBecause of $x$.\n</details>\n\n"
        "**Change this.** Set `n = 2`.\n\nAnd on."
    )
    assert visible == "It falls.\n\nAnd on."
    assert notes == "**Answer to it.** Because of $x$.\n\n**Change this.** Set `n = 2`."


def test_split_prose_keeps_code_in_one_piece():
    code = "```python\nx = 1\n\ny = 2\n```"
    text, notes = f"Like this:\n\n{code}\n\nOn.", f"**Change this.** Try:\n\n{code}"
    assert slides.split_prose(text.replace("On.", f"{notes}\n\nOn.")) == (text, notes)
    assert slides.split_prose(f"**Change this.** It.\n\nNow:\n\n{code}") == (f"Now:\n\n{code}", "**Change this.** It.")


def test_split_prose_leaves_other_text_as_it_is():
    text = "# One\n\n- a\n- b\n\n$$\nx = 1\n$$\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    assert slides.split_prose(text) == (text, "")


@pytest.mark.parametrize(
    ("source", "brief", "notes"),
    [
        ("It falls. Then it rises.", "It falls. Then it rises.", ""),  # too short for a first sentence
        ("The loss falls from the start. Then it rises.", "The loss falls from the start.", "Then it rises."),
        ("The loss falls here first. It rises. So why?", "The loss falls here first. So why?", "It rises."),
        ("The loss falls here first. It rises. So:\n\n$$x$$", "The loss falls here first. So:\n\n$$x$$", "It rises."),
        ("It is due to S. Raschka alone. He said it.", "It is due to S. Raschka alone.", "He said it."),
        ("*The loss falls from the start. It rises.* So.", "*The loss falls from the start. It rises.*", "So."),
        ("**Case one.** The loss falls. It rises.", "**Case one.** The loss falls.", "It rises."),
        ("**A case with a long name.** It falls. It rises.", "**A case with a long name.** It falls.", "It rises."),
        ("The loss falls from the start. Then why?", "The loss falls from the start. Then why?", ""),
        ("The loss falls from here. See:\n\nOn.", "The loss falls from here. See:\n\nOn.", ""),
        ("The loss falls from here. See:", "The loss falls from here.", "See:"),  # and nothing is shown after it
        ("- The loss falls from here. It rises.\n- b", "- The loss falls from here. It rises.\n- b", ""),
        ("**Predict.** Does the loss fall or rise? Say why.", "**Predict.** Does the loss fall or rise? Say why.", ""),
    ],
)  # fmt: skip
def test_split_prose_in_brief(source, brief, notes):
    assert slides.split_prose(source, whole=False) == (brief, notes)
    assert slides.split_prose(source) == (source, "")


@pytest.mark.parametrize(
    ("source", "kind", "shown"),
    [
        ("# Title\n\nThe loss falls from the start. It rises.", "slide", True),
        ("## 1. Section\n\nThe loss falls from the start. It rises.", "slide", False),
        ("## Recap\n\nThe loss falls from the start. It rises.", "slide", True),
        ("The loss falls from the start. It rises.", "subslide", True),
        ("The loss falls from the start. It rises.\n\n**Predict.** Why?", None, True),
    ],
)
def test_what_is_shown_whole(source, kind, shown):
    (cell,) = slides.prepare(new_notebook(cells=[prose(source, kind)])).cells
    assert ("It rises." in cell.source, "It rises." in cell.metadata.notes) == (shown, not shown)


@pytest.mark.parametrize(
    ("outputs", "kind", "shown"),
    [([], None, False), ([], "fragment", True), ([], "skip", False), ([new_output("stream", text="1")], None, True)],
)
def test_what_leads_to_a_cell_is_shown_with_it(outputs, kind, shown):
    code = new_code_cell("x", outputs=outputs, metadata={"slideshow": {"slide_type": kind}} if kind else {})
    text = prose("The loss falls from the start. Here is how:", "slide")
    first = slides.prepare(new_notebook(cells=[text, code])).cells[0]
    assert ("Here is how:" in first.source, "Here is how:" in first.metadata.notes) == (shown, not shown)


def test_links_to_notebooks_are_words_in_a_deck():
    """There are no notebooks beside the decks."""
    text = "The [lab](labs/02_x.ipynb), [its second part](labs/02_x.ipynb#two), [a page](https://x.org/a.ipynb)."
    (cell,) = slides.prepare(new_notebook(cells=[new_markdown_cell(text)])).cells
    assert cell.source == "The lab, its second part, [a page](https://x.org/a.ipynb)."


def test_notes_go_with_the_slide_before():
    page, title, deck = deck_of(
        prose("# Do `it`", "slide"), prose("## 1. Now", "slide"), prose("Secret.", "notes"), prose("Skipped.", "skip")
    )
    assert title == "Do it"
    assert [notes.strip() for notes in deck.notes] == ["", "Secret."]
    assert page.index("1. Now") < page.index("Secret.") < page.rindex("</section>")
    assert "Skipped." not in page


def test_the_input_is_not_changed():
    notebook = new_notebook(cells=[prose("# One\n\n**Change this.** No.", "slide"), prose("gone", "skip")])
    before = nbformat.writes(notebook)
    slides.as_deck(notebook)
    assert nbformat.writes(notebook) == before


def test_code_of_a_picture_is_folded_and_the_picture_is_as_wide_as_in_the_notebook():
    picture = shows("y = x", **{"image/png": PICTURE, "text/plain": "a pixel"})
    picture.metadata.update(tags=["core", "hide-input"], slideshow={"slide_type": "subslide"})
    picture.outputs[0].metadata["image/png"] = {"alt": "a pixel", "width": 50}
    _, _, deck = deck_of(prose("# One", "slide"), picture)
    assert "y=x" not in squeezed("".join(deck.slides.values()))
    assert deck.pictures[0]["alt"] == "a pixel"
    assert (deck.pictures[0]["width"], deck.pictures[0]["height"]) == ("50", "50")


def test_text_is_escaped():
    page, _, deck = deck_of(
        prose("# One", "slide"),
        shows("x", **{"image/png": PICTURE, "text/plain": 'a "quoted" <b>'}),
        new_code_cell("y", outputs=[new_output("stream", name="stdout", text="<script>x</script>")]),
    )
    assert deck.pictures[0]["alt"] == 'a "quoted" <b>'
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page


def test_a_deck_needs_slides_and_types_that_are_known():
    with pytest.raises(slides.SlidesError, match="expected cells that are shown, got none"):
        slides.as_deck(new_notebook(cells=[prose("# One", "skip")]), "small.ipynb")
    with pytest.raises(slides.SlidesError, match=r"small.ipynb, cell .*: expected a slide type of .*; got 'slyde'"):
        slides.as_deck(new_notebook(cells=[prose("# One", "slyde")]), "small.ipynb")


def test_decks_and_their_index_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(slides.assets, "unpack", lambda name, folder: (folder / "here").parent.mkdir(parents=True))
    paths = [tmp_path / "02_two.ipynb", tmp_path / "01_one.ipynb"]
    for path in paths:
        nbformat.write(new_notebook(cells=[prose(f"# {path.stem}", "slide")]), path)
    decks = slides.write_decks(paths, tmp_path / "slides")
    assert [deck.stem for deck in decks] == [path.stem for path in paths]
    index = (tmp_path / "slides" / "index.html").read_text(encoding="utf-8")
    links = [address for address in Deck(index).addresses if not address.startswith("data:")]
    assert links == [deck.name for deck in decks]
    for deck in decks:
        wanted = [place for place in Deck(deck.read_text(encoding="utf-8")).addresses if place.startswith("lib/")]
        ours = [place for place in wanted if place.count("/") == 1]
        assert sorted(ours) == ["lib/deck.css", "lib/deck.js"]
        assert all((tmp_path / "slides" / place).is_file() for place in ours)
        assert {place.split("/")[1] for place in wanted} == {"deck.css", "deck.js", "reveal", "mathjax"}


def test_a_missing_script_is_one_sentence(tmp_path, monkeypatch, capsys):
    def refuse(name, folder):
        raise slides.assets.AssetError("reveal.js: expected it, got nothing: try again")

    monkeypatch.setattr(slides.assets, "unpack", refuse)
    monkeypatch.setattr(sys, "argv", ["slides.py", "--build", str(tmp_path), str(NOTEBOOKS[0])])
    with pytest.raises(SystemExit, match=r"^slides: reveal\.js: expected it, got nothing: try again$"):
        slides.main()
    assert not (tmp_path / "slides" / "index.html").exists()

"""Decks of slides in Chromium: nothing overflows, everything can be read, and the keyboard reaches the end."""

import re

import nbformat
import pytest
import slides

from conftest import BUILD, ROOT, watch
from utils import evidence

DECKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
SMALLEST_TEXT, SMALLEST_CODE, SMALLEST_OUTPUT, SMALLEST_LABEL = 20, 22, 20, 14  # px on a slide of 1280 x 720
LABEL = 12 * 110 / 72  # px of the smallest labels in a notebook, by utils/course.mplstyle

# Every slide in turn: what lies outside of it or over its neighbour, and the smallest letters.
MEASURE = """() => {
  const inside = (inner, outer, by = 1) => inner.left >= outer.left - by && inner.right <= outer.right + by &&
    inner.top >= outer.top - by && inner.bottom <= outer.bottom + by;
  const faults = [], sizes = {text: 999, code: 999, other: 999, figure: 999};
  const number = getComputedStyle(document.querySelector(".slide-number"));
  sizes.text = parseFloat(number.fontSize);
  Reveal.configure({transition: "none"});
  for (const slide of Reveal.getSlides()) {
    const {h, v} = Reveal.getIndices(slide);
    Reveal.slide(h, v);
    const frame = document.querySelector(".slides").getBoundingClientRect();
    const page = slide.querySelector(".page"), place = page.getBoundingClientRect();
    const fault = (what) => faults.push(`${slide.id}: ${what}`);
    if (page.scrollHeight > page.clientHeight + 1) fault(`${page.scrollHeight} px high on ${page.clientHeight}`);
    const shown = (element) => element.getClientRects().length && !element.closest("mjx-assistive-mml");
    for (const element of slide.querySelectorAll(".page *")) {
      if (!shown(element)) continue;
      const box = element.getBoundingClientRect();
      if (!inside(box, frame)) fault(`${element.tagName} outside of the slide`);
      if (!element.closest("svg") && box.height && !inside(box, place, 4)) fault(`${element.tagName} off its page`);
      if (element.matches("pre") && element.scrollWidth > element.clientWidth + 1) fault("code wider than its box");
      const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
      if (text && !element.closest("svg")) {
        const kinds = {code: ".code pre, .prose pre", other: "pre, code", text: "*"};
        const kind = Object.keys(kinds).find((name) => element.closest(kinds[name]));
        sizes[kind] = Math.min(sizes[kind], parseFloat(getComputedStyle(element).fontSize));
      }
    }
    for (const image of page.querySelectorAll(".figure img")) {
      sizes.figure = Math.min(sizes.figure, parseFloat(image.style.width) / image.getAttribute("width"));
    }
    const items = [...page.children].map((item) => item.getBoundingClientRect());
    for (let i = 1; i < items.length; i++) if (items[i].top < items[i - 1].bottom - 1) fault("two pieces overlap");
  }
  return {slides: Reveal.getTotalSlides(), faults: [...new Set(faults)], sizes};
}"""


def open_deck(page, serve, name):
    """Wait until the pages of a deck are laid out."""
    page.goto(f"{serve(BUILD / 'slides')}/{name}.html")
    page.wait_for_function("window.Reveal && Reveal.isReady()")


@pytest.mark.parametrize("name", DECKS)
def test_no_slide_overflows(page, serve, name):
    open_deck(page, serve, name)
    found = page.evaluate(MEASURE)
    assert 25 <= found["slides"] <= 30  # what fits into a lesson of fifty minutes
    assert found["faults"] == []
    assert found["sizes"]["text"] >= SMALLEST_TEXT
    assert found["sizes"]["code"] >= SMALLEST_CODE
    assert found["sizes"]["other"] >= SMALLEST_OUTPUT
    assert found["sizes"]["figure"] * LABEL >= SMALLEST_LABEL
    print(f"{name}: {found['slides']} slides, {found['sizes']}")


@pytest.mark.parametrize("name", DECKS)
def test_text_is_large_where_half_of_a_slide_is_empty(page, serve, name):
    open_deck(page, serve, name)
    small = """() => Reveal.getSlides().filter((slide) => {
      const {h, v} = Reveal.getIndices(slide);
      Reveal.slide(h, v);
      const page = slide.querySelector(".page"), size = parseFloat(getComputedStyle(page).fontSize);
      const range = document.createRange();
      const width = (one) => (range.selectNodeContents(one), range.getBoundingClientRect().width);
      const room = [...page.querySelectorAll("svg, table, pre")].every((one) => width(one) * 36 / size < 1100);
      return room && size < 36 && page.lastElementChild.getBoundingClientRect().bottom < 360;
    }).map((slide) => slide.id)"""
    assert page.evaluate(small) == []


@pytest.mark.parametrize("name", DECKS)
def test_intervals_of_a_card_have_the_same_number_of_lines(page, serve, name):
    open_deck(page, serve, name)
    broken = """() => Reveal.getSlides().filter((slide) => {
      const {h, v} = Reveal.getIndices(slide);
      Reveal.slide(h, v);
      const lines = (cell) => new Set([...cell.children].map((part) => part.offsetTop)).size;
      const cells = (card) => [...card.querySelectorAll("tbody td")].filter((cell) => cell.children.length > 1);
      const cards = [...slide.querySelectorAll(".claim-card")];
      return cards.some((card) => new Set(cells(card).map(lines)).size > 1);
    }).map((slide) => slide.id)"""
    assert page.evaluate(broken) == []


@pytest.mark.parametrize("name", DECKS)
def test_keyboard_turns_to_the_last_slide(page, serve, name):
    open_deck(page, serve, name)
    number = page.evaluate("Reveal.getTotalSlides()")
    steps = page.evaluate("document.querySelectorAll('.fragment').length")
    seen = {page.evaluate("Reveal.getCurrentSlide().id")}
    for _ in range(number - 1 + steps):
        page.keyboard.press("Space")
        seen.add(page.evaluate("Reveal.getCurrentSlide().id"))
    assert len(seen) == number
    assert page.evaluate("Reveal.isLastSlide()")
    assert page.locator("section.present section.present .page").is_visible()


@pytest.mark.parametrize("name", DECKS)
def test_formulas_and_pictures_are_drawn(page, serve, name):
    open_deck(page, serve, name)
    assert page.locator("mjx-container svg").count() > 0
    assert page.locator("[data-mjx-error], mjx-merror").count() == 0
    undrawn = "[...document.images].filter((image) => !image.naturalWidth).length"
    assert page.evaluate(undrawn) == 0
    left = "[...document.querySelectorAll('.page .prose')].filter((item) => /\\$[^$]+\\$/.test(item.innerText)).length"
    assert page.evaluate(left) == 0


@pytest.mark.parametrize("name", DECKS)
def test_answers_are_never_on_a_slide(page, serve, name):
    open_deck(page, serve, name)
    seen = "Reveal.getSlides().map(slide => slide.querySelector('.page').textContent).join(' ')"
    known = "[...document.querySelectorAll('aside.notes')].map(notes => notes.textContent).join(' ')"
    seen, known = page.evaluate(seen), page.evaluate(known)
    for words in ("Answer", "Change this."):
        assert words not in seen
        assert words in known
    shown = "[...document.querySelectorAll('aside.notes')].filter(notes => notes.getClientRects().length).length"
    assert page.evaluate(shown) == 0


@pytest.mark.parametrize("name", DECKS)
def test_every_slide_has_notes_with_minutes_that_add_up(page, serve, name):
    open_deck(page, serve, name)
    notes = "Reveal.getSlides().map(slide => slide.querySelector('aside.notes').textContent)"
    seconds = "Reveal.getSlides().reduce((sum, slide) => sum + Number(slide.dataset.timing), 0)"
    found = [re.match(r"\s*([\d.]+) min; (\d+) of (\d+) at its end\.", text).groups() for text in page.evaluate(notes)]
    assert all(float(own) > 0 for own, _, _ in found)
    cells = slides.prepare(nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)).cells
    counted = sum(cell.metadata.minutes for cell in cells)
    assert page.evaluate(seconds) / 60 == pytest.approx(counted, abs=len(found) / 120)  # each rounded to a second
    assert found[-1][1] == found[-1][2]
    assert int(found[-1][2]) == pytest.approx(counted, abs=0.8)


@pytest.mark.parametrize("name", DECKS)
def test_a_figure_has_a_sentence_beside_it(page, serve, name):
    open_deck(page, serve, name)
    alone = (
        "[...document.querySelectorAll('.page:has(.item.figure):not(:has(.item.prose))')].map(p => p.parentElement.id)"
    )
    assert page.evaluate(alone) == []


def test_speakers_window_has_the_answer(page, serve):
    open_deck(page, serve, DECKS[0])
    words = page.evaluate(
        """() => {
          const all = [...document.querySelectorAll("aside.notes")];
          const notes = all.find((notes) => notes.textContent.includes("Answer"));
          const {h, v} = Reveal.getIndices(notes.closest("section"));
          Reveal.slide(h, v);
          return notes.textContent;
        }"""
    )
    with page.expect_popup() as opening:
        page.keyboard.press("s")
    window = watch(opening.value)
    notes = window.locator(".speaker-controls-notes .value")
    notes.get_by_text("Answer").first.wait_for()
    assert notes.text_content().split()[:12] == words.split()[:12]
    for frame in ("#current-slide iframe", "#upcoming-slide iframe"):
        window.frame_locator(frame).locator("section.present section.present .page").wait_for()
    assert not window.problems


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_index_lists_every_deck_and_can_be_read(page, serve, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page.emulate_media(color_scheme=scheme)
    page.goto(f"{serve(BUILD / 'slides')}/index.html")
    assert Axe().run(page).response["violations"] == []
    links = page.locator("main a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert links == [f"{name}.html" for name in DECKS]


def test_layout_does_not_depend_on_the_window(page, serve):
    pages = "Reveal.getSlides().map((slide) => slide.id + slide.querySelector('.page').textContent.length)"
    found = []
    for width, height in ((1280, 720), (390, 844), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        open_deck(page, serve, DECKS[0])
        found.append(page.evaluate(pages))
        assert page.evaluate(MEASURE)["faults"] == []
    assert found[0] == found[1] == found[2]


def test_whatever_is_too_high_is_cut(page, serve, tmp_path):
    sentence = "A sentence that fills a line of a slide, or most of it, with words of some length. "
    rows = "\n".join(f"| row {n} | {sentence} |" for n in range(40))
    cells = [
        ("slide", nbformat.v4.new_markdown_cell("# Stress\n\n" + sentence)),
        ("subslide", nbformat.v4.new_markdown_cell("\n".join(f"- point {n}: {sentence}" for n in range(40)))),
        ("subslide", nbformat.v4.new_markdown_cell(f"Led by this:\n\n| a | b |\n|---|---|\n{rows}")),
        ("subslide", nbformat.v4.new_markdown_cell("\n\n".join([sentence * 5] * 8))),
        ("subslide", nbformat.v4.new_code_cell("\n".join(["x = " + "1 + " * 18 + "1  # 80"] * 15))),
        ("fragment", nbformat.v4.new_markdown_cell("Step by step.")),
        ("subslide", nbformat.v4.new_code_cell("print()")),
        ("subslide", nbformat.v4.new_code_cell("new card")),
    ]
    text = "\n".join(f"line {n} " + "word " * 40 * (n == 3) for n in range(60)) + "\n"
    claim = next(iter(evidence.claims().values()))
    numbers = {"median": 12.3, "low": -45.6, "high": 78.9, "word": "undecided"}
    run = {"n": 16, "trains": True, "live": False}
    run["conditions"] = [{"name": f"condition {n}, a name of some length", **numbers} for n in range(40)]
    runs = [{**run, "dataset": data, "budget": budget} for data in ("digits", "mnist_5k") for budget in (1, 4)]
    new = evidence.Card(claim, None, runs).to_html()
    cells[-2][1].outputs = [nbformat.v4.new_output("stream", text=text)]
    cells[-1][1].outputs = [nbformat.v4.new_output("display_data", data={"text/html": new})]
    for kind, cell in cells:
        cell.metadata.slideshow = {"slide_type": kind}
    path = tmp_path / "stress.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell for _, cell in cells]), path)
    slides.write_decks([path], tmp_path / "slides")
    page.goto(f"{serve(tmp_path / 'slides')}/stress.html")
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    found = page.evaluate(MEASURE)
    assert found["faults"] == []
    assert found["slides"] > 10
    shown = page.evaluate("Reveal.getSlides().map(slide => slide.querySelector('.page').textContent).join(' ')")
    for word, number in (("point", 40), ("row", 40), ("line", 60)):
        assert [int(n) for n in re.findall(rf"{word} (\d+)", shown)] == list(range(number))
    conditions = [int(n) for n in re.findall(r"condition (\d+)", shown)]
    assert conditions == list(range(len(conditions)))
    assert f"{40 - len(conditions)} more conditions are in the lab." in shown
    assert page.locator(".fragment").count() == 1
    assert page.locator("table thead").count() == page.locator("table").count() > 1

"""The site in Chromium: no page has an error, asks elsewhere, scrolls sideways or fails axe; links and search work."""

import re
from urllib.parse import unquote

import nbformat
import pytest
from pages import BESIDE

from conftest import BUILD, ROOT, watch
from utils import evidence

SITE = BUILD / "site"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html") if "_static" not in path.parts)
LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
LABS = sorted(f"labs/{path.stem}" for path in (ROOT / "notebooks" / "labs").glob("[0-9]*.ipynb"))
NOTEBOOKS = [*LESSONS, *LABS]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 800}
LOOKS = {"light, wide": ("light", WIDE), "dark, narrow": ("dark", NARROW)}
MORE_LOOKS = {**LOOKS, "light, 1400": ("light", {"width": 1400, "height": 900})}
AXE = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
    "preload": False,
    "resultTypes": ["violations"],
}
OUTSIDE_FORMULAS = {"include": [["html"]], "exclude": [["mjx-container"]]}  # thousands of paths, and MathJax's own
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
MATHS = "() => !window.MathJax?.startup || MathJax.startup.promise.then(() => true)"


@pytest.fixture
def open_page(browser, serve):
    """Open a page of the site in a look; what went wrong with it is an error at the end."""
    opened = []

    def open_page(name, look="light, wide"):
        mode, size = MORE_LOOKS[look]
        page = watch(browser.new_context(viewport=size, color_scheme=mode).new_page())
        page.add_init_script(f"localStorage.setItem('mode', '{mode}'); localStorage.setItem('theme', '{mode}')")
        page.goto(f"{serve(SITE)}/{name}")
        page.wait_for_function(MATHS)
        opened.append(page)
        return page

    yield open_page
    problems = {page.url: dict(page.problems) for page in opened if page.problems}
    for page in opened:
        page.context.close()
    assert not problems, problems


def test_the_site_is_there():
    assert SITE.is_dir(), f"expected {SITE}, found none: run make site first"
    assert {f"notebooks/{name}.html" for name in NOTEBOOKS} < set(PAGES)
    assert {"index.html", "evidence.html", "glossary.html", "bibliography.html", "teach.html"} < set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_by_everybody(open_page, name):
    from axe_playwright_python.sync_playwright import Axe

    for look in LOOKS:
        page = open_page(name, look)
        assert page.evaluate(SIDEWAYS) <= 0, f"{look}: scrolls sideways"
        pictures = page.locator("img:not([alt])").count()
        assert pictures == 0, f"{look}: {pictures} pictures without a description"
        found = Axe().run(page, context=OUTSIDE_FORMULAS, options=AXE).response["violations"]
        grave = {one["id"]: one["nodes"][0]["html"][:200] for one in found if one["impact"] in ("serious", "critical")}
        assert grave == {}, look


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_has_its_figures_formulas_and_no_error(open_page, name):
    page = open_page(f"notebooks/{name}.html")
    assert page.locator("mjx-container").count() > (0 if name.startswith("labs/") else 5)
    assert page.locator("mjx-merror").count() == 0
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    broken = page.locator("img").evaluate_all(
        "async all => { for (const one of all) { one.loading = 'eager'; await one.decode().catch(() => 0); }"
        "return all.filter(one => !one.naturalWidth).map(one => one.src) }"
    )
    assert broken == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_code_of_figures_is_folded_until_it_is_asked_for(open_page, name):
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    folded = [cell for cell in cells if "hide-input" in cell.metadata.get("tags", [])]
    page = open_page(f"notebooks/{name}.html")
    codes = page.locator(".cell.tag_hide-input .cell_input .highlight")
    assert [code.is_visible() for code in codes.all()] == [False] * len(folded)
    if folded:
        page.locator(".cell.tag_hide-input summary").first.click()
        assert codes.first.is_visible()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_code_fits_at_1400_px_and_the_page_says_lesson_or_lab(open_page, name):
    page = open_page(f"notebooks/{name}.html", "light, 1400")
    cut = "all => all.filter(one => one.getClientRects().length && one.scrollWidth > one.clientWidth + 1).length"
    assert page.locator(".highlight pre").evaluate_all(cut) == 0
    kind, number = ("Lab", name[5:7]) if name.startswith("labs/") else ("Lesson", name[:2])
    assert page.locator("p.kind").all_inner_texts() == [f"{kind} {number}"]


@pytest.mark.parametrize("name", ["index.html", "teach.html"])
def test_no_word_of_a_link_in_a_table_is_cut_on_a_phone(open_page, name):
    page = open_page(name, "dark, narrow")
    cut = """links => links.flatMap(link => [...link.textContent.matchAll(/\\w+/g)].filter(word => {
      const text = document.createTreeWalker(link, NodeFilter.SHOW_TEXT).nextNode(), range = document.createRange();
      if (word.index + word[0].length > text.length) return false;
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      return range.getClientRects().length > 1;
    }).map(word => word[0]))"""
    links = page.locator("main table a")
    assert links.count() >= len(LESSONS)
    assert links.evaluate_all(cut) == []


@pytest.mark.parametrize("look", LOOKS)
def test_the_scales_of_all_intervals_can_be_read(open_page, look):
    texts = open_page("evidence.html", look).locator("svg.forest-all text")
    sizes = "all => all.map(one => parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a)"
    assert min(texts.evaluate_all(sizes)) >= 10.5  # px
    overlap = """all => all.map(one => one.getBoundingClientRect()).filter((a, i, boxes) => boxes.slice(i + 1).some(
      b => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom)).length"""
    assert texts.evaluate_all(overlap) == 0


def test_the_landing_page_shows_its_story_and_where_to_start_at_first_sight(open_page):
    for look, height in (("light, 1400", 900), ("dark, narrow", 800)):
        page = open_page("index.html", look)
        for first in ("main img", "p.launch a"):
            box = page.locator(first).first.bounding_box()
            assert box["y"] + box["height"] < height, (look, first)


SEARCHES = {  # words -> the page of the first result, and what stands beside it
    "批标准化": ("glossary", "batch norm"),
    "批归一化": ("glossary", "batch norm"),
    "批量归一化": ("glossary", "batch norm"),
    "批次標準化": ("glossary", "batch norm"),
    "學習率": ("glossary", "learning rate"),
    "batchnorm": ("glossary", "batch norm"),
    "vanishing gradient": ("glossary", "shrink from layer to layer"),
    "running mean": ("glossary", "running statistics"),
    "epsilon": ("glossary", "guards against"),
    "He initialization": ("glossary", "fan-in"),
}


def found_by(page, words):
    """The results of a search with what stands beside each, and the links in that."""
    page.goto(f"{page.url.rsplit('/', 1)[0]}/search.html?q={words}")
    page.locator("#search-results li p.context").first.wait_for()
    page.wait_for_function(
        "() => [...document.querySelectorAll('#search-results li')]"
        ".every((one) => one.querySelector('.context, a + span'))"
    )
    return page.locator("#search-results li").evaluate_all(
        "all => all.map((one) => ({href: one.querySelector('a').getAttribute('href'),"
        " text: one.querySelector('.context, a + span').textContent,"
        " links: [...one.querySelectorAll('.context a')].map((link) => link.href)}))"
    )


@pytest.mark.parametrize("words", SEARCHES)
def test_search_finds_the_term_first_and_says_where_it_is_taught(open_page, words):
    first = found_by(open_page("index.html"), words)[0]
    page, beside = SEARCHES[words]
    assert first["href"].startswith(f"{page}.html")
    assert beside in first["text"]
    assert [link for link in first["links"] if "/notebooks/" in link], first


def test_search_leads_to_the_section_and_shows_the_words(open_page):
    page = open_page("index.html")
    found = [one for one in found_by(page, "vanishing gradient") if one["href"].startswith("notebooks/")]
    assert any("vanishing gradient" in one["text"].lower() for one in found)
    for one in found:
        (link,) = one["links"]
        address, place = link.split("#")
        assert address.endswith(one["href"].split("#")[0])
        assert f'id="{place}"' in (SITE / one["href"].split("#")[0]).read_text(encoding="utf-8")


@pytest.mark.parametrize("address", ["https://a hub.example.edu", "hub"])
def test_what_is_no_address_of_a_hub_is_answered_by_a_sentence(open_page, address):
    page = open_page("teach.html")
    page.locator(".hub-link input").fill(address)
    link = page.locator(".hub-link a")
    assert link.get_attribute("href") is None
    assert link.inner_text() == f"expected an address such as https://hub.example.edu, got {address}"
    page.locator(".hub-link input").fill("https://hub.school.edu/")
    assert link.get_attribute("href").startswith("https://hub.school.edu/hub/user-redirect/")


def test_evidence_links_land_on_their_cells(open_page):
    page = open_page("evidence.html")
    links = page.locator("table a[href*='notebooks/']").evaluate_all("all => all.map(one => one.href)")
    assert len(links) >= len(evidence.claims())
    for address in dict.fromkeys(link.split("#")[0] for link in links):
        page.goto(address)
        places = [link.split("#")[1] for link in links if link.startswith(address)]
        missing = page.evaluate("places => places.filter(one => !document.getElementById(one))", places)
        assert missing == [], address
    page.goto(links[-1])
    place = links[-1].split("#")[1]
    page.wait_for_function(
        "place => document.getElementById(place).getBoundingClientRect().top < innerHeight", arg=place
    )


@pytest.mark.parametrize("name", LABS)
def test_a_lab_is_in_the_side_bar_and_linked_with_its_lesson(open_page, name):
    page, lesson = open_page("index.html"), name.removeprefix("labs/")
    captions = page.locator(".bd-sidebar-primary .caption").all_inner_texts()
    assert {"Lessons", "Labs"} <= set(captions)
    assert page.locator(f".bd-sidebar-primary a[href='notebooks/{name}.html']").count() == 1
    links = {name: f"../{lesson}.html", lesson: f"labs/{lesson}.html"}
    if lesson not in LESSONS:  # three papers
        links = {name: "../03_batch_normalization_by_hand.html", "06_weight_initialization": f"labs/{lesson}.html"}
    for here, there in links.items():
        page = open_page(f"notebooks/{here}.html")
        assert page.locator(f"article a[href^='{there}']").count() >= 1
        assert page.locator(f"article a[href$='{here.removeprefix('labs/')}.ipynb'][download]").count() == 1


def test_the_evidence_is_sorted_by_keyboard(open_page):
    page = open_page("evidence.html")
    heading = page.locator("th[aria-sort], th:has(button)").nth(1)
    column = heading.evaluate("th => th.cellIndex")

    def values():
        return page.locator(f"table:has(th button) tbody tr td:nth-child({column + 1})").all_inner_texts()

    before = values()
    heading.locator("button").focus()
    orders = []
    for _ in range(2):
        page.keyboard.press("Enter")
        orders.append((heading.get_attribute("aria-sort"), values()))
    assert {name for name, _ in orders} == {"ascending", "descending"}
    assert orders[0][1] != orders[1][1]
    assert sorted(orders[0][1]) == sorted(orders[1][1]) == sorted(before)


def test_links_within_the_site_lead_somewhere(open_page, serve):
    page, root = open_page("index.html"), serve(SITE)
    broken = []
    for name in PAGES:
        page.goto(f"{root}/{name}")
        hrefs = page.locator("a[href]").evaluate_all("all => all.map(one => one.href)")
        for href in dict.fromkeys(hrefs):
            path, _, place = unquote(href).removeprefix(root + "/").partition("#")
            if not href.startswith(root):
                continue
            if path in [place for place, _ in BESIDE.values()]:  # the workflow lays these there
                continue
            target = SITE / (re.sub(r"\?.*", "", path) or "index.html")
            text = target.read_text(encoding="utf-8") if target.suffix == ".html" and target.is_file() else None
            if not target.is_file() or (place and text is not None and f'id="{place}"' not in text):
                broken.append((name, href))
    assert broken == []


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("L6.1", "colorado-l6-1"),
        ("lecture 6.1", "colorado-l6-1"),
        ("Colorado", "colorado-l6-1"),
        ("L11.0", "raschka-l11-0"),
        ("L11.1", "raschka-l11-1"),
        ("Raschka", "raschka-l11-1"),
        ("Lee 2021", "lee-2021"),
        ("李宏毅", "lee-2021"),
    ],
)
def test_search_finds_a_lecture(open_page, words, page):
    found = found_by(open_page("index.html"), words)
    assert any(one["href"].startswith(f"follow/{page}.html") for one in found), [one["href"] for one in found]


def test_the_links_of_a_lecture_land_on_their_cells(open_page):
    page = open_page("follow/colorado-l6-1.html")
    links = page.locator("table.follow a[href*='#cell-']").evaluate_all("all => all.map(one => one.href)")
    assert len(links) > 100
    for address in dict.fromkeys(link.split("#")[0] for link in links):
        page.goto(address)
        wanted = sorted({link.split("#")[1] for link in links if link.startswith(f"{address}#")})
        assert page.evaluate("ids => ids.filter(id => !document.getElementById(id))", wanted) == []

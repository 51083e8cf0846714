"""The explorers in a browser: sliders move the pictures, by keyboard and by mouse, at once, on any screen."""

import re
import statistics

import explorers
import pytest

SLIDERS = {"loss-surface": ("lr", "ratio"), "signal-propagation": ("scale", "depth")}
PICTURES = {"loss-surface": ("bowl", "curve"), "signal-propagation": ("signals", "gradients")}
MANY_MS = 100

# Moves the slider to each of its positions and measures until the picture has its new layout.
REDRAW = """(id) => {
  const slider = document.getElementById(id), before = slider.value, times = [];
  for (let at = 0; at <= Number(slider.max); at++) {
    const began = performance.now();
    slider.value = at;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    document.querySelectorAll(".explorer svg path").forEach((path) => path.getBBox());
    document.body.getBoundingClientRect();
    times.push(performance.now() - began);
  }
  slider.value = before;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  return times;
}"""


ALONE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ margin: 1rem auto; padding: 0 1rem; max-width: 60rem; font: 16px/1.5 system-ui, sans-serif; }}
  @media (prefers-color-scheme: dark) {{ html:not([data-theme="light"]) body {{ background: #121212; color: #eee; }} }}
  html[data-theme="dark"] body {{ background: #121212; color: #eee; }}
</style>
<main><h1>{title}</h1>
{fragment}</main>
</html>
"""


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """A folder with a page of its own for each explorer."""
    folder = tmp_path_factory.mktemp("explorers")
    for name, text in explorers.build(folder).items():
        page = ALONE.format(title=name.replace("_", " ").capitalize(), fragment=text)
        (folder / f"{name}_alone.html").write_text(page, encoding="utf-8")
    return folder


@pytest.fixture(params=SLIDERS)
def explorer(request, page, serve, pages):
    """The page of one explorer, and its name."""
    page.emulate_media(color_scheme="light")
    page.goto(f"{serve(pages)}/{request.param.replace('-', '_')}_alone.html")
    return page, request.param


def drawn(page, name):
    """All that a picture consists of, and what is said about it."""
    ids = [f"{name}-{picture}" for picture in PICTURES[name]]
    pictures = [page.locator(f"#{one}").evaluate("svg => svg.outerHTML") for one in ids]
    return pictures, page.locator(f"#{name}-status").inner_text()


def curves(page, name):
    return [page.locator(f"#{name}-{one} path.walk").get_attribute("d") for one in PICTURES[name]]


class TestSliders:
    @pytest.mark.parametrize("which", [0, 1])
    def test_arrow_keys_move_both_pictures_and_back(self, explorer, which):
        page, name = explorer
        slider = page.locator(f"#{name}-{SLIDERS[name][which]}")
        before, text = drawn(page, name)
        slider.focus()
        page.keyboard.press("ArrowRight")
        after, said = drawn(page, name)
        assert all(a != b for a, b in zip(after, before, strict=True))
        assert said != text
        page.keyboard.press("ArrowLeft")
        assert drawn(page, name) == (before, text)

    def test_dragging_with_the_mouse_moves_the_curves(self, explorer):
        page, name = explorer
        slider, before = page.locator(f"#{name}-{SLIDERS[name][0]}"), curves(page, name)
        box = slider.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2, steps=4)
        page.mouse.up()
        assert all(a != b for a, b in zip(curves(page, name), before, strict=True))

    def test_the_value_is_written_beside_the_slider_and_told_to_screen_readers(self, explorer):
        page, name = explorer
        for which in SLIDERS[name]:
            slider = page.locator(f"#{name}-{which}")
            slider.focus()
            page.keyboard.press("End")
            value = page.locator(f"#{name}-{which}-value").inner_text()
            assert value
            assert slider.get_attribute("aria-valuetext") == value
            pictures, status = drawn(page, name)
            assert value.split()[0] in status
            assert value.split()[0] in re.search('aria-label="([^"]*)"', pictures[0]).group(1)

    def test_it_redraws_at_once(self, explorer):
        page, name = explorer
        for which in SLIDERS[name]:
            times = page.evaluate(REDRAW, f"{name}-{which}")
            print(f"{name} {which}: median {statistics.median(times):.1f} ms, slowest {max(times):.1f} ms")
            assert statistics.median(times) < MANY_MS


class TestLossSurface:
    @pytest.fixture
    def surface(self, page, serve, pages):
        page.goto(f"{serve(pages)}/loss_surface_alone.html")
        return page

    def test_the_walk_ends_at_the_minimum_or_leaves(self, surface):
        status = surface.locator("#loss-surface-status")
        assert "below the limit" in status.inner_text()
        surface.locator("#loss-surface-lr").focus()
        surface.keyboard.press("End")
        assert "beyond the limit" in status.inner_text()
        assert "above 10⁸" in status.inner_text()

    def test_the_sum_lies_on_the_larger_part_or_just_above_it(self, surface):
        for key in ("Home", "End"):
            for slider in ("lr", "ratio"):
                surface.locator(f"#loss-surface-{slider}").focus()
                surface.keyboard.press(key)
                heights = []
                for kind in ("walk", "part.flat", "part.steep"):
                    path = surface.locator(f"#loss-surface-curve path.{kind}").get_attribute("d")
                    heights.append([float(y) for y in re.findall(r"[ML]\S+ (\S+?)(?=L|$)", path)])
                for total, flat, steep in zip(*heights, strict=True):
                    inside = max(min(flat, steep), -45.3)  # the sum is drawn up to 10⁸
                    double = 5.6  # pixels of a factor of two
                    assert inside - double <= total <= inside + 0.2

    def test_the_status_says_by_what_each_part_shrinks(self, surface):
        status = surface.locator("#loss-surface-status").inner_text()
        assert "multiplies the flat component by 0.926 and the steep one by −0.626" in status

    def test_the_mark_of_the_limit_parts_the_rates(self, surface):
        """The first position right of the mark is the first that is beyond the limit."""
        found = surface.evaluate("""() => {
            const slider = document.getElementById("loss-surface-lr"), places = [];
            const mark = parseFloat(document.getElementById("loss-surface-limit").style.left) / 100;
            for (let at = 0; at <= Number(slider.max); at++) {
                slider.value = at;
                slider.dispatchEvent(new Event("input"));
                const beyond = document.getElementById("loss-surface-status").textContent.includes("beyond");
                places.push([at / Number(slider.max) > mark, beyond]);
            }
            return places;
        }""")
        assert all(right == beyond for right, beyond in found)
        assert {right for right, _ in found} == {True, False}


class TestSignalPropagation:
    @pytest.fixture
    def signals(self, page, serve, pages):
        page.goto(f"{serve(pages)}/signal_propagation_alone.html")
        return page

    @pytest.mark.parametrize(("name", "written"), [("He", "1.41 (He)"), ("PyTorch's default", "0.577 (PyTorch")])
    def test_a_known_scale_is_one_press_away_and_its_curve_is_met(self, signals, name, written):
        button = signals.get_by_role("button", name=name)
        button.focus()
        signals.keyboard.press("Enter")
        assert written in signals.locator("#signal-propagation-scale-value").inner_text()
        known = signals.locator("#signal-propagation-signals path:not(.walk)").evaluate_all(
            "paths => paths.map(path => path.getAttribute('d'))"
        )
        assert curves(signals, "signal-propagation")[0] in known

    def test_the_activation_is_chosen_by_keyboard(self, signals):
        before = curves(signals, "signal-propagation")
        signals.get_by_role("radio", name="ReLU").focus()
        signals.keyboard.press("ArrowLeft")
        assert signals.get_by_role("radio", name="tanh").is_checked()
        assert all(a != b for a, b in zip(curves(signals, "signal-propagation"), before, strict=True))


class TestLooks:
    @pytest.mark.parametrize("width", [360, 1280])
    def test_nothing_runs_over_the_edge(self, explorer, width):
        page, name = explorer
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for one in page.locator(f"#{name}-explorer *").all():
            box = one.bounding_box() if one.evaluate("e => e instanceof HTMLElement || e.tagName === 'svg'") else None
            assert box is None or box["x"] + box["width"] <= width, one.evaluate("e => e.outerHTML.slice(0, 200)")

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_axe_finds_nothing_in_either_theme(self, explorer, theme):
        axe = pytest.importorskip("axe_playwright_python.sync_playwright")
        page, _ = explorer
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        found = axe.Axe().run(page).response["violations"]
        assert [(one["id"], one["impact"]) for one in found] == []

    def test_the_page_decides_on_the_theme_before_the_computer_does(self, explorer):
        page, name = explorer
        paper = f"getComputedStyle(document.getElementById('{name}-explorer')).backgroundColor"
        light = page.evaluate(paper)
        page.emulate_media(color_scheme="dark")
        dark = page.evaluate(paper)
        assert light != dark
        page.evaluate("document.documentElement.dataset.theme = 'light'")
        assert page.evaluate(paper) == light
        page.emulate_media(color_scheme="light")
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        assert page.evaluate(paper) == dark

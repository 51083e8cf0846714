"""JupyterLab in Chromium, as `make lab` starts it, on a copy of all notebooks: Run All, sliders by key and mouse."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from conftest import ROOT, watch

sys.path.append(str(ROOT / "tests"))

NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
NOTEBOOKS += sorted(f"labs/{path.name}" for path in (ROOT / "notebooks" / "labs").glob("[0-9]*.ipynb"))
EXPLORER = "02_loss_surfaces.ipynb"
AT_ONCE = 2
SECONDS_TO_START, SECONDS_A_NOTEBOOK = 60, 300
PROJECTOR = {"viewport": {"width": 853, "height": 480}, "device_scale_factor": 1.5}  # 1280 x 720 at 150 %

READY = """async () => {
  const notebook = window.jupyterapp.shell.currentWidget;
  await notebook.context.ready;
  await notebook.sessionContext.ready;
  await notebook.sessionContext.session.kernel.info;
  for (const cell of notebook.content.model.cells) if (cell.type === "code") cell.executionCount = null;
}"""
RAN = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
  .every((cell) => cell.type !== "code" || cell.executionCount !== null)"""
OUTPUTS = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells].flatMap((cell) => {
  if (cell.type !== "code") return [];
  const kinds = cell.outputs.toJSON().map((out) => out.output_type + (out.name === "stderr" ? " stderr" : ""));
  return kinds.filter((kind) => kind === "error" || kind.endsWith("stderr")).map((kind) => `${cell.id}: ${kind}`);
})"""
FOLDED = """() => window.jupyterapp.shell.currentWidget.content.widgets
  .filter((cell) => cell.inputHidden).map((cell) => cell.model.id)"""
CUT = """async () => {
  const notebook = window.jupyterapp.shell.currentWidget.content, cut = [];
  for (const [place, cell] of notebook.widgets.entries()) {
    if (cell.model.type !== "code" || cell.inputHidden) continue;
    await notebook.scrollToItem(place);
    await cell.ready;
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const code = cell.node.querySelector(".cm-scroller");
    if (!code.clientWidth || code.scrollWidth > code.clientWidth) cut.push(cell.model.id);
  }
  return cut;
}"""
PICTURE = ".jp-OutputArea-output img.widget-image"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Start JupyterLab with settings of its own; gives the address that it would open."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    places += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(folder / name) for name in places}}
    shutil.copytree(ROOT / "tools" / "lab", folder / "tools" / "lab")
    make = ["make", "-n", "lab"]
    line = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    line = re.search(r"-m jupyterlab(?:.*\\\n)*.*", line)[0].replace("\\\n", " ")
    command = [word.replace(str(ROOT), str(folder)) for word in shlex.split(line)]  # on the copy
    command = [sys.executable, *command, "--no-browser", "--ip=127.0.0.1", "--port=0"]
    command += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield wait_for_address(folder, server)
    finally:
        server.terminate()
        server.wait(30)


def wait_for_address(folder, server):
    """The address of a JupyterLab whose JUPYTER_RUNTIME_DIR and log are in a folder, as soon as it answers."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and server.poll() is None:
        for page in (folder / "JUPYTER_RUNTIME_DIR").glob("jpserver-*-open.html"):
            if found := re.search(r'href="(http[^"]+)"', page.read_text()):
                address = found[1].replace("localhost", "127.0.0.1")
                try:
                    urllib.request.urlopen(address, timeout=1)
                except (urllib.error.URLError, OSError):
                    continue
                return address
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start: {(folder / 'log').read_text()[-1000:]}")


def address_of(name, lab):
    return re.sub(r"[^/]+\.ipynb", name, lab)


def opened(browser, address, **window):
    """Open a notebook in a window of its own, and wait for its kernel."""
    page = watch(browser.new_context(**(window or {"viewport": {"width": 1280, "height": 900}})).new_page())
    page.goto(f"{address}?reset")
    page.locator(".jp-NotebookPanel").wait_for()
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext")
    page.evaluate(READY)
    return page


def begin(browser, address):
    """Open a notebook, and choose Run All in the menu."""
    page = opened(browser, address)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator('.lm-Menu [data-command="runmenu:run-all"]').first.click()
    page.began = time.monotonic()
    return page


def end(page):
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.context.close()


@pytest.fixture(scope="module")
def ran(lab, browser):
    """Run all notebooks, two at a time: what went wrong in each, and the seconds that it took."""
    address = {name: address_of(name, lab) for name in NOTEBOOKS}
    waiting, running, found = list(NOTEBOOKS), {}, {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            name = waiting.pop(0)
            running[name] = begin(browser, address[name])
        for name, page in list(running.items()):
            seconds = time.monotonic() - page.began
            if page.evaluate(RAN) or seconds > SECONDS_A_NOTEBOOK:
                problems = {"not done": page.evaluate(RAN) is not True, "outputs": page.evaluate(OUTPUTS)}
                problems |= {"dialogs": page.locator(".jp-Dialog").all_inner_texts(), "page": dict(page.problems)}
                found[name] = {key: value for key, value in problems.items() if value}, seconds
                end(running.pop(name))
            page.wait_for_timeout(200) if name in running else None
    return found


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_run_all(ran, name):
    problems, seconds = ran[name]
    assert problems == {}
    print(f"{name}: {seconds:.0f} s")


def test_the_first_page_is_notebook_01(lab, browser):
    assert lab.endswith(f"/{NOTEBOOKS[0]}")
    page = watch(browser.new_page())
    page.goto(f"{lab}?reset")
    page.locator(".jp-NotebookPanel").wait_for()
    page.get_by_role("heading", level=1).first.wait_for()
    assert page.get_by_role("heading", level=1).first.inner_text().startswith("Standardize the inputs")
    assert page.problems == {}
    page.close()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_visible_code_is_cut_on_a_projector(lab, browser, name):
    """A lecturer closes the side bar and magnifies by half."""
    page = opened(browser, address_of(name, lab), **PROJECTOR)
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    assert page.evaluate(CUT) == []
    cells = json.loads((ROOT / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
    assert page.evaluate(FOLDED) == [cell["id"] for cell in cells if "hide-input" in cell["metadata"].get("tags", [])]
    assert page.locator(".Toastify__toast").count() == 0, "a notice covers the code"
    assert page.problems == {}
    end(page)


@pytest.fixture(scope="module")
def explored(lab, browser):
    """Notebook 02, run, with its explorer in sight."""
    page = begin(browser, address_of(EXPLORER, lab))
    page.wait_for_function(RAN, timeout=1000 * SECONDS_A_NOTEBOOK)
    page.locator(PICTURE).first.wait_for()
    page.locator(".widget-slider").first.scroll_into_view_if_needed()
    yield page
    end(page)


def redrawn(page, act):
    """Milliseconds until the picture of the explorer is another one."""
    before, began = page.locator(PICTURE).first.get_attribute("src"), time.perf_counter()
    act()
    page.wait_for_function(
        "([place, before]) => document.querySelector(place).src !== before", arg=[PICTURE, before], polling=5
    )
    return 1000 * (time.perf_counter() - began)


def test_a_slider_moved_by_keyboard(explored):
    explored.locator(".widget-slider .noUi-handle").first.focus()
    times = []
    for _ in range(5):
        times.append(redrawn(explored, lambda: explored.keyboard.press("ArrowRight")))
        explored.wait_for_timeout(150)
    print("redrawn by key:", [round(t) for t in times], "ms")
    assert explored.problems == {}


def test_a_slider_moved_by_mouse(explored):
    box = explored.locator(".widget-slider .noUi-target").nth(1).bounding_box()
    place = box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2
    print("redrawn by mouse:", round(redrawn(explored, lambda: explored.mouse.click(*place))), "ms")
    assert explored.problems == {}


def test_sliders_and_picture_are_seen_together_on_a_small_screen(explored):
    explored.set_viewport_size({"width": 1280, "height": 720})
    explored.wait_for_timeout(500)
    sliders = [slider.bounding_box() for slider in explored.locator(".widget-slider").all()]
    picture = explored.locator(PICTURE).first.bounding_box()
    height = picture["y"] + picture["height"] - min(box["y"] for box in sliders)
    room = explored.locator(".jp-NotebookPanel-notebook").first.bounding_box()["height"]
    print(f"sliders and picture: {height:.0f} px of {room:.0f}")
    assert len(sliders) == 4
    assert all(box["y"] + box["height"] <= picture["y"] for box in sliders)
    assert height < room

"""`make lecture` in Chromium: what a class sees on projectors of two sizes and at 150 %, and the bar of a slow cell."""

import json
import os
import signal
import subprocess
import sys

import nbformat
import pytest
from test_lab import CUT, FOLDED, PROJECTOR, opened, wait_for_address

from conftest import ROOT

NAME = "04_batch_normalization_in_conv_nets"
SLOW = "setup"  # the first code cell, which imports PyTorch
FIGURE = ("02_loss_surfaces", "setup", "stall-walk", "stall-distance", "stall-figure")  # a lesson, and cells to run
SIZES = {
    "1280 x 720": {"viewport": {"width": 1280, "height": 720}},
    "1280 x 720 at 150 %": PROJECTOR,
    "1920 x 1080": {"viewport": {"width": 1920, "height": 1080}},
}
FONTS = """() => ['.cm-content', '.jp-RenderedMarkdown p', '.jp-RenderedMarkdown td'].map(
  (one) => parseFloat(getComputedStyle(document.querySelector(`.jp-Notebook ${one}`)).fontSize) * devicePixelRatio)"""
STORED = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
  .filter((cell) => cell.type === "code" && cell.outputs.length).map((cell) => cell.id)"""
RUN = """(id) => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = notebook.widgets.findIndex((cell) => cell.model.id === id);
  window.jupyterapp.commands.execute("notebook:run-cell");
}"""


@pytest.fixture(scope="module")
def lecture(tmp_path_factory):
    """The address of JupyterLab as `make lecture` starts it, after a make course in which one cell was slow."""
    build = tmp_path_factory.mktemp("a build")
    cell = nbformat.v4.new_code_cell("", id=SLOW)
    times = {"iopub.execute_input": "2026-01-01T00:00:01Z", "iopub.status.idle": "2026-01-01T00:00:07Z"}
    cell.metadata["execution"] = times
    (build / "course").mkdir()
    (build / "course" / "timings.json").write_text(json.dumps({NAME: 6.0}))
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), build / "course" / f"{NAME}.ipynb")
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    environment = {**os.environ, **{name: str(build / name) for name in places}}
    lab = "--no-browser --ip=127.0.0.1 --port=0 --IdentityProvider.token= --LabApp.expose_app_in_browser=True"
    # -o env: whatever the state of the environment is, nothing is installed or removed here.
    command = ["make", "-o", "env", "lecture", f"VENV={sys.prefix}", f"BUILD={build}", f"LAB_ARGS={lab}"]
    with (build / "log").open("w") as log:
        how = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
        server = subprocess.Popen(command, cwd=ROOT, env=environment, **how)
    try:
        yield wait_for_address(build, server).replace("01_input_standardization", NAME)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


@pytest.mark.parametrize("size", SIZES)
def test_code_can_be_read_and_nothing_else_is_in_the_way(lecture, browser, size):
    page = opened(browser, lecture, **SIZES[size])
    assert page.evaluate("window.jupyterapp.shell.leftCollapsed")
    assert page.locator(".Toastify__toast").count() == 0
    assert page.locator("#jp-main-statusbar").is_hidden()
    assert page.evaluate(STORED) == []
    assert page.evaluate(CUT) == []
    width = SIZES[size]["viewport"]["width"] * SIZES[size].get("device_scale_factor", 1)
    assert min(page.evaluate(FONTS)) >= 21 * width / 1280  # JupyterLab's own are 13 and 14
    cells = nbformat.read(ROOT / "notebooks" / f"{NAME}.ipynb", as_version=4).cells
    assert page.evaluate(FOLDED) == [cell.id for cell in cells if "hide-input" in cell.metadata.get("tags", [])]
    assert page.problems == {}
    page.context.close()


@pytest.mark.parametrize("size", SIZES)
def test_a_figure_is_as_wide_as_its_cell(lecture, browser, size):
    page = opened(browser, lecture.replace(NAME, FIGURE[0]), **SIZES[size])
    for cell in FIGURE[1:]:
        page.evaluate(RUN, cell)
    picture = page.locator(".jp-RenderedImage img")
    picture.wait_for(timeout=60_000)
    whole = "img => [img.clientWidth, img.closest('.jp-OutputArea-output').clientWidth, img.clientHeight, innerHeight]"
    width, room, height, window = picture.evaluate(whole)
    assert 0.95 * room < width <= room
    assert height < 0.9 * window
    assert page.problems == {}
    page.context.close()


def test_a_slow_cell_says_how_long_it_will_take(lecture, browser):
    page = opened(browser, lecture)
    page.evaluate(RUN, SLOW)
    page.get_by_text("about 6 s").wait_for()
    page.get_by_text("about 6 s").wait_for(state="detached", timeout=60_000)
    assert page.problems == {}
    page.context.close()

"""The gates that run notebooks can turn red, each for its own fault, and stay green where there is none."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import namedtuple
from pathlib import Path

import pytest
from bad_notebooks import FOLDER, write

pytestmark = pytest.mark.timeout(400)  # each runs notebooks in a pytest of its own

ROOT = Path(__file__).resolve().parents[1]

# Which cell of a notebook fails, counted from zero as nbval does, and a part of what is said about it.
SETUP, MEAN, FIGURE, JUDGE = "Cell 0", "Cell 1", "Cell 2", "Cell 3"
FAULTS = {
    "changed_verdict": (JUDGE, "'verdict': 'supported'"),
    "fails": (MEAN, "'numpy.ndarray' object has no attribute 'average'"),
    "missing_output": (MEAN, "Missing output fields from running code"),
    "output_of_unrun_cell": (MEAN, "Unrun reference cell has outputs"),
    "stale_alt_text": (FIGURE, "mismatch 'text/plain'"),
    "stale_output": (MEAN, "mismatch 'stdout'"),
    "trailing_value": (MEAN, "Unexpected output fields from running code"),
}
GREEN = ("good", "good_despite_differences")

Cell = namedtuple("Cell", "said seconds")  # said: why it failed, "" if it passed
Run = namedtuple("Run", "status cells")  # cells: {(notebook, cell): Cell}


def run_notebooks(stems, folder, *options):
    """Run notebooks of BAD as `make test` runs those of the course, in a pytest of their own."""
    for stem in stems:
        write(stem, folder)
    shutil.copy(FOLDER / "claims.toml", folder)
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}"]
    command += ["-p", "conftest", "-n", "0", "-p", "no:cacheprovider", f"--junitxml={folder / 'report.xml'}"]
    dropped = ("ci", "dataset", "pytest_addopts", "http_proxy", "https_proxy", "all_proxy")
    environment = {name: value for name, value in os.environ.items() if name.lower() not in dropped}
    run = subprocess.run(
        [*command, *options, str(folder)],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    cells = {}
    for case in ET.parse(folder / "report.xml").iter("testcase"):
        said = "".join(child.text or "" for child in case if child.tag in ("failure", "error"))
        stem = case.get("classname").removesuffix(".ipynb")
        cells[stem, case.get("name")] = Cell(re.sub(r"#x1B\[\d+m", "", said), float(case.get("time")))
    return Run(run.returncode, cells)


def failed(run, stem):
    """The cells of a notebook that failed, with what was said."""
    return {name: cell.said for (notebook, name), cell in run.cells.items() if notebook == stem and cell.said}


@pytest.fixture(scope="module")
def red(tmp_path_factory):
    """All faulty notebooks in one run, except for the one that hangs."""
    run = run_notebooks([*FAULTS, "network_call", "dies"], tmp_path_factory.mktemp("red"))
    assert run.status == 1
    return run


@pytest.mark.parametrize("stem", FAULTS)
def test_a_fault_is_red_in_its_cell_alone(red, stem):
    cell, words = FAULTS[stem]
    said = failed(red, stem)
    assert list(said) == [cell]
    assert words in said[cell]


def test_the_network_is_closed_and_this_computer_is_open(red):
    said = failed(red, "network_call")
    assert list(said) == ["Cell 4", "Cell 5", "Cell 6", "Cell 7"]  # not the loopback of cell 8
    for cell, host in zip(said, ("192.0.2.1", "example.invalid", "192.0.2.1", "192.0.2.1"), strict=True):
        assert f"a notebook may not use the network: tried to reach {host}" in said[cell]
        assert red.cells["network_call", cell].seconds < 15  # of 30 until the connection would give up


def test_a_dying_kernel_is_noticed_soon(red):
    said = failed(red, "dies")
    assert "the kernel died while this cell ran" in said[SETUP]
    assert "Kernel dead on test start" in said[MEAN]
    assert red.cells["dies", SETUP].seconds < 60  # of 120 that a cell may take


def test_a_hanging_cell_is_stopped(tmp_path):
    run = run_notebooks(["hangs"], tmp_path, "--nbval-cell-timeout=3")
    assert "Timeout of 3 seconds exceeded" in failed(run, "hangs")[SETUP]
    assert run.status == 1


def test_good_notebooks_are_green(tmp_path):
    run = run_notebooks(GREEN, tmp_path)
    assert {stem for stem, _ in run.cells} == set(GREEN)
    assert [failed(run, stem) for stem in GREEN] == [{}, {}]
    assert run.status == 0

"""A test that hangs ends at its limit, with its name, and nothing that tests start may run without one."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 240  # for a pytest that needs ten, on a computer that does other things as well
HANGING = """
import time
import numpy as np
import pytest
from hypothesis import given, strategies

@pytest.mark.timeout(1)
def test_sleeps():
    time.sleep(600)

@pytest.mark.timeout(1)
def test_descends():
    w = np.ones(3)
    while w.any():
        w = w - 0.0 * w

@pytest.mark.timeout(1)
@given(strategies.integers())
def test_every_example_hangs(x):
    while True:
        x = x + 1

def test_passes():
    pass
"""

pytestmark = pytest.mark.timeout(2 * SECONDS)


def run_pytest(folder, *options):
    """What a pytest with the settings of the course says of the tests in a folder."""
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}"]
    command += ["-p", "conftest", "-p", "no:cacheprovider", "-rA", *options, str(folder)]
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)


@pytest.mark.parametrize("processes", ["0", "2"])
@pytest.mark.skipif(os.name != "posix", reason="elsewhere a limit ends the whole process")
def test_what_hangs_fails_with_its_name_and_where_it_was_and_the_others_go_on(tmp_path, processes):
    (tmp_path / "test_hanging.py").write_text(HANGING)
    done = run_pytest(tmp_path, "-n", processes)
    summary = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "PASSED", "ERROR"))]
    assert sorted(line.split(" - ")[0] for line in summary) == [
        "FAILED test_hanging.py::test_descends",
        "FAILED test_hanging.py::test_every_example_hangs",
        "FAILED test_hanging.py::test_sleeps",
        "PASSED test_hanging.py::test_passes",
    ]
    assert done.stdout.count("Timeout (>1.0s)") >= 3
    for where in ("time.sleep(600)", "while w.any():", "while True:"):
        assert where in done.stdout


def test_a_test_has_a_minute(request):
    assert float(request.config.getini("timeout")) == 60


def test_a_cell_has_the_limits_of_nbval(tmp_path):
    """It may take longer than a test, and it is nbval that says so when it takes too long."""
    cells = [new_code_cell("import time; time.sleep(2)", execution_count=1), new_code_cell("time.sleep(60)")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "slow.ipynb")
    done = run_pytest(tmp_path, "-n", "0", "-o", "timeout=1", "--nbval-cell-timeout=4")
    assert "PASSED slow.ipynb::Cell 0" in done.stdout
    assert "FAILED slow.ipynb::Cell 1" in done.stdout
    assert "Timeout of 4 seconds exceeded" in done.stdout
    assert "pytest-timeout" not in done.stdout


def endless(call):
    """Whether a call may wait for another process or thread without a limit."""
    if not isinstance(call.func, ast.Attribute):
        return False
    limited = any(keyword.arg in (None, "timeout") for keyword in call.keywords)  # None: a dictionary of options
    name, owner = call.func.attr, ast.unparse(call.func.value)
    if owner == "subprocess":
        return name in ("run", "call", "check_call", "check_output") and not limited
    if owner.endswith("barrier"):  # a barrier is made with its limit
        return False
    return name in ("wait", "join", "communicate") and not (limited or call.args)


@pytest.mark.parametrize("line", ["subprocess.run([])", "child.wait()", "thread.join()", "child.communicate()"])
def test_a_wait_without_a_limit_is_found(line):
    assert endless(ast.parse(line).body[0].value)


def test_nothing_that_a_test_starts_runs_without_a_limit():
    found = []
    for path in sorted(ROOT.glob("tests/**/*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        found += [f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)}" for call in calls if endless(call)]
    assert found == []

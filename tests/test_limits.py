"""A test that hangs ends at its limit, with its name, and nothing that tests start may run without one."""

import ast
import os
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from nested import SECONDS, run_pytest

ROOT = Path(__file__).resolve().parents[1]
HANGING = """
import time
import numpy as np
import pytest
from hypothesis import given, strategies

@pytest.mark.timeout(0.5)
def test_sleeps():
    time.sleep(600)

@pytest.mark.timeout(0.5)
def test_descends():
    w = np.ones(3)
    while w.any():
        w = w - 0.0 * w

@pytest.mark.timeout(0.5)
@given(strategies.integers())
def test_every_example_hangs(x):
    while True:
        x = x + 1

def test_passes():
    pass
"""

pytestmark = pytest.mark.timeout(2 * SECONDS)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a limit ends the whole process")
def test_what_hangs_fails_with_its_name_and_where_it_was_and_the_others_go_on(tmp_path):
    """A cell may take longer than a test, and it is nbval that says so when it takes too long."""
    (tmp_path / "test_hanging.py").write_text(HANGING)
    cells = [new_code_cell("import time; time.sleep(1.5)", execution_count=1), new_code_cell("time.sleep(60)")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "slow.ipynb")
    done, cases = run_pytest(tmp_path, "-n", "1", "-o", "timeout=1", "--nbval-cell-timeout=3")
    said = {case.name: case.said for case in cases}
    assert said.pop("test_passes") == said.pop("Cell 0") == ""
    assert "Timeout of 3 seconds exceeded" in said.pop("Cell 1")
    where = {
        "test_sleeps": "time.sleep(600)",
        "test_descends": "while w.any():",
        "test_every_example_hangs": "while True:",
    }
    assert set(said) == set(where)
    for name, line in where.items():
        assert "Timeout (>0.5s) from pytest-timeout" in said[name]
        assert line in said[name]


def test_a_test_has_a_minute(request):
    assert float(request.config.getini("timeout")) == 60


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

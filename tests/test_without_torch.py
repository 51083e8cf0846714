"""Lessons 01 to 03 run where PyTorch is not installed, such as in a browser, and so do the modules that they need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from execute import execute_all

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("0[1-3]_*.ipynb"))
MODULES = ["utils.data", "utils.evidence", "utils.plotting", "utils.widgets"]
MODULES += sorted(f"utils.byhand.{path.stem}" for path in (ROOT / "utils" / "byhand").glob("[a-z]*.py"))

pytestmark = pytest.mark.timeout(300)  # notebooks are executed


@pytest.fixture
def no_torch(tmp_path, monkeypatch):
    """Let processes that are started find a PyTorch that is none."""
    missing = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(missing)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)


def test_the_fixture_hides_it(no_torch):
    code = "try:\n    import torch\nexcept ModuleNotFoundError as error:\n    print(error.name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "torch\n"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs(path, no_torch):
    (run,) = execute_all([path])
    assert run.error is None
    errors = [cell.id for cell in run.notebook.cells if "raises-exception" in cell.metadata.get("tags", [])]
    assert errors == [], "a cell that may fail proves nothing"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_never_loads_it(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"

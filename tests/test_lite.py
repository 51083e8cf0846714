"""Lessons for the browser: what is changed in them, what is installed there, and what is said where something lacks."""

import sys
import tomllib
from pathlib import Path

import lite
import nbformat
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("0[123]*.ipynb"))
NOT_NEEDED = {"ipywidgets", "ipython"}  # sliders are a picture there, and IPython is the kernel's


@pytest.fixture(params=LESSONS, ids=lambda path: path.stem)
def both(request):
    notebook = nbformat.read(request.param, as_version=4)
    return notebook, lite.for_browser(notebook)


def test_only_the_first_cell_and_those_for_pytorch_differ(both):
    notebook, made = both
    nbformat.validate(made)
    assert made.cells[0].source == lite.INSTALL
    for before, after in zip(notebook.cells, made.cells[1:], strict=True):
        assert before.id == after.id
        if before.cell_type == "code" and after.cell_type == "code":
            assert before == after
            assert "torch." not in after.source
        elif before.cell_type == "code":
            assert before.source in after.source
            assert all(output.text in after.source for output in before.outputs)
        else:
            assert ".ipynb" not in after.source


def test_the_lesson_is_not_changed(both):
    notebook, _ = both
    before = nbformat.writes(notebook)
    lite.for_browser(notebook)
    assert nbformat.writes(notebook) == before


def test_it_installs_what_the_helpers_need_in_a_browser():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    wanted = [Requirement(line) for line in dependencies]
    there = {one.name for one in wanted if not one.marker or one.marker.evaluate({"sys_platform": "emscripten"})}
    assert there - NOT_NEEDED == set(lite.PACKAGES) - {"sympy"}  # lesson 03 needs it


def said(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lite.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        lite.main()
    return str(stopped.value)


def test_without_the_extra_one_sentence_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(lite, "find_spec", lambda name: None)
    sentence = "lite: expected jupyterlite_core, jupyterlite_pyodide_kernel, found none: make lite installs them"
    assert said(monkeypatch, "--build", tmp_path).startswith(sentence)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_pyodide_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(lite, "find_spec", lambda name: name)
    folder = tmp_path / "not it"
    sentence = f"lite: expected a folder with pyodide.mjs, got {folder}: unpack a release of Pyodide"
    assert said(monkeypatch, "--build", tmp_path, "--pyodide", folder) == sentence
    assert list(tmp_path.iterdir()) == []


def test_what_fails_is_one_sentence_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(lite, "find_spec", lambda name: name)
    monkeypatch.setattr(lite, "build", lambda *given: lite._call("no_such_module", folder=tmp_path))
    assert said(monkeypatch, "--build", tmp_path).startswith("lite: expected no_such_module to end well, it said: ")
    assert not (tmp_path / "lite" / "index.html").exists()
    assert not list(tmp_path.glob("lite-work-*"))


@pytest.mark.timeout(300)
def test_it_is_built_with_the_wheel_and_says_what_a_click_loads(tmp_path):
    pytest.importorskip("jupyterlite_pyodide_kernel", reason="make lite installs JupyterLite")
    lite.build(tmp_path / "work", tmp_path / "made")
    assert list((tmp_path / "made" / "run").rglob("normalization_course-*.whl"))
    page = (tmp_path / "made" / "index.html").read_text(encoding="utf-8")
    assert "loads about 60 MB" in page
    for path in LESSONS:
        assert f"run/notebooks/index.html?path={path.name}" in page
        assert (tmp_path / "made" / "run" / "files" / path.name).is_file()

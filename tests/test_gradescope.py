"""The autograder for Gradescope: what is in its zip, and that it grades."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import gradescope
import nbformat
import pytest
import release

from homework.grading import gradescope as grader
from homework.grading.bubblewrap import problem

pytestmark = pytest.mark.timeout(120)  # a notebook is graded
apart = pytest.mark.skipif(os.getuid() != 0 and problem() is not None, reason="it needs root or bubblewrap")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An autograder unpacked as Gradescope does, with a notebook in which nothing is filled in."""
    place = tmp_path_factory.mktemp("gradescope") / "autograder"
    gradescope.main(["hw02", "--variant", "2027", "--out", str(place.parent)])
    with zipfile.ZipFile(place.parent / "hw02-2027.zip") as archive:
        archive.extractall(place / "source")
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert modes["run_autograder"] & modes["setup.sh"] & 0o111
    (place / "submission").mkdir()
    notebook = release.student_version(release.source("hw02", "2027"))
    solved = {cell.id: cell for cell in release.source("hw02", "2027").cells}["descend"]
    next(cell for cell in notebook.cells if cell.id == "descend").source = solved.source
    nbformat.write(notebook, place / "submission" / "my homework.ipynb")
    return place


def run(place):
    environment = {**os.environ, "AUTOGRADER": str(place), "PYTHON": sys.executable}
    command = ["bash", str(place / "source" / "run_autograder")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads((place / "results" / "results.json").read_text(encoding="utf-8"))


def test_it_has_one_assignment_and_nobody_elses_work(place):
    names = {path.name for path in (place / "source" / "homework" / "source").iterdir()}
    assert names == {"drawing.py", "hw02"}
    assert not list((place / "source").rglob("*.ipynb_checkpoints"))
    assert "'torch" in (place / "source" / "setup.sh").read_text()


@apart
def test_a_submission_is_graded(place):
    found = run(place)
    scores = {test["name"].partition(":")[0]: test.get("score") for test in found["tests"]}
    assert scores["loss-scores"] == 0
    assert scores["descend-scores"] == 10  # with a right version of what is not there yet
    assert scores["best-rate"] is None
    assert sum(test.get("max_score", 0) for test in found["tests"]) == 80


@apart
def test_what_cannot_be_graded_says_why(place, tmp_path):
    shutil.copytree(place, tmp_path / "autograder")
    (tmp_path / "autograder" / "submission" / "my homework.ipynb").write_text("{")
    found = run(tmp_path / "autograder")
    assert {test["score"] for test in found["tests"] if "score" in test} == {0}
    assert "not valid JSON" in found["output"]


def test_another_name_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="expected one of hw01.*got hw77"):
        gradescope.main(["hw77", "--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_run_that_cannot_be_kept_apart(monkeypatch, tmp_path):
    monkeypatch.setattr(grader, "problem", lambda: "no bwrap here")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(SystemExit, match=r"expected root or bubblewrap.*got neither: no bwrap here"):
        grader.main("hw02", "2027", tmp_path)
    assert list(tmp_path.iterdir()) == []

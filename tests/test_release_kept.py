"""Making the homework of a class loses nothing that a teacher wrote into it by hand."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MINE = "A sentence of a teacher."
RELEASE, SOURCE = "release/hw01/hw01.ipynb", "source/hw01/hw01.ipynb"


@pytest.fixture
def course(tmp_path):
    """A copy of the course with one assignment, as far as the homework needs it, without git."""
    for name in ("homework", "tools", "utils", "data", "tests/mutants"):
        ignored = shutil.ignore_patterns(".ipynb_checkpoints", "hw0[2-9]")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    return tmp_path


def make(course, variant):
    command = [sys.executable, "-B", "tools/release.py", "--variant", str(variant)]
    environment = {**os.environ, "PYTHONPATH": str(course), "GIT_CEILING_DIRECTORIES": str(course.parent)}
    done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def edit(path, number):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"][number]["source"] += [f"\n# {MINE}"]
    path.write_text(json.dumps(notebook), encoding="utf-8")


@pytest.mark.parametrize("where", [RELEASE, SOURCE])
def test_what_was_changed_by_hand_is_kept(course, where):
    path = course / "homework" / where
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    (drawn,) = (number for number, cell in enumerate(cells) if cell["id"] == "setting")
    edit(path, drawn if where == SOURCE else 0)
    text = path.read_text(encoding="utf-8")
    said = make(course, 2032)
    assert MINE not in path.read_text(encoding="utf-8")
    assert f"changed by hand, and is kept: build/replaced/{where}" in said
    assert (course / "build" / "replaced" / where).read_text(encoding="utf-8") == text
    assert len(list((course / "build").rglob("*.ipynb"))) == 1


def test_what_can_be_made_again_needs_no_copy(course):
    for variant in (2031, 2032):
        assert "kept" not in make(course, variant)
    assert not (course / "build").exists()


def test_no_copy_replaces_another(course):
    for variant in (2031, 2032):
        (course / "homework" / RELEASE).write_text(f"{MINE} {variant}", encoding="utf-8")
        make(course, variant)
    kept = (course / "build" / "replaced" / "release" / "hw01").iterdir()
    assert {path.read_text(encoding="utf-8") for path in kept} == {f"{MINE} 2031", f"{MINE} 2032"}


def test_what_git_has_needs_no_copy(course):
    edit(course / "homework" / RELEASE, 0)
    git = ["git", "-C", str(course), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "mine"]):
        if shutil.which("git") is None or subprocess.run([*git, *command], capture_output=True, timeout=60).returncode:
            pytest.skip("there is no git here")
    assert "kept" not in make(course, 2032)
    edit(course / "homework" / RELEASE, 0)
    assert "kept: build/replaced/release/hw01/hw01.ipynb" in make(course, 2033)

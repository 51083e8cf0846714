"""A copy of the course, its commands in a process of their own, and what they say where they do not work."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grading_fixtures as fixtures
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

fcntl = pytest.importorskip("fcntl", reason="locks and limits of Unix")
import resource  # noqa: E402  likewise

ROOT = Path(__file__).resolve().parents[1]
IS_ROOT = os.geteuid() == 0
# A namespace in which a file system may be mounted.
INSIDE = ["unshare", *([] if IS_ROOT else ["--user", "--map-root-user"]), "--mount", "sh", "-c"]
A_NOTEBOOK = "notebooks/01_input_standardization.ipynb"
# Without the real work: the site without Sphinx, slides of nothing.
SMALL = """
import importlib.util, sys
from pathlib import Path
from types import SimpleNamespace
name, tools = sys.argv.pop(1), sys.argv.pop(1)
sys.path[:0] = [tools, str(Path(tools).parent)]
spec = importlib.util.spec_from_file_location("the_" + name, Path(tools) / (name + ".py"))
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
def pages(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for page in ("a.html", "index.html"):
        (folder / page).write_text(page * 2000)
def sphinx(command, **how):
    pages(Path(command[-1]))
    return SimpleNamespace(returncode=0)
def decks(paths, out):
    pages(out)
    return []
if name == "site":
    module.stage, module.missing_packages = lambda folder, notebooks, beside: folder.mkdir(parents=True), list
    module.subprocess = SimpleNamespace(run=sphinx)
else:
    module.write_decks = decks
module.main()
"""


def write_notebook(path, *sources):
    cells = [new_markdown_cell("# A notebook", id="title")]
    cells += [new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


def tree(folder):
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def course(tmp_path):
    """A copy of the course, as far as the commands need it; results go to `build` in it."""
    folder = tmp_path / "course"
    for name in ("homework", "tools", "utils", "data", "site", "tests/mutants"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for name in ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", "requirements.txt", A_NOTEBOOK):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    write_notebook(folder / "my notebook.ipynb", "6 * 7")
    fixtures.write_assignment(folder / "source")
    for name in ("ann", "bob"):
        (folder / "sent" / name).mkdir(parents=True)
        (folder / "sent" / name / "hw00.ipynb").write_text("{")
    (folder / "build").mkdir()
    return folder


def command(name, course, small=SMALL):
    """A command of the course, and what it needs in its environment."""
    tools, build = course / "tools", course / "build"
    grade = ["-m", "homework.grading", course / "sent", "--assignment", "hw00", "--source", course / "source"]
    arguments = {
        "course": [tools / "course.py", "--out", build / "course", course / "my notebook.ipynb"],
        "notebooks": [tools / "notebooks.py", course / "my notebook.ipynb"],
        "readme": [tools / "readme.py"],
        "homework": [tools / "release.py", "--variant", "2031"],
        "grade": [*grade, "--out", build / "grades"],
        "clean": [tools / "clean.py", "--build", build],
        **{one: ["-c", small, one, tools, "--build", build] for one in ("site", "slides")},
    }
    return [str(part) for part in (sys.executable, "-B", *arguments[name])]


def environment(course, **more):
    own = {"PYTHONPATH": course, "SANDBOX": "none", "JOBLIB_MULTIPROCESSING": "0"}
    more = {**own, "GIT_CEILING_DIRECTORIES": course.parent, **more}
    return {**os.environ, **{name: str(value) for name, value in more.items()}}


def run(name, course, *, before=(), limit=None, small=SMALL, **more):
    def set_limit():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    how = {"cwd": course, "env": environment(course, **more), "capture_output": True, "text": True, "timeout": 200}
    return subprocess.run([*before, *command(name, course, small)], preexec_fn=set_limit, **how)


def one_sentence(done, *words):
    """What was said where it did not work: one line, without a traceback."""
    assert done.returncode not in (0, -9), done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    said = [line for line in done.stderr.strip().splitlines() if "SANDBOX=none" not in line]
    assert len(said) == 1, done.stderr
    for word in words:
        assert re.search(word, said[0]), said[0]


def prepare(name, course):
    """Lay down what a command changes."""
    if name == "readme":
        (course / "README.md").write_text((course / "README.md").read_text().replace("minutes |", "minutes|"))
    if name == "clean":
        results = load(course, "results").Results(course / "build" / "course")
        results.write("deep/a.txt", "a")


def load(course, name):
    """A tool of a copy as a module."""
    sys.path.insert(0, str(course / "tools"))
    try:
        spec = importlib.util.spec_from_file_location(f"its_{name}", course / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


IN_BUILD = ["course", "site", "slides", "grade"]
IN_COURSE = ["notebooks", "readme", "homework"]
REMEDY = {**dict.fromkeys(IN_BUILD, "BUILD=/path"), **dict.fromkeys(IN_COURSE, "copy"), "grade": "GRADES="}
REMEDY["clean"] = "by hand"


def stubs(folder):
    """Settings of make for an environment that is there, made of this one."""
    python, setup = folder / "venv" / "bin" / "python", folder / "setup"
    python.parent.mkdir(parents=True)
    for path, text in ((python, f'exec "{sys.executable}" "$@"'), (setup, "exit 0")):
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return [f"VENV={folder / 'venv'}", f"PYTHON={setup}"]

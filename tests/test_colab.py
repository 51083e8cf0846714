"""The notebooks of the branch for Colab and Kaggle: they fetch the course into an empty folder, or say why not."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import colab
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = "https://github.com/who/what"
RUN = ["notebooks/01_input_standardization", "notebooks/labs/02_loss_surfaces", "homework/release/hw01/hw01"]

pytestmark = pytest.mark.timeout(300)  # a repository is made, and notebooks begin
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")


@pytest.fixture(scope="module")
def made():
    return dict(colab.copies(ADDRESS, "main"))


def code_of(name, made, cells=None):
    """The code of the first cells of a copy as a script."""
    found = [cell.source for cell in nbformat.reads(made[f"{name}.ipynb"], 4).cells if cell.cell_type == "code"]
    return "\n".join(found[:cells])


def test_every_notebook_that_a_reader_opens_begins_with_it_and_goes_on_as_before(made):
    folders = ("notebooks", "notebooks/labs", "homework/release")
    wanted = {path for folder in folders for path in (ROOT / folder).rglob("*.ipynb") if ".ipynb_" not in str(path)}
    assert {ROOT / name for name in made} == {path for path in wanted if not path.name.startswith("my_")}
    for name, text in made.items():
        copy = nbformat.reads(text, as_version=4)
        nbformat.validate(copy)
        first, *others = copy.cells
        assert first.id == colab.FIRST
        assert ADDRESS in first.source
        assert repr(str(Path(name).parent.as_posix())) in first.source
        assert others == nbformat.read(ROOT / name, as_version=4).cells


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository with this course in it, at a path with a space; its address is that of a file."""
    folder = tmp_path_factory.mktemp("an origin")
    for name in ("utils", "data", "notebooks", "homework/release"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "downloads", "my_*"))
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q", "-b", "main"], ["add", "--all"], [*who, "commit", "-q", "-m", "The course"]):
        subprocess.run(["git", *command], cwd=folder, check=True, timeout=120)
    return f"file://{folder}"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A Python that has all packages and no course."""
    venv = tmp_path_factory.mktemp("room") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=120)
    (site,) = venv.glob("Lib/site-packages") if os.name == "nt" else venv.glob("lib/*/site-packages")
    site.joinpath("packages.pth").write_text("\n".join({sysconfig.get_path(name) for name in ("purelib", "platlib")}))
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(python, folder, code):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    how = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 120}
    return subprocess.run([python, "-c", code], **how)


@needs_git
@pytest.mark.parametrize("name", RUN)
def test_in_an_empty_folder_the_first_cells_run_twice(name, origin, python, tmp_path):
    made = dict(colab.copies(origin, "main"))
    code = code_of(name, made, 2) + "\nimport utils; print(utils.__file__)\nprint(os.getcwd())"
    for _ in range(2):  # the second time the course is there already
        done = run(python, tmp_path, code)
        assert done.returncode == 0, done.stderr
        where, folder = done.stdout.splitlines()[-2:]
        assert Path(where) == tmp_path / "course" / "utils" / "__init__.py"
        assert Path(folder) == tmp_path / "course" / Path(name).parent


def test_in_a_checkout_it_fetches_nothing(made):
    code = code_of(RUN[0], made, 1) + "\nprint(os.getcwd())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.stderr) == (str(ROOT), "")


@needs_git
def test_without_a_network_a_sentence_says_so(python, tmp_path):
    made = dict(colab.copies("file:///no/such/repository", "main"))
    done = run(python, tmp_path, code_of(RUN[0], made, 1))
    assert done.returncode == 1
    assert done.stderr.startswith("The course could not be fetched from file:///no/such/repository (")
    assert "Switch the internet on" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_git_a_sentence_says_so(python, tmp_path, made):
    code = "import os; os.environ['PATH'] = ''\n" + code_of(RUN[0], made, 1)
    done = run(python, tmp_path, code)
    assert done.returncode == 1
    assert "'git'" in done.stderr
    assert "Traceback" not in done.stderr


class TestCommand:
    def call(self, monkeypatch, *arguments):
        monkeypatch.setattr(sys, "argv", ["colab.py", *map(str, arguments)])
        colab.main()

    def test_it_writes_the_notebooks_and_the_licence(self, tmp_path, monkeypatch, made):
        self.call(monkeypatch, "--out", tmp_path / "a b", "--repository", ADDRESS)
        written = {path.relative_to(tmp_path / "a b").as_posix() for path in (tmp_path / "a b").rglob("*.*")}
        assert set(made) <= written
        assert (tmp_path / "a b" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()

    def test_without_an_address_it_writes_nothing(self, tmp_path, monkeypatch):
        with pytest.raises(SystemExit, match=r"^colab: expected the address of the repository"):
            self.call(monkeypatch, "--out", tmp_path / "out", "--repository", "https://github.com/OWNER/course")
        assert list(tmp_path.iterdir()) == []

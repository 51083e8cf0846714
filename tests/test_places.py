"""A full disk, a folder that cannot be written, an odd path, another run: it works, or one sentence says what to do."""

import contextlib
import errno
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import grading_fixtures as fixtures
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from homework.grading import __main__ as grading
from homework.grading import files as grading_files
from utils import download

fcntl = pytest.importorskip("fcntl", reason="locks and limits of Unix")
import resource  # noqa: E402  likewise

pytestmark = pytest.mark.timeout(300)  # commands are started, and kernels

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
    module.stage, module.missing_packages = lambda folder, notebooks: folder.mkdir(parents=True), list
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
    own = {
        "PYTHONPATH": str(course),
        "SANDBOX": "none",
        "JOBLIB_MULTIPROCESSING": "0",
        "GIT_CEILING_DIRECTORIES": str(course.parent),
    }
    return {**os.environ, **own, **{name: str(value) for name, value in more.items()}}


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
    said = done.stderr.strip().splitlines()
    said = [line for line in said if "SANDBOX=none" not in line]
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


class TestFullDisk:
    # A file that may not grow is refused by the same calls as one on a full disk.
    @pytest.mark.parametrize("name", [name for name in IN_BUILD + IN_COURSE if name not in ("course", "notebooks")])
    def test_one_sentence_and_nothing_half_written(self, course, name):
        prepare(name, course)
        before = tree(course)
        done = run(name, course, limit=40)
        one_sentence(done, REMEDY[name], "File too large. Make room on that disk|File too large. Make room there")
        after = tree(course)
        assert {path: text for path, text in after.items() if path in before} == before
        new = {
            path for path in set(after) - set(before) if not path.endswith((".written-by-the-course.txt", ".written"))
        }
        assert not new - {"build/grades/secret"}

    @pytest.mark.parametrize("name", ["course", "notebooks"])
    def test_where_kernels_run(self, course, name):
        # The disk of the results is full, that of temporary files is not.
        if subprocess.run([*INSIDE, "mount -t tmpfs tmpfs /mnt"], capture_output=True, timeout=60).returncode:
            pytest.skip("nobody may mount a file system here, not even in a namespace of their own")
        place = course / ("build" if name == "course" else "lessons")
        place.mkdir(exist_ok=True)
        # A page of the course is larger than 100 kB, and the notebook's output is larger than what is free.
        path = write_notebook(course / "lessons.ipynb", "print('x' * 60000)")
        script = 'place=$1; path=$2; shift 2; mount -t tmpfs -o size=128k tmpfs "$place" && '
        script += 'cp "$path" "$place/my.ipynb" && head -c 100000 /dev/zero > "$place/filler"; '
        script += '"$@"; status=$?; cp -a "$place" "$place of then"; exit $status'
        run_it = command(name, course)
        run_it[-1] = str(place / "my.ipynb")
        call = [*INSIDE, script, "sh", place, path, *run_it]
        done = subprocess.run(
            list(map(str, call)), env=environment(course), capture_output=True, text=True, timeout=200
        )
        one_sentence(done, "No space left on device", "my.ipynb|my.html")
        left = tree(Path(f"{place} of then"))
        assert left.pop("filler")
        assert left.pop("my.ipynb") == path.read_bytes()
        assert not {name for name in left if name.endswith(".part")}
        for whole in left:
            if whole.endswith("my.ipynb"):
                nbformat.reads(left[whole].decode(), as_version=4)
            else:
                assert whole == "course/.written-by-the-course.txt"

    def test_half_a_line_in_the_list_of_results_spoils_no_other(self, course):
        results = load(course, "results")
        folder = course / "build" / "course"
        results.Results(folder).write("a.txt", "a")
        with (folder / results.LIST).open("a") as file:
            file.write("0123456789")
        results.Results(folder).write("b.txt", "b")
        results.Results(folder).check(["a.txt", "b.txt"])
        results.Results(folder).remove()
        assert not folder.exists()

    def test_half_a_line_in_the_list_of_the_grader_spoils_no_other(self, tmp_path):
        grading_files.replace(tmp_path, "a.txt", "a")
        with (tmp_path / grading_files.LIST).open("a") as file:
            file.write("0123456789")
        grading_files.replace(tmp_path, "b.txt", "b")
        assert all(grading_files.is_ours(tmp_path, name) for name in ("a.txt", "b.txt"))

    @pytest.mark.parametrize("name", ["site", "slides"])
    def test_the_old_site_stays_whole_where_the_new_one_finds_no_room(self, course, name):
        folder = course / "build" / name
        for page in ("a.html", "index.html"):
            load(course, "results").Results(folder).write(page, page * 2000)
        with (folder / ".written-by-the-course.txt").open("a") as file:
            file.write("\n" * 29990)
        before = tree(course)
        changed = SMALL.replace("page * 2000", "page * 2000 + 'new'")
        done = run(name, course, limit=30000, small=changed)
        one_sentence(done, "written-by-the-course.txt|File too large", "BUILD=/path")
        after = tree(course)
        assert set(after) == set(before)
        assert {path for path in before if after[path] != before[path]} <= {f"build/{name}/.written-by-the-course.txt"}

    def test_many_errors_are_one_and_how_many_more(self, course, capsys):
        guard = load(course, "guard")
        errors = [
            (f"/from/{i}", f"/to/{i}", f"[Errno 28] No space left on device: '/from/{i}' -> '/to/{i}'")
            for i in range(200)
        ]
        with pytest.raises(SystemExit) as caught, guard.one_sentence("site", guard.RESULTS):
            raise shutil.Error(errors)
        assert str(caught.value) == (
            "site: /to/0: expected to copy it, got: [Errno 28] No space left on device, and 199 more files. "
            "Make room on that disk, or put the results elsewhere with BUILD=/path."
        )

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
    def test_a_download_blames_no_mirror_and_asks_none_again(self, tmp_path, monkeypatch, number):
        registry = tmp_path / "registry.toml"
        registry.write_text(
            'one = {mirrors = ["https://a.example/", "https://b.example/"], '
            f'files = [{{name = "x", size = 1, hash = "sha256:{"0" * 64}"}}]}}'
        )
        asked = []

        def full(url, **_):
            asked.append(url)
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("pooch.retrieve", full)
        monkeypatch.setenv("COURSE_DATA", str(tmp_path / "cache"))
        monkeypatch.delenv("COURSE_OFFLINE", raising=False)
        with pytest.raises(
            download.DownloadError, match="cannot be written .*Make room there, or .*COURSE_DATA"
        ) as caught:
            download.fetch("one", registry=registry)
        assert "mirror" not in str(caught.value)
        assert len(asked) == 1
        assert tree(tmp_path / "cache") == {}


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
            call = command("course", course)
            call[call.index("--out") + 1] = str(tmp_path / "elsewhere")
            done = subprocess.run(
                [*prefix, *call], env=environment(course), capture_output=True, text=True, timeout=200
            )
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


def stubs(folder):
    """Settings of make for an environment that is there, made of this one."""
    python, setup = folder / "venv" / "bin" / "python", folder / "setup"
    python.parent.mkdir(parents=True)
    for path, text in ((python, f'exec "{sys.executable}" "$@"'), (setup, "exit 0")):
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return [f"VENV={folder / 'venv'}", f"PYTHON={setup}"]


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
        done = subprocess.run(
            ["make", "-C", str(ROOT), "-n", "grade", *settings], env=env, capture_output=True, text=True, timeout=60
        )
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
        write_notebook(
            course / "my notebook.ipynb", "import matplotlib.pyplot as plt, utils.plotting\nplt.figure()", "1"
        )
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

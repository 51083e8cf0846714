"""The commands of the course remove and replace what they made themselves, and nothing else."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import bench
import course
import guard
import nbformat
import pytest
import slides
from execute import Run
from nbformat.v4 import new_code_cell, new_notebook

from utils import files

ROOT = Path(__file__).resolve().parents[1]
LIST = ".written-by-the-course.txt"
MINE = "of a person"
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def put(folder, **files):
    """Write files of a person; in a name, two underlines are a slash and one is a dot."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def load(name):
    """A tool as a module; `site` is a module of Python's, too."""
    spec = importlib.util.spec_from_file_location(f"the_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(folder, **options):
    return load("results").Results(folder, **options)


# The site, the slides, the ratios and the course, each made small.


def make_site(tmp_path, monkeypatch, build, pages=("index.html", "one.html")):
    site = load("site")

    def sphinx(command, **how):
        for name in pages:
            put(Path(command[-1]), **{name.replace(".", "_"): name})
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(site, "stage", lambda folder, notebooks, beside: folder.mkdir(parents=True, exist_ok=True))
    monkeypatch.setattr(site, "missing_packages", list)
    monkeypatch.setattr(site, "find_notebooks", lambda names, *folders: [])
    monkeypatch.setattr(site.subprocess, "run", sphinx)
    monkeypatch.setattr(sys, "argv", ["site.py", "--build", str(build)])
    site.main()


def make_slides(tmp_path, monkeypatch, build, pages=("index.html", "one.html")):
    def write_decks(paths, out):
        for name in pages:
            put(out, **{name.replace(".", "_"): name})
        return [out / name for name in pages]

    monkeypatch.setattr(slides, "write_decks", write_decks)
    monkeypatch.setattr(slides, "find_notebooks", lambda names: [])
    monkeypatch.setattr(sys, "argv", ["slides.py", "--build", str(build)])
    slides.main()


def make_bench(tmp_path, monkeypatch, build):
    nothing = (1, lambda: (lambda: None, lambda: None))
    monkeypatch.setattr(bench, "BENCHMARKS", {"replicas_mlp": nothing})
    monkeypatch.setattr(bench, "share_of_peak", lambda *_: (1.0, 1.0))
    monkeypatch.setattr(bench, "configure", lambda: None)
    monkeypatch.setattr(sys, "argv", ["bench.py", "--out", str(build / "bench.json"), "--rounds", "1"])
    bench.main()


def make_course(tmp_path, monkeypatch, build):
    path = tmp_path / "one.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("6 * 7", id="one")]), path)

    def execute_all(paths, *, done):
        runs = [Run(path, nbformat.read(path, as_version=4), 1.0, None) for path in paths]
        for run in runs:
            done(run)
        return runs

    monkeypatch.setattr(course, "execute_all", execute_all)
    monkeypatch.setattr(course, "as_page", lambda notebook: "a page")
    monkeypatch.setattr(sys, "argv", ["course.py", "--out", str(build / "course"), str(path)])
    course.main()


MAKE_ALL = {"site": make_site, "slides": make_slides, "course": make_course, "bench": make_bench}
RESULTS = {"site": "site/index.html", "slides": "slides/index.html", "course": "course/one.html", "bench": "bench.json"}
ALL, FOLDERS = list(MAKE_ALL), ["site", "slides", "course"]


@pytest.mark.parametrize("what", ALL)
def test_made_again_it_replaces_what_it_made(tmp_path, monkeypatch, what):
    for _ in range(2):
        MAKE_ALL[what](tmp_path, monkeypatch, tmp_path / "build")
    assert (tmp_path / "build" / RESULTS[what]).is_file()
    assert not list((tmp_path / "build").rglob("*.part"))
    assert {path.name for path in (tmp_path / "build").iterdir() if path.is_dir()} <= {what}


@pytest.mark.parametrize("what", ALL)
def test_a_file_of_a_person_with_the_name_of_a_result_stays_and_a_sentence_says_so(tmp_path, monkeypatch, what):
    build = tmp_path / "build"
    put(build / RESULTS[what]).parent.mkdir(parents=True)
    (build / RESULTS[what]).write_text(MINE)
    before = tree(build)
    with pytest.raises(SystemExit, match=r"(?s)expected .*[,;] got .*[Mm]ove it.*BUILD=/path") as caught:
        MAKE_ALL[what](tmp_path, monkeypatch, build)
    assert len(str(caught.value).strip().splitlines()) == 1
    assert tree(build) == before


@pytest.mark.parametrize("what", ALL)
def test_while_another_run_is_there_it_says_so_and_changes_nothing(tmp_path, monkeypatch, what):
    place = (tmp_path / "build" / RESULTS[what]).parent
    place.mkdir(parents=True)
    with guard.alone(place), pytest.raises(SystemExit, match="wait until the other has ended, or .*BUILD=/path"):
        MAKE_ALL[what](tmp_path, monkeypatch, tmp_path / "build")
    assert tree(tmp_path / "build") == {}


@pytest.mark.parametrize("what", FOLDERS)
def test_a_folder_of_a_person_is_not_filled_with_results(tmp_path, monkeypatch, what):
    build = put(tmp_path / "build", **{f"{what}__my_notes_txt": MINE, f"{what}__deep__er__notes_txt": MINE})
    before = tree(build)
    with pytest.raises(SystemExit, match=r"got .*, and no list .* of what the course wrote there"):
        MAKE_ALL[what](tmp_path, monkeypatch, build)
    assert tree(build) == before


@pytest.mark.parametrize("what", ALL)
def test_a_result_that_a_person_changed_stays(tmp_path, monkeypatch, what):
    build = tmp_path / "build"
    MAKE_ALL[what](tmp_path, monkeypatch, build)
    (build / RESULTS[what]).write_text(MINE)
    before = tree(build)
    with pytest.raises(SystemExit, match=f"{Path(RESULTS[what]).name}, which it did not write or which was changed"):
        MAKE_ALL[what](tmp_path, monkeypatch, build)
    assert tree(build) == before


@pytest.mark.parametrize("what", FOLDERS)
def test_a_file_that_a_person_puts_among_results_stays(tmp_path, monkeypatch, what):
    build = tmp_path / "build"
    MAKE_ALL[what](tmp_path, monkeypatch, build)
    put(build, **{f"{what}__notes_txt": MINE, f"{what}__deep__er__notes_txt": MINE})
    MAKE_ALL[what](tmp_path, monkeypatch, build)
    assert (build / what / "notes.txt").read_text() == MINE
    assert (build / what / "deep" / "er" / "notes.txt").read_text() == MINE


@pytest.mark.parametrize("what", FOLDERS)
def test_no_link_leads_to_what_is_replaced(tmp_path, monkeypatch, what):
    build = tmp_path / "build"
    MAKE_ALL[what](tmp_path, monkeypatch, build)
    (tmp_path / "mine").write_bytes((build / RESULTS[what]).read_bytes())
    (build / RESULTS[what]).unlink()
    (build / RESULTS[what]).symlink_to(tmp_path / "mine")
    with pytest.raises(SystemExit, match="which it did not write"):
        MAKE_ALL[what](tmp_path, monkeypatch, build)
    assert (build / RESULTS[what]).is_symlink()
    assert (tmp_path / "mine").is_file()


@pytest.mark.parametrize("what", ["site", "slides"])
def test_a_page_that_is_made_no_more_goes_if_nobody_changed_it(tmp_path, monkeypatch, what):
    build = tmp_path / "build"
    pages = ("index.html", "old.html", "deep__old.html", "changed.html")
    MAKE_ALL[what](tmp_path, monkeypatch, build, pages)
    (build / what / "changed.html").write_text(MINE)
    MAKE_ALL[what](tmp_path, monkeypatch, build)
    assert set(tree(build / what)) == {LIST, "index.html", "one.html", "changed.html"}
    assert not (build / what / "deep").exists()


def test_the_folder_site_of_the_course_is_no_place_for_the_site(tmp_path, monkeypatch):
    # make site BUILD=. in the folder of the course
    shutil.copytree(ROOT / "site", tmp_path / "site", ignore=shutil.ignore_patterns("__pycache__"))
    before = tree(tmp_path)
    with pytest.raises(SystemExit, match="no list"):
        make_site(tmp_path, monkeypatch, tmp_path)
    assert tree(tmp_path) == before


def test_folders_that_the_work_on_the_site_once_used_stay(tmp_path, monkeypatch):
    build = put(tmp_path / "build", **{"site-work__source__a_txt": MINE, "site-work__html__a_txt": MINE})
    before = tree(build)
    make_site(tmp_path, monkeypatch, build)
    assert {name: text for name, text in tree(build).items() if name.startswith("site-work")} == before


def test_what_sphinx_made_where_it_failed_can_be_read_and_cleaned(tmp_path, monkeypatch):
    make_site(tmp_path, monkeypatch, tmp_path / "build")
    before = tree(tmp_path / "build" / "site")
    site = load("site")
    monkeypatch.setattr(site, "stage", lambda folder, notebooks, beside: put(folder, index_md="x"))
    monkeypatch.setattr(site, "missing_packages", list)

    def fail(command, **how):
        put(Path(command[-1]), output_txt="broken links")
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(site.subprocess, "run", fail)
    with pytest.raises(SystemExit, match="Sphinx found something wrong, see above; what it made is in ") as caught:
        site.main()
    where = Path(str(caught.value).split("is in ")[1])
    assert (where / "output.txt").read_text() == "broken links"
    assert tree(tmp_path / "build" / "site") == before
    assert load("clean").remove_results(tmp_path / "build") == []


def test_a_write_that_is_interrupted_leaves_nothing_that_counts_as_somebody_elses(tmp_path, monkeypatch):
    results(tmp_path / "out").write("a.txt", "old")
    for when in ("before", "after"):

        def stop(path, content, when=when, write=files.write_atomically):
            if when == "after":
                write(path, content)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(files, "write_atomically", stop)
            with pytest.raises(KeyboardInterrupt):
                results(tmp_path / "out").write("a.txt", f"new {when}")
        results(tmp_path / "out").check(["a.txt"])
    assert (tmp_path / "out" / "a.txt").read_text() == "new after"


# make clean, in a copy of what it needs


@pytest.fixture
def copy(tmp_path):
    """The course, small: sources that have to stay, and caches that may go."""
    course = put(tmp_path / "course", site__index_md="s", notebooks__01_ipynb="{}", utils__a_py="", tests__a_py="")
    put(course, homework__a_py="", slides__mine_txt=MINE)
    shutil.copy(ROOT / "Makefile", course)
    shutil.copytree(ROOT / "tools", course / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    return course


def clean(course, *settings, check=True):
    command = ["make", "-C", str(course), "clean", *settings, f"PYTHON={sys.executable}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


@needs_make
class TestClean:
    @pytest.mark.parametrize("build", ["build", "of mine", ".", "..", "site", "link", "build/mine"])
    def test_files_of_a_person_stay_wherever_build_is(self, copy, build):
        put(copy / "build", notes_txt=MINE, course__notes_txt=MINE, site__deep__notes_txt=MINE, grades_txt=MINE)
        put(copy / "of mine", thesis_txt=MINE, course__thesis_txt=MINE, site__thesis_txt=MINE)
        put(copy / "of mine", **{"site-work__source__a_txt": MINE, "bench_json": MINE, "slides__a_txt": MINE})
        put(copy.parent, other__thesis_txt=MINE, build__mine__notes_txt=MINE)
        (copy / "link").symlink_to(copy / "of mine")
        before = tree(copy.parent)
        clean(copy, f"BUILD={build}")
        assert tree(copy.parent) == before

    def test_a_folder_of_a_person_somewhere_else_stays(self, copy, tmp_path):
        home = put(tmp_path / "home", _bashrc=MINE, site__index_html=MINE, results__thesis_txt=MINE)
        before = tree(home)
        said = clean(copy, f"BUILD={home}")
        assert tree(home) == before
        assert f"clean: kept in {home} what the course did not write" in said

    @pytest.mark.parametrize("setting", ["", "build/grades", "build/marks", "../grades-2027"])
    def test_grades_stay_and_a_sentence_says_how_to_remove_them(self, copy, setting):
        grades = (copy / (setting or "build/grades")).resolve()
        put(grades, hw01__grades_csv="id,why\n1,3", hw01__secret="0123")
        before = tree(grades)
        said = clean(copy, *([f"GRADES={setting}"] if setting else []))
        assert tree(grades) == before
        assert f"clean: kept {grades}, for points that a person entered may be in it" in said
        assert f"rm -r '{grades}'" in said

    def test_results_and_caches_go(self, copy):
        for name in ("course", "labs", "site", "slides", "links", "mine/course", "site-work-x"):
            for file in ("index.html", "deep/er/page.html"):
                results(copy / "build" / name).write(file, "ours")
        results(copy / "build", shared=True).write("bench.json", "{}")
        put(copy, _pytest_cache__v="x", _ruff_cache__v="x", _hypothesis__v="x", _coverage="x")
        caches = [copy / name / "__pycache__" / "a.cpython-311.pyc" for name in ("utils", "tests", "homework/deep")]
        for path in caches:
            path.parent.mkdir(parents=True)
            path.write_bytes(b"")
        said = clean(copy)
        assert "kept" not in said
        assert not (copy / "build").exists()
        left = {path.name for path in copy.rglob("*")}
        assert not left & {".pytest_cache", ".ruff_cache", ".hypothesis", ".coverage", "__pycache__"}
        assert {"Makefile", "a.py", "index.md", "01.ipynb", "clean.py", "mine.txt"} <= left

    def test_a_result_that_was_changed_or_joined_stays(self, copy):
        folder = copy / "build" / "course"
        for name in ("01.ipynb", "01.html"):
            results(folder).write(name, "ours")
        (folder / "01.ipynb").write_text(MINE)
        put(folder, notes_txt=MINE)
        assert "kept in" in clean(copy)
        left = {name: text for name, text in tree(folder).items() if name != LIST}
        assert left == dict.fromkeys(("01.ipynb", "notes.txt"), MINE.encode())

    def test_twice_it_says_nothing(self, copy):
        results(copy / "build" / "course").write("01.html", "ours")
        clean(copy)
        assert "clean: " not in clean(copy)

    def test_a_link_in_the_place_of_a_cache_is_not_followed(self, copy, tmp_path):
        mine = put(tmp_path / "mine", notes_txt=MINE)
        (copy / ".hypothesis").symlink_to(mine)
        (copy / "utils" / "link").symlink_to(mine)
        clean(copy)
        assert (mine / "notes.txt").read_text() == MINE

    def test_a_list_that_names_files_elsewhere_removes_none(self, copy, tmp_path):
        folder = put(copy / "build" / "course", notes_txt=MINE)
        put(tmp_path, outside_txt="ours")
        results(tmp_path / "other").write("a", "ours")
        digest = (tmp_path / "other" / LIST).read_text().split()[0]
        (folder / LIST).write_text(f"{digest}  ../../../outside.txt\n{digest}  {tmp_path}/outside.txt\nbroken\n")
        clean(copy)
        assert (tmp_path / "outside.txt").read_text() == "ours"
        assert (folder / "notes.txt").read_text() == MINE

    def test_help_says_what_stays(self, copy):
        command = ["make", "-C", str(copy), "help"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        assert "not grades" in next(line for line in said.splitlines() if "make clean" in line)


def test_bytes_and_text_are_listed_as_they_are_written(tmp_path):
    folder = results(tmp_path / "out")
    folder.write("text.txt", "κ = 1\n")
    folder.write("bytes.bin", bytes(range(256)))
    again = results(tmp_path / "out")
    again.check(["text.txt", "bytes.bin"])
    again.remove()
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_nothing_is_written_through_a_link_to_a_folder(tmp_path):
    folder = results(tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (folder.folder / "deep").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="deep/a.txt, which it did not write"):
        folder.write("deep/a.txt", "ours")
    assert list((tmp_path / "mine").iterdir()) == []

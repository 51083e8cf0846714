"""Real runs of tiny notebooks: what is written, what is said, and what is left alone."""

import html
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import course
import execute
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytestmark = pytest.mark.timeout(300)  # kernels are started

TOOLS = Path(__file__).resolve().parents[1] / "tools"
STEMS = ["1_good", "2_failing", "3_dying", "4_good"]
FAILING = 'raise ValueError("on purpose, with <marks>")'
DYING = r"import os; os.write(2, b'out of luck\n'); os._exit(1)"
WAITING = "import pathlib, time; pathlib.Path('started').touch(); time.sleep(60)"


def write_notebook(path, *sources):
    cells = [new_markdown_cell("# A notebook", id="title")]
    cells += [new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources, start=1)]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def outputs(path):
    return [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("course")


@pytest.fixture(scope="module")
def out(folder):
    return folder / "not yet there" / "out"


@pytest.fixture(scope="module")
def originals(folder):
    paths = [
        write_notebook(folder / "1_good.ipynb", "x = 6", "x * 7", "print(1)\nprint(2)"),
        write_notebook(folder / "2_failing.ipynb", "print('before')", FAILING, "print('after')"),
        write_notebook(folder / "3_dying.ipynb", DYING, "1"),
        write_notebook(folder / "4_good.ipynb", "__import__('os').getcwd()"),
    ]
    return {path: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def done(originals, out):
    command = [sys.executable, TOOLS / "course.py", "--out", out, *originals]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)


class TestCourse:
    def test_times_are_a_flat_table_of_seconds(self, done, out):
        times = json.loads((out / "timings.json").read_text())
        assert list(times) == STEMS
        assert all(0 < seconds < 60 for seconds in times.values())

    def test_every_notebook_leaves_a_copy_and_a_page(self, done, out):
        expected = [f"{stem}.{kind}" for stem in STEMS for kind in ("html", "ipynb")]
        assert {path.name for path in out.iterdir()} == {".written-by-the-course.txt", "timings.json", *expected}

    def test_copy_and_page_show_the_results(self, done, out):
        value, stream = outputs(out / "1_good.ipynb")
        assert value.data["text/plain"] == "42"
        assert stream.text == "1\n2\n"
        page = (out / "1_good.html").read_text(encoding="utf-8")
        assert "A notebook" in page
        assert "<pre>42</pre>" in page

    def test_the_copy_of_one_that_failed_shows_how_far_it_came(self, done, out):
        before, error = outputs(out / "2_failing.ipynb")
        assert before.text == "before\n"
        assert (error.output_type, error.ename) == ("error", "ValueError")

    def test_what_failed_is_named_with_cell_and_error_and_what_a_kernel_said_is_passed_on(self, done):
        assert done.returncode == 1
        failing, dying = (line for line in done.stderr.splitlines() if line.startswith("FAILED "))
        assert failing.startswith("FAILED 2_failing.ipynb: ")
        assert "cell-2" in failing
        assert "ValueError: on purpose, with <marks>" in failing
        assert re.match(
            r"FAILED 3_dying\.ipynb: .*cell-1.*ernel died|FAILED 3_dying\.ipynb: .*ernel died.*cell-1", dying
        )
        assert [line for line in done.stderr.splitlines() if not line.startswith("FAILED ")] == ["out of luck"]

    def test_it_runs_where_the_notebook_is_and_leaves_it_as_it_was(self, done, originals, out, folder):
        (value,) = outputs(out / "4_good.ipynb")
        assert value.data["text/plain"] == repr(str(folder))
        assert {path: path.read_bytes() for path in originals} == originals

    def test_it_says_where_the_results_are(self, done, out):
        assert f"Results: {out}" in done.stdout
        assert f"{out / '1_good.html'}" in done.stdout


def test_a_folder_that_cannot_be_made_is_refused_before_anything_runs(tmp_path, monkeypatch):
    path = write_notebook(tmp_path / "n.ipynb", WAITING)
    monkeypatch.setattr(sys, "argv", ["course.py", "--out", str(path / "out"), str(path)])
    with pytest.raises(SystemExit, match=r"^course: .*Put the results elsewhere with BUILD=/path\.$"):
        course.main()
    assert not (tmp_path / "started").exists()


def test_the_tools_start_fast():
    """The grammar of web addresses, which jsonschema would have, costs two seconds."""
    code = f"import sys; sys.path.insert(0, {str(TOOLS)!r}); import course, slides; print('lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_at_once_and_writes_nothing(signum, tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", WAITING)
    command = [sys.executable, str(TOOLS / "course.py"), "--out", str(tmp_path / "out"), str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signum)
        _, said = running.communicate(timeout=40)  # the cell alone would take a minute
    assert running.returncode == 1
    assert said.strip() == "interrupted; nothing was written, run the same command again"
    assert list((tmp_path / "out").iterdir()) == []


class TestFindNotebooks:
    def test_without_names_it_finds_those_of_the_course_in_order(self):
        paths = execute.find_notebooks([])
        assert paths == sorted((TOOLS.parent / "notebooks").glob("*.ipynb"))
        assert paths[0].name.startswith("01_")

    def test_a_lab_comes_after_its_lesson(self):
        paths = execute.find_notebooks([], execute.LESSONS, execute.LABS)
        labels = [execute.label(path) for path in paths]
        place = labels.index("labs/02_loss_surfaces")
        assert labels[place - 1] == "02_loss_surfaces"
        assert [label for label in labels if "/" not in label] == [path.stem for path in execute.find_notebooks([])]

    def test_names_are_made_absolute_and_keep_their_order(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for name in ("a.ipynb", "b.ipynb"):
            write_notebook(tmp_path / name)
        assert execute.find_notebooks(["b.ipynb", "a.ipynb"]) == [tmp_path / "b.ipynb", tmp_path / "a.ipynb"]

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            *((name, "ends in .ipynb), found none") for name in ("missing.ipynb", "folder.ipynb", "text.txt")),
            ("broken.ipynb", "expected a notebook, got a file that cannot be read as one"),
        ],
    )
    def test_what_is_no_notebook_is_refused(self, name, words, tmp_path):
        (tmp_path / "folder.ipynb").mkdir()
        (tmp_path / "text.txt").touch()
        (tmp_path / "broken.ipynb").write_text("{")
        with pytest.raises(SystemExit) as caught:
            execute.find_notebooks([str(tmp_path / name)])
        assert str(caught.value).startswith(f"{tmp_path / name}: expected a notebook")
        assert words in str(caught.value)


class TestReportFailures:
    def test_nothing_to_report(self, capsys):
        execute.report_failures([execute.Run(Path("n.ipynb"), None, 1.0, None)])
        assert capsys.readouterr() == ("", "")

    def test_each_failure_gets_a_line_and_a_lab_is_told_from_its_lesson(self, capsys):
        errors = {Path("a.ipynb"): None, Path("b.ipynb"): "cell 1 (x): ValueError: no"}
        errors[execute.LABS / "02_x.ipynb"] = "Kernel died"
        with pytest.raises(SystemExit) as caught:
            execute.report_failures([execute.Run(path, None, 1.0, error) for path, error in errors.items()])
        assert caught.value.code == 1
        said = "FAILED b.ipynb: cell 1 (x): ValueError: no\nFAILED labs/02_x.ipynb: Kernel died\n"
        assert capsys.readouterr().err == said


class TestLabs:
    @pytest.mark.parametrize(("labs", "folder"), [([], "course"), (["--labs"], "labs")])
    def test_each_kind_has_its_folder_of_results(self, labs, folder, monkeypatch):
        made = []
        monkeypatch.setattr(sys, "argv", ["course.py", *labs])
        monkeypatch.setattr(course, "make", lambda paths, out: made.append((paths, out)))
        course.main()
        ((paths, out),) = made
        assert out == TOOLS.parent / "build" / folder
        assert {path.parent for path in paths} == {execute.LABS if labs else execute.LESSONS}

    def test_links_between_a_lesson_and_its_lab_lead_to_the_other_copies(self):
        lesson, lab = (
            new_notebook(cells=[new_markdown_cell(text), new_code_cell(text)])
            for text in ("[lab](labs/02_x.ipynb#a)", "[lesson](../02_x.ipynb)")
        )
        texts = ("[lab](../labs/02_x.ipynb#a)", "[lesson](../course/02_x.ipynb)")
        for notebook, relinked in zip((lesson, lab), texts, strict=True):
            prose, code = course.relinked(notebook, ".ipynb").cells
            assert (prose.source, code.source) == (relinked, notebook.cells[1].source)
        assert 'href="../labs/02_x.html#a"' in course.as_page(lesson)
        assert 'href="../course/02_x.html"' in course.as_page(lab)
        assert lesson.cells[0].source == "[lab](labs/02_x.ipynb#a)"

    def test_two_notebooks_of_one_name_are_refused_with_a_sentence(self, tmp_path):
        (tmp_path / "labs").mkdir()
        paths = [write_notebook(folder / "n.ipynb", "1") for folder in (tmp_path, tmp_path / "labs")]
        with pytest.raises(SystemExit, match="^expected notebooks of different names, got two called n: run "):
            course.make(paths, tmp_path / "out")
        assert not (tmp_path / "out").exists()


LECTURE = TOOLS.parent / "notebooks" / "02_loss_surfaces.ipynb"


@pytest.fixture(scope="module")
def page():
    return course.as_page(nbformat.read(LECTURE, as_version=4))


class TestPage:
    def test_loads_nothing(self, page):
        assert "<script" not in page
        assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)

    def test_formulas_are_mathml(self, page):
        assert page.count("<math") > 20
        assert "\\frac" not in page

    def test_dollars_in_code_are_no_formula(self):
        page = course.as_page(new_notebook(cells=[new_markdown_cell("`a $b$ c` and $x^2$")]))
        assert "a $b$ c" in page
        assert page.count("<math") == 1

    def test_pictures_have_their_texts_and_an_explorer_is_one_of_them(self, page):
        cells = nbformat.read(LECTURE, as_version=4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        texts = [output.data["text/plain"] for output in outputs if "image/png" in output.get("data", {})]
        assert re.findall(r'<img alt="([^"]*)"', page) == [html.escape(text) for text in texts]

    @pytest.mark.parametrize("tags", [["core"], ["core", "hide-input"]])
    def test_folded_code_is_folded(self, tags):
        page = course.as_page(new_notebook(cells=[new_code_cell("one = 1", metadata={"tags": tags})]))
        folded = re.search(r"<details class=.folded.><summary>[^<]+</summary>(.*?)</details>", page, re.DOTALL)
        assert (folded is not None) == ("hide-input" in tags)
        assert "jp-InputArea" in (folded[1] if folded else page)

    @pytest.mark.parametrize("path", sorted(LECTURE.parent.glob("**/*.ipynb")), ids=lambda path: path.stem)
    def test_no_formula_is_left_half_converted(self, path):
        prose = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
        page = course.as_page(new_notebook(cells=prose))
        formulas = "".join(re.findall(r"<math.*?</math>", page, re.DOTALL))
        assert ("<math" in formulas) == any("$" in cell.source for cell in prose)
        for sign in ("&amp;", "&#x00026;", "\\", "aligned"):  # what an environment that is not known leaves behind
            assert sign not in formulas, sign

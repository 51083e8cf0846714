"""`make lecture`: copies of the lessons without outputs, the times of slow cells, and the bar in the kernel."""

import os
import sys
import textwrap

import lecture
import nbformat
import pytest
from execute import find_notebooks, label
from jupyter_client.manager import start_new_kernel
from results import Results

LESSON = "notebooks/04_batch_normalization_in_conv_nets.ipynb"

pytestmark = pytest.mark.timeout(120)  # all notebooks are read, and a kernel starts


def cell(cell_id, began=None, ended=None):
    made = nbformat.v4.new_code_cell("1 + 1", id=cell_id)
    if began:
        times = {"iopub.execute_input": began, "iopub.status.idle": ended}
        made.metadata["execution"] = {name: f"2026-01-01T00:00:{second}Z" for name, second in times.items()}
    return made


@pytest.fixture
def build(tmp_path):
    """Results of a make course, with one slow cell, one quick cell, and cells without a time."""
    folder = tmp_path / "the build"
    for command, name in (("course", "01_x"), ("labs", "01_x")):
        (folder / command).mkdir(parents=True)
        cells = [cell("slow", "01.5", "07.75"), cell("quick", "08.0", "09.9"), cell("untimed")]
        cells[2].metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:01Z"}
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / command / f"{name}.ipynb")
    return folder


def test_slow_cells_are_those_that_took_more_than_two_seconds(build):
    assert lecture.long_cells(build) == {"01_x slow": 6.2, "labs/01_x slow": 6.2}


def test_without_results_of_make_course_no_cell_has_a_time(tmp_path):
    assert lecture.long_cells(tmp_path) == {}


def test_lessons_lose_their_outputs_and_labs_keep_them(tmp_path):
    assert lecture.write_notebooks(Results(tmp_path / "out")) == []
    for path in find_notebooks([], lecture.LESSONS, lecture.LABS):
        before = nbformat.read(path, as_version=4)
        after = nbformat.read(tmp_path / "out" / "notebooks" / f"{label(path)}.ipynb", as_version=4)
        nbformat.validate(after)
        if path.parent == lecture.LABS:
            assert after == before
            continue
        assert "widgets" not in after.metadata
        assert [each.source for each in after.cells] == [each.source for each in before.cells]
        assert [each.metadata for each in after.cells] == [each.metadata for each in before.cells]
        assert [each.outputs for each in after.cells if each.cell_type == "code" and each.outputs] == []


def test_what_a_lecturer_changed_stays_and_is_named(build, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lecture.py", "--build", str(build), "--session", str(tmp_path / "s")])
    lecture.main()
    assert capsys.readouterr().out == ""
    place = build / "lecture" / LESSON
    place.write_text(place.read_text(encoding="utf-8") + " ", encoding="utf-8")
    lecture.main()
    assert capsys.readouterr().out == f"lecture: {place} was changed and stays so; delete it to have it anew\n"
    assert place.read_text(encoding="utf-8").endswith(" ")
    place.unlink()
    lecture.main()
    assert capsys.readouterr().out == ""
    assert place.is_file()


def test_another_folder_of_that_name_is_refused_in_a_sentence(build, tmp_path, monkeypatch):
    (build / "lecture").mkdir()
    (build / "lecture" / "mine.txt").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["lecture.py", "--build", str(build), "--session", str(tmp_path / "s")])
    with pytest.raises(SystemExit, match=r"^lecture: .*expected an empty folder"):
        lecture.main()


@pytest.fixture
def shown(build, tmp_path):
    """Run code as a cell of a notebook in a kernel of make lecture: what it shows, and what takes its place."""
    lecture.write_session(tmp_path, build)
    places = {"IPYTHONDIR": str(tmp_path / "ipython"), "LECTURE_SECONDS": str(tmp_path / "seconds.json")}
    manager, client = start_new_kernel(env={**os.environ, **places, "JPY_SESSION_NAME": "notebooks/01_x.ipynb"})

    def run(code, cell_id):
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        client.shell_channel.send(client.session.msg("execute_request", content, metadata={"cellId": cell_id}))
        found = []
        while True:
            message = client.get_iopub_msg(timeout=60)
            kind, said = message["msg_type"], message["content"]
            if (
                kind == "status"
                and said["execution_state"] == "idle"
                and message["parent_header"]["msg_type"] == "execute_request"
            ):
                return found
            if kind in ("display_data", "update_display_data", "stream", "error"):
                data = said.get("data", {})
                found.append((kind, said.get("text") or said.get("evalue") or data.get("text/html", said["metadata"])))

    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_slow_cell_has_a_bar_while_it_runs_and_nothing_afterwards(shown):
    code = "import os; print(os.environ.get('TQDM_DISABLE'))"
    (first, bar), (stream, text), (last, nothing) = shown(code, "slow")
    assert (first, stream, last) == ("display_data", "stream", "update_display_data")
    assert "about 6 s" in bar
    assert "lecture-bar 6.2s" in bar
    assert (text, nothing) == ("1\n", "")
    assert shown(code, "quick") == [("stream", "None\n")]


def test_a_figure_has_its_text_and_no_width(shown):
    code = """
        from matplotlib.figure import Figure
        from utils import plotting
        plotting.show(Figure(figsize=(4, 3)), alt="Nothing.")"""
    assert shown(textwrap.dedent(code), "quick") == [("display_data", {"image/png": {"alt": "Nothing."}})]


def test_the_bar_goes_where_the_cell_fails(shown):
    assert [kind for kind, _ in shown("1 / 0", "slow")] == ["display_data", "error", "update_display_data"]


def test_the_bar_adds_no_name_that_a_lesson_could_meet(shown):
    ((_, names),) = shown("print([name for name in dir() if name[0] != '_' and name not in ('In', 'Out')])", "quick")
    assert set(eval(names)) <= {"exit", "quit", "get_ipython", "open"}

"""The homework: what is released, what students see, and how the variants differ."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import release
from homework_wrong import VARIANTS, assignment, questions
from nbclient import NotebookClient

from homework.grading import marks
from homework.grading.recognize import likeness

pytestmark = pytest.mark.timeout(300)  # every assignment is solved and graded

ROOT = Path(__file__).resolve().parents[1]
NAMES = release.assignments()


def numbers_in(value):
    """Every float in a value that is no whole number of 4096ths."""
    if isinstance(value, dict):
        return {number for part in value.values() for number in numbers_in(part)}
    if isinstance(value, list | tuple):
        return {number for part in value for number in numbers_in(part)}
    if isinstance(value, float | np.floating) or isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return {float(number) for number in np.ravel(value) if np.isfinite(number) and number * 4096 % 1}
    return set()


# What is released


def test_there_are_six_assignments():
    assert len(NAMES) == 6
    assert {path.stem for path in release.released()} == set(NAMES)


def test_grading_knows_what_students_find_where_they_are_to_write():
    assert marks.TEXT_STUB == release.TEXT_STUB


@pytest.mark.parametrize("name", NAMES)
def test_grading_tells_an_untouched_notebook_from_one_that_is_filled_in(name):
    variant, given = release.current_variant(), release.RELEASE / name / f"{name}.ipynb"
    for path, wanted in ((given, 1), (release.SOURCE / name / given.name, 2)):
        assert likeness(path.read_bytes(), name, variant, assignment(name, variant).cells) == wanted, path


def test_what_jupyterlab_keeps_is_no_part_of_the_release(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "RELEASE", tmp_path)
    (tmp_path / "hw01" / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("hw01.ipynb", ".ipynb_checkpoints/hw01-checkpoint.ipynb", "notes.txt"):
        (tmp_path / "hw01" / name).touch()
    assert [path.name for path in release.released()] == ["hw01.ipynb", "notes.txt"]


def test_sources_and_release_are_as_generated():
    with pytest.raises(SystemExit) as ended:
        release.main(["--check"])
    assert ended.value.code == 0


@pytest.mark.parametrize("name", NAMES)
def test_release_has_nothing_that_nobody_may_see(name):
    for variant in VARIANTS:
        notebook = release.source(name, variant)
        assert len(release.secrets(notebook)) > 10
        student = release.student_version(notebook)
        assert release.leaks(notebook, student) == []
        assert release.leaks(notebook, notebook)
        text = json.dumps(student)
        assert not re.search(r"BEGIN|END S|END H|hidden\.py|assert ", text)


@pytest.mark.parametrize("fault", ["solution", "hidden test", "output", "mark", "answer"])
def test_a_leak_is_told(fault):
    notebook = release.source("hw01")
    student = release.student_version(notebook)
    cells = {cell.id: cell for cell in student.cells}
    if fault == "solution":
        cells["divisor"].source += "\n    variance = ((X - mean) ** 2).sum(axis=0) / (len(X) - DDOF)"
    elif fault == "hidden test":
        cells["zca-scores"].source += "\nassert not findings, findings"
    elif fault == "output":
        cells["data"].outputs = [nbformat.v4.new_output("stream", text="1")]
    elif fault == "mark":
        cells["zca"].source += "\n### BEGIN SOLUTION"
    else:
        (answer,) = [cell.source for cell in notebook.cells if cell.id == "leak-in-words"]
        cells["leak-in-words"].source = answer
    assert release.leaks(notebook, student)


def test_a_leak_stops_everything(monkeypatch):
    monkeypatch.setattr(release, "_without", lambda text, mark, stub=None: text)
    with pytest.raises(release.LeakError, match=r"hw01: .*BEGIN"):
        release.generated("2026", ["hw01"])


@pytest.mark.parametrize(
    "text", ["### BEGIN SOLUTION\nx", "x\n### END SOLUTION", "### BEGIN SOLUTION\n### BEGIN SOLUTION"]
)
def test_marks_come_in_pairs(text):
    with pytest.raises(ValueError, match="### BEGIN|### END"):
        release.regions(text, "SOLUTION")


@pytest.mark.parametrize("name", NAMES)
def test_stubs_have_a_docstring_with_shapes_and_raise(name):
    for cell in release.student_version(release.source(name)).cells:
        meta = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and meta.get("solution"):
            space = {"np": np}
            exec(compile(cell.source, cell.id, "exec"), space)
            functions = re.findall(r"^def (\w+)\(", cell.source, flags=re.M)
            assert functions, cell.id
            for function in functions:
                assert space[function].__doc__, function
                count = space[function].__code__.co_argcount
                with pytest.raises(NotImplementedError):
                    space[function](*[None] * count)


@pytest.mark.parametrize("name", NAMES)
def test_unfinished_release_runs_to_the_end(name, tmp_path):
    notebook = nbformat.read(release.RELEASE / name / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    graded = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).grade]
    for cell in graded:
        said = "".join(output.get("text", "") for output in cell.outputs)
        assert "not attempted" in said, f"{cell.id} says {said!r}"


@pytest.mark.parametrize("name", NAMES)
def test_reference_is_right_by_the_open_checks(name):
    for variant in VARIANTS:
        space = {"__name__": "reference"}
        with contextlib.redirect_stdout(None):
            for cell in release.source(name, variant).cells:
                if cell.cell_type == "code":
                    exec(compile(cell.source, cell.id, "exec"), space)


@pytest.mark.parametrize("name", NAMES)
def test_points_are_those_of_the_cells(name):
    parts = assignment(name, VARIANTS[0])
    cells = release.source(name, VARIANTS[0]).cells
    marked = {c.id: c.metadata.nbgrader.points for c in cells if c.metadata.get("nbgrader", {}).get("grade")}
    assert marked == {part.id: part.points for part in [*parts.checks, *parts.manual]}
    assert sum(marked.values()) == 100
    machine = sum(check.points for check in parts.checks)
    said = re.search(
        r"\*\*Points\*\*: 100, of which (\d+) are marked by machine and (\d+) by a person", cells[0].source
    )
    assert [int(number) for number in said.groups()] == [machine, 100 - machine]
    for part in parts.manual:
        assert sum(int(n) for n in re.findall(r"^(\d+) points?:", part.rubric, flags=re.M)) == part.points, part.id


@pytest.mark.parametrize("name", NAMES)
def test_cells_have_words_for_ids(name):
    for cell in release.source(name).cells:
        assert re.fullmatch(r"[a-z]+(-([a-z]+|[0-9]+))*", cell.id)
        assert cell.metadata.get("nbgrader", {}).get("grade_id", cell.id) == cell.id
        if cell.cell_type == "markdown":
            assert len(cell.source.split()) <= 200, cell.id


@pytest.mark.parametrize("name", NAMES)
def test_students_see_the_points_of_each_task(name):
    heading = None
    for cell in release.student_version(release.source(name)).cells:
        meta, first = cell.metadata.get("nbgrader", {}), cell.source.split("\n")[0]
        heading = first if first.startswith("## ") else heading
        if meta.get("grade") and cell.cell_type == "code":
            assert first == f"# {meta.points} points", cell.id
        elif meta.get("grade"):
            assert heading.endswith(f" ({meta.points} points)"), cell.id


def test_same_as_nbgrader(tmp_path):
    pytest.importorskip("nbgrader", reason="this compares with nbgrader, which make grade does not need")
    script = f"""
import sys
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config
for name in {NAMES!r}:
    c = Config()
    c.CourseDirectory.root = {str(tmp_path)!r}
    c.CourseDirectory.assignment_id = name
    c.CourseDirectory.db_url = "sqlite:///{tmp_path / "gradebook.db"}"
    c.ClearSolutions.code_stub = {{"python": {release.STUB!r}}}
    c.ClearSolutions.text_stub = {release.TEXT_STUB!r}
    c.GenerateAssignment.create_assignment = True
    GenerateAssignment(coursedir=CourseDirectory(config=c), config=c).start()
"""
    for name in NAMES:
        (tmp_path / "source" / name).mkdir(parents=True)
        shutil.copy(release.SOURCE / name / f"{name}.ipynb", tmp_path / "source" / name)
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    how = {"cwd": tmp_path, "env": path, "check": True, "capture_output": True, "timeout": 240}
    subprocess.run([sys.executable, "-c", script], **how)
    for name in NAMES:
        theirs = nbformat.read(tmp_path / "release" / name / f"{name}.ipynb", as_version=4)
        assert theirs == nbformat.read(release.RELEASE / name / f"{name}.ipynb", as_version=4), name


def test_claims_of_homework_are_open():
    recorded = json.loads((ROOT / "data" / "evidence.json").read_text(encoding="utf-8"))["claims"]
    for name in release.hidden("hw05").OPEN:
        assert recorded[name]["word"] == "undecided", f"{name} is decided now: take it out of hw05/hidden.py"


RUNS = {"hw05": 90, "hw06": 60}  # minutes for experiments of one's own, which the last tasks ask for


@pytest.mark.parametrize("name", NAMES)
def test_the_hours_are_those_of_the_rule_in_the_readme(name):
    minutes, known = RUNS.get(name, 0), set()
    for cell in release.source(name).cells:
        marks, lines = cell.metadata.get("nbgrader", {}), [line.strip() for line in cell.source.splitlines()]
        read, solution = lines, []
        if cell.cell_type == "code" and marks.get("solution"):
            at = lines.index("### BEGIN SOLUTION")
            read, solution = lines[:at], [line for line in lines[at + 1 : -1] if line and line not in known]
            minutes += 8 + 2.5 * len(solution)
        elif marks.get("solution"):
            read, minutes = [], minutes + 2.5 * marks.points
        elif marks.get("grade") or cell.id.startswith("by-"):  # what nobody reads: checks, and tables of numbers
            read = []
        known.update(read, solution)
        minutes += len(" ".join(read).split()) / 60
    hours = int(re.search(r"\*\*Hours\*\*: (\d+)", release.source(name).cells[0].source)[1])
    assert abs(minutes / 60 - hours) <= 0.5, minutes


def test_readme_says_how_many_points_and_hours():
    rows = []
    for number, name in enumerate(NAMES, start=1):
        parts, title = assignment(name, VARIANTS[0]), release.source(name).cells[0].source
        hours = re.search(r"\*\*Hours\*\*: (\d+)", title)[1]
        marked = [sum(part.points for part in kind) for kind in (parts.checks, parts.manual)]
        rows.append([number, *marked, len(parts.checks), int(hours)])
    text = (ROOT / "homework" / "README.md").read_text(encoding="utf-8")
    said = re.findall(r"^\| (\d) [^|]+\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, flags=re.M)
    assert [list(map(int, row)) for row in said] == rows


# Variants


@pytest.mark.parametrize("name", NAMES)
def test_variants_share_no_hidden_numbers(name):
    seen = [numbers_in([[q.cases for q in questions(name, v)]]) for v in VARIANTS]
    for i, one in enumerate(seen):
        assert len(one) > 20
        for other in seen[:i]:
            assert not one & other


@pytest.mark.parametrize("name", NAMES)
def test_drawn_code_has_80_columns_in_each_variant(name):
    for variant in (*VARIANTS, *range(2040, 2060)):
        cells = [cell for cell in release.source(name, variant).cells if cell.cell_type == "code"]
        assert [line for cell in cells for line in cell.source.split("\n") if len(line) > 80] == [], variant


@pytest.mark.parametrize("name", NAMES)
def test_variants_differ_to_the_eye_and_come_again(name):
    texts = [release.generated(variant, [name]) for variant in (*VARIANTS, VARIANTS[0])]
    assert texts[0] == texts[3]
    student = release.RELEASE / name / f"{name}.ipynb"
    assert len({text[student] for text in texts}) == 3


def test_a_copy_without_sources_is_told_where_its_assignments_are(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "SOURCE", tmp_path)
    with pytest.raises(SystemExit, match="student's copy.*homework/release"):
        release.main(["--variant", "2027"])

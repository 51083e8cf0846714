"""Grading again loses nothing that a person wrote into the folder of the grades."""

import csv
import io
import zipfile

import grading_fixtures as fixtures
import pytest
from grading_fixtures import rows_of

from homework.grading import __main__ as grading

MINE = "of a person"


@pytest.fixture
def grade(tmp_path, monkeypatch, capsys):
    """Grade two notebooks that cannot be read, for which no kernel has to run; gives what was said."""
    source = fixtures.write_assignment(tmp_path / "source")
    monkeypatch.setenv("SANDBOX", "none")

    def run_here(task, jobs, *, workers):  # without a process, which takes most of the time
        return ((number, grading.pool.work(task, job())) for number, job in enumerate(jobs))

    monkeypatch.setattr(grading.pool, "run_here", run_here)

    def run(*names, text="{", out="out"):
        where = tmp_path / "class.zip"
        with zipfile.ZipFile(where, "w") as archive:
            for name in names or ("ann", "bob"):
                archive.writestr(f"{name}/hw00.ipynb", text)
        command = [where, "--assignment", "hw00", "--source", source, "--out", tmp_path / out]
        assert grading.main(list(map(str, command))) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def everything(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def texts(folder):
    return [content.decode(errors="replace") for content in everything(folder).values()]


def write_rows(table, rows, separator=","):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    table.write_text(text.getvalue(), encoding="utf-8")


FILES = ["feedback/ann.html", "summary.html", "summary.txt", "log.txt", "received/ann.ipynb"]


@pytest.mark.parametrize("name", FILES)
def test_what_a_person_changed_is_kept(grade, out, name):
    grade()
    text = (out / name).read_text()
    (out / name).write_text(text + MINE)
    said = grade()
    assert sum(MINE in text for text in texts(out)) == 1
    assert (out / name).read_text().startswith(text)
    assert "kept" in said or "kept" in (out / "log.txt").read_text()
    again = everything(out)
    grade()
    assert {**everything(out), "log.txt": b""} == {**again, "log.txt": b""}


@pytest.mark.parametrize("name", FILES)
def test_what_a_person_had_there_before_is_kept(grade, out, name):
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text(MINE)
    grade()
    assert MINE in texts(out)
    assert (out / name).read_text() != MINE


def test_changed_twice_both_are_kept(grade, out):
    for number in range(3):
        grade()
        (out / "feedback" / "ann.html").write_text(f"{MINE} {number}")
    grade()
    assert {f"{MINE} {number}" for number in range(3)} <= set(texts(out))


def test_pages_of_students_who_are_gone_go_and_no_others(grade, out):
    grade("ann", "bob", "eve", "zoe")
    (out / "feedback" / "notes.html").write_text(MINE)
    (out / "feedback" / "eve.html").write_text(MINE)
    said = grade("ann", "bob")
    assert {path.name for path in (out / "feedback").iterdir()} == {"ann.html", "bob.html", "eve.html", "notes.html"}
    assert "which the grader does not remove: eve.html, notes.html" in said


@pytest.mark.parametrize("column", ["total", "centre", "name", "reason", "notes"])
def test_cells_that_a_person_changed_or_added_are_kept(grade, out, column):
    grade()
    rows = rows_of(out / "grades.csv")
    rows[1][column] = "17"
    rows[0].setdefault(column, "")
    write_rows(out / "grades.csv", rows)
    before = (out / "grades.csv").read_bytes()
    assert f"not asked to fill in ({column}): it is kept as grades-before.csv" in grade()
    assert (out / "grades-before.csv").read_bytes() == before
    assert "it is kept" not in grade()
    assert not (out / "grades-before-2.csv").exists()


@pytest.mark.parametrize("separator", [",", ";"])
def test_points_that_a_person_is_to_enter_and_the_ways_of_a_spreadsheet_are_no_such_changes(grade, out, separator):
    grade()
    rows = rows_of(out / "grades.csv")
    for row in rows:
        row.update(why="1.5", with_manual="99", total="0,00", of=f"{float(row['of']):.2f}")
    write_rows(out / "grades.csv", rows, separator)
    assert "it is kept" not in grade()
    shown = "1.5" if separator == "," else "1,5"
    assert [row["why"] for row in rows_of(out / "grades.csv")] == [shown, shown]


def test_a_new_submission_is_no_change_of_a_person(grade, out):
    grade()
    said = grade(text="[")
    assert "kept" not in said + (out / "log.txt").read_text()
    assert (out / "received" / "ann.ipynb").read_text() == "["
    assert not (out / "kept").exists()
    assert not (out / "received" / "kept").exists()

"""Grading goes on where it was ended, does nothing twice, and keeps the points that a person entered."""

import json
import os
import signal
import subprocess
import sys
import time

import grading_fixtures as fixtures
import psutil
import pytest
from grading_fixtures import grade_class, read_grades, write_class

from homework.grading import __main__ as grading
from homework.grading.assignment import load

pytestmark = pytest.mark.timeout(600)  # classes are graded

WRONG_AXIS = {"centre": "return X - X.mean(axis=1, keepdims=True)"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return fixtures.write_assignment(tmp_path_factory.mktemp("source"))


def slow_class(folder, count):
    extra = {f"s{number}": [f"import time\ntime.sleep(0.5)  # {number}"] for number in range(count)}
    return write_class(folder, **{name: fixtures.submission(extra=cells) for name, cells in extra.items()})


def begin(where, source, out):
    command = [sys.executable, "-m", "homework.grading", *fixtures.arguments(where, source, out)]
    how = {"cwd": fixtures.ROOT, "env": {**os.environ, "SANDBOX": fixtures.SANDBOX}, "start_new_session": True}
    grader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)
    deadline = time.monotonic() + 60
    while len(list((out / "results").glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    return grader, psutil.Process(grader.pid).children(recursive=True)


def still_run(family):
    deadline, alive = time.monotonic() + 10, family
    while alive and time.monotonic() < deadline:
        alive = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        time.sleep(0.1)
    return alive


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_ended_half_way_and_started_again(source, tmp_path, how, code):
    where, out = slow_class(tmp_path / "class", 6), tmp_path / "out"
    grader, family = begin(where, source, out)
    assert len(family) >= 3
    grader.send_signal(how)
    said, _ = grader.communicate(timeout=30)
    assert grader.returncode == code, said
    assert still_run(family) == []
    assert "Traceback" not in said
    kept = {path: path.stat().st_mtime_ns for path in (out / "results").glob("*.json")}
    assert 2 <= len(kept) < 6
    assert not (out / "grades.csv").exists()
    done = grade_class(where, source, out)
    assert f"{len(kept)} done before" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [row["total"] for row in read_grades(out).values()] == ["6"] * 6


def test_a_result_that_is_not_whole_is_made_again(source, tmp_path):
    write_class(tmp_path / "class", a=fixtures.submission())
    grade_class(tmp_path / "class", source, tmp_path / "out")
    (result,) = (tmp_path / "out" / "results").glob("*.json")
    result.write_text(result.read_text()[:50])
    assert "1 notebook in" in grade_class(tmp_path / "class", source, tmp_path / "out").stdout
    json.loads(result.read_text())


def test_a_changed_notebook_is_graded_again_and_a_copy_is_not(source, tmp_path):
    write_class(tmp_path / "class", **dict.fromkeys("ab", fixtures.submission()))
    assert "1 notebook in" in grade_class(tmp_path / "class", source, tmp_path / "out").stdout
    write_class(tmp_path / "class", b=fixtures.submission(WRONG_AXIS))
    assert "1 notebook in" in grade_class(tmp_path / "class", source, tmp_path / "out").stdout
    assert [row["total"] for row in read_grades(tmp_path / "out").values()] == ["6", "4"]


def with_points(table, separator=",", **points):
    """Enter points in a table, as a person does; with a mark at the beginning, as a spreadsheet does."""
    rows = fixtures.rows_of(table)
    lines = [rows[0], *(({**row, "why": points.get(row["name"], row["why"])}).values() for row in rows)]
    table.write_text("\n".join(map(separator.join, lines)) + "\n", encoding="utf-8-sig")


@pytest.mark.parametrize("separator", [",", ";"])
def test_points_that_a_person_entered_stay(source, tmp_path, separator):
    for name in "ab":
        write_class(tmp_path / "class", **{name: fixtures.submission()})
        grade_class(tmp_path / "class", source, tmp_path / "out")
        if name == "a":
            with_points(tmp_path / "out" / "grades.csv", separator, a="1.5")
    rows = read_grades(tmp_path / "out").values()
    found = [(row["why"].replace(",", "."), row["total"], row["with_manual"]) for row in rows]
    assert found == [("1.5", "6", "7.5" if separator == "," else "7,5"), ("", "6", "")]


def test_words_that_changed_after_they_were_marked_are_named(source, tmp_path):
    out, said = tmp_path / "out", "why: the answer changed after its points were entered"

    def grade(**words):
        write_class(tmp_path / "class", **{name: fixtures.submission(why=why) for name, why in words.items()})
        return grade_class(tmp_path / "class", source, out).stdout

    grade(a="One answer.", b="One answer.", c="One answer.")
    with_points(out / "grades.csv", a="1", b="1")
    assert said not in grade(b="One\n answer. ")  # the same words
    assert f"\na: {said}" in grade(a="Another answer.", c="Another answer.")
    assert f"a: {said}" in (out / "log.txt").read_text()
    assert ["The answer changed" in (out / "feedback" / f"{name}.html").read_text() for name in "abc"] == [
        True,
        False,
        False,
    ]
    with_points(out / "grades.csv", a="1.0", c="1")
    assert f"\na, c: {said}" in grade(c="A third answer, sent before the points for the second were read.")
    with_points(out / "grades.csv", a="2", c="2")
    assert said not in grade()


def test_what_is_not_written_needs_no_mark(source, tmp_path):
    texts = {"a": fixtures.submission(), "b": fixtures.submission(why="YOUR ANSWER HERE"), "c": "not a notebook"}
    write_class(tmp_path / "class", **texts)
    done = grade_class(tmp_path / "class", source, tmp_path / "out")
    assert "why: 1 of 1 answers are still to be marked" in done.stdout
    assert [row["with_manual"] for row in read_grades(tmp_path / "out").values()] == ["", "6", "0"]
    assert "Nothing was written" in (tmp_path / "out" / "feedback" / "b.html").read_text(encoding="utf-8")
    with_points(tmp_path / "out" / "grades.csv", b="1")  # for what stands in another cell
    done = grade_class(tmp_path / "class", source, tmp_path / "out")
    assert "why: 1 of 2 answers are still to be marked" in done.stdout
    assert [row["with_manual"] for row in read_grades(tmp_path / "out").values()] == ["", "7", "0"]


def test_where_the_grader_failed_nobody_knows_the_points(source, tmp_path, monkeypatch, capsys):
    write_class(tmp_path / "class", a=fixtures.submission())
    monkeypatch.setenv("SANDBOX", "none")  # nothing runs
    monkeypatch.setattr(grading.pool, "run_here", lambda *_, **__: [(0, grading.pool.failed(OSError("no memory")))])
    assert grading.main(fixtures.arguments(tmp_path / "class", source, tmp_path / "out")) == 1
    (row,) = read_grades(tmp_path / "out").values()
    assert (row["centre"], row["total"], row["with_manual"]) == ("", "", "")
    assert "the grader failed, which is not the student's fault; grade again (OSError: no memory)" in row["reason"]
    assert row["reason"] in capsys.readouterr().out
    assert not list((tmp_path / "out" / "results").glob("*.json"))


def test_points_outlive_the_late_submissions_of_others(source, tmp_path):
    out, table = tmp_path / "out", tmp_path / "out" / "grades.csv"
    for where, names in (("class", "ab"), ("late", "c")):
        write_class(tmp_path / where, **dict.fromkeys(names, fixtures.submission()))
    grade_class(tmp_path / "class", source, out)
    with_points(table, a="2")
    before = table.read_text()
    done = grade_class(tmp_path / "late", source, out)
    assert "had 2 who are not among these submissions: it is kept as grades-before.csv" in done.stdout
    assert (out / "grades-before.csv").read_text() == before
    assert list(read_grades(out)) == ["c"]
    assert [page.stem for page in (out / "feedback").iterdir()] == ["c"]
    with_points(table, c="1")
    grade_class(tmp_path / "class", source, out)
    assert (out / "grades-before-2.csv").exists()
    assert {name: row["why"] for name, row in read_grades(out).items()} == {"a": "2", "b": ""}
    grade_class(tmp_path / "late", source, out)
    assert {name: row["why"] for name, row in read_grades(out).items()} == {"c": "1"}


def test_points_that_cannot_be_are_named(source, tmp_path):
    where, out = write_class(tmp_path / "class", **dict.fromkeys("abc", fixtures.submission())), tmp_path / "out"
    grade_class(where, source, out)
    most = {part.id: part.points for part in load("hw00", source=source).manual}["why"]
    with_points(out / "grades.csv", a="x", b=str(most + 1), c=str(most))
    done = grade_class(where, source, out)
    for name, mark in (("a", "x"), ("b", most + 1)):
        sentence = f"{name}: why: expected points from 0 to {most} in grades.csv, got {mark}"
        assert sentence in done.stdout
        assert sentence in (out / "log.txt").read_text()
    assert "c: why" not in done.stdout
    assert [row["with_manual"] for row in read_grades(out).values()] == ["", "", f"{6 + most}"]
    assert "still to be marked" not in done.stdout
    a, b, c = ((out / "feedback" / f"{name}.html").read_text(encoding="utf-8") for name in "abc")
    assert f"{6 + most} of {6 + most} points" in c
    assert f"Marked: why, {most} of {most} points" in c
    for page in (a, b):
        assert "in all" not in page
        assert "To be marked: why" in page
    with_points(out / "grades.csv", a="", b="0", c="0")
    done = grade_class(where, source, out)
    assert "why: 1 of 3 answers are still to be marked by a person" in done.stdout
    assert [row["with_manual"] for row in read_grades(out).values()] == ["", "6", "6"]


def test_a_table_that_cannot_be_read_is_kept(source, tmp_path):
    (tmp_path / "a.ipynb").write_text(fixtures.submission())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "grades.csv").write_text("my notes")
    done = grade_class(tmp_path, source, tmp_path / "out")
    assert "no points were taken from it: it is kept as grades-before.csv" in done.stdout
    assert (tmp_path / "out" / "grades-before.csv").read_text() == "my notes"
    assert read_grades(tmp_path / "out")["a"]["total"] == "6"

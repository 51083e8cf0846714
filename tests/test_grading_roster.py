"""Grades go back to the LMS: under its ids, in its table, with the pages in the zip that it takes."""

import codecs
import csv
import io
import re
import zipfile
from datetime import datetime, timedelta

import grading_fixtures as fixtures
import pytest
from grading_fixtures import rows_of

from homework.grading import __main__ as grading
from homework.grading.late import days, read_deadline
from homework.grading.roster import RosterError, import_table, match, read_roster
from homework.grading.senders import gradescope
from homework.grading.submissions import Submission
from homework.grading.tables import read_table

CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,hw00 (77),Final Score
    Points Possible,,,,,10,(read only)
"Kowalska, Anna",101,0007,anna@example.org,A,,50
"Ünal, Bo",102,0008,bo@example.org,B,,50
"Ünal, Bo",103,0009,bo2@example.org,B,,50
"Student, Test",104,,,A,,
"""
MOODLE = """Identifier,Full name,Email address,Status,Grade,Maximum Grade,Feedback comments
Participant 101,Anna Kowalska,anna@example.org,Submitted for grading,,100.00,
Participant 102,Bo Ünal,bo@example.org,No submission,,100.00,
"""
PLAIN = "First name,Last name,Email address\nAnna,Kowalska,anna@example.org\nBo,Ünal,bo@example.org\n"
TABLES = {"canvas": CANVAS, "moodle": MOODLE, "roster": PLAIN}


def sent(id, name=None):
    return Submission(id, name or id, f"{id}.ipynb")


def table(data):
    header, rows = read_table(data)
    return [dict(zip(header, row, strict=True)) for row in rows]


class TestTables:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    def test_as_spreadsheets_save_them(self, encoding, separator):
        text = io.StringIO()
        csv.writer(text, delimiter=separator).writerows([["id", "a name"], ["ü", "x, y; z"], ["", ""], ["b"]])
        assert read_table(text.getvalue().encode(encoding)) == (["id", "a name"], [["ü", "x, y; z"], ["b", ""]])

    def test_with_the_line_in_which_excel_names_the_separator(self):
        assert read_table(b"sep=;\r\nid;a, name\r\n1;x\r\n") == (["id", "a, name"], [["1", "x"]])

    def test_in_the_other_order_of_bytes(self):
        assert read_table(codecs.BOM_UTF16_BE + "id\tü".encode("utf-16-be")) == (["id", "ü"], [])

    @pytest.mark.parametrize("data", [b"", b"\n\n"])
    def test_an_empty_file_is_said(self, data):
        with pytest.raises(ValueError, match="got an empty file"):
            read_table(data)


class TestRoster:
    @pytest.mark.parametrize("kind", TABLES)
    @pytest.mark.parametrize(
        "one",
        [
            sent("101", "kowalskaanna"),
            sent("anna@example.org"),
            sent("Anna Kowalska"),
            sent("kowalska_anna"),
            sent("KowalskaAnna"),
        ],
    )
    def test_a_student_is_found(self, kind, one):
        if kind == "roster" and one.id == "101":
            one.id = "x"
        roster = read_roster(TABLES[kind].encode())
        found, said = match(roster, [one])
        assert found[one].row[-1 if kind == "roster" else 0] in (
            "Kowalska, Anna",
            "Participant 101",
            "anna@example.org",
        )
        assert one.name == ("Kowalska, Anna" if kind == "canvas" else "Anna Kowalska")
        assert "in the roster sent nothing: " in said[-1]
        assert "Bo" in said[-1]

    @pytest.mark.parametrize("id", ["0007", "7"])
    def test_zeros_at_the_beginning_do_not_matter(self, id):
        found, _ = match(read_roster(CANVAS.encode()), [one := sent(id)])
        assert found[one].name == "Kowalska, Anna"

    def test_two_of_one_name_are_told_apart_by_id_only(self):
        roster = read_roster(CANVAS.encode())
        submissions = [sent("102", "unalbo"), sent("103", "unalbo"), sent("Bo Ünal"), sent("101")]
        found, said = match(roster, submissions)
        assert [found[one].row[1] for one in submissions if one in found] == ["102", "103", "101"]
        assert "Bo Ünal (Bo Ünal.ipynb): 2 students of the roster have this name" in said[0]

    def test_the_roster_of_another_course(self):
        with pytest.raises(
            RosterError, match=r"expected a roster of this course, got one with 1 of 3.*: x, y|x, y are not"
        ):
            match(read_roster(CANVAS.encode()), [sent("x"), sent("y"), sent("101")])

    @pytest.mark.parametrize("text", ["", "a,b\n1,2", "Student,ID\n", "name\nAnna", "\0"])
    def test_what_is_no_roster(self, text):
        with pytest.raises(RosterError, match="expected the table of grades that Canvas exports"):
            read_roster(text.encode())


class TestImport:
    def filled(self, kind, points, most=100):
        roster = read_roster(TABLES[kind].encode())
        submissions = [sent("Anna Kowalska")]
        found, _ = match(roster, submissions)
        name, data, said = import_table(roster, found, "hw00", {submissions[0]: points}, most)
        assert data.startswith(codecs.BOM_UTF8)
        return name, table(data), said

    def test_canvas(self):
        name, rows, _ = self.filled("canvas", 87.5)
        assert name == "for-canvas.csv"
        assert list(rows[0]) == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "hw00 (77)"]
        assert [(row["Student"], row["ID"], row["hw00 (77)"]) for row in rows] == [
            ("    Points Possible", "", "100"),
            ("Kowalska, Anna", "101", "87.5"),
            ("Ünal, Bo", "102", ""),
            ("Ünal, Bo", "103", ""),
        ]

    @pytest.mark.parametrize(("points", "most", "grade"), [(87.5, 100, "87.5"), (40, 80, "50"), (None, 100, "")])
    def test_moodle(self, points, most, grade):
        name, rows, said = self.filled("moodle", points, most)
        assert name == "for-moodle.csv"
        assert [(row["Identifier"], row["Grade"]) for row in rows] == [
            ("Participant 101", grade),
            ("Participant 102", ""),
        ]
        assert len(said) == (most == 80)

    def test_another_table(self):
        name, rows, _ = self.filled("roster", 3.0)
        assert name == "for-roster.csv"
        assert [(row["Email address"], row["hw00"]) for row in rows] == [
            ("anna@example.org", "3"),
            ("bo@example.org", ""),
        ]


@pytest.fixture
def grade(tmp_path, monkeypatch, capsys):
    """Grade a zip of notebooks that cannot be read, without a kernel; gives status, folder and what was said."""
    source = fixtures.write_assignment(tmp_path / "source")
    monkeypatch.setenv("SANDBOX", "none")

    def run_here(task, jobs, *, workers):
        return ((number, grading.pool.work(task, job())) for number, job in enumerate(jobs))

    monkeypatch.setattr(grading.pool, "run_here", run_here)

    def run(names, *more, text="{"):
        with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
            for name in names:
                archive.writestr(name, text)
        command = [tmp_path / "class.zip", "--assignment", "hw00", "--source", source, "--out", tmp_path / "out", *more]
        code = grading.main(list(map(str, command)))
        said = capsys.readouterr()
        return code, tmp_path / "out", said.out + said.err

    return run


NAMES = {
    "canvas": ["kowalskaanna_LATE_101_9001_hw00.ipynb", "nalbo_102_9002_hw00.ipynb"],
    "moodle": ["Anna Kowalska_101_assignsubmission_file_/hw00.ipynb", "Bo_102_assignsubmission_file_hw00.ipynb"],
}
RETURNED = {
    "canvas": ["kowalskaanna_LATE_101_9001_hw00.html", "nalbo_102_9002_hw00.html"],
    "moodle": ["Anna Kowalska_101_assignsubmission_file_/feedback.html", "Bo_102_assignsubmission_file_/feedback.html"],
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_class_is_given_back(grade, tmp_path, kind):
    (tmp_path / "roster.csv").write_text(TABLES[kind], encoding="utf-16")
    code, out, said = grade(NAMES[kind], "--roster", tmp_path / "roster.csv")
    assert code == 0, said
    names = {row["id"]: (row["name"], row["late"]) for row in rows_of(out / "grades.csv")}
    late = "yes" if kind == "canvas" else ""
    anna, bo = ("Kowalska, Anna", "Ünal, Bo") if kind == "canvas" else ("Anna Kowalska", "Bo Ünal")
    assert names == {"101": (anna, late), "102": (bo, "")}
    column = "hw00 (77)" if kind == "canvas" else "Grade"
    assert [row[column] for row in table((out / f"for-{kind}.csv").read_bytes())][kind == "canvas" :][:2] == ["0", "0"]
    with zipfile.ZipFile(out / "feedback.zip") as archive:
        assert sorted(archive.namelist()) == RETURNED[kind]
        assert anna in archive.read(RETURNED[kind][0]).decode()
    assert ("1 of 3 in the roster sent nothing: Ünal, Bo" in said) == (kind == "canvas")


def test_a_table_of_an_earlier_run_is_named(grade, tmp_path):
    for kind in ("moodle", "canvas"):
        (tmp_path / kind).write_text(TABLES[kind])
    saids = [grade(NAMES["moodle"], *more)[2] for more in ([], *(["--roster", tmp_path / k] for k in NAMES), [])]
    sentence = "for-{}.csv is from an earlier run and is not up to date: {}"
    none, other = "no ROSTER was given this time", "ROSTER is a table of another kind now"
    stale = [
        [
            sentence.format(kind, why) in said
            for kind, why in [("canvas", none), ("moodle", none), ("canvas", other), ("moodle", other)]
        ]
        for said in saids
    ]
    assert stale == [[False] * 4, [False] * 4, [False, False, True, False], [True, True, False, False]]
    log = (tmp_path / "out" / "log.txt").read_text()
    assert sentence.format("canvas", none) in log


@pytest.mark.parametrize(
    ("text", "expected"), [(MOODLE.replace("10", "70"), "of this course"), ("x", "Canvas exports")]
)
def test_a_wrong_roster_is_said_before_anything_runs(grade, tmp_path, text, expected):
    (tmp_path / "roster.csv").write_text(text)
    code, out, said = grade(["x_101_2_hw00.ipynb"], "--roster", tmp_path / "roster.csv")
    assert code == 2
    assert f"expected {'a roster ' if 'course' in expected else 'the table of grades that '}{expected}" in said
    assert not (out / "grades.csv").exists()


def test_a_roster_that_is_not_there(grade, tmp_path):
    code, _, said = grade(["x_101_2_hw00.ipynb"], "--roster", tmp_path / "nowhere.csv")
    assert code == 2
    assert re.fullmatch(r"grading: ROSTER: expected the name of a table, got \S+nowhere.csv: No such file.*\n", said)


def test_points_stay_where_the_table_was_sorted_filtered_or_saved_in_another_way(grade, tmp_path):
    names = [f"s{id}_{id}_9_hw00.ipynb" for id in ("001", "2", "3")]
    _, out, _ = grade(names, text="{}")
    rows = rows_of(out / "grades.csv")
    for number, row in enumerate(rows):
        row["why"] = str(number / 2)
        row["id"] = row["id"].lstrip("0")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t")
    writer.writeheader()
    writer.writerows(rows[::-1])
    (out / "grades.csv").write_text(text.getvalue(), encoding="utf-16")
    grade(names, text="{}")
    assert [(row["id"], row["why"]) for row in rows_of(out / "grades.csv")] == [
        ("001", "0.0"),
        ("2", "0.5"),
        ("3", "1.0"),
    ]
    lines = (out / "grades.csv").read_text(encoding="utf-8-sig").splitlines(keepends=True)
    (out / "grades.csv").write_text(lines[0] + lines[3], encoding="utf-8")
    grade(names, text="{}")
    assert [row["why"] for row in rows_of(out / "grades.csv")] == ["0.0", "0.5", "1.0"]
    grade([name.replace("_9_", "_12_") for name in names], text="[]")
    assert [row["why"] for row in rows_of(out / "grades.csv")] == ["0.0", "0.5", "1.0"]


class TestLate:
    def late(self, grade, tmp_path, names, deadline, *more):
        if more:
            (tmp_path / "days.csv").write_text(more[0])
            more = ("--allowances", tmp_path / "days.csv")
        code, out, said = grade(names, "--deadline", deadline, *more)
        assert code == 0, said
        return {row["id"]: row["late"] for row in rows_of(out / "grades.csv")}, said

    def test_the_marks_of_canvas_come_first(self, grade, tmp_path):
        late, said = self.late(grade, tmp_path, NAMES["canvas"], "2000-01-01", "id;days\n102;3\n")
        assert late == {"101": "yes", "102": ""}
        assert "kowalskaanna is late, nobody knows how much, and has 0 days left" in said

    @pytest.mark.parametrize(("hours", "days"), [(-1, ""), (1, "1"), (23, "1"), (25, "2")])
    def test_days_after_a_deadline(self, grade, tmp_path, hours, days):
        deadline = datetime.now().astimezone() - timedelta(hours=hours)  # the files are written now
        late, said = self.late(grade, tmp_path, ["anna/hw00.ipynb"], deadline.isoformat(), "name,days\nAnna,1\n")
        assert late == {"anna": days}
        assert ("anna is 2 days late, and has 1 days left" in said) == (days == "2")

    def test_a_run_without_the_deadline_of_the_one_before_says_so(self, grade, tmp_path):
        said = [self.late(grade, tmp_path, ["anna/hw00.ipynb"], "2000-01-01")[1]]
        said += [grade(["anna/hw00.ipynb"])[2] for _ in range(2)]
        assert ["no DEADLINE was given this time" in one for one in said] == [False, True, False]

    def test_the_time_that_gradescope_names(self):
        deadline = read_deadline("2027-02-03T09:00+00:00")
        _, times = gradescope(b"submission_5:\n  :submitters: [{':sid': 1}]\n  :created_at: 2027-02-04 10:00:00 Z\n")
        assert days(times["submission_5"], deadline) == 2

    @pytest.mark.parametrize("when", [(1980, 1, 1, 0, 0, 0), (2027, 13, 1, 0, 0, 0), (0,), (1e30,), None])
    def test_a_time_that_nobody_knows_is_not_late(self, when):
        assert days(when, read_deadline("1970-01-03")) == 0

    @pytest.mark.parametrize("more", [("--deadline", "soon"), ("--allowances", "bad"), ("--allowances", "nowhere")])
    def test_bad_input_is_said(self, grade, tmp_path, more):
        (tmp_path / "bad").write_text("a,b\n1,2\n")
        name, value = more
        code, _, said = grade(["anna/hw00.ipynb"], name, tmp_path / value if "all" in name else value)
        assert code == 2
        assert "expected" in said
        assert "Traceback" not in said

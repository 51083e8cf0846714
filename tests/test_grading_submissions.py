"""Who sent what: the notebooks of a class, from a folder or a zip, and the assignment that they name."""

import os
import zipfile
from pathlib import Path

import grading_fixtures as fixtures
import pytest

from homework.grading import submissions
from homework.grading.assignment import AssignmentError
from homework.grading.guess import guess_assignment

PROBLEMS = {"cy": "essay.pdf", "dee": "an empty folder", "eve": "an empty folder"}


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def found(where, keep, assignment="hw00"):
    return submissions.find(where, assignment=assignment, keep=keep)


class TestSubmissions:
    def test_moodle(self, tmp_path):
        names = [
            "Zoë Müller-Łukasz_123_assignsubmission_file_/hw00.ipynb",
            "O'Neil, Sinéad_7_assignsubmission_file/my work.ipynb",
        ]
        students, log = found(zipped(tmp_path / "a.zip", [(name, b"{}") for name in names]), tmp_path / "keep")
        assert [(s.id, s.name) for s in students] == [("7", "O'Neil, Sinéad"), ("123", "Zoë Müller-Łukasz")]
        assert [s.path.read_bytes() for s in students] == [b"{}", b"{}"]
        assert log == []

    def test_canvas(self, tmp_path):
        names = ["muellerzoe_12345_67890_hw00.ipynb", "oneilsinead_LATE_99_67891_my_work-1.ipynb"]
        students, _ = found(zipped(tmp_path / "a.zip", [(name, b"{}") for name in names]), tmp_path / "keep")
        assert [(s.id, s.name) for s in students] == [("12345", "muellerzoe"), ("99", "oneilsinead")]

    def test_canvas_numbers_decide_which_is_later(self, tmp_path):
        names = ["a_1_9_hw.ipynb", "a_1_10_hw.ipynb"]
        students, log = found(zipped(tmp_path / "a.zip", [(name, name) for name in names]), tmp_path / "keep")
        assert [s.origin for s in students] == ["a_1_10_hw.ipynb"]
        assert "sent 2 notebooks" in log[0]

    def test_a_folder_of_notebooks(self, tmp_path):
        for name in ("Ada Lovelace.ipynb", "Žofie Ñandú.ipynb", ".hidden.ipynb", "Ada Lovelace (1).ipynb"):
            (tmp_path / name).write_text("{}", encoding="utf-8")
        os.utime(tmp_path / "Ada Lovelace.ipynb", (1, 1))
        students, log = found(tmp_path, tmp_path / "keep")
        assert [s.name for s in students] == ["Ada Lovelace", "Žofie Ñandú"]
        assert [s.origin for s in students] == ["Ada Lovelace (1).ipynb", "Žofie Ñandú.ipynb"]
        assert len(log) == 1

    def test_a_folder_of_students(self, tmp_path):
        read = ("ada/hw00.ipynb", "bob/deep/x.ipynb")
        for name in (*read, "ada/zz_scratch.ipynb", "cy/essay.pdf", "dee/.ipynb_checkpoints/x.ipynb"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("{}")
        (tmp_path / "eve").mkdir()
        students, _ = found(tmp_path, tmp_path / "keep")
        assert [s.origin for s in students if not s.problem] == list(read)
        problems = {s.id: s.problem.split("got ")[1] for s in students if s.problem}
        assert {id: reason.split(":")[0] for id, reason in problems.items()} == PROBLEMS

    def test_a_link_out_of_the_folder_is_refused(self, tmp_path):
        (tmp_path / "subs").mkdir()
        (tmp_path / "solution.ipynb").write_text("{}")
        (tmp_path / "subs" / "eve.ipynb").symlink_to(tmp_path / "solution.ipynb")
        (student,), _ = found(tmp_path / "subs", tmp_path / "keep")
        assert "a link" in student.problem

    def test_the_folder_that_was_zipped_is_no_student(self, tmp_path):
        names = ("hw/ada.ipynb", "hw/bob/x.ipynb", "__MACOSX/hw/._ada.ipynb")
        students, _ = found(zipped(tmp_path / "a.zip", [(name, b"{}") for name in names]), tmp_path / "keep")
        assert [s.id for s in students] == ["ada", "bob"]

    @pytest.mark.parametrize(
        "name", ["../evil.ipynb", "/evil.ipynb", "a/../../evil.ipynb", "..\\evil.ipynb", "C:\\evil.ipynb"]
    )
    def test_a_path_that_leaves_the_folder_is_left_out(self, tmp_path, name):
        (tmp_path / "sub").mkdir()
        where = zipped(tmp_path / "sub" / "a.zip", [(name, b"{}"), ("ada.ipynb", b"{}")])
        students, log = found(where, tmp_path / "sub" / "keep")
        assert [s.id for s in students] == ["ada"]
        assert "leaves the folder" in log[0]
        assert [p.name for p in tmp_path.rglob("*evil*")] == []

    def test_a_zip_bomb_is_refused_and_its_neighbour_is_not(self, tmp_path):
        where = zipped(tmp_path / "a.zip", [("bomb_1_2_x.ipynb", b"0" * (150 * 2**20)), ("ada_2_3_x.ipynb", b"{}")])
        students, _ = found(where, tmp_path / "keep")
        assert [(s.id, bool(s.problem)) for s in students] == [("2", False), ("1", True)]
        assert "150 MB when unpacked" in students[1].problem

    def test_a_bomb_that_lies_about_its_size(self, tmp_path, monkeypatch):
        monkeypatch.setattr(submissions, "LARGEST_FILE", 1000)
        data = bytearray(zipped(tmp_path / "a.zip", [("bomb_1_2_x.ipynb", b"0" * 5000)]).read_bytes())
        for at in range(len(data) - 4):
            if data[at : at + 4] == (5000).to_bytes(4, "little"):
                data[at : at + 4] = (10).to_bytes(4, "little")
        (tmp_path / "a.zip").write_bytes(data)
        (student,), _ = found(tmp_path / "a.zip", tmp_path / "keep")
        assert student.problem

    def test_a_damaged_member(self, tmp_path):
        data = bytearray(zipped(tmp_path / "a.zip", [("a_1_2_x.ipynb", os.urandom(5000))]).read_bytes())
        data[2000:2100] = bytes(100)
        (tmp_path / "a.zip").write_bytes(data)
        (student,), _ = found(tmp_path / "a.zip", tmp_path / "keep")
        assert "damaged" in student.problem

    @pytest.mark.parametrize("what", ["empty folder", "missing", "text", "broken zip", "empty zip"])
    def test_nothing_to_grade_is_said(self, tmp_path, what):
        where = tmp_path / "where"
        if what == "empty folder":
            where.mkdir()
        elif what == "text":
            where.write_text("hello")
        elif what == "broken zip":
            where.write_bytes(zipped(tmp_path / "a.zip", [("a.ipynb", b"{}")]).read_bytes()[:-30])
        elif what == "empty zip":
            zipped(where, [])
        with pytest.raises(submissions.SubmissionsError, match="expected"):
            found(where, tmp_path / "keep")

    def test_file_names_tell_ids_apart(self):
        ids = ("a b", "a_b", "a/b", "../a", "é", "e\u0301", "日本", "x" * 300, ".", "")
        names = [submissions.safe(id) for id in ids]
        assert len(set(names)) == len(names)
        assert all(name and "/" not in name and not name.startswith(".") and len(name) < 90 for name in names)


class TestTheAssignmentIsGuessed:
    def class_of(self, folder, *names):
        for number, name in enumerate(names):
            about = {"assignment": name, "variant": "0"} if name else None
            (folder / f"s{number}.ipynb").write_text(fixtures.submission(about=about))
        return folder

    def test_by_what_most_name(self, tmp_path):
        where = self.class_of(tmp_path, "hw02", "hw01", "hw02", None)
        (where / "broken.ipynb").write_text("{")
        assert guess_assignment(where) == ("hw02", 2, 5)

    def test_in_a_zip(self, tmp_path):
        text = (self.class_of(tmp_path, "hw03") / "s0.ipynb").read_bytes()
        where = zipped(tmp_path / "class.zip", [("Zoë_12_assignsubmission_file/s0.ipynb", text)])
        assert guess_assignment(where) == ("hw03", 1, 1)

    def test_by_its_cells_where_no_notebook_names_it(self, tmp_path):
        source = fixtures.write_assignment(tmp_path / "source")
        fixtures.write_assignment(tmp_path / "source", "hw99")
        other = tmp_path / "source" / "hw99" / "hw99.ipynb"
        other.write_text(other.read_text().replace("centre", "middle").replace("standardize", "scale"))
        text = fixtures.submission().replace('"grade_id"', '"x"').replace('"id"', '"y"')
        (tmp_path / "class").mkdir()
        where = zipped(tmp_path / "class.zip", [("a_1_2_hw.ipynb", text), ("a_1_3_scratch.ipynb", "{}")])
        assert guess_assignment(where, source) == ("hw00", 1, 1)

    @pytest.mark.parametrize(("names", "said"), [((None, None), "none of 2"), (("hw01", "hw02"), "hw01 and hw02")])
    def test_not_where_it_is_not_clear(self, tmp_path, names, said):
        with pytest.raises(AssignmentError, match=f"{said}.*ASSIGNMENT="):
            guess_assignment(self.class_of(tmp_path, *names))


ANNA = [
    "kowalskaanna_101_9001_hw00.ipynb",
    "kowalskaanna_LATE_101_9001_hw00.ipynb",
    "kowalskaanna_101_9001_1_2_hw00-3.ipynb",
    "de_la_cruz_maria_101_9001_x.ipynb",
    "anon_101ab_9001_hw00.ipynb",
    "LATE_anon_101ab_9001_hw00.ipynb",
    "kowalskaanna_101_text.html",
    "kowalskaanna_LATE_101_link.html",
    "anon_101ab_text.html",
    "Anna Kowalska_101_assignsubmission_file_hw00.ipynb",
    "Anna Kowalska_101_assignsubmission_file_/my work.ipynb",
    "Anna Kowalska_101_assignsubmission_file/deep/hw00.ipynb",
    "Anna Kowalska_101_assignsubmission_onlinetext_/onlinetext.html",
    "Group 2_Anna_K_101_assignsubmission_file_/hw00.ipynb",
    "Participant_101_assignsubmission_file_/hw00.ipynb",
    "class/Anna Kowalska_101_assignsubmission_file_/hw00.ipynb",
    "class/of 2027/kowalskaanna_101_9001_hw00.ipynb",
]
GRADESCOPE = """---
submission_55:
  :submitters:
  - :name: Anna Kowalska
    :sid: '00101'
    :email: anna@example.org
  :created_at: 2027-02-03 10:00:00.000000000 Z
  :score: 0.0
submission_56:
  :submitters:
  - :name: Bo
    :sid:
    :email: bo@example.org
  - {":name": Cy, ":sid": 12}
"""


class TestNames:
    def test_a_name_that_is_not_utf_8_is_one_student_in_every_run(self, tmp_path):
        for name in (b"Zo\xeb.ipynb", b"Zo\xe9.ipynb"):
            try:
                (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_text("{}")
            except OSError:
                pytest.skip("this file system has names in UTF-8 only")
        students, _ = found(tmp_path, tmp_path / "keep")
        assert [one.id for one in students] == ["Zoé", "Zoë"]
        assert [one.path.read_text() for one in students] == ["{}", "{}"]

    def students(self, tmp_path, files, **more):
        where = zipped(tmp_path / "hw00 of class.zip", files)
        students, log = submissions.find(where, assignment="hw00", keep=tmp_path / "keep", **more)
        return students, log

    @pytest.mark.parametrize("name", ANNA)
    def test_each_name_has_the_id_of_its_system(self, tmp_path, name):
        other = name.rpartition("class/of 2027/")[1] + "bo_7_8_hw00.ipynb"
        if name.startswith("class/Anna"):
            other = "class/Bo_7_assignsubmission_file_/hw00.ipynb"
        students, _ = self.students(tmp_path, [(name, b"{}"), (other, b"{}")])
        assert sorted(one.id for one in students) == ["101ab" if "101ab" in name else "101", "7"]

    def test_what_a_student_sent_in_several_ways_is_one_submission(self, tmp_path):
        names = [
            "kowalskaanna_LATE_101_9003_hw00-1.ipynb",
            "kowalskaanna_101_9001_hw00.ipynb",
            "kowalskaanna_101_text.html",
        ]
        (student,), _ = self.students(tmp_path, [(name, b"{}") for name in names])
        assert (student.id, student.origin) == ("101", names[0])
        assert "passed over" in student.notes[0]
        assert "kowalskaanna_101_text.html" in student.notes[0]

    def test_the_file_that_is_the_assignment_counts(self, tmp_path):
        files = [(f"a_1_{number}_{name}", name) for number, name in enumerate(("best", "blank", "other", "x"))]
        files = [(f"{name}.ipynb", data) for name, data in files]
        likeness = {b"best": 2, b"blank": 1, b"other": 0, b"x": 0}.get
        (student,), _ = self.students(tmp_path, files, likeness=likeness)
        assert student.origin == "a_1_0_best.ipynb"
        assert "a_1_3_x.ipynb" in student.notes[0]

    def test_a_zip_that_a_student_sent_is_opened(self, tmp_path):
        names = ["mine/hw00.ipynb", "__MACOSX/mine/._hw00.ipynb", "mine/scratch.ipynb"]
        inner = zipped(tmp_path / "x.zip", [(name, name) for name in names]).read_bytes()
        sent = [("a_1_2_hw00.zip", inner), ("b_2_3_hw00.zip", inner[:99]), ("c_3_4_x.zip", b"")]
        likeness = {b"mine/hw00.ipynb": 2}
        students, _ = self.students(tmp_path, sent, likeness=lambda data: likeness.get(data, 0))
        assert [one.path and one.path.read_text() for one in students] == ["mine/hw00.ipynb", None, None]
        assert [one.problem is None for one in students] == [True, False, False]
        assert "got b_2_3_hw00.zip" in students[1].problem

    @pytest.mark.parametrize("outer", ["", "assignment_9_export/"])
    def test_gradescope(self, tmp_path, outer):
        names = ["submission_55/a.ipynb", "submission_56/hw00.ipynb", "submission_57/hw00.ipynb"]
        files = [(f"{outer}{name}", b"{}") for name in names] + [(f"{outer}submission_metadata.yml", GRADESCOPE)]
        students, log = self.students(tmp_path, files)
        who = {("00101", "Anna Kowalska"), ("bo@example.org", "Bo"), ("12", "Cy"), ("submission_57", "submission_57")}
        assert {(one.id, one.name) for one in students} == who
        assert log == []

    @pytest.mark.parametrize("text", ["{", "a: 1", "submission_55: {}", "- 1", "submission_55: {':submitters': [{}]}"])
    def test_a_file_of_gradescope_that_cannot_be_read_is_said(self, tmp_path, text):
        files = [("submission_55/a.ipynb", b"{}"), ("submission_metadata.yml", text)]
        (student,), log = self.students(tmp_path, files)
        assert student.id == "submission_55"
        assert "expected submitters" in log[0]

    @pytest.mark.parametrize("outer", ["", "anna/"])
    @pytest.mark.parametrize("zip", [False, True])
    def test_the_folder_of_one_student(self, tmp_path, outer, zip):
        names = ["hw00.ipynb", "hw00-Copy1.ipynb", "scratch.ipynb", "old/hw00.ipynb", "plot.png"]
        likeness = {b"scratch.ipynb": 0, b"plot.png": 0}.get
        files = [(f"{outer}{name}", name) for name in names]
        where = tmp_path / "anna"
        if zip:
            where = zipped(tmp_path / "anna.zip", files)
        else:
            for name, data in files:
                (where / name).parent.mkdir(parents=True, exist_ok=True)
                (where / name).write_text(data)
        students, _ = submissions.find(
            where, assignment="hw00", keep=tmp_path / "keep", likeness=lambda data: likeness(data, 2)
        )
        assert [(one.id, one.name) for one in students] == [("anna", "anna")]
        assert students[0].origin.endswith("hw00.ipynb")

    def test_a_class_whose_files_begin_with_the_assignment(self, tmp_path):
        names = ["hw00_anna.ipynb", "hw00.ipynb", "hw00-bo.ipynb"]
        students, _ = self.students(tmp_path, [(name, b"{}") for name in names])
        assert [one.id for one in students] == ["hw00", "hw00-bo", "hw00_anna"]

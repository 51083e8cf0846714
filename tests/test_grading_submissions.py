"""Who sent what: the notebooks of a class, from a folder or a zip, and the assignment that they name."""

import os
import zipfile

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

    @pytest.mark.parametrize(("names", "said"), [((None, None), "none of 2"), (("hw01", "hw02"), "hw01 and hw02")])
    def test_not_where_it_is_not_clear(self, tmp_path, names, said):
        with pytest.raises(AssignmentError, match=f"{said}.*ASSIGNMENT="):
            guess_assignment(self.class_of(tmp_path, *names))

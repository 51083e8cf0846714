"""Grading without hostility: who sent what, what is read, what is compared, what is written, and starting again."""

import csv
import html.parser
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import grading_fixtures as fixtures
import numpy as np
import psutil
import pytest

from homework.grading import __main__ as grading
from homework.grading import bubblewrap, cells, comparing, plain, report, submissions
from homework.grading.assignment import AssignmentError, Check, load
from homework.grading.guess import guess_assignment

pytestmark = pytest.mark.timeout(600)  # whole classes are graded

ROOT = Path(__file__).resolve().parents[1]
WHY_NOT = bubblewrap.problem()
SANDBOX = "none" if WHY_NOT else "bwrap"


class TestPlain:
    @pytest.mark.parametrize(
        "value",
        [
            None,
            True,
            3,
            -1.5,
            "é\n",
            float("inf"),
            2 + 3j,
            10**30,
            [],
            (),
            {},
            [1, (2.0, None)],
            {"a": [1], 2: "b", (1, 2): None},
            np.arange(6.0).reshape(2, 3).T,
            np.float32(1.5),
            np.zeros((0, 3)),
            np.array(True),
            np.array([1 + 2j]),
            np.arange(3, dtype=">i2"),
        ],
    )
    def test_what_goes_in_comes_out(self, value):
        back = plain.unpack(plain.pack(value))
        assert comparing.same(back, value) is None or value == back
        if isinstance(value, np.ndarray):
            assert (back.shape, back.dtype) == (value.shape, value.dtype.newbyteorder("<"))
        else:
            assert type(back) is type(value)

    def test_tensors_count_as_arrays(self):
        torch = pytest.importorskip("torch")
        back = plain.unpack(plain.pack(torch.ones(2, 3, requires_grad=True)))
        assert back.shape == (2, 3)

    @pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()]), np.array(["a"]), lambda: 0, b"x"])
    def test_other_things_are_refused_by_name(self, value):
        with pytest.raises(TypeError, match=r"^expected .*, got "):
            plain.pack(value)

    def test_a_list_within_itself_is_refused(self):
        own = []
        own.append(own)
        with pytest.raises(TypeError, match="deep"):
            plain.pack(own)

    @pytest.mark.parametrize(
        "node",
        [
            {"a": ["O", [1], ""]},
            {"a": ["<f8", [2**40], ""]},
            {"a": ["<f8", [-1], ""]},
            {"a": ["<f8", [1], ""]},
            {"a": ["V8", [0], ""]},
            {"a": ["f8,i4", [0], ""]},
            {"a": ["<f8", [1.0], "AAAAAAAAAAA="]},
            {"a": 7},
            {"x": 1},
            {"l": [1], "t": [2]},
            {},
            [1],
            {"d": [[[1], 2]]},
            {"d": [[{"l": []}, 2]]},
            {"code": ["x = 1", "x"]},
            {"c": ["x", 1]},
            {"a": [["<f8"], [0], ""]},
            {"a": None},
            {"l": 7},
            {"d": [7]},
            {"s": ["<f8", [2], "AA=="]},
        ],
    )
    def test_what_pack_does_not_write_is_refused(self, node):
        text = plain.base64.b64encode(json.dumps(node).encode()).decode()
        with pytest.raises(ValueError, match="expected a packed value"):
            plain.unpack(text)

    @pytest.mark.parametrize("text", ["", "%", "AAAA", plain.base64.b64encode(b'{"l":[' * 5000).decode()])
    def test_text_that_is_none_is_refused(self, text):
        with pytest.raises(ValueError, match="expected a packed value"):
            plain.unpack(text)

    def test_code_arrives_as_what_it_defines(self):
        packed = plain.pack({"f": plain.Code("def f(x):\n    return g(x) + 1\ndef g(x):\n    return 2 * x", "f")})
        assert plain.unpack(packed, code=True)["f"](3) == 7


class TestSame:
    want = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    @pytest.mark.parametrize(
        ("got", "want"),
        [
            (want, want),
            (want.astype(np.float32) * (1 + 5e-8), want),
            (np.float64(2), 2.0),
            (np.array(2), 2),
            (2, 2.0),
            ((1, [want]), [1, (want,)]),
            ({"b": 1, "a": None}, {"a": None, "b": 1}),
            (np.bool_(True), True),
            ("x", "x"),
            (np.array([np.nan, np.inf]), np.array([np.nan, np.inf])),
            (np.zeros(0), np.zeros(0)),
        ],
    )
    def test_right(self, got, want):
        assert comparing.same(got, want) is None

    @pytest.mark.parametrize(
        ("got", "want", "said"),
        [
            (want.T, want, "expected shape (2, 3), got (3, 2)"),
            (want[:1], want, "expected shape"),
            (want * (1 + 1e-5), want, "6 of 6 entries are wrong"),
            (want + np.eye(2, 3)[0] * [[1], [0]], want, "1 of 6 entries is wrong, the worst at index (0, 0)"),
            (want * np.nan, want, "6 of 6 entries are NaN"),
            (2.04, 2.0, "the result is off by about 2 %"),
            (1e9, 2.0, "the result is off by more than 1000 %"),
            (None, want, "expected an array of shape (2, 3), got None"),
            ([1.0], want, "got a list"),
            ("1", 1, "got a string"),
            (want + 0j, want, "complex"),
            (True, 1.0, "expected float64 values, got bool"),
            (1, True, "expected True or False"),
            (1.0, None, "expected None"),
            ((1, 2), (1, 2, 3), "expected 3 values, got 2"),
            ((1, 5), (1, 2), "value 2 of 2"),
            ({"a": 1}, {"b": 1}, "expected an entry 'b'"),
            ({"b": 1, "c": 2}, {"b": 1}, "'c'"),
            (1, {"a": 1}, "expected a dict"),
            (np.array([True, False]), np.array([True, True]), "1 of 2 entries"),
            (10**99, 1.0, "out of range"),
            (np.array([0.0]), np.array([np.nan]), "should be NaN"),
            (False, True, "not the right one"),
        ],
    )
    def test_wrong_in_one_sentence(self, got, want, said):
        sentence = comparing.same(got, want)
        assert said in sentence
        assert "\n" not in sentence

    def test_the_sentence_does_not_give_the_answer_away(self):
        assert "0.123" not in comparing.same(np.array([0.5]), np.array([0.123456]))

    def test_a_tolerance_of_its_own(self):
        assert comparing.close(1e-3)(self.want * 1.0005, self.want, {}) is None
        assert comparing.close(1e-4)(self.want * 1.0005, self.want, {}) is not None


class TestCells:
    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "empty"),
            (b"  \n", "empty"),
            (b"\xff\xfe\x00PDF", "UTF-8"),
            (b"hello", "not valid JSON"),
            (fixtures.submission().encode()[:700], "cut off"),
            (b"[1, 2]", "without the fields"),
            (b"{}", "without the fields"),
            (b'{"nbformat": 3, "worksheets": []}', "format 3"),
            (b'{"nbformat": 4, "cells": 7}', "format 4"),
            (b'{"nbformat": 4, "cells": [' + b"{}," * 1001 + b"{}]}", "1002 cells"),
            (b"[" * 100_000, "not valid JSON"),
        ],
    )
    def test_what_is_no_notebook_is_refused_with_a_reason(self, data, said):
        with pytest.raises(cells.NotebookError, match=said):
            cells.read_notebook(data)

    def test_odd_cells_do_no_harm(self):
        odd = [
            7,
            {},
            {"cell_type": "code", "source": 7, "metadata": []},
            {"cell_type": [], "source": ["a", 1, "b"]},
            {"cell_type": "code", "metadata": {"nbgrader": {"grade_id": 5, "points": "x", "locked": "yes"}}},
        ]
        read = cells.read_notebook(json.dumps({"nbformat": 4, "cells": odd, "metadata": 3}).encode())
        assert [cell.source for cell in read.cells] == ["", "", "ab", ""]
        assert not any(cell.locked or cell.grade_id for cell in read.cells)

    source = cells.read_notebook(fixtures.writes(fixtures.source_notebook()).encode()).cells

    def restore(self, text):
        return cells.restore(cells.read_notebook(text.encode()).cells, self.source)

    def test_an_untouched_notebook_stays(self):
        restored, notes = self.restore(fixtures.submission())
        assert notes == []
        assert [cell.source for cell in restored] == [
            c.source for c in cells.read_notebook(fixtures.submission().encode()).cells
        ]

    def test_hidden_tests_and_solutions_are_not_put_in(self):
        restored, _ = self.restore(fixtures.empty_submission())
        assert fixtures.SECRET_IN_SOURCE not in "".join(cell.source for cell in restored)

    def test_a_changed_locked_cell_is_put_back(self):
        restored, notes = self.restore(fixtures.submission(test="pass"))
        assert next(cell for cell in restored if cell.grade_id == "test_centre").source == fixtures.TEST
        assert notes == ["Cell 'test_centre' had been changed and was put back as it was given out."]

    def test_a_deleted_locked_cell_comes_back_at_its_place(self):
        content = json.loads(fixtures.submission())
        content["cells"] = [c for c in content["cells"] if c["id"] not in ("test_centre", "setup")]
        restored, notes = self.restore(json.dumps(content))
        assert [cell.grade_id for cell in restored] == ["setup", "centre", "test_centre", "standardize", "facts", "why"]
        assert len(notes) == 2

    def test_a_deleted_answer_is_said(self):
        content = json.loads(fixtures.submission())
        content["cells"] = [c for c in content["cells"] if c["id"] != "centre"]
        restored, notes = self.restore(json.dumps(content))
        assert "Cell 'centre', which was to be filled in, is missing." in notes
        assert [cell.grade_id for cell in restored] == ["setup", "test_centre", "standardize", "facts", "why"]

    def test_cells_that_are_there_twice(self):
        content = json.loads(fixtures.submission())
        content["cells"] += [c for c in content["cells"] if c["id"] in ("test_centre", "centre")]
        restored, notes = self.restore(json.dumps(content))
        assert [cell.grade_id for cell in restored].count("test_centre") == 1
        assert [cell.grade_id for cell in restored].count("centre") == 2
        assert len(notes) == 2

    def test_a_cell_does_not_become_a_test_by_saying_so(self):
        content = json.loads(fixtures.submission())
        content["cells"].append(json.loads(json.dumps(fixtures.cell("1", "mine", grade=True, locked=True, points=99))))
        restored, _ = self.restore(json.dumps(content))
        assert not restored[-1].grade


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
            "Zoë Müller-Łukasz_123456_assignsubmission_file_/hw00.ipynb",
            "O'Neil, Sinéad_7_assignsubmission_file/my work.ipynb",
        ]
        where = zipped(tmp_path / "a.zip", [(name, b"{}") for name in names])
        students, log = found(where, tmp_path / "keep")
        assert [(s.id, s.name) for s in students] == [("7", "O'Neil, Sinéad"), ("123456", "Zoë Müller-Łukasz")]
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
        assert [(s.name, s.origin) for s in students] == [
            ("Ada Lovelace", "Ada Lovelace (1).ipynb"),
            ("Žofie Ñandú", "Žofie Ñandú.ipynb"),
        ]
        assert len(log) == 1

    def test_a_folder_of_students(self, tmp_path):
        for name in (
            "ada/hw00.ipynb",
            "ada/zz_scratch.ipynb",
            "bob/deep/x.ipynb",
            "cy/essay.pdf",
            "dee/.ipynb_checkpoints/x.ipynb",
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("{}")
        (tmp_path / "eve").mkdir()
        students, _ = found(tmp_path, tmp_path / "keep")
        assert {s.id: s.origin for s in students if not s.problem} == {
            "ada": "ada/hw00.ipynb",
            "bob": "bob/deep/x.ipynb",
        }
        problems = {s.id: s.problem for s in students if s.problem}
        assert "got essay.pdf" in problems["cy"]
        assert "got an empty folder" in problems["dee"]
        assert "got an empty folder" in problems["eve"]

    def test_a_link_out_of_the_folder_is_refused(self, tmp_path):
        (tmp_path / "subs").mkdir()
        (tmp_path / "solution.ipynb").write_text("{}")
        (tmp_path / "subs" / "eve.ipynb").symlink_to(tmp_path / "solution.ipynb")
        (student,), _ = found(tmp_path / "subs", tmp_path / "keep")
        assert "a link" in student.problem

    def test_the_folder_that_was_zipped_is_no_student(self, tmp_path):
        where = zipped(
            tmp_path / "a.zip", [("hw/ada.ipynb", b"{}"), ("hw/bob/x.ipynb", b"{}"), ("__MACOSX/hw/._ada.ipynb", b"")]
        )
        students, _ = found(where, tmp_path / "keep")
        assert [s.id for s in students] == ["ada", "bob"]

    @pytest.mark.parametrize(
        "name", ["../evil.ipynb", "/evil.ipynb", "a/../../evil.ipynb", "..\\evil.ipynb", "C:\\evil.ipynb"]
    )
    def test_a_path_that_leaves_the_folder_is_left_out(self, tmp_path, name):
        where = zipped(
            tmp_path / "sub" / "a.zip" if (tmp_path / "sub").mkdir() else tmp_path / "sub/a.zip",
            [(name, b"{}"), ("ada.ipynb", b"{}")],
        )
        students, log = found(where, tmp_path / "sub" / "keep")
        assert [s.id for s in students] == ["ada"]
        assert "leaves the folder" in log[0]
        assert [p.name for p in tmp_path.rglob("*evil*")] == []

    def test_a_zip_bomb_is_refused_and_its_neighbour_is_not(self, tmp_path):
        where = tmp_path / "a.zip"
        with (
            zipfile.ZipFile(where, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("bomb_1_2_x.ipynb", "w") as file,
        ):
            for _ in range(150):
                file.write(b"0" * 2**20)
        with zipfile.ZipFile(where, "a") as archive:
            archive.writestr("ada_2_3_x.ipynb", b"{}")
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
        names = [
            submissions.safe(id) for id in ("a b", "a_b", "a/b", "../a", "é", "e\u0301", "日本", "x" * 300, ".", "")
        ]
        assert len(set(names)) == len(names)
        assert all(name and "/" not in name and not name.startswith(".") and len(name) < 90 for name in names)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return fixtures.write_assignment(tmp_path_factory.mktemp("source"))


class TestAssignment:
    def test_the_same_secret_draws_the_same_cases_and_another_draws_others(self, source):
        def packed(secret, variant="0"):
            return load("hw00", variant=variant, source=source).questions(secret)[0].packed

        assert packed("a") == packed("a")
        assert not set(packed("a")) & set(packed("b"))
        assert not set(packed("a")) & set(packed("a", "2027"))

    def test_the_reference_leaves_the_tests_out(self, source):
        assert "facts" in load("hw00", source=source).questions("a")[2].check.id

    @pytest.mark.parametrize(
        ("hidden", "said"),
        [
            ("", "checks"),
            ("1 / 0", "cannot be imported"),
            ("def checks(v): return [C('a', 1, '', function='nope')]", "defines no"),
            ("def checks(v): return [C('a', 1, '', variable='facts')] * 2", "twice"),
            ("def checks(v): return [C('a', 1, '', function='centre', cases=lambda r: [])]", "at least one case"),
            (
                "def checks(v): return [C('a', 1, '', function='centre', cases=lambda r: [{'X': 'x'}])]",
                "reference solution fails",
            ),
            ("def checks(v): return [C('a', 1, '')]", "a function or a variable"),
            ("def checks(v): return [C('a', 0, '', variable='facts')]", "points above 0"),
        ],
    )
    def test_a_faulty_assignment_is_said(self, source, tmp_path, hidden, said):
        shutil.copytree(source / "hw00", tmp_path / "hw00")
        (tmp_path / "hw00" / "hidden.py").write_text(f"from homework.grading.assignment import Check as C\n{hidden}")
        with pytest.raises(AssignmentError, match=said):
            load("hw00", source=tmp_path).questions("a")

    def test_a_missing_one_is_said(self, tmp_path):
        with pytest.raises(AssignmentError, match=r"hw99\.ipynb"):
            load("hw99", source=tmp_path)

    def test_a_notebook_of_the_variant(self, source, tmp_path):
        shutil.copytree(source / "hw00", tmp_path / "hw00")
        with (tmp_path / "hw00" / "hidden.py").open("a") as file:
            file.write(
                "\ndef notebook(variant):\n    return {'nbformat': 4, 'cells': [], 'metadata': {'v': variant}}\n"
            )
        assert load("hw00", variant="3", source=tmp_path).cells == []


def write_class(folder, **texts):
    """Write notebooks into a folder, by the names of their students."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.ipynb").write_text(text, encoding="utf-8")
    return folder


def grading_command(where, source, out, *more):
    words = [where, "--assignment", "hw00", "--source", source, "--out", out, *more]
    return [sys.executable, "-m", "homework.grading", *map(str, words)]


def grade_class(where, source, out, *more, check=True, sandbox=SANDBOX, **environment):
    environment = {**os.environ, "SANDBOX": sandbox, "OMP_NUM_THREADS": "1", **environment}
    command = grading_command(where, source, out, *more)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def read_grades(out):
    return {row["name"]: row for row in csv.DictReader(io.StringIO((out / "grades.csv").read_text(encoding="utf-8")))}


XSS = "<script>alert('x')</script>"
WRONG_AXIS = {"centre": "return X - X.mean(axis=1, keepdims=True)"}


@pytest.fixture(scope="module")
def texts():
    other = fixtures.writes(fixtures.notebook(fixtures.SOLUTIONS)).replace('"grade_id": "', '"grade_id": "other-')
    deleted = json.loads(fixtures.submission())
    deleted["cells"] = deleted["cells"][3:]
    doubled = json.loads(fixtures.submission())
    doubled["cells"] += [dict(c, id=f"{c['id']}-2") for c in doubled["cells"][:5]]
    return {
        "Reference": fixtures.submission(about={"assignment": "hw00", "variant": "0"}),
        "Empty": fixtures.empty_submission(),
        "Wrong axis": fixtures.submission(WRONG_AXIS),
        "In place": fixtures.submission({"centre": "X -= X.mean(axis=0)\n    return X"}),
        "No answer": fixtures.submission({"facts": "None"}),
        "Zoë Łukasz Ñandú": fixtures.submission(extra=["'é'"]),
        "Scripts": fixtures.submission(
            {"centre": f'raise ValueError("{XSS}")'},
            why=f"{XSS} ]]> &amp;",
            extra=[f"print({XSS!r})", f"raise KeyError({XSS!r})"],
        ),
        f"=cmd|{XSS.replace('/', '')}": fixtures.submission(extra=["2"]),
        "Truncated": fixtures.submission()[:900],
        "No notebook": "hello",
        "Other assignment": other,
        "Other name": fixtures.submission(about={"assignment": "hw05", "variant": "0"}),
        "Last year": fixtures.submission(about={"assignment": "hw00", "variant": "2026"}),
        "Deleted": json.dumps(deleted),
        "Doubled": json.dumps(doubled),
        "Huge outputs": fixtures.with_outputs(fixtures.submission(extra=["3"]), 20_000_000),
        "Enormous": "[" + " " * (101 * 2**20),
        "Syntax error": fixtures.submission({"facts": "{"}),
        "Tampered": fixtures.submission(fixtures.STUBS, test="score = 100"),
    }


@pytest.fixture(scope="module")
def graded(texts, source, tmp_path_factory):
    where, out = tmp_path_factory.mktemp("class"), tmp_path_factory.mktemp("graded") / "not yet" / "there"
    write_class(where, **texts)
    (where / "pdf.pdf").write_bytes(b"%PDF")
    done = grade_class(where, source, out)
    return where, out, done, read_grades(out)


FULL = {"centre": "2", "standardize": "3", "facts": "1"}


class TestAClass:
    @pytest.mark.parametrize(
        ("name", "lost"),
        [
            ("Reference", ()),
            ("Empty", ("centre", "standardize", "facts")),
            ("Wrong axis", ("centre",)),
            ("In place", ("centre",)),
            ("No answer", ("facts",)),
            ("Zoë Łukasz Ñandú", ()),
            ("Scripts", ("centre",)),
            ("Deleted", ("centre",)),
            ("Doubled", ()),
            ("Huge outputs", ()),
            ("Syntax error", ("facts",)),
            ("Tampered", ("centre", "standardize", "facts")),
        ],
    )
    def test_each_loses_what_it_should(self, graded, name, lost):
        row = graded[3][name]
        assert {id: row[id] for id in FULL} == {id: "0" if id in lost else points for id, points in FULL.items()}
        assert float(row["total"]) == sum(float(row[id]) for id in FULL)
        assert row["reason"] == ""

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("Truncated", "cut off"),
            ("No notebook", "not valid JSON"),
            ("Other assignment", "another notebook"),
            ("Other name", "a notebook of hw05; expected one of hw00"),
            ("Last year", "variant 2026; expected variant 0"),
            ("Enormous", "101 MB; expected 100 MB"),
            ("pdf", "got pdf.pdf"),
        ],
    )
    def test_what_cannot_be_run_says_why(self, graded, name, reason):
        _, out, _, rows = graded
        assert rows[name]["total"] == "0"
        assert reason in rows[name]["reason"]
        page = (out / "feedback" / f"{submissions.safe(name)}.html").read_text(encoding="utf-8")
        assert reason in page
        assert "Not read: the reason is at the top" in page
        assert "Nothing was written" not in page
        assert reason in (out / "log.txt").read_text(encoding="utf-8")

    def test_a_column_is_left_for_what_a_person_marks(self, graded):
        assert {row["why"] for row in graded[3].values()} == {""}
        page = (graded[1] / "feedback" / f"{submissions.safe('Reference')}.html").read_text(encoding="utf-8")
        assert "Names the leak and says how it shows." in page
        assert "Because of **&lt;b&gt;the mean&lt;/b&gt;**." in page

    def test_the_feedback_says_what_is_wrong(self, graded):
        def page(name):
            return (graded[1] / "feedback" / f"{submissions.safe(name)}.html").read_text(encoding="utf-8")

        assert "entries are wrong" in page("Wrong axis")
        assert "not attempted" in page("Empty")
        assert "centre() changes its argument X; it should make a new one" in page("In place")
        assert "put back" in page("Tampered")
        assert "it printed nothing" in page("Reference")
        assert "NotImplementedError" in page("Empty")
        assert "KeyError" in page("Scripts")

    def test_nothing_of_a_student_becomes_markup(self, graded):
        class Tags(html.parser.HTMLParser):
            seen = set()

            def handle_starttag(self, tag, attributes):
                Tags.seen.add(tag)
                assert not any(name.startswith("on") or name in ("href", "src") for name, _ in attributes)

        pages = [*(graded[1] / "feedback").glob("*.html"), graded[1] / "summary.html"]
        assert len(pages) == len(graded[3]) + 1
        for page in pages:
            text = page.read_text(encoding="utf-8")
            Tags().feed(text)
            assert "http:" not in text
            assert "https:" not in text
        assert not Tags.seen & {"script", "img", "link", "iframe", "b", "a", "object", "form"}

    def test_no_cell_of_the_table_is_a_formula(self, graded):
        assert [name for name in graded[3] if name.startswith("'=cmd")]
        assert not [v for row in graded[3].values() for v in row.values() if v[:1] in ("=", "+", "-", "@")]

    def test_the_summary_has_the_distribution_and_the_most_missed(self, graded):
        text = (graded[1] / "summary.txt").read_text(encoding="utf-8")
        assert f"{len(graded[3])} submissions" in text
        lines = text.splitlines()
        begin = lines.index("  centre: 6 of 13 that ran") + 1
        said = [line.strip().split(" x ", 1) for line in lines[begin : begin + report.SENTENCES]]
        times = [int(number) for number, _ in said]
        assert times == sorted(times, reverse=True)
        assert sum(times) <= 6
        assert len({sentence for _, sentence in said}) == report.SENTENCES
        assert text in graded[2].stdout
        assert (graded[1] / "summary.html").read_text(encoding="utf-8").count('class="bar"') == report.BINS

    def test_the_summary_has_mistakes_that_the_notebooks_own_checks_name(self):
        def result(*lines, status="ok"):
            check = {"id": "centre", "points": 0.0, "said": "the result: 3 of 3 entries are wrong"}
            test = {"id": "centre", "status": status, "said": "\n".join(lines)}
            return {
                "reason": "",
                "checks": [check],
                "tests": [test, {**test, "id": "other", "said": "other: <b>no</b>"}],
            }

        here = SimpleNamespace(name="hw00", variant="0", points=10.0)
        who = SimpleNamespace(name="A student")
        wrong = "centre: the mean is one for all"
        results = [
            result("centre: right", wrong),
            result(wrong, wrong),
            result("centre: not attempted"),
            result("", "<i>"),
        ]
        page = report.summary_page(here, [(who, one) for one in results])
        assert f"<td>2 × {wrong}\n1 × &lt;i&gt;</td>" in page
        assert "<td>4 × the result: 3 of 3 entries are wrong</td>" in page
        assert "centre: right" not in page
        assert "no&lt;" not in page

    def test_again_nothing_runs_and_nothing_changes(self, graded, source):
        where, out, _, _ = graded
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        done = grade_class(where, source, out)
        assert "0 to grade, 20 done before" in done.stdout
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before

    def test_elsewhere_and_with_one_worker_the_grades_are_the_same(self, graded, source, tmp_path):
        where, out, _, _ = graded
        grade_class(where, source, tmp_path / "out", "--workers", "1", "--secret", out / "secret")
        assert (tmp_path / "out" / "grades.csv").read_bytes() == (out / "grades.csv").read_bytes()

    def test_no_half_written_file_is_left(self, graded):
        assert not list(graded[1].rglob("*.part"))

    def test_it_is_quick_enough(self, graded):
        rate = int(graded[2].stdout.split(" a minute")[0].split()[-1])
        assert rate >= 20

    def test_the_secret_is_not_for_everybody(self, graded):
        assert (graded[1] / "secret").stat().st_mode & 0o077 == 0


def test_a_zip_is_graded_like_a_folder(source, tmp_path):
    names = {
        "Zoë Müller_11_assignsubmission_file_/hw00.ipynb": fixtures.submission(),
        "Ada L_12_assignsubmission_file_/x.txt": "x",
    }
    where = zipped(tmp_path / "moodle.zip", names.items())
    grade_class(where, source, tmp_path / "out")
    rows = read_grades(tmp_path / "out")
    assert {name: (row["id"], row["total"]) for name, row in rows.items()} == {
        "Zoë Müller": ("11", "6"),
        "Ada L": ("12", "0"),
    }


def slow_class(folder, count):
    extra = {f"s{number}": [f"import time\ntime.sleep(1)  # {number}"] for number in range(count)}
    return write_class(folder, **{name: fixtures.submission(extra=cells) for name, cells in extra.items()})


def begin(where, source, out):
    grader = subprocess.Popen(
        grading_command(where, source, out),
        cwd=ROOT,
        env={**os.environ, "SANDBOX": SANDBOX},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
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
    assert "1 notebooks in" in grade_class(tmp_path / "class", source, tmp_path / "out").stdout
    json.loads(result.read_text())


def test_a_changed_notebook_is_graded_again_and_a_copy_is_not(source, tmp_path):
    write_class(tmp_path / "class", **dict.fromkeys("ab", fixtures.submission()))
    assert "1 notebooks in" in grade_class(tmp_path / "class", source, tmp_path / "out").stdout
    write_class(tmp_path / "class", b=fixtures.submission(WRONG_AXIS))
    assert "1 notebooks in" in grade_class(tmp_path / "class", source, tmp_path / "out").stdout
    assert [row["total"] for row in read_grades(tmp_path / "out").values()] == ["6", "4"]


@pytest.mark.parametrize("separator", [",", ";"])
def test_points_that_a_person_entered_stay(source, tmp_path, separator):
    table = tmp_path / "out" / "grades.csv"
    for name in "ab":
        write_class(tmp_path / "class", **{name: fixtures.submission()})
        grade_class(tmp_path / "class", source, tmp_path / "out")
        if name == "a":
            (row,) = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8")))
            row["why"] = "1.5"
            lines = (separator.join(row), separator.join(row.values()))
            table.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")  # as a spreadsheet does
    rows = read_grades(tmp_path / "out").values()
    assert [(row["why"], row["total"], row["with_manual"]) for row in rows] == [("1.5", "6", "7.5"), ("", "6", "")]


def with_points(table, **points):
    """Enter points in a table, as a person does."""
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
    for row in rows:
        row["why"] = points.get(row["name"], row["why"])
    table.write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n")


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
    arguments = grading_command(tmp_path / "class", source, tmp_path / "out")[3:]
    monkeypatch.setenv("SANDBOX", "none")  # nothing runs
    monkeypatch.setattr(grading.pool, "run_here", lambda *_, **__: [(0, grading.pool.failed(OSError("no memory")))])
    assert grading.main(arguments) == 1
    (row,) = read_grades(tmp_path / "out").values()
    assert row["with_manual"] == ""
    assert "the grader failed, grade again (OSError: no memory)" in row["reason"]
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
    write_class(tmp_path / "class", **dict.fromkeys("abc", fixtures.submission()))
    grade_class(tmp_path / "class", source, tmp_path / "out")
    most = {part.id: part.points for part in load("hw00", source=source).manual}["why"]
    with_points(tmp_path / "out" / "grades.csv", a="x", b=str(most + 1), c=str(most))
    done = grade_class(tmp_path / "class", source, tmp_path / "out")
    log = (tmp_path / "out" / "log.txt").read_text()
    for name, mark in (("a", "x"), ("b", most + 1)):
        sentence = f"{name}: why: expected points from 0 to {most} in grades.csv, got {mark}"
        assert sentence in done.stdout
        assert sentence in log
    assert "c: why" not in done.stdout
    sums = [row["with_manual"] for row in read_grades(tmp_path / "out").values()]
    assert sums == ["", "", f"{6 + most}"]
    assert "still to be marked" not in done.stdout
    with_points(tmp_path / "out" / "grades.csv", a="", b="0", c="0")
    done = grade_class(tmp_path / "class", source, tmp_path / "out")
    assert "why: 1 of 3 answers are still to be marked by a person" in done.stdout
    assert [row["with_manual"] for row in read_grades(tmp_path / "out").values()] == ["", "6", "6"]
    with_points(tmp_path / "out" / "grades.csv", a="x", b=str(most + 1), c=str(most))
    grade_class(tmp_path / "class", source, tmp_path / "out")
    page = (tmp_path / "out" / "feedback" / "c.html").read_text(encoding="utf-8")
    assert f"{6 + most} of {6 + most} points" in page
    assert f"Marked: why, {most} of {most} points" in page
    for name in "ab":
        page = (tmp_path / "out" / "feedback" / f"{name}.html").read_text(encoding="utf-8")
        assert "in all" not in page
        assert "To be marked: why" in page


def test_a_table_that_cannot_be_read_is_kept(source, tmp_path):
    (tmp_path / "a.ipynb").write_text(fixtures.submission())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "grades.csv").write_text("my notes")
    done = grade_class(tmp_path, source, tmp_path / "out")
    assert "no points were taken from it: it is kept as grades-before.csv" in done.stdout
    assert (tmp_path / "out" / "grades-before.csv").read_text() == "my notes"
    assert read_grades(tmp_path / "out")["a"]["total"] == "6"


class TestRefusals:
    def test_without_bubblewrap(self, source, tmp_path):
        (tmp_path / "a.ipynb").write_text(fixtures.submission())
        done = grade_class(tmp_path, source, tmp_path / "out", check=False, sandbox="bwrap", PATH=str(tmp_path))
        assert done.returncode == 2
        assert "bubblewrap" in done.stderr or "needs Linux" in done.stderr
        assert "SANDBOX=none" in done.stderr
        assert "Traceback" not in done.stderr

    def test_the_risk_can_be_accepted(self, source, tmp_path):
        (tmp_path / "a.ipynb").write_text(fixtures.submission())
        done = grade_class(tmp_path, source, tmp_path / "out", sandbox="none", PATH=str(tmp_path))
        assert "with your rights" in done.stderr
        assert read_grades(tmp_path / "out")["a"]["total"] == "6"

    @pytest.mark.parametrize("what", ["no such folder", "empty folder", "no such assignment", "SANDBOX=yes"])
    def test_one_line_that_says_what_was_expected(self, source, tmp_path, what):
        (tmp_path / "empty").mkdir()
        where = tmp_path / ("empty" if what == "empty folder" else "nowhere")
        more = ["--assignment", "hw77"] if what == "no such assignment" else []
        done = grade_class(
            where, source, tmp_path / "out", *more, check=False, sandbox="yes" if "=" in what else SANDBOX
        )
        assert done.returncode == 2
        assert "expected" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


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
        where = self.class_of(tmp_path, "hw03")
        with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
            archive.write(where / "s0.ipynb", "Zoë_12_assignsubmission_file/s0.ipynb")
        assert guess_assignment(tmp_path / "class.zip") == ("hw03", 1, 1)

    @pytest.mark.parametrize(("names", "said"), [((None, None), "none of 2"), (("hw01", "hw02"), "hw01 and hw02")])
    def test_not_where_it_is_not_clear(self, tmp_path, names, said):
        with pytest.raises(AssignmentError, match=f"{said}.*ASSIGNMENT="):
            guess_assignment(self.class_of(tmp_path, *names))

    def test_as_the_makefile_calls_it(self, source, tmp_path):
        (tmp_path / "class").mkdir()
        where = self.class_of(tmp_path / "class", "hw00", "hw00", "hw01")
        command = [sys.executable, "-m", "homework.grading", where, "--source", source]
        command += ["--out", tmp_path / "grades of {assignment}"]
        environment = {**os.environ, "SANDBOX": SANDBOX}
        done = subprocess.run(
            [str(part) for part in command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150
        )
        assert "Assignment hw00, as 2 of 3 notebooks say" in done.stdout, done.stderr
        rows = read_grades(tmp_path / "grades of hw00")
        assert {name: row["total"] for name, row in rows.items()} == {"s0": "6", "s1": "6", "s2": "0"}
        assert "hw01" in rows["s2"]["reason"]


@pytest.mark.filterwarnings("default")
def test_a_cluster_gives_the_same_grades(graded, source, tmp_path):
    pytest.importorskip("distributed", reason="the cluster test did not run: distributed is in the extra [cluster]")
    from distributed import LocalCluster

    where, out, _, rows = graded
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        grade_class(
            where, source, tmp_path / "out", "--secret", out / "secret", "--scheduler", cluster.scheduler_address
        )
    assert read_grades(tmp_path / "out") == rows


def test_a_cluster_that_is_not_there_is_said(graded, source, tmp_path):
    done = grade_class(graded[0], source, tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9", check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_checks_need_a_name():
    with pytest.raises(AssignmentError, match="a function or a variable"):
        Check("a", 1, "")

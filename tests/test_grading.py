"""What of grading needs no kernel: what is read, what is put back, what is compared, what an assignment must have."""

import base64
import json
import shutil

import grading_fixtures as fixtures
import numpy as np
import pytest

from homework.grading import cells, comparing, plain
from homework.grading.assignment import AssignmentError, load
from homework.grading.restore import restore

VALUES = [None, True, 3, -1.5, "é\n", float("inf"), 2 + 3j, 10**30, [], (), {}, [1, (2.0, None)]]
VALUES += [{"a": [1], 2: "b", (1, 2): None}, np.arange(6.0).reshape(2, 3).T, np.float32(1.5), np.zeros((0, 3))]
VALUES += [np.array(True), np.array([1 + 2j]), np.arange(3, dtype=">i2")]
# What pack never writes, before it becomes base64.
NODES = [{"a": array} for array in (["O", [1], ""], ["<f8", [2**40], ""], ["<f8", [-1], ""], ["<f8", [1], ""])]
NODES += [{"a": array} for array in (["V8", [0], ""], ["f8,i4", [0], ""], ["<f8", [1.0], "AAAAAAAAAAA="], 7, None)]
NODES += [
    {"a": [["<f8"], [0], ""]},
    {"x": 1},
    {"l": [1], "t": [2]},
    {},
    [1],
    {"d": [[[1], 2]]},
    {"d": [[{"l": []}, 2]]},
]
NODES += [{"code": ["x = 1", "x"]}, {"c": ["x", 1]}, {"l": 7}, {"d": [7]}, {"s": ["<f8", [2], "AA=="]}]
NODES += [{"d": [[{"l": []}, 2]]}, bytes(3), b'{"l":[' * 5000]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return fixtures.write_assignment(tmp_path_factory.mktemp("source"))


class TestPlain:
    @pytest.mark.parametrize("value", VALUES)
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
        (own := []).append(own)
        with pytest.raises(TypeError, match="deep"):
            plain.pack(own)

    @pytest.mark.parametrize("node", NODES)
    def test_what_pack_does_not_write_is_refused(self, node):
        data = node if isinstance(node, bytes) else json.dumps(node).encode()
        with pytest.raises(ValueError, match="expected a packed value"):
            plain.unpack(base64.b64encode(data).decode())

    @pytest.mark.parametrize("text", ["", "%"])
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
            (b"%PDF\xff\xfe", "UTF-8"),
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

    def restore(self, text, without=(), again=()):
        content = json.loads(text)
        content["cells"] = [c for c in content["cells"] if c["id"] not in without]
        content["cells"] += [c for c in content["cells"] if c["id"] in again]
        return restore(cells.read_notebook(json.dumps(content).encode()).cells, self.source)

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
        restored, notes = self.restore(fixtures.submission(), without=("test_centre", "setup"))
        assert [cell.grade_id for cell in restored] == ["setup", "centre", "test_centre", "standardize", "facts", "why"]
        assert len(notes) == 2

    def test_a_deleted_answer_is_said(self):
        restored, notes = self.restore(fixtures.submission(), without=("centre",))
        assert "Cell 'centre', which was to be filled in, is missing." in notes
        assert [cell.grade_id for cell in restored] == ["setup", "test_centre", "standardize", "facts", "why"]

    def test_cells_that_are_there_twice(self):
        restored, notes = self.restore(fixtures.submission(), again=("test_centre", "centre"))
        names = [cell.grade_id for cell in restored]
        assert (names.count("test_centre"), names.count("centre"), len(notes)) == (1, 2, 2)

    def test_a_cell_does_not_become_a_test_by_saying_so(self):
        content = json.loads(fixtures.submission())
        content["cells"].append(json.loads(json.dumps(fixtures.cell("1", "mine", grade=True, locked=True, points=99))))
        restored, _ = self.restore(json.dumps(content))
        assert not restored[-1].grade


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
                "solution fails",
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
            file.write("\ndef notebook(variant):\n    return {'nbformat': 4, 'cells': [], 'metadata': {'v': variant}}")
        assert load("hw00", variant="3", source=tmp_path).cells == []

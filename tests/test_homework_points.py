"""Every check of the homework gives and takes the points that it should, and the open checks say the same."""

import contextlib
import io

import numpy as np
import pytest
import release
from homework_wrong import VARIANTS, WRONG, assignment, lost

from homework.grading.reference import run_reference

pytestmark = pytest.mark.timeout(300)  # every assignment is solved and graded

NAMES = release.assignments()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_reference_solution_gets_full_marks(name, variant):
    assert lost(name, variant) == {}


@pytest.mark.parametrize("name", NAMES)
def test_empty_submission_gets_none(name):
    notebook = release.student_version(release.source(name, "2027"))
    stubs = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("solution"):
            exec(compile(cell.source, cell.id, "exec"), stubs)
    stubs.pop("__builtins__")
    found = lost(name, "2027", lambda ours: stubs)
    assert set(found) == {check.id for check in assignment(name, "2027").checks}
    assert all(told.startswith("NotImplementedError") for told in found.values())


@pytest.mark.parametrize("answer", [None, 0.0, True, {}, [], "", float("nan")])
@pytest.mark.parametrize("name", NAMES)
def test_a_constant_answer_gets_nothing(name, answer):
    asked = {check.asks for check in assignment(name, "2027").checks}
    found = lost(name, "2027", lambda ours: dict.fromkeys(asked, lambda *args, **named: answer))
    assert set(found) == {check.id for check in assignment(name, "2027").checks}


def id_of(wrong):
    return f"{wrong.assignment}-{wrong.name}"


@pytest.mark.parametrize("submission", WRONG, ids=id_of)
def test_a_wrong_submission_loses_what_it_should(submission):
    for variant in VARIANTS:
        found = lost(submission.assignment, variant, submission.overrides(variant))
        assert set(found) == submission.loses, found


# What the open check says


FINE = (": right", ": can be read")
SLOW = {"run-scores", "measure-scores", "catches-these", "mended-a", "mended-b", "mended-c", "mended-d"}
# The form of answers is all that is looked at, and mended classes have their own check; other tests cover these.
FORM = {"hw04": {"answer-a", "answer-b", "answer-c", "answer-d", "catches-others"}}
# These change what the open check itself goes by: the setting, the audit.
HIDDEN = {"hw03-the_other_layout", "hw05-an_audit_of_ones_own"}


def open_checks(submission, variant, asked):
    """What some test cells of the released notebook say about a submission, by their ids."""
    space, said = run_reference(assignment(submission.assignment, variant).cells), {}
    submission.overrides(variant)(space)
    for cell in release.student_version(release.source(submission.assignment, variant)).cells:
        if cell.id in asked:
            with contextlib.redirect_stdout(io.StringIO()) as printed, np.errstate(all="ignore"):
                exec(compile(cell.source, cell.id, "exec"), space)
            said[cell.id] = printed.getvalue()
    return said


@pytest.mark.parametrize("submission", WRONG, ids=id_of)
def test_the_open_check_calls_right_what_gets_points_and_names_the_mistake(submission):
    asked = {check.id for check in assignment(submission.assignment, "2027").checks}
    can_be_told = set() if id_of(submission) in HIDDEN else submission.loses - FORM.get(submission.assignment, set())
    for variant in VARIANTS:
        said = open_checks(submission, variant, asked - (SLOW - can_be_told))
        right = {id for id, text in said.items() if all(line.endswith(FINE) for line in text.splitlines())}
        assert not right & can_be_told, (variant, said)
        assert right >= asked - submission.loses - SLOW, (variant, said)
        text = "".join(said.get(id, "") for id in submission.loses)
        assert [sentence for sentence in submission.told if sentence not in text] == [], (variant, said)


def test_the_booleans_of_numpy_will_do():
    space = run_reference(assignment("hw04", "2027").cells)
    own, said = space["is_right"], io.StringIO()
    space["is_right"] = lambda make: np.bool_(own(make))
    for cell in release.student_version(release.source("hw04", "2027")).cells:
        if cell.id in ("catches-these", "catches-others", "form"):
            with contextlib.redirect_stdout(said):
                exec(compile(cell.source, cell.id, "exec"), space)
    assert [line.rpartition(": ")[2] for line in said.getvalue().splitlines()] == ["right", "right"]
    form = {"line": np.int64(8), "fault": space["FAULTS"][0]}
    space["answers"] = lambda: {"A": form}
    assert list(space["form"]("A")) == []


def test_there_are_wrong_submissions_of_everything():
    assert len(WRONG) >= 25
    assert all(sum(wrong.assignment == name for wrong in WRONG) >= 5 for name in NAMES)
    for name in NAMES:
        loses = frozenset().union(*(wrong.loses for wrong in WRONG if wrong.assignment == name))
        assert loses == {check.id for check in assignment(name, VARIANTS[0]).checks}

"""Values that hold arrays can be compared, kept in sets and dicts, copied and pickled."""

import copy
import dataclasses
import importlib
import inspect
import pickle
import pkgutil
from pathlib import Path

import numpy as np
import pytest

import homework.grading
import utils
from homework.grading import assignment, cells, grade, limits, roster, session, submissions, wire
from utils import data, evidence, widgets
from utils.byhand import normalization
from utils.download import _File
from utils.evidence import labs, running
from utils.lab import fused, history, probes

A = np.arange(6.0).reshape(2, 3)
CLAIM = next(iter(evidence.claims().values()))
EXPERIMENT = evidence.Experiment("f", len, {CLAIM.id: {"here": (None, "arm")}}, "measurement")
VALUES = {
    data.Split: lambda: data.Split(A, A[:, 0], A, A[:, 0], ("a", "b", "c"), A, A[:, 0]),
    history.History: lambda: history.History(A, A, A, {"test": A}, A, A, 1.0),
    normalization.Cache: lambda: normalization.Cache(A, A, A, A, A, (3,), (0,), A.dtype),
    probes.Landscape: lambda: probes.Landscape(A, A, A, A, A),
    fused.Values: lambda: fused.Values(A, "rows", 2),
    probes.CovariateShift: lambda: probes.CovariateShift(A, A, A),
    widgets.Walk: lambda: widgets.Walk(A, A, A, A, A, A, 1.0),
    evidence.Claim: lambda: dataclasses.replace(CLAIM),
    evidence.Retired: lambda: evidence.Retired("a-claim", "A statement.", "A reason."),
    evidence.Card: lambda: evidence.Card(CLAIM, "holds", [{"median": 1.0, "low": A, "n": 3}]),
    evidence.Experiment: lambda: dataclasses.replace(EXPERIMENT),
    evidence.Live: lambda: evidence.Live(EXPERIMENT, {"digits": A}, 16),
    running.Measured: lambda: running.Measured({"arm": A}, {"arm": A}, {"arm": A}, {}, 1.0),
    labs.Lab: lambda: labs.Lab("01_x", "x = 1", {"f": EXPERIMENT}),
    _File: lambda: _File(Path("x"), 3, "md5:ab", ("http://x",), None),
    assignment.Check: lambda: assignment.Check("a", 1.0, "About.", variable="x"),
    assignment.Manual: lambda: assignment.Manual("a", 1.0, "Well."),
    assignment.Question: lambda: assignment.Question(
        assignment.Check("a", 1.0, "x", variable="x"), [{"x": A}], ["x"], [A]
    ),
    assignment.Assignment: lambda: assignment.Assignment("hw01", "a", [], [], [], "digest"),
    cells.Cell: lambda: cells.Cell("code", "x = 1"),
    cells.Notebook: lambda: cells.Notebook([cells.Cell("code", "x = 1")]),
    grade.Task: lambda: grade.Task("hw01", "a", "x", "secret"),
    limits.Limits: limits.Limits,
    session.Answer: lambda: session.Answer(A),
    session.Ran: lambda: session.Ran("a", "ok"),
    session.Transcript: lambda: session.Transcript([session.Ran("a", "ok")], {"a": [session.Answer(A)]}),
    roster.Roster: lambda: roster.Roster("table", ["name"], []),
    roster.Student: lambda: roster.Student("Ada", {"1"}, ["Ada"]),
    submissions.Submission: lambda: submissions.Submission("1", "Ada", "x.ipynb"),
    submissions._Entry: lambda: submissions._Entry(("a",), (2027,), None),
    wire.Reply: wire.Reply,
}


def classes():
    """Every class that utils and the grader define."""
    places = [*pkgutil.walk_packages(utils.__path__, "utils.")]
    places += pkgutil.walk_packages(homework.grading.__path__, "homework.grading.")
    spaces = [importlib.import_module(place.name) for place in places if not place.name.endswith("__main__")]
    found = {each for space in spaces for each in vars(space).values() if inspect.isclass(each)}
    return {each for each in found if each.__module__ in {space.__name__ for space in spaces}}


def test_every_class_of_values_is_tried():
    values = {each for each in classes() if dataclasses.is_dataclass(each) or hasattr(each, "_fields")}
    assert values == set(VALUES)


def test_no_other_class_defines_an_equality_of_its_own():
    others = classes() - set(VALUES) - {evidence.registered}  # a list, which can be changed
    assert {each.__name__ for each in others if each.__hash__ is None} == set()


@pytest.mark.parametrize("make", VALUES.values(), ids=[each.__name__ for each in VALUES])
def test_values_can_be_compared_kept_copied_and_pickled(make):
    one, other = make(), make()
    assert one == one
    assert not (one != one)  # noqa: SIM202
    assert isinstance(one == other, bool)
    assert (one == other) is not (one != other)
    assert (one == "x", one != "x") == (False, True)
    assert one in [other, one]
    assert {one: "found"}[one] == "found"
    assert one in {one, other}
    for twin in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert type(twin) is type(one)
        assert isinstance(twin == one, bool)
        assert isinstance(hash(twin), int)


def test_a_record_of_arrays_can_still_be_unpacked():
    for kind in (each for each in VALUES if hasattr(each, "_fields")):
        value = VALUES[kind]()
        assert len([*value]) == len(kind._fields)
        assert value[0] is A
        assert kind(*value)._replace(**{kind._fields[0]: None})[0] is None
        assert tuple(value) != value

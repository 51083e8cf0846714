"""A mistake is paid once, also where later functions use the one that is wrong; nobody gains by it."""

import grading_fixtures as fixtures
import pytest

from homework.grading.cells import Cell, released
from homework.grading.grade import Task, grade, needed
from homework.grading.limits import Limits

pytestmark = pytest.mark.timeout(120)  # kernels are started

WRONG = "return X - X.mean(axis=1, keepdims=True)"
USES = "sd = np.sqrt(X.var(axis=0) + eps)\n    return centre(X) / sd, sd"
DEEP = f"return halfway(X, eps)\n\ndef halfway(X, eps):\n    {USES}"
THIEF = "raise ValueError(str(In) + str(centre.__code__.co_consts))"
OUTSIDE = "return __import__('inspect').getsource(centre), centre(X)"


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    source = fixtures.write_assignment(tmp_path_factory.mktemp("source"))
    return Task("hw00", "0", str(source), "a secret", fixtures.SANDBOX == "bwrap", (), Limits(cell=5))


@pytest.mark.parametrize(
    ("centre", "standardize", "points"),
    [
        (WRONG, USES, (0, 3)),
        (WRONG, DEEP, (0, 3)),
        (fixtures.STUB, USES, (0, 3)),
        ("import os; os._exit(0)", USES, (0, 3)),
        (WRONG, USES.replace("axis=0", "axis=1"), (0, 0)),
        (WRONG, f"X = {USES[5:]}", (0, 0)),
        (WRONG, fixtures.STUB, (0, 0)),
        (WRONG, THIEF, (0, 0)),
        (WRONG, OUTSIDE, (0, 0)),
        ("return standardize(X, 0.1)[0]", fixtures.SOLUTIONS["standardize"], (0, 3)),
        ("return standardize(X, 0.0)[0]", WRONG, (0, 0)),
    ],
)
def test_who_loses_what(task, centre, standardize, points):
    result = grade(task, fixtures.submission({"centre": centre, "standardize": standardize}).encode())
    first, second, third = result["checks"]
    assert (first["points"], second["points"], third["points"]) == (*points, 1)
    assert ("with a right version of centre" in second["said"]) == (points[1] == 3 and "centre(" in standardize)
    assert fixtures.SECRET_IN_SOURCE not in str(result)


def test_only_our_tests_are_left_out_and_only_if_nobody_names_what_they_define():
    hidden = "### BEGIN HIDDEN TESTS\nassert not found, found\n### END HIDDEN TESTS"
    texts = (f"found = check(f)\n{hidden}", "for row, other in zip('a', 'b'):\n    table = [row]")
    source = [Cell("code", text, locked=True, grade=True) for text in texts]
    alone, used = map(released, source)
    own = Cell("code", "def f():\n    return table, check")
    forged = Cell("code", "found = (", locked=True, grade=True)
    assert needed([alone, used, own, forged], source) == [alone, used, own, forged]  # the forged one names it
    assert needed([alone, used, own], source) == [used, own]
    assert needed([alone, used], source) == []


def test_nothing_said_or_printed_comes_from_a_run_with_a_right_version(task):
    shows = "import sys\n    print(In, file=sys.stderr)\n    raise ValueError(str(In))"
    result = grade(task, fixtures.submission({"centre": WRONG, "standardize": f"centre(X)\n    {shows}"}).encode())
    assert "X.mean(axis=0)" not in str(result["checks"]) + str(result["cells"])

"""Answers that are alike, and what of an assignment can be copied from the lessons."""

import ast
import inspect
import random
import re
import string
import textwrap
import time
import types

import grading_fixtures as fixtures
import pytest
import release
from homework_wrong import VARIANTS, assignment, reached

from homework.grading import similar
from homework.grading.assignment import load
from homework.grading.reference import run_reference
from homework.grading.submissions import Submission

pytestmark = pytest.mark.timeout(120)  # the lessons are read once, a class of 300 is compared

SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)\s*### END SOLUTION", re.DOTALL)
MODULES = (ast, inspect, random, string, textwrap, types)


class Renamed(ast.NodeTransformer):
    """Another name for every variable."""

    def visit_Name(self, node):
        return ast.copy_location(ast.Name(f"my_{node.id}", node.ctx), node)

    def visit_arg(self, node):
        return ast.copy_location(ast.arg(f"my_{node.arg}"), node)


def bodies():
    """Bodies of functions of Python's own library, none of which is like another: what students might have written."""
    found = []
    for module in MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.FunctionDef) and len(similar.tokens(text := ast.unparse(node.body))) > 60:
                found.append(text)
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return load("hw00", source=fixtures.write_assignment(tmp_path_factory.mktemp("source")))


@pytest.fixture
def graded(tmp_path):
    """A function that writes notebooks and gives what the grader knows of them."""

    def write(**texts):
        found = []
        for name, (body, why) in texts.items():
            path = tmp_path / f"{name}.ipynb"
            changes = {**fixtures.STUBS, "centre": textwrap.indent(body, "    ").strip()}
            path.write_text(fixtures.submission(changes, why=why), encoding="utf-8")
            found.append((Submission(name, name, path.name, path), {"manual": {"why": why}}))
        return found

    return write


def names(found):
    return {(kind, *sorted((one.name.split()[0], other.name.split()[0]))) for _, kind, one, other, _ in found}


def test_a_copy_with_other_names_comments_and_blanks_is_found_and_nothing_else(source, graded):
    own = bodies()[:12]
    copied = "# all mine\n" + ast.unparse(Renamed().visit(ast.parse(own[0])))
    assert own[0] not in copied
    class_ = {f"s{i}": (body, "Why?") for i, body in enumerate(own)}
    found = similar.pairs(source, graded(**class_, copy=(copied, "Why?")))
    assert names(found) == {("code", "copy", "s0")}
    assert found[0][0] > 0.8


def test_words_are_compared_as_well(source, graded):
    text = "The mean of all rows has the test rows in it, so that the error which is measured is too small for us all"
    other = "With many rows one test row hardly moves any statistic; few rows with heavy tails are where I would look"
    texts = {"a": text, "b": f"I say: {text.lower()}!", "c": other, "d": "Why?"}
    found = similar.pairs(source, graded(**{name: (fixtures.STUB, why) for name, why in texts.items()}))
    assert names(found) == {("why", "a", "b")}


def test_what_the_class_the_stub_and_the_lessons_have_does_not_count(source, graded):
    own = bodies()[0]
    assert similar.pairs(source, graded(**{f"s{i}": (own, "Why?") for i in range(6)})) == []
    assert similar.pairs(source, graded(a=(fixtures.STUB, "Why?"), b=(fixtures.STUB, "Why?"))) == []
    lesson = inspect.getsource(__import__("utils.byhand.normalization", fromlist=["x"]).normalize_backward)
    taken = textwrap.dedent("\n".join(lesson.splitlines()[ast.parse(lesson).body[0].body[1].lineno - 1 :]))
    assert similar.pairs(source, graded(a=(taken, "Why?"), b=(taken, "Why?"))) == []


def test_the_page_shows_both_and_judges_nobody(source, graded):
    own, broken = bodies()[0], "<b>(\n" + bodies()[1]
    text, count = similar.page(source, graded(Ada=(own, "Why?"), Bob=(own, "Why?"), Eve=(broken, "Why?")))
    assert count == 1
    assert "Ada (Ada.ipynb) and Bob (Bob.ipynb): 100 % of their code" in text
    assert text.count("<mark>") >= 2 * len(own.splitlines())
    assert "look yourself" in text
    assert not re.search("plagiar|cheat|copied|fraud", text, flags=re.IGNORECASE)
    nothing, count = similar.page(source, graded(Ada=(own, "Why?")))
    assert count == 0
    assert "No two answers" in nothing


def test_a_group_that_is_too_large_for_pairs_is_named(source, graded):
    own, text = (
        bodies(),
        "The mean of all rows has the test rows in it, so that the error measured is too small for us all",
    )
    class_ = {f"s{i}": (own[i], text if i in (2, 5, 7, 9) else "Why?") for i in range(12)}
    page, count = similar.page(source, graded(**class_))
    names = ", ".join(f"s{i} (s{i}.ipynb)" for i in (2, 5, 7, 9))
    assert count == 1
    assert f"why: 4 students share an answer and are not shown as pairs: {names}<" in page
    assert "No two answers" not in page
    page, count = similar.page(source, graded(**{name: (body, "Why?") for name, (body, _) in class_.items()}))
    assert (count, "students share an answer" in page) == (0, False)


def test_three_hundred_are_compared_in_seconds(source, graded):
    rng, own = random.Random(0), bodies()
    class_ = graded(**{f"s{i}": ("\n".join(rng.sample(own, 3)), "Why?") for i in range(300)})
    class_ += graded(huge=("x = [[[[1]]]]\n" * 1_000_000, "Why?"))
    similar.lessons()
    began = time.process_time()
    similar.page(source, class_)
    assert time.process_time() - began < 15


# What can be copied from the lessons


def copied(name, variant):
    """The points of the tasks at least half of whose solution stands in the lessons, in rows of ten tokens."""
    parts, (known, _) = assignment(name, variant), similar.lessons()
    share = {}
    for cell in parts.cells:
        for text in SOLUTION.findall(cell.source) if cell.kind == "code" else ():
            found = similar.tokens(textwrap.dedent(text))
            places = [at for at, one in enumerate(similar.prints(found, similar.RUN)) if one in known]
            covered = {at + more for at in places for more in range(similar.RUN)}
            share[re.search(r"^def (\w+)", cell.source, flags=re.M)[1]] = len(covered) / max(len(found), 1)
    space, points = run_reference(parts.cells), 0
    for check in parts.checks:
        names = {check.asks} if check.asks in share else reached(space, check.asks)
        points += check.points * (max(share.get(name, 0) for name in names) >= 0.5)
    return points


@pytest.mark.parametrize("name", release.assignments())
def test_at_most_a_third_of_the_points_can_be_copied_from_the_lessons(name):
    assert max(copied(name, variant) for variant in VARIANTS) <= 100 / 3


def test_the_measure_finds_what_is_copied():
    lesson = release.ROOT / "utils" / "byhand" / "loss_surface.py"
    found = similar.prints(similar.tokens(lesson.read_text(encoding="utf-8")), similar.RUN)
    assert set(found) <= similar.lessons()[0]

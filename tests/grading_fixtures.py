"""A small assignment, submissions to it, and how a class of them is written to a folder and graded."""

import csv
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, output_from_msg, writes

from homework.grading import bubblewrap

ROOT = Path(__file__).resolve().parents[1]
SANDBOX = "none" if bubblewrap.problem() else "bwrap"
SECRET_IN_SOURCE = "SOLUTION-MARK-4711"
STUB = "raise NotImplementedError"

SETUP = "import numpy as np"
MEAN = '''
def centre(X):
    """Subtract the mean of every feature; X has shape (n, d)."""
    {body}
'''
SCALE = '''
def standardize(X, eps):
    """Give the standardized X and the standard deviations."""
    {body}
'''
FACTS = "facts = {body}"
SOLUTIONS = {
    "centre": "return X - X.mean(axis=0)",
    "standardize": "sd = np.sqrt(X.var(axis=0) + eps)\n    return (X - X.mean(axis=0)) / sd, sd",
    "facts": '{"axis": 0, "leaks": True}',
}
STUBS = {"centre": STUB, "standardize": STUB, "facts": "None"}
TEST = "np.testing.assert_allclose(centre(np.array([[1.0], [3.0]])), [[-1.0], [1.0]])"
HIDDEN_TEST = "### BEGIN HIDDEN TESTS\nassert 'SOLUTION-MARK-4711' != 'x'\n### END HIDDEN TESTS"
HIDDEN = """
from homework.grading.assignment import Check, Manual


def tables(rng):
    return [{"X": rng.normal(size=shape) * 10.0} for shape in ((5, 3), (7, 2), (2, 1))]


def tables_with_eps(rng):
    return [{**case, "eps": eps} for case, eps in zip(tables(rng), (1e-5, 0.1, 1.0), strict=True)]


def checks(variant):
    return [
        Check("centre", 2, "the mean of every feature is 0", function="centre", cases=tables, seconds=3),
        Check("standardize", 3, "and its variance is 1", function="standardize", cases=tables_with_eps, seconds=3),
        Check("facts", 1, "what you found", variable="facts"),
    ]


def manual(variant):
    return [Manual("why", 2, "Names the leak and says how it shows.")]
"""

HANDS_OUT_CODE = """

from homework.grading.plain import Code

RIGHT = "def norm(X):\\n    return X - X.mean(axis=0)"
WRONG = "def norm(X):\\n    return X"


def norms(rng):
    return [{"norm": Code(source, "norm")} for source in (RIGHT, WRONG)]


others = checks


def checks(variant):
    return [Check("catches", 4, "tells a wrong norm", function="catches", cases=norms), *others(variant)]
"""


def cell(source, grade_id, *, kind="code", **marks):
    """A cell with nbgrader's metadata."""
    full = dict.fromkeys(("grade", "solution", "locked", "task"), False) | {"schema_version": 3, "grade_id": grade_id}
    new = new_code_cell if kind == "code" else new_markdown_cell
    return new(source.strip("\n"), id=grade_id, metadata={"nbgrader": {**full, **marks}})


def marked(body, indent="    "):
    """A solution between its marks."""
    lines = [f"### BEGIN SOLUTION # {SECRET_IN_SOURCE}", *textwrap.dedent(body).split("\n"), "### END SOLUTION"]
    return "\n".join([lines[0], *(indent + line.lstrip(" ") if indent else line for line in lines[1:])])


def notebook(
    bodies, *, why="Because of **<b>the mean</b>**.", extra=(), test=TEST, assignment=None, before=(), about=None
):
    """A notebook of the sample assignment.

    bodies: what stands in centre, standardize and facts; extra: sources of cells at the end; before: at the beginning.
    """
    cells = [
        *[new_code_cell(source, id=f"before-{i}") for i, source in enumerate(before)],
        cell(SETUP, "setup", locked=True),
        cell(MEAN.format(body=bodies["centre"]), "centre", solution=True),
        cell(test, "test_centre", grade=True, locked=True, points=2),
        cell(SCALE.format(body=bodies["standardize"]), "standardize", solution=True),
        cell(FACTS.format(body=bodies["facts"]), "facts", solution=True),
        cell(why, "why", kind="markdown", grade=True, solution=True, points=2),
        *[new_code_cell(source, id=f"extra-{i}") for i, source in enumerate(extra)],
    ]
    return new_notebook(cells=cells, metadata={"homework": about} if about else {})


def source_notebook():
    """The source, with solutions and a hidden test."""
    bodies = {name: marked(body, "" if name == "facts" else "    ") for name, body in SOLUTIONS.items()}
    bodies["facts"] = "None\n" + "### BEGIN SOLUTION\nfacts = " + SOLUTIONS["facts"] + "\n### END SOLUTION"
    return notebook(bodies, test=f"{TEST}\n{HIDDEN_TEST}", why="Why?")


def submission(changes=None, **more):
    """The text of a submission: the reference solution with the changes."""
    return writes(notebook({**SOLUTIONS, **(changes or {})}, **more))


def empty_submission():
    """The text of a notebook as it was given out."""
    return writes(notebook(STUBS, why="Why?"))


def write_assignment(root, name="hw00"):
    """Write the sample assignment below root."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / f"{name}.ipynb").write_text(writes(source_notebook()), encoding="utf-8")
    (folder / "hidden.py").write_text(HIDDEN, encoding="utf-8")
    return root


def with_outputs(text, size):
    """The same notebook with huge outputs in its first code cell."""
    content = json.loads(text)
    content["cells"][0]["outputs"] = [
        output_from_msg({"header": {"msg_type": "stream"}, "content": {"name": "stdout", "text": "x" * size}})
    ]
    return json.dumps(content)


def write_class(folder, **texts):
    """Write notebooks into a folder, by the names of their students."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.ipynb").write_text(text, encoding="utf-8")
    return folder


def arguments(where, source, out, *more):
    """What the grader is called with."""
    return [*map(str, [where, "--assignment", "hw00", "--source", source, "--out", out, *more])]


def grade_class(where, source, out, *more, check=True, sandbox=SANDBOX, **environment):
    """Grade a folder or a zip in a process of its own, and give what it said."""
    command = [sys.executable, "-m", "homework.grading", *arguments(where, source, out, *more)]
    environment = {**os.environ, "SANDBOX": sandbox, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done


def rows_of(table):
    """The rows of a table of grades."""
    text = table.read_text(encoding="utf-8-sig")
    return list(csv.DictReader(text.splitlines(), delimiter=";" if ";" in text.partition("\n")[0] else ","))


def read_grades(out):
    """The rows of the grades in a folder, by the names of the students."""
    return {row["name"]: row for row in rows_of(out / "grades.csv")}

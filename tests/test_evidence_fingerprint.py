"""A fingerprint changes with code that can change a number, in the lab and in `utils`, and with nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from utils.evidence import fingerprint as module
from utils.evidence.fingerprint import fingerprint

PACKAGE = Path(__file__).resolve().parents[1] / "utils"
LAB = '''
"""A lab."""
import numpy as np
from functools import cache

from utils import chain, evidence, plotting
from utils.chain import link as renamed
import utils.chain.far as far
import utils.chain.table

WIDTH = 32
UNUSED = 7
RATES = {"one": (0.1, 0.2, 0.4)}
WHY = "A reason."
TABLE = {}
TABLE["z"] = 1
plotting.use_course_style()


@cache
def helper(x):
    """Help."""
    # a comment
    assert x > 0, "expected a positive number"
    if x > WIDTH:
        raise ValueError(f"expected less than {UNUSED}, got {x}")
    return x + chain.link.near(x) + TABLE["z"]


def unrelated():
    return UNUSED


class Net:
    """A net."""

    depth = 3

    def forward(self, x):
        """Forward."""
        self.colour = plotting.COLOURS["here"]
        return far.away(x) + renamed.near(x) + utils.chain.table.LAST


@evidence.experiment(
    {"a-claim": {"here": ("one", "other")}},
    rates=RATES,
    steps=300,
    budgets=(1, 4),
    datasets=("digits", "mnist_5k"),
    examples=32,
    waive={"fine grid": WHY},
    live=16,
    seeds=32,
    resolution=1.0,
)
def trained(seeds, data, steps, rates, device):
    """Measure."""
    return {arm: helper(len(seeds)) + Net().forward(steps) for arm in rates}
'''
# A small chain of modules: the lab reaches `link`, which reaches `middle` and, by an import inside a function, `deep`.
CHAIN = {
    "__init__": "from utils.chain import link\n",
    "link": '''
"""Near."""
from utils.chain.middle import half
from utils.evidence.cards import WIDTH

def near(x):
    """Near."""
    return half(x) * WIDTH

def lonely(x):
    return x
''',
    "middle": """
SCALE = 2.0

def half(x):
    from . import deep

    return deep.down(x) / SCALE
""",
    "deep": """
def down(x):
    return x - 1
""",
    "far": """
from .table import ENTRIES as entries

def away(x, *, by=1):
    return entries["a"] * x + by
""",
    "table": """
ENTRIES = {"a": 1}
for name in "bc":
    ENTRIES[name] = 2
OTHERS = {}
LAST = 5
""",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of `utils` with the chain in it, in which fingerprints are taken."""
    copy = tmp_path / "utils"
    copy.mkdir()
    shutil.copytree(PACKAGE / "evidence", copy / "evidence", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("arrays.py", "plotting.py", "runtime.py", "__init__.py"):
        shutil.copy(PACKAGE / name, copy / name)
    (copy / "chain").mkdir()
    for name, source in CHAIN.items():
        (copy / "chain" / f"{name}.py").write_text(source)
    monkeypatch.setattr(module, "_PACKAGE", copy)
    module._utils_module.cache_clear()
    yield copy
    module._utils_module.cache_clear()


def of(lab, name="trained"):
    module._utils_module.cache_clear()
    return fingerprint(lab, name)


def edited(text, old, new):
    assert old in text, old
    return text.replace(old, new, 1)


CHANGES = {
    "the body of the function": ("len(seeds)", "len(seeds) + 1"),
    "the body of a function that it calls": ("return x + chain", "return x - chain"),
    "a constant that this one uses": ("WIDTH = 32", "WIDTH = 64"),
    "a table that a statement fills": ('TABLE["z"] = 1', 'TABLE["z"] = 2'),
    "a condition, though not its message": ("if x > WIDTH", "if x >= WIDTH"),
    "what is asserted": ("assert x > 0", "assert x >= 0"),
    "what is raised": ("raise ValueError", "raise KeyError"),
    "a method": ("return far.away(x) +", "return far.away(x) -"),
    "an attribute of a class": ("depth = 3", "depth = 4"),
    "a decorator": ("@cache\n", ""),
    "a default": ("steps, rates, device)", "steps, rates, device=0)"),
    "an arm": ('("one", "other")', '("one", "another")'),
    "the grid": ("(0.1, 0.2, 0.4)", "(0.1, 0.2, 0.3)"),
    "T": ("steps=300", "steps=301"),
    "the budgets": ("budgets=(1, 4)", "budgets=(1, 8)"),
    "the data sets": ('("digits", "mnist_5k")', '("digits", "mnist")'),
    "what a name leads to": ("import link as renamed", "import middle as renamed"),
}
SAME = {
    "a comment": ("# a comment", "# another one"),
    "a docstring": ('"""Measure."""', '"""Measure it."""'),
    "no docstring": ('    """Help."""\n', ""),
    "the docstring of a class": ('"""A net."""', '"""A network."""'),
    "the text of an error": ("expected less than", "there should be less than"),
    "a constant in the text of an error": ("UNUSED = 7", "UNUSED = 8"),
    "the text of an assertion": ("expected a positive number", "it is not positive"),
    "formatting": ("return x + chain.link.near(x)", "return (\n        x\n        + chain.link.near( x )\n    )"),
    "quotes": ('"here"', "'here'"),
    "a waiver": ('{"fine grid": WHY}', "{}"),
    "the reason of a waiver": ('"A reason."', '"Another one."'),
    "the seeds that run live": ("live=16", "live=8"),
    "the seeds of the long run": ("seeds=32", "seeds=64"),
    "the resolution": ("resolution=1.0", "resolution=0.5"),
    "a function that it does not call": ("return UNUSED", "return 0"),
    "what draws": ("plotting.use_course_style()", "plotting.use_course_style(2)"),
    "an import that nothing uses": ("import numpy as np\n", ""),
}


def test_it_is_sixteen_hexadecimal_digits_and_the_same_again(package):
    assert len(of(LAB)) == 16
    assert int(of(LAB), 16) >= 0
    assert of(LAB) == of(LAB)


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
def test_it_changes_with(old, new, package):
    assert of(edited(LAB, old, new)) != of(LAB)


@pytest.mark.parametrize(("old", "new"), SAME.values(), ids=SAME)
def test_it_does_not_change_with(old, new, package):
    assert of(edited(LAB, old, new)) == of(LAB)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("chain/link.py", "half(x) *", "half(x) +"),
        ("chain/middle.py", "SCALE = 2.0", "SCALE = 3.0"),
        ("chain/middle.py", "down(x) /", "down(x) *"),
        ("chain/deep.py", "x - 1", "x - 2"),
        ("chain/far.py", "by=1", "by=2"),
        ("chain/table.py", '{"a": 1}', '{"a": 2}'),
        ("chain/table.py", "= 2", "= 3"),
        ("chain/table.py", '"bc"', '"bd"'),
        ("chain/table.py", "LAST = 5", "LAST = 6"),
        ("evidence/running.py", "SHARE_AT_END = 0.25", "SHARE_AT_END = 0.5"),
        ("evidence/running.py", "np.argmax(", "np.argmin("),
    ],
)
def test_it_changes_with_helpers_that_are_reached(file, old, new, package):
    before, path = of(LAB), package / file
    path.write_text(edited(path.read_text(), old, new))
    assert of(LAB) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("chain/link.py", '"""Near."""', '"""Nearer."""'),
        ("chain/link.py", "    return x\n", "    return 2 * x\n"),
        ("chain/table.py", "OTHERS = {}", "OTHERS = {1: 2}"),
        ("evidence/cards.py", "WIDTH = 90", "WIDTH = 80"),
        ("evidence/statistics.py", "CONFIDENCE = 0.95", "CONFIDENCE = 0.99"),
        ("evidence/running.py", ":.4g", ":.5g"),
        ("plotting.py", "COLOURS = {", "COLOURS = {'there': 1, "),
        ("runtime.py", "import", "import os\nimport"),
    ],
)
def test_it_does_not_change_with_what_is_not_reached_or_only_shows_and_judges(file, old, new, package):
    before, path = of(LAB), package / file
    path.write_text(edited(path.read_text(), old, new))
    assert of(LAB) == before


def test_every_experiment_has_its_own(package):
    assert of(LAB) != of(LAB, "helper") != of(LAB, "unrelated")


def test_functions_that_call_each_other_are_no_problem(package):
    lab = "def one(n):\n    return other(n)\n\n\ndef other(n):\n    return one(n - 1) if n else 0\n"
    assert of(lab, "one") != of(edited(lab, "n - 1", "n - 2"), "one")


@pytest.mark.parametrize("name", ["gone", "np", "evidence"])
def test_a_function_that_the_lab_does_not_define_is_refused(name, package):
    with pytest.raises(ValueError, match=f"name: expected a function that the lab defines, got '{name}'"):
        of(LAB, name)


def test_it_is_the_same_in_another_process_with_other_hashes(package, tmp_path):
    """Sets and dicts of names have another order there."""
    code = (
        "import sys; from pathlib import Path; from utils.evidence import fingerprint as module; "
        f"module._PACKAGE = Path({str(package)!r}); print(module.fingerprint(sys.stdin.read(), 'trained'))"
    )
    found = {of(LAB)}
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=LAB,
            env={"PYTHONPATH": str(PACKAGE.parent), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout.strip())
    assert len(found) == 1


def test_no_version_of_python_adds_to_it(package, monkeypatch):
    """Python 3.12 gave functions and classes type parameters, Python 3.8 a type comment: they are empty as a rule."""
    import ast

    before, parse = of(LAB), ast.parse

    def newer(source):
        tree = parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                node._fields = (*node._fields, "type_params", "a_thing_to_come")
                node.type_params, node.a_thing_to_come = [], None
        return tree

    monkeypatch.setattr(ast, "parse", newer)
    assert of(LAB) == before


def test_what_runs_the_experiments_of_labs_counts_where_it_does():
    source = "def made():\n    return 1\n"
    assert fingerprint(source, "made") != fingerprint(source, "made", run=False)
    assert fingerprint(source, "made", run=False) == fingerprint(
        f"{source}\ndef other():\n    return 2\n", "made", run=False
    )

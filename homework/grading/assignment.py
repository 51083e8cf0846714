"""An assignment: its source notebook, its checks, and what only a person can mark."""

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .cells import Cell, NotebookError, read_notebook
from .comparing import same
from .plain import Code, pack, unpack
from .reference import ReferenceError, run_reference

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "homework" / "source"


class AssignmentError(ValueError):
    """The assignment itself is at fault, whatever the submissions are."""


def no_arguments(rng):
    """One case without arguments."""
    return [{}]


@dataclass(frozen=True)
class Check:
    """One thing that is asked of a notebook, all of its points or none.

    Attributes
    ----------
    id : str
        The column in the grades.
    points : float
    about : str
        What is asked, for the feedback.
    function : str, optional
        The function of the notebook that is called ...
    variable : str, optional
        ... or the name whose value is looked at.
    cases : callable
        From a `numpy.random.Generator` to a list of dicts of keyword arguments: arrays, numbers, strings, None, `Code`,
        and tuples, lists, dicts of these.
    compare : callable
        `(got, want, case)` to None or one sentence of what is wrong.
    together : callable, optional
        From the list of all results to None or one sentence: what shows only where several cases are compared.
    seconds : float
        The longest that one call may take.
    """

    id: str
    points: float
    about: str
    function: str | None = None
    variable: str | None = None
    cases: Callable = no_arguments
    compare: Callable = same
    together: Callable | None = None
    seconds: float = 10.0

    def __post_init__(self):
        if (self.function is None) == (self.variable is None):
            raise AssignmentError(f"check {self.id!r}: expected a function or a variable, got both or none of them")
        if not self.points > 0:
            raise AssignmentError(f"check {self.id!r}: expected points above 0, got {self.points!r}")

    @property
    def asks(self):
        """The name that the notebook must define."""
        return self.function or self.variable


@dataclass(frozen=True)
class Manual:
    """What no machine can mark."""

    id: str  # the `grade_id` of the cell, and the column in the grades, which is left empty
    points: float
    rubric: str  # for whoever marks it


@dataclass(frozen=True, eq=False)
class Question:
    """A check with its cases drawn: what goes in, and what should come out."""

    check: Check
    cases: list
    packed: list  # the same cases, as they are sent
    wanted: list

    @property
    def hands_out_code(self):
        """Whether a case contains `Code`, which a notebook could keep and use as its own answer to another check."""
        return any(_has_code(case) for case in self.cases)


@dataclass(frozen=True, eq=False)
class Assignment:
    """Everything that grading needs to know; made by `load`."""

    name: str
    variant: str
    cells: list[Cell] = field(repr=False)
    checks: list[Check]
    manual: list[Manual]
    digest: str

    @property
    def points(self):
        """What the checks give at most."""
        return sum(check.points for check in self.checks)

    def questions(self, secret):
        """Draw the hidden cases and work out the expected values from the reference solution.

        Parameters
        ----------
        secret : str
            What students cannot know. Same secret, same cases.

        Returns
        -------
        list of Question

        Raises
        ------
        AssignmentError
            If the reference solution fails.
        """
        try:
            space = run_reference(self.cells)
        except ReferenceError as error:
            raise AssignmentError(f"{self.name}: {error}") from None
        return [self._question(check, space, secret) for check in self.checks]

    def _question(self, check, space, secret):
        if check.asks not in space:
            raise AssignmentError(f"{self.name}, check {check.id!r}: the reference solution defines no {check.asks!r}")
        seed = hashlib.sha256(f"{secret}\n{self.name}\n{self.variant}\n{check.id}".encode()).digest()
        cases = list(check.cases(np.random.default_rng(list(seed))))
        if not cases:
            raise AssignmentError(f"{self.name}, check {check.id!r}: expected at least one case, got none")
        wanted = []
        try:
            packed = [pack(case) for case in cases]
            for text in packed:
                value = space[check.asks]
                if check.function:
                    value = value(**unpack(text, code=True))
                wanted.append(unpack(pack(value)))
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise AssignmentError(f"{self.name}, check {check.id!r}: the reference solution fails ({what})") from error
        return Question(check, cases, packed, wanted)


def variant_of(name, source=SOURCE):
    """The variant that an assignment's source notebook is written for; "0" where it names none, or there is none."""
    try:
        return read_notebook((Path(source) / name / f"{name}.ipynb").read_bytes()).variant or "0"
    except (OSError, NotebookError):
        return "0"


def load(name, *, variant="0", source=SOURCE):
    """Read an assignment.

    Parameters
    ----------
    name : str
        Of its folder below `source`.
    variant : str
    source : Path

    Returns
    -------
    Assignment

    Raises
    ------
    AssignmentError
        If the folder, the notebook or `hidden.py` is missing or not as it should be.

    Notes
    -----
    `hidden.py` offers `checks(variant)`, a list of `Check`, and may offer `manual(variant)`, a list of `Manual`, and
    `notebook(variant)`, the source notebook of the variant as a dict, where it is not `NAME.ipynb` as it stands.
    """
    folder = Path(source) / name
    path, hidden_path = folder / f"{name}.ipynb", folder / "hidden.py"
    for needed in (path, hidden_path):
        if not needed.is_file():
            raise AssignmentError(
                f"assignment {name!r}: expected a file {needed}, there is none. A student's copy has no sources: "
                "grade where they are"
            )
    hidden = _import(hidden_path, name)
    if not hasattr(hidden, "checks"):
        raise AssignmentError(f"{hidden_path}: expected a function checks(variant), there is none")
    variant = str(variant)
    data = path.read_bytes()
    if hasattr(hidden, "notebook"):
        data = json.dumps(hidden.notebook(variant), sort_keys=True).encode()
    cells = read_notebook(data).cells
    checks = list(hidden.checks(variant))
    manual = list(hidden.manual(variant)) if hasattr(hidden, "manual") else []
    ids = [part.id for part in [*checks, *manual]]
    if twice := {id for id in ids if ids.count(id) > 1}:
        raise AssignmentError(f"{hidden_path}: expected ids of their own, got {sorted(twice)} twice")
    engine = b"".join(part.read_bytes() for part in sorted(Path(__file__).parent.glob("*.py")))
    digest = hashlib.sha256(data + hidden_path.read_bytes() + engine).hexdigest()
    return Assignment(name, variant, cells, checks, manual, digest)


def _has_code(value):
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, Code) or (isinstance(value, list | tuple) and any(_has_code(part) for part in value))


def _import(path, name):
    spec = importlib.util.spec_from_file_location(f"hidden_{name}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise AssignmentError(f"{path}: cannot be imported ({type(error).__name__}: {error})") from error
    return module

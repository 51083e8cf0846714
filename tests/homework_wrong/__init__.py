"""Plausible wrong submissions of the homework: hw01.toml has edits of the reference solution of homework 1.

A table has in `loses` the checks whose points it loses, in `told` what the open checks say of it, in `edits` pairs of a
text of the solution and what replaces it, and in `code` what is appended. Each text to be replaced must stand in the
solution exactly once, in every variant.
"""

import ast
import contextlib
import copy
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from edits import EditError, edited

from homework.grading.assignment import load
from homework.grading.plain import pack
from homework.grading.reference import run_reference

VARIANTS = ["2026", "2027", "2032"]  # both divisors, layouts, conventions and losses, all open claims
BETWEEN = "\n# next cell\n"


@cache
def assignment(name, variant):
    return load(name, variant=variant)


@cache
def questions(name, variant):
    return assignment(name, variant).questions("a secret")


class Wrong(NamedTuple):
    """A wrong submission: the reference solution with edits, or with more code below it."""

    assignment: str
    name: str
    loses: frozenset
    told: tuple
    edits: tuple
    code: str

    def overrides(self, variant):
        """A function that puts the wrong definitions into the space of the reference solution, and gives them."""
        cells = assignment(self.assignment, variant).cells
        sources = [cell.source for cell in cells if cell.kind == "code" and not cell.grade]
        try:
            wrong = edited(BETWEEN.join(sources), self.edits).split(BETWEEN)
        except EditError as error:
            raise EditError(f"{self.name} in {self.assignment}.toml: {error}") from None
        changed = [new for new, old in zip([*wrong, self.code], [*sources, ""], strict=True) if new != old]

        def put_into(space):
            names = set()
            for source in changed:
                exec(compile(source, f"{self.assignment}-{self.name}", "exec"), space)
                for node in ast.parse(source).body:
                    targets = [node] if isinstance(node, ast.FunctionDef) else getattr(node, "targets", [])
                    names |= {getattr(target, "name", getattr(target, "id", None)) for target in targets}
            return {name: space[name] for name in names - {None}}

        return put_into


def read():
    """All wrong submissions, of all assignments."""
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for name, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
            edits = tuple((find, replace) for find, replace in table.get("edits", ()))
            loses, told = frozenset(table["loses"]), table.get("told", ())
            told = (told,) if isinstance(told, str) else tuple(told)
            yield Wrong(path.stem, name, loses, told, edits, table.get("code", ""))


WRONG = list(read())


def reached(space, name, seen=()):
    """The names of a space that a function uses, those that its functions use included, and its own."""
    names, codes = {name, *seen}, [getattr(space.get(name), "__code__", None)]
    while codes:
        if (code := codes.pop()) is not None:
            codes += [part for part in code.co_consts if hasattr(part, "co_names")]
            for other in set(code.co_names) & set(space) - names:
                names = reached(space, other, names)
    return names


def told(question, space):
    """What is wrong with the answers of a space to a question; nothing if they are right."""
    check, values = question.check, []
    for case, want in zip(question.cases, question.wanted, strict=True):
        arguments = {key: value.make() if hasattr(value, "make") else value for key, value in case.items()}
        handed = copy.deepcopy(arguments)
        try:
            with np.errstate(all="ignore"):
                values.append(space[check.asks](**handed))
            with contextlib.suppress(TypeError):  # a class cannot be packed
                if pack(handed) != pack(arguments):
                    return "an argument is changed"
            fault = check.compare(values[-1], want, case)
            if not fault and check.together and len(values) == len(question.cases):
                fault = check.together(values)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if fault:
            return fault
    return None


def lost(name, variant, overrides=lambda ours: {}):
    """The checks that a submission does not pass, with what it was told; run here, without a sandbox."""
    space = run_reference(assignment(name, variant).cells)
    changes = overrides(space)
    # Where only reference solutions take part nothing can be lost; they are tried by themselves.
    concerned = [q for q in questions(name, variant) if not changes or reached(space, q.check.asks) & set(changes)]
    space.update(changes)
    return {q.check.id: fault for q in concerned if (fault := told(q, space))}

"""Wrong things as edits of right ones: tests/mutants/group.toml has the edits that make tests/mutants/group.py wrong.

A table such as ``[group_variance_unbiased]`` says in `why` what is wrong, in `caught_by` which check must notice, and
in `edits` which text of the right file is replaced by which. Each text to be replaced must stand there exactly once.
"""

import linecache
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

FOLDER = Path(__file__).parent / "mutants"


class EditError(ValueError):
    """An edit does not fit the text that it is an edit of."""


def edited(text, edits):
    """A text with some parts replaced; edits are pairs (find, replace), all of the text as it was."""
    places = []
    for find, replace in edits:
        if (times := text.count(find)) != 1:
            raise EditError(f"expected the text to replace exactly once, got it {times} times; edit it:\n{find}")
        places.append((text.index(find), find, replace))
    parts, end = [], 0
    for start, find, replace in sorted(places):
        if start < end:
            raise EditError(f"expected edits of different places, got two of the same one; join them:\n{find}")
        parts += [text[end:start], replace]
        end = start + len(find)
    return "".join([*parts, text[end:]])


class Mutant(NamedTuple):
    """A right module with something wrong."""

    name: str
    base: str  # the right one: a file in tests/mutants
    why: str
    caught_by: str
    edits: list

    def text(self):
        """The source with the edits."""
        text = (FOLDER / f"{self.base}.py").read_text(encoding="utf-8")
        try:
            return edited(text, [(edit["find"], edit["replace"]) for edit in self.edits])
        except EditError as error:
            raise EditError(f"{self.name} in {self.base}.toml: {error}") from None

    def module(self):
        """The module that the source makes; tracebacks show its lines, and pickle finds its classes."""
        name = f"mutants.{self.name}"
        if name not in sys.modules:
            text, file = self.text(), f"{FOLDER / self.base}.py as {self.name}"
            linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
            module = ModuleType(name)
            exec(compile(text, file, "exec"), module.__dict__)
            sys.modules[name] = module
        return sys.modules[name]


def mutants(*bases):
    """All mutants of some right files, by their names."""
    found = {}
    for base in bases:
        table = tomllib.loads((FOLDER / f"{base}.toml").read_text(encoding="utf-8"))
        found |= {name: Mutant(name, base, **entry) for name, entry in table.items()}
    return found

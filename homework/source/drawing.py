"""What the hidden checks share: numbers that come from the variant."""

import json
import zlib
from pathlib import Path

import numpy as np

from homework.grading.assignment import Check, Manual
from homework.grading.comparing import close, same
from homework.grading.plain import Code

__all__ = ["Check", "Code", "Manual", "auto", "choose", "close", "generator", "notebook_of", "same"]

HERE = Path(__file__).resolve().parent


def generator(variant, *words):
    """A random generator for one purpose, named by words and numbers, in one variant."""
    words = [int(variant) if str(variant).isdecimal() else variant, *words]
    numbers = [zlib.crc32(word.encode()) if isinstance(word, str) else int(word) for word in words]
    return np.random.default_rng(np.random.SeedSequence(numbers))


def choose(rng, items, size):
    """Some of several items, each at most once, in random order."""
    return [items[i] for i in rng.permutation(len(items))[:size]]


def auto(variant, id, points, about, function, draw, compare=same, **more):
    """A check whose cases depend on the variant as well as on the grader's own generator.

    Parameters
    ----------
    variant : int or str
    id : str
        Also the id of the cell in the notebook that has its points.
    points : float
    about : str
        What it looks at, for the feedback.
    function : str
        Name in the student's notebook.
    draw : callable
        ``draw(rng)``, a list of dicts of arguments.
    compare : callable
    **more : object
        Other fields of the check.

    Returns
    -------
    Check
    """

    def cases(rng):
        return draw(generator(variant, id, int(rng.integers(2**32))))

    return Check(id, points, about, function, cases=cases, compare=compare, **more)


def notebook_of(name, cells, variant):
    """The source notebook of a variant, as JSON, with what `cells(variant)` says in its drawn cells, by their ids."""
    notebook, drawn = json.loads((HERE / name / f"{name}.ipynb").read_text(encoding="utf-8")), cells(variant)
    missing = set(drawn) - {cell["id"] for cell in notebook["cells"]}
    if missing:
        raise ValueError(f"{name}: hidden.py draws cells that the notebook lacks: {', '.join(sorted(missing))}")
    for cell in notebook["cells"]:
        if cell["id"] in drawn:
            cell["source"] = drawn[cell["id"]].splitlines(keepends=True)
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    notebook["metadata"]["homework"] = {"assignment": name, "variant": str(variant)}
    return notebook

"""Homework 1, standardize: what is drawn from the variant, the checks, the rubric."""

from functools import partial

import numpy as np

from homework.source.drawing import Manual, auto, choose, close, generator, notebook_of

NAME = "hw01"
FEATURES = [
    "wind in m/s",
    "pressure in hPa",
    "rain in mm",
    "light in lux",
    "cost in cents",
    "mass in g",
    "angle in rad",
]


def draw(variant):
    """The setting of a variant."""
    rng = generator(variant, NAME)
    return {
        "ddof": int(rng.integers(2)),
        "features": choose(rng, FEATURES, 4),
        "scales": tuple(float(s) for s in rng.permutation([0.03, 1.5, 40.0, 900.0])),
        "constant": float(rng.choice([0.1, 0.3, 0.7, 1.1])),
        "rows": int(rng.integers(23, 40)),
        "seed": int(rng.integers(10**6)),
    }


def cells(variant):
    """The drawn cells, by their ids."""
    s = draw(variant)
    divisor = "n - 1" if s["ddof"] else "n"
    return {
        "setting": f"""\
# Drawn from the variant {variant}. Other classes have another setting.
DDOF = {s["ddof"]}  # every variance here is divided by {divisor}
FEATURES = {s["features"]!r}
SCALES = {s["scales"]!r}
CONSTANT = {s["constant"]!r}  # what a broken sensor says, in a fifth feature
ROWS, SEED = {s["rows"]}, {s["seed"]}""".replace("'", '"'),
        "divisor": f"In this variant the variance of a feature is divided by ${divisor.replace(' ', '')}$: "
        f"`DDOF = {s['ddof']}`. Keep to it everywhere, covariances included.",
    }


notebook = partial(notebook_of, NAME, cells)


def _table(rng, n, d):
    return rng.uniform(-5, 5, d) + rng.uniform(0.2, 4, d) * rng.normal(size=(n, d))


def _rank(rng, n, d):
    """A table whose last column is a sum of the others."""
    X = _table(rng, n, d)
    return np.column_stack([X, X @ rng.uniform(0.5, 2, d)])


def _constant(rng, n):
    """A number whose repetition does not have exactly its own mean, as 0.1 ten times, and so no variance of zero."""
    while True:
        value = float(rng.uniform(0.1, 9))
        if np.var(np.full(n, value)) > 0 and np.var(np.column_stack([np.full(n, value)] * 3), axis=0)[0] > 0:
            return value


def _fits(rng):
    return [{"X": _table(rng, *shape) * rng.choice([1e-3, 1, 1e4], shape[1])} for shape in ((9, 4), (31, 2), (3, 5))]


def _constants(rng):
    found = []
    for n in (13, 57):
        X = _table(rng, n, 3)
        X[:, 1] = _constant(rng, n)
        X[:, 2] = rng.uniform(1, 2) + 1e-9 * rng.normal(size=n)
        found.append({"X": X})
    return found


def constants(got, want, case):
    """Only whether constant features are told from others; how large a scale is, another check asks."""
    if not isinstance(got, dict) or np.shape(got.get("scale")) != want["scale"].shape:
        return "scale is not an array with one number per feature"
    scale = np.asarray(got["scale"], dtype=float)
    if not np.isfinite(scale).all():
        return "a scale is NaN or infinite"
    if scale[1] != 1:
        return "a constant feature does not have scale 1"
    if abs(scale[2] / want["scale"][2] - 1) > 0.5:
        return "a feature that varies by a billionth is not given its own scale"
    return None


def _applied(rng):
    found = []
    for shape in ((6, 4), (1, 3), (11, 2)):
        state = {"mean": rng.normal(size=shape[1]), "scale": rng.uniform(0.3, 5, shape[1])}
        found.append({"X": _table(rng, *shape), "state": state})
    return found


def _batches(rng):
    found = []
    for d, sizes, shift in ((3, (5, 2, 9), 0), (2, (4, 1, 1, 7), 0), (4, (8, 3), 1e6)):
        found.append({"batches": [shift + _table(rng, n, d) for n in sizes]})
    return found


def _folds(rng):
    found = []
    for n, d, cuts in ((17, 3, [5, 9]), (23, 5, [4, 11, 15])):
        X = _table(rng, n, d)
        y = X @ rng.normal(size=d) + rng.normal(size=n) + rng.uniform(-9, 9)
        folds = np.split(rng.permutation(n), cuts)
        found.append({"X": X, "y": y, "folds": folds, "strength": float(rng.uniform(0.5, 5))})
    return found


def _white(rng):
    found = []
    for n, d in ((19, 3), (12, 4)):
        mix = rng.normal(size=(d, d)) + 2 * np.eye(d)
        found.append({"X_train": _table(rng, n, d) @ mix, "X": _table(rng, 5, d) @ mix})
    return found


def _flat(rng):
    few = _table(rng, 3, 5)
    return [{"X_train": _rank(rng, 15, 3), "X": _table(rng, 6, 4)}, {"X_train": few, "X": _table(rng, 2, 5)}]


def checks(variant):
    """What a machine marks."""
    table = [
        ("fit-scores", 10, "mean and deviation of each feature", "fit", _fits),
        ("constant-scores", 10, "constant features, and nearly constant ones", "fit", _constants, constants),
        ("apply-scores", 10, "new rows by the statistics of others", "apply", _applied),
        ("batches-scores", 15, "a table read in pieces", "from_batches", _batches, close(1e-6)),
        ("validation-scores", 20, "cross-validation without a leak", "cross_validate", _folds, close(1e-6)),
        ("zca-scores", 10, "whitening", "zca", _white, close(1e-6)),
        ("flat-scores", 5, "whitening where there is no variance", "zca", _flat, close(1e-5)),
    ]
    return [auto(variant, *row) for row in table]


def manual(variant):
    """What a person marks."""
    leak = """\
8 points: names a quantity that came from the test rows (mean, deviation, or both) and where it entered.
6 points: says in which direction the error is misjudged, and for which tables this is visible (few rows, heavy tails).
6 points: a second leak that the code does not have but could (features or strength chosen on all rows, duplicates)."""
    return [Manual("leak-in-words", 20, leak)]

"""Homework 6, initialization: the activation that is drawn from the variant, the checks, the rubric."""

from functools import partial

import numpy as np

from homework.source.drawing import Manual, auto, close, generator, notebook_of

NAME = "hw06"
# Where the integrals are taken for the numbers in the notebook: far more nodes than anybody needs.
Z = np.linspace(-14, 14, 20001)
DENSITY = np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi) * (Z[1] - Z[0])


def draw(variant):
    """The setting of a variant."""
    rng = generator(variant, NAME)
    low, high = (0.8, 0.8, 0.1, 1.0), (1.4, 2.0, 0.4, 2.0)
    a, b, c, d = (round(float(value), 2) for value in rng.uniform(low, high))
    return {"a": a, "b": b, "c": c, "d": d, "seed": int(rng.integers(10**6))}


def _functions(s):
    """The activation, its derivative, and the mean of something over normal numbers."""

    def f(x):
        return s["a"] * x / (1 + np.exp(-s["b"] * x)) + s["c"] * np.sin(s["d"] * x)

    def slope(x):
        gate = 1 / (1 + np.exp(-s["b"] * x))
        return s["a"] * (gate + s["b"] * x * gate * (1 - gate)) + s["c"] * s["d"] * np.cos(s["d"] * x)

    return f, slope, lambda values: float(DENSITY @ values)


def _path(factor, f, mean):
    """Second moments through three layers, from 2."""
    path = [2.0]
    for _ in range(3):
        path.append(factor * mean(f(np.sqrt(path[-1]) * Z) ** 2))
    return path


def _measured(f):
    """What comes out of the small net of the notebook, and what mistakes give."""
    weights = [np.cos(np.arange(12.0)).reshape(4, 3), np.sin(np.arange(8.0)).reshape(2, 4), np.eye(5, 2) + 0.5]
    X = np.cos(np.arange(18.0) ** 2).reshape(6, 3)

    def before(signal, f=f):
        found = []
        for w in weights:
            found.append(signal @ w.T)
            signal = f(found[-1])
        return found

    right = before(X)
    return {
        "MEASURED": [np.mean(z**2) for z in right],
        "MEASURED_AFTER": [np.mean(f(z) ** 2) for z in right],
        "MEASURED_VARIANCES": [np.var(z) for z in right],
        "MEASURED_OF_ACTIVATED": [np.mean(z**2) for z in before(f(X))],
        "MEASURED_WITHOUT": [np.mean(z**2) for z in before(X, lambda z: z)],
    }


def cells(variant):
    """The drawn cells, by their ids."""
    s = draw(variant)
    f, slope, mean = _functions(s)
    moment, one = mean(f(Z) ** 2), mean(f(Z))
    wide = np.sqrt(2) * Z
    moment_at_two = mean(f(wide) ** 2)
    numbers = {
        "MOMENT": moment,
        "VARIANCE": moment - one**2,
        "MEAN": one,
        "MOMENT_OF_Q_Z": mean(f(2 * Z) ** 2),
        "MOMENT_AT_TWO": moment_at_two,
        "GAIN": 1 / np.sqrt(moment),
        "GAIN_AT_TWO": np.sqrt(2 / moment_at_two),
        "SLOPE_AT_ONE": slope(1.0),
        "BACKWARD": 1 / np.sqrt(mean(slope(Z) ** 2)),
        "BACKWARD_AT_TWO": 1 / np.sqrt(mean(slope(wide) ** 2)),
        "BACKWARD_OF_Q_Z": 1 / np.sqrt(mean(slope(2 * Z) ** 2)),
        "PATH": _path(1.2**2, f, mean),
        "PATH_OF_GAIN": _path(1.2, f, mean),
        "SLOPE_OF_MAP": mean(f(Z) * slope(Z) * Z) / moment,
        "SLOPE_AT_TWO": 2 / moment_at_two * mean(f(wide) * slope(wide) * Z) / np.sqrt(2),
        **_measured(f),
    }
    # The slope at one with all its digits: differences are told from it by them.
    digits = {"SLOPE_AT_ONE": 17}
    lines = []
    for name, value in numbers.items():
        short = [float(f"{v:.{digits.get(name, 10)}g}") for v in np.ravel(value)]
        lines.append(f"{name} = {short if np.ndim(value) else short[0]!r}")
    return {
        "setting": f'''\
# Drawn from the variant {variant}. Other classes have another activation.
A, B, C, D, SEED = {s["a"]}, {s["b"]}, {s["c"]}, {s["d"]}, {s["seed"]}


def activation(x):
    """The activation of this class, which nobody has published."""
    return A * x / (1 + np.exp(-B * x)) + C * np.sin(D * x)''',
        "activation-in-words": f"$f(x) = {s['a']}\\,x\\,\\mathrm{{sigmoid}}({s['b']}\\,x) "
        f"+ {s['c']}\\,\\sin({s['d']}\\,x)$. "
        "No library knows its gain.",
        "by-quadrature": "\n".join(
            ["# What comes out, at q = 1 where nothing else is said, and what mistakes give.", *lines]
        ),
    }


notebook = partial(notebook_of, NAME, cells)


def _scales(rng):
    return [{"q": float(q)} for q in np.exp(rng.uniform(-2, 1.5, 5))]


def _points(rng):
    return [{"x": rng.uniform(-6, 6, shape)} for shape in ((7,), (3, 4))]


def _depths(rng):
    return [
        {"gain": float(rng.uniform(0.7, 1.6)), "q": float(rng.uniform(0.2, 3)), "depth": depth} for depth in (1, 5, 12)
    ]


def _weights(rng):
    found = []
    for sizes in ((60, 300, 90), (400, 50, 50, 200)):
        found.append({"sizes": sizes, "gain": float(rng.uniform(0.5, 2.5)), "seed": int(rng.integers(2**31))})
    return found


def weights(got, want, case):
    """Shapes, the spread that the gain asks for, and the generator; in which order it fills an array is free."""
    if not isinstance(got, list | tuple) or len(got) != len(want):
        return "expected a list with one array a layer"
    for number, (ours, theirs) in enumerate(zip(got, want, strict=True), start=1):
        if np.shape(ours) != theirs.shape:
            return f"layer {number}: expected shape {theirs.shape}, got {np.shape(ours)}"
        values = np.asarray(ours, dtype=float)
        # Five deviations of a variance of normal numbers; uniform ones scatter less.
        ratio, allowed = (values**2).mean() * values.shape[1] / case["gain"] ** 2, 5 * np.sqrt(2 / values.size)
        if not abs(ratio - 1) < allowed:
            return f"layer {number}: the variance is not what the gain asks for"
        if not abs(values.mean()) < 5 * values.std() / np.sqrt(values.size):
            return f"layer {number}: the mean is not zero"
        if len(np.unique(values)) < 0.9 * values.size:
            return f"layer {number}: the numbers are not random"
        if not abs((values**4).mean() / (values**2).mean() ** 2 - 3) < 5 * np.sqrt(24 / values.size):
            return f"layer {number}: the numbers are not normal"
        drawn = np.sort(values.ravel()) * np.sqrt(values.shape[1]) / case["gain"]
        if number > 1 and _near(drawn, np.random.default_rng(case["seed"]).normal(size=values.size)):
            return f"layer {number} begins with the numbers of layer 1; expected one generator for all layers"
        if not _near(drawn, theirs.ravel() * np.sqrt(theirs.shape[1]) / case["gain"]):
            return f"layer {number}: the numbers are not those that np.random.default_rng(seed) draws, layer by layer"
    return None


def _near(ordered, numbers):
    return np.allclose(ordered, np.sort(numbers), rtol=0, atol=1e-4)


def _nets(rng):
    found = []
    for sizes in ((6, 9, 4), (5, 8, 8, 7)):
        pairs = zip(sizes[1:], sizes[:-1], strict=True)
        found.append({"weights": [rng.normal(size=shape) / 2 for shape in pairs], "X": rng.normal(size=(11, sizes[0]))})
    return found


def checks(variant):
    """What a machine marks."""
    precise = close(1e-6)
    table = [
        ("moment-scores", 15, "the second moment by quadrature", "second_moment", _scales, precise),
        ("gain-scores", 10, "the gain", "gain", _scales, precise),
        ("derivative-scores", 10, "the derivative of the activation", "derivative", _points, close(1e-12)),
        ("backward-scores", 10, "the gain for gradients", "backward_gain", _scales, precise),
        ("depth-scores", 10, "second moments through depth", "moments", _depths, precise),
        ("slope-scores", 10, "whether the fixed point attracts", "slope_of_map", _scales, precise),
        ("weights-scores", 5, "initial weights", "initial_weights", _weights, weights),
        ("measure-scores", 10, "second moments in a net", "measure", _nets, precise),
    ]
    return [auto(variant, *row) for row in table]


def manual(variant):
    """What a person marks."""
    rubric = """\
8 points: derives the gain from one layer's second moment, with the assumptions (independent weights, mean, width).
6 points: gets M' by the chain rule; says that below one the fixed point attracts and above one a small error grows.
6 points: compares theory and the measured net, says how far they agree and why a finite width departs from it."""
    return [Manual("gain-derived", 20, rubric)]

"""Homework 2, loss surfaces: what is drawn from the variant, the checks, the rubric."""

import math
from functools import partial

import numpy as np

from homework.source.drawing import Manual, auto, close, generator, notebook_of, same

NAME = "hw02"
X = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 1.0], [-2.0, 0.0]])
Y, W = np.array([1.0, 0.0, 2.0, -1.0]), np.array([0.5, -1.0])


def draw(variant):
    """The setting of a variant."""
    rng = generator(variant, NAME)
    return {
        "factor": float(rng.choice([0.5, 1.0])),
        "penalty": round(float(rng.uniform(0.02, 0.3)), 2),
        "rho": round(float(rng.uniform(0.3, 0.9)), 2),
        "seed": int(rng.integers(10**6)),
    }


def _numbers(value):
    """Rounded to nine digits, as a literal."""
    return repr(np.round(np.asarray(value, dtype=float), 9).tolist())


def _rates(low, high):
    """Kappa, the largest stable rate, the best one and the factor."""
    return [high / low, 2 / high, 2 / (high + low), (high - low) / (high + low)]


def _by_hand(s):
    """What comes out for the small example, and what comes out of the usual mistakes."""
    c, penalty = s["factor"], s["penalty"]
    error, n = X @ W - Y, len(X)
    square, slope = error @ error / n, X.T @ error / n
    plain = X.T @ X / n
    H = 2 * c * plain + penalty * np.eye(2)
    low, high = np.linalg.eigvalsh(H)
    root = math.sqrt(high / low)
    heavy = (root - 1) / (root + 1)
    weights, other = W @ W, {0.5: 1.0, 1.0: 0.5}[c]
    step = W - 0.1 * (2 * c * slope + penalty * W)
    after = 2 * c * (plain @ step - X.T @ Y / n) + penalty * step
    values = np.linalg.svd(X, compute_uv=False)[::-1]
    s_rho = 2 * c * np.array([1 - s["rho"], 1 + s["rho"]]) + penalty
    return {
        "LOSS, NO_PENALTY, OTHER_FACTOR": [
            c * square + penalty / 2 * weights,
            c * square,
            other * square + penalty / 2 * weights,
        ],
        "PENALTY_NOT_HALVED": c * square + penalty * weights,
        "PENALTY_SUBTRACTED": c * square - penalty / 2 * weights,
        "LOSS_OF_SUMS": c * square * n + penalty / 2 * weights,
        "GRADIENT": 2 * c * slope + penalty * W,
        "GRADIENT_HALVED": c * slope + penalty * W,
        "GRADIENT_NO_PENALTY": 2 * c * slope,
        "GRADIENT_PENALTY_DOUBLED": 2 * c * slope + 2 * penalty * W,
        "GRADIENT_OF_SUMS": 2 * c * slope * n + penalty * W,
        "GRADIENT_WRONG_SIGN": -2 * c * slope + penalty * W,
        "HESSIAN": H,
        "HESSIAN_NO_PENALTY": 2 * c * plain,
        "HESSIAN_HALVED": c * plain + penalty * np.eye(2),
        "KAPPA, KAPPA_OF_ROOTS": [high / low, root],
        "LARGEST, BEST": [2 / high, 2 / (high + low)],
        "FACTOR_OF_DESCENT": (high - low) / (high + low),
        "OF_X": _rates(*values),
        "OF_THE_DATA": _rates(*np.linalg.eigvalsh(2 * c * plain)),
        "PATH": [W, step, step - 0.1 * after],
        "RATE, MOMENTUM, FACTOR_HEAVY": [4 / (math.sqrt(high) + math.sqrt(low)) ** 2, heavy**2, heavy],
        "HEAVY_PATH": [W, step, step - 0.1 * after + 0.5 * (step - W)],
        "KAPPA_RHO": s_rho[1] / s_rho[0],
    }


def cells(variant):
    """The drawn cells, by their ids."""
    s = draw(variant)
    formula = {0.5: r"\frac{1}{2n}", 1.0: r"\frac{1}{n}"}[s["factor"]]
    lines = []
    for name, value in _by_hand(s).items():
        numbers = _numbers(value)
        lines.append(f"{name} = {numbers[1:-1] if ',' in name else numbers}")
    return {
        "setting": f"""\
# Drawn from the variant {variant}. Other classes have another loss.
FACTOR = {s["factor"]}  # the loss is FACTOR / n * |Xw - y|^2 + PENALTY / 2 * |w|^2
PENALTY = {s["penalty"]}
RHO, SEED = {s["rho"]}, {s["seed"]}""",
        "loss-in-words": f"In this variant $L(w) = {formula} \\lVert Xw - y \\rVert^2 + \\frac{{{s['penalty']}}}{{2}} "
        "\\lVert w \\rVert^2$. Mind the factor, and mind the penalty, which bends the surface too. "
        "There is no bias.",
        "by-hand": "\n".join(["# The small example, worked out by hand, and what the usual mistakes give.", *lines]),
    }


notebook = partial(notebook_of, NAME, cells)


def _problem(rng, n, d):
    table = rng.normal(size=(n, d)) @ (np.eye(d) + 0.4 * rng.normal(size=(d, d))) * rng.uniform(0.5, 2, d)
    return {"X": table, "y": rng.normal(size=n), "w": rng.normal(size=d)}


SHAPES = ((7, 3), (12, 2), (5, 4))


def _problems(rng):
    return [_problem(rng, *shape) for shape in SHAPES]


def _tables(rng):
    return [{"X": _problem(rng, *shape)["X"]} for shape in (*SHAPES, (3, 5))]


def _paths(rng):
    found = []
    for shape, steps in zip(SHAPES, (4, 7, 1), strict=True):
        problem = _problem(rng, *shape)
        found.append(problem | {"lr": float(rng.uniform(0.02, 0.1)), "steps": steps})
    return found


def _heavy_paths(rng):
    return [{**path, "momentum": float(rng.uniform(0.3, 0.9))} for path in _paths(rng)]


def _steps(rng):
    found = [{"kappa": float(rng.uniform(2, 500)), "shrink": float(10 ** rng.uniform(-6, -1))} for _ in range(6)]
    # Exactly so many steps of a half, of descent or of the heavy ball: none more.
    found += [{"kappa": kappa, "shrink": 0.5 ** int(rng.choice([2, 4, 8]))} for kappa in (3.0, 9.0)]
    return [*found, {"kappa": 1.0, "shrink": float(rng.uniform(0.1, 0.5))}]


def whole(got, want, case):
    """The same numbers, and integers."""
    said = same(got, want, case)
    parts = [] if said else [key for key in want if np.asarray(got[key]).dtype.kind not in "iu"]
    return said or (f"entry {parts[0]!r}: expected an integer" if parts else None)


def _correlations(rng):
    return [{"rho": float(rho)} for rho in (*rng.uniform(0.05, 0.95, 3), *rng.uniform(-0.95, -0.05, 3))]


def checks(variant):
    """What a machine marks."""
    table = [
        ("loss-scores", 10, "the loss and its gradient", "loss_and_gradient", _problems),
        ("hessian-scores", 10, "the Hessian, penalty included", "hessian", _tables),
        ("curvature-scores", 15, "condition number and rates", "curvature", _tables),
        ("descend-scores", 10, "gradient descent", "descend", _paths),
        ("heavy-scores", 10, "best rate and momentum", "heavy_ball", _tables),
        ("momentum-scores", 10, "descent with momentum", "descend_with_momentum", _heavy_paths),
        ("steps-scores", 10, "how many steps are needed", "steps_needed", _steps, whole),
        ("correlation-scores", 5, "two standardized features", "kappa_of_two", _correlations),
    ]
    return [auto(variant, *row[:5], compare=(*row, close(1e-7))[5]) for row in table]


def manual(variant):
    """What a person marks."""
    rubric = """\
8 points: in the directions of the eigenvectors descent is one factor a step, 1 - lr * eigenvalue; derived, not stated.
6 points: the best rate makes the two extreme factors equal in size, and why no other rate is better.
6 points: a feature a thousand times larger lowers the largest stable rate a million times; what the penalty does."""
    return [Manual("best-rate", 20, rubric)]

"""Homework 3, a batch norm with weights by hand: what is drawn from the variant, the checks, the rubric."""

from functools import partial

import numpy as np

from homework.source.drawing import Manual, auto, close, generator, notebook_of

NAME = "hw03"


def draw(variant):
    """The setting of a variant."""
    rng = generator(variant, NAME)
    return {
        "axis": int(rng.integers(2)),
        "weight_of": str(rng.choice(["new", "old"])),
        "eps": float(f"{10 ** rng.uniform(-4, -2):.2g}"),
        "rows": int(rng.integers(5, 9)),
        "columns": int(rng.integers(2, 5)),
        "seed": int(rng.integers(10**6)),
    }


def cells(variant):
    """The drawn cells, by their ids."""
    s = draw(variant)
    shape, lie = ("(n, d)", "rows") if s["axis"] == 0 else ("(d, n)", "columns")
    small, of_examples = [("(1, d)", "(n, 1)"), ("(d, 1)", "(1, n)")][s["axis"]]
    other = {"new": "that of the old value is 1 - p", "old": "that of the new batch is 1 - p"}[s["weight_of"]]
    whose = {"new": "the new batch", "old": "the old value"}[s["weight_of"]]
    return {
        "setting": f"""\
# Drawn from the variant {variant}. Other classes have another setting.
AXIS = {s["axis"]}  # of the examples, which are {lie}: x has shape {shape}
WEIGHT_OF = "{s["weight_of"]}"  # whose weight momentum p is; {other}
EPS = {s["eps"]!r}
N, D, SEED = {s["rows"]}, {s["columns"]}, {s["seed"]}""",
        "layout": f"In this variant examples are {lie}: $x$ has shape `{shape}`. Statistics, $\\gamma$ and $\\beta$ "
        f"have shape `{small}`, the weights of the examples `{of_examples}`. Momentum is "
        f"the weight of **{whose}**. Other classes have it otherwise.",
    }


notebook = partial(notebook_of, NAME, cells)


class _Draw:
    """Batches in the layout of a variant."""

    def __init__(self, rng, axis, n, d):
        self.rng, self.axis, self.n, self.d = rng, axis, n, d

    def turned(self, table):
        return table if self.axis == 0 else np.ascontiguousarray(table.T)

    def x(self):
        table = self.rng.normal(size=(self.n, self.d)) * self.rng.uniform(0.3, 3, self.d)
        return self.turned(table + self.rng.uniform(-4, 4, self.d))

    def dy(self):
        return self.turned(self.rng.normal(size=(self.n, self.d)))

    def row(self, low=-2, high=2):
        return self.turned(self.rng.uniform(low, high, (1, self.d)))

    def gamma(self):
        return self.row(0.5, 2) * self.turned(self.rng.choice([-1, 1], (1, self.d)))

    def weights(self):
        """They add up to one; one example in four is padding."""
        w = self.rng.uniform(0.2, 1, self.n)
        w[self.rng.permutation(self.n)[: self.n // 4]] = 0
        return self.turned(w[:, None] / w.sum())

    def eps(self):
        return float(self.rng.uniform(0.02, 0.3))

    def state(self):
        return {"mean": self.row(), "var": self.row(0.5, 2), "batches": int(self.rng.integers(2, 9))}

    def cache(self, eps, weights):
        x = self.x()
        mu = (weights * x).sum(axis=self.axis, keepdims=True)
        var = (weights * (x - mu) ** 2).sum(axis=self.axis, keepdims=True)
        inv_std = 1 / np.sqrt(var + eps)
        return {"mu": mu, "xc": x - mu, "var": var, "inv_std": inv_std, "x_hat": (x - mu) * inv_std}


def checks(variant):
    """What a machine marks."""
    axis = draw(variant)["axis"]

    def several(make, shapes=((7, 3), (4, 5), (11, 2))):
        return lambda rng: [make(_Draw(rng, axis, *shape)) for shape in shapes]

    def forward(d):
        return {"x": d.x(), "weights": d.weights(), "gamma": d.gamma(), "beta": d.row(), "eps": d.eps()}

    def with_missing(make):
        def cases(rng):
            found = several(make)(rng)
            last = found[-1]["x"]
            last.flat[rng.choice(np.flatnonzero(np.broadcast_to(found[-1]["weights"], last.shape)))] = np.nan
            return found

        return cases

    def staged(d):
        weights = d.weights()
        return {"dy": d.dy(), "cache": d.cache(d.eps(), weights), "weights": weights, "gamma": d.gamma()}

    def closed(d):
        given = staged(d)
        cache = given.pop("cache")
        return given | {"x_hat": cache["x_hat"], "inv_std": cache["inv_std"]}

    def update(d):
        return {"state": d.state(), "x": d.x(), "weights": d.weights(), "momentum": float(d.rng.uniform(0.05, 0.4))}

    def average(d):
        return {"state": d.state(), "x": d.x(), "weights": d.weights(), "momentum": None}

    def evaluate(d):
        return {"x": d.x(), "state": d.state(), "gamma": d.gamma(), "beta": d.row(), "eps": d.eps()}

    def backward(d):
        return {"dy": d.dy(), "x": d.x(), "state": d.state(), "gamma": d.gamma(), "eps": d.eps()}

    def images(rng):
        shapes = ((5, 3, 2, 4), (2, 4, 5, 3))
        found = []
        for shape in shapes:
            x = rng.normal(size=shape) * rng.uniform(0.5, 3, (1, shape[1], 1, 1)) + rng.normal(
                size=shape[:1] + (1, 1, 1)
            )
            gamma, beta = rng.uniform(0.5, 2, shape[1]), rng.normal(size=shape[1])
            found.append({"x": x, "gamma": gamma, "beta": beta, "eps": float(rng.uniform(0.02, 0.3))})
        return found

    one = ((1, 3), (1, 2), (6, 4))
    table = [
        ("forward-scores", 10, "the forward pass with its intermediates", "forward", with_missing(forward)),
        ("staged-scores", 20, "the backward pass, node by node", "backward_staged", several(staged)),
        ("closed-scores", 15, "the backward pass in one formula", "backward_closed", several(closed)),
        ("update-scores", 10, "running statistics", "update", with_missing(update)),
        ("average-scores", 5, "running statistics as an average over all batches", "update", several(average)),
        ("evaluate-scores", 10, "evaluation, also of one example", "evaluate", several(evaluate, one)),
        ("evaluate-backward-scores", 5, "gradients in evaluation", "evaluate_backward", several(backward, one)),
        ("images-scores", 5, "statistics of images", "forward_images", images),
    ]
    return [auto(variant, *row, compare=close(1e-8)) for row in table]


def manual(variant):
    """What a person marks."""
    rubric = """\
8 points: from the staged gradients to one formula, each step following from the last, each weight in its place.
4 points: says why the weighted average of x_hat is zero and where the derivation needs it.
4 points: padding gets gamma s dy, as in evaluation: it moves no statistics, but its own output depends on it.
4 points: dy = w gives dx = 0, with both sums worked out; so a check needs a random upstream gradient."""
    return [Manual("derivation", 20, rubric)]

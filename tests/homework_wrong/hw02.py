"""Homework 2, loss surfaces."""

import math

import numpy as np

from . import wrong


@wrong("loss-scores", "descend-scores", "momentum-scores")
def penalty_not_in_the_gradient(ours):
    def loss_and_gradient(X, y, w):
        found = right(X, y, w)
        return found | {"gradient": found["gradient"] - ours["PENALTY"] * w}

    right = ours["loss_and_gradient"]
    return {"loss_and_gradient": loss_and_gradient}


@wrong("loss-scores")
def penalty_not_halved(ours):
    def loss_and_gradient(X, y, w):
        found = right(X, y, w)
        return found | {"loss": found["loss"] + ours["PENALTY"] / 2 * w @ w}

    right = ours["loss_and_gradient"]
    return {"loss_and_gradient": loss_and_gradient}


@wrong("hessian-scores", "curvature-scores", "heavy-scores")
def hessian_of_the_data_alone(ours):
    return {"hessian": lambda X: 2 * ours["FACTOR"] * X.T @ X / len(X) + 1e-12 * np.eye(X.shape[1])}


@wrong("hessian-scores", "curvature-scores", "heavy-scores")
def hessian_of_the_other_loss(ours):
    factor = 1 / ours["FACTOR"] / 2
    return {"hessian": lambda X: 2 * factor * X.T @ X / len(X) + ours["PENALTY"] * np.eye(X.shape[1])}


@wrong("curvature-scores")
def ratio_of_roots(ours):
    right = ours["curvature"]
    return {"curvature": lambda X: right(X) | {"kappa": math.sqrt(right(X)["kappa"])}}


@wrong("curvature-scores")
def one_over_the_largest(ours):
    right = ours["curvature"]
    return {"curvature": lambda X: right(X) | {"best_lr": right(X)["largest_stable_lr"] / 2}}


@wrong("descend-scores")
def without_the_start(ours):
    right = ours["descend"]
    return {"descend": lambda X, y, w, lr, steps: right(X, y, w, lr, steps)[1:]}


@wrong("heavy-scores")
def factor_for_momentum(ours):
    right = ours["heavy_ball"]
    return {"heavy_ball": lambda X: right(X) | {"momentum": right(X)["factor"]}}


@wrong("momentum-scores")
def momentum_as_average(ours):
    def descend_with_momentum(X, y, w, lr, momentum, steps):
        path, velocity = [w], np.zeros_like(w)
        for _ in range(steps):
            gradient = ours["loss_and_gradient"](X, y, path[-1])["gradient"]
            velocity = momentum * velocity + (1 - momentum) * gradient
            path.append(path[-1] - lr * velocity)
        return np.array(path)

    return {"descend_with_momentum": descend_with_momentum}


@wrong("steps-scores")
def rounded_to_the_nearest(ours):
    def steps_needed(kappa, shrink):
        factors = {"descent": (kappa - 1) / (kappa + 1), "heavy_ball": (kappa**0.5 - 1) / (kappa**0.5 + 1)}
        return {key: round(math.log(shrink) / math.log(f)) if f else 1 for key, f in factors.items()}

    return {"steps_needed": steps_needed}


@wrong("correlation-scores")
def positive_correlations_only(ours):
    def kappa_of_two(rho):
        high, low = (2 * ours["FACTOR"] * (1 + sign * rho) + ours["PENALTY"] for sign in (1, -1))
        return high / low

    return {"kappa_of_two": kappa_of_two}


def steps(rounded, one=1):
    """Steps by another rounding, or with another answer for kappa 1."""

    def steps_needed(kappa, shrink):
        factors = {"descent": (kappa - 1) / (kappa + 1), "heavy_ball": (kappa**0.5 - 1) / (kappa**0.5 + 1)}
        return {key: rounded(math.log(shrink) / math.log(f)) if f else one for key, f in factors.items()}

    return {"steps_needed": steps_needed}


@wrong("steps-scores")
def one_more_than_rounded_down(ours):
    return steps(lambda number: math.floor(number) + 1)


@wrong("steps-scores")
def floats_for_integers(ours):
    return steps(np.ceil, 1.0)


@wrong("steps-scores")
def none_for_a_kappa_of_one(ours):
    return steps(math.ceil, 0)


@wrong("descend-scores")
def start_overwritten(ours):
    def descend(X, y, w, lr, steps):
        path = [w.copy()]
        for _ in range(steps):
            w -= lr * ours["loss_and_gradient"](X, y, w)["gradient"]
            path.append(w.copy())
        return np.array(path)

    return {"descend": descend}


@wrong("curvature-scores", "heavy-scores")
def singular_values_of_the_table(ours):
    def curvature(X):
        values = np.linalg.svd(X, compute_uv=False)
        low, high = values[-1], values[0]
        rates = {"largest_stable_lr": 2 / high, "best_lr": 2 / (high + low)}
        return rates | {"kappa": high / low, "factor": (high - low) / (high + low)}

    def heavy_ball(X):
        root = math.sqrt(curvature(X)["kappa"])
        factor = (root - 1) / (root + 1)
        return {"lr": curvature(X)["best_lr"], "momentum": factor**2, "factor": factor}

    return {"curvature": curvature, "heavy_ball": heavy_ball}

"""Answers to homework 3: right ones, and wrong ones with what the check says of them."""

from functools import partial
from types import SimpleNamespace

import numpy as np
from answers_hw01 import by_name
from edits import mutants
from mutants import batch

from utils.homework import hw03

MUTANTS = mutants("batch")


def mutant(name):
    return batch.BatchNorm if name == "correct" else MUTANTS[name].module().BatchNorm


def mean_of(a):
    return a.mean(axis=0, keepdims=True)


def sum_of(a):
    return a.sum(axis=0, keepdims=True)


def statistics(x, weights, axis):
    mu = np.sum(weights * x, axis=axis, keepdims=True)
    return mu, np.sum(weights * (x - mu) ** 2, axis=axis, keepdims=True)


def unbiased(x, weights, axis):
    mu, var = statistics(x, weights, axis)
    return mu, var / (1 - np.sum(weights**2))


def corrected_by_n(x, weights, axis):
    mu, var = statistics(x, weights, axis)
    return mu, var * len(x) / (len(x) - 1)


def forward(axis, inv=lambda var, eps: 1 / np.sqrt(var + eps), out=lambda g, h, b: g * h + b):
    def function(x, weights, gamma, beta, eps):
        mu, var = statistics(x, weights, axis)
        inv_std = inv(var, eps)
        x_hat = (x - mu) * inv_std
        y = out(gamma, x_hat, beta)
        return {"mu": mu, "xc": x - mu, "var": var, "inv_std": inv_std, "x_hat": x_hat, "y": y}

    return function


def staged(axis, **other):
    """The backward pass; `other` replaces the formula of a node."""
    formulas = {
        "dbeta": lambda g, n: g.add(g.dy),
        "dgamma": lambda g, n: g.add(g.dy * g.x_hat),
        "dx_hat": lambda g, n: g.dy * g.gamma,
        "dinv_std": lambda g, n: g.add(g.dx_hat * g.xc),
        "dvar": lambda g, n: -0.5 * g.inv_std**3 * g.dinv_std,
        "dxc": lambda g, n: g.dx_hat * g.inv_std + 2 * g.weights * g.xc * g.dvar,
        "dmu": lambda g, n: -g.add(g.dxc),
        "dx": lambda g, n: g.dxc + g.weights * g.dmu,
    } | other

    def function(dy, cache, weights, gamma):
        g = SimpleNamespace(dy=dy, weights=weights, gamma=gamma, add=lambda a: a.sum(axis=axis, keepdims=True), **cache)
        for name, formula in formulas.items():
            setattr(g, name, formula(g, dy.shape[axis]))
        return {name: getattr(g, name) for name in formulas}

    return function


def update(axis, weight=lambda p, batches: p if p is not None else 1 / batches, of=unbiased, power=1):
    def function(state, x, weights, momentum):
        p = weight(momentum, state["batches"] + 1)
        mean, var = of(x, weights, axis)
        moved = (1 - p) * state["var"] ** power + p * var**power
        return {
            "batches": state["batches"] + 1,
            "mean": (1 - p) * state["mean"] + p * mean,
            "var": moved ** (1 / power),
        }

    return function


def evaluate(x, state, gamma, beta, eps):
    return gamma * (x - state["mean"]) / np.sqrt(state["var"] + eps) + beta


def evaluate_backward(axis, **other):
    def function(dy, x, state, gamma, eps):
        inv_std = 1 / np.sqrt(state["var"] + eps)
        x_hat = (x - state["mean"]) * inv_std
        found = {"dx": dy * gamma * inv_std, "dgamma": (dy * x_hat).sum(axis=axis, keepdims=True)}
        found["dbeta"] = dy.sum(axis=axis, keepdims=True)
        return found | {name: make(dy, x, x_hat, gamma, inv_std) for name, make in other.items()}

    return function


def images(axes=(0, 2, 3)):
    def function(x, gamma, beta, eps):
        x_hat = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + eps)
        return gamma.reshape(1, -1, 1, 1) * x_hat + beta.reshape(1, -1, 1, 1)

    return function


def closed(axis):
    def function(dy, x_hat, inv_std, weights, gamma):
        ones, along = dy.sum(axis=axis, keepdims=True), (dy * x_hat).sum(axis=axis, keepdims=True)
        return gamma * inv_std * (dy - weights * ones - weights * x_hat * along)

    return function


RIGHT = {"images": (hw03.images, images())}
for a in (0, 1):
    RIGHT |= {
        f"forward {a}": (partial(hw03.forward, axis=a), forward(a)),
        f"backward_staged {a}": (partial(hw03.backward_staged, axis=a), staged(a)),
        f"backward_closed {a}": (partial(hw03.backward_closed, axis=a), closed(a)),
        f"running_statistics {a}": (partial(hw03.running_statistics, axis=a), update(a)),
        f"average {a}": (partial(hw03.running_statistics, momentum=None, axis=a), update(a)),
        f"evaluation {a}": (partial(hw03.evaluation, axis=a), evaluate),
        f"evaluation_backward {a}": (partial(hw03.evaluation_backward, axis=a), evaluate_backward(a)),
    }


def spread(g, n):
    return 2 * g.weights * g.xc * g.dvar


def unweighted(g, n):
    return direct(g, n) + 2 * g.xc * g.dvar


def direct(g, n):
    return g.dx_hat * g.inv_std


WRONG = {
    hw03.forward: [
        ("mu is taken over the features", forward(1)),
        ("eps is missing under the root", forward(0, inv=lambda v, e: 1 / np.sqrt(v))),
        ("the root is missing", forward(0, inv=lambda v, e: 1 / (v + e))),
        ("y misses gamma and beta", forward(0, out=lambda g, h, b: h)),
        ("y misses beta", forward(0, out=lambda g, h, b: g * h)),
        ("gamma multiplies beta, too", forward(0, out=lambda g, h, b: g * (h + b))),
        ("forward gives no mu", lambda **given: {"y": 1}),
    ],
    hw03.backward_staged: [
        ("dbeta is a mean", staged(0, dbeta=lambda g, n: mean_of(g.dy))),
        ("x instead of x_hat", staged(0, dgamma=lambda g, n: sum_of(g.dy * (g.xc + g.mu)))),
        ("xc instead of x_hat", staged(0, dgamma=lambda g, n: sum_of(g.dy * g.xc))),
        ("dx_hat misses gamma", staged(0, dx_hat=lambda g, n: g.dy)),
        ("x_hat instead of xc", staged(0, dinv_std=lambda g, n: sum_of(g.dx_hat * g.x_hat))),
        ("wrong sign", staged(0, dvar=lambda g, n: 0.5 * g.inv_std**3 * g.dinv_std)),
        ("factor of a half", staged(0, dvar=lambda g, n: -(g.inv_std**3) * g.dinv_std)),
        ("third power", staged(0, dvar=lambda g, n: -0.5 * g.inv_std**2 * g.dinv_std)),
        ("leaves out eps", staged(0, dvar=lambda g, n: -0.5 * g.var ** (-1.5) * g.dinv_std)),
        ("dxc misses the path through the variance", staged(0, dxc=direct)),
        ("dxc misses the direct path", staged(0, dxc=spread)),
        ("factor of two", staged(0, dxc=lambda g, n: direct(g, n) + spread(g, n) / 2)),
        ("dxc: the path through the variance misses the weights", staged(0, dxc=unweighted)),
        ("as with equal weights", staged(0, dxc=lambda g, n: direct(g, n) + 2 / n * g.xc * g.dvar)),
        ("multiply the direct path, too", staged(0, dxc=lambda g, n: g.weights * unweighted(g, n))),
        ("dmu is a weighted sum", staged(0, dmu=lambda g, n: -sum_of(g.weights * g.dxc))),
        ("dmu has the wrong sign", staged(0, dmu=lambda g, n: sum_of(g.dxc))),
        ("dx misses the path through the mean", staged(0, dx=lambda g, n: g.dxc)),
        ("the path through the mean misses the weights", staged(0, dx=lambda g, n: g.dxc + g.dmu)),
        ("mean has the wrong sign", staged(0, dx=lambda g, n: g.dxc - g.weights * g.dmu)),
        ("dx is None: is a return missing?", staged(0, dx=lambda g, n: None)),
        ("gives no dbeta, dgamma", lambda **given: {}),
    ],
    hw03.backward_closed: [
        ("dx misses the path through the variance", by_name(lambda dy, h, s, w, g: g * s * (dy - w * sum_of(dy)))),
        ("dx misses the path through the mean", by_name(lambda dy, h, s, w, g: g * s * (dy - w * h * sum_of(dy * h)))),
        ("dx misses gamma", by_name(lambda dy, h, s, w, g: closed(0)(dy, h, s, w, 1))),
        ("takes the mean and the variance for constants", by_name(lambda dy, h, s, w, g: s * g * dy)),
        ("the sums are taken over the features", closed(1)),
        ("dx misses inv_std", by_name(lambda dy, h, s, w, g: closed(0)(dy, h, 1, w, g))),
        ("this is the formula for equal weights", by_name(lambda dy, h, s, w, g: closed(0)(dy, h, s, 1 / len(dy), g))),
        (
            "dx: the path through the mean has equal weights",
            by_name(lambda dy, h, s, w, g: g * s * (dy - mean_of(dy) - w * h * sum_of(dy * h))),
        ),
        ("dx has shape (2, 3)", by_name(lambda dy, h, s, w, g: closed(0)(dy, h, s, w, g)[:2])),
        ("2 times what it should be", by_name(lambda dy, h, s, w, g: 2 * closed(0)(dy, h, s, w, g))),
    ],
    partial(hw03.running_statistics, momentum=None): [
        ("average over all batches, not 0.1", update(0, lambda p, batches: 0.1)),
        ("with momentum None the batch is counted twice", update(0, lambda p, batches: 1 / (batches + 1))),
    ],
    hw03.evaluation: [
        ("the variance is that of the batch", lambda x, state, **more: evaluate(x, state | {"var": x.var(0)}, **more)),
        ("y misses beta", by_name(lambda x, s, g, b, e: evaluate(x, s, g, 0, e))),
        ("y misses gamma and beta", by_name(lambda x, s, g, b, e: evaluate(x, s, 1, 0, e))),
        ("eps is missing under the root", by_name(lambda x, s, g, b, e: evaluate(x, s, g, b, 0))),
    ],
    hw03.running_statistics: [
        ("var takes the biased variance", update(0, of=statistics)),
        ("used the other way round", update(0, lambda p, batches: 1 - p)),
        ("var averages standard deviations", update(0, of=unbiased, power=0.5)),
        ("corrected by n / (n - 1)", update(0, of=corrected_by_n)),
        (
            "mean leaves out the weights",
            update(0, of=lambda x, w, axis: unbiased(x, np.full_like(w, 1 / len(w)), axis)),
        ),
        ("is not updated", by_name(lambda state, x, w, p: state)),
        ("update gives no mean, var, batches", lambda state, x, weights, momentum: {}),
    ],
    hw03.evaluation_backward: [
        ("dx misses gamma", evaluate_backward(0, dx=lambda dy, x, h, g, s: dy * s)),
        ("dgamma is taken with x instead of x_hat", evaluate_backward(0, dgamma=lambda dy, x, h, g, s: sum_of(dy * x))),
        ("dbeta is a mean", evaluate_backward(0, dbeta=lambda dy, x, h, g, s: mean_of(dy))),
        ("should give a dict with dx, dgamma, dbeta", lambda **given: 1.0),
    ],
    hw03.images: [
        ("the batch axis is missing", images((2, 3))),
        ("each image has statistics of its own", images((1, 2, 3))),
        ("over the channels too", images((0, 1, 2, 3))),
    ],
}


# The mutants, as functions


def evaluate_of(name):
    def function(x, state, gamma, beta, eps):
        norm = mutant(name)(x.shape[1], eps=eps).eval()
        norm.running_mean, norm.running_var = state["mean"].ravel(), state["var"].ravel()
        norm.gamma, norm.beta = gamma.ravel(), beta.ravel()
        return norm.forward(x)

    return function


def images_of(name):
    def function(x, gamma, beta, eps):
        norm = mutant(name)(x.shape[1], eps=eps)
        norm.gamma, norm.beta = gamma, beta
        return norm.forward(x)

    return function


KNOWN = {
    "beta_forgotten_in_eval": (hw03.evaluation, evaluate_of, "y misses beta"),
    "eps_added_to_deviation": (hw03.evaluation, evaluate_of, "eps is added to the standard deviation"),
    "eval_without_effect": (hw03.evaluation, evaluate_of, "uses the statistics of the batch"),
    "per_pixel_statistics": (hw03.images, images_of, "per pixel"),
    "batch_axis_missing": (hw03.images, images_of, "the batch axis is missing"),
    "unbiased_normalization": (hw03.images, images_of, "var is divided by n - 1"),
}

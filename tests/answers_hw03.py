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


def forward(axis, inv=lambda var, eps: 1 / np.sqrt(var + eps), out=lambda g, h, b: g * h + b):
    def function(x, gamma, beta, eps):
        mu, var = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True)
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
        "dxc": lambda g, n: g.dx_hat * g.inv_std + 2 / n * g.xc * g.dvar,
        "dmu": lambda g, n: -g.add(g.dxc),
        "dx": lambda g, n: g.dxc + g.dmu / n,
    } | other

    def function(dy, cache, gamma):
        g = SimpleNamespace(dy=dy, gamma=gamma, add=lambda a: a.sum(axis=axis, keepdims=True), **cache)
        for name, formula in formulas.items():
            setattr(g, name, formula(g, dy.shape[axis]))
        return {name: getattr(g, name) for name in formulas}

    return function


def update(axis, ddof=1, weight=lambda p, batches: p if p is not None else 1 / batches):
    def function(state, x, momentum):
        p = weight(momentum, state["batches"] + 1)
        found = {"batches": state["batches"] + 1}
        for name, new in (("mean", x.mean(axis, keepdims=True)), ("var", x.var(axis, ddof=ddof, keepdims=True))):
            found[name] = (1 - p) * state[name] + p * new
        return found

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
    def function(dy, x_hat, inv_std, gamma):
        mean, along = dy.mean(axis=axis, keepdims=True), (dy * x_hat).mean(axis=axis, keepdims=True)
        return gamma * inv_std * (dy - mean - x_hat * along)

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
    return 2 / n * g.xc * g.dvar


def direct(g, n):
    return g.dx_hat * g.inv_std


def along_summed(dy, x_hat, inv_std, gamma):
    return gamma * inv_std * (dy - mean_of(dy) - x_hat * sum_of(dy * x_hat))


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
        ("not divided by n", staged(0, dxc=lambda g, n: direct(g, n) + spread(g, n) * n)),
        ("dmu has the wrong sign", staged(0, dmu=lambda g, n: sum_of(g.dxc))),
        ("dx misses the path through the mean", staged(0, dx=lambda g, n: g.dxc)),
        ("the mean is not divided by n", staged(0, dx=lambda g, n: g.dxc + g.dmu)),
        ("mean has the wrong sign", staged(0, dx=lambda g, n: g.dxc - g.dmu / n)),
        ("dx is None: is a return missing?", staged(0, dx=lambda g, n: None)),
        ("gives no dbeta, dgamma", lambda **given: {}),
    ],
    hw03.backward_closed: [
        ("takes the mean and the variance for constants", by_name(lambda dy, h, s, g: s * g * dy)),
        ("the means are taken over the features", closed(1)),
        ("dx misses inv_std", by_name(lambda dy, h, s, g: closed(0)(dy, h, 1, g))),
        (
            "a sum in place of the mean of dy * x_hat",
            by_name(lambda dy, h, s, g: g * s * (dy - mean_of(dy) - h * sum_of(dy * h))),
        ),
        ("dx has shape (2, 3)", by_name(lambda dy, h, s, g: closed(0)(dy, h, s, g)[:2])),
        ("2 times what it should be", by_name(lambda dy, h, s, g: 2 * closed(0)(dy, h, s, g))),
    ],
    partial(hw03.running_statistics, momentum=None): [],
    hw03.evaluation: [
        ("the variance is that of the batch", lambda x, state, **more: evaluate(x, state | {"var": x.var(0)}, **more)),
        ("y misses beta", by_name(lambda x, s, g, b, e: evaluate(x, s, g, 0, e))),
        ("y misses gamma and beta", by_name(lambda x, s, g, b, e: evaluate(x, s, 1, 0, e))),
        ("eps is missing under the root", by_name(lambda x, s, g, b, e: evaluate(x, s, g, b, 0))),
    ],
    hw03.running_statistics: [
        ("is not updated", by_name(lambda state, x, p: state)),
        ("update gives no mean, var, batches", lambda state, x, momentum: {}),
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


def backward_of(name):
    def function(dy, x_hat, inv_std, gamma):
        norm = mutant(name)(dy.shape[1])
        norm.x_hat, norm.inv_std, norm.gamma = x_hat, inv_std, gamma.ravel()
        norm.from_batch, norm.dtype = True, dy.dtype
        return norm.backward(dy)

    return function


def update_of(name):
    def function(state, x, momentum):
        norm = mutant(name)(x.shape[1], momentum=momentum)
        norm.running_mean, norm.running_var = state["mean"].ravel(), state["var"].ravel()
        norm.num_batches_tracked = state["batches"]
        norm.forward(x)
        found = {"mean": norm.running_mean, "var": norm.running_var}
        return {key: value.reshape(1, -1) for key, value in found.items()} | {"batches": norm.num_batches_tracked}

    return function


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


average = partial(hw03.running_statistics, momentum=None)

KNOWN = {
    "variance_path_missing": (hw03.backward_closed, backward_of, "dx misses the path through the variance"),
    "mean_path_missing": (hw03.backward_closed, backward_of, "dx misses the path through the mean"),
    "gamma_missing_in_dx": (hw03.backward_closed, backward_of, "dx misses gamma"),
    "statistics_without_gradient": (
        hw03.backward_closed,
        backward_of,
        "takes the mean and the variance for constants",
    ),
    "biased_running_variance": (hw03.running_statistics, update_of, "var takes the variance divided by n"),
    "momentum_the_wrong_way": (hw03.running_statistics, update_of, "used the other way round"),
    "momentum_none_as_default": (average, update_of, "average over all batches, not 0.1"),
    "average_counts_late": (average, update_of, "with momentum None the batch is counted twice"),
    "deviation_averaged": (hw03.running_statistics, update_of, "var averages standard deviations"),
    "beta_forgotten_in_eval": (hw03.evaluation, evaluate_of, "y misses beta"),
    "eps_added_to_deviation": (hw03.evaluation, evaluate_of, "eps is added to the standard deviation"),
    "eval_without_effect": (hw03.evaluation, evaluate_of, "uses the statistics of the batch"),
    "per_pixel_statistics": (hw03.images, images_of, "per pixel"),
    "batch_axis_missing": (hw03.images, images_of, "the batch axis is missing"),
    "unbiased_normalization": (hw03.images, images_of, "var is divided by n - 1"),
}

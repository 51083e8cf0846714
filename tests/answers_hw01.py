"""Answers to homework 1: right ones, and wrong ones with what the check says of them."""

from functools import partial

import numpy as np

from utils.homework import hw01


def by_name(function):
    """A function whose own names for its arguments do not matter."""
    return lambda **named: function(*named.values())


def standardizer(ddof=0):
    def fit(X):
        mean, var = X.mean(axis=0), X.var(axis=0, ddof=ddof)
        tiny = (1e-14 * np.abs(mean)) ** 2
        return {"mean": mean, "scale": np.where(var <= tiny, 1.0, np.sqrt(var))}

    return fit


def batches(ddof=0, scale=None):
    def from_batches(batches):
        X = np.concatenate(batches)
        return {"mean": X.mean(axis=0), "scale": scale(batches) if scale else X.std(axis=0, ddof=ddof)}

    return from_batches


def validation(ddof=0, own=False):
    """Cross-validation; test rows may be standardized by their own statistics."""

    def cross_validate(X, y, folds, strength):
        errors = []
        for test in folds:
            train = np.setdiff1d(np.arange(len(X)), test)
            known = X[test if own else train]
            Z = (X[train] - X[train].mean(0)) / X[train].std(0, ddof=ddof)
            T = (X[test] - known.mean(0)) / known.std(0, ddof=ddof)
            mean = y[train].mean()
            w = np.linalg.solve(Z.T @ Z + strength * np.eye(X.shape[1]), Z.T @ (y[train] - mean))
            errors.append(np.mean((T @ w + mean - y[test]) ** 2))
        return np.array(errors)

    return cross_validate


def zca(ddof=0, rank=True):
    def whiten(X_train, X):
        mean = X_train.mean(axis=0)
        _, s, Vt = np.linalg.svd(X_train - mean, full_matrices=False)
        varies = s > 1e-10 * s[0] if rank else s > 0
        return (X - mean) @ (Vt[varies].T / s[varies] * np.sqrt(len(X_train) - ddof)) @ Vt[varies]

    return whiten


RIGHT = {
    "statistics": (hw01.statistics, standardizer()),
    "statistics, n - 1": (partial(hw01.statistics, ddof=1), standardizer(1)),
    "constant_features": (hw01.constant_features, standardizer()),
    "constant_features, n - 1": (hw01.constant_features, standardizer(1)),
    "from_batches": (hw01.from_batches, batches()),
    "from_batches, n - 1": (partial(hw01.from_batches, ddof=1), batches(1)),
    "cross_validation": (hw01.cross_validation, validation()),
    "zca": (hw01.zca, zca()),
    "zca, n - 1": (partial(hw01.zca, ddof=1), zca(1)),
    "flat_directions": (hw01.flat_directions, zca()),
    "flat_directions, n - 1": (partial(hw01.flat_directions, ddof=1), zca(1)),
}


def variances(parts):
    n = sum(map(len, parts))
    return np.sqrt(sum(len(part) * part.var(axis=0) for part in parts) / n)


def of_examples(X):
    return {"mean": X.mean(axis=1), "scale": X.std(axis=1)}


def variance(X):
    return {"mean": X.mean(axis=0), "scale": X.var(axis=0)}


WRONG = {
    hw01.statistics: [
        ("the variance is divided by n - 1, asked is n", standardizer(1)),
        ("taken over the features of each example", of_examples),
        ("the square root is missing", variance),
        ("fit gives no scale", lambda X: {"mean": X.mean(axis=0)}),
        ("fit should give a dict with mean, scale", lambda X: (0, 1)),
    ],
    partial(hw01.statistics, ddof=1): [
        ("the variance is divided by n, asked is n - 1", standardizer(0)),
    ],
    hw01.constant_features: [
        ("a constant feature has scale", variance),
        ("does not get its own scale", lambda X: {"mean": 0, "scale": [1, 1, 1e-12]}),
        ("scale has shape (7,), expected (3,)", of_examples),
        ("fit gives no scale", lambda X: {"mean": X.mean(axis=0)}),
    ],
    hw01.from_batches: [
        ("averages the batches' variances", batches(scale=variances)),
        ("the variance is divided by n - 1, asked is n", batches(1)),
        ("gives no mean, scale", lambda batches: {}),
    ],
    hw01.cross_validation: [
        ("with their own statistics", validation(own=True)),
        ("divided by n - 1", validation(1)),
        ("the error of each fold is wrong", lambda X, y, folds, strength: np.ones(3)),
    ],
    hw01.flat_directions: [
        ("is blown up", zca(rank=False)),
    ],
    hw01.zca: [
        ("the covariance is divided by n - 1", zca(1)),
        ("only standardizes", by_name(lambda a, X: (X - a.mean(0)) / a.std(0))),
    ],
}

"""Homework 1, standardize."""

import numpy as np

from . import wrong


@wrong("apply-scores", "validation-scores")
def new_rows_by_their_own_statistics(ours):
    def apply(X, state):
        own = ours["fit"](X) if len(X) > 1 else state
        return (X - own["mean"]) / own["scale"]

    return {"apply": apply}


@wrong("constant-scores")
def constant_means_exactly_zero(ours):
    def fit(X):
        scale = X.std(axis=0, ddof=ours["DDOF"])
        return {"mean": X.mean(axis=0), "scale": np.where(scale == 0, 1.0, scale)}

    return {"fit": fit}


@wrong("constant-scores")
def little_taken_for_constant(ours):
    def fit(X):
        scale = X.std(axis=0, ddof=ours["DDOF"])
        return {"mean": X.mean(axis=0), "scale": np.where(scale < 1e-6, 1.0, scale)}

    return {"fit": fit}


@wrong("fit-scores", "validation-scores")
def other_divisor(ours):
    def fit(X):
        scale = X.std(axis=0, ddof=1 - ours["DDOF"])
        rounding = len(X) * 1e-15 * np.abs(X.mean(axis=0))
        return {"mean": X.mean(axis=0), "scale": np.where(scale <= rounding, 1.0, scale)}

    return {"fit": fit}


@wrong("batches-scores")
def deviations_averaged(ours):
    def from_batches(batches):
        scale = np.mean([batch.std(axis=0) for batch in batches], axis=0)
        return {"mean": np.concatenate(batches).mean(axis=0), "scale": scale}

    return {"from_batches": from_batches}


@wrong("batches-scores")
def sums_of_squares(ours):
    def from_batches(batches):
        n = sum(map(len, batches))
        mean = sum(batch.sum(axis=0) for batch in batches) / n
        mean_of_squares = sum((batch**2).sum(axis=0) for batch in batches) / n
        variance = (mean_of_squares - mean**2) * n / (n - ours["DDOF"])
        return {"mean": mean, "scale": np.sqrt(variance)}

    return {"from_batches": from_batches}


@wrong("validation-scores")
def standardized_before_the_folds(ours):
    def cross_validate(X, y, folds, strength):
        Z, errors = ours["apply"](X, ours["fit"](X)), []
        for rows in folds:
            train = np.setdiff1d(np.arange(len(X)), rows)
            mean = y[train].mean()
            w = np.linalg.solve(Z[train].T @ Z[train] + strength * np.eye(X.shape[1]), Z[train].T @ (y[train] - mean))
            errors.append(np.mean((Z[rows] @ w + mean - y[rows]) ** 2))
        return np.array(errors)

    return {"cross_validate": cross_validate}


@wrong("flat-scores")
def no_rank(ours):
    def zca(X_train, X):
        mean = X_train.mean(axis=0)
        values, U = np.linalg.eigh(np.cov(X_train.T, ddof=ours["DDOF"]))
        return (X - mean) @ (U / np.sqrt(np.abs(values))) @ U.T

    return {"zca": zca}


@wrong("zca-scores", "flat-scores")
def whitened_by_itself(ours):
    return {"zca": lambda X_train, X: ours["zca"](X, X)}


@wrong("zca-scores", "flat-scores")
def not_turned_back(ours):
    def zca(X_train, X):
        mean = X_train.mean(axis=0)
        _, singular, Vt = np.linalg.svd(X_train - mean, full_matrices=False)
        std = np.maximum(singular, 1e-10 * singular[0]) / np.sqrt(len(X_train) - ours["DDOF"])
        return (X - mean) @ (Vt.T / std)

    return {"zca": zca}


@wrong("apply-scores")
def table_overwritten(ours):
    def apply(X, state):
        X -= state["mean"]
        X /= state["scale"]
        return X

    return {"apply": apply}


@wrong("flat-scores")
def flat_directions_left(ours):
    def zca(X_train, X):
        mean = X_train.mean(axis=0)
        values, U = np.linalg.eigh(np.cov(X_train.T, ddof=ours["DDOF"]))
        scale = np.where(values > 1e-10 * values[-1], np.sqrt(np.abs(values)), 1.0)
        return (X - mean) @ (U / scale) @ U.T

    return {"zca": zca}


def validated(ours, mean=lambda y, train: y[train].mean(), swapped=False, root=False, added=True):
    """Cross-validation with another mean of y, or another error."""

    def cross_validate(X, y, folds, strength):
        errors = []
        for rows in folds:
            train = np.setdiff1d(np.arange(len(X)), rows)
            train, test = (rows, train) if swapped else (train, rows)
            state, middle = ours["fit"](X[train]), mean(y, train)
            Z, T = ours["apply"](X[train], state), ours["apply"](X[test], state)
            w = np.linalg.solve(Z.T @ Z + strength * np.eye(X.shape[1]), Z.T @ (y[train] - middle))
            errors.append(np.mean((T @ w + added * middle - y[test]) ** 2))
        return np.sqrt(errors) if root else np.array(errors)

    return {"cross_validate": cross_validate}


@wrong("validation-scores")
def mean_of_all_targets(ours):
    return validated(ours, lambda y, train: y.mean())


@wrong("validation-scores")
def training_and_test_swapped(ours):
    return validated(ours, swapped=True)


@wrong("validation-scores")
def root_of_the_errors(ours):
    return validated(ours, root=True)


@wrong("validation-scores")
def mean_not_added_back(ours):
    return validated(ours, added=False)

"""The checks of homework 1: standardizing, cross-validating, whitening.

Each gives a tuple of sentences, empty if nothing is wrong. Where one has the argument ``ddof``, the variance is divided
by n - ddof.
"""

import numpy as np

from utils.homework.checks import answer, check, compare, demand, table

__all__ = ["constant_features", "cross_validation", "flat_directions", "from_batches", "statistics", "zca"]

LEARNED = ("mean", "scale")


def _divided(what, ddof):
    """The sentence for the other divisor."""
    return f"the {what} is divided by n{' - 1' * (1 - ddof)}, asked is n{' - 1' * ddof}"


@check("fit")
def statistics(function, *, ddof=0, seed=0):
    """Check the statistics that standardizing learns from a table.

    Parameters
    ----------
    function : callable
        ``function(X)`` gives a dict with mean and scale, each of shape (d,).
    ddof : {0, 1}
    seed : int
    """
    X = table(np.random.default_rng(seed))
    state = yield from answer("fit", function, LEARNED, X=X)
    scale, over_rows = X.std(0, ddof=ddof), "taken over the features of each example; it belongs to each feature"
    wrong = {f"the mean is {over_rows}": X.mean(1), "the mean is one for all features": X.mean()}
    yield compare("mean", state["mean"], X.mean(0), wrong)
    wrong = {
        _divided("variance", ddof): X.std(0, ddof=1 - ddof),
        "scale is the variance; the square root is missing": scale**2,
        f"the scale is {over_rows}": X.std(1, ddof=ddof),
        "the scale is one for all features": X.std(ddof=ddof),
    }
    yield compare("scale", state["scale"], scale, wrong)


@check("fit with constant features")
def constant_features(function, *, seed=0):
    """Check that constant features get the scale 1, and that only they do.

    Parameters
    ----------
    function : callable
        As in `statistics`.
    seed : int

    Notes
    -----
    With which divisor a scale is computed is not asked here.
    """
    X = table(np.random.default_rng(seed))
    X = np.column_stack([X[:, 0], np.full(len(X), 0.1), 1 + 1e-9 * X[:, 1]])
    state = yield from answer("fit", function, LEARNED, X=X)
    scale = np.asarray(state["scale"], dtype=np.float64)
    demand(f"scale has shape {scale.shape}, expected (3,)" if scale.shape != (3,) else None)
    if scale[1] != 1:
        yield f"a constant feature has scale {scale[1]:.2g}, expected 1: rounding leaves it a variance"
    if scale[2] > 1e-6:
        yield "a feature that varies by a billionth is taken for a constant one"
    elif not abs(scale[2] / X[:, 2].std() - 1) < 0.5:
        yield "a feature that varies by a billionth does not get its own scale"


@check("from_batches")
def from_batches(function, *, ddof=0, seed=0):
    """Check the statistics of a table that is read in batches of unequal size.

    Parameters
    ----------
    function : callable
        ``function(batches)``, with a list of arrays of shape (n_i, d), gives a dict with mean and scale.
    ddof : {0, 1}
    seed : int
    """
    X = table(np.random.default_rng(seed), 11)
    batches = np.split(X, [5, 7])
    state = yield from answer("from_batches", function, LEARNED, batches=batches)
    means, sds, unbiased = (
        np.array([f(b) for b in batches]) for f in (lambda b: b.mean(0), lambda b: b.std(0), lambda b: b.std(0, ddof=1))
    )
    weights = np.array([[len(b)] for b in batches]) / len(X)
    wrong = {"the batches' means count alike whatever their size": means.mean(0)}
    yield compare("mean", state["mean"], X.mean(0), wrong)
    lost = "what lies between their means is lost"
    averaged = f"scale averages the batches' deviations; {lost}"
    wrong = {
        averaged: sds.mean(0),
        f"{averaged}, and they are unbiased ones": unbiased.mean(0),
        f"{averaged} (weighted)": (weights * sds).sum(0),
        f"scale averages the batches' variances; {lost}": np.sqrt((weights * sds**2).sum(0)),
        _divided("variance", ddof): X.std(0, ddof=1 - ddof),
    }
    yield compare("scale", state["scale"], X.std(0, ddof=ddof), wrong)
    far = 1e6 + X
    state = yield from answer("from_batches", function, LEARNED, batches=np.split(far, [5, 7]))
    yield compare("scale of numbers around a million", state["scale"], far.std(0, ddof=ddof), tolerance=1e-6)


@check("cross_validate")
def cross_validation(function, *, ddof=0, seed=0):
    """Check a cross-validation whose standardization must be learned inside each fold.

    Parameters
    ----------
    function : callable
        ``function(X, y, folds, strength)`` gives the mean squared error of each fold, shape (k,).
    ddof : {0, 1}
    seed : int
    """
    rng = np.random.default_rng(seed)
    X, strength, every = table(rng, 11), 2.5, np.arange(11)
    y = X @ rng.normal(size=3) + rng.normal(size=11) + 5
    folds = np.split(rng.permutation(11), [3, 7])

    def errors(known=lambda train, test: (train, train), *, y_of=None, swapped=False, added=True, ddof=ddof):
        """The errors, where `known` gives the rows by which those of training and those of the test are scaled."""
        found = []
        for test in folds:
            train = np.setdiff1d(every, test)
            train, test = (test, train) if swapped else (train, test)
            Z, T = (
                (X[rows] - X[by].mean(0)) / (1 if ddof is None else X[by].std(0, ddof=ddof))
                for rows, by in zip((train, test), known(train, test), strict=True)
            )
            mean = y[train if y_of is None else y_of].mean()
            w = np.linalg.solve(Z.T @ Z + strength * np.eye(3), Z.T @ (y[train] - mean))
            found.append(np.mean((T @ w + added * mean - y[test]) ** 2))
        return np.array(found)

    want = errors()
    wrong = {
        "the mean of y is taken over all rows: the targets of the test rows leak": errors(y_of=every),
        "training and test rows are swapped: the rows of a fold are for the test": errors(swapped=True),
        "these are roots of the mean squared errors": np.sqrt(want),
        "the mean of y is not added to the prediction": errors(added=False),
        "the statistics are learned on all rows, before the folds are made: the test rows leak": errors(
            lambda train, test: (every, every)
        ),
        "the test rows are standardized with their own statistics": errors(lambda train, test: (train, test)),
        "nothing is standardized": errors(ddof=None),
        _divided("variance", ddof): errors(ddof=1 - ddof),
    }
    got = yield from answer("cross_validate", function, None, X=X, y=y, folds=folds, strength=strength)
    yield compare("the error of each fold", got, want, wrong)


@check("zca")
def zca(function, *, ddof=0, seed=0):
    """Check whitening by ZCA, with what a training table has taught.

    Parameters
    ----------
    function : callable
        ``function(X_train, X)`` gives X whitened, shape (m, d).
    ddof : {0, 1}
    seed : int
    """
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(3, 3)) + 2 * np.eye(3)
    X, new = table(rng, 9) @ mix, table(rng, 4) @ mix

    def white(by, ddof=ddof):
        values, U = np.linalg.eigh(np.cov(by.T, ddof=ddof))
        return (new - by.mean(0)) @ (U / np.sqrt(values)) @ U.T

    want = white(X)
    wrong = {
        "zca uses the statistics of the new table; they must be those of the training table": white(new),
        "this only standardizes: the features stay correlated": (new - X.mean(0)) / X.std(0, ddof=ddof),
        _divided("covariance", ddof): white(X, 1 - ddof),
    }
    got = yield from answer("zca", function, None, X_train=X, X=new)
    found = compare("the white table", got, want, wrong)
    got = np.asarray(got, dtype=np.float64)
    if found and got.shape == new.shape and compare("its products", got @ got.T, want @ want.T) is None:
        found = "this is white, but turned, as by PCA; ZCA turns it back"
    yield found


@check("zca without variance in one direction")
def flat_directions(function, *, ddof=0, seed=0):
    """Check whitening where the training table does not vary in one direction.

    Parameters
    ----------
    function : callable
        As in `zca`.
    ddof : {0, 1}
    seed : int
    """
    X = table(np.random.default_rng(seed))  # rows that do vary in that direction
    flat = np.column_stack([X[:, 0], X[:, 1], X[:, 0] + X[:, 1]])
    got = yield from answer("zca", function, None, X_train=flat, X=X)
    size, becomes = np.abs(np.asarray(got, dtype=np.float64)), "it should become 0"
    if size.shape == flat.shape and not (size < 1e3).all():
        demand(f"a direction in which the training table does not vary is blown up; {becomes}")
    values, U = np.linalg.eigh(np.cov(flat.T, ddof=ddof))
    kept, away = U[:, 1:], U[:, :1]
    want = (X - flat.mean(0)) @ (kept / np.sqrt(values[1:])) @ kept.T
    as_it_is = f"a direction in which the training table does not vary is left as it is; {becomes}"
    wrong = {as_it_is: want + (X - flat.mean(0)) @ away @ away.T}
    yield compare("a table white by one without variance in one direction", got, want, wrong, tolerance=1e-6)

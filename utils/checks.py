"""Checks of functions that students write: they say what is wrong, in a sentence.

An array is compared with the right one and, where it differs, with what the usual wrong formulas give. All data are
random and all shapes lopsided: ones, squares and symmetric numbers hide faults. Each check prints what it found,
"right" or "not attempted", and returns the sentences; a check never raises because of what it checks.

Functions get and give plain arrays and dicts. They are called by the names of their arguments, with copies, which must
be unchanged afterwards. Where a check has an ``axis``, it is that of the examples: 0 for tables
of shape (n, d), 1 for (d, n); statistics then have shape (1, d) or (d, 1).
"""

import copy

import numpy as np

from utils.byhand.gradient_check import relative_error

__all__ = [
    "backward_closed",
    "backward_staged",
    "compare",
    "constant_features",
    "cross_validation",
    "evaluation",
    "evaluation_backward",
    "example",
    "flat_directions",
    "forward",
    "from_batches",
    "images",
    "review",
    "running_statistics",
    "statistics",
    "zca",
]

TOLERANCE = 1e-7
NOT_ATTEMPTED = "not attempted"


def compare(name, got, want, wrong=None, *, tolerance=TOLERANCE):
    """What is wrong with an array, in a sentence.

    Parameters
    ----------
    name : str
        What to call it.
    got : object
        What somebody's function gave.
    want : array_like
        What is right.
    wrong : dict of str to array_like, optional
        A sentence for each of the usual wrong results.
    tolerance : float
        Largest relative error, as in `utils.byhand.gradient_check.relative_error`.

    Returns
    -------
    str or None
        None if nothing is wrong.

    Examples
    --------
    >>> compare("dgamma", [2.0, 4.0], [6.0, 12.0])
    'dgamma is 0.3333 times what it should be, everywhere'
    """
    want = np.asarray(want, dtype=np.float64)
    if got is None:
        return f"{name} is None: is a return missing?"
    try:
        got = np.asarray(got, dtype=np.float64)
    except (TypeError, ValueError):
        return f"{name} should be an array of numbers, but is {type(got).__name__}"
    # Wrong results first: they may have a wrong shape, too.
    for sentence, result in (wrong or {}).items():
        result = np.asarray(result, dtype=np.float64)
        if result.shape == got.shape and not _close(result, want, tolerance) and _close(got, result, tolerance):
            return sentence
    if got.shape != want.shape:
        return f"{name} has shape {got.shape}, expected {want.shape}"
    if np.isnan(got).any() and not np.isnan(want).any():
        return f"{name} has {int(np.isnan(got).sum())} NaN"
    if _close(got, want, tolerance):
        return None
    if not np.array_equal(np.isinf(got), np.isinf(want)):
        return f"{name} is infinite in the wrong places, or not in the right ones"
    if want.any() and np.isfinite(got).all():
        factor = float((got * want).sum() / (want * want).sum())
        if factor and want.size > 1 and _close(got, factor * want, tolerance):
            return f"{name} is {factor:.4g} times what it should be, everywhere"
    if want.size == 1:
        said = [[f"{value.item():.{digits}g}" for value in (got, want)] for digits in (6, 15)]
        (one, other) = next((pair for pair in said if pair[0] != pair[1]), said[-1])
        return f"{name} is {one}, expected {other}"
    return f"{name} is wrong: relative error {relative_error(got, want):.2g}"


def _close(a, b, tolerance):
    """Whether two arrays are the same apart from rounding; infinities must be at the same places."""
    if a.shape != b.shape:
        return False
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        return False
    a, b = a[finite], b[finite]
    largest, size = (float(np.abs(v).max(initial=0)) for v in (a - b, b))
    return largest <= tolerance * max(size, 1e-300)


def review(title, findings):
    """Print what was found, and keep whatever a function raises.

    Parameters
    ----------
    title : str
    findings : iterable of str or None
        A generator that calls somebody's functions and yields what `compare` says.

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.
    """
    found = []
    try:
        with np.errstate(all="ignore"):  # the sentence says more than a warning
            for sentence in findings:
                found += [sentence] if sentence else []
    except NotImplementedError:
        found.append(NOT_ATTEMPTED)
    except Exception as error:
        renamed = isinstance(error, TypeError) and "unexpected keyword argument" in str(error)
        hint = "; keep the names of the arguments" if renamed else ""
        found.append(f"raised {type(error).__name__}: {error}{hint}")
    found = tuple(dict.fromkeys(found))
    text = "; ".join(found) or "right"
    print(text if text.startswith(f"{title} ") else f"{title}: {text}")
    return found


def _call(title, function, **given):
    """What a function gives for copies of the arguments, and a sentence if it changed one of them, else None."""
    handed = copy.deepcopy(given)
    got = function(**handed)
    changed = [name for name in given if not _same(given[name], handed[name])]
    return got, f"{title} changes its argument {changed[0]}; it should make a new one" if changed else None


def _same(a, b):
    """Whether an argument is as it was."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a is b or np.array_equal(a, b, equal_nan=getattr(a, "dtype", np.dtype(int)).kind == "f")


def example(function, arguments, want, wrong=None, *, name="the result", tolerance=TOLERANCE):
    """Check a function on one example that can be worked out on paper.

    Parameters
    ----------
    function : callable
    arguments : dict
        By name.
    want : array_like or dict of str to array_like
    wrong : dict of str to array_like, or dict of str to such dicts, optional
        Sentences for wrong results; for each key if the function gives a dict.
    name : str
        What to call a result that is no dict.
    tolerance : float

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.

    Examples
    --------
    >>> example(lambda a, b: a - b, {"a": 1, "b": 2}, 3, {"a and b are subtracted": -1})
    the result: a and b are subtracted
    ('a and b are subtracted',)
    """
    title = getattr(function, "__name__", "<lambda>")
    title = name if title == "<lambda>" else title

    def findings():
        got, changed = _call(title, function, **arguments)
        yield changed
        if not isinstance(want, dict):
            yield compare(name, got, want, wrong, tolerance=tolerance)
            return
        yield (keys := _keys(title, got, want))
        if keys is None:
            for key, value in want.items():
                yield compare(key, got[key], value, (wrong or {}).get(key), tolerance=tolerance)

    return review(title, findings())


def _keys(name, got, want):
    """Whether a dict has the right keys."""
    if not isinstance(got, dict):
        return f"{name} should give a dict with {', '.join(want)}, but gives {type(got).__name__}"
    missing = [key for key in want if key not in got]
    return f"{name} gives no {', '.join(missing)}" if missing else None


# Standardizing


def _table(rng, n=7, d=3):
    return rng.uniform(-3, 3, d) + rng.uniform(0.5, 4, d) * rng.normal(size=(n, d))


def statistics(function, *, ddof=0, seed=0):
    """Check the statistics that standardizing learns from a table.

    Parameters
    ----------
    function : callable
        ``function(X)`` gives a dict with mean and scale, each of shape (d,).
    ddof : {0, 1}
        Whether the variance is divided by n or by n - 1.
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.
    """

    def findings():
        X = _table(np.random.default_rng(seed))
        state, changed = _call("fit", function, X=X)
        yield changed
        yield (keys := _keys("fit", state, ("mean", "scale")))
        if keys:
            return
        scale, other = X.std(0, ddof=ddof), X.std(0, ddof=1 - ddof)
        over_rows = "the {} is taken over the features of each example; it belongs to each feature"
        wrong = {over_rows.format("mean"): X.mean(1), "the mean is one for all features": X.mean()}
        yield compare("mean", state["mean"], X.mean(0), wrong)
        wrong = {
            f"the variance is divided by n{' - 1' * (1 - ddof)}, asked is n{' - 1' * ddof}": other,
            "scale is the variance; the square root is missing": scale**2,
            over_rows.format("scale"): X.std(1, ddof=ddof),
            "the scale is one for all features": X.std(ddof=ddof),
        }
        yield compare("scale", state["scale"], scale, wrong)

    return review("fit", findings())


def constant_features(function, *, seed=0):
    """Check that constant features get the scale 1, and that only they do.

    Parameters
    ----------
    function : callable
        As in `statistics`.
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong. With which divisor a scale is computed is not asked here.
    """

    def findings():
        X = _table(np.random.default_rng(seed))
        X = np.column_stack([X[:, 0], np.full(len(X), 0.1), 1 + 1e-9 * X[:, 1]])
        state = _call("fit", function, X=X)[0]
        yield (keys := _keys("fit", state, ("mean", "scale")))
        if keys:
            return
        scale = np.asarray(state["scale"], dtype=np.float64)
        if scale.shape != (3,):
            yield f"scale has shape {scale.shape}, expected (3,)"
            return
        if scale[1] != 1:
            yield f"a constant feature has scale {scale[1]:.2g}, expected 1: rounding leaves it a variance"
        if scale[2] > 1e-6:
            yield "a feature that varies by a billionth is taken for a constant one"
        elif not abs(scale[2] / X[:, 2].std() - 1) < 0.5:
            yield "a feature that varies by a billionth does not get its own scale"

    return review("fit with constant features", findings())


def from_batches(function, *, ddof=0, seed=0):
    """Check the statistics of a table that is read in batches of unequal size.

    Parameters
    ----------
    function : callable
        ``function(batches)``, with a list of arrays of shape (n_i, d), gives a dict with mean and scale.
    ddof : {0, 1}
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.
    """

    def findings():
        X = _table(np.random.default_rng(seed), 11)
        batches = np.split(X, [5, 7])
        state, changed = _call("from_batches", function, batches=batches)
        yield changed
        yield (keys := _keys("from_batches", state, ("mean", "scale")))
        if keys:
            return
        means, sds = (np.array([getattr(b, name)(0) for b in batches]) for name in ("mean", "std"))
        unbiased = np.array([b.std(0, ddof=1) for b in batches])
        weights = np.array([[len(b)] for b in batches]) / len(X)
        yield compare(
            "mean", state["mean"], X.mean(0), {"the batches' means count alike whatever their size": means.mean(0)}
        )
        averaged = "scale averages the batches' deviations; what lies between their means is lost"
        wrong = {
            averaged: sds.mean(0),
            averaged + ", and they are unbiased ones": unbiased.mean(0),
            averaged + " (weighted)": (weights * sds).sum(0),
            "scale averages the batches' variances; what lies between their means is lost": np.sqrt(
                (weights * sds**2).sum(0)
            ),
            f"the variance is divided by n{' - 1' * (1 - ddof)}, asked is n{' - 1' * ddof}": X.std(0, ddof=1 - ddof),
        }
        yield compare("scale", state["scale"], X.std(0, ddof=ddof), wrong)
        far = 1e6 + X
        scale = _call("from_batches", function, batches=np.split(far, [5, 7]))[0]["scale"]
        yield compare("scale of numbers around a million", scale, far.std(0, ddof=ddof), tolerance=1e-6)

    return review("from_batches", findings())


def _ridge(train, test, y_train, strength, mean):
    Z = train
    w = np.linalg.solve(Z.T @ Z + strength * np.eye(Z.shape[1]), Z.T @ (y_train - mean))
    return test @ w + mean


def cross_validation(function, *, ddof=0, seed=0):
    """Check a cross-validation whose standardization must be learned inside each fold.

    Parameters
    ----------
    function : callable
        ``function(X, y, folds, strength)`` gives the mean squared error of each fold, shape (k,).
    ddof : {0, 1}
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.
    """

    def findings():
        rng = np.random.default_rng(seed)
        X, strength = _table(rng, 11), 2.5
        y = X @ rng.normal(size=3) + rng.normal(size=11) + 5
        folds = np.split(rng.permutation(11), [3, 7])

        def errors(scaled, mean=lambda train: y[train].mean(), swapped=False, added=True):
            found = []
            for rows in folds:
                train = np.setdiff1d(np.arange(11), rows)
                train, rows = (rows, train) if swapped else (train, rows)
                a, b = scaled(train, rows)
                prediction = _ridge(a, b, y[train], strength, mean(train))
                found.append(np.mean((prediction - (0 if added else mean(train)) - y[rows]) ** 2))
            return np.array(found)

        def z(table, by, ddof=ddof):
            return (table - by.mean(0)) / by.std(0, ddof=ddof)

        def proper(train, rows):
            return z(X[train], X[train]), z(X[rows], X[train])

        want = errors(proper)
        wrong = {
            "the mean of y is taken over all rows: the targets of the test rows leak": errors(
                proper, lambda train: y.mean()
            ),
            "training and test rows are swapped: the rows of a fold are for the test": errors(proper, swapped=True),
            "these are roots of the mean squared errors": np.sqrt(want),
            "the mean of y is not added to the prediction": errors(proper, added=False),
            "the statistics are learned on all rows, before the folds are made: the test rows leak": errors(
                lambda train, rows: (z(X, X)[train], z(X, X)[rows])
            ),
            "the test rows are standardized with their own statistics": errors(
                lambda train, rows: (z(X[train], X[train]), z(X[rows], X[rows]))
            ),
            "nothing is standardized": errors(
                lambda train, rows: (X[train] - X[train].mean(0), X[rows] - X[train].mean(0))
            ),
            f"the variance is divided by n{' - 1' * (1 - ddof)}, asked is n{' - 1' * ddof}": errors(
                lambda train, rows: (z(X[train], X[train], 1 - ddof), z(X[rows], X[train], 1 - ddof))
            ),
        }
        got, changed = _call("cross_validate", function, X=X, y=y, folds=folds, strength=strength)
        yield changed
        yield compare("the error of each fold", got, want, wrong)

    return review("cross_validate", findings())


def zca(function, *, ddof=0, seed=0):
    """Check whitening by ZCA, with what a training table has taught.

    Parameters
    ----------
    function : callable
        ``function(X_train, X)`` gives X whitened, shape (m, d).
    ddof : {0, 1}
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.
    """

    def findings():
        rng = np.random.default_rng(seed)
        mix = rng.normal(size=(3, 3)) + 2 * np.eye(3)
        X, new = _table(rng, 9) @ mix, _table(rng, 4) @ mix

        def white(by, table, kind="zca", ddof=ddof):
            values, U = np.linalg.eigh(np.cov(by.T, ddof=ddof))
            turn = {"zca": U.T, "pca": np.eye(3)}[kind]
            return (table - by.mean(0)) @ (U / np.sqrt(values)) @ turn

        want = white(X, new)
        wrong = {
            "zca uses the statistics of the new table; they must be those of the training table": white(new, new),
            "this only standardizes: the features stay correlated": (new - X.mean(0)) / X.std(0, ddof=ddof),
            f"the covariance is divided by n{' - 1' * (1 - ddof)}, asked is n{' - 1' * ddof}": white(
                X, new, ddof=1 - ddof
            ),
        }
        got, changed = _call("zca", function, X_train=X, X=new)
        yield changed
        found = compare("the white table", got, want, wrong)
        got = np.asarray(got, dtype=np.float64)
        if found and got.shape == new.shape and np.isfinite(got).all():
            parallel = _close(got @ got.T, want @ want.T, TOLERANCE)
            found = "this is white, but turned, as by PCA; ZCA turns it back" if parallel else found
        yield found

    return review("zca", findings())


def flat_directions(function, *, ddof=0, seed=0):
    """Check whitening where the training table does not vary in one direction.

    Parameters
    ----------
    function : callable
        As in `zca`.
    ddof : {0, 1}
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.
    """

    def findings():
        X = _table(np.random.default_rng(seed))  # rows that do vary in that direction
        flat = np.column_stack([X[:, 0], X[:, 1], X[:, 0] + X[:, 1]])
        got, changed = _call("zca", function, X_train=flat, X=X)
        yield changed
        size = np.abs(np.asarray(got, dtype=np.float64))
        if size.shape == flat.shape and not (size < 1e3).all():
            yield "a direction in which the training table does not vary is blown up; it should become 0"
        else:
            values, U = np.linalg.eigh(np.cov(flat.T, ddof=ddof))
            kept, away = U[:, 1:], U[:, :1]
            want = (X - flat.mean(0)) @ (kept / np.sqrt(values[1:])) @ kept.T
            as_it_is = "a direction in which the training table does not vary is left as it is; it should become 0"
            wrong = {as_it_is: want + (X - flat.mean(0)) @ away @ away.T}
            yield compare("a table white by one without variance in one direction", got, want, wrong, tolerance=1e-6)

    return review("zca without variance in one direction", findings())


# Batch norm


class _Batch:
    """A batch with another mean and deviation in each feature, an upstream gradient, and all that lies between."""

    eps = 0.05  # large, so that it can be seen where it is

    def __init__(self, axis, seed, n=5, d=3):
        rng = np.random.default_rng(seed)
        self.axis, self.n = axis, n
        self.x, self.dy = self.turned(_table(rng, n, d)), self.turned(rng.normal(size=(n, d)))
        self.gamma = self.turned(rng.uniform(0.5, 2, (1, d)) * rng.choice([-1, 1], (1, d)))
        self.beta = self.turned(rng.normal(size=(1, d)))
        self.mu = self.mean(self.x)
        self.xc = self.x - self.mu
        self.var = self.mean(self.xc**2)
        self.inv_std = 1 / np.sqrt(self.var + self.eps)
        self.x_hat = self.xc * self.inv_std
        self.y = self.gamma * self.x_hat + self.beta

    def turned(self, table):
        return table if self.axis == 0 else np.ascontiguousarray(table.T)

    def sum(self, a):
        return a.sum(axis=self.axis, keepdims=True)

    def mean(self, a):
        return a.mean(axis=self.axis, keepdims=True)

    def cache(self):
        return {name: getattr(self, name).copy() for name in ("mu", "xc", "var", "inv_std", "x_hat")}

    def dx(self, *, mean=True, var=True, gamma=True, inv_std=True, average=None, other=None):
        """Gradient of x, with or without its parts."""
        average = average or self.mean
        dx = self.dy - mean * average(self.dy) - float(var) * self.x_hat * (other or average)(self.dy * self.x_hat)
        return dx * (self.gamma if gamma else 1) * (self.inv_std if inv_std else 1)


def forward(function, *, axis=0, seed=0):
    """Check a forward pass with named intermediates.

    Parameters
    ----------
    function : callable
        ``function(x, gamma, beta, eps)`` gives a dict with mu, xc, var, inv_std, x_hat and y.
    axis : {0, 1}
        Axis of the examples.
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.
    """

    def findings():
        b = _Batch(axis, seed)
        got, changed = _call("forward", function, x=b.x, gamma=b.gamma, beta=b.beta, eps=b.eps)
        yield changed
        yield (keys := _keys("forward", got, ("mu", "xc", "var", "inv_std", "x_hat", "y")))
        if keys:
            return
        # Each is judged by the student's own values of those before it: one fault, one sentence.
        mu, xc, var, inv_std, x_hat = (got[name] for name in ("mu", "xc", "var", "inv_std", "x_hat"))
        other = b.x.mean(axis=1 - axis, keepdims=True)
        yield (first := compare("mu", mu, b.mu, {"mu is taken over the features; it is taken over the batch": other}))
        if first:
            return
        yield compare("xc", xc, b.xc, {"xc has the wrong sign": -b.xc})
        unbiased = "var is divided by n - 1; batch norm normalizes with the variance that is divided by n"
        wrong = {unbiased: b.var * b.n / (b.n - 1), "var is the standard deviation": np.sqrt(b.var)}
        yield (second := compare("var", var, b.var, wrong | {"var is a sum; it is a mean": b.var * b.n}))
        if second:
            return
        var = np.asarray(var)
        wrong = {
            "eps is added to the standard deviation; it belongs under the root": 1 / (np.sqrt(var) + b.eps),
            "eps is missing under the root": 1 / np.sqrt(var),
            "inv_std is the standard deviation; it is one over it": np.sqrt(var + b.eps),
            "inv_std is one over the variance; the root is missing": 1 / (var + b.eps),
        }
        yield compare("inv_std", inv_std, 1 / np.sqrt(var + b.eps), wrong)
        if np.shape(inv_std) == b.inv_std.shape and np.shape(xc) == b.x.shape:
            yield compare("x_hat", x_hat, np.asarray(xc) * np.asarray(inv_std), {"x_hat is not scaled": b.xc})
        if np.shape(x_hat) == b.x.shape:
            own = np.asarray(x_hat)
            wrong = {
                "y misses gamma and beta": own,
                "y misses beta": b.gamma * own,
                "y misses gamma": own + b.beta,
                "gamma multiplies beta, too": b.gamma * (own + b.beta),
            }
            yield compare("y", got["y"], b.gamma * own + b.beta, wrong)

    return review("forward", findings())


def backward_staged(function, *, axis=0, seed=0):
    """Check a backward pass node by node.

    Parameters
    ----------
    function : callable
        ``function(dy, cache, gamma)``, where cache has mu, xc, var, inv_std and x_hat, gives a dict with dbeta, dgamma,
        dx_hat, dinv_std, dvar, dxc, dmu and dx. A gradient has the shape of what it belongs to.
    axis : {0, 1}
        Axis of the examples.
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.

    Notes
    -----
    Each node is judged by the function's own values of those before it, so that one fault gives one sentence.
    """

    def findings():
        b = _Batch(axis, seed)
        got, changed = _call("backward_staged", function, dy=b.dy, cache=b.cache(), gamma=b.gamma)
        yield changed
        names = ("dbeta", "dgamma", "dx_hat", "dinv_std", "dvar", "dxc", "dmu", "dx")
        yield (keys := _keys("backward_staged", got, names))
        if keys:
            return
        like = {"dbeta": b.beta, "dgamma": b.gamma, "dx_hat": b.x, "dinv_std": b.inv_std, "dvar": b.var}
        like |= {"dxc": b.x, "dmu": b.mu, "dx": b.x}
        own = {}
        for name, (right, wrong) in _stages(b, own):
            want, wrong = right(), {sentence: result() for sentence, result in wrong.items()}
            yield compare(name, got[name], want, wrong)
            given = np.asarray(got[name]) if got[name] is not None else np.empty(0)
            own[name] = given if given.shape == like[name].shape else want

    return review("backward_staged", findings())


def _stages(b, own):
    """Each node of the backward pass: its name, what is right, and the usual wrong ones, from `own` earlier values."""
    x = b.xc + b.mu
    yield "dbeta", (lambda: b.sum(b.dy), {"dbeta is a mean over the batch; it is a sum": lambda: b.mean(b.dy)})
    yield (
        "dgamma",
        (
            lambda: b.sum(b.dy * b.x_hat),
            {
                "dgamma is taken with x instead of x_hat": lambda: b.sum(b.dy * x),
                "dgamma is taken with xc instead of x_hat": lambda: b.sum(b.dy * b.xc),
                "dgamma is a mean over the batch; it is a sum": lambda: b.mean(b.dy * b.x_hat),
            },
        ),
    )
    yield (
        "dx_hat",
        (
            lambda: b.dy * b.gamma,
            {"dx_hat misses gamma": lambda: b.dy, "dx_hat is divided by gamma": lambda: b.dy / b.gamma},
        ),
    )
    yield (
        "dinv_std",
        (
            lambda: b.sum(own["dx_hat"] * b.xc),
            {
                "dinv_std is taken with x_hat instead of xc": lambda: b.sum(own["dx_hat"] * b.x_hat),
                "dinv_std is a mean over the batch; it is a sum": lambda: b.mean(own["dx_hat"] * b.xc),
            },
        ),
    )
    yield (
        "dvar",
        (
            lambda: -0.5 * b.inv_std**3 * own["dinv_std"],
            {
                "dvar has the wrong sign": lambda: 0.5 * b.inv_std**3 * own["dinv_std"],
                "dvar misses the factor of a half": lambda: -(b.inv_std**3) * own["dinv_std"],
                "dvar has the square of inv_std, it is the third power": lambda: -0.5 * b.inv_std**2 * own["dinv_std"],
                "dvar leaves out eps": lambda: -0.5 * b.var**-1.5 * own["dinv_std"],
            },
        ),
    )
    direct, spread = (lambda: own["dx_hat"] * b.inv_std), (lambda: 2 * b.xc * own["dvar"])
    yield (
        "dxc",
        (
            lambda: direct() + spread() / b.n,
            {
                "dxc misses the path through the variance": direct,
                "dxc misses the direct path from x_hat": lambda: spread() / b.n,
                "dxc misses the factor of two of the square": lambda: direct() + spread() / (2 * b.n),
                "dxc: the path through the variance is not divided by n": lambda: direct() + spread(),
            },
        ),
    )
    yield "dmu", (lambda: -b.sum(own["dxc"]), {"dmu has the wrong sign": lambda: b.sum(own["dxc"])})
    yield (
        "dx",
        (
            lambda: own["dxc"] + own["dmu"] / b.n,
            {
                "dx misses the path through the mean": lambda: own["dxc"],
                "dx: the path through the mean is not divided by n": lambda: own["dxc"] + own["dmu"],
                "dx: the path through the mean has the wrong sign": lambda: own["dxc"] - own["dmu"] / b.n,
            },
        ),
    )


def backward_closed(function, *, axis=0, seed=0):
    """Check the backward pass in one formula.

    Parameters
    ----------
    function : callable
        ``function(dy, x_hat, inv_std, gamma)`` gives dx.
    axis : {0, 1}
        Axis of the examples.
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.

    Examples
    --------
    >>> wrong = lambda dy, x_hat, inv_std, gamma: gamma * inv_std * (dy - dy.mean(axis=0))
    >>> backward_closed(wrong)
    backward_closed: dx misses the path through the variance
    ('dx misses the path through the variance',)
    """

    def findings():
        b = _Batch(axis, seed)
        wrong = {
            "dx misses the path through the variance": b.dx(var=False),
            "dx misses the path through the mean": b.dx(mean=False),
            "dx takes the mean and the variance for constants: both paths are missing": b.dx(mean=False, var=False),
            "dx misses gamma": b.dx(gamma=False),
            "dx misses inv_std": b.dx(inv_std=False),
            "dx has sums where means belong": b.dx(average=b.sum),
            "dx has a sum in place of the mean of dy": b.dx(average=b.sum, other=b.mean),
            "dx has a sum in place of the mean of dy * x_hat": b.dx(other=b.sum),
            "dx divides by n - 1 instead of n": b.dx(average=lambda a: b.sum(a) / (b.n - 1)),
            "dx: the path through the variance has the wrong sign": b.dx(var=-1),
            "dx: the means are taken over the features": b.dx(average=lambda a: a.mean(axis=1 - axis, keepdims=True)),
        }
        got, changed = _call("backward_closed", function, dy=b.dy, x_hat=b.x_hat, inv_std=b.inv_std, gamma=b.gamma)
        yield changed
        yield compare("dx", got, b.dx(), wrong)

    return review("backward_closed", findings())


def running_statistics(function, *, momentum=0.2, axis=0, weight_of="new", seed=0):
    """Check the update of running statistics, a pure function from a state to a state.

    Parameters
    ----------
    function : callable
        ``function(state, x, momentum)`` gives a new state: a dict with mean and var, of the shape of the statistics,
        and batches, the number of batches so far.
    momentum : float or None
        With which it is checked; None is the average over all batches.
    axis : {0, 1}
        Axis of the examples.
    weight_of : {"new", "old"}
        Whose weight momentum is: that of the new batch, as in PyTorch, or that of the old value, as in the papers.
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.
    """

    def findings():
        b = _Batch(axis, seed)
        rng = np.random.default_rng(seed + 1)
        old = {"mean": rng.normal(size=b.mu.shape), "var": rng.uniform(0.5, 2, b.mu.shape), "batches": 3}
        unbiased = b.var * b.n / (b.n - 1)

        def moved(p, name, new):
            return (1 - p) * old[name] + p * new

        p = 1 / 4 if momentum is None else momentum if weight_of == "new" else 1 - momentum
        got, changed = _call("update", function, state=old, x=b.x, momentum=momentum)
        yield changed
        case = "with momentum None " if momentum is None else ""
        yield (keys := _keys("update", got, ("mean", "var", "batches")))
        if keys:
            return
        swapped = f"momentum is the weight of the {weight_of} value here; it is used the other way round"
        none = {
            "momentum None is the average over all batches, not 0.1": (0.1, 0.9),
            "with momentum None the batch is counted after it is averaged": (1 / 3,),
            "with momentum None the batch is counted twice": (1 / 5,),
            "with momentum None the weights of the new batch and of the old value are swapped": (3 / 4,),
        }
        faults = none if momentum is None else {swapped: (1 - p,)}
        for name, new in (("mean", b.mu), ("var", unbiased)):
            wrong = {}
            for sentence, weights in faults.items():
                for i, q in enumerate(weights):
                    wrong[sentence + " " * i] = moved(q, name, new)
                    if name == "var":
                        wrong[f"{sentence}, and var takes the variance divided by n" + " " * i] = moved(q, name, b.var)
            if name == "var":
                wrong["var takes the variance divided by n; the running one is unbiased, divided by n - 1"] = moved(
                    p, name, b.var
                )
                roots = (1 - p) * np.sqrt(old["var"]) + p * np.sqrt(unbiased)
                wrong["var averages standard deviations"] = roots**2
            wrong[f"{name} {case}is that of the batch alone"] = new
            wrong[f"{name} {case}is not updated"] = old[name]
            found = compare(f"{case}{name}", got[name], moved(p, name, new), wrong)
            yield found and found.strip()
        yield None if got["batches"] == 4 else f"batches is {got['batches']} after batch number 4"

    return review("update", findings())


def evaluation(function, *, axis=0, seed=0):
    """Check batch norm in evaluation.

    Parameters
    ----------
    function : callable
        ``function(x, state, gamma, beta, eps)`` gives y; state has mean and var.
    axis : {0, 1}
        Axis of the examples.
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.
    """

    def findings():
        b = _Batch(axis, seed)
        rng = np.random.default_rng(seed + 1)
        state = {"mean": rng.normal(size=b.mu.shape), "var": rng.uniform(0.5, 2, b.mu.shape), "batches": 3}

        def with_factor(x, factor):
            return b.gamma * (x - state["mean"]) * factor + b.beta

        for x in (b.x, b.turned(b.turned(b.x)[:1])):
            factor = 1 / np.sqrt(state["var"] + b.eps)
            wrong = {
                "evaluation uses the statistics of the batch; it uses the running ones": b.y,
                "eps is added to the standard deviation; it belongs under the root": with_factor(
                    x, 1 / (np.sqrt(state["var"]) + b.eps)
                ),
                "eps is missing under the root": with_factor(x, 1 / np.sqrt(state["var"])),
                "the mean is that of the batch; evaluation uses the running one": b.gamma * (x - b.mean(x)) * factor
                + b.beta,
                "the variance is that of the batch; evaluation uses the running one": with_factor(
                    x, 1 / np.sqrt(b.mean((x - b.mean(x)) ** 2) + b.eps)
                ),
                "y misses beta": with_factor(x, factor) - b.beta,
                "y misses gamma and beta": (x - state["mean"]) * factor,
            }
            got, changed = _call("evaluate", function, x=x, state=state, gamma=b.gamma, beta=b.beta, eps=b.eps)
            yield changed
            name = "y" if x is b.x else "y of a single example"
            yield compare(name, got, with_factor(x, factor), wrong)

    return review("evaluate", findings())


def evaluation_backward(function, *, axis=0, seed=0):
    """Check the gradients of batch norm in evaluation.

    Parameters
    ----------
    function : callable
        ``function(dy, x, state, gamma, eps)`` gives a dict with dx, dgamma and dbeta.
    axis : {0, 1}
        Axis of the examples.
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.
    """

    def findings():
        b = _Batch(axis, seed)
        rng = np.random.default_rng(seed + 1)
        state = {"mean": rng.normal(size=b.mu.shape), "var": rng.uniform(0.5, 2, b.mu.shape), "batches": 3}
        factor = 1 / np.sqrt(state["var"] + b.eps)
        x_hat = (b.x - state["mean"]) * factor
        given = {"dy": b.dy, "x": b.x, "state": state, "gamma": b.gamma, "eps": b.eps}
        got, changed = _call("evaluate_backward", function, **given)
        yield changed
        yield (keys := _keys("evaluate_backward", got, ("dx", "dgamma", "dbeta")))
        if keys:
            return
        paths = b.dy - b.mean(b.dy) - x_hat * b.mean(b.dy * x_hat)
        wrong = {
            "dx subtracts paths through the statistics; in evaluation they do not depend on x": b.gamma
            * factor
            * paths,
            "dx is that of training; in evaluation the statistics do not depend on x": b.dx(),
            "dx misses gamma": b.dy * factor,
        }
        yield compare("dx", got["dx"], b.dy * b.gamma * factor, wrong)
        wrong = {
            "dgamma is taken with the batch's statistics": b.sum(b.dy * b.x_hat),
            "dgamma is taken with x instead of x_hat": b.sum(b.dy * b.x),
        }
        yield compare("dgamma", got["dgamma"], b.sum(b.dy * x_hat), wrong)
        yield compare("dbeta", got["dbeta"], b.sum(b.dy), {"dbeta is a mean over the batch; it is a sum": b.mean(b.dy)})

    return review("evaluate_backward", findings())


def images(function, *, seed=0):
    """Check batch norm of images.

    Parameters
    ----------
    function : callable
        ``function(x, gamma, beta, eps)``, with x of shape (N, C, H, W) and gamma and beta of shape (C,), gives y.
    seed : int

    Returns
    -------
    tuple of str
        Empty if nothing is wrong.
    """

    def findings():
        rng = np.random.default_rng(seed)
        x = rng.normal(1, 2, (4, 3, 2, 5)) * rng.uniform(0.5, 2, (1, 3, 1, 1)) + rng.normal(size=(4, 1, 1, 5))
        gamma, beta, eps = rng.uniform(0.5, 2, 3), rng.normal(size=3), 0.05

        def over(axes, ddof=0):
            x_hat = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, ddof=ddof, keepdims=True) + eps)
            return gamma.reshape(1, -1, 1, 1) * x_hat + beta.reshape(1, -1, 1, 1)

        wrong = {
            "the statistics are taken per pixel; they are taken per channel, over height and width too": over((0,)),
            "the batch axis is missing in the statistics": over((2, 3)),
            "the statistics are taken over the channels too": over((0, 1, 2, 3)),
            "each image has statistics of its own, over its channels": over((1, 2, 3)),
            "var is divided by n - 1": over((0, 2, 3), 1),
        }
        got, changed = _call("forward_images", function, x=x, gamma=gamma, beta=beta, eps=eps)
        yield changed
        yield compare("y", got, over((0, 2, 3)), wrong)

    return review("forward_images", findings())

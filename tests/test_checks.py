"""The students' own checks: right functions pass, and each wrong one is told what is wrong with it, in words."""

from functools import partial

import numpy as np
import pytest
from edits import mutants
from mutants import batch

from utils.homework import checks, hw01, hw03

AXES = [0, 1]


MUTANTS = mutants("batch")


def mutant(name):
    return batch.BatchNorm if name == "correct" else MUTANTS[name].module().BatchNorm


def by_name(function):
    """A function whose own names for its arguments do not matter."""
    return lambda **named: function(*named.values())


# Right ones, with examples along an axis


def standardizer(ddof=0, constant=True):
    def fit(X):
        mean, var = X.mean(axis=0), X.var(axis=0, ddof=ddof)
        tiny = (1e-14 * np.abs(mean)) ** 2 if constant else 0
        return {"mean": mean, "scale": np.where(var <= tiny, 1.0, np.sqrt(var))}

    return fit


def batches(ddof=0, how=None):
    def from_batches(batches):
        X = np.concatenate(batches)
        if how is not None:
            return {"mean": X.mean(axis=0), "scale": how(batches)}
        return {"mean": X.mean(axis=0), "scale": X.std(axis=0, ddof=ddof)}

    return from_batches


def validation(rows_for, ddof=0):
    """Cross-validation; rows_for says from the training and test rows whose statistics each of both gets."""

    def cross_validate(X, y, folds, strength):
        errors = []
        for test in folds:
            train = np.setdiff1d(np.arange(len(X)), test)
            by, test_by = rows_for(train, test, np.arange(len(X)))
            Z, T = (
                (X[rows] - X[known].mean(0)) / X[known].std(0, ddof=ddof)
                for rows, known in ((train, by), (test, test_by))
            )
            mean = y[train].mean()
            w = np.linalg.solve(Z.T @ Z + strength * np.eye(X.shape[1]), Z.T @ (y[train] - mean))
            errors.append(np.mean((T @ w + mean - y[test]) ** 2))
        return np.array(errors)

    return cross_validate


def zca(ddof=0, own=False, turn=True, rank=True):
    def whiten(X_train, X):
        known = X if own else X_train
        mean = known.mean(axis=0)
        _, s, Vt = np.linalg.svd(known - mean, full_matrices=False)
        varies = s > 1e-10 * s[0] if rank else s > 0
        white = (X - mean) @ (Vt[varies].T / s[varies] * np.sqrt(len(known) - ddof))
        return white @ Vt[varies] if turn else white

    return whiten


def forward(axis, ddof=0, inv=lambda var, eps: 1 / np.sqrt(var + eps), out=lambda g, h, b: g * h + b):
    def function(x, gamma, beta, eps):
        mu, var = x.mean(axis=axis, keepdims=True), x.var(axis=axis, ddof=ddof, keepdims=True)
        inv_std = inv(var, eps)
        x_hat = (x - mu) * inv_std
        found = {"mu": mu, "xc": x - mu, "var": var, "inv_std": inv_std, "x_hat": x_hat}
        return found | {"y": out(gamma, x_hat, beta)}

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
        g = type("Values", (), {})()
        g.dy, g.gamma, g.add = dy, gamma, lambda a: a.sum(axis=axis, keepdims=True)
        for name, value in cache.items():
            setattr(g, name, value)
        for name, formula in formulas.items():
            setattr(g, name, formula(g, dy.shape[axis]))
        return {name: getattr(g, name) for name in formulas}

    return function


def update(axis, ddof=1, weight=lambda p, batches: p if p is not None else 1 / batches, var=None):
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


RIGHT = {
    "statistics": (hw01.statistics, standardizer()),
    "statistics, n - 1": (partial(hw01.statistics, ddof=1), standardizer(1)),
    "constant_features": (hw01.constant_features, standardizer()),
    "constant_features, n - 1": (hw01.constant_features, standardizer(1)),
    "from_batches": (hw01.from_batches, batches()),
    "from_batches, n - 1": (partial(hw01.from_batches, ddof=1), batches(1)),
    "cross_validation": (hw01.cross_validation, validation(lambda train, test, every: (train, train))),
    "zca": (hw01.zca, zca()),
    "zca, n - 1": (partial(hw01.zca, ddof=1), zca(1)),
    "flat_directions": (hw01.flat_directions, zca()),
    "flat_directions, n - 1": (partial(hw01.flat_directions, ddof=1), zca(1)),
    "images": (hw03.images, images()),
}
for a in AXES:
    RIGHT |= {
        f"forward {a}": (partial(hw03.forward, axis=a), forward(a)),
        f"backward_staged {a}": (partial(hw03.backward_staged, axis=a), staged(a)),
        f"backward_closed {a}": (partial(hw03.backward_closed, axis=a), closed(a)),
        f"running_statistics {a}": (partial(hw03.running_statistics, axis=a), update(a)),
        f"average {a}": (partial(hw03.running_statistics, momentum=None, axis=a), update(a)),
        f"evaluation {a}": (partial(hw03.evaluation, axis=a), evaluate),
        f"evaluation_backward {a}": (partial(hw03.evaluation_backward, axis=a), evaluate_backward(a)),
    }


@pytest.mark.parametrize("name", RIGHT)
def test_right_ones_pass(name, capsys):
    check, function = RIGHT[name]
    assert check(function) == ()
    assert capsys.readouterr().out.endswith(": right\n")


def test_right_with_the_other_convention():
    def weight(p, batches):
        return 1 - p if p is not None else 1 / batches

    assert hw03.running_statistics(update(0, weight=weight), weight_of="old") == ()
    (found,) = hw03.running_statistics(update(0), weight_of="old")[:1]
    assert "momentum is the weight of the old value here" in found


@pytest.mark.parametrize("seed", range(5))
def test_other_seeds_do_as_well(seed):
    assert hw03.backward_closed(closed(0), seed=seed) == ()
    assert hw03.backward_staged(staged(1), axis=1, seed=seed) == ()
    assert hw03.forward(forward(1), axis=1, seed=seed) == ()
    wrong = staged(0, dxc=lambda g, n: g.dx_hat * g.inv_std)
    assert hw03.backward_staged(wrong, seed=seed) == ("dxc misses the path through the variance",)


# Wrong ones


def deviations(parts):
    return np.mean([part.std(axis=0) for part in parts], axis=0)


def variances(parts):
    n = sum(map(len, parts))
    return np.sqrt(sum(len(part) * part.var(axis=0) for part in parts) / n)


def squares(parts):
    X = np.concatenate(parts)
    return np.sqrt((X**2).mean(axis=0) - X.mean(axis=0) ** 2)


def zero_constant(X):
    scale = X.std(axis=0)
    return {"mean": X.mean(axis=0), "scale": np.where(scale == 0, 1, scale)}


def eager(X):
    scale = X.std(axis=0)
    return {"mean": X.mean(axis=0), "scale": np.where(scale < 1e-6, 1, scale)}


def of_examples(X):
    return {"mean": X.mean(axis=1), "scale": X.std(axis=1)}


def variance(X):
    return {"mean": X.mean(axis=0), "scale": X.var(axis=0)}


def mean_of(a):
    return a.mean(axis=0, keepdims=True)


def sum_of(a):
    return a.sum(axis=0, keepdims=True)


def ridge(mean=lambda y, train: y[train].mean(), added=True, swapped=False, root=False):
    """Cross-validation with a mistake that has nothing to do with standardizing."""

    def cross_validate(X, y, folds, strength):
        errors = []
        for rows in folds:
            train = np.setdiff1d(np.arange(len(X)), rows)
            train, test = (rows, train) if swapped else (train, rows)
            Z, T = ((X[part] - X[train].mean(0)) / X[train].std(0) for part in (train, test))
            middle = mean(y, train)
            w = np.linalg.solve(Z.T @ Z + strength * np.eye(X.shape[1]), Z.T @ (y[train] - middle))
            errors.append(np.mean((T @ w + added * middle - y[test]) ** 2))
        return np.sqrt(errors) if root else np.array(errors)

    return cross_validate


def flat_left(X_train, X):
    """Whitening that takes the scale 1 where the training table does not vary."""
    values, U = np.linalg.eigh(np.cov(X_train.T, ddof=0))
    scale = np.where(values > 1e-10 * values[-1], np.sqrt(np.abs(values)), 1.0)
    return (X - X_train.mean(axis=0)) @ (U / scale) @ U.T


def spread(g, n):
    return 2 / n * g.xc * g.dvar


def direct(g, n):
    return g.dx_hat * g.inv_std


WRONG = [
    (hw01.statistics, standardizer(1), "the variance is divided by n - 1, asked is n"),
    (partial(hw01.statistics, ddof=1), standardizer(0), "the variance is divided by n, asked is n - 1"),
    (hw01.statistics, of_examples, "taken over the features of each example"),
    (hw01.statistics, variance, "the square root is missing"),
    (hw01.statistics, lambda X: {"mean": X.mean(axis=0)}, "fit gives no scale"),
    (hw01.statistics, lambda X: (0, 1), "fit should give a dict with mean, scale"),
    (hw01.constant_features, zero_constant, "a constant feature has scale"),
    (hw01.constant_features, eager, "varies by a billionth is taken for a constant"),
    (hw01.constant_features, variance, "a constant feature has scale"),
    (hw01.constant_features, lambda X: {"mean": 0, "scale": [1, 1, 1e-12]}, "does not get its own scale"),
    (hw01.constant_features, of_examples, "scale has shape (7,), expected (3,)"),
    (hw01.constant_features, lambda X: {"mean": X.mean(axis=0)}, "fit gives no scale"),
    (hw01.from_batches, batches(how=deviations), "averages the batches' deviations"),
    (hw01.from_batches, batches(how=variances), "averages the batches' variances"),
    (hw01.from_batches, batches(how=squares), "numbers around a million"),
    (hw01.from_batches, batches(1), "the variance is divided by n - 1, asked is n"),
    (hw01.from_batches, lambda batches: {}, "gives no mean, scale"),
    (
        hw01.cross_validation,
        validation(lambda train, test, every: (every, every)),
        "learned on all rows, before the folds are made: the test rows leak",
    ),
    (hw01.cross_validation, validation(lambda train, test, every: (train, test)), "with their own statistics"),
    (hw01.cross_validation, validation(lambda train, *_: (train, train), 1), "divided by n - 1"),
    (hw01.cross_validation, ridge(mean=lambda y, train: y.mean()), "the targets of the test rows leak"),
    (hw01.cross_validation, ridge(added=False), "the mean of y is not added to the prediction"),
    (hw01.cross_validation, ridge(swapped=True), "training and test rows are swapped"),
    (hw01.cross_validation, ridge(root=True), "these are roots"),
    (hw01.cross_validation, lambda X, y, folds, strength: np.ones(3), "the error of each fold is wrong"),
    (hw01.flat_directions, flat_left, "left as it is; it should become 0"),
    (hw01.zca, zca(own=True), "uses the statistics of the new table"),
    (hw01.zca, zca(turn=False), "turned, as by PCA"),
    (hw01.flat_directions, zca(rank=False), "is blown up"),
    (hw01.zca, zca(1), "the covariance is divided by n - 1"),
    (hw01.zca, by_name(lambda a, X: (X - a.mean(0)) / a.std(0)), "only standardizes"),
    (hw03.forward, forward(0, ddof=1), "var is divided by n - 1"),
    (hw03.forward, forward(1), "mu is taken over the features"),
    (hw03.forward, forward(0, inv=lambda v, e: 1 / (np.sqrt(v) + e)), "added to the standard deviation"),
    (hw03.forward, forward(0, inv=lambda v, e: 1 / np.sqrt(v)), "eps is missing under the root"),
    (hw03.forward, forward(0, inv=lambda v, e: 1 / (v + e)), "the root is missing"),
    (hw03.forward, forward(0, out=lambda g, h, b: h), "y misses gamma and beta"),
    (hw03.forward, forward(0, out=lambda g, h, b: g * h), "y misses beta"),
    (hw03.forward, forward(0, out=lambda g, h, b: g * (h + b)), "gamma multiplies beta, too"),
    (hw03.forward, lambda **given: {"y": 1}, "forward gives no mu"),
    (hw03.backward_staged, staged(0, dbeta=lambda g, n: mean_of(g.dy)), "dbeta is a mean"),
    (hw03.backward_staged, staged(0, dgamma=lambda g, n: sum_of(g.dy * (g.xc + g.mu))), "x instead of x_hat"),
    (hw03.backward_staged, staged(0, dgamma=lambda g, n: sum_of(g.dy * g.xc)), "xc instead of x_hat"),
    (hw03.backward_staged, staged(0, dx_hat=lambda g, n: g.dy), "dx_hat misses gamma"),
    (hw03.backward_staged, staged(0, dinv_std=lambda g, n: sum_of(g.dx_hat * g.x_hat)), "x_hat instead of xc"),
    (hw03.backward_staged, staged(0, dvar=lambda g, n: 0.5 * g.inv_std**3 * g.dinv_std), "wrong sign"),
    (hw03.backward_staged, staged(0, dvar=lambda g, n: -(g.inv_std**3) * g.dinv_std), "factor of a half"),
    (hw03.backward_staged, staged(0, dvar=lambda g, n: -0.5 * g.inv_std**2 * g.dinv_std), "third power"),
    (hw03.backward_staged, staged(0, dvar=lambda g, n: -0.5 * g.var ** (-1.5) * g.dinv_std), "leaves out eps"),
    (hw03.backward_staged, staged(0, dxc=direct), "dxc misses the path through the variance"),
    (hw03.backward_staged, staged(0, dxc=spread), "dxc misses the direct path"),
    (hw03.backward_staged, staged(0, dxc=lambda g, n: direct(g, n) + spread(g, n) / 2), "factor of two"),
    (hw03.backward_staged, staged(0, dxc=lambda g, n: direct(g, n) + spread(g, n) * n), "not divided by n"),
    (hw03.backward_staged, staged(0, dmu=lambda g, n: sum_of(g.dxc)), "dmu has the wrong sign"),
    (hw03.backward_staged, staged(0, dx=lambda g, n: g.dxc), "dx misses the path through the mean"),
    (hw03.backward_staged, staged(0, dx=lambda g, n: g.dxc + g.dmu), "the mean is not divided by n"),
    (hw03.backward_staged, staged(0, dx=lambda g, n: g.dxc - g.dmu / n), "mean has the wrong sign"),
    (hw03.backward_staged, staged(0, dx=lambda g, n: None), "dx is None: is a return missing?"),
    (hw03.backward_staged, lambda **given: {}, "gives no dbeta, dgamma"),
    (hw03.backward_closed, by_name(lambda dy, h, s, g: s * g * dy), "takes the mean and the variance for constants"),
    (hw03.backward_closed, closed(1), "the means are taken over the features"),
    (hw03.backward_closed, by_name(lambda dy, h, s, g: closed(0)(dy, h, 1, g)), "dx misses inv_std"),
    (
        hw03.backward_closed,
        by_name(lambda dy, h, s, g: g * s * (dy - sum_of(dy) - h * mean_of(dy * h))),
        "a sum in place of the mean of dy",
    ),
    (
        hw03.backward_closed,
        by_name(lambda dy, h, s, g: g * s * (dy - mean_of(dy) - h * sum_of(dy * h))),
        "a sum in place of the mean of dy * x_hat",
    ),
    (
        partial(hw03.running_statistics, momentum=None),
        update(0, weight=lambda p, n: 1 - 1 / n),
        "with momentum None the weights of the new batch and of the old value are swapped",
    ),
    (
        hw03.evaluation,
        lambda x, state, **more: evaluate(x, state | {"mean": mean_of(x)}, **more),
        "the mean is that of the batch",
    ),
    (
        hw03.evaluation,
        lambda x, state, **more: evaluate(x, state | {"var": x.var(0)}, **more),
        "the variance is that of the batch",
    ),
    (hw03.backward_closed, by_name(lambda dy, h, s, g: closed(0)(dy, h, s, g)[:2]), "dx has shape (2, 3)"),
    (hw03.backward_closed, by_name(lambda dy, h, s, g: 2 * closed(0)(dy, h, s, g)), "2 times what it should be"),
    (hw03.running_statistics, update(0, ddof=0), "var takes the variance divided by n; the running one"),
    (hw03.running_statistics, by_name(lambda state, x, p: state), "is not updated"),
    (hw03.running_statistics, lambda state, x, momentum: {}, "update gives no mean, var, batches"),
    (hw03.evaluation, by_name(lambda x, s, g, b, e: evaluate(x, s, g, 0, e)), "y misses beta"),
    (hw03.evaluation, by_name(lambda x, s, g, b, e: evaluate(x, s, 1, 0, e)), "y misses gamma and beta"),
    (hw03.evaluation, by_name(lambda x, s, g, b, e: evaluate(x, s, g, b, 0)), "eps is missing under the root"),
    (hw03.evaluation, by_name(lambda x, s, g, b, e: forward(0)(x, g, b, e)["y"]), "uses the statistics of the batch"),
    (
        hw03.evaluation_backward,
        evaluate_backward(0, dx=lambda dy, x, h, g, s: closed(0)(dy, h, s, g)),
        "dx subtracts paths through the statistics",
    ),
    (hw03.evaluation_backward, evaluate_backward(0, dx=lambda dy, x, h, g, s: dy * s), "dx misses gamma"),
    (
        hw03.evaluation_backward,
        evaluate_backward(0, dgamma=lambda dy, x, h, g, s: sum_of(dy * x)),
        "dgamma is taken with x instead of x_hat",
    ),
    (hw03.evaluation_backward, evaluate_backward(0, dbeta=lambda dy, x, h, g, s: mean_of(dy)), "dbeta is a mean"),
    (hw03.evaluation_backward, lambda **given: 1.0, "should give a dict with dx, dgamma, dbeta"),
    (hw03.images, images((0,)), "per pixel"),
    (hw03.images, images((2, 3)), "the batch axis is missing"),
    (hw03.images, images((1, 2, 3)), "each image has statistics of its own"),
    (hw03.images, images((0, 1, 2, 3)), "over the channels too"),
]


@pytest.mark.parametrize(
    ("check", "function", "sentence"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_ones_are_told_what_is_wrong(check, function, sentence, capsys):
    found = check(function)
    assert any(sentence in told for told in found), found
    assert capsys.readouterr().out.count("; ") >= len(found) - 1


def test_one_fault_gives_one_sentence():
    """Later nodes are judged by the student's own earlier ones."""
    assert hw03.backward_staged(staged(0, dxc=direct)) == ("dxc misses the path through the variance",)
    assert len(hw03.forward(forward(0, inv=lambda var, eps: 1 / np.sqrt(var)))) == 1


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


@pytest.mark.parametrize("name", KNOWN)
def test_mutants_are_told_what_is_wrong(name):
    check, wrapped, sentence = KNOWN[name]
    found = check(wrapped(name))
    assert any(sentence in told for told in found), found
    assert check(wrapped("correct")) == ()


def test_what_was_found_before_a_function_fails_is_said_too():
    found = hw03.evaluation(evaluate_of("eval_without_effect"))
    assert "uses the statistics of the batch" in found[0]
    assert found[1].startswith("raised ValueError: expected more than one value")


def test_state_that_is_changed_in_place():
    def careless(state, x, momentum):
        state.update(update(0)(state, x, momentum))
        return state

    assert hw03.running_statistics(careless) == ("update changes its argument state; it should make a new one",)


@pytest.mark.parametrize("case", [*RIGHT, "example"])
def test_arguments_keep_their_names_and_values(case):
    arguments, want = {"x": np.ones(2), "n": 1}, [2, 2]
    example = (lambda function: checks.example(function, arguments, want), lambda x, n: x + n)
    check, function = example if case == "example" else RIGHT[case]
    names = []

    def named(**given):
        names[:] = given
        return function(**given)

    def careless(name):
        def changes(**given):
            found = function(**given)
            first = next(iter(given[name].values())) if isinstance(given[name], dict) else given[name]
            first = first[0] if isinstance(first, list) else first
            first += 1
            return found

        return changes

    assert check(named) == ()
    for name in set(names) - {"strength", "eps", "momentum", "n"}:
        told = check(careless(name))
        assert any(f"changes its argument {name}; it should make a new one" in said for said in told), told
    told = check(eval(f"lambda {', '.join(f'{name}_' for name in names)}: 0"))
    assert told[-1].endswith(f"unexpected keyword argument '{names[0]}'; keep the names of the arguments")


# What is not an answer


def not_done(*given, **named):
    raise NotImplementedError


def broken(*given, **named):
    raise KeyError("x_hat")


ONE_FUNCTION = [getattr(module, name) for module in (hw01, hw03) for name in module.__all__]


@pytest.mark.parametrize("check", ONE_FUNCTION, ids=lambda check: check.__name__)
def test_no_check_fails_because_of_what_it_checks(check, capsys):
    assert check(not_done) == ("not attempted",)
    assert capsys.readouterr().out.endswith(": not attempted\n")
    assert check(broken) == ("raised KeyError: 'x_hat'",)
    for answer in (None, 1.0, "text", np.ones(7), {}, [[1], [2, 3]]):
        assert check(lambda a=answer, **given: a)


# Comparing


@pytest.mark.parametrize(
    ("got", "want", "sentence"),
    [
        ([1.0, 2.0], [1.0, 2.0], None),
        ([1.0, 2.0 + 1e-9], [1.0, 2.0], None),
        ([np.inf, 2.0], [np.inf, 2.0], None),
        ([np.nan], [np.nan], None),
        (0.0, 0.0, None),
        (None, [1.0], "a is None: is a return missing?"),
        ("one", [1.0], "a should be an array of numbers, but is str"),
        ([1.0], [1.0, 2.0], "a has shape (1,), expected (2,)"),
        ([np.nan, 2.0], [1.0, 2.0], "a has 1 NaN"),
        ([-1.0, -2.0], [1.0, 2.0], "a is -1 times what it should be, everywhere"),
        ([1.0, 3.0], [1.0, 2.0], "a is wrong: relative error 0.5"),
        ([1.0, 2.0], [np.inf, 2.0], "a is infinite in the wrong places, or not in the right ones"),
        (0.5, 1.0, "a is 0.5, expected 1"),
        ([1.0000001], [1.0], "a is 1.0000001, expected 1"),
    ],
)
def test_compare(got, want, sentence):
    assert checks.compare("a", got, want) == sentence


def test_a_wrong_result_that_is_right_here_is_not_blamed():
    assert checks.compare("a", [1.0], [1.0], {"a misses something that is 1 here": [1.0]}) is None


def test_example_of_a_dict():
    def function(n):
        return {"one": n, "two": 2 * n}

    assert checks.example(function, {"n": 1.0}, {"one": 1.0, "two": 2.0}) == ()
    found = checks.example(function, {"n": 1.0}, {"one": 1.0, "two": 4.0}, {"two": {"two is not squared": 2.0}})
    assert found == ("two is not squared",)
    assert checks.example(function, {"n": 1.0}, {"three": 1.0}) == ("function gives no three",)


def test_example_names_the_result():
    assert checks.example(lambda: 2.0, {}, 1.0, name="the scale") == ("the scale is 2, expected 1",)


def test_example_does_not_hand_out_its_own_arguments():
    def careless(x):
        x += 1
        return x

    given = np.zeros(2)
    assert checks.example(careless, {"x": given}, [1.0, 1.0]) == (
        "careless changes its argument x; it should make a new one",
    )
    assert not given.any()


def test_a_name_is_not_printed_twice(capsys):
    assert checks.example(lambda a: a, {"a": 2}, 1, name="the scale") == ("the scale is 2, expected 1",)
    assert capsys.readouterr().out == "the scale is 2, expected 1\n"


@pytest.mark.filterwarnings("error")
def test_a_sentence_and_no_warning():
    told = checks.example(lambda a: a / np.zeros(2), {"a": np.ones(2)}, np.ones(2), name="y")
    assert told == ("y is infinite in the wrong places, or not in the right ones",)

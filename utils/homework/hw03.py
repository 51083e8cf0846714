"""The checks of homework 3: batch norm by hand, with weights of the examples that add up to one.

Each gives a tuple of sentences, empty if nothing is wrong. Where one has the argument ``axis``, it is that of the
examples: 0 for tables of shape (n, d), 1 for (d, n); statistics then have shape (1, d) or (d, 1).
"""

import numpy as np

from utils.homework.checks import answer, check, compare, demand, table

__all__ = [
    "backward_closed",
    "backward_staged",
    "evaluation",
    "evaluation_backward",
    "forward",
    "images",
    "running_statistics",
]


class _Batch:
    """A batch with another mean and deviation in each feature, an upstream gradient, and all that lies between."""

    eps = 0.05  # large, so that it can be seen where it is

    def __init__(self, axis, seed, n=5, d=3):
        rng, other = np.random.default_rng(seed), np.random.default_rng(seed + 1)
        self.axis, self.n = axis, n
        self.x, self.dy = self.turned(table(rng, n, d)), self.turned(rng.normal(size=(n, d)))
        self.gamma = self.turned(rng.uniform(0.5, 2, (1, d)) * rng.choice([-1, 1], (1, d)))
        self.beta = self.turned(rng.normal(size=(1, d)))
        weights = np.append(rng.uniform(0.2, 1, n - 1), 0.0)  # the last one is padding
        self.w = self.turned(weights[:, None] / weights.sum())
        self.mu = self.sum(self.w * self.x)
        self.xc = self.x - self.mu
        self.var = self.sum(self.w * self.xc**2)
        self.unbiased = self.var / (1 - np.sum(self.w**2))
        self.inv_std = 1 / np.sqrt(self.var + self.eps)
        self.x_hat = self.xc * self.inv_std
        self.y = self.gamma * self.x_hat + self.beta
        size = self.mu.shape
        self.state = {"mean": other.normal(size=size), "var": other.uniform(0.5, 2, size), "batches": 3}

    def turned(self, rows):
        return rows if self.axis == 0 else np.ascontiguousarray(rows.T)

    def sum(self, a):
        return a.sum(axis=self.axis, keepdims=True)

    def mean(self, a):
        return a.mean(axis=self.axis, keepdims=True)

    def missing(self):
        """The batch with one number missing, of the first feature."""
        x = self.x.copy()
        x[0, 0] = np.nan
        return x

    def skipped(self, name, got):
        """A sentence if a number is missing in the batch and not in every number of its feature."""
        first = np.take(np.asarray(got, dtype=float), 0, axis=1 - self.axis)
        return None if np.isnan(first).all() else f"a missing number (NaN) is skipped in {name}; it should show there"

    def dx(self, *, mean=True, var=True, gamma=True, inv_std=True, total=None, of_mean=None, of_var=None):
        """Gradient of x, with or without its parts, and with other weights than its own in them."""
        total = total or self.sum
        of_mean, of_var = (self.w if w is None else w for w in (of_mean, of_var))
        dx = self.dy - mean * of_mean * total(self.dy) - float(var) * of_var * self.x_hat * total(self.dy * self.x_hat)
        return dx * (self.gamma if gamma else 1) * (self.inv_std if inv_std else 1)


@check("forward")
def forward(function, *, axis=0, seed=0):
    """Check a forward pass with named intermediates.

    Parameters
    ----------
    function : callable
        ``function(x, weights, gamma, beta, eps)`` gives a dict with mu, xc, var, inv_std, x_hat and y.
    axis : {0, 1}
    seed : int
    """
    b = _Batch(axis, seed)
    names = ("mu", "xc", "var", "inv_std", "x_hat", "y")
    given = {"x": b.x, "weights": b.w, "gamma": b.gamma, "beta": b.beta, "eps": b.eps}
    got = yield from answer("forward", function, names, **given)
    # Each is judged by the student's own values of those before it: one fault, one sentence.
    mu, xc, var, inv_std, x_hat, y = (got[name] for name in names)
    wrong = {
        "mu is taken over the features; it is taken over the batch": (b.w * b.x).sum(axis=1 - axis, keepdims=True),
        "mu leaves out the weights": b.mean(b.x),
        "mu is divided by n, too; the weights add up to 1 already": b.mu / b.n,
    }
    demand(compare("mu", mu, b.mu, wrong))
    yield compare("xc", xc, b.xc, {"xc has the wrong sign": -b.xc})
    wrong = {
        "var is the unbiased variance; a batch is normalized with that which is not corrected": b.unbiased,
        "var is the standard deviation": np.sqrt(b.var),
        "var leaves out the weights": b.mean(b.xc**2),
        "var leaves out the weights, and is a sum": b.sum(b.xc**2),
        "var has the squares of the weights; only the deviations are squared": b.sum((b.w * b.xc) ** 2),
    }
    demand(compare("var", var, b.var, wrong))
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
        yield compare("y", y, b.gamma * own + b.beta, wrong)
    missing = b.missing()
    yield b.skipped("y", function(**given | {"x": missing})["y"])


@check("backward_staged")
def backward_staged(function, *, axis=0, seed=0):
    """Check a backward pass node by node.

    Parameters
    ----------
    function : callable
        ``function(dy, cache, weights, gamma)``, where cache has mu, xc, var, inv_std and x_hat, gives a dict with
        dbeta, dgamma, dx_hat, dinv_std, dvar, dxc, dmu and dx. A gradient has the shape of what it belongs to.
    axis : {0, 1}
    seed : int

    Notes
    -----
    Each node is judged by the function's own values of those before it, so that one fault gives one sentence.
    """
    b = _Batch(axis, seed)
    cache = {name: getattr(b, name) for name in ("mu", "xc", "var", "inv_std", "x_hat")}
    names = ("dbeta", "dgamma", "dx_hat", "dinv_std", "dvar", "dxc", "dmu", "dx")
    given = {"dy": b.dy, "cache": cache, "weights": b.w, "gamma": b.gamma}
    got = yield from answer("backward_staged", function, names, **given)
    own = {}
    for name, want, wrong in _stages(b, own):
        yield compare(name, got[name], want, wrong)
        given = np.asarray(got[name])
        own[name] = given if given.shape == want.shape and got[name] is not None else want


def _stages(b, own):
    """Each node of the backward pass: its name, what is right, and the usual wrong ones, from `own` earlier values."""
    weighted = "is a weighted sum; the weights belong to the statistics only"
    wrong = {"dbeta is a mean over the batch; it is a sum": b.mean(b.dy), f"dbeta {weighted}": b.sum(b.w * b.dy)}
    yield "dbeta", b.sum(b.dy), wrong
    wrong = {
        f"dgamma {weighted}": b.sum(b.w * b.dy * b.x_hat),
        "dgamma is taken with x instead of x_hat": b.sum(b.dy * (b.xc + b.mu)),
        "dgamma is taken with xc instead of x_hat": b.sum(b.dy * b.xc),
        "dgamma is a mean over the batch; it is a sum": b.mean(b.dy * b.x_hat),
    }
    yield "dgamma", b.sum(b.dy * b.x_hat), wrong
    wrong = {"dx_hat misses gamma": b.dy, "dx_hat is divided by gamma": b.dy / b.gamma}
    yield "dx_hat", b.dy * b.gamma, wrong
    dx_hat = own["dx_hat"]
    wrong = {
        "dinv_std is taken with x_hat instead of xc": b.sum(dx_hat * b.x_hat),
        "dinv_std is a mean over the batch; it is a sum": b.mean(dx_hat * b.xc),
        f"dinv_std {weighted}": b.sum(b.w * dx_hat * b.xc),
    }
    yield "dinv_std", b.sum(dx_hat * b.xc), wrong
    right = -0.5 * b.inv_std**3 * own["dinv_std"]
    wrong = {
        "dvar has the wrong sign": -right,
        "dvar misses the factor of a half": 2 * right,
        "dvar has the square of inv_std, it is the third power": right / b.inv_std,
        "dvar leaves out eps": -0.5 * b.var**-1.5 * own["dinv_std"],
    }
    yield "dvar", right, wrong
    direct, spread = dx_hat * b.inv_std, 2 * b.xc * own["dvar"]
    wrong = {
        "dxc misses the path through the variance": direct,
        "dxc misses the direct path from x_hat": b.w * spread,
        "dxc misses the factor of two of the square": direct + b.w * spread / 2,
        "dxc: the path through the variance misses the weights": direct + spread,
        "dxc: the path through the variance is divided by n, as with equal weights": direct + spread / b.n,
        "dxc: the weights multiply the direct path, too": b.w * (direct + spread),
    }
    yield "dxc", direct + b.w * spread, wrong
    dxc = own["dxc"]
    wrong = {"dmu has the wrong sign": b.sum(dxc), f"dmu {weighted}": -b.sum(b.w * dxc)}
    yield "dmu", -b.sum(dxc), wrong
    dmu = own["dmu"]
    wrong = {
        "dx misses the path through the mean": dxc,
        "dx: the path through the mean misses the weights": dxc + dmu,
        "dx: the path through the mean is divided by n, as with equal weights": dxc + dmu / b.n,
        "dx: the path through the mean has the wrong sign": dxc - b.w * dmu,
    }
    yield "dx", dxc + b.w * dmu, wrong


@check("backward_closed")
def backward_closed(function, *, axis=0, seed=0):
    """Check the backward pass in one formula.

    Parameters
    ----------
    function : callable
        ``function(dy, x_hat, inv_std, weights, gamma)`` gives dx.
    axis : {0, 1}
    seed : int

    Examples
    --------
    >>> wrong = lambda dy, x_hat, inv_std, weights, gamma: gamma * inv_std * (dy - weights * dy.sum(axis=0))
    >>> backward_closed(wrong)
    backward_closed: dx misses the path through the variance
    ('dx misses the path through the variance',)
    """
    b = _Batch(axis, seed)
    wrong = {
        "dx misses the path through the variance": b.dx(var=False),
        "dx misses the path through the mean": b.dx(mean=False),
        "dx takes the mean and the variance for constants: both paths are missing": b.dx(mean=False, var=False),
        "dx misses gamma": b.dx(gamma=False),
        "dx misses inv_std": b.dx(inv_std=False),
        "dx: both paths miss the weights": b.dx(of_mean=1, of_var=1),
        "dx: this is the formula for equal weights": b.dx(of_mean=1 / b.n, of_var=1 / b.n),
        "dx: the path through the mean misses the weights": b.dx(of_mean=1),
        "dx: the path through the mean has equal weights": b.dx(of_mean=1 / b.n),
        "dx: the path through the variance misses the weights": b.dx(of_var=1),
        "dx: the path through the variance has equal weights": b.dx(of_var=1 / b.n),
        "dx: the sums are weighted; the weight of an example stands before the sum": b.dx(
            total=lambda a: b.sum(b.w * a), of_mean=1, of_var=1
        ),
        "dx: the path through the variance has the wrong sign": b.dx(var=-1),
        "dx: the sums are taken over the features": b.dx(total=lambda a: a.sum(axis=1 - axis, keepdims=True)),
    }
    given = {"dy": b.dy, "x_hat": b.x_hat, "inv_std": b.inv_std, "weights": b.w, "gamma": b.gamma}
    got = yield from answer("backward_closed", function, None, **given)
    yield compare("dx", got, b.dx(), wrong)


@check("update")
def running_statistics(function, *, momentum=0.2, axis=0, weight_of="new", seed=0):
    """Check the update of running statistics, a pure function from a state to a state.

    Parameters
    ----------
    function : callable
        ``function(state, x, weights, momentum)`` gives a new state: a dict with mean and var, of the shape of the
        statistics, and batches, the number of batches so far.
    momentum : float or None
        With which it is checked; None is the average over all batches.
    axis : {0, 1}
    weight_of : {"new", "old"}
        Whose weight momentum is: that of the new batch, as in PyTorch, or that of the old value, as in the papers.
    seed : int
    """
    b = _Batch(axis, seed)
    got = yield from answer("update", function, b.state, state=b.state, x=b.x, weights=b.w, momentum=momentum)
    case, p = "", momentum if weight_of == "new" or momentum is None else 1 - momentum
    if momentum is None:
        case, p = "with momentum None ", 1 / 4
        faults = [
            *(("momentum None is the average over all batches, not 0.1", q) for q in (0.1, 0.9)),
            ("with momentum None the batch is counted after it is averaged", 1 / 3),
            ("with momentum None the batch is counted twice", 1 / 5),
            ("with momentum None the weights of the new batch and of the old value are swapped", 3 / 4),
        ]
    else:
        swapped = f"momentum is the weight of the {weight_of} value here; it is used the other way round"
        faults = [(swapped, 1 - p)]
    for name, new in (("mean", b.mu), ("var", b.unbiased)):
        old, wrong = b.state[name], []
        for sentence, q in faults:
            wrong.append((sentence, (1 - q) * old + q * new))
            if name == "var":
                wrong.append((f"{sentence}, and var takes the biased variance", (1 - q) * old + q * b.var))
        if name == "var":
            biased = "var takes the biased variance; the running one is divided by one minus the sum of squared weights"
            divided = "var is corrected by n / (n - 1), which is for equal weights"
            wrong += [(biased, (1 - p) * old + p * b.var), (divided, (1 - p) * old + p * b.var * b.n / (b.n - 1))]
            wrong.append(("var averages standard deviations", ((1 - p) * np.sqrt(old) + p * np.sqrt(new)) ** 2))
        plain = {"mean": b.mean(b.x), "var": np.var(b.x, axis=axis, ddof=1, keepdims=True)}[name]
        wrong.append((f"{name} leaves out the weights", (1 - p) * old + p * plain))
        wrong += [(f"{name} {case}is that of the batch alone", new), (f"{name} {case}is not updated", old)]
        yield compare(f"{case}{name}", got[name], (1 - p) * old + p * new, wrong)
    yield None if got["batches"] == 4 else f"batches is {got['batches']} after batch number 4"
    if momentum is not None:
        after = function(state=b.state, x=b.missing(), weights=b.w, momentum=momentum)
        yield b.skipped("mean", after["mean"]) or b.skipped("var", after["var"])


@check("evaluate")
def evaluation(function, *, axis=0, seed=0):
    """Check batch norm in evaluation.

    Parameters
    ----------
    function : callable
        ``function(x, state, gamma, beta, eps)`` gives y; state has mean and var.
    axis : {0, 1}
    seed : int
    """
    b = _Batch(axis, seed)
    mean, var = b.state["mean"], b.state["var"]
    factor = 1 / np.sqrt(var + b.eps)

    def out(x, mean=mean, factor=factor):
        return b.gamma * (x - mean) * factor + b.beta

    for name, x in {"y": b.x, "y of a single example": b.turned(b.turned(b.x)[:1])}.items():
        batch = b.mean(x)
        wrong = {
            "evaluation uses the statistics of the batch; it uses the running ones": out(
                x, batch, 1 / np.sqrt(b.mean((x - batch) ** 2) + b.eps)
            ),
            "eps is added to the standard deviation; it belongs under the root": out(
                x, mean, 1 / (np.sqrt(var) + b.eps)
            ),
            "eps is missing under the root": out(x, mean, 1 / np.sqrt(var)),
            "the mean is that of the batch; evaluation uses the running one": out(x, batch),
            "the variance is that of the batch; evaluation uses the running one": out(
                x, mean, 1 / np.sqrt(b.mean((x - batch) ** 2) + b.eps)
            ),
            "y misses beta": out(x) - b.beta,
            "y misses gamma and beta": (x - mean) * factor,
        }
        given = {"x": x, "state": b.state, "gamma": b.gamma, "beta": b.beta, "eps": b.eps}
        got = yield from answer("evaluate", function, None, **given)
        yield compare(name, got, out(x), wrong)


@check("evaluate_backward")
def evaluation_backward(function, *, axis=0, seed=0):
    """Check the gradients of batch norm in evaluation.

    Parameters
    ----------
    function : callable
        ``function(dy, x, state, gamma, eps)`` gives a dict with dx, dgamma and dbeta.
    axis : {0, 1}
    seed : int
    """
    b = _Batch(axis, seed)
    factor = 1 / np.sqrt(b.state["var"] + b.eps)
    x_hat = (b.x - b.state["mean"]) * factor
    given = {"dy": b.dy, "x": b.x, "state": b.state, "gamma": b.gamma, "eps": b.eps}
    got = yield from answer("evaluate_backward", function, ("dx", "dgamma", "dbeta"), **given)
    paths = b.gamma * factor * (b.dy - b.mean(b.dy) - x_hat * b.mean(b.dy * x_hat))
    wrong = {
        "dx subtracts paths through the statistics; in evaluation they do not depend on x": paths,
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


@check("forward_images")
def images(function, *, seed=0):
    """Check batch norm of images.

    Parameters
    ----------
    function : callable
        ``function(x, gamma, beta, eps)``, with x of shape (N, C, H, W) and gamma and beta of shape (C,), gives y.
    seed : int
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(1, 2, (4, 3, 2, 5)) * rng.uniform(0.5, 2, (1, 3, 1, 1)) + rng.normal(size=(4, 1, 1, 5))
    gamma, beta, eps = rng.uniform(0.5, 2, 3), rng.normal(size=3), 0.05

    def over(*axes, ddof=0):
        x_hat = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, ddof=ddof, keepdims=True) + eps)
        return gamma.reshape(1, -1, 1, 1) * x_hat + beta.reshape(1, -1, 1, 1)

    wrong = {
        "the statistics are taken per pixel; they are taken per channel, over height and width too": over(0),
        "the batch axis is missing in the statistics": over(2, 3),
        "the statistics are taken over the channels too": over(0, 1, 2, 3),
        "each image has statistics of its own, over its channels": over(1, 2, 3),
        "var is divided by n - 1": over(0, 2, 3, ddof=1),
    }
    got = yield from answer("forward_images", function, None, x=x, gamma=gamma, beta=beta, eps=eps)
    yield compare("y", got, over(0, 2, 3), wrong)

"""What it takes to be each relative of batch norm: checks against PyTorch's, or against autograd where it has none.

CHECKS[family] holds the checks of one norm. A check takes an implementation and raises AssertionError where it differs:

- "axes", "group", "rms": a pair ``forward, backward`` with the interface of `utils.byhand.normalization` and
  `utils.byhand.activation_norms`;
- "renorm": a class with the interface of `BatchRenorm`.

Upstream gradients are random everywhere, gamma has both signs, and no two axes have the same length. Tolerances are
those of `parity`: in float64 some tens of sums and products of numbers around one lose some 1e-15, and a factor of up
to 1e4 where variances are small, while a wrong formula is off by 1e-6 or more; float32 is compared with float64 on the
same numbers, and some ten roundings of 6e-8 may be seen.
"""

import functools

import numpy as np
import torch
from parity import BAD, SINGLE, TOLERANCE, array, close, spoilt

CHECKS = {}


def check(family):
    """Enter a check in CHECKS[family]; whatever it raises is a difference."""

    def enter(function):
        @functools.wraps(function)
        def run(norm):
            try:
                with np.errstate(all="ignore"):
                    function(norm)
            except AssertionError:
                raise
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}") from error

        CHECKS.setdefault(family, {})[function.__name__.replace("_", "-")] = run
        return run

    return enter


def failures(family, norm):
    """Run every check of a family; what failed, and how."""
    found = {}
    for name, function in CHECKS[family].items():
        try:
            function(norm)
        except AssertionError as error:
            found[name] = str(error)
    return found


def numbers(*shapes, seed=0, dtype=np.float64):
    """Random arrays: not centred, their deviations far from one."""
    rng = np.random.default_rng(seed)
    return [(0.7 + 1.7 * rng.standard_normal(shape)).astype(dtype) for shape in shapes]


BAD_PLACES = [(place, bad) for place in ("x", "dy") for bad in BAD]


def with_bad(x, dy, bad):
    """Both, one of them with a bad number: bad is "x" or "dy" and the number, or None."""
    place, number = bad or (None, None)
    return spoilt(x, number) if place == "x" else x, spoilt(dy, number) if place == "dy" else dy


def parameters(shape, seed=1):
    """Gamma of both signs, and beta."""
    rng = np.random.default_rng(seed)
    gamma = rng.uniform(0.5, 2, shape)
    gamma.flat[::2] *= -1
    return gamma, rng.standard_normal(shape)


def compare(ours, theirs, *names, tolerance=TOLERANCE, where=""):
    """Compare the results of these names, or of every name that theirs has."""
    for name in names or theirs:
        assert ours[name] is not None, f"{where}{name}: got None"
        close(ours[name], theirs[name], tolerance, where + name)


def by_autograd(function, dy, **inputs):
    """Output y of a PyTorch function in float64, and the gradient dx of each input x."""
    leaves = {name: torch.tensor(array(value), requires_grad=True) for name, value in inputs.items()}
    y = function(*leaves.values())
    y.backward(torch.tensor(array(dy)))
    return {"y": array(y), **{f"d{name}": array(leaf.grad) for name, leaf in leaves.items()}}


def by_module(module, x, dy, gamma=None, beta=None):
    """The same of a module of torch.nn with this weight and bias."""
    module = module.double()
    given = {"weight": gamma, "bias": beta}
    with torch.no_grad():
        for name, value in given.items():
            if value is not None:
                own = getattr(module, name)
                own.copy_(torch.tensor(value).reshape(own.shape))
    found = by_autograd(module, dy, x=x)
    if gamma is not None:
        found["dgamma"] = array(module.weight.grad).reshape(gamma.shape)
    if beta is not None:
        found["dbeta"] = array(module.bias.grad).reshape(beta.shape)
    return found


def by_hand(norm, x, dy, *given, **options):
    """What an implementation makes of it: y, dx, and dgamma and dbeta as far as there are any."""
    forward, backward = norm
    y, cache = forward(x, *given, **options)
    found = {"y": y} | dict(zip(("dx", "dgamma", "dbeta"), backward(dy, cache), strict=False))
    for name in ("y", "dx"):
        assert found[name].dtype == x.dtype, f"{name} is {found[name].dtype} for x of {x.dtype}"
    return found


# One function over axes: batch, layer and instance norm


def axes_pair(norm, module, shape, axes, of_gamma, *, eps=1e-5, scale=1.0, dtype=np.float64, bad=None):
    x, dy = with_bad(*numbers(shape, shape, dtype=dtype), bad)
    x *= dtype(scale)
    gamma, beta = parameters(of_gamma)
    return by_hand(norm, x, dy, gamma, beta, axes=axes, eps=eps), by_module(module, x, dy, gamma, beta)


@check("axes")
def axes_batch_rows(norm):
    compare(*axes_pair(norm, torch.nn.BatchNorm1d(3), (7, 3), 0, (3,)))


@check("axes")
def axes_batch_images(norm):
    compare(*axes_pair(norm, torch.nn.BatchNorm2d(3), (4, 3, 5, 2), (0, 2, 3), (3, 1, 1)))


@check("axes")
def axes_layer_rows(norm):
    compare(*axes_pair(norm, torch.nn.LayerNorm(5), (7, 5), 1, (5,)))


@check("axes")
def axes_layer_images(norm):
    compare(*axes_pair(norm, torch.nn.LayerNorm((3, 5, 2)), (4, 3, 5, 2), (1, 2, 3), (3, 5, 2)))


@check("axes")
def axes_instance_images(norm):
    compare(*axes_pair(norm, torch.nn.InstanceNorm2d(3, affine=True), (4, 3, 5, 2), (2, 3), (3, 1, 1)))


@check("axes")
def axes_eps(norm):
    compare(*axes_pair(norm, torch.nn.LayerNorm(5, eps=1e-3), (7, 5), 1, (5,), eps=1e-3, scale=0.02))


@check("axes")
def axes_single(norm):
    cases = [
        (torch.nn.LayerNorm((3, 5, 2)), (4, 3, 5, 2), (1, 2, 3), (3, 5, 2)),
        (torch.nn.InstanceNorm2d(3, affine=True), (4, 3, 5, 2), (2, 3), (3, 1, 1)),
    ]
    for module, shape, axes, of_gamma in cases:
        compare(*axes_pair(norm, module, shape, axes, of_gamma, dtype=np.float32), tolerance=SINGLE)


@check("axes")
def axes_bad_numbers(norm):
    cases = [
        (torch.nn.BatchNorm1d(3), (7, 3), 0, (3,)),
        (torch.nn.BatchNorm2d(3), (4, 3, 5, 2), (0, 2, 3), (3, 1, 1)),
        (torch.nn.LayerNorm(5), (7, 5), 1, (5,)),
        (torch.nn.InstanceNorm2d(3, affine=True), (4, 3, 5, 2), (2, 3), (3, 1, 1)),
    ]
    for module, shape, axes, of_gamma in cases:
        for bad in BAD_PLACES:
            module.zero_grad()
            pair = axes_pair(norm, module, shape, axes, of_gamma, bad=bad)
            compare(*pair, where=f"{shape} over {axes}, {bad}: ")


# Group norm


def group_pair(norm, shape, groups, *, affine=True, eps=1e-5, scale=1.0, dtype=np.float64, bad=None):
    x, dy = with_bad(*numbers(shape, shape, dtype=dtype), bad)
    x *= dtype(scale)
    given = parameters(shape[1]) if affine else (None, None)
    module = torch.nn.GroupNorm(groups, shape[1], eps=eps, affine=affine)
    ours = by_hand(norm, x, dy, *given, groups=groups, eps=eps)
    if not affine:
        assert ours["dgamma"] is None, "dgamma: expected None"
        assert ours["dbeta"] is None, "dbeta: expected None"
    return ours, by_module(module, x, dy, *given)


GROUPED = (4, 6, 5, 3)


@check("group")
def group_output(norm):
    compare(*group_pair(norm, GROUPED, 2), "y")


@check("group")
def group_dx(norm):
    compare(*group_pair(norm, GROUPED, 2), "dx")


@check("group")
def group_dgamma(norm):
    compare(*group_pair(norm, GROUPED, 2), "dgamma")


@check("group")
def group_dbeta(norm):
    compare(*group_pair(norm, GROUPED, 2), "dbeta")


@check("group")
def group_one(norm):
    for shape in [(4, 6), (4, 6, 5), GROUPED, (1, 3, 1, 2)]:
        compare(*group_pair(norm, shape, 1), where=f"{shape} ")


@check("group")
def group_each_channel(norm):
    for shape in [(4, 6, 5), GROUPED, (1, 3, 3, 1)]:
        compare(*group_pair(norm, shape, shape[1]), where=f"{shape} ")


@check("group")
def group_between(norm):
    for shape in [(5, 12), (5, 12, 3), (2, 12, 3, 5)]:
        for groups in (2, 3, 4):
            compare(*group_pair(norm, shape, groups), where=f"{shape} in {groups} groups: ")


@check("group")
def group_no_affine(norm):
    compare(*group_pair(norm, GROUPED, 3, affine=False))


@check("group")
def group_eps(norm):
    compare(*group_pair(norm, GROUPED, 2, eps=1e-3, scale=0.02))


@check("group")
def group_single(norm):
    for groups in (1, 2, 6):
        compare(*group_pair(norm, GROUPED, groups, dtype=np.float32), tolerance=SINGLE, where=f"{groups} groups: ")


@check("group")
def group_bad_numbers(norm):
    for shape, groups in [((5, 12), 3), (GROUPED, 1), (GROUPED, 2), (GROUPED, 6)]:
        for bad in BAD_PLACES:
            compare(*group_pair(norm, shape, groups, bad=bad), where=f"{shape} in {groups} groups, {bad}: ")


# RMS norm


def rms_pair(norm, shape, axes=-1, *, affine=True, eps=1e-5, scale=1.0, dtype=np.float64, bad=None):
    x, dy = with_bad(*numbers(shape, shape, dtype=dtype), bad)
    x *= dtype(scale)
    reduced = shape[-1:] if axes == -1 else shape[-len(axes) :]
    gamma = parameters(reduced)[0] if affine else None
    module = torch.nn.RMSNorm(reduced, eps=eps, elementwise_affine=affine)
    ours = by_hand(norm, x, dy, gamma, axes=axes, eps=eps)
    if not affine:
        assert ours["dgamma"] is None, "dgamma: expected None"
    return ours, by_module(module, x, dy, gamma)


@check("rms")
def rms_output(norm):
    compare(*rms_pair(norm, (7, 5)), "y")


@check("rms")
def rms_dx(norm):
    compare(*rms_pair(norm, (7, 5)), "dx")


@check("rms")
def rms_dgamma(norm):
    compare(*rms_pair(norm, (7, 5)), "dgamma")


@check("rms")
def rms_sentences(norm):
    compare(*rms_pair(norm, (2, 3, 5)))


@check("rms")
def rms_several_axes(norm):
    compare(*rms_pair(norm, (4, 3, 5), (1, 2)), where="(1, 2): ")
    compare(*rms_pair(norm, (4, 3, 5, 2), (-2, -1)), where="(-2, -1): ")


@check("rms")
def rms_no_gamma(norm):
    compare(*rms_pair(norm, (7, 5), affine=False))


@check("rms")
def rms_eps(norm):
    compare(*rms_pair(norm, (7, 5), eps=1e-3, scale=0.02))


@check("rms")
def rms_single(norm):
    compare(*rms_pair(norm, (7, 5), dtype=np.float32), tolerance=SINGLE)
    compare(*rms_pair(norm, (4, 3, 5), (1, 2), dtype=np.float32), tolerance=SINGLE)


@check("rms")
def rms_bad_numbers(norm):
    for shape, axes in [((7, 5), -1), ((4, 3, 5), (1, 2))]:
        for bad in BAD_PLACES:
            compare(*rms_pair(norm, shape, axes, bad=bad), where=f"{shape} over {axes}, {bad}: ")


# Batch renormalization: PyTorch has none. The formula is written down for autograd, r and d detached; the running
# statistics are those of a torch.nn.BatchNorm that sees the same batches.


class Renorm:
    """A batch renormalization and the formula with PyTorch's running statistics, which take the same steps."""

    def __init__(self, make, ndim=2, *, features=3, eps=1e-5, momentum=0.1, affine=True, **limits):
        self.limits = {"r_max": 3.0, "d_max": 5.0} | limits
        layer = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}[ndim]
        self.ours = make(features, eps=eps, momentum=momentum, affine=affine, **self.limits)
        self.theirs = layer(features, eps=eps, momentum=momentum, affine=affine, dtype=torch.float64)
        state = {}
        if affine:
            gamma, beta = parameters(features)
            state |= {"weight": gamma, "bias": beta}
        rng = np.random.default_rng(2)
        state |= {"running_mean": rng.standard_normal(features), "running_var": rng.uniform(0.5, 4, features)}
        self.theirs.load_state_dict({**self.theirs.state_dict(), **{k: torch.tensor(v) for k, v in state.items()}})
        self.ours.load_state_dict({k: array(v) for k, v in self.theirs.state_dict().items()})

    def formula(self, x):
        """The batch by its own statistics, corrected towards the running ones: Ioffe (2017), algorithm 1."""
        theirs, axes = self.theirs, (0, *range(2, x.ndim))

        def columns(a):
            return a.reshape(1, -1, *[1] * (x.ndim - 2))

        mean = x.mean(dim=axes, keepdim=True)
        deviation = torch.sqrt(x.var(dim=axes, keepdim=True, correction=0) + theirs.eps)
        running = columns(torch.sqrt(theirs.running_var + theirs.eps)).clone()
        r = torch.clamp(deviation / running, 1 / self.limits["r_max"], self.limits["r_max"]).detach()
        limit = self.limits["d_max"]
        d = torch.clamp((mean - columns(theirs.running_mean)) / running, -limit, limit).detach()
        self.r, self.d = array(r).ravel(), array(d).ravel()
        y = (x - mean) / deviation * r + d
        return y if theirs.weight is None else columns(theirs.weight) * y + columns(theirs.bias)

    def step(self, x, dy, *, oracle=None):
        """Forward and backward on both; oracle is the formula in training and PyTorch's layer in evaluation."""
        ours, theirs = self.ours, self.theirs
        theirs.zero_grad()
        self.want = by_autograd(oracle or (self.formula if theirs.training else theirs), dy, x=x)
        if theirs.training and oracle is None:
            theirs(torch.tensor(array(x)))  # moves the running statistics
        self.got = {"y": ours.forward(x)}
        self.got["dx"] = ours.backward(dy)
        for name in ("y", "dx"):
            assert self.got[name].dtype == x.dtype, f"{name} is {self.got[name].dtype} for x of {x.dtype}"
        if theirs.weight is not None:
            self.want |= {"dgamma": array(theirs.weight.grad), "dbeta": array(theirs.bias.grad)}
            self.got |= {"dgamma": ours.grad_gamma, "dbeta": ours.grad_beta}
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.want[name], self.got[name] = array(getattr(theirs, name)), getattr(ours, name)
        return self

    def compare(self, *names, tolerance=TOLERANCE, where=""):
        compare(self.got, self.want, *names, tolerance=tolerance, where=where)

    def evaluate(self):
        self.ours.eval()
        self.theirs.eval()
        return self


# Neither r nor d of the first batch of rows reaches its limit.
ROWS = (7, 3)


def unclipped(make, shape=ROWS, **options):
    pair = Renorm(make, len(shape), r_max=50.0, d_max=50.0, **options)
    return pair.step(*numbers(shape, shape))


@check("renorm")
def renorm_output(make):
    unclipped(make).compare("y")


@check("renorm")
def renorm_dx(make):
    unclipped(make).compare("dx")


@check("renorm")
def renorm_dgamma(make):
    unclipped(make).compare("dgamma")


@check("renorm")
def renorm_dbeta(make):
    unclipped(make).compare("dbeta")


@check("renorm")
def renorm_running_statistics(make):
    pair = Renorm(make)
    for seed in range(3):
        pair.step(*numbers(ROWS, ROWS, seed=seed))
        pair.compare("running_mean", "running_var", "num_batches_tracked", where=f"step {seed + 1} ")


@check("renorm")
def renorm_several_steps(make):
    pair = Renorm(make, momentum=0.4)
    for seed, rows in enumerate([7, 5, 9, 3, 6]):
        pair.step(*numbers((rows, 3), (rows, 3), seed=seed)).compare(where=f"step {seed + 1} ")


@check("renorm")
def renorm_clips(make):
    for side, scale, shift in [("r above", 9.0, 0), ("r below", 0.02, 0), ("d above", 1, 60.0), ("d below", 1, -60.0)]:
        x, dy = numbers(ROWS, ROWS)
        pair = Renorm(make, r_max=1.5, d_max=2.5).step(scale * x + shift, dy)
        reached = {
            "r above": pair.r == 1.5,
            "r below": pair.r == 1 / 1.5,
            "d above": pair.d == 2.5,
            "d below": pair.d == -2.5,
        }
        assert reached[side].all(), f"the numbers of this check do not reach the limit: {side}"
        pair.compare(where=f"{side} its limit: ")


@check("renorm")
def renorm_as_batch_norm(make):
    for shape in [ROWS, (4, 3, 5, 2)]:
        pair = Renorm(make, len(shape), r_max=1.0, d_max=0.0)
        for seed in range(3):
            pair.step(*numbers(shape, shape, seed=seed), oracle=pair.theirs).compare(where=f"{shape} ")


@check("renorm")
def renorm_as_evaluation(make):
    for shape in [ROWS, (4, 3, 5, 2)]:
        pair = Renorm(make, len(shape), r_max=np.inf, d_max=np.inf)
        for seed in range(3):
            x, dy = numbers(shape, shape, seed=seed)
            before = array(pair.theirs.eval()(torch.tensor(x)))
            pair.theirs.train()
            close(pair.step(x, dy).got["y"], before, what=f"{shape} y")


@check("renorm")
def renorm_evaluation(make):
    for shape in [ROWS, (1, 3), (4, 3, 5, 2)]:
        pair = Renorm(make, len(shape), r_max=1.5)
        for seed in range(2):
            pair.step(*numbers((5, *shape[1:]), (5, *shape[1:]), seed=seed))
        pair.evaluate().step(*numbers(shape, shape, seed=5)).compare(where=f"{shape} ")


@check("renorm")
def renorm_images(make):
    for shape in [(4, 3, 5), (4, 3, 5, 2)]:
        pair = Renorm(make, len(shape), r_max=1.2, d_max=0.4)
        for seed in range(3):
            pair.step(*numbers(shape, shape, seed=seed)).compare(where=f"{shape} ")


@check("renorm")
def renorm_no_affine(make):
    pair = Renorm(make, affine=False)
    pair.step(*numbers(ROWS, ROWS)).compare(where="training ")
    pair.evaluate().step(*numbers(ROWS, ROWS, seed=1)).compare(where="evaluation ")


@check("renorm")
def renorm_momentum_none(make):
    pair = Renorm(make, momentum=None)
    for seed in range(4):
        pair.step(*numbers(ROWS, ROWS, seed=seed)).compare(where=f"step {seed + 1} ")


@check("renorm")
def renorm_eps(make):
    x, dy = numbers(ROWS, ROWS)
    Renorm(make, eps=0.1, r_max=50.0, d_max=50.0).step(0.3 * x, dy).compare()


@check("renorm")
def renorm_single(make):
    for shape in [ROWS, (4, 3, 5, 2)]:
        pair = Renorm(make, len(shape))
        for seed in range(2):
            pair.step(*numbers(shape, shape, seed=seed, dtype=np.float32)).compare(tolerance=SINGLE)


@check("renorm")
def renorm_bad_numbers(make):
    for shape in [ROWS, (4, 3, 5, 2)]:
        for bad in BAD_PLACES:
            for options in ({}, {"affine": False}, {"r_max": 1.0, "d_max": 0.0}):
                pair = Renorm(make, len(shape), **options)
                pair.step(*with_bad(*numbers(shape, shape), bad)).compare(where=f"{bad}: ")
                pair.step(*numbers(shape, shape, seed=1)).compare(where=f"one step after {bad}: ")
                pair.evaluate().step(*numbers(shape, shape, seed=2)).compare(where=f"evaluation after {bad}: ")

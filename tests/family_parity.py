"""What it takes to be each relative of batch norm: checks against PyTorch's, or against autograd where it has none.

CHECKS[family] holds the checks of one norm. A check takes an implementation and raises AssertionError where it differs:
for "axes", "group" and "rms" a pair ``forward, backward`` with the interface of `utils.byhand.normalization`, for
"renorm" a class with that of its `BatchNorm`, and the limits r_max and d_max.

Upstream gradients are random everywhere, gamma has both signs, and no two axes have the same length. Tolerances are
those of `parity`: in float64 some tens of sums and products of numbers around one lose some 1e-15, and a factor of up
to 1e4 where variances are small, while a wrong formula is off by 1e-6 or more; float32 is compared with float64 on the
same numbers, and some ten roundings of 6e-8 may be seen.
"""

import itertools

import numpy as np
import torch
from parity import guarded
from twins import BAD, SINGLE, TOLERANCE, array, close, spoilt

CHECKS = {}


def check(function, name=None):
    """Enter a check under its family, the first word of its name."""
    name = name or function.__name__.replace("_", "-")
    CHECKS.setdefault(name.split("-")[0], {})[name] = guarded(function)
    return function


def numbers(*shapes, seed=0, dtype=np.float64):
    """Random arrays: not centred, their deviations far from one."""
    rng = np.random.default_rng(seed)
    return [(0.7 + 1.7 * rng.standard_normal(shape)).astype(dtype) for shape in shapes]


BAD_PLACES = [(place, bad) for place in ("x", "dy") for bad in BAD]


def examples(shape, *, scale=1.0, dtype=np.float64, bad=(None, None)):
    """Input and upstream gradient, one of them with a bad number: bad is "x" or "dy" and the number."""
    x, dy = numbers(shape, shape, dtype=dtype)
    place, number = bad
    return (spoilt(x, number) if place == "x" else x) * dtype(scale), spoilt(dy, number) if place == "dy" else dy


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
    module.double().zero_grad()
    names = ("dgamma", "weight", gamma), ("dbeta", "bias", beta)
    given = {name: (value, getattr(module, own)) for name, own, value in names if value is not None}
    with torch.no_grad():
        for value, own in given.values():
            own.copy_(torch.tensor(value).reshape(own.shape))
    found = by_autograd(module, dy, x=x)
    return found | {name: array(own.grad).reshape(value.shape) for name, (value, own) in given.items()}


def by_hand(norm, x, dy, *given, **options):
    """What an implementation makes of it: y, dx, and dgamma and dbeta as far as there are any."""
    forward, backward = norm
    y, cache = forward(x, *given, **options)
    found = {"y": y} | dict(zip(("dx", "dgamma", "dbeta"), backward(dy, cache), strict=False))
    for name in ("y", "dx"):
        assert found[name].dtype == x.dtype, f"{name} is {found[name].dtype} for x of {x.dtype}"
    assert given[0] is not None or found["dgamma"] is found.get("dbeta") is None, "dgamma, dbeta: expected None"
    return found


# One function over axes: batch, layer and instance norm


def axes_pair(norm, module, shape, axes, of_gamma, *, eps=1e-5, **how):
    x, dy = examples(shape, **how)
    gamma, beta = parameters(of_gamma)
    return by_hand(norm, x, dy, gamma, beta, axes=axes, eps=eps), by_module(module, x, dy, gamma, beta)


IMAGES, GROUPED, ROWS = (4, 3, 5, 2), (4, 6, 5, 3), (7, 3)
AXES = {
    "axes-batch-rows": (torch.nn.BatchNorm1d(3), ROWS, 0, (3,)),
    "axes-batch-images": (torch.nn.BatchNorm2d(3), IMAGES, (0, 2, 3), (3, 1, 1)),
    "axes-layer-rows": (torch.nn.LayerNorm(5), (7, 5), 1, (5,)),
    "axes-layer-images": (torch.nn.LayerNorm((3, 5, 2)), IMAGES, (1, 2, 3), (3, 5, 2)),
    "axes-instance-images": (torch.nn.InstanceNorm2d(3, affine=True), IMAGES, (2, 3), (3, 1, 1)),
}
for name, case in AXES.items():
    check(lambda norm, case=case: compare(*axes_pair(norm, *case)), name)


@check
def axes_eps(norm):
    compare(*axes_pair(norm, torch.nn.LayerNorm(5, eps=1e-3), (7, 5), 1, (5,), eps=1e-3, scale=0.02))


@check
def axes_single(norm):
    for name in ("axes-layer-images", "axes-instance-images"):
        compare(*axes_pair(norm, *AXES[name], dtype=np.float32), tolerance=SINGLE)


@check
def axes_bad_numbers(norm):
    for name, bad in itertools.product(set(AXES) - {"axes-layer-images"}, BAD_PLACES):
        compare(*axes_pair(norm, *AXES[name], bad=bad), where=f"{name}, {bad}: ")


def group_pair(norm, shape, groups, *, affine=True, eps=1e-5, **how):
    x, dy = examples(shape, **how)
    given = parameters(shape[1]) if affine else (None, None)
    module = torch.nn.GroupNorm(groups, shape[1], eps=eps, affine=affine)
    return by_hand(norm, x, dy, *given, groups=groups, eps=eps), by_module(module, x, dy, *given)


@check
def group_one(norm):
    for shape in [(4, 6), (4, 6, 5), GROUPED, (1, 3, 1, 2)]:
        compare(*group_pair(norm, shape, 1), where=f"{shape} ")


@check
def group_each_channel(norm):
    for shape in [(4, 6, 5), GROUPED, (1, 3, 3, 1)]:
        compare(*group_pair(norm, shape, shape[1]), where=f"{shape} ")


@check
def group_between(norm):
    for shape, groups in itertools.product([(5, 12), (5, 12, 3), (2, 12, 3, 5)], (2, 3, 4)):
        compare(*group_pair(norm, shape, groups), where=f"{shape} in {groups} groups: ")


@check
def group_no_affine(norm):
    compare(*group_pair(norm, GROUPED, 3, affine=False))


@check
def group_eps(norm):
    compare(*group_pair(norm, GROUPED, 2, eps=1e-3, scale=0.02))


@check
def group_single(norm):
    for groups in (1, 2, 6):
        compare(*group_pair(norm, GROUPED, groups, dtype=np.float32), tolerance=SINGLE, where=f"{groups} groups: ")


@check
def group_bad_numbers(norm):
    for case, bad in itertools.product([((5, 12), 3), (GROUPED, 1), (GROUPED, 2), (GROUPED, 6)], BAD_PLACES):
        compare(*group_pair(norm, *case, bad=bad), where=f"{case}, {bad}: ")


def rms_pair(norm, shape, axes=-1, *, affine=True, eps=1e-5, **how):
    x, dy = examples(shape, **how)
    reduced = shape[-1:] if axes == -1 else shape[-len(axes) :]
    gamma = parameters(reduced)[0] if affine else None
    module = torch.nn.RMSNorm(reduced, eps=eps, elementwise_affine=affine)
    return by_hand(norm, x, dy, gamma, axes=axes, eps=eps), by_module(module, x, dy, gamma)


@check
def rms_sentences(norm):
    compare(*rms_pair(norm, (2, 3, 5)))


@check
def rms_several_axes(norm):
    compare(*rms_pair(norm, (4, 3, 5), (1, 2)))
    compare(*rms_pair(norm, (4, 3, 5, 2), (-2, -1)))


@check
def rms_no_gamma(norm):
    compare(*rms_pair(norm, (7, 5), affine=False))


@check
def rms_eps(norm):
    compare(*rms_pair(norm, (7, 5), eps=1e-3, scale=0.02))


@check
def rms_single(norm):
    compare(*rms_pair(norm, (7, 5), dtype=np.float32), tolerance=SINGLE)
    compare(*rms_pair(norm, (4, 3, 5), (1, 2), dtype=np.float32), tolerance=SINGLE)


@check
def rms_bad_numbers(norm):
    for case, bad in itertools.product([((7, 5), -1), ((4, 3, 5), (1, 2))], BAD_PLACES):
        compare(*rms_pair(norm, *case, bad=bad), where=f"{case}, {bad}: ")


# Batch renormalization: PyTorch has none. The formula is written down for autograd, r and d detached; the running
# statistics are those of a torch.nn.BatchNorm that sees the same batches.


class Renorm:
    """A batch renormalization and the formula with PyTorch's running statistics, which take the same steps."""

    def __init__(self, make, ndim=2, *, features=3, eps=1e-5, momentum=0.1, affine=True, **limits):
        self.limits = {"r_max": 3.0, "d_max": 5.0} | limits
        layer = torch.nn.BatchNorm2d if ndim == 4 else torch.nn.BatchNorm1d
        self.ours = make(features, eps=eps, momentum=momentum, affine=affine, **self.limits)
        self.theirs = layer(features, eps=eps, momentum=momentum, affine=affine, dtype=torch.float64)
        state = dict(zip(("weight", "bias"), parameters(features), strict=True)) if affine else {}
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
        types = [value.dtype for value in self.got.values()]
        assert types == [x.dtype] * 2, f"y and dx are {types} for x of {x.dtype}"
        if theirs.weight is not None:
            self.want |= {"dgamma": array(theirs.weight.grad), "dbeta": array(theirs.bias.grad)}
            self.got |= {"dgamma": ours.grad_gamma, "dbeta": ours.grad_beta}
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.want[name], self.got[name] = array(getattr(theirs, name)), getattr(ours, name)
        return self

    def compare(self, *names, **how):
        compare(self.got, self.want, *names, **how)

    def evaluate(self):
        self.ours.eval()
        self.theirs.eval()
        return self


def unclipped(make):
    """A step in which neither r nor d reaches its limit."""
    pair = Renorm(make, r_max=50.0, d_max=50.0).step(*numbers(ROWS, ROWS))
    return pair.got, pair.want


# One result of one step, for each family that has it.
ONE_STEP = {
    "group": lambda norm: group_pair(norm, GROUPED, 2),
    "rms": lambda norm: rms_pair(norm, (7, 5)),
    "renorm": unclipped,
}
RESULTS = {"output": "y", "dx": "dx", "dgamma": "dgamma", "dbeta": "dbeta"}
for family, (name, result) in itertools.product(ONE_STEP, RESULTS.items()):
    if (family, name) != ("rms", "dbeta"):
        check(lambda norm, pair=ONE_STEP[family], of=result: compare(*pair(norm), of), f"{family}-{name}")


def walk(pair, shape, steps, *names, dtype=np.float64, oracle=None, tolerance=TOLERANCE):
    """Steps of a pair, each compared."""
    for seed in range(steps):
        pair.step(*numbers(shape, shape, seed=seed, dtype=dtype), oracle=oracle)
        pair.compare(*names, tolerance=tolerance, where=f"{shape}, step {seed + 1}: ")


@check
def renorm_running_statistics(make):
    walk(Renorm(make), ROWS, 3, "running_mean", "running_var", "num_batches_tracked")


@check
def renorm_several_steps(make):
    pair = Renorm(make, momentum=0.4)
    for seed, rows in enumerate([7, 5, 9, 3, 6]):
        pair.step(*numbers((rows, 3), (rows, 3), seed=seed)).compare(where=f"step {seed + 1} ")


@check
def renorm_clips(make):
    sides = ("r", 9, 0, 1.5), ("r", 0.02, 0, 1 / 1.5), ("d", 1, 60, 2.5), ("d", 1, -60, -2.5)
    for side, scale, shift, limit in sides:
        x, dy = numbers(ROWS, ROWS)
        pair = Renorm(make, r_max=1.5, d_max=2.5).step(scale * x + shift, dy)
        assert (getattr(pair, side) == limit).all(), f"the numbers of this check do not bring {side} to {limit}"
        pair.compare(where=f"{side} at {limit}: ")


@check
def renorm_as_batch_norm(make):
    for shape in (ROWS, IMAGES):
        pair = Renorm(make, len(shape), r_max=1.0, d_max=0.0)
        walk(pair, shape, 3, oracle=pair.theirs)


@check
def renorm_as_evaluation(make):
    for shape in (ROWS, IMAGES):
        pair = Renorm(make, len(shape), r_max=np.inf, d_max=np.inf)
        for seed in range(3):
            x, dy = numbers(shape, shape, seed=seed)
            before = array(pair.theirs.eval()(torch.tensor(x)))
            pair.theirs.train()
            close(pair.step(x, dy).got["y"], before, what=f"{shape} y")


@check
def renorm_evaluation(make):
    for shape in [ROWS, (1, 3), (4, 3, 5, 2)]:
        pair = Renorm(make, len(shape), r_max=1.5)
        for seed in range(2):
            pair.step(*numbers((5, *shape[1:]), (5, *shape[1:]), seed=seed))
        pair.evaluate().step(*numbers(shape, shape, seed=5)).compare(where=f"{shape} ")


@check
def renorm_images(make):
    for shape in [(4, 3, 5), (4, 3, 5, 2)]:
        walk(Renorm(make, len(shape), r_max=1.2, d_max=0.4), shape, 3)


@check
def renorm_no_affine(make):
    pair = Renorm(make, affine=False)
    pair.step(*numbers(ROWS, ROWS)).compare(where="training ")
    pair.evaluate().step(*numbers(ROWS, ROWS, seed=1)).compare(where="evaluation ")


@check
def renorm_momentum_none(make):
    walk(Renorm(make, momentum=None), ROWS, 4)


@check
def renorm_eps(make):
    x, dy = numbers(ROWS, ROWS)
    Renorm(make, eps=0.1, r_max=50.0, d_max=50.0).step(0.3 * x, dy).compare()


@check
def renorm_single(make):
    for shape in (ROWS, IMAGES):
        walk(Renorm(make, len(shape)), shape, 2, dtype=np.float32, tolerance=SINGLE)


@check
def renorm_bad_numbers(make):
    options = {}, {"affine": False}, {"r_max": 1.0, "d_max": 0.0}
    for shape, bad, how in itertools.product((ROWS, IMAGES), BAD_PLACES, options):
        pair = Renorm(make, len(shape), **how)
        pair.step(*examples(shape, bad=bad)).compare(where=f"{bad}: ")
        pair.step(*numbers(shape, shape, seed=1)).compare(where=f"one step after {bad}: ")
        pair.evaluate().step(*numbers(shape, shape, seed=2)).compare(where=f"evaluation after {bad}: ")

"""What it takes to be PyTorch's batch norm: one check for each way in which homemade ones differ from it.

A check takes ``make(num_features, *, eps, momentum, affine, track_running_stats)``, which builds a batch norm with the
interface of `utils.byhand.normalization.BatchNorm`, and raises AssertionError where it differs from
``torch.nn.BatchNorm*d``.
The upstream gradient is random everywhere: with all ones dx is zero, whatever is missing in it.
"""

import copy
import functools

import numpy as np
import torch

from utils.byhand.gradient_check import relative_error

# Float64 on both sides. Some tens of sums and products of numbers around one lose some 1e-15; dx loses another factor
# of (variance + eps) / eps where it nearly cancels (two examples), which the checks keep below 1e4. A wrong formula is
# off by 1e-5 (an eps in the wrong place) or more.
TOLERANCE = 1e-10
# Float32 (unit roundoff 6e-8), compared with float64 on the same numbers: some ten roundings, and room for ten more.
SINGLE = 2e-6
# Float16 (unit roundoff 5e-4): the input is exact, the arithmetic float32, and the result is rounded once.
HALF = 1e-3

OPTIONS = {"eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True}
MODULES = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}
IMAGES = [(5, 3, 4), (5, 3, 2, 4), (4, 3, 2, 3, 5)]

CHECKS = {}


def check(function):
    """Enter a check in CHECKS; whatever it raises is a difference."""

    @functools.wraps(function)
    def run(make):
        try:
            with np.errstate(all="ignore"):
                function(make)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}") from error

    CHECKS[function.__name__.replace("_", "-")] = run
    return run


def failures(make):
    """Run every check; what failed, and how."""
    found = {}
    for name, function in CHECKS.items():
        try:
            function(make)
        except AssertionError as error:
            found[name] = str(error)
    return found


def array(value):
    """A copy as float64, of a tensor too."""
    return np.array(value.detach().numpy() if isinstance(value, torch.Tensor) else value, dtype=np.float64)


def close(ours, reference, tolerance=TOLERANCE, what="result"):
    ours, reference = array(ours), array(reference)
    finite = np.isfinite(reference)
    if not finite.all():  # which of NaN and infinity it is depends on the order of the arithmetic
        bad = f"{what}: expected {(~finite).sum()} NaN or infinite numbers, where the reference has them"
        assert np.array_equal(np.isfinite(ours), finite), f"{bad}, got {(~np.isfinite(ours)).sum()}"
        ours, reference = ours[finite], reference[finite]
        if not finite.any():
            return
    error = relative_error(ours, reference)
    assert error <= tolerance, f"{what}: relative error {error:.2g}, allowed are {tolerance:.0e}"


def same_state(before, after):
    assert before.keys() == after.keys(), f"keys {sorted(before)} became {sorted(after)}"
    for key, value in before.items():
        assert np.array_equal(array(value), array(after[key])), f"{key}: {value} became {after[key]}"


def state_of(norm):
    """Every number in it that outlives a batch, whether or not state_dict knows of it."""
    names = ["gamma", "beta", "running_mean", "running_var", "num_batches_tracked"]
    return {name: array(getattr(norm, name)) for name in names if getattr(norm, name) is not None}


def batch(shape=(5, 3), seed=0, dtype=np.float64):
    """A batch with another mean and deviation in each feature, and a random upstream gradient."""
    rng = np.random.default_rng(seed)
    rows = (1, -1) + (1,) * (len(shape) - 2)
    mean, deviation = (rng.uniform(low, high, shape[1]).reshape(rows) for low, high in ((-3, 3), (0.5, 2)))
    x = mean + deviation * rng.standard_normal(shape)
    return x.astype(dtype), rng.standard_normal(shape).astype(dtype)


BAD = (np.nan, np.inf, -np.inf)


def spoilt(a, bad):
    """A copy with one bad number, in the second channel of the second example."""
    a = a.copy()
    a[(1, 1) + (0,) * (a.ndim - 2)] = bad
    return a


def load(norm, state):
    """Load what norm has of a state; the rest stays."""
    own = norm.state_dict()
    norm.load_state_dict({key: state.get(key, value) for key, value in own.items()})


class Pair:
    """A batch norm and PyTorch's in float64, with the same random gamma and beta, which take the same steps.

    Running statistics stay as they were made, unless `with_statistics`.
    """

    def __init__(self, make, ndim=2, *, features=3, seed=1, with_statistics=False, **options):
        self.options = OPTIONS | options
        self.ours = make(features, **self.options)
        self.theirs = MODULES[ndim](features, dtype=torch.float64, **self.options)
        rng = np.random.default_rng(seed)
        state = {}
        if self.options["affine"]:
            state |= {"weight": rng.uniform(0.5, 2, features) * rng.choice([-1, 1], features)}
            state |= {"bias": rng.standard_normal(features)}
        if with_statistics:
            state |= {"running_mean": rng.standard_normal(features), "running_var": rng.uniform(0.5, 2, features)}
        load(self.ours, state)
        self.theirs.load_state_dict({**self.theirs.state_dict(), **{k: torch.as_tensor(v) for k, v in state.items()}})

    def train(self, mode=True):
        for norm in (self.ours, self.theirs):
            norm.train() if mode else norm.eval()
        return self

    def eval(self):
        return self.train(False)

    def results(self, y, dx, dgamma, dbeta, norm):
        found = {"y": y, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}
        found |= {name: getattr(norm, name) for name in ("running_mean", "running_var", "num_batches_tracked")}
        return {name: value if value is None else array(value) for name, value in found.items()}

    def step(self, x, dy, *, overwrite=False):
        """Forward and backward on both; `compare` then compares. Overwrite y in between, as a layer in place would."""
        theirs = self.theirs
        theirs.zero_grad()
        leaf = torch.tensor(array(x), requires_grad=True)
        y = theirs(leaf)
        y.backward(torch.tensor(array(dy)))
        grads = (theirs.weight.grad, theirs.bias.grad) if self.options["affine"] else (None, None)
        self.want = self.results(y, leaf.grad, *grads, theirs)
        out = self.ours.forward(x)
        y = out.copy()
        if overwrite:
            out[...] = 0
        dx = self.ours.backward(dy)
        self.dtypes = {"y": y.dtype, "dx": dx.dtype}
        self.got = self.results(y, dx, self.ours.grad_gamma, self.ours.grad_beta, self.ours)
        return self

    def compare(self, *names, tolerance=TOLERANCE, where=""):
        """Compare the results of these names, or of every name."""
        for name in names or self.want:
            if self.want[name] is None:
                assert self.got[name] is None, f"{where}{name}: expected None, got {self.got[name]}"
            else:
                assert self.got[name] is not None, f"{where}{name}: got None"
                close(self.got[name], self.want[name], tolerance, where + name)


# One training step on (5, 3)


@check
def fresh_state(make):
    same_state(MODULES[2](3, **OPTIONS).state_dict(), make(3, **OPTIONS).state_dict())


@check
def output(make):
    Pair(make).step(*batch()).compare("y")


@check
def dx(make):
    Pair(make).step(*batch()).compare("dx")


@check
def dgamma(make):
    Pair(make).step(*batch()).compare("dgamma")


@check
def dbeta(make):
    Pair(make).step(*batch()).compare("dbeta")


@check
def running_mean(make):
    Pair(make).step(*batch()).compare("running_mean")


@check
def running_var(make):
    Pair(make).step(*batch()).compare("running_var")


@check
def num_batches_tracked(make):
    pair = Pair(make)
    for seed in range(3):
        pair.step(*batch(seed=seed)).compare("num_batches_tracked")


# Training and evaluation


@check
def eval_output(make):
    for shape in [(5, 3), (1, 3), *IMAGES]:
        Pair(make, len(shape), with_statistics=True).eval().step(*batch(shape)).compare("y", where=f"{shape} ")


@check
def eval_gradients(make):
    for shape in [(5, 3), (1, 3), *IMAGES]:
        pair = Pair(make, len(shape), with_statistics=True).eval().step(*batch(shape))
        pair.compare("dx", "dgamma", "dbeta", where=f"{shape} ")


@check
def eval_leaves_state_alone(make):
    norm = make(3, **OPTIONS)
    norm.forward(batch(seed=1)[0])
    before = state_of(norm)
    norm.eval()
    x, dy = batch(seed=2)
    for gradients in (True, False):  # which a mode of evaluation has nothing to do with
        with torch.set_grad_enabled(gradients):
            norm.forward(x)
            norm.backward(dy)
        same_state(before, state_of(norm))


@check
def train_flag(make):
    pair = Pair(make)
    for seed, training in enumerate([True, False, False, True, False]):
        pair.train(training).step(*batch(seed=seed)).compare("y", where=f"training={training}: ")
    for training in (True, False):
        x, _ = batch(seed=9)
        with torch.no_grad():
            want = pair.train(training).theirs(torch.tensor(x))
            close(pair.ours.forward(x), want, what=f"y without gradients, training={training}")


@check
def momentum_none(make):
    pair = Pair(make, momentum=None)
    for seed in range(4):
        pair.step(*batch(seed=seed)).compare("running_mean", "running_var", where=f"step {seed + 1} ")


@check
def momentum_convention(make):
    for momentum in (0.0, 0.25, 1.0):
        pair = Pair(make, momentum=momentum, with_statistics=True).step(*batch())
        pair.compare("running_mean", "running_var", where=f"momentum={momentum} ")


@check
def eps_placement(make):
    x, dy = batch()
    Pair(make, eps=0.1).step(0.3 * x, dy).compare("y", "dx", "dgamma", where="training ")
    pair = Pair(make, eps=0.1, with_statistics=True).eval().step(x, dy)
    pair.compare("y", "dx", "dgamma", where="evaluation ")


@check
def no_affine(make):
    pair = Pair(make, affine=False)
    assert pair.ours.gamma is None, "gamma: expected None"
    pair.step(*batch()).compare(where="training ")
    pair.eval().step(*batch(seed=1)).compare(where="evaluation ")


@check
def no_tracking(make):
    pair = Pair(make, track_running_stats=False)
    pair.step(*batch()).compare(where="training ")
    pair.eval().step(*batch(seed=1)).compare(where="evaluation ")


# State


@check
def state_dict_to_torch(make):
    for affine in (True, False):
        for tracking in (True, False):
            pair = Pair(make, affine=affine, track_running_stats=tracking)
            for seed in range(2):
                pair.step(*batch(seed=seed))
            other = MODULES[2](3, dtype=torch.float64, **pair.options)
            state = {key: torch.as_tensor(value) for key, value in pair.ours.state_dict().items()}
            other.load_state_dict(state, strict=True)
            x, _ = batch(seed=5)
            close(pair.ours.eval().forward(x), other.eval()(torch.tensor(x)), what=f"{affine=} {tracking=} y")
            for key, value in pair.theirs.state_dict().items():
                assert state[key].dtype == value.dtype, f"{key}: {state[key].dtype}"
                close(state[key], value, what=key)


@check
def state_dict_from_torch(make):
    pair = Pair(make)
    other = make(3, **OPTIONS)
    for seed in range(2):
        pair.step(*batch(seed=seed))
    other.load_state_dict(pair.theirs.state_dict())
    before = state_of(other)
    pair.ours.load_state_dict(pair.theirs.state_dict())
    pair.step(*batch(seed=3)).compare()
    pair.eval().step(*batch(seed=4)).compare()
    same_state(before, state_of(other))  # PyTorch updates its own in place


@check
def several_steps(make):
    pair = Pair(make, momentum=0.3)
    for seed, rows in enumerate([5, 7, 2, 6]):
        x, dy = batch((rows, 3), seed)
        pair.step(x, dy).compare(where=f"step {seed + 1} ")
        close(pair.ours.backward(dy), pair.want["dx"], what="dx of a second backward")
        close(pair.ours.grad_gamma, pair.want["dgamma"], what="dgamma of a second backward")


@check
def deepcopy(make):
    norm, sizes, one_more = make(3, **OPTIONS), [], batch(seed=9)[0]
    for seed in range(12):
        x, dy = batch(seed=seed)
        norm.forward(x)
        norm.backward(dy)
        parts = {}
        twin = copy.deepcopy(norm, parts)
        sizes.append(len(parts))
    assert sizes[2] == sizes[-1], f"made of {sizes[2]} objects after 3 steps, of {sizes[-1]} after {len(sizes)}"
    before = state_of(norm)
    twin.forward(one_more)
    same_state(before, state_of(norm))
    norm.forward(one_more)
    same_state(state_of(twin), state_of(norm))


# Shapes


@check
def image_axes(make):
    for shape in IMAGES:
        pair = Pair(make, len(shape))
        for seed in range(2):
            pair.step(*batch(shape, seed)).compare(where=f"{shape} ")


@check
def batch_of_two(make):
    # dx is (nearly) zero: a larger eps leaves enough of it to compare.
    Pair(make, eps=1e-2).step(*batch((2, 3))).compare()
    norm = make(3, **OPTIONS | {"eps": 1e-12})
    close(np.abs(norm.forward(batch((2, 3))[0])), np.ones((2, 3)), 1e-8, "each output is +1 or -1: size")


@check
def one_value_refused(make):
    for tracking in (True, False):
        for shape in [(1, 3), (1, 3, 1), (1, 3, 1, 1)]:
            norm = make(3, **OPTIONS | {"track_running_stats": tracking})
            before = state_of(norm)
            try:
                norm.forward(batch(shape)[0])
            except ValueError:
                same_state(before, state_of(norm))
            else:
                raise AssertionError(f"{shape}: one value for each channel, but no ValueError in training")


@check
def one_image(make):
    Pair(make, 4).step(*batch((1, 3, 3, 3))).compare()
    Pair(make, 3).step(*batch((1, 3, 2))).compare("y", "running_mean", "running_var")


# Numbers


@check
def large_mean(make):
    rng = np.random.default_rng(0)
    x = (1e4 + rng.standard_normal((50, 3))).astype(np.float32)
    dy = rng.standard_normal(x.shape).astype(np.float32)
    Pair(make).step(x, dy).compare(tolerance=SINGLE)


@check
def float16(make):
    # The sums, 2000 * 50, are beyond float16 (65504), like the squares of single values.
    rng = np.random.default_rng(0)
    x = (50 + 300 * rng.standard_normal((2000, 3))).astype(np.float16)
    dy = rng.standard_normal(x.shape).astype(np.float16)
    pair = Pair(make).step(x, dy)
    pair.compare("y", "dx", tolerance=HALF)
    pair.compare("running_mean", "running_var", "dgamma", "dbeta", tolerance=1e-5)  # float32 sums over 2000 values


@check
def dtypes(make):
    for dtype, tolerance in ((np.float32, SINGLE), (np.float64, TOLERANCE)):
        for options in ({}, {"affine": False}):
            pair = Pair(make, 4, **options)
            for mode in ("train", "eval"):
                x, dy = batch(IMAGES[1], dtype=dtype)
                for upstream in (dy, dy.astype(np.float64)):
                    getattr(pair, mode)().step(x, upstream).compare(tolerance=tolerance)
                    for name, got in pair.dtypes.items():
                        assert got == dtype, f"{mode}: {name} is {got} for x of {np.dtype(dtype)}"


@check
def inputs_untouched(make):
    def arranged(a):  # the same numbers: as they are, transposed in memory, every other one of twice as many
        return [a.copy(), np.asfortranarray(a), np.repeat(a, 2, axis=-1)[..., ::2]]

    for shape in [(5, 3), (5, 3, 2, 4)]:
        for options in ({}, {"affine": False}):
            for mode in ("train", "eval"):
                pair = getattr(Pair(make, len(shape), with_statistics=True, **options), mode)()
                original, upstream = batch(shape)
                for x, dy in zip(arranged(original), arranged(upstream), strict=True):
                    pair.step(x, dy).compare()
                    assert np.array_equal(x, original), f"{mode}: x was changed"
                    assert np.array_equal(dy, upstream), f"{mode}: dy was changed"
                    x.flags.writeable = dy.flags.writeable = False
                    pair.step(x, dy, overwrite=True).compare(where=f"{mode}, y overwritten: ")


# NaN and infinity: divergence must be seen, in its channel and nowhere else, as PyTorch shows it


@check
def bad_input(make):
    for bad in BAD:
        for shape in [(5, 3), IMAGES[1]]:
            for options in ({}, {"affine": False}, {"momentum": None}, {"momentum": 1.0}):
                pair = Pair(make, len(shape), with_statistics=True, **options)
                x, dy = batch(shape)
                pair.step(spoilt(x, bad), dy).compare(where=f"{bad} in x, training: ")
                pair.step(*batch(shape, seed=1)).compare(where=f"one step after {bad}: ")
                means = [np.isnan(found["running_mean"]) for found in (pair.got, pair.want)]
                assert np.array_equal(*means), f"running_mean: NaN {means[0]} after {bad}, expected {means[1]}"
                pair.eval().step(x, dy).compare(where=f"evaluation after {bad}: ")
            pair = Pair(make, len(shape), with_statistics=True).eval()
            pair.step(spoilt(x, bad), dy).compare(where=f"{bad} in x, evaluation: ")


@check
def bad_gradient(make):
    for bad in BAD:
        for shape in [(5, 3), IMAGES[1]]:
            pair = Pair(make, len(shape), with_statistics=True)
            for mode in ("train", "eval"):
                x, dy = batch(shape)
                getattr(pair, mode)().step(x, spoilt(dy, bad)).compare(where=f"{bad} in dy, {mode}: ")


@check
def bad_parameters(make):
    cases = [(bad, key) for bad in BAD for key in ("weight", "bias", "running_mean")]
    cases += [(bad, "running_var") for bad in (np.nan, np.inf)]
    for bad, key in cases:
        for mode in ("train", "eval"):
            pair = getattr(Pair(make, with_statistics=True), mode)()
            state = {name: array(value) for name, value in pair.ours.state_dict().items()}
            state[key][1] = bad
            pair.ours.load_state_dict(state)
            with torch.no_grad():
                getattr(pair.theirs, key).copy_(torch.tensor(state[key]))
            pair.step(*batch()).compare(where=f"{bad} in {key}, {mode}: ")

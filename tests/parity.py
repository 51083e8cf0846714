"""What it takes to be PyTorch's batch norm: one check for each way in which homemade ones differ from it.

A check takes ``make(num_features, *, eps, momentum, affine, track_running_stats)``, which builds a batch norm with the
interface of `utils.byhand.normalization.BatchNorm`, and raises AssertionError where it differs from
``torch.nn.BatchNorm*d``.
The upstream gradient is random everywhere: with all ones dx is zero, whatever is missing in it.
"""

import copy
import functools
import itertools

import numpy as np
import torch
from twins import BAD, MODULES, OPTIONS, SINGLE, TOLERANCE, Pair, array, batch, close, same_state, spoilt, state_of

# Float16 (unit roundoff 5e-4): the input is exact, the arithmetic float32, and the result is rounded once.
HALF = 1e-3

IMAGES = [(5, 3, 4), (5, 3, 2, 4), (4, 3, 2, 3, 5)]

CHECKS = {}


def guarded(function):
    """The check, for which whatever is raised is a difference."""

    @functools.wraps(function)
    def run(norm):
        try:
            with np.errstate(all="ignore"):
                function(norm)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}") from error

    return run


def check(function, name=None):
    """Enter a check in CHECKS."""
    CHECKS[name or function.__name__.replace("_", "-")] = guarded(function)
    return function


def failures(norm, checks=CHECKS):
    """Run every check; what failed, and how."""
    found = {}
    for name, function in checks.items():
        try:
            function(norm)
        except AssertionError as error:
            found[name] = str(error)
    return found


@check
def fresh_state(make):
    same_state(MODULES[2](3, **OPTIONS).state_dict(), make(3, **OPTIONS).state_dict())


RESULTS = {"output": "y", "dx": "dx", "dgamma": "dgamma", "dbeta": "dbeta"}
RESULTS |= {"running-mean": "running_mean", "running-var": "running_var"}
for name, result in RESULTS.items():
    check(lambda make, result=result: Pair(make).step(*batch()).compare(result), name)


@check
def num_batches_tracked(make):
    pair = Pair(make)
    for seed in range(3):
        pair.step(*batch(seed=seed)).compare("num_batches_tracked")


def evaluated(make, *names):
    for shape in [(5, 3), (1, 3), *IMAGES]:
        Pair(make, len(shape), with_statistics=True).eval().step(*batch(shape)).compare(*names, where=f"{shape} ")


check(lambda make: evaluated(make, "y"), "eval-output")
check(lambda make: evaluated(make, "dx", "dgamma", "dbeta"), "eval-gradients")


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


@check
def state_dict_to_torch(make):
    for affine, tracking in itertools.product((True, False), repeat=2):
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
    for tracking, shape in itertools.product((True, False), [(1, 3), (1, 3, 1), (1, 3, 1, 1)]):
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
    tolerances = {np.float32: SINGLE, np.float64: TOLERANCE}
    for dtype, options in itertools.product(tolerances, ({}, {"affine": False})):
        pair = Pair(make, 4, **options)
        for training, upstream in itertools.product((True, False), (dtype, np.float64)):
            x, dy = batch(IMAGES[1], dtype=dtype)
            pair.train(training).step(x, dy.astype(upstream)).compare(tolerance=tolerances[dtype])
            for name, got in pair.dtypes.items():
                assert got == dtype, f"{training=}: {name} is {got} for x of {np.dtype(dtype)}"


@check
def inputs_untouched(make):
    def arranged(a):  # the same numbers: as they are, transposed in memory, every other one of twice as many
        return [a.copy(), np.asfortranarray(a), np.repeat(a, 2, axis=-1)[..., ::2]]

    for shape, options, training in itertools.product([(5, 3), (5, 3, 2, 4)], ({}, {"affine": False}), (True, False)):
        pair = Pair(make, len(shape), with_statistics=True, **options).train(training)
        original, upstream = batch(shape)
        for x, dy in zip(arranged(original), arranged(upstream), strict=True):
            pair.step(x, dy).compare()
            assert np.array_equal(x, original), f"{training=}: x was changed"
            assert np.array_equal(dy, upstream), f"{training=}: dy was changed"
            x.flags.writeable = dy.flags.writeable = False
            pair.step(x, dy, overwrite=True).compare(where=f"{training=}, y overwritten: ")


# NaN and infinity: divergence must be seen, in its channel and nowhere else, as PyTorch shows it


@check
def bad_input(make):
    options = {}, {"affine": False}, {"momentum": None}, {"momentum": 0.0}, {"momentum": 1.0}
    for bad, shape, how in itertools.product(BAD, [(5, 3), IMAGES[1]], options):
        pair, (x, dy) = Pair(make, len(shape), with_statistics=True, **how), batch(shape)
        pair.step(spoilt(x, bad), dy).compare(where=f"{bad} in x, training: ")
        pair.step(*batch(shape, seed=1)).compare(where=f"one step after {bad}: ")
        means = [np.isnan(found["running_mean"]) for found in (pair.got, pair.want)]
        assert np.array_equal(*means), f"running_mean: NaN {means[0]} after {bad}, expected {means[1]}"
        pair.eval().step(x, dy).compare(where=f"evaluation after {bad}: ")
        fresh = Pair(make, len(shape), with_statistics=True).eval()
        fresh.step(spoilt(x, bad), dy).compare(where=f"{bad} in x, evaluation: ")


@check
def bad_gradient(make):
    for bad, shape in itertools.product(BAD, [(5, 3), IMAGES[1]]):
        pair, (x, dy) = Pair(make, len(shape), with_statistics=True), batch(shape)
        for training in (True, False):
            pair.train(training).step(x, spoilt(dy, bad)).compare(where=f"{bad} in dy, {training=}: ")


@check
def bad_parameters(make):
    for bad, key, training in itertools.product(BAD, ("weight", "bias", "running_mean", "running_var"), (True, False)):
        if (bad, key) == (-np.inf, "running_var"):
            continue  # no variance is negative
        pair = Pair(make, with_statistics=True).train(training)
        state = {name: array(value) for name, value in pair.ours.state_dict().items()}
        state[key][1] = bad
        pair.ours.load_state_dict(state)
        with torch.no_grad():
            getattr(pair.theirs, key).copy_(torch.tensor(state[key]))
        pair.step(*batch()).compare(where=f"{bad} in {key}, {training=}: ")

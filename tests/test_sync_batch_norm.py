"""Synchronized batch norm against PyTorch's batch norm of the whole batch; threads play the processes."""

import copy
import importlib.util
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from utils.lab import sync_batch_norm
from utils.lab.sync_batch_norm import SyncBatchNorm, combine

SIZES = [(4, 4), (3, 6), (2, 0, 5), (1, 1, 1)]
SHAPES = [(5,), (3, 4, 2)]


class Threads:
    """One of several threads that exchange numbers as `Processes` do."""

    def __init__(self, rank, slots, barrier):
        self.rank, self.slots, self.barrier = rank, slots, barrier

    def gather(self, values):
        self.slots[self.rank] = values.detach()
        self.barrier.wait()
        everyone = torch.stack(self.slots)
        self.barrier.wait()
        return everyone

    def add(self, values):
        return self.gather(values).sum(0)


def together(job, n):
    """Call job(rank, group) in n threads at a time; the results in order."""
    slots, barrier = [None] * n, threading.Barrier(n, timeout=20)

    def guarded(rank):
        try:
            return job(rank, Threads(rank, slots, barrier))
        except threading.BrokenBarrierError:
            return None  # another thread has failed, and tells why
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(n) as pool:
        return [future.result() for future in [pool.submit(guarded, rank) for rank in range(n)]]


def batch(sizes, shape, dtype=torch.float64, offset=2.0):
    """Examples whose mean rises from part to part, and upstream gradients, random so that no way back is hidden."""
    generator = torch.Generator().manual_seed(sum(sizes))
    n = sum(sizes)
    x = torch.randn(n, *shape, generator=generator).to(dtype) + torch.linspace(0, offset, n).to(dtype).view(
        -1, *[1] * len(shape)
    )
    return x, torch.randn(x.shape, generator=generator).to(dtype)


def outcomes(module, x, upstream, sizes, norm_dtype=torch.float64, **how):
    """Pairs of what parts come to with a SyncBatchNorm of this module, and the whole with PyTorch's in float64."""
    channels = x.shape[1]
    whole = (nn.BatchNorm1d if x.dim() == 2 else nn.BatchNorm2d)(channels, **how).double()
    if whole.affine:
        with torch.no_grad():
            whole.weight.copy_(torch.linspace(-1, 2, channels))
            whole.bias.copy_(torch.linspace(1, 0, channels))
    state = copy.deepcopy(whole.state_dict())

    def train(norm, x, upstream):
        x, own = x.clone().requires_grad_(), list(norm.parameters())
        norm(x)
        y = norm(x)
        gradients = torch.autograd.grad(y, [x, *own], upstream)
        assert [value.dtype for value in (y, *gradients)] == [x.dtype, x.dtype, *(p.dtype for p in own)]
        statistics = norm.running_mean.clone(), norm.running_var.clone()
        norm(torch.ones_like(x))  # what has diverged stays so
        later = norm.running_mean, norm.running_var, norm.eval()(x).detach()
        return [y.detach(), gradients[0], *statistics, *later, *gradients[1:]]

    def part(rank, group):
        norm = module.SyncBatchNorm(channels, group=group, **how).to(norm_dtype)
        norm.load_state_dict(state)
        return train(norm, x.split(sizes)[rank], upstream.split(sizes)[rank])

    y, dx, mean, var, later_mean, later_var, evaluation, *own = zip(*together(part, len(sizes)), strict=True)
    last = (values[-1] for values in (mean, var, later_mean, later_var))
    found = [torch.cat(y), torch.cat(dx), *last, torch.cat(evaluation), *map(sum, own)]
    names = ["output", "dx", "mean", "variance", "later-mean", "later-variance", "evaluation", "dweight", "dbias"]
    expected = train(whole, x.double(), upstream.double())
    return dict(zip(names, zip(found, expected, strict=True), strict=False))


def deviations(module, x, upstream, sizes, *how, **options):
    """Largest differences of these pairs, relative to the largest number of the whole."""
    pairs = outcomes(module, x, upstream, sizes, *how, **options).items()
    return {name: float((a.double() - b).abs().max() / b.abs().max()) for name, (a, b) in pairs}


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 0), st.integers(0, 2**31))
def test_parts_combine_to_the_whole(sizes, seed):
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((sum(sizes), 3)) + 10)
    parts = x.split(sizes)
    means = torch.stack([part.sum(0) / max(len(part), 1) for part in parts])
    squares = torch.stack([(part - mean).square().sum(0) for part, mean in zip(parts, means, strict=True)])
    count, mean, var = combine(torch.tensor(sizes).double(), means, squares)
    assert count == sum(sizes)
    # Rounding of a few additions of numbers of size 10 and of their squares.
    assert torch.allclose(mean, x.mean(0), rtol=0, atol=1e-13)
    assert torch.allclose(var, x.var(0, correction=0), rtol=0, atol=1e-12)


def variance_in_single_precision(module):
    """Relative error of the variance of float32 numbers with a mean ten thousand times their deviation."""
    x = batch((40, 60), (2,), torch.float32)[0] + 1e4
    found = together(lambda rank, group: module._whole_batch_statistics(x.split((40, 60))[rank], group), 2)
    wanted = x.double().var(0, correction=0)
    return float(((found[0][2] - wanted) / wanted).abs().max())


def test_a_large_mean_costs_no_digits_and_a_difference_of_means_of_squares_does():
    # The mean itself is rounded to 1e-3 of the deviation at this distance, which enters squared.
    assert variance_in_single_precision(sync_batch_norm) < 1e-3
    old, new = "squares = (x - _columns(mean, x)).square().sum(axes)", "squares = x.square().sum(axes) - n * mean**2"
    assert variance_in_single_precision(changed(old, new)) > 1e-1


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("how", [{}, {"momentum": None}, {"affine": False, "momentum": 0.3}, {"eps": 0.1}], ids=str)
def test_parts_are_as_the_whole(sizes, shape, how):
    found = deviations(sync_batch_norm, *batch(sizes, shape), sizes, **how)
    assert max(found.values()) < 1e-12, found  # float64 with numbers of size 1: a few roundings


LOCAL = "parts = torch.cat([mean.new_tensor([n]), mean, squares])[None]"
TWICE = "zip((along_std * count, along_mean * count), ctx"
MUTANTS = {
    "local statistics": ("parts = group.gather(torch.cat([mean.new_tensor([n]), mean, squares]))", LOCAL),
    "mean of the variances": ("(squares + counts[:, None] * (means - mean).square())", "squares"),
    "equal weights for unequal parts": ("mean = (counts[:, None] * means).sum(0) / count", "mean = means.mean(0)"),
    "unbiased variance to normalize": (".square()).sum(0) / count", ".square()).sum(0) / (count - 1)"),
    "biased running variance": ("var * (count / (count - 1))", "var"),
    "unbiased with the local count": ("(count / (count - 1))", "(x[:, 0].numel() / max(x[:, 0].numel() - 1, 1))"),
    "momentum the wrong way round": ("(1 - p) * _wide(running) + p * new", "p * _wide(running) + (1 - p) * new"),
    "backward without the other processes": ("ctx.group.add(torch.stack([dbeta", "(torch.stack([dbeta"),
    "backward with the local count": ("dgamma])) / count", "dgamma])) / max(dy[:, 0].numel(), 1)"),
    "gradients of the parameters added up twice": ("zip((dgamma, dbeta), ctx", TWICE),
    "no way through the variance": (" - x_hat * _columns(along_std, dy)", ""),
}
HALF = {
    "count and sums in half precision": ("x, axes, n = _wide(x), _all_but", "x, axes, n = x, _all_but"),
    "backward sums in half precision": ("dy, axes = dy.dtype, _wide(dy), _all", "dy, axes = dy.dtype, dy, _all"),
}


def changed(old, new):
    """The module with one piece of its source replaced."""
    source = inspect.getsource(sync_batch_norm)
    assert source.count(old) == 1, f"found {source.count(old)} times: {old}"
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("mutant", loader=None))
    exec(compile(source.replace(old, new), "mutant", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_ones_are_found(name):
    found = deviations(changed(*MUTANTS[name]), *batch((3, 6), (3, 4, 2)), (3, 6))
    assert max(found.values()) > 1e-3, found


def diverged(module, bad, **how):
    """Names of results that differ from the whole batch's, with one bad number in the channel 1 of the first part."""
    x, upstream = batch((3, 6), (3, 4, 2))
    x[1, 1, 2, 0] = bad
    pairs = outcomes(module, x, upstream, (3, 6), **how).items()
    return [name for name, pair in pairs if not torch.allclose(*pair, rtol=1e-12, atol=1e-12, equal_nan=True)]


@pytest.mark.parametrize("momentum", [0.1, 0.5, 1.0, None])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf], ids=str)
def test_one_bad_number_reaches_its_channel_everywhere_and_no_other(bad, momentum):
    assert diverged(sync_batch_norm, bad, momentum=momentum) == []


SUMS = "mean = x.sum(axes) / max(n, 1)\n    squares = (x - _columns(mean, x)).square().sum(axes)"
WIDE, MOVED = "x, axes, n = _wide(x)", "(1 - p) * _wide(running) + p * new"
KEPT, FINITE = f"running.copy_({MOVED})", f"running.copy_(torch.where(new.isfinite(), {MOVED}, running))"
HIDING = {
    "skipped in the statistics": (SUMS, SUMS.replace(".sum(", ".nansum("), "mean"),
    "zero on input": (WIDE, f"{WIDE}.nan_to_num(posinf=0, neginf=0)", "mean"),
    "zero on output": ("else y + _columns(beta, x)).to(x.dtype)", "else y + _columns(beta, x)).nan_to_num()", "output"),
    "skipped in running statistics": (KEPT, FINITE, "mean"),
    "skipped backward": ("return dx.to(dtype), *(", "return dx.nan_to_num().to(dtype), *(", "dx"),
    "interpolated running statistics": (KEPT, "running.lerp_(new.to(running), p)", "later-mean"),
}


@pytest.mark.parametrize("name", HIDING)
def test_what_hides_divergence_is_found(name):
    old, new, where = HIDING[name]
    module = changed(old, new)
    assert max(deviations(module, *batch((3, 6), (3, 4, 2)), (3, 6)).values()) < 1e-12  # finite numbers do not show it
    assert where in diverged(module, torch.nan) + diverged(module, torch.inf)


def half_against_double(module, dtype, norm_dtype):
    """Largest deviations of two parts in half precision, of what they pass on, and of what the norm keeps."""
    sizes = (3000, 2500)  # more than half precision can count, and a sum beyond its largest number
    found = deviations(module, *batch(sizes, (3,), dtype, offset=30.0), sizes, norm_dtype)
    passed_on = found.pop("output"), found.pop("dx"), found.pop("evaluation")
    return max(passed_on), max(found.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("own", ["the same", "single"])
def test_in_half_precision_only_the_results_are_rounded(dtype, own):
    passed_on, kept = half_against_double(sync_batch_norm, dtype, dtype if own == "the same" else torch.float32)
    # One rounding of each result, by half a unit in the last place; sums of two parts have three.
    assert passed_on < torch.finfo(dtype).eps
    # In single precision the sums of some thousand terms: the longest has a rounding of 6e-8 for each doubling.
    assert kept < (2 * torch.finfo(dtype).eps if own == "the same" else 1e-5)


@pytest.mark.parametrize("name", HALF)
def test_half_precision_inside_is_found(name):
    kept = half_against_double(changed(*HALF[name]), torch.bfloat16, torch.float32)[1]
    assert not kept < 1e-4  # or it is not a number


def test_a_second_derivative_is_refused():
    alone = Threads(0, [None], threading.Barrier(1))
    x = torch.arange(6.0).view(3, 2).requires_grad_()
    (dx,) = torch.autograd.grad(SyncBatchNorm(2, group=alone)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def test_an_empty_part_wants_a_sum_of_losses():
    x, _ = batch((4, 0), (3,))
    y = torch.tensor([0, 1, 2, 0])

    def part(rank, group):
        logits = SyncBatchNorm(3, group=group).double()(x.split((4, 0))[rank].clone().requires_grad_())
        return [F.cross_entropy(logits, y.split((4, 0))[rank], reduction=how).item() for how in ("mean", "sum")]

    (_, there), (mean, nothing) = together(part, 2)
    assert there > 0
    assert np.isnan(mean)
    assert nothing == 0


def test_bad_input():
    alone = Threads(0, [None], threading.Barrier(1))
    for shape, message in (
        ((4, 2), r"shape \(N, 3, ...\), got \(4, 2\)"),
        ((1, 3), "more than one value for each channel"),
    ):
        with pytest.raises(ValueError, match=f"expected {message}"):
            SyncBatchNorm(3, group=alone)(torch.zeros(shape))

"""NaN and infinity in one channel of one replica: its norm shows them as PyTorch's does, and no other replica does."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from parity import BAD
from torch import nn

from utils import networks
from utils.byhand import activation_norms

R, C, N = 3, 4, 5
PLACES = {"dense": (), "conv": (2, 3)}  # the pixels
ROUNDING = 1e-11  # float64 and numbers of size one, a few of them summed

NORMS = {
    "batch": networks.BatchNorm,
    "batch, not affine": lambda *sizes: networks.BatchNorm(*sizes, affine=False),
    "batch, average of all": lambda *sizes: networks.BatchNorm(*sizes, momentum=None),
    "layer": networks.NORMS["layer"],
    "group": lambda *sizes: networks.GroupNorm(*sizes, groups=2),
    "instance": networks.NORMS["instance"],
    "rms": networks.RMSNorm,
    "renorm": networks.BatchRenorm,
    "renorm, not affine": lambda *sizes: networks.BatchRenorm(*sizes, affine=False),
}
CASES = [
    (name, place) for name in NORMS for place in PLACES if (name, place) not in [("instance", "dense"), ("rms", "conv")]
]


def alone(norm, r, conv):
    """Replica r by PyTorch, as (parameters and statistics, forward); batch renormalization by NumPy, in a function."""
    if isinstance(norm, networks.BatchRenorm):
        one = activation_norms.BatchRenorm(C, affine=norm.weight is not None)
        return one, renormalized(one)
    one = norm.replica(r, conv).double()
    return one, one


def renormalized(one):
    """A function for autograd of the renormalization in NumPy."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return torch.from_numpy(one.forward(x.detach().numpy()))

        @staticmethod
        def backward(ctx, dy):
            return torch.from_numpy(one.backward(dy.numpy()))

    return Function.apply


def numbers(place, seed):
    """Of R replicas, as PyTorch has one of them: (R, N, C, ...)."""
    return torch.randn(R, N, C, *PLACES[place], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def laid_out(own, place):
    return own.transpose(1, 2) if place == "dense" else own.transpose(0, 1).flatten(1, 2)


def laid_back(x, place):
    return x.transpose(1, 2) if place == "dense" else x.unflatten(1, (R, C)).transpose(0, 1)


def steps(norm, place, bad, where, forward=None):
    """Names of what differs from the replicas alone: in the step with the bad number, after it, and in evaluation."""
    forward, plain, apart = forward or norm, [alone(norm, r, place == "conv") for r in range(R)], set()

    def see(name, ours, theirs):
        theirs = torch.as_tensor(theirs)
        finite = theirs.isfinite()
        same = torch.equal(ours.isfinite(), finite)
        if not same or not torch.allclose(ours[finite], theirs[finite], rtol=ROUNDING, atol=ROUNDING):
            apart.add(name)

    for step in range(3):
        x, dy = numbers(place, step), numbers(place, 10 + step)
        if step == 0:
            (x if where == "x" else dy)[(1, 1, 1) + (0,) * len(PLACES[place])] = bad
        norm.train(step < 2)
        norm.zero_grad()
        leaf = x.clone().requires_grad_()
        y = laid_back(forward(laid_out(leaf, place)), place)
        y.backward(dy)
        for r, (one, call) in enumerate(plain):
            one.train(step < 2)
            if isinstance(one, nn.Module):
                one.zero_grad()
            own = x[r].clone().requires_grad_()
            theirs = call(own)
            theirs.backward(dy[r])
            see("y", y[r].detach(), theirs.detach())
            see("dx", leaf.grad[r], own.grad)
            for name, of_numpy in (("weight", "grad_gamma"), ("bias", "grad_beta")):
                if getattr(norm, name, None) is not None:
                    gradient = getattr(one, of_numpy) if not isinstance(one, nn.Module) else getattr(one, name).grad
                    see(f"d{name}", getattr(norm, name).grad[r], gradient)
            for name in ("running_mean", "running_var"):
                if hasattr(norm, name):
                    see(name, getattr(norm, name)[r], getattr(one, name))
                    assert getattr(norm, name)[[0, 2]].isfinite().all()
        if step == 0:
            for value in (y, leaf.grad):
                assert value[[0, 2]].isfinite().all()
    return apart


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("where", ["x", "dy"])
@pytest.mark.parametrize(("name", "place"), CASES)
def test_divergence_is_seen_where_it_is(name, place, bad, where):
    assert steps(NORMS[name](R, C).double(), place, bad, where) == set()


def skipping(x, mean, var, weight, bias, training, momentum, eps):
    """`torch.nn.functional.batch_norm` with statistics that skip NaN."""
    axes = [0, *range(2, x.dim())]
    columns = (1, -1, *[1] * (x.dim() - 2))
    if training:
        now = x.nanmean(axes)
        squares = (x - now.view(columns)).square()
        spread = squares.nanmean(axes)
        with torch.no_grad():
            m = x[:, 0].numel()
            mean.mul_(1 - momentum).add_(now, alpha=momentum)
            var.mul_(1 - momentum).add_(spread * m / (m - 1), alpha=momentum)
    else:
        now, spread = mean, var
    y = (x - now.view(columns)) * torch.rsqrt(spread.view(columns) + eps)
    return y * weight.view(columns) + bias.view(columns)


def keeping(norm):
    """A forward after which statistics that are NaN are those of the step before."""

    def forward(x):
        before = {name: value.clone() for name, value in norm.named_buffers()}
        y = norm(x)
        for name, value in list(norm.named_buffers()):
            setattr(norm, name, torch.where(value.isnan(), before[name], value))
        return y

    return forward


class ZeroBackward(torch.autograd.Function):
    """Leaves what goes forward alone; NaN that comes back becomes zero."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, dy):
        return dy.nan_to_num()


HIDING = {
    "zero on input": (lambda norm: lambda x: norm(x.nan_to_num()), "y"),
    "zero on output": (lambda norm: lambda x: norm(x).nan_to_num(), "y"),
    "zero in the gradient": (lambda norm: lambda x: norm(ZeroBackward.apply(x)), "dx"),
    "kept in the running statistics": (keeping, "running_mean"),
}


@pytest.mark.parametrize(
    ("name", "place", "how"),
    [(*case, how) for case in CASES for how in HIDING if "running" not in how or case[0][:5] in ("batch", "renor")],
)
def test_what_hides_divergence_is_found(name, place, how):
    change, where = HIDING[how]
    norms = [NORMS[name](R, C).double() for _ in range(2)]
    assert steps(norms[0], place, 0.0, "x", change(norms[0])) == set()  # finite numbers do not show it
    assert where in steps(norms[1], place, np.nan, "x", change(norms[1]))


@pytest.mark.parametrize(("name", "place"), [case for case in CASES if case[0] in ("batch", "renorm")])
def test_statistics_that_skip_nan_are_found(name, place, monkeypatch):
    monkeypatch.setattr(networks, "F", SimpleNamespace(batch_norm=skipping))
    assert steps(NORMS[name](R, C).double(), place, 0.0, "x") == set()
    assert "running_mean" in steps(NORMS[name](R, C).double(), place, np.nan, "x")

"""A stack of networks gives for each what the network alone gives: values, gradients, running statistics."""

import copy
import math
import pickle

import pytest
import torch
from replica_fixtures import (
    ATOL,
    FUSED_KINDS,
    N_IN,
    N_OUT,
    LpNorm,
    Own,
    R,
    all_kinds,
    assert_close,
    assert_same_numbers,
    dense,
    inputs,
    several,
    shaken,
)
from torch import nn

from utils.lab import fused, replicas
from utils.lab.networks import Dropout
from utils.lab.replicas import Stack


def gradients(network, y, x):
    wanted = [x, *(p for p in network.parameters() if p.requires_grad)]
    return torch.autograd.grad(y.square().sum(), wanted, materialize_grads=True)


@all_kinds
def test_each_replica_is_what_the_network_alone_is(build):
    alone = several(build)
    stack = Stack(alone)
    for step, training in enumerate((True, True, False)):  # the second time with statistics that have moved
        x = inputs(step).requires_grad_()
        ours = stack.train(training)(x)
        found = gradients(stack, ours, x)
        for r, network in enumerate(alone):
            own = x[r].detach().clone().requires_grad_()
            theirs = network.train(training)(own)
            assert_close(ours[r], theirs)
            for g, h in zip(found, gradients(network, theirs, own), strict=True):
                assert_close(g[r], h)
            assert_same_numbers(stack.replica(r), network)


def test_every_fused_layer_is_tried():
    tried = {type(module) for build in FUSED_KINDS.values() for module in build().modules()}
    assert set(fused.FUSED) - tried == {Dropout}


@pytest.mark.parametrize("build", FUSED_KINDS.values(), ids=FUSED_KINDS)
def test_what_is_fused_is_what_vmap_gives_and_needs_no_vmap(build, monkeypatch):
    alone, x, took = several(build), inputs(), []
    known = Stack._one_by_one
    monkeypatch.setattr(Stack, "_one_by_one", lambda *how: took.append(type(how[1])) or known(*how))
    expected = Stack(alone)(x)
    assert set(took) <= {nn.AdaptiveAvgPool2d}
    monkeypatch.setattr(replicas, "FUSED", {})
    assert_close(Stack(alone)(x), expected)
    assert len(took) > 1


def test_averages_over_different_numbers_of_batches():
    alone = several(FUSED_KINDS["batch norm, average"])
    for r, network in enumerate(alone):
        for _ in range(2 * r):
            network(inputs()[r])
    stack = Stack(alone)
    for training in (True, True, False):
        y = stack.train(training)(inputs(1))
        for r, network in enumerate(alone):
            assert_close(y[r], network.train(training)(inputs(1)[r]))
            assert_same_numbers(stack.replica(r), network)


def test_modes_within_a_network():
    alone = several(lambda: dense(nn.BatchNorm1d(16), LpNorm(16, "in place"), nn.BatchNorm1d(16)))
    for network in alone:
        network[1].eval()
    stack = Stack(alone)
    for _ in range(2):
        y = stack(inputs())
        for r, network in enumerate(alone):
            assert_close(y[r], network(inputs()[r]))
        for network in (stack.network, *alone):
            network[2].eval()
            network[3].eval()


def test_another_mode_within_a_module_decides_anew_whether_vmap_works():
    stack = Stack(several(lambda: Own(nn.Sequential(nn.Linear(N_IN, 4), nn.Dropout(0.5)))))
    dropout = stack.network.function[1].eval()
    assert stack(inputs()).all()
    dropout.train()
    assert not stack(inputs()).all()


@pytest.mark.parametrize("groups", [1, 4])
def test_group_norm_of_numbers_far_from_zero_stays_accurate(groups):
    generator = torch.Generator().manual_seed(0)
    stack = Stack([shaken(nn.GroupNorm(groups, 24), seed).float() for seed in range(R)])
    x = (1e4 + torch.randn(R, 50, 24, generator=generator)).requires_grad_()
    direction = torch.randn(R, 50, 24, generator=generator)
    y = stack(x)
    ours = torch.autograd.grad((y * direction).sum(), [x, *stack.parameters()])
    for r in range(R):
        network, own = stack.replica(r).double(), x[r].detach().double().requires_grad_()
        theirs = network(own)
        # The average is wrong by at most a rounding or two of 1e4, 1e-3 each, over deviations of 0.2 and more, times a
        # weight of at most 2. Without centring first the squares alone would be wrong by 8.
        torch.testing.assert_close(y[r].double(), theirs, rtol=0, atol=0.02)
        expected = torch.autograd.grad((theirs * direction[r]).sum(), [own, *network.parameters()])
        for g, h in zip(ours, expected, strict=True):
            assert (g[r].double() - h).abs().max() < 0.02 * h.abs().max()  # as the output, in proportion


def test_masks_of_dropout_differ_between_replicas_and_copies_go_on():
    stack = Stack([nn.Sequential(Dropout(0.2, generator=torch.Generator().manual_seed(r))) for r in range(R)])
    x = torch.ones(R, 100, 250)
    dropped = stack(x) == 0
    for r in range(R):  # five standard errors; two independent masks drop both in 4 % of the places
        assert abs(dropped[r].double().mean() - 0.2) < 5 * math.sqrt(0.2 * 0.8 / 25_000)
        both = (dropped[r] & dropped[r - 1]).double().mean()
        assert abs(both - 0.04) < 5 * math.sqrt(0.04 * 0.96 / 25_000)
    twins = copy.deepcopy(stack), pickle.loads(pickle.dumps(stack))
    expected = stack(x)
    for twin in twins:
        assert torch.equal(twin(x), expected)
    assert torch.equal(stack.eval()(x), x)


def test_global_random_numbers_are_drawn_replica_by_replica():
    alone = several(lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(N_IN, N_OUT)))
    torch.manual_seed(0)
    y = Stack(alone)(inputs())
    torch.manual_seed(0)
    assert_close(y, torch.stack([network(x) for network, x in zip(alone, inputs(), strict=True)]))


@all_kinds
def test_one_that_diverges_disturbs_no_other(build):
    alone, x = several(build), inputs()
    finite, ill = Stack(alone), Stack(alone)
    with torch.no_grad():
        for p in ill.parameters():
            p[1] = math.nan
    for stack in (finite, ill):
        stack(x).square().sum().backward()
    y, expected = ill(x), finite(x)
    assert_close(y[[0, 2]], expected[[0, 2]])
    assert y[1].isnan().all()
    for p, q in zip(ill.parameters(), finite.parameters(), strict=True):
        if q.grad is not None:
            assert_close(p.grad[[0, 2]], q.grad[[0, 2]])
    for r in (0, 2):
        assert_same_numbers(ill.replica(r), finite.replica(r))


NORMALIZING = {
    "batch norm": lambda images: (nn.BatchNorm2d if images else nn.BatchNorm1d)(4),
    "batch norm, no gamma": lambda images: (nn.BatchNorm2d if images else nn.BatchNorm1d)(4, affine=False),
    "batch norm, average": lambda images: (nn.BatchNorm2d if images else nn.BatchNorm1d)(4, momentum=None),
    "layer norm": lambda images: nn.GroupNorm(1, 4) if images else nn.LayerNorm(4),
    "group norm": lambda images: nn.GroupNorm(2, 4),
}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["x", "dy"])
@pytest.mark.parametrize("pixels", [(), (2, 3)], ids=["dense", "images"])
@pytest.mark.parametrize("norm", NORMALIZING)
def test_a_norm_shows_divergence_where_it_is(norm, pixels, where, bad):
    alone = several(lambda: NORMALIZING[norm](bool(pixels)))
    stack = Stack(alone)
    for step, training in enumerate((True, True, False)):  # with the bad number, after it, and in evaluation
        generator = torch.Generator().manual_seed(step)
        x, dy = (torch.randn(R, 5, 4, *pixels, generator=generator, dtype=torch.float64) for _ in range(2))
        if step == 0:
            (x if where == "x" else dy)[(1, 1, 1) + (0,) * len(pixels)] = bad
        x.requires_grad_()
        y = stack.train(training)(x)
        found = [y, *torch.autograd.grad((y * dy).sum(), [x, *stack.parameters()])]
        for r, network in enumerate(alone):
            own = x[r].detach().requires_grad_()
            z = network.train(training)(own)
            expected = [z, *torch.autograd.grad((z * dy[r]).sum(), [own, *network.parameters()])]
            found_here = [t[r] for t in found] + list(stack.replica(r).buffers())
            for ours, theirs in zip(found_here, expected + list(network.buffers()), strict=True):
                assert torch.equal(ours.isfinite(), theirs.isfinite())
                torch.testing.assert_close(ours.nan_to_num(0, 0, 0), theirs.nan_to_num(0, 0, 0), rtol=1e-9, atol=ATOL)
                assert r == 1 or ours.isfinite().all()

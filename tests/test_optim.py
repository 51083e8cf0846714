"""The steps of all replicas against torch.optim, which takes those of one replica after the other."""

import math

import pytest
import torch

from utils.lab.optim import SGD, Adam

RATES = [0.1, 0.003, 0.7]
SHAPES = [(3,), (3, 4), (3, 2, 3), (3, 2, 1, 3, 3)]
STEPS = 50
CASES = {
    "sgd": (SGD, torch.optim.SGD, {}),
    "sgd, decay": (SGD, torch.optim.SGD, {"weight_decay": 0.1}),
    "momentum": (SGD, torch.optim.SGD, {"momentum": 0.9}),
    "momentum, decay": (SGD, torch.optim.SGD, {"momentum": 0.5, "weight_decay": 0.1}),
    "adam": (Adam, torch.optim.Adam, {}),
    "adam, decay": (Adam, torch.optim.Adam, {"weight_decay": 0.1}),
    "adam, options": (Adam, torch.optim.Adam, {"betas": (0.5, 0.8), "eps": 0.1}),
    "adam, no memory": (Adam, torch.optim.Adam, {"betas": (0.0, 0.0), "weight_decay": 0.01}),
}
both = pytest.mark.parametrize("kind", [SGD, Adam])


def numbers(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in SHAPES]


def parameters(dtype=torch.float64):
    return [p.requires_grad_() for p in numbers(0, dtype)]


def cosine(step):
    return 0.5 * (1 + math.cos(math.pi * step / STEPS))


@pytest.mark.parametrize(("kind", "theirs", "options"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("schedule", [None, cosine])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_each_replica_moves_as_under_torch_optim(kind, theirs, options, schedule, dtype):
    ours = parameters(dtype)
    alone = [[p[r].detach().clone() for p in ours] for r in range(3)]
    optimizer = kind(ours, torch.tensor(RATES, dtype=torch.float64), schedule=schedule, **options)
    singles = [theirs(own, lr=rate, **options) for own, rate in zip(alone, RATES, strict=True)]
    schedulers = [torch.optim.lr_scheduler.LambdaLR(single, schedule or (lambda step: 1)) for single in singles]
    gradients = numbers(0, dtype)  # the same memory at every step: nothing of it may be kept
    for step in range(STEPS):
        for gradient, new in zip(gradients, numbers(1 + step, dtype), strict=True):
            gradient.copy_(new)
        for r, single in enumerate(singles):
            for p, g in zip(alone[r], gradients, strict=True):
                p.grad = g[r].clone()
            single.step()
            schedulers[r].step()
        optimizer.step(gradients)
        assert all(torch.equal(g, new) for g, new in zip(gradients, numbers(1 + step, dtype), strict=True))
    # Fifty steps of order one, each off by some roundings (1e-16 and 6e-8).
    atol = 1e-12 if dtype == torch.float64 else 1e-4
    for r in range(3):
        for p, q in zip(ours, alone[r], strict=True):
            torch.testing.assert_close(p[r], q, rtol=0, atol=atol)


def test_two_parameters_may_have_one_gradient():
    """Autograd gives the same tensor for both terms of a sum."""
    ours = [torch.full((2, 3), value, requires_grad=True) for value in (1.0, 2.0)]
    apart = [p.detach().clone().requires_grad_() for p in ours]
    gradients = torch.autograd.grad((ours[0] + ours[1]).square().sum(), ours)
    for stack, each in ((ours, gradients), (apart, [g.clone() for g in gradients])):
        SGD(stack, [0.1, 0.2], weight_decay=0.1).step(each)
    for p, q in zip(ours, apart, strict=True):
        assert torch.equal(p, q)


@both
def test_what_has_a_rate_of_zero_or_is_frozen_stays_where_it_is(kind):
    ours, before, frozen = parameters(), parameters(), torch.ones(3, 2)
    optimizer = kind([frozen, *ours], [0.1, 0, 0.1], weight_decay=0.1)
    for step in range(3):
        optimizer.step(numbers(1 + step))
    for p, q in zip(ours, before, strict=True):
        assert torch.equal(p[1], q[1])
        assert not torch.equal(p[0], q[0])
    assert torch.equal(frozen, torch.ones(3, 2))


@both
def test_gradients_that_are_not_numbers_stay_in_their_replica(kind):
    ours, same = parameters(), parameters()
    for stack, value in ((ours, math.nan), (same, 1.0)):
        optimizer = kind(stack, RATES, weight_decay=0.1)
        for step in range(3):
            gradients = numbers(1 + step)
            for g in gradients:
                g[1] = value
            optimizer.step(gradients)
    for p, q in zip(ours, same, strict=True):
        assert torch.equal(p[[0, 2]], q[[0, 2]])
        assert p[1].isnan().all()


@both
def test_the_rates_are_copied(kind):
    rates, ours, same = torch.tensor(RATES, dtype=torch.float64), parameters(), parameters()
    optimizer, other = kind(ours, rates), kind(same, RATES)
    rates.zero_()
    optimizer.step(numbers(1))
    other.step(numbers(1))
    for p, q in zip(ours, same, strict=True):
        assert torch.equal(p, q)


@both
@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, None, "falling"])
def test_a_schedule_gives_numbers(kind, value):
    ours = parameters()
    optimizer = kind(ours, RATES, schedule=lambda step: value)
    with pytest.raises(ValueError, match=r"schedule: expected a (finite )?number of at least 0, got "):
        optimizer.step(numbers(1))
    assert all(torch.equal(p, q) for p, q in zip(ours, parameters(), strict=True))


RATE = "learning_rates: expected "
BOTH = [
    ({"learning_rates": [0.1, 0.2]}, RATE + r"one for each of 3 replicas, got shape \(2,\)"),
    ({"learning_rates": 0.1}, RATE + r"one for each of 3 replicas, got shape \(\)"),
    ({"learning_rates": [RATES]}, RATE + r"one for each of 3 replicas, got shape \(1, 3\)"),
    *(({"learning_rates": [0.1, rate, 0.3]}, RATE + "finite numbers of at") for rate in (-0.2, math.nan, math.inf)),
]


@pytest.mark.parametrize(
    ("kind", "how", "message"),
    [
        *((kind, *case) for case in BOTH for kind in (SGD, Adam)),
        *((SGD, {"momentum": m}, f"momentum: expected a number from 0 to below 1, got {m}") for m in (1.0, -0.1)),
        *((Adam, {"betas": b}, "betas: expected two numbers") for b in [(0.9, 1.0), (-0.1, 0.9), (0.9, 0.9, 0.9)]),
    ],
)
def test_arguments_out_of_range_are_refused(kind, how, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"parameters": parameters(), "learning_rates": RATES} | how)


def test_as_many_gradients_as_parameters():
    for optimizer in (SGD(parameters(), RATES), SGD(parameters(), RATES, momentum=0.9), Adam(parameters(), RATES)):
        with pytest.raises(ValueError, match="zip"):
            optimizer.step(numbers(1)[:-1])

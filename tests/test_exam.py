"""The model answers of the exam are right: each number is computed here in another way and stands in its answer."""

import re

import numpy as np
import pytest
import teaching
import torch
from scipy.stats import norm as normal
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from torch import nn
from torch.nn import functional as F


def questions():
    """Question and model answer by number."""
    found = {}
    for block in re.split(r"^## ", teaching.EXAM.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        question, answer = block.split("<details><summary>Model answer</summary>")
        found[int(block.split(".")[0])] = question, " ".join(answer.split())
    return found


def states(number, *words):
    """Whether the model answer to a question has all these words; the first that it lacks otherwise."""
    answer = questions()[number][1]
    lacking = [word for word in words if not re.search(rf"(?<![\d.]){re.escape(word)}(?!\d|\.\d)", answer)]
    assert not lacking, f"question {number}: the model answer lacks {lacking}"


def test_each_question_has_parts_an_answer_half_an_answer_and_a_variation():
    found = questions()
    assert list(found) == list(range(1, 11))
    for question, answer in found.values():
        assert "?" in question or "Name five faults" in question
        assert "**Half right.**" in answer
        assert "**To vary.**" in answer


def test_a_number_that_an_answer_lacks_is_named():
    with pytest.raises(AssertionError, match=r"question 7: the model answer lacks \['36.7'\]"):
        states(7, "36.9", "36.7")
    with pytest.raises(AssertionError, match=r"\['0.24'\]"):  # 0.246 is another number
        states(6, "0.24")


def test_1_units_of_a_thermometer():
    days = np.random.default_rng(0).normal(size=(50, 1))
    celsius = 20 + 5 * StandardScaler().fit_transform(days)
    ours, theirs = StandardScaler().fit(celsius), StandardScaler().fit(1.8 * celsius + 32)
    winter = StandardScaler().fit(1.8 * (celsius - 15) + 32)
    scores = [s.transform([[x]])[0, 0] for s, x in ((ours, 25), (ours, 77), (theirs, 77), (winter, 77))]
    np.testing.assert_allclose(scores, [1, 11.4, 1, 4])
    states(1, "(25 - 20)/5 = 1$", "(77 - 20)/5 = 11.4$", "(25 - 5)/5 = 4$")
    rng = np.random.default_rng(1)
    x, new = rng.normal(size=(2, 400, 2))
    y = rng.integers(3, size=400)
    change = np.array([1.8, 1.0]), np.array([32.0, 0.0])
    for model, changes in ((DecisionTreeClassifier(random_state=0), False), (KNeighborsClassifier(), True)):
        before = model.fit(x, y).predict(new)
        after = model.fit(x * change[0] + change[1], y).predict(new * change[0] + change[1])
        assert np.any(before != after) == changes


@pytest.mark.parametrize(("steep", "stable"), [(14.0, False), (6.0, True)])
def test_2_two_curvatures(steep, stable):
    """A walk on a bowl, step by step, for both values of the larger curvature."""

    def walk(rate, steps):
        curvature, w, losses = np.array([1.0, steep]), np.sqrt([2.0, 18.0 / steep]), []
        for _ in range(steps + 1):
            losses.append(0.5 * curvature @ w**2)
            w = w - rate * curvature * w
        return losses

    losses = walk(0.1, 11)
    table = re.findall(r"\| (\d+) \| ([\d.]+) \|", questions()[2][0])
    assert table == [(f"{step}", f"{losses[step]:.4f}") for step in (0, 1, 2, 3, 10, 11)]
    assert (walk(0.15, 200)[-1] < losses[0]) == stable
    states(2, "$\\lambda_{\\min} = 1$", "steep part is 9.", "1.44", "6 or 14", f"{2 / steep:.3f} for {steep:g}")


def test_3_backward_through_a_root_mean_square():
    x = torch.tensor([1.0, 7.0], dtype=torch.double, requires_grad=True)
    y = x / x.square().mean().sqrt()
    y.backward(torch.tensor([1.0, 0.0], dtype=torch.double))
    first, second = x.grad.tolist()
    states(3, f"= ({first:.3f}, {second:.3f})$", f"it is {x.grad.sum():.3f}", f"$y = ({y[0]:.1f}, {y[1]:.1f})$")
    assert abs((x * x.grad).sum()) < 1e-15
    x, dy = torch.randn(2, 9, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    exact = torch.autograd.functional.vjp(lambda x: x / x.square().mean().sqrt(), x, dy)[1]
    r = x.square().mean().sqrt()
    torch.testing.assert_close((dy - x / r * (dy * x / r).mean()) / r, exact, rtol=1e-12, atol=1e-14)
    assert "\\frac1r \\left( dy - y\\, \\langle dy\\, y \\rangle \\right)" in questions()[3][1]
    for pair in ((1, 1), (7, 17), (2, 14)):  # as "To vary" says
        assert np.sqrt(np.mean(np.square(pair))) % 1 == 0


def test_4_shares_that_pass():
    z = np.random.default_rng(0).normal(size=1_000_000)
    for gamma, beta, share in ((1, 0, "50%"), (2, -2, "16%"), (0.5, 1, "98%"), (20, -20, "16%")):
        passing = np.mean(gamma * z + beta > 0)
        assert passing == pytest.approx(normal.cdf(beta / gamma), abs=0.002)
        assert f"{passing:.0%}" == share
    passed = "A: $\\hat x > 0$, half. B: $\\hat x > 1$, 16 %. C: $\\hat x > -2$, 98 %."
    states(4, passed, "The share stays at 16 %", "below")
    np.testing.assert_array_equal(-z > 0, z < 0)
    assert not np.any(0.01 * z - 0.3 > 0)


def test_5_the_faults_are_real():
    torch.manual_seed(0)
    net, other = (nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(2))
    x, y = 3 + torch.randn(64, 6), torch.randint(3, (64,))

    def gradient(parts):
        net.zero_grad()
        for rows in torch.arange(64).chunk(parts):
            F.cross_entropy(net(x[rows]), y[rows]).backward()
        return net[-1].weight.grad.clone()

    net.eval()
    net[:-1].requires_grad_(False)
    before = net[1].running_mean.clone()
    torch.testing.assert_close(gradient(8), 8 * gradient(1), rtol=1e-4, atol=1e-5)  # 3: eight times too large
    assert torch.equal(net[1].running_mean, before)
    net.train()
    assert not torch.allclose(gradient(8) / 8, gradient(1), rtol=0.01)  # 2: each part has its own statistics
    assert not torch.allclose(net[1].running_mean, before, rtol=0.01)  # 1: no weight moved, and yet they did
    missing = other.load_state_dict(dict(net.named_parameters()), strict=False).missing_keys
    assert {"1.running_mean", "1.running_var"} <= set(missing)  # 4
    assert other.training  # 5
    states(5, "`net.train()`", "divided by 8", "`named_parameters()`", "`strict=False`", "`other.eval()`")


def test_6_five_layers():
    def loss_after(rate, moved):
        w = torch.ones(5, dtype=torch.double, requires_grad=True)
        (0.5 * (w.prod() - 2) ** 2).backward()
        assert w.grad.tolist() == [-1.0] * 5
        w = w.detach()
        w[:moved] += rate
        return (0.5 * (w.prod() - 2) ** 2).item()

    states(6, "0.5", f"{loss_after(0.3, 1):.3f}", f"{loss_after(0.3, 5):.3f}", f"{1.3**5:.3f}", "2.5", "0.125")
    rates = np.linspace(0, 0.5, 50_001)
    losses = np.array([0.5 * ((1 + rate) ** 5 - 2) ** 2 for rate in rates])
    states(6, f"{rates[losses <= 0.5].max():.3f}", f"{rates[losses.argmin()]:.3f}")


def test_7_turns():
    """A loss of the direction alone: the angle to an axis, scaled so that the gradient at length 2 is 3."""

    def step(length, rate):
        w = torch.tensor([length, 0.0], dtype=torch.double, requires_grad=True)
        (6 * torch.atan2(w[1], w[0])).backward()
        new = (w - rate * w.grad).detach()
        return w.grad.norm().item(), new.norm().item(), abs(torch.rad2deg(torch.atan2(new[1], new[0])).item())

    size, length, turn = step(2.0, 0.5)
    assert size == pytest.approx(3)
    longer_size, _, longer_turn = step(4.0, 0.5)
    states(7, f"{length:.1f}", f"{turn:.1f}", f"{longer_size:.1f}", f"{longer_turn:.1f}")
    assert step(4.0, 2.0)[2] == pytest.approx(turn)
    states(7, "$\\eta = 2$")


def test_8_layers_of_absolute_values():
    rng = np.random.default_rng(0)

    def grown(variance, depth=20, width=600):
        signal = gradient = rng.normal(size=(width, 40))
        weights = [rng.normal(0, np.sqrt(variance / width), (width, width)) for _ in range(depth)]
        slopes = []
        for w in weights:
            z = w @ signal
            slopes.append(np.sign(z))
            signal = np.abs(z)
        for w, slope in zip(weights[::-1], slopes[::-1], strict=True):
            gradient = w.T @ (slope * gradient)
        return np.sqrt(np.mean(signal**2)), np.sqrt(np.mean(gradient**2))

    for size in grown(1.0):
        assert 0.5 < size < 2  # one draw of twenty layers, 600 wide
    assert grown(2.0)[0] == pytest.approx(1024, rel=0.6)
    assert grown(1 / 3)[0] == pytest.approx(3.0**-10, rel=0.6)
    states(8, "1024", "1.7", "2.75")
    assert f"{3.0**-10:.1e}" == "1.7e-05"
    assert f"{1 / (1 - 2 / np.pi):.2f}" == "2.75"
    layer = nn.Linear(500, 500)
    assert 500 * layer.weight.var().item() == pytest.approx(1 / 3, rel=0.02)


def test_9_counts():
    axes = {"batch norm": (0, 2, 3), "layer norm": (1, 2, 3), "instance norm": (2, 3)}

    def outputs(x, kind):
        if kind == "group norm":
            groups = x.reshape(len(x), 2, -1, *x.shape[2:])
            return ((groups - groups.mean((2, 3, 4), keepdims=True)) / groups.std((2, 3, 4), keepdims=True)).ravel()
        gap = x - x.mean(axes[kind], keepdims=True)
        return (gap / np.sqrt(x.var(axes[kind], keepdims=True) + 1e-12)).ravel()

    x = np.random.default_rng(0).normal(size=(2, 4, 2, 2))
    moved = x.copy()
    moved[0, 0, 0, 0] += 0.3
    kinds = [*axes, "group norm"]
    changed = [np.sum(np.abs(outputs(x, kind) - outputs(moved, kind)) > 1e-9) for kind in kinds]
    assert changed == [8, 16, 4, 8]
    assert [x.size // count for count in changed] == [4, 2, 8, 4]
    states(9, "$N H W = 8$.", "$C H W = 16$.", "Instance norm: $H W = 4$.", "$\\tfrac{C}{2} H W = 8$.")
    states(9, "batch norm 4, layer norm 2, instance norm 8, group norm 4")
    narrow = x[:, :, :1, :1]
    for kind, found in (("batch norm", {1.0}), ("instance norm", {0.0}), ("group norm", {1.0})):
        assert set(np.abs(outputs(narrow, kind)).round(6)) == found
    assert len(set(np.abs(outputs(narrow, "layer norm")).round(6))) == 8
    tokens = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    other = tokens.clone()
    other[0, 0, 0] += 0.3
    assert (nn.LayerNorm(8)(tokens) != nn.LayerNorm(8)(other)).sum() == 8


def test_10_fold_forward():
    bn, layer = nn.BatchNorm1d(2, eps=0.0).double().eval(), nn.Linear(2, 1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, -1.0]]))
        layer.bias.fill_(3.0)
        bn.weight.copy_(torch.tensor([4.0, 1.0]))
        bn.bias.copy_(torch.tensor([0.0, 4.0]))
        bn.running_mean.copy_(torch.tensor([1.0, 0.0]))
        bn.running_var.copy_(torch.tensor([4.0, 1.0]))
        x = torch.tensor([[3.0, 5.0]]).double()
        both = layer(bn(x)).item()
        unit = [layer(bn(point)).item() for point in torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]]).double()]
    bias, weight = unit[0], (unit[1] - unit[0], unit[2] - unit[0])
    assert (bias, weight, both) == (-5.0, (4.0, -1.0), 2.0)
    assert weight[0] * 3 + weight[1] * 5 + bias == both
    answer = questions()[10][1]
    assert "The new weights are $(4, -1)$" in answer
    assert "= -5$" in answer
    assert "$z = 8 - 9 + 3 = 2$. With one, $z = 12 - 5 - 5 = 2$" in answer


def test_10_zero_padding_spoils_it_at_the_border():
    bn = nn.BatchNorm2d(2).double().eval()
    conv, folded = (nn.Conv2d(2, 3, 3, padding=1).double() for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 6, 6, generator=generator).double()
    with torch.no_grad():
        for shift in (0.7, 0.0):
            bn.running_mean.fill_(-shift)
            s = bn.weight / torch.sqrt(bn.running_var + bn.eps)
            t = bn.bias - s * bn.running_mean
            folded.weight.copy_(conv.weight * s[:, None, None])
            folded.bias.copy_(conv.bias + (conv.weight * t[:, None, None]).sum(dim=(1, 2, 3)))
            gap = (folded(x) - conv(bn(x))).abs()
            assert gap[:, :, 1:-1, 1:-1].max() < 1e-12
            assert (gap.max() > 0.01) == (shift != 0)

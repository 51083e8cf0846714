"""Probes of all replicas at once against plain networks, one at a time, layer by layer, and against closed forms."""

import copy
import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from utils.data import Split
from utils.lab import probes
from utils.lab.training import fit
from utils.networks import MLP, BatchNorm, Conv2d, ConvNet, Linear

SEEDS, CLASSES = (5, 0, 3), 4
RATES = np.array([0.3, 0.7, 0.05])
LENGTHS = np.array([0.1, 0.4, 1.5])
# Everything in float64 and of order one: the same sums in another order, made larger by norms of a few values.
TIGHT = {"rtol": 1e-9, "atol": 1e-11}
APART = 0.05  # what another definition gives is off by more than this share, somewhere: no rounding does that


def dense(**how):
    return MLP(6, CLASSES, **{"seeds": SEEDS, "width": 8, "depth": 3, "activation": "tanh"} | how)


def conv(**how):
    how = {"seeds": SEEDS, "channels": (4, 6), "pool_after": (1,), "activation": "tanh"} | how
    return ConvNet((2, 4, 4), CLASSES, **how)


KINDS = {
    "dense": dense,
    "dense, batch norm": functools.partial(dense, norm="batch"),
    "dense, batch norm after, and of inputs": functools.partial(dense, norm="batch", place="after", norm_input="batch"),
    "conv": conv,
    "conv, batch norm": functools.partial(conv, norm="batch"),
    "conv, batch norm after pooling": functools.partial(conv, norm="batch", place="after_pool"),
}
every_kind = pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)
SOME = {name: KINDS[name] for name in ("dense", "dense, batch norm after, and of inputs", "conv, batch norm")}
some_kinds = pytest.mark.parametrize("build", SOME.values(), ids=SOME)
two_kinds = pytest.mark.parametrize("build", list(SOME.values())[1:], ids=list(SOME)[1:])
both_modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def trained(net, training=True, seed=1):
    """The network in float64, with numbers that no two replicas or channels have alike."""
    generator = torch.Generator().manual_seed(seed)
    net.double()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.add_(noise if name.endswith("running_var") else noise - 0.5)
            else:
                value.add_(3)
    return net.train(training)


def batch(net, n=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(net.replicas, n, net.n_in, generator=generator, dtype=next(net.parameters()).dtype)
    return x, torch.randint(CLASSES, (net.replicas, n), generator=generator)


def plain(net):
    return [net.replica(r) for r in range(net.replicas)]


def by_hand(net, x):
    """Inputs and outputs of the activation functions, (units, n), of each plain replica, applied layer by layer."""
    found = []
    for r, modules in enumerate(plain(net)):
        h, layers = x[r], []
        for module in modules:
            z, h = h, module(h)
            if isinstance(module, type(net.activation)):
                layers.append([v.detach().movedim(1, 0).flatten(1).numpy() for v in (z, h)])
        found.append(layers)
    return found


def loss_and_gradients(network, x, y):
    loss = F.cross_entropy(network(x), y)
    return loss.item(), torch.autograd.grad(loss, list(network.parameters()))


def vector(gradients):
    return torch.cat([g.flatten() for g in gradients]).numpy()


def moved(network, steps):
    """A copy with a step subtracted from every parameter."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        for p, step in zip(network.parameters(), steps, strict=True):
            p -= step
    return network


def weight_layers(network):
    return [i for i, module in enumerate(network) if isinstance(module, nn.Linear | nn.Conv2d)]


def assert_close(ours, theirs):
    assert isinstance(ours, np.ndarray)
    assert ours.dtype == np.float64
    assert ours.shape == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, **TIGHT)


def assert_apart(ours, wrong):
    ours, wrong = np.asarray(ours), np.asarray(wrong)
    assert ours.shape == wrong.shape
    assert (np.abs(ours - wrong) > APART * np.abs(ours)).any()


# Activations


@every_kind
@both_modes
def test_activations_are_those_of_the_plain_networks_layer_by_layer(build, training):
    net = trained(build(), training)
    x, _ = batch(net)
    ours = probes.activations(net, x)
    theirs = by_hand(net, x)
    assert len(ours) == len(theirs[0]) == (3 if isinstance(net, MLP) else 2)
    for i, (z, h) in enumerate(ours):
        for r in range(3):
            assert_close(z[r].numpy(), theirs[r][i][0])
            assert_close(h[r].numpy(), theirs[r][i][1])
        assert not z.requires_grad
        assert not h.requires_grad


def test_activations_of_a_dense_network_are_matrix_products():
    net = trained(dense(depth=2))
    x, _ = batch(net)
    (z1, h1), (z2, h2) = probes.activations(net, x)
    first, second, _ = (layer for layer in net.layers if isinstance(layer, Linear))
    for r in range(3):
        W1, b1, W2, b2 = (p[r].detach().numpy() for p in (first.weight, first.bias, second.weight, second.bias))
        own = W1 @ x[r].numpy().T + b1[:, None]
        assert_close(z1[r].numpy(), own)
        assert_close(h1[r].numpy(), np.tanh(own))
        assert_close(z2[r].numpy(), W2 @ np.tanh(own) + b2[:, None])
        assert_close(h2[r].numpy(), np.tanh(W2 @ np.tanh(own) + b2[:, None]))


def test_activations_are_copies():
    net = trained(dense(activation="identity"))
    x, _ = batch(net)
    (z, h), *_ = probes.activations(net, x)
    before = h.clone()
    z.zero_()
    assert torch.equal(h, before)


@some_kinds
@both_modes
@pytest.mark.parametrize(("layer", "unit", "q"), [(-1, 0, (15, 50, 85)), (0, 3, (50,)), (1, 2, (0, 1, 99, 100))])
def test_percentiles_are_those_of_numpy_over_the_batch(build, training, layer, unit, q):
    net = trained(build(), training)
    x, _ = batch(net, 12)
    how = {"layer": layer, "unit": unit, "q": q}
    expected = [[np.percentile(layers[layer][0][unit], one) for one in q] for layers in by_hand(net, x)]
    assert_close(probes.percentiles(net, x, **how), expected)


def test_percentiles_are_by_default_those_of_the_papers_figure():
    net = trained(dense(activation="sigmoid"))
    x, _ = batch(net, 12)
    expected = [np.percentile(layers[-1][0][0], (15, 50, 85)) for layers in by_hand(net, x)]
    assert_close(probes.percentiles(net, x), expected)


@pytest.mark.parametrize("how", [{"layer": 3}, {"layer": -4}, {"unit": 8}, {"unit": -1}])
def test_percentiles_of_what_is_not_there(how):
    net = trained(dense())
    x, _ = batch(net)
    message = (
        "layer: expected an integer from -3 to 2, got" if "layer" in how else "unit: expected an integer from 0 to 7"
    )
    with pytest.raises(ValueError, match=message):
        probes.percentiles(net, x, **how)
    assert probes.percentiles(net, x, layer=-3, unit=7).shape == (3, 3)


FLAT = {  # where the slope is less than a tenth of the steepest, which is 1, and 1/4 for the sigmoid
    "sigmoid": lambda z, h: h * (1 - h) < 0.025,
    "tanh": lambda z, h: 1 - h**2 < 0.1,
    "relu": lambda z, h: z <= 0,
    "leaky_relu": lambda z, h: z <= 0,
    "elu": lambda z, h: (z < 0) & (np.exp(np.minimum(z, 0)) < 0.1),
    "identity": lambda z, h: np.zeros(z.shape, dtype=bool),
}


@some_kinds
@both_modes
@pytest.mark.parametrize("activation", FLAT)
def test_statistics_of_the_layers_are_closed_forms(build, training, activation):
    net = trained(build(activation=activation), training)
    with torch.no_grad():
        for layer in net.layers:
            if isinstance(layer, Linear | Conv2d):
                layer.weight *= 3  # far enough out that some are flat
    x, _ = batch(net, 12)
    ours = probes.layer_statistics(net, x)
    assert list(ours) == ["mean", "std", "output_mean", "output_std", "saturated", "dead"]
    theirs = {key: [] for key in ours}
    for layers in zip(*by_hand(net, x), strict=True):
        for key, how in {
            "mean": lambda z, h: z.mean(),
            "std": lambda z, h: z.std(),
            "output_mean": lambda z, h: h.mean(),
            "output_std": lambda z, h: h.std(),
            "saturated": lambda z, h: FLAT[activation](z, h).mean(),
            "dead": lambda z, h: (z <= 0).all(axis=1).mean() if activation == "relu" else 0.0,
        }.items():
            theirs[key].append([how(z, h) for z, h in layers])
    for key, values in theirs.items():
        assert_close(ours[key], values)
    if activation != "identity":
        assert ((ours["saturated"] > 0) & (ours["saturated"] < 1)).any()


def test_units_with_a_large_negative_bias_are_dead():
    net = trained(dense(activation="relu"))
    first = next(layer for layer in net.layers if isinstance(layer, Linear))
    with torch.no_grad():
        first.bias.fill_(100)
        for r, dead in enumerate((0, 3, 8)):
            first.bias[r, :dead] = -100
    x, _ = batch(net)
    statistics = probes.layer_statistics(net, x)
    np.testing.assert_array_equal(statistics["dead"][0], [0, 3 / 8, 1])
    np.testing.assert_array_equal(statistics["saturated"][0], [0, 3 / 8, 1])
    assert statistics["output_mean"][0, 2] == 0


def test_a_unit_that_one_example_wakes_is_not_dead():
    net = trained(dense(activation="relu"))
    first = next(layer for layer in net.layers if isinstance(layer, Linear))
    x, _ = batch(net)
    with torch.no_grad():
        first.bias.fill_(-100)
        first.weight.fill_(1)
        x[:, 0] = 100
    statistics = probes.layer_statistics(net, x)
    np.testing.assert_array_equal(statistics["dead"][0], [0, 0, 0])
    np.testing.assert_array_equal(statistics["saturated"][0], [6 / 7] * 3)


# Gradients


@every_kind
@both_modes
def test_gradient_norms_are_those_of_the_plain_networks(build, training):
    net = trained(build(), training)
    x, y = batch(net)
    expected = []
    for r, network in enumerate(plain(net)):
        loss = F.cross_entropy(network(x[r]), y[r])
        own = torch.autograd.grad(loss, [network[i].weight for i in weight_layers(network)])
        expected.append([np.linalg.norm(g.numpy().ravel()) for g in own])
    assert_close(probes.gradient_norms(net, x, y), np.transpose(expected))


def test_the_gradient_of_the_output_layer_is_a_closed_form():
    net = trained(dense())
    x, y = batch(net)
    hidden = by_hand(net, x)
    for r, network in enumerate(plain(net)):
        error = F.softmax(network(x[r]), dim=1).detach().numpy() - np.eye(CLASSES)[y[r]]
        expected = np.linalg.norm(error.T @ hidden[r][-1][1].T / len(error))
        assert_close(probes.gradient_norms(net, x, y)[-1][r : r + 1], [expected])


@some_kinds
@pytest.mark.parametrize("rates", [0.3, RATES, RATES.tolist(), torch.tensor(RATES)])
def test_the_size_of_an_update_over_that_of_the_weights(build, rates):
    net = trained(build())
    x, y = batch(net)
    expected = []
    for r, network in enumerate(plain(net)):
        rate = rates if isinstance(rates, float) else float(rates[r])
        after = moved(network, [rate * g for g in loss_and_gradients(network, x[r], y[r])[1]])
        pairs = [(network[i].weight.detach(), after[i].weight.detach()) for i in weight_layers(network)]
        expected.append([((new - old).norm() / old.norm()).item() for old, new in pairs])
    assert_close(probes.update_to_data(net, x, y, rates), np.transpose(expected))


# Singular values


@pytest.mark.parametrize("how", [np.asarray, torch.tensor, nn.Parameter], ids=["array", "tensor", "parameter"])
def test_singular_values_of_a_product_are_those_of_numpy(how):
    rng = np.random.default_rng(0)
    stacks = [rng.standard_normal((2, *shape)) for shape in ((5, 3), (4, 5), (6, 4))]
    expected = np.stack([np.linalg.svd(c @ b @ a, compute_uv=False) for a, b, c in zip(*stacks, strict=True)])
    convert = (lambda m: how(torch.tensor(m))) if how is nn.Parameter else how
    ours = probes.product_singular_values([convert(m) for m in stacks])
    assert ours.shape == (2, 3)
    assert_close(ours, expected)
    assert (np.diff(ours) <= 0).all()
    assert_close(probes.product_singular_values([convert(m[1]) for m in stacks]), expected[1])
    assert_close(probes.product_singular_values([convert(stacks[0])]), np.linalg.svd(stacks[0], compute_uv=False))


def test_a_product_of_numbers_and_one_in_single_precision():
    assert_close(probes.product_singular_values([[[3.0]], [[-2.0]]]), [6.0])
    rng = np.random.default_rng(0)
    single = [rng.standard_normal((6, 6)).astype(np.float32) for _ in range(8)]
    exact = functools.reduce(lambda product, m: m.astype(np.float64) @ product, single, np.eye(6))
    assert_close(probes.product_singular_values(single), np.linalg.svd(exact, compute_uv=False))


def test_a_product_of_orthogonal_matrices_keeps_every_length():
    generator = torch.Generator().manual_seed(0)
    turns = [torch.linalg.qr(torch.randn(3, 7, 7, generator=generator, dtype=torch.float64))[0] for _ in range(20)]
    assert_close(probes.product_singular_values(turns), np.ones((3, 7)))


def test_products_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="matrices: expected at least one, got none"):
        probes.product_singular_values([])
    with pytest.raises(ValueError, match=r"matrices: expected 5 columns, got shape \(2, 4\)"):
        probes.product_singular_values([np.ones((5, 3)), np.ones((2, 4))])
    with pytest.raises(ValueError, match=r"matrices: expected 5 columns, got shape \(3, 5, 4\)"):
        probes.product_singular_values([np.ones((3, 5, 4)), np.ones((3, 5, 4))])


@every_kind
@both_modes
def test_the_jacobian_is_that_of_the_plain_network_in_evaluation(build, training):
    net = trained(build(), training)
    x = batch(net)[0][:, 0]
    expected = []
    for r, network in enumerate(plain(net)):
        network.eval()
        jacobian = torch.autograd.functional.jacobian(lambda v, f=network: f(v[None])[0], x[r])
        assert jacobian.shape == (CLASSES, net.n_in)
        expected.append(np.linalg.svd(jacobian.numpy(), compute_uv=False))
    assert_close(probes.jacobian_singular_values(net, x), expected)


def test_the_jacobian_of_a_network_without_bends_is_the_product_of_its_weights():
    net = trained(dense(activation="identity"))
    product = probes.product_singular_values([layer.weight for layer in net.layers if isinstance(layer, Linear)])
    assert_close(probes.jacobian_singular_values(net, batch(net)[0][:, 0]), product)


def test_the_example_of_a_jacobian_is_left_alone():
    net = trained(dense())
    x = batch(net)[0][:, 0].clone()
    before = x.clone()
    probes.jacobian_singular_values(net, x)
    assert not x.requires_grad
    assert torch.equal(x, before)


def test_a_jacobian_with_more_outputs_than_inputs():
    net = trained(MLP(2, CLASSES, seeds=SEEDS, width=8, depth=1))
    assert probes.jacobian_singular_values(net, batch(net)[0][:, 0]).shape == (3, 2)


# The loss along a step


def walk(network, x, y, lengths, direction=None):
    """Loss and gradient vector here, and at every place of a walk."""
    loss, gradients = loss_and_gradients(network, x, y)
    direction = gradients if direction is None else direction
    places = [loss_and_gradients(moved(network, [eta * d for d in direction]), x, y) for eta in lengths]
    return loss, vector(gradients), [there for there, _ in places], [vector(g) for _, g in places]


@every_kind
@both_modes
@pytest.mark.parametrize("lengths", [LENGTHS.tolist(), np.outer(LENGTHS, RATES)])
def test_a_walk_along_the_gradient(build, training, lengths):
    net = trained(build(), training)
    x, y = batch(net)
    ours = probes.landscape(net, x, y, lengths)
    lengths = np.array(lengths)
    own = lengths if lengths.ndim == 2 else np.stack([lengths] * 3, axis=1)
    np.testing.assert_array_equal(ours.lengths, own)
    here, norm, losses, differences = [], [], [], []
    for r, network in enumerate(plain(net)):
        loss, g, there, gradients = walk(network, x[r], y[r], own[:, r])
        here.append(loss)
        norm.append(np.linalg.norm(g))
        losses.append(there)
        differences.append([np.linalg.norm(g_there - g) for g_there in gradients])
    losses, differences, norm = np.transpose(losses), np.transpose(differences), np.array(norm)
    assert_close(ours.loss_here, here)
    assert_close(ours.gradient_norm, norm)
    assert_close(ours.loss, losses)
    assert_close(ours.gradient_difference, differences)
    assert_close(ours.loss_range, losses.max(axis=0) - losses.min(axis=0))
    assert_close(ours.predictiveness, differences.max(axis=0))
    assert_close(ours.relative_predictiveness, differences.max(axis=0) / norm)
    assert_close(ours.smoothness, np.max([differences[k] / (own[k] * norm) for k in range(len(own))], axis=0))


def test_on_a_quadratic_bowl_the_smoothness_is_its_curvature(monkeypatch):
    net, curvature = trained(dense()), torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)

    def bowl(model, x, y):
        return sum(0.5 * curvature * p.flatten(1).square().sum(1) for p in model.parameters())

    monkeypatch.setattr(probes, "_losses", bowl)
    squares = sum(p.detach().flatten(1).square().sum(1) for p in net.parameters()).numpy()
    a, eta = curvature.numpy(), LENGTHS[:, None]
    ours = probes.landscape(net, *batch(net), LENGTHS)
    assert_close(ours.loss_here, 0.5 * a * squares)
    assert_close(ours.gradient_norm, a * np.sqrt(squares))
    assert_close(ours.loss, 0.5 * a * squares * (1 - eta * a) ** 2)
    assert_close(ours.gradient_difference, eta * a**2 * np.sqrt(squares))
    assert_close(ours.relative_predictiveness, LENGTHS.max() * a)
    assert_close(ours.smoothness, a)


def test_the_smoothness_of_a_stretched_bowl_is_that_along_the_gradient(monkeypatch):
    net = trained(dense())
    curvatures = [1.0 + i for i, _ in enumerate(net.parameters())]

    def bowl(model, x, y):
        halves = zip(curvatures, model.parameters(), strict=True)
        return sum(0.5 * a * p.flatten(1).square().sum(1) for a, p in halves)

    monkeypatch.setattr(probes, "_losses", bowl)
    squares = [p.detach().flatten(1).square().sum(1).numpy() for p in net.parameters()]
    along = [sum(a**power * s for a, s in zip(curvatures, squares, strict=True)) for power in (4, 2)]
    assert_close(probes.landscape(net, *batch(net), LENGTHS).smoothness, np.sqrt(along[0] / along[1]))


def norm_of_the_sum(network, x, y, lengths):
    _, g, _, there = walk(network, x, y, lengths)
    return [np.linalg.norm(one + g) for one in there]


def difference_of_the_norms(network, x, y, lengths):
    _, g, _, there = walk(network, x, y, lengths)
    return [abs(np.linalg.norm(one) - np.linalg.norm(g)) for one in there]


def norm_there(network, x, y, lengths):
    return [np.linalg.norm(one) for one in walk(network, x, y, lengths)[3]]


def sum_of_the_layers_norms(network, x, y, lengths):
    gradients = loss_and_gradients(network, x, y)[1]
    places = [loss_and_gradients(moved(network, [eta * g for g in gradients]), x, y)[1] for eta in lengths]
    return [sum((a - b).norm().item() for a, b in zip(place, gradients, strict=True)) for place in places]


def weights_alone(network, x, y, lengths):
    gradients = loss_and_gradients(network, x, y)[1]
    places = [loss_and_gradients(moved(network, [eta * g for g in gradients]), x, y)[1] for eta in lengths]
    wanted = [i for i, p in enumerate(network.parameters()) if p.dim() > 1]
    return [np.linalg.norm(vector([place[i] - gradients[i] for i in wanted])) for place in places]


def differences_along(direction, network, x, y, lengths):
    _, g, _, there = walk(network, x, y, lengths, direction)
    return [np.linalg.norm(one - g) for one in there]


def along_a_random_direction(network, x, y, lengths):
    generator = torch.Generator().manual_seed(0)
    gradients = loss_and_gradients(network, x, y)[1]
    noise = [torch.randn(g.shape, generator=generator, dtype=g.dtype) for g in gradients]
    scale = np.linalg.norm(vector(gradients)) / np.linalg.norm(vector(noise))
    return differences_along([scale * one for one in noise], network, x, y, lengths)


def along_the_unit_gradient(network, x, y, lengths):
    gradients = loss_and_gradients(network, x, y)[1]
    return differences_along([g / np.linalg.norm(vector(gradients)) for g in gradients], network, x, y, lengths)


def along_the_gradient_of_another_batch(network, x, y, lengths):
    other = loss_and_gradients(network, x.flip(1), y.roll(1))[1]
    return differences_along(other, network, x, y, lengths)


def uphill(network, x, y, lengths):
    return differences_along([-g for g in loss_and_gradients(network, x, y)[1]], network, x, y, lengths)


def along_the_step_before(network, x, y, lengths):
    """The direction of a gradient that is a step old."""
    old = loss_and_gradients(network, x, y)[1]
    return differences_along(loss_and_gradients(moved(network, old), x, y)[1], network, x, y, lengths)


def each_from_the_last(network, x, y, lengths):
    """A training of several steps instead of one walk with one direction."""
    g, differences = loss_and_gradients(network, x, y)[1], []
    current, slope = network, g
    for eta in lengths:
        current = moved(current, [eta * one for one in slope])
        slope = loss_and_gradients(current, x, y)[1]
        differences.append(np.linalg.norm(vector(slope) - vector(g)))
    return differences


def separate_trainings(network, x, y, lengths, *, steps=5):
    """Trainings, each at its own rate from the same start: losses and gradients some steps later."""
    places = []
    for rate in lengths:
        current = network
        for _ in range(steps):
            current = moved(current, [rate * g for g in loss_and_gradients(current, x, y)[1]])
        places.append(loss_and_gradients(current, x, y))
    return [loss for loss, _ in places], [vector(g) for _, g in places]


WRONG_WALKS = [
    norm_of_the_sum,
    difference_of_the_norms,
    norm_there,
    sum_of_the_layers_norms,
    weights_alone,
    along_a_random_direction,
    along_the_unit_gradient,
    along_the_gradient_of_another_batch,
    uphill,
    along_the_step_before,
    each_from_the_last,
]


@two_kinds
@pytest.mark.parametrize("wrong", WRONG_WALKS)
def test_other_ideas_of_the_gradients_predictiveness_give_other_numbers(build, wrong):
    net = trained(build())
    x, y = batch(net)
    theirs = np.transpose([wrong(network, x[r], y[r], LENGTHS) for r, network in enumerate(plain(net))])
    ours = probes.landscape(net, x, y, LENGTHS)
    assert_apart(ours.gradient_difference, theirs)
    assert_apart(ours.predictiveness, theirs.max(axis=0))


@some_kinds
def test_the_spread_over_separate_trainings_is_another_number(build):
    net = trained(build())
    x, y = batch(net)
    ours = probes.landscape(net, x, y, LENGTHS)
    trainings = [separate_trainings(network, x[r], y[r], LENGTHS) for r, network in enumerate(plain(net))]
    assert_apart(ours.loss_range, [max(losses) - min(losses) for losses, _ in trainings])
    spread = [max(np.linalg.norm(a - b) for a in gradients for b in gradients) for _, gradients in trainings]
    assert_apart(ours.predictiveness, spread)
    norms = [[np.linalg.norm(g) for g in gradients] for _, gradients in trainings]
    assert_apart(ours.predictiveness, [max(own) - min(own) for own in norms])
    # After one step at each rate they stand where the walk leads: the two differ in what comes next.
    after_one = [separate_trainings(network, x[r], y[r], LENGTHS, steps=1) for r, network in enumerate(plain(net))]
    assert_close(ours.loss, np.transpose([losses for losses, _ in after_one]))


@pytest.mark.parametrize(
    "lengths", [[0.1, 0.0], [-0.1], [np.nan], 0.1, np.ones((2, 2)), np.ones((2, 4)), np.ones((2, 3, 1)), []]
)
def test_lengths_that_are_none_are_refused(lengths):
    net = trained(dense())
    with pytest.raises(ValueError, match=r"lengths: expected positive numbers, shape \(K,\) or \(K, 3\), got"):
        probes.landscape(net, *batch(net), lengths)


# Internal covariate shift


def shifted(network, x, y, rate, updated, other=None):
    """Gradients of all weights before, and after the update of some parameters, which `updated` chooses for each."""
    layers = weight_layers(network)
    owner = [i for i, module in enumerate(network) for _ in module.parameters()]
    _, g = loss_and_gradients(network, x, y)
    names = [name for name, _ in network.named_parameters()]
    pairs = []
    for i in layers:
        at = names.index(f"{i}.weight")
        steps = [rate * one if updated(i, o, n) else 0 for o, n, one in zip(owner, names, g, strict=True)]
        _, after = loss_and_gradients(moved(network, steps), *(other or (x, y)))
        pairs.append((g[at].flatten().numpy(), after[at].flatten().numpy()))
    return pairs


def preceding(i, owner, name):
    return owner < i and (i, owner) not in ((1, 0), (2, 1))  # a norm of the inputs belongs to the first layer


def shift_by_hand(net, x, y, rates, updated=preceding, other=None):
    """Difference, relative difference and cosine, each (layers, R)."""
    found = []
    for r, network in enumerate(plain(net)):
        pairs = shifted(network, x[r], y[r], rates[r], updated, other and [part[r] for part in other])
        found.append(
            [
                [np.linalg.norm(a - b), np.linalg.norm(a - b) / np.linalg.norm(a), a @ b / np.sqrt(a @ a * (b @ b))]
                for a, b in pairs
            ]
        )
    return np.transpose(found)


@every_kind
@both_modes
def test_the_shift_is_what_an_update_of_the_preceding_layers_does_to_a_gradient(build, training):
    net = trained(build(), training)
    x, y = batch(net)
    ours = probes.covariate_shift(net, x, y, RATES)
    for one, theirs in zip(ours, shift_by_hand(net, x, y, RATES), strict=True):
        assert_close(one, theirs)
    np.testing.assert_array_equal(ours.difference[0], 0)
    np.testing.assert_array_equal(ours.relative[0], 0)
    assert_close(ours.cosine[0], np.ones(3))
    assert (ours.relative[1:] > 1e-3).all()  # far from nothing


def test_one_rate_for_all_and_one_for_each():
    net = trained(conv(norm="batch"))
    x, y = batch(net)
    one = probes.covariate_shift(net, x, y, 0.3)
    for rates in ([0.3] * 3, torch.full((3,), 0.3), np.full(3, 0.3)):
        for a, b in zip(one, probes.covariate_shift(net, x, y, rates), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)  # 0.3 in single precision
    mixed = probes.covariate_shift(net, x, y, [0.3, 0.0, 0.6])
    np.testing.assert_array_equal(mixed.difference[:, 0], one.difference[:, 0])
    np.testing.assert_array_equal(mixed.difference[:, 1], 0)
    assert (mixed.difference[1:, 2] > one.difference[1:, 2]).all()


WRONG_UPDATES = {
    "all layers": lambda i, owner, name: True,
    "the layer itself too": lambda i, owner, name: owner <= i,
    "all but the layer": lambda i, owner, name: owner != i,
    "following layers": lambda i, owner, name: owner > i,
    "weights alone": lambda i, owner, name: owner < i and name.endswith("weight"),
    "the layer before alone": lambda i, owner, name: i - 3 <= owner < i,
}


@two_kinds
@pytest.mark.parametrize("updated", WRONG_UPDATES.values(), ids=WRONG_UPDATES)
def test_updates_of_other_layers_are_another_shift(build, updated):
    net = trained(build())
    x, y = batch(net)
    ours = probes.covariate_shift(net, x, y, RATES * 3)
    wrong = shift_by_hand(net, x, y, RATES * 3, updated)
    assert_apart(ours.difference, wrong[0])
    assert_apart(ours.relative, wrong[1])


@pytest.mark.parametrize("build", [value for name, value in KINDS.items() if "norm" in name])
def test_the_parameters_of_the_norms_belong_to_the_layers_that_they_follow(build):
    net = trained(build())
    x, y = batch(net)
    norms = {i for i, module in enumerate(net.replica(0)) if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}
    ours = probes.covariate_shift(net, x, y, RATES * 3)
    without = shift_by_hand(net, x, y, RATES * 3, lambda i, owner, name: owner < i and owner not in norms)
    assert_apart(ours.difference, without[0])
    if net.layers[1].__class__ is BatchNorm:  # of the inputs: not updated for the first layer
        np.testing.assert_array_equal(ours.difference[0], 0)


@every_kind
def test_the_shift_to_a_new_batch_is_another_shift(build):
    net = trained(build())
    x, y = batch(net)
    wrong = shift_by_hand(net, x, y, RATES, other=batch(net, seed=1))
    ours = probes.covariate_shift(net, x, y, RATES)
    assert_apart(ours.difference, wrong[0])
    assert (wrong[0][0] > 0).all()


@every_kind
def test_the_difference_of_the_norms_is_another_shift(build):
    net = trained(build())
    x, y = batch(net)
    ours = probes.covariate_shift(net, x, y, RATES)
    wrong = []
    for r, network in enumerate(plain(net)):
        pairs = shifted(network, x[r], y[r], RATES[r], preceding)
        wrong.append([abs(np.linalg.norm(a) - np.linalg.norm(b)) for a, b in pairs])
    assert_apart(ours.difference, np.transpose(wrong))


def test_where_there_is_no_gradient_there_is_no_shift():
    net = trained(dense())
    with torch.no_grad():
        net.layers[-1].weight.zero_()  # nothing comes back through it
    shift = probes.covariate_shift(net, *batch(net), 0.1)
    np.testing.assert_array_equal(shift.difference[:3], 0)
    np.testing.assert_array_equal(shift.relative[:3], 0)


# Nothing is left behind


PROBES = {
    "activations": lambda net, x, y: probes.activations(net, x),
    "percentiles": lambda net, x, y: probes.percentiles(net, x),
    "layer_statistics": lambda net, x, y: probes.layer_statistics(net, x),
    "gradient_norms": probes.gradient_norms,
    "update_to_data": lambda net, x, y: probes.update_to_data(net, x, y, RATES),
    "jacobian_singular_values": lambda net, x, y: probes.jacobian_singular_values(net, x[:, 0]),
    "landscape": lambda net, x, y: probes.landscape(net, x, y, LENGTHS),
    "covariate_shift": lambda net, x, y: probes.covariate_shift(net, x, y, RATES),
}
every_probe = pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)


def traces(net):
    """All that a probe could leave: numbers, gradients, modes, hooks, and states of random generators."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return (
        {name: (value.data_ptr(), value.tolist()) for name, value in net.state_dict().items()},
        [(p.grad, p.requires_grad, p.grad_fn) for p in net.parameters()],
        [module.training for module in net.modules()],
        [len(getattr(module, hook)) for module in net.modules() for hook in hooks],
        bytes(net._generator.get_state().numpy()),
        bytes(torch.get_rng_state().numpy()),
    )


@some_kinds
@both_modes
@every_probe
def test_a_probe_leaves_the_network_as_it_was(build, training, probe):
    net = trained(build(dropout=0.5), training)
    x, y = batch(net)
    before, inputs, targets = traces(net), x.clone(), y.clone()
    probe(net, x, y)
    assert traces(net) == before
    assert torch.equal(x, inputs)
    assert torch.equal(y, targets)
    assert not x.requires_grad


class Fragile(nn.Module):
    """A tanh that raises when it is called as often as `left` says."""

    left = -1  # never

    def forward(self, z):
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("it broke")
        return torch.tanh(z)


CALLS = {
    "landscape": 2 * (1 + len(LENGTHS)),
    "covariate_shift": 2 * (1 + 3),
}  # two activations a pass; others: one pass


@pytest.mark.parametrize("build", [functools.partial(dense, depth=2, norm="batch"), KINDS["conv, batch norm"]])
@both_modes
@pytest.mark.parametrize("name", PROBES)
def test_a_probe_that_fails_in_between_leaves_the_network_as_it_was(build, training, name):
    for n in range(1, CALLS.get(name, 2) + 1):
        net = trained(build(activation=Fragile(), dropout=0.5), training)
        net.activation.left = n
        x, y = batch(net)
        before = traces(net)
        with pytest.raises(RuntimeError, match="it broke"):
            PROBES[name](net, x, y)
        assert traces(net) == before


@some_kinds
@both_modes
@every_probe
def test_a_probe_that_refuses_its_batch_leaves_the_network_as_it_was(build, training, probe):
    net = trained(build(), training)
    x, y = batch(net)
    before = traces(net)
    for wrong in (x[:2], x[..., :-1]):
        with pytest.raises(ValueError, match=r"x: expected shape \(3, B, "):
            probe(net, wrong, y)
        assert traces(net) == before


@some_kinds
@pytest.mark.parametrize("name", ["gradient_norms", "update_to_data", "landscape", "covariate_shift"])
def test_a_probe_that_finds_an_unknown_class_leaves_the_network_as_it_was(build, name):
    net = trained(build())
    x, y = batch(net)
    before = traces(net)
    with pytest.raises(ValueError, match="y: expected classes from 0 to 3, got 4 to 7"):
        PROBES[name](net, x, y + CLASSES)
    assert traces(net) == before


@two_kinds
@every_probe
def test_watching_changes_nothing_about_a_training(build, probe):
    rng = np.random.default_rng(0)
    net = build(dropout=0.2)
    x, y = rng.standard_normal((30, net.n_in)), rng.integers(CLASSES, size=30)
    split = Split(x[:20], y[:20], x[20:], y[20:])
    how = {"steps": 4, "batch_size": 8, "learning_rates": RATES, "evaluate": 2}
    alone = copy.deepcopy(net)
    expected = fit(alone, split, **how)
    seen = []
    watched = fit(net, split, watch=lambda model, step, x, y: seen.append(probe(model, x, y)), **how)
    assert len(seen) == 4
    assert traces(net)[1:] == traces(alone)[1:]
    for name, value in net.state_dict().items():
        assert torch.equal(value, alone.state_dict()[name])
    np.testing.assert_array_equal(watched.loss, expected.loss)
    np.testing.assert_array_equal(watched.accuracy["test"], expected.accuracy["test"])


def test_what_is_seen_before_a_step_is_what_the_step_does():
    """The losses of the walk begin with those of the training, and end where its step leads."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 6)), rng.integers(CLASSES, size=30)
    net, walks = dense(norm="batch").double(), []

    def watch(model, step, x, y):
        walks.append(probes.landscape(model, x, y, RATES[None]))

    history = fit(net, Split(x[:20], y[:20], x[20:], y[20:]), steps=4, batch_size=20, learning_rates=RATES, watch=watch)
    assert_close(np.stack([one.loss_here for one in walks]), history.loss)
    assert_close(np.stack([one.loss[0] for one in walks[:-1]]), history.loss[1:])  # the batch holds all examples


@pytest.mark.parametrize("name", ["landscape", "covariate_shift"])
def test_dropout_drops_the_same_along_the_way(name):
    net = trained(dense(dropout=0.5))
    x, y = batch(net)
    if name == "covariate_shift":
        shift = probes.covariate_shift(net, x, y, RATES)
        np.testing.assert_array_equal(shift.difference[0], 0)
    else:
        near = probes.landscape(net, x, y, [1e-9])  # no way at all: another mask would be a jump
        np.testing.assert_allclose(near.loss[0], near.loss_here, rtol=1e-6)
        assert (near.gradient_difference < 1e-6).all()


def test_parameters_that_are_not_learned_do_not_move():
    net = trained(dense(norm="batch"))
    frozen = [p for name, p in net.named_parameters() if p.dim() == 2 and "layers.2" in name]
    assert frozen
    for p in frozen:
        p.requires_grad_(False)
    x, y = batch(net)
    for probe in PROBES.values():
        probe(net, x, y)
    learned = [p for p in net.parameters() if p.requires_grad]
    losses = F.cross_entropy(net(x).transpose(1, 2), y, reduction="none").mean(1)
    gradients = torch.autograd.grad(losses.sum(), learned)
    squares = sum(g.flatten(1).square().sum(1) for g in gradients)
    assert_close(probes.landscape(net, x, y, LENGTHS).gradient_norm, squares.sqrt().numpy())


def test_a_network_in_single_precision_is_measured_in_double():
    net = dense(norm="batch")
    x, y = batch(net)
    values = [
        probes.percentiles(net, x),
        *probes.layer_statistics(net, x).values(),
        probes.gradient_norms(net, x, y),
        probes.update_to_data(net, x, y, 0.1),
        probes.jacobian_singular_values(net, x[:, 0]),
        *probes.landscape(net, x, y, LENGTHS),
        *probes.covariate_shift(net, x, y, 0.1),
    ]
    assert {value.dtype for value in values} == {np.dtype(np.float64)}
    double = copy.deepcopy(net).double()
    np.testing.assert_allclose(
        probes.landscape(net, x, y, LENGTHS).loss,
        probes.landscape(double, x.double(), y, LENGTHS).loss,
        rtol=1e-4,  # single precision, through norms
    )

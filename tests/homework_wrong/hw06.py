"""Homework 6, initialization."""

import numpy as np

from . import wrong


@wrong("moment-scores", "gain-scores", "depth-scores", "slope-scores")
def variance_for_second_moment(ours):
    def second_moment(q):
        z = np.linspace(-12, 12, 4001)
        density = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
        values = ours["activation"](np.sqrt(q) * z)
        return float(density @ values**2 - (density @ values) ** 2)

    return {"second_moment": second_moment}


@wrong("moment-scores", "gain-scores", "depth-scores", "slope-scores")
def four_nodes(ours):
    def second_moment(q):
        z, weights = np.polynomial.hermite_e.hermegauss(4)
        return float(weights @ ours["activation"](np.sqrt(q) * z) ** 2 / np.sqrt(2 * np.pi))

    return {"second_moment": second_moment}


@wrong("moment-scores", "gain-scores", "depth-scores", "slope-scores")
def random_numbers(ours):
    z = np.random.default_rng(0).normal(size=20000)
    return {"second_moment": lambda q: float(np.mean(ours["activation"](np.sqrt(q) * z) ** 2))}


@wrong("gain-scores", "slope-scores")
def gain_of_relu(ours):
    return {"gain": lambda q: 2**0.5}


@wrong("gain-scores", "slope-scores")
def gain_for_a_second_moment_of_one(ours):
    return {"gain": lambda q: ours["second_moment"](q) ** -0.5}


@wrong("derivative-scores", "backward-scores", "slope-scores")
def derivative_of_the_gate_forgotten(ours):
    def derivative(x):
        return ours["A"] / (1 + np.exp(-ours["B"] * x)) + ours["C"] * ours["D"] * np.cos(ours["D"] * x)

    return {"derivative": derivative}


@wrong("backward-scores")
def root_forgotten(ours):
    right = ours["backward_gain"]
    return {"backward_gain": lambda q: right(q) ** 2}


@wrong("depth-scores")
def start_left_out(ours):
    right = ours["moments"]
    return {"moments": lambda gain, q, depth: right(gain, q, depth)[1:]}


@wrong("depth-scores")
def gain_not_squared(ours):
    right = ours["moments"]
    return {"moments": lambda gain, q, depth: right(np.sqrt(gain), q, depth)}


@wrong("slope-scores")
def gain_adapted_on_the_way(ours):
    """With the gain of each q the map is the identity."""
    return {"slope_of_map": lambda q: 1.0}


@wrong("weights-scores")
def fan_out(ours):
    right = ours["initial_weights"]
    return {"initial_weights": lambda sizes, gain, seed: [w.T for w in right(sizes[::-1], gain, seed)][::-1]}


@wrong("weights-scores")
def bound_for_deviation(ours):
    def initial_weights(sizes, gain, seed):
        rng = np.random.default_rng(seed)
        return [rng.uniform(-gain, gain, (m, n)) / np.sqrt(n) for n, m in zip(sizes[:-1], sizes[1:], strict=True)]

    return {"initial_weights": initial_weights}


@wrong("measure-scores")
def measured_after_the_activation(ours):
    def measure(weights, X):
        found = []
        for w in weights:
            X = ours["activation"](X @ w.T)
            found.append(np.mean(X**2))
        return np.array(found)

    return {"measure": measure}


def measured(ours, how):
    """Mean squares that are no mean squares."""

    def measure(weights, X):
        found = []
        for w in weights:
            z = X @ w.T
            found.append(how(z))
            X = ours["activation"](z)
        return np.array(found)

    return {"measure": measure}


@wrong("measure-scores")
def sum_for_mean(ours):
    return measured(ours, lambda z: (z**2).sum(axis=1).mean())


@wrong("measure-scores")
def root_mean_square(ours):
    return measured(ours, lambda z: np.sqrt((z**2).mean()))


@wrong("measure-scores")
def variance_for_mean_square(ours):
    return measured(ours, np.var)


@wrong("measure-scores")
def weights_not_transposed(ours):
    right = ours["measure"]
    return {"measure": lambda weights, X: right([w.reshape(w.shape[::-1]).T for w in weights], X)}


@wrong("derivative-scores")
def derivative_by_differences(ours):
    def derivative(x):
        return (ours["activation"](x + 1e-6) - ours["activation"](x - 1e-6)) / 2e-6

    return {"derivative": derivative}


def backward_of(ours, scale, factor=lambda q: 1.0):
    def backward_gain(q):
        z = np.linspace(-12, 12, 8001)
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
        return float(factor(q) / np.sqrt(density @ ours["derivative"](scale(q) * z) ** 2))

    return {"backward_gain": backward_gain}


@wrong("backward-scores")
def second_moment_for_scale(ours):
    return backward_of(ours, lambda q: q)


@wrong("backward-scores")
def q_of_the_signal_in_the_gain_of_gradients(ours):
    return backward_of(ours, np.sqrt, np.sqrt)


@wrong("slope-scores")
def slope_not_divided_by_the_root(ours):
    right = ours["slope_of_map"]
    return {"slope_of_map": lambda q: right(q) * np.sqrt(q)}


@wrong("depth-scores")
def every_layer_from_the_start(ours):
    def moments(gain, q, depth):
        return np.array([q] + [gain**2 * ours["second_moment"](q)] * depth)

    return {"moments": moments}


def initial(ours, draw):
    """Weights of the right variance that `draw` makes of a seed, for each layer."""

    def initial_weights(sizes, gain, seed):
        one, pairs = draw(seed), zip(sizes[1:], sizes[:-1], strict=True)
        return [gain / np.sqrt(into) * one((out, into)) for out, into in pairs]

    return {"initial_weights": initial_weights}


@wrong("weights-scores")
def seed_ignored(ours):
    unseeded = np.random.default_rng()
    return initial(ours, lambda seed: lambda shape: unseeded.normal(size=shape))


@wrong("weights-scores")
def global_generator(ours):
    def draw(seed):
        state = np.random.RandomState(seed)  # what np.random.seed(seed) makes of the global one
        return lambda shape: state.normal(size=shape)

    return initial(ours, draw)


@wrong("weights-scores")
def uniform_of_the_right_variance(ours):
    def draw(seed):
        rng = np.random.default_rng(seed)
        return lambda shape: rng.uniform(-(3**0.5), 3**0.5, shape)

    return initial(ours, draw)


@wrong("weights-scores")
def every_layer_from_the_same_generator_anew(ours):
    return initial(ours, lambda seed: lambda shape: np.random.default_rng(seed).normal(size=shape))

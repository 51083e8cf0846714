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

"""The faults that homework 4 draws from: which lines count, what is shown, and that each of them costs points."""

import numpy as np
import pytest
import release
from homework_wrong import VARIANTS, assignment, lost

from homework.grading.reference import run_reference

pytestmark = pytest.mark.timeout(300)  # batch norms are checked with every line mended

# For lines that count: what to write in their place, so that the class is right.
DX = "dy = dy - (self.columns(dbeta, dy) + self.x_hat * self.columns(dgamma, dy)) / m"
MENDS = {
    "mean_path_missing": {
        36: "dbeta = dy.sum(axis=axes); dy = dy - self.from_batch * self.columns(dbeta, dy) / m",
        40: "part = self.columns(dbeta, dy) + self.x_hat * self.columns(dgamma, dy)",
        41: DX,
    },
    "variance_path_missing": {
        35: "dgamma = (dy * self.x_hat).sum(axis=axes); "
        "dy = dy - self.from_batch * self.x_hat * self.columns(dgamma, dy) / m",
        40: DX,
    },
    "gamma_missing_in_dx": {41: "return (self.scale_and_shift(dy)[0] * self.inv_std * dy).astype(self.dtype)"},
    "gamma_gradient_with_x": {15: "self.x = (x - mean) / np.sqrt(var + self.eps)", 39: "self.grad_gamma = dgamma"},
    "beta_gradient_averaged": {38: "self.grad_gamma, self.grad_beta = dgamma, dbeta"},
    "examples_counted_for_values": {33: "m = dy.size // self.num_features", 41: f"m = dy.size / dbeta.size; {DX}"},
    "biased_running_variance": {
        11: "m = x.size / mean.size; self.update(x, mean, var * m / (m - 1))",
        21: "self.num_batches_tracked += 1; m = x.size / mean.size; var = var * m / (m - 1)",
        26: "m = x.size / mean.size; self.running_var = (1 - p) * self.running_var + p * (var * m / (m - 1)).ravel()",
    },
    "momentum_the_wrong_way": {
        22: "p = self.momentum if self.momentum is None else 1 - self.momentum",
        23: "p = p if p is None else 1 - p\n        if p is None:",
        24: "p = 1 - 1 / self.num_batches_tracked\n        else:\n            p = 1 - p",
        25: "p = p if self.momentum is None else 1 - p; m = x.size // self.num_features",
        26: "p = p if self.momentum is None else 1 - p; unbiased = var * m / (m - 1)",
    },
    "deviation_averaged": {
        28: "mixed = np.sqrt((1 - p) * self.running_var + p * deviation**2)",
        29: "self.running_var = (1 - p) * self.running_var + p * deviation**2",
    },
    "correction_by_examples": {
        25: "m = x.size // self.num_features",
        26: "m = x.size // self.num_features; unbiased = var * m / (m - 1)",
    },
    "momentum_none_as_default": {
        22: "p = 1 / self.num_batches_tracked if self.momentum is None else self.momentum",
        24: "p = 1 / self.num_batches_tracked",
    },
    "batch_formula_in_eval": {40: "dy = dy - self.from_batch * (self.columns(dbeta, dy) + part) / m"},
    "unbiased_normalization": {
        16: "k = 1 - self.from_batch * self.num_features / x.size; self.inv_std = 1 / np.sqrt(var * k + self.eps)"
    },
    "eps_added_to_deviation": {16: "self.inv_std = 1 / np.sqrt(var + self.eps)"},
    "beta_forgotten_in_eval": {
        18: "if False:",
        19: "    return (gamma * self.x_hat + beta).astype(self.dtype)",
    },
}
# Next to a place where something is missing, or of a change that takes two lines.
BESIDES = {
    "mean_path_missing": {37, 42},
    "variance_path_missing": {36, 39, 41},
    "gamma_missing_in_dx": {30, 31, 40},
    "biased_running_variance": {20, 24, 25},
    "momentum_the_wrong_way": {27, 28},
    "deviation_averaged": {26},
    "batch_formula_in_eval": {38, 39},
    "unbiased_normalization": {9},
    "beta_forgotten_in_eval": {20},
}


@pytest.mark.parametrize("fault", release.hidden("hw04").FAULTS)
def test_the_lines_that_count_are_those_that_mend(fault):
    broken, space = release.hidden("hw04"), run_reference(assignment("hw04", VARIANTS[0]).cells)
    text = broken.shown(fault, {}, "Tried").split("\n")
    assert space["is_right"](made(text, space)) is False
    for line, mend in MENDS[fault].items():
        blanks = " " * (len(text[line - 1]) - len(text[line - 1].lstrip()))
        mended = [*text[: line - 1], blanks + mend.lstrip(), *text[line:]]
        assert space["is_right"](made(mended, space)) is True, line
    assert set(broken.LINES[fault]) == set(MENDS[fault]) | BESIDES.get(fault, set())
    assert len(set(broken.LINES[fault])) == len(broken.LINES[fault])
    compare = broken.answered("A", fault)
    for line in range(1, len(text) + 1):
        told = compare({"A": {"line": line, "fault": broken.FAULTS[fault]}}, None, {})
        assert (told is None) == (line in broken.LINES[fault])
    assert compare({"A": {"line": broken.LINES[fault][0], "fault": "another"}}, None, {})


def made(lines, space):
    space = dict(space)
    exec("\n".join(lines), space)
    return space["Tried"]


def test_broken_norms_are_shown_without_hints():
    broken = release.hidden("hw04")
    for name in broken.FAULTS:
        for letter in "ABCD":
            text = broken.shown(name, broken.draw("2026")["names"][letter], "Norm")
            assert text.count("\n") == broken._class(name).count("\n")
            assert '"""' not in text


@pytest.mark.parametrize("fault", release.hidden("hw04").FAULTS)
def test_every_fault_that_can_be_drawn_costs_points(fault):
    space = run_reference(assignment("hw04", VARIANTS[0]).cells)
    exec(release.hidden("hw04").shown(fault, {}, "Tried"), space)
    found = lost("hw04", VARIANTS[0], lambda ours: {"Base": space["Base"], "mend_a": lambda: space["Tried"]})
    assert "mended-a" in found
    assert "'derived from Base'" not in found["mended-a"]
    assert space["is_right"](space["Tried"]) is False


def test_no_drawn_layer_is_larger_than_its_padded_side():
    """Else -1/2 is rounded to 0 by int and to -1 by //, and the points depend on the grader's secret."""
    windows = 0
    for variant in VARIANTS:
        (check,) = [check for check in assignment("hw04", variant).checks if check.id == "shapes-scores"]
        for secret in range(1000):
            for case in check.cases(np.random.default_rng(secret)):
                sides = case["shape"][2:]
                for kind, *sizes in case["layers"]:
                    if kind in ("conv", "pool"):
                        k, t, p = sizes[1:] if kind == "conv" else (sizes[0], sizes[0], 0)
                        assert all(k <= s + 2 * p for s in sides), (variant, secret, case)
                        new = [(s + 2 * p - k) // t + 1 for s in sides]
                        assert new == [int((s + 2 * p - k) / t) + 1 for s in sides]
                        sides, windows = new, windows + 1
    assert windows > 30_000


def test_the_feedback_about_a_table_names_the_layer_and_the_column():
    by_layer, case = release.hidden("hw04").by_layer, {"layers": [("relu",), ("pool", 2)]}
    want = [((2, 3, 9, 8), 0), ((2, 3, 4, 4), 0)]
    assert by_layer(want, want, case) is None
    assert by_layer([want[0], ((2, 3, 5, 4), 0)], want, case).startswith("layer 2, pool: H is off")
    assert by_layer([((2, 3, 9, 8), 1), want[1]], want, case).startswith("layer 1, relu: parameters is off")
    assert by_layer(want[:1], want, case) == "the result: expected 2 values, got 1"
    assert by_layer([want[0], (2, 3, 4, 4, 0)], want, case) == "layer 2, pool: the row: expected 2 values, got 5"

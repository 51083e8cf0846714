"""The faults that homework 4 draws from: which lines count, what is shown, and that each of them costs points."""

import pytest
import release
from homework_wrong import VARIANTS, assignment, lost

from homework.grading.reference import run_reference

pytestmark = pytest.mark.timeout(300)  # batch norms are checked with every line mended

# For lines that count: what to write in their place, so that the class is right.
DX = "dy = dy - self.columns(dbeta, dy) / m - self.x_hat * self.columns(dgamma, dy) / m"
MENDS = {
    "mean_path_missing": {31: DX},
    "variance_path_missing": {31: DX},
    "gamma_missing_in_dx": {31: "return (self.scale_and_shift(dy)[0] * self.inv_std * dy).astype(self.dtype)"},
    "gamma_gradient_with_x": {
        17: "self.x = (x - mean) / np.sqrt(var + self.eps)",
        30: "self.grad_gamma, self.grad_beta = dgamma, dbeta",
    },
    "beta_gradient_averaged": {29: "self.grad_gamma, self.grad_beta = dgamma, dbeta"},
    "examples_counted_for_values": {
        24: "axes, m = (0, *range(2, dy.ndim)), dy.size // self.num_features",
        31: f"m = dbeta.size and dy.size / dbeta.size; {DX}",
    },
    "biased_running_variance": {
        13: "m = x.size / mean.size; self.running_var = (1 - p) * self.running_var + p * (var * m / (m - 1)).ravel()"
    },
    "momentum_the_wrong_way": {
        11: "p = 1 - 1 / self.num_batches_tracked if self.momentum is None else 1 - self.momentum"
    },
    "deviation_averaged": {14: "self.running_var = (1 - p) * self.running_var + p * deviation**2"},
    "correction_by_examples": {
        7: "axes, m = (0, *range(2, x.ndim)), x.size // self.num_features",
        12: "m = x.size // self.num_features; unbiased = var * m / (m - 1)",
    },
    "momentum_none_as_default": {11: "p = 1 / self.num_batches_tracked if self.momentum is None else self.momentum"},
    "batch_formula_in_eval": {
        30: "dy = dy - self.from_batch * (self.columns(dbeta, dy) / m + self.x_hat * self.columns(dgamma, dy) / m)"
    },
    "unbiased_normalization": {
        17: "k = 1 - self.from_batch * self.num_features / x.size; self.inv_std = 1 / np.sqrt(var * k + self.eps)"
    },
    "eps_added_to_deviation": {18: "self.inv_std = 1 / np.sqrt(var + self.eps)"},
    "beta_forgotten_in_eval": {
        20: "if False:",
        21: "    return (gamma * self.x_hat + beta).astype(self.dtype)",
    },
}
# Next to a place where something is missing, or of a change that takes two lines.
BESIDES = {
    "mean_path_missing": {30, 32},
    "variance_path_missing": {30, 32},
    "gamma_missing_in_dx": {22, 23, 30},
    "biased_running_variance": {11, 12},
    "momentum_the_wrong_way": {13, 14},
    "deviation_averaged": {12},
    "batch_formula_in_eval": {29},
    "unbiased_normalization": {8},
    "beta_forgotten_in_eval": {22},
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

"""The checks of parity.py find what is wrong with each batch norm in mutants, and nothing where nothing is."""

from importlib import import_module
from pathlib import Path

import pytest
from parity import CHECKS, failures

from utils.normalization import BatchNorm

# Which check must find it; others may too.
CAUGHT_BY = {
    "average_counts_late": "momentum-none",
    "batch_axis_missing": "image-axes",
    "batch_formula_in_eval": "eval-gradients",
    "batches_counted_if_needed": "num-batches-tracked",
    "beta_forgotten_in_eval": "eval-output",
    "beta_gradient_averaged": "dbeta",
    "biased_running_variance": "running-var",
    "correction_by_examples": "image-axes",
    "deviation_averaged": "running-var",
    "eps_added_to_deviation": "eps-placement",
    "eps_left_out_of_backward": "eps-placement",
    "eval_updates_statistics": "eval-leaves-state-alone",
    "eval_without_effect": "train-flag",
    "examples_counted_for_values": "image-axes",
    "float64_for_float32": "dtypes",
    "gamma_gradient_with_x": "dgamma",
    "gamma_gradient_wrong_axes": "image-axes",
    "gamma_missing_in_dx": "dx",
    "gradient_mode_for_training_mode": "train-flag",
    "gradients_accumulated": "several-steps",
    "graph_kept": "deepcopy",
    "infinite_mean_becomes_nan": "bad-input",
    "mean_path_missing": "dx",
    "momentum_none_as_default": "momentum-none",
    "momentum_the_wrong_way": "momentum-convention",
    "nan_skipped": "bad-input",
    "nan_skipped_in_backward": "bad-gradient",
    "nan_skipped_in_running_statistics": "bad-input",
    "nan_zero_in_gradient": "bad-gradient",
    "nan_zero_on_input": "bad-input",
    "nan_zero_on_output": "bad-parameters",
    "no_statistics_no_eval": "no-tracking",
    "one_pass_variance": "large-mean",
    "one_value_let_through": "one-value-refused",
    "per_pixel_statistics": "image-axes",
    "running_statistics_not_in_state_dict": "state-dict-to-torch",
    "running_variance_from_zero": "running-var",
    "single_image_refused": "one-image",
    "state_shared_with_caller": "state-dict-from-torch",
    "statistics_without_gradient": "dx",
    "sums_in_half_precision": "float16",
    "sums_only_if_affine": "no-affine",
    "unbiased_normalization": "output",
    "variance_path_missing": "dx",
    "x_changed_in_place": "inputs-untouched",
}


def mutant(name):
    return import_module(f"mutants.{name}").BatchNorm


def test_every_mutant_is_in_the_table():
    files = {path.stem for path in (Path(__file__).parent / "mutants").glob("*.py")}
    assert files - {"__init__", "base", "correct"} == set(CAUGHT_BY)
    assert set(CAUGHT_BY.values()) <= set(CHECKS)


@pytest.mark.parametrize("name", CAUGHT_BY)
def test_mutant_is_caught(name):
    found = failures(mutant(name))
    print(f"{name}: {', '.join(found) or 'passes everything'}")
    assert CAUGHT_BY[name] in found, f"{name} is found by {list(found) or 'nothing'}"


@pytest.mark.parametrize("name", [name for name in CAUGHT_BY if CAUGHT_BY[name].startswith("bad-")])
def test_finite_numbers_do_not_show_what_hides_divergence(name):
    assert {check.split("-")[0] for check in failures(mutant(name))} == {"bad"}


@pytest.mark.parametrize("make", [BatchNorm, mutant("correct")], ids=["ours", "written plainly"])
def test_correct_ones_pass(make):
    assert failures(make) == {}


@pytest.mark.timeout(180)
def test_every_check_finds_something():
    assert set().union(*(failures(mutant(name)) for name in CAUGHT_BY)) == set(CHECKS)

"""The checks of family_parity.py find what is wrong with every mutant in family_mutants, and nothing in ours."""

from importlib import import_module
from pathlib import Path

import pytest
from family_parity import CHECKS, failures

from utils import activation_norms, normalization, weight_norms

OURS = {
    "axes": (normalization.normalize_forward, normalization.normalize_backward),
    "group": (activation_norms.group_norm_forward, activation_norms.group_norm_backward),
    "rms": (activation_norms.rms_norm_forward, activation_norms.rms_norm_backward),
    "renorm": activation_norms.BatchRenorm,
    "weight": (weight_norms.weight_norm_forward, weight_norms.weight_norm_backward),
    "standardization": (weight_norms.weight_standardization_forward, weight_norms.weight_standardization_backward),
    "spectral": weight_norms.SpectralNorm,
    "penalty": weight_norms.spectral_norm_penalty,
}

# Which check must find it; others may too. The first word of both is the family.
CAUGHT_BY = {
    "axes_batch_averaged_too": "axes-instance-images",
    "axes_batch_kept_apart": "axes-batch-images",
    "axes_deviation_unbiased": "axes-layer-rows",
    "axes_eps_added_to_deviation": "axes-eps",
    "axes_float64_for_float32": "axes-single",
    "axes_gamma_after_the_averages": "axes-layer-rows",
    "axes_last_only": "axes-layer-images",
    "axes_mean_path_missing": "axes-batch-rows",
    "axes_nan_skipped": "axes-bad-numbers",
    "axes_nan_skipped_in_backward": "axes-bad-numbers",
    "axes_nan_zero_on_input": "axes-bad-numbers",
    "axes_nan_zero_on_output": "axes-bad-numbers",
    "group_beta_gradient_averaged": "group-dbeta",
    "group_channels_interleaved": "group-between",
    "group_count_for_size": "group-between",
    "group_each_channel_is_one": "group-each-channel",
    "group_eps_added_to_deviation": "group-eps",
    "group_float64_for_float32": "group-single",
    "group_gamma_after_the_averages": "group-dx",
    "group_gamma_gradient_with_x": "group-dgamma",
    "group_gamma_per_group": "group-output",
    "group_mean_path_missing": "group-dx",
    "group_nan_skipped": "group-bad-numbers",
    "group_nan_skipped_in_backward": "group-bad-numbers",
    "group_nan_zero_on_input": "group-bad-numbers",
    "group_nan_zero_on_output": "group-bad-numbers",
    "group_one_is_every_channel": "group-one",
    "group_ones_for_no_gamma": "group-no-affine",
    "group_statistics_of_the_batch": "group-one",
    "group_statistics_per_pixel": "group-output",
    "group_variance_unbiased": "group-output",
    "penalty_float64_for_float32": "penalty-single",
    "penalty_frobenius": "penalty-gradient",
    "penalty_half_in_value_only": "penalty-gradient",
    "penalty_not_squared": "penalty-value",
    "penalty_of_all_singular_values": "penalty-value",
    "penalty_of_kernels": "penalty-conv",
    "penalty_sigma_missing_in_gradient": "penalty-gradient",
    "penalty_without_half": "penalty-gradient",
    "renorm_batch_statistics_in_eval": "renorm-evaluation",
    "renorm_beta_gradient_scaled": "renorm-dbeta",
    "renorm_biased_running_variance": "renorm-running-statistics",
    "renorm_corrected_by_examples": "renorm-images",
    "renorm_corrected_once": "renorm-several-steps",
    "renorm_correction_in_eval": "renorm-evaluation",
    "renorm_d_divided_by_batch_deviation": "renorm-output",
    "renorm_d_limited_before_division": "renorm-clips",
    "renorm_d_limited_from_above_only": "renorm-clips",
    "renorm_d_not_divided": "renorm-output",
    "renorm_d_of_wrong_sign": "renorm-as-evaluation",
    "renorm_eps_left_out_of_running": "renorm-eps",
    "renorm_float64_for_float32": "renorm-single",
    "renorm_gamma_gradient_with_x_hat": "renorm-dgamma",
    "renorm_gamma_missing_in_dx": "renorm-dx",
    "renorm_gradient_through_correction": "renorm-dx",
    "renorm_momentum_none_as_default": "renorm-momentum-none",
    "renorm_nan_skipped": "renorm-bad-numbers",
    "renorm_nan_skipped_in_backward": "renorm-bad-numbers",
    "renorm_nan_skipped_in_limits": "renorm-bad-numbers",
    "renorm_nan_skipped_in_running_statistics": "renorm-bad-numbers",
    "renorm_nan_zero_on_input": "renorm-bad-numbers",
    "renorm_nan_zero_on_output": "renorm-bad-numbers",
    "renorm_not_clipped": "renorm-as-batch-norm",
    "renorm_only_affine": "renorm-no-affine",
    "renorm_r_inverted": "renorm-output",
    "renorm_r_limited_from_above_only": "renorm-clips",
    "renorm_r_missing_in_dx": "renorm-dx",
    "renorm_r_of_variances": "renorm-output",
    "renorm_statistics_updated_first": "renorm-output",
    "rms_eps_added_to_rms": "rms-eps",
    "rms_eps_as_floor": "rms-eps",
    "rms_float64_for_float32": "rms-single",
    "rms_gamma_after_the_average": "rms-dx",
    "rms_gamma_gradient_of_first_axis": "rms-sentences",
    "rms_gamma_gradient_with_x": "rms-dgamma",
    "rms_gamma_missing_in_dx": "rms-dx",
    "rms_gradient_of_layer_norm": "rms-dx",
    "rms_last_axis_only": "rms-several-axes",
    "rms_mean_subtracted": "rms-output",
    "rms_nan_skipped": "rms-bad-numbers",
    "rms_nan_skipped_in_backward": "rms-bad-numbers",
    "rms_nan_zero_on_input": "rms-bad-numbers",
    "rms_nan_zero_on_output": "rms-bad-numbers",
    "rms_sum_for_mean": "rms-output",
    "rms_taken_for_constant": "rms-dx",
    "rms_x_for_x_hat_in_dx": "rms-no-gamma",
    "spectral_exact_in_training": "spectral-value",
    "spectral_float64_for_float32": "spectral-single",
    "spectral_frobenius": "spectral-converges",
    "spectral_gradient_through_vectors": "spectral-gradient",
    "spectral_gradient_with_weight": "spectral-gradient",
    "spectral_iterates_in_eval": "spectral-evaluation",
    "spectral_kernel_last": "spectral-converges",
    "spectral_nan_skipped_in_backward": "spectral-bad-numbers",
    "spectral_nan_zero_on_input": "spectral-bad-numbers",
    "spectral_never_converges": "spectral-converges",
    "spectral_only_one_iteration": "spectral-several-iterations",
    "spectral_row_lengths": "spectral-value",
    "spectral_sigma_squared": "spectral-value",
    "spectral_sigma_taken_for_constant": "spectral-gradient",
    "spectral_v_before_u": "spectral-vectors",
    "spectral_vectors_forgotten": "spectral-vectors",
    "spectral_vectors_kept_apart": "spectral-vectors",
    "standardization_detached": "standardization-gradient",
    "standardization_deviation_constant": "standardization-gradient",
    "standardization_eps_added_to_deviation": "standardization-eps",
    "standardization_float64_for_float32": "standardization-single",
    "standardization_kernels_apart": "standardization-conv",
    "standardization_mean_path_missing": "standardization-gradient",
    "standardization_nan_skipped_in_backward": "standardization-bad-numbers",
    "standardization_nan_zero_on_input": "standardization-bad-numbers",
    "standardization_of_inputs": "standardization-value",
    "standardization_of_whole_matrix": "standardization-value",
    "standardization_unbiased": "standardization-value",
    "standardization_without_mean": "standardization-value",
    "weight_dg_with_v": "weight-dg",
    "weight_dg_with_w": "weight-dg",
    "weight_dv_not_projected": "weight-dv-perpendicular",
    "weight_dv_projected_on_v": "weight-dv-perpendicular",
    "weight_float64_for_float32": "weight-single",
    "weight_g_missing_in_dv": "weight-dv",
    "weight_kernels_apart": "weight-conv",
    "weight_length_always_positive": "weight-value",
    "weight_length_as_exponent": "weight-value",
    "weight_length_missing_in_dv": "weight-dv",
    "weight_length_of_inputs": "weight-value",
    "weight_nan_skipped_in_backward": "weight-bad-numbers",
    "weight_nan_zero_on_input": "weight-bad-numbers",
    "weight_one_length_for_all": "weight-value",
}


def family_of(name):
    return name.split("_")[0]


def mutant(name):
    return import_module(f"family_mutants.{name}").norm


def test_every_mutant_is_in_the_table():
    files = {path.stem for path in (Path(__file__).parent / "family_mutants").glob("*.py")} - {"__init__"}
    assert {name for name in files if family_of(name) != "correct"} == set(CAUGHT_BY)
    assert {name for name in files if family_of(name) == "correct"} == {f"correct_{family}" for family in OURS}
    assert all(found_by in CHECKS[family_of(name)] for name, found_by in CAUGHT_BY.items())


@pytest.mark.parametrize("name", CAUGHT_BY)
def test_mutant_is_caught(name):
    found = failures(family_of(name), mutant(name))
    print(f"{name}: {', '.join(found) or 'passes everything'}")
    assert CAUGHT_BY[name] in found, f"{name} is found by {list(found) or 'nothing'}"


@pytest.mark.parametrize("name", [name for name in CAUGHT_BY if CAUGHT_BY[name].endswith("bad-numbers")])
def test_finite_numbers_do_not_show_what_hides_divergence(name):
    assert list(failures(family_of(name), mutant(name))) == [CAUGHT_BY[name]]


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, checks in CHECKS.items() for name in checks])
def test_check(family, name):
    CHECKS[family][name](OURS[family])


@pytest.mark.parametrize("family", [family for family in OURS if f"{family}-bad-numbers" in CHECKS[family]])
def test_divergence_goes_through_in_silence(family):
    CHECKS[family][f"{family}-bad-numbers"].__wrapped__(OURS[family])  # without the check's own np.errstate


@pytest.mark.parametrize("family", OURS)
def test_written_plainly_they_pass(family):
    assert failures(family, mutant(f"correct_{family}")) == {}


@pytest.mark.parametrize("family", OURS)
def test_every_check_finds_something(family):
    names = [name for name in CAUGHT_BY if family_of(name) == family]
    assert set().union(*(failures(family, mutant(name)) for name in names)) == set(CHECKS[family])

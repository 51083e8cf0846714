"""Every rule for notebooks can turn red: for each there is a notebook that breaks it, and no other rule."""

import shutil
from pathlib import Path

import pytest
from notebook_rules import BYTES, RULES, read, violations

from utils import evidence

BAD = Path(__file__).parent / "bad_notebooks"

BREAKS = {
    # the file
    "duplicate_ids": "valid-format",
    "old_format": "valid-format",
    "unknown_field": "valid-format",
    "random_id": "readable-ids",
    "language_version": "one-kernelspec",
    "other_kernelspec": "one-kernelspec",
    "timestamps": "no-timestamps",
    # the parts
    "no_title_first": "one-title",
    "two_titles": "one-title",
    "no_goals": "goals",
    "too_few_goals": "goals",
    "no_minutes": "time-and-prior",
    "no_prior_knowledge": "time-and-prior",
    "closing_out_of_order": "section-order",
    "section_number_skipped": "section-order",
    "recap_too_short": "recap-mirrors-goals",
    "setup_too_long": "setup-cell",
    "setup_without_configure": "setup-cell",
    "answer_before_code": "predict-and-answer",
    "answer_not_folded": "predict-and-answer",
    "no_prediction": "predict-and-answer",
    "no_change_this": "change-this",
    "core_and_optional": "core-or-optional",
    "untagged": "core-or-optional",
    # the text
    "prose_too_long": "short-prose",
    "measured_number": "no-measured-numbers",
    "measured_percentage": "no-measured-numbers",
    "code_after_code": "text-between-code",
    "todo": "nothing-to-do",
    # the code
    "code_too_long": "short-code",
    "magic": "no-magics",
    "shell_command": "no-magics",
    "edits_path": "no-path-edits",
    "global_draw": "no-global-seed",
    "seeds_numpy": "no-global-seed",
    "seeds_torch": "no-global-seed",
    "address_in_code": "no-network",
    "downloads": "no-network",
    "network_call": "no-network",
    "absolute_path": "no-absolute-paths",
    "file_address": "no-absolute-paths",
    "path_in_output": "no-absolute-paths",
    "assertion": "no-assert",
    "hidden_warnings": "no-hidden-warnings",
    "bare_figure": "figures-are-shown",
    "plt_show": "figures-are-shown",
    "output_widget": "no-output-widgets",
    "explorer_compared": "explorers-are-not-compared",
    # the outputs
    "not_executed": "executed-in-order",
    "out_of_order": "executed-in-order",
    "output_of_unrun_cell": "executed-in-order",
    "stored_error": "no-stored-errors",
    "stderr": "no-stderr",
    "alt_not_the_text": "alt-text",
    "no_alt_text": "alt-text",
    "memory_address": "no-addresses",
    # the claims
    "claim_unknown": "claims-are-known",
    "claim_with_other_verdict": "claims-are-stored",
    "claim_without_card": "claims-are-stored",
    "claim_not_judged": "claims-are-judged",
    # nothing that can be seen without a run: tests/test_gates_execution.py
    "good": None,
    "good_despite_differences": None,
    "changed_verdict": None,
    "dies": None,
    "fails": None,
    "hangs": None,
    "missing_output": None,
    "stale_alt_text": None,
    "stale_output": None,
    "trailing_value": None,
}

# These are run by tests/test_gates_execution.py and leave out runtime.configure(), which loads PyTorch: it takes longer
# than all the rest of them.
WITHOUT_CONFIGURE = {
    "changed_verdict",
    "fails",
    "good_despite_differences",
    "missing_output",
    "network_call",
    "output_of_unrun_cell",
    "stale_alt_text",
    "stale_output",
    "trailing_value",
}


def rules_broken(path):
    """The rules that a notebook breaks when it takes the place of the good one, to whose name the claim belongs."""
    place = path.with_name("good.ipynb")
    found = violations(read(path), place, evidence.claims(BAD / "claims.toml"))
    return {violation.split(":")[0] for violation in found}


def test_every_bad_notebook_is_in_the_table():
    assert {path.stem for path in BAD.glob("*.ipynb")} == set(BREAKS)


@pytest.mark.parametrize("stem", BREAKS)
def test_a_notebook_breaks_its_rule_and_no_other(stem):
    expected = {BREAKS[stem], "setup-cell" if stem in WITHOUT_CONFIGURE else None} - {None}
    assert rules_broken(BAD / f"{stem}.ipynb") == expected


def test_a_file_that_is_too_large_is_refused(tmp_path):
    large = tmp_path / "good.ipynb"
    shutil.copy(BAD / "good.ipynb", large)
    with large.open("a") as file:
        file.write(" " * BYTES)
    assert rules_broken(large) == {"small-file"}


def test_every_rule_can_turn_red():
    assert set(RULES) - set(BREAKS.values()) == {"small-file"}, "its notebook would be too large to be kept"


def test_a_violation_says_which_rule_what_and_where():
    claims = evidence.claims(BAD / "claims.toml")
    (violation,) = violations(read(BAD / "magic.ipynb"), BAD / "good.ipynb", claims)
    assert violation == "no-magics: '%pip list', cell one-mean"


def test_a_claim_of_another_notebook_is_noticed():
    claims = evidence.claims(BAD / "claims.toml")
    found = violations(read(BAD / "good.ipynb"), BAD / "fails.ipynb", claims)
    assert found == ["claims-are-known: claim middle-is-large belongs to notebook good, cell one-claim"]

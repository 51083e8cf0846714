"""What `make evidence` can be asked, what it runs again, and what a signature saves."""

import sys
from collections import Counter

import evidence as tool
import pytest
from evidence_fixtures import Place, unit, write_claims

from utils.evidence.labs import open_lab


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def alone(place, monkeypatch, capsys):
    """Run the tool in this process, without workers; give what it printed and the sentence with which it ended."""

    def here(jobs, *, workers):
        yield from ((key, job(), None) for key, job in jobs.items())

    def run(*more):
        monkeypatch.setattr(tool, "run_here", here)
        monkeypatch.setattr(sys, "argv", ["evidence.py", *place.arguments(*more)])
        ended = None
        try:
            tool.main()
        except SystemExit as end:
            ended = end.code
        out, err = capsys.readouterr()
        return out, err if isinstance(ended, int) else ended

    return run


def test_a_cluster_needs_its_package(place, alone, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    _, sentence = alone("--scheduler", "tcp://127.0.0.1:9")
    assert sentence == "evidence: expected the package distributed, found none: pip install distributed"


def test_without_a_choice_every_column_gets_its_seeds(place):
    path = place.folder / "labs" / "01_small.ipynb"
    seeds = Counter()
    for each in tool.units_of(path, open_lab(path)):
        assert each.n == 16
        seeds[each.dataset, each.budget] += each.n
    assert seeds == {("digits", 1): 64, ("digits", 4): 64, ("mnist_5k", 1): 32, ("mnist_5k", 4): 16}


def test_an_experiment_may_have_fewer_seeds_and_an_identity_has_one(place):
    made = open_lab(place.lab(fewer=("examples=32,", "examples=32, seeds=20,"))).experiments["trained"]
    assert [tool.seeds_for(made, "digits", 1, wanted) for wanted in (None, 8, 64)] == [20, 8, 20]


def test_labs_seeds_budgets_and_data_sets_can_be_chosen(place, alone):
    place.lab("02_other", "other-claim", "other")
    alone("--labs", "02", "--seeds", 18, "--budgets", 4, "--datasets", "digits")
    assert place.begun == ["digits 1200 0 16", "digits 1200 16 2"]
    assert place.word("other-claim") == "undecided"
    assert place.word() is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--labs", "07"], "LABS: expected numbers of labs, some of 01, got '07'"),
        (["--datasets", "mnst"], "DATASETS: expected some of digits, mnist_5k, got mnst"),
        (["--budgets", "2"], "BUDGETS: expected some of 1, 4, got 2"),
        (["--budgets", "T"], "BUDGETS: expected whole numbers, 1 or more, got 'T'"),
        (["--seeds", "0"], "SEEDS: expected whole numbers, 1 or more, got '0'"),
        (["--workers", "-1"], "WORKERS: expected whole numbers, 1 or more, got '-1'"),
        (["--timeout", "soon"], "timeout: expected seconds, more than 0, got 'soon'"),
        (["--device", "gpu"], "DEVICE: expected cpu, or cuda where PyTorch finds a GPU, got 'gpu'"),
    ],
)
def test_what_is_not_known_gets_a_sentence(arguments, sentence, alone, place):
    _, got = alone(*arguments)
    assert sentence in got
    assert not place.record.exists()


def test_a_gpu_runs_the_same_where_there_is_one(place, alone):
    import torch

    if not torch.cuda.is_available():
        _, got = alone("--device", "cuda")
        assert "DEVICE: expected cpu, or cuda where PyTorch finds a GPU, got 'cuda'" in got
        pytest.skip("there is no GPU: DEVICE=cuda was refused, and not run")
    alone("--device", "cuda", "--seeds", 16)
    assert place.record.read_text().count('"device": "cuda"') == 4


def test_a_signature_costs_two_seeds_where_the_numbers_are_the_same(place, alone):
    alone("--seeds", 16)
    before = place.fingerprints()
    place.lab(refactored=("BASE = 90", "BASE = 45 + 45"))
    (place.folder / "calls").unlink()
    out, _ = alone("--seeds", 16, "--sign")
    assert "Stale units: 4; signed, since they give the same numbers: 4." in out
    assert place.begun == ["digits 300 0 2", "mnist_5k 300 0 2"]
    assert len(place.fingerprints() | before) == 2
    assert "in the record: 4." in alone("--seeds", 16)[0]


@pytest.mark.parametrize(
    ("edit", "tried"),
    [
        (("BASE + 3 *", "BASE + 3.01 *"), ["digits 300 0 2", "mnist_5k 300 0 2"]),  # other numbers
        (("rates=(0.1, 0.2, 0.4)", "rates=(0.05, 0.1, 0.2, 0.4)"), []),  # two seeds cannot tell
        (("steps=300", "steps=400"), []),
        (('"here"', '"there"'), ["digits 300 0 2", "mnist_5k 300 0 2"]),  # another condition
    ],
)
def test_what_is_not_the_same_is_run_again(edit, tried, place, alone):
    alone("--seeds", 16)
    place.lab(edit=edit)
    (place.folder / "calls").unlink()
    out, _ = alone("--seeds", 16, "--sign")
    assert "signed, since they give the same numbers: 0." in out
    again = [what for what in place.begun if what.endswith(" 2")]
    assert again == tried
    assert len(place.begun) == len(tried) + 4
    assert len(place.fingerprints()) == 1


@pytest.mark.parametrize(("change", "agree"), [(0.0, True), (0.0009, True), (0.0011, False), (float("nan"), False)])
def test_numbers_agree_to_a_thousandth(change, agree):
    before = {"a-claim": {"here": [0.5, "Infinity", 7.0]}}
    now = {"a-claim": {"here": [0.5 + change, "Infinity"]}}
    assert tool._agree(before, now, 2) is agree
    assert not tool._agree(before, {"a-claim": {"here": [0.5, "-Infinity"]}}, 2)


def test_fewer_seeds_than_the_record_has_run_all_of_them_again_where_the_code_is_another(place, alone):
    alone("--seeds", 18, "--datasets", "digits", "--budgets", 1)
    place.lab(edit=("BASE = 90", "BASE = 91"))
    (place.folder / "calls").unlink()
    alone("--seeds", 4, "--datasets", "digits", "--budgets", 1)
    assert place.begun == ["digits 300 0 16"]
    (place.folder / "calls").unlink()
    alone("--datasets", "digits", "--budgets", 1)
    assert place.begun == ["digits 300 16 16", "digits 300 32 16", "digits 300 48 16"]
    assert len(place.fingerprints()) == 1


def test_seeds_beyond_those_of_a_data_set_are_run_again_with_the_others(place, alone):
    alone("--seeds", 32, "--datasets", "mnist_5k", "--budgets", 4)
    place.lab(edit=("BASE = 90", "BASE = 91"))
    alone("--datasets", "mnist_5k", "--budgets", 4)
    assert place.begun == sorted(2 * ["mnist_5k 1200 0 16", "mnist_5k 1200 16 16"])
    assert len(place.fingerprints()) == 1


def test_more_seeds_than_the_record_has_are_run(place, alone):
    for seeds in (8, 16, 16):
        alone("--seeds", seeds, "--datasets", "digits", "--budgets", 1)
    assert place.begun == ["digits 300 0 16", "digits 300 0 8"]
    (found,) = place.recorded().units.values()
    assert found["n"] == 16


def test_what_is_declared_no_more_goes_and_other_labs_stay(place, alone):
    place.lab("02_other", "other-claim", "other")
    alone("--seeds", 16)
    place.lab(name="renamed")
    alone("--labs", "02")
    record = place.recorded()
    assert {unit["experiment"] for unit in record.units.values()} == {"02_other/other"}


def test_a_claim_that_went_can_be_forgotten(place, alone):
    alone("--seeds", 16)
    record = place.recorded()
    record.add(unit(experiment="09_old/gone", effects={"other-claim": {"here": [1.0] * 16}}))
    record.save({})
    write_claims(place.folder / "claims.toml", a_claim={})
    before = place.record.read_bytes()
    _, sentence = alone("--seeds", 16)
    assert "got 'other-claim': put the claim back" in sentence
    assert "make evidence FORGET=other-claim" in sentence
    assert place.record.read_bytes() == before
    alone("--seeds", 16, "--forget", "other-claim")
    assert "other-claim" not in place.record.read_text()
    assert len(place.begun) == 4

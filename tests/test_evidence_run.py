"""`make evidence`: every unit once, whatever ends the run, a worker, the disk or the cluster; what it can be asked."""

import contextlib
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import termios
import time
from collections import Counter
from pathlib import Path

import evidence as tool
import pytest
import workers
from evidence_fixtures import unit, write_claims, write_lab

from utils.evidence import Record
from utils.evidence.labs import open_lab

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 50
# Accuracies that are best at the rate in the middle; files beside the lab tell it to wait, to fail or to die.
LAB = """
    import os
    import time
    from pathlib import Path

    import numpy as np

    from utils import evidence

    PLACE = Path({place!r})
    BASE = 90


    @evidence.experiment(
        {{"{claim}": {{"here": ("one", "other")}}}},
        rates=(0.1, 0.2, 0.4),
        steps=300,
        examples=32,
        path=PLACE / "claims.toml",
    )
    def {name}(seeds, data, steps, rates, device):
        unit = f"{{data}} {{steps}} {{seeds.start}} {{len(seeds)}}"
        with (PLACE / "calls").open("a") as calls:
            calls.write(f"{{unit}} by {{os.getpid()}}\\n")
        while (PLACE / f"hold {{data}} {{steps}}").exists():
            time.sleep(0.02)
        if (PLACE / f"raise {{data}} {{steps}}").exists():
            raise ValueError("a fault")
        if (PLACE / f"die {{data}} {{steps}}").exists():
            os._exit(9)
        found = {{}}
        for arm, grid in rates.items():
            found[arm] = {{}}
            for rate in grid:
                noise = np.array([np.random.default_rng(seed).normal() for seed in seeds])
                test = BASE + 3 * (arm == "one") * noise
                found[arm][rate] = np.stack([noise - abs(np.log2(rate / 0.2)), test], axis=1)
        return found
"""
UNITS = ["digits 1200 0 16", "digits 300 0 16", "mnist_5k 1200 0 16", "mnist_5k 300 0 16"]


class Place:
    """A folder with a lab, its claims and its record."""

    def __init__(self, folder):
        self.folder, self.record = folder, folder / "data" / "evidence.json"
        (folder / "labs").mkdir()
        write_claims(folder / "claims.toml", a_claim={}, other_claim={})
        self.lab()

    def lab(self, stem="01_small", claim="a-claim", name="trained", **edits):
        source = LAB.format(place=str(self.folder), claim=claim, name=name)
        for old, new in edits.values():
            assert old in source
            source = source.replace(old, new)
        return write_lab(self.folder / "labs" / f"{stem}.ipynb", source)

    def arguments(self, *more):
        folder = self.folder
        fixed = ("--record", self.record, "--claims", folder / "claims.toml", "--folder", folder / "labs")
        return [str(each) for each in (*fixed, *more)]

    def start(self, *more, **how):
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": self.folder, **how}
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, str(ROOT / "tools" / "evidence.py"), *self.arguments("--seeds", 16, *more)]
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **how)

    def run(self, *more, code=0):
        with self.start(*more) as run:
            out, err = run.communicate(timeout=SECONDS)
        assert run.returncode == code, err
        return out, err

    @property
    def calls(self):
        """Which units were begun, and the process of each."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [tuple(line.split(" by ")) for line in lines]

    @property
    def begun(self):
        return sorted(what for what, _ in self.calls)

    def say(self, what, data, steps):
        path = self.folder / f"{what} {data} {steps}"
        path.touch()
        return path

    def wait_for(self, unit):
        """The process that runs a unit, once it has begun."""
        return wait_until(lambda: next((int(pid) for what, pid in self.calls if what == unit), None))


def wait_until(there):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if found := there():
            return found
        time.sleep(0.02)
    raise TimeoutError(there)


def is_alive(pid):
    """Whether a process runs; one that ended and that nobody has asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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


def words(place, claim="a-claim"):
    return Record(place.record, known=tool.evidence.claims(place.folder / "claims.toml")).saved_word(claim)


@pytest.mark.timeout(2 * SECONDS)
def test_a_kill_of_the_run_costs_what_was_in_hand_and_nothing_else(place):
    hold = place.say("hold", "mnist_5k", 1200)
    with place.start("--workers", 1) as run:
        worker = place.wait_for("mnist_5k 1200 0 16")
        os.kill(run.pid, signal.SIGKILL)
        run.communicate(timeout=SECONDS)
    wait_until(lambda: not is_alive(worker))
    assert len(Record(place.record, known=tool.evidence.claims(place.folder / "claims.toml")).units) == 3
    hold.unlink()
    out, _ = place.run()
    assert "Units of work: 4; in the record: 3." in out
    assert place.begun == sorted([*UNITS, "mnist_5k 1200 0 16"])
    assert words(place) == "undecided"


@pytest.mark.timeout(2 * SECONDS)
def test_a_worker_that_is_killed_takes_nothing_along_and_a_second_run_is_refused(place):
    hold = place.say("hold", "digits", 1200)
    with place.start() as run:
        worker = place.wait_for("digits 1200 0 16")
        _, err = place.run(code=1)
        assert err.startswith(f"evidence: {place.folder / 'data'}: another make evidence is at work here")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: place.begun.count("digits 1200 0 16") == 2)
        hold.unlink()
        out, err = run.communicate(timeout=SECONDS)
        assert run.returncode == 0, err
    assert place.begun == sorted([*UNITS, "digits 1200 0 16"])
    assert "undecided     1 claims (before: 0)" in out


@pytest.mark.timeout(2 * SECONDS)
def test_units_that_raise_or_kill_their_worker_stop_no_other(place):
    files = [place.say("raise", "digits", 300), place.say("die", "digits", 1200)]
    _, err = place.run(code=1)
    assert err.splitlines() == [
        "evidence: 2 of 4 units failed, the others are in the record:",
        *sorted(err.splitlines()[1:], key=lambda line: "1200" not in line and "4T" in line),
    ]
    assert "01_small/trained, digits T, seeds 0 to 15: ValueError: a fault" in err
    assert "01_small/trained, digits 4T, seeds 0 to 15: its worker ended 3 times (exit 9)" in err
    assert Counter(place.begun) == {**dict.fromkeys(UNITS, 1), "digits 1200 0 16": 3}
    for file in files:
        file.unlink()
    place.run()
    assert Counter(place.begun) == {**dict.fromkeys(UNITS, 1), "digits 1200 0 16": 4, "digits 300 0 16": 2}


@pytest.mark.timeout(2 * SECONDS)
def test_a_full_disk_leaves_the_record_as_it_was(place, alone):
    alone("--seeds", 16, "--datasets", "digits")
    before = place.record.read_bytes()
    limit = len(before) + 200
    run = place.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    with run:
        _, err = run.communicate(timeout=SECONDS)
    assert run.returncode == 1
    assert re.fullmatch(r"evidence: .*evidence\.json: expected to .* got: .* Make room on that disk, or .*\n", err)
    assert [path.name for path in place.record.parent.iterdir()] == ["evidence.json"]
    assert place.record.read_bytes() == before
    place.run()
    assert place.begun.count("digits 300 0 16") == 1


@pytest.mark.timeout(2 * SECONDS)
def test_ctrl_c_ends_it_at_once_and_a_terminal_sees_the_time_left(place):
    place.say("hold", "digits", 1200)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with place.start("--workers", 1, stderr=theirs) as run:
        os.close(theirs)
        worker = place.wait_for("digits 1200 0 16")
        wait_until(lambda: place.record.read_text().count('"device": "cpu"') == 1)
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=SECONDS)
    shown = b""
    with contextlib.suppress(OSError):  # the other side has closed it
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert run.returncode == 1
    assert re.search(rb"1/4 \[\d\d:\d\d<\d\d:\d\d", shown)
    assert b"interrupted; run the same command again" in shown
    assert "01_small/trained, digits T, seeds 0 to 15" in out
    wait_until(lambda: not is_alive(worker))


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.filterwarnings("default")
def test_a_cluster_does_the_same_though_a_worker_is_killed(place):
    pytest.importorskip("distributed", reason="the cluster test did not run: distributed is not installed")
    from distributed import LocalCluster

    hold = place.say("hold", "digits", 1200)
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster:
        with place.start("--scheduler", cluster.scheduler_address) as run:
            worker = place.wait_for("digits 1200 0 16")
            wait_until(lambda: place.record.exists() and place.record.read_text().count('"device": "cpu"') == 3)
            os.kill(worker, signal.SIGKILL)
            hold.unlink()
            _, err = run.communicate(timeout=2 * SECONDS)
        assert run.returncode == 0, err
    assert set(place.begun) == set(UNITS)
    assert words(place) == "undecided"


@pytest.mark.timeout(2 * SECONDS)
def test_a_cluster_that_does_not_answer_is_said_in_time(place):
    pytest.importorskip("distributed", reason="the cluster test did not run: distributed is not installed")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        began = time.monotonic()
        _, err = place.run("--scheduler", address, "--timeout", 1, code=1)
    assert time.monotonic() - began < SECONDS / 2
    assert err.splitlines()[-1].startswith(f"evidence: expected a cluster at {address}, got no answer within 1 s")
    assert "Traceback" not in err
    assert place.begun == []


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
    assert words(place, "other-claim") == "undecided"
    assert words(place) is None


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


def fingerprints(place):
    record = Record(place.record, known=tool.evidence.claims(place.folder / "claims.toml"))
    return {unit["fingerprint"] for unit in record.units.values()}


def test_a_signature_costs_two_seeds_where_the_numbers_are_the_same(place, alone):
    alone("--seeds", 16)
    before = fingerprints(place)
    place.lab(refactored=("BASE = 90", "BASE = 45 + 45"))
    (place.folder / "calls").unlink()
    out, _ = alone("--seeds", 16, "--sign")
    assert "Stale units: 4; signed, since they give the same numbers: 4." in out
    assert place.begun == ["digits 300 0 2", "mnist_5k 300 0 2"]
    assert len(fingerprints(place) | before) == 2
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
    assert len(fingerprints(place)) == 1


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
    assert len(fingerprints(place)) == 1


def test_what_is_declared_no_more_goes_and_other_labs_stay(place, alone):
    place.lab("02_other", "other-claim", "other")
    alone("--seeds", 16)
    place.lab(name="renamed")
    alone("--labs", "02")
    record = Record(place.record, known=tool.evidence.claims(place.folder / "claims.toml"))
    assert {unit["experiment"] for unit in record.units.values()} == {"02_other/other"}


def test_a_claim_that_went_can_be_forgotten(place, alone):
    alone("--seeds", 16)
    known = tool.evidence.claims(place.folder / "claims.toml")
    record = Record(place.record, known=known)
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


def test_workers_give_results_in_any_order_and_end_when_the_caller_stops(tmp_path):
    results = workers.run_here({1: list, 2: dict, 3: int}, workers=2)
    assert {key: (result, error) for key, result, error in results} == {1: ([], None), 2: ({}, None), 3: (0, None)}

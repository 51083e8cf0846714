"""`make evidence`: every unit once, whatever ends the run, a worker, the disk or the cluster."""

import contextlib
import functools
import multiprocessing
import os
import pty
import re
import resource
import signal
import socket
import termios
import time
from collections import Counter
from pathlib import Path

import pytest
import workers
from evidence_fixtures import SECONDS, Place, wait_until

UNITS = ["digits 1200 0 16", "digits 300 0 16", "mnist_5k 1200 0 16", "mnist_5k 300 0 16"]


def is_alive(pid):
    """Whether a process runs; one that ended and that nobody has asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.mark.timeout(2 * SECONDS)
def test_a_kill_of_the_run_costs_what_was_in_hand_and_nothing_else(place):
    hold = place.say("hold", "mnist_5k", 1200)
    with place.running("--workers", 1) as run:
        worker = place.wait_for("mnist_5k 1200 0 16")
        wait_until(lambda: len(place.recorded().units) == 3)
        os.kill(run.pid, signal.SIGKILL)
        run.communicate(timeout=SECONDS)
    wait_until(lambda: not is_alive(worker))
    assert len(place.recorded().units) == 3
    hold.unlink()
    out, _ = place.run()
    assert "Units of work: 4; in the record: 3." in out
    assert place.begun == sorted([*UNITS, "mnist_5k 1200 0 16"])
    assert place.word() == "undecided"


@pytest.mark.timeout(2 * SECONDS)
def test_a_worker_that_is_killed_takes_nothing_along_and_a_second_run_is_refused(place):
    hold = place.say("hold", "digits", 1200)
    with place.running() as run:
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
def test_a_full_disk_leaves_the_record_as_it_was(place):
    place.run("--datasets", "digits")
    before = place.record.read_bytes()
    limit = len(before) + 200
    with place.running(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) as run:
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
    with place.running("--workers", 1, stderr=theirs) as run:
        os.close(theirs)
        worker = place.wait_for("digits 1200 0 16")
        shown = b""
        while b"1/4" not in shown:
            shown += os.read(ours, 4096)
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=SECONDS)
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
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as cluster:
        with place.running("--scheduler", cluster.scheduler_address) as run:
            worker = place.wait_for("digits 1200 0 16")
            wait_until(lambda: place.record.exists() and place.record.read_text().count('"device": "cpu"') == 3)
            os.kill(worker, signal.SIGKILL)
            hold.unlink()
            _, err = run.communicate(timeout=2 * SECONDS)
        assert run.returncode == 0, err
    assert set(place.begun) == set(UNITS)
    assert place.word() == "undecided"


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.filterwarnings("default")
def test_a_cluster_that_leaves_is_said(place):
    pytest.importorskip("distributed", reason="the cluster test did not run: distributed is not installed")
    from distributed import LocalCluster

    place.say("hold", "digits", 1200)
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as cluster,
        place.running("--scheduler", cluster.scheduler_address, "--timeout", 5) as run,
    ):
        place.wait_for("digits 1200 0 16")
        cluster.close()
        _, err = run.communicate(timeout=SECONDS)
    assert run.returncode == 1
    assert re.fullmatch(r"evidence: expected the cluster at tcp://\S+ to the end, it has left: .*\n", err)


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


def test_workers_give_results_as_they_come_and_end_when_the_caller_stops():
    jobs = {"slow": functools.partial(time.sleep, 60), "quick": list, "wrong": functools.partial(int, "x")}
    before = set(multiprocessing.active_children())
    results = workers.run_here(jobs, workers=2)
    assert next(results) == ("quick", [], None)
    key, result, error = next(results)
    assert (key, result) == ("wrong", None)
    assert error.startswith("ValueError: invalid literal for int()")
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < workers.SECONDS_TO_END
    assert set(multiprocessing.active_children()) <= before

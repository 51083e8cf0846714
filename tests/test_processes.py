"""Processes that compare batch norm with one process, come to the same numbers every time, and always end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from multiprocessing import resource_tracker
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist

from utils.lab import processes
from utils.lab.processes import compare, main, run

pytestmark = pytest.mark.timeout(300)  # processes are started

SECONDS = 150  # for processes that need a few, on a computer that does other things as well
SCRIPT = f"import json; from utils.lab import processes; print(json.dumps(processes.run(timeout={SECONDS}), indent=2))"
TORCHRUN = [Path(sysconfig.get_path("scripts")) / "torchrun", "--standalone", "--nproc-per-node=2", "-m"]


def fail():
    """Be the job of processes of which one fails while the others wait for it."""
    if dist.get_rank() == 1:
        print("This goes to a file,")
        raise LookupError(f"and {torch.get_num_threads()} thread on {os.environ['GLOO_SOCKET_IFNAME']} is lost")
    dist.barrier()


def hang(folder):
    """Be the job of processes that wait, and do not listen to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Path(folder, f"{os.getpid()} at work").touch()
    time.sleep(600)


def wait_until(condition):
    end = time.monotonic() + SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def start():
    """Start commands, of which none outlives the test."""
    with contextlib.ExitStack() as stack:

        def start(*command, **how):
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            process = stack.enter_context(subprocess.Popen(command, text=True, **pipes, **how))
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def no_process_left():
    """Other tests in this process may have left some; none may be added, but for Python's own helper."""
    resource_tracker.ensure_running()
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_script_and_torchrun_come_to_the_same_report(start):
    script, torchrun = start(sys.executable, "-"), start(*TORCHRUN, "utils.lab.processes", f"--timeout={SECONDS}")
    (output, errors), (other, _) = script.communicate(SCRIPT, SECONDS), torchrun.communicate(timeout=SECONDS)
    assert errors == ""
    assert output == other
    report = json.loads(output)
    assert set(report) == {f"{kind}, {size} parts" for kind in ("dense", "conv") for size in ("equal", "unequal")}
    for found in report.values():
        assert max(found["none"].values()) < 1e-10, report
        assert "running statistics" not in found["none"]
        assert max(found["synchronized"].values()) < 1e-10, report
        assert min(found["per process"].values()) > 1e-3, report


@pytest.mark.usefixtures("no_process_left")
def test_a_failing_rank_ends_all_and_says_why(capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    with pytest.raises(RuntimeError, match=r"(?s)\nrank 1 of 2 failed:\nThis goes to a file,\n") as raised:
        run(job=fail, timeout=SECONDS)
    interface = "lo0" if sys.platform == "darwin" else "lo"
    assert f"LookupError: and 1 thread on {interface} is lost" in str(raised.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("no_process_left")
def test_a_hanging_rank_ends_with_the_time(tmp_path):
    message = r"not done after 0\.5 seconds: 2 of 2 processes\nrank 0 printed:\n"
    with pytest.raises(TimeoutError, match=message):
        run(job=hang, timeout=0.5, folder=str(tmp_path))


def test_nothing_is_left_when_the_parent_goes(start, tmp_path):
    code = "from test_processes import hang, run; run({}, job=hang, folder={!r}, timeout=500)"
    path = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    parents = [start(sys.executable, "-c", code.format(n, str(tmp_path)), env=os.environ | path) for n in (1, 2)]
    assert wait_until(lambda: len(list(tmp_path.iterdir())) == 3)
    children = [child for parent in parents for child in psutil.Process(parent.pid).children()]
    addresses = {each.laddr.ip for child in children for each in child.net_connections()}
    assert addresses
    assert addresses <= {"127.0.0.1", "::1"}
    parents[0].send_signal(signal.SIGINT)
    parents[1].kill()
    assert "KeyboardInterrupt" in parents[0].communicate(timeout=SECONDS)[1]
    parents[1].wait(SECONDS)
    gone = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    assert wait_until(lambda: not any(child.is_running() and child.status() not in gone for child in children))


def test_a_world_of_one_is_the_whole(monkeypatch, capsys):
    variables = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    for name, value in {**variables, "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    main(["--steps", "2"])
    for found in json.loads(capsys.readouterr().out).values():
        assert max(found["synchronized"].values()) < 1e-12
        assert max(found["per process"].values()) < 1e-12  # one part is the whole
        assert max(found["none"].values()) < 1e-12
        if not torch.cuda.is_available():
            assert found["nn.SyncBatchNorm"].startswith("skipped: nn.SyncBatchNorm trains on accelerators only")
    assert not dist.is_initialized()


def test_a_failing_job_leaves_the_group(tmp_path):
    store = dist.FileStore(str(tmp_path / "meeting"), 1)
    with pytest.raises(TypeError, match="no_such_argument"):
        processes._together(compare, {"no_such_argument": 1}, 5, store=store, rank=0, world_size=1)
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"world_size": 0}, "world_size"),
        ({"job": "math"}, "job: .*cannot be called"),
        ({"job": lambda: None}, "job: .*import it from there"),
        ({"job": fail, "argument": (each for each in "abc")}, "job: .*can be pickled"),
    ],
)
def test_run_refuses(message, how):
    with pytest.raises(ValueError, match=f"^{message}"):
        run(**how)
    assert sys.modules["__main__"].__name__ == "__main__"


def test_a_command_is_refused_with_a_sentence(capsys):
    with pytest.raises(SystemExit) as raised:
        main(["--world-size", "0"])
    assert raised.value.code == 1
    assert capsys.readouterr().err == "world_size: expected a positive integer, got 0\n"

"""What `configure` sets: in a process of its own, so that this one stays as it is."""

import json
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from utils import runtime

pytestmark = pytest.mark.timeout(300)  # each starts a Python that loads PyTorch

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
SCRIPT = """
import json, os, sys
from utils.runtime import configure
quiet = "torch" not in sys.modules
import numpy, scipy.linalg, threadpoolctl, torch
result = configure(**json.loads(sys.argv[1]))
print(json.dumps({
    "quiet": quiet,
    "result": result,
    "environment": dict(os.environ),
    "pools": [pool["num_threads"] for pool in threadpoolctl.threadpool_info()],
    "torch": [torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()],
}))
"""


def configured(**arguments):
    """What a fresh process says after `configure`, whose libraries began with three threads."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(arguments)]
    environment = {**os.environ, **dict.fromkeys(VARIABLES, "3")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def default():
    return configured()


def test_everything_runs_on_one_thread(default):
    assert default["result"]["threads"] == default["result"]["blas_threads"] == 1
    assert default["torch"][0] == 1
    assert default["pools"]
    assert set(default["pools"]) == {1}


def test_child_processes_inherit_one_thread(default):
    assert {name: default["environment"][name] for name in VARIABLES} == dict.fromkeys(VARIABLES, "1")


def test_kernels_are_deterministic(default):
    assert default["result"]["deterministic"] is default["torch"][1] is True


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep its heap")
def test_the_heap_is_kept(default):
    assert default["result"]["heap_retained"] is True


def test_importing_does_nothing(default):
    assert default["quiet"]


def test_two_threads_on_request():
    said = configured(threads=2)
    assert said["torch"][0] == said["result"]["threads"] == 2
    assert said["result"]["blas_threads"] == max(said["pools"]) <= 2
    assert said["environment"]["OMP_NUM_THREADS"] == "2"


@pytest.fixture
def _restored(monkeypatch):
    """Undo in this process what configure does."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "1")
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("threads", [0, -1, 1.0, "2", None, True])
def test_other_than_a_positive_integer_is_refused_before_anything_is_set(threads):
    with pytest.raises(ValueError, match=f"threads: expected a positive integer, got {threads!r}"):
        runtime.configure(threads)
    assert [os.environ[name] for name in VARIABLES] == ["1"] * 4


@pytest.mark.usefixtures("_restored")
def test_on_another_system_the_heap_is_left_alone(monkeypatch):
    monkeypatch.setattr(runtime, "sys", SimpleNamespace(platform="darwin"))
    said = runtime.configure(1)
    assert said == {"threads": 1, "blas_threads": 1, "deterministic": True, "heap_retained": False}


def no_such_library(name):
    raise OSError(name)


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize(
    ("library", "retained"),
    [
        (lambda name: SimpleNamespace(), False),  # a C library without mallopt
        (no_such_library, False),
        (lambda name: SimpleNamespace(mallopt=lambda option, value: 0), False),  # mallopt says no
        (lambda name: SimpleNamespace(mallopt=lambda option, value: 1), True),
    ],
)
def test_another_c_library_is_no_error(library, retained, monkeypatch):
    monkeypatch.setattr(runtime, "sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr(runtime, "ctypes", SimpleNamespace(CDLL=library))
    assert runtime.configure(1)["heap_retained"] is retained


class TestProgress:
    def test_it_goes_through_the_same_steps_and_shows_a_bar(self, monkeypatch, capsys):
        monkeypatch.delenv("TQDM_DISABLE", raising=False)
        assert list(runtime.progress(range(3))) == [0, 1, 2]
        assert "0/3" in capsys.readouterr().err

    def test_where_nobody_watches_it_shows_nothing(self, monkeypatch, capsys):
        monkeypatch.setenv("TQDM_DISABLE", "1")
        assert list(runtime.progress("ab")) == ["a", "b"]
        assert capsys.readouterr().err == ""

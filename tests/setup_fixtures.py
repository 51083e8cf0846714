"""A shell script in the place of Python and pip, and small checkouts, for the tests of the environment's setup."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

PYTHON = sys.executable
ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tools" / "setup_env.py"
# Runs a setup script with the stand-in for Python.
WITH_STAND_IN = (
    "import runpy, sys; source, sys.executable = sys.argv.pop(1), sys.argv.pop(1);"
    "runpy.run_path(source, run_name='__main__')"
)
# Called as "python -m venv FOLDER" it makes a folder with itself in it; called as "python -m pip ..." it says and does
# what the test wants.
INTERPRETER = """#!/bin/sh
if [ "$2" = venv ]; then
    echo "$VENV_SAYS"
    [ ! -L "$3" ] || exit 1  # as venv does
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
    exit ${VENV_EXIT:-0}
fi
echo "$PIP_SAYS"
[ -z "$PIP_CALLS" ] || echo "$PYTHONPATH|" >> "$PIP_CALLS"
[ -z "$PIP_WAITS" ] || exec sleep 60
while [ -n "$PIP_WAITS_FOR" ] && [ ! -e "$PIP_WAITS_FOR" ]; do sleep 0.05; done
exit ${PIP_EXIT:-0}
"""

posix = pytest.mark.skipif(os.name != "posix", reason="the stand-in for Python is a shell script")


def load(source):
    spec = importlib.util.spec_from_file_location("setup_env", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def setup_env():
    return load(SOURCE)


@pytest.fixture
def interpreter(tmp_path):
    script = tmp_path / "python"
    script.write_text(INTERPRETER)
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def venv(interpreter, tmp_path, monkeypatch):
    """Where the environment goes; this Python is replaced by the script."""
    monkeypatch.setattr(sys, "executable", interpreter)
    for name in ("VENV_SAYS", "VENV_EXIT", "PIP_SAYS", "PIP_EXIT", "PIP_WAITS", "PIP_WAITS_FOR", "PIP_CALLS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "some folder" / ".venv"


def start(checkout, venv, interpreter, **variables):
    """Run the setup script of a checkout with the stand-in, in a process of its own."""
    script = str(checkout / "tools" / "setup_env.py")
    command = [PYTHON, "-c", WITH_STAND_IN, script, interpreter, "--venv", str(venv)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env={**os.environ, **variables}, text=True, **pipes)


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stamps(venv):
    return sorted(path.name for path in venv.glob("course-installed*"))


def nothing_runs(monkeypatch):
    """Let every command fail from now on."""
    monkeypatch.setenv("VENV_EXIT", "1")
    monkeypatch.setenv("PIP_EXIT", "1")


@pytest.fixture
def no_disk(setup_env, monkeypatch):
    """Set the free bytes of every disk."""

    def free(amount):
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 0, amount))

    return free


NAMES = ("A one", "B zweit\u00e9")


def write_checkout(folder, *, whole=False):
    """A checkout with folders to start in, and helpers with a mark of their own; all tools if it is whole."""
    for name in ("notebooks/labs", "homework/release/hw01", "build", "utils", "tools"):
        (folder / name).mkdir(parents=True)
    for name in ("utils", "tools", "data") if whole else ():
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
    files = ["pyproject.toml", "requirements.txt", "Makefile", "utils/__init__.py", "tools/setup_env.py"]
    for name in [*files, "tools/startup.py"]:
        shutil.copy(ROOT / name, folder / name)
    with (folder / "utils" / "__init__.py").open("a") as file:
        file.write(f"\nMARK = {folder.name!r}\n")
    return folder


@pytest.fixture
def checkouts(tmp_path):
    return [write_checkout(tmp_path / name) for name in NAMES]

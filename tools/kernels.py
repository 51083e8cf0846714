"""What a kernel is asked before it runs a notebook, and what is said about one that cannot run it."""

import ast
import logging
import os
import sys
from pathlib import Path

SECONDS_TO_START = 60
CHARACTERS = 300  # of what a kernel or an error said
# Expressions for a silent request: they leave no name and no number behind.
WHICH_PYTHON = {name: f"__import__('sys').{name}" for name in ("executable", "prefix", "version")}


class WrongPython(Exception):
    """A kernel runs in another environment than we do."""


def settle_matplotlib():
    """Let matplotlib choose its folder here, silently; where the home has no room for one, kernels inherit ours.

    In a kernel matplotlib would complain in the outputs of a cell, and make a temporary folder per kernel.
    """
    logging.disable(logging.WARNING)
    import matplotlib

    matplotlib.get_configdir()  # sets MPLCONFIGDIR if it has to be a temporary one, and removes that at exit
    logging.disable(logging.NOTSET)


def check_python(reply):
    """Refuse a kernel of another environment, by its reply to a request with the user expressions WHICH_PYTHON."""
    answers = reply.get("user_expressions", {})
    try:
        executable, prefix, version = (ast.literal_eval(answers[name]["data"]["text/plain"]) for name in WHICH_PYTHON)
    except (KeyError, ValueError, SyntaxError):
        raise WrongPython("a kernel that does not tell which Python it runs in") from None
    if os.path.realpath(prefix) != os.path.realpath(sys.prefix) or version != sys.version:
        raise WrongPython(f"a kernel of {executable}, Python {version.split()[0]} in {prefix}")


def why_not(manager, error, heard):
    """Say in one sentence why a kernel cannot run a notebook; `heard` is what it wrote to standard error."""
    expected = f"expected a kernel of {sys.executable}"
    try:
        spec = manager.kernel_spec
        command, folder = spec.argv[0], spec.resource_dir
    except Exception as unusable:
        folder = manager.kernel_spec_manager.find_kernel_specs().get(manager.kernel_name)
        return f"{expected}, got no usable kernelspec ({_shortened(unusable)}); {_remedy(folder)}"
    if isinstance(error, WrongPython):
        return f"{expected}, got {error}; {_remedy(folder)}"
    process = getattr(manager.provisioner, "process", None)
    if process is None and isinstance(error, OSError) and error.filename != os.path.expanduser(command):
        return (
            f"{expected}, but the files of a kernel could not be written ({_shortened(error)}); "
            "make room on the disk, or set TMPDIR to a folder that can be written"
        )
    if process is None:
        came = f"{command} cannot be started ({_shortened(error)})"
    elif process.poll() is None:
        came = f"{command} did not become ready ({_shortened(error)})"
    else:
        status = process.returncode
        how = f"by signal {-status}" if status < 0 else f"with exit status {status}"
        came = f"{command} ended {how} before the first cell"
        heard.seek(0)
        lines = heard.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        came += f" ({_shortened(last)})" if last else ""
    return f"{expected}, but {came}; {_remedy(folder)}"


def _shortened(words):
    """What an error or a kernel said, on one line."""
    if isinstance(words, BaseException):
        words = str(words) or type(words).__name__
    return " ".join("".join(sign if sign.isprintable() else " " for sign in words).split())[-CHARACTERS:]


def _remedy(folder):
    """What to do about a kernel whose kernelspec is in a folder, or nowhere."""
    if folder is None or Path(folder).is_relative_to(sys.prefix):
        return f"run the same command again, and if that does not help, remove {sys.prefix} and run make env"
    return f"correct or remove the kernelspec {folder}, or run the same command again"

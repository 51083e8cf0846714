"""Find the helpers of the checkout in which Python starts; written by tools/setup_env.py."""

import os
import sys


def is_checkout(folder):
    """Whether a folder is the top of a checkout of this course."""
    try:
        if not os.path.isfile(os.path.join(folder, "utils", "__init__.py")):
            return False
        with open(os.path.join(folder, "pyproject.toml"), "rb") as file:
            return b'name="normalization-course"' in file.read(4096).replace(b" ", b"")
    except (OSError, ValueError):
        return False


def checkout():
    """The first checkout from the current folder upwards; None where there is none or PYTHONPATH names one."""
    named = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    if any(is_checkout(folder) for folder in named.split(os.pathsep) if folder):
        return None
    folder, below = os.getcwd(), None
    while folder != below:
        if is_checkout(folder):
            return folder
        folder, below = os.path.dirname(folder), folder
    return None


def start():
    """Put it in front of everything else; an isolated Python takes nothing from the current folder."""
    try:
        found = None if sys.flags.safe_path else checkout()
    except Exception:  # the current folder is gone, for example: Python has to start all the same
        found = None
    if found:
        sys.path.insert(0, found)


start()

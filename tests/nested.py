"""A pytest with the settings of the course, in a process of its own: for tests of what such a run does."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 240  # for a run that needs ten, on a computer that does other things as well
DROPPED = ("ci", "dataset", "pytest_addopts", "http_proxy", "https_proxy", "all_proxy")


class Case(NamedTuple):
    """A test or a cell: its file without ending and its name, why it failed ("" if it passed), how long it took."""

    file: str
    name: str
    said: str
    seconds: float


def run_pytest(folder, *options, env=os.environ):
    """Run what is in a folder; gives the process, with what it said, and its cases."""
    (folder / ".quick").mkdir()  # pytest passes over it
    shutil.copy(ROOT / "tools" / "rfc3987_syntax.py", folder / ".quick")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}"]
    command += ["-p", "conftest", "-p", "no:cacheprovider", f"--junitxml={folder / 'report.xml'}", *options]
    path = os.pathsep.join([str(ROOT), str(folder / ".quick")])
    env = {**{name: value for name, value in env.items() if name.lower() not in DROPPED}, "PYTHONPATH": path}
    how = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": SECONDS}
    done = subprocess.run([*command, str(folder)], cwd=folder, env=env, **how)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    cases = []
    for case in ET.parse(folder / "report.xml").iter("testcase"):
        said = "".join(child.text or "" for child in case if child.tag in ("failure", "error"))
        file = case.get("classname").removesuffix(".ipynb")
        cases.append(Case(file, case.get("name"), re.sub(r"#x1B\[\d+m", "", said), float(case.get("time"))))
    return done, cases

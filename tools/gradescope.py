"""An autograder for Gradescope: ``python tools/gradescope.py hw03 --variant 2027 --out build/gradescope``."""

import argparse
import secrets
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import release
from guard import RESULTS, ROOT, one_sentence

PARTS = ("utils", "data", "homework/__init__.py", "homework/grading", "homework/source/drawing.py", "tests/mutants")
TORCH = "https://download.pytorch.org/whl/cpu"
SETUP = """\
#!/usr/bin/env bash
set -e
apt-get update
apt-get install -y python3 python3-venv bubblewrap
python3 -c 'import sys; assert sys.version_info >= (3, 11), "choose the image Ubuntu 24.04, which has Python 3.12"'
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install --extra-index-url {torch} {packages}
"""
RUN = """\
#!/usr/bin/env bash
place="${{AUTOGRADER:-/autograder}}"
cd "$place/source" && "${{PYTHON:-$place/venv/bin/python}}" -m homework.grading.gradescope {name} {variant} "$place"
"""


def contents(name, variant):
    """What is in the zip: bytes by path."""
    wanted = [*PARTS, f"homework/source/{name}"]
    listed = subprocess.run(["git", "ls-files", "-z", "--", *wanted], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        raise ValueError(f"expected a clone of the course, got {ROOT}, without git: {listed.stderr.decode()[:90]}")
    files = {path: (ROOT / path).read_bytes() for path in listed.stdout.decode().split("\0") if path}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = [*project["dependencies"], *project["optional-dependencies"]["grading"]]
    files["setup.sh"] = SETUP.format(torch=TORCH, packages=shlex.join(packages)).encode()
    files["run_autograder"] = RUN.format(name=name, variant=variant).encode()
    files["homework/secret"] = secrets.token_hex(16).encode()
    return files


@one_sentence("gradescope", RESULTS, ValueError)
def main(arguments=None):
    """Write the zip, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", metavar="hwNN")
    parser.add_argument("--variant")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gradescope")
    options = parser.parse_args(arguments)
    if options.name not in release.assignments():
        raise ValueError(f"expected one of {', '.join(release.assignments())} as HW, got {options.name}")
    variant = options.variant or release.current_variant()
    path = options.out / f"{options.name}-{variant}.zip"
    options.out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in contents(options.name, variant).items():
            entry = zipfile.ZipInfo(file)
            entry.external_attr = (0o100755 if data.startswith(b"#!") else 0o100644) << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    print(f"gradescope: {path}: upload it as the autograder, on the image Ubuntu 24.04; keep it from students")


if __name__ == "__main__":
    sys.exit(main())

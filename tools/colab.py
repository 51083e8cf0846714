"""Write the notebooks of the branch `colab`: each begins with a cell that fetches the course, for Colab and Kaggle."""

import argparse
import runpy
import sys
from pathlib import Path

import nbformat
from execute import LABS, LESSONS, find_notebooks
from guard import RESULTS, ROOT, one_sentence
from results import Results

RELEASE = ROOT / "homework" / "release"
FIRST = "fetch-the-course"
README = """\
# Notebooks for Colab and Kaggle

A workflow of {repository} writes this branch from `{branch}`. Each notebook begins with a cell that fetches the course.
Edit the notebooks of `{branch}`, not these.
"""
CELL = """\
# @title Run this cell first: it fetches the course
import os
import subprocess
import sys

try:
    from utils import runtime
except ImportError:
    source, course = {repository!r}, os.path.abspath("course")
    if sys.version_info < (3, 11):
        raise SystemExit("The course needs Python 3.11 or newer.") from None
    if not os.path.isfile(os.path.join(course, "utils", "runtime.py")):
        command = ["git", "clone", "--quiet", "--depth", "1"]
        command += ["--branch", {branch!r}, source, course]
        asks_nothing = {{**os.environ, "GIT_TERMINAL_PROMPT": "0"}}
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, env=asks_nothing
            )
        except (OSError, subprocess.CalledProcessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).split("\\n")[0]
            raise SystemExit(
                f"The course could not be fetched from {{source}} ({{reason}}). "
                "Switch the internet on (on Kaggle: Settings, Turn on internet) "
                "and run this cell again."
            ) from None
    os.chdir(os.path.join(course, {folder!r}))
    sys.path.insert(0, course)
    sys.modules.pop("utils", None)  # another package of that name
"""


def first_cell(repository, branch, folder):
    """The cell that fetches the course where it is not there, and enters `folder` of it; Colab folds its code."""
    source = CELL.format(repository=repository, branch=branch, folder=folder).strip()
    # Slides skip it, and it belongs to no section.
    metadata = {"cellView": "form", "slideshow": {"slide_type": "skip"}, "tags": ["core"]}
    return nbformat.v4.new_code_cell(source, id=FIRST, metadata=metadata)


def copies(repository, branch):
    """Path and text of every notebook that a reader opens: lessons, labs, and assignments without solutions."""
    for path in [*find_notebooks([], LESSONS, LABS), *sorted(RELEASE.glob("*/*.ipynb"))]:
        notebook = nbformat.read(path, as_version=4)
        name = path.relative_to(ROOT)
        notebook.cells.insert(0, first_cell(repository, branch, name.parent.as_posix()))
        yield name.as_posix(), nbformat.writes(notebook) + "\n"


@one_sentence("colab", RESULTS, ValueError)
def main():
    """Write the copies, a page that says what they are, and the licence."""
    settings = runpy.run_path(str(ROOT / "site" / "conf.py"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "colab", help="folder for the notebooks")
    parser.add_argument("--repository", default=settings["REPOSITORY"], help="address that the notebooks clone")
    parser.add_argument("--branch", default=settings["BRANCH"], help="its branch")
    arguments = parser.parse_args()
    if "/OWNER/" in arguments.repository:
        sys.exit(
            "colab: expected the address of the repository, and git's origin is not on GitHub: put yours into "
            "site/conf.py, or name it with --repository"
        )
    with Results.alone(arguments.out.resolve()) as results:
        for name, text in copies(arguments.repository, arguments.branch):
            results.write(name, text)
        about = README.format(repository=arguments.repository, branch=arguments.branch)
        results.write("README.md", about)
        results.write("LICENSE", (ROOT / "LICENSE").read_text(encoding="utf-8"))
    print(f"Done: {arguments.out}")


if __name__ == "__main__":
    main()

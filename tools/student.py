"""A repository of the course for students: ``python tools/student.py FOLDER --variant 2027 --address https://…``.

It has no solutions, hidden checks, tests or grader. Each run is a commit on its branch ``course``, which is then merged
into its branch ``main``: what was changed in ``main`` stays, and a student's own copy takes updates with ``git pull``.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import release
from guard import ROOT, one_sentence

from utils.files import write_atomically

LEFT_OUT = ("homework/source/", "homework/grading/", "tests/", ".ci/", "conftest.py", "CONTRIBUTING.md")
LEFT_OUT += (".github/workflows/test.yml", ".github/workflows/weekly.yml")
FOR_TEACHERS = "Everything below is for those who teach."
BRANCH, MAIN = "course", "main"
SECRETS = re.compile(r"### BEGIN (?:SOLUTION|HIDDEN TESTS|MARK SCHEME)")
GITHUB = re.compile(r"https://github\.com/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?")


class StudentError(ValueError):
    """The repository cannot be made; the message says what was expected."""


def git(folder, *arguments, **environment):
    """Run git in a folder and give what it printed; a StudentError if it fails."""
    command = ["git", "-C", str(folder), *arguments]
    own = {**os.environ, "GIT_TERMINAL_PROMPT": "0", **environment}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=own)
    except FileNotFoundError:
        raise StudentError("expected the command git, it is not installed") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:300]
        raise StudentError(f"{folder}: git {arguments[0]} failed ({said})")
    return done.stdout.strip()


def contents(variant, address=None):
    """What students get.

    Parameters
    ----------
    variant : str
        Of the homework.
    address : str, optional
        Of the repository on GitHub; README.md then links its site and starts it on Binder.

    Returns
    -------
    dict of str to bytes
        By the path in the repository.

    Raises
    ------
    StudentError
        If a file has a mark of a solution or a hidden test.
    """
    names = git(ROOT, "ls-files", "-z").split("\0")
    kept = [name for name in names if name and not name.startswith(LEFT_OUT) and (ROOT / name).is_file()]
    files = {name: (ROOT / name).read_bytes() for name in kept if not name.startswith("homework/release/")}
    for path, text in release.generated(variant).items():
        if path.is_relative_to(release.RELEASE):
            files[path.relative_to(ROOT).as_posix()] = text.encode()
    page = files["homework/README.md"].decode().partition(FOR_TEACHERS)[0].rstrip()
    files["homework/README.md"] = f"{page}\n".encode()
    if address:
        title, _, rest = files["README.md"].decode().partition("\n")
        files["README.md"] = f"{title}\n\n{_links(variant, address)}\n{rest}".encode()
    marked = [name for name, data in files.items() if name != "tools/release.py" and _has_secrets(name, data)]
    if marked:
        raise StudentError(f"expected no marks of solutions or hidden tests, found some in {', '.join(marked)[:300]}")
    return files


def _has_secrets(name, data):
    """Whether a text has a mark of a solution; this tool itself names them."""
    own = Path(__file__).relative_to(ROOT).as_posix()
    return name != own and bool(SECRETS.search(data.decode("utf-8", errors="replace")))


def _links(variant, address):
    """Where a class finds its course."""
    found = GITHUB.fullmatch(address)
    if found is None:
        raise StudentError(f"--address: expected one like https://github.com/owner/name, got {address!r}")
    owner, name = found["owner"], found["name"]
    return (
        f"The course of the class {variant}: [its site](https://{owner.lower()}.github.io/{name}/), and\n"
        f"[JupyterLab on Binder](https://mybinder.org/v2/gh/{owner}/{name}/{MAIN}?urlpath=lab). The homework is in\n"
        "`homework/release`.\n"
    )


def commit(repository, files, message):
    """Write files as a commit on the branch of the course; False if it has them already."""
    with tempfile.TemporaryDirectory(prefix="course-student-") as folder:
        for name, data in files.items():
            path = Path(folder, "files", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
        where = {"GIT_INDEX_FILE": str(Path(folder, "index")), "GIT_WORK_TREE": str(Path(folder, "files"))}
        where["GIT_DIR"] = str((repository / ".git").resolve())
        git(Path(folder, "files"), "add", "--all", "--force", ".", **where)
        tree = git(Path(folder, "files"), "write-tree", **where)
    before = git(repository, "for-each-ref", "--format=%(objectname)", f"refs/heads/{BRANCH}")
    if before and git(repository, "rev-parse", f"{before}^{{tree}}") == tree:
        return False
    parents = ["-p", before] if before else []
    new = git(repository, *_who(repository), "commit-tree", tree, *parents, "-m", message)
    git(repository, "update-ref", f"refs/heads/{BRANCH}", new)
    return True


def _who(repository):
    """A name for commits where git knows none."""
    try:
        git(repository, "var", "GIT_COMMITTER_IDENT")
        return []
    except StudentError:
        return ["-c", "user.name=the course", "-c", "user.email=course@localhost"]


def _prepare(repository, address):
    """Have a repository that is new, or that this tool has made, with nothing in it that is not committed."""
    if not (repository / ".git").exists():
        if repository.exists() and any(repository.iterdir()):
            raise StudentError(
                f"{repository}: expected a new or empty folder, or what `make student` made; got another"
            )
        repository.mkdir(parents=True, exist_ok=True)
        git(repository, "init", "--quiet", f"--initial-branch={MAIN}")
    elif not git(repository, "for-each-ref", f"refs/heads/{BRANCH}"):
        raise StudentError(
            f"{repository}: expected a repository that `make student` made, got one without a branch {BRANCH}"
        )
    if git(repository, "status", "--porcelain"):
        raise StudentError(
            f"{repository}: expected nothing in it that is not committed; commit it, then run this again"
        )
    if address and not git(repository, "remote"):
        git(repository, "remote", "add", "origin", address)


def make(repository, variant, address=None):
    """Make or update the repository of a class; gives a sentence about what was done, or raises a StudentError."""
    repository = Path(repository).resolve()
    if repository == ROOT or repository.is_relative_to(ROOT):
        raise StudentError(f"{repository}: expected a folder outside of the course")
    files = contents(variant, address)
    _prepare(repository, address)
    new = not git(repository, "for-each-ref", f"refs/heads/{MAIN}")
    if not commit(repository, files, f"The course of {variant}"):
        return f"{repository} has everything already"
    if new:
        git(repository, "checkout", "--quiet", "-B", MAIN, BRANCH)
        return f"{repository} is made, with {len(files)} files of variant {variant}"
    git(repository, "checkout", "--quiet", MAIN)
    try:
        git(repository, *_who(repository), "merge", "--quiet", "-m", f"Merge the course of {variant}", BRANCH)
    except StudentError:
        git(repository, "merge", "--abort")
        raise StudentError(
            f"{repository}: expected that the course can be merged into {MAIN}, but both changed the same lines: run "
            f"`git merge {BRANCH}` in that folder, mend what it names, and commit"
        ) from None
    return f"{repository} is updated: {MAIN} has the course of variant {variant}, and what was changed there"


@one_sentence("student", "choose another folder with REPO=folder", StudentError, release.LeakError, ValueError)
def main(arguments=None):
    """Make the repository, and say what to do with it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("repository", type=Path, help="a folder, which is new or was made by this command")
    parser.add_argument("--variant", help="such as the year; by default that of the sources")
    parser.add_argument("--address", help="of the repository on GitHub, for its links")
    options = parser.parse_args(arguments)
    if not release.assignments():
        raise StudentError("expected the sources in homework/source, found none: this is a student's copy already")
    print(f"student: {make(options.repository, options.variant or release.current_variant(), options.address)}")
    print(f"student: publish its branch {MAIN}, and never this course's own; grade with the same VARIANT")


if __name__ == "__main__":
    sys.exit(main())

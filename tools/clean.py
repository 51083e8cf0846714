"""Remove what the commands of the course made, and nothing else; grades stay, for a person may have entered points."""

import argparse
import contextlib
import shutil
from pathlib import Path

from guard import ROOT, BusyError, alone, one_sentence
from results import LIST, Results

CACHES = (".pytest_cache", ".ruff_cache", ".hypothesis")
CODE = ("utils", "tests", "tools", "homework")


def remove_results(build):
    """Remove the results in a folder and one or two levels below it; gives what is left.

    A BusyError, where another run writes to one of them, comes after the others were cleaned.
    """
    busy = None
    for written in sorted(path for depth in ("*/*/", "*/", "") for path in build.glob(depth + LIST)):
        try:
            with alone(written.parent):
                Results(written.parent).remove()
        except BusyError as error:
            busy = error
        except FileNotFoundError:  # another `make clean` was faster
            continue
        for folder in written.parents:
            if folder == build or build in folder.parents:
                with contextlib.suppress(OSError):  # it is gone, or there is something else in it
                    folder.rmdir()
    if busy:
        raise busy
    return sorted(build.iterdir()) if build.is_dir() else []


def remove_caches(root):
    """Remove the caches of Python, pytest, Ruff, Hypothesis and coverage; links are not followed."""
    for name in CACHES:
        shutil.rmtree(root / name, ignore_errors=True)
    (root / ".coverage").unlink(missing_ok=True)
    caches = [path for code in CODE for path in (root / code).rglob("__pycache__") if not path.is_symlink()]
    for cache in caches:
        for path in cache.glob("*.pyc"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is something else in it
            cache.rmdir()


@one_sentence("clean", "remove what is left by hand")
def main():
    """Clean, and say what was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="the folder of the results (%(default)s)")
    parser.add_argument("--grades", type=Path, help="the folder of the grades (default: BUILD/grades)")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    grades = (arguments.grades or build / "grades").resolve()
    remove_caches(ROOT)
    left = remove_results(build)
    if grades.exists():
        print(f"clean: kept {grades}, for points that a person entered may be in it; to remove it: rm -r '{grades}'")
    if others := [path.name for path in left if path != grades]:
        print(f"clean: kept in {build} what the course did not write, or what was changed since: {', '.join(others)}")


if __name__ == "__main__":
    main()

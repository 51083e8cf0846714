"""Write the table of README.md and notebooks/labs/VERDICTS.md from the executed notebooks: nothing is typed twice.

It counts the minutes of the lessons, too, and leaves those of the core path in build/minutes.json.
"""

import argparse
import json
import sys

import nbformat
from collected import summary, verdicts
from execute import LABS, LESSONS, find_notebooks
from guard import CHECKOUT, ROOT, one_sentence
from minutes import minutes, optional_minutes
from results import Results

from utils.files import write_atomically

README = ROOT / "README.md"
VERDICTS = LABS / "VERDICTS.md"
INTRODUCTION = """\
# Verdicts

<!-- written by make readme -->

This table holds what the course has judged so far. The statements, their sources and the predictions are in
[data/claims.toml](../../data/claims.toml). A prediction is written before its experiment is run and never edited
afterwards; the file says where small trial runs came first, and what was changed after a run. The numbers are on cards
in the labs, below the cells that judge.

Under one condition a claim holds if, over the seeds, the whole interval of the effect lies on the claim's side of the
smallest effect that matters. It fails if the whole interval lies on the other side. A claim is judged under several
conditions: two numbers of steps, two data sets, and those of its own.

- **holds**: it holds under all conditions.
- **depends**: it holds under some and fails under others; its card says on what that depends.
- **fails**: it fails under all conditions.
- **undecided**: anything else.
- **not recorded yet**: the long run has not come to it.
"""


def notebooks_table(paths):
    """One row per lesson: number, title, minutes, lab."""
    rows = ["| lesson | minutes | lab |", "|---|---|---|"]
    for path in paths:
        found = summary(path)
        lab = f"[lab {found.number}](notebooks/labs/{path.name})" if (LABS / path.name).exists() else ""
        rows.append(f"| [{found.number} {found.title}](notebooks/{path.name}) | {found.minutes} | {lab} |")
    return "\n".join(rows)


def verdicts_page(paths):
    """The page of verdicts, in the folder of the labs: one row per card in an executed notebook."""
    rows = ["| claim | prompted by | verdict | judged in |", "|---|---|---|---|"]
    for found in verdicts(paths):
        claim = found.claim
        link = f"[{found.place}]({found.stem}.ipynb)"
        rows.append(f"| {claim.statement} | {claim.source} | **{found.word}** | {link} |")
    return INTRODUCTION + "\n" + "\n".join(rows) + "\n"


def filled(text, paths):
    """README's text with its table made anew between the markers."""
    begin, end = "<!-- notebooks: written by make readme -->", "<!-- end of notebooks -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"README.md: expected the lines {begin!r} and {end!r} once each: put them around the table")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{notebooks_table(paths)}\n{end}{rest.split(end)[1]}"


@one_sentence("readme", CHECKOUT, ValueError)
def main():
    """Write both, or with --check say whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a table is stale")
    arguments = parser.parse_args()
    table = filled(README.read_text(encoding="utf-8"), find_notebooks([]))
    wanted = {README: table, VERDICTS: verdicts_page(find_notebooks([], LESSONS, LABS))}
    for path, text in wanted.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if arguments.check:
            sys.exit(f"{path.relative_to(ROOT)}: the table differs from the notebooks: run make readme")
        write_atomically(path, text)
    if not arguments.check:
        lessons = {path.stem: nbformat.read(path, as_version=4) for path in find_notebooks([])}
        counted = {stem: minutes(notebook) for stem, notebook in lessons.items()}
        with Results.alone(ROOT / "build", shared=True) as folder:
            folder.write("minutes.json", json.dumps(counted, indent=2) + "\n")
        for stem, notebook in lessons.items():
            print(f"{counted[stem]:4} minutes, {optional_minutes(notebook):3} optional  {stem}")


if __name__ == "__main__":
    main()

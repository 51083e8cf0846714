"""Write the tables of README.md from the executed notebooks: nothing is typed twice."""

import argparse
import re
import sys

import nbformat
from execute import ROOT, find_notebooks, write_atomically

from utils import evidence

README = ROOT / "README.md"


def _goal_and_minutes(notebook):
    """The first sentence after the title, and the minutes of the core path."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title = re.search(r"^# (.+)$", text, re.MULTILINE).group(1)
    minutes = re.search(r"\*\*Minutes\*\*: (\d+)", text).group(1)
    return title, minutes


def notebooks_table(paths):
    """A row for each notebook: number, title, minutes."""
    rows = ["| notebook | minutes |", "|---|---|"]
    for path in paths:
        title, minutes = _goal_and_minutes(nbformat.read(path, as_version=4))
        rows.append(f"| [{path.stem[:2]} {title}](notebooks/{path.name}) | {minutes} |")
    return "\n".join(rows)


def claims_table(paths):
    """A row for each verdict that stands in an executed notebook."""
    known = evidence.claims()
    rows = ["| claim | prompted by | verdict | notebook |", "|---|---|---|---|"]
    for path in paths:
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                card = output.get("data", {}).get(evidence.MIME)
                if card:
                    claim = known[card["id"]]
                    rows.append(f"| {claim.statement} | {claim.source} | **{card['verdict']}** | {path.stem[:2]} |")
    return "\n".join(rows)


def filled(text, paths):
    """README's text with both tables made anew between their markers."""
    for name, table in (("notebooks", notebooks_table(paths)), ("claims", claims_table(paths))):
        begin, end = f"<!-- {name}: written by make readme -->", f"<!-- end of {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            sys.exit(f"README.md: expected the lines {begin!r} and {end!r} once each")
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{table}\n{end}{rest.split(end)[1]}"
    return text


def main():
    """Write the tables, or with --check say whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the tables are stale")
    arguments = parser.parse_args()
    old = README.read_text(encoding="utf-8")
    new = filled(old, find_notebooks([]))
    if arguments.check and new != old:
        sys.exit("README.md: the tables differ from the notebooks; run make readme")
    if not arguments.check and new != old:
        write_atomically(README, new)


if __name__ == "__main__":
    main()

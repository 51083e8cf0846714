"""Write the tables of README.md from the executed notebooks: nothing is typed twice."""

import argparse
import sys

from collected import summary, verdicts
from execute import ROOT, find_notebooks, write_atomically
from guard import CHECKOUT, one_sentence

README = ROOT / "README.md"


def notebooks_table(paths):
    """A row for each notebook: number, title, minutes."""
    rows = ["| notebook | minutes |", "|---|---|"]
    for path in paths:
        found = summary(path)
        rows.append(f"| [{found.number} {found.title}](notebooks/{path.name}) | {found.minutes} |")
    return "\n".join(rows)


def claims_table(paths):
    """A row for each verdict that stands in an executed notebook."""
    rows = ["| claim | prompted by | verdict | notebook |", "|---|---|---|---|"]
    for found in verdicts(paths):
        claim = found.claim
        rows.append(f"| {claim.statement} | {claim.source} | **{found.card['verdict']}** | {found.stem[:2]} |")
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


@one_sentence("readme", CHECKOUT, ValueError)
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

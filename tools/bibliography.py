"""Write who uses what into the page of the bibliography.

`python tools/bibliography.py`, after `site/references.bib`, a notebook or a claim has changed.
"""

import json
import re

from execute import LABS, LESSONS, ROOT, find_notebooks, label
from guard import CHECKOUT, one_sentence
from pybtex.database import parse_file

from utils import evidence
from utils.files import write_atomically

PAGE = ROOT / "site" / "bibliography.md"
BEGIN, END = "<!-- entries: written by tools/bibliography.py -->", "<!-- end of entries -->"
KINDS = {"": "Papers and books", "lecture": "Lectures", "documentation": "Documentation and code"}


def plain(text):
    """Text without emphasis and line breaks, to look for words in."""
    return " ".join(text.replace("*", "").split())


def references(path=ROOT / "site" / "references.bib"):
    """The entries of the bibliography.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to pybtex.database.Entry
        In the order of the file.
    """
    return dict(parse_file(str(path), bib_format="bibtex").entries)


def mentions(entry):
    """The words by which the course cites an entry.

    Parameters
    ----------
    entry : pybtex.database.Entry

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If the entry names none.
    """
    found = [part.strip() for part in entry.fields.get("mentions", "").split(";") if part.strip()]
    if not found:
        raise ValueError(
            f"{entry.key}: expected `mentions`, the words by which the course cites it, found none; add them"
        )
    return found


def cited(entry, text):
    """Whether a text cites an entry.

    Parameters
    ----------
    entry : pybtex.database.Entry
    text : str

    Returns
    -------
    bool
    """
    text = plain(text).casefold()
    return any(re.search(rf"(?<!\w){re.escape(one.casefold())}(?!\w)", text) for one in mentions(entry))


def prose():
    """The prose cells of every notebook.

    Returns
    -------
    dict of str to list of str
        Place beneath notebooks/, without ending, to the cells' texts.
    """
    found = {}
    for path in find_notebooks([], LESSONS, LABS):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found[label(path)] = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return found


def uses(entry, notebooks, claims):
    """Who cites an entry.

    Parameters
    ----------
    entry : pybtex.database.Entry
    notebooks : dict of str to list of str
        As `prose` gives them.
    claims : dict of str to utils.evidence.Claim

    Returns
    -------
    stems : list of str
        Notebooks.
    ids : list of str
        Claims.
    """
    stems = [stem for stem, cells in notebooks.items() if any(cited(entry, cell) for cell in cells)]
    return stems, [name for name, claim in claims.items() if cited(entry, claim.source)]


def entries():
    """The part of the page that lists everything with its use.

    Returns
    -------
    str
        Markdown.
    """
    notebooks, claims, found = prose(), evidence.claims(), references()
    parts = []
    for kind, title in KINDS.items():
        parts.append(f"## {title}")
        of_kind = [(key, entry) for key, entry in found.items() if entry.fields.get("keywords", "") == kind]
        for key, entry in of_kind:
            stems, ids = uses(entry, notebooks, claims)
            names = {stem: f"lab {stem[5:7]}" if stem.startswith("labs/") else stem[:2] for stem in stems}
            read = ", ".join(f"[{name}](notebooks/{stem}.ipynb)" for stem, name in names.items())
            judged = ", ".join(f"[{name}](#claim-{name})" for name in ids)
            lines = [f"Notebooks: {read}." if read else "", f"Claims: {judged}." if judged else ""]
            parts.append(f'```{{bibliography}}\n:list: bullet\n:filter: key == "{key}"\n```')
            parts.append(" ".join(line for line in lines if line))
    return "\n\n".join(parts)


def page(text):
    """The page with its entries renewed.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the lines between which the entries stand are missing.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{PAGE.name}: expected the lines {BEGIN} and {END}, found none; put them back")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{entries()}\n\n{END}", text)


@one_sentence("readme", CHECKOUT, ValueError)
def main():
    """Write the page and say how much is on it."""
    write_atomically(PAGE, page(PAGE.read_text(encoding="utf-8")))
    print(f"{PAGE}: {len(references())} entries")


if __name__ == "__main__":
    main()

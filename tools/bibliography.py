"""The part of the site's bibliography that is made: each entry with the notebooks and the claims that use it."""

import re
from functools import cache

import nbformat
from execute import LABS, LESSONS, find_notebooks, label
from guard import ROOT

from utils import evidence

KINDS = {"": "Papers and books", "lecture": "Lectures", "documentation": "Documentation and code"}


@cache
def plain(text):
    """Text without emphasis, line breaks and capitals, to look for words in."""
    return " ".join(text.replace("*", "").split()).casefold()


def references(path=ROOT / "site" / "references.bib"):
    """The entries of the bibliography."""
    from pybtex.database import parse_file  # comes with the extra [site], which the tests of other pages do without

    return dict(parse_file(str(path), bib_format="bibtex").entries)


def mentions(entry):
    """The words by which the course cites an entry."""
    found = [part.strip() for part in entry.fields.get("mentions", "").split(";") if part.strip()]
    if not found:
        raise ValueError(
            f"{entry.key}: expected `mentions`, the words by which the course cites it, found none; add them"
        )
    return found


def cited(entry, text):
    """Whether a text cites an entry."""
    return any(re.search(rf"(?<!\w){re.escape(one.casefold())}(?!\w)", plain(text)) for one in mentions(entry))


def prose():
    """The prose cells of every lesson and lab: place beneath notebooks/, without ending -> texts."""
    cells = {label(path): nbformat.read(path, as_version=4).cells for path in find_notebooks([], LESSONS, LABS)}
    return {name: [cell.source for cell in found if cell.cell_type == "markdown"] for name, found in cells.items()}


def uses(entry, notebooks, claims):
    """Who cites an entry: the stems of notebooks, the ids of claims."""
    stems = [stem for stem, cells in notebooks.items() if any(cited(entry, cell) for cell in cells)]
    return stems, [name for name, claim in claims.items() if cited(entry, claim.source)]


def entries():
    """The part of the page that lists everything with its use."""
    notebooks, claims, found = prose(), evidence.claims(), references()
    parts = []
    for kind, title in KINDS.items():
        parts.append(f"## {title}")
        for key in (key for key, entry in found.items() if entry.fields.get("keywords", "") == kind):
            stems, ids = uses(found[key], notebooks, claims)
            names = {stem: f"lab {stem[5:7]}" if stem.startswith("labs/") else stem[:2] for stem in stems}
            read = ", ".join(f"[{name}](notebooks/{stem}.ipynb)" for stem, name in names.items())
            judged = ", ".join(f"[{name}](#claim-{name})" for name in ids)
            parts.append(f'```{{bibliography}}\n:list: bullet\n:filter: key == "{key}"\n```')
            parts.append(" ".join([f"Notebooks: {read}."] * bool(read) + [f"Claims: {judged}."] * bool(judged)))
    return "\n\n".join(parts)

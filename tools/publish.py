"""A notebook as the site shows it: alt texts, cards that fit both themes, anchors, explorers that need no kernel."""

import copy
import re

import guard  # noqa: F401  puts this checkout's helpers first
import nbformat
from collected import home

from utils import evidence

VIEW = "application/vnd.jupyter.widget-view+json"
EXPLORERS = {  # page and cell of an explorer -> its fragment, which moves without a kernel
    ("02_loss_surfaces", "explore-explorer"): "loss_surface",
    ("06_weight_initialization", "five-explorer"): "signal_propagation",
}


def anchor(claim_id):
    """The name of the place where a claim is judged."""
    return f"claim-{claim_id}"


def cell_anchor(page, cell_id):
    """The name of the place of a cell on the page of a notebook, such as labs/02_x; no two pages share one."""
    return f"cell-{page.replace('labs/', 'lab-')[: 6 if '/' in page else 2]}-{cell_id}"


def _has_anchor(cell):
    """Whether other pages link to a cell: code, and questions that ask for a prediction."""
    return cell.cell_type == "code" or "**Predict.**" in cell.source


def place(claim):
    """Where on the site a claim is judged."""
    return f"notebooks/{home(claim)}.html#{anchor(claim.id)}"


def up_from(page):
    """The way from the page of a notebook, such as labs/02_x, to the root of the site."""
    return "../" * (page.count("/") + 1)


def card(claim, found, page):
    """A verdict as HTML: as it is stored, with links."""
    up = up_from(page)
    link = f'<a class="verdict-all" href="{up}evidence.html#row-{claim.id}">all verdicts</a>'
    there = "" if page == home(claim) else f'<a href="{up}{place(claim)}">the experiment</a> · '
    return f'{found.data["text/html"]}<p class="claim-links">{there}{link}</p>'


def css_class(verdict):
    """The class of a verdict: ``is-not-recorded-yet``."""
    return "is-" + verdict.replace(" ", "-")


def _published_output(output, cell, claims, page):
    """One output for the page: no JSON of cards, no widgets without a kernel."""
    data, where = output.get("data", {}), f"{page}.ipynb: cell {cell.id}"
    data.pop(VIEW, None)
    if "image/png" in data:
        about = output.metadata.get("image/png", {})
        if not about.get("alt"):
            raise ValueError(f"{where}: expected a figure with alt text, got one without: use plotting.show")
        if "mystnb" in cell.metadata:
            raise ValueError(f"{where}: expected one figure per cell, got two: alt texts belong to cells here")
        width = {"width": f"{about['width']}px"} if "width" in about else {}
        cell.metadata["mystnb"] = {"image": {"alt": about["alt"], **width}}
    if evidence.MIME in data:
        found = card(claims[data[evidence.MIME]["id"]], output, page)
        output["data"] = nbformat.from_dict({"text/html": found})


def published(notebook, page, *, claims, launch="", explorers=()):
    """A copy of an executed notebook for the site, with `launch`, which says where to run it, after its title.

    `page` is its place beneath notebooks/, without ending. The copy has an anchor for every code cell and prediction
    and where it judges, alt text for every figure, and after the picture of each of `explorers` (fragments) the
    explorer itself, which needs no kernel.
    """
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    cells = []
    for cell in notebook.cells:
        before, after = [f"({cell_anchor(page, cell.id)})="] if _has_anchor(cell) else [], []
        for output in cell.get("outputs", []):
            claim = claims[output.data[evidence.MIME]["id"]] if evidence.MIME in output.get("data", {}) else None
            if claim and home(claim) == page:
                before.append(f"({anchor(claim.id)})=")
            _published_output(output, cell, claims, page)
        fragment = EXPLORERS.get((page, cell.id))
        if fragment in explorers:
            after.append(f"This one needs no kernel:\n\n{embedded(fragment, up_from(page))}")
        if launch and cell.cell_type == "markdown" and re.match(r"# ", cell.source):
            cell.source, rest = (cell.source + "\n").split("\n", 1)
            after += [launch, *([rest] if rest.strip() else [])]
        new = nbformat.v4.new_markdown_cell
        cells += [new(source, id=f"{cell.id}-before-{i}") for i, source in enumerate(before)]
        cells += [cell, *(new(source, id=f"{cell.id}-after-{i}") for i, source in enumerate(after))]
    notebook.cells = cells
    return notebook


def embedded(fragment, up=""):
    """Markdown that includes an explorer; `up` is the way from the page to the root of the site."""
    return f"```{{raw}} html\n:file: {up}explorers/{fragment}.html\n```"


def notebook_links(path, *, repository):
    """Markdown links that open a notebook, by its path in the repository, on Colab and Kaggle."""
    copied = f"{repository.removeprefix('https://github.com/')}/blob/colab/{path}"  # tools/colab.py makes this branch
    return (
        f"[Colab](https://colab.research.google.com/github/{copied})\n"
        f"[Kaggle](https://kaggle.com/kernels/welcome?src=https://github.com/{copied})"
    )


def launch_links(page, *, repository, branch):
    """Markdown with the places where a notebook can be run, and the notebook itself."""
    name, up = repository.removeprefix("https://github.com/"), up_from(page)
    path = f"notebooks/{page}.ipynb"
    return (
        "{.launch}\n"
        f"{notebook_links(path, repository=repository)}\n"
        f"[Binder](https://mybinder.org/v2/gh/{name}/{branch}?urlpath=lab/tree/{path})\n"
        f"{{download}}`download <{up}downloads/{page}.ipynb>`\n"
        f"[other ways to run it]({up}teach.md#where-to-run-it)"
    )

"""The parts of the site's pages that are made: tables of notebooks, modules and assignments, and what to run live."""

import ast
import html
import re
from urllib.parse import urlencode

import evidence_page
import nbformat
from execute import ROOT
from publish import embedded


def notebooks_table(summaries, labs):
    """The lessons in order, with the first goal of each, the minutes of its core path, and its lab."""
    rows = ["| lesson | minutes | you will be able to | lab |", "|---|---|---|---|"]
    for found in summaries:
        link = f"[{found.number} {found.title}](notebooks/{found.stem}.ipynb)"
        lab = f"labs/{found.stem}"
        beside = f"[lab {found.number}](notebooks/{lab}.ipynb)" if lab in labs else ""
        rows.append(f"| {link} | {found.minutes} | {found.goals[0]} | {beside} |")
    return "\n".join(rows)


def toctree(names, caption="", *, hidden=True):
    """A table of contents for the side bar.

    Parameters
    ----------
    names : list of str
        Pages without ending, or "title <page>".
    caption : str
    hidden : bool
        Whether the page itself does not show it.

    Returns
    -------
    str
    """
    options = [f":caption: {caption}"] * bool(caption) + [":hidden:"] * hidden
    return "\n".join(["```{toctree}", *options, "", *names, "```"])


def teaching_table(summaries):
    """Minutes, and what to know before, for each notebook.

    Parameters
    ----------
    summaries : list of collected.Summary

    Returns
    -------
    str
    """
    rows = ["| lesson | minutes | before you start | sections | optional cells |", "|---|---|---|---|---|"]
    for found in summaries:
        numbered = [section for section in found.sections if section.title[0].isdigit()]
        optional = sum(len(section.code("optional")) for section in found.sections)
        link = f"[{found.number} {found.title}](notebooks/{found.stem}.ipynb)"
        rows.append(f"| {link} | {found.minutes} | {found.before} | {len(numbered)} | {optional} |")
    total = sum(found.minutes for found in summaries)
    return "\n".join([*rows, f"| all | {total} | | | |"])


def slug(title):
    """The anchor that MyST gives to a heading, which is GitHub's.

    Parameters
    ----------
    title : str

    Returns
    -------
    str
    """
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def _is_experiment(cell):
    return "evidence.judge(" in cell.source


def live_plan(summaries):
    """For each notebook and section, how many cells to run live, which to skip, and where to stop for a prediction.

    Parameters
    ----------
    summaries : list of collected.Summary

    Returns
    -------
    str
    """
    parts = []
    for found in summaries:
        rows = ["| section | run live | judge | optional | ask first |", "|---|---|---|---|---|"]
        for section in found.sections:
            core, optional = section.code("core"), section.code("optional")
            if not core and not optional:
                continue
            judged = sum(_is_experiment(cell) for cell in core)
            ask = "yes" if section.has_prediction else "no"
            link = f"[{section.title}](notebooks/{found.stem}.ipynb#{slug(section.title)})"
            rows.append(f"| {link} | {len(core) - judged} | {judged} | {len(optional)} | {ask} |")
        parts.append(f"### {found.number} {found.title}\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def modules_in_order(contributing):
    """The modules of `utils` as CONTRIBUTING.md orders them: each knows only those before it.

    Parameters
    ----------
    contributing : str
        The text of that file.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If the sentence is not there.
    """
    match = re.search(r"Modules of `utils` know only those above them: (.+?)\.\n", contributing, re.DOTALL)
    if not match:
        raise ValueError(
            "CONTRIBUTING.md: expected 'Modules of `utils` know only those above them: …', found no such line"
        )
    return re.findall(r"`([\w.]+)`", match[1])


def source_of(name):
    """The text of a module of `utils`.

    Parameters
    ----------
    name : str
        Such as "lab.training".

    Returns
    -------
    str
    """
    return (ROOT / "utils" / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")


def idea_of(source):
    """The first sentence of a module's docstring.

    Parameters
    ----------
    source : str
        Its code.

    Returns
    -------
    str
    """
    return " ".join(ast.get_docstring(ast.parse(source)).split("\n\n")[0].split())


def module_page(name):
    """The page of one module, for autodoc.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
    """
    # What is inherited is shown where the course wrote it, not where PyTorch or Python did.
    options = "   :members:\n   :inherited-members: Module, BaseException, tuple, dict\n"
    return f"# utils.{name}\n\n```{{eval-rst}}\n.. automodule:: utils.{name}\n{options}```\n"


def modules_table(ideas):
    """The modules with what each is about.

    Parameters
    ----------
    ideas : dict of str to str

    Returns
    -------
    str
    """
    rows = [f"| [`{name}`](api/{name}.md) | {idea} |" for name, idea in ideas.items()]
    return "\n".join(["| module | idea |", "|---|---|", *rows])


def homework_body(readme):
    """The homework's README without its title, its headings as they are.

    Parameters
    ----------
    readme : str

    Returns
    -------
    str
    """
    return readme.split("\n", 1)[1].strip()


def downloads(paths, folder):
    """A list of notebooks to download.

    Parameters
    ----------
    paths : list of Path
    folder : str
        Where they are, from the page.

    Returns
    -------
    str
    """
    rows = []
    for path in paths:
        title = re.search(r"^# (.+)$", nbformat.read(path, as_version=4).cells[0].source, re.MULTILINE)
        rows.append(f"- {{download}}`{title[1] if title else path.stem} <{folder}/{path.name}>`")
    return "\n".join(rows)


def colab_cell(repository):
    """What a notebook on Colab needs first: the helper package and the claims.

    Parameters
    ----------
    repository : str
        Its address on GitHub.

    Returns
    -------
    str
    """
    lines = [
        f"!git clone --depth 1 {repository} course",
        "%cd course/notebooks",
        'import sys; sys.path.insert(0, "..")',
    ]
    return "\n".join(["```", *lines, "```"])


def hub_link(stem, *, repository, branch):
    """A form that makes an nbgitpuller link from the address of a JupyterHub.

    Parameters
    ----------
    stem : str
        The notebook that opens.
    repository : str
        Its address on GitHub.
    branch : str

    Returns
    -------
    str
    """
    folder = repository.rsplit("/", 1)[1]
    asked = urlencode({"repo": repository, "branch": branch, "urlpath": f"lab/tree/{folder}/notebooks/{stem}.ipynb"})
    path = html.escape(f"/hub/user-redirect/git-pull?{asked}")
    return (
        f'<div class="hub-link" data-path="{path}"><label>Address of the hub <input type="url" '
        f'placeholder="https://hub.example.edu" autocomplete="url"></label>'
        f'<p>Link for the students: <a href="https://hub.example.edu{path}">https://hub.example.edu{path}</a></p></div>'
    )


def filled(text, made):
    """A page with its made parts in place of the lines that name them.

    Parameters
    ----------
    text : str
        With lines such as ``<!-- made: notebooks -->``.
    made : dict of str to str

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If a line names a part that is not made.
    """

    def part(match):
        if match[1] not in made:
            raise ValueError(f"<!-- made: {match[1]} -->: expected one of {', '.join(sorted(made))}: correct the page")
        return made[match[1]]

    return re.sub(r"^<!-- made: ([\w-]+) -->$", part, text, flags=re.MULTILINE)


def raw_html(text):
    """Markdown that passes HTML on as it is.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    return f"````{{raw}} html\n{text}\n````"


def all_parts(summaries, verdicts, *, labs, ideas, assignments, readme, fragments, others, repository, branch):
    """Every part that a page may name.

    Parameters
    ----------
    summaries : list of collected.Summary
    verdicts : list of collected.Verdict
    labs : dict of str to str
        Place of each lab beneath notebooks/, without ending, to its title.
    ideas : dict of str to str
        Module to idea, in order.
    assignments : list of Path
        Notebooks that students get.
    readme : str
        Of the homework.
    fragments : collection of str
        The explorers that there are.
    others : list of str
        Pages without ending that the side bar lists after the notebooks.
    repository : str
        Its address on GitHub.
    branch : str

    Returns
    -------
    dict of str to str
    """
    return {
        "notebooks": notebooks_table(summaries, labs),
        "notebooks-toctree": toctree(
            [f"{found.number} {found.title} <notebooks/{found.stem}>" for found in summaries], "Lessons"
        ),
        "labs-toctree": toctree([f"{page[5:7]} {title} <notebooks/{page}>" for page, title in labs.items()], "Labs"),
        "teaching": teaching_table(summaries),
        "live": live_plan(summaries),
        "modules": modules_table(ideas),
        "modules-toctree": toctree([f"api/{name}" for name in ideas]),
        "homework": homework_body(readme),
        "assignments": downloads(assignments, "downloads"),
        "colab": colab_cell(repository),
        "hub": raw_html(hub_link(summaries[0].stem, repository=repository, branch=branch)),
        "toctree": toctree(others, "The course"),
        "evidence-table": raw_html(evidence_page.table(verdicts)),
        "evidence-picture": raw_html(evidence_page.picture(verdicts)),
        "evidence-tally": raw_html(evidence_page.tally(verdicts)),
        **{f"explorer-{name}": embedded(name) for name in fragments},
    }

"""The parts of the site's pages that are made: tables of notebooks, modules and assignments, and what to run live."""

import ast
import html
import re
from urllib.parse import urlencode

import evidence_page
import teaching
import yaml
from collected import slug, title
from guard import ROOT
from publish import embedded, notebook_links

from utils import evidence

# What may be published beside the site: where it is, and what the landing page says about it.
BESIDE = {
    "lite": ("lite/index.html", "Run lessons 01 to 03 in the browser"),
    "pdf": ("lessons.pdf", "All lessons as one PDF"),
    "slides": ("slides/index.html", "Slides"),
}


def table(heads, rows):
    """A table in Markdown; the heads are words between bars."""
    heads = heads.split(" | ")
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (heads, ["---"] * len(heads), *rows))


def notebooks_table(summaries, labs):
    """The lessons in order, with the minutes of the core path, the first goal of each, and its lab."""
    rows = []
    for found in summaries:
        page = f"labs/{found.stem}"
        lab = f"[lab {found.number}](notebooks/{page}.ipynb)" if page in labs else ""
        rows.append((found.link, found.minutes, found.goals[0], lab))
    return table("lesson | minutes | you will be able to | lab", rows)


def toctree(names, caption=""):
    """A table of contents for the side bar; names are pages without ending, or "title <page>"."""
    options = [f":caption: {caption}"] * bool(caption) + [":hidden:"]
    return "\n".join(["```{toctree}", *options, "", *names, "```"])


def teaching_table(summaries):
    """Minutes, and what to know before, for each lesson."""
    rows = []
    for found in summaries:
        numbered = sum(section.title[0].isdigit() for section in found.sections)
        optional = sum(len(section.code("optional")) for section in found.sections)
        rows.append((found.link, found.minutes, found.before, numbered, optional))
    total = ("all", sum(found.minutes for found in summaries), "", "", "")
    return table("lesson | minutes | before you start | sections | optional cells", [*rows, total])


def live_plan(summaries):
    """For each notebook and section its minutes, how many cells to run live or to skip, and whether it asks first."""
    parts = []
    for found in summaries:
        rows = []
        for section in found.sections:
            core, optional = section.code("core"), section.code("optional")
            if not core and not optional:
                continue
            judged = sum("evidence.recorded(" in cell.source for cell in core)
            link = f"[{section.title}](notebooks/{found.stem}.ipynb#{slug(section.title)})"
            counts = (teaching.reading_minutes(section), len(core) - judged, judged, len(optional))
            rows.append((link, *counts, "yes" if section.has_prediction else "no"))
        plan = table("section | minutes | run live | judge | optional | ask first", rows)
        parts.append(f"## {found.number} {found.title}\n\n{plan}")
    return "\n\n".join(parts)


def modules_in_order(contributing):
    """The modules of `utils` as CONTRIBUTING.md orders them: each knows only those before it."""
    words = "Modules of `utils` know only those before them: "
    match = re.search(rf"{words}(.+?)\.\n", contributing, re.DOTALL)
    if not match:
        raise ValueError(f"CONTRIBUTING.md: expected '{words}…', found no such line")
    return re.findall(r"`([\w.]+)`", match[1])


def idea_of(name):
    """The first paragraph of the docstring of a module of `utils`, such as lab.training, or of a package."""
    path = ROOT / "utils" / name.replace(".", "/")
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    return " ".join(ast.get_docstring(ast.parse(source)).split("\n\n")[0].split())


def module_page(name):
    """The page of one module, for autodoc."""
    # What is inherited is shown where the course wrote it, not where PyTorch or Python did.
    options = "   :members:\n   :inherited-members: Module, BaseException, tuple, dict, list\n"
    return f"# utils.{name}\n\n```{{eval-rst}}\n.. automodule:: utils.{name}\n{options}```\n"


def modules_table(ideas):
    """The modules with what each is about."""
    return table("module | idea", ((f"[`{name}`](api/{name}.md)", idea) for name, idea in ideas.items()))


def downloads(paths, folder, *, repository):
    """A list of the assignments, to download or to open elsewhere."""
    rows = []
    for path in paths:
        links = notebook_links(path.relative_to(ROOT).as_posix(), repository=repository).replace("\n", ", ")
        rows.append(f"- {{download}}`{title(path)} <{folder}/{path.name}>` ({links})")
    return "\n".join(rows)


def hub_link(stem, *, repository, branch):
    """A form that makes an nbgitpuller link from the address of a JupyterHub."""
    folder = repository.rsplit("/", 1)[1]
    asked = urlencode({"repo": repository, "branch": branch, "urlpath": f"lab/tree/{folder}/notebooks/{stem}.ipynb"})
    path = html.escape(f"/hub/user-redirect/git-pull?{asked}")
    return (
        f'<div class="hub-link" data-path="{path}"><label>Address of the hub <input type="url" '
        f'placeholder="https://hub.example.edu" autocomplete="url"></label>'
        f'<p>Link for the students: <a href="https://hub.example.edu{path}">https://hub.example.edu{path}</a></p></div>'
    )


def beside_links(names):
    """Where to start: lesson 01, and what is published beside the site; a ValueError for what nobody makes."""
    if unknown := sorted(set(names) - set(BESIDE)):
        raise ValueError(f"--beside: expected some of {', '.join(BESIDE)}, got {', '.join(unknown)}: correct the name")
    links = [("notebooks/01_input_standardization.html", "Start with lesson 01")]
    links += [found for name, found in BESIDE.items() if name in names]
    return '<p class="launch">' + "\n".join(f'<a href="{place}">{words}</a>' for place, words in links) + "</p>"


def citation(repository, path=ROOT / "CITATION.cff"):
    """How to cite the course, as BibTeX from CITATION.cff; with the address of the repository where it is known."""
    try:
        known = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = [one.get("name") or f"{one['family-names']}, {one['given-names']}" for one in known["authors"]]
        fields = {"author": " and ".join(f"{{{name}}}" for name in names), "title": f"{{{known['title']}}}"}
        fields["note"] = f"version {known['version']}"
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name}: expected title, version and authors with names, got {error!r}") from None
    if "/OWNER/" not in repository:
        fields["url"] = repository
    rows = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"```bibtex\n@misc{{normalization-course,\n{rows}\n}}\n```"


def filled(text, made):
    """A page with its made parts in place of the lines that name them, such as ``<!-- made: notebooks -->``."""

    def part(match):
        if match[1] not in made:
            raise ValueError(f"<!-- made: {match[1]} -->: expected one of {', '.join(sorted(made))}: correct the page")
        return made[match[1]]

    return re.sub(r"^<!-- made: ([\w-]+) -->$", part, text, flags=re.MULTILINE)


def raw_html(text):
    """Markdown that passes HTML on as it is."""
    return f"````{{raw}} html\n{text}\n````"


def all_parts(
    summaries,
    verdicts,
    *,
    labs,
    ideas,
    assignments,
    readme,
    fragments,
    others,
    repository,
    branch,
    bibliography,
    lectures,
    beside=(),
):
    """Every part that a page may name.

    `labs` leads from the place of a lab beneath notebooks/, without ending, to its title, `ideas` from module to idea;
    `assignments` are notebooks that students get, `others` pages of the side bar; `lectures` leads from the page of a
    lecture to its short name, and under "" to the table of all; `beside` names keys of BESIDE.
    """
    notebooks = [f"{found.number} {found.title} <notebooks/{found.stem}>" for found in summaries]
    return {
        "bibliography": bibliography,
        "beside": raw_html(beside_links(beside)),
        "citation": citation(repository),
        "notebooks": notebooks_table(summaries, labs),
        "notebooks-toctree": toctree(notebooks, "Lessons"),
        "labs-toctree": toctree([f"{page[5:7]} {title} <notebooks/{page}>" for page, title in labs.items()], "Labs"),
        "teaching": teaching_table(summaries),
        "live": live_plan(summaries),
        **teaching.all_parts(),
        "modules": modules_table(ideas),
        "modules-toctree": toctree([f"api/{name}" for name in ideas]),
        "homework": readme.split("\n", 1)[1].strip(),  # without its title
        "assignments": downloads(assignments, "downloads", repository=repository),
        "hub": raw_html(hub_link(summaries[0].stem, repository=repository, branch=branch)),
        "toctree": toctree(others, "The course"),
        "lectures": lectures[""],
        "lectures-toctree": toctree([f"{name} <follow/{page}>" for page, name in lectures.items() if page], "Lectures"),
        "evidence-table": raw_html(evidence_page.table(verdicts)),
        "evidence-picture": raw_html(evidence_page.picture(verdicts)),
        "evidence-tally": raw_html(evidence_page.tally(verdicts)),
        "evidence-luck": evidence_page.luck(verdicts),
        "evidence-retired": raw_html(evidence_page.retired_list(evidence.retired())),
        **{f"explorer-{name}": embedded(name) for name in fragments},
    }

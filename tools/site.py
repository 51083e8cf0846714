"""Build the web site from the committed notebooks: nothing is executed, and its pages fetch nothing from elsewhere."""

import argparse
import contextlib
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import assets
import bibliography
import covered
import explorers
import follow
import nbformat
import pages
from collected import summary, title, verdicts
from execute import LABS, LESSONS, find_notebooks, label
from guard import RESULTS, ROOT, environment, one_sentence
from publish import launch_links, published
from results import Results

from utils import evidence

SITE = ROOT / "site"
NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx_copybutton", "pybtex")  # of the extra `site`
SIDEBAR = ("run", "evidence", "teach", "homework", "glossary", "bibliography", "api")
NOT_PAGES = ("explorers", "slides", "lite", "pdf", "assets.toml", "__pycache__")


def missing_packages():
    """The packages that the site needs and that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def stage(folder, notebooks, beside=()):
    """Lay everything that Sphinx reads into a folder: pages with their made parts, notebooks, downloads, scripts.

    `beside` names what will lie beside the site: slides, pdf, lite.
    """
    shutil.copytree(SITE, folder, ignore=shutil.ignore_patterns(*NOT_PAGES))
    assets.unpack("mathjax", folder / "_static" / "mathjax")
    fragments = explorers.build(folder / "explorers")
    settings = runpy.run_path(str(SITE / "conf.py"))
    if "/OWNER/" in settings["REPOSITORY"]:
        hint = "site: git's origin is not on GitHub, so links to the repository say OWNER; put yours into site/conf.py"
        print(hint, flush=True)
    summaries = [summary(path) for path in notebooks if path.parent == LESSONS]
    judged = verdicts(notebooks)
    course = _course(notebooks, judged)
    _stage_notebooks(folder, notebooks, fragments, settings, course)
    ideas = _stage_modules(folder)
    assignments = sorted((ROOT / "homework" / "release").glob("*/*.ipynb"))
    for path in assignments:
        shutil.copy(path, folder / "downloads" / path.name)
    made = pages.all_parts(
        summaries,
        judged,
        labs={label(path): title(path) for path in notebooks if path.parent == LABS},
        ideas=ideas,
        assignments=assignments,
        readme=(ROOT / "homework" / "README.md").read_text(encoding="utf-8"),
        fragments=fragments,
        others=SIDEBAR,
        repository=settings["REPOSITORY"],
        branch=settings["BRANCH"],
        bibliography=bibliography.entries(),
        beside=beside,
        lectures=_stage_lectures(folder, course, summaries),
    )
    for page in folder.glob("*.md"):
        page.write_text(pages.filled(page.read_text(encoding="utf-8"), made), encoding="utf-8")


def _course(notebooks, judged):
    """What the pages of the lectures are made from; a ValueError where data/coverage.toml does not fit it."""
    sources, rows = covered.load()
    opened = {label(path): nbformat.read(path, as_version=4) for path in notebooks}
    return follow.checked(
        follow.Course(
            sources=sources,
            rows={row.id: row for row in rows},
            lessons={name: notebook for name, notebook in opened.items() if "/" not in name},
            labs={name.removeprefix("labs/"): notebook for name, notebook in opened.items() if "/" in name},
            verdicts={found.claim.id: found for found in judged},
            terms=follow.terms((SITE / "glossary.md").read_text(encoding="utf-8")),
        )
    )


def _stage_lectures(folder, course, summaries):
    """A page for each lecture; gives their short names by page, and the table of all under ""."""
    (folder / "follow").mkdir()
    for source in course.sources.values():
        page = follow.page(course, source, summaries)
        (folder / "follow" / f"{source.page}.md").write_text(page, encoding="utf-8")
    return {"": follow.table(course), **{source.page: source.short for source in course.sources.values()}}


def _stage_notebooks(folder, notebooks, fragments, settings, course):
    claims = evidence.claims()
    for name in ("notebooks/labs", "downloads/labs"):
        (folder / name).mkdir(parents=True)
    for path in notebooks:
        page = label(path)
        launch = launch_links(page, repository=settings["REPOSITORY"], branch=settings["BRANCH"])
        kind = "lesson" if path.parent == LESSONS else "lab"
        launch = f"{{.kind .{kind}}}\n{kind.capitalize()} {path.stem[:2]}\n\n{launch}"
        if path.parent == LESSONS:
            launch += f"\n\n{follow.goes_with(course, path.stem)}"
        notebook = nbformat.read(path, as_version=4)
        made = published(notebook, page, claims=claims, launch=launch, explorers=fragments)
        nbformat.write(made, folder / "notebooks" / f"{page}.ipynb")
        shutil.copy(path, folder / "downloads" / f"{page}.ipynb")


def _stage_modules(folder):
    """A page for each module of `utils`; gives what each is about."""
    names = pages.modules_in_order((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    (folder / "api").mkdir()
    for name in names:
        (folder / "api" / f"{name}.md").write_text(pages.module_page(name), encoding="utf-8")
    return {name: pages.idea_of(name) for name in names}


def build(source, builder):
    """Run Sphinx, for which a warning is an error: the folder of the site, or None where it complained."""
    part = source.with_name(builder)
    command = [sys.executable, "-m", "sphinx", "-b", builder, "-W", "--keep-going", "-E", "-q"]
    command += ["-d", str(source.with_name("trees")), str(source), str(part)]
    if subprocess.run(command, env=environment(), check=False).returncode:
        return None
    for path in part.rglob("*.map"):  # of the theme, for debugging it
        path.unlink()
    return part


def _build_into(out, builder, beside):
    """Build in a new folder, then put the site in its place: the old one stays where the new one fails."""
    with Results.alone(out) as results, contextlib.ExitStack() as cleanup:
        work = Path(tempfile.mkdtemp(prefix="site-work-", dir=out.parent))
        cleanup.callback(shutil.rmtree, work, ignore_errors=True)
        stage(work / "source", find_notebooks([], LESSONS, LABS), beside)
        part = build(work / "source", builder)
        if part is None:
            cleanup.pop_all()  # the folder stays
            Results(work, shared=True).adopt()
            sys.exit(f"site: Sphinx found something wrong, see above; what it made is in {work / builder}")
        results.write_tree(part)


@one_sentence("site", RESULTS, assets.AssetError, ValueError)
def main():
    """Stage, build, say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="folder for results; the site goes to site/")
    parser.add_argument("--beside", default="", help="what will be published beside the site: slides pdf lite")
    parser.add_argument("--linkcheck", action="store_true", help="ask every address that is linked to (network)")
    arguments = parser.parse_args()
    if missing := missing_packages():
        sys.exit(f"site: expected {', '.join(missing)}, found none: make site installs them (extra 'site')")
    began, results = time.perf_counter(), arguments.build.resolve()
    out = results / ("links" if arguments.linkcheck else "site")
    print("Building the site, which takes about half a minute ...", flush=True)
    _build_into(out, "linkcheck" if arguments.linkcheck else "html", arguments.beside.split())
    first = out / ("output.txt" if arguments.linkcheck else "index.html")
    print(f"Done: {first} ({time.perf_counter() - began:.0f} s)")


if __name__ == "__main__":
    main()

"""The main job: execute the lessons, or with --labs the labs, and leave copies, HTML and times for reading."""

import argparse
import copy
import json
import re
import sys
from pathlib import Path

import nbformat
from execute import LABS, LESSONS, execute_all, find_notebooks, report_failures
from guard import RESULTS, ROOT, one_sentence
from latex2mathml import converter
from nbconvert import HTMLExporter
from results import Results
from traitlets.config import Config

MATH_OR_CODE = re.compile(r"```.*?```|`[^`\n]*`|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+?)\$", re.DOTALL)
# The page loads nothing: no MathJax, no RequireJS, no scripts for widgets, whose picture is shown instead. A picture
# has its text, which nbconvert leaves out, and code that is folded in the notebook is folded here.
TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_css %}{{ super() }}
<style>mtd[columnalign="left"] { text-align: left; } mtd[columnalign="right"] { text-align: right; }</style>
{% endblock %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_requirejs %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block input_group %}
{% if 'hide-input' in cell.metadata.get('tags', []) %}
<details class="folded"><summary>Code of the picture</summary>{{ super() }}</details>
{% else %}{{ super() }}{% endif %}
{% endblock %}
{% block data_png scoped %}
{{ super() | replace('<img ', '<img alt="' ~ ((output.data['text/plain'] or '') | escape_html) ~ '" ') }}
{% endblock %}"""
SHOWN_FIRST = ["text/html", "image/png", "text/markdown", "text/plain"]


def _mathml(match):
    """One formula as MathML, which browsers draw by themselves; code stays as it is."""
    if match["block"]:
        block = " ".join(match["block"].split())
        return converter.convert(block.replace("{aligned}", "{align*}"), display="block")  # the other it does not know
    return converter.convert(match["inline"]) if match["inline"] else match[0]


# The links between a lesson and its lab. The copies are in folders side by side.
TO_LAB, TO_LESSON = re.compile(r"\]\(labs/(\w+)\.ipynb"), re.compile(r"\]\(\.\./(\w+)\.ipynb")


def relinked(notebook, ending):
    """A copy whose links between lessons and labs lead to the other copies, or with ".html" to their pages."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = TO_LESSON.sub(rf"](../course/\1{ending}", cell.source)
            cell.source = TO_LAB.sub(rf"](../labs/\1{ending}", cell.source)
    return notebook


def as_page(notebook):
    """A notebook as an HTML page that needs no network."""
    notebook = relinked(notebook, ".html")
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = MATH_OR_CODE.sub(_mathml, cell.source)
    config = Config(NbConvertBase={"display_data_priority": SHOWN_FIRST})
    return HTMLExporter(raw_template=TEMPLATE, config=config).from_notebook_node(notebook)[0]


def _add_page(run, pages):
    """Make the page of a notebook that was executed; a page that cannot be made is a failure of this notebook alone."""
    if run.notebook is None:
        return
    try:
        pages[run.path] = as_page(run.notebook)
    except Exception as error:
        run.error = run.error or f"its page could not be made ({type(error).__name__}: {error})"


def main():
    """Read what is asked for; the command is that of the Makefile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labs", action="store_true", help="the labs instead of the lessons")
    parser.add_argument("--out", type=Path, help="folder for the results (default: build/course or build/labs)")
    parser.add_argument("notebooks", nargs="*", help="some notebooks only")
    arguments = parser.parse_args()
    command = "labs" if arguments.labs else "course"
    with one_sentence(command, RESULTS):
        paths = find_notebooks(arguments.notebooks, LABS if arguments.labs else LESSONS)
        make(paths, (arguments.out or ROOT / "build" / command).resolve())


def make(paths, out):
    """Execute, export, say where the results are."""
    if twice := sorted({path.stem for path in paths if sum(path.stem == other.stem for other in paths) > 1}):
        sys.exit(f"expected notebooks of different names, got two called {twice[0]}: run the command once for each")
    with Results.alone(out) as results:
        results.check(["timings.json", *(f"{path.stem}{end}" for path in paths for end in (".ipynb", ".html"))])
        print(f"Executing {len(paths)} notebook{'s, two at a time' if len(paths) > 1 else ''} ...", flush=True)
        pages = {}
        runs = execute_all(paths, done=lambda run: _add_page(run, pages))
        executed = [run for run in runs if run.notebook]
        for run in executed:
            results.write(run.path.name, nbformat.writes(relinked(run.notebook, ".ipynb")) + "\n")
            if run.path in pages:
                results.write(f"{run.path.stem}.html", pages[run.path])
        times = {run.path.stem: round(run.seconds, 2) for run in executed}
        results.write("timings.json", json.dumps(times, indent=2) + "\n")
    for stem, seconds in times.items():
        print(f"  {seconds:6.1f} s  {out / stem}.html")
    print(f"Results: {out} (executed notebooks, HTML, timings.json)")
    report_failures(runs)


if __name__ == "__main__":
    main()

"""The main job: execute every notebook of the course and leave copies, HTML and times for reading."""

import argparse
import copy
import html
import json
import re
from pathlib import Path

import nbformat
from execute import ROOT, execute_all, find_notebooks, report_failures
from guard import RESULTS, one_sentence
from latex2mathml import converter
from nbconvert import HTMLExporter
from results import Results
from traitlets.config import Config

MATH_OR_CODE = re.compile(r"```.*?```|`[^`\n]*`|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+?)\$", re.DOTALL)
# The page loads nothing: no MathJax, no RequireJS, no scripts for widgets, whose picture is shown instead.
TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_requirejs %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}"""
NO_ALT = 'alt="No description has been provided for this image"'
SHOWN_FIRST = ["text/html", "image/png", "text/markdown", "text/plain"]


def _mathml(match):
    """One formula as MathML, which browsers draw by themselves; code stays as it is."""
    if match["block"]:
        return converter.convert(" ".join(match["block"].split()), display="block")
    return converter.convert(match["inline"]) if match["inline"] else match[0]


def as_page(notebook):
    """A notebook as an HTML page that needs no network.

    Parameters
    ----------
    notebook : nbformat.NotebookNode

    Returns
    -------
    str
    """
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = MATH_OR_CODE.sub(_mathml, cell.source)
    config = Config(NbConvertBase={"display_data_priority": SHOWN_FIRST})
    exporter = HTMLExporter(raw_template=TEMPLATE, config=config)
    page = exporter.from_notebook_node(notebook)[0]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    alts = iter([output.data.get("text/plain", "") for output in pictures])  # nbconvert leaves them out
    return re.sub(NO_ALT, lambda _: f'alt="{html.escape(next(alts))}"', page)


def _add_page(run, pages):
    """Make the page of a notebook that was executed; a page that cannot be made is a failure of this notebook alone."""
    if run.notebook is None:
        return
    try:
        pages[run.path] = as_page(run.notebook)
    except Exception as error:
        run.error = run.error or f"its page could not be made ({type(error).__name__}: {error})"


@one_sentence("course", RESULTS)
def main():
    """Execute, export, say where the results are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "course", help="folder for the results")
    parser.add_argument("notebooks", nargs="*", help="some notebooks only")
    arguments = parser.parse_args()
    paths, out = find_notebooks(arguments.notebooks), arguments.out.resolve()
    with Results.alone(out) as results:
        results.check(["timings.json", *(f"{path.stem}{end}" for path in paths for end in (".ipynb", ".html"))])
        print(f"Executing {len(paths)} notebook{'s, two at a time' if len(paths) > 1 else ''} ...", flush=True)
        pages = {}
        runs = execute_all(paths, done=lambda run: _add_page(run, pages))
        executed = [run for run in runs if run.notebook]
        for run in executed:
            results.write(run.path.name, nbformat.writes(run.notebook) + "\n")
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

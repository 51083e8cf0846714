"""Lessons 01 to 03 for a browser without an installation: JupyterLite with Pyodide, in a folder of its own.

Its first page says what a click loads. ``--pyodide`` lays an unpacked Pyodide into the folder; then nothing is loaded
from elsewhere.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import jinja2
import nbformat
from collected import title
from execute import find_notebooks
from guard import RESULTS, ROOT, environment, one_sentence
from results import Results
from slides import TO_NOTEBOOK

from utils.files import write_atomically

PACKAGES = ["numpy", "scipy", "matplotlib", "pillow", "scikit-learn", "sympy", "threadpoolctl", "tqdm"]
INSTALL = f"""\
# Only in the browser: the packages come with Pyodide, the course from beside this page. It takes about a minute.
import piplite

await piplite.install({PACKAGES})
await piplite.install("normalization-course", deps=False)"""
STORED = "PyTorch does not run in a browser. The lesson has this cell, and it printed what stands below it."
MINUTES = 10


def as_stored(cell):
    """A cell of code as text, with what it printed."""
    printed = "".join(output.get("text", "") for output in cell.outputs)
    parts = [STORED, f"```python\n{cell.source}\n```"] + [f"```\n{printed}```"] * bool(printed)
    return nbformat.v4.new_markdown_cell("\n\n".join(parts), id=cell.id, metadata=cell.metadata)


def for_browser(notebook):
    """A copy of a lesson: the first cell installs, cells that need PyTorch are text, links to other files are words."""
    cells = [nbformat.v4.new_code_cell(INSTALL, id="in-the-browser")]
    for cell in notebook.cells:
        if cell.cell_type == "code" and "torch is not None" in cell.source:
            cell = as_stored(cell)
        elif cell.cell_type == "markdown":
            cell = nbformat.from_dict({**cell, "source": TO_NOTEBOOK.sub(r"\1", cell.source)})
        cells.append(cell)
    kernel = {"display_name": "Python (Pyodide)", "language": "python", "name": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def _call(*command, folder):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60 * MINUTES,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise ValueError(f"expected {command[0]} to end well, it said: {said[-1]}")


def build(work, out, pyodide=None):
    """Write everything into `out`; `work` is an empty folder for what it is made from."""
    wheels, contents = work / "wheels", work / "contents"
    _call("hatchling", "build", "-t", "wheel", "-d", wheels, folder=ROOT)
    paths = find_notebooks([])[:3]
    for path in paths:
        notebook = for_browser(nbformat.read(path, as_version=4))
        write_atomically(contents / path.name, nbformat.writes(notebook) + "\n")
    if pyodide:
        shutil.copytree(pyodide, work / "static" / "pyodide")
    options = ["--apps", "notebooks", "--no-sourcemaps", "--no-unused-shared-packages", "--no-libarchive"]
    options += [option for wheel in wheels.iterdir() for option in ("--piplite-wheels", wheel)]
    options += ["--contents", contents, "--output-dir", out / "run", "--lite-dir", work]
    _call("jupyterlite_core", "build", *options, folder=work)
    page = jinja2.Environment(loader=jinja2.FileSystemLoader(ROOT / "site" / "lite"), autoescape=True)
    lessons = [(path.name, path.stem[:2], title(path)) for path in paths]
    write_atomically(out / "index.html", page.get_template("index.html.j2").render(lessons=lessons, own=pyodide) + "\n")


@one_sentence("lite", RESULTS, ValueError)
def main():
    """Build, say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="folder for results; this goes to lite/")
    parser.add_argument("--pyodide", type=Path, help="folder of an unpacked Pyodide, for a build that needs no network")
    arguments = parser.parse_args()
    if missing := [name for name in ("jupyterlite_core", "jupyterlite_pyodide_kernel") if find_spec(name) is None]:
        sys.exit(f"lite: expected {', '.join(missing)}, found none: make lite installs them (extra 'lite')")
    if arguments.pyodide and not (arguments.pyodide / "pyodide.mjs").is_file():
        sys.exit(f"lite: expected a folder with pyodide.mjs, got {arguments.pyodide}: unpack a release of Pyodide")
    out = arguments.build.resolve() / "lite"
    with Results.alone(out) as results, tempfile.TemporaryDirectory(prefix="lite-work-", dir=out.parent) as folder:
        made = Path(folder) / "made"
        build(Path(folder) / "work", made, arguments.pyodide and arguments.pyodide.resolve())
        results.write_tree(made)
    print(f"Lessons 01 to 03 for the browser: {out}; serve this folder, as with python -m http.server")


if __name__ == "__main__":
    main()

"""Write what `make lecture` opens: lessons without outputs, labs as they are, the times of slow cells, and settings."""

import argparse
import json
from datetime import datetime
from pathlib import Path

import nbformat
from execute import LABS, LESSONS, find_notebooks, label
from guard import RESULTS, ROOT, one_sentence
from results import Results, ResultsError

from utils.files import write_atomically

LONG = 2.0  # seconds, from which on a class wants to know
FOLDER = ROOT / "tools" / "lecture"
CSS = "config/custom/custom.css"
FONTS = "settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings"
# IPython runs this at the start of a kernel, among the names of the notebook: it leaves none there.
STARTUP = "ipython/profile_default/startup/bar.py"
START = f'__import__("runpy").run_path({str(FOLDER / "bar.py")!r})["start"](get_ipython())\n'


def without_outputs(notebook):
    """The notebook with no output, and no state of widgets."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def seconds_of(cell):
    """The seconds that a cell took when it was executed here; 0 where nothing says so."""
    times = cell.metadata.get("execution", {})
    try:
        began, ended = (datetime.fromisoformat(times[f"iopub.{what}"]) for what in ("execute_input", "status.idle"))
    except (KeyError, ValueError):
        return 0.0
    return (ended - began).total_seconds()


def long_cells(build):
    """The seconds of every cell that took longer than LONG in `make course` or `make labs`: "01_x cell-id" to them."""
    found = {}
    for command in ("course", "labs"):
        for path in sorted((build / command).glob("[0-9]*.ipynb")):
            page = f"labs/{path.stem}" if command == "labs" else path.stem
            for cell in nbformat.read(path, as_version=4).cells:
                if (seconds := seconds_of(cell)) > LONG:
                    found[f"{page} {cell.id}"] = round(seconds, 1)
    return found


def write_session(folder, build):
    """Write what JupyterLab and its kernels read while they run: letters, the bar, and times."""
    write_atomically(folder / STARTUP, START)
    for name in (FONTS, CSS):
        write_atomically(folder / name, (FOLDER / Path(name).name).read_text(encoding="utf-8"))
    write_atomically(folder / "seconds.json", json.dumps(long_cells(build), indent=2) + "\n")


def write_notebooks(results):
    """Write the notebooks into a folder of results; gives the names of those that somebody changed, which stay."""
    changed = []
    for path in find_notebooks([], LESSONS, LABS):
        notebook = nbformat.read(path, as_version=4)
        made = without_outputs(notebook) if path.parent == LESSONS else notebook
        try:
            results.write(f"notebooks/{label(path)}.ipynb", nbformat.writes(made) + "\n")
        except ResultsError:
            changed.append(f"notebooks/{label(path)}.ipynb")
    return changed


@one_sentence("lecture", RESULTS)
def main():
    """Write everything, and say which notebooks are left as they were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="folder of results; copies go to lecture/")
    parser.add_argument("--session", type=Path, required=True, help="folder that goes when JupyterLab ends")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    with Results.alone(build / "lecture") as results:
        changed = write_notebooks(results)
    write_session(arguments.session, build)
    for name in changed:
        print(f"lecture: {build / 'lecture' / name} was changed and stays so; delete it to have it anew")


if __name__ == "__main__":
    main()

"""In a kernel of `make lecture`: figures are as wide as the window, and a cell that takes long has a bar over it."""

import json
import os
from pathlib import Path

from IPython.display import HTML, display

BAR = """\
<style>@keyframes lecture-bar {{ from {{ transform: scaleX(0); }} }}</style>
<div role="status">about {seconds:.0f} s
<div style="height: 0.5em; margin-top: 0.2em; background: #d0d0d0">
<div style="height: 100%; background: #1f5fa8; transform-origin: left; animation: lecture-bar {seconds}s linear"></div>
</div></div>"""


def watch_long_cells(shell, seconds, notebook):
    """Show a bar while a cell runs that has a time in `seconds`, and nothing afterwards."""
    shown = []

    def begin(info):
        expected = seconds.get(f"{notebook} {info.cell_id}")
        if expected is not None:
            os.environ["TQDM_DISABLE"] = "1"  # one bar is enough
            shown.append(display(HTML(BAR.format(seconds=expected)), display_id=True))

    def end(result):
        while shown:
            os.environ.pop("TQDM_DISABLE", None)
            shown.pop().update(HTML(""))

    shell.events.register("pre_run_cell", begin)
    shell.events.register("post_run_cell", end)


def without_width(message):
    """The message with a picture that JupyterLab makes as wide as the cell: letters grow with the window, too."""
    message["content"].get("metadata", {}).get("image/png", {}).pop("width", None)
    return message


def start(shell):
    """Watch the cells of the notebook of this kernel; JPY_SESSION_NAME, its path, is set by the server of Jupyter."""
    shell.display_pub.register_hook(without_width)
    place, path = os.environ.get("LECTURE_SECONDS"), Path(os.environ.get("JPY_SESSION_NAME", ""))
    if place and os.path.isfile(place):
        notebook = f"labs/{path.stem}" if path.parent.name == "labs" else path.stem
        watch_long_cells(shell, json.loads(Path(place).read_text(encoding="utf-8")), notebook)

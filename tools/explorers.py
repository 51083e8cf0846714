"""The explorers of the web page: numbers for every position of the sliders, in one HTML fragment each.

A page has no kernel, so the numbers are computed here, by the code that the notebooks run, and stored in the fragment;
its script looks them up and draws. `build` leaves `NAME.html`, to be included in a page, and `NAME_alone.html`, a page
that holds nothing else.
"""

import ast
import base64
import json
import sys
import time
from pathlib import Path

import ipywidgets
import numpy as np
from execute import ROOT

from utils import widgets
from utils.byhand.loss_surface import condition_number, hessian
from utils.files import write_atomically
from utils.plotting import COLOURS
from utils.widgets import loss_surface_explorer, loss_surface_walk

NAMES = ("loss_surface", "signal_propagation")
SOURCES = ROOT / "site" / "explorers"
SEED, STEPS = 0, 25  # as in notebook 02
LEVELS = 10  # contours, as in plotting.draw_bowl
FAR = 30.0  # a walk is stored up to where it is this far from the minimum
NONE = -32768  # stands for a step that is not stored
FINE = 1000  # stored numbers are whole thousandths: of a weight, or of a power of ten


def positions(control):
    """The values that a reader can give to a slider or a list of an explorer.

    Parameters
    ----------
    control : ipywidgets.FloatLogSlider, FloatSlider, IntSlider or Dropdown

    Returns
    -------
    list
    """
    if isinstance(control, ipywidgets.Dropdown):
        return list(control.options)
    steps = round((control.max - control.min) / control.step)
    values = control.min + control.step * np.arange(steps + 1)
    if isinstance(control, ipywidgets.FloatLogSlider):
        values = control.base**values
    return [int(v) if isinstance(control, ipywidgets.IntSlider) else float(np.round(v, 12)) for v in values]


def pack(values):
    """Store numbers as whole thousandths, two bytes each (little-endian), as text.

    Parameters
    ----------
    values : ndarray, float
        Within ±32; NaN stands for what is not stored.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If a number does not fit.
    """
    whole = np.round(np.asarray(values, dtype=np.float64) * FINE)
    if np.nanmax(np.abs(whole), initial=0) > 32767:
        raise ValueError(f"values: expected numbers within ±32.767, got one of size {np.nanmax(np.abs(values)):.3g}")
    return base64.b64encode(np.where(np.isnan(whole), NONE, whole).astype("<i2").tobytes()).decode("ascii")


def unpack(text, shape):
    """Read back what `pack` stored.

    Parameters
    ----------
    text : str
    shape : tuple of int

    Returns
    -------
    ndarray, float64
    """
    whole = np.frombuffer(base64.b64decode(text), dtype="<i2").reshape(shape).astype(np.float64)
    return np.where(whole == NONE, np.nan, whole / FINE)


def _powers(values, low, high):
    """Logarithm to base ten, within limits."""
    return np.log10(np.clip(np.nan_to_num(values, nan=np.inf), 10.0**low, 10.0**high))


def _until_far(path):
    """The path as long as it is near zero; the first step beyond ends at the distance FAR, and NaN follows."""
    far = np.flatnonzero(~(np.abs(path).max(axis=1) <= FAR))
    if len(far) == 0:
        return path
    path, first = path.copy(), far[0]
    if np.isfinite(path[first]).all():
        before, step = path[first - 1], path[first] - path[first - 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            path[first] = before + step * np.nanmin((np.sign(step) * FAR - before) / step)
        first += 1
    path[first:] = np.nan
    return path


def loss_surface():
    """Walks and losses for every learning rate and scale ratio that notebook 02's explorer offers.

    Returns
    -------
    dict
        What the script of `loss_surface.html` reads: positions, one bowl a ratio, packed paths (relative to the
        minimum) and packed powers of ten of the loss above it.
    """
    controls = loss_surface_explorer(seed=SEED, steps=STEPS).controls
    rates, ratios = positions(controls["lr"]), positions(controls["ratio"])
    paths = np.empty((len(ratios), len(rates), STEPS + 1, 2))
    losses = np.empty(paths.shape[:-1])
    bowls = []
    for i, ratio in enumerate(ratios):
        for j, lr in enumerate(rates):
            walk = loss_surface_walk(seed=SEED, steps=STEPS, lr=lr, ratio=ratio)
            paths[i, j] = _until_far(walk.path - walk.minimum)
            losses[i, j] = _powers(walk.excess, -8, 8)
        H = hessian(walk.X)
        curvature, directions = np.linalg.eigh(H)
        corner = max(0.5 * w @ H @ w for w in np.array([[3.0, 2.0], [3.0, -2.0]]))  # the highest of the picture
        bowls.append(
            {
                "minimum": walk.minimum.round(4).tolist(),
                "kappa": round(condition_number(walk.X), 4),
                "limit": walk.largest_lr,
                "axes": np.sqrt(2 * corner / curvature).round(4).tolist(),  # of the outermost ellipse
                "angle": round(float(np.degrees(np.arctan2(directions[1, 0], directions[0, 0]))), 4),
            }
        )
    return {
        "rates": rates,
        "ratios": ratios,
        "first": [rates.index(_nearest(rates, controls["lr"].value)), ratios.index(controls["ratio"].value)],
        "steps": STEPS,
        "levels": LEVELS,
        "bowls": bowls,
        "paths": pack(paths),
        "losses": pack(losses),
    }


def _nearest(values, value):
    return min(values, key=lambda v: abs(v - value))


def definitions(notebook, wanted, *, given):
    """Run some statements of a notebook's code cells, as they stand there.

    Parameters
    ----------
    notebook : Path
    wanted : dict of str to list of str
        For each cell's id the names whose definitions are wanted; they run in the order of the cell.
    given : dict
        Names that the statements use.

    Returns
    -------
    dict
        All names: those given and those defined.

    Raises
    ------
    ValueError
        If the notebook has no such cell, or the cell does not define the name.
    """
    cells = {cell["id"]: "".join(cell["source"]) for cell in json.loads(notebook.read_text("utf-8"))["cells"]}
    namespace = dict(given)
    for cell, names in wanted.items():
        if cell not in cells:
            raise ValueError(f"{notebook.name}: expected a cell {cell!r} with {', '.join(names)}, found none")
        missing = set(names)
        for statement in ast.parse(cells[cell]).body:
            defined = _defined(statement) & set(names)
            if defined:
                exec(compile(ast.Module([statement], []), f"{notebook.name}, cell {cell}", "exec"), namespace)
                missing -= defined
        if missing:
            raise ValueError(
                f"{notebook.name}: expected cell {cell!r} to define {', '.join(sorted(missing))}; it does not"
            )
    return namespace


def _defined(statement):
    """Names that a function definition or an assignment defines."""
    if isinstance(statement, ast.FunctionDef):
        return {statement.name}
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def propagation_of_notebook():
    """What notebook 06 uses in its explorer of signal propagation, taken from its cells.

    Returns
    -------
    dict
        `propagate`, `rms`, `FUNCTIONS`, `unit`, `start`, `end` and `controls`.
    """
    return definitions(
        ROOT / "notebooks" / "06_weight_initialization.ipynb",
        {
            "four-propagate-code": ["relu", "FUNCTIONS", "propagate"],
            "four-standard": ["rms"],
            "five-explorer": ["rng", "unit", "start", "end", "controls"],
        },
        given={"np": np, "widgets": widgets},
    )


def marks():
    """Scales s that have a name: of layers with as many outputs as inputs, whose weights have deviation s / √n.

    Returns
    -------
    list of dict
        Name, how it is written, value, and the role of its colour in notebook 06.
    """
    return [
        {"name": "PyTorch's default", "written": "1/√3", "s": 3**-0.5, "role": "raw"},
        {"name": "Xavier", "written": "1", "s": 1.0, "role": "momentum"},
        {"name": "He", "written": "√2", "s": 2**0.5, "role": "whitened"},
    ]


def scales(control):
    """Positions of the page's scale slider: from one end of the notebook's to the other, closest where it matters.

    Parameters
    ----------
    control : ipywidgets.FloatSlider

    Returns
    -------
    list of float
        The scales of `marks` are among them, exactly.
    """
    even = np.concatenate([np.arange(control.min, control.max + 0.05, 0.1), np.arange(1.05, 2, 0.1)]).round(2)
    return sorted({*even.tolist(), *(mark["s"] for mark in marks())})


def signal_propagation():
    """Sizes of signals and gradients in every layer, for many scales, depths and activations.

    Returns
    -------
    dict
        What the script of `signal_propagation.html` reads: positions, marks, and packed powers of ten for each
        activation. Signals do not depend on how many layers follow, so they are stored once, for the greatest depth.
    """
    of = propagation_of_notebook()
    weights, controls, rms = of["unit"], of["controls"], of["rms"]
    depths, at_scales = positions(controls["depth"])[::2], scales(controls["scale"])
    sizes = {}
    for activation in positions(controls["activation"]):
        signals, gradients = [], []
        for s in at_scales:
            for depth in depths:
                forward, backward = of["propagate"](s * weights[:depth], of["start"], activation, of["end"])
                gradients.append([rms(values) for values in backward])
            signals.append([rms(values) for values in forward])
        sizes[activation] = {
            "signals": pack(_powers(np.concatenate(signals), -30, 30)),
            "gradients": pack(_powers(np.concatenate(gradients), -30, 30)),
        }
    return {
        "scales": at_scales,
        "depths": depths,
        "first": [at_scales.index(controls["scale"].value), depths.index(controls["depth"].value)],
        "activation": controls["activation"].value,
        "marks": [{**mark, "at": at_scales.index(mark["s"])} for mark in marks()],
        "sizes": sizes,
    }


def fragment(name, numbers):
    """One explorer as HTML to be included in a page: a `div` with its style, its numbers and its script.

    Parameters
    ----------
    name : str
        `loss_surface` or `signal_propagation`.
    numbers : dict
        What the function of that name returns.

    Returns
    -------
    str
    """
    roles = ("accent", "raw", "momentum", "whitened")
    parts = {
        "STYLE": (SOURCES / "explorer.css").read_text("utf-8"),
        "COLOURS": " ".join(f"--{role}: {COLOURS[role]};" for role in roles),
        "NUMBERS": json.dumps(numbers, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/"),
        "SCRIPT": (SOURCES / "explorer.js").read_text("utf-8") + (SOURCES / f"{name}.js").read_text("utf-8"),
    }
    text = (SOURCES / f"{name}.html").read_text("utf-8")
    for part, content in parts.items():
        text = text.replace("{{" + part + "}}", content.strip())
    # A blank line would end the HTML block of a Markdown page.
    return "\n".join(line for line in text.splitlines() if line.strip()) + "\n"


ALONE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ margin: 1rem auto; padding: 0 1rem; max-width: 60rem; font: 16px/1.5 system-ui, sans-serif; }}
  @media (prefers-color-scheme: dark) {{ html:not([data-theme="light"]) body {{ background: #121212; color: #eee; }} }}
  html[data-theme="dark"] body {{ background: #121212; color: #eee; }}
</style>
<main><h1>{title}</h1>
{fragment}</main>
</html>
"""


def build(folder):
    """Write the fragments, and a page for each that holds nothing else.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    dict of str to str
        The fragment of each explorer.
    """
    fragments = {name: fragment(name, globals()[name]()) for name in NAMES}
    for name, text in fragments.items():
        title = name.replace("_", " ").capitalize()
        write_atomically(Path(folder) / f"{name}.html", text)
        write_atomically(Path(folder) / f"{name}_alone.html", ALONE.format(title=title, fragment=text))
    return fragments


if __name__ == "__main__":
    began = time.perf_counter()
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "explorers")
    for each, text in build(target).items():
        print(f"{target / each}.html: {len(text.encode()) / 1000:.0f} kB")
    print(f"{time.perf_counter() - began:.1f} s")

"""The explorers of the web page: numbers for every position of the sliders, in one HTML fragment each.

A page has no kernel, so the numbers are computed here, by the code of the notebooks; the fragment's script draws them.
"""

import ast
import base64
import json

import ipywidgets
import numpy as np
from guard import ROOT

from utils import widgets
from utils.byhand.loss_surface import condition_number, hessian
from utils.files import write_atomically
from utils.plotting import COLOURS
from utils.widgets import loss_surface_explorer, loss_surface_walk

NAMES = ("loss_surface", "signal_propagation")
# Scales s that have a name: of layers with as many outputs as inputs, whose weights have deviation s / √n.
MARKS = [
    {"name": "PyTorch's default", "written": "1/√3", "s": 3**-0.5, "role": "raw"},
    {"name": "Xavier", "written": "1", "s": 1.0, "role": "momentum"},
    {"name": "He", "written": "√2", "s": 2**0.5, "role": "whitened"},
]
SOURCES = ROOT / "site" / "explorers"
SEED, STEPS = 0, 25  # as in notebook 02
LEVELS = 10  # contours, as in plotting.draw_bowl
FAR = 30.0  # a walk is stored up to where it is this far from the minimum
NONE = -32768  # stands for a step that is not stored
FINE = 1000  # stored numbers are whole thousandths: of a weight, or of a power of ten


def positions(control):
    """The values that a reader can give to a slider or a list of an explorer."""
    if isinstance(control, ipywidgets.Dropdown):
        return list(control.options)
    steps = round((control.max - control.min) / control.step)
    values = control.min + control.step * np.arange(steps + 1)
    if isinstance(control, ipywidgets.FloatLogSlider):
        values = control.base**values
    return [int(v) if isinstance(control, ipywidgets.IntSlider) else float(np.round(v, 12)) for v in values]


def pack(values):
    """Store numbers within ±32 as whole thousandths, two bytes each (little-endian), as text; NaN: not stored."""
    whole = np.round(np.asarray(values, dtype=np.float64) * FINE)
    if np.nanmax(np.abs(whole), initial=0) > 32767:
        raise ValueError(f"values: expected numbers within ±32.767, got one of size {np.nanmax(np.abs(values)):.3g}")
    return base64.b64encode(np.where(np.isnan(whole), NONE, whole).astype("<i2").tobytes()).decode("ascii")


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
    """Walks and parts of the loss for every learning rate and scale ratio that notebook 02's explorer offers."""
    controls = loss_surface_explorer(seed=SEED, steps=STEPS).controls
    rates, ratios = positions(controls["lr"]), positions(controls["ratio"])
    paths = np.empty((len(ratios), len(rates), STEPS + 1, 2))
    parts = np.empty(paths.shape)
    bowls = []
    for i, ratio in enumerate(ratios):
        for j, lr in enumerate(rates):
            walk = loss_surface_walk(seed=SEED, steps=STEPS, lr=lr, ratio=ratio)
            paths[i, j] = _until_far(walk.path - walk.minimum)
            parts[i, j] = _powers(walk.parts, -16, 16)
        H = hessian(walk.X)
        curvature, directions = np.linalg.eigh(H)
        corner = max(0.5 * w @ H @ w for w in np.array([[3.0, 2.0], [3.0, -2.0]]))  # the highest of the picture
        bowls.append(
            {
                "minimum": walk.minimum.round(4).tolist(),
                "kappa": round(condition_number(walk.X), 4),
                "limit": walk.largest_lr,
                "axes": np.sqrt(2 * corner / curvature).round(4).tolist(),  # of the outermost ellipse
                "curvatures": curvature.round(4).tolist(),
                "angle": round(float(np.degrees(np.arctan2(directions[1, 0], directions[0, 0]))), 4),
            }
        )
    return {
        "rates": rates,
        "ratios": ratios,
        "first": [int(np.abs(np.array(rates) - controls["lr"].value).argmin()), ratios.index(controls["ratio"].value)],
        "steps": STEPS,
        "levels": LEVELS,
        "bowls": bowls,
        "paths": pack(paths),
        "parts": pack(parts),
    }


def definitions(notebook, wanted, *, given):
    """Run those statements of a notebook's cells that define what is wanted (cell id -> names), as they stand there."""
    cells = {cell["id"]: "".join(cell["source"]) for cell in json.loads(notebook.read_text("utf-8"))["cells"]}
    namespace = dict(given)
    for cell, names in wanted.items():
        if cell not in cells:
            raise ValueError(f"{notebook.name}: expected a cell {cell!r} with {', '.join(names)}, found none")
        missing = set(names)
        for statement in ast.parse(cells[cell]).body:
            if defined := _defined(statement) & set(names):
                exec(compile(ast.Module([statement], []), f"{notebook.name}, cell {cell}", "exec"), namespace)
                missing -= defined
        if missing:
            names = ", ".join(sorted(missing))
            raise ValueError(f"{notebook.name}: expected cell {cell!r} to define {names}; it does not")
    return namespace


def _defined(statement):
    """Names that a function definition or an assignment defines."""
    if isinstance(statement, ast.FunctionDef):
        return {statement.name}
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def propagation_of_notebook():
    """What lesson 06 uses in its explorer of signal propagation, taken from its cells."""
    return definitions(
        ROOT / "notebooks" / "06_weight_initialization.ipynb",
        {
            "one-forward": ["FUNCTIONS", "forward", "rms"],
            "four-backward": ["SLOPES", "backward"],
            "five-explorer": ["rng", "thin", "first", "last", "scale", "depth", "names", "controls"],
        },
        given={"np": np, "widgets": widgets},
    )


def scales(control):
    """Positions of the page's scale slider: from one end of the notebook's to the other, closest where it matters."""
    even = np.concatenate([np.arange(control.min, control.max + 0.05, 0.1), np.arange(1.05, 2, 0.1)]).round(2)
    return sorted({*even.tolist(), *(mark["s"] for mark in MARKS)})


def signal_propagation():
    """Sizes of signals and gradients in every layer, for many scales, depths and activations.

    Signals do not depend on how many layers follow, so they are stored once, for the greatest depth.
    """
    of = propagation_of_notebook()
    weights, controls, rms = of["thin"], of["controls"], of["rms"]
    depths, at_scales = positions(controls["depth"])[::2], scales(controls["scale"])
    sizes = {}
    for activation in positions(controls["activation"]):
        signals, gradients = [], []
        for s in at_scales:
            for depth in depths:
                forward = of["forward"](of["first"], s * weights[:depth], activation)
                backward = of["backward"](of["last"], forward, s * weights[:depth], activation)
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
        "marks": [{**mark, "at": at_scales.index(mark["s"])} for mark in MARKS],
        "sizes": sizes,
    }


def fragment(name, numbers):
    """One explorer as HTML to be included in a page: a `div` with its style, its numbers and its script."""
    roles = ("accent", "raw", "momentum", "whitened", "flat", "steep")
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


def build(folder):
    """Write the fragment of each explorer; gives them by name."""
    fragments = {name: fragment(name, globals()[name]()) for name in NAMES}
    for name, text in fragments.items():
        write_atomically(folder / f"{name}.html", text)
    return fragments

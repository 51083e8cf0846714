"""Explorers: sliders that redraw a figure at once, with a picture of their first state where widgets do not run."""

import base64
import functools
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.ticker import NullLocator

from utils.arrays import by_identity, whole
from utils.byhand.loss_surface import (
    condition_number,
    descend,
    hessian,
    largest_stable_lr,
    loss,
    loss_parts,
    minimum,
)
from utils.data import two_features
from utils.plotting import COLOURS, draw_bowl, draw_directions, draw_parts, draw_path, png

__all__ = ["Explorer", "control", "loss_surface_explorer"]

_VIEW = "application/vnd.jupyter.widget-view+json"
_EXAMPLES = 100  # of the bowl that is explored; a batch of as many is all of them


@functools.cache
def _ipywidgets():
    """The package ipywidgets, if it is there and makes widgets; else None."""
    try:
        import ipywidgets

        tried = ipywidgets.IntSlider()
        works = tried.model_id is not None
        tried.close()
        return ipywidgets if works else None
    except Exception:  # not installed, or together with versions of other packages that it does not fit
        return None


def control(kind, value, **settings):
    """Make a control for an `Explorer`.

    Parameters
    ----------
    kind : str
        A class of ipywidgets, such as "FloatSlider".
    value : object
        At the start.
    **settings
        Further arguments of the class.

    Returns
    -------
    ipywidgets.Widget or types.SimpleNamespace
        The second, with nothing but the value, where ipywidgets is missing or does not work.

    Raises
    ------
    ValueError
        If ipywidgets has no such class.
    """
    ipywidgets = _ipywidgets()
    if ipywidgets is None:
        return SimpleNamespace(value=value)
    if not isinstance(kind, str) or not hasattr(ipywidgets, kind):
        raise ValueError(f"kind: expected a class of ipywidgets, such as 'FloatSlider', got {kind!r}")
    return getattr(ipywidgets, kind)(value=value, **settings)


class Explorer:
    """Sliders above a picture that follows them; the picture alone where widgets do not run.

    Parameters
    ----------
    draw : callable
        ``draw(**values) -> (png bytes, alt text)``, called with the value of each control.
    controls : dict of str to object
        From `control`; the name of each is the argument of draw.

    Attributes
    ----------
    box : ipywidgets.VBox or None
        Controls, side by side where there is room, and the picture; None where widgets do not run. The picture is an
        ``Image`` widget: an ``Output`` widget, and with it ``interact``, is neither stored with the notebook nor
        comparable.
    """

    def __init__(self, draw, controls):
        self.draw, self.controls, self.box = draw, controls, None
        self.image = control("Image", b"", format="png")
        self.redraw()
        ipywidgets = _ipywidgets()
        if ipywidgets is None or not all(hasattr(one, "observe") for one in controls.values()):
            return
        self.image.layout.max_width = "100%"
        rows = ipywidgets.Box([*controls.values()], layout={"flex_flow": "row wrap"})
        self.box = ipywidgets.VBox([rows, self.image])
        for one in controls.values():
            one.observe(self.redraw, names="value")

    def redraw(self, change=None):
        """Draw the present values.

        Parameters
        ----------
        change : object
            What ipywidgets sends; not used.
        """
        self.image.value, self.alt = self.draw(**{name: one.value for name, one in self.controls.items()})

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = {"text/plain": self.alt, "image/png": base64.b64encode(self.image.value).decode("ascii")}
        if self.box is not None:  # written out, since ipywidgets 7 and 8 have different methods for it
            data[_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        return data, {"image/png": {"alt": self.alt}}


@by_identity
class Walk(NamedTuple):
    """The numbers behind one position of the sliders of `loss_surface_explorer`."""

    X: np.ndarray  #: Shape (n, 2): the examples, which make the bowl.
    y: np.ndarray  #: Shape (n,): their targets.
    minimum: np.ndarray  #: Shape (2,): the weights at the bottom of the bowl.
    path: np.ndarray  #: Shape (steps + 1, 2): the weights before the first and after every step.
    excess: np.ndarray  #: Shape (steps + 1,): the loss above its minimum along the path.
    parts: np.ndarray  #: Shape (steps + 1, 2): its parts along the flat and the steep eigenvector.
    largest_lr: float  #: The learning rate from which descent with all examples and without momentum diverges.


def loss_surface_walk(*, seed, steps, lr, ratio, momentum=0.0, batch_size=_EXAMPLES):
    """Compute what `loss_surface_explorer` draws; the web page draws the same numbers.

    `seed` draws the examples, and the batches the same way every time. `ratio` is the standard deviation of the second
    feature over that of the first; a `batch_size` of 100 takes all examples at every step. An argument that
    `two_features` or `descend` does not accept gives their ValueError.
    """
    batch_size = whole(batch_size, "batch_size", at_most=_EXAMPLES)
    X, y = two_features(seed=seed, n=_EXAMPLES, ratio=ratio)
    best = minimum(X, y)
    start, rng = best + [-2.4, 1.3], np.random.default_rng(seed)
    batch = {} if batch_size == _EXAMPLES else {"batch_size": batch_size, "rng": rng}
    path = descend(X, y, lr=lr, steps=steps, start=start, momentum=momentum, **batch)
    excess = loss(X, y, path) - loss(X, y, best)
    return Walk(X, y, best, path, excess, loss_parts(X, y, path), largest_stable_lr(hessian(X)))


def loss_surface_explorer(*, seed, steps=25):
    """Explore descent on a bowl of two weights: learning rate, scale ratio, momentum and batch size.

    Left the walk on its bowl, right the loss above its minimum, split into its parts along the two eigenvectors.

    Parameters
    ----------
    seed : int
        Draws the examples, and the batches the same way at every redraw.
    steps : int
        Of the walk.

    Returns
    -------
    Explorer
    """
    # One figure, emptied and filled: new axes cost more than the drawing. The placeholder keeps matplotlib from
    # computing the style's layout twice at every redraw (layout="none" is forgotten when the figure is saved).
    fixed = PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=True)
    fig = Figure(figsize=(10, 4), layout=fixed)
    bowl, curve = fig.subplots(1, 2, width_ratios=(1.35, 1))
    fig.subplots_adjust(left=0.07, right=0.94, bottom=0.16, top=0.9, wspace=0.3)
    curve.set(xlim=(0, steps), yscale="log", xlabel="steps", ylabel="loss above its minimum")
    curve.yaxis.set(major_formatter="{x:.0e}", minor_locator=NullLocator())  # labels in TeX take half of the time

    def draw(lr, ratio, momentum, batch_size):
        settings = {"lr": lr, "ratio": ratio, "momentum": momentum, "batch_size": batch_size}
        walk = loss_surface_walk(seed=seed, steps=steps, **settings)
        for artist in (*bowl.lines, *bowl.collections, *bowl.texts, *curve.lines, *curve.texts):
            artist.remove()
        w1, w2 = walk.minimum
        color = COLOURS["raw" if batch_size == _EXAMPLES else "batches"]
        draw_bowl(bowl, walk.X, walk.y, limits=(w1 - 3, w1 + 3, w2 - 2, w2 + 2))
        draw_directions(bowl, walk.X, walk.y)
        draw_path(bowl, walk.path, color=color)
        draw_parts(curve, walk.parts, limits=(1e-8, 1e4), color=color)
        curve.set_title(f"η = {lr:.3g},  2/λmax = {walk.largest_lr:.3g}")
        flat, steep = (f"{part:.1e}" if part < 1e8 else "more than 1e+08" for part in walk.parts[-1])
        alt = (
            f"Left: contours of the loss over two weights, condition number {condition_number(walk.X):.1f}, and a walk "
            f"of {steps} steps at learning rate {lr:.3g}, momentum {momentum:.2g} and batch size {batch_size} of "
            f"{_EXAMPLES}. Right: the loss above its minimum over the steps, on a logarithmic scale, and the two parts "
            f"whose sum it is; at the end the flat part is {flat} and the steep part {steep}."
        )
        return png(fig, compress_level=1), alt

    look = {"style": {"description_width": "8em"}, "layout": {"width": "28em"}}
    lr = {"min": -2, "max": 0.5, "step": 0.05, "description": "learning rate", "readout_format": ".3g"}
    ratio = {"min": 1, "max": 5, "step": 0.25, "description": "scale ratio"}
    momentum = {"min": 0, "max": 0.95, "step": 0.05, "description": "momentum"}
    sizes = {"options": [1, 4, 16, _EXAMPLES], "description": "batch size"}
    controls = {
        "lr": control("FloatLogSlider", 0.1, **lr, **look),
        "ratio": control("FloatSlider", 4.0, **ratio, **look),
        "momentum": control("FloatSlider", 0.0, **momentum, **look),
        "batch_size": control("SelectionSlider", _EXAMPLES, **sizes, **look),
    }
    return Explorer(draw, controls)

"""The look of the figures, how they are shown, and the drawings that more than one place needs."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from utils.arrays import instance, matrix, numeric, whole
from utils.byhand.loss_surface import condition_number, hessian, minimum

__all__ = [
    "COLOURS",
    "draw_band",
    "draw_batch_norm_graph",
    "draw_bowl",
    "draw_directions",
    "draw_parts",
    "draw_path",
    "png",
    "show",
    "use_course_style",
]

#: The same colour for the same thing in all notebooks (Okabe and Ito, 2008).
COLOURS = {
    "raw": "#D55E00",  # the inputs as they come; a network without normalization
    "standardized": "#0072B2",  # z-scores
    "whitened": "#009E73",
    "minmax": "#E69F00",
    "robust": "#CC79A7",
    "offset": "#CC79A7",  # inputs moved away from zero
    "centred": "#56B4E9",  # the mean subtracted, nothing else
    "theory": "#000000",  # what a formula predicts, always dashed
    "momentum": "#E69F00",
    "batches": "#CC79A7",  # stochastic gradients
    "flat": "#0072B2",  # the part of a loss along the smallest curvature, and its direction
    "steep": "#009E73",  # the same of the largest
    "sigmoid": "#CC79A7",  # networks with sigmoids and batch norm
    "layer": "#009E73",  # the relatives of batch norm, which itself has the colour of z-scores
    "group": "#E69F00",
    "instance": "#56B4E9",
    "weight": "#CC79A7",  # norms of weights
    "accent": "#CC79A7",
    "quiet": "#999999",
}


_SHARP = 200  # dots per inch of a figure in a notebook: a projector magnifies it


def use_course_style():
    """Set the course's figure style for this process."""
    plt.style.use("utils.course")


def png(fig, *, compress_level=6):
    """Render a figure.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
    compress_level : int
        0 (fast) to 9 (small).

    Returns
    -------
    bytes
        A PNG without version or date, the same for the same figure.
    """
    canvas = FigureCanvasAgg(fig)
    canvas.draw()  # once; savefig draws a second time to compute the layout
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(buffer, format="png", compress_level=compress_level)
    return buffer.getvalue()


def show(fig, *, alt):
    """Display a figure with a text that says what is in it, and close it.

    The text stands beside the picture as ``text/plain`` (so that stored and fresh output can be compared) and in the
    output's metadata, from where a web page takes it. The picture has 200 dots per inch, and the metadata its width in
    pixels of the page, so that it is as wide as the style's dots per inch make it.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
    alt : str
        For those who cannot see the figure: what is drawn and what there is to see.

    Raises
    ------
    ValueError
        If alt is empty.
    """
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt: expected a sentence that describes the figure, got {alt!r}")
    width = round(instance(fig, Figure, "fig").bbox.width)
    fig.set_dpi(max(fig.dpi, _SHARP))
    picture = base64.b64encode(png(fig)).decode("ascii")
    plt.close(fig)
    metadata = {"image/png": {"alt": alt, "width": width}}
    display({"image/png": picture, "text/plain": alt}, metadata=metadata, raw=True)


def _check_two_weights(ax, X):
    """Refuse what is no Axes, or a table without exactly two columns."""
    instance(ax, Axes, "ax", what="Axes")
    if matrix(X).shape[1] != 2:
        raise ValueError(f"X: expected shape (n, 2), two weights to draw, got {np.shape(X)}")


def draw_bowl(ax, X, y, *, limits, levels=10, cmap="Greys"):
    """Draw the contours of the two-weight loss, with equal axes so that right angles look right.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    X : ndarray, shape (n, 2), float
    y : ndarray, shape (n,), float
    limits : tuple of four floats
        Left, right, bottom and top, in weights.
    levels : int
        How many contours; their distances grow as on a parabola, so that they are evenly spaced.
    cmap : str
        A matplotlib colour map.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If X has not two columns.
    """
    _check_two_weights(ax, X)
    limits, levels = numeric(limits, "limits"), whole(levels, "levels")
    if limits.shape != (4,) or not np.isfinite(limits).all():
        raise ValueError(f"limits: expected four finite numbers, left, right, bottom and top, got {limits}")
    left, right, bottom, top = limits
    w1, w2 = np.meshgrid(np.linspace(left, right, 90), np.linspace(bottom, top, 90))
    best, ((a, b), (_, c)) = minimum(X, y), hessian(X)
    u, v = w1 - best[0], w2 - best[1]
    height = 0.5 * (a * u**2 + 2 * b * u * v + c * v**2)  # above the minimum
    steps = height.max() * (np.arange(1, levels + 1) / levels) ** 2
    ax.contour(w1, w2, height, levels=steps, cmap=cmap, linewidths=1.1, vmin=-0.6 * height.max())
    ax.plot(*best, marker="+", color="black", markersize=12, markeredgewidth=2, linestyle="none", zorder=3)
    ax.set(aspect="equal", xlim=(left, right), ylim=(bottom, top), xlabel="$w_1$", ylabel="$w_2$")
    ax.grid(False)
    kappa = condition_number(X)
    ax.set_title(f"κ = {kappa:.1f}" if np.isfinite(kappa) else "κ = ∞")
    return ax


def draw_path(ax, path, *, color, label=None):
    """Draw a walk over the bowl, one dot per step; steps that leave the numbers behind are left out.

    Parameters
    ----------
    ax, color, label
        As in `draw_band`.
    path : ndarray, shape (steps + 1, 2), float

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If path has not two columns.
    """
    instance(ax, Axes, "ax", what="Axes")
    path = numeric(path, "path")
    if path.ndim != 2 or path.shape[1] != 2:
        raise ValueError(f"path: expected shape (steps + 1, 2), two weights to draw, got {path.shape}")
    near = np.isfinite(path).all(axis=1) & (np.abs(np.nan_to_num(path)) < 1e6).all(axis=1)
    path = path[: len(path) if near.all() else int(near.argmin())]
    ax.plot(*path.T, color=color, marker="o", markersize=4.5, linewidth=1.6, label=label, zorder=4)
    return ax


def draw_directions(ax, X, y):
    """Draw the two eigenvectors of the Hessian through the minimum, over a bowl that `draw_bowl` has drawn.

    Parameters
    ----------
    ax, X, y
        As in `draw_bowl`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If X has not two columns.
    """
    _check_two_weights(ax, X)
    best = minimum(X, y)
    borders = np.abs(np.array([ax.get_xlim(), ax.get_ylim()]).T - best)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85}
    for j, name in enumerate(("flat", "steep")):
        direction = np.linalg.eigh(hessian(X))[1][:, j]
        reach = np.min(borders / np.maximum(np.abs(direction), 1e-12)) * direction
        reach = reach if direction[j] > 0 else -reach  # flat to the right, steep upwards
        ax.plot(*np.transpose([best - reach, best + reach]), "--", color=COLOURS[name], linewidth=1.6, zorder=2)
        ax.text(*(best + 0.8 * reach), name, color=COLOURS[name], ha="center", va="center", zorder=5, bbox=box)
    return ax


def draw_parts(ax, parts, *, limits, color):
    """Draw the loss above its minimum over the steps, and the two parts whose sum it is, on a logarithmic axis.

    Each part has its name on the right of its end, or beside the last step at which it is in the picture.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        On its right there should be room for two words.
    parts : ndarray, shape (steps + 1, 2), float
        From `utils.byhand.loss_surface.loss_parts`: along the flat and along the steep eigenvector.
    limits : tuple of two floats
        Bottom and top of the picture, positive.
    color : str
        Of the sum.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If parts has not two columns, or the limits are not positive.
    """
    instance(ax, Axes, "ax", what="Axes")
    parts, limits = numeric(parts, "parts"), numeric(limits, "limits")
    if parts.ndim != 2 or parts.shape[1] != 2:
        raise ValueError(f"parts: expected shape (steps + 1, 2), a flat and a steep part, got {parts.shape}")
    if limits.shape != (2,) or not (np.isfinite(limits).all() and 0 < limits[0] < limits[1]):
        raise ValueError(f"limits: expected two positive numbers, bottom and top, got {limits}")
    ax.set(yscale="log", ylim=limits)
    low, high = np.log10(limits)
    heights = np.log10(np.clip(np.nan_to_num(parts, nan=np.inf), 1e-30, 1e30))
    total = np.logaddexp2(*(heights.T / np.log10(2)))
    ax.plot(2**total, color=color, linewidth=7, alpha=0.4, solid_capstyle="round")
    third = len(total) // 3
    ax.annotate("sum", (third, 2 ** total[third]), xytext=(0, 9), textcoords="offset points", color=color)
    steps = [_last_seen(height, low, high) for height in heights.T]
    ends = np.array([height[step] for height, step in zip(heights.T, steps, strict=True)])
    close = abs(steps[0] - steps[1]) < len(heights) / 4  # the words would stand one above the other
    inset = 0 if min(steps) == len(heights) - 1 else 0.04 * (high - low)  # no word on the frame
    borders = (low + inset, high - inset)
    ends = _apart(ends, *borders) if close else np.clip(ends, *borders)
    for name, height, step, end in zip(("flat", "steep"), heights.T, steps, ends, strict=True):
        ax.plot(10**height, color=COLOURS[name], linewidth=2)
        last = step == len(heights) - 1
        place = (1 if last else step, (end - low) / (high - low))
        where = "axes fraction" if last else ax.get_xaxis_transform()
        right = {"xytext": (5 if last else 10, 0), "textcoords": "offset points", "annotation_clip": False}
        ax.annotate(name, place, xycoords=where, color=COLOURS[name], va="center", **right)
    return ax


def _last_seen(height, low, high):
    """The last step at which a line is in the picture, or the last of all if it never is."""
    seen = np.flatnonzero((low <= height) & (height <= high))
    return int(seen[-1]) if seen.size else len(height) - 1


def _apart(heights, low, high):
    """Two heights for words beside lines: within the picture, and not on top of each other."""
    heights, word = np.clip(heights, low, high), 0.09 * (high - low)
    if abs(heights[0] - heights[1]) >= word:
        return heights
    middle = np.clip(heights.mean(), low + word / 2, high - word / 2)
    return middle + np.array([word, -word]) / 2 * (1 if heights[0] >= heights[1] else -1)


def draw_band(ax, x, values, *, color, label=None, marker="o", linestyle="-"):
    """Draw the median over the seeds as a line, and a band that holds the middle half of them.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : array_like, shape (n,)
    values : array_like, shape (n_seeds, n)
    color, label, marker, linestyle : str
        As in ``ax.plot``.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    instance(ax, Axes, "ax", what="Axes")
    x, values = numeric(x, "x"), numeric(values, "values")
    if values.ndim != 2 or x.shape != values.shape[1:]:
        raise ValueError(f"values: expected shape (n_seeds, {x.size}), a column for each x, got {values.shape}")
    low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
    ax.plot(x, middle, color=color, label=label, marker=marker, linestyle=linestyle)
    ax.fill_between(x, low, high, color=color, alpha=0.2)
    return ax


_GRAPH = {  # of each node: its place, its name, what it computes
    "x": (-0.9, 0, "$x$", ""),
    "mu": (1.3, 1.25, r"$\mu$", "mean of $x$"),
    "xc": (3.2, 0, "$x_c$", r"$x-\mu$"),
    "var": (4.7, 1.25, r"$\sigma^2$", "mean of $x_c^2$"),
    "s": (6.5, 1.25, "$s$", r"$1/\sqrt{\sigma^2+\epsilon}$"),
    "x_hat": (7.9, 0, r"$\hat{x}$", r"$x_c \cdot s$"),
    "gamma": (8.9, 1.25, r"$\gamma$", ""),
    "beta": (11.2, 1.25, r"$\beta$", ""),
    "y": (10.1, 0, "$y$", r"$\gamma\,\hat{x}+\beta$"),
}
_GRAPH_EDGES = {  # what happens to a gradient on its way back, and where that is written
    ("x", "mu"): (r"$\times\frac{1}{m}$", (0.55, 0.42)),
    ("x", "xc"): (r"$\times 1$", (1.15, -0.42)),
    ("mu", "xc"): (r"$-\sum dx_c$", (1.5, 0.42)),
    ("xc", "var"): (r"$\times\frac{2}{m}\,x_c$", (4.4, 0.42)),
    ("var", "s"): (r"$\times(-\frac{1}{2}s^3)$", (5.6, 0.93)),
    ("xc", "x_hat"): (r"$\times s$", (5.55, -0.46)),
    ("s", "x_hat"): (r"$\sum d\hat{x}\,x_c$", (6.5, 0.42)),
    ("x_hat", "y"): (r"$\times\gamma$", (9.0, -0.33)),
    ("gamma", "y"): (r"$\sum dy\,\hat{x}$", (8.83, 0.5)),
    ("beta", "y"): (r"$\sum dy$", (10.2, 0.85)),
}


def draw_batch_norm_graph(ax, nodes=()):
    """Draw the computational graph of batch norm: forward in blue, backward in orange.

    An orange label says what happens to the gradient on its way back: a factor, or a sum over the batch.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    nodes : tuple of str
        Of "mu", "xc", "var", "s", "x_hat" and "y": only the arrows into these have colour and labels. None of them
        stands for all, with the shapes.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no such node.
    """
    instance(ax, Axes, "ax", what="Axes")
    known = list(dict.fromkeys(end for _, end in _GRAPH_EDGES))
    if not isinstance(nodes, tuple) or any(node not in known for node in nodes):
        raise ValueError(f"nodes: expected a tuple with some of {', '.join(known)}, got {nodes!r}")
    for (start, end), (label, place) in _GRAPH_EDGES.items():
        active = not nodes or end in nodes
        for tail, head, tone in ((start, end, "standardized"), (end, start, "raw")):
            arrow = {"arrowstyle": "-|>,head_width=0.28,head_length=0.5", "connectionstyle": "arc3,rad=-0.13"}
            arrow |= {"color": COLOURS[tone] if active else "#D8D8D8", "linewidth": 2.2 if active else 1.2}
            ax.annotate("", _GRAPH[head][:2], _GRAPH[tail][:2], arrowprops=arrow | {"shrinkA": 21, "shrinkB": 21})
        if active:
            ax.text(*place, label, color=COLOURS["raw"], fontsize=15, ha="center", va="center")
    for name, (right, up, symbol, formula) in _GRAPH.items():
        used = {start for start, end in _GRAPH_EDGES if end in nodes}
        rows, active = up == 0, not nodes or name in used.union(nodes)
        box = {"boxstyle": "round,pad=0.32" if rows else "circle,pad=0.28", "ec": "none", "alpha": 1 if active else 0.5}
        box["fc"] = COLOURS["standardized" if rows else "whitened"]
        ax.text(right, up, symbol, ha="center", va="center", fontsize=17, color="white", bbox=box)
        caption = formula if name in nodes else ""
        if not nodes:
            caption = f"{formula}\n{'(m, C)' if rows else '(C,)'}".strip()
        below = {"va": "top"} if rows else {"va": "bottom"}
        ax.text(right, up + (-0.26 if rows else 0.27), caption, ha="center", fontsize=12, color="#333333", **below)
    ax.set(xlim=(-1.4, 11.6), ylim=(-0.85, 1.95))
    ax.axis("off")
    return ax

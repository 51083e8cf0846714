"""Pictures that are always the same, their descriptions, and drawings held against the loss they draw."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure
from PIL import Image
from traitlets.config import Config

from utils.byhand.loss_surface import descend, hessian, loss, loss_parts, minimum
from utils.data import two_features
from utils.plotting import (
    COLOURS,
    draw_band,
    draw_batch_norm_graph,
    draw_bowl,
    draw_directions,
    draw_parts,
    draw_path,
    png,
    show,
    use_course_style,
)

OKABE_ITO = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
LIMITS = (-2, 4, -1, 3)
PARTS_LIMITS = (1e-8, 1e4)


@pytest.fixture
def shell():
    """A shell as in a notebook, without a history file; it publishes what is displayed."""
    config = Config()
    config.HistoryManager.enabled = False
    yield InteractiveShell.instance(config=config)
    InteractiveShell.clear_instance()


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def fig():
    with plt.rc_context():
        use_course_style()
        figure, ax = plt.subplots(figsize=(4, 3))
        ax.plot([1, 3, 2], label="a line")
        ax.legend()
        yield figure
        plt.close(figure)


class TestPng:
    def test_the_same_figure_gives_the_same_bytes(self, fig):
        assert png(fig) == png(fig)

    def test_it_is_a_picture_of_the_figure(self):
        fig = Figure(figsize=(2, 1), dpi=100, facecolor="#0072B2")
        picture = Image.open(io.BytesIO(png(fig)))
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (200, 100))
        assert picture.getcolors() == [(20_000, (0x00, 0x72, 0xB2))]

    def test_it_carries_neither_version_nor_date(self, fig):
        assert Image.open(io.BytesIO(png(fig))).info == {}

    def test_compression_changes_the_size_and_no_pixel(self, fig):
        large, small = png(fig, compress_level=0), png(fig, compress_level=9)
        assert len(small) < len(large) / 10
        np.testing.assert_array_equal(*(np.asarray(Image.open(io.BytesIO(data))) for data in (large, small)))


class TestShow:
    def test_picture_and_words_are_published(self, fig, shell):
        with capture_output() as captured:
            show(fig, alt="A line that rises and falls.")
        (output,) = captured.outputs
        assert set(output.data) == {"image/png", "text/plain"}
        assert output.data["text/plain"] == "A line that rises and falls."
        assert output.metadata["image/png"]["alt"] == "A line that rises and falls."
        picture = base64.b64decode(output.data["image/png"], validate=True)
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        fig.set_dpi(200)
        assert picture == png(fig)

    @pytest.mark.parametrize("dpi", [50, 110, 200, 300])
    def test_a_picture_is_as_wide_as_the_figure_and_sharp(self, dpi, shell):
        with capture_output() as captured:
            show(Figure(figsize=(4, 3), dpi=dpi), alt="Nothing.")
        (output,) = captured.outputs
        picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
        assert output.metadata["image/png"]["width"] == 4 * dpi
        assert picture.size == (4 * max(dpi, 200), 3 * max(dpi, 200))

    def test_the_figure_is_closed(self, fig, shell):
        assert plt.fignum_exists(fig.number)
        with capture_output():
            show(fig, alt="A line.")
        assert not plt.fignum_exists(fig.number)

    @pytest.mark.parametrize("alt", ["", "  \n", None, 3])
    def test_no_words_no_picture(self, fig, alt, shell):
        with (
            capture_output() as captured,
            pytest.raises(ValueError, match="alt: expected a sentence that describes the figure, got"),
        ):
            show(fig, alt=alt)
        assert captured.outputs == []


class TestStyle:
    def test_it_is_in_force(self):
        with plt.rc_context():
            use_course_style()
            colours = [to_hex(c).upper() for c in plt.rcParams["axes.prop_cycle"].by_key()["color"]]
            assert len(set(colours)) == len(colours)
            assert set(colours) <= OKABE_ITO
            assert plt.rcParams["font.size"] >= 12, "readable from the last row"
            assert plt.rcParams["figure.facecolor"] == "white"

    def test_a_figure_drawn_in_it_is_laid_out(self, fig):
        assert fig.get_layout_engine() is not None
        assert not fig.axes[0].spines["top"].get_visible()

    def test_every_role_has_a_colour_that_the_colour_blind_can_tell(self):
        grey = {"#999999"}
        assert {colour.upper() for colour in COLOURS.values()} <= OKABE_ITO | grey
        assert not same_color(COLOURS["raw"], COLOURS["standardized"])


class TestBowl:
    def test_contours_lie_where_the_loss_says(self, ax):
        X, y = two_features(seed=0, ratio=2)
        draw_bowl(ax, X, y, limits=LIMITS, levels=7)
        (contours,) = ax.collections
        assert len(contours.levels) == 7
        bottom = loss(X, y, minimum(X, y))
        drawn = [(level, path.vertices) for level, path in zip(contours.levels, contours.get_paths(), strict=True)]
        for level, vertices in drawn[:-1]:  # the highest is a corner of the window at most
            assert len(vertices) > 10
            # Crossings interpolated on a grid of 90 by 90: an error of (6 / 90)^2 times the curvature of about 5.
            np.testing.assert_allclose(loss(X, y, vertices) - bottom, level, atol=0.02)

    def test_contours_of_a_round_bowl_are_evenly_spaced(self, ax):
        X, y = np.eye(2), np.zeros(2)
        draw_bowl(ax, X, y, limits=(-1, 1, -1, 1), levels=10)
        radii = np.sqrt(ax.collections[0].levels)
        np.testing.assert_allclose(np.diff(radii), radii[0], rtol=1e-10)  # rounding of roots of squares

    def test_right_angles_look_right_and_the_window_is_the_one_asked_for(self, ax):
        draw_bowl(ax, *two_features(seed=0), limits=LIMITS)
        assert ax.get_aspect() == 1
        assert (*ax.get_xlim(), *ax.get_ylim()) == LIMITS
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("$w_1$", "$w_2$")

    def test_the_cross_is_at_the_minimum(self, ax):
        X, y = two_features(seed=0)
        assert draw_bowl(ax, X, y, limits=LIMITS) is ax
        (cross,) = ax.lines
        expected = np.linalg.pinv(X) @ y
        np.testing.assert_allclose(cross.get_xydata(), [expected], rtol=1e-12)  # another solver's rounding

    @pytest.mark.parametrize(
        ("X", "title"),
        [
            (two_features(seed=0, correlation=0.5)[0], "κ = 3.0"),
            (np.eye(2), "κ = 1.0"),
            (np.ones((4, 2)), "κ = ∞"),
        ],
    )
    def test_the_title_is_the_condition_number(self, X, title, ax):
        draw_bowl(ax, X, np.ones(len(X)), limits=LIMITS)
        assert ax.get_title() == title

    @pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (5, 2, 2)])
    def test_other_than_two_weights_are_refused(self, shape, ax):
        with pytest.raises(ValueError, match=r"X: expected shape \(n, [2d]\), .*, got \(5") as caught:
            draw_bowl(ax, np.ones(shape), np.ones(5), limits=LIMITS)
        assert str(shape) in str(caught.value)

    def test_targets_of_another_length_are_refused(self, ax):
        with pytest.raises(ValueError, match=r"y: expected shape \(5,\).*got \(4,\)"):
            draw_bowl(ax, np.ones((5, 2)), np.ones(4), limits=LIMITS)


class TestPath:
    def test_every_step_is_a_dot(self, ax):
        path = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
        path.flags.writeable = False
        assert draw_path(ax, path, color=COLOURS["raw"], label="walk") is ax
        (line,) = ax.lines
        np.testing.assert_array_equal(line.get_xydata(), path)
        assert (line.get_color(), line.get_label(), line.get_marker()) == (COLOURS["raw"], "walk", "o")

    def test_of_a_diverging_walk_the_beginning_is_drawn(self, ax):
        X, y = two_features(seed=0)
        path = descend(X, y, lr=50.0, steps=500)
        assert np.isnan(path[-1]).all()
        draw_path(ax, path, color="black")
        drawn = ax.lines[0].get_xydata()
        np.testing.assert_array_equal(drawn, path[: len(drawn)])
        assert np.abs(drawn).max() < 1e6
        assert np.abs(path[len(drawn)]).max() >= 1e6

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -1e7])
    def test_nothing_is_drawn_after_a_step_that_left(self, bad, ax):
        draw_path(ax, [[0.0, 0.0], [bad, 0.0], [1.0, 1.0]], color="black")
        np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 0]])

    @pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (5, 2, 2)])
    def test_other_than_two_weights_are_refused(self, shape, ax):
        with pytest.raises(ValueError, match=r"path: expected shape \(.*2\), .*got \(5"):
            draw_path(ax, np.ones(shape), color="black")
        assert len(ax.lines) == 0

    def test_a_bowl_with_a_path_is_the_same_every_time(self):
        def draw():
            fig = Figure()
            X, y = two_features(seed=0)
            ax = draw_bowl(fig.subplots(), X, y, limits=LIMITS)
            draw_path(ax, descend(X, y, lr=0.5, steps=5), color=COLOURS["standardized"])
            return png(fig)

        assert draw() == draw()


class TestDirections:
    @pytest.mark.parametrize("ratio", [1.0, 4.0])
    def test_they_are_the_eigenvectors_through_the_minimum(self, ax, ratio):
        X, y = two_features(seed=0, ratio=ratio)
        best = minimum(X, y)
        draw_bowl(ax, X, y, limits=(best[0] - 3, best[0] + 3, best[1] - 2, best[1] + 2))
        draw_directions(ax, X, y)
        curvatures = np.linalg.eigvalsh(hessian(X))
        _, *lines = ax.lines  # the first is the cross
        for line, curvature, name in zip(lines, curvatures, ("flat", "steep"), strict=True):
            start, end = line.get_xydata()
            np.testing.assert_allclose((start + end) / 2, best, atol=1e-12)
            along = end - start
            np.testing.assert_allclose(hessian(X) @ along, curvature * along, atol=1e-10 * curvature)
            assert line.get_color() == COLOURS[name]
        assert [text.get_text() for text in ax.texts] == ["flat", "steep"]

    def test_they_end_at_the_border(self, ax):
        X, y = np.diag([1.0, 2.0]), np.zeros(2)
        draw_directions(draw_bowl(ax, X, y, limits=(-3, 3, -2, 2)), X, y)
        ends = [line.get_xydata() for line in ax.lines[1:]]
        np.testing.assert_allclose(ends, [[[-3, 0], [3, 0]], [[0, -2], [0, 2]]], atol=1e-12)

    def test_other_than_two_features_are_refused(self, ax):
        with pytest.raises(ValueError, match=r"X: expected shape \(n, 2\), two weights to draw, got \(5, 3\)"):
            draw_directions(ax, np.ones((5, 3)), np.ones(5))


class TestParts:
    @pytest.fixture
    def parts(self):
        X, y = two_features(seed=0, ratio=4.0)
        return loss_parts(X, y, descend(X, y, lr=0.1, steps=20))

    @pytest.fixture
    def ax(self):
        ax = Figure().subplots()
        ax.set_xlim(0, 20)
        return ax

    def test_there_are_the_sum_and_its_two_parts_on_a_logarithmic_axis(self, ax, parts):
        parts.flags.writeable = False
        assert draw_parts(ax, parts, limits=PARTS_LIMITS, color="black") is ax
        assert ax.get_yscale() == "log"
        assert (*ax.get_xlim(), *ax.get_ylim()) == (0, 20, 1e-8, 1e4)
        total, flat, steep = (line.get_ydata() for line in ax.lines)
        np.testing.assert_allclose(total, parts.sum(axis=1), rtol=1e-12)
        np.testing.assert_allclose(np.column_stack([flat, steep]), parts, rtol=1e-12)
        assert [line.get_color() for line in ax.lines] == ["black", COLOURS["flat"], COLOURS["steep"]]

    def test_a_line_that_stays_in_the_picture_has_its_name_at_its_end(self, ax, parts):
        draw_parts(ax, parts, limits=PARTS_LIMITS, color="black")
        named = {text.get_text(): text.xy for text in ax.texts}
        assert set(named) == {"sum", "flat", "steep"}
        for name, end in zip(("flat", "steep"), parts[-1], strict=True):
            expected = np.clip((np.log10(end) + 8) / 12, 0, 1)
            assert named[name] == (1, pytest.approx(expected))

    def test_a_line_that_leaves_the_picture_has_its_name_where_it_was_last_seen(self, ax, parts):
        draw_parts(ax, parts, limits=(1e-4, 1e4), color="black")
        step = np.flatnonzero(parts[:, 1] >= 1e-4)[-1]
        assert 0 < step < len(parts) - 1
        flat, steep = ax.texts[1:]
        assert flat.xy[0] == 1
        assert flat.xycoords == "axes fraction"
        assert steep.xy == (step, pytest.approx((np.log10(parts[step, 1]) + 4) / 8))
        assert steep.xycoords == ax.get_xaxis_transform()

    @pytest.mark.parametrize("ends", [(1.0, 1.0), (1e9, 1e9), (1e-20, 1e-20), (1e9, 1e8), (np.inf, np.nan), (0.0, 0.0)])
    def test_names_stay_in_the_picture_and_apart(self, ax, ends):
        draw_parts(ax, [(1.0, 1.0), ends], limits=PARTS_LIMITS, color="black")
        heights = [text.xy[1] for text in ax.texts if text.get_text() != "sum"]
        assert min(heights) >= 0
        assert max(heights) <= 1
        assert abs(heights[0] - heights[1]) > 0.08

    @pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (5, 2, 2)])
    def test_other_than_two_parts_are_refused(self, shape, ax):
        with pytest.raises(ValueError, match=r"parts: expected shape \(.*2\), .*got \(5"):
            draw_parts(ax, np.ones(shape), limits=PARTS_LIMITS, color="black")
        assert len(ax.lines) == 0

    @pytest.mark.parametrize("limits", [(0, 1), (-1, 1), (1, 1), (2, 1), (1, np.inf), (np.nan, 1), (1, 2, 3)])
    def test_limits_that_no_logarithm_has_are_refused(self, limits, parts):
        ax = Figure().subplots()
        with pytest.raises(ValueError, match="limits: expected two positive numbers, bottom and top"):
            draw_parts(ax, parts, limits=limits, color="black")


class TestBand:
    X = (1.0, 2.0, 4.0)
    # Five seeds: the quartiles are the second and the fourth value, the median the third.
    VALUES = np.array([[0, 9, 5.0], [1, 7, 5], [2, 5, 5], [4, 3, 5], [9, 1, 5]])

    def test_the_line_is_the_median_and_the_band_holds_the_middle_half(self, ax):
        assert draw_band(ax, self.X, np.random.default_rng(0).permutation(self.VALUES), color="#0072B2") is ax
        (line,), (band,) = ax.lines, ax.collections
        np.testing.assert_array_equal(line.get_xydata(), [[1, 2], [2, 5], [4, 5]])
        (outline,) = band.get_paths()
        corners = {(1, 1), (1, 4), (2, 3), (2, 7), (4, 5)}
        assert {tuple(corner) for corner in outline.vertices} == corners
        assert (same_color(line.get_color(), "#0072B2"), line.get_marker(), line.get_linestyle()) == (True, "o", "-")
        assert to_hex(band.get_facecolor()[0]) == "#0072b2"
        assert 0 < band.get_alpha() < 0.5  # the line and other bands show through

    def test_only_the_line_has_the_label(self, ax):
        draw_band(ax, self.X, self.VALUES, color="black", label="batch norm", marker="s", linestyle="--")
        draw_band(ax, self.X, self.VALUES, color="black")
        assert ax.get_legend_handles_labels()[1] == ["batch norm"]
        assert (ax.lines[0].get_marker(), ax.lines[0].get_linestyle()) == ("s", "--")

    def test_one_seed_is_a_line(self, ax):
        draw_band(ax, [0, 1], [[3, 4]], color="black")
        np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 3], [1, 4]])

    @pytest.mark.parametrize("shape", [(3,), (3, 5), (5, 3, 1), (5, 1)])
    def test_values_that_have_no_column_for_each_x_are_refused(self, shape, ax):
        with pytest.raises(ValueError, match=r"values: expected shape \(n_seeds, 3\), a column for each x, got \(\d"):
            draw_band(ax, self.X, np.ones(shape), color="black")
        assert len(ax.lines) == len(ax.collections) == 0


def arrows_of(ax):
    return [text.arrow_patch for text in ax.texts if getattr(text, "arrow_patch", None) is not None]


def test_the_graph_of_batch_norm_leads_each_arrow_back(ax):
    draw_batch_norm_graph(ax)
    ends = [(tuple(text.xyann), tuple(text.xy)) for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert len(ends) == 20
    assert {(head, tail) for tail, head in ends} == set(ends)


def test_the_graph_of_one_node_colours_the_arrows_into_it(ax):
    draw_batch_norm_graph(ax, ("y",))
    coloured = [to_hex(arrow.get_edgecolor()).upper() for arrow in arrows_of(ax)]
    assert (coloured.count(COLOURS["standardized"]), coloured.count(COLOURS["raw"])) == (3, 3)


def test_the_graph_knows_its_nodes(ax):
    with pytest.raises(ValueError, match="expected a tuple with some of mu, xc, .*, got 'sigma'"):
        draw_batch_norm_graph(ax, "sigma")

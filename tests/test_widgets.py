"""Explorers without a browser: moving a control is setting its value."""

import base64
import io
import itertools
import sys
import time
from types import ModuleType, SimpleNamespace

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from utils import data, widgets
from utils.byhand import loss_surface as surface
from utils.widgets import Explorer, loss_surface_explorer, loss_surface_walk

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def explorer():
    return loss_surface_explorer(seed=0)


@pytest.fixture(autouse=True)
def _as_it_was(explorer):
    values = {name: control.value for name, control in explorer.controls.items()}
    yield
    for name, control in explorer.controls.items():
        control.value = values[name]


def ends(control):
    """The smallest and the largest value that a reader can set."""
    if isinstance(control, ipywidgets.SelectionSlider):
        return control.options[0], control.options[-1]
    if isinstance(control, ipywidgets.FloatLogSlider):
        return control.base**control.min, control.base**control.max
    return control.min, control.max


class TestExplorer:
    @pytest.fixture
    def small(self):
        def draw(a, b):
            return f"picture of {a} and {b}".encode(), f"{a} beside {b}"

        return Explorer(draw, {"a": ipywidgets.IntSlider(1), "b": ipywidgets.Dropdown(options="xy")})

    def test_it_draws_at_once_and_again_when_a_control_moves(self, small):
        assert (small.image.value, small.alt) == (b"picture of 1 and x", "1 beside x")
        small.controls["a"].value = 7
        assert (small.image.value, small.alt) == (b"picture of 7 and x", "7 beside x")
        small.controls["b"].value = "y"
        assert (small.image.value, small.alt) == (b"picture of 7 and y", "7 beside y")

    def test_the_controls_stand_in_rows_above_the_picture(self, small):
        rows, picture = small.box.children
        assert picture is small.image
        assert rows.children == tuple(small.controls.values())
        assert rows.layout.flex_flow == "row wrap"

    def test_a_notebook_gets_the_widget_and_a_picture_for_where_there_are_none(self, small):
        small.controls["a"].value = 2
        data, metadata = small._repr_mimebundle_()
        assert set(data) == {"text/plain", "image/png", VIEW}
        assert data["text/plain"] == "2 beside x"
        assert base64.b64decode(data["image/png"]) == b"picture of 2 and x"
        assert data[VIEW]["model_id"] == small.box.model_id
        assert metadata == {"image/png": {"alt": "2 beside x"}}


class OldWidget:
    """A widget as ipywidgets 7 has them: it shows itself by `_ipython_display_`, and knows no MIME bundle."""

    model_id = "0123"

    def __init__(self, children=(), **settings):
        self.children, self.layout, self.observed = children, SimpleNamespace(), []
        self.__dict__.update(settings)

    def observe(self, handler, names):
        self.observed.append(handler)

    def close(self):
        pass

    def _ipython_display_(self):
        raise AssertionError("the explorer shows itself")


def old_ipywidgets(**changes):
    module = ModuleType("ipywidgets")
    kinds = ("IntSlider", "FloatSlider", "FloatLogSlider", "SelectionSlider", "Dropdown", "Image", "Box", "VBox")
    module.__dict__.update(dict.fromkeys(kinds, OldWidget) | changes)
    return module


def broken(*_, **__):
    raise AttributeError("module 'traitlets' has no attribute 'observe'")


WITHOUT = {
    "not installed": None,
    "fits no other package": old_ipywidgets(IntSlider=broken),
    "no kernel to talk to": old_ipywidgets(IntSlider=type("Alone", (OldWidget,), {"model_id": None})),
    "another package of the name": ModuleType("ipywidgets"),
}


class TestOtherVersions:
    @pytest.fixture
    def give(self, monkeypatch):
        def give(module):
            monkeypatch.setitem(sys.modules, "ipywidgets", module)
            widgets._ipywidgets.cache_clear()

        yield give
        monkeypatch.undo()
        widgets._ipywidgets.cache_clear()

    @pytest.mark.parametrize("name", WITHOUT)
    def test_where_there_are_no_widgets_there_is_the_picture(self, give, name, explorer):
        expected = explorer._repr_mimebundle_()
        give(WITHOUT[name])
        alone = loss_surface_explorer(seed=0)
        data, metadata = alone._repr_mimebundle_()
        assert alone.box is None
        assert set(data) == {"text/plain", "image/png"}
        assert (data["text/plain"], data["image/png"]) == (expected[0]["text/plain"], expected[0]["image/png"])
        assert metadata == expected[1]
        values = [{key: one.value for key, one in each.controls.items()} for each in (alone, explorer)]
        assert values[0] == values[1]

    def test_widgets_that_know_no_mime_bundle_are_shown(self, give):
        give(old_ipywidgets())
        explorer = loss_surface_explorer(seed=0)
        data, _ = explorer._repr_mimebundle_()
        assert data[VIEW] == {"version_major": 2, "version_minor": 0, "model_id": "0123"}
        assert base64.b64decode(data["image/png"]) == explorer.image.value
        slider, before = explorer.controls["lr"], explorer.image.value
        slider.value = 0.5
        slider.observed[0]({"new": 0.5})
        assert explorer.image.value != before

    def test_a_control_that_does_not_exist_is_refused(self):
        with pytest.raises(ValueError, match="kind: expected a class of ipywidgets, .* got 'Slidder'"):
            widgets.control("Slidder", 1)


class TestLossSurfaceWalk:
    """The walk of the explorer, written out again with the functions that have tests of their own."""

    @pytest.mark.parametrize(("momentum", "batch_size"), [(0.0, 100), (0.5, 100), (0.0, 4), (0.8, 1)])
    def test_it_is_descent_on_two_features(self, momentum, batch_size):
        how = {"lr": 0.03, "steps": 7, "momentum": momentum}
        walk = loss_surface_walk(seed=3, ratio=2.0, batch_size=batch_size, **how)
        X, y = data.two_features(seed=3, n=100, ratio=2.0)
        best = surface.minimum(X, y)
        batches = {} if batch_size == 100 else {"batch_size": batch_size, "rng": np.random.default_rng(3)}
        path = surface.descend(X, y, start=best + [-2.4, 1.3], **how, **batches)
        np.testing.assert_array_equal(walk.path, path)
        np.testing.assert_array_equal(walk.minimum, best)
        np.testing.assert_allclose(walk.excess, surface.loss(X, y, path) - surface.loss(X, y, best))
        np.testing.assert_array_equal(walk.parts, surface.loss_parts(X, y, path))

    @pytest.mark.parametrize("factor", [0.99, 1.01])
    def test_its_limit_parts_the_walks_that_arrive_from_those_that_leave(self, factor):
        limit = loss_surface_walk(seed=0, steps=0, lr=0.0, ratio=3.0).largest_lr
        excess = loss_surface_walk(seed=0, steps=300, lr=factor * limit, ratio=3.0).excess
        assert (excess[-1] > excess[0]) == (factor > 1)

    def test_a_ratio_that_is_no_scale_is_refused(self):
        with pytest.raises(ValueError, match="ratio: expected a positive number, got 0.0"):
            loss_surface_walk(seed=0, steps=1, lr=0.1, ratio=0.0)


class TestLossSurfaceExplorer:
    @pytest.mark.parametrize("name", ["lr", "ratio", "momentum", "batch_size"])
    def test_moving_a_control_changes_the_picture_and_its_description(self, explorer, name):
        seen = set()
        for value in ends(explorer.controls[name]):
            explorer.controls[name].value = value
            seen.add((explorer.image.value, explorer.alt))
        assert len({picture for picture, _ in seen}) == 2
        assert len({alt for _, alt in seen}) == 2

    def test_a_control_moved_back_restores_the_picture(self, explorer):
        before = explorer.image.value
        explorer.controls["batch_size"].value = 4
        with_batches = explorer.image.value
        explorer.controls["batch_size"].value = 100
        assert explorer.image.value == before != with_batches
        explorer.controls["batch_size"].value = 4
        assert explorer.image.value == with_batches, "the batches are drawn the same way every time"

    @pytest.mark.timeout(180)
    def test_the_corners_of_all_sliders_are_drawn_without_warning(self, explorer):
        for corner in itertools.product(*(ends(control) for control in explorer.controls.values())):
            drawn, alt = explorer.draw(*corner)  # warnings are errors here
            picture = Image.open(io.BytesIO(drawn))
            picture.load()
            assert picture.format == "PNG"
            assert alt.strip()

    def test_the_description_says_the_condition_number_and_the_rate(self, explorer):
        explorer.controls["ratio"].value = 1  # correlation 0.5: curvatures 1.5 and 0.5
        explorer.controls["lr"].value = 0.1
        assert "condition number 3.0" in explorer.alt
        assert "learning rate 0.1" in explorer.alt

    @pytest.mark.parametrize(("momentum", "batch_size"), [(0.0, 100), (0.5, 100), (0.0, 4)])
    def test_the_description_says_how_large_the_parts_are_at_the_end(self, explorer, momentum, batch_size):
        explorer.controls["momentum"].value = momentum
        explorer.controls["batch_size"].value = batch_size
        settings = {name: control.value for name, control in explorer.controls.items()}
        flat, steep = loss_surface_walk(seed=0, steps=25, **settings).parts[-1]
        assert f"the flat part is {flat:.1e} and the steep part {steep:.1e}" in explorer.alt

    def test_a_redraw_feels_immediate(self, explorer):
        seconds = []
        for ratio in np.arange(1.0, 4.0, 0.5):
            began = time.perf_counter()
            explorer.controls["ratio"].value = ratio
            seconds.append(time.perf_counter() - began)
        assert min(seconds) < 0.5  # takes about 0.06 s; the bound leaves room for a busy machine

    def test_the_seed_decides(self):
        one, again, other = (loss_surface_explorer(seed=seed).image.value for seed in (0, 0, 1))
        assert one == again != other

    def test_it_is_shown_as_picture_and_widget(self, explorer):
        data, metadata = explorer._repr_mimebundle_()
        assert set(data) == {"text/plain", "image/png", VIEW}
        assert data[VIEW] == explorer.box._repr_mimebundle_()[VIEW], "what the widgets say themselves"
        assert base64.b64decode(data["image/png"]) == explorer.image.value
        assert metadata["image/png"]["alt"] == data["text/plain"] == explorer.alt

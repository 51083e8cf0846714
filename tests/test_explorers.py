"""The numbers in the page's explorers are those of the notebooks, and the fragments fit into any page."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import explorers
import numpy as np
import pytest
import torch

from utils import data, widgets
from utils.byhand import loss_surface as surface
from utils.plotting import COLOURS

pytestmark = pytest.mark.timeout(300)  # networks are trained

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK_6 = ROOT / "notebooks" / "06_weight_initialization.ipynb"
HALF_A_THOUSANDTH = 0.000501  # numbers are stored as whole thousandths


SCALES = sorted({0.1, 1.0, 1.3, 2.0, 3.0, 3**-0.5, 2**0.5})  # of forty: each costs a network per depth


@pytest.fixture(scope="module")
def numbers():
    """What the two scripts read, after a way through JSON."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explorers, "scales", lambda control: SCALES)
        found = {name: getattr(explorers, name)() for name in explorers.NAMES}
    return json.loads(json.dumps(found))


@pytest.fixture(scope="module")
def fragments(numbers):
    return {name: explorers.fragment(name, numbers[name]) for name in explorers.NAMES}


def unpack(text, shape):
    """Read back what `explorers.pack` stored."""
    whole = np.frombuffer(base64.b64decode(text), dtype="<i2").reshape(shape).astype(np.float64)
    return np.where(whole == explorers.NONE, np.nan, whole / explorers.FINE)


@pytest.fixture(scope="module")
def walks(numbers):
    n = numbers["loss_surface"]
    shape = (len(n["ratios"]), len(n["rates"]), n["steps"] + 1)
    return unpack(n["paths"], (*shape, 2)), unpack(n["parts"], (*shape, 2))


@pytest.fixture(scope="module")
def sizes(numbers):
    n = numbers["signal_propagation"]
    n_scales, rows = len(n["scales"]), [depth + 1 for depth in n["depths"]]
    begin = np.cumsum([0, *rows])
    found = {}
    for activation, of in n["sizes"].items():
        signals = unpack(of["signals"], (n_scales, rows[-1]))
        gradients = unpack(of["gradients"], (n_scales, begin[-1]))
        for i in range(n_scales):
            for j, length in enumerate(rows):
                place = (activation, n["scales"][i], n["depths"][j])
                found[place] = signals[i, :length], gradients[i, begin[j] : begin[j + 1]]
    return found


@pytest.fixture(scope="module")
def notebook():
    """The cell of lesson 06 that shows its explorer, executed, with all that it uses."""
    cells = {c["id"]: "".join(c["source"]) for c in json.loads(NOTEBOOK_6.read_text("utf-8"))["cells"]}
    space = {}
    for cell in ("setup", "one-forward", "four-backward", "five-explorer"):
        exec(cells[cell], space)
    return space


class TestLossSurface:
    @pytest.mark.parametrize(("i", "j"), [(0, 0), (0, 50), (4, 17), (12, 20), (12, 21), (12, 22), (16, 10), (16, 50)])
    def test_a_stored_walk_is_descent_from_the_same_start(self, numbers, walks, i, j):
        n, (paths, parts) = numbers["loss_surface"], walks
        X, y = data.two_features(seed=0, n=100, ratio=n["ratios"][i])
        best = surface.minimum(X, y)
        walk = surface.descend(X, y, lr=n["rates"][j], steps=n["steps"], start=best + [-2.4, 1.3])
        near = np.abs(walk - best).max(axis=1) <= 30
        length = len(walk) if near.all() else int(near.argmin())
        np.testing.assert_allclose(paths[i, j, :length], (walk - best)[:length], rtol=0, atol=HALF_A_THOUSANDTH)
        assert np.isnan(paths[i, j, length + 1 :]).all(), "a walk that has left the picture by far is not stored"
        exact = np.clip(surface.loss_parts(X, y, walk), 1e-16, 1e16)
        np.testing.assert_allclose(parts[i, j], np.log10(exact), rtol=0, atol=HALF_A_THOUSANDTH)
        excess = np.clip(surface.loss(X, y, walk) - surface.loss(X, y, best), 1e-8, 1e8)
        total = np.clip((10 ** parts[i, j]).sum(axis=-1), 1e-8, 1e8)  # as the page adds them
        np.testing.assert_allclose(np.log10(total), np.log10(excess), rtol=0, atol=HALF_A_THOUSANDTH)

    def test_a_walk_leaves_the_picture_in_the_right_direction(self):
        path = np.array([[0.0, 0.0], [10.0, -20.0], [-90.0, 30.0], [500.0, 500.0]])
        cut = explorers._until_far(path)
        np.testing.assert_array_equal(cut[:2], path[:2])
        to, along = cut[2] - path[1], path[2] - path[1]
        assert abs(to[0] * along[1] - to[1] * along[0]) < 1e-9, "the same line"
        assert np.abs(cut[2]).max() == pytest.approx(30), "up to the border"
        assert np.isnan(cut[3]).all()

    def test_steps_beyond_all_numbers_are_left_out(self):
        cut = explorers._until_far(np.array([[1.0, 1.0], [np.inf, 2.0], [np.nan, np.nan]]))
        np.testing.assert_array_equal(cut, [[1, 1], [np.nan, np.nan], [np.nan, np.nan]])

    def test_positions_and_first_picture_are_those_of_the_notebook(self, numbers):
        n, controls = numbers["loss_surface"], widgets.loss_surface_explorer(seed=0).controls
        for values, name, first in ((n["rates"], "lr", n["first"][0]), (n["ratios"], "ratio", n["first"][1])):
            assert values[first] == pytest.approx(controls[name].value)
            controls[name].unobserve_all("value")  # no picture for each
            for value in values:  # a widget moves a value that is not one of its own to the nearest it has
                controls[name].value = value
                assert controls[name].value == pytest.approx(value)

    def test_the_ellipses_are_contours(self, numbers):
        n = numbers["loss_surface"]
        for ratio, bowl in zip(n["ratios"], n["bowls"], strict=True):
            X, y = data.two_features(seed=0, n=100, ratio=ratio)
            best = surface.minimum(X, y)
            turn, angle = np.linspace(0, 6, 9), np.radians(bowl["angle"])
            across = np.column_stack([bowl["axes"][0] * np.cos(turn), bowl["axes"][1] * np.sin(turn)])
            rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            heights = surface.loss(X, y, best + across @ rotation) - surface.loss(X, y, best)
            corners = best + np.array([[3, 2], [3, -2], [-3, 2], [-3, -2]])
            highest = (surface.loss(X, y, corners) - surface.loss(X, y, best)).max()
            np.testing.assert_allclose(heights, highest, rtol=2e-3)  # axes and angle have four digits
            np.testing.assert_allclose(bowl["curvatures"], np.linalg.eigvalsh(surface.hessian(X)), atol=6e-5)
            assert bowl["limit"] == pytest.approx(surface.largest_stable_lr(surface.hessian(X)))


class TestSignalPropagation:
    PLACES = (("relu", 1.0, 30), ("relu", 2**0.5, 50), ("tanh", 3**-0.5, 10), ("tanh", 1.3, 50), ("linear", 0.1, 2))

    @pytest.mark.parametrize(("activation", "scale", "depth"), PLACES)
    def test_the_page_has_the_curves_of_the_notebook(self, notebook, sizes, activation, scale, depth):
        notebook["draw"](scale, depth, activation)
        for curve, powers in zip(notebook["curves"], sizes[activation, scale, depth], strict=True):
            np.testing.assert_allclose(powers, np.log10(curve.get_ydata()), rtol=0, atol=HALF_A_THOUSANDTH)

    @pytest.mark.parametrize(("activation", "scale", "depth"), [*PLACES, ("tanh", 2.0, 50), ("tanh", 3.0, 24)])
    def test_gradients_are_those_of_autograd(self, sizes, activation, scale, depth):
        of = explorers.propagation_of_notebook()
        f = {"relu": torch.relu, "tanh": torch.tanh, "linear": lambda z: z}[activation]
        layers = [torch.tensor(of["first"], dtype=torch.float64, requires_grad=True)]
        for w in torch.tensor(of["thin"][:depth], dtype=torch.float64):
            layers.append(f(layers[-1] @ (scale * w).T))
        gradients = torch.autograd.grad((layers[-1] * torch.tensor(of["last"])).sum(), layers)
        for powers, arrays in zip(sizes[activation, scale, depth], (layers, gradients), strict=True):
            exact = [float(values.detach().square().mean().sqrt().log10()) for values in arrays]
            # The notebook computes in single precision, and large tanh weights are chaotic: rounding grows from layer
            # to layer. A hundredth is a sixth of a pixel in the page's picture.
            np.testing.assert_allclose(powers, exact, rtol=0, atol=0.01)

    def test_every_position_is_there_and_the_first_is_the_notebooks(self, numbers, sizes):
        n, controls = numbers["signal_propagation"], explorers.propagation_of_notebook()["controls"]
        assert len(sizes) == len(n["scales"]) * len(n["depths"]) * len(controls["activation"].options)
        for values, name, first in ((n["scales"], "scale", 0), (n["depths"], "depth", 1)):
            assert values[n["first"][first]] == controls[name].value
            assert (min(values), max(values)) == (controls[name].min, controls[name].max)
        assert n["activation"] == controls["activation"].value
        offered = explorers.scales(controls["scale"])
        assert set(SCALES) < set(offered)
        assert (offered[0], offered[-1]) == (controls["scale"].min, controls["scale"].max)
        assert max(np.diff(offered)) < 0.11

    def test_the_marks_are_the_recipes(self, numbers):
        """Xavier's and He's weights for a square layer, and PyTorch's, have these scales over the root of n."""
        from utils.byhand import initialization

        recipes = {"PyTorch's default": initialization.pytorch_default, "Xavier": initialization.xavier_normal}
        recipes["He"] = initialization.kaiming_normal
        n = numbers["signal_propagation"]
        assert [mark["name"] for mark in n["marks"]] == list(recipes)
        for mark in n["marks"]:
            weights = recipes[mark["name"]]((400, 400), rng=0)
            assert n["scales"][mark["at"]] == pytest.approx(weights.std() * 20, rel=0.01)  # 160 000 draws: 0.2 percent


class TestFragment:
    class Tags(HTMLParser):
        def __init__(self, text):
            super().__init__()
            self.found = []
            self.feed(text)

        def handle_starttag(self, tag, attrs):
            self.found.append((tag, dict(attrs)))

    @pytest.fixture(params=["loss_surface", "signal_propagation"])
    def fragment(self, request, fragments):
        return request.param.replace("_", "-"), fragments[request.param]

    def test_it_is_one_small_div(self, fragment):
        name, text = fragment
        assert text.startswith("<div ")
        assert text.rstrip().endswith("</div>")
        assert len(text.encode()) < (300_000 if name == "loss-surface" else 60_000)  # with a sixth of the scales
        assert not re.search(r"\n\s*\n", text), "a blank line would end an HTML block in Markdown"
        assert "{{" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)

    def test_its_ids_are_its_own(self, fragment):
        name, text = fragment
        ids = [attributes["id"] for _, attributes in self.Tags(text).found if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert all(one.startswith(f"{name}-") for one in ids)
        used = re.findall(r'byId\("([^"]+)"\)', text)
        assert used
        assert set(used) <= set(ids)

    def test_every_slider_has_a_label_and_every_picture_a_description(self, fragment):
        _, text = fragment
        tags = self.Tags(text).found
        labelled = {attributes.get("for") for tag, attributes in tags if tag == "label"}
        sliders = [attributes["id"] for tag, attributes in tags if tag == "input"]
        assert len(sliders) == 2
        assert set(sliders) <= labelled
        pictures = [attributes for tag, attributes in tags if tag == "svg"]
        assert len(pictures) == 2
        assert all(p["role"] == "img" and p["aria-label"] for p in pictures)
        assert any(attributes.get("aria-live") == "polite" for _, attributes in tags)

    def test_it_asks_the_network_for_nothing(self, fragment):
        _, text = fragment
        assert set(re.findall(r"https?://[^\"'\s]+", text)) <= {"http://www.w3.org/2000/svg"}  # a name, not an address
        assert not re.search(r"\b(fetch|XMLHttpRequest|import)\b|\bsrc=|@import|url\(\s*[\"']?(?!#)", text)

    def test_its_colours_are_those_of_the_figures(self, fragment):
        _, text = fragment
        for role in ("accent", "raw", "momentum", "whitened", "flat", "steep"):
            assert f"--{role}: {COLOURS[role]};" in text

    def test_building_writes_the_fragments(self, numbers, tmp_path, monkeypatch):
        for name in explorers.NAMES:
            monkeypatch.setattr(explorers, name, lambda name=name: numbers[name])
        fragments = {f"{name}.html": text for name, text in explorers.build(tmp_path).items()}
        assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == fragments


class TestStorage:
    def test_what_was_packed_comes_back_to_a_thousandth(self):
        values = np.array([[0.0, 1.23449], [-32.7, np.nan]])
        np.testing.assert_allclose(unpack(explorers.pack(values), (2, 2)), values, atol=HALF_A_THOUSANDTH)

    def test_a_number_too_large_is_refused(self):
        with pytest.raises(ValueError, match=r"within ±32.767, got one of size 33"):
            explorers.pack([0.0, 33.0])


class TestDefinitions:
    @pytest.fixture
    def notebook(self, tmp_path):
        source = "import nothing_here\na, b = 2, 3\n\ndef twice(x):\n    return 2 * x + offset\n\nc = twice(a)\n"
        path = tmp_path / "n.ipynb"
        path.write_text(json.dumps({"cells": [{"id": "one", "cell_type": "code", "source": [source]}]}))
        return path

    def test_only_what_is_wanted_runs(self, notebook):
        found = explorers.definitions(notebook, {"one": ["twice", "b"]}, given={"offset": 1})
        assert found["twice"](5) == 11
        assert found["b"] == 3
        assert "c" not in found

    @pytest.mark.parametrize(
        ("wanted", "sentence"),
        [
            ({"two": ["a"]}, r"n.ipynb: expected a cell 'two' with a, found none"),
            ({"one": ["a", "thrice"]}, "expected cell 'one' to define thrice; it does not"),
        ],
    )
    def test_what_is_gone_is_named(self, notebook, wanted, sentence):
        with pytest.raises(ValueError, match=sentence):
            explorers.definitions(notebook, wanted, given={})

"""The fold of lesson 08 against layers that are not folded: right for all that it accepts, and it refuses the rest."""

from pathlib import Path

import pytest
from notebook_rules import read

torch = pytest.importorskip("torch")
nn = torch.nn
LESSON = Path(__file__).resolve().parents[1] / "notebooks" / "08_normalization_in_practice.ipynb"
CELLS = "eight-refuse", "eight-fold"


@pytest.fixture(scope="module")
def fold():
    """The function of the lesson, from its cells."""
    sources = {cell.id: cell.source for cell in read(LESSON).cells}
    names = {"torch": torch, "nn": nn, "copy": __import__("copy")}
    for cell in CELLS:
        exec(sources[cell], names)
    return names["fold"]


def randomized(layer, bn):
    """Both in float64 and evaluation mode, with random numbers everywhere."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for values in (*layer.parameters(), *bn.parameters(), bn.running_mean):
            values.normal_(generator=generator)
        bn.running_var.uniform_(0.5, 2, generator=generator)
    return layer.double().eval(), bn.double().eval()


LAYERS = {
    "linear": (nn.Linear(6, 4), nn.BatchNorm1d(4), (5, 6)),
    "linear without bias": (nn.Linear(6, 4, bias=False), nn.BatchNorm1d(4), (5, 6)),
    "one axis": (nn.Conv1d(6, 4, 3), nn.BatchNorm1d(4), (2, 6, 9)),
    "strided, dilated": (nn.Conv2d(6, 4, 3, stride=2, dilation=2), nn.BatchNorm2d(4), (2, 6, 9, 9)),
    "grouped": (nn.Conv2d(6, 4, 3, groups=2, bias=False), nn.BatchNorm2d(4), (2, 6, 9, 9)),
    "depthwise": (nn.Conv2d(6, 12, 3, groups=6), nn.BatchNorm2d(12), (2, 6, 9, 9)),
    "reflected": (nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4), (2, 6, 9, 9)),
    "three axes": (nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4), (2, 2, 5, 5, 5)),
    "transposed": (nn.ConvTranspose2d(6, 4, 3), nn.BatchNorm2d(4), (2, 6, 5, 5)),
    "transposed, square": (nn.ConvTranspose2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), (2, 4, 5, 5)),
    "transposed, grouped": (nn.ConvTranspose2d(6, 4, 3, groups=2), nn.BatchNorm2d(4), (2, 6, 5, 5)),
    "transposed, strided, dilated": (
        nn.ConvTranspose2d(6, 9, 3, stride=2, dilation=2, groups=3, output_padding=1),
        nn.BatchNorm2d(9),
        (2, 6, 5, 5),
    ),
    "transposed, one axis": (nn.ConvTranspose1d(6, 4, 3), nn.BatchNorm1d(4), (2, 6, 5)),
    "transposed, three axes": (nn.ConvTranspose3d(4, 6, 2, groups=2), nn.BatchNorm3d(6), (2, 4, 3, 3, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_the_same_function(fold, name):
    layer, bn, shape = LAYERS[name]
    layer, bn = randomized(layer, bn)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2)).double()
    before = [values.clone() for values in (*layer.parameters(), *bn.parameters())]
    with torch.no_grad():
        expected = bn(layer(x))
        error = (fold(layer, bn)(x) - expected).abs().max() / expected.abs().max()
    assert error < 1e-12, "both are sums of some hundred products in float64"
    after = (*layer.parameters(), *bn.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), "what is folded stays as it was"


class Other(nn.Conv2d):
    """A convolution that computes something else."""


REFUSED = {
    "layer norm": (nn.LayerNorm(4), nn.BatchNorm1d(4).eval()),
    "a subclass": (Other(4, 4, 3), nn.BatchNorm2d(4).eval()),
    "parametrized": (nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.BatchNorm1d(4).eval()),
    "other axes": (nn.Linear(4, 4), nn.BatchNorm2d(4).eval()),
    "an activation": (nn.ReLU(), nn.BatchNorm1d(4).eval()),
    "not a batch norm": (nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4).eval()),
    "training mode": (nn.Linear(4, 4), nn.BatchNorm1d(4)),
    "no averages": (nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False).eval()),
    "no gamma": (nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False).eval()),
    "one output": (nn.Conv2d(4, 1, 3), nn.BatchNorm2d(4).eval()),
    "inputs for outputs": (nn.ConvTranspose2d(4, 2, 3), nn.BatchNorm2d(4).eval()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses_the_rest(fold, name):
    with pytest.raises(ValueError, match=r"cannot fold|needs eval|outputs, \d+ channels"):
        fold(*REFUSED[name])

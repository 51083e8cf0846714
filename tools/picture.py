"""Draw README's picture: what a trained network with batch norm answers with and without `eval()`."""

import io

import matplotlib
from guard import ROOT

matplotlib.use("Agg")
import numpy as np
import torch
from matplotlib import pyplot as plt
from PIL import Image
from torch import nn
from torch.nn import functional as F

from utils import data, plotting, runtime
from utils.files import write_atomically

PATH = ROOT / "site" / "_static" / "one_at_a_time.png"
SIDE = 10  # images per row, and rows


def block(channels_in, channels_out):
    """A convolution, batch norm, and a ReLU."""
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]


def trained(split, *, seed):
    """An ordinary small network for digits, trained for ten epochs."""
    torch.manual_seed(seed)
    layers = [nn.Unflatten(1, split.image_shape), *block(1, 16), *block(16, 32), nn.MaxPool2d(2), *block(32, 32)]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x, y = torch.tensor(split.x_train).float(), torch.tensor(split.y_train)
    for _ in range(10):
        for rows in torch.randperm(len(x))[: len(x) // 32 * 32].split(32):
            loss = F.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


@torch.no_grad()
def answers(net, images):
    """The network's answers to images that it is given one at a time; its mode stays as it is."""
    x = torch.tensor(images).float()
    return np.array([net(image[None]).argmax().item() for image in x])


def draw_answers(ax, given, right):
    """One panel: each answer at the place of its image, in the colour of right or wrong."""
    for i, (answer, expected) in enumerate(zip(given, right, strict=True)):
        colour = plotting.COLOURS["standardized" if answer == expected else "raw"]
        row, column = divmod(i, SIDE)
        ax.text(column, row, str(answer), color=colour, ha="center", va="center", fontsize=17, weight="bold")
    ax.set(xlim=(-0.5, SIDE - 0.5), ylim=(SIDE - 0.5, -0.5), aspect="equal")


def draw(images, right, with_eval, without):
    """The images, and the answers in both modes."""
    fig, axes = plt.subplots(1, 3, figsize=(12, 4.25))
    fig.get_layout_engine().set(wspace=0.08)
    tiles = np.pad(images.reshape(SIDE, SIDE, 8, 8), ((0, 0), (0, 0), (2, 2), (2, 2)))
    axes[0].imshow(tiles.swapaxes(1, 2).reshape(SIDE * 12, SIDE * 12), cmap="Greys", interpolation="bilinear")
    axes[0].set_title("100 test images")
    for ax, given, name in ((axes[1], with_eval, "net.eval()"), (axes[2], without, "eval() forgotten")):
        draw_answers(ax, given, right)
        ax.set_title(f"{name}: {np.sum(given == right)} right")
        ax.set_facecolor("#F4F4F4")
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
    return fig


def small_png(fig):
    """The figure with 64 colours, which is a third of the bytes."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(plotting.png(fig))).quantize(64).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def main():
    """Train, ask in both modes, and write the picture."""
    runtime.configure()
    plotting.use_course_style()
    split = data.digits(seed=0)
    images, right = split.x_test[: SIDE**2], split.y_test[: SIDE**2]
    net = trained(split, seed=0)
    with_eval = answers(net.eval(), images)
    without = answers(net.train(), images)
    write_atomically(PATH, small_png(draw(images, right, with_eval, without)))
    counts = f"{np.sum(with_eval == right)} right with eval(), {np.sum(without == right)} without"
    print(f"{PATH.relative_to(ROOT)}: {counts}")


if __name__ == "__main__":
    main()

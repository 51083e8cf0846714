"""Data sets, each split into a training and a test part: from scikit-learn, generated, or downloaded on request."""

import functools
import math
import os
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import norm
from sklearn import datasets
from sklearn.model_selection import train_test_split

from utils import download, image_files
from utils.arrays import generator, instance, matrix, number, one_of, whole

__all__ = [
    "Split",
    "ages_and_incomes",
    "breast_cancer",
    "cifar10",
    "diabetes",
    "diabetes_in_own_units",
    "digits",
    "fashion_mnist",
    "images",
    "iris",
    "mnist",
    "photo_patches",
    "standardize_channels",
    "two_features",
    "wine",
]


@dataclass(frozen=True, eq=False)
class Split:
    """Examples to learn from and examples to be judged on.

    Parameters
    ----------
    x_train : ndarray, shape (n_train, d), float64 or float32
    y_train : ndarray, shape (n_train,), int64 (classes) or float64 (regression)
    x_test : ndarray, shape (n_test, d), as x_train
    y_test : ndarray, shape (n_test,), as y_train
    feature_names : tuple of str, length d
    x_validation : ndarray, shape (n_validation, d), as x_train, optional
        Examples to choose a learning rate on.
    y_validation : ndarray, shape (n_validation,), as y_train, optional
    image_shape : tuple of 3 int, optional
        Channels, height and width of an example, whose product is d.

    Raises
    ------
    ValueError
        If shapes do not fit together, a part is empty, a number is NaN or infinite, or one half of the validation part
        is missing.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    feature_names: tuple = field(default=())
    x_validation: np.ndarray | None = None
    y_validation: np.ndarray | None = None
    image_shape: tuple | None = None

    def __post_init__(self):
        d = matrix(instance(self.x_train, np.ndarray, "x_train"), "x_train").shape[1]
        if (self.x_validation is None) != (self.y_validation is None):
            raise ValueError("validation part: expected both x_validation and y_validation or neither, got one of them")
        for part in self._parts:
            names = f"x_{part}", f"y_{part}"
            x, y = (instance(getattr(self, name), np.ndarray, name, what="an ndarray") for name in names)
            if matrix(x, f"x_{part}").shape[1] != d:
                raise ValueError(f"x_{part}: expected {d} features, as x_train, got {x.shape[1]}")
            if y.shape != (len(x),):
                raise ValueError(f"y_{part}: expected shape ({len(x)},), one target an example, got {y.shape}")
            if y.dtype.kind not in "iuf":
                raise ValueError(f"y_{part}: expected integers (classes) or floats, got {y.dtype}")
            if not np.isfinite(y).all():
                raise ValueError(f"y_{part}: expected finite targets, got NaN or infinity")
        names = instance(self.feature_names, tuple, "feature_names", what="a tuple of names")
        if names and len(names) != d:
            raise ValueError(f"feature_names: expected {d} names, got {len(names)}")
        if self.image_shape is not None and not _is_shape(self.image_shape, d):
            raise ValueError(
                f"image_shape: expected a tuple (channels, height, width) with product {d}, the number of features, "
                f"got {self.image_shape!r}"
            )

    @property
    def _parts(self):
        return ("train", "test") if self.x_validation is None else ("train", "validation", "test")

    @property
    def x(self):
        """All examples, those for training first, those for testing last; shape (n, d)."""
        return np.concatenate([getattr(self, f"x_{part}") for part in self._parts])

    @property
    def y(self):
        """All targets, those for training first, those for testing last; shape (n,)."""
        return np.concatenate([getattr(self, f"y_{part}") for part in self._parts])

    def hold_out(self, *, seed, fraction=0.25):
        """Split the training part once more, to choose a learning rate without looking at the test part.

        Parameters
        ----------
        seed : int or numpy.random.Generator
        fraction : float
            Of the training part, in (0, 1).

        Returns
        -------
        Split
            Its test part is for validation.

        Raises
        ------
        ValueError
            If fraction is not in (0, 1).
        """
        return _split(self.x_train, self.y_train, self.feature_names, seed, fraction, self.image_shape, "fraction")

    def with_validation(self, *, seed, fraction=0.25):
        """Take a validation part out of the training part; the test part stays as it is.

        Parameters
        ----------
        seed : int or numpy.random.Generator
        fraction : float
            Of the training part, in (0, 1). Classes are split alike.

        Returns
        -------
        Split
            With x_validation and y_validation; the three parts together are the examples of this split.

        Raises
        ------
        ValueError
            If fraction is not in (0, 1), or if there is a validation part already.
        """
        if self.x_validation is not None:
            raise ValueError(
                "expected a split without a validation part, got one that has it; start from the first one"
            )
        inner = self.hold_out(seed=seed, fraction=fraction)
        return replace(
            self, x_train=inner.x_train, y_train=inner.y_train, x_validation=inner.x_test, y_validation=inner.y_test
        )

    def map(self, function):
        """Apply a function to the examples of every part.

        Parameters
        ----------
        function : callable
            From an array of shape (n, d) to one of the same number of rows.

        Returns
        -------
        Split
            Without feature names if the number of features has changed.
        """
        parts = {f"x_{part}": function(getattr(self, f"x_{part}")) for part in self._parts}
        same = parts["x_train"].shape[1:] == self.x_train.shape[1:]
        kept = {} if same else {"feature_names": (), "image_shape": None}
        return replace(self, **parts, **kept)

    def first(self, n):
        """Keep only the first n training examples; they are in random order.

        Parameters
        ----------
        n : int
            1 to the number of training examples.

        Returns
        -------
        Split

        Raises
        ------
        ValueError
            If there are not that many.
        """
        n = whole(n, "n", at_most=len(self.x_train), hint="; there are no more training examples")
        return replace(self, x_train=self.x_train[:n], y_train=self.y_train[:n])

    def with_wrong_labels(self, share, *, seed):
        """Replace a share of the training labels by labels drawn at random among all classes.

        Parameters
        ----------
        share : float
            In [0, 1]. Some of the drawn labels are right by chance.
        seed : int or numpy.random.Generator

        Returns
        -------
        Split
            Its other parts are as before.

        Raises
        ------
        ValueError
            If share is out of range or the targets are not classes.
        """
        share, rng, y = number(share, "share", at_least=0, at_most=1), generator(seed), self.y_train.copy()
        if y.dtype != np.int64:
            raise ValueError(f"y_train: expected classes to draw from (int64), got {y.dtype}")
        chosen = rng.choice(len(y), size=round(share * len(y)), replace=False)
        y[chosen] = rng.choice(np.unique(self.y_train), size=len(chosen))
        return replace(self, y_train=y)


def _is_shape(shape, d):
    sizes = isinstance(shape, tuple) and all(isinstance(n, int | np.integer) and n > 0 for n in shape)
    return sizes and len(shape) == 3 and math.prod(shape) == d


def _split(x, y, names, seed, fraction, image_shape=None, name="test_fraction"):
    fraction, rng = number(fraction, name, above=0, below=1), generator(seed)
    y = y.astype(np.int64 if np.issubdtype(y.dtype, np.integer) else np.float64)
    x_train, x_test, y_train, y_test = train_test_split(
        x,
        y,
        test_size=fraction,
        random_state=int(rng.integers(2**32)),
        stratify=y if y.dtype == np.int64 else None,
    )
    names = tuple(str(name) for name in names)
    return Split(x_train, y_train, x_test, y_test, names, image_shape=image_shape)


def _bunch(load, seed, test_fraction, image_shape=None):
    bunch = load()
    x = bunch.data.astype(np.float64)
    return _split(x, bunch.target, bunch.feature_names, seed, test_fraction, image_shape)


def iris(*, seed=0, test_fraction=0.25):
    """Four lengths and widths in cm of 150 iris flowers of three species (Fisher, 1936).

    Parameters
    ----------
    seed : int or numpy.random.Generator
        Draws the split.
    test_fraction : float
        In (0, 1).

    Returns
    -------
    Split
        d = 4, y in {0, 1, 2}.

    Raises
    ------
    ValueError
        If test_fraction is not in (0, 1).

    Examples
    --------
    >>> iris(seed=0).x.shape
    (150, 4)
    """
    return _bunch(datasets.load_iris, seed, test_fraction)


def wine(*, seed=0, test_fraction=0.25):
    """Thirteen chemical measurements, in very different units, of 178 wines of three growers (Forina, 1991).

    Parameters
    ----------
    seed, test_fraction
        As in `iris`.

    Returns
    -------
    Split
        d = 13, y in {0, 1, 2}.

    Raises
    ------
    ValueError
        If test_fraction is not in (0, 1).
    """
    return _bunch(datasets.load_wine, seed, test_fraction)


def breast_cancer(*, seed=0, test_fraction=0.25):
    """Thirty measurements of cell nuclei in 569 images, benign or malignant (Wolberg, Street and Mangasarian, 1995).

    Parameters
    ----------
    seed, test_fraction
        As in `iris`.

    Returns
    -------
    Split
        d = 30, y in {0, 1}.

    Raises
    ------
    ValueError
        If test_fraction is not in (0, 1).
    """
    return _bunch(datasets.load_breast_cancer, seed, test_fraction)


def diabetes(*, seed=0, test_fraction=0.25):
    """Ten features, already centred and scaled alike, of 442 patients, and their disease's progression (Efron, 2004).

    Parameters
    ----------
    seed, test_fraction
        As in `iris`.

    Returns
    -------
    Split
        d = 10, y real.

    Raises
    ------
    ValueError
        If test_fraction is not in (0, 1).
    """
    return _bunch(datasets.load_diabetes, seed, test_fraction)


def diabetes_in_own_units(*, seed=0, test_fraction=0.25):
    """The features of `diabetes` before scikit-learn scaled them: years, blood pressure, blood values.

    Parameters
    ----------
    seed, test_fraction
        As in `iris`.

    Returns
    -------
    Split
        d = 10, y real.

    Raises
    ------
    ValueError
        If test_fraction is not in (0, 1).
    """
    return _bunch(lambda: datasets.load_diabetes(scaled=False), seed, test_fraction)


def digits(*, seed=0, test_fraction=0.25):
    """Images of 1797 handwritten digits, 8 by 8 pixels of 0 to 16, three of them constant (Alpaydin and Kaynak, 1998).

    Parameters
    ----------
    seed, test_fraction
        As in `iris`.

    Returns
    -------
    Split
        d = 64 (pixels, row by row), image_shape (1, 8, 8), y in {0, ..., 9}.

    Raises
    ------
    ValueError
        If test_fraction is not in (0, 1).
    """
    return _bunch(datasets.load_digits, seed, test_fraction, (1, 8, 8))


def ages_and_incomes(*, seed=0, n=400, test_fraction=0.25):
    """People of 10 to 50 years, incomes of 10 000 to 500 000 dollars: the lecture's example of two scales, generated.

    Parameters
    ----------
    seed : int or numpy.random.Generator
        Draws people and split.
    n : int
        People, at least 8.
    test_fraction : float
        In (0, 1).

    Returns
    -------
    Split
        d = 2 (age in years, income in dollars, rank correlation about 0.5, incomes skewed to the right); y real, a
        score to which both contribute alike, with noise.

    Raises
    ------
    ValueError
        If n is below 8 or test_fraction not in (0, 1).

    Notes
    -----
    S. Raschka, STAT 453 (2021), lecture 11.1. Ages are uniform, incomes the square of a uniform variable on their
    range, tied by a Gaussian copula.
    """
    n, rng = whole(n, "n", at_least=8), generator(seed)
    common, own, noise = rng.standard_normal((3, n))
    u_age, u_income = norm.cdf(common), norm.cdf(0.5 * common + np.sqrt(0.75) * own)
    age, income = 10 + 40 * u_age, 10_000 + 490_000 * u_income**2
    y = 50 + 10 * (age - 30) / 11.5 + 10 * (income - 173_000) / 146_000 + 3 * noise
    return _split(np.column_stack([age, income]), y, ("age (years)", "income (dollars)"), rng, test_fraction)


def two_features(*, seed, n=100, ratio=1.0, correlation=0.5, noise=0.5):
    """Examples with two centred features, the second on a scale of its own, and a centred target.

    Parameters
    ----------
    seed : int or numpy.random.Generator
    n : int
        Examples, at least 3.
    ratio : float
        Standard deviation of the second feature over that of the first, which is 1.
    correlation : float
        Between the features, exactly, in (-1, 1).
    noise : float
        Standard deviation of what the features do not explain.

    Returns
    -------
    X : ndarray, shape (n, 2), float64
    y : ndarray, shape (n,), float64

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    n, ratio, rng = whole(n, "n", at_least=3), number(ratio, "ratio", above=0), generator(seed)
    correlation, noise = number(correlation, "correlation", above=-1, below=1), number(noise, "noise", at_least=0)
    Z = rng.standard_normal((n, 2))
    Z -= Z.mean(axis=0)
    Q = np.linalg.qr(Z)[0] * np.sqrt(n)  # exactly uncorrelated, unit variance
    X = np.column_stack([Q[:, 0], ratio * (correlation * Q[:, 0] + np.sqrt(1 - correlation**2) * Q[:, 1])])
    y = X @ np.array([1.5, 1.5 / ratio]) + noise * rng.standard_normal(n)
    return X, y - y.mean()


def photo_patches(*, seed=0, n=512, size=16):
    """Colour patches cut at random places out of the two photographs that ship with scikit-learn.

    Parameters
    ----------
    seed : int or numpy.random.Generator
        Draws the places.
    n : int
        Patches, at least 2; half from each photograph.
    size : int
        Width and height in pixels, 1 to 400.

    Returns
    -------
    ndarray, shape (n, 3, size, size), float64
        Red, green and blue, 0 to 255.

    Raises
    ------
    ValueError
        If n or size is out of range.
    """
    n, size, rng = whole(n, "n", at_least=2), whole(size, "size", at_most=400), generator(seed)
    photos = datasets.load_sample_images().images
    patches = np.empty((n, 3, size, size))
    for i in range(n):
        photo = photos[i % len(photos)]
        top, left = (int(rng.integers(extent - size + 1)) for extent in photo.shape[:2])
        patches[i] = photo[top : top + size, left : left + size].transpose(2, 0, 1)
    return patches


def _number_of_images(n, name):
    return None if n is None else whole(n, name, hint="; None takes all images")


@functools.lru_cache(maxsize=2)
def _read_images(files, states):
    """Read the files of a data set; they are read again when they have changed."""
    if len(files) == 1:
        return image_files.read_cifar10(files[0])
    arrays = image_files.read_labelled_images(*files[:2]) + image_files.read_labelled_images(*files[2:])
    for path, images in zip(files[::2], arrays[::2], strict=True):
        if images.shape[1:] != (28, 28):
            raise ValueError(f"{path}: expected images of 28 x 28 pixels, got {images.shape[1]} x {images.shape[2]}")
    return arrays


def _downloaded(name, image_shape, seed, n_train, n_test):
    wanted = {"train": _number_of_images(n_train, "n_train"), "test": _number_of_images(n_test, "n_test")}
    rng = generator(seed)
    files = tuple(download.fetch(name).values())
    arrays = _read_images(files, tuple(path.stat().st_mtime_ns for path in files))
    parts = {}
    for (part, n), images, labels in zip(wanted.items(), arrays[::2], arrays[1::2], strict=True):
        if n is not None and n > len(images):
            raise ValueError(f"n_{part}: expected at most {len(images)}, all that {name} has there, got {n}")
        chosen = rng.permutation(len(images))[:n]
        parts[f"x_{part}"] = images[chosen].reshape(len(chosen), -1).astype(np.float32)
        parts[f"y_{part}"] = labels[chosen].astype(np.int64)
    return Split(**parts, image_shape=image_shape)


def mnist(*, seed=0, n_train=None, n_test=None):
    """Images of handwritten digits, 28 by 28 pixels of 0 to 255 (LeCun, Cortes and Burges, 1998), downloaded once.

    Parameters
    ----------
    seed : int or numpy.random.Generator
        Draws which images come, and their order. The official training and test part are kept apart.
    n_train, n_test : int, optional
        How many of the 60 000 training and 10 000 test images; all if not given.

    Returns
    -------
    Split
        d = 784 (pixels, row by row), float32, image_shape (1, 28, 28), y in {0, ..., 9}.

    Raises
    ------
    ValueError
        If there are not that many images, or a file is not what it should be.
    utils.download.DownloadError
        If a file is not in the cache and cannot be downloaded.

    Notes
    -----
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, *Gradient-based learning applied to document recognition* (1998).
    """
    return _downloaded("mnist", (1, 28, 28), seed, n_train, n_test)


def fashion_mnist(*, seed=0, n_train=None, n_test=None):
    """Images of ten kinds of clothes, in the format of `mnist` (Xiao, Rasul and Vollgraf, 2017), downloaded once.

    Parameters
    ----------
    seed, n_train, n_test
        As in `mnist`.

    Returns
    -------
    Split
        As from `mnist`.

    Raises
    ------
    ValueError, utils.download.DownloadError
        As in `mnist`.

    Notes
    -----
    H. Xiao, K. Rasul and R. Vollgraf, *Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms* (2017), arXiv:1708.07747.
    """
    return _downloaded("fashion_mnist", (1, 28, 28), seed, n_train, n_test)


def cifar10(*, seed=0, n_train=None, n_test=None):
    """Small colour photographs of ten kinds of things, 32 by 32 pixels of 0 to 255 (Krizhevsky, 2009), downloaded once.

    Parameters
    ----------
    seed, n_train, n_test
        As in `mnist`; there are 50 000 training and 10 000 test images.

    Returns
    -------
    Split
        d = 3072 (red, green and blue pixels, each row by row), float32, image_shape (3, 32, 32), y in {0, ..., 9}.

    Raises
    ------
    ValueError, utils.download.DownloadError
        As in `mnist`.

    Notes
    -----
    A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images* (2009).
    """
    return _downloaded("cifar10", (3, 32, 32), seed, n_train, n_test)


def images(*, seed=0, dataset=None, n_train=4000, n_test=1000):
    """Images to classify: the data set that the reader chose, digits by default.

    Parameters
    ----------
    seed : int or numpy.random.Generator
    dataset : {"digits", "mnist", "fashion_mnist", "cifar10"}, optional
        Without it the environment variable ``DATASET`` decides, and without that it is digits.
    n_train, n_test : int, optional
        How many images of a downloaded data set; all for None. Digits are always all 1797, a quarter of them for
        testing.

    Returns
    -------
    Split
        With image_shape.

    Raises
    ------
    ValueError
        For an unknown data set, or numbers of images that cannot be had.
    utils.download.DownloadError
        If a file is not in the cache and cannot be downloaded.

    Examples
    --------
    >>> images(dataset="digits").image_shape
    (1, 8, 8)
    """
    _number_of_images(n_train, "n_train")
    _number_of_images(n_test, "n_test")
    load = {"digits": digits, "mnist": mnist, "fashion_mnist": fashion_mnist, "cifar10": cifar10}
    if dataset is None:
        dataset = one_of(os.environ.get("DATASET") or "digits", load, "the environment variable DATASET")
    one_of(dataset, load, "the argument dataset")
    if dataset == "digits":
        return digits(seed=seed)
    return load[dataset](seed=seed, n_train=n_train, n_test=n_test)


def standardize_channels(split):
    """Move and scale each colour channel by its mean and standard deviation over all training images and pixels.

    Parameters
    ----------
    split : Split
        With image_shape.

    Returns
    -------
    Split
        Every part transformed with the statistics of the training part, in the dtype that it had. A constant channel
        becomes 0 in the training part.

    Raises
    ------
    ValueError
        If the split has no image_shape.

    Notes
    -----
    Computed in float64. One mean and one deviation per channel keep the differences between pixels of an image, which
    `utils.byhand.standardization.Standardizer` takes away.
    """
    if instance(split, Split, "split").image_shape is None:
        raise ValueError(
            "split: expected images, that is image_shape=(channels, height, width), got none; "
            "use utils.byhand.standardization.Standardizer for a table of features"
        )
    x_train = split.x_train.reshape(len(split.x_train), split.image_shape[0], -1)
    moves = []
    for c in range(x_train.shape[1]):
        low, high = x_train[:, c].min(), x_train[:, c].max()
        constant = low == high
        mean = low if constant else x_train[:, c].mean(dtype=np.float64)
        moves.append((mean, 1.0 if constant else x_train[:, c].std(dtype=np.float64)))

    def transform(x):
        channels = np.empty_like(x).reshape(len(x), len(moves), -1)
        for c, (mean, deviation) in enumerate(moves):
            channels[:, c] = (x.reshape(channels.shape)[:, c] - np.float64(mean)) / deviation
        return channels.reshape(x.shape)

    return split.map(transform)

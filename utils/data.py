"""Small data sets that ship with scikit-learn, one that is generated, each split into a training and a test part."""

from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm
from sklearn import datasets
from sklearn.model_selection import train_test_split

from utils.arrays import matrix

__all__ = [
    "Split",
    "ages_and_incomes",
    "breast_cancer",
    "diabetes",
    "digits",
    "iris",
    "photo_patches",
    "two_features",
    "wine",
]


@dataclass(frozen=True)
class Split:
    """Examples to learn from and examples to be judged on.

    Parameters
    ----------
    x_train : ndarray, shape (n_train, d), float64
    y_train : ndarray, shape (n_train,), int64 (classes) or float64 (regression)
    x_test : ndarray, shape (n_test, d), float64
    y_test : ndarray, shape (n_test,), as y_train
    feature_names : tuple of str, length d

    Raises
    ------
    ValueError
        If shapes do not fit together, a part is empty, or a number is NaN or infinite.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    feature_names: tuple = field(default=())

    def __post_init__(self):
        d = matrix(self.x_train, "x_train").shape[1]
        if matrix(self.x_test, "x_test").shape[1] != d:
            raise ValueError(f"x_test: expected {d} features, as x_train, got {self.x_test.shape[1]}")
        for part in ("train", "test"):
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            if y.shape != (len(x),):
                raise ValueError(f"y_{part}: expected shape ({len(x)},), one target an example, got {y.shape}")
            if not np.isfinite(y).all():
                raise ValueError(f"y_{part}: expected finite targets, got NaN or infinity")
        if self.feature_names and len(self.feature_names) != d:
            raise ValueError(f"feature_names: expected {d} names, got {len(self.feature_names)}")

    @property
    def x(self):
        """All examples, those for training first; shape (n_train + n_test, d)."""
        return np.concatenate([self.x_train, self.x_test])

    @property
    def y(self):
        """All targets, those for training first; shape (n_train + n_test,)."""
        return np.concatenate([self.y_train, self.y_test])

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
        return _split(self.x_train, self.y_train, self.feature_names, seed, fraction)


def _split(x, y, names, seed, fraction):
    if not 0 < fraction < 1:
        raise ValueError(f"test_fraction: expected a number between 0 and 1, got {fraction}")
    rng = np.random.default_rng(seed)
    y = y.astype(np.int64 if np.issubdtype(y.dtype, np.integer) else np.float64)
    x_train, x_test, y_train, y_test = train_test_split(
        x.astype(np.float64),
        y,
        test_size=fraction,
        random_state=int(rng.integers(2**32)),
        stratify=y if y.dtype == np.int64 else None,
    )
    return Split(x_train, y_train, x_test, y_test, tuple(str(name) for name in names))


def _bunch(load, seed, test_fraction):
    bunch = load()
    return _split(bunch.data, bunch.target, bunch.feature_names, seed, test_fraction)


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
        d = 64 (pixels, row by row), y in {0, ..., 9}.

    Raises
    ------
    ValueError
        If test_fraction is not in (0, 1).
    """
    return _bunch(datasets.load_digits, seed, test_fraction)


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
    if n < 8:
        raise ValueError(f"n: expected at least 8 people, got {n}")
    rng = np.random.default_rng(seed)
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
    if n < 3 or not ratio > 0 or not -1 < correlation < 1:
        raise ValueError(f"expected n >= 3, ratio > 0 and -1 < correlation < 1, got {n}, {ratio} and {correlation}")
    rng = np.random.default_rng(seed)
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
    if n < 2 or not 1 <= size <= 400:
        raise ValueError(f"expected n of at least 2 and size from 1 to 400, got n={n}, size={size}")
    rng = np.random.default_rng(seed)
    photos = datasets.load_sample_images().images
    patches = np.empty((n, 3, size, size))
    for i in range(n):
        photo = photos[i % len(photos)]
        top, left = (int(rng.integers(extent - size + 1)) for extent in photo.shape[:2])
        patches[i] = photo[top : top + size, left : left + size].transpose(2, 0, 1)
    return patches

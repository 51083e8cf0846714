"""Examples to learn from, to choose on and to be judged on."""

import math
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import train_test_split

from utils.arrays import generator, instance, matrix, number, whole

__all__ = ["Split"]


@dataclass(frozen=True, eq=False)
class Split:
    """Examples to learn from and examples to be judged on.

    Parameters
    ----------
    x_train : ndarray, shape (n_train, d), float64 or float32
    y_train : ndarray, shape (n_train,), int64 (classes) or float64 (regression)
    x_test, y_test : ndarray
        As x_train and y_train, n_test of them.
    feature_names : tuple of str, length d
    x_validation, y_validation : ndarray, optional
        As the test part, to choose a learning rate on.
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
    feature_names: tuple = ()
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
                raise ValueError(f"y_{part}: expected shape ({len(x)},), one target per example, got {y.shape}")
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
        """All examples, shape (n, d): those for training come first, those for testing last."""
        return np.concatenate([getattr(self, f"x_{part}") for part in self._parts])

    @property
    def y(self):
        """All targets, shape (n,), in the order of x."""
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
        fraction = number(fraction, "fraction", above=0, below=1)
        kept = {"feature_names": self.feature_names, "image_shape": self.image_shape}
        return draw_split(self.x_train, self.y_train, seed=seed, test_fraction=fraction, **kept)

    def with_validation(self, *, seed, fraction=0.25):
        """Take a validation part out of the training part; the test part stays as it is.

        Parameters
        ----------
        seed, fraction
            As in `hold_out`. Classes are split alike.

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
            raise ValueError("expected a split without a validation part, got one with it; start from the first one")
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

        Returns
        -------
        Split

        Raises
        ------
        ValueError
            If there are not that many, or n is not positive.
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


def draw_split(x, y, *, seed, test_fraction, feature_names=(), image_shape=None):
    """Split examples x (n, d) at random into a training and a test part; the targets y (n,) become int64 or float64.

    Integers are classes, whose shares are the same in both parts. `test_fraction` is in (0, 1).
    """
    fraction, rng = number(test_fraction, "test_fraction", above=0, below=1), generator(seed)
    y = y.astype(np.int64 if np.issubdtype(y.dtype, np.integer) else np.float64)
    classes = y if y.dtype == np.int64 else None
    parts = train_test_split(x, y, test_size=fraction, random_state=int(rng.integers(2**32)), stratify=classes)
    x_train, x_test, y_train, y_test = parts
    names = tuple(str(name) for name in feature_names)
    return Split(x_train, y_train, x_test, y_test, names, image_shape=image_shape)

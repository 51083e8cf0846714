"""Standardize and whiten the columns of a table, with statistics learned once and used again."""

import numpy as np
from sklearn.exceptions import NotFittedError

from utils.arrays import matrix, one_of

__all__ = ["Standardizer", "Whitener"]


class _Scaler:
    """What both have in common: learn on one array, apply to any other with the same features."""

    def fit(self, X):
        """Learn the statistics of every feature.

        Parameters
        ----------
        X : array_like, shape (n, d), float
            The training examples, at least two.

        Returns
        -------
        Standardizer or Whitener
            Itself.

        Raises
        ------
        ValueError
            If X is not a finite float table of at least two rows.
        """
        X = matrix(X, min_rows=2).astype(np.float64, copy=False)
        self._learn(X, X.mean(axis=0))
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        """Apply the statistics learned by fit, also to new examples.

        Parameters
        ----------
        X : array_like, shape (m, d), float

        Returns
        -------
        ndarray, shape (m, d), dtype of X

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before fit.
        ValueError
            If X has another number of features than in fit, or is not a finite float table.
        """
        if not hasattr(self, "mean_"):
            raise NotFittedError(
                f"this {type(self).__name__} has no statistics yet: expected fit(X_train) before transform"
            )
        X = matrix(X, n_features=self.n_features_in_)
        return self._apply(X.astype(np.float64, copy=False) - self.mean_).astype(X.dtype, copy=False)

    def fit_transform(self, X):
        """`fit`, then `transform`, of the same examples.

        Parameters
        ----------
        X : array_like, shape (n, d), float

        Returns
        -------
        ndarray, shape (n, d), dtype of X
        """
        return self.fit(X).transform(X)


class Standardizer(_Scaler):
    r"""z-scores: subtract each feature's mean, divide by its standard deviation.

    Attributes
    ----------
    mean_ : ndarray, shape (d,), float64
        Mean of each feature, in the feature's unit.
    var_ : ndarray, shape (d,), float64
        Biased variance (divided by n) of each feature.
    scale_ : ndarray, shape (d,), float64
        Standard deviation; 1 where the feature is constant, so that it becomes 0 and not NaN.
    n_features_in_ : int

    Notes
    -----
    .. math:: z_{ij} = (x_{ij} - \mu_j) / \sigma_j, \quad
              \mu_j = \tfrac1n \sum_i x_{ij}, \quad \sigma_j^2 = \tfrac1n \sum_i (x_{ij} - \mu_j)^2

    Statistics are computed in float64 with two passes, whatever the dtype of X. A feature counts as constant when its
    variance is below what rounding the mean can produce. Derived in notebook 01; same attributes and same answers as
    ``sklearn.preprocessing.StandardScaler``.

    Examples
    --------
    >>> import numpy as np
    >>> Standardizer().fit_transform(np.array([[1.0, 7.0], [3.0, 7.0]]))
    array([[-1.,  0.],
           [ 1.,  0.]])
    """

    def _learn(self, X, mean):
        var = np.mean((X - mean) ** 2, axis=0)
        # n * eps * |mean| bounds the rounding error of a mean of n numbers, and so of each deviation.
        rounding = len(X) * np.finfo(np.float64).eps * np.abs(mean)
        constant = var <= rounding**2
        self.mean_, self.var_ = mean, var
        self.scale_ = np.where(constant, 1.0, np.sqrt(var))

    def _apply(self, centred):
        return centred / self.scale_


class Whitener(_Scaler):
    r"""Make features uncorrelated with unit variance, by PCA or ZCA.

    Parameters
    ----------
    method : {"pca", "zca"}
        "pca" gives the coordinates along the principal directions; "zca" turns them back, which is the white
        version closest to the centred data.

    Attributes
    ----------
    mean_ : ndarray, shape (d,), float64
    eigenvalues_ : ndarray, shape (d,), float64
        Variances along the principal directions, largest first.
    whitening_ : ndarray, shape (d, d), float64
        The matrix applied to the centred rows.
    n_features_in_ : int

    Notes
    -----
    With the biased covariance :math:`C = U \Lambda U^\top`, PCA whitening multiplies the centred rows by
    :math:`U \Lambda^{-1/2}`, ZCA by :math:`U \Lambda^{-1/2} U^\top` (Bell and Sejnowski, 1997). Directions in which the
    training data do not vary (fewer examples than features, constant features) become 0.
    """

    def __init__(self, method="zca"):
        self.method = one_of(method, ("pca", "zca"), "method")

    def _learn(self, X, mean):
        n, d = X.shape
        # The singular values of the centred data: their squares over n are the eigenvalues, without squaring errors.
        _, singular, Vt = np.linalg.svd(X - mean, full_matrices=n < d)
        singular = np.pad(singular, (0, d - len(singular)))
        largest = np.abs(Vt).argmax(axis=1)
        U = (Vt * np.sign(Vt[np.arange(d), largest])[:, None]).T  # the sign is free: make the largest entry positive
        varies = singular > max(n, d) * np.finfo(np.float64).eps * max(singular[0], np.abs(mean).max() * np.sqrt(n))
        std = singular / np.sqrt(n)
        inverse = np.divide(1.0, std, out=np.zeros(d), where=varies)
        self.mean_, self.eigenvalues_ = mean, np.where(varies, std**2, 0.0)
        self.whitening_ = (U * inverse) @ U.T if self.method == "zca" else U * inverse

    def _apply(self, centred):
        return centred @ self.whitening_

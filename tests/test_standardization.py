"""Standardizer against scikit-learn's StandardScaler, Whitener against its PCA and the definition of white."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from utils.byhand.standardization import Standardizer, Whitener

SCALERS = [Standardizer, Whitener, lambda: Whitener("pca")]
# Eighths of small integers: differences are exact, so a constant column is constant and others are clearly not.
TABLES = hnp.arrays(
    np.float64, st.tuples(st.integers(2, 12), st.integers(1, 4)), elements=st.integers(-8000, 8000).map(lambda k: k / 8)
)


def random_table(n=60, d=4, seed=0):
    """Correlated features with scales from a thousandth to a thousand, away from zero."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n, d)) @ rng.standard_normal((d, d))
    return mixed * np.logspace(-3, 3, d) + np.linspace(-50, 2000, d)


def covariance(Z):
    return np.cov(Z, rowvar=False, bias=True).reshape(Z.shape[1], Z.shape[1])


TABLES_BY_HAND = {
    "random": random_table(),
    "constant columns": np.column_stack([np.full(50, 0.1), np.arange(50.0), np.zeros(50), np.full(50, -1e9 / 3)]),
    "huge offset": 1e8 + np.random.default_rng(1).standard_normal((200, 2)),
    "finer than rounding": np.array([[1e16, 1.0], [1e16 + 2, 2.0]]),
    "tiny": np.array([[1e-200, 1e-150], [-1e-200, -1e-150]]),
    "digits": datasets.load_digits().data,
    "wine": datasets.load_wine().data,
}


@pytest.mark.parametrize("X", TABLES_BY_HAND.values(), ids=TABLES_BY_HAND)
def test_standardizer_is_standard_scaler(X):
    ours, theirs = Standardizer().fit(X), StandardScaler().fit(X)
    # Sums of up to 1797 numbers in another order differ by some eps of the mean; relative to a deviation of 1 that is
    # 1e8 * 2e-16 with the huge offset.
    offset = (np.abs(theirs.mean_) / theirs.scale_).max() * 1e-14
    np.testing.assert_allclose(ours.mean_, theirs.mean_, rtol=1e-13)
    np.testing.assert_allclose(ours.var_, theirs.var_, rtol=1e-8, atol=(1e-15 * np.abs(X).max()) ** 2)
    np.testing.assert_allclose(ours.scale_, theirs.scale_, rtol=1e-8)
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-8, atol=offset)
    assert ours.n_features_in_ == theirs.n_features_in_


@given(TABLES)
@settings(derandomize=True, deadline=None, max_examples=50)
def test_standardizer_is_standard_scaler_on_any_table(X):
    # Numbers up to 1000 with a deviation of at least 0.03 or none: a few hundred thousand eps at the very worst.
    Z = Standardizer().fit_transform(X)
    np.testing.assert_allclose(Z, StandardScaler().fit_transform(X), atol=1e-10)
    np.testing.assert_allclose(Z[:, np.ptp(X, axis=0) == 0], 0, atol=1e-10)


def test_statistics_are_those_of_the_training_data():
    scaler = Standardizer().fit(np.array([[0.0], [4.0]]))  # mean 2, deviation 2
    np.testing.assert_array_equal(scaler.transform([[10.0], [2.0], [-2.0]]), [[4], [0], [-2]])


@pytest.mark.parametrize("n", [2, 3, 7, 10, 1000])
@pytest.mark.parametrize("value", [0.1, -0.3, 1e-12, 123456.789, 0.0])
def test_a_constant_column_becomes_zero_not_noise(n, value):
    Z = Standardizer().fit_transform(np.full((n, 1), value))
    np.testing.assert_allclose(Z, 0.0, atol=1e-10)  # rounding the mean of 123456.789: some 1e-11; noise would be 1


@pytest.mark.parametrize("X", [random_table(), datasets.load_wine().data], ids=["random", "wine"])
def test_pca_whitening_is_sklearn_pca_with_biased_variances(X):
    n = len(X)
    ours, theirs = Whitener("pca").fit(X), PCA(whiten=True, svd_solver="full").fit(X)
    expected = theirs.transform(X) * np.sqrt(n / (n - 1))  # sklearn divides by n - 1
    Z = ours.transform(X)
    expected *= np.sign((expected * Z).sum(axis=0))  # the sign of a direction is free
    np.testing.assert_allclose(Z, expected, atol=1e-7)  # wine: singular values span five orders of magnitude
    np.testing.assert_allclose(ours.eigenvalues_, theirs.explained_variance_ * (n - 1) / n, rtol=1e-9)


@pytest.mark.parametrize("method", ["pca", "zca"])
def test_white_data_have_covariance_identity(method):
    X = random_table(n=200)
    Z = Whitener(method).fit_transform(X)
    # Deviations of 1e-3 beside offsets of 2000: 2000 * eps / 1e-3 is 4e-10.
    np.testing.assert_allclose(covariance(Z), np.eye(4), atol=1e-8)
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-8)


def test_zca_is_the_symmetric_inverse_root_of_the_covariance_and_stays_closest_to_the_data():
    X = random_table(n=200) / np.logspace(-3, 3, 4)
    W = Whitener("zca").fit(X).whitening_
    np.testing.assert_allclose(W, W.T, atol=1e-12)  # rounding of entries of order one
    np.testing.assert_allclose(W @ covariance(X) @ W, np.eye(4), atol=1e-9)  # a condition number of some hundreds
    assert (np.linalg.eigvalsh(W) > 0).all()
    zca, pca = (((Whitener(m).fit_transform(X) - (X - X.mean(axis=0))) ** 2).sum() for m in ("zca", "pca"))
    assert zca < pca


@pytest.mark.parametrize("method", ["pca", "zca"])
@pytest.mark.parametrize(
    ("X", "rank"),
    [
        (np.random.default_rng(0).standard_normal((5, 8)), 4),  # five points span four dimensions
        (np.column_stack([random_table(50, 2), np.full(50, 0.1)]), 2),
        (np.random.default_rng(0).standard_normal((50, 2)) @ np.array([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]]), 2),
        (np.full((6, 3), 0.1), 0),
        (datasets.load_digits().data, 61),
    ],
    ids=["fewer examples than features", "constant column", "dependent columns", "all constant", "digits"],
)
def test_directions_without_variance_become_zero(method, X, rank):
    whitener = Whitener(method).fit(X)
    Z = whitener.transform(X)
    eigenvalues = np.linalg.eigvalsh(covariance(Z))
    expected = np.repeat([0.0, 1.0], [X.shape[1] - rank, rank])
    np.testing.assert_allclose(eigenvalues, expected, atol=1e-7)  # directions of variance 1e-3 beside 1e2 in digits
    assert np.count_nonzero(whitener.eigenvalues_) == rank
    centred = X - X.mean(axis=0)
    np.testing.assert_allclose(Z @ np.linalg.lstsq(Z, centred, rcond=1e-9)[0], centred, atol=1e-9)  # nothing is lost


def test_the_sign_of_the_directions_is_fixed():
    X = random_table()
    W = Whitener("pca").fit(X).whitening_
    largest = np.abs(W).argmax(axis=0)
    assert (W[largest, np.arange(4)] > 0).all()
    for same in (X[::-1], -X, np.vstack([X, X])):  # the same covariance
        # Columns of W go from 1e-3 to 1e3; a scale of 1e-3 beside an offset of 2000 has nine digits left.
        np.testing.assert_allclose(Whitener("pca").fit(same).whitening_, W, rtol=1e-5, atol=1e-8 * np.abs(W).max())


@pytest.mark.parametrize("make", SCALERS)
class TestEveryScaler:
    @pytest.mark.parametrize(("dtype", "atol"), [(np.float16, 2e-3), (np.float32, 1e-6), (np.float64, 0)])
    def test_the_dtype_comes_out_as_it_went_in(self, make, dtype, atol):
        X = np.random.default_rng(0).standard_normal((30, 3)).astype(dtype)
        scaler = make()
        Z = scaler.fit_transform(X)
        assert Z.dtype == dtype
        assert scaler.mean_.dtype == np.float64
        exact = make().fit_transform(X.astype(np.float64))
        np.testing.assert_allclose(Z, exact, atol=atol)  # half an ulp of numbers up to 4; computed in float64

    def test_neither_the_layout_nor_a_write_protection_matters(self, make):
        X = random_table()
        expected = make().fit_transform(X)
        wide = np.full((2 * len(X), 8), np.nan)
        wide[::2, ::2] = X
        strided, fortran = wide[::2, ::2], np.asfortranarray(X)
        strided.flags.writeable = X.flags.writeable = False
        for same in (strided, fortran, X.tolist(), X):
            Z = make().fit_transform(same)
            # Sums in another order; three of nine digits are lost to the scales.
            np.testing.assert_allclose(Z, expected, atol=1e-6)
            assert not np.shares_memory(same, Z)

    def test_fit_returns_itself_learns_anew_and_one_new_example_will_do(self, make):
        X, other = random_table(), random_table(seed=1, d=3)
        scaler = make().fit(other)
        assert scaler.fit(X) is scaler
        Z = scaler.transform(X)
        np.testing.assert_array_equal(Z, make().fit_transform(X))
        # Another product routine for one row: rounding, six digits of which the scales take.
        np.testing.assert_allclose(scaler.transform(X[:1]), Z[:1], atol=1e-6)

    def test_before_fit_it_says_so(self, make):
        with pytest.raises(NotFittedError, match=r"no statistics yet: expected fit\(X_train\) before transform"):
            make().transform(random_table())

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (np.ones(4), r"expected shape \(n, d\), one row per example, got \(4,\)"),
            (np.ones((2, 2, 4)), r"expected shape \(n, d\), one row per example, got \(2, 2, 4\)"),
            (np.ones((0, 4)), r"at least one example .* got an empty array of shape \(0, 4\)"),
            (np.full((3, 4), np.nan), "expected finite numbers, got 12 NaN or infinite of 12"),
            (np.full((3, 4), np.inf), "expected finite numbers, got 12 NaN or infinite of 12"),
            *(
                (np.ones((3, 4), dtype=k), f"expected floating-.*got {k}")
                for k in ("int64", "bool", "complex128", "object")
            ),
            ([[1.0, 2.0], [1.0]], "expected an array of numbers, got rows of different lengths"),
        ],
    )
    def test_bad_input_is_refused(self, make, bad, message):
        fitted = make().fit(random_table())
        for method in (make().fit, fitted.transform):
            with pytest.raises(ValueError, match=f"^X: .*{message}"):
                method(bad)

    def test_other_sizes_are_refused(self, make):
        with pytest.raises(ValueError, match=r"expected at least 2 examples, got 1 \(shape \(1, 3\)\)"):
            make().fit(np.ones((1, 3)))
        with pytest.raises(ValueError, match="expected 4 features, as in fit, got 3"):
            make().fit(random_table()).transform(np.ones((5, 3)))

    def test_a_failed_fit_leaves_no_statistics(self, make):
        scaler = make()
        with pytest.raises(ValueError, match="expected finite numbers"):
            scaler.fit(np.full((3, 2), np.nan))
        with pytest.raises(NotFittedError):
            scaler.transform(np.ones((3, 2)))

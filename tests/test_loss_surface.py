"""The bowl against autograd and finite differences, the theory of its descent against measured walks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.byhand.loss_surface import (
    best_lr,
    condition_number,
    descend,
    gradient,
    heavy_ball,
    hessian,
    largest_stable_lr,
    loss,
    loss_parts,
    minimum,
)
from utils.byhand.standardization import Standardizer
from utils.data import two_features

EPS = np.finfo(np.float64).eps


def problem(n=20, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal(n), rng.standard_normal(d)


def bowl(*curvatures):
    """Inputs whose Hessian is diagonal with these curvatures, and targets of zero: the minimum is exactly zero."""
    d = len(curvatures)
    return np.diag(np.sqrt(d * np.array(curvatures, dtype=np.float64))), np.zeros(d)


def torch_loss(X, y, w):
    return 0.5 * torch.nn.functional.mse_loss(torch.from_numpy(X) @ w, torch.from_numpy(y))


class TestLoss:
    def test_it_is_half_the_mean_squared_error(self):
        X, y, w = problem()
        expected = torch_loss(X, y, torch.from_numpy(w)).item()
        np.testing.assert_allclose(loss(X, y, w), expected, rtol=1e-13)  # a sum of 20 in another order

    def test_a_grid_of_weights_gives_a_grid_of_losses(self):
        X, y, _ = problem(d=2)
        grid = np.random.default_rng(1).standard_normal((4, 5, 2))
        expected = [[loss(X, y, w) for w in row] for row in grid]
        np.testing.assert_allclose(loss(X, y, grid), expected, rtol=1e-12)  # sums in another order
        assert gradient(X, y, grid).shape == (4, 5, 2)

    @pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 1e300])
    def test_the_end_of_a_diverged_path_has_a_loss_and_gives_no_warning(self, bad):
        X, y, w = problem()
        w[0] = bad
        assert not np.isfinite(loss(X, y, w))
        assert np.isfinite(gradient(X, y, w)).all() == np.isfinite(bad)  # 1e300 overflows in the loss's square alone


class TestDerivatives:
    @given(st.integers(1, 15), st.integers(1, 5), st.integers(0, 2**32 - 1))
    @settings(derandomize=True, deadline=None, max_examples=30)
    def test_gradient_is_the_central_difference(self, n, d, seed):
        X, y, w = problem(n, d, seed)
        step = 0.5 * np.eye(d)  # no small step needed: of a parabola the central difference is exact
        expected = loss(X, y, w + step) - loss(X, y, w - step)
        np.testing.assert_allclose(gradient(X, y, w), expected, atol=1e-12)  # a few eps of losses of order ten

    def test_hessian_is_that_of_autograd(self):
        X, y, w = problem()
        expected = torch.autograd.functional.hessian(lambda v: torch_loss(X, y, v), torch.from_numpy(w))
        np.testing.assert_allclose(hessian(X), expected.numpy(), atol=1e-14)  # sums in another order

    def test_minimum_has_no_gradient_and_is_the_shortest(self):
        X, y, _ = problem()
        np.testing.assert_allclose(gradient(X, y, minimum(X, y)), 0, atol=1e-14)  # rounding of numbers of order one
        X, y, _ = problem(n=3, d=6)  # a valley of minima
        np.testing.assert_allclose(minimum(X, y), np.linalg.pinv(X) @ y, atol=1e-13)


class TestParts:
    @given(st.integers(1, 15), st.integers(1, 5), st.integers(0, 2**32 - 1))
    @settings(derandomize=True, deadline=None, max_examples=30)
    def test_they_add_up_to_the_loss_above_its_minimum(self, n, d, seed):
        X, y, w = problem(n, d, seed)
        parts = loss_parts(X, y, w)
        assert parts.shape == (d,)
        assert (parts >= -1e-12).all()  # rounding of a curvature of zero
        np.testing.assert_allclose(parts.sum(), loss(X, y, w) - loss(X, y, minimum(X, y)), atol=1e-11)

    def test_each_step_of_descent_multiplies_them_by_the_squares_of_their_factors(self):
        X, y, w = problem()
        parts = loss_parts(X, y, descend(X, y, lr=0.3, steps=4, start=w))
        factors = (1 - 0.3 * np.linalg.eigvalsh(hessian(X))) ** 2
        np.testing.assert_allclose(parts[1:], parts[:-1] * factors, rtol=1e-9, atol=1e-14)

    def test_the_smallest_curvature_comes_first(self):
        X, y = bowl(3, 0.5, 40)
        np.testing.assert_allclose(loss_parts(X, y, np.array([1.0, 2.0, 3.0])), [1, 1.5, 180], rtol=1e-13)

    def test_the_end_of_a_diverged_path_gives_no_warning(self):
        X, y, _ = problem(d=2)
        assert not np.isfinite(loss_parts(X, y, [[np.inf, 0.0], [1e300, 1e300]])).any()


class TestConditionNumber:
    @pytest.mark.parametrize("ratio", [1e-3, 1.0, 7.0, 1e5])
    def test_it_is_that_of_the_hessian(self, ratio):
        X, _ = two_features(seed=0, ratio=ratio)
        # Squaring the data costs half the digits of the smallest eigenvalue: that is the oracle's error.
        expected = np.linalg.cond(hessian(X))
        np.testing.assert_allclose(condition_number(X), expected, rtol=10 * EPS * expected)

    def test_closed_forms(self):
        assert condition_number(np.eye(3)) == 1
        # sqrt(2 * curvature) rounds, twice
        np.testing.assert_allclose(condition_number(bowl(0.5, 50)[0]), 100, rtol=1e-14)
        # Standardized features of correlation r have curvatures 1 + r and 1 - r; two_features is exact up to rounding.
        np.testing.assert_allclose(condition_number(two_features(seed=0, correlation=0.5)[0]), 3, rtol=1e-12)

    @pytest.mark.parametrize(
        "X",
        [
            np.random.default_rng(0).standard_normal((3, 5)),
            np.column_stack([np.arange(9.0) - 4, np.zeros(9)]),  # a constant feature after centring
            np.outer(np.arange(5.0), [1.0, 3.0]),
            np.zeros((4, 2)),
        ],
    )
    def test_it_is_infinite_where_a_direction_changes_nothing(self, X):
        assert condition_number(X) == np.inf


class TestLearningRates:
    @pytest.mark.parametrize(("factor", "converges"), [(1.99, True), (2.01, False)])
    @pytest.mark.parametrize("ratio", [0.1, 1.0, 30.0])
    def test_just_below_two_over_curvature_converges_and_just_above_diverges(self, factor, converges, ratio):
        X, y = two_features(seed=1, ratio=ratio)
        H = hessian(X)
        lr = factor / np.linalg.eigvalsh(H)[-1]
        assert (lr < largest_stable_lr(H)) == converges
        path = descend(X, y, lr=lr, steps=2000)
        excess = loss(X, y, path) - loss(X, y, minimum(X, y))
        # Every step multiplies the steepest part by 1 - factor: by 0.99 or 1.01, squared in the loss.
        assert (excess[-1] < excess[0]) == converges
        assert excess[-1] > 1e6 or converges

    @pytest.mark.parametrize("curvatures", [(1, 4), (1, 2, 100), (3, 3)])
    def test_the_best_rate_converges_faster_than_its_neighbours(self, curvatures):
        X, y = bowl(*curvatures)
        rate = best_lr(hessian(X))

        def distance(lr):
            return np.abs(descend(X, y, lr=lr, steps=60, start=np.ones(len(y)))[-1]).max()

        assert distance(rate) < min(distance(0.95 * rate), distance(1.05 * rate))

    @pytest.mark.parametrize("kappa", [4, 100, 1e4])
    def test_the_factor_of_heavy_ball_is_that_of_its_recursion(self, kappa):
        lr, momentum, factor = heavy_ball(np.diag([1.0, kappa]))
        np.testing.assert_allclose(factor, (np.sqrt(kappa) - 1) / (np.sqrt(kappa) + 1), rtol=1e-14)
        # w[t+1] = (1 + m - lr c) w[t] - m w[t-1]; its slowest root over all curvatures c, which both ends attain.
        curvatures = np.linspace(1, kappa, 101)
        roots = [np.abs(np.roots([1, -(1 + momentum - lr * c), momentum])).max() for c in curvatures]
        np.testing.assert_allclose(roots, factor, rtol=1e-6)  # at both ends a double root: half the digits

    @pytest.mark.parametrize("rule", [largest_stable_lr, best_lr, heavy_ball])
    @pytest.mark.parametrize(
        ("H", "message"),
        [
            *((np.ones(shape), rf"expected a symmetric .*got shape \({shape[0]},") for shape in [(2, 3), (4,), (0, 0)]),
            (np.array([[1.0, 2.0], [0.0, 1.0]]), "expected a symmetric matrix"),
            (np.zeros((2, 2)), "expected at least one positive curvature, got none"),
            (-np.eye(2), "expected at least one positive curvature, got none"),
            (np.array([[np.nan]]), "expected finite numbers, got 1 NaN"),
            (np.eye(2, dtype=int), "expected floating-point numbers.*got int64"),
        ],
    )
    def test_what_is_no_curvature_is_refused(self, rule, H, message):
        with pytest.raises(ValueError, match=f"H: {message}"):
            rule(H)

    def test_heavy_ball_needs_curvature_everywhere(self):
        with pytest.raises(ValueError, match="expected positive curvature in every direction, got a smallest .* of 0"):
            heavy_ball(np.diag([1.0, 0.0]))


class TestDescend:
    def test_the_path_begins_at_the_start_and_the_start_is_left_alone(self):
        X, y, start = problem()
        before = start.copy()
        path = descend(X, y, lr=0.1, steps=7, start=start)
        assert path.shape == (8, 3)
        np.testing.assert_array_equal(path[0], before)
        np.testing.assert_array_equal(start, before)
        np.testing.assert_array_equal(descend(X, y, lr=0.1, steps=0), np.zeros((1, 3)))

    @pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
    def test_it_walks_as_torch_sgd_does(self, momentum):
        X, y, start = problem()
        weights = torch.from_numpy(start.copy()).requires_grad_()
        optimizer = torch.optim.SGD([weights], lr=0.1, momentum=momentum)
        expected = [start]
        for _ in range(50):
            optimizer.zero_grad()
            torch_loss(X, y, weights).backward()
            optimizer.step()
            expected.append(weights.detach().numpy().copy())
        path = descend(X, y, lr=0.1, steps=50, start=start, momentum=momentum)
        np.testing.assert_allclose(path, expected, atol=1e-12)  # fifty steps of rounding numbers of order one

    def test_a_rate_for_each_weight_on_centred_features_is_one_rate_on_standardized_ones(self):
        X, y, _ = problem()
        X = (X * [1.0, 100.0, 0.01]) + 5
        centred, scaler = X - X.mean(axis=0), Standardizer().fit(X)
        one = descend(scaler.transform(X), y, lr=0.3, steps=40)
        each = descend(centred, y, lr=0.3 / scaler.var_, steps=40)
        # Same predictions; a deviation of 0.01 beside an offset of 5 costs three digits.
        np.testing.assert_allclose(each @ centred.T, one @ scaler.transform(X).T, atol=1e-11)

    @pytest.mark.parametrize(("lr", "momentum"), [(100.0, 0.0), (100.0, 0.9), (1e200, 0.0)])
    @pytest.mark.parametrize("batch_size", [None, 4])
    def test_a_diverging_walk_ends_in_infinity_or_nan_without_warning(self, lr, momentum, batch_size):
        X, y, _ = problem()
        rng = np.random.default_rng(0)
        path = descend(X, y, lr=lr, steps=300, momentum=momentum, batch_size=batch_size, rng=rng)
        assert not np.isfinite(path[-1]).any()
        assert not np.isfinite(loss(X, y, path[-1]))

    def test_arguments_may_be_read_only_strided_lists_or_float32(self):
        X, y, start = problem()
        expected = descend(X, y, lr=0.1, steps=5, start=start)
        strided = np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2]
        for array in (strided, y, start):
            array.flags.writeable = False
        # Products of strided arrays may sum in another order.
        np.testing.assert_allclose(descend(strided, y, lr=0.1, steps=5, start=start), expected, atol=1e-14)
        path = descend(X.tolist(), y.tolist(), lr=0.1, steps=5, start=start.tolist())
        np.testing.assert_allclose(path, expected, atol=1e-14)
        path = descend(X.astype("f4"), y.astype("f4"), lr=0.1, steps=5, start=start.astype("f4"))
        assert path.dtype == np.float64
        np.testing.assert_allclose(path, expected, atol=1e-6)  # the inputs were rounded to float32


class TestBatches:
    @pytest.mark.parametrize("batch_size", [20, 21, 1000])
    def test_a_batch_of_all_examples_is_full_batch_descent(self, batch_size):
        X, y, _ = problem()
        full = descend(X, y, lr=0.1, steps=30, momentum=0.5)
        rng = np.random.default_rng(0)
        path = descend(X, y, lr=0.1, steps=30, momentum=0.5, batch_size=batch_size, rng=rng)
        np.testing.assert_allclose(path, full, atol=1e-13)  # the same sums in another order

    def test_every_example_is_used_once_an_epoch(self):
        # Example i touches weight i alone, so that the path tells which examples were in a batch.
        X, y = np.eye(6), np.ones(6)
        path = descend(X, y, lr=0.1, steps=6, batch_size=2, rng=np.random.default_rng(0))
        touched = np.diff(path, axis=0) != 0
        assert (touched.sum(axis=1) == 2).all()
        assert touched[:3].any(axis=0).all()  # the first epoch
        assert touched[3:].any(axis=0).all()  # the second
        orders = {tuple(np.nonzero(touched[first : first + 3])[1]) for first in (0, 3)}
        assert len(orders) == 2, "reshuffled"

    def test_a_short_rest_is_dropped_and_the_step_is_the_mean_over_the_batch(self):
        X, y = np.eye(5), np.ones(5)
        path = descend(X, y, lr=0.1, steps=20, batch_size=2, rng=np.random.default_rng(0))
        moved = np.diff(path, axis=0)
        assert (np.count_nonzero(moved, axis=1) == 2).all()  # never the fifth alone
        assert (np.count_nonzero(moved[:2].sum(axis=0)), moved[:2].max()) == (4, 0.05)  # lr / 2 in each of four

    def test_the_generator_decides_and_nothing_else(self):
        X, y, _ = problem()
        walks = [
            descend(X, y, lr=0.1, steps=9, batch_size=3, rng=np.random.default_rng(s)).tobytes() for s in (0, 0, 1)
        ]
        assert walks[0] == walks[1] != walks[2]


class TestBadInput:
    @pytest.mark.parametrize("function", [loss, gradient, lambda X, y, w: minimum(X, y)])
    @pytest.mark.parametrize(
        ("replace", "message"),
        [
            ({"X": np.ones((2, 3, 4))}, r"X: expected shape \(n, d\).*got \(2, 3, 4\)"),
            ({"X": np.ones((0, 3))}, r"X: .*got an empty array of shape \(0, 3\)"),
            ({"X": np.full((20, 3), np.nan)}, "X: expected finite numbers, got 60 NaN"),
            ({"y": np.ones(19)}, r"y: expected shape \(20,\).*got \(19,\)"),
            ({"y": np.full(20, np.inf)}, "y: expected finite numbers, got 20 NaN or infinite"),
        ],
    )
    def test_of_data_is_refused(self, function, replace, message):
        X, y, w = problem()
        with pytest.raises(ValueError, match=message):
            function(**{"X": X, "y": y, "w": w, **replace})

    @pytest.mark.parametrize("function", [loss, gradient])
    def test_of_weights_is_refused(self, function):
        X, y, _ = problem()
        for w in (np.ones(2), 1.0):
            with pytest.raises(ValueError, match=r"w: expected shape \(\.\.\., 3\), one weight per feature, got \("):
                function(X, y, w)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"lr": [0.1, 0.2]}, r"lr: expected a finite number .*or one for each of the 3 weights, got \[0\.1 0\.2\]"),
            ({"lr": [0.1, -0.2, 0.1]}, r"lr: expected .*got \[ 0\.1 -0\.2"),
            ({"start": np.ones(2)}, r"expected shape \(.*3.*\), .*got \(2,\)"),
            ({"start": np.ones((2, 3))}, r"start: expected shape \(3,\), got \(2, 3\)"),
            ({"batch_size": 2, "rng": None}, r"rng: expected a numpy\.random\.Generator .*got None"),
            ({"batch_size": 0}, "batch_size: expected a positive integer, got 0"),
        ],
    )
    def test_of_a_walk_is_refused(self, arguments, message):
        X, y, _ = problem()
        with pytest.raises(ValueError, match=message):
            descend(X, y, **{"lr": 0.1, "steps": 3, "rng": np.random.default_rng(0)} | arguments)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_results_are_those_of_float64(dtype):
    small = [array.astype(dtype) for array in problem()]
    exact = [array.astype(np.float64) for array in small]
    for function in (loss, gradient, lambda X, y, w: minimum(X, y), lambda X, y, w: hessian(X)):
        assert (result := function(*small)).dtype == np.float64
        np.testing.assert_allclose(result, function(*exact), rtol=1e-12, atol=1e-13)  # sums in another order at most
    H = np.diag([1.0, 4.0])
    for rule in (largest_stable_lr, best_lr, heavy_ball):
        np.testing.assert_allclose(rule(H.astype(dtype)), rule(H), rtol=1e-6)  # a few eps of float32

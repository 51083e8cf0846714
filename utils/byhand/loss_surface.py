r"""The loss of linear regression without a bias, a bowl over the weights, and descent on it.

Everywhere the loss is :math:`L(w) = \frac{1}{2n} \lVert Xw - y \rVert^2`, half the mean squared error: then the
gradient is :math:`X^\top(Xw - y)/n` and the Hessian :math:`X^\top X / n`, without stray factors of two.
"""

import numpy as np

from utils.arrays import float_array, matrix, number, numeric, targets, whole

__all__ = [
    "best_lr",
    "condition_number",
    "descend",
    "gradient",
    "heavy_ball",
    "hessian",
    "largest_stable_lr",
    "loss",
    "loss_parts",
    "minimum",
]


def _table(X):
    return matrix(X).astype(np.float64, copy=False)


def _weights(w, d):
    w = float_array(w, "w", finite=False)
    if w.ndim == 0 or w.shape[-1] != d:
        raise ValueError(f"w: expected shape (..., {d}), one weight per feature, got {w.shape}")
    return w.astype(np.float64, copy=False)


def loss(X, y, w):
    """Half the mean squared error of the linear model ``X @ w``.

    Parameters
    ----------
    X : array_like, shape (n, d), float
    y : array_like, shape (n,), float
    w : array_like, shape (..., d), float
        One weight vector or a whole grid of them.

    Returns
    -------
    ndarray, shape (...), float64
        Infinite or NaN where w is: a diverged path can be plotted.

    Raises
    ------
    ValueError
        If shapes do not fit, or X or y are not finite floats.
    """
    X = _table(X)
    y, w = targets(y, len(X)), _weights(w, X.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        return 0.5 * np.mean((w @ X.T - y) ** 2, axis=-1)


def gradient(X, y, w):
    """Gradient of `loss` with respect to w.

    Parameters
    ----------
    X, y, w
        As in `loss`, with the same errors.

    Returns
    -------
    ndarray, shape (..., d), float64
    """
    X = _table(X)
    y, w = targets(y, len(X)), _weights(w, X.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        return (w @ X.T - y) @ X / len(X)


def hessian(X):
    """Hessian of `loss`, the same at every w.

    Parameters
    ----------
    X
        As in `loss`, with the same errors.

    Returns
    -------
    ndarray, shape (d, d), float64
        ``X.T @ X / n``. For standardized X it is the correlation matrix.
    """
    X = _table(X)
    return X.T @ X / len(X)


def condition_number(X):
    r"""Largest over smallest eigenvalue of the Hessian of X.

    Parameters
    ----------
    X
        As in `loss`, with the same errors.

    Returns
    -------
    float
        At least 1; infinite if some direction of weights changes no prediction (a constant feature after centring,
        more features than examples). It is :math:`(s_{\max}/s_{\min})^2` of the singular values of X: squaring X first
        would lose half the digits.
    """
    X = _table(X)
    n, d = X.shape
    s = np.linalg.svd(X, compute_uv=False)
    if n < d or s[-1] <= max(n, d) * np.finfo(np.float64).eps * s[0]:
        return np.inf
    return float((s[0] / s[-1]) ** 2)


def minimum(X, y):
    """The weights at the bottom of the bowl (the shortest, where there are many).

    Parameters
    ----------
    X, y
        As in `loss`, with the same errors.

    Returns
    -------
    ndarray, shape (d,), float64
    """
    X = _table(X)
    return np.linalg.lstsq(X, targets(y, len(X)).astype(np.float64, copy=False), rcond=None)[0]


def loss_parts(X, y, w):
    r"""The loss above its minimum, split along the eigenvectors of the Hessian.

    Parameters
    ----------
    X, y, w
        As in `loss`, with the same errors.

    Returns
    -------
    ndarray, shape (..., d), float64
        :math:`\frac12 \lambda_i c_i^2`, the smallest curvature first, where :math:`c_i` is the distance of w from the
        minimum along eigenvector i. Their sum is the loss minus its minimum.
    """
    X = _table(X)
    best, w = minimum(X, y), _weights(w, X.shape[1])
    curvatures, directions = np.linalg.eigh(hessian(X))
    with np.errstate(over="ignore", invalid="ignore"):
        return 0.5 * curvatures * ((w - best) @ directions) ** 2


def _curvatures(H):
    H = float_array(H, "H").astype(np.float64, copy=False)
    if H.ndim != 2 or H.shape[0] != H.shape[1] or H.size == 0 or not np.allclose(H, H.T):
        raise ValueError(f"H: expected a symmetric matrix of shape (d, d), as hessian(X) gives, got shape {H.shape}")
    eigenvalues = np.linalg.eigvalsh(H)
    if eigenvalues[-1] <= 0:
        raise ValueError("H: expected at least one positive curvature, got none (are all features zero?)")
    return eigenvalues[0], eigenvalues[-1]


def largest_stable_lr(H):
    r"""The learning rate from which gradient descent diverges, :math:`2/\lambda_{\max}`.

    Parameters
    ----------
    H : array_like, shape (d, d), float
        The Hessian.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If H is not a symmetric matrix with a positive curvature.
    """
    return float(2 / _curvatures(H)[1])


def best_lr(H):
    r"""The learning rate at which gradient descent converges fastest, :math:`2/(\lambda_{\max}+\lambda_{\min})`.

    Parameters
    ----------
    H
        As in `largest_stable_lr`, with the same errors.

    Returns
    -------
    float
        Each step then multiplies the distance to the minimum by at most :math:`(\kappa-1)/(\kappa+1)`: Nesterov,
        Introductory Lectures on Convex Optimization (2004), theorem 2.1.15.
    """
    return float(2 / sum(_curvatures(H)))


def heavy_ball(H):
    r"""Best learning rate and momentum of the heavy-ball method, and its convergence factor.

    Parameters
    ----------
    H : array_like, shape (d, d), float
        The Hessian, positive definite.

    Returns
    -------
    lr, momentum, factor : float
        Polyak (1964): :math:`4/(\sqrt L+\sqrt\mu)^2`, :math:`((\sqrt L-\sqrt\mu)/(\sqrt L+\sqrt\mu))^2` and
        :math:`(\sqrt\kappa-1)/(\sqrt\kappa+1)`, which is reached only asymptotically.

    Raises
    ------
    ValueError
        If H is not symmetric and positive definite.
    """
    smallest, largest = _curvatures(H)
    if smallest <= 0:
        raise ValueError(
            f"H: expected positive curvature in every direction, got a smallest eigenvalue of {smallest:.3g}"
        )
    low, high = np.sqrt(smallest), np.sqrt(largest)
    factor = (high - low) / (high + low)
    return float(4 / (high + low) ** 2), float(factor**2), float(factor)


def _batches(n, batch_size, rng):
    """Index arrays of shape (batch_size,), without replacement within an epoch; a short rest is dropped."""
    while True:
        order = rng.permutation(n)
        for first in range(0, n - batch_size + 1, batch_size):
            yield order[first : first + batch_size]


def descend(X, y, *, lr, steps, start=None, momentum=0.0, batch_size=None, rng=None):
    r"""Walk down the loss of linear regression.

    Parameters
    ----------
    X, y
        As in `loss`.
    lr : float, or array_like of shape (d,)
        Learning rate, one for all weights or one per weight.
    steps : int
    start : array_like, shape (d,), optional
        First weights; zeros if not given.
    momentum : float
        Heavy-ball momentum, at least 0; below 1 to converge.
    batch_size : int, optional
        Examples per step, drawn without replacement, reshuffled when they run out; all of them if not given or if
        there are not as many.
    rng : numpy.random.Generator
        Draws the batches; needed with batch_size.

    Returns
    -------
    ndarray, shape (steps + 1, d), float64
        The weights before the first and after every step. A diverging walk ends in infinity or NaN, not in an error.

    Raises
    ------
    ValueError
        If shapes do not fit, X or y are not finite floats, or an argument is out of range.

    Notes
    -----
    :math:`v \leftarrow m v - \eta \nabla L(w)`, :math:`w \leftarrow w + v`, as ``torch.optim.SGD`` at a constant rate.
    """
    X = _table(X)
    n, d = X.shape
    y = targets(y, n)
    lr = numeric(lr, "lr")
    if lr.shape not in ((), (d,)) or not (np.isfinite(lr) & (lr >= 0)).all():
        raise ValueError(f"lr: expected a finite number of at least 0, or one for each of the {d} weights, got {lr}")
    steps, momentum = whole(steps, "steps", at_least=0), number(momentum, "momentum", at_least=0)
    w = np.zeros(d) if start is None else _weights(start, d).astype(np.float64)
    if w.shape != (d,):
        raise ValueError(f"start: expected shape ({d},), got {w.shape}")
    if batch_size is not None:
        batch_size = min(whole(batch_size, "batch_size"), n)
        if not isinstance(rng, np.random.Generator):
            raise ValueError(
                f"rng: expected a numpy.random.Generator for the batches, got {rng!r}; pass np.random.default_rng(0)"
            )
        batches = _batches(n, batch_size, rng)
    H, c = X.T @ X / n, X.T @ y / n
    path, v = np.empty((steps + 1, d)), np.zeros(d)
    path[0] = w
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(steps):
            if batch_size is None:
                g = H @ path[t] - c
            else:
                rows = next(batches)
                g = (X[rows] @ path[t] - y[rows]) @ X[rows] / batch_size
            v = momentum * v - lr * g
            path[t + 1] = path[t] + v
    return path

"""A batch norm and PyTorch's, which take the same steps, and what it means that two results are the same."""

import numpy as np
import torch

from utils.byhand.gradient_check import relative_error

# Float64 on both sides. Some tens of sums and products of numbers around one lose some 1e-15; dx loses another factor
# of (variance + eps) / eps where it nearly cancels (two examples), which the checks keep below 1e4. A wrong formula is
# off by 1e-5 (an eps in the wrong place) or more.
TOLERANCE = 1e-10
# Float32 (unit roundoff 6e-8), compared with float64 on the same numbers: some ten roundings, and room for ten more.
SINGLE = 2e-6
OPTIONS = {"eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True}
MODULES = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}
BAD = (np.nan, np.inf, -np.inf)


def array(value):
    """A copy as float64, of a tensor too."""
    return np.array(value.detach().numpy() if isinstance(value, torch.Tensor) else value, dtype=np.float64)


def close(ours, reference, tolerance=TOLERANCE, what="result"):
    ours, reference = array(ours), array(reference)
    finite = np.isfinite(reference)
    if not finite.all():  # which of NaN and infinity it is depends on the order of the arithmetic
        bad = f"{what}: expected {(~finite).sum()} NaN or infinite numbers, where the reference has them"
        assert np.array_equal(np.isfinite(ours), finite), f"{bad}, got {(~np.isfinite(ours)).sum()}"
        ours, reference = ours[finite], reference[finite]
        if not finite.any():
            return
    error = relative_error(ours, reference)
    assert error <= tolerance, f"{what}: relative error {error:.2g}, allowed are {tolerance:.0e}"


def same_state(before, after):
    assert before.keys() == after.keys(), f"keys {sorted(before)} became {sorted(after)}"
    for key, value in before.items():
        assert np.array_equal(array(value), array(after[key])), f"{key}: {value} became {after[key]}"


def state_of(norm):
    """Every number in it that outlives a batch, whether or not state_dict knows of it."""
    names = ["gamma", "beta", "running_mean", "running_var", "num_batches_tracked"]
    return {name: array(getattr(norm, name)) for name in names if getattr(norm, name) is not None}


def batch(shape=(5, 3), seed=0, dtype=np.float64):
    """A batch with another mean and deviation in each feature, and a random upstream gradient."""
    rng = np.random.default_rng(seed)
    rows = (1, -1) + (1,) * (len(shape) - 2)
    mean, deviation = (rng.uniform(low, high, shape[1]).reshape(rows) for low, high in ((-3, 3), (0.5, 2)))
    x = mean + deviation * rng.standard_normal(shape)
    return x.astype(dtype), rng.standard_normal(shape).astype(dtype)


def spoilt(a, bad):
    """A copy with one bad number, in the second channel of the second example."""
    a = a.copy()
    a[(1, 1) + (0,) * (a.ndim - 2)] = bad
    return a


class Pair:
    """A batch norm and PyTorch's in float64, with the same random gamma and beta, which take the same steps.

    Running statistics stay as they were made, unless `with_statistics`.
    """

    def __init__(self, make, ndim=2, *, features=3, seed=1, with_statistics=False, **options):
        self.options = OPTIONS | options
        self.ours = make(features, **self.options)
        self.theirs = MODULES[ndim](features, dtype=torch.float64, **self.options)
        rng = np.random.default_rng(seed)
        state = {}
        if self.options["affine"]:
            state |= {"weight": rng.uniform(0.5, 2, features) * rng.choice([-1, 1], features)}
            state |= {"bias": rng.standard_normal(features)}
        if with_statistics:
            state |= {"running_mean": rng.standard_normal(features), "running_var": rng.uniform(0.5, 2, features)}
        own = self.ours.state_dict()
        self.ours.load_state_dict({key: state.get(key, value) for key, value in own.items()})
        self.theirs.load_state_dict({**self.theirs.state_dict(), **{k: torch.as_tensor(v) for k, v in state.items()}})

    def train(self, mode=True):
        for norm in (self.ours, self.theirs):
            norm.train() if mode else norm.eval()
        return self

    def eval(self):
        return self.train(False)

    def results(self, y, dx, dgamma, dbeta, norm):
        found = {"y": y, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}
        found |= {name: getattr(norm, name) for name in ("running_mean", "running_var", "num_batches_tracked")}
        return {name: value if value is None else array(value) for name, value in found.items()}

    def step(self, x, dy, *, overwrite=False):
        """Forward and backward on both; `compare` then compares. Overwrite y in between, as a layer in place would."""
        theirs = self.theirs
        theirs.zero_grad()
        leaf = torch.tensor(array(x), requires_grad=True)
        y = theirs(leaf)
        y.backward(torch.tensor(array(dy)))
        grads = (theirs.weight.grad, theirs.bias.grad) if self.options["affine"] else (None, None)
        self.want = self.results(y, leaf.grad, *grads, theirs)
        out = self.ours.forward(x)
        y = out.copy()
        if overwrite:
            out[...] = 0
        dx = self.ours.backward(dy)
        self.dtypes = {"y": y.dtype, "dx": dx.dtype}
        self.got = self.results(y, dx, self.ours.grad_gamma, self.ours.grad_beta, self.ours)
        return self

    def compare(self, *names, tolerance=TOLERANCE, where=""):
        """Compare the results of these names, or of every name."""
        for name in names or self.want:
            if self.want[name] is None:
                assert self.got[name] is None, f"{where}{name}: expected None, got {self.got[name]}"
            else:
                assert self.got[name] is not None, f"{where}{name}: got None"
                close(self.got[name], self.want[name], tolerance, where + name)

"""The norms of lesson 07, taken out of the notebook, with the interfaces that `family_parity` checks.

A norm of the lesson is a module or a function of tensors. Here autograd is its backward pass, its parameters are those
of a check, and it is given what it is written for: images for group norm, one axis for RMS norm, rows for batch
renormalization. Eps, which a module fixes, is that of a check after the input is scaled: both see the same ratio.
"""

import ast
import itertools
from pathlib import Path

import family_parity
import nbformat
import numpy as np
import torch
from edits import edited
from family_parity import BAD_PLACES, by_hand, by_module, compare, examples, parameters
from parity import guarded
from twins import SINGLE

LESSON = Path(__file__).resolve().parents[1] / "notebooks" / "07_normalization_family.ipynb"
EPS = 1e-5  # of the lesson


def definitions(of=None, edits=()):
    """What the imports, functions and classes of the lesson bind, after edits of one of them."""
    cells = [cell for cell in nbformat.read(LESSON, as_version=4).cells if cell.cell_type == "code"]
    bound = {}
    for cell in cells:
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
                source = ast.get_source_segment(cell.source, node)
                if getattr(node, "name", None) == of is not None:
                    source = edited(source, edits)
                exec(compile(source, f"{LESSON.name}, {cell.id}", "exec"), bound)
    return bound


def modules(lesson):
    """The classes of networks and layers that the lesson defines, by name."""
    return {
        name: value
        for name, value in lesson.items()
        if isinstance(value, type) and issubclass(value, torch.nn.Module) and not value.__module__.startswith("torch")
    }


def with_autograd(function):
    """The pair ``forward, backward`` of a function of tensors; a parameter that is None is left out."""

    def forward(x, *given, **options):
        leaves = [a if a is None else torch.tensor(a.astype(x.dtype), requires_grad=True) for a in (x, *given)]
        y = function(*leaves, **options)
        return y.detach().numpy(), (y, leaves)

    def backward(dy, cache):
        y, leaves = cache
        found = iter(torch.autograd.grad(y, [leaf for leaf in leaves if leaf is not None], torch.tensor(dy)))
        return tuple(leaf if leaf is None else next(found).numpy() for leaf in leaves)

    return forward, backward


def scaled(x, eps):
    """An input for which the eps of the lesson is what another eps is for x."""
    return x * (EPS / eps) ** 0.5


def applied(module, x, **own):
    """What a module makes of x with these parameters; of those that are None it keeps its own."""
    own = {name: value.view_as(getattr(module, name)) for name, value in own.items() if value is not None}
    return torch.func.functional_call(module.to(x.dtype), own, x)


def axes_of(lesson):
    """The function of the axes."""
    return with_autograd(lambda x, gamma, beta, *, axes, eps: lesson["normalize"](x, axes, gamma, beta, eps))


def group_of(lesson):
    """Group norm; rows are images of one pixel."""

    def group(x, gamma, beta, *, groups, eps):
        images = scaled(x, eps).reshape(*x.shape, *[1] * (4 - x.dim()))
        return applied(lesson["GroupNorm"](groups, x.shape[1]), images, gamma=gamma, beta=beta).view_as(x)

    return with_autograd(group)


def layer_of(lesson):
    """Layer norm over the last axis."""
    return with_autograd(
        lambda x, gamma, beta, *, eps: applied(lesson["LayerNorm"](x.shape[-1]), scaled(x, eps), gamma=gamma, beta=beta)
    )


def rms_of(lesson):
    """RMS norm; of several axes one is made."""

    def rms(x, gamma, *, axes, eps):
        last = 1 if axes == -1 else len(axes)
        own = () if gamma is None else (gamma.flatten(),)
        return lesson["rms_norm"](x.flatten(-last), *own, eps=eps).view_as(x)

    return with_autograd(rms)


def renorm_of(lesson):
    """A class around batch renormalization; PyTorch's batch norm keeps its parameters and running statistics."""

    class Renorm:
        def __init__(self, num_features, *, r_max, d_max, **options):
            self.kept = torch.nn.BatchNorm1d(num_features, dtype=torch.float64, **options)
            self.limits = {"r_max": r_max, "d_max": d_max, "eps": options["eps"]}

        def __getattr__(self, name):
            value = getattr(self.kept, name)
            return value.numpy().copy() if isinstance(value, torch.Tensor) else value

        def load_state_dict(self, state):
            self.kept.load_state_dict({name: torch.tensor(value) for name, value in state.items()})

        def forward(self, x):
            kept = self.kept
            kept.zero_grad()
            self.x = torch.tensor(x, requires_grad=True)
            rows = self.x.movedim(1, -1).flatten(0, -2)
            if kept.training:
                sigma = torch.sqrt(kept.running_var + kept.eps).to(rows.dtype)
                y = lesson["batch_renorm"](rows, kept.running_mean.to(rows.dtype), sigma, **self.limits)
                kept(rows.detach().double())
                y = y if kept.weight is None else kept.weight.to(y.dtype) * y + kept.bias.to(y.dtype)
            else:
                y = kept(rows.double()).to(rows.dtype)
            self.y = y.unflatten(0, (len(x), *x.shape[2:])).movedim(-1, 1)
            return self.y.detach().numpy()

        def backward(self, dy):
            self.y.backward(torch.tensor(dy))
            if self.kept.weight is not None:
                self.grad_gamma, self.grad_beta = self.kept.weight.grad.numpy(), self.kept.bias.grad.numpy()
            return self.x.grad.numpy()

    return Renorm


# Layer norm of tokens


def layer_pair(norm, shape, *, eps=EPS, **how):
    x, dy = examples(shape, **how)
    given, theirs = parameters(shape[-1:]), torch.nn.LayerNorm(shape[-1], eps=eps)
    return by_hand(norm, x, dy, *given, eps=eps), by_module(theirs, x, dy, *given)


def layer_sentences(norm):
    for shape in [(2, 3, 5), (1, 4, 5), (2, 1, 5), (5,), (2, 3, 4, 5)]:
        compare(*layer_pair(norm, shape), where=f"{shape} ")


def layer_eps(norm):
    compare(*layer_pair(norm, (7, 5), eps=1e-3, scale=0.02))


def layer_single(norm):
    compare(*layer_pair(norm, (2, 3, 5), dtype=np.float32), tolerance=SINGLE)


def layer_bad_numbers(norm):
    for shape, bad in itertools.product([(7, 5), (2, 3, 5)], BAD_PLACES):
        compare(*layer_pair(norm, shape, bad=bad), where=f"{shape}, {bad}: ")


LAYER = {
    f"layer-{name}": guarded(lambda norm, of=of: compare(*layer_pair(norm, (7, 5)), of))
    for name, of in family_parity.RESULTS.items()
}
for check in (layer_sentences, layer_eps, layer_single, layer_bad_numbers):
    LAYER[check.__name__.replace("_", "-")] = guarded(check)

NORMS = {"axes": axes_of, "group": group_of, "layer": layer_of, "rms": rms_of, "renorm": renorm_of}
CHECKS = family_parity.CHECKS | {"layer": LAYER}

"""Stack networks of one kind, one per seed and learning rate, and train them together.

A `Stack` has the modules of one network, whose parameters and buffers have a leading axis for the R replicas. It walks
through an ``nn.Sequential``: a linear layer becomes one batched matrix product, a convolution one grouped convolution,
and batch norm sees R·C channels (`utils.lab.fused`). A module of another kind runs whole under ``torch.func.vmap``, or
replica by replica where that fails, which takes longer. So any ``nn.Module`` can be stacked that keeps in buffers what
it remembers, and `Stack.replica` gives one network back as it was.
"""

import copy
import warnings
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.func import vmap
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from utils.arrays import instance, whole
from utils.lab.fused import FUSED, Values

__all__ = ["Stack"]


def _slots(module):
    """From the name of each parameter and buffer to the dict in which it lies and its key there."""
    found = {}
    for place, owner in module.named_modules():  # a module that stands in two places comes once
        for own in (owner._parameters, owner._buffers):
            found |= {f"{place}.{key}".lstrip("."): (own, key) for key, t in own.items() if t is not None}
    return found


def _tensors(module):
    return {name: own[key] for name, (own, key) in _slots(module).items()}


def _replace(module, new):
    """Put other numbers in the place of all parameters and buffers; what is shared stays shared."""
    made = {}
    for name, (own, key) in _slots(module).items():
        t = own[key]
        if id(t) not in made:
            value = new(name, t)
            made[id(t)] = nn.Parameter(value, t.requires_grad) if isinstance(t, nn.Parameter) else value
        own[key] = made[id(t)]


def _plain_tensors(module):
    """Names of tensors that are neither parameters nor buffers."""
    return [name for name, value in vars(module).items() if isinstance(value, torch.Tensor)]


def _copied(network):
    """A copy whose plain tensors are buffers, so that each replica has its own."""
    plain = [vars(module)[name] for module in network.modules() for name in _plain_tensors(module)]
    # deepcopy refuses tensors with a graph, but takes what its memo has in their place
    network = copy.deepcopy(network, {id(t): t.detach() for t in [*network.buffers(), *plain]})
    for module in network.modules():
        for name in _plain_tensors(module):
            module.register_buffer(name, vars(module).pop(name), persistent=False)
    return network


def _structure(network):
    """By name, what all networks of a stack have in common: everything but the numbers in their tensors."""
    tensors = _tensors(network)
    if any(is_lazy(t) for t in tensors.values()):
        raise ValueError("networks: expected networks that know their sizes, got a lazy one; call each network first")
    found = {}
    for place, module in network.named_modules():
        found[place or "network"] = type(module).__name__, module.extra_repr()
        for key, value in vars(module).items():
            if isinstance(value, bool | int | float | str | None):
                found[f"{place or 'network'}.{key}"] = value
    first = {id(t): name for name, t in reversed(tensors.items())}
    return found | {name: (t.shape, t.dtype, t.requires_grad, first[id(t)]) for name, t in tensors.items()}


def _checked(seeds):
    seeds = instance(seeds, Iterable, "seeds", what="integers")
    return tuple(whole(seed, "seeds", at_least=0, at_most=2**63 - 1) for seed in seeds)


def _alone(module, tensors, x):
    """What a module answers with these parameters and buffers, and the buffers that its forward assigned anew."""
    slots, before = _slots(module), _tensors(module)
    attributes = [(each, dict(vars(each))) for each in module.modules()]
    try:
        for name, (own, key) in slots.items():
            own[key] = tensors[name]
        y = module(x)
        moved = {name: own[key].detach() for name, (own, key) in slots.items() if own[key] is not tensors[name]}
    finally:
        for name, (own, key) in slots.items():
            own[key] = before[name]
        noted = []
        for each, own in attributes:
            if not type(each).__module__.startswith("torch."):  # PyTorch's own keep nothing that counts
                noted += [key for key, value in vars(each).items() if own.get(key, own) is not value]
            vars(each).clear()
            vars(each).update(own)
    if noted:  # it would be of one replica, or of vmap
        what = f"expected a forward that keeps in buffers what it remembers, got one that sets {', '.join(noted)}"
        raise ValueError(f"{type(module).__name__}: {what}: use register_buffer")
    return y, moved


def _each(module, tensors, x):
    """`_alone` for all replicas by vmap, without warnings that some of its operations run one by one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop because we have not yet implemented")
        return vmap(partial(_alone, module))(tensors, x)


def _loop(module, tensors, x):
    """`_alone` for one replica after the other."""
    own = [{name: t[r] for name, t in tensors.items()} for r in range(len(x))]
    y, moved = zip(*(_alone(module, own[r], x[r]) for r in range(len(x))), strict=True)
    names = {name for found in moved for name in found}
    every = [before | found for before, found in zip(own, moved, strict=True)]
    return torch.stack(y), {name: torch.stack([found[name] for found in every]) for name in names}


@contextmanager
def _noted(module, kinds):
    """A list to which every call of a module of these kinds inside adds itself, its input and its output."""
    notes, inputs, hooks = [], [], []
    try:
        for each in (each for each in module.modules() if isinstance(each, kinds)):
            hooks.append(each.register_forward_pre_hook(lambda m, given: inputs.append(given[0].clone())))
            hooks.append(each.register_forward_hook(lambda m, given, y: notes.append((m, inputs.pop(), y.clone()))))
        yield notes
    finally:
        for hook in hooks:
            hook.remove()


def _is_plain(module):
    """Whether a module computes what its class says, without hooks or a forward of its own."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return not any(hooks) and "forward" not in vars(module)


@contextmanager
def evaluation_mode(model):
    """Evaluation mode for a while; afterwards every module has the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training


class Stack(nn.Module):
    """R networks of one structure that share nothing but the computation.

    Parameters
    ----------
    networks : sequence of nn.Module, length R
        Alike in all but the numbers in their tensors; they are copied. Each takes (B, ...) and returns (B, ...). Where
        they draw random numbers, such as the masks of dropout, all draw from the generator of the first.
    seeds : sequence of int, length R, optional
        Of each network, by which `utils.lab.training.fit` draws its batches; by default 0 to R - 1.

    Attributes
    ----------
    network : nn.Module
        The structure. Its parameters and buffers have the names of one network and a leading axis of length R.
    replicas : int
    seeds : tuple of int

    Raises
    ------
    ValueError
        If there is none, two differ in more than those numbers, or there is not one seed per network.

    Examples
    --------
    >>> nets = [nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)) for _ in range(16)]
    >>> Stack(nets)(torch.zeros(16, 5, 64)).shape
    torch.Size([16, 5, 10])
    """

    def __init__(self, networks, seeds=None):
        super().__init__()
        networks = list(instance(networks, Iterable, "networks", what="a list of nn.Module"))
        if not networks or not all(isinstance(network, nn.Module) for network in networks):
            raise ValueError(f"networks: expected at least one nn.Module, got {networks!r}")
        networks = [_copied(network) for network in networks]
        structures = [_structure(network) for network in networks]
        names = {name: None for structure in structures for name in structure}
        if apart := [name for name in names if any(s.get(name) != structures[0].get(name) for s in structures)]:
            raise ValueError(
                "networks: expected networks that differ in the numbers in their tensors only, "
                f"got others, which differ in {', '.join(apart)}"
            )
        self.replicas = len(networks)
        self.network, tensors = networks[0], [_tensors(network) for network in networks]
        _replace(self.network, lambda name, t: torch.stack([of[name].detach() for of in tensors]))
        self.seeds = _checked(range(self.replicas) if seeds is None else seeds)
        if len(self.seeds) != self.replicas:
            raise ValueError(f"seeds: expected one for each of the {self.replicas} networks, got {len(self.seeds)}")
        self._tried = {}  # whether vmap works, by a module's place, its modes and the shape of its input
        self._kinds, self._recorded = (), []

    @classmethod
    def of(cls, build, seeds):
        """A stack of one network per seed; equal seeds give equal networks.

        Parameters
        ----------
        build : callable
            From a seed to a network.
        seeds : sequence of int, length R

        Raises
        ------
        ValueError
            As the class does.
        """
        instance(build, Callable, "build", what="a function from a seed to a network")
        seeds = _checked(seeds)
        built = {seed: build(seed) for seed in dict.fromkeys(seeds)}
        return cls([built[seed] for seed in seeds], seeds)

    def forward(self, x):
        """All networks, each on its own examples.

        Parameters
        ----------
        x : Tensor, shape (R, B, ...)

        Returns
        -------
        Tensor, shape (R, B, ...)

        Raises
        ------
        ValueError
            If x does not have R parts.
        """
        if instance(x, torch.Tensor, "x", what="a Tensor").dim() < 2 or x.shape[0] != self.replicas:
            raise ValueError(f"x: expected shape ({self.replicas}, B, ...), got {tuple(x.shape)}")
        return self._through(self.network, Values(x, "rows", self.replicas), "network").rows()

    def check(self, x, y=None, name="x"):
        """Refuse examples that the networks cannot take, and classes that they do not know; nothing is changed.

        Parameters
        ----------
        x : Tensor, shape (R, B, ...)
        y : Tensor, int64, optional
            Classes.
        name : str
            For the messages.

        Raises
        ------
        ValueError
            If they do not fit.
        """
        dtype = next(self.parameters(), instance(x, torch.Tensor, name, what="a Tensor")).dtype
        if x.dtype != dtype:
            raise ValueError(f"{name}: expected {dtype}, as the network, got {x.dtype}")
        try:
            with evaluation_mode(self), torch.no_grad():
                n_out = self(x[:, :2]).shape[-1]
        except Exception as error:  # whatever a module of the reader's raises
            what = f"expected rows that the network takes, got shape {tuple(x.shape)}"
            raise ValueError(f"{name}: {what}: {type(error).__name__}: {error}") from error
        if y is None:
            return
        low, high = (y.min(), y.max()) if instance(y, torch.Tensor, name, what="a Tensor").numel() else (0, 0)
        if y.dtype != torch.int64 or not 0 <= low <= high < n_out:
            raise ValueError(f"{name}: expected classes from 0 to {n_out - 1}, got {low} to {high} ({y.dtype})")

    def record(self, x, kinds):
        """What goes into the modules of some kinds, and what comes out of them.

        Parameters
        ----------
        x : Tensor, shape (R, B, ...)
        kinds : tuple of type
            Such as ``(nn.ReLU,)``; no module inside another of these kinds.

        Returns
        -------
        list of tuple
            The module, its inputs and its outputs, both of shape (R, B, ...), one per call, in the order of the calls.

        Raises
        ------
        ValueError
            If kinds are no types, x does not fit, or two replicas call different modules.
        """
        if not isinstance(kinds, tuple) or not all(isinstance(kind, type) for kind in kinds):
            raise ValueError(f"kinds: expected a tuple of types of modules, such as (nn.ReLU,), got {kinds!r}")
        self._kinds, self._recorded = kinds, []
        try:
            self(x)
            return self._recorded
        finally:
            self._kinds, self._recorded = (), []

    def _through(self, module, values, place):
        """One module of all networks."""
        fused = FUSED.get(type(module)) if _is_plain(module) else None
        if fused is not None:
            before = values.rows().clone() if isinstance(module, self._kinds) else None  # it may change them in place
            out = fused(module, values)
            if out is not None:
                if before is not None:
                    self._recorded.append((module, before, out.rows().clone()))
                return out
        if type(module) is nn.Sequential and _is_plain(module):
            for name, layer in module._modules.items():  # all: named_children leaves out what comes again
                values = self._through(layer, values, f"{place}.{name}")
            return values
        return Values(self._one_by_one(module, values.rows(), place), "rows", self.replicas)

    def _one_by_one(self, module, x, place):
        """A module that is not known: under vmap, or in a loop where that fails."""
        if parametrize._cache_enabled:
            raise ValueError("parametrize.cached: expected none around a Stack, whose replicas would get one weight")
        tensors = _tensors(module)
        if self._kinds:
            with _noted(module, self._kinds) as notes:
                y, moved = _loop(module, tensors, x)
            n = len(notes) // self.replicas
            if [m for m, *_ in notes] != [m for m, *_ in notes[:n]] * self.replicas:
                raise ValueError(f"kinds: expected modules that all replicas call alike, got other calls in {place}")
            for i in range(n):
                self._recorded.append((notes[i][0], *(torch.stack([c[k] for c in notes[i::n]]) for k in (1, 2))))
        else:
            y, moved = (_each if self._works_under_vmap(module, tensors, x, place) else _loop)(module, tensors, x)
        with torch.no_grad():
            for name, value in moved.items():
                tensors[name].copy_(value)
        return y

    @torch.no_grad()
    def _works_under_vmap(self, module, tensors, x, place):
        """Whether it does, by a trial on copies: a module that fails half way may have changed them."""
        if not all(_is_plain(each) for each in module.modules()):
            return False  # hooks get the numbers of one network
        key = place, x.shape, tuple(each.training for each in module.modules())
        if key not in self._tried:
            try:
                _each(module, {name: t.detach().clone() for name, t in tensors.items()}, x.detach().clone())
                self._tried[key] = True
            except RuntimeError:
                self._tried[key] = False
        return self._tried[key]

    def replica(self, r):
        """One of the networks, as it is now, with the modes of the stack; it shares no memory with it.

        Parameters
        ----------
        r : int
            0 to R - 1.

        Returns
        -------
        nn.Module

        Raises
        ------
        IndexError
            If there is no such replica.
        ValueError
            If r is not an integer.
        """
        if not 0 <= whole(r, "r", at_least=-(2**62)) < self.replicas:
            raise IndexError(f"r: expected 0 to {self.replicas - 1}, got {r}")
        network = copy.deepcopy(self.network)
        _replace(network, lambda name, t: t.detach()[r].clone())
        return network

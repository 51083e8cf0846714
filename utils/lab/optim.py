"""SGD and Adam with a learning rate for each replica, exactly as ``torch.optim`` does it for one network.

A rate cannot be put on the loss: Adam would cancel it, and weight decay would miss it. So the step is written out.
"""

from collections.abc import Callable, Iterable

import torch
from torch.optim.adam import adam

from utils.arrays import instance, number, numeric

__all__ = ["Adam", "SGD"]


class _Optimizer:
    """Parameters with a leading axis of length R, and one rate for each entry of that axis."""

    def __init__(self, parameters, learning_rates, weight_decay, schedule):
        parameters = list(parameters) if isinstance(parameters, Iterable) else [parameters]
        if not all(isinstance(p, torch.Tensor) for p in parameters):
            raise ValueError(f"parameters: expected Tensors, got {[type(p).__name__ for p in parameters]}")
        self.parameters = [p for p in parameters if p.requires_grad]
        self.weight_decay = number(weight_decay, "weight_decay", at_least=0)
        self.schedule = instance(schedule, Callable | None, "schedule", what="a function")
        self.steps_done = 0
        rates = torch.from_numpy(numeric(learning_rates, "learning_rates"))
        if not (rates.isfinite() & (rates >= 0)).all():
            raise ValueError(f"learning_rates: expected finite numbers of at least 0, got {learning_rates}")
        for p in self.parameters:
            if rates.shape != p.shape[:1]:
                raise ValueError(
                    f"learning_rates: expected one for each of {p.shape[0]} replicas, got shape {tuple(rates.shape)}"
                )
        self._rates = [rates.to(p.device, p.dtype).view(-1, *[1] * (p.dim() - 1)) for p in self.parameters]

    @torch.no_grad()
    def step(self, gradients):
        """Move every parameter.

        Parameters
        ----------
        gradients : sequence of Tensor
            As the parameters.
        """
        pairs = zip(self.parameters, gradients, strict=True)
        gradients = [g if self.weight_decay == 0 else g.add(p, alpha=self.weight_decay) for p, g in pairs]
        directions = self._directions(gradients)
        self.steps_done += 1
        factor = 1.0 if self.schedule is None else number(self.schedule(self.steps_done - 1), "schedule", at_least=0)
        for p, direction, rate in zip(self.parameters, directions, self._rates, strict=True):
            p.addcmul_(direction, rate, value=-factor)


class SGD(_Optimizer):
    r"""Stochastic gradient descent with momentum, as ``torch.optim.SGD`` for each replica.

    Parameters
    ----------
    parameters : iterable of Tensor, shapes (R, ...)
    learning_rates : array_like, shape (R,)
    momentum : float
        In [0, 1).
    weight_decay : float
        Added to the gradient as a multiple of the parameter.
    schedule : callable, optional
        From the number of steps done, 0 at the first, to a factor on all rates of at least 0, as in
        ``torch.optim.lr_scheduler.LambdaLR``.

    Raises
    ------
    ValueError
        If a number is out of range or there is not one rate for each replica.

    Notes
    -----
    .. math:: g \leftarrow g + \lambda p, \quad v \leftarrow \mu v + g, \quad p \leftarrow p - \eta_r v

    with v = g at the first step. Sutskever, Martens, Dahl and Hinton (2013) put the rate into v; PyTorch does not.
    """

    def __init__(self, parameters, learning_rates, *, momentum=0.0, weight_decay=0.0, schedule=None):
        super().__init__(parameters, learning_rates, weight_decay, schedule)
        self.momentum = number(momentum, "momentum", at_least=0, below=1)
        self._velocity = None

    def _directions(self, gradients):
        if not self.momentum:
            return gradients
        if self._velocity is None:
            self._velocity = [g.clone() for g in gradients]
        else:
            for v, g in zip(self._velocity, gradients, strict=True):
                torch.add(g, v, alpha=self.momentum, out=v)
        return self._velocity


class Adam(_Optimizer):
    """Adam, as ``torch.optim.Adam`` for each replica: Kingma and Ba (2015), algorithm 1.

    Parameters
    ----------
    parameters, learning_rates, weight_decay, schedule
        As in `SGD`.
    betas : tuple of two floats
        Each in [0, 1).
    eps : float

    Raises
    ------
    ValueError
        If a number is out of range or there is not one rate for each replica.
    """

    def __init__(self, parameters, learning_rates, *, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, schedule=None):
        super().__init__(parameters, learning_rates, weight_decay, schedule)
        both = numeric(betas, "betas")
        if both.shape != (2,) or not ((both >= 0) & (both < 1)).all():
            raise ValueError(f"betas: expected two numbers from 0 to below 1, got {betas}")
        self._moves = [torch.zeros(p.shape, dtype=p.dtype, device=p.device) for p in self.parameters]
        self._m, self._v = ([torch.zeros_like(move) for move in self._moves] for _ in range(2))
        self._t = [torch.tensor(0.0) for _ in self.parameters]
        eps, (beta1, beta2) = number(eps, "eps", at_least=0), both.tolist()
        self._how = {"beta1": beta1, "beta2": beta2, "eps": eps, "lr": 1.0, "weight_decay": 0.0}
        self._how |= {"amsgrad": False, "maximize": False, "foreach": False, "fused": True}

    def _directions(self, gradients):
        for move in self._moves:
            move.zero_()
        # PyTorch's own step, from zero at a rate of one: where it arrives is minus the direction. Fused, it reads all
        # tensors as contiguous.
        gradients = [g.contiguous() for g in gradients]
        adam(self._moves, gradients, self._m, self._v, [], self._t, **self._how)
        return [move.neg_() for move in self._moves]

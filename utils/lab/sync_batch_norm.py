r"""Batch norm over several processes, by hand: statistics of the whole batch, forward and backward."""

import functools
import inspect
import itertools

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from utils.arrays import instance, number, whole

__all__ = ["Processes", "SyncBatchNorm", "combine", "convert"]


class Processes:
    """The processes of torch.distributed, or of one ProcessGroup, and how batch norm puts their numbers together."""

    def __init__(self, group=None):
        self.group = group

    def gather(self, values):
        """Stack the values of all processes, in their order.

        Parameters
        ----------
        values : Tensor, any shape, the same in every process

        Returns
        -------
        Tensor, shape (processes, *values.shape)
        """
        values = values.contiguous()
        everyone = [torch.empty_like(values) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(everyone, values, group=self.group)
        return torch.stack(everyone)

    def add(self, values):
        """Add up the values of all processes, without changing them.

        Parameters
        ----------
        values : Tensor, any shape, the same in every process

        Returns
        -------
        Tensor, shape of values
        """
        total = values.clone()
        dist.all_reduce(total, group=self.group)
        return total


def combine(counts, means, squares):
    r"""Compute mean and variance of a whole from those of its parts: Chan, Golub and LeVeque (1979).

    Parameters
    ----------
    counts : Tensor, shape (parts,), float
        Number of values per part; a part may be empty.
    means : Tensor, shape (parts, C), float
        One mean per part and channel; for an empty part, any finite number will do.
    squares : Tensor, shape (parts, C), float
        Sums of squared deviations, each from the mean of its own part.

    Returns
    -------
    count : Tensor, shape ()
    mean, var : Tensor, shape (C,)
        The biased variance, :math:`\frac{1}{n} \sum_p \big( s_p + n_p (\mu_p - \mu)^2 \big)`.
    """
    count = counts.sum()
    mean = (counts[:, None] * means).sum(0) / count
    var = (squares + counts[:, None] * (means - mean).square()).sum(0) / count
    return count, mean, var


def _columns(values, x):
    """Reshape one number per channel, (C,), so that it fits x of shape (N, C, ...)."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


def _all_but_channels(x):
    return (0, *range(2, x.dim()))


def _wide(x):
    """Convert to at least single precision: half precision cannot count beyond some thousands, and sums overflow."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def _whole_batch_statistics(x, group):
    """Compute count, mean and biased variance per channel over the parts of all processes; a part may be empty."""
    x, axes, n = _wide(x), _all_but_channels(x), x.numel() // x.shape[1]
    mean = x.sum(axes) / max(n, 1)
    squares = (x - _columns(mean, x)).square().sum(axes)
    parts = group.gather(torch.cat([mean.new_tensor([n]), mean, squares]))
    means, squares = parts[:, 1:].chunk(2, dim=1)
    return combine(parts[:, 0], means, squares)


class _Normalize(torch.autograd.Function):
    """Normalize with given statistics of the whole batch; the gradient flows through the statistics, too."""

    @staticmethod
    def forward(ctx, x, gamma, beta, mean, var, count, eps, group):
        inv_std = torch.rsqrt(var + eps)
        x_hat = (_wide(x) - _columns(mean, x)) * _columns(inv_std, x)
        ctx.save_for_backward(x_hat, inv_std, gamma, count)
        ctx.group, ctx.dtypes = group, [None if p is None else p.dtype for p in (gamma, beta)]
        y = x_hat if gamma is None else x_hat * _columns(gamma, x)
        return (y if beta is None else y + _columns(beta, x)).to(x.dtype)

    @staticmethod
    @once_differentiable  # a second derivative would miss the other processes
    def backward(ctx, dy):
        x_hat, inv_std, gamma, count = ctx.saved_tensors
        dtype, dy, axes = dy.dtype, _wide(dy), _all_but_channels(dy)
        dbeta, dgamma = dy.sum(axes), (dy * x_hat).sum(axes)  # of this process: they are averaged with all gradients
        along_mean, along_std = ctx.group.add(torch.stack([dbeta, dgamma])) / count  # of all processes
        dx = _columns(inv_std, dy) * (dy - _columns(along_mean, dy) - x_hat * _columns(along_std, dy))
        dx = dx if gamma is None else dx * _columns(gamma, dy)
        own = zip((dgamma, dbeta), ctx.dtypes, strict=True)
        return dx.to(dtype), *(None if to is None else value.to(to) for value, to in own), *[None] * 5


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose statistics are those of the batches of all processes together.

    Parameters
    ----------
    num_features : int
    eps, momentum, affine, track_running_stats
        As in ``torch.nn.BatchNorm2d``; momentum is the weight of the new batch, None means the average of all batches.
        Without running statistics, evaluation uses those of this process's batch, like PyTorch's batch norm.
    group : Processes, optional
        Anything with the two methods of `Processes` will do. The default is all processes of torch.distributed.

    Raises
    ------
    ValueError
        If num_features is not a positive integer, eps is not positive, or momentum is not between 0 and 1.

    Notes
    -----
    In the forward pass, the processes gather counts, means and sums of squares. In the backward pass, which is that of
    `utils.byhand.normalization.normalize_backward`, they add up two more sums. The running variance is the unbiased
    variance of the whole batch. The gradients of weight and bias are those of this process's examples; they are
    averaged along with all others. Statistics and sums are in at least single precision; outputs and gradients have the
    dtypes of their inputs.

    A process whose part is empty has to take part, too, forward and backward. Its mean loss would be NaN, and so would
    the average of all gradients: use ``reduction="sum"`` and divide by the size of the whole batch.
    """

    def __init__(self, num_features, *, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, group=None):
        num_features, eps = whole(num_features, "num_features"), number(eps, "eps", above=0)
        momentum = None if momentum is None else number(momentum, "momentum", at_least=0, at_most=1)
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.group = Processes() if group is None else group

    def forward(self, x):
        """Normalize this process's part of the batch.

        Parameters
        ----------
        x : Tensor, shape (N, C) or (N, C, ...), float
            N may differ from process to process.

        Returns
        -------
        Tensor, shape of x

        Raises
        ------
        ValueError
            If x does not have num_features channels, or if, in training, a channel has fewer than two values in all
            processes together.
        """
        if instance(x, torch.Tensor, "x").dim() < 2 or x.shape[1] != self.num_features:
            raise ValueError(f"x: expected shape (N, {self.num_features}, ...), got {tuple(x.shape)}")
        if not self.training:
            running, own = (self.running_mean, self.running_var), (self.weight, self.bias)
            return F.batch_norm(x, *running, *own, training=self.running_mean is None, eps=self.eps)
        count, mean, var = _whole_batch_statistics(x, self.group)
        if count < 2:
            raise ValueError(
                f"x: expected more than one value for each channel in all processes together, got {int(count)}; "
                "use a larger batch, or eval()"
            )
        if self.track_running_stats:
            self._track(mean, var * (count / (count - 1)))
        return _Normalize.apply(x, self.weight, self.bias, mean, var, count, self.eps, self.group)

    @torch.no_grad()
    def _track(self, mean, unbiased_var):
        """Move the running statistics towards those of the batch; infinity stays infinite, where lerp makes it NaN."""
        self.num_batches_tracked.add_(1)
        if self.running_mean is None:
            return
        p = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased_var)):
            running.copy_((1 - p) * _wide(running) + p * new)


@functools.cache
def _synchronized(kind):
    """Make the class that a batch norm of this class gets; a subclass keeps what it adds."""
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
        return SyncBatchNorm
    # SyncBatchNorm comes between the subclass and PyTorch's class: there super().forward(x) finds it.
    space = {
        "__module__": kind.__module__,
        "__doc__": kind.__doc__,
        "__reduce_ex__": lambda self, protocol: (_empty, (kind,), self.__getstate__()),  # pickle cannot find this class
    }
    return type(f"Sync{kind.__name__}", (kind, SyncBatchNorm), space)


def _empty(kind):
    """Make a converted batch norm without contents, which copy and pickle fill."""
    return object.__new__(_synchronized(kind))


def _calls_super(forward):
    """Tell whether the code of a method names super and forward, so that it can call ``super().forward``."""
    code = getattr(inspect.unwrap(forward), "__code__", None)
    return code is not None and {"super", "forward"} <= set(code.co_names)


def _obstacle(norm):
    """Say why convert would change more than the class of a batch norm, or not synchronize it, and what to do."""
    if isinstance(norm, nn.modules.lazy.LazyModuleMixin):
        kind = type(norm).__name__
        return f"that has seen an input, got {kind}, which has not; run one batch through the network before convert"
    if nn.utils.parametrize.is_parametrized(norm):
        found = f"with plain parameters, got parametrized {', '.join(norm.parametrizations)}"
        advice = (
            "call torch.nn.utils.parametrize.remove_parametrizations before convert, and parametrize again after it"
        )
        return f"{found}; {advice}"
    if any(t is not None and t.dim() != 1 for t in (norm.running_mean, norm.weight)):
        return "of one network, got one of a stack, with numbers of several; convert a network alone, Stack.replica(r)"
    for taken in ("forward", "group"):
        if taken in vars(norm):
            return f"without an attribute of its own called {taken}, got one; delete or rename it before convert"
    for cls in itertools.takewhile(lambda cls: cls is not SyncBatchNorm, _synchronized(type(norm)).__mro__):
        if "forward" in vars(cls) and not _calls_super(vars(cls)["forward"]):
            return f"whose forward calls super().forward(x), got {cls.__name__}.forward, which does not; call it there"
    return None


def convert(module, group=None):
    """Make every batch norm a `SyncBatchNorm`, for which PyTorch has ``nn.SyncBatchNorm.convert_sync_batchnorm``.

    Parameters
    ----------
    module : nn.Module
        It is changed in place, also where it is a batch norm itself.
    group : Processes, optional
        As in `SyncBatchNorm`; an ``nn.SyncBatchNorm`` and a `SyncBatchNorm` keep their own group unless one is given.

    Returns
    -------
    nn.Module
        The module itself. Each batch norm stays the object that it was, with its parameters, buffers, hooks and
        attributes, so that an optimizer that was made before still moves them; only its class changes. A subclass keeps
        its methods; its ``super().forward`` is the synchronized one from now on.

    Raises
    ------
    ValueError
        If a batch norm is lazy and has not seen any input, is one of a stack, has a parametrized weight or bias, has
        attributes of its own called forward or group, or a ``forward`` that does not call ``super().forward``; nothing
        is changed then.
    """
    instance(module, nn.Module, "module", what="an nn.Module")
    norms = {name: m for name, m in module.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    new = {name: norm for name, norm in norms.items() if not isinstance(norm, SyncBatchNorm)}
    for name, norm in new.items():
        if obstacle := _obstacle(norm):
            raise ValueError(f"{name or 'module'}: expected a batch norm {obstacle}")
    for norm in new.values():
        norm.__class__ = _synchronized(type(norm))
        norm.group = Processes(getattr(norm, "process_group", None))
    if group is not None:
        for norm in norms.values():
            norm.group = group
    return module

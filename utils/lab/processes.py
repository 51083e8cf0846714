r"""Batch norm in several processes: statistics of the whole batch by hand, and what gradients alone cannot repair.

    python -m utils.lab.processes
    torchrun --standalone --nproc-per-node=2 -m utils.lab.processes

The first starts two processes on this computer and prints how far they are from one process with the whole batch; the
second does the same under ``torchrun``, which also reaches several computers. `run` is the first for use in a notebook.
"""

import argparse
import contextlib
import datetime
import functools
import gc
import importlib
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from utils.arrays import instance, number, whole

__all__ = ["Processes", "SyncBatchNorm", "combine", "compare", "convert", "main", "run", "whole_batch_statistics"]

COMPARE = "utils.lab.processes:compare"


# Batch norm


class Processes:
    """The processes of torch.distributed, with the two ways of putting their numbers together that batch norm needs.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup, optional
        By default all processes.
    """

    def __init__(self, group=None):
        self.group = group

    def gather(self, values):
        """The values of all processes, in their order.

        Parameters
        ----------
        values : Tensor, any shape
            Of the same shape in every process.

        Returns
        -------
        Tensor, shape (processes, *values.shape)
        """
        values = values.contiguous()
        everyone = [torch.empty_like(values) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(everyone, values, group=self.group)
        return torch.stack(everyone)

    def add(self, values):
        """The sum of the values of all processes.

        Parameters
        ----------
        values : Tensor, any shape
            Of the same shape in every process; not changed.

        Returns
        -------
        Tensor, shape of values
        """
        total = values.clone()
        dist.all_reduce(total, group=self.group)
        return total


def combine(counts, means, squares):
    r"""Mean and variance of a whole from those of its parts.

    Parameters
    ----------
    counts : Tensor, shape (parts,), float
        How many values each part has; a part may be empty.
    means : Tensor, shape (parts, C), float
        Of each part and channel; of an empty part any finite number.
    squares : Tensor, shape (parts, C), float
        Sums of squared deviations, each from the mean of its own part.

    Returns
    -------
    count : Tensor, shape ()
    mean : Tensor, shape (C,)
    var : Tensor, shape (C,)
        Biased: divided by the count.

    Notes
    -----
    .. math:: \mu = \frac{1}{n} \sum_p n_p \mu_p, \qquad
              n \sigma^2 = \sum_p \big( s_p + n_p (\mu_p - \mu)^2 \big)

    Chan, Golub and LeVeque (1979). The weighted mean of the variances, without the second term, is too small wherever
    the parts have different means; :math:`E[x^2] - E[x]^2` loses its digits where the mean is large.
    """
    count = counts.sum()
    mean = (counts[:, None] * means).sum(0) / count
    var = (squares + counts[:, None] * (means - mean).square()).sum(0) / count
    return count, mean, var


def _columns(values, x):
    """One number per channel, (C,), against x of shape (N, C, ...)."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


def _all_but_channels(x):
    return (0, *range(2, x.dim()))


def _wide(x):
    """In at least single precision: half ones cannot count beyond some thousands, and their sums overflow."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def whole_batch_statistics(x, group):
    """Count, mean and biased variance of each channel over the parts of all processes.

    Parameters
    ----------
    x : Tensor, shape (N, C) or (N, C, ...), float
        This process's part of the batch; N may differ from process to process and be 0.
    group : Processes

    Returns
    -------
    count : Tensor, shape ()
    mean, var : Tensor, shape (C,)
        In single precision if x is in half precision, else of the dtype of x; count likewise.
    """
    x, axes, n = _wide(x), _all_but_channels(x), x.numel() // x.shape[1]
    mean = x.sum(axes) / max(n, 1)
    squares = (x - _columns(mean, x)).square().sum(axes)
    parts = group.gather(torch.cat([mean.new_tensor([n]), mean, squares]))
    means, squares = parts[:, 1:].chunk(2, dim=1)
    return combine(parts[:, 0], means, squares)


class _Normalize(torch.autograd.Function):
    """Batch norm with given statistics of the whole batch; the gradient takes the way through them too."""

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
    r"""Batch norm whose statistics are those of the batches of all processes together.

    Parameters
    ----------
    num_features : int
    eps, momentum, affine, track_running_stats
        As in ``torch.nn.BatchNorm2d``; momentum is the weight of the new batch, None means the average of all batches.
        Without running statistics, evaluation uses those of this process's batch, as PyTorch does.
    group : Processes, optional
        Or anything with its two methods. By default all processes of torch.distributed.

    Raises
    ------
    ValueError
        If x has not num_features channels, or, in training, a channel has less than two values in all processes.

    Notes
    -----
    Forward, the processes gather counts, means and sums of squares. Backward, with upstream gradients :math:`g_i` of
    the n values that a channel has in all processes,

    .. math:: \frac{\partial L}{\partial x_i} = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}
              \Big( g_i - \frac{1}{n} \sum_j g_j - \frac{\hat x_i}{n} \sum_j g_j \hat x_j \Big) ,

    so that two sums have to be put together once more. The running variance is the unbiased one of the whole batch.
    The gradients of weight and bias are those of this process's examples and get averaged along with all others.
    Statistics and sums are in at least single precision; outputs and gradients have the dtypes of their inputs.

    A process whose part is empty has to take part too, forward and backward. Its mean loss would be NaN, and the
    average of all gradients with it: use ``reduction="sum"`` and divide by the size of the whole batch.
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
            If x has not num_features channels, or, in training, a channel has less than two values in all processes.
        """
        if instance(x, torch.Tensor, "x").dim() < 2 or x.shape[1] != self.num_features:
            raise ValueError(f"x: expected shape (N, {self.num_features}, ...), got {tuple(x.shape)}")
        if not self.training:
            running, own = (self.running_mean, self.running_var), (self.weight, self.bias)
            return F.batch_norm(x, *running, *own, training=self.running_mean is None, eps=self.eps)
        count, mean, var = whole_batch_statistics(x, self.group)
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
        """Move the running statistics towards those of the batch; infinity stays infinite, which lerp makes NaN."""
        self.num_batches_tracked.add_(1)
        if self.running_mean is None:
            return
        p = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased_var)):
            running.copy_((1 - p) * _wide(running) + p * new)


@functools.cache
def _synchronized(kind):
    """The class of a batch norm of this class once it is converted; a subclass keeps what it adds."""
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
        return SyncBatchNorm

    def reduce(self, protocol):  # copies and pickles name the class from which this one is made
        return _empty, (kind,), self.__getstate__()

    # Between the subclass and PyTorch's forward: its super().forward(x) is the synchronized one.
    namespace = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce_ex__": reduce}
    return type(f"Sync{kind.__name__}", (kind, SyncBatchNorm), namespace)


def _empty(kind):
    """A converted batch norm of this class, without any contents."""
    return object.__new__(_synchronized(kind))


def _hides_ours(function):
    """Whether a forward of a subclass computes without that of the class behind it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is None or not {"super", "forward"} <= set(code.co_names)


def _check_convertible(norm, name):
    """Refuse a batch norm that would not be the same, or not be synchronized."""
    kind = type(norm)
    if isinstance(norm, nn.modules.lazy.LazyModuleMixin):
        raise ValueError(
            f"{name}: expected a batch norm that knows its number of features, got {kind.__name__}, which has not seen "
            "any input; run one batch through the network before convert"
        )
    if nn.utils.parametrize.is_parametrized(norm):
        raise ValueError(
            f"{name}: expected a batch norm with plain parameters, got parametrized {', '.join(norm.parametrizations)};"
            " call torch.nn.utils.parametrize.remove_parametrizations before convert, and parametrize again after it"
        )
    for taken in ("forward", "group"):
        if taken in vars(norm):
            raise ValueError(
                f"{name}: expected a batch norm without an attribute of its own called {taken}, got one; "
                "delete or rename it before convert"
            )
    line = _synchronized(kind).__mro__
    for cls in line[: line.index(SyncBatchNorm)]:
        if "forward" in vars(cls) and _hides_ours(vars(cls)["forward"]):
            raise ValueError(
                f"{name}: expected a batch norm whose forward calls super().forward(x), which convert synchronizes, "
                f"got {cls.__name__}.forward, which does not; call it there, or derive from nn.BatchNorm1d, 2d or 3d"
            )


def convert(module, group=None):
    """Make every batch norm a `SyncBatchNorm`, for which PyTorch has ``nn.SyncBatchNorm.convert_sync_batchnorm``.

    Parameters
    ----------
    module : nn.Module
        Changed in place, also where it is a batch norm itself.
    group : Processes, optional
        Or anything with its two methods. By default all processes; for an ``nn.SyncBatchNorm`` those of its own group,
        and a `SyncBatchNorm` keeps its group.

    Returns
    -------
    nn.Module
        The module itself.

    Raises
    ------
    ValueError
        If a batch norm is lazy and has not seen any input, has a parametrized weight or bias, or has a ``forward`` of
        its own that does not call ``super().forward``; nothing is changed then.

    Notes
    -----
    A batch norm stays the object that it was, with its parameters, buffers, hooks and attributes, and only its class
    changes, in the way in which PyTorch's lazy modules become ordinary ones. So an optimizer that was made before still
    moves the parameters, and what is shared stays shared. A subclass keeps its methods: where its ``forward`` calls
    ``super().forward``, that is the synchronized one from now on. `utils.networks.BatchNorm` is left alone: its
    replicas are several networks in one process.
    """
    instance(module, nn.Module, "module", what="an nn.Module")
    norms = {name: m for name, m in module.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    new = {name: norm for name, norm in norms.items() if not isinstance(norm, SyncBatchNorm)}
    for name, norm in new.items():
        _check_convertible(norm, name or "module")
    for norm in new.values():
        norm.__class__ = _synchronized(type(norm))
        norm.group = Processes(getattr(norm, "process_group", None))
    if group is not None:
        for norm in norms.values():
            norm.group = group
    return module


# The experiment


def _network(kind, generator):
    """A small network in float64 with one batch norm, its second layer, and the shape of its inputs."""
    if kind == "dense":
        net, shape = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)), (6,)
    else:
        layers = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(100, 3)
        net, shape = nn.Sequential(*layers), (2, 5, 5)
    net = net.double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(generator=generator).mul_(0.5)
    return net, shape


def _steps(net, x, y, steps, weight=1.0):
    """Gradient descent on weight times the mean loss; gradients of the first step, and where it ends."""
    first, optimizer = {}, torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        x = x.detach().requires_grad_()
        optimizer.zero_grad()
        (weight * F.cross_entropy(net(x), y)).backward()
        if not first:
            gradients = torch.cat([p.grad.flatten() for p in net.parameters()]).clone()
            first = {"gradients": gradients, "gradients of the inputs": x.grad}
        optimizer.step()
    running = [b for name, b in net.named_buffers() if "running" in name]
    if running:
        first["running statistics"] = torch.cat(running)
    return first | {"weights in the end": torch.cat([p.flatten() for p in net.parameters()])}


def _apart(results, reference):
    """The largest difference of each kind over all processes, relative to the largest number of the reference."""
    apart = {}
    for name, wanted in reference.items():
        here = (results[name].detach().to(wanted) - wanted.detach()).abs().max() / wanted.detach().abs().max()
        apart[name] = float(Processes().gather(here).max())
    return apart


def compare(*, steps=3, seed=0):
    """How far the processes are from one process with the whole batch; called in each of them.

    Parameters
    ----------
    steps : int
        Of gradient descent.
    seed : int

    Returns
    -------
    dict
        From "dense" or "conv" with "equal parts" or "unequal parts", and from the kind of batch norm ("none",
        "per process", "synchronized", "nn.SyncBatchNorm") to the largest relative differences of "gradients",
        "gradients of the inputs", "running statistics" (not for "none") and "weights in the end". In place of those of
        nn.SyncBatchNorm there is a sentence where it cannot run.

    Notes
    -----
    In float64. Every process holds the whole data, trains one network alone on all of it with ``nn.BatchNorm``, as the
    reference, and then takes its own part of the batch in ``DistributedDataParallel``, which averages the gradients.
    Part p of P has :math:`n_p` of n examples, and its mean loss is multiplied by :math:`P n_p / n`, so that the average
    is the mean loss of the whole batch, also for unequal parts. The parts have other means on purpose. The control,
    "none", is the same network without its batch norm, against a reference of its own.
    """
    world = dist.get_world_size()
    sizes = {"equal parts": [6] * world, "unequal parts": [4 + 5 * r for r in range(world)]}
    return {
        f"{kind}, {name}": _compare_one(kind, parts, steps, seed)
        for kind in ("dense", "conv")
        for name, parts in sizes.items()
    }


def _compare_one(kind, parts, steps, seed):
    """No batch norm and its three kinds in one network, with parts of these sizes."""
    rank, world = dist.get_rank(), dist.get_world_size()
    total, begin = sum(parts), sum(parts[:rank])
    mine, weight = slice(begin, begin + parts[rank]), parts[rank] * world / total

    def network():
        return _network(kind, torch.Generator().manual_seed(seed))

    def plain():
        net = network()[0]
        net[1] = nn.Identity()
        return net

    generator, shape = torch.Generator().manual_seed(seed + 1), network()[1]
    x = torch.randn(total, *shape, generator=generator).double()
    x = x + torch.linspace(0, 2, total).view(-1, *[1] * len(shape))  # so that the parts have other means
    y = torch.randint(3, (total,), generator=generator)

    def train_alone(net):
        found = _steps(net, x, y, steps)
        found["gradients of the inputs"] = world * found["gradients of the inputs"][mine]  # of the sum of losses
        return found

    def train(net, device="cpu", reference=None):
        net = nn.parallel.DistributedDataParallel(net.to(device))
        here = _steps(net, x[mine].to(device), y[mine].to(device), steps, weight)
        return _apart(here, whole if reference is None else reference)

    whole = train_alone(network()[0])
    return {
        "none": train(plain(), reference=train_alone(plain())),
        "per process": train(network()[0]),
        "synchronized": train(convert(network()[0])),
        "nn.SyncBatchNorm": _library(network()[0], train),
    }


def _library(net, train):
    """PyTorch's own, which trains on an accelerator only, here a GPU; several processes may share one."""
    if not torch.cuda.is_available():
        return "skipped: nn.SyncBatchNorm trains on accelerators only, and PyTorch finds no GPU here"
    local = int(os.environ.get("LOCAL_RANK", dist.get_rank()))  # pragma: no cover  this and the next two need CUDA
    device = torch.device("cuda", local % torch.cuda.device_count())  # pragma: no cover
    return train(nn.SyncBatchNorm.convert_sync_batchnorm(net), device)  # pragma: no cover


# The processes


def _leave_with_parent(read=os.read, leave=os._exit):
    """Wait for the end of the input, which comes when the parent is gone, however it went; then leave at once."""
    with contextlib.suppress(OSError):
        while read(0, 1):
            pass
    leave(3)


def _join(job, settings, *, timeout, init_method=None, rank=-1, world_size=-1):
    """Meet the other processes, do the job with them, part again."""
    limit = datetime.timedelta(seconds=timeout)
    dist.init_process_group("gloo", init_method=init_method, rank=rank, world_size=world_size, timeout=limit)
    try:
        module, function = job.split(":")
        result = getattr(importlib.import_module(module), function)(**settings)
        return dist.get_rank(), result
    finally:
        gc.collect()  # networks in DistributedDataParallel hold the group and its threads
        dist.destroy_process_group()


def _here_only():
    """Environment of a process that talks to processes on this computer: one thread, the loopback interface."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    loopback = {name for _, name in socket.if_nameindex()} & {"lo", "lo0"}
    if loopback:
        environment.setdefault("GLOO_SOCKET_IFNAME", min(loopback))
    return environment


def _kill(processes):
    """End every process with all that it has started, and wait until it is gone."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)  # each leads a group of its own
            else:  # Windows, which has neither groups nor this signal
                process.kill()
    for process in processes:
        process.wait()
        process.stdin.close()


def _wait(processes, seconds, *, grace=1.0):
    """Wait until all are done, one has failed, or the time is over; exit statuses, None for who still runs."""
    end, failed = time.monotonic() + seconds, False
    while True:
        statuses = [process.poll() for process in processes]
        if None not in statuses or time.monotonic() > end:
            return statuses
        if any(statuses) and not failed:  # the others lose their connection: whose fault it was may come second
            failed, end = True, min(end, time.monotonic() + grace)
        time.sleep(0.02)


def run(world_size=2, *, job=COMPARE, timeout=60.0, **settings):
    """Start processes on this computer, let them do a job together, and bring back what the first one returns.

    Parameters
    ----------
    world_size : int
        How many processes.
    job : str
        "module:function"; called in every process, with torch.distributed ready.
    timeout : float
        Seconds for everything.
    **settings
        Arguments of the job; they travel as JSON.

    Returns
    -------
    object
        What the job returned in the process of rank 0, as JSON brings it back.

    Raises
    ------
    ValueError
        If world_size or timeout is not positive, or job is none.
    RuntimeError
        If a process fails; with what it wrote on its standard error.
    TimeoutError
        If the time is over.

    Notes
    -----
    Whatever happens, no process is left: they are killed when one fails, when the time is over and at Ctrl-C, and they
    leave by themselves when their parent is killed. They meet in a file in a temporary folder, so no port is needed.
    """
    world_size, timeout = whole(world_size, "world_size"), number(timeout, "timeout", above=0)
    if not isinstance(job, str) or job.count(":") != 1:
        raise ValueError(f"job: expected 'module:function', got {job!r}")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes = []
        stack.callback(_kill, processes)
        command = [sys.executable, "-m", "utils.lab.processes", "--job", job, "--settings", json.dumps(settings)]
        command += [
            "--timeout",
            str(timeout),
            "--init-method",
            (folder / "meeting").as_uri(),
            "--out",
            str(folder / "out"),
        ]
        for rank in range(world_size):
            errors = stack.enter_context(open(folder / f"errors{rank}", "wb"))
            place = ["--rank", str(rank), "--world-size", str(world_size)]
            how = {"stdin": subprocess.PIPE, "stdout": errors, "stderr": errors, "start_new_session": True}
            processes.append(subprocess.Popen([*command, *place], env=_here_only(), **how))
        statuses = _wait(processes, timeout)
        if any(status is None or status != 0 for status in statuses):
            said = [
                (folder / f"errors{rank}").read_text(errors="replace").strip()[-2000:] for rank in range(world_size)
            ]
            failed = [r for r, status in enumerate(statuses) if status]
            if failed:
                told = "\n".join(f"rank {r} of {world_size} failed (status {statuses[r]}):\n{said[r]}" for r in failed)
                raise RuntimeError(told)
            late = [r for r, status in enumerate(statuses) if status is None]
            told = "\n".join(f"rank {r}: {said[r] or 'silent'}" for r in late)
            raise TimeoutError(f"not done after {timeout:g} seconds: {len(late)} of {world_size} processes\n{told}")
        return json.loads((folder / "out").read_text(encoding="utf-8"))


def main(words=None):
    """Be one of the processes, or, where nobody has said which, start them.

    Parameters
    ----------
    words : list of str, optional
        By default those of the command line.
    """
    parser = argparse.ArgumentParser(description="Batch norm in several processes against one process.")
    parser.add_argument("--world-size", type=int, default=2, help="number of processes (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds (default: %(default)s)")
    parser.add_argument("--job", default=COMPARE, help="module:function (default: %(default)s)")
    parser.add_argument("--settings", type=json.loads, default={}, help="arguments of the job, as JSON")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--init-method", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args(words)
    rank, limit = 0, {"timeout": told.timeout}
    if told.rank is not None:  # started by run
        threading.Thread(target=_leave_with_parent, daemon=True).start()
        where = {"init_method": told.init_method, "rank": told.rank, "world_size": told.world_size}
        rank, result = _join(told.job, told.settings, **limit, **where)
    elif "TORCHELASTIC_RUN_ID" in os.environ:  # started by torchrun, which has set all that env:// reads
        rank, result = _join(told.job, told.settings, **limit)
    else:
        result = run(told.world_size, job=told.job, **limit, **told.settings)
    if rank == 0 and told.out:
        told.out.write_text(json.dumps(result), encoding="utf-8")
    elif rank == 0:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":  # pragma: no cover  in processes of their own
    main()
    sys.stdout.flush()
    os._exit(0)  # at once: a thread of gloo that outlives the group aborts a Python that shuts down

"""Batch norm in several processes against one process: what gradients alone cannot repair.

    python -m utils.lab.processes
    torchrun --standalone --nproc-per-node=2 -m utils.lab.processes

The first command starts two processes on this computer and prints how far they are from one process with the whole
batch. The second does the same under ``torchrun``, which also reaches several computers. `run` is for notebooks.
"""

import argparse
import datetime
import functools
import gc
import json
import os
import pickle
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import types
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F

from utils.arrays import number, whole
from utils.lab.sync_batch_norm import Processes, convert

__all__ = ["compare", "run"]


# The experiment

_SHAPES = {"dense": (6,), "conv": (2, 5, 5)}  # of one input of each kind of network


def _network(kind, seed, batch_norm=True):
    """Make a small network in float64, whose second layer is a batch norm, or nothing in its place."""
    if kind == "dense":
        net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
    else:
        conv = nn.Conv2d(2, 4, 3, padding=1)
        net = nn.Sequential(conv, nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(100, 3))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.double().parameters():
            parameter.normal_(generator=generator).mul_(0.5)
    if not batch_norm:
        net[1] = nn.Identity()
    return net


def _descend(net, x, y, steps, weight=1.0):
    """Descend on weight times the mean loss; return the gradients of the first step, and where the descent ends."""
    found, optimizer = {}, torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        x = x.detach().requires_grad_()
        optimizer.zero_grad()
        (weight * F.cross_entropy(net(x), y)).backward()
        if not found:
            gradients = torch.cat([p.grad.flatten() for p in net.parameters()])
            found = {"gradients": gradients, "gradients of the inputs": x.grad}
        optimizer.step()
    running = [b for name, b in net.named_buffers() if "running" in name]
    if running:
        found["running statistics"] = torch.cat(running)
    return found | {"weights in the end": torch.cat([p.detach().flatten() for p in net.parameters()])}


def _apart(found, reference):
    """Measure the largest difference per kind over all processes, relative to the largest number of the reference."""
    apart = {}
    for name, expected in reference.items():
        here = (found[name].to(expected) - expected).abs().max() / expected.abs().max()
        apart[name] = float(Processes().gather(here).max())
    return apart


def compare(*, steps=3, seed=0):
    """Measure how far the processes are from one process with the whole batch; each of them calls this.

    Parameters
    ----------
    steps : int
        Number of steps of gradient descent.
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
    All numbers are in float64. Every process trains one network alone on the whole data with ``nn.BatchNorm``, as the
    reference, and then takes its own part of the batch in ``DistributedDataParallel``, which averages the gradients.
    Part p of P has :math:`n_p` of n examples, and its mean loss is multiplied by :math:`P n_p / n`, so that the average
    is the mean loss of the whole batch, also for unequal parts. The parts have different means on purpose. The control,
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
    """Train one network without batch norm and with its three kinds, on parts of these sizes."""
    rank, world = dist.get_rank(), dist.get_world_size()
    total, begin = sum(parts), sum(parts[:rank])
    mine, weight = slice(begin, begin + parts[rank]), parts[rank] * world / total

    network, generator = functools.partial(_network, kind, seed), torch.Generator().manual_seed(seed + 1)
    x = torch.randn(total, *_SHAPES[kind], generator=generator).double()
    x = x + torch.linspace(0, 2, total).view(-1, *[1] * (x.dim() - 1))  # so that the parts have different means
    y = torch.randint(3, (total,), generator=generator)

    def train_alone(net):
        found = _descend(net, x, y, steps)
        found["gradients of the inputs"] = world * found["gradients of the inputs"][mine]  # of the sum of losses
        return found

    def train(net, reference, device="cpu"):
        net = nn.parallel.DistributedDataParallel(net.to(device))
        return _apart(_descend(net, x[mine].to(device), y[mine].to(device), steps, weight), reference)

    reference = train_alone(network())
    report = {
        "none": train(network(batch_norm=False), train_alone(network(batch_norm=False))),
        "per process": train(network(), reference),
        "synchronized": train(convert(network()), reference),
        "nn.SyncBatchNorm": "skipped: nn.SyncBatchNorm trains on accelerators only, and PyTorch finds no GPU here",
    }
    if torch.cuda.is_available():  # pragma: no cover  several processes may share one GPU
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
        net = nn.SyncBatchNorm.convert_sync_batchnorm(network())
        report["nn.SyncBatchNorm"] = train(net, reference, device)
    return report


# The processes


def _together(job, arguments, timeout, **place):
    """Meet the other processes, do the job with them, and part again; return the rank here and the job's result."""
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=timeout), **place)
    try:
        return dist.get_rank(), job(**arguments)
    finally:
        gc.collect()  # networks in DistributedDataParallel hold the group and its threads
        dist.destroy_process_group()


def _leave(status):  # pragma: no cover  in processes of their own, like the next two
    """Leave at once: a thread of gloo that outlives the group can abort a Python that shuts down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _leave_with_parent():  # pragma: no cover
    """Wait until the parent is gone, however it ended, and leave."""
    mp.parent_process().join()
    os._exit(3)


def _work(rank, folder, world_size, timeout, job, arguments):  # pragma: no cover
    """Be one of the processes that `run` starts; what it prints, and why it fails, goes to a file."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with open(folder / f"printed{rank}", "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout.reconfigure(line_buffering=True)  # so that it keeps its place among the errors
    torch.set_num_threads(1)
    for loopback in {"lo", "lo0"} & {name for _, name in socket.if_nameindex()}:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    try:
        store = dist.FileStore(str(folder / "meeting"), world_size)
        _, result = _together(job, arguments, timeout, store=store, rank=rank, world_size=world_size)
        if rank == 0:
            (folder / "result").write_bytes(pickle.dumps(result))
    except BaseException:
        traceback.print_exc()
        _leave(1)
    _leave(0)


def _start(world_size, folder, timeout, job, arguments):
    """Start the processes, while the script that runs here is hidden: they would run it, too."""
    script, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
    try:
        if not callable(job):
            raise TypeError("it cannot be called")
        pickle.dumps((job, arguments))
        everything = folder, world_size, timeout, job, arguments
        return mp.start_processes(_work, everything, world_size, join=False, daemon=True)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"job: expected a function of a module, and arguments that can be pickled, got {job!r} ({error}); "
            "write the function into a file, and import it from there"
        ) from None
    finally:
        sys.modules["__main__"] = script


def _printed(folder, ranks, verb):
    """Quote the last lines of each of these processes."""
    files = {rank: folder / f"printed{rank}" for rank in ranks}
    texts = {rank: file.read_text(errors="replace").strip() if file.exists() else "" for rank, file in files.items()}
    return "".join(f"\nrank {rank} {verb}:\n{text[-2000:] or '(nothing printed)'}" for rank, text in texts.items())


def run(world_size=2, *, job=compare, timeout=60.0, **arguments):
    """Start processes on this computer, let them do a job together, and bring back what the first one returns.

    Parameters
    ----------
    world_size : int
        Number of processes; each computes with one thread.
    job : callable
        A function of a module, not of a notebook or script; every process calls it, with torch.distributed ready.
    timeout : float
        Seconds for everything.
    **arguments
        Arguments of the job.

    Returns
    -------
    object
        What the job returned in the process of rank 0.

    Raises
    ------
    ValueError
        If world_size or timeout is not positive, or if other processes cannot import the job.
    RuntimeError
        If a process fails; the message has its rank and the end of what it printed.
    TimeoutError
        If the processes are not done in time.

    Notes
    -----
    Whatever happens, no process is left: they are killed when one fails, when the time is over and at Ctrl-C, and they
    leave by themselves when their parent is killed. They meet in a file of a temporary folder, so no port is needed. A
    script that calls this needs no ``if __name__ == "__main__"``.
    """
    world_size, timeout = whole(world_size, "world_size"), number(timeout, "timeout", above=0)
    with tempfile.TemporaryDirectory() as name:
        folder, end = Path(name), time.monotonic() + timeout
        context = _start(world_size, folder, timeout, job, arguments)
        try:
            while not context.join(max(0, end - time.monotonic()), grace_period=1):
                if time.monotonic() >= end:
                    late = [rank for rank, process in enumerate(context.processes) if process.is_alive()]
                    message = f"not done after {timeout:g} seconds: {len(late)} of {world_size} processes"
                    raise TimeoutError(message + _printed(folder, late, "printed"))
        except mp.ProcessExitedException as error:  # within the grace, others have lost their connection, and failed
            ended = {rank: process.exitcode for rank, process in enumerate(context.processes)}
            failed = [rank for rank, status in ended.items() if status not in (0, -signal.SIGTERM)]
            raise RuntimeError(f"{error}{_printed(folder, failed, f'of {world_size} failed')}") from None
        finally:
            for process in context.processes:
                process.kill()
                process.join()
        return pickle.loads((folder / "result").read_bytes())


def main(words=None):
    """Be one of the processes that torchrun has started, or start them; the first one prints the report."""
    parser = argparse.ArgumentParser(description="Compare batch norm in several processes with one process.")
    parser.add_argument("--world-size", type=int, default=2, help="number of processes (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="steps of gradient descent (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds (default: %(default)s)")
    options = parser.parse_args(words)
    if dist.is_torchelastic_launched():  # torchrun has set all that its processes need to meet
        rank, report = _together(compare, {"steps": options.steps}, options.timeout)
    else:
        try:
            rank, report = 0, run(options.world_size, timeout=options.timeout, steps=options.steps)
        except (ValueError, RuntimeError, TimeoutError) as error:
            parser.exit(1, f"{error}\n")
    if rank == 0:
        print(json.dumps(report, indent=2))


if __name__ == "__main__":  # pragma: no cover  in processes of their own
    from utils.lab import processes  # other processes know its functions by this name

    processes.main()
    processes._leave(0)

"""Several submissions at a time: worker processes of our own, or a cluster of dask.distributed."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import wait

from .grade import grade

TRIES = 2


def failed(error):
    """What stands for a result if the grader itself failed."""
    return {"failed": f"{type(error).__name__}: {error}"[:500]}


def work(task, data):
    """Grade; give an error as a result instead of raising it."""
    try:
        return grade(task, data)
    except Exception as error:
        return failed(error)


def _serve(pipe, task):
    """A worker: read notebooks, write results, end when the other side does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side hears it, and ends us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parent = multiprocessing.parent_process()

    def end_with_parent():
        wait([parent.sentinel])
        _kill_below()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            number, data = pipe.recv()
            pipe.send((number, work(task, data)))


def _kill_below():
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()


class _Worker:
    def __init__(self, context, task):
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, task), daemon=True)
        self.process.start()
        other.close()
        self.job = None

    def give(self, job):
        self.job = job
        with contextlib.suppress(OSError):  # it died; reading will tell
            self.pipe.send((job[0], job[1]()))


def run_here(task, jobs, *, workers):
    """Grade in processes on this machine.

    Parameters
    ----------
    task : Task
    jobs : list of callable
        Each gives the bytes of a notebook.
    workers : int

    Yields
    ------
    number : int
        Which job.
    result : dict

    Notes
    -----
    A worker that dies takes nothing along: its notebook is given to another one, once. However the loop ends, the
    workers and their kernels end too.
    """
    context = multiprocessing.get_context("spawn")
    waiting = [[number, job, TRIES] for number, job in enumerate(jobs)][::-1]
    busy = []
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                free = _Worker(context, task)
                free.give(waiting.pop())
                busy.append(free)
            for pipe in wait([worker.pipe for worker in busy]):
                worker = next(worker for worker in busy if worker.pipe is pipe)
                try:
                    number, result = pipe.recv()
                except (EOFError, OSError):
                    worker.process.join(10)
                    busy.remove(worker)
                    number, job, tries = worker.job
                    if tries > 1:
                        waiting.append([number, job, tries - 1])
                    else:
                        code = worker.process.exitcode
                        yield number, failed(RuntimeError(f"the worker ended twice on this notebook (exit {code})"))
                    continue
                if waiting:
                    worker.give(waiting.pop())
                else:
                    busy.remove(worker)
                    worker.pipe.close()
                yield number, result
    finally:
        for worker in busy:
            worker.process.terminate()
        for worker in busy:
            worker.process.join(5)
            worker.process.kill()


def run_there(task, jobs, *, scheduler):
    """Grade on a cluster of dask.distributed, whose workers have this repository at the same path; as `run_here`."""
    try:
        from dask.distributed import Client, as_completed
    except ImportError:
        raise RuntimeError(
            "--scheduler: expected the package distributed, it is not installed; install it, or leave it out"
        ) from None
    with Client(scheduler, timeout="20s") as client:
        futures = {
            client.submit(work, task, job(), key=f"submission-{number}-{os.getpid()}", pure=False, retries=1): number
            for number, job in enumerate(jobs)
        }
        for future in as_completed(futures, raise_errors=False):
            try:
                result = future.result()
            except Exception as error:
                result = failed(error)
            yield futures[future], result

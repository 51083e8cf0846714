"""Run jobs on worker processes of our own, or on a cluster of dask.distributed, and hand on each result as it comes.

A job is a function without arguments that can be pickled. A worker that dies takes nothing along: the job that it had
is run again, twice at most. A job that raises is not run again, and stops no other one.
"""

import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import threading
from multiprocessing.connection import wait

TRIES = 3
SECONDS_TO_END = 5


class ClusterError(Exception):
    """The cluster does not answer, or has left; the message is a sentence."""


def what_failed(error):
    """An error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _end_with_parent():
    """A worker ends when the run does, however that ends."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _serve(pipe):
    """A worker: read jobs, write results, end when the other side does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side hears it, and ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            job = pipe.recv()
            try:
                answer = job(), None
            except Exception as error:
                answer = None, what_failed(error)
            pipe.send(answer)


class _Worker:
    def __init__(self, context):
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other,), daemon=True)
        self.process.start()
        other.close()

    def give(self, key, job):
        self.key = key
        with contextlib.suppress(OSError):  # it died; reading will tell
            self.pipe.send(job)

    def answer(self):
        """Result and error; None if the worker died."""
        try:
            return self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            return None


def run_here(jobs, *, workers):
    """Run jobs in processes on this machine.

    Parameters
    ----------
    jobs : dict of hashable to callable
    workers : int

    Yields
    ------
    key : hashable
    result : object
        None if there is none.
    error : str or None
        In a sentence.
    """
    context = multiprocessing.get_context("spawn")
    waiting, tries, busy, started = list(jobs)[::-1], dict.fromkeys(jobs, 0), [], []
    bars = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"  # for the workers, which start with it; the bar of the run has been made
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                busy.append(_Worker(context))
                started.append(busy[-1].process)
                key = waiting.pop()
                busy[-1].give(key, jobs[key])
            ready = wait([worker.pipe for worker in busy] + [worker.process.sentinel for worker in busy])
            for worker in [each for each in busy if each.pipe in ready or each.process.sentinel in ready]:
                key, answer = worker.key, worker.answer()
                if answer is None or not waiting:
                    busy.remove(worker)
                    worker.pipe.close()
                if answer is not None:
                    if waiting:
                        following = waiting.pop()
                        worker.give(following, jobs[following])
                    yield key, *answer
                    continue
                worker.process.join(SECONDS_TO_END)
                tries[key] += 1
                if tries[key] < TRIES:
                    waiting.append(key)
                else:
                    code = worker.process.exitcode
                    yield key, None, f"its worker ended {TRIES} times (exit {code}): is there enough memory?"
    finally:
        os.environ.pop("TQDM_DISABLE") if bars is None else os.environ.update(TQDM_DISABLE=bars)
        for process in started:
            process.kill()
        for process in started:
            process.join(SECONDS_TO_END)


def _client(kind, scheduler, seconds):
    """The client of a cluster, if it answers in time; a mute one would keep `Client` waiting for much longer."""
    answers = queue.SimpleQueue()

    def ask():
        try:
            answers.put((kind(scheduler, timeout=seconds), None))
        except Exception as error:
            answers.put((None, what_failed(error)))

    threading.Thread(target=ask, daemon=True).start()
    try:
        client, error = answers.get(timeout=seconds + 1)
    except queue.Empty:
        client, error = None, "mute"
    if client is None:
        raise ClusterError(
            f"expected a cluster at {scheduler}, got no answer within {seconds:g} s ({error}): start one with "
            "dask scheduler and dask worker, or leave SCHEDULER out"
        )
    return client


def run_there(jobs, *, scheduler, seconds):
    """Run jobs on a cluster of dask.distributed, whose workers have this checkout at the same path; as `run_here`.

    Parameters
    ----------
    jobs : dict of hashable to callable
    scheduler : str
        The address of the cluster.
    seconds : float
        How long it may take to answer.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise ClusterError("expected the package distributed, found none: pip install distributed") from None
    logging.disable(logging.CRITICAL)  # what goes wrong is said in a sentence
    with _client(Client, scheduler, seconds) as client:
        names = {f"evidence-{os.getpid()}-{number}": key for number, key in enumerate(jobs)}
        futures = [client.submit(jobs[key], key=name, pure=False) for name, key in names.items()]
        for future in as_completed(futures):
            key = names[future.key]
            if future.cancelled() or future.status == "lost":
                raise ClusterError(
                    f"expected the cluster at {scheduler} to the end, it has left: start it, then run the same again"
                )
            try:
                result = future.result(timeout=seconds)
            except Exception as error:
                yield key, None, what_failed(error)
            else:
                yield key, result, None

"""Threads, memory and determinism, set in one place: call `configure` in the setup cell; and a bar for long loops."""

import ctypes
import os
import sys

import threadpoolctl
from tqdm.auto import tqdm

__all__ = ["configure", "progress"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h
_RETAINED_BLOCK = 32 * 2**20  # bytes, the largest that glibc takes


def _retain_heap():
    """Keep freed memory in the process (glibc only): fresh pages cost more than small networks do."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _RETAINED_BLOCK) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def _torch():
    """PyTorch, or None where it is not installed; one that is there and cannot be loaded is an error."""
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return None
    return torch


def configure(threads=1):
    """Make a run fast beside others and the same every time.

    One thread for NumPy's BLAS and for PyTorch (their products here are tiny: two threads of two processes wait for
    each other and take ten times longer), deterministic PyTorch kernels, and a heap that keeps its pages. There is no
    global seed to set: randomness is an argument everywhere in this course.

    Parameters
    ----------
    threads : int

    Returns
    -------
    dict
        What is in force: "threads" and "deterministic" (of PyTorch, both None where it is not installed),
        "blas_threads" (the largest of any BLAS or OpenMP pool), "heap_retained".

    Raises
    ------
    ValueError
        If threads is not a positive integer.
    """
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ValueError(f"threads: expected a positive integer, got {threads!r}")
    for name in _THREAD_VARIABLES:  # for libraries that are loaded later, and for child processes
        os.environ[name] = str(threads)
    import numpy  # noqa: F401  the pools exist once their libraries are loaded
    import scipy.linalg  # noqa: F401

    torch = _torch()
    if torch is not None:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms also loads a compiler, for a second
        torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that slows training by a fifth
    threadpoolctl.threadpool_limits(limits=threads)
    pools = threadpoolctl.threadpool_info()
    return {
        "threads": torch and torch.get_num_threads(),
        "blas_threads": max((pool["num_threads"] for pool in pools), default=threads),
        "deterministic": torch and torch.are_deterministic_algorithms_enabled(),
        "heap_retained": _retain_heap(),
    }


def progress(steps):
    """Go through some steps with a bar that vanishes at the end; it shows nothing where nobody watches.

    Parameters
    ----------
    steps : iterable
        A range, for instance.

    Returns
    -------
    tqdm.tqdm
        An iterable of the same steps. The variable ``TQDM_DISABLE`` switches the bar off, also in notebooks.
    """
    return tqdm(steps, leave=False, disable=bool(os.environ.get("TQDM_DISABLE")))

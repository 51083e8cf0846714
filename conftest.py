"""How pytest runs the notebooks: nbval, with what this course needs besides."""

import inspect
import os
import signal
import threading
import time
from queue import Empty

from nbformat import from_dict
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # A shell that starts us in the background ignores Ctrl-C for us and ours; the tests of Ctrl-C need it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# tests/test_gates_execution.py runs the notebook in there, and others that are made of it.
collect_ignore = ["tests/good_notebook"]

# One thread a kernel, set before any starts: two kernels with two threads each on two cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CLAIM = "application/vnd.course.claim+json"
SECONDS_BETWEEN_LOOKS = 0.5


def execute_as_a_reader_does(kernel, source, allow_stdin=None):
    """Execute a cell with store_history=True.

    Without it, as nbval does it, IPython sets no `_` and shows the value of a line that ends in `;`.
    """
    return kernel.kc.execute(source, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)


def verdict_only(output):
    """Reduce a claim card to which claim it is and what the verdict says.

    Its digits, which stand in its text and its HTML too, may differ on another CPU.
    """
    card = output.get("data", {}).get(CLAIM)
    if card is None:
        return output
    return from_dict({**output, "data": {CLAIM: {key: card.get(key) for key in ("id", "verdict")}}})


def compare_verdicts(cell, test, ref, skip_compare=None, compare=IPyNbCell.compare_outputs):
    """Compare outputs as nbval does, and of claim cards the verdict alone."""
    return compare(cell, [verdict_only(o) for o in test], [verdict_only(o) for o in ref], skip_compare)


def get_message_from_the_living(kernel, stream, timeout=None, get_message=RunningKernel.get_message):
    """Wait for a message, and look in between whether there still is a kernel that could send one.

    nbval alone waits as long as a cell may take.
    """
    end = float("inf") if timeout is None else time.monotonic() + timeout
    while True:
        left = end - time.monotonic()
        try:
            return get_message(kernel, stream, timeout=min(SECONDS_BETWEEN_LOOKS, max(left, 0)))
        except Empty:
            if not kernel.is_alive():
                raise RuntimeError("the kernel died while this cell ran") from None
            if left <= SECONDS_BETWEEN_LOOKS:
                raise


def forbid_network():
    """Let Python's sockets reach this computer only; the source of this function is sent to every kernel.

    A notebook runs on data that ships with the packages or is generated. A connection is a mistake, and the tests would
    depend on somebody else's server. An audit hook sees every socket that Python opens (not those of other programs or
    of C++ libraries) before anything is sent, and nothing can remove it.
    """
    import ipaddress
    import socket
    import sys

    def is_here(host):
        host = host.decode() if isinstance(host, (bytes, bytearray)) else host
        try:
            return host in (None, "", "localhost") or ipaddress.ip_address(host).is_loopback
        except ValueError:  # a name
            return False

    def guard(event, arguments):
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            sock, address = arguments
            if sock.family not in (socket.AF_INET, socket.AF_INET6) or address is None:
                return
            host = address[0]
        elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
            host = arguments[0]
        else:
            return
        if not is_here(host):
            raise OSError(f"a notebook may not use the network: tried to reach {host}")

    sys.addaudithook(guard)


def start_without_network(notebook, setup=IPyNbFile.setup):
    """Start the kernel of a notebook and close the network to it before its first cell."""
    setup(notebook)
    code = f"{inspect.getsource(forbid_network)}\nforbid_network()\ndel forbid_network"
    reply = notebook.kernel.kc.execute(code, silent=True, reply=True, timeout=60)
    if reply["content"]["status"] != "ok":
        raise RuntimeError(f"the kernel runs without its network guard: {reply['content']}")


RunningKernel.execute_cell_input = execute_as_a_reader_does
RunningKernel.get_message = get_message_from_the_living
IPyNbCell.compare_outputs = compare_verdicts
IPyNbFile.setup = start_without_network

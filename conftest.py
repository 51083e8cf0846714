"""How pytest runs the notebooks: nbval, with what this course adds to it."""

import contextlib
import inspect
import os
import re
import signal
import tempfile
import threading
import time
from queue import Empty

import pytest
from jupyter_client import KernelManager
from nbformat import from_dict
from nbval.kernel import NbvalKernelspecManager, RunningKernel
from nbval.plugin import IPyNbCell

from tools.kernels import WHICH_PYTHON, check_python, settle_matplotlib, why_not

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # A shell that starts us in the background ignores Ctrl-C for us and ours; the tests of Ctrl-C need it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# tests/test_gates_execution.py runs the notebook in there, and others that are made of it.
collect_ignore = ["tests/good_notebook"]

# One thread per kernel, set before any starts: two kernels with two threads each on two cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CLAIM = "application/vnd.course.claim+json"
TURNED = {"holds", "fails"}  # a mark against the other; one that is undecided contradicts none
MINUS = "\N{MINUS SIGN}"
# A number in a text: 12, -0.4, 1.6e+08, 1,000, inf. No part of a name such as int64.
NUMBER = rf"(?<![\w.])[-+{MINUS}]?(?:(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d*)?(?:[eE][-+]?\d+)?|inf\b|nan\b)"
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_REPORT = 30  # what nbval needs, at most, to stop a cell or a kernel and to say so


class Hung(BaseException):
    """A property test ran into its limit."""


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_timeout_set_timer(item):
    """End a property test at its limit.

    Hypothesis would take the failure that pytest-timeout raises for a counterexample and run it again, without a limit.
    """
    done = yield
    if getattr(getattr(item, "obj", None), "is_hypothesis_test", False) and hasattr(signal, "SIGALRM"):
        fail = signal.getsignal(signal.SIGALRM)

        def end(number, frame):
            __tracebackhide__ = True
            try:
                fail(number, frame)
            except pytest.fail.Exception as failed:
                raise Hung(str(failed)) from None

        if callable(fail):
            signal.signal(signal.SIGALRM, end)
    return done


def pytest_collection_modifyitems(config, items):
    """Give a cell more time than nbval gives to it and to its kernel, so that nbval can say what is wrong."""
    seconds = config.option.nbval_kernel_startup_timeout + config.option.nbval_cell_timeout + SECONDS_TO_REPORT
    for item in items:
        if isinstance(item, IPyNbCell):
            item.add_marker(pytest.mark.timeout(seconds))


def execute_as_a_reader_does(kernel, source, allow_stdin=None):
    """Execute a cell with store_history=True.

    Without it, as nbval does it, IPython sets no `_` and shows the value of a line that ends in `;`.
    """
    return kernel.kc.execute(source, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)


def card_in(output):
    """The JSON of a claim card; None for another output."""
    return output.get("data", {}).get(CLAIM)


def live_marks(card):
    """The word of every condition that was measured when the cell ran, by name, data set and budget."""
    live = [each for each in card.get("conditions", []) if each["live"] and card.get("kind") != "timing"]
    return {(each["name"], each["dataset"], each["budget"]): each["word"] for each in live}


def essence(output, others):
    """Reduce a claim card to which claim it is, its word, and the marks that contradict the same card of the others.

    Its digits, which stand in its text and its HTML too, may differ on another CPU; so may what is not decided.
    """
    card = card_in(output)
    if card is None:
        return output
    same = [other for other in map(card_in, others) if other and other.get("id") == card.get("id")]
    there = live_marks(same[0]) if same else {}
    turned = [[*at, word] for at, word in live_marks(card).items() if {word, there.get(at)} == TURNED]
    kept = {"id": card.get("id"), "word": card.get("word"), "turned": turned}
    return from_dict({**output, "data": {CLAIM: kept}})


def number(text):
    """The value of what NUMBER matches."""
    return float(text.replace(",", "").replace(MINUS, "-"))


def alike(text, other, tolerance):
    """Whether two texts differ in numbers only, and in each by at most a tolerance; blanks before a number are free."""
    parts, others = (re.split(f"( *{NUMBER})", each) for each in (text, other))
    if parts[::2] != others[::2]:
        return False
    pairs = zip(parts[1::2], others[1::2], strict=True)
    return all(one == two or abs(number(one) - number(two)) <= tolerance for one, two in pairs)


def settled(outputs, others, tolerance):
    """Some outputs, with the texts of the others where the two are alike."""
    made = []
    for output, other in zip(outputs, others, strict=True) if tolerance and len(outputs) == len(others) else ():
        kept = from_dict(output)
        for place, there in ((kept, other), (kept.get("data", {}), other.get("data", {}))):
            for key in {"text", "text/plain"} & set(place) & set(there):
                if alike(place[key], there[key], tolerance):
                    place[key] = there[key]
        made.append(kept)
    return made or outputs


def compare_verdicts(cell, test, ref, skip_compare=None, compare=IPyNbCell.compare_outputs):
    """Compare outputs as nbval does, of claim cards the essence alone, and numbers as the cell's metadata want it.

    With ``compare: 3`` a number, such as an accuracy in percent after training, may differ by three.
    """
    test = settled(test, ref, cell.cell.metadata.get("compare"))
    return compare(cell, [essence(o, ref) for o in test], [essence(o, test) for o in ref], skip_compare)


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


def start_kernel(kernel, kernel_name, cwd=None, startup_timeout=60):
    """Start a kernel of our own Python and close the network to it.

    Where it does not start, nothing is left of it, and every cell of its notebook fails with the same sentence.
    """
    kernel.km = KernelManager(kernel_name=kernel_name, kernel_spec_manager=NbvalKernelspecManager())
    kernel.kc = None
    settle_matplotlib()
    end = time.monotonic() + startup_timeout
    with tempfile.TemporaryFile() as heard:
        try:
            # Nobody watches: no progress bars.
            kernel.km.start_kernel(stderr=heard, cwd=cwd, env={**os.environ, "TQDM_DISABLE": "1"})
            kernel.kc = kernel.km.client()
            kernel.kc.start_channels()
            kernel.kc.wait_for_ready(timeout=startup_timeout)
            reply = close_network(kernel, max(end - time.monotonic(), 1))
            check_python(reply)
            if reply["status"] != "ok":
                raise RuntimeError(f"it runs without its network guard: {reply}")
        except BaseException as error:
            sentence = why_not(kernel.km, error, heard)
            if kernel.kc:
                kernel.kc.stop_channels()
            with contextlib.suppress(Exception):
                kernel.km.shutdown_kernel(now=True)
            if not isinstance(error, Exception):
                raise
        else:
            return
    pytest.fail(sentence, pytrace=False)


def close_network(kernel, timeout):
    """Forbid the network to a kernel, and ask it which Python it runs in."""
    code = f"{inspect.getsource(forbid_network)}\nforbid_network()\ndel forbid_network"
    asked = kernel.kc.execute(code, silent=True, user_expressions=WHICH_PYTHON)
    while True:
        message = kernel.get_message("shell", timeout=timeout)
        if message["parent_header"].get("msg_id") == asked:
            return message["content"]


RunningKernel.__init__ = start_kernel
RunningKernel.execute_cell_input = execute_as_a_reader_does
RunningKernel.get_message = get_message_from_the_living
IPyNbCell.compare_outputs = compare_verdicts

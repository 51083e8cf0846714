"""Talk to a kernel that may lie: raw messages, size limits, and nothing believed but text."""

import contextlib
import json
import re
import time
from dataclasses import dataclass, field

import zmq
from jupyter_client.session import Session
from zmq.utils.monitor import parse_monitor_message

from .cells import whole

DELIMITER = b"<IDS|MSG>"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
LONGEST_TEXT = 4000
MOST_PATIENCE = 4  # times the limit, on a machine with no processor to spare
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_FOR_LATE_OUTPUT = 0.3
SECONDS_TO_TELL, SECONDS_BETWEEN_EVENTS = 2, 0.01
PREPARE = '''
def prepare(shell):
    """Let exit() and a restart change nothing but a mark, and let half an emoji be sent as an escape."""
    import json
    shell.unobserve_all("exit_now")
    session = shell.kernel.session
    pack = session.pack
    def packed(content):
        try:
            return pack(content)
        except UnicodeEncodeError:
            return json.dumps(content, default=str).encode()
    session.pack = packed
prepare(get_ipython())
del prepare
'''


@dataclass(eq=False)
class Reply:
    """What came back for one piece of code."""

    status: str = "timeout"  # or "ok", "error", "dead"
    error: str = ""  # what it said
    answer: str | None = None  # the text of the expression that was asked for
    output: str = ""  # the beginning of what it printed
    _parts: list = field(default_factory=list, repr=False)


class Wire:
    """The connection to one kernel; a context manager.

    Parameters
    ----------
    sandbox : Sandbox
        Entered.
    """

    def __init__(self, sandbox):
        self._sandbox = sandbox
        self._limits = sandbox.limits
        self._session = Session(key=sandbox.info["key"].encode(), signature_scheme="hmac-sha256")
        self.received = 0

    def __enter__(self):
        self._context = zmq.Context()
        self._shell = self._connect(zmq.DEALER, "shell_port")
        self._iopub = self._connect(zmq.SUB, "iopub_port")
        self._iopub.subscribe(b"")
        self._poller, self._breaks = zmq.Poller(), []
        for socket in (self._shell, self._iopub):
            self._poller.register(socket, zmq.POLLIN)
            self._breaks.append(socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED))
            self._poller.register(self._breaks[-1], zmq.POLLIN)
        return self

    def __exit__(self, *_):
        self._context.destroy(linger=0)

    def _connect(self, kind, port):
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.setsockopt(zmq.MAXMSGSIZE, self._limits.reply)
        socket.setsockopt(zmq.RCVHWM, 50)
        socket.connect(f"ipc://{self._sandbox.info['ip']}-{self._sandbox.info[port]}")
        return socket

    def wait_until_ready(self):
        """Wait for the kernel's first words, and prepare it for its cells; False if none came."""
        deadline = time.monotonic() + self._limits.start
        answered = False
        while time.monotonic() < deadline and self._sandbox.alive:
            self._session.send(self._shell, "kernel_info_request", {})
            pause = time.monotonic() + (0.1 if answered else 1)
            while time.monotonic() < pause and self._sandbox.alive:
                for socket, _ in self._messages(20):
                    if answered and socket is self._iopub:  # then we are subscribed
                        self.execute(PREPARE, seconds=max(1, deadline - time.monotonic()))
                        return self._sandbox.alive
                    if socket is self._shell:
                        answered, pause = True, min(pause, time.monotonic() + 0.05)
        return False

    def execute(self, code, *, seconds, expression=None, history=False):
        """Run code and wait for its end.

        Parameters
        ----------
        code : str
        seconds : float
            After which it is interrupted, and ended if it does not heed that.
        expression : str, optional
            Whose value, a str, is the answer.
        history : bool
            Run it as a student's cell.

        Returns
        -------
        Reply
        """
        request = {
            "code": code,
            "silent": not history,
            "store_history": history,
            "user_expressions": {"answer": expression} if expression else {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        asked = self._session.send(self._shell, "execute_request", request)["header"]["msg_id"]
        reply, idle = Reply(), False
        if self._wait(asked, reply, seconds):
            idle = reply.status != "dead"
        else:
            self._sandbox.interrupt()
            if not self._wait(asked, reply, self._limits.grace):
                self._sandbox.end()
            reply.status = "timeout" if self._sandbox.over is None else "dead"
            reply.answer = None
        if idle and history:
            self._collect(asked, reply)
        reply.output = COLOURS.sub("", "".join(reply._parts))[:LONGEST_TEXT]
        return reply

    def _wait(self, asked, reply, seconds):
        began, before = time.monotonic(), self._sandbox.waited()
        deadline = began + seconds
        while True:
            now = time.monotonic()
            if now >= deadline:  # later by what neighbours took of the processors
                deadline = began + min(seconds + self._sandbox.waited() - before, MOST_PATIENCE * seconds)
                if now >= deadline:
                    return False
            for socket, message in self._messages(min(SECONDS_BETWEEN_LOOKS, deadline - now) * 1000):
                if message["parent"] != asked:
                    continue
                if socket is self._shell:
                    _read_reply(message, reply)
                    return True
                _read_output(message, reply)
            if self.received > self._limits.output:
                self._sandbox.end(f"it printed or sent more than {self._limits.output // 2**20} MB")
            if not self._sandbox.alive:
                reply.status = "dead"
                return True

    def _collect(self, asked, reply):
        """Read the output that is still on its way, until the kernel says that it is idle."""
        deadline = time.monotonic() + SECONDS_FOR_LATE_OUTPUT
        while time.monotonic() < deadline and self._sandbox.alive:
            for socket, message in self._messages(50):
                if socket is self._iopub and message["parent"] == asked:
                    if message["type"] == "status" and message["content"].get("execution_state") == "idle":
                        return
                    _read_output(message, reply)

    def _messages(self, milliseconds):
        """The next message of either socket, taken apart; nothing for what is no message."""
        for socket, _ in self._poller.poll(max(1, milliseconds)):
            if socket in self._breaks:
                if _event(socket) == zmq.EVENT_DISCONNECTED:
                    self._end(socket)
                continue
            with contextlib.suppress(zmq.ZMQError):
                frames = socket.recv_multipart(zmq.NOBLOCK)
                self.received += sum(len(frame) for frame in frames) if socket is self._iopub else 0
                if message := _take_apart(frames):
                    yield socket, message

    def _end(self, events):
        """End a kernel whose connection was closed: by itself, or by us, because a message is too long.

        In the first case we are told at once that the connection is tried again, which it is not in the second.
        """
        deadline = time.monotonic() + SECONDS_TO_TELL
        while self._sandbox.alive and time.monotonic() < deadline:
            if _event(events) == zmq.EVENT_CONNECT_RETRIED:
                return self._sandbox.end()
            time.sleep(SECONDS_BETWEEN_EVENTS)
        if self._sandbox.alive:
            self._sandbox.end(f"it sent more than {self._limits.reply // 2**20} MB at once")

    def rest(self, seconds):
        """Do nothing for a while; False if the kernel ends in the meantime."""
        deadline = time.monotonic() + seconds
        while self._sandbox.alive and time.monotonic() < deadline:
            for _ in self._messages(1000 * min(SECONDS_BETWEEN_LOOKS, max(0, deadline - time.monotonic()))):
                pass
        return self._sandbox.alive


def _event(socket):
    """The next event of a connection; None if there is none."""
    try:
        return parse_monitor_message(socket.recv_multipart(zmq.NOBLOCK))["event"]
    except (zmq.ZMQError, RuntimeError):
        return None


def _take_apart(frames):
    try:
        at = frames.index(DELIMITER)
        header, parent, _, content = (json.loads(frame) for frame in frames[at + 2 : at + 6])
        kind, asked = header["msg_type"], parent.get("msg_id")
        if not isinstance(content, dict):
            return None
        return {"type": kind, "parent": asked, "content": content}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, MemoryError):
        return None


def _text(value, longest=LONGEST_TEXT):
    return COLOURS.sub("", whole(value[: 2 * longest]))[:longest] if isinstance(value, str) else ""


def _read_reply(message, reply):
    content = message["content"]
    if content.get("status") == "ok":
        reply.status = "ok"
        try:
            reply.answer = content["user_expressions"]["answer"]["data"]["text/plain"]
        except (KeyError, TypeError):
            reply.answer = None
        reply.answer = reply.answer if isinstance(reply.answer, str) else None
    else:
        reply.status = "error"
        name, value = _text(content.get("ename"), 100), " ".join(_text(content.get("evalue"), 400).split())
        reply.error = f"{name}: {value}" if value else name or "an error without a name"


def _read_output(message, reply):
    content, room = message["content"], LONGEST_TEXT - sum(len(part) for part in reply._parts)
    if room <= 0:
        return
    if message["type"] == "stream":
        reply._parts.append(_text(content.get("text"), room))
    elif message["type"] in ("execute_result", "display_data"):
        data = content.get("data")
        text = _text(data.get("text/plain"), room) if isinstance(data, dict) else ""
        reply._parts.append(f"{text}\n" if text else "")

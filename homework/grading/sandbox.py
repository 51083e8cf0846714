"""One kernel in a sandbox, and someone who watches what it uses."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from .bubblewrap import EXCHANGE, START, command, environment
from .limits import MB, Limits
from .places import Place

PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_END = 10
HIGHEST_USERS = 0x40000000  # user ids that nobody has


def _runs(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


class Sandbox:
    """A kernel that runs; a context manager, after which nothing of it is left.

    Parameters
    ----------
    limits : Limits
    boxed : bool
        Use bubblewrap.
    hide : iterable of Path
        What must not be seen inside.

    Attributes
    ----------
    info : dict
        The connection as seen from here.
    over : str or None
        Which limit ended it.
    """

    def __init__(self, *, limits=None, boxed=True, hide=()):
        self.limits = limits or Limits()
        self.boxed = boxed
        self.over = None
        self._hide = hide
        self._process = self._found = None
        self._closing = threading.Event()
        self._said = b""

    def __enter__(self):
        self._place = Place()
        self.folder = self._place.folder
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _start(self):
        limits, inside = self.limits, EXCHANGE if self.boxed else str(self.folder)
        own = self.boxed or os.environ.get("SANDBOX") == "user"
        user = HIGHEST_USERS | secrets.randbits(29) if own and os.getuid() == 0 else None
        self.info = {
            "transport": "ipc",
            "ip": str(self.folder / "k"),
            "key": secrets.token_hex(16),
            "signature_scheme": "hmac-sha256",
            "kernel_name": "python3",
            **{name: i for i, name in enumerate(PORTS, start=1)},
        }
        connection = self.folder / "connection.json"
        connection.write_text(json.dumps({**self.info, "ip": f"{inside}/k"}), encoding="utf-8")
        os.chmod(connection, 0o644)
        if user is not None:
            os.chown(self.folder, user, user)
            for above in () if self.boxed else (self.folder.parent, self.folder.parent.parent):
                os.chmod(above, 0o711)  # to be passed through, not to be read
        wish = {
            "uid": user,
            "limits": {
                "RLIMIT_CORE": 0,
                "RLIMIT_CPU": int(limits.cpu),
                "RLIMIT_AS": limits.address_space,
                "RLIMIT_FSIZE": limits.file,
                "RLIMIT_NOFILE": 512,
                **({"RLIMIT_NPROC": limits.tasks} if own else {}),  # elsewhere it would count the grader too
            },
        }
        start = "/run/grading/start.py" if self.boxed else str(START)
        around = command(self.folder, limits=limits, hide=self._hide) if self.boxed else []
        arguments = ["--IPKernelApp.log_level=50", "--HistoryManager.enabled=False"]
        self._process = subprocess.Popen(
            [*around, sys.executable, start, json.dumps(wish), "-f", f"{inside}/connection.json", *arguments],
            stdin=subprocess.PIPE,  # never written to; its end says that we are no more
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")} if self.boxed else environment(str(self.folder)),
            cwd="/" if self.boxed else str(self.folder),
            start_new_session=True,
        )
        for target in (self._listen, self._watch):
            threading.Thread(target=target, daemon=True).start()

    def seal(self):
        """Let the kernel make no more files beside its sockets; where it runs as the same user, it is only watched."""
        if self.boxed and os.getuid() == 0:
            os.chown(self.folder, 0, 0)
            os.chmod(self.folder, 0o755)

    @property
    def alive(self):
        """Whether there still is a kernel."""
        return self._process is not None and self._process.poll() is None

    @property
    def said(self):
        """The first lines that went to standard error, of bubblewrap's for example."""
        return self._said.decode(errors="replace").strip()

    def _kernel(self):
        """The process of the kernel itself, as seen from here."""
        if self._found is None:
            top = psutil.Process(self._process.pid)
            for _ in range(2 if self.boxed else 0):  # bwrap, and the first process of its namespace
                top = top.children()[0]
            self._found = top
        return self._found

    def interrupt(self):
        """Do what Ctrl-C does."""
        with contextlib.suppress(psutil.Error, OSError, IndexError):
            self._kernel().send_signal(signal.SIGINT)

    def waited(self):
        """Seconds that the kernel, ready to run, waited for a processor; 0 where the system does not tell."""
        try:
            return int(Path(f"/proc/{self._kernel().pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError, psutil.Error):
            return 0.0

    def end(self, reason=None):
        """End everything in the sandbox at once; the reason is the limit that it went beyond, if it was one."""
        if reason and self.over is None:
            self.over = reason
        if self._process is None:
            return
        family = self._family()
        for member in family:  # the first process of the namespace takes all the others along
            with contextlib.suppress(psutil.Error):
                member.kill()
        if self.boxed:  # bubblewrap ends by itself when its kernel has
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        deadline = time.monotonic() + SECONDS_TO_END
        while time.monotonic() < deadline and any(_runs(member) for member in family):
            time.sleep(0.005)

    def close(self):
        """End everything and remove the folder."""
        self._closing.set()
        self.end()
        self._place.remove()

    def _family(self):
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.Error:
            return []

    def _listen(self):
        """Read what comes on standard error, keep its beginning."""
        stream = self._process.stderr
        with contextlib.suppress(OSError, ValueError), stream:
            while part := stream.read1(65536):
                self._said = (self._said + part)[:2000]

    def _watch(self):
        """Look at everything together, as the limits of the system are for each process by itself."""
        limits, finished, grader = self.limits, {}, psutil.Process()
        at_first = grader.memory_info().rss
        while not self._closing.wait(SECONDS_BETWEEN_LOOKS) and self.alive:
            began = time.monotonic()
            family, memory = self._family(), 0
            for member in family:
                with contextlib.suppress(psutil.Error), member.oneshot():
                    memory += member.memory_info().rss
                    times = member.cpu_times()
                    finished[member.pid] = times.user + times.system
            if len(family) > limits.processes + 1:
                return self.end(f"it started more than {limits.processes} processes")
            if memory > limits.memory:
                return self.end(f"it used more than {limits.memory // MB} MB of memory")
            if sum(finished.values()) > limits.cpu:
                return self.end(f"it used more than {limits.cpu:.0f} seconds of processor time")
            if grader.memory_info().rss - at_first > limits.backlog:
                return self.end("it sent a message without end")
            if self._exchanged() > limits.exchange:
                return self.end("it wrote files where only the kernel's sockets belong")
            self._closing.wait(min(10 * (time.monotonic() - began), 1))  # at most a tenth of a core

    def _exchanged(self):
        size = 0
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for number, entry in enumerate(entries):
                if number > 1000:
                    return float("inf")
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        return float("inf") if self.boxed else size
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
        return size

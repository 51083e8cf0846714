"""Run a student's notebook in sandboxed kernels and ask it the questions; what it answers is only collected here."""

import base64
import contextlib
import inspect
import re
import time
from dataclasses import dataclass, field

from . import plain
from .bubblewrap import SandboxError
from .limits import Limits
from .sandbox import Sandbox
from .wire import Wire

ANSWER = re.compile(r"'([A-Z])([A-Za-z0-9+/=]*)'")
HARNESS = '''
def answer(space, name, packed, call, largest):
    """Runs in the student's kernel: find the name, call it, pack what comes."""
    import traceback
    if name not in space:
        return "M"
    try:
        value, given = space[name], None
        if call:
            given = unpack(packed, code=True)
            value = value(**given)
    except BaseException as error:
        if isinstance(error, NotImplementedError):
            return "N"
        if isinstance(error, KeyboardInterrupt):
            raise
        return "E" + base64.b64encode(f"{type(error).__name__}: {error}"[:300].encode()).decode()
    try:
        text = pack(value)
    except BaseException as error:
        return "T" + base64.b64encode(str(error)[:300].encode()).decode()
    for argument, before in (unpack(packed, code=True) if call else {}).items():
        try:
            same = pack(given[argument]) == pack(before)
        except BaseException:  # a class that was handed out cannot be packed
            same = argument in given
        if not same:
            return "C" + base64.b64encode(argument.encode()).decode()
    return "V" + text if len(text) < largest else "L"
'''


@dataclass(eq=False)
class Ran:
    """One code cell, as it ran."""

    grade_id: str
    status: str
    error: str = ""
    output: str = ""


@dataclass(eq=False)
class Answer:
    """What came for one case: a value, or why there is none."""

    value: object = None
    problem: str | None = None


@dataclass(eq=False)
class Transcript:
    """All that came of one notebook."""

    cells: list = field(default_factory=list)
    answers: dict = field(default_factory=dict)


class Session:
    """One notebook; kernels are started as long as there is something to ask, and time.

    Parameters
    ----------
    cells : list of Cell
        Restored.
    limits : Limits
    boxed : bool
        Use bubblewrap.
    hide : iterable of Path
        What the kernel must not see.
    """

    def __init__(self, cells, *, limits=None, boxed=True, hide=()):
        self._code = [cell for cell in cells if cell.kind == "code" and cell.source.strip()]
        self._limits = limits or Limits()
        self._boxed, self._hide = boxed, hide
        self._deadline = time.monotonic() + self._limits.total
        self._open = contextlib.ExitStack()
        self._wire = self._sandbox = None
        self._kernels, self._skip = 0, set()
        self._out_of = None
        self._prelude = inspect.getsource(plain) + HARNESS
        self.transcript = Transcript(cells=[Ran(cell.grade_id, "not run") for cell in self._code])

    def run(self, questions):
        """Run the cells, then ask; checks that hand out code come last, so that it is no answer to others.

        Parameters
        ----------
        questions : list of Question

        Returns
        -------
        Transcript

        Raises
        ------
        SandboxError
            If the sandbox itself does not start.
        """
        try:
            while not self._ready() and self._out_of is None:
                pass
            for question in sorted(questions, key=lambda question: question.hands_out_code):
                self.transcript.answers[question.check.id] = self._ask(question)
        finally:
            self._stop()
        return self.transcript

    def _left(self):
        return self._deadline - time.monotonic()

    def _stop(self):
        self._open.close()
        self._wire = self._sandbox = None

    def _ready(self):
        """Have a kernel in which all cells ran that can; False if it ended on the way."""
        if self._sandbox is not None and self._sandbox.alive:
            return True
        self._stop()
        if self._left() <= 0:
            self._out_of = f"the notebook took more than {self._limits.total:.0f} seconds in all"
        elif self._kernels >= self._limits.kernels:
            self._out_of = f"its kernel was ended {self._kernels} times"
        if self._out_of:
            return False
        self._kernels += 1
        self._sandbox = self._open.enter_context(Sandbox(limits=self._limits, boxed=self._boxed, hide=self._hide))
        self._wire = self._open.enter_context(Wire(self._sandbox))
        if not self._wire.wait_until_ready():
            said = self._sandbox.said or self._sandbox.over or "no answer"
            raise SandboxError(f"the kernel did not start ({said[-300:]})")
        self._sandbox.seal()
        return all(self._run_cell(i) for i in range(len(self._code)) if i not in self._skip)

    def _run_cell(self, i):
        """Run one cell; False if there is no kernel any more."""
        ran, cell = self.transcript.cells[i], self._code[i]
        seconds = min(self._limits.cell, self._left())
        if seconds <= 0:
            ran.status, ran.error = "not run", "no time was left"
            return True
        reply = self._wire.execute(cell.source, seconds=seconds, history=True)
        ran.status, ran.error, ran.output = reply.status, reply.error, reply.output
        if reply.status == "timeout":
            ran.error = f"it took more than {seconds:.0f} seconds"
        elif reply.status == "dead":
            ran.error = self._why_dead()
        if self._sandbox.alive:
            return True
        if ran.status in ("ok", "error"):  # it ended while its last output was read
            ran.status, ran.error = "dead", self._why_dead()
        self._skip.add(i)
        return False

    def _why_dead(self):
        return self._sandbox.over or "the kernel ended"

    def _ask(self, question):
        answers = []
        for packed in question.packed:
            answers.append(self._ask_case(question.check, packed))
            if answers[-1].problem:
                break
        return answers

    def _ask_case(self, check, packed):
        while not self._ready():
            if self._out_of:
                return Answer(problem=self._out_of)
        seconds = min(check.seconds, self._left())
        if seconds <= 0:
            return Answer(problem=f"the notebook took more than {self._limits.total:.0f} seconds in all")
        largest = self._limits.reply // 2
        call = f"space, {check.asks!r}, {packed!r}, {bool(check.function)}, {largest}"
        code = (
            f"def __answer__(space):\n    own = {{}}\n    exec({self._prelude!r}, own)\n"
            f"    return own['answer']({call})\n__answer__ = __answer__(globals())"
        )
        reply = self._wire.execute(code, seconds=seconds, expression="__answer__")
        return self._read(check, reply, seconds)

    def _read(self, check, reply, seconds):
        """What an answer of the harness means."""
        what, said = f"{check.asks}()" if check.function else check.asks, ""
        failed = {
            "timeout": f"{what} took more than {seconds:.0f} seconds",
            "dead": f"{what}: {self._why_dead()}",
            "error": f"{what}: {reply.error}",
        }
        if reply.status in failed:
            return Answer(problem=failed[reply.status])
        match = ANSWER.fullmatch(reply.answer or "")
        kind, text = match.groups() if match else ("", "")
        try:
            if kind == "V":
                return Answer(value=plain.unpack(text))
            if kind in ("E", "T", "C"):
                said = " ".join(base64.b64decode(text).decode(errors="replace").split())[:300]
        except ValueError:
            kind = ""
        problems = {
            "E": f"{what} fails with {said}",
            "T": f"{what}: {said}",
            "C": f"{what} changes its argument {said}; it should make a new one",
            "N": "not attempted",
            "M": f"{check.asks} is not defined in the notebook",
            "L": f"{what}: the result is larger than {self._limits.reply // 2 // 2**20 * 3 // 4} MB",
        }
        return Answer(problem=problems.get(kind, f"{what}: no answer came from the notebook"))

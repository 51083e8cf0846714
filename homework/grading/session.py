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
from .recognize import bound
from .sandbox import Sandbox
from .wire import Wire

ANSWER = re.compile(r"'([A-Z])([A-Za-z0-9+/=]*)'")
EXITED = "[get_ipython().exit_now, setattr(get_ipython(), 'exit_now', False)][0]"
EXITS = "it ends or restarts the kernel, which was ignored here"
DELETES = re.compile(r"reset|\bdel\b|clear|globals|exec|delattr|pop")
LONGEST_REST = 40  # seconds for which a kernel is watched for what a cell has left behind
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
        return "E" + base64.b64encode(f"{type(error).__name__}: {error}"[:300].encode(errors="replace")).decode()
    try:
        text = pack(value)
    except BaseException as error:
        return "T" + base64.b64encode(str(error)[:300].encode(errors="replace")).decode()
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
        self._kernels, self._skip, self._next, self._began = 0, set(), 0, 0.0
        self._patience, self._out_of = self._limits.total, None
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
            self._ready()
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
        """Have a kernel in which all cells ran that can; False if there is none to be had."""
        while self._alive or self._start():
            if self._next == len(self._code):
                return True
            if self._next in self._skip or self._run_cell(self._next):
                self._next += 1
            else:
                self._blame(self._next)
        return False

    @property
    def _alive(self):
        return self._sandbox is not None and self._sandbox.alive

    def _start(self):
        """Start a kernel, which is not the student's time; False if there were too many, or no time is left."""
        self._stop()
        if self._left() <= 0:
            self._out_of = f"the notebook took more than {self._limits.total:.0f} seconds in all"
        elif self._kernels >= self._limits.kernels:
            self._out_of = f"its kernel was ended {self._kernels} times"
        if self._out_of:
            return False
        self._kernels, began = self._kernels + 1, time.monotonic()
        self._sandbox = self._open.enter_context(Sandbox(limits=self._limits, boxed=self._boxed, hide=self._hide))
        self._wire = self._open.enter_context(Wire(self._sandbox))
        if not self._wire.wait_until_ready():
            said = self._sandbox.said or self._sandbox.over or "no answer"
            raise SandboxError(f"the kernel did not start ({said[-300:]})")
        self._sandbox.seal()
        self._next, self._began = 0, time.monotonic()
        self._deadline += self._began - began
        return True

    def _execute(self, code, **how):
        """Run code, again if something in the kernel interrupts it; what neighbours take is not the student's time."""
        sandbox, before = self._sandbox, self._sandbox.waited()
        reply = self._wire.execute(code, **how)
        if reply.status == "error" and reply.error.startswith("KeyboardInterrupt") and self._alive:
            reply = self._wire.execute(code, **how)
        self._deadline += max(0.0, sandbox.waited() - before)
        return reply

    def _run_cell(self, i):
        """Run one cell; False if the kernel ended, perhaps by what an earlier cell has left behind."""
        ran, cell = self.transcript.cells[i], self._code[i]
        seconds = min(self._limits.cell, self._left())
        if seconds <= 0:
            ran.status, ran.error = "not run", "no time was left"
            return True
        reply = self._execute(cell.source, seconds=seconds, expression=EXITED, history=True)
        ran.status, ran.error, ran.output, answer = reply.status, reply.error, reply.output, reply.answer
        if ran.status == "error" and self._alive:
            answer = self._execute("", seconds=seconds, expression=EXITED).answer
        if ran.status == "timeout":
            ran.error = f"it took more than {seconds:.0f} seconds"
            self._skip |= set() if self._alive else {i}
        elif not self._alive:
            ran.status, ran.error = "dead", self._why_dead()
        elif answer == "True":
            ran.status, ran.error = "exit", EXITS
        return ran.status != "dead"

    def _why_dead(self):
        return self._sandbox.over or "the kernel ended"

    def _blame(self, last):
        """Find the cell that ended the kernel, and leave it out: the last one, or one whose thread or timer did it.

        A cell is innocent if a kernel ends as well that ran only the cells before it. The number of cells stands for a
        question; False if that ended the kernel. What this takes is not the student's time, up to a limit.
        """
        began, error, guilty = time.monotonic(), self._why_dead(), last
        watch = min(1.2 * (began - self._began) + 1, LONGEST_REST)
        suspects = [i for i in range(last) if i not in self._skip and not self._code[i].locked]
        if suspects and self._ends(last, watch):
            low, high = 0, len(suspects) - 1
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if self._ends(suspects[middle] + 1, watch) else (middle + 1, high)
            guilty = suspects[low]
            self._stop()
        patience = min(time.monotonic() - began, self._patience)
        self._deadline, self._patience = self._deadline + patience, self._patience - patience
        if guilty == len(self._code):
            return False
        self._skip.add(guilty)
        self.transcript.cells[guilty].status, self.transcript.cells[guilty].error = "dead", error
        return True

    def _left_out(self, name):
        """Leave out a student's own cells that may have deleted a name, as %reset does; False if there are none."""
        defined = [i for i, cell in enumerate(self._code) if name in bound(cell.source) and i not in self._skip]
        later = range(defined[0] + 1 if defined else len(self._code), len(self._code))
        own = [i for i in later if not self._code[i].grade_id and DELETES.search(self._code[i].source)]
        new = set(own) - self._skip
        for i in new:
            self.transcript.cells[i].status, self.transcript.cells[i].error = "dead", f"it deletes {name}"
        self._skip |= new
        if new:
            self._stop()
        return bool(new)

    def _ends(self, upto, watch):
        """Whether a new kernel ends by what the cells before one have done, at once or in that many seconds."""
        if not self._start():
            return False
        while self._next < upto:
            if self._next not in self._skip and not self._run_cell(self._next):
                return True
            self._next += 1
        self._execute("0", seconds=self._limits.cell, history=True)
        return not self._wire.rest(watch)

    def _ask(self, question):
        answers = []
        for packed in question.packed:
            answers.append(self._ask_case(question.check, packed))
            if answers[-1].problem:
                break
        return answers

    def _ask_case(self, check, packed):
        largest = self._limits.reply // 2
        call = f"space, {check.asks!r}, {packed!r}, {bool(check.function)}, {largest}"
        code = (
            f"def __answer__(space):\n    own = {{}}\n    exec({self._prelude!r}, own)\n"
            f"    return own['answer']({call})\n__answer__ = __answer__(globals())"
        )
        while self._ready():
            seconds = min(check.seconds, self._left())
            if seconds <= 0:
                return Answer(problem=f"the notebook took more than {self._limits.total:.0f} seconds in all")
            reply = self._execute(code, seconds=seconds, expression="__answer__")
            if reply.status == "dead":
                reply.error = self._why_dead()
                if self._blame(len(self._code)):
                    continue
            if reply.answer == "'M'" and self._left_out(check.asks):
                continue
            return self._read(check, reply, seconds)
        return Answer(problem=self._out_of)

    def _read(self, check, reply, seconds):
        """What an answer of the harness means."""
        what, said = f"{check.asks}()" if check.function else check.asks, ""
        failed = {
            "timeout": f"{what} took more than {seconds:.0f} seconds",
            "dead": f"{what}: {reply.error}",
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

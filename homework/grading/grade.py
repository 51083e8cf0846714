"""From the bytes of one notebook to its points."""

import copy
import dis
import functools
import hashlib
import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .assignment import load
from .bubblewrap import SandboxError
from .cells import NotebookError, read_notebook, released
from .limits import Limits
from .once import pay_once
from .plain import pack
from .recognize import check_identity
from .restore import restore
from .session import Session
from .words import answers

LONGEST_SAID, LAST_LINES = 600, 4
LONGEST_NAME, LONGEST_REASON = 40, 1000
NOT_RUN, BYHAND = "not run", "utils.byhand"


@dataclass(frozen=True)
class Task:
    """What stays the same for a whole class; small, so that it can be sent to any worker."""

    assignment: str
    variant: str
    source: str
    secret: str  # from which the hidden cases are drawn
    boxed: bool = True  # in bubblewrap
    hide: tuple = ()  # folders that no submission may see
    limits: Limits = Limits()

    def load(self):
        """The assignment."""
        return load(self.assignment, variant=self.variant, source=Path(self.source))


def fingerprint(assignment, questions):
    """What a result depends on in addition to the notebook: the assignment, the cases drawn, and what is expected."""
    drawn = [[question.packed, [pack(want) for want in question.wanted]] for question in questions]
    return hashlib.sha256(repr([assignment.digest, drawn]).encode()).hexdigest()


def key_of(task, digest, data):
    """Name the result of a notebook: same notebook, assignment, variant, cases and limits, same name."""
    parts = [digest, task.assignment, task.variant, task.secret, repr(task.limits), repr(task.boxed)]
    return hashlib.sha256("\n".join(parts).encode() + b"\n" + data).hexdigest()[:32]


@functools.lru_cache(maxsize=4)
def _prepare(task):
    assignment = task.load()
    return assignment, assignment.questions(task.secret)


def nothing(assignment, reason):
    """The result of a submission that cannot be run."""
    checks = [
        {"id": check.id, "points": 0.0, "of": check.points, "about": check.about, "said": NOT_RUN}
        for check in assignment.checks
    ]
    return {"reason": reason, "checks": checks, "tests": [], "cells": [], "manual": {}, "notes": [], "seconds": 0.0}


def grade(task, data):
    """Grade one notebook.

    Parameters
    ----------
    task : Task
    data : bytes

    Returns
    -------
    dict
        Plain data: `reason` ("" if it could be run), `checks`, `tests` (nbgrader's, for feedback only), `cells` that
        failed or printed, `manual` (texts to be marked), `notes`, `seconds`.

    Raises
    ------
    SandboxError
        If the sandbox does not start, which is no fault of the student's.
    """
    began = time.perf_counter()
    assignment, questions = _prepare(task)
    try:
        notebook = read_notebook(data)
        check_identity(notebook, assignment.name, assignment.variant, assignment.cells)
    except NotebookError as error:
        return nothing(assignment, str(error))
    cells, notes = restore(notebook.cells, assignment.cells)
    transcript = _run(task, cells, questions)
    codes = [cell for cell in cells if cell.kind == "code" and cell.source.strip()]
    result = nothing(assignment, "")
    judged = [_judge(question, transcript.answers[question.check.id]) for question in questions]
    ended = [cell for cell, ran in zip(codes, transcript.cells, strict=True) if ran.status in ("timeout", "dead")]
    until = time.monotonic() + task.limits.total  # as long as it may take the first time

    def ask(cells, question):
        short = replace(task, limits=replace(task.limits, total=min(task.limits.total / 3, until - time.monotonic())))
        cells = [cell for cell in needed(cells, assignment.cells) if all(cell is not one for one in ended)]
        return _judge(question, _run(short, cells, [question]).answers[question.check.id])

    result["checks"] = pay_once(judged, questions, cells, assignment.cells, ask)
    result["tests"] = [
        {
            "id": ran.grade_id,
            "points": cell.points,
            "status": ran.status,
            "error": ran.error,
            "said": "\n".join(ran.output.strip().splitlines()[-LAST_LINES:])[:LONGEST_SAID],
        }
        for ran, cell in zip(transcript.cells, codes, strict=True)
        if cell.grade and cell.locked
    ]
    result["cells"] = [
        {"number": number, **asdict(replace(ran, output=ran.output[:2000]))}
        for number, ran in enumerate(transcript.cells, start=1)
        if ran.status != "ok" or ran.output.strip()
    ]
    result["manual"], elsewhere = answers(notebook.cells, assignment.cells, [part.id for part in assignment.manual])
    result["notes"] = notes + elsewhere + _borrowed(cells, assignment.cells)
    result["seconds"] = round(time.perf_counter() - began, 2)
    result["reason"] = "; ".join(
        f"code cell {number} ({' '.join(cell.source.split())[:LONGEST_NAME]}): {ran.error}"
        for number, (ran, cell) in enumerate(zip(transcript.cells, codes, strict=True), start=1)
        if ran.status in ("timeout", "dead", "exit")
    )[:LONGEST_REASON]
    return result


def needed(cells, source):
    """Leave out what need not run again to ask one more question: tests that define nothing which other cells name.

    Parameters
    ----------
    cells : list of Cell
        Of the submission, restored.
    source : list of Cell
        Of the assignment. Only tests that stand there, word for word, are looked at and left out.

    Returns
    -------
    list of Cell
    """
    tests = {released(cell).source for cell in source if cell.kind == "code" and cell.grade and cell.locked}
    words = {word for cell in cells if cell.source not in tests for word in re.findall(r"\w+", cell.source)}
    return [cell for cell in cells if cell.source not in tests or _defined(cell.source) & words]


def _defined(test):
    """The names that a test of ours leaves behind."""
    return {step.argval for step in dis.get_instructions(test) if step.opname == "STORE_NAME"}


def _borrowed(cells, source):
    """A sentence if answers call the course's own functions, where the assignment does not."""
    own = any(BYHAND in cell.source for cell in cells if cell.kind == "code" and not cell.locked)
    if not own or any(BYHAND in cell.source for cell in source if cell.kind == "code"):
        return []
    return [f"Code in it uses {BYHAND}, to compare or to answer: a person decides which."]


def _run(task, cells, questions):
    """Run cells and ask the questions."""
    try:
        return Session(cells, limits=task.limits, boxed=task.boxed, hide=task.hide).run(questions)
    except SandboxError:  # a busy machine; once more, then it is said
        return Session(cells, limits=task.limits, boxed=task.boxed, hide=task.hide).run(questions)


def _judge(question, answers):
    """Points for one check: all, if every case is right."""
    check = question.check
    said = None
    for answer, want, case in zip(answers, question.wanted, question.cases, strict=False):
        own = copy.deepcopy((want, case))  # a comparison may change them, and the next notebook is asked the same
        said = answer.problem or _compare(check.compare, answer.value, *own)
        if said:
            break
    if said is None and len(answers) < len(question.cases):
        said = "not every case was answered"
    if said is None and check.together:
        said = _compare(check.together, [answer.value for answer in answers])
    points = 0.0 if said else check.points
    return {"id": check.id, "points": points, "of": check.points, "about": check.about, "said": said or "right"}


def _compare(compare, *values):
    """Call a comparison, which may stumble over what nobody expected."""
    try:
        said = compare(*values)
    except Exception as error:
        return f"the result is not of the kind expected ({type(error).__name__})"
    return None if said is None else str(said)[:400] or "wrong"

"""A cell that ends or restarts the kernel, at once or later, costs nothing but itself; half an emoji costs nothing."""

import json
import os
import subprocess
import sys

import grading_fixtures as fixtures
import pytest

from homework.grading.grade import Task, grade
from homework.grading.limits import Limits

pytestmark = pytest.mark.timeout(120)  # kernels are started, up to eight for one notebook

SLOW = "import time\ntime.sleep({})\n"
LATER = "import os, threading\nthreading.Timer({}, os._exit, [0]).start()"
ENDINGS = {
    "exit": "exit()",
    "quit in the middle": "x = 1\nquit()\nprint(x)",
    "exit, and then an error": "exit()\n1 / 0",
    "restart": "get_ipython().kernel.do_shutdown(True)",
    "another restart": "import IPython\nIPython.Application.instance().kernel.do_shutdown(restart=True)",
    "SystemExit": "raise SystemExit(3)",
    "os._exit": "import os\nos._exit(0)",
    "a signal": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "another program": "import os\nos.execv('/bin/sleep', ['sleep', '99'])",
    "the loop ends": "import asyncio\nasyncio.get_running_loop().stop()",
    "the connection ends": "get_ipython().kernel.shell_stream.close()",
    "soon, in a thread": LATER.format(0.02),
    "later, in a thread": LATER.format(0.8),
    "an alarm": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.5)",
    "later, in a child": "import os, subprocess\nsubprocess.Popen(['sh', '-c', f'sleep 0.5; kill -9 {os.getpid()}'])",
    "the next cell": "import os\nget_ipython().events.register('pre_run_cell', lambda *_: os._exit(0))",
    "all names are deleted": "%reset -f",
    "a name is deleted": "globals().pop('centre', None)",
    "a message that is too long": "print('x' * 20 * 2**20)",
}
PLACES = [(name, ("before", "extra")[number % 2 or "deleted" in name]) for number, name in enumerate(ENDINGS)]
IGNORED = ("exit", "quit in the middle", "exit, and then an error", "restart", "another restart")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    source = fixtures.write_assignment(tmp_path_factory.mktemp("source"))
    return Task("hw00", "0", str(source), "a secret", fixtures.SANDBOX == "bwrap", (), Limits(cell=5))


def points(result):
    return {check["id"]: check["points"] for check in result["checks"]}


FULL = {"centre": 2, "standardize": 3, "facts": 1}


@pytest.mark.parametrize(("name", "where"), [*PLACES, ("soon, in a thread", "before"), ("exit", "extra")])
def test_the_end_of_a_kernel_costs_nothing_but_its_cell(task, name, where):
    # The second cell takes so long that what comes later comes while it runs.
    more = {"before": ["'first'"], "extra": [SLOW.format(1 if "later" in name or "alarm" in name else 0)]}
    more[where] = [ENDINGS[name], *more[where]]
    result = grade(task, fixtures.submission(**more).encode())
    assert points(result) == FULL, result
    number = 1 if where == "before" else 7
    beginning = " ".join(ENDINGS[name].split())[:40]
    if name != "SystemExit":  # an error as others
        assert result["reason"].startswith(f"code cell {number} ({beginning}): "), result
        assert result["reason"].count("code cell") == 1
        assert ("ignored" in result["reason"]) == (name in IGNORED)
        assert ("deletes" in result["reason"]) == ("deleted" in name)
        assert ("MB" in result["reason"]) == (name == "a message that is too long")


@pytest.fixture
def busy():
    """More processes that never rest than there are processors."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range((os.cpu_count() or 1) + 1)]
    yield
    for hog in hogs:
        hog.kill()
        hog.wait(10)


@pytest.mark.parametrize("name", ["exit", "os._exit", "the loop ends"])
def test_on_a_busy_machine_the_marks_are_the_same(task, busy, name):
    result = grade(task, fixtures.submission(extra=[ENDINGS[name]]).encode())
    assert points(result) == FULL
    assert result["reason"].startswith("code cell 6 (")
    assert "MB" not in result["reason"]


def test_two_of_them_are_both_found(task):
    result = grade(task, fixtures.submission(before=[LATER.format(0.6), "2"], extra=[ENDINGS["os._exit"]]).encode())
    assert points(result) == FULL
    assert [reason.split(" (")[0] for reason in result["reason"].split("; ")] == ["code cell 1", "code cell 8"]


def test_a_cell_that_interrupts_another_one_costs_it_nothing(task):
    later = "import _thread, threading\nthreading.Timer(0.3, _thread.interrupt_main).start()"
    slow = "(__import__('time').sleep(1), {'axis': 0, 'leaks': True})[1]"
    result = grade(task, fixtures.submission({"facts": slow}, before=[later]).encode())
    assert points(result) == FULL


def test_a_function_that_ends_the_kernel_costs_its_check(task):
    result = grade(task, fixtures.submission({"centre": "import os; os._exit(0)"}, extra=["1"]).encode())
    assert points(result) == {**FULL, "centre": 0}
    assert result["checks"][0]["said"] == "centre(): the kernel ended"


HALF = "\ud83d"
TEXTS = {
    "code": {"extra": [f"# {HALF}", f"x = '{HALF}'"]},
    "words": {"why": f"because {HALF}"},
    "an output": {"extra": ["print('printed', chr(0xD83D))"]},
    "a result": {"extra": ["chr(0xD83D)"]},
    "an error": {"extra": ["raise ValueError(chr(0xDE00))"]},
    "an answer": {"changes": {"facts": "{'axis': 0, 'leaks': True, chr(0xD83D): 1}"}},
    "an error of an answer": {"changes": {"facts": "0\nclass facts: pass\nfacts.__name__ = chr(0xD83D)"}},
    "a name": {"about": {"assignment": "hw00", "variant": "0", "author": HALF}},
}


@pytest.mark.parametrize("name", TEXTS)
def test_half_an_emoji_is_graded(task, name):
    text = json.dumps(
        json.loads(
            json.dumps(
                fixtures.notebook(
                    {**fixtures.SOLUTIONS, **TEXTS[name].get("changes", {})},
                    **{key: value for key, value in TEXTS[name].items() if key != "changes"},
                )
            )
        )
    )
    result = grade(task, text.encode())
    assert points(result) == {**FULL, "facts": 0 if "answer" in name else 1}
    json.dumps(result).encode()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-le"])
def test_the_encoding_of_the_file_does_not_matter(task, encoding):
    assert points(grade(task, fixtures.submission(extra=["'é'"]).encode(encoding))) == FULL

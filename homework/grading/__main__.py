"""Grade a class: `python -m homework.grading SUBMISSIONS --out build/grades/hw01`."""

import argparse
import functools
import json
import os
import secrets
import signal
import sys
import time
from pathlib import Path

from utils.files import write_atomically

from . import marks, pool, report
from .assignment import SOURCE, AssignmentError, variant_of
from .bubblewrap import SandboxError, choose
from .grade import Task, fingerprint, key_of, nothing
from .guess import guess_assignment
from .late import LateError, mark, read_allowances, read_deadline
from .places import BusyError, alone, sweep
from .recognize import likeness
from .roster import RosterError, match, read_roster
from .submissions import SubmissionsError, find


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m homework.grading", description=__doc__)
    parser.add_argument("submissions", type=Path, help="a folder, or a zip as Moodle, Canvas or Gradescope exports it")
    parser.add_argument("--assignment", metavar="hwNN", help="default: what most of the notebooks name")
    wanted = os.environ.get("VARIANT")
    parser.add_argument("--variant", default=wanted, help="default: VARIANT, else that of the source notebook")
    out = "build/grades/{assignment}"
    parser.add_argument("--out", default=out, help="{assignment} in it stands for the assignment (%(default)s)")
    parser.add_argument("--roster", type=Path, help="the students, as Canvas or Moodle exports them with their grades")
    parser.add_argument("--deadline", help="such as 2027-02-03 23:59; the column late then has days after it")
    parser.add_argument("--allowances", type=Path, help="a table of how many days late students may be: id, days")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scheduler", default=os.environ.get("SCHEDULER") or None, help="of dask.distributed")
    parser.add_argument("--source", type=Path, default=SOURCE, help="the folder of the assignments")
    parser.add_argument("--secret", type=Path, help="a file; hidden inputs are drawn from it (default: OUT/secret)")
    arguments = parser.parse_args(argv)
    if arguments.workers < 1:
        parser.error(f"--workers: expected 1 or more, got {arguments.workers}")
    return arguments


def _secret(path):
    """Read the secret, or make one."""
    if not path.exists():
        write_atomically(path, secrets.token_hex(16), mode=0o600)
    return path.read_text(encoding="utf-8").strip()


def _table(path, variable):
    """The bytes of a table that the instructor names."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RosterError(f"{variable}: expected the name of a table, got {path}: {error.strerror}") from None


def _read_result(path):
    """A result of an earlier run, if it is whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _jobs(found, task, assignment, digest, results):
    """Sort into what is known already and what is to be run; the same notebook is run once."""
    known, jobs = {}, {}
    for number, submission in enumerate(found):
        if submission.problem:
            known[number] = nothing(assignment, submission.problem)
            continue
        try:
            key = key_of(task, digest, submission.path.read_bytes())
        except OSError as error:
            known[number] = nothing(assignment, f"the file cannot be read ({error.strerror})")
            continue
        result = _read_result(results / f"{key}.json")
        if result is None:
            jobs.setdefault(key, []).append(number)
        else:
            known[number] = result
    return known, jobs


def main(argv=None):
    """Grade and report: 0 if all have grades, 1 if the grader failed on some, 2 if it did not begin, 130 on Ctrl-C."""
    arguments = _arguments(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # names have letters that not every terminal has
    try:
        boxed = choose(os.environ.get("SANDBOX") or "bwrap")
        if not arguments.assignment:
            arguments.assignment, votes, notebooks = guess_assignment(arguments.submissions, arguments.source)
            print(f"Assignment {arguments.assignment}, as {votes} of {notebooks} notebooks say", flush=True)
        out = Path(arguments.out.replace("{assignment}", arguments.assignment)).resolve()
        out.mkdir(parents=True, exist_ok=True)  # what is not there cannot be hidden
        with alone(out):
            return _grade(arguments, boxed, out)
    except (SandboxError, SubmissionsError, AssignmentError, BusyError, LateError, RosterError, RuntimeError) as error:
        print(f"grading: {error}", file=sys.stderr)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(
            f"grading: {place}expected to read and write there, got: {error.strerror or error}. Make room there, or "
            "choose another folder with GRADES=folder, and run the same command again: what is graded stays",
            file=sys.stderr,
        )
    except KeyboardInterrupt:
        print("\ninterrupted; start the same command again, what is graded stays", file=sys.stderr)
        return 130
    return 2


def _grade(arguments, boxed, out):
    """Grade into a folder that nobody else writes to."""
    secret_file = (arguments.secret or out / "secret").resolve()
    secret = _secret(secret_file)
    places = (out, secret_file, arguments.submissions, arguments.source)
    hide = tuple(str(place.resolve()) for place in places)
    source = str(arguments.source.resolve())
    variant = arguments.variant or variant_of(arguments.assignment, arguments.source)
    task = Task(arguments.assignment, str(variant), source, secret, boxed, hide)
    assignment = task.load()
    digest = fingerprint(assignment, assignment.questions(secret))  # an assignment that does not work stops here
    like = functools.partial(likeness, assignment=assignment.name, variant=assignment.variant, source=assignment.cells)
    found, log = find(arguments.submissions, assignment=task.assignment, keep=out / "received", likeness=like)
    roster, said = None, []
    deadline = read_deadline(arguments.deadline) if arguments.deadline else None
    allowances = read_allowances(_table(arguments.allowances, "ALLOWANCES")) if arguments.allowances else None
    if arguments.roster:
        roster = read_roster(_table(arguments.roster, "ROSTER"))
        in_roster, said = match(roster, found)
        log += said
    late = mark(found, deadline, allowances)
    before = marks.entered(out, {one.id for one in found}).values()
    if not deadline and any(row.get("late", "").isdigit() for row in before):
        late.append("the column late had days in an earlier run, and has none now: no DEADLINE was given this time")
    log += late
    print("".join(f"{line}\n" for line in (*said, *late)), end="", flush=True)
    if not boxed:
        print("grading: SANDBOX=none, the submissions run with your rights", file=sys.stderr)
    sweep()
    results = out / "results"
    known, jobs = _jobs(found, task, assignment, digest, results)
    left = sum(len(numbers) for numbers in jobs.values())
    sent = marks.counted(len(found), "submission")
    print(f"{sent}: {left} to grade, {len(known)} done before or with nothing to run", flush=True)
    failures = _run(found, task, assignment, arguments, results, known, jobs, left)
    graded = [(submission, known[number]) for number, submission in enumerate(found)]
    log += [f"{submission.name} ({submission.origin}): {r['reason']}" for submission, r in graded if r["reason"]]
    log += [f"{one.name}: {note}" for one, r in graded for note in r["notes"] if "a person decides" in note]
    summary, said = report.write(out, assignment, graded, log, (roster, in_roster) if roster else None)
    print(summary, end="")
    print("".join(f"\n{line}" for line in said), end="\n" if said else "")
    print(f"\nResults: {out} (grades.csv, summary.html, similar.html, a page for each student in feedback/, log.txt)")
    return 1 if failures else 0


def _run(found, task, assignment, arguments, results, known, jobs, left):
    """Run what is to be run and write down each result at once; count what the grader failed on."""
    keys, count, failures, began = list(jobs), 0, 0, time.perf_counter()
    readers = [found[jobs[key][0]].path.read_bytes for key in keys]
    if arguments.scheduler:
        stream = pool.run_there(task, readers, scheduler=arguments.scheduler)
    else:
        stream = pool.run_here(task, readers, workers=min(arguments.workers, max(len(keys), 1)))
    for index, result in stream:
        numbers = jobs[keys[index]]
        if "failed" in result:  # not stored: the next run tries again
            failures += 1
            why = f"the grader failed, which is not the student's fault; grade again ({result['failed']})"
            result = {**nothing(assignment, why), "failed": True}
        else:
            write_atomically(results / f"{keys[index]}.json", json.dumps(result, indent=1))
        known.update(dict.fromkeys(numbers, result))
        for number in numbers:
            count += 1
            points = f"{marks.total(result):g} of {assignment.points:g}"
            line = f"[{count}/{left}] {found[number].name}: {points}  {result['reason']}"
            print("".join(c if c.isprintable() else "?" for c in line), flush=True)
    if keys:
        seconds = time.perf_counter() - began
        ran = marks.counted(len(keys), "notebook")
        print(f"{ran} in {seconds:.1f} s, {60 * len(keys) / seconds:.0f} per minute\n", flush=True)
    return failures


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())

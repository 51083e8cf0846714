"""The summary of a class: how the points are spread, what was missed, and which checks tell students apart."""

import collections
import statistics
import textwrap

from . import hypertext, marks
from .grade import NOT_RUN
from .hypertext import escape

BINS = 10
SENTENCES, LONGEST = 3, 300  # for each check
ENOUGH = 10  # students, for what a correlation says


def _named(result, id):
    """What the notebook's own check, in the cell of that name, found to be wrong: a line for each mistake."""
    lines = {line.strip() for test in result["tests"] if test["id"] == id for line in test["said"].splitlines()}
    return sorted(line for line in lines if line and not line.endswith((": right", ": can be read", ": not attempted")))


def _numbers(assignment, graded):
    """What both summaries say."""
    totals = [marks.total(result) for _, result, _ in graded]
    width = assignment.points / BINS
    bins = collections.Counter(min(int(value / width + 1e-9), BINS - 1) for value in totals)
    spread = [(f"{marks.n(round(i * width, 2))} to {marks.n(round((i + 1) * width, 2))}", bins[i]) for i in range(BINS)]
    missed = collections.Counter()
    said, own = collections.defaultdict(collections.Counter), collections.defaultdict(collections.Counter)
    ran = [result for _, result, _ in graded if any(check["said"] != NOT_RUN for check in result["checks"])]
    for result in ran:
        for check in result["checks"]:
            if not check["points"]:
                missed[check["id"]] += 1
                said[check["id"]][check["said"]] += 1
                own[check["id"]].update(_named(result, check["id"]))
    hardest = [
        (id, count, said[id].most_common(SENTENCES), own[id].most_common(SENTENCES))
        for id, count in missed.most_common()
    ]
    reasons = [(submission.name, result["reason"]) for submission, result, _ in graded if result["reason"]]
    head = f"{marks.counted(len(totals), 'submission')}, {_middle(totals)} of {marks.n(assignment.points)} points"
    head += f"; {len(totals) - len(ran)} that did not run count as 0" if len(ran) < len(totals) else ""
    heads = [head]
    whole = [points for one in graded if (points := marks.with_manual(assignment, *one[1:])) is not None]
    if whole and assignment.manual:
        most = assignment.points + sum(part.points for part in assignment.manual)
        heads.append(f"with what a person marks: {len(whole)} submissions, {_middle(whole)} of {marks.n(most)} points")
    return heads, spread, hardest, reasons, len(ran)


def _middle(points):
    """The quartiles and the mean of some points."""
    low, middle, high = statistics.quantiles(points * 2 if len(points) == 1 else points, n=4, method="inclusive")
    quarters = f"{marks.n(round(low, 2))} to {marks.n(round(high, 2))}"
    mean = marks.n(round(statistics.mean(points), 2))
    return f"median {marks.n(round(middle, 2))}, middle half from {quarters}, mean {mean}"


def apart(assignment, graded):
    """How each check, and each part that a person marks, goes with the points for all others.

    Parameters
    ----------
    assignment : Assignment
    graded : list of (Submission, dict, list of str)
        Who sent what, what came of it, and what a person entered.

    Returns
    -------
    list of (str, str, int, float or None)
        Id, average points of those that there are, number of students, correlation with the rest; None where fewer
        than `ENOUGH` students have points for it, or all have the same. Only those whose notebook ran are counted, and
        only parts that are marked for all of them are the rest.
    """
    students = []
    for _, result, entered in graded:
        if any(check["said"] != NOT_RUN for check in result["checks"]):
            points = {check["id"]: check["points"] for check in result["checks"]}
            for part, mark in zip(assignment.manual, entered, strict=True):
                if marks.counts(part, mark) or not (mark or marks.written(part, result)):
                    points[part.id] = marks.number(mark or "0")
            students.append(points)
    rows, parts = [], [*assignment.checks, *assignment.manual]
    complete = {part.id for part in parts if all(part.id in points for points in students)}
    for part in parts:
        others = complete - {part.id}
        own = [(one[part.id], sum(one[id] for id in others)) for one in students if part.id in one]
        mean = f"{marks.n(round(statistics.mean(one for one, _ in own), 2))} of {marks.n(part.points)}" if own else ""
        varies = len(own) >= ENOUGH and all(len(set(values)) > 1 for values in zip(*own, strict=True))
        rows.append((part.id, mean, len(own), statistics.correlation(*zip(*own, strict=True)) if varies else None))
    return rows


def text(assignment, graded):
    """The summary for a terminal."""
    heads, spread, hardest, reasons, ran = _numbers(assignment, graded)
    lines = [f"{assignment.name}, variant {assignment.variant}: {heads[0]}", *heads[1:], "", "points"]
    lines += [f"  {name:>12}  {'#' * count} {count}" for name, count in spread]
    if hardest:
        lines += ["", "most missed checks, and what was said most often"]
        for id, count, said, own in hardest:
            lines.append(f"  {id}: {count} of {ran} that ran")
            for sentence, times in [*said, *((f"its own check: {sentence}", times) for sentence, times in own)]:
                lines.append(f"    {times} x {textwrap.shorten(sentence, 110, placeholder=' …')}")
    if reasons:
        lines += ["", "what could not be run, or not to its end"]
        lines += [f"  {name}: {reason}" for name, reason in reasons]
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines) + "\n"


def _times(sentences):
    return "\n".join(f"{times} × {sentence[:LONGEST]}" for sentence, times in sentences)


def page(assignment, graded):
    """The summary as HTML."""
    heads, spread, hardest, reasons, ran = _numbers(assignment, graded)
    most = max(count for _, count in spread)
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{count}</td>'
        f'<td><span class="bar" style="width: {300 * count // most}px"></span></td></tr>'
        for name, count in spread
    )
    parts = [*(f"<p>{escape(head)}</p>" for head in heads), "<h2>Points</h2>", f"<table><tbody>{rows}</tbody></table>"]
    if hardest:
        parts.append("<h2>Most missed checks</h2>")
        rows = [(id, count, _times(said), _times(own)) for id, count, said, own in hardest]
        heads = ["check", f"#missed, of {ran}", "what was said most often", "what the notebooks' own checks said"]
        parts.append(hypertext.table(heads, rows))
    rows = [(*row, "" if r is None else f"{r:.2f}") for *row, r in apart(assignment, graded)]
    parts += [
        "<h2>What tells students apart</h2>",
        "<p>The correlation of the points for one part with the points for all others, among the students whose "
        "notebook ran. Near 1, those who get these points have most of the others, too; near 0 or below, the part asks "
        "for something else, or something is wrong with it. It is empty where fewer than "
        f"{ENOUGH} students have points, or all have the same.</p>",
        hypertext.table(["part", "#average", "#students", "#correlation with the rest"], rows),
    ]
    if reasons:
        parts += ["<h2>Not run, or not to the end</h2>", hypertext.table(["student", "reason"], reasons)]
    return hypertext.page(f"{assignment.name}, variant {assignment.variant}", *parts)

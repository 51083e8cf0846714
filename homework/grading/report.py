"""Tables and pages of the grades: for the instructor, and one for each student."""

import collections
import html
import io
import statistics
import textwrap
import zipfile

from utils.files import write_atomically

from . import marks
from .cells import whole
from .files import is_ours, replace
from .grade import NOT_RUN
from .roster import import_table
from .senders import returned
from .submissions import safe
from .tables import cell

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #ccc; }
td.n, th.n { text-align: right; white-space: nowrap; }
pre { background: #f4f4f4; padding: .6rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
td, .lines { white-space: pre-line; }
.bar { background: #0072b2; height: 1rem; display: inline-block; vertical-align: middle; }
.reason { border-left: .3rem solid #d55e00; padding: .3rem .8rem; background: #fdf3ec; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
BINS = 10
SENTENCES, LONGEST = 3, 300  # for each check, in the summary


def _e(value):
    text = str(value)
    return html.escape("".join(c for c in text if c in "\n\t" or (c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF)))


def _page(title, *parts):
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_e(title)}</title><style>{STYLE}</style></head><body>\n<h1>{_e(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _table(heads, rows):
    """Rows of cells that are escaped here; a head that starts with # is a column of numbers."""
    kinds = [' class="n"' if head.startswith("#") else "" for head in heads]
    top = "".join(f"<th{kind}>{_e(head.lstrip('#'))}</th>" for kind, head in zip(kinds, heads, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{_e(value)}</td>" for kind, value in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>"


def feedback(assignment, submission, result, entered):
    """The page for one student, with the points that a person entered; it runs nothing, and needs no other file."""
    parts = [
        f"<p>{_e(submission.name)} · {_e(submission.origin)} · variant {_e(assignment.variant)}</p>",
    ]
    if not result.get("failed"):
        parts.append(
            f"<p><strong>{marks.n(marks.total(result))} of {marks.n(assignment.points)} points</strong> from the checks"
            + (", without what a person marks." if assignment.manual else ".")
            + "</p>"
        )
    if assignment.manual and (points := marks.with_manual(assignment, result, entered)) is not None:
        most = assignment.points + sum(part.points for part in assignment.manual)
        parts.append(f"<p><strong>{marks.n(points)} of {marks.n(most)} points</strong> in all.</p>")
    if result["reason"]:
        parts.append(f'<p class="reason">{_e(result["reason"])}</p>')
    rows = [(c["id"], c["about"], f"{marks.n(c['points'])} / {marks.n(c['of'])}", c["said"]) for c in result["checks"]]
    parts += ["<h2>Checks</h2>", _table(["check", "what", "#points", "result"], rows)]
    if notes := [*submission.notes, *result["notes"]]:
        parts += ["<h2>About the notebook</h2>", "<ul>", *(f"<li>{_e(note)}</li>" for note in notes), "</ul>"]
    if result["tests"]:
        rows = [
            (t["id"], t["said"] or "it printed nothing" if t["status"] == "ok" else t["error"] or t["status"])
            for t in result["tests"]
        ]
        parts += [
            "<h2>What the notebook's own checks said</h2>",
            "<p>They know the usual mistakes by name. They do not count; the checks above do.</p>",
            _table(["cell", "what it said"], rows),
        ]
    wrong = [cell for cell in result["cells"] if cell["status"] != "ok"]
    if wrong:
        rows = [(f"{c['number']} {c['grade_id']}", c["error"] or c["status"]) for c in wrong]
        parts += ["<h2>Cells that did not run through</h2>", _table(["code cell", "what it said"], rows)]
    shown = {test["id"]: test["said"] for test in result["tests"]}
    outputs = [(cell, cell["output"].strip()) for cell in result["cells"]]
    printed = [cell for cell, text in outputs if text and text != shown.get(cell["grade_id"])]
    if printed:
        parts.append("<h2>What cells printed</h2>")
        parts += [f"<p>Code cell {c['number']} {_e(c['grade_id'])}</p><pre>{_e(c['output'])}</pre>" for c in printed]
    for part, mark in zip(assignment.manual, entered, strict=True):
        text = result["manual"].get(part.id)
        of = marks.n(part.points)
        marked = marks.counts(part, mark)
        head = f"Marked: {part.id}, {mark} of {of} points" if marked else f"To be marked: {part.id} ({of} points)"
        parts += [
            f"<h2>{_e(head)}</h2>",
            f'<p class="lines">{_e(part.rubric)}</p>',
        ]
        if text is None:
            parts.append("<p>Not read: the reason is at the top of this page.</p>")
        else:
            parts.append(f"<pre>{_e(text)}</pre>" if marks.written(part, result) else "<p>Nothing was written.</p>")
    return _page(f"{assignment.name}: {submission.name}", *parts)


def _named(result, id):
    """What the notebook's own check, in the cell of that name, found to be wrong: a line for each mistake."""
    lines = {line.strip() for test in result["tests"] if test["id"] == id for line in test["said"].splitlines()}
    return sorted(line for line in lines if line and not line.endswith((": right", ": can be read", ": not attempted")))


def _numbers(assignment, graded):
    """What both summaries say."""
    totals = [marks.total(result) for _, result in graded]
    width = assignment.points / BINS
    bins = collections.Counter(min(int(value / width + 1e-9), BINS - 1) for value in totals)
    spread = [(f"{marks.n(round(i * width, 2))} to {marks.n(round((i + 1) * width, 2))}", bins[i]) for i in range(BINS)]
    missed = collections.Counter()
    said, own = collections.defaultdict(collections.Counter), collections.defaultdict(collections.Counter)
    ran = [result for _, result in graded if any(check["said"] != NOT_RUN for check in result["checks"])]
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
    reasons = [(submission.name, result["reason"]) for submission, result in graded if result["reason"]]
    middle = f"median {marks.n(round(statistics.median(totals), 2))}, mean {marks.n(round(statistics.mean(totals), 2))}"
    head = f"{len(totals)} submissions, {middle} of {marks.n(assignment.points)} points"
    head += f"; {len(totals) - len(ran)} that did not run count as 0" if len(ran) < len(totals) else ""
    return head, spread, hardest, reasons, len(ran)


def summary_text(assignment, graded):
    """The summary for a terminal."""
    head, spread, hardest, reasons, ran = _numbers(assignment, graded)
    lines = [f"{assignment.name}, variant {assignment.variant}: {head}", "", "points"]
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


def summary_page(assignment, graded):
    """The summary as HTML."""
    head, spread, hardest, reasons, ran = _numbers(assignment, graded)
    most = max(count for _, count in spread)
    rows = "".join(
        f'<tr><td>{_e(name)}</td><td class="n">{count}</td>'
        f'<td><span class="bar" style="width: {300 * count // most}px"></span></td></tr>'
        for name, count in spread
    )
    parts = [f"<p>{_e(head)}</p>", "<h2>Points</h2>", f"<table><tbody>{rows}</tbody></table>"]
    if hardest:
        parts.append("<h2>Most missed checks</h2>")
        rows = [(id, count, _times(said), _times(own)) for id, count, said, own in hardest]
        heads = ["check", f"#missed, of {ran}", "what was said most often", "what the notebooks' own checks said"]
        parts.append(_table(heads, rows))
    if reasons:
        parts += ["<h2>Not run, or not to the end</h2>", _table(["student", "reason"], reasons)]
    return _page(f"{assignment.name}, variant {assignment.variant}", *parts)


def _feedback_zip(graded, pages):
    """The pages as the zip that the LMS takes, the same in every run."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for submission, _ in graded:
            page = f"{safe(submission.id)}.html"
            name = zipfile.ZipInfo(whole(returned(tuple(submission.origin.split("/")), page)))
            archive.writestr(name, pages[page].encode("utf-8", errors="replace"), zipfile.ZIP_DEFLATED)
    return data.getvalue()


def write(out, assignment, graded, log, roster=None):
    """Write everything below a folder; gives sentences that the instructor should read, which are in the log, too.

    With a roster and who was found in it, the table for the LMS as well.
    """
    manual = [part.id for part in assignment.manual]
    ids = {cell(submission.id) for submission, _ in graded}
    said = marks.keep(out, ids, manual)
    before = marks.entered(out, ids)
    marked = [(*pair, marks.marks_of(assignment, pair[0], before)) for pair in graded]
    said += [*marks.doubts(assignment, marked), *marks.unmarked(assignment, marked)]
    pages = {f"{safe(student.id)}.html": feedback(assignment, student, *more) for student, *more in marked}
    kept, others = [], []
    for page in sorted((out / "feedback").glob("*.html")):
        if page.name not in pages and is_ours(out, f"feedback/{page.name}"):
            page.unlink()
        elif page.name not in pages:
            others.append(page.name)
    files = {f"feedback/{name}": page for name, page in pages.items()}
    files["feedback.zip"] = _feedback_zip(graded, pages)
    if roster:
        most = assignment.points + sum(part.points for part in assignment.manual)
        points = {one: marks.with_manual(assignment, result, entered) for one, result, entered in marked}
        name, table, more = import_table(*roster, assignment.name, points, most)
        files, said = {**files, name: table}, [*said, *more]
    files |= {"summary.html": summary_page(assignment, graded), "summary.txt": summary_text(assignment, graded)}
    for name, text in files.items():
        kept += replace(out, name, text)
    if kept:
        said.append(f"files that the grader did not write, or that were changed since, are kept: {', '.join(kept)}")
    if others:
        said.append(f"feedback/ has pages of nobody here, which the grader does not remove: {', '.join(others)}")
    lines = "".join(f"{' '.join(line.split())}\n" for line in [*log, *said])
    said += [f"a log.txt of somebody else is kept: {name}" for name in replace(out, "log.txt", lines)]
    table = marks.grades(assignment, marked)
    write_atomically(out / marks.LAST_TABLE, table)
    write_atomically(out / "grades.csv", table)
    return said

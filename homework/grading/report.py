"""Tables and pages of the grades: for the instructor, and one for each student."""

import io
import zipfile

from utils.files import write_atomically

from . import hypertext, marks, similar, summary
from .cells import whole
from .files import is_ours, replace
from .hypertext import escape
from .roster import import_table
from .senders import returned
from .submissions import safe
from .tables import cell


def feedback(assignment, submission, result, entered, changed=()):
    """The page for one student, with the points that a person entered; it runs nothing, and needs no other file.

    It names the parts whose answers changed after their points were entered.
    """
    parts = [
        f"<p>{escape(submission.name)} · {escape(submission.origin)} · variant {escape(assignment.variant)}</p>",
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
        parts.append(f'<p class="reason">{escape(result["reason"])}</p>')
    rows = [(c["id"], c["about"], f"{marks.n(c['points'])} / {marks.n(c['of'])}", c["said"]) for c in result["checks"]]
    parts += ["<h2>Checks</h2>", hypertext.table(["check", "what", "#points", "result"], rows)]
    if notes := [*submission.notes, *result["notes"]]:
        parts += ["<h2>About the notebook</h2>", "<ul>", *(f"<li>{escape(note)}</li>" for note in notes), "</ul>"]
    if result["tests"]:
        rows = [
            (t["id"], t["said"] or "it printed nothing" if t["status"] == "ok" else t["error"] or t["status"])
            for t in result["tests"]
        ]
        parts += [
            "<h2>What the notebook's own checks said</h2>",
            "<p>They know the usual mistakes by name. They do not count; the checks above do.</p>",
            hypertext.table(["cell", "what it said"], rows),
        ]
    wrong = [cell for cell in result["cells"] if cell["status"] != "ok"]
    if wrong:
        rows = [(f"{c['number']} {c['grade_id']}", c["error"] or c["status"]) for c in wrong]
        parts += ["<h2>Cells that did not run through</h2>", hypertext.table(["code cell", "what it said"], rows)]
    shown = {test["id"]: test["said"] for test in result["tests"]}
    outputs = [(cell, cell["output"].strip()) for cell in result["cells"]]
    printed = [cell for cell, text in outputs if text and text != shown.get(cell["grade_id"])]
    if printed:
        parts.append("<h2>What cells printed</h2>")
        parts += [
            f"<p>Code cell {c['number']} {escape(c['grade_id'])}</p><pre>{escape(c['output'])}</pre>" for c in printed
        ]
    for part, mark in zip(assignment.manual, entered, strict=True):
        text = result["manual"].get(part.id)
        of = marks.n(part.points)
        marked = marks.counts(part, mark)
        head = f"Marked: {part.id}, {mark} of {of} points" if marked else f"To be marked: {part.id} ({of} points)"
        parts += [
            f"<h2>{escape(head)}</h2>",
            f'<p class="lines">{escape(part.rubric)}</p>',
        ]
        if text is None:
            parts.append("<p>Not read: the reason is at the top of this page.</p>")
        else:
            parts.append(f"<pre>{escape(text)}</pre>" if marks.written(part, result) else "<p>Nothing was written.</p>")
        if part.id in changed:
            parts.append("<p>The answer changed after its points were entered.</p>")
    return hypertext.page(f"{assignment.name}: {submission.name}", *parts)


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
    """Write everything below a folder; gives the summary and sentences for the instructor, which are in the log, too.

    With a roster and who was found in it, the table for the LMS as well.
    """
    manual = [part.id for part in assignment.manual]
    ids = {cell(submission.id) for submission, _ in graded}
    said = marks.keep(out, ids, manual)
    before = marks.entered(out, ids)
    marked = [(*pair, marks.marks_of(assignment, pair[0], before)) for pair in graded]
    said += [*marks.doubts(assignment, marked), *marks.unmarked(assignment, marked)]
    changed, record = marks.read(out, assignment, marked)
    for id, students in changed.items():
        names = ", ".join(student.name for student in students)
        said.append(f"{names}: {id}: the answer changed after its points were entered")
    pages = {}
    for student, *more in marked:
        parts = [id for id, students in changed.items() if student in students]
        pages[f"{safe(student.id)}.html"] = feedback(assignment, student, *more, parts)
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
    for table in sorted({path.name for path in out.glob("for-*.csv")} - set(files)):
        why = "ROSTER is a table of another kind now" if roster else "no ROSTER was given this time"
        said.append(f"{table} is from an earlier run and is not up to date: {why}")
    files["summary.html"], files["summary.txt"] = summary.page(assignment, marked), summary.text(assignment, marked)
    files["similar.html"], count = similar.page(assignment, graded)
    if count:
        pairs = "1 pair or group" if count == 1 else f"{count} pairs or groups"
        said.append(f"similar.html has {pairs} of answers that are alike: look yourself")
    for name, text in files.items():
        kept += replace(out, name, text)
    if kept:
        said.append(f"files that the grader did not write, or that were changed since, are kept: {', '.join(kept)}")
    if others:
        said.append(f"feedback/ has pages of nobody here, which the grader does not remove: {', '.join(others)}")
    lines = "".join(f"{' '.join(line.split())}\n" for line in [*log, *said])
    said += [f"a log.txt of somebody else is kept: {name}" for name in replace(out, "log.txt", lines)]
    last = out / "grades.csv"
    table = marks.grades(assignment, marked, last.read_bytes() if last.exists() else b"")
    write_atomically(out / marks.READ, record)
    write_atomically(out / marks.LAST_TABLE, table)
    write_atomically(last, table)
    return files["summary.txt"], said

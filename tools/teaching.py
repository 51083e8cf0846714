"""Notes for the teacher, from data/teaching: plans by the minute, usual wrong answers, and what tests each goal."""

import re
import tomllib
from dataclasses import dataclass

import nbformat
from collected import Section, sections, slug, summary
from execute import find_notebooks
from guard import ROOT
from minutes import FIGURE, LINES, PREDICTION, VERDICT, WORDS, minutes, optional_minutes

from utils import evidence

FOLDER = ROOT / "data" / "teaching"
HOMEWORK = ROOT / "homework" / "release"
EXAM = ROOT / "site" / "teach_exam.md"
# Minutes that a lecturer needs beyond a reader: for the hands and reasons at a prediction, for an edit, for running a
# section and looking up, and for a claim with its card.
HANDS, EDIT, RUN, CLAIM = 2, 1, 1, 8
MINUTES = f"""\
The minutes of a section are counted for a *reader*: {WORDS} words or {LINES} lines of code per minute, {PREDICTION}
minutes per prediction, {FIGURE} per figure and {VERDICT} per card, rounded up for each section. A lecturer needs more.
The plans add {HANDS} minutes per prediction for hands and reasons, {EDIT} per change that is made, and {RUN} per
section that is run live. A claim from the record counts {CLAIM} minutes.
"""
FRONT = "Title, goals and setup"
PREDICT, CHANGE = "**Predict.**", "**Change this.**"


@dataclass(frozen=True)
class Lesson:
    """A lesson: what its notebook says about itself, its cells by id, its sections by the id of their first cell."""

    summary: object
    cells: dict
    sections: dict


@dataclass(frozen=True)
class Row:
    """One row of a plan: minutes, what is taught (Markdown), and how, which is empty for talk."""

    minutes: int
    what: str
    how: str


def lessons():
    """The lessons by their two digits. What stands before the first H2 is a section, too."""
    found = {}
    for path in find_notebooks([]):
        notebook = nbformat.read(path, as_version=4)
        parts = sections(notebook)
        front = notebook.cells[: len(notebook.cells) - sum(len(part.cells) for part in parts)]
        parts = [Section(FRONT, tuple(front)), *parts]
        cells = {cell.id: cell for cell in notebook.cells}
        found[path.stem[:2]] = Lesson(summary(path), cells, {part.cells[0].id: part for part in parts})
    return found


def read(name):
    """A file of data/teaching as a dict."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def _count(part, words):
    return sum(words in cell.source for cell in part.cells if cell.cell_type == "markdown")


def reading_minutes(part):
    """The minutes of a section for a reader, as tools/minutes.py counts them; those of an optional one as well."""
    return minutes(part) + optional_minutes(part)


def _times(number, word):
    return [f"{number} {word}{'s' * (number > 1)}"] * bool(number)


def _section_row(manner, name, known):
    number, _, cell = name.partition(" ")
    if number not in known or cell not in known[number].sections:
        raise ValueError(f"plans.toml: expected lesson and first cell of a section, got {name!r}: correct the item")
    part, live = known[number].sections[cell], manner == "live"
    predictions, changes = _count(part, PREDICT), _count(part, CHANGE) * live
    cards = sum("evidence.recorded(" in each.source for each in part.cells)
    runs = live and any(each.cell_type == "code" for each in part.cells)
    how = _times(predictions, "prediction")
    stored = part.title != FRONT and any(each.get("outputs") for each in part.cells)
    how += {"live": ["run live"] * runs, "show": ["show from the record"] * stored, "board": ["on the board"]}[manner]
    how += _times(changes, "change") + _times(cards, "card")
    spent = reading_minutes(part) + HANDS * predictions + EDIT * changes + RUN * runs
    page = f"notebooks/{known[number].summary.stem}.ipynb"
    anchor = "" if part.title == FRONT else f"#{slug(part.title)}"
    return Row(spent, f"[{number}]({page}{anchor}) {part.title}", ", ".join(how))


def _record_row(name):
    claims = evidence.claims()
    if name not in claims:
        raise ValueError(f"plans.toml: expected the id of a claim, got {name!r}: see data/claims.toml")
    lab = f"[lab {claims[name].lab[:2]}](notebooks/labs/{claims[name].lab}.ipynb)"
    return Row(CLAIM, f"{claims[name].statement.removesuffix('.')} ({lab})", "ask for the verdict, then show the card")


def row(item, known):
    """The row of one item of a session; a ValueError says what is wrong with it."""
    (manner, value), *more = item.items()
    if manner in ("live", "show", "board") and not more:
        return _section_row(manner, value, known)
    if manner == "record" and not more:
        return _record_row(value)
    if manner == "talk" and [key for key, _ in more] == ["minutes"]:
        return Row(item["minutes"], value, "")
    raise ValueError(f"plans.toml: expected live, show, board, record, or talk with minutes, got {item}: correct it")


def session_rows(session, length, known):
    """The rows of a session; a ValueError if they take longer than `length` minutes."""
    rows = [row(item, known) for item in session["items"]]
    if (spent := sum(each.minutes for each in rows)) > length:
        raise ValueError(f"{session['title']}: expected at most {length} minutes, got {spent}: shorten the session")
    return rows


def _session(title, rows, length):
    lines, clock = [], 0
    for each in rows:
        how = f"*{each.how.capitalize()}.*" if each.how else ""
        lines.append(f"| {clock // 60}:{clock % 60:02} | {each.minutes} | {each.what}. {how} |")
        clock += each.minutes
    left = f"It takes {clock} of {length} minutes." if clock < length else f"It takes all {length} minutes."
    return "\n".join([f"### {title}", "", left, "", "| at | min | what and how |", "|---|---|---|", *lines])


def plans_part(plans, known):
    """The plans as Markdown, one table per session."""
    parts = []
    for plan in plans:
        parts.append(f"## {plan['title']}\n\n{plan['about']}")
        many = len(plan["session"]) > 1
        for number, session in enumerate(plan["session"], start=1):
            title = f"{number}. {session['title']}" if many else session["title"]
            parts.append(_session(title, session_rows(session, plan["length"], known), plan["length"]))
    return "\n\n".join(parts)


def _prediction(lesson, cell):
    """Question and answer of a prediction, as its lesson words them."""
    asked = re.search(rf"{re.escape(PREDICT)} (.+?)(?:\n\n|\Z)", lesson.cells[cell].source, re.DOTALL)
    after = list(lesson.cells)[list(lesson.cells).index(cell) :]
    text = "\n".join(lesson.cells[each].source for each in after)
    answer = re.search(r"<details><summary>Answer.*?</summary>\s*(.+?)\s*</details>", text, re.DOTALL)
    return asked[1].strip(), answer[1]


def _where(lesson, cell):
    return next(part for part in lesson.sections.values() if any(each.id == cell for each in part.cells))


def check_predictions(notes, known):
    """Raise a ValueError unless every prediction has its notes and no notes are without a prediction."""
    asked = {
        f"{number} {cell.id}"
        for number, lesson in known.items()
        for cell in lesson.cells.values()
        if cell.cell_type == "markdown" and PREDICT in cell.source
    }
    if missing := sorted(asked - set(notes)):
        raise ValueError(f"predictions.toml: expected notes on {', '.join(missing)}, found none: add their tables")
    if orphans := sorted(set(notes) - asked):
        raise ValueError(f"predictions.toml: found {', '.join(orphans)}, which no lesson asks: rename or remove them")
    for name, note in notes.items():
        if set(note) != {"wrong", "say"} or not note["wrong"] or any(len(pair) != 2 for pair in note["wrong"]):
            raise ValueError(f"predictions.toml, {name}: expected wrong = [[answer, why], …] and say: correct it")


def predictions_part(notes, known):
    """For each prediction its question, the right answer, the usual wrong ones and what to say, as Markdown."""
    check_predictions(notes, known)
    parts = []
    for number, lesson in known.items():
        page = f"notebooks/{lesson.summary.stem}.ipynb"
        parts.append(f"## {number} {lesson.summary.title}")
        for name in (each for each in lesson.cells if f"{number} {each}" in notes):
            note, title = notes[f"{number} {name}"], _where(lesson, name).title
            asked, answer = _prediction(lesson, name)
            lines = [f"### Section {title}", f"{asked} [In the lesson]({page}#{slug(title)})"]
            lines.append("\n".join(f"- **{wrong}.** {why}" for wrong, why in note["wrong"]))
            lines += [f"**Say.** {note['say']}", f"<details><summary>Right answer</summary>\n\n{answer}\n\n</details>"]
            parts.append("\n\n".join(lines))
        titles = [each.title for each in lesson.sections.values() if _count(each, CHANGE)]
        links = [f"[{title}]({page}#{slug(title)})" for title in titles]
        parts.append(f"Changes, each with its answer below it: {'; '.join(links)}.")
    return "\n\n".join(parts)


def goal_names(lesson):
    """The goals of a lesson by their first word in italics."""
    return {re.match(r"\*(.+?)\*", goal)[1]: goal for goal in lesson.summary.goals}


def tasks():
    """What gives points in the homework: "hw01 fit-scores" to (its section, points)."""
    found = {}
    for path in sorted(HOMEWORK.glob("*/*.ipynb")):
        for part in sections(nbformat.read(path, as_version=4)):
            for cell in part.cells:
                if points := cell.metadata.get("nbgrader", {}).get("points"):
                    found[f"{path.stem} {cell.id}"] = (re.sub(r" \(\d+ points\)$", "", part.title), points)
    return found


def exam_titles():
    """The exam questions: "exam 1" to its heading."""
    heads = re.findall(r"^## ((\d+)\. .+)$", EXAM.read_text(encoding="utf-8"), re.MULTILINE)
    return {f"exam {number}": title for title, number in heads}


def _tests(names, known_tasks, exam):
    """The tasks and questions of one goal in words; those of one task together."""
    found = {}
    for name in names:
        if name in exam:
            found[f"[exam {exam[name]}](teach_exam.md#{slug(exam[name])})"] = None
        elif name in known_tasks:
            title, points = known_tasks[name]
            key = f"homework {int(name[2:4])}, {title}"
            found[key] = found.get(key, 0) + points
        else:
            raise ValueError(f"goals.toml: expected a cell with points or an exam question, got {name!r}: correct it")
    return "; ".join(key if points is None else f"{key} ({points} points)" for key, points in found.items())


def goals_part(goals, known):
    """Each goal with the tasks and exam questions that test it, one table per lesson, as Markdown."""
    parts, known_tasks, exam = [], tasks(), exam_titles()
    for number, lesson in known.items():
        named = goal_names(lesson)
        if list(goals.get(number, {})) != list(named):
            got = ", ".join(goals.get(number, {}))
            raise ValueError(f"goals.toml, {number}: expected the goals {', '.join(named)}, got {got}: correct it")
        lines = [f"## {number} {lesson.summary.title}", "", "| goal | tested by |", "|---|---|"]
        for name, goal in named.items():
            tested = _tests(goals[number][name], known_tasks, exam)
            lines.append(f"| {goal} | {tested or 'no task: ask in class'} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def all_parts():
    """The parts of the site's pages for teachers, by name."""
    known = lessons()
    return {
        "teaching-minutes": MINUTES,
        "teaching-plans": plans_part(read("plans")["plan"], known),
        "teaching-predictions": predictions_part(read("predictions"), known),
        "teaching-goals": goals_part(read("goals"), known),
    }

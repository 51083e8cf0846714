"""Which answers are alike: rows of tokens that two students share, and not the class, the stub or the lessons."""

import collections
import functools
import io
import itertools
import keyword
import re
import tokenize

from . import hypertext
from .assignment import ROOT
from .cells import SOLUTION, NotebookError, read_notebook, released
from .recognize import STUBS
from .restore import restore

RUN, WORDS = 10, 5  # tokens of code, or words, in a row that make a fingerprint
COMMON, ALWAYS = 0.1, 3  # what this part of a class has, and more than so many, is nobody's own
FEWEST, LEAST = 15, 0.3  # fingerprints of one's own that two share, and their part of the smaller answer
MOST_PAIRS, MOST_CELLS, LONGEST_TEXT = 30, 100, 20_000
CODE = "code"
WORD = re.compile(r"[^\W_]+")


def tokens(text):
    """The tokens of a piece of code with their lines.

    Parameters
    ----------
    text : str
        Python, which may be broken off or wrong.

    Returns
    -------
    list of (str, int)
        Without comments, blanks and what names, numbers and strings say; attributes keep their names.
    """
    found, before = [], ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            named = keyword.iskeyword(token.string) or before == "."
            kept = {
                tokenize.NAME: token.string if named else "name",
                tokenize.NUMBER: "0",
                tokenize.STRING: "text",
                tokenize.OP: token.string,
            }.get(token.type)
            found += [(kept, token.start[0])] if kept else []
            before = token.string
    except (tokenize.TokenError, SyntaxError, ValueError):
        pass  # what comes before the fault counts
    return found


def words(text):
    """The words of a text with their lines."""
    lines = enumerate(text.splitlines(), start=1)
    return [(word.casefold(), number) for number, line in lines for word in WORD.findall(line)]


def prints(found, run):
    """The fingerprint of each place at which so many tokens in a row begin."""
    texts = [token for token, _ in found]
    return [hash(tuple(texts[i : i + run])) for i in range(len(texts) - run + 1)]


@functools.cache
def lessons():
    """The fingerprints of the lessons and of the modules that they import: of code and of words."""
    code, text = set(), set()
    for path in sorted((ROOT / "notebooks").glob("0*.ipynb")):
        for cell in read_notebook(path.read_bytes()).cells:
            code |= set(prints(tokens(cell.source), RUN)) if cell.kind == "code" else set()
            text |= set(prints(words(cell.source), WORDS)) if cell.kind != "code" else set()
    for path in sorted(part for name in ("byhand", "lab", "evidence") for part in (ROOT / "utils" / name).glob("*.py")):
        code |= set(prints(tokens(path.read_text(encoding="utf-8")), RUN))
    return frozenset(code), frozenset(text)


class _Answers:
    """What one student wrote: texts by kind and by cell, and for each kind the lines on which a fingerprint begins."""

    def __init__(self, name, texts):
        self.name, self.texts, self.places = name, texts, {}

    def read(self, known):
        """Find all fingerprints that are not known."""
        for kind, parts in self.texts.items():
            split, run = (tokens, RUN) if kind == CODE else (words, WORDS)
            places = self.places[kind] = {}
            for part, text in parts:
                found = split(text)
                for at, one in enumerate(prints(found, run)):
                    if one not in known[kind == CODE]:
                        places.setdefault(one, []).append((part, found[at][1], found[at + run - 1][1]))


def _answers(assignment, submission, result):
    """What a student wrote; None if it cannot be read."""
    try:
        notebook = read_notebook(submission.path.read_bytes())
    except (NotebookError, OSError, AttributeError):
        return None
    cells, _ = restore(notebook.cells, assignment.cells)
    own = [cell for cell in cells if cell.kind == "code" and not cell.locked][:MOST_CELLS]
    names = [f"{n}: {cell.grade_id or 'a cell of their own'}" for n, cell in enumerate(own, start=1)]
    code = [(name, cell.source[:LONGEST_TEXT]) for name, cell in zip(names, own, strict=True)]
    texts = {id: [(id, text)] for id, text in result["manual"].items()}
    return _Answers(f"{submission.name} ({submission.origin})", {CODE: code, **texts})


def pairs(assignment, graded):
    """Find the pairs of students whose answers are most alike.

    Parameters
    ----------
    assignment : Assignment
    graded : iterable of (Submission, dict)
        Who sent what, and what came of it.

    Returns
    -------
    list of (float, str, _Answers, _Answers, set)
        The part of the smaller answer that both have, which kind of answer it is, whose, and the fingerprints; most
        alike first. What stands in the notebook as given out or in the lessons, and what many of the class have, does
        not count.
    """
    return _alike(assignment, graded)[0]


def _alike(assignment, graded):
    """The pairs, and the groups that are too many to be pairs: which kind of answer they share, and whose it is."""
    code, text = (set(part) for part in lessons())
    for cell in assignment.cells:
        code |= set(prints(tokens(SOLUTION.sub(f"{STUBS[0]}\n", cell.source)), RUN))
        text |= set(prints(words(released(cell).source), WORDS))
    read = [_answers(assignment, submission, result) for submission, result in graded]
    everybody = [one for one in read if one]
    most, found, groups = max(ALWAYS, COMMON * len(everybody)), [], []
    for one in everybody:
        one.read((text, code))
    for kind in dict.fromkeys(kind for one in everybody for kind in one.texts):
        have = collections.defaultdict(list)
        for number, one in enumerate(everybody):
            for mark in one.places.get(kind, ()):
                have[mark].append(number)
        sizes, shared = collections.Counter(), collections.defaultdict(set)
        for numbers, count in collections.Counter(map(tuple, have.values())).items():
            smallest = min(len(everybody[number].places[kind]) for number in numbers)
            if len(numbers) > most and count >= max(FEWEST, LEAST * smallest):
                groups.append((kind, [everybody[number] for number in numbers]))
        for mark, numbers in have.items():
            if len(numbers) <= most:
                sizes.update(numbers)
                for pair in itertools.combinations(numbers, 2):
                    shared[pair].add(mark)
        for (one, other), marks in shared.items():
            part = len(marks) / min(sizes[one], sizes[other])
            if len(marks) >= FEWEST and part >= LEAST:
                found.append((part, kind, everybody[one], everybody[other], marks))
    return sorted(found, key=lambda one: (-one[0], -len(one[4]))), groups


def _side(answers, kind, marks):
    """The cells of one student that share something, with the lines that do."""
    lines = collections.defaultdict(set)
    for mark in marks:
        for part, first, last in answers.places[kind][mark]:
            lines[part].update(range(first, last + 1))
    cells = [f"<p>{hypertext.escape(answers.name)}</p>"]
    for part, text in answers.texts[kind]:
        if part in lines:
            rows = [hypertext.escape(row) for row in text.splitlines()]
            rows = [f"<mark>{row}</mark>" if n in lines[part] else row for n, row in enumerate(rows, start=1)]
            cells += [f"<p>{hypertext.escape(part)}</p><pre>", "\n".join(rows), "</pre>"]
    return "".join(cells)


def page(assignment, graded):
    """The page of similar answers, and how many pairs and groups are on it.

    Parameters
    ----------
    assignment, graded
        As in `pairs`.

    Returns
    -------
    text : str
        HTML.
    count : int
    """
    found, groups = _alike(assignment, graded)
    shown = found[:MOST_PAIRS]
    more = f" The {MOST_PAIRS} most similar of {len(found)} pairs are shown." if len(found) > len(shown) else ""
    parts = [
        "<p>These answers are similar: look yourself. That two answers are alike says nothing about why they are. What "
        "stands in the notebook as it was given out or in the lessons does not count, nor what more than a tenth of "
        f"the class has, and more than {ALWAYS} students. Names, numbers and comments in code may differ.{more}</p>"
    ]
    for kind, students in groups:
        names = ", ".join(student.name for student in students)
        line = f"{kind}: {len(students)} students share an answer and are not shown as pairs: {names}"
        parts.append(f"<p>{hypertext.escape(line)}</p>")
    for part, kind, one, other, marks in shown:
        what = "their code" if kind == CODE else f"their words ({kind})"
        title = f"{one.name} and {other.name}: {100 * part:.0f} % of {what}"
        sides = "".join(f"<td>{_side(answers, kind, marks)}</td>" for answers in (one, other))
        parts += [f"<h2>{hypertext.escape(title)}</h2>", f'<table class="two"><tbody><tr>{sides}</tr></tbody></table>']
    if not shown and not groups:
        parts.append("<p>No two answers are similar enough to be shown.</p>")
    return hypertext.page(f"{assignment.name}: similar answers", *parts), len(found) + len(groups)

"""The pages "Follow the lecture": what a lecture says, in its order, and what to open, run and predict for it."""

import html
import re
import textwrap
from dataclasses import dataclass, replace
from functools import cached_property

import evidence_page
from collected import sections
from covered import faults_of_source
from minutes import of_cells
from pages import raw_html, slug
from publish import cell_anchor, css_class, place

HOUR = 60  # minutes
MARKED = "‘{}’"


@dataclass(frozen=True)
class Chapter:
    """A section of a lesson with all of its cells, as the pages need it."""

    lesson: str
    title: str
    cells: tuple

    @property
    def link(self):
        """Where it is, seen from the folder of these pages."""
        return f"../notebooks/{self.lesson}.html#{slug(self.title)}"

    @property
    def name(self):
        """Lesson and heading: 03, 7. Train a network with it."""
        return f"{self.lesson[:2]}, {self.title.removesuffix(' (optional)')}"

    @property
    def minutes(self):
        """How long it takes, counted."""
        return of_cells(self.cells)

    @property
    def time(self):
        """The minutes in words."""
        optional = ", optional" if self.title.endswith("(optional)") else ""
        return f"{self.minutes} min{optional}"

    def question_before(self, names):
        """The id of the cell with the prediction that these cells answer, or None: its answer comes after them."""
        asked = None
        for cell in self.cells:
            if cell.id in names:
                return asked
            if "<details>" in cell.source:
                asked = None
            if "**Predict.**" in cell.source:
                asked = cell.id
        return None


@dataclass(frozen=True)
class Course:
    """What the pages are made from: sources, rows, executed notebooks by stem, verdicts, and terms in Chinese."""

    sources: dict
    rows: dict  # by id
    lessons: dict
    labs: dict
    verdicts: dict  # by the id of the claim
    terms: dict  # English to (simplified, traditional)

    @cached_property
    def chapters(self):
        """Every section of every lesson by lesson/id of the cell with the heading."""
        return {
            f"{stem}/{each.cells[0].id}": Chapter(stem, each.title, each.cells)
            for stem, notebook in self.lessons.items()
            for each in sections(notebook)
        }

    def chapter(self, row):
        """The section of a row; a ValueError where it is gone or headed otherwise."""
        found = self.chapters.get(f"{row.lesson}/{row.section}")
        if found is None:
            raise ValueError(f"{row.id}: {row.lesson} has no section {row.section}: correct data/coverage.toml")
        if found.title != row.heading:
            raise ValueError(
                f"{row.id}: {row.section} is headed {found.title!r}, not {row.heading!r}: correct data/coverage.toml"
            )
        return found

    def said_in(self, stem):
        """The sources that say something that a lesson teaches."""
        return [
            found
            for found in self.sources.values()
            if any(self.rows[name].lesson == stem for said in found.statements for name in said.rows)
        ]

    def faults(self):
        """All that is wrong with the sources, each as a sentence."""
        for found in self.sources.values():
            yield from faults_of_source(found, self.rows)
            said = [self.rows[name] for each in found.statements for name in each.rows if name in self.rows]
            taught = {f"{row.lesson}/{row.section}" for row in said}
            for name in found.hour:
                if name not in taught:
                    yield f"{found.name}, hour: {name} teaches nothing of this source: choose another section"
            if (total := sum(self.chapters[name].minutes for name in found.hour if name in self.chapters)) > HOUR:
                yield f"{found.name}, hour: expected at most {HOUR} minutes, got {total}: leave a section out"
            for stem in found.before:
                if stem not in self.lessons:
                    yield f"{found.name}, before: there is no lesson {stem}: correct the name"


def text(words):
    """Plain text as HTML, `code` as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(words, quote=False))


def _links(course, row, there, names, page):
    """Links to cells of a notebook."""
    known = {cell.id for cell in there}
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"{row.id}: {page} has no cell {missing[0]}: correct data/coverage.toml")
    return ", ".join(f'<a href="../notebooks/{page}.html#{cell_anchor(page, name)}">{name}</a>' for name in names)


def to_open(course, row):
    """Where a row is taught: the section with its minutes, the prediction to ask for, and the cells to run."""
    chapter = course.chapter(row)
    here = {cell.id for cell in chapter.cells}
    run = [name for name in row.cells if name in here]
    judged = [name for name in row.cells if name not in here]
    todo = []
    if asked := chapter.question_before(run):
        todo.append(f"predict: {_links(course, row, chapter.cells, [asked], row.lesson)}")
    if run:
        todo.append(f"run: {_links(course, row, chapter.cells, run, row.lesson)}")
    if judged:
        page, cells = f"labs/{row.lab}", course.labs[row.lab].cells if row.lab in course.labs else ()
        todo.append(f"read in the lab: {_links(course, row, cells, judged, page)}")
    return (
        f'<p><a class="section" href="{chapter.link}">{text(chapter.name)}</a> '
        f'<span class="time">{chapter.time}</span><br>{"; ".join(todo)}</p>'
    )


def told(found):
    """One number of a verdict, of two where it depends: one condition of each word, in words."""
    words = ("holds", "fails") if found.word == "depends" else (found.word,)
    parts = [next((part for part in found.parts if part["word"] == word), None) for word in words]
    return [evidence_page.in_words(part, found) for part in parts if part] or [
        evidence_page.in_words(found.parts[0], found)
    ]


def measured(course, name, seen):
    """The word of a claim, the first sentence of its conclusion and its number; later on the page the word alone."""
    found = course.verdicts.get(name)
    if found is None:
        raise ValueError(f"{name}: expected a claim that a lab judges, found none: correct data/coverage.toml")
    word = f'<a class="verdict {css_class(found.word)}" href="../{place(found.claim)}">{found.word}</a>'
    if name in seen:
        begun = textwrap.shorten(found.claim.statement, 70, placeholder=" …")
        return f'<p>{word} <a class="again" href="#said-{seen[name]}">as above: {text(begun)}</a></p>'
    said = (found.claim.conclusion.get(found.word) or found.claim.statement).split(". ")[0].removesuffix(".") + "."
    numbers = "<br>".join(text(each) for each in told(found))
    return f'<p>{word} {text(said)}</p><details class="source"><summary>numbers</summary>{numbers}</details>'


def _chinese(course, row):
    """The Chinese names of the terms of a row."""
    words = f" {row.what.lower()} "
    found = {term: names for term, names in course.terms.items() if re.search(rf"\b{re.escape(term)}s?\b", words)}
    longest = [term for term in found if not any(term != other and term in other for other in found)]
    return [(term, *found[term]) for term in longest]


def _by_section(rows):
    """One row for each section and lab, with the cells of all that are taught there."""
    found = {}
    for row in rows:
        place = row.lesson, row.section, row.lab
        cells = found[place].cells if place in found else ()
        found[place] = replace(row, cells=tuple(dict.fromkeys((*cells, *row.cells))))
    return found.values()


def statement(course, source, said, number, seen):
    """One statement as a row of the page's table."""
    rows = [course.rows[name] for name in said.rows]
    words = MARKED.format(text(said.quote)) if said.quote else f"<i>paraphrase:</i> {text(said.paraphrase)}"
    language = ' lang="zh"' if said.english else ""
    first = f'<p class="place">{text(source.place(said))}</p><p class="words"{language}>{words}</p>'
    if said.english:
        first += f'<p class="english">In English: {text(said.english)}</p>'
    if source.is_chinese and (names := dict.fromkeys(each for row in rows for each in _chinese(course, row))):
        first += '<p class="source">' + "; ".join(f"{term} {hans} · {hant}" for term, hans, hant in names) + "</p>"
    judged = []
    for name in dict.fromkeys(name for row in rows for name in row.claims):
        judged.append(measured(course, name, seen))
        seen.setdefault(name, number)
    if said.wrong:
        judged.insert(0, f'<p class="wrong"><b>Wrong or left out:</b> {text(said.wrong)}</p>')
    opened = "".join(to_open(course, row) for row in _by_section(rows))
    shown = "".join(judged) or '<p class="source">taught, not judged</p>'
    return (
        f'<tr role="row" id="said-{number}"><td role="cell">{first}</td>'
        f'<td role="cell">{opened}</td><td role="cell">{shown}</td></tr>'
    )


def _table(rows, label):
    heads = ("the lecture", "open, predict, run", "measured")
    head = "".join(f'<th role="columnheader" scope="col">{name}</th>' for name in heads)
    return raw_html(
        f'<table role="table" class="follow table" aria-label="{html.escape(label)}"><thead role="rowgroup">'
        f'<tr role="row">{head}</tr></thead><tbody role="rowgroup">\n' + "\n".join(rows) + "\n</tbody></table>"
    )


def path(course, source):
    """The sections for someone with an hour, with their minutes, as Markdown."""
    chosen = [course.chapters[name] for name in source.hour]
    links = [f'1. <a href="{each.link}">{text(each.name)}</a>, {each.minutes} minutes' for each in chosen]
    return "\n".join(links), sum(each.minutes for each in chosen)


def page(course, source, summaries):
    """The page of one lecture, as Markdown."""
    lessons = {found.stem: found for found in summaries}
    links, total = path(course, source)
    video = f" [Watch it on bilibili]({source.video})." if source.video else ""
    if source.chinese:
        video += f" Its Chinese name is {source.chinese}."
    before = [f"[{lessons[stem].number} {lessons[stem].title}](../notebooks/{stem}.ipynb)" for stem in source.before]
    if before:
        minutes = sum(lessons[stem].minutes for stem in source.before)
        first = f"Read {' and '.join(before)} ({minutes} minutes)."
    else:
        first = f"Nothing of this course; you need {summaries[0].before}."
    entries = "\n\n".join(f"```{{index}} single: ! {word}\n```" for word in source.find)
    parts, seen = [], {}
    for number, said in enumerate(source.statements, 1):
        if said.part or not parts:
            parts.append((said.part or source.short, []))
        parts[-1][1].append(statement(course, source, said, number, seen))
    tables = "\n\n".join(f"## {name}\n\n{_table(rows, name)}" for name, rows in parts)
    return f"""# {source.title}

{entries}

{source.about[0].upper()}{source.about[1:]}.{video} {source.lecturer}

**Before you {"watch" if source.video else "read"}.** {first}

**With an hour**, open these sections; they take {total} minutes:

{links}

**How to read the rows.** They are in the order of the lecture. What stands in ‘ ’ are the words of the source, with its
mistakes; everything else is a paraphrase. Minutes are those of the whole section. *Predict* leads to a question: answer
it before you run the cells. The word after it is that of the [record](../evidence.md), which explains it; it judges the
claim to which it links, which may be more than the statement. T is a short training and 4T one of four times the steps,
a *fair start* one from which the plain network learns, and ∞ what was never reached. Left out: {source.left_out}.

{tables}
"""


def table(course):
    """The lectures with the lessons that go with each, as Markdown."""
    rows = ["| lecture | lessons that go with it | with an hour |", "| --- | --- | --- |"]
    for source in course.sources.values():
        stems = [stem for stem in course.lessons if source in course.said_in(stem)]
        links = ", ".join(f"[{stem[:2]}](notebooks/{stem}.ipynb)" for stem in stems)
        rows.append(f"| [{source.title}](follow/{source.page}.md) | {links} | {path(course, source)[1]} minutes |")
    return "\n".join(rows)


def goes_with(course, stem):
    """The line of a lesson that says which lectures it goes with, as Markdown."""
    links = [f"[{found.short}](../follow/{found.page}.md)" for found in course.said_in(stem)]
    return f"{{.lectures}}\nGoes with the lectures: {', '.join(links)}." if links else ""


def checked(course):
    """The course, if nothing is wrong with its sources; else a ValueError."""
    if faults := list(course.faults()):
        raise ValueError(f"data/coverage.toml: {faults[0]} ({len(faults)} in all)")
    return course


def terms(glossary):
    """English terms of the glossary, in lower case, with their Chinese names, simplified and traditional."""
    entry = r"^\* - (.+)\n  - \[\{index\}`([^`]+)`.*\]\{\.language-zh-Hans\}\n  - \[\{index\}`([^`]+)`.*\]\{"
    found = {}
    for english, hans, hant in re.findall(entry, glossary, re.MULTILINE):
        for name in english.replace("{index}", "").replace("`", "").split(", "):
            if "$" not in name:
                found[name.lower()] = (hans, hant)
    return found

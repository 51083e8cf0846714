"""What the course covers: rows, sources, and what the sources say, as data/coverage.toml has them."""

import hashlib
import re
import tomllib
from dataclasses import MISSING, dataclass, fields

from guard import ROOT

COVERAGE = ROOT / "data" / "coverage.toml"
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class Row:
    """One thing that a lecture says, shows or asks, and where the course teaches, executes and judges it."""

    id: str  # It stays when the wording changes.
    what: str
    lesson: str  # stem of the notebook that teaches it
    section: str  # id of the cell with the heading
    heading: str
    cells: tuple  # ids of the cells of that section, or of the lab, that execute it
    claims: tuple = ()  # of data/claims.toml, which judge it
    lab: str = ""  # stem of the lab with the cards of these claims; the section links it
    ours: bool = False  # no lecture says it


@dataclass(frozen=True)
class Statement:
    """One thing that a source says: its words or a paraphrase, its place, and the rows that teach it."""

    at: int  # number of the paragraph, or of the title in `places`, from one on
    rows: tuple  # ids
    quote: str = ""  # words of the source, cuts marked by …
    paraphrase: str = ""  # ours, where there is no quotation
    english: str = ""  # our translation of a quotation in Chinese
    wrong: str = ""  # what the source gets wrong here or leaves out: a sentence
    part: str = ""  # heading of the part of the lecture that begins here

    @property
    def text(self):
        """The quotation or the paraphrase."""
        return self.quote or self.paraphrase


@dataclass(frozen=True)
class Source:
    """A lecture: how it is called and found, where it can be watched, and what it says, in its order."""

    name: str
    short: str  # for links
    page: str  # of the site: follow/<page>.html
    title: str  # of that page
    about: str
    left_out: str  # what it says and the page has not
    before: tuple  # stems of the lessons to read before
    hour: tuple  # sections for someone with an hour: lesson/id of the cell with the heading
    find: tuple  # words with which the site's search finds the page
    checked: str  # `fingerprint` of the quotations when they were last compared with the source
    statements: tuple = ()
    chinese: str = ""  # its Chinese name
    video: str = ""
    lecturer: str = ""
    paragraphs: int = 0  # of the transcript
    places: tuple = ()  # or the titles of the slides

    @property
    def is_chinese(self):
        """Whether the source itself is in Chinese, or names things in it."""
        return any(CHINESE.search(said.quote) for said in self.statements)

    def place(self, said):
        """The place of a statement in words."""
        if self.places:
            return f"slide “{self.places[said.at - 1]}”"
        return f"paragraph {said.at} of {self.paragraphs}, about {100 * said.at / self.paragraphs:.0f} % in"


def _made(kind, entry, name, renamed=()):
    """An entry of the file as a dataclass; a ValueError says what is missing or unknown."""
    known = {field.name: field for field in fields(kind)}
    needed = {field.name for field in known.values() if field.default is MISSING}
    if missing := needed - set(entry) - set(renamed):
        raise ValueError(f"{name}: expected {', '.join(sorted(needed))}, found no {', '.join(sorted(missing))}: add it")
    if unknown := set(entry) - set(known):
        allowed = ", ".join(sorted(known))
        raise ValueError(f"{name}: expected only {allowed}, found {', '.join(sorted(unknown))}: remove or rename it")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()})


def row(entry):
    """One row from its table; a ValueError says what is missing, unknown or of another form."""
    name = entry.get("id", "a row without an id")
    if "section" in entry:
        try:
            section, heading = (entry["section"][key] for key in ("id", "heading"))
        except (TypeError, KeyError):
            raise ValueError(f"{name}: expected section = {{ id = …, heading = … }}, got something else") from None
        entry = {**entry, "section": section, "heading": heading}
    made = _made(Row, entry, name, renamed=["heading"])
    if made.lab and not made.claims:
        raise ValueError(f"{name}: expected claims beside lab, found none: name those that the lab judges")
    return made


def source(name, entry, statements):
    """One source from its table and the tables of what it says."""
    statements = tuple(_made(Statement, said, f"{name}, statement {i}") for i, said in enumerate(statements, 1))
    return _made(Source, {**entry, "name": name, "statements": statements}, f"source {name}")


def load(path=COVERAGE):
    """The sources by their names and the rows, in the order of the file."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    known, said = content["sources"], content["said"]
    for name in sorted({*known} ^ {*said}):
        here, there = ("[said]", "[sources]") if name in said else ("[sources]", "[said]")
        raise ValueError(f"{name}: found under {here}, not under {there}: add it there, or correct the name")
    return {name: source(name, known[name], said[name]) for name in known}, [row(entry) for entry in content["row"]]


def fingerprint(found):
    """A short name for all quotations of a source with their places: another one where any of them was edited."""
    words = "\n".join(f"{said.at} {said.quote}" for said in found.statements)
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def faults_of_source(found, rows):
    """All that is wrong with what a source says, each as a sentence; `rows` are the ids that there are."""
    size, last, seen = found.paragraphs or len(found.places), 0, set()
    for said in found.statements:
        begun = f"{found.name}, “{said.text[:40]}”"
        if bool(said.quote) == bool(said.paraphrase):
            yield f"{begun}: expected a quote or a paraphrase, found {'both' if said.quote else 'none'}: keep one"
        if not 1 <= said.at <= size:
            yield f"{begun}: there is no place {said.at}, the source has {size}: correct at"
        if said.at < last:
            yield f"{begun}: it is at {said.at} and stands after {last}: bring it into the order of the lecture"
        if (said.at, said.text) in seen:
            yield f"{begun}: it stands twice: remove one"
        if not said.rows:
            yield f"{begun}: no row teaches it: name one"
        for name in dict.fromkeys(said.rows):
            if name not in rows:
                yield f"{begun}: there is no row {name}: correct the name, or add the row"
        if CHINESE.search(said.quote) and not said.english:
            yield f"{begun}: the quotation is in Chinese: add english, a translation"
        last = max(last, said.at)
        seen.add((said.at, said.text))
    if found.checked != (now := fingerprint(found)):
        yield f'{found.name}: quotations changed: compare them with the source, then write checked = "{now}"'

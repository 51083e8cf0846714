"""What the course covers: the rows of data/coverage.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

COVERAGE = Path(__file__).resolve().parents[1] / "data" / "coverage.toml"
KEYS = {"id", "what", "said_by", "lesson", "section", "cells"}
MAY_LACK = {"claims", "lab"}


@dataclass(frozen=True)
class Place:
    """Where a source says it: the source's short name, and a slide's title or a few words (empty for the course)."""

    source: str
    place: str = ""


@dataclass(frozen=True)
class Row:
    """One thing that a lecture says, shows or asks, and where the course teaches, executes and judges it."""

    id: str  # It stays when the wording changes.
    what: str
    said_by: tuple  # of Place
    lesson: str  # stem of the notebook that teaches it
    section: str  # id of the cell with the heading
    heading: str
    cells: tuple  # ids of the cells of that section, or of the lab, that execute it
    claims: tuple = ()  # of data/claims.toml, which judge it
    lab: str = ""  # stem of the lab with the cards of these claims; the section links it


def row(entry):
    """One row from its table; a ValueError says what is missing, unknown or of another form."""
    name, keys = entry.get("id", "a row without an id"), set(entry)
    if missing := KEYS - keys:
        raise ValueError(f"{name}: expected {', '.join(sorted(KEYS))}, found no {', '.join(sorted(missing))}: add it")
    if unknown := keys - KEYS - MAY_LACK:
        allowed = ", ".join(sorted(KEYS | MAY_LACK))
        raise ValueError(f"{name}: expected only {allowed}, found {', '.join(sorted(unknown))}: remove or rename it")
    if entry.get("lab") and not entry.get("claims"):
        raise ValueError(f"{name}: expected claims beside lab, found none: name those that the lab judges")
    try:
        said_by = tuple(Place(**place) for place in entry["said_by"])
        section, heading = (entry["section"][key] for key in ("id", "heading"))
    except (TypeError, KeyError) as error:
        wanted = "said_by = [{ source = …, place = … }] and section = { id = …, heading = … }"
        raise ValueError(f"{name}: expected {wanted}, got something else ({error}): correct the row") from None
    lists = {"said_by": said_by, "cells": tuple(entry["cells"]), "claims": tuple(entry.get("claims", ()))}
    return Row(**{**entry, **lists, "section": section, "heading": heading})


def load():
    """The sources (short name to description) and the rows, in the order of the file."""
    content = tomllib.loads(COVERAGE.read_text(encoding="utf-8"))
    return content["sources"], [row(entry) for entry in content["row"]]

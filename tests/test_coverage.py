"""The table "What is covered" in CONTRIBUTING.md points at sections and cells that exist and were executed."""

import re
from collections import Counter, namedtuple
from functools import cache
from pathlib import Path

import pytest
from notebook_rules import calls_in, headings, read

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}
HEADER = "| what | who says it | notebook | section | cells |"

Row = namedtuple("Row", "what who notebook section title cells")


@cache
def text():
    """The section of CONTRIBUTING.md, with its heading."""
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.search(r"^## What is covered\n.*?(?=^## |\Z)", contributing, flags=re.S | re.M)
    assert found, "CONTRIBUTING.md has no section 'What is covered'"
    return found[0]


@cache
def lines():
    """The lines of the table below its header."""
    table = [line for line in text().splitlines() if line.startswith("|")]
    assert table[:1] == [HEADER]
    return tuple(table[2:])


def row(line):
    """The parts of a line of the table; cells as a tuple of their ids."""
    pattern = r"\| (.+?) \| (.+?) \| (\d\d) \| `([^`|]+)` ([^|]+?) \| (`[^`|]+`(?: `[^`|]+`)*) \|"
    parts = re.fullmatch(pattern, line)
    assert parts, f"expected {HEADER} with the section as `id` heading and the cells as `id` `id`, got {line}"
    what, who, notebook, section, title, cells = parts.groups()
    return Row(what, who, notebook, section, title, tuple(re.findall(r"`([^`]+)`", cells)))


def rows():
    return [row(line) for line in lines()]


@cache
def sections(notebook):
    """The title and the cells of every section, by the id of the cell with its heading, in order."""
    found, current = {}, None
    for cell in read(NOTEBOOKS[notebook]).cells:
        if titles := headings(cell, 2):
            current, found[cell.id] = cell.id, (titles, {})
        if current is not None:
            found[current][1][cell.id] = cell
    return found


def was_executed(cell):
    return cell.execution_count is not None and not any(out.output_type == "error" for out in cell.outputs)


def faults(row):
    """All that is wrong with one row."""
    if row.notebook not in NOTEBOOKS:
        return [f"no notebook {row.notebook}"]
    if row.section not in sections(row.notebook):
        return [f"no heading of level 2 in a cell {row.section}"]
    titles, cells = sections(row.notebook)[row.section]
    found = [] if titles == [row.title] else [f"{row.section} is headed {titles}, not {row.title}"]
    found += [f"{name} named twice" for name, times in Counter(row.cells).items() if times > 1]
    there = {name: cells[name] for name in row.cells if name in cells}
    found += [f"{name} is not in the section {row.section}" for name in row.cells if name not in there]
    code = {name: cell for name, cell in there.items() if cell.cell_type == "code"}
    found += [f"{name} is no code cell" for name in there if name not in code]
    found += [f"{name} was not executed" for name, cell in code.items() if not was_executed(cell)]
    verdicts = {"evidence.judge", "evidence.check"}
    if "(judged" in row.what and not any(verdicts & {name for name, _ in calls_in(cell)} for cell in code.values()):
        found.append("said to be judged, and no cell gives a verdict")
    return found


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.split(" | ")[0][2:])
def test_a_row_points_at_a_section_and_executed_cells(line):
    assert faults(row(line)) == []


def test_no_row_stands_twice():
    assert [what for what, times in Counter(row.what for row in rows()).items() if times > 1] == []


def test_every_notebook_is_covered():
    assert {row.notebook for row in rows()} == set(NOTEBOOKS)


def test_rows_stand_in_the_order_of_the_course():
    places = [(row.notebook, list(sections(row.notebook)).index(row.section)) for row in rows()]
    assert places == sorted(places)


def test_who_says_it_is_explained_above_the_table():
    explained = re.findall(r"\*\*(.+?)\*\*", text().split(HEADER)[0])
    assert {who for row in rows() for who in row.who.split(", ")} == set(explained)


GOOD = Row("z-scores", "Lee", "01", "one-question", "1. Standardize one feature by hand", ("one-by-hand", "one-claim"))
WRONG = {
    "no-such-notebook": {"notebook": "99"},
    "no-such-section": {"section": "hundred-question"},
    "not-a-heading": {"section": "one-by-hand"},
    "another-heading": {"title": "1. Draw the bowl"},
    "a-cell-of-another-section": {"cells": ("one-by-hand", "two-claim")},
    "a-text-cell": {"cells": ("one-by-hand", "one-see")},
    "a-cell-twice": {"cells": ("one-by-hand", "one-by-hand")},
    "judged-nowhere": {"what": "z-scores (judged)", "cells": ("one-by-hand",)},
}


def test_a_right_row_has_no_faults():
    assert faults(GOOD) == faults(GOOD._replace(what="z-scores (judged)")) == []


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_wrong_row_has_one_fault(change):
    assert len(faults(GOOD._replace(**change))) == 1


@pytest.mark.parametrize("change", [{"execution_count": None}, {"outputs": [{"output_type": "error"}]}])
def test_a_cell_that_was_not_executed_is_a_fault(change, monkeypatch):
    cell = sections("01")["one-question"][1]["one-by-hand"]
    for name, value in change.items():
        monkeypatch.setitem(cell, name, [type(cell)(out) for out in value] if value else value)
    assert faults(GOOD) == ["one-by-hand was not executed"]


@pytest.mark.parametrize("line", [HEADER, "| a | Lee | 01 | one-question | `x` |", "| a | Lee | 01 | `x` b |  |"])
def test_a_line_of_another_form_is_refused(line):
    with pytest.raises(AssertionError, match="expected"):
        row(line)

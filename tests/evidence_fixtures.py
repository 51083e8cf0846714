"""Claims, records and a small lab for the tests of `utils.evidence` and of `make evidence`."""

import json
import textwrap

CLAIM = {
    "statement": "A statement.",
    "quote": "words",
    "source": "somebody",
    "prediction": "before",
    "smallest": 1.0,
    "direction": "at least",
    "unit": "percentage points",
    "lab": "01_small",
    "kind": "experiment",
}


def write_claims(path, **claims):
    """Write a claims file; the names of the claims have underscores for hyphens, and None leaves an entry out."""
    lines = []
    for name, entries in (claims or {"a_claim": {}}).items():
        table = {**CLAIM, **entries}
        lines.append(f"[claims.{name.replace('_', '-')}]")
        for key, value in table.items():
            if isinstance(value, dict):
                inside = ", ".join(f"{word} = {json.dumps(text)}" for word, text in value.items())
                lines.append(f"{key} = {{ {inside} }}")
            elif value is not None:
                lines.append(f"{key} = {json.dumps(value)}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_lab(path, source, *, other="raise SystemExit('this cell is no definition')"):
    """Write a notebook with one cell of definitions, one cell that has no tag, and a text."""
    cells = [
        {"cell_type": "markdown", "metadata": {"tags": ["define"]}, "source": "# A lab"},
        {"cell_type": "code", "metadata": {"tags": ["core", "define"]}, "source": textwrap.dedent(source)},
        {"cell_type": "code", "metadata": {"tags": ["core"]}, "source": other},
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8")
    return path


def unit(**changes):
    """A unit of work as a record keeps it: the effects of sixteen seeds are 2."""
    n = changes.get("n", 16)
    found = {
        "experiment": "01_small/trained",
        "dataset": "digits",
        "budget": 1,
        "first": 0,
        "n": n,
        "steps": 300,
        "fingerprint": "f" * 16,
        "device": "cpu",
        "effects": {"a-claim": {"here": [2.0] * n}},
        "uses": {"a-claim": {"here": ["one", "other"]}},
        "rates": {"one": [0.1, 0.2, 0.4], "other": [0.1, 0.2, 0.4]},
        "grids": {"one": [0.1, 0.2, 0.4], "other": [0.1, 0.2, 0.4]},
        "at_end": {"one": 0, "other": 0},
        "controls": {"a-claim": {"here": 90.0}},
        "seconds": 1.0,
    }
    return {**found, **changes}

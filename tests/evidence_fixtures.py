"""Claims, records and a small lab for the tests of `utils.evidence` and of `make evidence`."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from utils import evidence

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 50

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
        "room": {"a-claim": {"here": 10.0}},
        "seconds": 1.0,
    }
    return {**found, **changes}


# Accuracies that are best at the rate in the middle; files beside the lab tell it to wait, to fail or to die.
LAB = """
    import os
    import time
    from pathlib import Path

    import numpy as np

    from utils import evidence

    PLACE = Path({place!r})
    BASE = 90


    @evidence.experiment(
        {{"{claim}": {{"here": ("one", "other")}}}},
        rates=(0.1, 0.2, 0.4),
        steps=300,
        examples=32,
        path=PLACE / "claims.toml",
    )
    def {name}(seeds, data, steps, rates, device):
        unit = f"{{data}} {{steps}} {{seeds.start}} {{len(seeds)}}"
        with (PLACE / "calls").open("a") as calls:
            calls.write(f"{{unit}} by {{os.getpid()}}\\n")
        while (PLACE / f"hold {{data}} {{steps}}").exists():
            time.sleep(0.02)
        if (PLACE / f"raise {{data}} {{steps}}").exists():
            raise ValueError("a fault")
        if (PLACE / f"die {{data}} {{steps}}").exists():
            os._exit(9)
        found = {{}}
        for arm, grid in rates.items():
            found[arm] = {{}}
            for rate in grid:
                noise = np.array([np.random.default_rng(seed).normal() for seed in seeds])
                test = BASE + 3 * (arm == "one") * noise
                found[arm][rate] = np.stack([noise - abs(np.log2(rate / 0.2)), test], axis=1)
        return found
"""


class Place:
    """A folder with a lab, its claims and its record."""

    def __init__(self, folder):
        self.folder, self.record = folder, folder / "data" / "evidence.json"
        (folder / "labs").mkdir()
        write_claims(folder / "claims.toml", a_claim={}, other_claim={})
        self.lab()

    def lab(self, stem="01_small", claim="a-claim", name="trained", **edits):
        source = LAB.format(place=str(self.folder), claim=claim, name=name)
        for old, new in edits.values():
            assert old in source
            source = source.replace(old, new)
        return write_lab(self.folder / "labs" / f"{stem}.ipynb", source)

    def arguments(self, *more):
        folder = self.folder
        fixed = ("--record", self.record, "--claims", folder / "claims.toml", "--folder", folder / "labs")
        return [str(each) for each in (*fixed, *more)]

    def start(self, *more, **how):
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": self.folder, **how}
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, str(ROOT / "tools" / "evidence.py"), *self.arguments("--seeds", 16, *more)]
        self.last = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **how)
        return self.last

    @contextlib.contextmanager
    def running(self, *more, **how):
        """A run, which has ended at the end of the block."""
        with self.start(*more, **how) as run:
            try:
                yield run
            finally:
                run.kill()

    def run(self, *more, code=0):
        with self.running(*more) as run:
            out, err = run.communicate(timeout=SECONDS)
        assert run.returncode == code, err
        return out, err

    def recorded(self):
        """What is in the record."""
        return evidence.Record(self.record, known=evidence.claims(self.folder / "claims.toml"))

    def word(self, claim="a-claim"):
        return self.recorded().saved_word(claim)

    def fingerprints(self):
        return {unit["fingerprint"] for unit in self.recorded().units.values()}

    @property
    def calls(self):
        """Which units were begun, and the process of each."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [tuple(line.split(" by ")) for line in lines]

    @property
    def begun(self):
        return sorted(what for what, _ in self.calls)

    def say(self, what, data, steps):
        path = self.folder / f"{what} {data} {steps}"
        path.touch()
        return path

    def wait_for(self, unit):
        """The process that runs a unit, once it has begun."""

        def begun():
            pid = next((int(pid) for what, pid in self.calls if what == unit), None)
            assert pid or self.last.poll() is None, self.last.communicate(timeout=10)
            return pid

        return wait_until(begun)


def wait_until(there):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if found := there():
            return found
        time.sleep(0.02)
    raise TimeoutError(there)

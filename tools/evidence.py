"""The long run: every experiment of the labs over all seeds, budgets and data sets, into data/evidence.json.

It works in units of sixteen seeds. A finished unit is written at once, so that whatever ends the run costs one unit per
worker; the same command goes on where it ended.
"""

import argparse
import contextlib
import functools
import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from guard import ROOT, BusyError, alone, one_sentence
from tqdm import tqdm
from workers import ClusterError, run_here, run_there

from utils import evidence
from utils.evidence.labs import measure, open_lab

LABS = ROOT / "notebooks" / "labs"
BLOCK = 16  # seeds per unit
# (data set, factor of T) -> seeds; all others have DEFAULT_SEEDS.
SEEDS = {("mnist_5k", 1): 32, ("mnist_5k", 4): 16}
DEFAULT_SEEDS = 64
AGREE = 1e-3
REMEDY = "correct the path, then run the same command again: what was finished is in the record"


class RunError(Exception):
    """The run cannot go on; the message says what to do."""


@dataclass(frozen=True)
class Unit:
    """Some seeds of an experiment on one data set, at one budget; `lab` is the path of the notebook."""

    lab: Path
    name: str
    dataset: str
    budget: int
    first: int
    n: int

    @property
    def key(self):
        """As in the record."""
        return f"{self.lab.stem}/{self.name}", self.dataset, self.budget, self.first

    def __str__(self):
        budget = "T" if self.budget == 1 else f"{self.budget}T"
        seeds = f"seeds {self.first} to {self.first + self.n - 1}" if self.n > 1 else f"seed {self.first}"
        return f"{self.lab.stem}/{self.name}, {self.dataset} {budget}, {seeds}"


def seeds_for(made, dataset, budget, wanted=None):
    """How many seeds an experiment gets on one data set at one budget."""
    if made.kind == "identity":
        return 1
    usual = SEEDS.get((dataset, budget), DEFAULT_SEEDS) if made.kind == "experiment" else DEFAULT_SEEDS
    return min(wanted or usual, made.seeds or math.inf)


def units_of(path, lab, *, seeds=None, budgets=None, datasets=None):
    """Every unit of a lab."""
    for made in lab.experiments.values():
        for dataset, budget in made.columns():
            if (budgets and budget not in budgets) or (datasets and dataset not in datasets):
                continue
            n = seeds_for(made, dataset, budget, seeds)
            for first in range(0, n, BLOCK):
                yield Unit(path, made.name, dataset, budget, first, min(BLOCK, n - first))


def is_done(record, unit, fingerprint):
    """Whether the record has a unit, with as many seeds and made by the code that there is."""
    found = record.units.get(unit.key)
    return found is not None and found["n"] >= unit.n and found["fingerprint"] == fingerprint


def find_labs(wanted, folder=LABS):
    """The labs that are asked for by their numbers, or all of them, by path."""
    paths = sorted(folder.glob("[0-9]*.ipynb"))
    numbers = {path.stem[:2]: path for path in paths}
    for number in wanted:
        if number not in numbers:
            raise RunError(f"LABS: expected numbers of labs, some of {' '.join(numbers)}, got {number!r}")
    chosen = [numbers[number] for number in wanted] or paths
    return {path: open_lab(path) for path in chosen}


def prune(record, labs):
    """Leave out what a lab has recorded and does not declare any more."""
    declared = {
        (f"{path.stem}/{made.name}", *column): set(made.claims)
        for path, lab in labs.items()
        for made in lab.experiments.values()
        for column in made.columns()
    }
    stems = {path.stem for path in labs}

    def wanted(unit):
        if unit["experiment"].split("/")[0] not in stems:
            return set(unit["effects"])
        return declared.get((unit["experiment"], unit["dataset"], unit["budget"]), set())

    record.drop(wanted)


def columns_of(labs):
    """For each claim the data sets and budgets that its experiment declares."""
    experiments = [made for lab in labs.values() for made in lab.experiments.values()]
    return {name: made.columns() for made in experiments for name in made.claims}


def run_all(jobs, start, done):
    """Run jobs, hand on what each gives, and return the errors of the others; a bar shows the time left."""
    failures = {}
    with (
        tqdm(total=len(jobs), unit="unit", disable=None if jobs else True, smoothing=0.1) as bar,
        contextlib.closing(start(jobs)) as results,
    ):
        for key, result, error in results:
            if error is None:
                done(key, result)
            else:
                failures[key] = error
            bar.update()
    return failures


def sign(record, labs, device, start, save):
    """Renew the fingerprints of units whose numbers the present code gives again, on two seeds at T.

    Where the declared rates or T are others, two seeds cannot tell: the unit is run again.
    """
    stale = {}
    for unit in record.units.values():
        stem, name = unit["experiment"].split("/")
        path = next((path for path in labs if path.stem == stem), None)
        if path is None or unit["fingerprint"] == labs[path].fingerprint(name):
            continue
        stale.setdefault((path, name, unit["dataset"], unit["first"]), []).append(unit)
    jobs = {}
    for key, units in stale.items():
        path, name, dataset, first = key
        at_t = next((unit for unit in units if unit["budget"] == 1), None)
        if at_t is not None and all(_declared_alike(unit, labs[path].experiments[name]) for unit in units):
            how = (dataset, 1, first, min(2, at_t["n"]), device, at_t["grids"] or None)
            jobs[key] = functools.partial(measure, path, name, *how)
    renewed = []

    def compare(key, fresh):
        at_t = next(unit for unit in stale[key] if unit["budget"] == 1)
        if _agree(at_t["effects"], fresh["effects"], fresh["n"]):
            for unit in stale[key]:
                record.add({**unit, "fingerprint": fresh["fingerprint"]})
                renewed.append(unit)
            save()

    run_all(jobs, start, compare)
    return sum(map(len, stale.values())), len(renewed)


def _declared_alike(unit, made):
    rates = {arm: list(grid) for arm, grid in made.rates.items()}
    return unit["steps"] == made.steps * unit["budget"] and unit.get("rates") == rates


def _agree(before, now, n):
    """Whether the first n effects of every condition are the same to AGREE."""
    if {name: set(each) for name, each in before.items()} != {name: set(each) for name, each in now.items()}:
        return False
    pairs = [
        (float(a), float(b))
        for name, conditions in before.items()
        for label, values in conditions.items()
        for a, b in zip(values[:n], now[name][label], strict=True)
    ]
    return all(math.isclose(a, b, rel_tol=AGREE, abs_tol=AGREE) for a, b in pairs)


def word_counts(record, columns):
    """How many claims have which word."""
    return Counter(record.word(name, columns.get(name)) or "not recorded" for name in columns)


def wanted_units(arguments, labs, record):
    """The units that are asked for, with all seeds that the record has of them, and of other units by default."""
    declared = [column for lab in labs.values() for made in lab.experiments.values() for column in made.columns()]
    for name, asked, known in (
        ("DATASETS", arguments.datasets, [dataset for dataset, _ in declared]),
        ("BUDGETS", arguments.budgets, sorted({budget for _, budget in declared})),
    ):
        if unknown := [each for each in asked if each not in known]:
            there = ", ".join(map(str, dict.fromkeys(known))) or "none"
            raise RunError(f"{name}: expected some of {there}, got {unknown[0]}")
    choice = {"seeds": arguments.seeds, "budgets": arguments.budgets, "datasets": arguments.datasets}
    units = {unit.key: unit for path, lab in labs.items() for unit in units_of(path, lab, **choice)}
    columns = {key[:3]: unit for key, unit in units.items()}
    for key, found in record.units.items():
        if key in units:
            units[key] = replace(units[key], n=max(units[key].n, found["n"]))
        elif key[:3] in columns and not arguments.seeds:
            units[key] = replace(columns[key[:3]], first=found["first"], n=found["n"])
    return list(units.values())


def go(arguments):
    """Do what is missing, and say what has come of it."""
    every = find_labs([], arguments.folder)
    labs = {path: every[path] for path in find_labs(arguments.labs, arguments.folder)}
    record = evidence.Record(arguments.record, known=evidence.claims(arguments.claims), forget=arguments.forget)
    columns = columns_of(every)
    prune(record, every)
    wanted = wanted_units(arguments, labs, record)
    if arguments.scheduler:
        start = functools.partial(run_there, scheduler=arguments.scheduler, seconds=arguments.timeout)
    else:
        start = functools.partial(run_here, workers=arguments.workers)
    before = word_counts(record, columns)
    save = functools.partial(record.save, columns)
    if arguments.sign:
        stale, renewed = sign(record, labs, arguments.device, start, save)
        print(f"Stale units: {stale}; signed, since they give the same numbers: {renewed}.", flush=True)
    left = [unit for unit in wanted if not is_done(record, unit, labs[unit.lab].fingerprint(unit.name))]
    save()
    print(f"Units of work: {len(wanted)}; in the record: {len(wanted) - len(left)}.", flush=True)

    def keep(unit, result):
        record.add(result)
        save()
        with tqdm.external_write_mode():
            print(f"  {result['seconds']:7.1f} s  {unit}", flush=True)

    jobs = {
        unit: functools.partial(
            measure, unit.lab, unit.name, unit.dataset, unit.budget, unit.first, unit.n, arguments.device
        )
        for unit in left
    }
    failures = run_all(jobs, start, keep)
    after = word_counts(record, columns)
    for word in sorted(before | after):
        print(f"  {word:13} {after[word]} claims (before: {before[word]})", flush=True)
    if failures:
        lines = "\n".join(f"  {unit}: {why}" for unit, why in failures.items())
        raise RunError(f"{len(failures)} of {len(jobs)} units failed, the others are in the record:\n{lines}")


@contextlib.contextmanager
def only_run(folder, command="make evidence"):
    """Refuse a second run on the same record."""
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(alone(folder))
        except BusyError:
            raise RunError(f"{folder}: another {command} is at work here: wait until it has ended") from None
        yield


def _whole(name):
    """The reader of a whole number from 1 on."""

    def read(text):
        if not text.isdecimal() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"{name}: expected whole numbers, 1 or more, got {text!r}")
        return int(text)

    return read


def _budgets(text):
    return [_whole("BUDGETS")(each) for each in text.split()]


def _seconds(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"timeout: expected seconds, more than 0, got {text!r}")
    return seconds


def _device(name):
    if name != "cpu":
        import torch

        if not (name.split(":")[0] == "cuda" and torch.cuda.is_available()):
            raise argparse.ArgumentTypeError(f"DEVICE: expected cpu, or cuda where PyTorch finds a GPU, got {name!r}")
    return name


def main():
    """Read what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labs", type=str.split, default=[], help="numbers of labs; all by default")
    parser.add_argument("--seeds", type=_whole("SEEDS"), help="how many; by default what each data set needs")
    parser.add_argument("--budgets", type=_budgets, default=[], help="factors of T: 1, 4")
    parser.add_argument("--datasets", type=str.split, default=[], help="some data sets only")
    parser.add_argument("--scheduler", help="address of a dask.distributed cluster")
    parser.add_argument("--timeout", type=_seconds, default=20.0, help="seconds that the cluster may take to answer")
    parser.add_argument("--workers", type=_whole("WORKERS"), default=2, help="processes on this machine")
    parser.add_argument("--device", type=_device, default="cpu", help="cpu or cuda")
    parser.add_argument("--sign", action="store_true", help="renew fingerprints whose numbers come again")
    parser.add_argument("--forget", type=str.split, default=[], help="ids of claims to take out of the record")
    parser.add_argument("--record", type=Path, default=evidence.RECORD)
    parser.add_argument("--claims", type=Path, default=evidence.CLAIMS)
    parser.add_argument("--folder", type=Path, default=LABS, help="of the labs")
    arguments = parser.parse_args()
    with one_sentence("evidence", REMEDY, RunError, ClusterError, ValueError):
        arguments.record.parent.mkdir(parents=True, exist_ok=True)
        with only_run(arguments.record.parent):
            go(arguments)


if __name__ == "__main__":
    main()

"""The long run: every experiment of the labs over all seeds, budgets and data sets, into data/evidence.json.

It works in units of sixteen seeds. A finished unit is written at once, so that whatever ends the run costs one unit per
worker; the same command goes on where it ended.
"""

import argparse
import functools
import math
import multiprocessing
import os
import threading
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_end
from pathlib import Path

from execute import LABS
from guard import alone, one_sentence
from tqdm import tqdm

from utils import evidence
from utils.evidence.labs import measure, open_lab

BLOCK = 16  # seeds per unit
# (data set, factor of T) -> seeds; all others have DEFAULT_SEEDS.
SEEDS = {("mnist_5k", 1): 32, ("mnist_5k", 4): 16}
DEFAULT_SEEDS = 64
TRIES = 3
AGREE = 1e-3
SECONDS_TO_ANSWER = 20
REMEDY = "make room or correct the path, then run the same command again: what was finished is in the record"


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
        last = self.first + self.n - 1
        return f"{self.lab.stem}/{self.name}, {self.dataset} {budget}, seeds {self.first} to {last}"


def seeds_for(made, dataset, budget, wanted=None):
    """How many seeds an experiment gets on one data set at one budget."""
    if made.kind == "identity":
        return 1
    if wanted:
        return wanted
    return min(SEEDS.get((dataset, budget), DEFAULT_SEEDS), made.seeds or math.inf)


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
        (f"{path.stem}/{made.name}", *column)
        for path, lab in labs.items()
        for made in lab.experiments.values()
        for column in made.columns()
    }
    stems = {path.stem for path in labs}
    record.drop(
        lambda unit: (
            unit["experiment"].split("/")[0] not in stems
            or (unit["experiment"], unit["dataset"], unit["budget"]) in declared
        )
    )


def columns_of(labs):
    """For each claim the data sets and budgets that its experiment declares."""
    experiments = [made for lab in labs.values() for made in lab.experiments.values()]
    return {name: made.columns() for made in experiments for name in made.claims}


def _end_with_parent():
    """A worker ends when the run does, however that ends."""

    def watch():
        wait_for_end([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start_here(workers):
    os.environ["TQDM_DISABLE"] = "1"  # for the workers; ours has been made
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


def _start_there(scheduler):
    """The executor of a dask.distributed cluster whose workers have this checkout at the same path."""
    try:
        from distributed import Client
    except ImportError:
        raise RunError("SCHEDULER: expected the package distributed, got none: pip install distributed") from None
    try:
        client = Client(scheduler, timeout=SECONDS_TO_ANSWER)
    except (OSError, ValueError) as error:
        raise RunError(
            f"SCHEDULER: expected a cluster at {scheduler}, got no answer within {SECONDS_TO_ANSWER} s ({error}): "
            "start one with dask scheduler and dask worker, or leave SCHEDULER out"
        ) from None
    return client.get_executor(pure=False, retries=TRIES - 1)


def run_all(jobs, start, done):
    """Run jobs, a key and a function without arguments each, on an executor; hand on what each gives.

    A worker that dies takes nothing along: what it had in hand is run again, twice at most. Other errors are collected,
    so that one experiment that fails does not stop the others.
    """
    waiting, tries, failures = dict(jobs), Counter(), {}
    while waiting:
        executor = start()
        try:
            futures = {executor.submit(job): key for key, job in waiting.items()}
            pending = set(futures)
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    _take(future, futures[future], waiting, failures, done)
        except BrokenProcessPool:
            # Which unit killed its worker is not known: two could have been at work.
            tries.update(waiting)
            for key in [key for key in waiting if tries[key] >= TRIES]:
                failures[key] = f"its worker ended {TRIES} times while it ran: is there enough memory?"
                waiting.pop(key)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
    return failures


def _take(future, key, waiting, failures, done):
    """Hand on the result of one job."""
    try:
        result = future.result()
    except BrokenProcessPool:
        raise
    except Exception as error:
        failures[key] = f"{type(error).__name__}: {error}"
    else:
        done(key, result)
    waiting.pop(key)


def sign(record, labs, device, start):
    """Renew the fingerprints of units whose numbers the present code gives again, on two seeds at T."""
    stale = [
        unit
        for path, lab in labs.items()
        for unit in record.units.values()
        if unit["experiment"].split("/")[0] == path.stem
        and unit["fingerprint"] != lab.fingerprint(unit["experiment"].split("/")[1])
    ]
    at_t = {(unit["experiment"], unit["dataset"], unit["first"]): unit for unit in stale if unit["budget"] == 1}
    paths = {path.stem: path for path in labs}
    jobs = {}
    for key, unit in at_t.items():
        stem, name = unit["experiment"].split("/")
        how = (unit["dataset"], 1, unit["first"], min(2, unit["n"]), device, unit["grids"] or None)
        jobs[key] = functools.partial(measure, paths[stem], name, *how)
    agreed = {}

    def compare(key, fresh):
        if _agree(at_t[key]["effects"], fresh["effects"], fresh["n"]):
            agreed[key] = fresh["fingerprint"]

    run_all(jobs, start, compare)
    for unit in stale:
        if fingerprint := agreed.get((unit["experiment"], unit["dataset"], unit["first"])):
            record.add({**unit, "fingerprint": fingerprint})
    return len(stale), sum(unit["fingerprint"] in agreed.values() for unit in record.units.values())


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
    return all(a == b or abs(a - b) <= AGREE * max(1, abs(a)) for a, b in pairs)


def word_counts(record, columns):
    """How many claims have which word."""
    return Counter(record.word(name, columns.get(name)) or "not recorded" for name in columns)


def go(arguments):
    """Do what is missing, and say what has come of it."""
    labs = find_labs(arguments.labs, arguments.folder)
    every = labs if not arguments.labs else find_labs([], arguments.folder)
    record = evidence.Record(arguments.record, known=evidence.claims(arguments.claims), forget=arguments.forget)
    columns = columns_of(every)
    prune(record, labs)
    start = functools.partial(_start_there, arguments.scheduler) if arguments.scheduler else None
    start = start or functools.partial(_start_here, arguments.workers)
    before = word_counts(record, columns)
    if arguments.sign:
        stale, renewed = sign(record, labs, arguments.device, start)
        print(f"{stale} units were stale, {renewed} have their numbers still and are signed.")
    wanted = [
        unit
        for path, lab in labs.items()
        for unit in units_of(path, lab, seeds=arguments.seeds, budgets=arguments.budgets, datasets=arguments.datasets)
    ]
    left = [unit for unit in wanted if not is_done(record, unit, labs[unit.lab].fingerprint(unit.name))]
    record.save(columns)
    print(f"{len(wanted)} units of work, {len(wanted) - len(left)} are in the record.", flush=True)
    jobs = {
        unit: functools.partial(
            measure, unit.lab, unit.name, unit.dataset, unit.budget, unit.first, unit.n, arguments.device
        )
        for unit in left
    }
    with tqdm(total=len(left), unit="unit", disable=None if left else True, smoothing=0.1) as bar:

        def keep(unit, result):
            record.add(result)
            record.save(columns)
            bar.update()
            tqdm.write(f"  {result['seconds']:7.1f} s  {unit}")

        failures = run_all(jobs, start, keep)
    after = word_counts(record, columns)
    for word in sorted(before | after):
        print(f"  {word:13} {after[word]} claims (before: {before[word]})")
    if failures:
        lines = "\n".join(f"  {unit}: {why}" for unit, why in failures.items())
        raise RunError(f"{len(failures)} units failed, the others are in the record:\n{lines}")


def _numbers(text):
    return [int(each) for each in text.split()]


def _device(name):
    if name != "cpu":
        import torch

        if not (name.startswith("cuda") and torch.cuda.is_available()):
            raise argparse.ArgumentTypeError(f"DEVICE: expected cpu, or cuda where PyTorch finds a GPU, got {name!r}")
    return name


def _seeds(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"SEEDS: expected a number of seeds, 1 or more, got {text!r}")
    return int(text)


def main():
    """Read what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labs", type=str.split, default=[], help="numbers of labs; all by default")
    parser.add_argument("--seeds", type=_seeds, help="how many seeds; by default as many as each data set needs")
    parser.add_argument("--budgets", type=_numbers, default=[], help="factors of T: 1, 4")
    parser.add_argument("--datasets", type=str.split, default=[], help="some data sets only")
    parser.add_argument("--scheduler", help="address of a dask.distributed cluster")
    parser.add_argument("--workers", type=int, default=2, help="processes on this machine")
    parser.add_argument("--device", type=_device, default="cpu", help="cpu or cuda")
    parser.add_argument("--sign", action="store_true", help="renew fingerprints whose numbers come again")
    parser.add_argument("--forget", type=str.split, default=[], help="ids of claims to take out of the record")
    parser.add_argument("--record", type=Path, default=evidence.RECORD)
    parser.add_argument("--claims", type=Path, default=evidence.CLAIMS)
    parser.add_argument("--folder", type=Path, default=LABS, help="of the labs")
    arguments = parser.parse_args()
    with one_sentence("evidence", REMEDY, RunError, ValueError):
        arguments.record.parent.mkdir(parents=True, exist_ok=True)
        with alone(arguments.record.parent):
            go(arguments)


if __name__ == "__main__":
    main()

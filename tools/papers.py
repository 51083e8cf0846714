"""Three papers at their own scale: the experiments of lab 09, on the whole of MNIST, into data/papers.json.

A finished unit is written at once, so that whatever ends the run costs one unit per worker; the same command goes on.
"""

import argparse
import functools
import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import paper_runs
from evidence import RunError, _device, _whole, only_run, run_all
from guard import ROOT, one_sentence
from tqdm import tqdm
from workers import run_here

from utils import download
from utils.evidence.fingerprint import fingerprint
from utils.evidence.papers import PAPERS, VERSION, paper_units
from utils.files import write_atomically

REMEDY = "correct the path, then run the same command again: what was finished is in the record"
SOURCES = ("stacked.py", "paper_runs.py")
SENTENCE = "MNIST: expected the four files of data/registry.toml, got: {}"


@dataclass(frozen=True)
class Unit:
    """A piece of work: a function of `paper_runs` with its arguments.

    `search` is the unit that chooses its rate. What has a later turn waits for all papers: an unfinished record has
    something of each, and compares arms that came equally far.
    """

    key: str
    function: str
    arguments: dict = field(hash=False)
    search: str | None = None
    turn: int = 0


def units_of(paper):
    """The units of a paper, the searches of rates first; what is needed first comes first."""
    return list({"1": _ioffe, "2": _glorot, "3": _he}[paper]())


def _ioffe():
    arms = ("plain", "batch norm")
    for arm in arms:
        yield Unit(f"1/search/{arm}", "ioffe_search", {"arm": arm})
    for first in range(0, 16, 2):
        for way, rate in (("paper's way", paper_runs.PAPER_RATE), ("best rate", None)):
            for arm in arms:
                search, turn = None if rate else f"1/search/{arm}", first // 2
                arguments = {"arm": arm, "rate": rate, "first": first, "n": 2}
                yield Unit(f"1/{way}/{arm}/seeds {first:02} to {first + 1:02}", "ioffe", arguments, search, turn)


def _glorot():
    turns = [((0,), (1, 5), 0), ((1, 2), (1, 5), 1), ((0,), (10, 15, 20), 2), ((1, 2), (10, 15, 20), 3)]
    for arms, later in ((("tanh", "tanh normalized", "sigmoid"), 0), (("softsign",), 4)):
        for arm in arms:
            yield Unit(f"2/search/{arm}", "glorot_search", {"arm": arm}, None, later)
        for seeds, epochs, turn in turns:
            for seed, epoch, arm in itertools.product(seeds, epochs, arms):
                arguments = {"arm": arm, "rate": None, "seed": seed, "until": epoch}
                key = f"2/{arm}/seed {seed}/epoch {epoch}"
                yield Unit(key, "glorot", arguments, f"2/search/{arm}", turn + later)


def _he():
    for arm in paper_runs.STARTS:
        yield Unit(f"3/{arm}/seeds 0 to 7", "thirty_layers", {"arm": arm, "rate": 0.01, "first": 0, "n": 8})


@functools.cache
def made_by(function):
    """The fingerprint of the code behind an experiment."""
    source = "\n\n".join((ROOT / "tools" / name).read_text(encoding="utf-8") for name in SOURCES)
    return fingerprint(source, function, run=False)


def write_record(path, units):
    """Write it whole."""
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(units[key])}" for key in sorted(units))
    write_atomically(path, f'{{"version": {VERSION}, "units": {{\n{lines}\n}}}}\n')


def stale(units):
    """The keys of what other code has made, or what no unit asks for any more."""
    wanted = {unit.key: unit for paper in "123" for unit in units_of(paper)}
    return [
        key for key, found in units.items() if key not in wanted or found["made by"] != made_by(wanted[key].function)
    ]


def rate_of(unit, units):
    """The rate that a unit has to take; None where its search is not done."""
    if unit.search is None:
        return unit.arguments.get("rate")
    return units[unit.search]["rate"] if unit.search in units else None


def is_done(unit, units):
    """Whether the record has a unit, with the rate that was chosen."""
    found = units.get(unit.key)
    return found is not None and (unit.search is None or found["rate"] == rate_of(unit, units))


def measure(function, made, device, arguments):
    """One unit of work, as a worker does it."""
    begun = time.perf_counter()
    found = getattr(paper_runs, function)(**arguments, device=device)
    return {**found, "made by": made, "device": device, "seconds": round(time.perf_counter() - begun, 1)}


def job_of(unit, units, arguments):
    """What a worker has to call."""
    given = dict(unit.arguments)
    if unit.search:
        given["rate"] = rate_of(unit, units)
    if unit.function == "glorot":
        name = f"{made_by('glorot')}-{given['arm'].replace(' ', '-')}-{given['rate']:g}-{given['seed']}"
        given |= {"folder": arguments.build / "papers", "name": name}
    return functools.partial(measure, unit.function, made_by(unit.function), arguments.device, given)


def chains(jobs):
    """Units of the same network, one after the other: a chain has the first that is not done, others wait."""
    begun = {}
    for unit in jobs:
        network = unit.key.rpartition("/")[0] if unit.function == "glorot" else unit.key
        begun.setdefault(network, unit)
    return list(begun.values())


def go(arguments):
    """Do what is missing, and say what has come of it."""
    try:
        download.fetch("mnist")
    except (download.DownloadError, ImportError, ValueError) as error:
        raise RunError(SENTENCE.format(" ".join(str(error).split()))) from None
    units = paper_units(arguments.record)
    if old := stale(units):
        print(f"Made by other code, and computed again: {len(old)} of {len(units)} units of the record.", flush=True)
        units = {key: unit for key, unit in units.items() if key not in old}
    wanted = sorted((unit for paper in arguments.papers for unit in units_of(paper)), key=lambda unit: unit.turn)
    start, failures = functools.partial(run_here, workers=arguments.workers), {}
    done = sum(is_done(unit, units) for unit in wanted)
    print(f"Units of work: {len(wanted)}; in the record: {done}.", flush=True)

    def keep(unit, result):
        units[unit.key] = result
        write_record(arguments.record, units)
        with tqdm.external_write_mode():
            print(f"  {result['seconds']:7.1f} s  {unit.key}", flush=True)

    while True:
        left = [unit for unit in wanted if not is_done(unit, units) and unit.key not in failures]
        ready = [unit for unit in chains(left) if unit.search is None or unit.search in units]
        if not ready:
            break
        jobs = {unit: job_of(unit, units, arguments) for unit in ready[: arguments.workers]}
        failures |= {unit.key: why for unit, why in run_all(jobs, start, keep).items()}
    if failures:
        lines = "\n".join(f"  {key}: {why}" for key, why in failures.items())
        raise RunError(f"{len(failures)} of {len(wanted)} units failed, the others are in the record:\n{lines}")


def _papers(text):
    if unknown := [each for each in text.split() if each not in list("123")]:
        raise argparse.ArgumentTypeError(f"PAPERS: expected some of 1 2 3, got {unknown[0]!r}")
    return text.split() or list("312")


def main():
    """Read what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--papers", type=_papers, default=list("312"), help="some of 1 2 3; all by default")
    parser.add_argument("--workers", type=_whole("WORKERS"), default=2, help="processes on this machine")
    parser.add_argument("--device", type=_device, default="cpu", help="cpu or cuda")
    parser.add_argument("--record", type=Path, default=PAPERS)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    arguments = parser.parse_args()
    with one_sentence("papers", REMEDY, RunError, ValueError):
        arguments.record.parent.mkdir(parents=True, exist_ok=True)
        folder = arguments.build / "papers"
        folder.mkdir(parents=True, exist_ok=True)
        with only_run(folder, "make papers"):
            go(arguments)


if __name__ == "__main__":
    main()

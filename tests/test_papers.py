"""`make papers`: its training against autograd, and what an end, a bad file or older code cost its run."""

import argparse
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import paper_runs
import papers
import pytest
import stacked
import torch
from image_fixtures import mnist_files, write_cache, write_registry
from torch.nn import functional as F

from utils.evidence.papers import PAPERS, paper_units, spread

ROOT = Path(__file__).resolve().parents[1]
UNITS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "softsign": F.softsign, "relu": F.relu}
SMALL = {
    "VALIDATION": 100,
    "SIGMOIDS": (6, 6, 6),
    "STEPS": (2, 7),
    "SEARCH_STEPS": 3,
    "RATES": (0.1, 0.2),
    "LOOKED_AT": 20,
    "WIDE": (8,) * 5,
    "SEARCH_EPOCHS": 1,
    "DEEP": (8,) * 29,
    "HE_EPOCHS": 1,
}
CHANGES = "".join(f"paper_runs.{name} = {value!r}\n" for name, value in SMALL.items())


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with small files in MNIST's format, which the course takes for MNIST, and small networks."""
    sets = {"mnist": mnist_files(400, 60)}
    write_cache(tmp_path / "cache", sets)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("COURSE_REGISTRY", str(write_registry(tmp_path / "registry.toml", sets)))
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    for name, value in SMALL.items():
        monkeypatch.setattr(paper_runs, name, value)
    paper_runs.images.cache_clear()
    (tmp_path / "build" / "papers").mkdir(parents=True)
    yield tmp_path
    paper_runs.images.cache_clear()


def arguments(place, wanted="3"):
    return argparse.Namespace(
        papers=list(wanted), workers=1, device="cpu", record=place / "papers.json", build=place / "build"
    )


def here(jobs, *, workers):
    """Workers without processes."""
    for key, job in jobs.items():
        yield key, job(), None


def without_clock(units):
    return {key: {name: value for name, value in unit.items() if name != "seconds"} for key, unit in units.items()}


# The training


def double(stack, rng):
    """The stack in double precision, away from where it starts; copies of its parameters that autograd follows."""
    for name in ("W", "b", "gamma", "speed"):
        found = [p.double() + 0.1 * torch.tensor(rng.standard_normal(p.shape)) for p in getattr(stack, name)]
        setattr(stack, name, [torch.zeros_like(p) for p in found] if name == "speed" else found)
    return [parameter.clone().requires_grad_() for parameter in stack.parameters()]


def loss_of(parameters, x, y, unit, norm):
    """The sum of the replicas' losses, one network at a time, by PyTorch's own functions."""
    layers, total = (len(parameters) + norm) // (2 + norm), 0.0
    W, b, gamma = parameters[:layers], parameters[layers : 2 * layers], parameters[2 * layers :]
    for r in range(len(x)):
        h = x[r]
        for k in range(layers):
            h = F.linear(h, W[k][r].T)
            if norm and k < layers - 1:
                h = F.batch_norm(h, None, None, gamma[k][r, 0], b[k][r, 0], training=True, eps=1e-5)
            else:
                h = h + b[k][r, 0]
            h = UNITS[unit](h) if k < layers - 1 else h
        total = total + F.cross_entropy(h, y[r])
    return total


def example(rng):
    x = torch.tensor(rng.standard_normal((3, 9, 7)))
    return x, torch.tensor(rng.integers(4, size=(3, 9)))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("unit", UNITS)
def test_a_step_goes_along_the_gradient_of_autograd(unit, norm):
    rng = np.random.default_rng(0)
    stack = stacked.Stack((7, 5, 6, 4), [0, 1, 2], unit, stacked.gaussian(0.7), norm=norm)
    parameters, (x, y) = double(stack, rng), example(rng)
    loss_of(parameters, x, y, unit, norm).backward()
    rates = torch.tensor([0.1, 0.3, 1.0], dtype=torch.float64).reshape(-1, 1, 1)
    stack.step(x, y, rates)
    for moved, before in zip(stack.parameters(), parameters, strict=True):
        # Rounding: a gradient of order 1 is the difference of numbers of order 1, in double precision.
        torch.testing.assert_close((before.detach() - moved) / rates, before.grad, rtol=0, atol=1e-12)


def test_momentum_is_that_of_pytorch():
    rng = np.random.default_rng(1)
    stack = stacked.Stack((7, 5, 6, 4), [0, 1, 2], "relu", stacked.he, momentum=0.9)
    parameters, (x, y) = double(stack, rng), example(rng)
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    for _ in range(4):
        optimizer.zero_grad()
        loss_of(parameters, x, y, "relu", False).backward()
        optimizer.step()
        stack.step(x, y, 0.05)
    for ours, theirs in zip(stack.parameters(), parameters, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-12)


def test_statistics_are_those_of_algorithm_2():
    rng = np.random.default_rng(2)
    stack = stacked.Stack((7, 5, 4), [0, 1], "sigmoid", stacked.gaussian(0.7), norm=True)
    x = torch.tensor(rng.standard_normal((12, 7)), dtype=torch.float32)
    ((mean, variance),) = stack.statistics(x, 4)
    z = np.stack([(x.numpy() @ W).reshape(3, 4, 5) for W in stack.W[0].numpy()])  # replicas, batches, images, units
    np.testing.assert_allclose(mean[:, 0], z.mean((1, 2)), atol=1e-6)  # single precision
    np.testing.assert_allclose(variance[:, 0], z.var(2, ddof=1).mean(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("start", "variance"),
    [(stacked.standard, 1 / 3 / 400), (stacked.normalized, 2 / 1000), (stacked.xavier, 1 / 400), (stacked.he, 2 / 400)],
)
def test_starts_have_the_variance_of_their_papers(start, variance):
    drawn = start(np.random.default_rng(3), 400, 600)
    # The variance of 240 000 numbers has a relative deviation of at most √(2 / 240 000), 0.3 %: five of them.
    assert np.var(drawn) == pytest.approx(variance, rel=0.015)


def test_an_epoch_has_every_image_once_in_an_order_of_each_seed():
    numbers = stacked.batches(20, 6, [4, 5], 0)
    assert numbers.shape == (3, 2, 6)
    for seed in range(2):
        assert len(set(numbers[:, seed].flatten().tolist())) == 18
    assert not torch.equal(numbers[:, 0], numbers[:, 1])
    assert torch.equal(numbers[:, 1:], stacked.batches(20, 6, [5], 0))
    assert not torch.equal(numbers, stacked.batches(20, 6, [4, 5], 1))


def test_spreads_are_those_of_autograd():
    rng = np.random.default_rng(4)
    stack = stacked.Stack((7, 5, 6, 4), [0], "tanh", stacked.gaussian(0.7))
    parameters, (x, y) = double(stack, rng), example(rng)
    loss_of(parameters, x[:1], y[:1], "tanh", False).backward()
    found = paper_runs.spreads(stack, x[0], y[0])
    wanted = [float(each.grad.std()) for each in parameters[:3]]
    assert found["weight gradients"][0] == pytest.approx(wanted, rel=1e-3)  # four digits are kept


def test_epochs_in_two_units_are_those_in_one_and_a_damaged_file_costs_time_only(place):
    once = paper_runs.glorot("tanh", 0.05, 0, 3, place, "once")
    paper_runs.glorot("tanh", 0.05, 0, 1, place, "twice")
    assert paper_runs.glorot("tanh", 0.05, 0, 3, place, "twice") == once
    assert sorted(path.name for path in place.glob("*.npz")) == ["once-3.npz", "twice-3.npz"]
    (place / "bad-2.npz").write_bytes((place / "once-3.npz").read_bytes()[:1000])
    assert paper_runs.glorot("tanh", 0.05, 0, 3, place, "bad") == once


def test_the_search_ends_between_two_worse_rates_or_says_that_it_did_not(place):
    for arm in paper_runs.ARMS:
        found = paper_runs.glorot_search(arm)
        scores = dict(zip(found["rates"], zip(found["errors"], found["losses"], strict=True), strict=True))
        assert scores[found["rate"]] == min(scores.values())
        inside = min(scores) < found["rate"] < max(scores)
        assert found["at an end"] != inside
        assert inside or len(scores) == paper_runs.MOST_RATES


# The run


@pytest.mark.timeout(180)
def test_all_units_run_and_what_was_interrupted_goes_on(place, monkeypatch, capsys):
    monkeypatch.setattr(papers, "run_here", here)
    papers.go(arguments(place, "312"))
    whole, asked = paper_units(place / "papers.json"), []
    assert list(whole) == sorted(unit.key for paper in "123" for unit in papers.units_of(paper))
    assert papers.stale(whole) == []
    whole = {key: unit for key, unit in whole.items() if key[0] in "31"}

    def breaks_off(jobs, *, workers):
        asked.extend(unit.key for unit in jobs)
        if len(asked) == 8:
            raise KeyboardInterrupt
        yield from here(jobs, workers=workers)

    other = arguments(place, "31")
    other.record, other.build = place / "other.json", place / "new"
    (place / "new" / "papers").mkdir(parents=True)
    monkeypatch.setattr(papers, "run_here", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        papers.go(other)
    assert sorted(paper_units(other.record)) == sorted(asked[:7])
    papers.go(other)
    assert sorted(asked) == sorted([*whole, asked[7]])
    assert without_clock(paper_units(other.record)) == without_clock(whole)
    assert f"Units of work: {len(whole)}; in the record: 7." in capsys.readouterr().out


@pytest.mark.timeout(120)
def test_a_kill_costs_the_unit_in_hand(place):
    script = place / "run.py"
    script.write_text(
        f"import argparse, os, pathlib, signal, sys\nsys.path[:0] = [{str(ROOT / 'tools')!r}, {str(ROOT)!r}]\n"
        f"import paper_runs, papers\n{CHANGES}place = pathlib.Path(sys.argv[1])\ndone = []\n"
        "def dies(jobs, *, workers):\n    for key, job in jobs.items():\n        if done and sys.argv[2] == 'die':\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n        done.append(key)\n        yield key, job(), None\n"
        "papers.run_here = dies\n"
        "papers.go(argparse.Namespace(papers=['3'], workers=1, device='cpu', record=place / 'papers.json', "
        "build=place / 'build'))\nprint(len(done))\n"
    )
    command = [sys.executable, str(script), str(place)]
    killed = subprocess.run([*command, "die"], capture_output=True, text=True, timeout=100, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(paper_units(place / "papers.json")) == 1
    again = subprocess.run([*command, "live"], capture_output=True, text=True, timeout=100, check=True)
    assert again.stdout.splitlines()[-1] == "1"
    assert len(paper_units(place / "papers.json")) == 2


def test_a_unit_that_fails_stops_no_other_and_is_named(place, monkeypatch):
    def one_fails(jobs, *, workers):
        for unit, job in jobs.items():
            yield (unit, None, "ValueError: a fault") if "Xavier" in unit.key else (unit, job(), None)

    monkeypatch.setattr(papers, "run_here", one_fails)
    with pytest.raises(papers.RunError, match=r"1 of 2 units failed.*\n  3/Xavier.*: ValueError: a fault"):
        papers.go(arguments(place))
    assert list(paper_units(place / "papers.json")) == ["3/He/seeds 0 to 7"]


def test_what_older_code_made_is_told_and_made_again(place, monkeypatch, capsys):
    monkeypatch.setattr(papers, "run_here", here)
    papers.go(arguments(place))
    units = paper_units(place / "papers.json")
    old = {key: {**unit, "made by": "older"} if "Xavier" in key else unit for key, unit in units.items()}
    papers.write_record(place / "papers.json", old)
    capsys.readouterr()
    papers.go(arguments(place))
    said = capsys.readouterr().out
    assert "Made by other code, and computed again: 1 of 2 units of the record." in said
    assert "Units of work: 2; in the record: 1." in said
    assert without_clock(paper_units(place / "papers.json")) == without_clock(units)


@pytest.fixture
def sentence(place, monkeypatch):
    """How `make papers` ends that cannot go on."""

    def run():
        arguments = ["papers.py", "--record", place / "papers.json", "--build", place / "build", "--workers", "1"]
        monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
        with pytest.raises(SystemExit) as ended:
            papers.main()
        return ended.value.code

    return run


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "t10k-images-idx3-ubyte.gz is not in the cache"),
        (lambda path: path.write_bytes(b"something else"), "t10k-images-idx3-ubyte.gz is corrupted"),
    ],
    ids=["missing", "wrong"],
)
def test_a_file_of_mnist_that_is_missing_or_wrong_is_named(place, sentence, damage, said):
    damage(place / "cache" / "mnist" / "t10k-images-idx3-ubyte.gz")
    found = sentence()
    assert found.startswith("papers: MNIST: expected the four files of data/registry.toml, got: ")
    assert said in found
    assert len(found.splitlines()) == 1
    assert not (place / "papers.json").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"version": 1, "uni', "expected JSON to its end, got a truncated or damaged file"),
        ('{"version": 0, "units": {}}', "expected a record of version 1, got version 0"),
        ('{"version": 1, "units": {"1": {}}}', "expected units, each with what it was made by, got others"),
    ],
)
def test_a_record_that_is_none_is_refused_and_left_alone(place, sentence, text, said):
    (place / "papers.json").write_text(text)
    assert re.fullmatch(rf"papers: \S+papers\.json: {re.escape(said)}: restore the file .*", sentence())
    assert (place / "papers.json").read_text() == text


def test_an_unknown_paper_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["papers.py", "--papers", "1 4"])
    with pytest.raises(SystemExit, match="2"):
        papers.main()
    assert "PAPERS: expected some of 1 2 3, got '4'" in capsys.readouterr().err


def test_a_second_run_on_the_same_checkout_is_refused(place, sentence):
    with papers.only_run(place / "build" / "papers"):
        assert sentence().endswith("papers: another make papers is at work here: wait until it has ended")


# The record


def test_the_record_of_the_course_is_of_this_code():
    assert papers.stale(paper_units()) == [], "run make papers"


def test_rates_are_those_that_the_searches_chose():
    units = paper_units()
    wanted = {unit.key: unit for paper in "123" for unit in papers.units_of(paper)}
    assert [key for key in units if not papers.is_done(wanted[key], units)] == [], "run make papers"


def test_the_record_is_small():
    assert PAPERS.stat().st_size < 200_000
    assert json.loads(PAPERS.read_text())["units"]


def test_the_spread_of_few_seeds_is_their_range_and_of_many_an_order_statistic():
    assert spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    # Of 16, the interval of 97.9 % goes from the fourth smallest to the fourth largest.
    assert spread(range(16)) == (7.5, 3.0, 12.0)
    with pytest.raises(ValueError, match=r"values: expected one number per seed, shape \(n,\), got shape \(0,\)"):
        spread([])

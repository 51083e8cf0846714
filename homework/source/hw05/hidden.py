"""Homework 5, why it works: the open claim that is drawn from the variant, the checks, the rubrics."""

import textwrap
import tomllib
from functools import partial

import numpy as np

from homework.source.drawing import HERE, Manual, auto, close, generator, notebook_of

NAME = "hw05"
CLAIMS = HERE.parents[1] / "data" / "claims.toml"
# Claims that the course left open: what is compared, whether it is a loss or a gain, the arms' norms and batches.
OPEN = {
    "gn-as-good-at-thirty-two": (
        ("batch norm", "group norm of four groups"),
        "lost",
        'norm = {"norm": "group" if arm else "batch"}\nbatches = 32',
    ),
    "bn-replaces-standardization": (
        ("standardized inputs", "pixels, batch norm first"),
        "lost",
        'norm = {"norm_input": "batch" if arm else None}\nbatches = 60',
    ),
    "bn-shuffling": (
        ("the same order in every epoch", "a new order in every epoch"),
        "gained",
        'norm = {"norm": "batch"}\nshuffled = partial(training.batches, reshuffle=bool(arm))\n'
        "batches = partial(shuffled, len(split.x_train), 60, steps)",
    ),
}


def draw(variant):
    """The setting of a variant."""
    rng = generator(variant, NAME)
    return {
        "claim": str(rng.choice(list(OPEN))),
        "confidence": float(rng.choice([0.9, 0.95, 0.99])),
        "average": str(rng.choice(["mean", "median"])),
        "seed": int(rng.integers(10**6)),
    }


def cells(variant):
    """The drawn cells, by their ids."""
    s = draw(variant)
    claim = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))["claims"][s["claim"]]
    (first, second), kind, arms = OPEN[s["claim"]]
    first_less = kind == "lost"
    inputs = "        split = split.map(Standardizer().fit(split.x_train).transform)"
    if s["claim"] == "bn-replaces-standardization":
        inputs = f"        if arm == 0:\n    {inputs}"
    quote = "\n".join(f"> {line}" for line in textwrap.wrap(claim["quote"], 100))
    return {
        "claim": f"**{claim['statement']}**\n\n{quote}\n>\n> {claim['source']}\n\nThe effect is measured in "
        f"*{claim['unit']}*; the claim stands if it is {claim['direction']} {claim['smallest']:g}. "
        f"Arm 0: *{first}*. Arm 1: *{second}*.\n\n"
        "The course left it undecided. `from utils import evidence`, then "
        f'`evidence.recorded("{s["claim"]}")` shows what its runs measured, in which setting, and where they '
        f"disagree. The experiment is in `notebooks/labs/{claim['lab']}.ipynb`; build yours on it.",
        "setting": f"""\
# Drawn from the variant {variant}. Other classes have another claim.
SMALLEST, DIRECTION = {claim["smallest"]}, "{claim["direction"]}"
CONFIDENCE = {s["confidence"]}  # of the interval
AVERAGE = "{s["average"]}"  # over the seeds, by which a rate is chosen
SIGN = {-1 if first_less else 1}  # effect = SIGN * (arm 1 - arm 0): points {kind} by arm 1
SEED = {s["seed"]}""",
        "run": f'''\
def run(seed, rates, steps):
    """Your experiment for one seed: both arms at every rate.

    seed: an integer, which decides on split, initialization and batches, the
    same for both arms. rates: list of learning rates. steps: an integer, how
    long to train. Gives a dict with validation and test, accuracies from 0 to 1
    in arrays (2, number of rates).
    """
    ### BEGIN SOLUTION
    from functools import partial

    from utils import data
    from utils.byhand.standardization import Standardizer
    from utils.lab import training
    from utils.lab.networks import mlp
    from utils.lab.replicas import Stack

    found = {{"validation": [], "test": []}}
    for arm in range(2):
        split = data.digits(seed=seed).with_validation(seed=seed)
{inputs}
{textwrap.indent(arms, " " * 8)}
        build = partial(mlp, 64, 10, width=40, depth=2, **norm)
        stack = Stack.of(build, [seed] * len(rates))
        how = {{"batch_size": batches, "learning_rates": list(rates)}}
        history = training.fit(stack, split, steps=steps, **how)
        for part, values in found.items():
            values.append(np.asarray(history.accuracy[part][-1]) / 100)
    return {{part: np.array(values) for part, values in found.items()}}
    ### END SOLUTION''',
    }


notebook = partial(notebook_of, NAME, cells)


def _accuracies(rng, rates, seeds):
    """Accuracies of two arms: each has a best rate inside, some runs diverged, and the mean and the median disagree."""
    best = rng.integers(0, rates, 2)
    away = np.abs(np.arange(rates) - best[:, None])
    values = 0.9 - 0.06 * away[:, :, None] + rng.normal(0, 0.02, (2, rates, seeds))
    # The best but one has a better median, and a few seeds that fail.
    other = (best + 1) % rates
    for arm in range(2):
        values[arm, other[arm]] = values[arm, best[arm]] + 0.02
        values[arm, other[arm], : seeds // 4] = rng.uniform(0.1, 0.2, seeds // 4)
    values[0, best[0] - 1, 0] = np.nan
    # A rate with which most runs diverge and the others shine.
    values[1, (best[1] + 2) % rates] = np.where(np.arange(seeds) < 0.7 * seeds, np.nan, rng.uniform(0.97, 0.99, seeds))
    return np.clip(values, 0, 1)


SIZES = ((4, 16), (5, 9), (6, 21))


def _validations(rng):
    found = [{"validation": _accuracies(rng, *size)} for size in SIZES]
    for ends in ((0, 4), (4, 0)):  # the best rate of one arm is the first, that of the other the last
        away = np.abs(np.arange(5) - np.array(ends)[:, None])
        found.append({"validation": 0.9 - 0.06 * away[:, :, None] + rng.normal(0, 0.01, (2, 5, 11))})
    return found


def _pairs(rng):
    found = []
    for size in SIZES:
        validation = _accuracies(rng, *size)
        test = np.clip(_accuracies(rng, *size) + rng.normal(0, 0.05, (2, *size)), 0, 1)
        found.append({"validation": validation, "test": test})
    return found


def _intervals(rng):
    found = []
    for n in (16, 11, 24, 7, 4, *(int(n) for n in rng.integers(8, 40, 8))):
        confidence = float(rng.uniform(0.93, 0.96) if n < 20 else rng.uniform(0.6, 0.995))
        found.append({"effects": rng.standard_t(3, n), "confidence": confidence})
    found[2]["effects"][:3] = np.inf
    n = int(rng.integers(5, 9))  # just enough of them: equality counts
    return [*found, {"effects": rng.standard_t(3, n), "confidence": 1 - 0.5 ** (n - 1)}]


def _verdicts(confidence, rng):
    found = []
    first = {0.9: 4, 0.95: 3, 0.99: 2}[confidence]  # where the interval of sixteen effects begins
    for sign, direction in ((1, "at least"), (-1, "at most")):
        effects = np.cumsum(rng.uniform(0.5, 1, 16)) + rng.uniform(-9, 9)
        for place in (first - 0.5, first + 0.5):  # within the interval, or not, at this confidence only
            smallest = float(np.interp(place, np.arange(16), effects))
            found.append(
                {"effects": sign * rng.permutation(effects), "smallest": sign * smallest, "direction": direction}
            )
    for direction in ("at least", "at most"):
        for shift in (4.0, -4.0):
            smallest = float(rng.uniform(-2, 2))
            effects = smallest + shift + rng.uniform(-1, 1, 16)
            found.append({"effects": effects, "smallest": smallest, "direction": direction})
        smallest = float(rng.uniform(-2, 2))
        effects = smallest + np.where(np.arange(16) < 6, -1, 1) * rng.uniform(0.5, 1, 16)  # open, whatever the median
        found.append({"effects": effects, "smallest": smallest, "direction": direction})
        for sign in (1, -1):  # the end of the interval is the smallest effect itself
            smallest = float(rng.uniform(-2, 2))
            effects = smallest + sign * np.where(np.arange(16) < 7, 0, rng.uniform(0.5, 1, 16))
            found.append({"effects": effects, "smallest": smallest, "direction": direction})
    return found


def _confidences(rng):
    drawn = (*rng.uniform(0.5, 0.9, 2), *(1 - 10 ** rng.uniform(-4, -1, 4)), 1 - 0.5 ** rng.integers(3, 9))
    return [{"confidence": float(c)} for c in drawn]


def _runs(rng):
    """The same seed twice, and another."""
    seed, rates = int(rng.integers(10**6)), [float(rate) for rate in 10 ** rng.uniform(-1.2, -0.3, 3)]
    steps = int(rng.integers(25, 40))
    return [{"seed": seed + more, "rates": rates, "steps": steps} for more in (0, 0, 1)]


def _form(got, want, case):
    """What is wrong with one run by itself."""
    if not isinstance(got, dict) or not {"validation", "test"} <= set(got):
        return "expected a dict with validation and test"
    for part in ("validation", "test"):
        values = np.asarray(got[part], dtype=float)
        if values.shape != (2, len(case["rates"])):
            return f"{part}: expected shape (2, number of rates), got {values.shape}"
        if not ((values >= 0) & (values <= 1)).all():
            return f"{part}: expected accuracies from 0 to 1"
    return "validation and test are the same numbers" if np.array_equal(got["validation"], got["test"]) else None


def _repeatable(got):
    """What is wrong with the runs side by side."""
    first, again, other = ([np.asarray(run[part]) for part in ("validation", "test")] for run in got)
    if not np.array_equal(first, again):
        return "the same seed gives other numbers when it is run again"
    if np.array_equal(first, other):
        return "another seed gives the same numbers"
    if all(np.array_equal(*values) for values in (*first, *other)):
        return "the two arms give the same numbers"
    return None


def checks(variant):
    """What a machine marks."""
    verdicts = partial(_verdicts, draw(variant)["confidence"])
    table = [
        ("rates-scores", 15, "rates chosen on validation data", "choose_rates", _validations),
        ("effects-scores", 15, "one paired effect per seed", "paired_effects", _pairs, close(1e-7)),
        ("interval-scores", 15, "an exact interval of the median", "exact_interval", _intervals),
        ("verdict-scores", 10, "a verdict by the interval", "verdict", verdicts),
        ("seeds-scores", 5, "how many seeds are needed", "fewest_seeds", _confidences),
    ]
    run = ("run-scores", 10, "an experiment that can be repeated", "run", _runs, _form)
    return [*(auto(variant, *row) for row in table), auto(variant, *run, together=_repeatable)]


def manual(variant):
    """What a person marks."""
    design = """\
4 points: a prediction and the smallest effect that matters, written before the first run.
4 points: the arms differ in the claim's point and in nothing else; each has its own sweep of rates, best inside.
4 points: split, initialization and batches are drawn by the seed; validation data choose, test data judge.
3 points: names what would mislead (one rate for both, one split, a fixed number of steps for a question of quality)."""
    judgement = """\
5 points: at least sixteen seeds and three rates per arm; median, interval and verdict as measured, whatever they are.
4 points: the claim is not stretched: what data, depth, steps and size the verdict holds for.
3 points: where still inconclusive, says how many seeds or what other experiment would decide, with an argument.
3 points: says what was changed after the first run, or that nothing was."""
    return [Manual("design", 15, design), Manual("judgement", 15, judgement)]

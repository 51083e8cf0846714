"""What every experiment has to keep, so that nobody turns its verdict round by changing one thing."""

from utils.evidence.claims import Claim

__all__ = ["RULES", "violations"]

# Training and test images of the data sets, with a quarter of the training images kept for validation.
_TRAINED_ON = {"digits": 1010, "mnist_5k": 3000}
_TESTED_ON = {"digits": 450, "mnist_5k": 1000}
LARGEST_STEP = 2.0  # between two rates of a grid
FEWEST_RATES = 3
FEWEST_EPOCHS = 3
ROUNDING = 1e-9


def in_points(claim):
    """Whether a claim counts points of accuracy."""
    return isinstance(claim, Claim) and claim.unit.startswith("percentage points")


def is_loss(claim):
    """Whether a claim counts points that the second arm of a condition loses against the first."""
    return in_points(claim) and "lost" in claim.unit


def is_factor(claim):
    """Whether a claim counts factors."""
    return claim.unit.startswith("×")


def two_budgets(made):
    """What is trained is trained for T steps and for four times as many."""
    trains = made.kind == "experiment" or (made.kind == "measurement" and made.steps)
    if not trains:
        return
    if not made.steps:
        yield "expected steps, the budget T, got none"
    elif len(set(made.budgets)) < 2 or 1 not in made.budgets or max(made.budgets) < 4:
        yield f"expected two budgets, T and 4T, got the factors {made.budgets}"


def two_data_sets(made):
    """A claim on images is tested on digits and on MNIST, any other under two conditions."""
    if made.kind == "experiment":
        if missing := sorted(set(_TRAINED_ON) - set(made.datasets)):
            yield f"expected the data sets {', '.join(_TRAINED_ON)}, got none called {', '.join(missing)}"
    elif made.kind == "measurement":
        for name, conditions in made.claims.items():
            if len(conditions) * len(made.datasets) < 2:
                yield f"claim {name}: expected two data sets or settings of its own, got one"


def fine_grid(made):
    """Learning rates are at most a factor of two apart, and there are three at least."""
    for arm, grid in made.rates.items():
        steps = [b / a for a, b in zip(grid, grid[1:], strict=False)]
        if steps and max(steps) > LARGEST_STEP + ROUNDING:
            yield f"rates of {arm}: expected steps of at most a factor of two, got {max(steps):.3g}"
        elif len(grid) < FEWEST_RATES:
            yield f"rates of {arm}: expected at least three, so that a seed can choose, got {len(grid)}"


def resolution(made):
    """A threshold is at least one step of what the measurement can show."""
    for name, claim in made.facts.items():
        step = made.resolution.get(name)
        if step is None and in_points(claim):
            step = max(100 / _TESTED_ON.get(data, 100) for data in made.datasets)
        if step is None or made.kind == "identity":
            continue
        threshold = abs(claim.smallest)
        if is_factor(claim) and threshold > 0:
            threshold = max(threshold, 1 / threshold)
        if threshold < step - ROUNDING:
            yield f"claim {name}: expected a threshold of at least {step:.3g} {claim.unit}, got {claim.smallest:.3g}"


def can_support(made):
    """Under every condition the claim could come out as it says."""
    for name, conditions in made.claims.items():
        claim = made.facts[name]
        for label, (function, *arms) in conditions.items():
            if function is None and len(arms) == 2 and arms[0] == arms[1]:
                yield f"claim {name}, condition {label!r}: expected two different arms, got {arms[0]!r} twice"
        if in_points(claim) and abs(claim.smallest) > 100:
            yield f"claim {name}: expected a threshold that points can reach, got {claim.smallest:.4g}"
        if is_factor(claim) and claim.smallest <= 0:
            yield f"claim {name}: expected a factor above 0, got {claim.smallest:.4g}"


def three_epochs(made):
    """Where a claim is on accuracy after training, T is at least three epochs on each data set."""
    if made.kind != "experiment" or not any(in_points(claim) for claim in made.facts.values()):
        return
    if not made.examples:
        yield "expected examples, the number per step, got none: T is compared with three epochs"
        return
    for data in made.datasets:
        epochs = made.steps * made.examples / _TRAINED_ON.get(data, 1)
        if epochs < FEWEST_EPOCHS:
            yield f"expected T of at least three epochs on {data}, got {epochs:.2g}"


#: The rules, by the names under which a lab may waive them.
RULES = {
    rule.__name__.replace("_", " "): rule
    for rule in (two_budgets, two_data_sets, fine_grid, resolution, can_support, three_epochs)
}


def violations(made):
    """What is wrong with a declaration.

    Parameters
    ----------
    made : Experiment

    Yields
    ------
    rule, sentence : str
        Of every rule that it breaks and does not waive; also a waiver of a rule that is not broken, or without reason.
    """
    broken = {name: list(rule(made)) for name, rule in RULES.items()}
    for name, reason in made.waive.items():
        if name not in RULES:
            yield "waive", f"expected one of {', '.join(RULES)}, got {name!r}"
        elif not isinstance(reason, str) or not reason.strip():
            yield "waive", f"{name}: expected the reason as a sentence, got {reason!r}"
        elif not broken[name]:
            yield "waive", f"{name}: expected a rule that the experiment breaks, got one that it keeps: take it out"
    for name, sentences in broken.items():
        if name not in made.waive:
            yield from ((name, sentence) for sentence in sentences)

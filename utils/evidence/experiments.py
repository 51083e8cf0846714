"""Declare an experiment of a lab: one function, the claims that read it, and the protocol that it has to keep."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from utils.arrays import number, one_of, whole
from utils.evidence.claims import CLAIMS, claim_called
from utils.evidence.protocol import violations

__all__ = ["Experiment", "experiment", "registered"]

#: The data sets on which every claim about images is tested.
IMAGES = ("digits", "mnist_5k")
BUDGETS = (1, 4)
OWN = "own data"

_open_registers = []


class registered(list):
    """The experiments that are declared inside a ``with`` block, in order."""

    def __enter__(self):
        _open_registers.append(self)
        return self

    def __exit__(self, *_):
        _open_registers[:] = [register for register in _open_registers if register is not self]


@dataclass(frozen=True, eq=False)
class Experiment:
    """A function that measures, and what was declared about it; see `experiment`, which makes it.

    Parameters
    ----------
    name : str
        That of the function.
    function : callable
    claims : dict of str to dict
        For each claim its conditions, by name: a tuple of arms, with a function of their values in front where it is
        not the difference of two.
    kind : str
        Of all its claims: one of `utils.evidence.claims.KINDS`.
    rates : dict of str to tuple of float
        The first grid of every arm; empty where nothing is chosen.
    steps : int
        T; 0 where nothing is trained.
    budgets : tuple of int
        Factors of T.
    datasets : tuple of str
    resolution : dict of str to float
        The smallest difference that the measurement can show, for each claim.
    examples : int
        Per step; 0 where it does not matter.
    waive : dict of str to str
        Rules of the protocol that it need not keep, each with the reason.
    live : int
        How many seeds run when a notebook runs.
    seeds : int, optional
        At most so many in the long run.
    """

    name: str
    function: Callable
    claims: dict
    kind: str
    rates: dict = field(default_factory=dict)
    steps: int = 0
    budgets: tuple = BUDGETS
    datasets: tuple = IMAGES
    resolution: dict = field(default_factory=dict)
    examples: int = 0
    waive: dict = field(default_factory=dict)
    live: int = 16
    seeds: int | None = None
    path: object = field(default_factory=lambda: CLAIMS)

    @cached_property
    def facts(self):
        """The claims themselves, by their ids."""
        return {name: claim_called(name, self.path) for name in self.claims}

    def columns(self):
        """The columns that the protocol wants.

        Returns
        -------
        list of tuple of str and int
            Data set and factor of T.
        """
        return [(data, budget) for data in self.datasets for budget in (self.budgets if self.steps else (1,))]

    def __call__(self, *arguments, **named):
        """Call the function that was declared."""
        return self.function(*arguments, **named)


def experiment(
    claims,
    *,
    rates=None,
    steps=0,
    budgets=BUDGETS,
    datasets=None,
    resolution=None,
    examples=0,
    waive=None,
    live=16,
    seeds=None,
    path=CLAIMS,
):
    """Declare the function below as an experiment.

    Parameters
    ----------
    claims : dict of str to dict of str to tuple
        The ids of the claims that read it; for each the conditions by name. A condition is a tuple of arms: of two, the
        effect is the first minus the second; of one, its value; with a function in front, what that makes of them. The
        value of an arm with rates is the test score of each seed at its own rate. For an identity the conditions are
        None: the function names its errors itself.
    rates : dict of str to sequence of float, or sequence of float, optional
        The first grid of learning rates of each arm, ascending, at most a factor of two apart. Every seed chooses its
        own rate on its validation images, and the grid grows while more than a quarter of the seeds choose its end.
    steps : int
        The budget T; the long run also has four times as many. 0 where nothing is trained.
    budgets : tuple of int
        Factors of T.
    datasets : tuple of str, optional
        What the function is called with; by default both data sets of images for an experiment, and data of its own
        otherwise.
    resolution : float or dict of str to float, optional
        The smallest difference that the measurement can show (a factor where the claim's unit begins with ×). For
        accuracies in percentage points it is known.
    examples : int
        Per step (the batch size), where a claim is about final accuracy: T must be three epochs on each data set.
    waive : dict of str to str, optional
        Rules of `utils.evidence.protocol.RULES` that cannot be kept, each with the reason, which the card prints.
    live : int
        Seeds when the notebook runs; the others are in the record.
    seeds : int, optional
        At most so many in the long run.
    path : path-like
        Where the claims are.

    Returns
    -------
    callable
        A decorator, whose result is an `Experiment`. The function gets ``seeds`` (a range), ``data`` (the name of the
        data set), ``steps``, ``rates`` (those to be tried, per arm) and ``device``, and returns for each arm and each
        rate an array of shape (seeds, 2), the score on validation images and on test images; without rates, for each
        arm an array of shape (seeds,). That of an identity gets nothing and returns errors by name.

    Raises
    ------
    ValueError
        If the declaration breaks a rule of the protocol, or claims, arms and rates do not fit together.
    """

    def declare(function):
        start = f"experiment {function.__name__}"
        if not isinstance(claims, Mapping) or not claims:
            raise ValueError(f"{start}: claims: expected at least one id with its conditions, got {claims!r}")
        facts = {name: claim_called(name, path) for name in claims}
        kinds = {claim.kind for claim in facts.values()}
        if len(kinds) > 1:
            raise ValueError(f"{start}: expected claims of one kind, got {sorted(kinds)}: declare them apart")
        (kind,) = kinds
        conditions = {name: _conditions(each, f"{start}, claim {name}", kind) for name, each in claims.items()}
        arms = sorted({arm for each in conditions.values() for _, *arms in each.values() for arm in arms})
        made = Experiment(
            name=function.__name__,
            function=function,
            claims=conditions,
            kind=kind,
            rates=_grids(rates, arms, start),
            steps=whole(steps, f"{start}: steps", at_least=0),
            budgets=tuple(whole(each, f"{start}: budgets") for each in _each_once(budgets, f"{start}: budgets")),
            datasets=_names(datasets, kind, f"{start}: datasets"),
            resolution=_per_claim(resolution, facts, start),
            examples=whole(examples, f"{start}: examples", at_least=0),
            waive=_reasons(waive, f"{start}: waive"),
            live=whole(live, f"{start}: live"),
            seeds=seeds if seeds is None else whole(seeds, f"{start}: seeds"),
            path=path,
        )
        if faults := list(violations(made)):
            raise ValueError("\n".join(f"{start}: {rule}: {sentence}" for rule, sentence in faults))
        for register in _open_registers:
            _enter(register, made)
        return made

    return declare


def _each_once(values, name):
    """The values of a tuple or list, which are all different."""
    if isinstance(values, str) or not isinstance(values, Iterable) or not (found := list(values)):
        raise ValueError(f"{name}: expected a tuple of at least one, got {values!r}")
    if len({str(each) for each in found}) < len(found):
        raise ValueError(f"{name}: expected each once, got {values!r}")
    return found


def _names(datasets, kind, name):
    """What the function is called with."""
    found = _each_once((IMAGES if kind == "experiment" else (OWN,)) if datasets is None else datasets, name)
    if not all(isinstance(each, str) and each for each in found):
        raise ValueError(f"{name}: expected names, got {datasets!r}")
    return tuple(found)


def _reasons(waive, name):
    if waive is not None and not isinstance(waive, Mapping):
        raise ValueError(f"{name}: expected a reason for each rule by its name, got {waive!r}")
    return dict(waive or {})


def _enter(register, made):
    """Put an experiment into a register, where each name and each claim is free."""
    for other in register:
        if twice := sorted(set(other.claims) & set(made.claims)):
            raise ValueError(f"claim {twice[0]}: expected one experiment that reads it, got {other.name}, {made.name}")
        if other.name == made.name:
            raise ValueError(f"experiment {made.name}: expected one of this name, got two")
    register.append(made)


def _conditions(given, start, kind):
    """Every condition as a tuple of a function and the arms that it takes."""
    if kind == "identity":
        if given is not None:
            raise ValueError(f"{start}: expected None, since an identity names its errors itself, got {given!r}")
        return {}
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{start}: expected at least one condition by name, got {given!r}")
    found = {}
    for name, value in given.items():
        parts = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, tuple | list) else ()
        function, arms = (parts[0], parts[1:]) if parts and callable(parts[0]) else (None, parts)
        if not arms or not all(isinstance(arm, str) for arm in arms) or (function is None and len(arms) > 2):
            raise ValueError(
                f"{start}, condition {name!r}: expected one arm, two arms to subtract, or a function and its arms, "
                f"got {value!r}"
            )
        found[str(name)] = (function, *arms)
    return found


def _grids(rates, arms, start):
    """The grid of every arm, ascending."""
    if rates is None:
        return {}
    if not isinstance(rates, Mapping):
        rates = dict.fromkeys(arms, rates)
    for arm in arms:
        one_of(arm, rates, f"{start}: an arm of a condition", hint="; give its learning rates")
    grids = {}
    for arm, given in rates.items():
        rates_of = list(given) if isinstance(given, Iterable) else []
        grid = tuple(number(rate, f"{start}: a rate of {arm}", above=0) for rate in rates_of)
        if not grid or any(a >= b for a, b in zip(grid, grid[1:], strict=False)):
            raise ValueError(f"{start}: rates of {arm}: expected ascending rates, at least one, got {given!r}")
        grids[str(arm)] = grid
    return grids


def _per_claim(resolution, facts, start):
    if resolution is None:
        return {}
    given = resolution if isinstance(resolution, Mapping) else dict.fromkeys(facts, resolution)
    for name, value in given.items():
        one_of(name, facts, f"{start}: resolution")
        number(value, f"{start}: resolution of {name}", above=0)
    return dict(given)

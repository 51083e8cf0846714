"""What the course claims: statements, thresholds and predictions, as ``data/claims.toml`` has them."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from utils.arrays import number, one_of
from utils.data_files import data_file

__all__ = ["CLAIMS", "KINDS", "OTHER_SETTINGS", "WORDS", "Claim", "Retired", "claims", "retired"]

#: The claims of the course.
#:
#: :meta hide-value:
CLAIMS = data_file("claims.toml")
#: What a record can say of a claim.
WORDS = ("holds", "depends", "fails", "undecided")
#: How a claim is tested: something is trained on images; something else is measured; an exact identity; times.
KINDS = ("experiment", "measurement", "identity", "timing")

#: The end of every setting.
OTHER_SETTINGS = "Other settings may give another word."

_OPTIONAL = {"conclusion", "setting", "changed"}


@dataclass(frozen=True)
class Claim:
    """One table of ``claims.toml``.

    Parameters
    ----------
    id : str
    statement : str
        In the course's words.
    quote, source : str
        In the words of who says it, and where.
    prediction : str
        Made before the experiment was run.
    smallest : float
        The smallest (for direction "at most": the largest) effect with which the statement holds; for an identity
        the tolerance.
    direction : {"at least", "at most"}
        On which side of `smallest` the effect has to lie.
    unit : str
    lab : str
        File name, without ending, of the lab that judges it.
    kind : str
        One of `KINDS`.
    conclusion : dict of str to str
        What a student can repeat, in one sentence, for the word of `WORDS` with which it was written.
    setting : str
        What was held fixed in all conditions: model, start, optimizer, sizes, T and 4T in numbers. A verdict speaks of
        its setting, so an experiment and a measurement need one, which ends with `OTHER_SETTINGS`.
    changed : str
        What was changed after a run (statement, conditions or threshold) and why; empty if nothing was.
    """

    id: str
    statement: str
    quote: str
    source: str
    prediction: str
    smallest: float
    direction: str
    unit: str
    lab: str
    kind: str
    conclusion: dict = field(default_factory=dict, hash=False)
    setting: str = ""
    changed: str = ""

    def __post_init__(self):
        start = f"claim {self.id}"
        one_of(self.direction, ("at least", "at most"), f"{start}: direction")
        number(self.smallest, f"{start}: smallest")
        one_of(self.kind, KINDS, f"{start}: kind")
        if not isinstance(self.conclusion, dict) or set(self.conclusion) - set(WORDS):
            raise ValueError(
                f"{start}: conclusion: expected a sentence for some of {', '.join(WORDS)}, got {self.conclusion!r}"
            )


@dataclass(frozen=True)
class Retired:
    """A claim that went: what it said, and the reason in a sentence."""

    id: str
    statement: str
    reason: str


def _tables(path, part):
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8")).get(part, {})
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"path: expected a TOML file such as {CLAIMS}, got: {error}") from None


def _filled(kind, part, path, optional=frozenset()):
    """Every table of one part as an instance of `kind`, if it has the entries that it needs."""
    wanted = set(kind.__dataclass_fields__) - {"id"} - optional
    tables = _tables(path, part)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ValueError(f"claim {name}: expected a table [{part}.{name}], got {table!r}")
        if missing := sorted(wanted - set(table)):
            raise ValueError(f"claim {name}: expected the entries {sorted(wanted)}; missing {missing}")
        if extra := sorted(set(table) - wanted - optional):
            raise ValueError(f"claim {name}: expected the entries {sorted(wanted | optional)}; unknown {extra}")
    return {name: kind(id=name, **table) for name, table in tables.items()}


def claims(path=CLAIMS):
    """Read the claims.

    Parameters
    ----------
    path : path-like
        A file with a table ``[claims.<id>]`` for each claim.

    Returns
    -------
    dict of str to Claim

    Raises
    ------
    ValueError
        If the file cannot be read, or a table lacks an entry, has one too many, or one with a value that is not
        allowed.
    """
    return _filled(Claim, "claims", path, optional=_OPTIONAL)


def retired(path=CLAIMS):
    """Read the claims that went.

    Parameters
    ----------
    path : path-like
        A file with a table ``[retired.<id>]`` for each of them.

    Returns
    -------
    dict of str to Retired

    Raises
    ------
    ValueError
        As `claims`; also if a claim is retired and there.
    """
    found = _filled(Retired, "retired", path)
    if both := sorted(set(found) & set(_tables(path, "claims"))):
        raise ValueError(f"claim {both[0]}: expected it among the claims or among the retired, got it in both")
    return found


def claim_called(claim_id, path=CLAIMS):
    """One claim; a ValueError names those that there are."""
    known = claims(path)
    return known[one_of(claim_id, known, "claim_id", hint=f"; add a table [claims.{claim_id}]")]

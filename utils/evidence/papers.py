"""What three papers' own experiments gave on the whole of MNIST, ``data/papers.json``, which ``make papers`` writes."""

import json
from os import PathLike
from pathlib import Path

import numpy as np

from utils.arrays import instance, numeric
from utils.data_files import data_file
from utils.evidence.statistics import interval, median

__all__ = ["PAPERS", "paper_units", "spread"]

#: What lab 09 reads.
#:
#: :meta hide-value:
PAPERS = data_file("papers.json")
VERSION = 1
_ADVICE = "restore the file from git, or remove it and run make papers"


def paper_units(path=PAPERS):
    """The units of work that are recorded.

    Parameters
    ----------
    path : path-like
        A file that need not be there yet.

    Returns
    -------
    dict of str to dict
        By the name of the unit, such as ``"1/best rate/plain/seeds 0 to 3"``: what it measured, with ``made by`` (the
        fingerprint of its code), ``device`` and ``seconds``. Without the file, {}.

    Raises
    ------
    ValueError
        If the file cannot be read, is truncated, or is of another version.
    """
    path = Path(instance(path, str | PathLike, "path", what="a path"))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got bytes that are no text ({error}): {_ADVICE}") from None
    except ValueError:
        raise ValueError(f"{path}: expected JSON to its end, got a truncated or damaged file: {_ADVICE}") from None
    except OSError as error:
        raise ValueError(f"{path}: expected a record that can be read, got: {error}") from None
    version = found.get("version") if isinstance(found, dict) else None
    if version != VERSION:
        raise ValueError(f"{path}: expected a record of version {VERSION}, got version {version}: {_ADVICE}")
    units = found.get("units")
    if not isinstance(units, dict) or not all(isinstance(unit, dict) and "made by" in unit for unit in units.values()):
        raise ValueError(f"{path}: expected units, each with what it was made by, got others: {_ADVICE}")
    return units


def spread(values):
    """The median of one number per seed, and its interval.

    Parameters
    ----------
    values : array_like, shape (n,)

    Returns
    -------
    middle, low, high : float
        The ends are those of the exact interval of the median, as on the cards, and below six seeds, for which there is
        none, the smallest and the largest number.

    Raises
    ------
    ValueError
        If there are no numbers.
    """
    values = numeric(values, "values").astype(np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"values: expected one number per seed, shape (n,), got shape {values.shape}")
    values, k = np.sort(values), interval(len(values)) or 1
    return median(values), float(values[k - 1]), float(values[-k])

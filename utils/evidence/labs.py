"""The experiments of a lab, without its pictures: its set-up and definition cells, executed."""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from os import PathLike
from pathlib import Path
from threading import Lock

from utils.arrays import instance
from utils.evidence.experiments import registered
from utils.evidence.fingerprint import fingerprint
from utils.evidence.running import as_unit, run

__all__ = ["DEFINES", "Lab", "measure", "open_lab"]

# A worker of a cluster has several threads; there is one register of experiments, and ast.parse bears one at a time.
_ONE_AT_A_TIME = Lock()
#: The tag of the cells that a worker executes.
DEFINES = "define"


@dataclass(frozen=True, eq=False)
class Lab:
    """A lab: its file name without ending, the source of its definitions, and its experiments by name."""

    stem: str
    source: str
    experiments: dict
    known: dict = field(default_factory=dict, repr=False)

    def fingerprint(self, name):
        """The fingerprint of one of its experiments, as the code was when it was first asked for.

        Parameters
        ----------
        name : str

        Returns
        -------
        str
        """
        with _ONE_AT_A_TIME:
            if name not in self.known:
                self.known[name] = fingerprint(self.source, name)
            return self.known[name]


def definitions(path):
    """The source of the set-up and definition cells of a lab, in order.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the file is no notebook.
    """
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        wanted = [cell for cell in cells if DEFINES in cell["metadata"].get("tags", [])]
        return "\n\n".join("".join(cell["source"]) for cell in wanted if cell["cell_type"] == "code")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected a lab, a notebook, got: {error!r}") from None


@lru_cache(maxsize=2)
def _opened(path, changed):
    source = definitions(path)
    with registered() as found:
        try:
            exec(compile(source, str(path), "exec"), {"__name__": "lab"})
        except Exception as error:
            raise ValueError(
                f"{path}: expected cells with the tag {DEFINES} that run by themselves, got "
                f"{type(error).__name__}: {error}"
            ) from error
    return Lab(Path(path).stem, source, {each.name: each for each in found})


def open_lab(path):
    """Execute the definitions of a lab.

    Parameters
    ----------
    path : path-like
        A notebook whose set-up and definition cells have the tag ``define``.

    Returns
    -------
    Lab

    Raises
    ------
    ValueError
        If the file is no notebook, its definitions do not run, or an experiment breaks a rule of the protocol.
    """
    path = Path(instance(path, str | PathLike, "path", what="a path"))
    with _ONE_AT_A_TIME:
        return _opened(path, path.stat().st_mtime_ns if path.exists() else 0)


def measure(path, name, dataset, budget, first, n, device="cpu", grids=None):
    """One unit of work, as a worker does it.

    Parameters
    ----------
    path : path-like
        Of the lab.
    name : str
        Of the experiment.
    dataset : str
    budget : int
        Factor of T.
    first, n : int
        The seeds from `first` on.
    device : str
    grids : dict, optional
        Rates to take as they are.

    Returns
    -------
    dict
        A unit of `utils.evidence.record.Record`.
    """
    lab = open_lab(path)
    made, made_by = lab.experiments[name], lab.fingerprint(name)
    measured = run(made, range(first, first + n), data=dataset, budget=budget, device=device, grids=grids)
    return {
        "experiment": f"{lab.stem}/{name}",
        "dataset": dataset,
        "budget": budget,
        "first": first,
        "n": n,
        "steps": made.steps * budget,
        "fingerprint": made_by,
        "device": device,
        **as_unit(made, measured),
    }

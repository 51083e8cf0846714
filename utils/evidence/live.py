"""In a notebook: run a declared experiment on its first seeds, and show what the record says."""

import json
import os
from dataclasses import dataclass, field

from tqdm.auto import tqdm

from utils.arrays import instance, one_of
from utils.data_files import data_file
from utils.evidence.cards import MIME, Card, from_json, strict
from utils.evidence.claims import CLAIMS, claim_called, claims
from utils.evidence.experiments import Experiment
from utils.evidence.record import RECORD, Record, judged, not_judged
from utils.evidence.running import as_unit, run
from utils.evidence.statistics import NOT_JUDGED

__all__ = ["Live", "live", "recorded", "recorded_scores"]

SECONDS_WITHOUT_BAR = 2
FEWEST_SEEDS = 6  # with an interval


@dataclass(frozen=True, eq=False)
class Live:
    """What an experiment gave just now.

    Parameters
    ----------
    experiment : Experiment
    measured : dict of str to utils.evidence.running.Measured
        For each data set that it ran on, at budget T.
    n : int
        How many seeds.
    record : path-like
    """

    experiment: Experiment
    measured: dict
    n: int
    record: object = field(default_factory=lambda: RECORD)

    def __getitem__(self, dataset):
        """The numbers of one data set."""
        return self.measured[dataset]

    @property
    def first(self):
        """The numbers of the first data set."""
        return next(iter(self.measured.values()))

    def card(self, claim_id):
        """The card of a claim: what was measured now, beside what is recorded, under the word of the record.

        Parameters
        ----------
        claim_id : str
            Of a claim that the experiment declares.

        Returns
        -------
        Card

        Raises
        ------
        ValueError
            If the experiment does not declare the claim.
        AssertionError
            In CI, if a condition holds now and fails in the record, or the other way round. Never in a reader's hands.
        """
        one_of(claim_id, self.experiment.claims, "claim_id")
        claim = self.experiment.facts[claim_id]
        now = [self._column(claim, dataset, measured) for dataset, measured in self.measured.items()]
        record = Record(self.record, known=claims(self.experiment.path))
        then = {(each["dataset"], each["budget"]): each for each in record.runs(claim_id)}
        if strict() and claim.kind != "timing":
            for each in now:
                _refuse_contradiction(claim_id, each, then.get((each["dataset"], 1)))
        shown = {(each["dataset"], 1): each for each in now}
        for key in then:
            # So few seeds have no interval: what is recorded says more.
            if key not in shown or self.n < FEWEST_SEEDS <= then[key]["n"]:
                shown[key] = {**then[key], "live": False}
        order = self.experiment.columns()
        columns = sorted(shown, key=lambda key: order.index(key) if key in order else -1)
        word = record.word(claim_id, order)
        return Card(claim, word, [shown[key] for key in columns], self.experiment.waive)

    def _column(self, claim, dataset, measured):
        unit = {**as_unit(self.experiment, measured), "n": self.n}
        conditions = []
        for label, effects in unit["effects"][claim.id].items():  # with the digits that the record keeps
            found = {"name": label, **judged([float(x) for x in effects], claim)}
            if claim.kind != "identity" and (reason := not_judged(label, claim, [unit])):
                found |= {"word": NOT_JUDGED, "reason": reason}
            conditions.append(found)
        trains = bool(self.experiment.steps)
        return {
            "dataset": dataset,
            "budget": 1,
            "n": self.n,
            "live": True,
            "trains": trains,
            "conditions": conditions,
        }


def _refuse_contradiction(claim_id, now, then):
    recorded_words = {each["name"]: each["word"] for each in then["conditions"]} if then else {}
    for each in now["conditions"]:
        word = recorded_words.get(each["name"])
        if {each["word"], word} == {"holds", "fails"}:
            raise AssertionError(
                f"claim {claim_id}, {each['name']}, on {now['dataset']}: {each['word']} now ({each['median']:.3g}, "
                f"{each['low']:.3g} to {each['high']:.3g}), and the record says that it {word}: find out what has "
                "changed, then run make evidence"
            )


def live(experiment, *, record=RECORD):
    """Run an experiment now, on its first seeds, at budget T.

    Parameters
    ----------
    experiment : Experiment
        One on images runs on digits, or on the data set that the environment variable ``DATASET`` names; others run on
        all their data sets.
    record : path-like
        Where the record is.

    Returns
    -------
    Live

    Raises
    ------
    ValueError
        If the function of the experiment returns something else than was agreed.
    """
    if instance(experiment, Experiment, "experiment", what="a declared experiment").kind == "experiment":
        datasets = [os.environ.get("DATASET") or experiment.datasets[0]]
    else:
        datasets = experiment.datasets
    seeds = range(1 if experiment.kind == "identity" else experiment.live)
    nobody_watches = bool(os.environ.get("TQDM_DISABLE"))  # which tqdm itself heeds outside of notebooks only
    bar = tqdm(datasets, unit="data set", leave=False, delay=SECONDS_WITHOUT_BAR, disable=nobody_watches)
    return Live(experiment, {data: run(experiment, seeds, data=data) for data in bar}, len(seeds), record)


def recorded(claim_id, *, record=RECORD, path=CLAIMS):
    """What the record says of a claim; before there is a record, what its lab measured when it last ran.

    Parameters
    ----------
    claim_id : str
    record, path : path-like
        Where the record and the claims are.

    Returns
    -------
    Card

    Raises
    ------
    ValueError
        For an unknown claim, or a record that cannot be read.
    """
    claim = claim_called(claim_id, path)
    found = Record(record, known=claims(path))
    stored = _stored(claim)
    if runs := found.runs(claim_id):
        runs = [{**each, "live": False} for each in runs]
        return Card(claim, found.saved_word(claim_id), runs, (stored or {}).get("waived", {}))
    if stored is None:
        return Card(claim, None, [], note="The lab has not run yet.")
    note = f"Nothing is recorded yet. This is from the last run of the lab: {stored['n']} seeds, T."
    conditions = [{**each, "live": False} for each in stored["conditions"]]  # not measured where this is shown
    return from_json({**stored, "conditions": conditions}, claim, note)


def recorded_scores(claim_id, *, record=RECORD, path=CLAIMS):
    """What the record says of the test scores that a claim compares, at all rates, for a picture.

    Parameters
    ----------
    claim_id : str
    record, path : path-like
        Where the record and the claims are.

    Returns
    -------
    dict of (str, int) to dict of str to ndarray, shape (rates, 2)
        For each data set and budget (1 or 4 times T), and each arm: rates and median scores of the first seeds.

    Raises
    ------
    ValueError
        For an unknown claim, a record that cannot be read, or one that has no such scores.
    """
    claim_called(claim_id, path)
    found = Record(record, known=claims(path)).scores(claim_id)
    if not found:
        raise ValueError(f"{claim_id}: expected scores at all rates in {record}, got none: run make evidence")
    return found


def _stored(claim):
    """The JSON of the card in the lab's notebook, if the checkout has it."""
    path = data_file("claims.toml").parent.parent / "notebooks" / "labs" / f"{claim.lab}.ipynb"
    if not path.exists():
        return None
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            card = output.get("data", {}).get(MIME, {})
            if card.get("id") == claim.id:
                return card
    return None

"""Claims and their evidence: experiments are declared, run over many seeds, recorded, and judged by fixed rules.

A claim of ``data/claims.toml`` has a prediction made before its experiment was run and the smallest effect that would
matter. A lab declares an `experiment` that the claim reads; `live` runs it on the first seeds, ``make evidence``
on all, and `recorded` shows what the record says. `judge` and `check` judge the claims of the first edition.
"""

from utils.evidence.cards import MIME, Card, Cards
from utils.evidence.claims import CLAIMS, KINDS, VERDICTS, WORDS, Claim, Retired, claims, retired
from utils.evidence.experiments import Experiment, experiment, registered
from utils.evidence.first_edition import OldCard, check, judge
from utils.evidence.live import Live, live, recorded, recorded_scores
from utils.evidence.record import RECORD, Record

__all__ = [
    "CLAIMS",
    "KINDS",
    "MIME",
    "RECORD",
    "VERDICTS",
    "WORDS",
    "Card",
    "Cards",
    "Claim",
    "Experiment",
    "Live",
    "OldCard",
    "Record",
    "Retired",
    "check",
    "claims",
    "experiment",
    "judge",
    "live",
    "recorded",
    "recorded_scores",
    "registered",
    "retired",
]

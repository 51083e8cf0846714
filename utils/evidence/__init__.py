"""Claims and their evidence: experiments are declared, run over many seeds, recorded, and judged by fixed rules.

A claim of ``data/claims.toml`` has a prediction made before its experiment was run and the smallest effect that would
matter. A lab declares an `experiment` that the claim reads; `live` runs it on the first seeds, ``make evidence``
on all, and `recorded` shows what the record says.
"""

from utils.evidence.cards import MIME, Card
from utils.evidence.claims import CLAIMS, KINDS, WORDS, Claim, Retired, claims, retired
from utils.evidence.experiments import Experiment, experiment, registered
from utils.evidence.live import Live, live, recorded, recorded_scores
from utils.evidence.papers import PAPERS, paper_units, spread
from utils.evidence.record import RECORD, Record

__all__ = [
    "CLAIMS",
    "KINDS",
    "MIME",
    "PAPERS",
    "RECORD",
    "WORDS",
    "Card",
    "Claim",
    "Experiment",
    "Live",
    "Record",
    "Retired",
    "claims",
    "experiment",
    "live",
    "paper_units",
    "recorded",
    "recorded_scores",
    "registered",
    "retired",
    "spread",
]

"""Notebooks with one fault each in how they declare, show or have stored claims, in the form of `bad_notebooks`."""

from notebook_edits import DEFINED, before, code, insert, put, result, swap, text

CARD = "application/vnd.course.claim+json"
EXPERIMENT = """\
RECORD = Path("none.json")


@evidence.experiment(
    {"middle-is-the-mean": {"of all": "all", "but one": "most"}}, path=CLAIMS
)
def middles(seeds, data, steps, rates, device):
    \"\"\"How far the mean is above two, and that without the last.\"\"\"
    above = np.full(len(seeds), numbers.mean() - 2)
    return {"all": above, "most": above - 0.5}
"""
LIVE = 'evidence.live(middles, record=RECORD).card("middle-is-the-mean")'
MARKS = {"of all": 6.5, "but one": 6.0}


def card_of(name="middle-is-the-mean", **changes):
    """The stored outputs of a card; `changes` are words of conditions by name, or entries."""
    run = {"dataset": "own data", "budget": 1, "n": 16, "live": True, "trains": False}
    conditions = [
        {"name": label, **run, "median": x, "low": x, "high": x, "word": changes.pop(label, "holds")}
        for label, x in MARKS.items()
    ]
    card = {"id": name, "edition": 2, "kind": "measurement", "word": None, "n": 16, "conditions": conditions}
    return {CARD: card | changes, "text/plain": ["NOT RECORDED YET"], "text/html": ["<div>not recorded yet</div>"]}


def stored(card):
    """Store another card where the lab shows its own."""
    return put("two-shown", "outputs", value=[result(6, card)])


# Loads no PyTorch, which takes longer than all the rest of a run: the notebooks that are run leave it out, and break
# the rule of the setup cell with that.
WITHOUT_CONFIGURE = swap("setup", "plotting, runtime\n\nruntime.configure()\n", "plotting\n\n")

EXPERIMENT_CELLS = insert(
    "one-claim",
    text("two-define-text", "An experiment is declared once."),
    code(5, "two-define", EXPERIMENT) | {"metadata": DEFINED},
    text("two-shown-text", "What it gives now stands beside what is recorded."),
    code(6, "two-shown", LIVE, result(6, card_of())),
)

BAD_CLAIMS = {
    "experiment_in_a_lesson": (
        "lessons-show-records",
        before("one-mean", "@evidence.experiment({})\ndef run():\n    pass\n\n"),
    ),
    "live_in_a_lesson": ("lessons-show-records", before("one-mean", "evidence.live(print)")),
    "card_in_a_lesson": (
        "lessons-show-records",
        put("one-claim", "source", value=['numbers.card("middle-is-the-mean")']),
    ),
    "five_records": ("few-records", before("one-claim", 4 * 'evidence.recorded("middle-is-the-mean")\n')),
}

BAD_LAB_CLAIMS = {
    "experiment_without_tag": (
        "experiments-are-defined",
        put("two-define", "metadata", value={"tags": ["core"]}),
    ),
    "experiment_needs_a_cell_without_tag": (
        "experiments-are-defined",
        put("one-mean", "metadata", value={"tags": ["core"]}),
    ),
    "experiment_without_card": (
        "experiments-are-shown",
        put("two-shown", "source", value=["evidence.live(middles, record=RECORD)"]),
    ),
    "experiment_of_unknown_claim": (
        "claims-are-known",
        insert(
            "two-shown",
            text("three-define-text", "Another one."),
            code(7, "three-define", EXPERIMENT.replace("middle-is", "nothing-is")) | {"metadata": DEFINED},
        ),
    ),
    "claim_without_experiment": (
        "claims-are-judged",
        put("two-define", "source", value=["RECORD = None"]),
        put("two-shown", "source", value=['evidence.recorded("middle-is-the-mean")']),
    ),
    "lab_claim_without_card": ("claims-are-stored", put("two-shown", "outputs", value=[])),
    # nothing that can be seen without a run
    "changed_mark": (None, WITHOUT_CONFIGURE, stored(card_of(**{"of all": "fails"}))),
    "changed_word": (None, WITHOUT_CONFIGURE, stored(card_of(word="holds"))),
    "good_lab_despite_differences": (
        None,
        WITHOUT_CONFIGURE,
        stored(card_of(**{"of all": "undecided", "but one": "not judged"}, n=64)),
    ),
}

"""Notebooks with one fault each, as edits of a good one: BAD has the rule that each of them breaks, and the edits.

BAD_LABS has labs in the same way, as further edits of a good lab; that one is the good notebook with the edits of LAB.

An edit is a function that changes the JSON of the good notebook. A rule of None is nothing that can be seen without a
run: tests/test_gates_execution.py has what a run must notice.
"""

import json
from pathlib import Path

from bad_claims import BAD_CLAIMS, BAD_LAB_CLAIMS, CARD, EXPERIMENT_CELLS, WITHOUT_CONFIGURE
from bad_folds import BAD_FOLDS
from bad_prompts import BAD_PROMPTS
from notebook_edits import (
    DEFINED,
    after,
    before,
    cells_of,
    drop,
    insert,
    print_too,
    put,
    stream,
    swap,
    swap_output,
    text,
    value,
)
from notebook_rules import COLUMNS

FOLDER = Path(__file__).parent / "good_notebook"


# By number, by name, without a connection, and by a library; this computer itself may be reached. 192.0.2.1 is nobody,
# an address for documentation.
TRIES = {
    "connect": [
        'with socket.socket() as connection:\n    connection.settimeout(30)\n    connection.connect(("192.0.2.1", 80))'
    ],
    "lookup": ['socket.getaddrinfo("example.invalid", 80)'],
    "datagram": [
        'with socket.socket(type=socket.SOCK_DGRAM) as letter:\n    letter.sendto(b"hello", ("192.0.2.1", 53))'
    ],
    "library": ['import urllib.request\n\nurllib.request.urlopen("http://192.0.2.1/", timeout=30)'],
    "loopback": [
        'with socket.create_server(("localhost", 0)) as server:\n'
        '    socket.create_connection(server.getsockname()).close()\nprint("reached")',
        stream("reached\n"),
    ],
}
# The value of a line that ends in a semicolon is not shown; what differs in every run is not compared.
SAME = {
    "semicolon": ["numbers.sum();"],
    "value": ["numbers.sum()", value(6, "np.int64(136)")],
    "underscore": ["_ + 1", value(7, "np.int64(137)")],
    "ignored": [
        "# NBVAL_IGNORE_OUTPUT\nimport time\n\nprint(time.perf_counter())",
        stream("3756.669464269\n"),
    ],
}

SHOWN = 'plotting.show(fig, alt="A straight line that rises from one to sixteen.")'
FALLING = "A straight line that falls from sixteen to one."
NEVER = {"two-claim": ['evidence.recorded("never-written-down", path=CLAIMS)']}
UNKNOWN = insert("one-claim", *cells_of(5, NEVER))

LESSON = " It tests the [lesson](../good.ipynb)."
CLOCK = ["# NBVAL_IGNORE_OUTPUT\nimport time\n\nprint(time.perf_counter())", stream("3756.669464269\n")]
TRAINED = {"metadata": {"tags": ["core"], "compare": 3}}  # numbers that training gives: three more or less
PRINTS_PI = print_too("one-mean", stream("and pi is 3.1416\n"))
CORE = {"tags": ["core"]}


def optional(name, source):
    """A cell of text that is not on the core path."""
    return text(name, source) | {"metadata": {"tags": ["optional"]}}


def extra(name, number):
    """An optional section of two cells."""
    first = optional(f"extra-{name}", f"## {number}. More, for those who have time")
    return first, optional(f"extra-{name}-more", "There is no more.")


def trained(stored, fresh, *, after="one-claim", count=5):
    """Insert a cell whose numbers may differ by three, as it is stored and as it comes out."""
    sentence, cell = cells_of(count, {"trained": [f"print('{fresh}')", stream(f"{stored}\n")]})
    return insert(after, sentence, cell | TRAINED)


EXTRAS = insert("one-change", *extra("one", 2), *extra("two", 3), *extra("three", 4))


def more_lines(number):
    """More lines of code, and blank ones between them."""
    return "".join(f"\n\ntotal_{i} = numbers[:{i}].sum()" for i in range(number))


HEAD = "\n\n| question | arms | controls | rates | budgets | what would refute it |\n|---|---|---|---|---|---|"
PLAN = HEAD + "\n| Where is the middle? | the numbers | none | none | sixteen numbers | a mean below two |"
# A lab states no numbers, and shows the card of its experiment in place of the record.
LAB = (
    put("one-claim", "source", value=["print(numbers.max())"]),
    put("one-claim", "outputs", value=[stream("16\n")]),
    swap("one-see", ", 8.5,", ""),
    put("one-change", "source", value=["**Change this.** Leave out the last number."]),
    *(drop(name) for name in ("goals", "recap", "practice", "reading")),
    after("title", LESSON + PLAN),
    put("setup", "metadata", value=DEFINED),
    put("one-mean", "metadata", value=DEFINED),
    EXPERIMENT_CELLS,
)
SHORT_RECAP = swap("recap", "\n- A claim has a verdict.", "")

BAD = {
    # the file
    "duplicate_ids": ("valid-format", put("one-see", "id", value="one-question")),
    "old_format": ("valid-format", put("nbformat_minor", value=4)),
    "unknown_field": ("valid-format", put("one-see", "comment", value="what is this?")),
    "random_id": ("readable-ids", put("one-see", "id", value="3f2a9c1e")),
    "language_version": ("one-kernelspec", put("metadata", "language_info", "version", value="3.11.7")),
    "other_kernelspec": ("one-kernelspec", put("metadata", "kernelspec", "name", value="my-env")),
    "timestamps": (
        "no-timestamps",
        put("one-mean", "metadata", "execution", value={"iopub.execute_input": "2020-01-01T00:00:00.000000Z"}),
    ),
    # the parts
    "no_title_first": ("one-title", insert(None, text("before-title", "Welcome."))),
    "two_titles": ("one-title", after("one-see", "\n\n# Another title")),
    "no_goals": ("goals", swap("goals", "You will be able to", "Contents")),
    "too_few_goals": ("goals", swap("goals", "- *judge* a claim\n", ""), SHORT_RECAP),
    "no_minutes": ("time-and-prior", swap("goals", "**Minutes**: 5. ", "")),
    "no_prior_knowledge": ("time-and-prior", swap("goals", " **Before you start**: nothing at all.", "")),
    "closing_out_of_order": (
        "closing-sections",
        drop("practice"),
        insert("reading", text("practice", "## In practice\n\nUse `np.mean`.")),
    ),
    "section_number_skipped": ("section-numbers", swap("one-question", "## 1.", "## 2.")),
    "recap_too_short": ("recap-mirrors-goals", SHORT_RECAP),
    "setup_too_long": ("setup-cell", after("setup", "".join(f"\nsize_{i} = {i}" for i in range(12)))),
    "setup_without_configure": ("setup-cell", swap("setup", "runtime.configure()\n", "")),
    "fold_left_open": ("folds-are-closed", swap("one-see", "\n</details>", "")),
    "core_and_optional": ("core-or-optional", put("one-mean", "metadata", "tags", value=["core", "optional"])),
    "untagged": ("core-or-optional", put("one-mean", "metadata", value={})),
    "optional_code_in_a_core_section": (
        "optional-sections",
        put("one-mean", "metadata", "tags", value=["optional"]),
    ),
    "core_text_in_an_optional_section": ("optional-sections", EXTRAS, put("extra-one-more", "metadata", value=CORE)),
    "untagged_text": ("optional-sections", put("one-see", "metadata", value={})),
    "four_optional_sections": ("optional-sections", EXTRAS, insert("extra-three-more", *extra("four", 5))),
    "optional_too_long": (
        "optional-sections",
        EXTRAS,
        *(insert("extra-one-more", optional(f"long-{i}", "word " * 150)) for i in range(24)),
    ),
    "good_with_optional_sections": (None, EXTRAS),
    "lab_among_lessons": ("no-plan", after("title", PLAN)),
    # the text
    "prose_too_long": ("short-prose", after("one-see", "\n\n" + " ".join(["word"] * 150))),
    "number_not_printed": ("numbers-are-printed", after("one-see", " Their median is 8.25.")),
    "number_printed_with_more_digits": ("numbers-are-printed", PRINTS_PI, after("one-see", " That is 3.14.")),
    "percentage_not_printed": ("numbers-are-printed", after("one-see", " It lies above 50 % of them.")),
    "number_printed_in_another_section": (
        "numbers-are-printed",
        insert("one-change", text("two-question", "## 2. What next?\n\nThe mean was 8.5.")),
    ),
    "number_in_a_recap_that_nothing_prints": ("numbers-are-printed", after("recap", " It is 8.25.")),
    "good_with_numbers": (
        None,
        PRINTS_PI,
        after("one-see", " That is 3.1416, as section 1.3 says, and `2.75` in code is none."),
        after("recap", " The mean is 8.5."),
        put("one-figure", "outputs", 0, "data", "text/plain", value=["It rises to 16.5."]),
        put("one-figure", "outputs", 0, "metadata", "image/png", "alt", value="It rises to 16.5."),
        before("one-see", "It rises to 16.5.\n"),
        after("goals", " The answer, 8.5, comes soon."),
    ),
    "code_after_code": ("text-between-code", drop("one-figure-question")),
    "todo": ("nothing-to-do", after("practice", "\n\nTODO: say why.")),
    # the code
    "code_too_long": ("few-visible-lines", after("one-mean", more_lines(14))),
    "good_with_a_long_figure": (None, after("one-figure", more_lines(30)), after("one-mean", more_lines(13))),
    "code_too_wide": ("narrow-code", after("one-mean", "  # " + "x" * COLUMNS)),
    "folded_code_too_wide": ("narrow-code", after("one-figure", "  # " + "x" * COLUMNS)),
    "magic": ("no-magics", before("one-mean", "%pip list")),
    "shell_command": ("no-magics", before("one-mean", "!pip install numpy")),
    "edits_path": ("no-path-edits", before("one-mean", 'import sys\n\nsys.path.append("..")')),
    "global_draw": ("no-global-seed", before("one-mean", "import torch\n\nnoise = torch.randn(3)")),
    "seeds_numpy": ("no-global-seed", before("one-mean", "np.random.seed(0)")),
    "seeds_torch": ("no-global-seed", before("one-mean", "import torch\n\n_ = torch.manual_seed(0)")),
    "address_in_code": ("no-network", before("one-mean", 'source = "https://example.org/data.csv"')),
    "downloads": ("no-network", before("one-mean", "from urllib.request import urlretrieve\n")),
    "network_call": (
        "no-network",
        WITHOUT_CONFIGURE,
        before("one-mean", "import socket\n"),
        insert("one-claim", *cells_of(5, TRIES)),
    ),
    "absolute_path": ("no-absolute-paths", before("one-mean", 'folder = "/home/somebody/course"')),
    "file_address": (
        "no-absolute-paths",
        after("practice", " See [here](file:///notes.txt) or file:///notes.txt."),
    ),
    "path_in_output": (
        "no-absolute-paths",
        after("one-mean", "\nprint(Path.cwd())"),
        put("one-mean", "outputs", value=[stream("mean: 8.5\n/Users/somebody/course\n")]),
    ),
    "assertion": ("no-assert", after("one-mean", "\nassert numbers.mean() > 8")),
    "hidden_warnings": (
        "no-hidden-warnings",
        before("one-mean", 'import warnings\n\nwarnings.filterwarnings("ignore")'),
    ),
    "bare_figure": ("figures-are-shown", swap("one-figure", SHOWN, "fig")),
    "plt_show": ("figures-are-shown", after("one-figure", "\nplt.show()")),
    "output_widget": ("no-output-widgets", before("one-mean", "from ipywidgets import Output\n\nbox = Output()")),
    "explorer_compared": (
        "explorers-are-not-compared",
        before("one-mean", "from utils.widgets import loss_surface_explorer\n"),
        after("one-mean", "\nloss_surface_explorer(seed=0)"),
    ),
    "ignored_without_need": ("ignored-outputs", before("one-mean", "# NBVAL_IGNORE_OUTPUT")),
    "ignored_by_tag_without_need": (
        "ignored-outputs",
        put("one-mean", "metadata", "tags", value=["core", "nbval-ignore-output"]),
    ),
    "three_ignored": ("ignored-outputs", insert("one-claim", *cells_of(5, {f"clock-{i}": CLOCK for i in "abc"}))),
    # the outputs
    "not_executed": (
        "executed-in-order",
        put("one-mean", "execution_count", value=None),
        put("one-mean", "outputs", value=[]),
        swap("one-see", ", 8.5,", ""),
        swap("one-change", " instead of 8.5", ""),
    ),
    "out_of_order": ("executed-in-order", put("one-mean", "execution_count", value=7)),
    "output_of_unrun_cell": (
        "executed-in-order",
        WITHOUT_CONFIGURE,
        put("one-mean", "execution_count", value=None),
    ),
    "stored_error": (
        "no-stored-errors",
        print_too("one-mean", {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["no"]}),
    ),
    "stderr": ("no-stderr", print_too("one-mean", stream("a warning\n", "stderr"))),
    "alt_not_the_text": (
        "alt-text",
        put("one-figure", "outputs", 0, "data", "text/plain", value=["<Figure size 200x150 with 1 Axes>"]),
    ),
    "no_alt_text": ("alt-text", put("one-figure", "outputs", 0, "metadata", value={})),
    "memory_address": (
        "no-addresses",
        after("one-mean", "\nprint(object())"),
        put("one-mean", "outputs", value=[stream("mean: 8.5\n<object object at 0x7f0000000000>\n")]),
    ),
    "wide_tolerance": ("small-tolerance", put("one-mean", "metadata", "compare", value=1000)),
    "tolerance_of_nothing": ("small-tolerance", put("one-mean", "metadata", "compare", value=0)),
    "tolerance_in_words": ("small-tolerance", put("one-mean", "metadata", "compare", value="3")),
    "wide_tolerances": (
        "few-wide-tolerances",
        *(put(name, "metadata", "compare", value=6) for name in ("setup", "one-mean", "one-figure", "one-claim")),
    ),
    # the claims
    "claim_unknown": ("claims-are-known", UNKNOWN),
    "claim_without_card": ("claims-are-stored", put("one-claim", "outputs", value=[])),
    **BAD_CLAIMS,
    **BAD_PROMPTS,
    **BAD_FOLDS,
    # nothing that can be seen without a run
    "good": (None,),
    "good_despite_differences": (
        None,
        WITHOUT_CONFIGURE,
        put("one-claim", "outputs", 0, "data", CARD, "n", value=64),
        swap_output("one-claim", "text/plain", "The lab has not run yet.", "The lab has run."),
        swap_output("one-claim", "text/html", "The lab has not run yet.", "The lab has run."),
        insert("one-claim", *cells_of(5, SAME)),
        trained("accuracy:  97 %, 9 lost", "accuracy: 100 %, 11 lost", after="ignored", count=9),
    ),
    "number_too_far": (None, WITHOUT_CONFIGURE, trained("accuracy: 90 %", "accuracy: 94 %")),
    "other_word": (None, WITHOUT_CONFIGURE, trained("accuracy: 90 %", "mistakes: 90 %")),
    "other_name": (None, WITHOUT_CONFIGURE, trained("layer2: 90 %", "layer3: 90 %")),
    "one_number_more": (None, WITHOUT_CONFIGURE, trained("accuracy: 90 %", "accuracy: 90 90 %")),
    "changed_verdict": (None, WITHOUT_CONFIGURE, put("one-claim", "outputs", 0, "data", CARD, "word", value="fails")),
    "dies": (None, before("setup", "import os\n\nos._exit(1)\n")),
    "fails": (None, WITHOUT_CONFIGURE, after("one-mean", "\nnumbers.average()")),
    "hangs": (None, before("setup", "import time\n\ntime.sleep(600)\n")),
    "missing_output": (
        None,
        WITHOUT_CONFIGURE,
        print_too("one-mean", {"data": {"text/plain": ["16"]}, "metadata": {}, "output_type": "display_data"}),
    ),
    "stale_alt_text": (
        None,
        WITHOUT_CONFIGURE,
        put("one-figure", "outputs", 0, "data", "text/plain", value=[FALLING]),
        put("one-figure", "outputs", 0, "metadata", "image/png", "alt", value=FALLING),
    ),
    "stale_output": (None, WITHOUT_CONFIGURE, put("one-mean", "outputs", value=[stream("middle: 8.5\n")])),
    "trailing_value": (None, WITHOUT_CONFIGURE, after("one-mean", "\nnumbers.max()")),
}


BAD_LABS = {
    "good_lab": (None,),
    "lab_without_title": ("one-title", swap("title", "# Look", "Look")),
    "lab_without_lesson": ("lesson-link", swap("title", "(../good.ipynb)", "(../other.ipynb)")),
    "lab_links_its_lesson_late": ("lesson-link", swap("title", LESSON, ""), after("one-see", LESSON)),
    "lab_without_plan": ("plan-table", swap("title", PLAN, "")),
    "plan_without_controls": ("plan-table", swap("title", " controls |", "")),
    "plan_without_row": ("plan-table", swap("title", PLAN, HEAD)),
    "plan_without_refutation": ("plan-table", swap("title", "a mean below two", "")),
    "plan_comes_late": ("plan-table", swap("title", PLAN, ""), after("one-see", PLAN)),
    "lab_without_configure": ("setup-cell", swap("setup", "runtime.configure()\n", "")),
    "lab_untagged": ("core-or-optional", put("one-figure", "metadata", value={})),
    "lab_code_too_wide": ("narrow-code", after("one-mean", "  # " + "x" * COLUMNS)),
    "lab_code_too_long": ("short-code", after("one-mean", more_lines(25))),
    "lab_states_a_number": ("no-measured-numbers", after("one-see", " Their mean is 8.5.")),
    "lab_claim_unknown": ("claims-are-known", insert("two-shown", *cells_of(7, NEVER))),
    **BAD_LAB_CLAIMS,
}


def write(name, folder):
    """Write a notebook of BAD into a folder, or a lab of BAD_LABS into its folder labs; gives its path."""
    notebook = json.loads((FOLDER / "good.ipynb").read_text(encoding="utf-8"))
    made_of = {**dict.fromkeys(BAD, ()), **dict.fromkeys(BAD_LABS, LAB)}
    for edit in (*made_of[name], *(BAD | BAD_LABS)[name][1:]):
        edit(notebook)
    path = Path(folder) / ("labs" if name in BAD_LABS else "") / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    return path

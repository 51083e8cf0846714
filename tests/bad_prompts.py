"""Notebooks with one fault each in what they ask the reader, in the form of `bad_notebooks`."""

from notebook_edits import after, drop, insert, put, swap, text

PREDICTION = "\n\n**Predict.** Is it?"
FOLDED = "\n\n<details><summary>Answer</summary>\n\nYes.\n</details>"
REASON = "No: the mean, 8.5, lies between two of them."
SEE = f"\n\n<details><summary>Answer to the prediction</summary>\n\n{REASON}\n</details>"
CHANGE = ("one-change", "metadata", "change")
EXPECT = {"after": "mean:", "number": 8.0, "within": 0.01}


def another(name):
    """Insert a second change like the first."""
    change = {"cell": "one-mean", "old": "17", "new": "16", "until": "one-figure", "expect": [EXPECT]}
    cell = text(name, "**Change this.** In the first cell, `17` becomes `16`." + FOLDED)
    return insert("one-change", cell | {"metadata": {"tags": ["core"], "change": change}})


BAD_PROMPTS = {
    "answer_before_code": ("predictions", swap("one-see", SEE, ""), after("one-question", SEE)),
    "answer_not_folded": ("predictions", swap("one-see", SEE, f"\n\n{REASON}")),
    "two_predictions_one_answer": ("predictions", after("one-question", PREDICTION)),
    "answered_by_a_change": ("predictions", swap("one-see", SEE, "")),
    "answer_in_the_next_section": (
        "predictions",
        swap("one-see", SEE, ""),
        insert("one-change", text("two-question", "## 2. What next?" + FOLDED)),
    ),
    "nine_predictions": ("predictions", after("one-question", 8 * PREDICTION), after("one-see", 8 * FOLDED)),
    "good_with_eight_predictions": (None, after("one-question", 7 * PREDICTION), after("one-see", 7 * FOLDED)),
    "good_without_prediction": (None, swap("one-question", "**Predict.** ", "")),
    "good_without_change": (None, drop("one-change")),
    "good_with_five_changes": (None, *(another(f"change-{i}") for i in "abcd")),
    "six_changes": ("changes", *(another(f"change-{i}") for i in "abcde")),
    "two_changes_in_a_cell": ("changes", after("one-change", "\n\n**Change this.** Or `17` becomes `18`." + FOLDED)),
    "change_without_answer": (
        "changes",
        swap("one-change", "<details><summary>Answer</summary>", ""),
        swap("one-change", "</details>", ""),
    ),
    "change_without_metadata": ("changes", put("one-change", "metadata", value={"tags": ["core"]})),
    "change_without_prompt": ("changes", swap("one-change", "**Change this.** ", "")),
    "change_of_no_cell": ("changes", put(*CHANGE, "cell", value="no-mean")),
    "change_of_text": ("changes", put(*CHANGE, "cell", value="one-see"), put(*CHANGE, "old", value="line")),
    "change_until_no_cell": ("changes", put(*CHANGE, "until", value="no-mean")),
    "change_until_a_cell_before": ("changes", put(*CHANGE, "until", value="setup")),
    "change_of_text_that_is_not_there": ("changes", put(*CHANGE, "old", value="18")),
    "change_of_text_that_is_there_twice": ("changes", put(*CHANGE, "old", value="numbers")),
    "change_that_changes_nothing": ("changes", put(*CHANGE, "new", value="17")),
    "change_that_expects_nothing": ("changes", put(*CHANGE, "expect", value=[])),
    "change_that_expects_without_bounds": (
        "changes",
        put(*CHANGE, "expect", value=[{"after": "mean:", "number": 8.0}]),
    ),
}

"""Notebooks with one fault each in what they fold, in the form of `bad_notebooks`."""

from notebook_edits import before, code, insert, put, result, text
from notebook_rules import VIEW

FOLDED = {"jupyter": {"source_hidden": True}, "tags": ["core", "hide-input"]}
AFTER = ("one-claim", text("one-more-text", "The next cell is visible."))


def visible(source):
    """Insert a visible cell after the folded figure."""
    return insert(*AFTER, code(5, "one-more", source))


BAD_FOLDS = {
    "figure_not_folded": ("folded-figures", put("one-figure", "metadata", value={"tags": ["core"]})),
    "figure_folded_on_the_site_alone": (
        "folded-figures",
        put("one-figure", "metadata", value={"tags": ["core", "hide-input"]}),
    ),
    "figure_folded_in_jupyterlab_alone": (
        "folded-figures",
        put("one-figure", "metadata", "tags", value=["core"]),
    ),
    "folded_without_picture": ("folded-figures", put("one-mean", "metadata", value=FOLDED)),
    "folded_name_used": ("folded-figures", visible("ax.set_title('a')")),
    "folded_name_used_in_a_function": ("folded-figures", visible("def f():\n    return fig")),
    "folded_cell_changes_a_name": (
        "folded-figures",
        before("one-figure", "numbers = numbers[::-1]"),
        visible("highest = numbers.max()"),
    ),
    "good_with_names_bound_again": (
        None,
        before("one-figure", "middle = numbers.mean()"),
        visible("middle = 8\nhalf = middle / 2"),
        insert("one-more", text("one-last-text", "And one more."), code(6, "one-last", "double = 2 * middle")),
    ),
    "good_with_a_folded_explorer": (
        None,
        put("one-figure", "source", value=["# NBVAL_IGNORE_OUTPUT\n", "loss_surface_explorer(seed=0)"]),
        put("one-figure", "outputs", value=[result(3, {VIEW: {"model_id": "1"}, "text/plain": ["A bowl."]})]),
    ),
}

"""Homework 4, find the bug."""

import numpy as np

from utils.byhand.normalization import BatchNorm

from . import wrong


@wrong("answer-a", "answer-b")
def two_confused(ours):
    right = ours["answers"]()
    return {"answers": lambda: right | {"A": right["B"], "B": right["A"]}}


@wrong("answer-a", "answer-b", "answer-c", "answer-d")
def lines_of_the_notebook(ours):
    """Counted from the top of the notebook instead of that of the class."""
    right = ours["answers"]()
    return {"answers": lambda: {key: answer | {"line": answer["line"] + 100} for key, answer in right.items()}}


@wrong("answer-a", "answer-b", "answer-c", "answer-d")
def a_line_far_from_the_fault(ours):
    """No line that is far from the fault counts, even where something is missing."""
    right = ours["answers"]()
    return {"answers": lambda: {key: answer | {"line": 5} for key, answer in right.items()}}


@wrong("answer-d")
def one_left_out(ours):
    right = ours["answers"]()
    return {"answers": lambda: {key: answer for key, answer in right.items() if key != "D"}}


@wrong("mended-a", "mended-b", "mended-c", "mended-d")
def nothing_mended(ours):
    return {f"mend_{letter.lower()}": lambda letter=letter: ours[f"Norm{letter}"] for letter in "ABCD"}


@wrong("mended-c")
def somebody_elses(ours):
    return {"mend_c": lambda: BatchNorm}


@wrong("mended-b")
def new_fault(ours):
    """B is mended, but its class now also changes x."""

    def mend_b():
        class Mended(right):
            def forward(self, x):
                x -= 1.0
                return super().forward(x)

            def eval(self):
                self.running_mean = self.running_mean + 1
                return super().eval()

        return Mended

    right = ours["mend_b"]()
    return {"mend_b": mend_b}


@wrong("catches-these", "catches-others")
def looks_at_the_output_of_training(ours):
    def is_right(make):
        x = np.random.default_rng(0).normal(size=(5, 3))
        want = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
        return bool(np.abs(make(3).forward(x) - want).max() < 1e-9)

    return {"is_right": is_right}


@wrong("catches-these", "catches-others")
def rejects_everything(ours):
    return {"is_right": lambda make: False}


@wrong("catches-others")
def wants_the_last_bit(ours):
    def is_right(make):
        x = np.random.default_rng(0).normal(size=(37, 3))
        dy = np.random.default_rng(1).normal(size=x.shape)
        one, other = make(3), ours["mend_a"]()(3)
        same = np.array_equal(one.forward(x), other.forward(x)) and np.array_equal(one.backward(dy), other.backward(dy))
        return same and right(make)

    right = ours["is_right"]
    return {"is_right": is_right}


@wrong("shapes-scores")
def bias_before_norm(ours):
    def layer_table(shape, layers):
        table = right(shape, layers)
        return [(s, n + (s[1] if a == ("norm",) else 0)) for (s, n), a in zip(table, [*layers[1:], None], strict=True)]

    right = ours["layer_table"]
    return {"layer_table": layer_table}


@wrong("shapes-scores")
def padding_on_one_side(ours):
    def layer_table(shape, layers):
        half = [(*layer[:4], layer[4] / 2) if layer[0] == "conv" else layer for layer in layers]
        return [(tuple(map(int, s)), n) for s, n in right(shape, half)]

    right = ours["layer_table"]
    return {"layer_table": layer_table}


@wrong("shapes-scores")
def a_norm_somewhere_behind(ours):
    """No bias, although a relu lies between the conv layer and the norm."""
    right = ours["layer_table"]

    def layer_table(shape, layers):
        table = right(shape, layers)
        for i, layer in enumerate(layers):
            if layer[0] == "conv" and layers[i + 1 : i + 3] == [("relu",), ("norm",)]:
                table[i] = (table[i][0], table[i][1] - layer[1])
        return table

    return {"layer_table": layer_table}


@wrong("shapes-scores")
def nothing_behind_the_last(ours):
    right = ours["layer_table"]

    def layer_table(shape, layers):
        for i, layer in enumerate(layers):
            if layer[0] == "conv":
                layers[i + 1]
        return right(shape, layers)

    return {"layer_table": layer_table}

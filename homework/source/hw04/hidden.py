"""Homework 4, find the bug: which batch norms are broken, the checks, the rubric."""

import re
import textwrap
import tomllib
from functools import partial

import numpy as np

from homework.source.drawing import HERE, Code, Manual, auto, choose, close, generator, notebook_of, same

NAME = "hw04"
LETTERS = "ABCD"
MUTANTS = HERE.parents[1] / "tests" / "mutants"
# The kinds of fault, in four groups; one of each is drawn. The words are those that students choose from.
GROUPS = (
    {
        "mean_path_missing": "dx lacks the path through the mean",
        "variance_path_missing": "dx lacks the path through the variance",
        "gamma_missing_in_dx": "dx lacks gamma",
    },
    {
        "gamma_gradient_with_x": "gamma's gradient takes the wrong numbers",
        "beta_gradient_averaged": "beta's gradient is a mean, not a sum",
        "examples_counted_for_values": "backward divides by the wrong number",
    },
    {
        "biased_running_variance": "the running variance is the biased one",
        "momentum_the_wrong_way": "momentum weighs the wrong part",
        "deviation_averaged": "deviations are averaged, not variances",
        "correction_by_examples": "the running variance miscounts values",
        "momentum_none_as_default": "momentum None is not the plain average",
    },
    {
        "batch_formula_in_eval": "evaluation uses the gradient of training",
        "unbiased_normalization": "forward takes the unbiased variance",
        "eps_added_to_deviation": "eps stands in the wrong place",
        "beta_forgotten_in_eval": "evaluation leaves out beta",
    },
)
FAULTS = {name: words for group in GROUPS for name, words in group.items()}
# The lines of each class that count as its fault, the one of the model answer first: that which differs from the right
# class, any other whose change alone mends it, and, where something is missing, those directly before and after its
# place: where it is needed, and where it can first be computed.
LINES = {
    "mean_path_missing": (41, 36, 37, 40, 42),
    "variance_path_missing": (40, 35, 36, 39, 41),
    "gamma_missing_in_dx": (41, 30, 31, 40),
    "gamma_gradient_with_x": (39, 15),
    "beta_gradient_averaged": (38,),
    "examples_counted_for_values": (33, 41),
    "biased_running_variance": (26, 11, 20, 21, 24, 25),
    "momentum_the_wrong_way": (28, 22, 23, 24, 25, 26, 27),
    "deviation_averaged": (28, 29, 26),
    "correction_by_examples": (25, 26),
    "momentum_none_as_default": (24, 22),
    "batch_formula_in_eval": (40, 38, 39),
    "unbiased_normalization": (9, 16),
    "eps_added_to_deviation": (16,),
    "beta_forgotten_in_eval": (19, 18, 20),
}
# Other names for the same things, so that the four cannot be laid side by side.
NAMES = {
    "mean": ("mean", "mu", "avg"),
    "var": ("var", "v", "s2"),
    "x_hat": ("x_hat", "xn", "z"),
    "inv_std": ("inv_std", "inv", "r"),
    "unbiased": ("wide", "big", "vu"),
    "deviation": ("spread", "sd", "q"),
    "axes": ("axes", "over", "ax"),
    "p": ("p", "w", "a"),
    "m": ("m", "k", "n"),
    "dgamma": ("dgamma", "dg", "sum_g"),
    "dbeta": ("dbeta", "db", "sum_b"),
}


def draw(variant):
    """The setting of a variant: a mutant and names of its parts per letter, and the mutants of hidden checks only."""
    rng = generator(variant, NAME)
    chosen = [str(rng.choice(list(group))) for group in GROUPS]
    rest = [name for name in FAULTS if name not in chosen]
    broken = dict(zip(LETTERS, choose(rng, chosen, len(LETTERS)), strict=True))
    names = {letter: {old: str(rng.choice(new)) for old, new in NAMES.items()} for letter in LETTERS}
    return {"broken": broken, "names": names, "others": choose(rng, rest, 3), "seed": int(rng.integers(10**6))}


def _text(name):
    """The right batch norm, or that with the edits of a mutant."""
    text = (MUTANTS / "batch.py").read_text(encoding="utf-8")
    if name != "correct":
        for edit in tomllib.loads((MUTANTS / "batch.toml").read_text(encoding="utf-8"))[name]["edits"]:
            text = text.replace(edit["find"], edit["replace"])
    return text


def _class(name):
    """The class of a mutant, without what stands before it."""
    text = _text(name)
    return text[text.index("class BatchNorm") :].rstrip("\n")


def _base():
    """The class that all of them are derived from."""
    text = _text("correct")
    return text[text.index("class Base") : text.index("class BatchNorm")].rstrip("\n")


def shown(name, names, title):
    """A batch norm as students see it: with other names for old ones, and nothing that tells what is wrong."""
    text = _class(name).replace("class BatchNorm(", f"class {title}(")
    for old, new in names.items():
        # Not methods such as x.mean and not keywords; attributes of self are ours.
        text = re.sub(rf"(?<![.\w]){old}\b(?!=)|(?<=self\.){old}\b", f"<{new}>", text)
    return re.sub(r"<(\w+)>", r"\1", text)


def cells(variant):
    """The drawn cells, by their ids."""
    s = draw(variant)
    menu = "\n".join(f'    "{words}",' for words in sorted(FAULTS.values()))
    drawn = {
        "setting": f"# Drawn from the variant {variant}. Other classes have other faults.\nSEED = {s['seed']}",
        "faults": f'FAULTS = (\n{menu}\n)\nprint(len(FAULTS), "kinds of fault, four of them here")',
        "base": _base(),
    }
    said = []
    for letter, name in s["broken"].items():
        drawn[f"norm-{letter.lower()}"] = shown(name, s["names"][letter], f"Norm{letter}")
        said.append(f'        "{letter}": {{"line": {LINES[name][0]}, "fault": "{FAULTS[name]}"}},')
        body = textwrap.indent(shown("correct", s["names"][letter], f"Mended{letter}"), "    ")
        drawn[f"mend-{letter.lower()}"] = f'''\
def mend_{letter.lower()}():
    """Norm{letter}, mended.

    Copy the class in here, call it Mended{letter}, change what is wrong, and
    return it. No argument. Gives a class that is derived from Base.
    """

    ### BEGIN SOLUTION
{body}

    return Mended{letter}
    ### END SOLUTION'''
    answers = "\n".join(said)
    drawn["answers"] = f'''\
def answers():
    """What is wrong with each of the four.

    No argument. Gives a dict with A, B, C and D; each is a dict with line, an
    integer, where 1 is the line `class Norm…`, and fault, one of FAULTS.
    """
    ### BEGIN SOLUTION
    return {{
{answers}
    }}
    ### END SOLUTION'''
    return drawn


notebook = partial(notebook_of, NAME, cells)


def answered(letter, name):
    """Make a comparison for the answer about one letter, which stands for this mutant."""

    def compare(got, want, case):
        answer = got.get(letter) if isinstance(got, dict) else None
        if not isinstance(answer, dict):
            return f"there is no answer about {letter}"
        if answer.get("fault") != FAULTS[name]:
            return f"the fault of {letter} is another one"
        line = answer.get("line")
        if isinstance(line, bool) or not isinstance(line, int | np.integer) or line not in LINES[name]:
            return f"the fault of {letter} is named, but is in another line"
        return None

    return compare


def _code(name, names=None):
    """A class as a value, with all that it needs."""
    text = shown(name, names or {}, "Norm")
    return Code(f"import numpy as np\n\n\n{_base()}\n\n\n{text}\n", "Norm")


def _plain():
    """A correct batch norm that is written, and rounds, differently."""
    text = shown("correct", {}, "Norm")
    old, new = (
        "x.var(axis=axes, keepdims=True)",
        "np.square(x - x.mean(axis=axes, keepdims=True)).mean(axis=axes, keepdims=True)",
    )
    changed = text.replace(old, new).replace("dy.sum(axis=axes)", "dy.mean(axis=axes) * m")
    changed = changed.replace("(x - mean) * self.inv_std", "x * self.inv_std - mean * self.inv_std")
    return Code(f"import numpy as np\n\n\n{_base()}\n\n\n{changed}\n", "Norm")


def _trained(letter):
    def cases(rng):
        found, some = [], [float(p) for p in rng.uniform(0.1, 0.4, 2)]
        for shape, momentum in (((5, 3), some[0]), ((7, 2), None), ((3, 2, 4, 5), some[1])):
            features = shape[1]
            columns = (1, features) + (1,) * (len(shape) - 2)
            scale, shift = rng.uniform(0.4, 2, columns), rng.uniform(-3, 3, columns)
            batches = [shift + scale * rng.normal(size=shape) for _ in range(3)]
            gamma = rng.uniform(0.5, 2, features) * rng.choice([-1, 1], features)
            given = {"letter": letter, "batches": batches, "dy": rng.normal(size=shape), "gamma": gamma}
            found.append(given | {"beta": rng.normal(size=features), "momentum": momentum})
        return found

    return cases


def by_layer(got, want, case):
    """Compare tables of shapes and parameters, and name the layer and the column that are wrong."""
    if not isinstance(got, list | tuple) or len(got) != len(want):
        return same(got, want)
    columns = {f"value {number} of 4": name for number, name in enumerate("NCHW", start=1)}
    names = columns | {"the result": "the row", "value 1 of 2": "the shape", "value 2 of 2": "parameters"}
    for number, (layer, ours, right) in enumerate(zip(case["layers"], got, want, strict=True), start=1):
        if told := same(ours, right):
            for old, new in names.items():
                told = told.replace(old, new)
            return f"layer {number}, {layer[0]}: {told}"
    return None


def _tables(rng):
    found = []
    for _ in range(5):
        # From sides of 31 on, no window is larger than its padded side: 31 -> conv 14 -> pool 7 -> conv 2 -> pool 1.
        shape = tuple(int(n) for n in rng.integers((2, 1, 31, 32), (9, 5, 54, 59)))
        layers = []
        for _ in range(int(rng.integers(1, 3))):
            layers.append(("conv", *(int(n) for n in rng.integers((4, 2, 1, 0), (20, 6, 3, 3)))))
            layers += [("norm",)] * int(rng.integers(2)) + [("relu",)] + [("pool", 2)] * int(rng.integers(2))
        found.append({"shape": shape, "layers": layers})
    found[0]["layers"] = [("conv", 6, 3, 1, 1), ("norm",), ("relu",)]
    found[1]["layers"] = [("conv", 6, 3, 2, 1), ("relu",), ("norm",), ("pool", 2)]
    found[2]["layers"].append(("conv", 3, 1, 1, 0))  # none behind it
    return found


def checks(variant):
    """What a machine marks."""
    s = draw(variant)
    found = []
    for letter, name in s["broken"].items():
        about = f"where {letter} is wrong, and how"
        compare = answered(letter, name)
        found.append(auto(variant, f"answer-{letter.lower()}", 6, about, "answers", lambda rng: [{}], compare=compare))
    for letter in s["broken"]:
        about, at = f"{letter}, mended", f"mended-{letter.lower()}"
        found.append(auto(variant, at, 7, about, "run_mended", _trained(letter), compare=close(1e-7)))

    def these(rng):
        broken = [_code(name, s["names"][letter]) for letter, name in s["broken"].items()]
        return [{"make": code} for code in [*broken, _code("correct")]]

    def others(rng):
        return [{"make": code} for code in [_plain(), *map(_code, s["others"])]]

    return [
        *found,
        auto(variant, "catches-these", 12, "your check rejects the four and accepts a right one", "is_right", these),
        auto(variant, "catches-others", 8, "your check meets batch norms it has not seen", "is_right", others),
        auto(variant, "shapes-scores", 10, "shapes and parameters of conv layers", "layer_table", _tables, by_layer),
    ]


def manual(variant):
    """What a person marks."""
    rubric = """\
8 points: for each of the four, what somebody who trains a network would see, or that nothing would be seen (2 each).
6 points: which upstream gradient or shape would have hidden the fault (ones, squares, one shape), with a reason.
4 points: orders the four by the harm they do, and defends the order.
No machine sees whether is_right compares with a finished batch norm, such as that of utils or PyTorch. The task forbids
it: look at its cell, and where it does, take away the points of catches-these and catches-others."""
    return [Manual("symptoms", 18, rubric)]

"""The students' own checks: right functions pass, and each wrong one is told what is wrong with it, in words."""

import answers_hw01
import answers_hw03
import numpy as np
import pytest
from answers_hw03 import KNOWN, closed, direct, evaluate_of, forward, staged, update

from utils.homework import checks, hw01, hw03

RIGHT = answers_hw01.RIGHT | answers_hw03.RIGHT
WRONG = [
    (check, *case) for module in (answers_hw01, answers_hw03) for check, cases in module.WRONG.items() for case in cases
]


@pytest.mark.parametrize("name", RIGHT)
def test_right_ones_pass(name, capsys):
    check, function = RIGHT[name]
    assert check(function) == ()
    assert capsys.readouterr().out.endswith(": right\n")


def test_right_with_the_other_convention():
    def weight(p, batches):
        return 1 - p if p is not None else 1 / batches

    assert hw03.running_statistics(update(0, weight=weight), weight_of="old") == ()
    (found,) = hw03.running_statistics(update(0), weight_of="old")[:1]
    assert "momentum is the weight of the old value here" in found


@pytest.mark.parametrize("seed", range(5))
def test_other_seeds_do_as_well(seed):
    assert hw03.backward_closed(closed(0), seed=seed) == ()
    assert hw03.backward_staged(staged(1), axis=1, seed=seed) == ()
    assert hw03.forward(forward(1), axis=1, seed=seed) == ()
    wrong = staged(0, dxc=lambda g, n: g.dx_hat * g.inv_std)
    assert hw03.backward_staged(wrong, seed=seed) == ("dxc misses the path through the variance",)


@pytest.mark.parametrize(
    ("check", "sentence", "function"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_ones_are_told_what_is_wrong(check, sentence, function, capsys):
    found = check(function)
    assert any(sentence in told for told in found), found
    assert capsys.readouterr().out.count("; ") >= len(found) - 1


def test_one_fault_gives_one_sentence():
    """Later nodes are judged by the student's own earlier ones."""
    assert hw03.backward_staged(staged(0, dxc=direct)) == ("dxc misses the path through the variance",)
    assert len(hw03.forward(forward(0, inv=lambda var, eps: 1 / np.sqrt(var)))) == 1


@pytest.mark.parametrize("name", KNOWN)
def test_mutants_are_told_what_is_wrong(name):
    check, wrapped, sentence = KNOWN[name]
    found = check(wrapped(name))
    assert any(sentence in told for told in found), found
    assert check(wrapped("correct")) == ()


def test_what_was_found_before_a_function_fails_is_said_too():
    found = hw03.evaluation(evaluate_of("eval_without_effect"))
    assert "uses the statistics of the batch" in found[0]
    assert found[1].startswith("raised ValueError: expected more than one value")


@pytest.mark.parametrize("case", [*RIGHT, "example"])
def test_arguments_keep_their_names_and_values(case):
    arguments, want = {"x": np.ones(2), "n": 1}, [2, 2]
    example = (lambda function: checks.example(function, arguments, want), lambda x, n: x + n)
    check, function = example if case == "example" else RIGHT[case]
    names = []

    def named(**given):
        names[:] = given
        return function(**given)

    def careless(name):
        def changes(**given):
            found = function(**given)
            first = next(iter(given[name].values())) if isinstance(given[name], dict) else given[name]
            first = first[0] if isinstance(first, list) else first
            first += 1
            return found

        return changes

    assert check(named) == ()
    for name in set(names) - {"strength", "eps", "momentum", "n"}:
        told = check(careless(name))
        assert any(f"changes its argument {name}; it should make a new one" in said for said in told), told
    told = check(eval(f"lambda {', '.join(f'{name}_' for name in names)}: 0"))
    assert told[-1].endswith(f"unexpected keyword argument '{names[0]}'; keep the names of the arguments")


def not_done(*given, **named):
    raise NotImplementedError


def broken(*given, **named):
    raise KeyError("x_hat")


ONE_FUNCTION = [getattr(module, name) for module in (hw01, hw03) for name in module.__all__]


@pytest.mark.parametrize("check", ONE_FUNCTION, ids=lambda check: check.__name__)
def test_no_check_fails_because_of_what_it_checks(check, capsys):
    assert check(not_done) == ("not attempted",)
    assert capsys.readouterr().out.endswith(": not attempted\n")
    assert check(broken) == ("raised KeyError: 'x_hat'",)
    for answer in (None, 1.0, "text", np.ones(7), {}, [[1], [2, 3]]):
        assert check(lambda a=answer, **given: a)


@pytest.mark.parametrize(
    ("got", "want", "sentence"),
    [
        ([1.0, 2.0], [1.0, 2.0], None),
        ([1.0, 2.0 + 1e-9], [1.0, 2.0], None),
        ([np.inf, 2.0], [np.inf, 2.0], None),
        ([np.nan], [np.nan], None),
        (0.0, 0.0, None),
        (None, [1.0], "a is None: is a return missing?"),
        ("one", [1.0], "a should be an array of numbers, but is str"),
        ([1.0], [1.0, 2.0], "a has shape (1,), expected (2,)"),
        ([np.nan, 2.0], [1.0, 2.0], "a has 1 NaN"),
        ([-1.0, -2.0], [1.0, 2.0], "a is -1 times what it should be, everywhere"),
        ([1.0, 3.0], [1.0, 2.0], "a is wrong: relative error 0.5"),
        ([1.0, 2.0], [np.inf, 2.0], "a is infinite in the wrong places, or not in the right ones"),
        (0.5, 1.0, "a is 0.5, expected 1"),
        ([1.0000001], [1.0], "a is 1.0000001, expected 1"),
    ],
)
def test_compare(got, want, sentence):
    assert checks.compare("a", got, want) == sentence


def test_a_wrong_result_that_is_right_here_is_not_blamed():
    assert checks.compare("a", [1.0], [1.0], {"a misses something that is 1 here": [1.0]}) is None


def test_example_of_a_dict():
    def function(n):
        return {"one": n, "two": 2 * n}

    assert checks.example(function, {"n": 1.0}, {"one": 1.0, "two": 2.0}) == ()
    found = checks.example(function, {"n": 1.0}, {"one": 1.0, "two": 4.0}, {"two": {"two is not squared": 2.0}})
    assert found == ("two is not squared",)
    assert checks.example(function, {"n": 1.0}, {"three": 1.0}) == ("function gives no three",)


def test_example_names_the_result():
    assert checks.example(lambda: 2.0, {}, 1.0, name="the scale") == ("the scale is 2, expected 1",)


def test_example_does_not_hand_out_its_own_arguments():
    def careless(x):
        x += 1
        return x

    given = np.zeros(2)
    assert checks.example(careless, {"x": given}, [1.0, 1.0]) == (
        "careless changes its argument x; it should make a new one",
    )
    assert not given.any()


def test_a_name_is_not_printed_twice(capsys):
    assert checks.example(lambda a: a, {"a": 2}, 1, name="the scale") == ("the scale is 2, expected 1",)
    assert capsys.readouterr().out == "the scale is 2, expected 1\n"


@pytest.mark.filterwarnings("error")
def test_a_sentence_and_no_warning():
    told = checks.example(lambda a: a / np.zeros(2), {"a": np.ones(2)}, np.ones(2), name="y")
    assert told == ("y is infinite in the wrong places, or not in the right ones",)

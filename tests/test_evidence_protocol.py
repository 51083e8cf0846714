"""What an experiment has to keep: a declaration that breaks each rule and no other, and sentences for bad ones."""

import numpy as np
import pytest
from evidence_fixtures import write_claims

from utils.evidence import experiment, registered
from utils.evidence.protocol import RULES, violations

GOOD = {"rates": (0.1, 0.2, 0.4), "steps": 300, "examples": 32}
CONDITIONS = {"here": ("one", "other"), "there": ("two", "other")}


def function(seeds, data, steps, rates, device):
    """Would measure something."""


@pytest.fixture
def declare(tmp_path):
    """Declare an experiment with one claim; `entries` are those of the claim."""

    def declare(claims=None, entries=None, **how):
        path = write_claims(tmp_path / "claims.toml", a_claim=entries or {}, other_claim=entries or {})
        return experiment(claims or {"a-claim": CONDITIONS}, **{**GOOD, **how}, path=path)(function)

    return declare


MEASURED = {"kind": "measurement", "unit": "degrees"}
# The claim's entries and the arguments of the declaration that break exactly this rule.
BROKEN = {
    "one budget": ("two budgets", {}, {"budgets": (1,)}),
    "a second budget that is hardly longer": ("two budgets", {}, {"budgets": (1, 2)}),
    "two budgets without T": ("two budgets", {}, {"budgets": (4, 16)}),
    "a measurement that trains, with one budget": (
        "two budgets",
        MEASURED,
        {"budgets": (1,), "datasets": ("wine", "iris")},
    ),
    "digits alone": ("two data sets", {}, {"datasets": ("digits",)}),
    "MNIST alone": ("two data sets", {}, {"datasets": ("mnist_5k", "wine")}),
    "a measurement of one thing": ("two data sets", MEASURED, {"claims": {"a-claim": {"here": ("one", "other")}}}),
    "rates a factor of three apart": ("fine grid", {}, {"rates": (0.1, 0.2, 0.6)}),
    "two rates": ("fine grid", {}, {"rates": {"one": (0.1, 0.2, 0.4), "two": (0.1, 0.2), "other": (0.1, 0.2, 0.4)}}),
    "a threshold below one image": ("resolution", {"smallest": 0.2}, {}),
    "a threshold of nothing": ("resolution", {"smallest": 0.0}, {}),
    "a threshold below the stated step": ("resolution", {}, {"resolution": 2.0}),
    "a factor below one step": ("resolution", {"unit": "× the width", "smallest": 1.5}, {"resolution": 2.0}),
    "a divisor below one step": ("resolution", {"unit": "× the width", "smallest": 0.7}, {"resolution": 2.0}),
    "an arm against itself": ("can support", {}, {"claims": {"a-claim": {"here": ("one", "one")}}}),
    "a hundred and one points": ("can support", {"smallest": 101.0}, {}),
    "a factor of nothing": ("can support", {"unit": "× the width", "smallest": 0.0}, {}),
    "less than three epochs": ("three epochs", {}, {"examples": 20}),
    "no number of examples": ("three epochs", {}, {"examples": 0}),
}


def test_a_good_declaration_breaks_no_rule(declare):
    made = declare()
    assert list(violations(made)) == []
    assert made.columns() == [("digits", 1), ("digits", 4), ("mnist_5k", 1), ("mnist_5k", 4)]
    assert made.rates == dict.fromkeys(("one", "other", "two"), (0.1, 0.2, 0.4))
    assert made.claims == {"a-claim": {"here": (None, "one", "other"), "there": (None, "two", "other")}}
    assert (made.name, made.kind, made.live, made.seeds) == ("function", "experiment", 16, None)


def test_every_rule_has_a_declaration_that_breaks_it():
    assert {rule for rule, _, _ in BROKEN.values()} == set(RULES)


@pytest.mark.parametrize(("rule", "entries", "how"), BROKEN.values(), ids=BROKEN)
def test_a_bad_declaration_breaks_exactly_its_rule(rule, entries, how, declare):
    with pytest.raises(ValueError, match=f"experiment function: {rule}: ") as caught:
        declare(entries=entries, **how)
    assert all(line.startswith(f"experiment function: {rule}: ") for line in str(caught.value).splitlines())
    made = declare(entries=entries, **how, waive={rule: "There is a reason."})
    assert list(violations(made)) == []
    assert made.waive == {rule: "There is a reason."}


@pytest.mark.parametrize(
    ("entries", "how"),
    [
        ({"smallest": 0.25}, {}),  # a step of digits is 0.22 points, which MNIST's 1 000 test images refine
        ({"smallest": -1.0}, {}),  # at most a point behind
        ({"smallest": 100.0}, {}),
        ({"unit": "× the width", "smallest": 2.0}, {"resolution": 2.0}),
        ({"unit": "× the width", "smallest": 0.5, "direction": "at most"}, {"resolution": 2.0}),
        ({"unit": "accuracies"}, {"examples": 0}),  # no points of accuracy, no epochs
        ({}, {"budgets": (1, 2, 4)}),
        (MEASURED, {"steps": 0, "rates": None, "datasets": ("wine", "iris")}),
        (MEASURED, {"steps": 0, "rates": None}),  # two settings of its own
        ({"kind": "timing", "unit": "seconds"}, {"steps": 0, "rates": None}),
    ],
)
def test_what_the_rules_do_not_forbid(entries, how, declare):
    assert list(violations(declare(entries=entries, **how))) == []


def test_what_is_not_trained_has_one_column_per_data_set(declare):
    made = declare(entries=MEASURED, steps=0, rates=None, datasets=("wine", "iris"))
    assert made.columns() == [("wine", 1), ("iris", 1)]
    assert declare(entries=MEASURED, steps=0, rates=None).columns() == [("own data", 1)]


@pytest.mark.parametrize(
    ("waive", "message"),
    [
        ({"two budget": "Why."}, "waive: expected one of two budgets, two data sets, .*, got 'two budget'"),
        ({"two budgets": " "}, "waive: two budgets: expected the reason as a sentence, got ' '"),
        ({"two budgets": True}, "waive: two budgets: expected the reason as a sentence, got True"),
        ({"fine grid": "Why."}, "waive: fine grid: expected a rule that the experiment breaks, got one that it keeps"),
        ("two budgets", "waive: expected a reason for each rule by its name, got 'two budgets'"),
    ],
)
def test_a_waiver_names_a_broken_rule_and_a_reason(waive, message, declare):
    with pytest.raises(ValueError, match=message):
        declare(budgets=(1,), waive=waive)


def test_a_waiver_is_for_one_rule_only(declare):
    with pytest.raises(ValueError, match="fine grid") as caught:
        declare(budgets=(1,), rates=(0.1, 0.2), waive={"two budgets": "There is a reason."})
    assert "two budgets" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"claims": {"unknown": CONDITIONS}}, "claim_id: expected one of a-claim, other-claim, got 'unknown'"),
        ({"claims": ["a-claim"]}, "claims: expected at least one id with its conditions, got"),
        ({"claims": {"a-claim": {}}}, "claim a-claim: expected at least one condition by name, got {}"),
        ({"claims": {"a-claim": None}}, "claim a-claim: expected at least one condition by name, got None"),
        ({"claims": {"a-claim": {"here": None}}}, "'here': expected one arm, two arms to subtract, or a function"),
        ({"claims": {"a-claim": {"here": ()}}}, "'here': expected one arm, two arms to subtract, .* got \\(\\)"),
        ({"claims": {"a-claim": {"here": ("a", "b", "c")}}}, "'here': expected one arm, two arms to subtract"),
        ({"claims": {"a-claim": {"here": (np.divide,)}}}, "'here': expected one arm, two arms to subtract"),
        ({"claims": {"a-claim": {"here": ("a", 2)}}}, "'here': expected one arm, two arms to subtract"),
        ({"rates": {"one": (0.1, 0.2, 0.4)}}, "an arm of a condition: expected one of one, got 'other'; give its"),
        ({"rates": 0.1}, "rates of one: expected ascending rates, at least one, got 0.1"),
        ({"rates": ()}, r"rates of one: expected ascending rates, at least one, got \(\)"),
        ({"rates": (0.2, 0.1)}, r"rates of one: expected ascending rates, at least one, got \(0.2, 0.1\)"),
        ({"rates": (0.1, 0.1, 0.2)}, "rates of one: expected ascending rates"),
        ({"rates": (0.0, 0.1)}, "a rate of one: expected a positive number, got 0.0"),
        ({"rates": "fast"}, "a rate of one: expected a positive .*number, got 'f'"),
        ({"steps": -1}, "steps: expected an integer of at least 0, got -1"),
        ({"steps": 2.5}, "steps: expected an integer of at least 0, got 2.5"),
        ({"examples": "32"}, "examples: expected an integer of at least 0, got '32'"),
        ({"live": 0}, "live: expected a positive integer, got 0"),
        ({"seeds": 0}, "seeds: expected a positive integer, got 0"),
        ({"budgets": 4}, "budgets: expected a tuple of at least one, got 4"),
        ({"budgets": (1, 4.0)}, "budgets: expected a positive integer, got 4.0"),
        ({"budgets": (1, 4, 4)}, "budgets: expected each once"),
        ({"datasets": "digits"}, "datasets: expected a tuple of at least one, got 'digits'"),
        ({"datasets": ()}, "datasets: expected a tuple of at least one"),
        ({"datasets": ("digits", "mnist_5k", 3)}, "datasets: expected names, got"),
        ({"resolution": 0}, "resolution of a-claim: expected a positive number, got 0"),
        ({"resolution": {"b": 1.0}}, "resolution: expected one of a-claim, got 'b'"),
    ],
)
def test_what_cannot_be_declared_gets_a_sentence(how, message, declare):
    with pytest.raises(ValueError, match=message):
        declare(**how)


def test_claims_of_two_kinds_are_declared_apart(tmp_path):
    path = write_claims(tmp_path / "claims.toml", a_claim={}, other_claim=MEASURED)
    with pytest.raises(ValueError, match=r"claims of one kind, got \['experiment', 'measurement'\]: declare them"):
        experiment(dict.fromkeys(("a-claim", "other-claim"), CONDITIONS), **GOOD, path=path)(function)


def test_an_identity_names_its_errors_itself(tmp_path):
    path = write_claims(tmp_path / "claims.toml", a_claim={"kind": "identity", "smallest": 1e-9, "unit": "error"})
    made = experiment({"a-claim": None}, path=path)(function)
    assert made.claims == {"a-claim": {}}
    assert made.columns() == [("own data", 1)]
    with pytest.raises(ValueError, match="expected None, since an identity names its errors itself, got {'here'"):
        experiment({"a-claim": {"here": "one"}}, path=path)(function)


class TestRegister:
    def test_what_is_declared_inside_is_registered_in_order(self, declare):
        declare()
        with registered() as found:
            one = declare()
        declare()
        assert found == [one]

    def test_registers_can_be_nested_and_close_one_by_one(self, declare, tmp_path):
        with registered() as outer:
            with registered() as inner:
                one = declare()
            assert inner == outer == [one]
            path = tmp_path / "claims.toml"
            other = experiment({"other-claim": CONDITIONS}, **GOOD, path=path)(lambda: None)
        assert inner == [one]
        assert outer == [one, other]

    def test_a_name_and_a_claim_are_declared_once(self, declare, tmp_path):
        with registered():
            declare()
            with pytest.raises(ValueError, match="claim a-claim: expected one experiment that reads it, got function"):
                declare()
            with pytest.raises(ValueError, match="experiment function: expected one of this name, got two"):
                declare({"other-claim": CONDITIONS})

    def test_an_error_inside_closes_it(self, declare):
        with pytest.raises(ZeroDivisionError), registered() as found:
            raise ZeroDivisionError
        declare()
        assert found == []


def test_what_was_declared_can_be_called(tmp_path):
    path = write_claims(tmp_path / "claims.toml", a_claim={"kind": "identity", "smallest": 1e-9, "unit": "error"})
    made = experiment({"a-claim": None}, path=path)(lambda x, y=0: (x, y))
    assert made(1, y=2) == (1, 2)

"""Plausible wrong submissions of the homework, each with the checks whose points it loses.

A submission is a function from what the reference solution defines to what it has in place of some of that.
"""

from collections import namedtuple

Wrong = namedtuple("Wrong", "assignment name loses overrides")
WRONG = []


def wrong(*loses):
    """Enter a submission in WRONG; the module is named after the assignment."""

    def enter(function):
        assignment = function.__module__.split(".")[-1]
        WRONG.append(Wrong(assignment, function.__name__, frozenset(loses), function))
        return function

    return enter

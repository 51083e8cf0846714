"""Values of which nothing can be made, and arguments that can take some of them."""

import math

import numpy as np

UNUSABLE = {
    "None": None,
    "word": "two",
    "object": object(),
    "nan": math.nan,
    "inf": math.inf,
    "-1": -1,
    "2.5": 2.5,
    "True": True,
    "ragged": [[1.0], [1.0, 2.0]],
    "six axes": np.ones((1, 2, 3, 1, 2, 3)),
    "empty": np.empty(0),
    "words": ["one", "two"],
}


class May:
    """A usable value of an argument, and which of the values above can be used, too."""

    def __init__(self, value, *usable):
        self.value, self.usable = value, usable


class Taken(Exception):
    """All arguments were taken; the work would begin here."""


def anything(value):
    """An argument that takes any object, or goes to another library as it is."""
    return May(value, *UNUSABLE)


ANY = anything("word")


def fraction(value=0.25):
    return May(value)


def at_least_zero(value):
    return May(value, "2.5")


def real(value):
    return May(value, "2.5", "-1")


def optional(value):
    return May(value, "None")


def measured(value):
    return May(value, "nan", "inf", "-1", "2.5")

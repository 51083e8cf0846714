"""What is wrong with an answer, in one sentence."""

import numbers

import numpy as np


def close(tolerance):
    """Make a comparison of structure, shapes and numbers, for `Check(compare=...)`.

    It gives None, or one sentence that says what is wrong without giving away what is expected. Numbers may differ by
    the tolerance as a part of the greatest magnitude in what is expected. It does not look at the case.
    """

    def compare(got, want, case=None):
        return _compare(got, want, tolerance, "the result")

    return compare


def same(got, want, case=None):
    """Compare as `close(1e-7)` does."""
    return _compare(got, want, 1e-7, "the result")


def _compare(got, want, tolerance, where):
    if want is None or isinstance(want, bool | str | np.bool_):
        if isinstance(want, np.bool_):
            want = bool(want)
        got = bool(got) if isinstance(got, np.bool_) or _is_bool_scalar(got) else got
        if type(got) is not type(want):
            return f"{where}: expected {_kind(want)}, got {_kind(got)}"
        return None if got == want else f"{where} is not the right one"
    if isinstance(want, dict):
        if not isinstance(got, dict):
            return f"{where}: expected a dict, got {_kind(got)}"
        if missing := [key for key in want if key not in got]:
            return f"{where}: expected an entry {missing[0]!r}, there is none"
        if extra := [key for key in got if key not in want]:
            return f"{where}: got an entry {str(extra[0])[:40]!r} that is not expected"
        found = (_compare(got[key], want[key], tolerance, f"entry {key!r}") for key in want)
        return next((sentence for sentence in found if sentence), None)
    if isinstance(want, list | tuple):
        if not isinstance(got, list | tuple):
            return f"{where}: expected {len(want)} values, got {_kind(got)}"
        if len(got) != len(want):
            return f"{where}: expected {len(want)} values, got {len(got)}"
        pairs = enumerate(zip(got, want, strict=True), start=1)
        found = (_compare(g, w, tolerance, f"value {i} of {len(want)}") for i, (g, w) in pairs)
        return next((sentence for sentence in found if sentence), None)
    return _compare_numbers(got, np.asarray(want), tolerance, where)


def _compare_numbers(got, want, tolerance, where):
    if not isinstance(got, np.ndarray | np.generic | numbers.Number):
        return f"{where}: expected {_kind(want)}, got {_kind(got)}"
    got = np.asarray(got)
    if got.dtype.kind == "O":
        return f"{where}: expected {_kind(want)}, got a number out of range"
    if got.dtype.kind not in "biufc":
        return f"{where}: expected numbers, got {got.dtype}"
    if got.shape != want.shape:
        return f"{where}: expected shape {want.shape}, got {got.shape}"
    if got.dtype.kind == "c" and want.dtype.kind != "c":
        return f"{where}: expected real numbers, got complex ones"
    if (got.dtype.kind == "b") != (want.dtype.kind == "b"):
        return f"{where}: expected {want.dtype} values, got {got.dtype}"
    if want.size == 0:
        return None
    if want.dtype.kind == "b":
        wrong = int((got != want).sum())
        return f"{where}: {wrong} of {want.size} entries are wrong" if wrong else None
    wide = np.complex128 if "c" in (want.dtype.kind, got.dtype.kind) else np.float64
    with np.errstate(all="ignore"):
        got, want = got.astype(wide), want.astype(wide)
        finite = np.isfinite(want)
        if not np.isfinite(got[finite]).all():
            return f"{where}: {int((~np.isfinite(got[finite])).sum())} of {want.size} entries are NaN or infinite"
        special = (got[~finite] == want[~finite]) | (np.isnan(got[~finite]) & np.isnan(want[~finite]))
        if not special.all():
            return f"{where}: entries that should be NaN or infinite are not"
        scale = float(np.abs(want[finite]).max(initial=0.0)) or 1.0
        error = np.abs(got - want)[finite] / scale
    worst = float(error.max(initial=0.0))
    if worst <= tolerance:
        return None
    if want.size == 1:
        part = np.format_float_positional(100 * worst, precision=2, fractional=False, trim="-")
        return f"{where} is off by about {part} %" if worst < 10 else f"{where} is off by more than 1000 %"
    at = tuple(int(i) for i in np.argwhere(finite)[int(error.argmax())])
    wrong = int((error > tolerance).sum())
    return (
        f"{where}: {wrong} of {want.size} entries {'is' if wrong == 1 else 'are'} wrong, the worst at index {at}, "
        f"off by about {worst:.0e} of the largest entry expected"
    )


def _is_bool_scalar(value):
    return isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind == "b"


def _kind(value):
    if value is None:
        return "None"
    if isinstance(value, np.ndarray) and value.shape:
        return f"an array of shape {value.shape}"
    if isinstance(value, bool | np.bool_):
        return "True or False"
    if isinstance(value, numbers.Number | np.ndarray | np.generic):
        return "a number"
    names = {str: "a string", list: "a list", tuple: "a tuple", dict: "a dict"}
    return names.get(type(value), type(value).__name__)

"""Days after a deadline, and how many of them a student may take."""

import math
from datetime import UTC, datetime, timedelta

from .tables import read_table

UNKNOWN = "yes"  # late, as the LMS says, which does not say how much


class LateError(ValueError):
    """A deadline or a table of allowances cannot be used; the message says what was expected."""


def read_deadline(text):
    """Read a deadline such as ``2027-02-03 23:59``, in this machine's time where it names no zone."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise LateError(f"--deadline: expected one like 2027-02-03 23:59, got {text!r}") from None


def moment(when):
    """A time of a file, seconds or the numbers of a date, in a form that can be compared; None if there is none."""
    try:
        if isinstance(when, datetime):
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
        found = datetime.fromtimestamp(when[0]) if len(when) == 1 else datetime(*when)
        return found.astimezone(UTC) if found.year > 1980 else None  # what a zip has where nobody knows
    except (ValueError, OverflowError, OSError, TypeError):
        return None


def days(when, deadline):
    """Begun days after a deadline; 0 for what came before it, or nobody knows when."""
    found = moment(when)
    return 0 if found is None else max(0, math.ceil((found - deadline) / timedelta(days=1)))


def read_allowances(data):
    """Read how many days of delay students have left.

    Parameters
    ----------
    data : bytes
        A table with the column days, and at least one of id, name and email; see `tables.read_table`.

    Returns
    -------
    dict of str to float
        By id, name and address, all in small letters.

    Raises
    ------
    LateError
        If it is no such table.
    """
    try:
        header, rows = read_table(data)
        columns = {name.casefold(): i for i, name in enumerate(header)}
        keys = [columns[name] for name in ("id", "name", "email") if name in columns]
        if "days" not in columns or not keys:
            raise ValueError(f"the columns {', '.join(header)[:200]}")
        found = {}
        for row in rows:
            left = float(row[columns["days"]].replace(",", ".") or 0)
            found.update({row[i].strip().casefold(): left for i in keys if row[i].strip()})
    except ValueError as error:
        raise LateError(f"expected allowances with the columns id, name or email, and days, got {error}") from None
    return found


def mark(submissions, deadline, allowances):
    """Write into each submission how many days late it is, and give sentences about those who may not be.

    Parameters
    ----------
    submissions : list of Submission
        Their `late` is "yes" where the LMS marked them; its files then have the time of the export.
    deadline : datetime or None
    allowances : dict or None
        As `read_allowances` gives it; who is not in it has no day.

    Returns
    -------
    list of str
    """
    said = []
    for one in submissions:
        if deadline and not one.marked and one.when and (number := days(one.when, deadline)):
            one.late = str(number)
        if one.late and allowances is not None:
            left = allowances.get(one.id.casefold(), allowances.get(one.name.casefold(), 0))
            number = math.inf if one.late == UNKNOWN else int(one.late)
            if number > left:
                took = "late, nobody knows how much" if one.late == UNKNOWN else f"{number} days late"
                said.append(f"{one.name} is {took}, and has {left:g} days left")
    return said

"""Who sent a file, by the names that Moodle, Canvas and Gradescope give it: the id is the one that each knows again."""

import re
import unicodedata
from datetime import datetime
from pathlib import PurePosixPath

from .cells import whole

# Moodle: NAME_ID_assignsubmission_file_ is a folder, or the beginning of a file's name.
MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)")
# Canvas: NAME_ID_FILEID_FILE, LATE before the id; NAME_ID_text.html and _link.html; without names anon_ID_FILEID_FILE.
WHAT = r"(?:\d+_.+|(?:text|link)\.html?)"
ANONYMOUS = re.compile(rf"(?:LATE_)?anon_(?P<id>[A-Za-z0-9]{{5}})_(?:LATE_)?{WHAT}")
CANVAS = re.compile(rf"(?P<name>.+?)_(?:LATE_)?(?P<id>\d+)_{WHAT}")
# Gradescope: folders submission_N, and who they are in a file.
GRADESCOPE = re.compile(r"submission_\d+")
METADATA = "submission_metadata.yml"
LARGEST_METADATA = 20 * 2**20
COPY = re.compile(r" ?\(\d+\)$")


def tidy(text):
    """A name in one spelling, whatever the system that wrote it; where it is not UTF-8, it is one of old Windows."""
    if text != whole(text):
        text = whole(text.encode("utf-8", "surrogateescape").decode("cp1252", "replace"))
    return unicodedata.normalize("NFC", text).strip()


def is_export(parts):
    """Whether the first part of a path is one that an LMS makes."""
    first = tidy(parts[0])
    alone = len(parts) == 1 and (ANONYMOUS.fullmatch(first) or CANVAS.fullmatch(first) or first == METADATA)
    return bool(alone or MOODLE.match(first) or (len(parts) > 1 and GRADESCOPE.fullmatch(first)))


def lateness(parts):
    """Whether a file is of Canvas, which marks what is late, and whether it is marked."""
    found = ANONYMOUS.fullmatch(parts[0]) or CANVAS.fullmatch(parts[0])
    late = found and re.search(r"(?:^|_)LATE_", parts[0][: found.end("id") + len("_LATE_")])
    return bool(found), bool(late)


def returned(parts, page):
    """The name that a page of feedback must have in the zip that the LMS takes; `page` where it has no such rules."""
    first = parts[0]
    if match := MOODLE.match(first):
        return f"{first if len(parts) > 1 else match[0] + '_'}/feedback.html"
    if ANONYMOUS.fullmatch(first) or CANVAS.fullmatch(first):
        return str(PurePosixPath(first).with_suffix(".html"))
    return page


def senders(parts, listed):
    """Who sent a file.

    Parameters
    ----------
    parts : tuple of str
        Its path below the folder of all submissions.
    listed : dict
        The students whom `gradescope` found.

    Returns
    -------
    list of (str, str)
        Id and name; several for the work of a group.
    """
    first = tidy(parts[0])
    if first in listed and len(parts) > 1:
        return listed[first]
    if match := MOODLE.match(first):
        blind = match["name"] == "Participant"  # whom Moodle does not name
        return [(match["id"], f"Participant {match['id']}" if blind else match["name"])]
    if len(parts) > 1:
        return [(first, first)]
    if match := ANONYMOUS.fullmatch(first):
        return [(match["id"], f"anonymous {match['id']}")]
    if match := CANVAS.fullmatch(first):
        return [(match["id"], match["name"])]
    name = COPY.sub("", tidy(PurePosixPath(first).stem))
    return [(name, name)]


def gradescope(data):
    """Read who sent which folder of a Gradescope export.

    Parameters
    ----------
    data : bytes
        Of `submission_metadata.yml`.

    Returns
    -------
    students : dict of str to list of (str, str)
        By the name of the folder: the student's number, else the address, else the name; and the name.
    times : dict of str to datetime
        When the folder was sent, where that is known.

    Raises
    ------
    ValueError
        If it cannot be read.
    """
    import yaml

    if len(data) > LARGEST_METADATA:
        raise ValueError(f"expected {LARGEST_METADATA // 2**20} MB at most, got more")
    try:
        table = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        found, times = {}, {}
        for folder, about in table.items():
            students = [{str(key).lstrip(":"): value for key, value in one.items()} for one in about[":submitters"]]
            found[str(folder)] = [_who(one) for one in students]
            if isinstance(about.get(":created_at"), datetime):
                times[str(folder)] = about[":created_at"]
    except (yaml.YAMLError, AttributeError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"expected submitters with name and sid, got something else ({str(error)[:100]})") from None
    return {folder: students for folder, students in found.items() if students}, times


def _who(student):
    """Id and name of one submitter."""
    given = [tidy(str(student.get(key) or "")) for key in ("sid", "email", "name")]
    id = next((text for text in given if text), "")
    if not id:
        raise TypeError("a submitter without sid, email and name")
    return id, given[2] or id

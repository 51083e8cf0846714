"""Tables as spreadsheets and learning-management systems save them."""

import codecs
import csv
import io

SEPARATORS = ",;\t"
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_table(data):
    """Read a table, in UTF-8, UTF-16 or the letters of Windows, with commas, semicolons or tabs.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    header : list of str
    rows : list of list of str
        Each as long as the header; without lines in which nothing stands.

    Raises
    ------
    ValueError
        If it is no table.
    """
    text, separator = _text(data)
    try:
        lines = [line for line in csv.reader(io.StringIO(text), delimiter=separator) if any(map(str.strip, line))]
    except csv.Error as error:
        raise ValueError(f"expected a table, got something else ({error})") from None
    if not lines:
        raise ValueError("expected a table, got an empty file")
    header = [name.strip() for name in lines[0]]
    return header, [[*line, *[""] * len(header)][: len(header)] for line in lines[1:]]


def _text(data):
    """The text of a table, and what separates its cells, which Excel may say in a line of its own."""
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    first, _, rest = text.lstrip().partition("\n")
    if first[:4].lower() == "sep=" and first[4:5] in tuple(SEPARATORS):
        return rest, first[4]
    return text, max(SEPARATORS, key=first.count)


def separator(data):
    """What separates the cells of a table, a comma or a semicolon, as the countries do that write 3,5 for numbers."""
    return ";" if _text(data)[1] == ";" else ","


def cell(value):
    """A cell of a table that no spreadsheet takes for a formula."""
    text = str(value).replace("\r", " ").replace("\n", " ")
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def write_table(header, rows, *, separator=","):
    """Write a table in UTF-8, with the sign before it by which Excel on Windows knows that."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", delimiter=separator).writerows([header, *rows])
    return codecs.BOM_UTF8 + out.getvalue().encode("utf-8", errors="replace")

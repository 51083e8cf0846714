"""Edits of the JSON of a notebook: functions that change it, for `bad_notebooks` and `bad_claims`."""

import copy

from edits import edited

DEFINED = {"tags": ["core", "define"]}


# Edits


def lines(text):
    """A text as notebooks have it."""
    return text.splitlines(keepends=True)


def cell(notebook, name):
    """The cell with an id."""
    (found,) = (cell for cell in notebook["cells"] if cell["id"] == name)
    return found


def swap(name, find, replace):
    """Replace a part of the source of a cell, which must be there once."""

    def edit(notebook):
        source = "".join(cell(notebook, name)["source"])
        cell(notebook, name)["source"] = lines(edited(source, [(find, replace)]))

    return edit


def before(name, text):
    """Put lines before the source of a cell."""

    def edit(notebook):
        cell(notebook, name)["source"][:0] = lines(text + "\n")

    return edit


def after(name, text):
    """Put lines, or the rest of a line, after the source of a cell."""

    def edit(notebook):
        cell(notebook, name)["source"] = lines("".join(cell(notebook, name)["source"]) + text)

    return edit


def put(*path, value):
    """Put a value into the notebook, or into the cell whose id the path begins with."""

    def edit(notebook):
        place, keys = (notebook, path) if path[0] in notebook else (cell(notebook, path[0]), path[1:])
        *inner, last = keys
        for key in inner:
            place = place[key]
        place[last] = value

    return edit


def insert(name, *cells):
    """Put new cells after the one with an id, or before all others if that is None."""

    def edit(notebook):
        place = 0 if name is None else notebook["cells"].index(cell(notebook, name)) + 1
        notebook["cells"][place:place] = copy.deepcopy(cells)

    return edit


def drop(name):
    """Leave out a cell."""
    return lambda notebook: notebook["cells"].remove(cell(notebook, name))


def swap_output(name, kind, find, replace):
    """Replace a part of one kind of data of the first output of a cell."""

    def edit(notebook):
        data = cell(notebook, name)["outputs"][0]["data"]
        data[kind] = lines(edited("".join(data[kind]), [(find, replace)]))

    return edit


def print_too(name, output):
    """Put an output after those of a cell."""
    return lambda notebook: cell(notebook, name)["outputs"].append(output)


# New cells


def text(name, source):
    return {"cell_type": "markdown", "id": name, "metadata": {"tags": ["core"]}, "source": lines(source)}


def code(count, name, source, *outputs):
    made = {"cell_type": "code", "execution_count": count, "id": name, "metadata": {"tags": ["core"]}}
    return made | {"outputs": list(outputs), "source": lines(source)}


def stream(text, name="stdout"):
    return {"name": name, "output_type": "stream", "text": lines(text)}


def result(count, data):
    return {"data": data, "execution_count": count, "metadata": {}, "output_type": "execute_result"}


def value(count, text):
    return result(count, {"text/plain": lines(text)})


def cells_of(count, parts):
    """Code cells by their names, each with its source and outputs, and a sentence before each."""
    for number, (name, (source, *outputs)) in enumerate(parts.items(), start=count):
        yield text(f"{name}-text", f"The next cell is called {name}.")
        yield code(number, name, source, *outputs)

"""What napoleon does not understand in numpydoc docstrings, put so that it does."""

import re

NAMES = re.compile(r"^(\w+(?:, \w+)+)(| : .*)$")


def literal_stars(lines):
    """Keep a star before a name, as in (out, in, *kernel), from beginning emphasis.

    Parameters
    ----------
    lines : list of str

    Returns
    -------
    list of str
    """
    return [re.sub(r"(?<=[(\s])\*(?=\w+\))", r"\\*", line) for line in lines]


def one_attribute_each(lines):
    """Give each of several attributes that share a description its own.

    Parameters
    ----------
    lines : list of str

    Returns
    -------
    list of str
        Parameters that share one stay together: there napoleon understands it.
    """
    done, inside, i = [], False, 0
    while i < len(lines):
        following = lines[i + 1] if i + 1 < len(lines) else ""
        if re.fullmatch(r"-{3,}", following):
            inside = lines[i] == "Attributes"
        shared = NAMES.match(lines[i]) if inside else None
        if not shared:
            done.append(lines[i])
            i += 1
            continue
        end = i + 1
        while end < len(lines) and lines[end].startswith(" "):
            end += 1
        for name in shared[1].split(", "):
            done += [name + shared[2], *lines[i + 1 : end]]
        i = end
    return done


def setup(app):
    """Register with Sphinx, before napoleon."""

    def process(app, what, name, obj, options, lines):
        lines[:] = one_attribute_each(literal_stars(lines))

    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True}

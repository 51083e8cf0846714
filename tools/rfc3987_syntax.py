"""Stand before a package of this name, whose import takes a second: jsonschema, which nbformat imports, asks for it.

It checks web addresses, of which notebooks have none.
"""

raise ImportError("a tool does not need it")

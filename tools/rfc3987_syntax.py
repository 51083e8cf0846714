"""Stands before a package of this name, whose import takes two seconds: notebooks do not need what it checks.

It is jsonschema that asks for it, when nbformat is imported, and does without it: it checks web addresses.
"""

raise ImportError("a tool does not need it")

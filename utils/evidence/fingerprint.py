"""What produced a record: the syntax trees of an experiment and of everything in `utils` that it reaches."""

import ast
import hashlib
from functools import cache, cached_property
from pathlib import Path

from utils.arrays import instance

__all__ = ["fingerprint"]

_PACKAGE = Path(__file__).resolve().parents[1]
# What shows and judges does not change what is measured; what runs and chooses does.
_ASIDE = ("utils.evidence", "utils.plotting", "utils.widgets", "utils.runtime")
_RUNNING = (("utils.evidence.running", "run"),)
# What may change in the declaration without changing a number.
_NOT_MEASURED = {"waive", "live", "seeds", "resolution", "path"}


class _Module:
    """The names that the top level of a module binds: by statements, or by imports from `utils`."""

    def __init__(self, source, package):
        self.statements, self.imports = {}, {}
        tree = ast.parse(source)
        for statement in tree.body:
            for name in _bound(statement):
                self.statements.setdefault(name, []).append(statement)
        for statement in ast.walk(tree):  # functions import, too
            if isinstance(statement, ast.ImportFrom | ast.Import):
                self._import(statement, package)

    def _import(self, statement, package):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                if alias.name.split(".")[0] == "utils":
                    # `import utils.data` binds utils; `import utils.data as data` binds data
                    self.imports[alias.asname or "utils"] = (alias.name if alias.asname else "utils", None)
            return
        base = statement.module or ""
        if statement.level:
            parents = package.split(".")[: len(package.split(".")) - statement.level + 1]
            base = ".".join([*parents, base] if base else parents)
        if base.split(".")[0] == "utils":
            for alias in statement.names:
                self.imports[alias.asname or alias.name] = (base, alias.name)

    @cached_property
    def names(self):
        return set(self.statements) | set(self.imports)


def _bound(statement):
    """The names that a statement binds or changes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    names = []
    for target in targets if isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign) else []:
        names += [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]
    if isinstance(statement, ast.For | ast.If | ast.With | ast.Try):
        for child in ast.walk(statement):
            if child is not statement and isinstance(child, ast.stmt):
                names += _bound(child) if not isinstance(child, ast.For | ast.If | ast.With | ast.Try) else []
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):  # such as register.update(...)
        function = statement.value.func
        while isinstance(function, ast.Attribute):
            function = function.value
        names += [function.id] if isinstance(function, ast.Name) else []
    return list(dict.fromkeys(names))


@cache
def _utils_module(name):
    """A module of `utils`; None if there is none of this name."""
    path = _PACKAGE.parent.joinpath(*name.split("."))
    for file, package in ((path.with_suffix(".py"), name.rpartition(".")[0]), (path / "__init__.py", name)):
        if file.is_file():
            return _Module(file.read_text(encoding="utf-8"), package)
    return None


class _Reached:
    """Everything that a name leads to, each top-level statement once."""

    def __init__(self):
        self.found = {}

    def name(self, module_name, module, name):
        """Follow a name of a module."""
        if (module_name, name) in self.found or name not in module.names:
            return
        self.found[module_name, name] = None
        if name in module.imports:
            if _is_aside(*module.imports[name]):
                return
            self._imported(*module.imports[name])
        if name in module.statements:
            self.found[module_name, name] = [_plain(statement) for statement in module.statements[name]]
            for statement in module.statements[name]:
                self._inside(module_name, module, statement)

    def _inside(self, module_name, module, node):
        if isinstance(node, ast.Attribute):
            self._attribute(module, _dotted(node))
        elif isinstance(node, ast.Name):
            self.name(module_name, module, node.id)
        for value in _fields(node).values():
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    self._inside(module_name, module, child)

    def _attribute(self, module, dotted):
        """Follow ``training.fit``, where training is a module."""
        if len(dotted) < 2 or dotted[0] not in module.imports:
            return
        base, name = module.imports[dotted[0]]
        place = f"{base}.{name}" if name else base
        for depth, attribute in enumerate(dotted[1:], start=1):
            found = _utils_module(place)
            if found is None or _is_aside(place):
                return
            if attribute in found.names:
                self.name(place, found, attribute)
                return
            if depth < len(dotted):
                place = f"{place}.{attribute}"

    def _imported(self, base, name):
        """Follow ``from base import name``; a module itself is followed by its attributes."""
        found = _utils_module(base)
        if name and found is not None:
            self.name(base, found, name)


def _is_aside(base, name=None):
    """Whether a module, or what is imported from it, only shows or judges."""
    return (f"{base}.{name}" if name else base).startswith(_ASIDE)


def _dotted(node):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def _fields(node):
    """What of a node can change a number: no messages, no docstrings, and of a declaration what is measured."""
    if isinstance(node, ast.Raise):
        return {"exc": node.exc.func if isinstance(node.exc, ast.Call) else node.exc}
    if isinstance(node, ast.Assert):
        return {"test": node.test}
    fields = {name: getattr(node, name, None) for name in node._fields if name not in ("ctx", "kind", "type_comment")}
    if isinstance(fields.get("body"), list):
        fields["body"] = [each for each in node.body if not _is_text(each)]
    if isinstance(node, ast.Call) and _dotted(node.func)[-1:] == ["experiment"]:
        fields["keywords"] = [each for each in node.keywords if each.arg not in _NOT_MEASURED]
    return fields


def _is_text(statement):
    """A docstring, or a string that stands alone."""
    alone = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return alone and isinstance(statement.value.value, str)


def _plain(node):
    """A syntax tree as nested tuples, the same in all versions of Python."""
    if isinstance(node, list):
        return tuple(_plain(each) for each in node)
    if not isinstance(node, ast.AST):
        return repr(node)
    kept = ((name, _plain(value)) for name, value in sorted(_fields(node).items()) if value is not None and value != [])
    return (type(node).__name__, *kept)


def fingerprint(source, name, *, run=True):
    """The fingerprint of an experiment.

    Parameters
    ----------
    source : str
        The set-up and definition cells of its lab, one after the other.
    name : str
        Of the experiment's function there.
    run : bool
        Whether what runs the experiments of labs counts, too.

    Returns
    -------
    str
        16 hexadecimal digits. Comments, docstrings, the texts of errors and what only shows or judges are left out.

    Raises
    ------
    ValueError
        If the source is no code, or defines no such function.
    """
    try:
        lab = _Module(instance(source, str, "source", what="code"), "")
    except SyntaxError as error:
        raise ValueError(f"source: expected code, got {error}") from None
    if not isinstance(name, str) or name not in lab.statements:
        raise ValueError(f"name: expected a function that the lab defines, got {name!r}")
    reached = _Reached()
    reached.name("lab", lab, name)
    for module, function in _RUNNING if run else ():
        reached.name(module, _utils_module(module), function)
    trees = sorted((key, tree) for key, tree in reached.found.items() if tree is not None)
    return hashlib.sha256(repr(trees).encode()).hexdigest()[:16]

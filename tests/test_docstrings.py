"""The docstring of every public function of utils says what goes in, what comes out and what is raised."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "utils").rglob("*.py"))


def own_nodes(function):
    """The nodes of a function without those of functions inside it."""
    pending = list(function.body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            pending.extend(ast.iter_child_nodes(node))


def public_functions(module):
    """The functions that a module offers, and the methods of the classes that it offers."""
    names = [
        ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    for node in module.body:
        if getattr(node, "name", None) in sum(names, []):
            inside = node.body if isinstance(node, ast.ClassDef) else [node]
            yield from (f for f in inside if isinstance(f, ast.FunctionDef) and not f.name.startswith("_"))


def sections_wanted(function):
    """The sections that the docstring of a function must have."""
    nodes = list(own_nodes(function))
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    if any(argument.arg not in ("self", "cls") for argument in arguments):
        yield "Parameters"
    if any(isinstance(node, ast.Return) and node.value for node in nodes) and not function.decorator_list:
        yield "Returns"
    checks = any(ast.unparse(decorator).startswith("check(") for decorator in function.decorator_list)
    if any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in nodes) and not checks:
        yield "Yields"
    if any(isinstance(node, ast.Raise) for node in nodes):
        yield "Raises"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_say_what_goes_in_and_out(path):
    module = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(module)
    missing = []
    for function in public_functions(module):
        text = ast.get_docstring(function) or ""
        missing += [f"{function.name}: no docstring"] * (not text)
        for section in sections_wanted(function):
            if f"{section}\n{'-' * len(section)}" not in text:
                missing.append(f"{function.name}: no {section}")
    assert missing == []

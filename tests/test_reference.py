"""What notebooks use stands in the reference of the site, which autodoc makes of what each __all__ documents."""

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import nbformat
import pages
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [path for place in ("notebooks", "notebooks/labs") for path in sorted((ROOT / place).glob("[0-9]*.ipynb"))]


def hidden_in(function):
    """The attributes of a function's own arguments, such as ``data.split`` where data is a name."""
    if isinstance(function, ast.FunctionDef | ast.Lambda):
        own = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in own:
                yield node


def utils_names():
    """What the code cells of notebooks and assignments take from utils: (module, name) and every attribute's name."""
    names, attributes = set(), set()
    packages = ("utils", "utils.byhand", "utils.homework", "utils.lab")
    for path in [*NOTEBOOKS, *sorted((ROOT / "homework" / "source").glob("*/*.ipynb"))]:
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        trees = [ast.parse(re.sub(r"^[ \t]*[%!].*$", "", source, flags=re.MULTILINE)) for source in cells]
        nodes = [node for tree in trees for node in ast.walk(tree)]
        modules = {}
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module in packages:
                place = node.module.removeprefix("utils").lstrip(".") + "." * (node.module != "utils")
                modules |= {alias.asname or alias.name: place + alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module.startswith("utils."):
                names |= {(node.module.removeprefix("utils."), alias.name) for alias in node.names}
        hidden = {id(node) for function in nodes for node in hidden_in(function)}
        for node in nodes:
            if isinstance(node, ast.Attribute):
                attributes.add(node.attr)
                if isinstance(node.value, ast.Name) and node.value.id in modules and id(node) not in hidden:
                    names.add((modules[node.value.id], node.attr))
    return names, attributes


WHOLE = {"evidence"}  # packages that are one page of the reference: notebooks know no module of theirs
NAMES, ATTRIBUTES = utils_names()
MODULES = pages.modules_in_order((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


class TestReference:
    def test_it_has_every_module(self):
        paths = [path.relative_to(ROOT / "utils") for path in (ROOT / "utils").rglob("[a-z]*.py")]
        found = {".".join(path.with_suffix("").parts) for path in paths if path.parts[0] not in WHOLE}
        assert sorted(MODULES) == sorted(found | WHOLE)
        assert all(pages.idea_of(name) for name in MODULES)
        with pytest.raises(ValueError, match=r"CONTRIBUTING\.md: expected 'Modules of `utils`"):
            pages.modules_in_order("nothing")

    def test_the_notebooks_were_read(self):
        known = (("data", "digits"), ("lab.training", "fit"), ("lab.networks", "mlp"), ("homework.checks", "review"))
        assert set(known) <= NAMES
        assert {"fit_transform", "running_mean"} <= ATTRIBUTES

    @pytest.mark.parametrize(("module", "name"), sorted(NAMES), ids=lambda each: each)
    def test_every_name_that_is_used_is_public(self, module, name):
        assert module in MODULES
        space = importlib.import_module(f"utils.{module}")
        home = importlib.import_module(getattr(getattr(space, name), "__module__", space.__name__))
        assert name in space.__all__ or name in home.__all__  # data.Split stands under utils.splits

    def test_a_page_shows_all_and_what_is_inherited_from_the_course(self):
        page = pages.module_page("data")
        assert ".. automodule:: utils.data\n   :members:\n" in page
        assert "ignore-module-all" not in page
        (line,) = (line for line in page.splitlines() if "inherited-members" in line)
        hidden = {name.strip() for name in line.split(":")[2].split(",")}
        for module in MODULES:
            space = importlib.import_module(f"utils.{module}")
            for shown in (getattr(space, name) for name in space.__all__):
                foreign = {base for base in getattr(shown, "__mro__", ()) if not base.__module__.startswith("utils")}
                for base in foreign - {object}:
                    assert hidden & {each.__name__ for each in base.__mro__}

    @pytest.mark.parametrize("module", MODULES)
    def test_everything_public_is_documented(self, module):
        space = importlib.import_module(f"utils.{module}")
        files = Path(space.__file__).parent.glob("*.py") if module in WHOLE else [Path(space.__file__)]
        source = "\n".join(path.read_text(encoding="utf-8") for path in files)
        for name in space.__all__:
            thing = getattr(space, name)
            if not callable(thing):
                assert re.search(rf"^#: .*\n(#.*\n)*{name} = ", source, re.MULTILINE), f"{name}: no comment with #:"
                continue
            assert inspect.getdoc(thing), name
            for base in getattr(thing, "__mro__", ()):
                own = vars(base) if base.__module__.startswith("utils") else {}
                for key, value in own.items():
                    if not key.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                        assert inspect.getdoc(value), f"{name}.{key}"

    @pytest.mark.parametrize("module", MODULES)
    def test_every_attribute_that_is_used_is_documented(self, module):
        space = importlib.import_module(f"utils.{module}")
        for each in (getattr(space, name) for name in space.__all__):
            if inspect.isclass(each) and issubclass(each, torch.nn.Module):  # parameters and buffers, as PyTorch's
                continue
            bases = [base for base in getattr(each, "__mro__", ()) if base.__module__.startswith("utils")]
            told = "\n".join(inspect.cleandoc(base.__doc__ or "") for base in bases)
            for base in bases:
                code = textwrap.dedent(inspect.getsource(base))
                for key in set(re.findall(r"^ +(?:self\.\w+, )*self\.(\w+)(?:, self\.\w+)* = ", code, re.MULTILINE)):
                    if key[0] != "_" and key in ATTRIBUTES:
                        assert re.search(rf"^(\w+, )*{key}(, \w+)*( :|$)", told, re.MULTILINE), f"{each.__name__}.{key}"

"""What every notebook of the course keeps to, as far as it can be seen without running it.

A rule takes an open `Notebook` and yields what is wrong and where; its docstring is what it asks for. By name, `RULES`
has those for lessons and `LAB_RULES` those for labs; tests/bad_notebooks.py has for each rule a notebook that breaks it
and no other. `misplaced` is about the places and
names of all notebooks.
"""

from pathlib import Path

from . import about_claims, code, outputs, parts, prompts, text  # noqa: F401  # they enter their rules
from .base import LAB_RULES, RULES, VIEW, WITHOUT_LESSON, Notebook, code_cells, headings, read, rules_of, tree
from .code import COLUMNS
from .parts import BYTES

__all__ = ["BYTES", "COLUMNS", "LAB_RULES", "RULES", "VIEW", "WITHOUT_LESSON", "Notebook", "code_cells"]
__all__ += ["headings", "misplaced", "read", "rules_of", "tree", "violations"]


def violations(notebook, path, claims):
    """All that is wrong with a notebook read from a path, each as "rule-name: what, where"."""
    opened = Notebook(notebook, Path(path), claims)
    return [f"{name}: {fault}" for name, broken_by in rules_of(opened).items() for fault in broken_by(opened)]


def misplaced(folder):
    """All that is wrong with the places and names of lessons in a folder and of labs in its folder labs."""
    places = folder, folder / "labs"
    lessons, labs = ({path.stem for path in place.glob("*.ipynb")} for place in places)
    found = [path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    faults = {
        "{}: expected lessons here and labs in labs/, got another folder: move it": {
            path.relative_to(folder).as_posix() for path in found if path.parent not in places
        },
        "labs/{}: expected the name of a lesson, got one that no lesson has: rename the lab after its lesson": (
            labs - lessons - WITHOUT_LESSON
        ),
        "{0}: expected the lab labs/{0}.ipynb, got none: write it; if this is a lab itself, move it to labs/": (
            lessons - labs
        ),
    }
    return [sentence.format(name) for sentence, names in faults.items() for name in sorted(names)]

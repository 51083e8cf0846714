"""Re-execute the committed lessons and labs in place and write them in one normal form."""

import argparse
import json
import re

import nbformat
from execute import LABS, LESSONS, execute_all, find_notebooks, report_failures
from guard import CHECKOUT, alone, check_writable, one_sentence, told

from utils.files import write_atomically

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
MODEL = re.compile(r'(?<="IPY_MODEL_)[^"]+')  # a reference to a model, in JSON


def normalize_widgets(notebook):
    """Number widget models in the order in which they are shown, and drop those that nothing shows, in place."""
    state = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    views = [output.data[VIEW] for output in outputs if VIEW in output.get("data", {})]
    queue, names = [view["model_id"] for view in views], {}
    while queue:
        model = queue.pop(0)
        if model in state and model not in names:
            names[model] = f"{len(names) + 1:032x}"
            queue += MODEL.findall(json.dumps(state[model]["state"], sort_keys=True))
    for view in views:
        view["model_id"] = names.get(view["model_id"], view["model_id"])
    if names:
        text = json.dumps({new: state[old] for old, new in names.items()})
        models = json.loads(MODEL.sub(lambda match: names.get(match[0], match[0]), text))
        notebook.metadata["widgets"] = {STATE: {"state": models, "version_major": 2, "version_minor": 0}}


def normalize(notebook):
    """Bring an executed notebook into the one form that is committed, in place.

    It has one kernelspec, no version of the language, no timestamps, and numbered widget models.
    """
    normalize_widgets(notebook)
    widgets = {name: value for name, value in notebook.metadata.items() if name == "widgets"}
    metadata = {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}, **widgets}
    notebook.metadata = nbformat.from_dict(metadata)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        cell.metadata.pop("collapsed", None)
    nbformat.validate(notebook)


@one_sentence("notebooks", CHECKOUT)
def main():
    """Execute, normalize, write; a notebook that fails stays as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", help="some notebooks only")
    paths = find_notebooks(parser.parse_args().notebooks, LESSONS, LABS)
    for path in paths:
        check_writable(path.parent)
    with alone(*paths):
        before = {path: path.read_bytes() for path in paths}
        runs = execute_all(paths)
        for run in runs:
            if run.error is None:
                run.error = _written(run, before[run.path])
    report_failures(runs)


def _written(run, before):
    """Write a notebook in its normal form, unless somebody changed the file meanwhile; gives what went wrong."""
    if not run.path.is_file() or run.path.read_bytes() != before:
        return "it was changed while it was being executed, and is left as it is: run the same command again"
    normalize(run.notebook)
    try:
        write_atomically(run.path, nbformat.writes(run.notebook, indent=1) + "\n")
    except OSError as error:
        return f"it could not be written ({told(error)})"
    print(f"wrote {run.path} ({run.seconds:.1f} s)")
    return None


if __name__ == "__main__":
    main()

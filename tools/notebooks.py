"""Re-execute the committed notebooks in place and write them in one normal form."""

import argparse

import nbformat
from execute import execute_all, find_notebooks, report_failures
from guard import CHECKOUT, alone, check_writable, one_sentence, told, write_atomically

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
MODEL = "IPY_MODEL_"


def _models_in(value):
    """The ids of all models that a piece of widget state refers to, in order."""
    if isinstance(value, str) and value.startswith(MODEL):
        yield value[len(MODEL) :]
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from _models_in(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from _models_in(item)


def _renamed(value, names):
    """The same state with other model ids."""
    if isinstance(value, str) and value.startswith(MODEL):
        return MODEL + names.get(value[len(MODEL) :], value[len(MODEL) :])
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return value


def normalize_widgets(notebook):
    """Number widget models in the order in which they are shown, and drop those that nothing shows.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Changed in place.
    """
    state = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    views = [output.data[VIEW] for output in outputs if VIEW in output.get("data", {})]
    queue, names = [view["model_id"] for view in views], {}
    while queue:
        model = queue.pop(0)
        if model in state and model not in names:
            names[model] = f"{len(names) + 1:032x}"
            queue.extend(_models_in(state[model]["state"]))
    for view in views:
        view["model_id"] = names.get(view["model_id"], view["model_id"])
    notebook.metadata.pop("widgets", None)
    if names:
        kept = {new: _renamed(state[old], names) for old, new in names.items()}
        notebook.metadata["widgets"] = {STATE: {"state": kept, "version_major": 2, "version_minor": 0}}


def normalize(notebook):
    """Bring an executed notebook into the one form that is committed.

    One kernelspec, no version of the language, no timestamps, stable cell ids, widget models numbered.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Changed in place.
    """
    normalize_widgets(notebook)
    widgets = {"widgets": notebook.metadata["widgets"]} if "widgets" in notebook.metadata else {}
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}, **widgets},
    )
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
    paths = find_notebooks(parser.parse_args().notebooks)
    for path in paths:
        check_writable(path.parent)
    with alone(*paths):
        runs = _execute_in_place(paths)
    report_failures(runs)


def _execute_in_place(paths):
    """Execute notebooks and write those that neither failed nor were changed meanwhile."""
    before = {path: path.read_bytes() for path in paths}
    runs = execute_all(paths)
    for run in runs:
        if run.error is None and (not run.path.is_file() or run.path.read_bytes() != before[run.path]):
            run.error = "it was changed while it was being executed, and is left as it is: run the same command again"
        if run.error is None:
            normalize(run.notebook)
            try:
                write_atomically(run.path, nbformat.writes(run.notebook, indent=1) + "\n")
            except OSError as error:
                run.error = f"it could not be written ({told(error)})"
            else:
                print(f"wrote {run.path} ({run.seconds:.1f} s)")
    return runs


if __name__ == "__main__":
    main()

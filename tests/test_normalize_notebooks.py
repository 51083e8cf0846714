"""The one form in which notebooks are committed, and the tool that writes it after a real run."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

pytestmark = pytest.mark.timeout(300)  # kernels are started

TOOLS = Path(__file__).resolve().parents[1] / "tools"
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def tool():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))  # it imports its neighbour execute.py
        spec = importlib.util.spec_from_file_location("normalize_notebooks", TOOLS / "notebooks.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def model(name, *children):
    state = {"_model_name": name, "children": [f"IPY_MODEL_{child}" for child in children]}
    return {"model_module": "@jupyter-widgets/controls", "model_name": name, "state": state}


def view(model_id):
    data = {VIEW: {"model_id": model_id, "version_major": 2, "version_minor": 0}, "text/plain": "a widget"}
    return new_output("display_data", data)


def executed_notebook():
    """As a kernel leaves it: ids by chance, the second model in the file shown first, one that nothing shows."""
    models = {
        "c0ffee": model("Slider"),
        "deadbeef": model("Box", "c0ffee", "f00d"),
        "f00d": model("Layout"),
        "0ddba11": model("Orphan"),
    }
    metadata = {
        "kernelspec": {"name": "my-kernel", "display_name": "My kernel", "language": "python"},
        "language_info": {"name": "python", "version": "3.11.7", "mimetype": "text/x-python"},
        "widgets": {STATE: {"state": models, "version_major": 2, "version_minor": 0}},
        "toc": {"base_numbering": 1},
    }
    times = {"iopub.execute_input": "2025-01-01T00:00:00Z"}
    cells = [
        new_markdown_cell("# Title", id="title"),
        new_code_cell("box", id="box", execution_count=1, outputs=[view("deadbeef")], metadata={"execution": times}),
        new_code_cell("s", id="again", execution_count=2, outputs=[view("c0ffee")], metadata={"collapsed": True}),
        new_code_cell("1", id="tagged", execution_count=3, metadata={"tags": ["exercise"]}),
    ]
    return new_notebook(cells=cells, metadata=metadata)


class TestNormalize:
    @pytest.fixture
    def normal(self, tool):
        notebook = executed_notebook()
        tool.normalize(notebook)
        return notebook

    def test_the_kernelspec_is_that_of_everybody(self, normal):
        ours = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
        assert normal.metadata.kernelspec == ours
        assert normal.metadata.language_info == {"name": "python"}
        assert set(normal.metadata) == {"kernelspec", "language_info", "widgets"}

    def test_times_are_dropped_and_tags_kept(self, normal):
        assert [cell.metadata for cell in normal.cells] == [{}, {}, {}, {"tags": ["exercise"]}]

    def test_ids_sources_and_counts_stay(self, normal):
        before = executed_notebook()
        for key in ("id", "source", "cell_type"):
            assert [cell[key] for cell in normal.cells] == [cell[key] for cell in before.cells]
        assert [cell.get("execution_count") for cell in normal.cells] == [None, 1, 2, 3]

    def test_models_are_numbered_in_the_order_in_which_they_are_shown(self, normal):
        state = normal.metadata.widgets[STATE]["state"]
        names = {f"{i:032x}": state[f"{i:032x}"]["model_name"] for i in range(1, len(state) + 1)}
        assert list(names.values()) == ["Box", "Slider", "Layout"]
        box, slider, layout = names
        assert state[box]["state"]["children"] == [f"IPY_MODEL_{slider}", f"IPY_MODEL_{layout}"]
        shown = [output.data[VIEW]["model_id"] for cell in normal.cells for output in cell.get("outputs", [])]
        assert shown == [box, slider]

    def test_what_nothing_shows_is_dropped(self, normal):
        text = nbformat.writes(normal)
        for trace in ("Orphan", "c0ffee", "deadbeef", "f00d", "0ddba11", "my-kernel", "3.11.7", "2025"):
            assert trace not in text

    def test_twice_is_once(self, tool, normal):
        once = nbformat.writes(normal)
        again = nbformat.reads(once, as_version=4)
        tool.normalize(again)
        assert nbformat.writes(again) == once

    def test_other_ids_give_the_same_notebook(self, tool, normal):
        text = json.dumps(executed_notebook())
        for old, new in {"c0ffee": "zzz", "deadbeef": "aaa", "f00d": "mmm"}.items():
            text = text.replace(old, new)
        other = nbformat.reads(text, as_version=4)
        tool.normalize(other)
        assert nbformat.writes(other) == nbformat.writes(normal)

    def test_neither_does_the_order_in_the_file_matter(self, tool, normal):
        other = executed_notebook()
        state = other.metadata.widgets[STATE]["state"]
        state["deadbeef"]["state"] = {"style": "IPY_MODEL_5117e", "layout": "IPY_MODEL_1a70"}
        state.update({"5117e": model("Style"), "1a70": model("Layout")})
        turned = nbformat.from_dict(json.loads(json.dumps(other)))
        turned.metadata.widgets[STATE]["state"] = found = dict(reversed(state.items()))
        found["deadbeef"] = {**found["deadbeef"], "state": dict(reversed(state["deadbeef"]["state"].items()))}
        tool.normalize(other)
        tool.normalize(turned)
        assert nbformat.writes(turned) == nbformat.writes(other)

    def test_a_view_whose_model_is_not_stored_stays_and_no_widgets_are_listed(self, tool):
        cells = [new_code_cell("x", id="x", outputs=[view("gone")])]
        notebook = new_notebook(cells=cells, metadata={"widgets": {STATE: {"state": {}}}})
        tool.normalize(notebook)
        assert notebook.cells[0].outputs[0].data[VIEW]["model_id"] == "gone"
        assert "widgets" not in notebook.metadata

    def test_what_is_no_notebook_is_refused(self, tool):
        notebook = new_notebook(cells=[new_code_cell("1", id="one")])
        notebook.cells[0].id = "no spaces, please"
        with pytest.raises(nbformat.ValidationError):
            tool.normalize(notebook)


SOURCES = {
    "plain": ["import sys", "print(6 * 7)"],
    "widget": ["import ipywidgets as w\nunused = w.Text()\nw.VBox([w.IntSlider(), w.HTML('x')])"],
    "failing": ["1 / 0"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    for name, sources in SOURCES.items():
        cells = [new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources)]
        nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="module")
def before(folder):
    return (folder / "failing.ipynb").read_bytes()


@pytest.fixture(scope="module")
def runs(folder, before):
    """What the tool said and left, twice."""
    results = []
    for _ in range(2):
        command = [sys.executable, TOOLS / "notebooks.py", *(folder / f"{name}.ipynb" for name in SOURCES)]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
        results.append((done, {path.name: path.read_bytes() for path in folder.iterdir()}))
    return results


class TestTheTool:
    """Two good notebooks and one that fails, written twice."""

    def test_a_second_run_gives_the_same_bytes_and_leaves_nothing_else(self, runs, before):
        assert runs[0][1] == runs[1][1]
        assert set(runs[1][1]) == {f"{name}.ipynb" for name in SOURCES}
        assert runs[1][1]["failing.ipynb"] == before

    def test_the_good_ones_are_executed_and_normal(self, runs, folder):
        plain, widget = (nbformat.read(folder / f"{name}.ipynb", as_version=4) for name in ("plain", "widget"))
        assert plain.cells[1].outputs[0].text == "42\n"
        assert plain.metadata.language_info == {"name": "python"}
        assert widget.cells[0].outputs[0].data[VIEW]["model_id"] == f"{1:032x}"
        models = widget.metadata.widgets[STATE]["state"].values()
        assert "TextModel" not in {model["model_name"] for model in models}
        assert [cell.id for cell in plain.cells] == ["cell-0", "cell-1"]

    def test_a_file_ends_in_one_newline_and_is_indented_by_one(self, runs):
        text = runs[0][1]["plain.ipynb"].decode()
        assert text.startswith('{\n "cells": [\n  {')
        assert text.endswith("}\n")
        assert not text.endswith("\n\n")

    def test_it_says_what_failed_and_ends_with_one(self, runs):
        for done, _ in runs:
            assert done.returncode == 1
            assert done.stderr == "FAILED failing.ipynb: cell 0 (cell-0): ZeroDivisionError: division by zero\n"
            assert done.stdout.count("wrote ") == 2


@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_what_is_saved_while_a_notebook_is_executed_stays(tool, tmp_path, monkeypatch, capsys, change):
    path, other = tmp_path / "1.ipynb", tmp_path / "2.ipynb"
    for one in (path, other):
        nbformat.write(new_notebook(cells=[new_code_cell("1", id="one")]), one)

    def execute_all(paths):
        runs = [SimpleNamespace(path=one, notebook=executed_notebook(), seconds=1.0, error=None) for one in paths]
        path.unlink()
        if change == "edited":
            path.write_text("of a person")
        return runs

    monkeypatch.setattr(tool, "execute_all", execute_all)
    monkeypatch.setattr(sys, "argv", ["notebooks.py", str(path), str(other)])
    with pytest.raises(SystemExit) as caught:
        tool.main()
    assert caught.value.code == 1
    assert "FAILED 1.ipynb: it was changed while it was being executed, and is left as it is" in capsys.readouterr().err
    assert (path.read_text() if path.exists() else None) == ("of a person" if change == "edited" else None)
    assert '"Box"' in other.read_text(), "the others are written"

"""The homework: what is released, and that every check gives and takes the points that it should."""

import contextlib
import copy
import importlib
import io
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pytest
import release
from homework_wrong import WRONG
from nbclient import NotebookClient

from homework.grading import marks
from homework.grading.assignment import load
from homework.grading.plain import pack
from homework.grading.reference import run_reference
from utils.evidence import claims

pytestmark = pytest.mark.timeout(300)  # every assignment is solved and graded

ROOT = Path(__file__).resolve().parents[1]
NAMES = release.assignments()
VARIANTS = ["2026", "2027", "2032"]  # both divisors, layouts, conventions and losses, all open claims
for name in NAMES:
    importlib.import_module(f"homework_wrong.{name}")


@cache
def assignment(name, variant):
    return load(name, variant=variant)


@cache
def questions(name, variant, secret="a secret"):
    return assignment(name, variant).questions(secret)


def reached(space, name, seen=()):
    """The names of a space that a function uses, those that its functions use included, and its own."""
    names, codes = {name, *seen}, [getattr(space.get(name), "__code__", None)]
    while codes:
        if (code := codes.pop()) is not None:
            codes += [part for part in code.co_consts if hasattr(part, "co_names")]
            for other in set(code.co_names) & set(space) - names:
                names = reached(space, other, names)
    return names


def lost(name, variant, overrides=lambda ours: {}):
    """The checks that a submission does not pass, with what it was told; run here, without a sandbox."""
    space = run_reference(assignment(name, variant).cells)
    changes = overrides(space)
    # Where only reference solutions take part nothing can be lost; they are tried by themselves.
    concerned = {q.check.id for q in questions(name, variant) if reached(space, q.check.asks) & set(changes)}
    space.update(changes)
    found = {}
    for question in questions(name, variant):
        check = question.check
        if changes and check.id not in concerned:
            continue
        values = []
        for case, want in zip(question.cases, question.wanted, strict=True):
            arguments = {key: value.make() if hasattr(value, "make") else value for key, value in case.items()}
            handed, changed = copy.deepcopy(arguments), False
            try:
                with np.errstate(all="ignore"):
                    got = space[check.asks](**handed)
                values.append(got)
                with contextlib.suppress(TypeError):  # a class cannot be packed
                    changed = pack(handed) != pack(arguments)
                told = "an argument is changed" if changed else check.compare(got, want, case)
                if not told and check.together and len(values) == len(question.cases):
                    told = check.together(values)
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
            if told:
                found[check.id] = told
                break
    return found


def numbers_in(value):
    """Every float of a value that is no whole number and no whole number of 4096ths, those of arrays included."""
    if isinstance(value, dict):
        return {number for part in value.values() for number in numbers_in(part)}
    if isinstance(value, list | tuple):
        return {number for part in value for number in numbers_in(part)}
    if isinstance(value, float | np.floating) or isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return {float(number) for number in np.ravel(value) if np.isfinite(number) and number * 4096 % 1}
    return set()


# What is released


def test_there_are_six_assignments():
    assert len(NAMES) == 6
    assert {path.stem for path in release.released()} == set(NAMES)


def test_grading_knows_what_students_find_where_they_are_to_write():
    assert marks.TEXT_STUB == release.TEXT_STUB


def test_what_jupyterlab_keeps_is_no_part_of_the_release(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "RELEASE", tmp_path)
    (tmp_path / "hw01" / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("hw01.ipynb", ".ipynb_checkpoints/hw01-checkpoint.ipynb", "notes.txt"):
        (tmp_path / "hw01" / name).touch()
    assert [path.name for path in release.released()] == ["hw01.ipynb", "notes.txt"]


def test_sources_and_release_are_as_generated():
    with pytest.raises(SystemExit) as ended:
        release.main(["--check"])
    assert ended.value.code == 0


@pytest.mark.parametrize("name", NAMES)
def test_release_has_nothing_that_nobody_may_see(name):
    for variant in VARIANTS:
        notebook = release.source(name, variant)
        assert len(release.secrets(notebook)) > 10
        student = release.student_version(notebook)
        assert release.leaks(notebook, student) == []
        assert release.leaks(notebook, notebook)
        text = json.dumps(student)
        assert not re.search(r"BEGIN|END S|END H|hidden\.py|assert ", text)


@pytest.mark.parametrize("fault", ["solution", "hidden test", "output", "mark", "answer"])
def test_a_leak_is_told(fault):
    notebook = release.source("hw01")
    student = release.student_version(notebook)
    cells = {cell.id: cell for cell in student.cells}
    if fault == "solution":
        cells["divisor"].source += "\n    variance = ((X - mean) ** 2).sum(axis=0) / (len(X) - DDOF)"
    elif fault == "hidden test":
        cells["zca-scores"].source += "\nassert not findings, findings"
    elif fault == "output":
        cells["data"].outputs = [nbformat.v4.new_output("stream", text="1")]
    elif fault == "mark":
        cells["zca"].source += "\n### BEGIN SOLUTION"
    else:
        (answer,) = [cell.source for cell in notebook.cells if cell.id == "leak-in-words"]
        cells["leak-in-words"].source = answer
    assert release.leaks(notebook, student)


def test_a_leak_stops_everything(monkeypatch):
    monkeypatch.setattr(release, "_without", lambda text, mark, stub=None: text)
    with pytest.raises(release.LeakError, match=r"hw01: .*BEGIN"):
        release.generated("2026", ["hw01"])


@pytest.mark.parametrize(
    "text", ["### BEGIN SOLUTION\nx", "x\n### END SOLUTION", "### BEGIN SOLUTION\n### BEGIN SOLUTION"]
)
def test_marks_come_in_pairs(text):
    with pytest.raises(ValueError, match="### BEGIN|### END"):
        release.regions(text, "SOLUTION")


@pytest.mark.parametrize("name", NAMES)
def test_stubs_have_a_docstring_with_shapes_and_raise(name):
    for cell in release.student_version(release.source(name)).cells:
        meta = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and meta.get("solution"):
            space = {"np": np}
            exec(compile(cell.source, cell.id, "exec"), space)
            functions = re.findall(r"^def (\w+)\(", cell.source, flags=re.M)
            assert functions, cell.id
            for function in functions:
                assert space[function].__doc__, function
                count = space[function].__code__.co_argcount
                with pytest.raises(NotImplementedError):
                    space[function](*[None] * count)


@pytest.mark.parametrize("name", NAMES)
def test_unfinished_release_runs_to_the_end(name, tmp_path):
    notebook = nbformat.read(release.RELEASE / name / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    graded = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).grade]
    for cell in (cell for cell in graded):
        said = "".join(output.get("text", "") for output in cell.outputs)
        assert "not attempted" in said, f"{cell.id} says {said!r}"


@pytest.mark.parametrize("name", NAMES)
def test_reference_is_right_by_the_open_checks(name):
    for variant in VARIANTS:
        space = {"__name__": "reference"}
        with contextlib.redirect_stdout(None):
            for cell in release.source(name, variant).cells:
                if cell.cell_type == "code":
                    exec(compile(cell.source, cell.id, "exec"), space)


@pytest.mark.parametrize("name", NAMES)
def test_points_are_those_of_the_cells(name):
    parts = assignment(name, VARIANTS[0])
    cells = release.source(name, VARIANTS[0]).cells
    marked = {c.id: c.metadata.nbgrader.points for c in cells if c.metadata.get("nbgrader", {}).get("grade")}
    assert marked == {part.id: part.points for part in [*parts.checks, *parts.manual]}
    assert sum(marked.values()) == 100
    machine = sum(check.points for check in parts.checks)
    said = re.search(
        r"\*\*Points\*\*: 100, of which (\d+) are marked by machine and (\d+) by a person", cells[0].source
    )
    assert [int(number) for number in said.groups()] == [machine, 100 - machine]
    assert re.search(r"\*\*Hours\*\*: \d", cells[0].source)
    for part in parts.manual:
        assert sum(int(n) for n in re.findall(r"^(\d+) points?:", part.rubric, flags=re.M)) == part.points, part.id


@pytest.mark.parametrize("name", NAMES)
def test_cells_have_words_for_ids(name):
    for cell in release.source(name).cells:
        assert re.fullmatch(r"[a-z]+(-([a-z]+|[0-9]+))*", cell.id)
        assert cell.metadata.get("nbgrader", {}).get("grade_id", cell.id) == cell.id
        if cell.cell_type == "markdown":
            assert len(cell.source.split()) <= 200, cell.id


@pytest.mark.parametrize("name", NAMES)
def test_students_see_the_points_of_each_task(name):
    heading = None
    for cell in release.student_version(release.source(name)).cells:
        meta, first = cell.metadata.get("nbgrader", {}), cell.source.split("\n")[0]
        heading = first if first.startswith("## ") else heading
        if meta.get("grade") and cell.cell_type == "code":
            assert first == f"# {meta.points} points", cell.id
        elif meta.get("grade"):
            assert heading.endswith(f" ({meta.points} points)"), cell.id


def test_same_as_nbgrader(tmp_path):
    pytest.importorskip("nbgrader", reason="this compares with nbgrader, which make grade does not need")
    script = f"""
import sys
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config
for name in {NAMES!r}:
    c = Config()
    c.CourseDirectory.root = {str(tmp_path)!r}
    c.CourseDirectory.assignment_id = name
    c.CourseDirectory.db_url = "sqlite:///{tmp_path / "gradebook.db"}"
    c.ClearSolutions.code_stub = {{"python": {release.STUB!r}}}
    c.ClearSolutions.text_stub = {release.TEXT_STUB!r}
    c.GenerateAssignment.create_assignment = True
    GenerateAssignment(coursedir=CourseDirectory(config=c), config=c).start()
"""
    for name in NAMES:
        (tmp_path / "source" / name).mkdir(parents=True)
        shutil.copy(release.SOURCE / name / f"{name}.ipynb", tmp_path / "source" / name)
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    how = {"cwd": tmp_path, "env": path, "check": True, "capture_output": True, "timeout": 240}
    subprocess.run([sys.executable, "-c", script], **how)
    for name in NAMES:
        theirs = nbformat.read(tmp_path / "release" / name / f"{name}.ipynb", as_version=4)
        assert theirs == nbformat.read(release.RELEASE / name / f"{name}.ipynb", as_version=4), name


def test_claims_of_homework_are_open():
    known = claims()
    for name in release.hidden("hw05").OPEN:
        assert known[name].verdict == "inconclusive", f"{name} is decided now: take it out of hw05/hidden.py"


# For lines that count: what to write in their place, so that the class is right.
MENDS = {
    "mean_path_missing": {
        31: "dy = dy - self.columns(dbeta, dy) / m - self.x_hat * self.columns(dgamma, dy) / m",
    },
    "variance_path_missing": {
        31: "dy = dy - self.columns(dbeta, dy) / m - self.x_hat * self.columns(dgamma, dy) / m",
    },
    "gamma_missing_in_dx": {
        31: "return (self.scale_and_shift(dy)[0] * self.inv_std * dy).astype(self.dtype)",
    },
    "gamma_gradient_with_x": {
        17: "self.x = (x - mean) / np.sqrt(var + self.eps)",
        30: "self.grad_gamma, self.grad_beta = dgamma, dbeta",
    },
    "beta_gradient_averaged": {29: "self.grad_gamma, self.grad_beta = dgamma, dbeta"},
    "examples_counted_for_values": {
        24: "axes, m = (0, *range(2, dy.ndim)), dy.size // self.num_features",
        31: "m = dbeta.size and dy.size / dbeta.size; dy = dy - self.columns(dbeta, dy) / m"
        " - self.x_hat * self.columns(dgamma, dy) / m",
    },
    "biased_running_variance": {
        13: "m = x.size / mean.size; self.running_var = (1 - p) * self.running_var + p * (var * m / (m - 1)).ravel()",
    },
    "momentum_the_wrong_way": {
        11: "p = 1 - 1 / self.num_batches_tracked if self.momentum is None else 1 - self.momentum",
    },
    "deviation_averaged": {
        14: "self.running_var = (1 - p) * self.running_var + p * deviation**2",
    },
    "correction_by_examples": {
        7: "axes, m = (0, *range(2, x.ndim)), x.size // self.num_features",
        12: "m = x.size // self.num_features; unbiased = var * m / (m - 1)",
    },
    "momentum_none_as_default": {
        11: "p = 1 / self.num_batches_tracked if self.momentum is None else self.momentum",
    },
    "batch_formula_in_eval": {
        30: "dy = dy - self.from_batch * (self.columns(dbeta, dy) / m + self.x_hat * self.columns(dgamma, dy) / m)",
    },
    "unbiased_normalization": {
        17: "k = 1 - self.from_batch * self.num_features / x.size; self.inv_std = 1 / np.sqrt(var * k + self.eps)",
    },
    "eps_added_to_deviation": {18: "self.inv_std = 1 / np.sqrt(var + self.eps)"},
    "beta_forgotten_in_eval": {
        20: "if False:",
        21: "    return (gamma * self.x_hat + beta).astype(self.dtype)",
    },
}
# Next to a place where something is missing, or of a change that takes two lines.
BESIDES = {
    "mean_path_missing": {30, 32},
    "variance_path_missing": {30, 32},
    "gamma_missing_in_dx": {22, 23, 30},
    "biased_running_variance": {11, 12},
    "momentum_the_wrong_way": {13, 14},
    "deviation_averaged": {12},
    "batch_formula_in_eval": {29},
    "unbiased_normalization": {8},
    "beta_forgotten_in_eval": {22},
}


@pytest.mark.parametrize("fault", release.hidden("hw04").FAULTS)
def test_the_lines_that_count_are_those_that_mend(fault):
    broken, space = release.hidden("hw04"), run_reference(assignment("hw04", VARIANTS[0]).cells)
    text = broken.shown(fault, {}, "Tried").split("\n")
    assert space["is_right"](made(text, space)) is False
    for line, mend in MENDS[fault].items():
        blanks = " " * (len(text[line - 1]) - len(text[line - 1].lstrip()))
        mended = [*text[: line - 1], blanks + mend.lstrip(), *text[line:]]
        assert space["is_right"](made(mended, space)) is True, line
    assert set(broken.LINES[fault]) == set(MENDS[fault]) | BESIDES.get(fault, set())
    assert len(set(broken.LINES[fault])) == len(broken.LINES[fault])
    compare = broken.answered("A", fault)
    for line in range(1, len(text) + 1):
        told = compare({"A": {"line": line, "fault": broken.FAULTS[fault]}}, None, {})
        assert (told is None) == (line in broken.LINES[fault])
    assert compare({"A": {"line": broken.LINES[fault][0], "fault": "another"}}, None, {})


def made(lines, space):
    space = dict(space)
    exec("\n".join(lines), space)
    return space["Tried"]


def test_broken_norms_are_shown_without_hints():
    broken = release.hidden("hw04")
    for name in broken.FAULTS:
        for letter in "ABCD":
            text = broken.shown(name, broken.draw("2026")["names"][letter], "Norm")
            assert text.count("\n") == broken._class(name).count("\n")
            assert '"""' not in text


@pytest.mark.parametrize("fault", release.hidden("hw04").FAULTS)
def test_every_fault_that_can_be_drawn_costs_points(fault):
    space = run_reference(assignment("hw04", VARIANTS[0]).cells)
    exec(release.hidden("hw04").shown(fault, {}, "Tried"), space)
    found = lost("hw04", VARIANTS[0], lambda ours: {"Base": space["Base"], "mend_a": lambda: space["Tried"]})
    assert "mended-a" in found
    assert "'derived from Base'" not in found["mended-a"]
    assert space["is_right"](space["Tried"]) is False


def test_readme_says_how_many_points_and_hours():
    rows = []
    for number, name in enumerate(NAMES, start=1):
        parts, title = assignment(name, VARIANTS[0]), release.source(name).cells[0].source
        hours = re.search(r"\*\*Hours\*\*: (\d+)", title)[1]
        marked = [sum(part.points for part in kind) for kind in (parts.checks, parts.manual)]
        rows.append([number, *marked, len(parts.checks), int(hours)])
    text = (ROOT / "homework" / "README.md").read_text(encoding="utf-8")
    said = re.findall(r"^\| (\d) [^|]+\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, flags=re.M)
    assert [list(map(int, row)) for row in said] == rows


# Variants


@pytest.mark.parametrize("name", NAMES)
def test_variants_share_no_hidden_numbers(name):
    seen = [numbers_in([[q.cases for q in questions(name, v)]]) for v in VARIANTS]
    for i, one in enumerate(seen):
        assert len(one) > 20
        for other in seen[:i]:
            assert not one & other


@pytest.mark.parametrize("name", NAMES)
def test_variants_differ_to_the_eye_and_come_again(name):
    texts = [release.generated(variant, [name]) for variant in (*VARIANTS, VARIANTS[0])]
    assert texts[0] == texts[3]
    student = release.RELEASE / name / f"{name}.ipynb"
    assert len({text[student] for text in texts}) == 3


# Points


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_reference_solution_gets_full_marks(name, variant):
    assert lost(name, variant) == {}


@pytest.mark.parametrize("name", NAMES)
def test_empty_submission_gets_none(name):
    notebook = release.student_version(release.source(name, "2027"))
    stubs = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("solution"):
            exec(compile(cell.source, cell.id, "exec"), stubs)
    stubs.pop("__builtins__")
    found = lost(name, "2027", lambda ours: stubs)
    assert set(found) == {check.id for check in assignment(name, "2027").checks}
    assert all(told.startswith("NotImplementedError") for told in found.values())


@pytest.mark.parametrize("answer", [None, 0.0, True, {}, [], "", float("nan")])
@pytest.mark.parametrize("name", NAMES)
def test_a_constant_answer_gets_nothing(name, answer):
    asked = {check.asks for check in assignment(name, "2027").checks}
    found = lost(name, "2027", lambda ours: dict.fromkeys(asked, lambda *args, **named: answer))
    assert set(found) == {check.id for check in assignment(name, "2027").checks}


def id_of(wrong):
    return f"{wrong.assignment}-{wrong.name}"


@pytest.mark.parametrize("submission", WRONG, ids=id_of)
def test_a_wrong_submission_loses_what_it_should(submission):
    for variant in VARIANTS:
        found = lost(submission.assignment, variant, submission.overrides)
        assert set(found) == submission.loses, found


# What the open check says


@cache
def open_checks(submission, variant):
    """What the test cells of the released notebook say about a submission, by their ids; slow ones only if they can."""
    name, said = submission.assignment, {}
    space = run_reference(assignment(name, variant).cells)
    space |= submission.overrides(space)
    for cell in release.student_version(release.source(name, variant)).cells:
        graded = cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade")
        if graded and cell.id not in SLOW - can_be_told(submission):
            with contextlib.redirect_stdout(io.StringIO()) as printed, np.errstate(all="ignore"):
                exec(compile(cell.source, cell.id, "exec"), space)
            said[cell.id] = printed.getvalue()
    return said


def called_right(said):
    return {id for id, text in said.items() if all(line.endswith(": right") for line in text.splitlines())}


SLOW = {"run-scores", "measure-scores", "catches-these", "mended-a", "mended-b", "mended-c", "mended-d"}
# The form of answers is all that is looked at, and mended classes have their own check; other tests cover these.
FORM = {"hw04": {"answer-a", "answer-b", "answer-c", "answer-d", "catches-others"}}
# These change what the open check itself goes by: the setting, the audit.
HIDDEN = {"hw03-the_other_layout", "hw05-an_audit_of_ones_own"}


def can_be_told(wrong):
    """The checks of the released notebook that can tell a wrong submission from a right one."""
    return set() if id_of(wrong) in HIDDEN else wrong.loses - FORM.get(wrong.assignment, set())


@pytest.mark.parametrize("submission", [wrong for wrong in WRONG if can_be_told(wrong)], ids=id_of)
def test_the_open_check_does_not_call_it_right(submission):
    for variant in VARIANTS:
        said = open_checks(submission, variant)
        assert not called_right(said) & can_be_told(submission), (variant, said)


@pytest.mark.parametrize("submission", WRONG, ids=id_of)
def test_the_open_check_calls_right_what_gets_points(submission):
    asked = {check.id for check in assignment(submission.assignment, "2027").checks} - submission.loses - SLOW
    for variant in VARIANTS:
        said = open_checks(submission, variant)
        assert called_right(said) >= asked, (variant, said)


NAMED = {
    "hw01-new_rows_by_their_own_statistics": "apply uses the statistics of the new rows",
    "hw01-constant_means_exactly_zero": "the scale of the broken sensor is ",
    "hw01-little_taken_for_constant": "a feature that varies by a billionth is taken for a constant one",
    "hw01-table_overwritten": "apply changes its argument X; it should make a new one",
    "hw01-flat_directions_left": "the broken sensor gives white numbers up to 1; they should become 0",
    "hw01-no_rank": "a direction without variance is blown up",
    "hw01-mean_of_all_targets": "the targets of the test rows leak",
    "hw02-penalty_not_halved": "the penalty is not halved",
    "hw02-one_over_the_largest": "best_lr is one over the largest eigenvalue, half of the largest stable rate",
    "hw02-singular_values_of_the_table": "these are singular values of X; take the eigenvalues of the Hessian",
    "hw02-hessian_of_the_data_alone": "the Hessian misses the penalty",
    "hw02-rounded_to_the_nearest": "too few, is it rounded up?",
    "hw02-one_more_than_rounded_down": "heavy_ball for kappa 9 and shrink 0.25 is 3: more than needed",
    "hw02-floats_for_integers": "descent should be an integer, but is float64",
    "hw02-none_for_a_kappa_of_one": "for kappa 1 it is one step",
    "hw02-positive_correlations_only": "for a negative correlation the largest eigenvalue is the other one",
    "hw02-start_overwritten": "descend changes its argument w; it should make a new one",
    "hw03-other_names_for_the_arguments": "keep the names of the arguments",
    "hw03-biased_running_variance": "the running variance is unbiased",
    "hw04-rejects_everything": "is_right rejects a finished batch norm",
    "hw04-somebody_elses": "it is not derived from Base",
    "hw04-a_norm_somewhere_behind": "layer 3, conv: parameters is 60, expected 65",
    "hw04-nothing_behind_the_last": "raised IndexError",
    "hw05-the_other_average": "your AVERAGE is the ",
    "hw05-diverged_left_out": "a diverged run must count as 0: here NaN is left out",
    "hw05-diverged_kept": "a diverged run must count as 0: here NaN is kept",
    "hw05-the_luckiest_seed": "the maximum over the seeds is taken",
    "hw05-only_the_first_rate_is_an_edge": "at_edge: the last rate is at the edge, too",
    "hw05-only_the_last_rate_is_an_edge": "at_edge: the first rate is at the edge, too",
    "hw05-other_sign": "the sign is not that of your setting",
    "hw05-fractions": "these are fractions, not percentage points",
    "hw05-chosen_on_test_data": "the rates are chosen on the test data",
    "hw05-judged_on_validation_data": "these are validation accuracies",
    "hw05-not_sorted": "the effects are not sorted",
    "hw05-one_sided": "each side may have (1 - confidence)/2",
    "hw05-confidence_of_the_lecture": "of your CONFIDENCE",
    "hw05-an_end_at_the_smallest_is_not_enough": "is supported, but verdict gives 'inconclusive'",
    "hw05-transposed": "shapes should be (2, number of rates), arms first",
    "hw06-gain_for_a_second_moment_of_one": "what comes in is q, and q should come out",
    "hw06-second_moment_for_scale": "q is the second moment; the scale is its root",
    "hw06-q_of_the_signal_in_the_gain_of_gradients": "no q is left in the numerator",
    "hw06-slope_not_divided_by_the_root": "the division by the root of q is missing",
    "hw06-every_layer_from_the_start": "here all get the first q",
    "hw06-derivative_by_differences": "the slope at 1 and 0 is wrong",
    "hw06-measured_after_the_activation": "this is measured after the activation",
    "hw06-sum_for_mean": "these are sums over the units",
    "hw06-root_mean_square": "these are roots of the mean squares",
    "hw06-variance_for_mean_square": "these are variances",
    "hw06-seed_ignored": "the same seed gives other weights",
    "hw06-global_generator": "not those that np.random.default_rng(seed) draws",
    "hw06-uniform_of_the_right_variance": "the weights are not normal",
    "hw06-every_layer_from_the_same_generator_anew": "one generator for all of them",
}


@pytest.mark.parametrize("name", NAMED)
def test_the_open_check_names_the_mistake(name):
    (submission,) = [wrong for wrong in WRONG if f"{wrong.assignment}-{wrong.name}" == name]
    for variant in VARIANTS:
        said = open_checks(submission, variant)
        assert NAMED[name] in "".join(said[id] for id in submission.loses), (variant, said)


def test_there_are_wrong_submissions_of_everything():
    assert len(WRONG) >= 25
    assert all(sum(wrong.assignment == name for wrong in WRONG) >= 5 for name in NAMES)
    for name in NAMES:
        loses = frozenset().union(*(wrong.loses for wrong in WRONG if wrong.assignment == name))
        assert loses == {check.id for check in assignment(name, VARIANTS[0]).checks}


def test_a_copy_without_sources_is_told_where_its_assignments_are(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "SOURCE", tmp_path)
    with pytest.raises(SystemExit, match="student's copy.*homework/release"):
        release.main(["--variant", "2027"])

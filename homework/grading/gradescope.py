"""Grade one submission in Gradescope's container: `python -m homework.grading.gradescope hw03 2027 /autograder`.

What stands there beside the submission is seen by it, unless the system keeps them apart: bubblewrap, where the
container lets it, else a user of its own, who can neither read this folder nor write the results.
"""

import functools
import json
import os
import sys
import tempfile
from pathlib import Path

from .assignment import SOURCE
from .bubblewrap import problem
from .grade import Task, grade, nothing
from .marks import TEXT_STUB
from .recognize import likeness
from .submissions import SubmissionsError, find

SECRET = SOURCE.parent / "secret"


def results(task, folder):
    """Grade what a student sent.

    Parameters
    ----------
    task : Task
    folder : Path
        With the files of one student.

    Returns
    -------
    dict
        As Gradescope reads it from results.json.
    """
    assignment = task.load()
    like = functools.partial(likeness, assignment=task.assignment, variant=task.variant, source=assignment.cells)
    with tempfile.TemporaryDirectory(prefix="grading-") as keep:
        try:
            found, _ = find(folder, assignment=task.assignment, keep=Path(keep), likeness=like)
            one = max(found, key=lambda one: one.problem is None)
            result = nothing(assignment, one.problem) if one.problem else grade(task, one.path.read_bytes())
            notes = [*one.notes, *result["notes"]]
        except SubmissionsError as error:
            result, notes = nothing(assignment, str(error)), []
    tests = [
        {"name": f"{c['id']}: {c['about']}", "score": c["points"], "max_score": c["of"], "output": c["said"]}
        for c in result["checks"]
    ]
    for part in assignment.manual:
        words = result["manual"].get(part.id, "").replace(TEXT_STUB, "").strip()
        tests.append({"name": f"{part.id}: marked by a person", "output": words or "Nothing was written."})
    said = [line for line in (result["reason"], *notes) if line]
    return {"tests": tests, "output": "\n".join(said), "output_format": "text", "stdout_visibility": "hidden"}


def main(name, variant, place):
    """Write results.json; Gradescope shows that the grader failed if there is none."""
    place, boxed = Path(place), problem() is None
    if not boxed:
        if os.getuid():
            sys.exit(f"gradescope: expected root or bubblewrap, to keep a submission apart, got neither: {problem()}")
        os.environ["SANDBOX"] = "user"
        SOURCE.parent.chmod(0o700)
    hide = tuple(str(place / part) for part in ("source/homework", "results"))
    task = Task(name, variant, str(SOURCE), SECRET.read_text(encoding="utf-8"), boxed, hide)
    text = json.dumps(results(task, place / "submission"), indent=1)
    (place / "results").mkdir(exist_ok=True)
    (place / "results" / "results.json").write_text(text, encoding="utf-8")
    print(f"graded {'with' if boxed else 'without'} bubblewrap")


if __name__ == "__main__":
    main(*sys.argv[1:])

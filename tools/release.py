"""Make the homework that students get from the sources: ``python tools/release.py --variant 2027``.

The sources in ``homework/source`` have solutions and hidden tests in nbgrader's format; each assignment's ``hidden.py``
writes the cells that depend on the variant. The release is what nbgrader's generate_assignment makes of the sources.
"""

import argparse
import contextlib
import copy
import hashlib
import json
import re
import shutil
import subprocess
import sys
from importlib import import_module

import nbformat
from guard import CHECKOUT, ROOT, alone, check_writable, one_sentence

from utils.files import free_path, write_atomically

SOURCE, RELEASE = ROOT / "homework" / "source", ROOT / "homework" / "release"
KEPT = ROOT / "build" / "replaced"
STUB, TEXT_STUB = "raise NotImplementedError", "YOUR ANSWER HERE"
MARKS = ("SOLUTION", "HIDDEN TESTS", "MARK SCHEME")
# A line of a solution that is shorter than this, such as "return y", says nothing.
SHORT = 12


class LeakError(Exception):
    """The student's version has something that students must not see."""


def assignments():
    """The names of all assignments, in order."""
    return sorted(path.parent.name for path in SOURCE.glob("hw*/hidden.py"))


def hidden(name):
    """The module with an assignment's hidden checks and drawn cells."""
    return import_module(f"homework.source.{name}.hidden")


def source(name, variant=None):
    """The source notebook of an assignment, for a variant; by default that of the file as it is."""
    if variant is None:
        variant = nbformat.read(SOURCE / name / f"{name}.ipynb", as_version=4).metadata["homework"]["variant"]
    return nbformat.reads(json.dumps(hidden(name).notebook(variant)), as_version=4)


def regions(text, mark):
    """Split a cell at the regions of a mark: whether inside, and the lines, the first of which is the mark itself."""
    parts, inside = [(False, [])], False
    for line in text.split("\n"):
        edge = re.fullmatch(rf"\s*### (BEGIN|END) {mark}\s*", line)
        if edge is None:
            parts[-1][1].append(line)
        elif (edge[1] == "BEGIN") == inside:
            raise ValueError(f"### {edge[1]} {mark}: the other mark is missing before it")
        else:
            inside = not inside
            parts.append((inside, [line] if inside else []))
    if inside:
        raise ValueError(f"### BEGIN {mark}: not closed")
    return parts


def _without(text, mark, stub=None):
    """The text without the regions of a mark; a stub, as far to the right as the mark was, takes their place."""
    kept = []
    for inside, lines in regions(text, mark):
        if not inside:
            kept += lines
        elif stub is not None:
            kept.append(re.match(r"\s*", lines[0])[0] + stub)
    return "\n".join(kept)


def _checksum(cell):
    """Nbgrader's checksum, by which it finds that a locked cell was changed."""
    meta = cell.metadata.nbgrader
    parts = [cell.source, cell.cell_type, str(meta.grade), str(meta.solution), str(meta.locked), meta.grade_id]
    parts += [str(float(meta.points))] if meta.grade else []
    return hashlib.md5("".join(parts).encode(), usedforsecurity=False).hexdigest()


def student_version(notebook):
    """What a student gets of a source notebook; a LeakError if something that must not be seen is left."""
    student = copy.deepcopy(notebook)
    for cell in student.cells:
        meta = cell.metadata.get("nbgrader")
        if meta is None:
            continue
        if meta.solution:
            whole = f"### BEGIN {MARKS[0]}" not in cell.source
            stub = STUB if cell.cell_type == "code" else TEXT_STUB
            cell.source = stub if whole else _without(cell.source, MARKS[0], stub)
        cell.source = _without(_without(cell.source, MARKS[1]), MARKS[2])
        meta["cell_type"] = cell.cell_type
        cell.metadata["deletable"] = False
        if meta.locked or (meta.grade and not meta.solution):
            cell.metadata["editable"] = False
        if meta.grade or meta.solution or meta.locked:
            meta["checksum"] = _checksum(cell)
    if found := leaks(notebook, student):
        raise LeakError("; ".join(found))
    return student


def secrets(notebook):
    """The lines that nobody may see: of solutions, hidden tests and model answers, as far as they say something."""
    hidden_lines, open_lines = [], []
    for cell in notebook.cells:
        text = cell.source
        if cell.metadata.get("nbgrader", {}).get("solution") and "### BEGIN" not in text:
            hidden_lines += text.split("\n")
            continue
        for mark in MARKS:
            hidden_lines += [line for inside, lines in regions(text, mark) if inside for line in lines[1:]]
            text = _without(text, mark)
        open_lines += text.split("\n")
    inner, outer = ({line.strip() for line in lines} for lines in (hidden_lines, open_lines))
    return {line for line in inner - outer if len(line) >= SHORT and not any(line in other for other in outer)}


def leaks(notebook, student):
    """What a student's version shows that it must not, a sentence each."""
    found, lines = [], secrets(notebook)
    for cell in student.cells:
        if cell.get("outputs") or cell.get("execution_count"):
            found.append(f"cell {cell.id} has outputs")
        if cell.get("attachments"):
            found.append(f"cell {cell.id} has an attachment")
        for text in (cell.source, str(dict(cell.metadata))):
            if mark := re.search(rf"### (?:BEGIN|END)|{'|'.join(MARKS)}", text):
                found.append(f"cell {cell.id} has the mark {mark[0]}")
            found += [f"cell {cell.id} shows {line!r}" for line in sorted(lines) if line in text]
    return found


def text_of(notebook):
    """A notebook as it is written, the same in every run."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=4) + "\n"


def generated(variant, names=None):
    """All files of a variant, path -> text: the sources with their drawn cells, and the release."""
    files = {}
    for name in names or assignments():
        notebook = source(name, variant)
        files[SOURCE / name / f"{name}.ipynb"] = text_of(notebook)
        try:
            files[RELEASE / name / f"{name}.ipynb"] = text_of(student_version(notebook))
        except LeakError as error:
            raise LeakError(f"{name}: {error}") from None
    return files


def current_variant():
    """The variant of the sources as they are; a ValueError if they differ."""
    variants = {source(name).metadata["homework"]["variant"] for name in assignments()}
    if len(variants) != 1:
        raise ValueError(f"expected sources of one variant, got {', '.join(sorted(variants))}; name one with --variant")
    return variants.pop()


def released():
    """All files of the release, without those that JupyterLab keeps and git passes over."""
    found = (path for path in RELEASE.rglob("*") if path.is_file())
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def _in_git(path):
    """Whether git has the content of a file, so that replacing it loses nothing."""
    try:
        git = ["git", "-C", str(ROOT)]
        number = subprocess.run([*git, "hash-object", str(path)], capture_output=True, text=True, check=False).stdout
        known = [*git, "cat-file", "-e", number.strip() or "nothing"]
        return subprocess.run(known, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def keep(paths):
    """Copy what is about to be replaced, where neither git has it nor we can make it again; gives the copies."""
    copies = []
    for path in paths:
        if not path.exists() or _in_git(path):
            continue
        try:
            variant = nbformat.read(path, as_version=4).metadata["homework"]["variant"]
            if generated(variant, [path.stem])[path] == path.read_text(encoding="utf-8"):
                continue
        except Exception:  # it was changed so much that nothing can be made of it
            pass
        other = free_path(KEPT / path.relative_to(ROOT / "homework"))
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, other)
        copies.append(other)
    return copies


def _named(paths):
    """Paths in a sentence."""
    return ", ".join(path.relative_to(ROOT).as_posix() for path in paths)


@one_sentence("homework", CHECKOUT, LeakError, ValueError)
def main(arguments=None):
    """Write the sources and the release, or with --check say whether they are those of the variant."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--variant", help="such as the year; by default that of the sources")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not as generated")
    options = parser.parse_args(arguments)
    if options.variant is not None and not re.fullmatch(r"[\w-]{1,40}", options.variant):
        parser.error(f"--variant: expected letters, digits and hyphens, such as 2027, got {options.variant!r}")
    if not assignments():
        sys.exit(
            "homework: expected the sources in homework/source, found none. Is this a student's copy? Its assignments "
            "are in homework/release: open them with `make lab`"
        )
    with contextlib.nullcontext() if options.check else alone(SOURCE):
        _release(options)


def _release(options):
    """Write the sources and the release of a variant, or check them."""
    variant = current_variant() if options.variant is None else options.variant
    files = generated(variant)  # everything is made, and looked through for leaks, before anything is written
    stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    extra = [path for path in released() if path not in files]
    if options.check:
        names = _named(stale + extra)
        sys.exit(f"homework: not as generated: {names}; run `make homework VARIANT={variant}`" if names else 0)
    for path in stale:
        check_writable(next(folder for folder in path.parents if folder.is_dir()))
    copies = keep(stale)
    for path in stale:
        write_atomically(path, files[path])
    print(f"homework: {len(assignments())} assignments of variant {variant}, {len(stale)} files written")
    if copies:
        print(f"homework: what was there was changed by hand, and is kept: {_named(copies)}")
    print(f"homework: hand out {RELEASE.relative_to(ROOT)}, never homework/source: homework/README.md says how")
    if extra:
        sys.exit(f"homework: the assignments are complete; what was not made here, remove by hand: {_named(extra)}")


if __name__ == "__main__":
    main()

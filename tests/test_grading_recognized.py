"""What an editor leaves of a notebook is recognized: its cells, what was merged with them, and words elsewhere."""

import copy
import json

import grading_fixtures as fixtures
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from homework.grading import cells, recognize, restore, words

QUESTION = "## Why?\nSay in your own words why the mean is subtracted at all."
SETUP = "import numpy as np\n\nOFFSET = 3"
HELP = "def helper(x):\n    return x + OFFSET"
TEST = "# 2 points\nfindings = centre(np.ones((2, 1)))"
STUB = "def {}(X):\n    raise NotImplementedError"
CENTRE = "def centre(X):\n    return X - X.mean(axis=0)"
SCALE = "def scale(X):\n    return X / X.std(axis=0)"
WORDS = "Because the mean of a feature says nothing about how it varies."


def given():
    """An assignment as it is given out, with its question in a cell that has no grade id."""
    return [
        fixtures.cell(SETUP, "setup", locked=True),
        fixtures.cell(HELP, "help", locked=True),
        fixtures.cell(STUB.format("centre"), "centre", solution=True),
        fixtures.cell(TEST, "test-centre", locked=True, grade=True, points=2),
        fixtures.cell(STUB.format("scale"), "scale", solution=True),
        new_markdown_cell(QUESTION, id="question"),
        fixtures.cell("YOUR ANSWER HERE", "why", kind="markdown", grade=True, solution=True, points=2),
        new_markdown_cell("## The end of this assignment", id="end"),
    ]


def read(found):
    return cells.read_notebook(json.dumps(new_notebook(cells=found)).encode()).cells


def source():
    found = given()
    for cell, body in ((found[2], "return X - X.mean(axis=0)"), (found[4], "return X / X.std(axis=0)")):
        cell.source = cell.source.replace("raise NotImplementedError", fixtures.marked(body).strip())
    found[6].source = "A model answer."
    return read(found)


def solved():
    found = given()
    found[2].source, found[4].source, found[6].source = CENTRE, SCALE, WORDS
    return found


def without(found, *, ids, keep=()):
    for cell in found:
        if cell.metadata.get("nbgrader", {}).get("grade_id") not in keep:
            cell.metadata = {}
        if not ids:
            cell.id = f"new-{abs(hash(cell.source))}"
    return read(found)


def kept(found):
    """The grade ids of what is run, and the sentences."""
    restored, notes = restore.restore(found, source())
    return [cell.grade_id or cell.source for cell in restored], notes


ALL = ["setup", "help", "centre", "test-centre", "scale", QUESTION, "why", "## The end of this assignment"]


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("keep", [(), ("setup",), ("why", "scale")])
def test_cells_without_metadata(ids, keep):
    assert kept(without(solved(), ids=ids, keep=keep)) == (ALL, [])


@pytest.mark.parametrize("ids", [True, False])
def test_an_unfilled_notebook_without_metadata(ids):
    found = without(given(), ids=ids)
    assert kept(found) == (ALL, [])


@pytest.mark.parametrize(("found", "likeness"), [(given(), 1), (solved(), 2), ([new_code_cell("1 + 1")], 0)])
@pytest.mark.parametrize("dropped", [False, True])
def test_the_assignment_is_told_from_other_notebooks(found, likeness, dropped):
    if dropped:
        without(found, ids=False)
    data = json.dumps(new_notebook(cells=found)).encode()
    assert recognize.likeness(data, "hw00", "0", source()) == likeness
    other = new_notebook(cells=found, metadata={"homework": {"assignment": "hw01"}})
    assert recognize.likeness(json.dumps(other).encode(), "hw00", "0", source()) == 0


def test_what_is_no_notebook_is_not_the_assignment():
    assert recognize.likeness(b"{", "hw00", "0", source()) == 0


def test_without_anything_of_it_the_reason_says_what_to_do():
    with pytest.raises(cells.NotebookError, match=r"\(centre, scale\).*Send the one that was given out, hw00\.ipynb"):
        recognize.check_identity(cells.Notebook(read([new_code_cell("1 + 1")])), "hw00", "0", source())


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize(
    ("into", "text", "order"),
    [
        (1, f"{HELP}\n\n{CENTRE}", ["help", "centre"]),
        (3, f"{CENTRE}\n{TEST}", ["centre", "test-centre"]),
        (3, f"{TEST}\n\nimport math\n\n\n{CENTRE}\n", ["test-centre", "centre"]),
        (0, f"%matplotlib inline\n{CENTRE}\n{SETUP}", ["centre", "setup"]),
        (0, f"{SETUP}\n{CENTRE} +", ["setup", "centre"]),
    ],
)
def test_what_was_merged_with_a_locked_cell_is_run_and_said(into, text, order, dropped):
    found = solved()
    found[into].source = text
    del found[2]
    if dropped:
        found = without(found, ids=False)
    restored, notes = restore.restore(read(found) if not dropped else found, source())
    names = [cell.grade_id or ("centre" if "def centre" in cell.source else "?") for cell in restored]
    at = names.index(order[0])
    assert names[at : at + 2] == order
    assert next(cell for cell in restored if cell.grade_id == ALL[into]).source == [SETUP, HELP, None, TEST][into]
    assert any(
        "was put back as it was given out. What was typed into it" in note and "centre" in note for note in notes
    )
    assert any("'centre', which was to be filled in, is not in its place" in note for note in notes)


def test_what_was_typed_into_a_locked_cell_keeps_its_decorators():
    text = f"import functools\n\n@functools.cache\n{CENTRE}"
    assert recognize.typed(f"{SETUP}\n{text}\n{HELP}", f"{SETUP}\n{HELP}") == ("", text)


def test_a_change_of_a_locked_cell_is_not_run():
    found = solved()
    found[0].source = "import numpy as np\n\nOFFSET = 4\nhelper = 5\nprint(OFFSET)"
    found[1].source = HELP.replace("x +", "x -")
    names, notes = kept(read(found))
    assert names == ["setup", "helper = 5", *ALL[1:]]
    assert len(notes) == 2


@pytest.mark.parametrize("kind", [new_markdown_cell, new_raw_cell])
@pytest.mark.parametrize("text", [CENTRE, f"```python\n{CENTRE}\n```"])
@pytest.mark.parametrize("dropped", [False, True])
def test_an_answer_of_another_type_is_run(kind, text, dropped):
    found = solved()
    found[2] = kind(text, metadata={} if dropped else found[2].metadata)
    restored, notes = restore.restore(read(found), source())
    assert (restored[2].kind, restored[2].source.strip(), restored[2].grade_id) == ("code", CENTRE, "centre")
    assert len(notes) == 1
    assert "the cell's type had been changed" in notes[0]


def test_words_in_a_cell_of_code_are_not_run():
    found = solved()
    found[6] = new_code_cell(WORDS, metadata=found[6].metadata)
    restored, notes = restore.restore(read(found), source())
    assert restored[6].kind == "markdown"
    assert "read as words" in notes[0]
    assert words.answers(read(found), source(), ["why"]) == ({"why": WORDS}, [])


def unanswered(*more, at=7, question=QUESTION):
    found = solved()
    found[5].source, found[6].source = question, "YOUR ANSWER HERE"
    found[at:at] = more
    return found


COMMENTS = "\n".join(f"# {line}" for line in WORDS.split(" of "))
ELSEWHERE = {
    "below": unanswered(new_markdown_cell(WORDS)),
    "above": unanswered(new_markdown_cell(WORDS), at=6),
    "raw": unanswered(new_raw_cell(WORDS)),
    "at the end": unanswered(new_markdown_cell(WORDS), at=8),
    "at the beginning": unanswered(new_raw_cell(WORDS), at=0),
    "in the question": unanswered(question=f"{QUESTION}\n\n{WORDS}"),
    "above the question": unanswered(question=f"{WORDS}\n{QUESTION}"),
    "in the middle of the question": unanswered(question=QUESTION.replace("\n", f"\n{WORDS}\n")),
    "comments": unanswered(new_code_cell(COMMENTS)),
    "a string": unanswered(new_code_cell(f"'''{WORDS}'''")),
    "no code": unanswered(new_code_cell(WORDS)),
}


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("dropped", [False, True])
def test_words_elsewhere_are_shown_and_a_person_is_asked(name, dropped):
    found = read(ELSEWHERE[name])
    if dropped:
        found = without(copy.deepcopy(ELSEWHERE[name]), ids=name.startswith("above the"))
    texts, notes = words.answers(found, source(), ["why"])
    shown = texts["why"].replace("# ", "").replace("\n", " of ").strip("'")
    if dropped and name == "in the middle of the question":
        assert WORDS in shown
    else:
        assert shown == WORDS
    if not (dropped and name == "above"):  # where it is taken for the cell itself
        assert notes == ["Words in other cells are shown for 'why': a person decides whether they are its answer."]


def test_an_answer_in_two_cells_is_shown_whole():
    found = solved()
    found[6:7] = [new_markdown_cell("First.", metadata=found[6].metadata), new_markdown_cell("Then."), found[6]]
    found[8].source = "At last."
    texts, _ = words.answers(read(found), source(), ["why"])
    assert texts["why"].split() == ["First.", "At", "last.", "Then."]


def test_other_code_is_no_answer():
    more = [new_code_cell("exit()"), new_code_cell("# plot it\nplt.plot(x)"), new_code_cell("y = scale(centre(X)) + 1")]
    assert words.answers(read(unanswered(*more)), source(), ["why"]) == ({"why": "YOUR ANSWER HERE"}, [])


# Answers in pieces

LONG = 'def centre(X):\n    """Subtract the mean."""\n    mean = X.mean(axis=0)\n    return X - mean'


def pieces(*texts, between=()):
    """A notebook whose answer is split: the first piece in its cell, the others in cells below."""
    found = solved()
    found[2].source = texts[0]
    below = [*between, *(new_code_cell(text, id=f"piece-{n}") for n, text in enumerate(texts[1:]))]
    return found[:3] + below + found[3:]


@pytest.mark.parametrize("lines", [(1,), (2,), (3,), (1, 2, 3)])
@pytest.mark.parametrize("dropped", [False, True])
def test_an_answer_that_is_split_is_joined(lines, dropped):
    all_lines, ends = LONG.split("\n"), [0, *lines, None]
    parts = ["\n".join(all_lines[a:b]) for a, b in zip(ends, ends[1:], strict=False)]
    found = pieces(*parts)
    restored, notes = restore.restore(without(found, ids=False) if dropped else read(found), source())
    assert [cell.source for cell in restored if cell.grade_id == "centre"] == [LONG]
    assert len(restored) == len(ALL)
    assert set(notes) == {"Cell 'centre': its answer was split over two cells, which were joined."}


def test_pieces_are_joined_without_their_blanks_over_words_and_with_the_metadata_of_the_first():
    found = pieces(
        LONG.split("\n    mean")[0], "mean = X.mean(axis=0)\nreturn X - mean", between=[new_markdown_cell("!")]
    )
    found[4].metadata = copy.deepcopy(found[2].metadata)  # as some editors copy them when they split
    restored, notes = restore.restore(read(found), source())
    assert [cell.source for cell in restored if cell.grade_id == "centre"] == [LONG]
    assert len(notes) == 1


@pytest.mark.parametrize(
    "rest", ["centre(np.ones((2, 1)))", "def helper_of_mine(x):\n    return x", "print 'x'", "%time 1"]
)
def test_a_cell_below_an_answer_stays_by_itself(rest):
    restored, notes = restore.restore(read(pieces(LONG, rest)), source())
    assert [cell.source for cell in restored][2:4] == [LONG, rest]
    assert notes == []

"""Notes for the teacher: plans that fit, notes on every prediction, and goals with tasks that exist."""

import copy
import re

import pytest
import teaching
from minutes import minutes
from nbformat.v4 import new_notebook

pytestmark = pytest.mark.timeout(120)  # all lessons are read


@pytest.fixture(scope="module")
def known():
    return teaching.lessons()


@pytest.fixture(scope="module")
def plans():
    return teaching.read("plans")["plan"]


@pytest.fixture(scope="module")
def notes():
    return teaching.read("predictions")


@pytest.fixture(scope="module")
def goals():
    return teaching.read("goals")


def sections_of(session):
    return [next(iter(item.values())) for item in session["items"] if not {"talk", "record"} & set(item)]


class TestPlans:
    def test_a_lecture_three_lectures_and_thirteen_weeks(self, plans):
        assert [(plan["id"], len(plan["session"])) for plan in plans] == [("lecture", 1), ("week", 3), ("seminar", 13)]

    def test_no_session_is_longer_than_it_says(self, plans, known):
        for plan in plans:
            assert plan["length"] == 90
            for session in plan["session"]:
                rows = teaching.session_rows(session, plan["length"], known)
                assert 75 <= sum(row.minutes for row in rows) <= 90, session["title"]

    def test_a_session_that_is_too_long_is_an_error_with_its_minutes(self, plans, known):
        session = copy.deepcopy(plans[0]["session"][0])
        spent = sum(row.minutes for row in teaching.session_rows(session, 90, known))
        session["items"].append({"talk": "More questions", "minutes": 91 - spent})
        with pytest.raises(ValueError, match=f"{session['title']}: expected at most 90 minutes, got 91: shorten"):
            teaching.session_rows(session, 90, known)

    def test_minutes_are_those_of_the_cells_and_what_a_lecturer_adds(self, known):
        part = known["04"].sections["six-question"]  # one prediction, one change, cells to run
        read = minutes(new_notebook(cells=list(part.cells)))
        spent = {how: teaching.row({how: "04 six-question"}, known).minutes for how in ("live", "show", "board")}
        assert spent == {"live": read + 2 + 1 + 1, "show": read + 2, "board": read + 2}
        assert teaching.row({"show": "03 nine-question"}, known).minutes > 0  # an optional section

    def test_the_sections_of_a_lesson_take_its_minutes_up_to_rounding(self, known):
        for lesson in known.values():
            counted = [minutes(part) for part in lesson.sections.values()]
            assert lesson.summary.minutes <= sum(counted) < lesson.summary.minutes + len(counted)

    def test_the_seminar_teaches_every_section_of_every_core_path_once(self, plans, known):
        taught = [name for session in plans[2]["session"] for name in sections_of(session)]
        core = [
            f"{number} {cell}"
            for number, lesson in known.items()
            for cell, part in lesson.sections.items()
            if minutes(part) and part.title != "Further reading"
        ]
        optional = {name for name in taught if name not in core}
        assert [name for name in taught if name not in optional] == core
        assert optional == {"03 nine-question", "03 ten-question", "03 eleven-question"}

    def test_the_clock_runs_through_the_tables(self, plans, known):
        clock = None
        for line in teaching.plans_part(plans, known).splitlines():
            clock = 0 if line.startswith("| at |") else clock
            if found := re.match(r"\| (\d):(\d\d) \| (\d+) \| ", line):
                hours, past, spent = map(int, found.groups())
                assert 60 * hours + past == clock, line
                clock += spent
        assert clock is not None

    @pytest.mark.parametrize(
        ("item", "said"),
        [
            ({"live": "04 sixth-question"}, "expected lesson and first cell of a section, got '04 sixth-question'"),
            ({"live": "04 six-predict"}, "expected lesson and first cell of a section"),  # a cell, but not the first
            ({"board": "09 one-question"}, "expected lesson and first cell of a section"),
            ({"record": "bn-is-magic"}, "expected the id of a claim, got 'bn-is-magic': see data/claims.toml"),
            ({"talk": "Questions"}, "expected live, show, board, record, or talk with minutes"),
            ({"live": "04 six-question", "minutes": 3}, "expected live, show, board, record, or talk with minutes"),
            ({"sing": "04 six-question"}, "expected live, show, board, record, or talk with minutes"),
        ],
    )
    def test_an_item_that_names_nothing_is_an_error(self, item, said, known):
        with pytest.raises(ValueError, match=re.escape(f"plans.toml: {said}")):
            teaching.row(item, known)


def strange_numbers(note, lesson):
    """Numbers of two digits and more in the notes on a prediction that its lesson has nowhere."""
    texts = [cell.source for cell in lesson.cells.values()]
    outputs = [output for cell in lesson.cells.values() for output in cell.get("outputs", [])]
    texts += [output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs]
    known = set(re.findall(r"\d+(?:\.\d+)?", " ".join(texts)))
    words = " ".join([note["say"], *(word for pair in note["wrong"] for word in pair)])
    return [found for found in re.findall(r"\d+(?:\.\d+)?", words) if len(found) > 1 and found not in known]


class TestPredictions:
    def test_every_prediction_has_notes_and_all_notes_a_prediction(self, notes, known):
        teaching.check_predictions(notes, known)
        asked = [cell.source.count("**Predict.**") for lesson in known.values() for cell in lesson.cells.values()]
        assert len(notes) == sum(asked)

    def test_notes_that_lack_are_named(self, notes, known):
        less = {name: note for name, note in notes.items() if name != "05 six-predict"}
        with pytest.raises(ValueError, match="expected notes on 05 six-predict, found none: add"):
            teaching.check_predictions(less, known)

    def test_notes_on_nothing_are_named(self, notes, known):
        more = notes | {"05 six-check": notes["05 six-predict"]}
        with pytest.raises(ValueError, match="found 05 six-check, which no lesson asks: rename or remove"):
            teaching.check_predictions(more, known)

    @pytest.mark.parametrize("bad", [{"say": "x"}, {"say": "x", "wrong": []}, {"say": "x", "wrong": [["no reason"]]}])
    def test_notes_of_another_form_are_named(self, bad, notes, known):
        with pytest.raises(ValueError, match=r"05 six-predict: expected wrong = \[\[answer, why\], …\] and say"):
            teaching.check_predictions(notes | {"05 six-predict": bad}, known)

    def test_every_number_stands_in_its_lesson(self, notes, known):
        strange = {name: strange_numbers(note, known[name[:2]]) for name, note in notes.items()}
        assert {name: found for name, found in strange.items() if found} == {}
        assert strange_numbers({"say": "97.35 %", "wrong": [["12345", "no"]]}, known["05"]) == ["97.35", "12345"]

    def test_question_and_answer_are_those_of_the_lesson(self, notes, known):
        page = teaching.predictions_part(notes, known)
        assert page.count("### Section ") == page.count("**Say.** ") == len(notes)
        questions = page.split("### Section ")[1:]
        for block in questions:
            assert "?" in block.split("[In the lesson]")[0], block
            assert "](labs/" not in block, "a link of the lesson leads elsewhere from this page"
        (spread,) = (block for block in questions if block.startswith("2. Suspect one: inputs that stay"))
        assert "does the network fail like the plain one" in spread
        assert "as well as without noise: 93 %." in spread.split("<summary>Right answer</summary>")[1]


class TestGoals:
    def test_every_goal_is_named_and_every_task_exists(self, goals, known):
        page = teaching.goals_part(goals, known)
        for lesson in known.values():
            for goal in lesson.summary.goals:
                assert f"| {goal} | " in page
        assert "homework 3, 2. Backward, node by node (20 points)" in page

    def test_all_points_of_the_homework_are_known(self):
        found = teaching.tasks()
        for number in range(1, 7):
            assert sum(points for name, (_, points) in found.items() if name.startswith(f"hw0{number}")) == 100

    def test_every_exam_question_tests_a_goal(self, goals):
        named = {name for lesson in goals.values() for names in lesson.values() for name in names}
        assert set(teaching.exam_titles()) <= named
        assert list(teaching.exam_titles()) == [f"exam {number}" for number in range(1, 11)]

    @pytest.mark.parametrize("name", ["hw03 sideways-scores", "hw03 forward", "exam 11", "hw07 fit-scores"])
    def test_a_task_that_is_not_there_is_an_error(self, name, goals, known):
        bad = goals | {"03": goals["03"] | {"train": [name]}}
        with pytest.raises(ValueError, match=f"expected a cell with points or an exam question, got '{name}'"):
            teaching.goals_part(bad, known)

    def test_a_goal_that_lacks_is_an_error(self, goals, known):
        bad = goals | {"03": {name: tests for name, tests in goals["03"].items() if name != "train"}}
        with pytest.raises(ValueError, match="goals.toml, 03: expected the goals implement, derive, check, train"):
            teaching.goals_part(bad, known)

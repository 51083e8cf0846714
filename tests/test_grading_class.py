"""A class is graded: what each student gets, what the pages and tables say, and what is refused."""

import html.parser
import json
import os
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import grading_fixtures as fixtures
import numpy as np
import pytest
from grading_fixtures import grade_class, read_grades, write_class
from nbformat.v4 import new_notebook

from homework.grading import submissions, summary

pytestmark = pytest.mark.timeout(600)  # whole classes are graded

XSS = "<script>alert('x')</script>"
WRONG_AXIS = {"centre": "return X - X.mean(axis=1, keepdims=True)"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return fixtures.write_assignment(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def texts():
    other = fixtures.writes(new_notebook(cells=[fixtures.cell("def other(): pass", "other", solution=True)]))
    deleted = json.loads(fixtures.submission())
    deleted["cells"] = deleted["cells"][3:]
    doubled = json.loads(fixtures.submission())
    doubled["cells"] += [dict(c, id=f"{c['id']}-2") for c in doubled["cells"][:5]]
    return {
        "Reference": fixtures.submission(about={"assignment": "hw00", "variant": "0"}),
        "Empty": fixtures.empty_submission(),
        "Wrong axis": fixtures.submission(WRONG_AXIS),
        "In place": fixtures.submission({"centre": "X -= X.mean(axis=0)\n    return X"}),
        "No answer": fixtures.submission({"facts": "None"}),
        "Zoë Łukasz Ñandú": fixtures.submission(extra=["'é'", "import utils.byhand"]),
        "Scripts": fixtures.submission(
            {"centre": f'raise ValueError("{XSS}")'},
            why=f"{XSS} ]]> &amp;",
            extra=[f"print({XSS!r})", f"raise KeyError({XSS!r})"],
        ),
        f"=cmd|{XSS.replace('/', '')}": fixtures.submission(extra=["2"]),
        "Truncated": fixtures.submission()[:900],
        "No notebook": "hello",
        "Other assignment": other,
        "Other name": fixtures.submission(about={"assignment": "hw05", "variant": "0"}),
        "Last year": fixtures.submission(about={"assignment": "hw00", "variant": "2026"}),
        "Deleted": json.dumps(deleted),
        "Doubled": json.dumps(doubled),
        "Huge outputs": fixtures.with_outputs(fixtures.submission(extra=["3"]), 20_000_000),
        "Enormous": "[" + " " * (101 * 2**20),
        "Syntax error": fixtures.submission({"facts": "{"}),
        "Tampered": fixtures.submission(fixtures.STUBS, test="score = 100"),
    }


@pytest.fixture(scope="module")
def graded(texts, source, tmp_path_factory):
    where, out = tmp_path_factory.mktemp("class"), tmp_path_factory.mktemp("graded") / "not yet" / "there"
    write_class(where, **texts)
    (where / "pdf.pdf").write_bytes(b"%PDF")
    done = grade_class(where, source, out)
    return where, out, done, read_grades(out)


FULL = {"centre": "2", "standardize": "3", "facts": "1"}
SAID = {
    "Wrong axis": ["entries are wrong"],
    "Empty": ["not attempted", "NotImplementedError"],
    "In place": ["centre() changes its argument X; it should make a new one"],
    "Tampered": ["put back"],
    "Reference": ["it printed nothing"],
    "Scripts": ["KeyError"],
    "Zoë Łukasz Ñandú": ["uses utils.byhand, to compare or to answer: a person decides which"],
}


def page_of(out, name):
    return (out / "feedback" / f"{submissions.safe(name)}.html").read_text(encoding="utf-8")


class TestAClass:
    @pytest.mark.parametrize(
        ("names", "lost"),
        [
            (("Reference", "Zoë Łukasz Ñandú", "Doubled", "Huge outputs"), ()),
            (("Empty", "Tampered"), ("centre", "standardize", "facts")),
            (("Wrong axis", "In place", "Scripts", "Deleted"), ("centre",)),
            (("No answer", "Syntax error"), ("facts",)),
        ],
    )
    def test_each_loses_what_it_should(self, graded, names, lost):
        for name in names:
            row = graded[3][name]
            assert {id: row[id] for id in FULL} == {id: "0" if id in lost else points for id, points in FULL.items()}
            assert float(row["total"]) == sum(float(row[id]) for id in FULL)
            assert row["reason"] == ""

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("Truncated", "cut off"),
            ("No notebook", "not valid JSON"),
            ("Other assignment", "another notebook"),
            ("Other name", "a notebook of hw05; expected one of hw00"),
            ("Last year", "variant 2026; expected variant 0"),
            ("Enormous", "101 MB; expected 100 MB"),
            ("pdf", "got pdf.pdf"),
        ],
    )
    def test_what_cannot_be_run_says_why(self, graded, name, reason):
        _, out, _, rows = graded
        assert rows[name]["total"] == "0"
        assert reason in rows[name]["reason"]
        page = page_of(out, name)
        assert reason in page
        assert "Not read: the reason is at the top" in page
        assert "Nothing was written" not in page
        assert reason in (out / "log.txt").read_text(encoding="utf-8")

    def test_a_column_is_left_for_what_a_person_marks(self, graded):
        assert {row["why"] for row in graded[3].values()} == {""}
        page = page_of(graded[1], "Reference")
        assert "Names the leak and says how it shows." in page
        assert "Because of **&lt;b&gt;the mean&lt;/b&gt;**." in page

    def test_the_feedback_says_what_is_wrong(self, graded):
        for name, sentences in SAID.items():
            assert [sentence for sentence in sentences if sentence not in page_of(graded[1], name)] == [], name

    def test_nothing_of_a_student_becomes_markup(self, graded):
        class Tags(html.parser.HTMLParser):
            seen = set()

            def handle_starttag(self, tag, attributes):
                Tags.seen.add(tag)
                assert not any(name.startswith("on") or name in ("href", "src") for name, _ in attributes)

        pages = [*(graded[1] / "feedback").glob("*.html"), graded[1] / "summary.html"]
        assert len(pages) == len(graded[3]) + 1
        for page in pages:
            text = page.read_text(encoding="utf-8")
            Tags().feed(text)
            assert "http:" not in text
            assert "https:" not in text
        assert not Tags.seen & {"script", "img", "link", "iframe", "b", "a", "object", "form"}

    def test_no_cell_of_the_table_is_a_formula(self, graded):
        assert [name for name in graded[3] if name.startswith("'=cmd")]
        assert not [v for row in graded[3].values() for v in row.values() if v[:1] in ("=", "+", "-", "@")]

    def test_the_summary_has_the_distribution_and_the_most_missed(self, graded):
        text = (graded[1] / "summary.txt").read_text(encoding="utf-8")
        assert f"{len(graded[3])} submissions" in text
        lines = text.splitlines()
        begin = lines.index("  centre: 6 of 13 that ran") + 1
        said = [line.strip().split(" x ", 1) for line in lines[begin : begin + summary.SENTENCES]]
        times = [int(number) for number, _ in said]
        assert times == sorted(times, reverse=True)
        assert sum(times) <= 6
        assert len({sentence for _, sentence in said}) == summary.SENTENCES
        assert text in graded[2].stdout
        assert (graded[1] / "summary.html").read_text(encoding="utf-8").count('class="bar"') == summary.BINS

    def test_the_summary_has_mistakes_that_the_notebooks_own_checks_name(self):
        def result(*lines, status="ok"):
            check = {"id": "centre", "points": 0.0, "said": "the result: 3 of 3 entries are wrong"}
            test = {"id": "centre", "status": status, "said": "\n".join(lines)}
            other = {**test, "id": "other", "said": "other: <b>no</b>"}
            return {"reason": "", "checks": [check], "tests": [test, other]}

        here = SimpleNamespace(name="hw00", variant="0", points=10.0, checks=[], manual=[])
        who = SimpleNamespace(name="A student")
        wrong = "centre: the mean is one for all"
        said = [("centre: right", wrong), (wrong, wrong), ("centre: not attempted",), ("", "<i>")]
        results = [result(*lines) for lines in said]
        page = summary.page(here, [(who, one, []) for one in results])
        assert f"<td>2 × {wrong}\n1 × &lt;i&gt;</td>" in page
        assert "<td>4 × the result: 3 of 3 entries are wrong</td>" in page
        assert "centre: right" not in page
        assert "no&lt;" not in page

    def test_the_summary_says_which_parts_tell_students_apart(self):
        rng = np.random.default_rng(0)
        points = rng.integers(0, 2, (14, 3)) * [5.0, 3.0, 2.0]
        points[:, 2] = 2.0  # which everybody has
        marked = np.append(rng.integers(0, 5, 12), [-1, -1])  # two are still to be marked
        parts = [SimpleNamespace(id=id, points=of) for id, of in zip("abcw", (5.0, 3.0, 2.0, 4.0), strict=True)]
        here = SimpleNamespace(checks=parts[:3], manual=parts[3:], points=10.0)
        rows = [
            (None, {"checks": [{"id": id, "points": p, "said": ""} for id, p in zip("abc", own, strict=True)]}, [mark])
            for own, mark in zip(points.tolist(), ["" if m < 0 else str(m) for m in marked], strict=True)
        ]
        for row in rows:
            row[1]["manual"] = {"w": "some words"}
        found = {id: (n, r) for id, _, n, r in summary.apart(here, rows)}
        machine = points.sum(axis=1)
        assert found["a"] == (14, pytest.approx(np.corrcoef(points[:, 0], machine - points[:, 0])[0, 1]))
        assert found["c"] == (14, None)
        assert found["w"] == (12, pytest.approx(np.corrcoef(marked[:12], machine[:12])[0, 1]))
        assert [r for *_, r in summary.apart(here, rows[:9])] == [None] * 4

    def test_again_nothing_runs_and_nothing_changes(self, graded, source):
        where, out, _, _ = graded
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        done = grade_class(where, source, out)
        assert "0 to grade, 20 done before" in done.stdout
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before

    def test_elsewhere_and_with_one_worker_the_grades_are_the_same(self, graded, source, tmp_path):
        where, out, _, rows = graded
        (tmp_path / "class").mkdir()
        for name in ("Reference", "Wrong axis", "Scripts", "Tampered", "Truncated"):
            shutil.copy(where / f"{name}.ipynb", tmp_path / "class")
        grade_class(tmp_path / "class", source, tmp_path / "out", "--workers", "1", "--secret", out / "secret")
        found = read_grades(tmp_path / "out")
        assert len(found) == 5
        assert found == {name: rows[name] for name in found}
        for name in found:
            assert page_of(tmp_path / "out", name) == page_of(out, name)

    def test_it_is_quick_enough(self, graded):
        rate = int(graded[2].stdout.split(" per minute")[0].split()[-1])
        assert rate >= 20

    def test_no_half_written_file_is_left_and_the_secret_is_not_for_everybody(self, graded):
        assert not list(graded[1].rglob("*.part"))
        assert (graded[1] / "secret").stat().st_mode & 0o077 == 0


def test_a_zip_is_graded_like_a_folder(source, tmp_path):
    with zipfile.ZipFile(tmp_path / "moodle.zip", "w") as archive:
        archive.writestr("Zoë Müller_11_assignsubmission_file_/hw00.ipynb", fixtures.submission())
        archive.writestr("Ada L_12_assignsubmission_file_/x.txt", "x")
    grade_class(tmp_path / "moodle.zip", source, tmp_path / "out")
    rows = read_grades(tmp_path / "out").items()
    assert {name: (row["id"], row["total"]) for name, row in rows} == {"Zoë Müller": ("11", "6"), "Ada L": ("12", "0")}


class TestRefusals:
    def test_without_bubblewrap(self, source, tmp_path):
        (tmp_path / "a.ipynb").write_text(fixtures.submission())
        done = grade_class(tmp_path, source, tmp_path / "out", check=False, sandbox="bwrap", PATH=str(tmp_path))
        assert done.returncode == 2
        assert "bubblewrap" in done.stderr or "needs Linux" in done.stderr
        assert "SANDBOX=none" in done.stderr
        assert "Traceback" not in done.stderr

    def test_the_risk_can_be_accepted(self, source, tmp_path):
        (tmp_path / "a.ipynb").write_text(fixtures.submission())
        done = grade_class(tmp_path, source, tmp_path / "out", sandbox="none", PATH=str(tmp_path))
        assert "with your rights" in done.stderr
        assert read_grades(tmp_path / "out")["a"]["total"] == "6"

    @pytest.mark.parametrize("what", ["no such folder", "empty folder", "no such assignment", "SANDBOX=yes"])
    def test_one_line_that_says_what_was_expected(self, source, tmp_path, what):
        (tmp_path / "empty").mkdir()
        where = tmp_path / ("empty" if what == "empty folder" else "nowhere")
        more = ["--assignment", "hw77"] if what == "no such assignment" else []
        sandbox = "yes" if "=" in what else fixtures.SANDBOX
        done = grade_class(where, source, tmp_path / "out", *more, check=False, sandbox=sandbox)
        assert done.returncode == 2
        assert "expected" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_the_assignment_is_guessed_as_the_makefile_calls_it(source, tmp_path):
    about = {f"s{i}": {"assignment": name, "variant": "0"} for i, name in enumerate(("hw00", "hw00", "hw01"))}
    write_class(tmp_path / "class", **{name: fixtures.submission(about=named) for name, named in about.items()})
    command = [sys.executable, "-m", "homework.grading", tmp_path / "class", "--source", source]
    command = [str(part) for part in [*command, "--out", tmp_path / "grades of {assignment}"]]
    environment = {**os.environ, "SANDBOX": fixtures.SANDBOX}
    done = subprocess.run(command, cwd=fixtures.ROOT, env=environment, capture_output=True, text=True, timeout=150)
    assert "Assignment hw00, as 2 of 3 notebooks say" in done.stdout, done.stderr
    rows = read_grades(tmp_path / "grades of hw00")
    assert {name: row["total"] for name, row in rows.items()} == {"s0": "6", "s1": "6", "s2": "0"}
    assert "hw01" in rows["s2"]["reason"]


@pytest.mark.filterwarnings("default")
def test_a_cluster_gives_the_same_grades(graded, source, tmp_path):
    pytest.importorskip("distributed", reason="the cluster test did not run: distributed is in the extra [cluster]")
    from distributed import LocalCluster

    where, out, _, rows = graded
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        more = ("--secret", out / "secret", "--scheduler", cluster.scheduler_address)
        grade_class(where, source, tmp_path / "out", *more)
    assert read_grades(tmp_path / "out") == rows


def test_a_cluster_that_is_not_there_is_said(graded, source, tmp_path):
    done = grade_class(graded[0], source, tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9", check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr

"""The repository for students: what is in it and what is not, and how it takes updates."""

import json
import subprocess

import pytest
import release
import student
from guard import ROOT

VARIANT = "2031"
HIDDEN = ("homework/source", "homework/grading", "tests", "conftest.py")


def git(folder, *arguments):
    own = ["-c", "user.name=me", "-c", "user.email=me@localhost"]
    done = subprocess.run(["git", "-C", folder, *own, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def lines_of(name, data):
    """The lines of a file, of a notebook those of its cells."""
    if name.endswith(".ipynb"):
        return "\n".join("".join(cell["source"]) for cell in json.loads(data)["cells"]).splitlines()
    return data.decode("utf-8", errors="replace").splitlines()


@pytest.fixture(scope="module")
def files():
    return student.contents(VARIANT, "https://github.com/Uni/course-2031")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a few files, made by the same code."""
    few = {"README.md": b"# The course\n\none\ntwo\nthree\n", "homework/release/a.ipynb": b"{}"}
    monkeypatch.setattr(student, "contents", lambda variant, address: few)
    where = tmp_path / "class"
    assert "is made, with 2 files" in student.make(where, VARIANT, "https://github.com/Uni/course-2031")
    return where, few


class TestContents:
    def test_nothing_hidden_is_in_it(self, files):
        assert [name for name in files if name.startswith(HIDDEN)] == []
        shown = {line.strip() for name, data in files.items() for line in lines_of(name, data)}
        for name in release.assignments():
            hidden = release.secrets(release.source(name, VARIANT))
            assert len(hidden) > 20
            # A few lines are in the lessons, too: loops, and formulas that are derived there.
            assert len(hidden & shown) <= 5
            assert max(map(len, hidden & shown)) < 60
        assert "For an instructor" not in files["homework/README.md"].decode()

    def test_the_homework_is_that_of_the_variant(self, files):
        for name in release.assignments():
            notebook = json.loads(files[f"homework/release/{name}/{name}.ipynb"])
            assert notebook["metadata"]["homework"] == {"assignment": name, "variant": VARIANT}
        assert files["homework/release/hw01/hw01.ipynb"] != (release.RELEASE / "hw01" / "hw01.ipynb").read_bytes()

    def test_what_students_need_is_in_it(self, files):
        needed = ("Makefile", "pyproject.toml", "utils/homework/checks.py", "notebooks/01_input_standardization.ipynb")
        assert set(needed) < set(files)
        page = files["README.md"].decode()
        assert "https://uni.github.io/course-2031/" in page
        assert "https://mybinder.org/v2/gh/Uni/course-2031/main" in page

    @pytest.mark.parametrize("address", ["uni/course", "https://example.org/a/b", "https://github.com/a"])
    def test_another_address_is_refused(self, address):
        with pytest.raises(student.StudentError, match="--address: expected one like"):
            student._links(VARIANT, address)


class TestUpdates:
    def test_an_update_is_merged_and_a_clone_takes_it(self, repository, tmp_path):
        where, few = repository
        git(tmp_path, "clone", "-q", str(where), "clone")
        (tmp_path / "clone" / "homework/release/a.ipynb").write_text('{"solved": 1}')
        git(tmp_path / "clone", "commit", "-qam", "My answer")
        (where / "README.md").write_text("# The course of 2031\n\none\ntwo\nthree\n")
        git(where, "commit", "-qam", "A title of its own")
        few["README.md"] = b"# The course\n\none\ntwo\nthree and four\n"
        assert "is updated" in student.make(where, VARIANT)
        assert (where / "README.md").read_text() == "# The course of 2031\n\none\ntwo\nthree and four\n"
        git(tmp_path / "clone", "pull", "-q", "--no-rebase", "--no-edit")
        assert (tmp_path / "clone" / "README.md").read_text() == (where / "README.md").read_text()
        assert (tmp_path / "clone" / "homework/release/a.ipynb").read_text() == '{"solved": 1}'

    def test_without_news_nothing_is_committed(self, repository):
        where, _ = repository
        before = git(where, "rev-parse", "main", "course")
        assert "has everything already" in student.make(where, VARIANT)
        assert git(where, "rev-parse", "main", "course") == before
        assert git(where, "remote", "get-url", "origin") == "https://github.com/Uni/course-2031"

    def test_a_file_that_goes_is_removed(self, repository):
        where, few = repository
        del few["homework/release/a.ipynb"]
        student.make(where, VARIANT)
        assert git(where, "ls-files") == "README.md"

    def test_a_conflict_leaves_everything_as_it_was(self, repository):
        where, few = repository
        (where / "README.md").write_text("# Another\n\none\ntwo\nthree\n")
        git(where, "commit", "-qam", "Mine")
        few["README.md"] = b"# New\n\none\ntwo\nthree\n"
        with pytest.raises(student.StudentError, match="git merge course"):
            student.make(where, VARIANT)
        assert git(where, "status", "--porcelain") == ""
        assert (where / "README.md").read_text().startswith("# Another")

    def test_what_is_not_committed_is_not_lost(self, repository):
        where, few = repository
        (where / "notes.md").write_text("mine")
        few["README.md"] = b"new"
        with pytest.raises(student.StudentError, match="not committed"):
            student.make(where, VARIANT)
        assert (where / "notes.md").read_text() == "mine"

    @pytest.mark.parametrize("what", ["a file in it", "another repository", "the course"])
    def test_another_folder_is_refused(self, tmp_path, monkeypatch, what):
        monkeypatch.setattr(student, "contents", lambda variant, address: {"a": b"a"})
        where = ROOT / "build" if what == "the course" else tmp_path
        if what == "another repository":
            git(where, "init", "-q")
        elif what == "a file in it":
            (where / "mine").write_text("mine")
        with pytest.raises(student.StudentError, match="expected"):
            student.make(where, VARIANT)
        assert not (where / "a").exists()

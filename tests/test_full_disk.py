"""A disk without room: one sentence says what to do, and nothing is left half written."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import nbformat
import places_fixtures
import pytest
from places_fixtures import (
    IN_BUILD,
    IN_COURSE,
    INSIDE,
    REMEDY,
    SMALL,
    command,
    environment,
    load,
    one_sentence,
    prepare,
    run,
    tree,
    write_notebook,
)

from homework.grading import files as grading_files
from utils import download

pytestmark = pytest.mark.timeout(300)  # commands are started, and kernels
course = places_fixtures.course


class TestFullDisk:
    # A file that may not grow is refused by the same calls as one on a full disk.
    @pytest.mark.parametrize("name", [name for name in IN_BUILD + IN_COURSE if name not in ("course", "notebooks")])
    def test_one_sentence_and_nothing_half_written(self, course, name):
        prepare(name, course)
        before = tree(course)
        done = run(name, course, limit=40)
        one_sentence(done, REMEDY[name], "File too large. Make room on that disk|File too large. Make room there")
        after = tree(course)
        assert {path: text for path, text in after.items() if path in before} == before
        lists = (".written-by-the-course.txt", ".written", "build/grades/secret")
        assert [path for path in set(after) - set(before) if not path.endswith(lists)] == []

    @pytest.mark.parametrize("name", ["course", "notebooks"])
    def test_where_kernels_run(self, course, name):
        # The disk of the results is full, that of temporary files is not.
        if subprocess.run([*INSIDE, "mount -t tmpfs tmpfs /mnt"], capture_output=True, timeout=60).returncode:
            pytest.skip("nobody may mount a file system here, not even in a namespace of their own")
        place = course / ("build" if name == "course" else "lessons")
        place.mkdir(exist_ok=True)
        # A page of the course is larger than 100 kB, and the notebook's output is larger than what is free.
        path = write_notebook(course / "lessons.ipynb", "print('x' * 60000)")
        script = 'place=$1; path=$2; shift 2; mount -t tmpfs -o size=128k tmpfs "$place" && '
        script += 'cp "$path" "$place/my.ipynb" && head -c 100000 /dev/zero > "$place/filler"; '
        script += '"$@"; status=$?; cp -a "$place" "$place of then"; exit $status'
        run_it = command(name, course)
        run_it[-1] = str(place / "my.ipynb")
        call = [str(part) for part in (*INSIDE, script, "sh", place, path, *run_it)]
        done = subprocess.run(call, env=environment(course), capture_output=True, text=True, timeout=200)
        one_sentence(done, "No space left on device", "my.ipynb|my.html")
        left = tree(Path(f"{place} of then"))
        assert left.pop("filler")
        assert left.pop("my.ipynb") == path.read_bytes()
        assert not {name for name in left if name.endswith(".part")}
        for whole in left:
            if whole.endswith("my.ipynb"):
                nbformat.reads(left[whole].decode(), as_version=4)
            else:
                assert whole == "course/.written-by-the-course.txt"

    def test_half_a_line_in_the_list_of_results_spoils_no_other(self, course):
        results = load(course, "results")
        folder = course / "build" / "course"
        results.Results(folder).write("a.txt", "a")
        with (folder / results.LIST).open("a") as file:
            file.write("0123456789")
        results.Results(folder).write("b.txt", "b")
        results.Results(folder).check(["a.txt", "b.txt"])
        results.Results(folder).remove()
        assert not folder.exists()

    def test_half_a_line_in_the_list_of_the_grader_spoils_no_other(self, tmp_path):
        grading_files.replace(tmp_path, "a.txt", "a")
        with (tmp_path / grading_files.LIST).open("a") as file:
            file.write("0123456789")
        grading_files.replace(tmp_path, "b.txt", "b")
        assert all(grading_files.is_ours(tmp_path, name) for name in ("a.txt", "b.txt"))

    @pytest.mark.parametrize("name", ["site", "slides"])
    def test_the_old_site_stays_whole_where_the_new_one_finds_no_room(self, course, name):
        folder = course / "build" / name
        for page in ("a.html", "index.html"):
            load(course, "results").Results(folder).write(page, page * 2000)
        with (folder / ".written-by-the-course.txt").open("a") as file:
            file.write("\n" * 29990)
        before = tree(course)
        changed = SMALL.replace("page * 2000", "page * 2000 + 'new'")
        done = run(name, course, limit=30000, small=changed)
        one_sentence(done, "written-by-the-course.txt|File too large", "BUILD=/path")
        after = tree(course)
        assert set(after) == set(before)
        assert {path for path in before if after[path] != before[path]} <= {f"build/{name}/.written-by-the-course.txt"}

    def test_many_errors_are_one_and_how_many_more(self, course, capsys):
        guard = load(course, "guard")
        places = [(f"/from/{i}", f"/to/{i}") for i in range(200)]
        errors = [(*pair, "[Errno 28] No space left on device: {!r} -> {!r}".format(*pair)) for pair in places]
        with pytest.raises(SystemExit) as caught, guard.one_sentence("site", guard.RESULTS):
            raise shutil.Error(errors)
        assert str(caught.value) == (
            "site: /to/0: expected to copy it, got: [Errno 28] No space left on device, and 199 more files. "
            "Make room on that disk, or put the results elsewhere with BUILD=/path."
        )

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
    def test_a_download_blames_no_mirror_and_asks_none_again(self, tmp_path, monkeypatch, number):
        registry, asked = tmp_path / "registry.toml", []
        file = f'{{name = "x", size = 1, hash = "sha256:{"0" * 64}"}}'
        registry.write_text(f'one = {{mirrors = ["https://a.example/", "https://b.example/"], files = [{file}]}}')

        def full(url, **_):
            asked.append(url)
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("pooch.retrieve", full)
        monkeypatch.setenv("COURSE_DATA", str(tmp_path / "cache"))
        monkeypatch.delenv("COURSE_OFFLINE", raising=False)
        wanted = "cannot be written .*Make room there, or .*COURSE_DATA"
        with pytest.raises(download.DownloadError, match=wanted) as caught:
            download.fetch("one", registry=registry)
        assert "mirror" not in str(caught.value)
        assert len(asked) == 1
        assert tree(tmp_path / "cache") == {}

"""A grader removes what a killed grader left, and never a folder of anybody else, however it is named."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import grading_fixtures as fixtures
import pytest

from homework.grading import __main__ as grading
from homework.grading import bubblewrap, sandbox
from homework.grading.places import LONGEST_NAME, Place

ROOT = Path(__file__).resolve().parents[1]
BOXED = bubblewrap.problem() is None
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the grader needs sockets of Unix")
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give a file to somebody else")

# Starts a real kernel without a sandbox, says where its folder is, and waits to be killed.
GRADER = """
import sys, time
from homework.grading.sandbox import Sandbox
with Sandbox(boxed=sys.argv[1] == "boxed") as one:
    print(one.folder, flush=True)
    time.sleep(60)
"""


def tree(folder):
    """All that is below a folder: of a file its content, of a link its target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        what = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "a folder"
        found[path.relative_to(folder).as_posix()] = what
    return found


@pytest.fixture
def temporary(tmp_path, monkeypatch):  # tmp_path first, for it is made in the true one
    """A temporary directory with a path as short as that of a real one."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


def start(temporary, how="unboxed", before=()):
    command = [*before, sys.executable, "-c", GRADER, how]
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    return process, Path(process.stdout.readline().strip())


def kill(process):
    process.kill()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
def left(temporary):
    """What a killed grader left: the folder of its sandbox as a whole, whose lock the system has taken back."""
    place = Place()
    os.close(place._lock)
    (place.folder / "connection.json").write_text("{}")
    assert place.folder.parents[2] == temporary, "the tests below change what is above it, which must not be /tmp"
    return place.folder.parent


def test_what_a_killed_grader_left_is_removed(temporary):
    process, folder = start(temporary)
    kill(process)
    assert folder.is_dir(), "a grader that is killed can remove nothing"
    assert (folder.parent / "lock").read_text().startswith("a sandbox")
    grading.sweep()
    assert not folder.parent.exists()


def test_of_a_living_grader_nothing_is_removed(temporary):
    process, folder = start(temporary)
    before = tree(folder)
    grading.sweep()
    assert tree(folder) == before
    kill(process)
    grading.sweep()
    assert not folder.exists()


def test_nor_of_a_grader_whose_number_is_not_seen_here(temporary):
    namespace = ("unshare", "--pid", "--fork", "--kill-child")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*namespace, "true"], capture_output=True, timeout=60).returncode
    ):
        pytest.skip("there is no unshare here that makes a namespace of processes")
    process, folder = start(temporary, before=namespace)
    before = tree(folder)
    grading.sweep()
    assert tree(folder) == before
    kill(process)
    deadline = time.monotonic() + 10
    while folder.exists() and time.monotonic() < deadline:  # its child ends a little later
        grading.sweep()
    assert not folder.exists()


def test_the_same_process_keeps_its_own(temporary):
    with sandbox.Sandbox(boxed=False) as one:
        grading.sweep()
        assert (one.folder / "connection.json").is_file()
        place = one.folder
    assert not place.exists()


def test_two_graders_at_once_do_not_remove_what_the_other_makes(temporary):
    # One makes and removes folders, the others sweep all the time.
    sweeps = "from homework.grading.places import sweep\nwhile True: sweep()"
    makes = (
        "from homework.grading.places import Place\n"
        "for _ in range(100):\n"
        "    place = Place()\n"
        "    (place.folder / 'file').write_text('x')\n"
        "    assert (place.folder / 'file').read_text() == 'x'\n"
        "    place.remove()\n"
        "    assert not place.folder.parent.exists()\n"
    )
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    others = [subprocess.Popen([sys.executable, "-c", sweeps], env=environment) for _ in range(2)]
    done = subprocess.run([sys.executable, "-c", makes], env=environment, capture_output=True, text=True, timeout=60)
    for other in others:
        assert other.poll() is None
        other.kill()
        other.wait(timeout=30)
    assert done.returncode == 0, done.stderr


USER = os.getuid() if hasattr(os, "getuid") else 0
LOOK_ALIKES = ["grading-2027-hw01", "grading-99999999-abc", "grading-1-x", "grading-hw01-2027", "course-grading-2027"]
LOOK_ALIKES += ["course-grading-2027-hw01", f"course-grading-{USER}-hw01", "course-grading-me"]


@pytest.mark.parametrize("name", LOOK_ALIKES)
@pytest.mark.parametrize("shape", ["folder", "empty folder", "link", "file", "folder with a lock"])
def test_what_only_has_such_a_name_is_left_alone(temporary, tmp_path, name, shape):
    place = temporary / name
    if shape == "empty folder":
        place.mkdir()
    elif shape == "file":
        place.write_text("mine")
    else:
        target = place if shape.startswith("folder") else tmp_path / "target"
        target.mkdir()
        (target / "grades.csv").write_text("mine")
        (target / "x").mkdir()
        (target / "x" / "more").write_text("mine")
        if shape == "folder with a lock":
            (target / "lock").write_text("mine")
        if shape == "link":
            place.symlink_to(target)
    before = tree(temporary), tree(tmp_path)
    grading.sweep()
    assert (tree(temporary), tree(tmp_path)) == before


@pytest.mark.parametrize("name", ["grading-2027-hw01", "grading-99999999-abc", "course-grading-2027"])
def test_nor_is_it_in_the_other_place_for_such_files(temporary, name):
    place = Path("/tmp") / f"{name}-{uuid.uuid4().hex}"
    place.mkdir()
    (place / "grades.csv").write_text("mine")
    grading.sweep()
    found = tree(place) if place.exists() else "gone"
    shutil.rmtree(place, ignore_errors=True)
    assert found == {"grades.csv": "mine"}


def moved(path, other):
    shutil.move(path, other)
    path.symlink_to(other)


def replaced(lock, make):
    lock.unlink()
    make(lock)


# Each takes one thing away that tells that a folder is of our own killed grader: from its lock file and from itself.
DOUBTS = {
    "no lock file": lambda lock, left, other: lock.unlink(),  # a grader that has just begun, or ended at once
    "an empty lock file": lambda lock, left, other: lock.write_text(""),
    "half of a text": lambda lock, left, other: lock.write_text(lock.read_text()[:20]),
    "the text of another user": lambda lock, left, other: lock.write_text(
        lock.read_text().replace(f"user {os.getuid()}", "user 4711")
    ),
    "the text of another machine": lambda lock, left, other: lock.write_text(
        f"{lock.read_text().split('boot')[0]}boot {uuid.uuid4()}\n"
    ),
    "another text": lambda lock, left, other: lock.write_text("mine"),
    "the lock file is a link": lambda lock, left, other: moved(lock, other),
    "the lock file is a pipe": lambda lock, left, other: replaced(lock, os.mkfifo),
    "the lock file is a folder": lambda lock, left, other: replaced(lock, Path.mkdir),
    "the folder is a link": lambda lock, left, other: moved(left, other),
    "the parent is a link": lambda lock, left, other: moved(left.parent, other),
    "everybody can write to the folder": lambda lock, left, other: left.chmod(0o777),
    "everybody can write to the parent": lambda lock, left, other: left.parent.chmod(0o1777),
}
OTHERS = {
    "the lock file is somebody else's": lambda lock, left, other: os.chown(lock, 4711, 4711),
    "the folder is somebody else's": lambda lock, left, other: os.chown(left, 4711, 4711),
    "the parent is somebody else's": lambda lock, left, other: os.chown(left.parent, 4711, 4711),
}


@pytest.mark.parametrize("doubt", [*DOUBTS, *(pytest.param(doubt, marks=as_root) for doubt in OTHERS)])
def test_where_anything_is_in_doubt_nothing_is_removed(left, temporary, tmp_path, doubt):
    (left / "x" / "notes").write_text("mine")
    (DOUBTS | OTHERS)[doubt](left / "lock", left, tmp_path / "other")
    names = set(temporary.rglob("*")), set(tmp_path.rglob("*"))
    grading.sweep()
    assert (set(temporary.rglob("*")), set(tmp_path.rglob("*"))) == names
    assert (left / "x" / "notes").read_text() == "mine"


def test_links_in_what_is_removed_are_not_followed(left, tmp_path):
    (tmp_path / "notes").write_text("mine")
    (left / "x" / "folder").symlink_to(tmp_path)
    (left / "x" / "file").symlink_to(tmp_path / "notes")
    grading.sweep()
    assert not left.exists()
    assert tree(tmp_path) == {"notes": "mine"}


def test_a_file_beside_the_sandbox_stays(left):
    (left / "notes").write_text("mine")
    grading.sweep()
    assert (left / "notes").read_text() == "mine"


TAKEN = ["a link", "a broken link", "a file", "a folder for everybody"]


@pytest.mark.parametrize("taken", [*TAKEN, pytest.param("somebody else's", marks=as_root)])
@pytest.mark.parametrize("how_many", [1, 20])
def test_where_somebody_has_the_name_of_our_folder_we_take_another(temporary, tmp_path, taken, how_many):
    (tmp_path / "target").mkdir()
    first = temporary / f"course-grading-{os.getuid()}"
    for name in [first, *(Path(f"{first}-{number}") for number in range(2, 1 + how_many))]:
        if "link" in taken:
            name.symlink_to(tmp_path / ("target" if taken == "a link" else "nowhere"))
        elif taken == "a file":
            name.write_text("theirs")
        else:
            name.mkdir()
            (name / "notes").write_text("theirs")
            name.chmod(0o777 if taken == "a folder for everybody" else 0o700)
            if taken == "somebody else's":
                os.chown(name, 4711, 4711)
    before, target = tree(temporary), tree(tmp_path)
    place = Place()
    assert place.folder.resolve().is_relative_to(temporary)
    assert not any(part == first.name for part in place.folder.parts)
    assert place.folder.is_dir()
    place.remove()
    grading.sweep()
    after = tree(temporary)
    assert {name: after.get(name) for name in before} == before
    assert [what for name, what in after.items() if name not in before] in ([], ["a folder"])
    assert tree(tmp_path) == target


@pytest.mark.parametrize(
    "how", ["unboxed", pytest.param("boxed", marks=pytest.mark.skipif(not BOXED, reason="no box"))]
)
def test_nobody_else_can_look_into_our_folder(temporary, how):
    with sandbox.Sandbox(boxed=how == "boxed") as one:
        above = [path for path in one.folder.parents if temporary in path.parents]
        assert len(above) == 2
        assert all(path.stat().st_mode & 0o777 == 0o700 and path.stat().st_uid == os.getuid() for path in above)


@pytest.mark.parametrize("length", [20, 50, 60, 66, 70, 80, 107, 200])
@pytest.mark.parametrize("letter", ["x", "ü"])
def test_the_paths_of_sockets_are_short_enough(monkeypatch, length, letter):
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as base:
        long = Path(base, letter * min(length - len(base), 120))
        long.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        place = Place()
        with socket.socket(socket.AF_UNIX) as probe:  # the system itself says whether a path is too long
            probe.bind(str(place.folder / LONGEST_NAME))
        place.remove()
    size = len(os.fsencode(long))
    assert place.folder.is_relative_to(long if size <= 50 else "/tmp")
    assert size < 80 or not place.folder.is_relative_to(long)


def test_no_socket_has_a_longer_name(temporary):
    with sandbox.Sandbox(boxed=False) as one:
        assert max(len(f"k-{one.info[port]}") for port in sandbox.PORTS) <= len(LONGEST_NAME)


class TestARealGrader:
    def run(self, tmp_path, temporary):
        source = fixtures.write_assignment(tmp_path / "source")
        command = [sys.executable, "-m", "homework.grading", tmp_path / "class", "--assignment", "hw00"]
        command += ["--source", source, "--out", tmp_path / "out"]
        environment = {**os.environ, "SANDBOX": "bwrap" if BOXED else "none", "TMPDIR": str(temporary)}
        return subprocess.Popen([str(part) for part in command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)

    def test_killed_and_started_again_it_leaves_nothing_and_what_is_not_its_own(self, tmp_path, temporary):
        (tmp_path / "class").mkdir()
        (tmp_path / "class" / "a.ipynb").write_text(fixtures.submission(extra=["import time\ntime.sleep(5)"]))
        (temporary / "grading-2027-hw01").mkdir()
        (temporary / "grading-2027-hw01" / "grades.csv").write_text("mine")
        first = self.run(tmp_path, temporary)
        deadline = time.monotonic() + 60
        while not list(temporary.rglob("connection.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        (connection,) = temporary.rglob("connection.json")
        os.kill(first.pid, signal.SIGKILL)
        first.wait(timeout=60)
        assert connection.exists()
        shutil.rmtree(tmp_path / "source")
        (tmp_path / "class" / "a.ipynb").write_text(fixtures.submission())
        assert self.run(tmp_path, temporary).wait(120) == 0
        mine = {"grading-2027-hw01": "a folder", "grading-2027-hw01/grades.csv": "mine"}
        assert {name: what for name, what in tree(temporary).items() if "/x/" in name or "2027" in name} == mine
        assert not connection.exists()

"""A class full of hostile submissions and a few honest ones: nobody gains, no neighbour loses, the machine stays."""

import os
import socket
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import grading_fixtures as fixtures
import hostile
import psutil
import pytest
from hostile import ANSWERS, BOMBS, CHEATS

from homework.grading import bubblewrap, pool
from homework.grading.grade import Task, grade
from homework.grading.limits import MB, Limits

ROOT = Path(__file__).resolve().parents[1]
WHY_NOT = bubblewrap.problem()
pytestmark = [
    pytest.mark.skipif(WHY_NOT is not None, reason=f"THE SANDBOX TESTS DID NOT RUN: {WHY_NOT}"),
    pytest.mark.timeout(900),  # the first one runs all attacks
]

SIZES = {"memory": 700, "file": 16, "disk": 32, "exchange": 4, "output": 8, "reply": 4, "backlog": 300}
LIMITS = Limits(
    **{"cell": 3, "total": 45, "grace": 1, "cpu": 30, "processes": 10, "tasks": 64, "kernels": 6},
    **{name: size * MB for name, size in SIZES.items()},
)
FULL = 6
WHERE = (ROOT, ROOT / "utils", ROOT / "data", Path("/"), Path("/usr"), Path("/var/tmp"))
TRIED = "print('TRIED ALL')"


class Listener:
    """A server of this machine that counts who comes."""

    def __init__(self):
        self.server = socket.create_server(("0.0.0.0", 0))
        self.port = self.server.getsockname()[1]
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0canary-{self.port}")
        self.abstract.listen()
        self.came = 0
        for server in (self.server, self.abstract):
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def _accept(self, server):
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return
            self.came += 1

    def close(self):
        self.server.close()
        self.abstract.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def listener():
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture(scope="module")
def task(root):
    fixtures.write_assignment(root / "source")
    hide = (str(root / "out"), str(root / "source"))
    return Task("hw00", "0", str(root / "source"), "SECRET-OF-THE-GRADER", True, hide, LIMITS)


@pytest.fixture(scope="module")
def tries(root, listener):
    """Submissions that look round; they are right otherwise."""
    folders = [*map(str, (*WHERE, root, ROOT / ".venv", "/root"))]
    places = [str(root / "source"), str(ROOT / "homework"), str(ROOT / "tests"), str(ROOT / ".git"), str(root)]
    return {
        "reads": hostile.READ.replace("PLACES", repr(places)),
        "writes": hostile.WRITE.replace("FOLDERS", repr(folders)),
        "connects": hostile.CONNECT.replace("PORT", str(listener.port)).replace("HOST", socket.gethostname()),
        "connection file": hostile.CONNECTION,
        "fills the disk": hostile.FILL_DISK,
        "escapes": hostile.ESCAPE,
    }


@pytest.fixture(scope="module")
def results(root, task, tries):
    """Everybody at once, two at a time, honest ones in between."""
    texts = {}
    for name, source in CHEATS.items():
        where = "before" if name.startswith(("np", "builtins", "input", "no a", "utils")) else "extra"
        texts[name, where] = fixtures.submission(fixtures.STUBS, **{where: [source]})
    for name, (before, body) in ANSWERS.items():
        texts[name, "answer"] = fixtures.submission({"centre": body}, before=[before] if before else [])
    for name, source in {**BOMBS, **tries}.items():
        texts[name, "cell"] = fixtures.submission(extra=[source])
    names = []
    for number, name in enumerate(texts):
        names.append(name)
        if number % 10 == 5:
            names.append((f"honest {number}", "honest"))
            texts = {**texts, names[-1]: fixtures.submission(extra=[str(number)])}
    jobs = [texts[name].encode for name in names]
    return {names[number]: result for number, result in pool.run_here(task, jobs, workers=2)}


def of(results, name):
    return next(result for (known, _), result in results.items() if known == name)


def points(result):
    assert "failed" not in result, result
    return {check["id"]: check["points"] for check in result["checks"]}


def printed(result):
    text = "".join(cell["output"] for cell in result["cells"])
    assert "TRIED ALL" in text, result["cells"]
    return text


@pytest.mark.parametrize("name", CHEATS)
def test_who_cheats_gains_nothing(results, name):
    assert sum(points(of(results, name)).values()) == 0


def test_some_of_them_fool_the_tests_in_the_notebook(results):
    # Otherwise the test above would prove less than it seems to.
    assert [test["status"] for test in of(results, "input transformer")["tests"]] == ["ok"]


@pytest.mark.parametrize("name", ANSWERS)
def test_an_evil_answer_costs_its_check_and_no_other(results, name):
    result = of(results, name)
    assert points(result) == {"centre": 0, "standardize": 3, "facts": 1}
    assert result["checks"][0]["said"] not in ("", "right")


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_harms_at_most_itself(results, name):
    assert sum(points(of(results, name)).values()) <= FULL


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a message without end", "sent a message without end"),
        ("endless loop", "took more than 3 seconds"),
        ("swallows interrupts", "took more than 3 seconds"),
        ("ignores the signal", "took more than 3 seconds"),
        ("os._exit", "the kernel ended"),
        ("memory bomb", "700 MB of memory"),
        ("memory bomb in children", "700 MB of memory"),
        ("fork bomb", "more than 10 processes"),
        ("prints 100 MB", " MB"),
        ("displays 100 MB", "printed or sent more than 8 MB"),
    ],
)
def test_the_reason_can_be_read_and_the_rest_still_counts(results, name, reason):
    result = of(results, name)
    assert reason in result["reason"], result["cells"]
    assert sum(points(result).values()) == FULL


def test_the_honest_ones_have_full_marks(results):
    honest = [result for (_, kind), result in results.items() if kind == "honest"]
    assert len(honest) >= 5
    assert all(sum(points(result).values()) == FULL and not result["reason"] for result in honest)


def test_who_takes_all_processors_takes_no_time_of_a_neighbour(task):
    # Eight busy processes beside a check that needs half of its 3 seconds of processor time.
    hog = "import os\nfor _ in range(8):\n    if os.fork() == 0:\n        while True: pass\nwhile True: pass"
    body = "import time\n    while len(X) == 5 and time.process_time() < 2.5: pass\n    return X - X.mean(axis=0)"
    texts = [fixtures.submission(extra=[hog]), fixtures.submission({"centre": body})]
    task = replace(task, limits=replace(LIMITS, cell=2))
    done = dict(pool.run_here(task, [text.encode for text in texts], workers=2))
    assert sum(points(done[1]).values()) == FULL


def test_no_solution_and_no_neighbour_can_be_seen(results):
    text = printed(of(results, "reads"))
    assert "FOUND" not in text
    assert "SEES []" in text
    assert int(text.split("PROCESSES")[1].split()[0]) <= 3


@pytest.mark.parametrize("place", ["data", ".venv", "utils"])
def test_what_lies_in_a_folder_that_is_shown_is_hidden_too(task, place):
    folder = ROOT / place
    if not os.access(folder, os.W_OK):
        pytest.skip(f"there is no {folder} to write to")
    with tempfile.TemporaryDirectory(dir=folder, prefix="class-") as name:
        Path(name).chmod(0o755)
        (Path(name) / "neighbour.ipynb").write_text("{}")
        text = fixtures.submission(extra=[f"import os\nprint(sorted(os.listdir({name!r})))\n{TRIED}"])
        hidden = replace(task, hide=(*task.hide, name, f"{name}/neighbour.ipynb"))
        assert "neighbour" in printed(grade(task, text.encode()))
        assert "neighbour" not in printed(grade(hidden, text.encode()))


def test_that_search_finds_them_where_there_is_no_sandbox(task, tries, root):
    source = tries["reads"].replace(f"{str(root)!r}] + [", f"{str(root)!r}] or [").split("for pid in")[0] + TRIED
    text = fixtures.submission(extra=[f"import os\nos.chdir({str(root / 'source')!r})", source])
    limits = replace(LIMITS, cell=30)
    result = grade(replace(task, boxed=False, limits=limits), text.encode())
    assert "FOUND" in printed(result)


def test_nothing_is_written_outside(results, root):
    text = printed(of(results, "writes"))
    wrote = {line.split()[1] for line in text.splitlines() if line.startswith("WROTE")}
    assert {path for path in wrote if "/tmp" not in path} == set()
    places = (*WHERE, root, Path.cwd(), Path.home())
    assert [place for place in places if (place / "CANARY").exists()] == []


def test_no_socket_reaches_anybody(results, listener):
    assert "CONNECTED" not in printed(of(results, "connects"))
    assert listener.came == 0
    with socket.create_connection(("127.0.0.1", listener.port)):
        time.sleep(0.2)
    assert listener.came == 1  # it does count


def test_messing_with_the_connection_file_gains_nothing(results):
    result = of(results, "connection file")
    assert sum(points(result).values()) <= FULL
    assert "connection.json" not in printed(result)


def test_the_disk_stays_as_it_was(results):
    result = of(results, "fills the disk")
    if "sockets belong" in result["reason"]:  # the exchange folder, where the kernel has no user of its own
        return
    filled = printed(result).split("FILLED [")[1].split("]")[0].split(", ")
    tmp, shm, *others = [int(count) for count in filled]
    assert tmp <= 33
    assert shm <= 33
    assert sum(others) == 0


def test_no_way_out_works(results):
    assert "WORKED" not in printed(of(results, "escapes"))


def test_nothing_is_left(results, root):
    time.sleep(0.5)
    marks = ("sleep 4711", str(root), f'"RLIMIT_CPU": {LIMITS.cpu},')  # other tests may be grading at the same time
    commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert [words for words in commands if any(mark in words for mark in marks)] == []


def test_code_that_one_check_hands_out_is_no_answer_to_another(tmp_path):
    fixtures.write_assignment(tmp_path)
    with (tmp_path / "hw00" / "hidden.py").open("a") as file:
        file.write(fixtures.HANDS_OUT_CODE)
    tells = "return bool(abs(norm(np.ones((2, 1)))).sum() > 0)"
    solution = fixtures.cell(f"def catches(norm):\n    {tells}", "catches", solution=True)
    source = fixtures.source_notebook()
    source.cells.insert(-1, solution)
    (tmp_path / "hw00" / "hw00.ipynb").write_text(fixtures.writes(source))
    task = Task("hw00", "0", str(tmp_path), "s", True, (), LIMITS)
    honest = fixtures.notebook(fixtures.SOLUTIONS)
    honest.cells.append(solution)
    stolen = fixtures.notebook({**fixtures.STUBS, "centre": "return kept[0](X)"})
    thief = f"kept = []\ndef catches(norm):\n    kept.append(norm)\n    {tells}"
    stolen.cells.append(fixtures.cell(thief, "catches", solution=True))
    found = [points(grade(task, fixtures.writes(notebook).encode())) for notebook in (honest, stolen)]
    assert found[0] == {"catches": 4, "centre": 2, "standardize": 3, "facts": 1}
    assert found[1] == {"catches": 4, "centre": 0, "standardize": 0, "facts": 0}

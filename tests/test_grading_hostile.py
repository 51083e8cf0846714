"""A class full of hostile submissions and a few honest ones: nobody gains, no neighbour loses, the machine stays."""

import os
import socket
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import grading_fixtures as fixtures
import psutil
import pytest

from homework.grading import bubblewrap, pool
from homework.grading.grade import Task, grade
from homework.grading.limits import MB, Limits

ROOT = Path(__file__).resolve().parents[1]
WHY_NOT = bubblewrap.problem()
pytestmark = [
    pytest.mark.skipif(WHY_NOT is not None, reason=f"THE SANDBOX TESTS DID NOT RUN: {WHY_NOT}"),
    pytest.mark.timeout(900),  # the first one runs all attacks
]

LIMITS = Limits(
    cell=3,
    total=45,
    grace=1,
    cpu=30,
    memory=700 * MB,
    processes=10,
    tasks=64,
    file=16 * MB,
    disk=32 * MB,
    exchange=4 * MB,
    output=8 * MB,
    reply=4 * MB,
    kernels=6,
    backlog=300 * MB,
)
FULL = 6

# What pretends to be solved, with nothing solved, must get nothing.
LIE = """
kernel = get_ipython().kernel
send = kernel.session.send
def lie(stream, kind, content=None, *args, **more):
    if kind == "execute_reply":
        content = {content}
    return send(stream, kind, content, *args, **more)
kernel.session.send = lie
"""
ANSWER = '{{"status": "ok", "user_expressions": {{"answer": {{"status": "ok", "data": {{"text/plain": {text}}}}}}}}}'
PACKED = "\"'V\" + __import__('base64').b64encode({json}.encode()).decode() + \"'\""


def lie(json):
    return LIE.format(content=ANSWER.format(text=PACKED.format(json=json)))


CHEATS = {
    "input transformer": "get_ipython().input_transformers_post.append(lambda lines: [])",
    "no asserts": "import ast\nclass Drop(ast.NodeTransformer):\n    def visit_Assert(self, node): return ast.Pass()\n"
    "get_ipython().ast_transformers.append(Drop())",
    "np.testing": "import numpy as np\nnp.testing.assert_allclose = np.testing.assert_equal = lambda *a, **k: None",
    "np.allclose": "import numpy as np\nnp.allclose = np.array_equal = np.isclose = np.all = lambda *a, **k: True\n"
    "np.max = np.abs = np.isfinite = lambda *a, **k: 0.0",
    "builtins": "import builtins\nbuiltins.all = builtins.any = builtins.isinstance = lambda *a: True\n"
    "builtins.abs = builtins.max = builtins.len = lambda *a, **k: 0",
    "utils.homework": "import sys, types, utils.homework\nfake = types.ModuleType('utils.homework.checks')\n"
    "fake.__getattr__ = lambda name: (lambda *a, **k: True)\n"
    "sys.modules['utils.homework.checks'] = utils.homework.checks = fake",
    "forged score": 'score = points = grade = total = 6\nprint(\'{"points": 6, "said": "right"}\')\n'
    "from IPython.display import publish_display_data\n"
    "publish_display_data({'application/json': {'checks': [{'id': 'centre', 'points': 6, 'said': 'right'}]}})",
    "forged answer": "__answer__ = 'V' + 'bnVsbA=='\n__grading__ = True",
    "lie: empty reply": LIE.format(content="{}"),
    "lie: status only": LIE.format(content='{"status": "ok"}'),
    "lie: wrong types": LIE.format(content='{"status": ["ok"], "user_expressions": 7, "ename": {}, "evalue": [[]]}'),
    "lie: right": lie("'\"right\"'"),
    "lie: true": lie("'true'"),
    "lie: a list": lie("'[1, 2]'"),
    "lie: deep": lie("('{\"l\":[' * 3000 + ']}' * 3000)"),
    "lie: enormous shape": lie('\'{"a": ["<f8", [1000000000, 1000000000], ""]}\''),
    "lie: object array": lie('\'{"a": ["O", [1], "AAAAAAAAAAA="]}\''),
    "lie: code": lie('\'{"code": ["open(\\"CANARY\\", \\"w\\")\\\\nx = 1", "x"]}\''),
    "lie: long number": lie("('9' * 100000)"),
    "lie: nan": lie('\'{"a": ["<f8", [], "AAAAAAAA+H8="]}\''),
    "nothing sent": "get_ipython().kernel.session.send = lambda *a, **k: None",
    "replays": "k = get_ipython().kernel\nold = k.session.send\n"
    "def twice(*a, **m):\n    for _ in range(50): r = old(*a, **m)\n    return r\nk.session.send = twice",
}

EVIL = """
import numpy as np
class Evil:
    def __eq__(self, other): return True
    def __array__(self, *args, **more): raise SystemExit
    def __reduce__(self): return (open, ("CANARY", "w"))
    def __float__(self): return 0.0
    def __repr__(self): return "'VbnVsbA=='"
"""
SUBCLASS = """
import numpy as np
class Same(np.ndarray):
    def __eq__(self, other): return np.True_
    def __sub__(self, other): return np.zeros(1)
    __rsub__ = __sub__
    def __array_ufunc__(self, *args, **more): return np.True_
    def astype(self, *args, **more): return self
    shape = property(lambda self: (5, 3))
"""
# What an answer to centre() may be; the rest of the notebook is right, so that just centre's 2 points are lost.
ANSWERS = {
    "evil object": (EVIL, "return Evil()"),
    "array of evil objects": (EVIL, "return np.array([Evil()], dtype=object)"),
    "subclass": (SUBCLASS, "return np.zeros((1, 1)).view(Same)"),
    "str subclass": (
        "class S(str):\n    def __eq__(self, o): return True\n    __hash__ = str.__hash__",
        "return S('x')",
    ),
    "own list": ("own = []\nown.append(own)", "return own"),
    "a generator": ("", "yield X"),
    "a NaN": ("", "return X * np.nan"),
    "16 MB": ("", "return np.zeros(2_000_000)"),
    "8 GB": ("", "return np.ones(10**9)"),
    "endless": ("", "while True: pass"),
    "endless, swallows": (
        "",
        "while True:\n        try:\n            while True: pass\n        except BaseException: pass",
    ),
    "exits": ("", "import os; os._exit(0)"),
    "raises an evil error": (
        "class E(Exception):\n    def __str__(self): raise SystemExit",
        "raise E",
    ),
    "raises NotImplementedError": ("", "raise NotImplementedError('<script>alert(1)</script>')"),
    "raises KeyboardInterrupt": ("", "raise KeyboardInterrupt"),
    "raises SystemExit": ("", "raise SystemExit"),
    "stops itself": ("", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"),
}

ENDLESS_MESSAGE = """
kernel = get_ipython().kernel
send = kernel.session.send
big = b"x" * (3 * 2**20)
def flood(stream, kind, content=None, *args, **more):
    if kind == "execute_reply":
        ident = more.get("ident") or args[1]
        frames = [*(ident if isinstance(ident, list) else [ident]), *[big] * 2000]
        getattr(stream, "socket", stream).send_multipart(frames, copy=False)
    return send(stream, kind, content, *args, **more)
kernel.session.send = flood
"""
BOMBS = {
    "a message without end": ENDLESS_MESSAGE,
    "endless loop": "while True: pass",
    "swallows interrupts": "while True:\n    try:\n        while True: pass\n    except KeyboardInterrupt: pass",
    "ignores the signal": "import time, signal as s\ns.signal(s.SIGINT, s.SIG_IGN)\nwhile True: time.sleep(1)",
    "os._exit": "import os; os._exit(0)",
    "kills everything": "import os\nos.kill(-1, 9)",
    "segfault": "import ctypes; ctypes.string_at(0)",
    "memory bomb": "hog = []\nwhile True: hog.append(b'x' * 2**24)",
    "memory bomb in children": "import os\nfor _ in range(5):\n    if os.fork() == 0:\n        hog = []\n"
    "        while True: hog.append(b'x' * 2**23)\nimport time\nwhile True: time.sleep(1)",
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "threads": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()",
    "prints 100 MB": "import time\nfor _ in range(100): print('x' * 2**20, flush=True)\ntime.sleep(2)",
    "displays 100 MB": "import time\nfrom IPython.display import display\n"
    "for _ in range(100): display({'a': 'x' * 2**20}, raw=True)\ntime.sleep(2)",
    "prints 100 MB at once": "print('x' * 100 * 2**20)",
    "writes 100 MB to fd 1 and 2": "import os\nfor i in range(200): os.write(1 + i % 2, b'x' * 2**20)",
    "prints for ever in a thread": "import threading\n"
    "def run():\n    while True: print('x' * 1000)\nthreading.Thread(target=run, daemon=True).start()",
    "waits for input": "input('Your password? ')",
    "leaves a child": "import subprocess\nsubprocess.Popen(['sleep', '4711'], start_new_session=True)",
}

TRIED = "print('TRIED ALL')"
FILL_DISK = (
    """
def fill(folder):
    n = 0
    try:
        while n < 500:
            with open(f"{folder}/fill{n}", "wb") as file:
                file.write(b"x" * 2**20)
            n += 1
    except OSError: pass
    return n
print("FILLED", [fill(folder) for folder in ("/tmp", "/dev/shm", "/dev", "/run/exchange", "/run", "/", "/var/tmp")])
"""
    + TRIED
)
CONNECTION = (
    """
import os, glob
for act in (os.remove, lambda p: open(p, "w").write("{}"), lambda p: os.rename(p, p + "x"), lambda p: os.chmod(p, 0)):
    for path in glob.glob("/run/exchange/*"):
        try:
            act(path)
            print("DID", path)
        except OSError: pass
"""
    + TRIED
)
WRITE = (
    """
import os
for folder in FOLDERS:
    for path in (f"{folder}/CANARY", f"/proc/1/root{folder}/CANARY", f"/proc/1/cwd/../../..{folder}/CANARY"):
        try:
            open(path, "w").close()
            print("WROTE", path)
        except OSError: pass
"""
    + TRIED
)
CONNECT = (
    """
import socket
for address in (("127.0.0.1", PORT), ("HOST", PORT), ("8.8.8.8", 53)):
    try:
        socket.create_connection(address, timeout=0.5).send(b"here")
        print("CONNECTED", address)
    except OSError: pass
for path in ("\\0canary-PORT", "/run/dbus/system_bus_socket", "/var/run/docker.sock"):
    try:
        s = socket.socket(socket.AF_UNIX); s.connect(path)
        print("CONNECTED", path)
    except OSError: pass
try:
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); print("CONNECTED raw")
except OSError: pass
"""
    + TRIED
)
READ = (
    """
import glob, os
MARKS = [b"SOLUTION" + b"-MARK-4711", b"SECRET" + b"-OF-THE-GRADER"]
def look(path):
    try:
        with open(path, "rb") as file:
            data = file.read(2**20)
        if any(mark in data for mark in MARKS): print("FOUND", path)
    except (OSError, ValueError): pass
places = PLACES + [os.path.expanduser("~"), "/root", "/home", "/tmp", "/run", "/etc", "/var",
                   "/proc/1/root" + PLACES[0], "/proc/self/cwd", "/dev/shm", os.getcwd()]
for place in places:
    for folder, folders, files in os.walk(place):
        folders[:] = [f for f in folders if f not in (".venv", "versions", "site-packages", "data", ".git")][:200]
        for name in files[:2000]:
            look(os.path.join(folder, name))
for pid in os.listdir("/proc"):
    if pid.isdigit():
        for name in ("environ", "cmdline", "mountinfo", "maps"):
            look(f"/proc/{pid}/{name}")
        for fd in glob.glob(f"/proc/{pid}/fd/*"):
            try: target = os.readlink(fd)
            except OSError: continue
            if os.path.isfile(target): look(fd)
if any(mark in repr(os.environ).encode() for mark in MARKS): print("FOUND environment")
for fd in range(3, 200):
    try:
        data = os.pread(fd, 2**20, 0)
        if any(mark in data for mark in MARKS): print("FOUND fd", fd)
    except OSError: pass
print("SEES", [p for p in PLACES if os.path.exists(p)])
print("PROCESSES", sum(p.isdigit() for p in os.listdir("/proc")))
"""
    + TRIED
)
ESCAPE = (
    """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for name, call in {
    "setuid": lambda: libc.setuid(0),
    "mount": lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
    "chroot": lambda: libc.chroot(b"/tmp"),
    "remount": lambda: libc.mount(None, b"/", None, 32, None),
    "mknod": lambda: libc.mknod(b"/tmp/disk", 0o60666, 0xFE00),
    "sethostname": lambda: libc.sethostname(b"x", 1),
    "limits": lambda: __import__("resource").setrlimit(__import__("resource").RLIMIT_FSIZE, (2**40, 2**40)) or 0,
}.items():
    try: worked = call() == 0
    except (OSError, ValueError): worked = False
    print("WORKED" if worked else "refused", name)
"""
    + TRIED
)


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
    folders = [
        str(p) for p in (ROOT, ROOT / "utils", ROOT / "data", root, ROOT / ".venv", "/", "/usr", "/root", "/var/tmp")
    ]
    places = [str(root / "source"), str(ROOT / "homework"), str(ROOT / "tests"), str(ROOT / ".git"), str(root)]
    connect = CONNECT.replace("PORT", str(listener.port)).replace("HOST", socket.gethostname())
    return {
        "reads": READ.replace("PLACES", repr(places)),
        "writes": WRITE.replace("FOLDERS", repr(folders)),
        "connects": connect,
        "connection file": CONNECTION,
        "fills the disk": FILL_DISK,
        "escapes": ESCAPE,
    }


@pytest.fixture(scope="module")
def results(root, task, tries):
    """Everybody at once, two at a time, honest ones in between."""
    texts = {}
    for name, source in CHEATS.items():
        for where in ("before", "extra"):
            texts[name, where] = fixtures.submission(fixtures.STUBS, **{where: [source]})
        texts.pop((name, "extra" if name.startswith(("np", "builtins", "input", "no a", "utils")) else "before"))
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
    began = time.monotonic()
    done = {names[number]: result for number, result in pool.run_here(task, jobs, workers=2)}
    print(f"{len(done)} in {time.monotonic() - began:.0f} s", {n[0]: r.get("seconds") for n, r in done.items()})
    return done


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


@pytest.mark.parametrize("name", ["input transformer"])
def test_some_of_them_fool_the_tests_in_the_notebook(results, name):
    # Otherwise the test above would prove less than it seems to.
    assert [test["status"] for test in of(results, name)["tests"]] == ["ok"]


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
    source = (
        tries["reads"]
        .replace("places = PLACES +", "places =")
        .replace(repr(str(root)) + "] + [", repr(str(root)) + "] or [")
    )
    text = fixtures.submission(
        extra=[f"import os\nos.chdir({str(root / 'source')!r})", source[: source.index("for pid in")] + TRIED]
    )
    limits = replace(LIMITS, cell=30)
    result = grade(replace(task, boxed=False, limits=limits), text.encode())
    assert "FOUND" in printed(result)


def test_nothing_is_written_outside(results, root):
    text = printed(of(results, "writes"))
    wrote = {line.split()[1] for line in text.splitlines() if line.startswith("WROTE")}
    assert {path for path in wrote if "/tmp" not in path} == set()
    places = (
        ROOT,
        ROOT / "utils",
        ROOT / "data",
        root,
        Path("/"),
        Path("/usr"),
        Path("/var/tmp"),
        Path.cwd(),
        Path.home(),
    )
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
    left = []
    marks = ("sleep 4711", str(root), f'"RLIMIT_CPU": {LIMITS.cpu},')  # other tests may be grading at the same time
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if any(mark in words for mark in marks):
            left.append(words)
    assert left == []


def test_code_that_one_check_hands_out_is_no_answer_to_another(tmp_path):
    fixtures.write_assignment(tmp_path)
    with (tmp_path / "hw00" / "hidden.py").open("a") as file:
        file.write(fixtures.HANDS_OUT_CODE)
    path = tmp_path / "hw00" / "hw00.ipynb"
    solution = fixtures.cell(
        "def catches(norm):\n    return bool(abs(norm(np.ones((2, 1)))).sum() > 0)", "catches", solution=True
    )
    source = fixtures.source_notebook()
    source.cells.insert(-1, solution)
    path.write_text(fixtures.writes(source))
    task = Task("hw00", "0", str(tmp_path), "s", True, (), LIMITS)
    thief = (
        "kept = []\ndef catches(norm):\n    kept.append(norm)\n    return bool(abs(norm(np.ones((2, 1)))).sum() > 0)"
    )
    honest = fixtures.notebook(fixtures.SOLUTIONS)
    honest.cells.append(solution)
    stolen = fixtures.notebook({**fixtures.STUBS, "centre": "return kept[0](X)"})
    stolen.cells.append(fixtures.cell(thief, "catches", solution=True))
    found = [points(grade(task, fixtures.writes(notebook).encode())) for notebook in (honest, stolen)]
    assert found[0] == {"catches": 4, "centre": 2, "standardize": 3, "facts": 1}
    assert found[1] == {"catches": 4, "centre": 0, "standardize": 0, "facts": 0}

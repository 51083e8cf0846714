"""The sandbox as a command line: what bubblewrap shows to a kernel, and whether it can be used here."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = Path(__file__).with_name("start.py")
EXCHANGE = "/run/exchange"  # where the kernel sees the folder of the connection file
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store")
SETTINGS = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/localtime",
)
APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
HOW_TO_INSTALL = (
    "Install it (Debian and Ubuntu: sudo apt-get install bubblewrap; Fedora: sudo dnf install bubblewrap), or grade "
    "where it is. To run the submissions with your own rights instead, able to read and change whatever you can, "
    "solutions and grades included, set SANDBOX=none."
)


class SandboxError(RuntimeError):
    """There is no sandbox to be had here; the message says what to do."""


def problem():
    """Say why bubblewrap cannot be used here; None if it can."""
    if not sys.platform.startswith("linux"):
        return f"the sandbox needs Linux, this is {sys.platform}"
    if shutil.which("bwrap") is None:
        return "the sandbox needs bubblewrap, and there is no command bwrap"
    arguments = ["bwrap", *_namespaces(), "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]
    tried = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
    if tried.returncode:
        said = " ".join(tried.stderr.split())[:200]
        hint = "; on Ubuntu, sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 permits it"
        return f"bubblewrap is installed, but cannot be used here ({said}{hint if APPARMOR.exists() else ''})"
    return None


def choose(wish):
    """Decide by the wish, "bwrap", "user" or "none", whether submissions run in a sandbox; SandboxError if not so."""
    if wish == "user" and os.getuid() != 0:
        raise SandboxError("SANDBOX=user: expected to be root, who may run a submission as another user")
    if wish in ("none", "user"):
        return False
    if wish != "bwrap":
        raise SandboxError(f"SANDBOX: expected bwrap, user or none, got {wish!r}")
    if why := problem():
        raise SandboxError(f"{why[0].upper()}{why[1:]}. {HOW_TO_INSTALL}")
    return True


def _namespaces():
    flags = ["--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    flags += ["--die-with-parent", "--new-session", "--hostname", "sandbox"]
    if os.getuid() == 0:
        # Root need not have a user namespace; the kernel gets a user id of its own in start.py.
        return [*flags, "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*flags, "--unshare-user", *(["--disable-userns"] if _can_disable_userns() else []), "--cap-drop", "ALL"]


@functools.cache
def _can_disable_userns():
    """Whether this version can forbid further namespaces inside, which keeps more of the system out of reach."""
    arguments = ["bwrap", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    return subprocess.run(arguments, capture_output=True, timeout=30).returncode == 0


def _parents(path):
    return [str(parent) for parent in reversed(Path(path).parents)][1:]


def command(exchange, *, limits, hide=()):
    """The part of the kernel's command line that makes the sandbox; `hide` must not be seen, even inside what can."""
    system = [Path(path) for path in SYSTEM if os.path.isdir(path) and not os.path.islink(path)]
    ours = _environment_and_course(system)
    hidden = {ROOT, *(Path(path).resolve() for path in hide)}
    linked = {
        place / path.relative_to(real) for place, real in _links(ours) for path in hidden if _within(path, [real])
    }
    secrets = sorted(hidden | linked)
    arguments = ["bwrap", *_namespaces(), "--clearenv"]
    arguments += [part for path in SYSTEM if os.path.islink(path) for part in ("--symlink", os.readlink(path), path)]
    for path in (*system, *(Path(path) for path in SETTINGS if os.path.exists(path))):
        arguments += ["--ro-bind", str(path), str(path)]
    arguments += _masks(secrets, inside=system)
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for folder in ("/tmp", "/dev/shm"):  # before the environment of Python, which may lie below /tmp
        arguments += ["--perms", "1777", "--size", str(limits.disk), "--tmpfs", folder]
    made = {"/tmp"}
    for path in ours:
        new = [parent for parent in _parents(path) if parent not in made and not _within(Path(parent), system)]
        arguments += [part for parent in new for part in ("--perms", "0755", "--dir", parent)]
        arguments += ["--ro-bind", str(path.resolve()), str(path)]
        made.update(new)
    arguments += _masks(secrets, inside=ours)
    for folder in ("/run", EXCHANGE, "/run/grading", "/run/grading/fonts"):
        arguments += ["--perms", "0755", "--dir", folder]
    arguments += ["--bind", str(exchange), EXCHANGE, "--ro-bind", str(START), "/run/grading/start.py"]
    arguments += ["--ro-bind", str(exchange / "connection.json"), f"{EXCHANGE}/connection.json"]
    for path in _font_lists():
        arguments += ["--ro-bind", str(path), f"/run/grading/fonts/{path.name}"]
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
    arguments += [part for pair in environment("/tmp").items() for part in ("--setenv", *pair)]
    return [*arguments, "--"]


def _font_lists():
    """What Matplotlib found out about fonts, if it ever ran here; without it every kernel looks for them anew."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matplotlib"
    return sorted(Path(os.environ.get("MPLCONFIGDIR") or cache).glob("fontlist-*.json"))


def _within(path, folders):
    return any(folder == path or folder in path.parents for folder in folders)


def _environment_and_course(system):
    """What has to be visible in addition to the system: Python's environment, and the students' part of the course."""
    prefixes = {Path(sys.prefix), Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    for prefix in prefixes:
        if _within(ROOT, [prefix]) and not _within(prefix, system):
            raise SandboxError(
                f"Expected Python's environment beside the course or in a folder inside it, got {prefix}, which "
                f"contains {ROOT}; make another environment (make env VENV=/elsewhere/.venv)"
            )
    course = {folder for folder in (ROOT / "utils", ROOT / "data") if folder.is_dir()}
    return sorted(course | {path for path in prefixes if _within(path, [ROOT]) or not _within(path, system)})


def _links(places):
    """The places that are links, such as an environment that several checkouts share, with what they lead to."""
    return [(place, place.resolve()) for place in places if place.resolve() != place]


def _masks(secrets, *, inside):
    """Cover what lies inside of folders that are shown with nothing."""
    covered = []
    for path in secrets:  # a folder comes before what is in it
        if path.exists() and _within(path, inside) and not _within(path, covered):
            covered.append(path)
    folder = ["--perms", "0755", "--size", "65536", "--tmpfs"]
    return [
        part for path in covered for part in (*(folder if path.is_dir() else ["--ro-bind", "/dev/null"]), str(path))
    ]


def environment(home):
    """The variables of the kernel, and no others."""
    quiet = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **quiet,
        "HOME": home,
        "LANG": "C.UTF-8",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MPLCONFIGDIR": f"{home}/.matplotlib",
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": home,
        "TQDM_DISABLE": "1",  # nobody watches
        "USER": "student",
    }

"""Make the environment of the course: a virtual environment with the locked packages.

Called by the Makefile; on Windows call it by hand (README). It may be interrupted at any time:
the environment counts as finished only when its stamp is written, as the very last step.

One environment serves every checkout that asks for the same packages: the stamp knows no folder, and
when Python starts in a checkout, or below it, it finds that checkout's own helpers (STARTUP).

Old versions of Python, down to 2.7, must be able to read the file, because it says that such a version
will not do. That is why it has no f-strings and no annotations.
"""

from __future__ import print_function

import argparse
import contextlib
import errno
import glob
import hashlib
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
import time

OLDEST = (3, 11)
THIS_PYTHON = "%d.%d" % tuple(sys.version_info[:2])
NEEDED_BYTES = 3 * 1024**3  # the environment takes about 1.6 GB, pip unpacks beside it
EXTRA_BYTES = 1024**3  # what an extra adds to an environment that is there
LOCK = "course-setup.lock"  # in every environment that is begun here
OUTPUT = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "universal_newlines": True}
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXTRAS = ("lessons", "lab", "run", "grading", "test")  # what every environment has

# A module of the environment that its Python imports when it starts, because a .pth file says so.
STARTUP_NAME = "_normalization_course"
with open(os.path.join(ROOT, "tools", "startup.py")) as startup:
    STARTUP = startup.read()

# What pip says (a pattern) -> the one sentence that helps. The first that fits is printed.
REASONS = (
    (
        "No space left on device|Errno 28|not enough space on the disk|Disk quota exceeded",
        "The disk filled up while packages were being installed: free about 3 GB (or put the "
        "environment on another disk with VENV=/path/to/.venv) and run the same command again.",
    ),
    (
        "NewConnectionError|Temporary failure in name resolution|Name or service not known|nodename nor servname|"
        "getaddrinfo failed|Network is unreachable|ProxyError|ConnectTimeoutError|ReadTimeoutError|Connection refused|"
        "Connection reset|No route to host",
        "The package index could not be reached: connect to the network (or set the proxy that pip "
        "needs) and run the same command again; after this one install the course works offline.",
    ),
    (
        "No matching distribution found|ResolutionImpossible|Requires-Python",
        "A package of requirements.txt has no build for this Python or this system: try Python 3.12, "
        "for example with make course PYTHON=python3.12.",
    ),
    (
        "Permission denied|Errno 13|Read-only file system",
        "The environment could not be written: put it where you may write, for example "
        "make course VENV=$HOME/course-venv BUILD=$HOME/course-build.",
    ),
)


def stop(sentence):
    """End with one clear sentence."""
    sys.exit("setup: " + sentence)


def check_python():
    """Refuse a Python that is too old, or that has no venv module."""
    if sys.version_info < OLDEST:
        stop(
            "This course needs Python %d.%d or newer, and %s is Python %d.%d: install a newer one and name it, "
            "for example make course PYTHON=python3.12."
            % (OLDEST + (sys.executable or "this",) + tuple(sys.version_info[:2]))
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        stop(
            "This Python cannot make virtual environments (%s): install its venv module, on Debian or Ubuntu with "
            "'sudo apt install python%d.%d-venv'." % ((error,) + tuple(sys.version_info[:2]))
        )


def check_disk(folder, needed=NEEDED_BYTES):
    """Refuse to begin when the disk is too full to end."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free
    if free < needed:
        stop(
            "The environment needs about %.0f GB and %s has %.1f GB free: free some space, or put the environment on "
            "another disk with VENV=/path/to/.venv." % (needed / 1e9, folder, free / 1e9)
        )


def reason(log):
    """The sentence for what went wrong in pip's output."""
    for signs, sentence in REASONS:
        if re.search(signs, log):
            return sentence
    last = [line.strip() for line in log.splitlines() if line.strip()]
    return "Installing the packages failed: %s" % (last[-1] if last else "pip said nothing")


def fingerprint(root=ROOT):
    """What the environment depends on: the two files, and what it does when Python starts; no folder."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "requirements.txt"):
        with open(os.path.join(root, name), "rb") as file:
            digest.update(file.read())
    digest.update(STARTUP.encode("utf-8"))
    return digest.hexdigest()


def read(path):
    """The text of a file; nothing where there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def python_of(venv):
    """The interpreter inside a virtual environment."""
    return os.path.join(venv, "Scripts", "python.exe") if os.name == "nt" else os.path.join(venv, "bin", "python")


def version_of(venv):
    """The version of Python, such as 3.12, for which an environment was made; None where it does not say."""
    found = re.search(r"^version(_info)? *= *(\d+\.\d+)", read(os.path.join(venv, "pyvenv.cfg")), re.MULTILINE)
    return found.group(2) if found else None


def has_python(venv):
    """Whether the Python of an environment is still there, and is of the version that has its packages."""
    python = python_of(venv)
    found = re.match(r"python(\d+\.\d+)", os.path.basename(os.path.realpath(python)))
    return os.path.exists(python) and (not found or version_of(venv) in (None, found.group(1)))


def site_packages(venv):
    """The folder of the packages of an environment that this Python made."""
    return sysconfig.get_path("purelib", "venv", {"base": venv, "installed_base": venv})


def write(path, text):
    """Write a whole file or nothing."""
    with open(path + ".part", "w") as file:
        file.write(text)
    os.replace(path + ".part", path)


def add_startup(venv):
    """Make the environment's Python look for the checkout in which it starts."""
    place = os.path.join(site_packages(venv), STARTUP_NAME)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    write(place + ".py", STARTUP)
    py_compile.compile(place + ".py")  # now: whoever starts Python later may not be allowed to write there
    write(place + ".pth", "import %s\n" % STARTUP_NAME)


@contextlib.contextmanager
def alone(venv):
    """Hold the lock of an environment, which the system takes back when this process ends, however it ends."""
    os.makedirs(venv, exist_ok=True)
    with open(os.path.join(venv, LOCK), "a") as file:
        if not took(file):
            print("Another process is setting up %s: waiting until it is done ..." % venv, flush=True)
            while not took(file):
                time.sleep(0.2)
        yield


def took(file):
    """Try to lock a file; where the system has no locks that succeeds, too."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def known_extras(root=ROOT):
    """The names of the extras in pyproject.toml."""
    import tomllib

    with open(os.path.join(root, "pyproject.toml"), "rb") as file:
        return sorted(tomllib.load(file)["project"]["optional-dependencies"])


def stamp_of(venv, extra=""):
    """The file that says that the environment, or one extra in it, is finished."""
    return os.path.join(venv, "course-installed%s.txt" % (extra and "-" + extra))


def is_ours(venv):
    """Whether a folder is missing, empty or an environment of the course, and not something of a person."""
    if not os.path.isdir(venv) or not os.listdir(venv):
        return True
    ours = [os.path.join(venv, LOCK)] + glob.glob(os.path.join(glob.escape(venv), "course-installed*"))
    return any(map(os.path.isfile, ours))


def is_finished(venv, extras=(), this_python=False):
    """Whether an environment and some extras are there, with the packages of the present files; only reads."""
    if not has_python(venv) or (this_python and version_of(venv) not in (None, THIS_PYTHON)):
        return False
    wanted = fingerprint()
    return all(read(stamp_of(venv, extra)).strip() == wanted for extra in ("",) + tuple(extras))


def pip_install(venv, log_path, extras=()):
    """Run pip, show where it is, and leave all it said in a log."""
    command = [python_of(venv), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--retries", "3", "-c", os.path.join(ROOT, "requirements.txt")]
    command += ["-e", "%s[%s]" % (ROOT, ",".join(EXTRAS + tuple(extras)))]
    began, lines, shown = time.time(), [], sys.stdout.isatty()
    env = dict(os.environ, PYTHONUNBUFFERED="1")
    env.pop("PYTHONPATH", None)  # pip would count what lies there as installed
    with open(log_path, "w") as log, subprocess.Popen(command, env=env, cwd=ROOT, **OUTPUT) as process:
        try:
            for line in process.stdout:
                log.write(line)
                lines.append(line)
                if shown:
                    said = " ".join(line.split())[:60]
                    print("\r  %4.0f s  %-60s" % (time.time() - began, said), end="", flush=True)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if shown:
        print("\r" + " " * 72 + "\r", end="")
    if process.returncode:
        stop("%s (all of pip's output: %s)" % (reason("".join(lines)), log_path))
    return time.time() - began


def make(venv, extras=(), this_python=False):
    """Make the environment, or finish one that was begun, or add an extra to it.

    An extra that was added earlier stays when the environment is asked for without it. An environment that another
    version of Python made is as good, unless this one is asked for.
    """
    venv, extras = os.path.abspath(venv), sorted(set(extras) - set(EXTRAS))
    unknown = sorted(set(extras) - set(known_extras()))
    if unknown:
        stop(
            "Expected extras of pyproject.toml (%s), got %s: correct the name after --extra."
            % (", ".join(known_extras()), ", ".join(unknown))
        )
    try:
        if is_finished(venv, extras, this_python):
            return False
        check_disk(venv, EXTRA_BYTES if is_finished(venv, (), this_python) else NEEDED_BYTES)
        if not is_ours(venv):
            stop(
                "Expected %s to be missing, empty or an environment of the course, got a folder with other files: put "
                "the environment into another folder with VENV=/path/to/.venv, or delete this one." % venv
            )
        with alone(venv):
            if is_finished(venv, extras, this_python):  # the process that we waited for did it
                return False
            seconds = install(venv, extras, everything=not is_finished(venv, (), this_python))
    except OSError as error:
        stop(reason("%s" % error))
    print("Set up in %.0f s." % seconds)
    return True


def install(venv, extras, everything):
    """Install everything, or some extras only; the stamps come last."""
    if everything:
        print("Setting up %s (once; a minute or two, 1.6 GB) ..." % venv, flush=True)
    else:
        print("Adding %s to %s (once; about half a minute) ..." % (", ".join(extras), venv), flush=True)
    stamps = [stamp_of(venv, extra) for extra in [""] + extras]
    for stamp in filter(os.path.exists, stamps):
        os.remove(stamp)
    if everything:
        for path in glob.glob(os.path.join(glob.escape(os.path.dirname(python_of(venv))), "python*")):
            if os.path.islink(path):  # to a Python that may be gone or another one: venv would leave it as it is
                os.remove(path)
        made = subprocess.run([sys.executable, "-m", "venv", os.path.realpath(venv)], **OUTPUT)  # it refuses a link
        if made.returncode:
            stop("No virtual environment could be made in %s: %s" % (venv, reason(made.stdout)))
        add_startup(venv)
    seconds = pip_install(venv, os.path.join(venv, "install.log"), extras)
    for stamp in stamps:
        write(stamp, fingerprint() + "\n")
    return seconds


def main():
    """Parse the options and go."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=os.path.join(ROOT, ".venv"), help="where the environment goes (%(default)s)")
    add = "add an extra of pyproject.toml, such as site"
    parser.add_argument("--extra", action="append", default=[], metavar="NAME", help=add)
    anew = "make an environment anew that has another version of Python"
    parser.add_argument("--this-python", action="store_true", help=anew)
    arguments = parser.parse_args()
    try:
        make(arguments.venv, arguments.extra, arguments.this_python)
    except KeyboardInterrupt:
        stop("interrupted; run the same command again: it continues.")


if __name__ == "__main__":
    check_python()
    main()

"""Make the environment of the course: a virtual environment with the locked packages.

Called by the Makefile; on Windows call it by hand (README). It needs nothing but a Python's
standard library, does nothing when there is nothing to do, and may be interrupted at any time:
the environment counts as finished only when its stamp is written, as the very last step.

The file must be readable by old versions of Python too, down to 2.7: the first thing it has to
say is that such a version will not do. That is why it has no f-strings and no annotations.
"""

from __future__ import print_function

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time

OLDEST = (3, 11)
NEEDED_BYTES = 3 * 1024**3  # the environment takes about 1.6 GB, pip unpacks beside it
EXTRA_BYTES = 1024**3  # what an extra adds to an environment that is there
MARK = "course-environment.txt"  # in every environment that is begun here
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What pip says -> the one sentence that helps. The first that fits is printed.
REASONS = (
    (
        ("No space left on device", "Errno 28", "not enough space on the disk", "Disk quota exceeded"),
        "The disk filled up while packages were being installed: free about 3 GB (or put the "
        "environment on another disk with VENV=/path/to/.venv) and run the same command again.",
    ),
    (
        (
            "NewConnectionError",
            "Temporary failure in name resolution",
            "Name or service not known",
            "nodename nor servname",
            "getaddrinfo failed",
            "Network is unreachable",
            "ProxyError",
            "ConnectTimeoutError",
            "ReadTimeoutError",
            "Connection refused",
            "Connection reset",
            "No route to host",
        ),
        "The package index could not be reached: connect to the network (or set the proxy that pip "
        "needs) and run the same command again; after this one install the course works offline.",
    ),
    (
        ("No matching distribution found", "ResolutionImpossible", "Requires-Python"),
        "A package of requirements.txt has no build for this Python or this system: try Python 3.12, "
        "for example with make course PYTHON=python3.12.",
    ),
    (
        ("Permission denied", "Errno 13", "Read-only file system"),
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
        if any(sign in log for sign in signs):
            return sentence
    last = [line.strip() for line in log.splitlines() if line.strip()]
    return "Installing the packages failed: %s" % (last[-1] if last else "pip said nothing")


def fingerprint(root=ROOT):
    """What the environment depends on: the two files, this Python and the place of the checkout."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "requirements.txt"):
        with open(os.path.join(root, name), "rb") as file:
            digest.update(file.read())
    digest.update(("%s %s" % (sys.version, root)).encode("utf-8"))
    return digest.hexdigest()


def python_of(venv):
    """The interpreter inside a virtual environment."""
    return os.path.join(venv, "Scripts", "python.exe") if os.name == "nt" else os.path.join(venv, "bin", "python")


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
    names = (name for name in os.listdir(venv) if os.path.isfile(os.path.join(venv, name)))
    return any(name == MARK or name.startswith("course-installed") for name in names)


def is_finished(stamp, wanted):
    """Whether a stamp is there and is that of the present files."""
    if not os.path.exists(stamp):
        return False
    with open(stamp) as file:
        return file.read().strip() == wanted


def pip_install(venv, log_path, extras=()):
    """Run pip, show where it is, and leave all it said in a log."""
    command = [
        python_of(venv),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        "--retries",
        "3",
    ]
    wanted = "%s[%s]" % (ROOT, ",".join(("test",) + tuple(extras)))
    command += ["-c", os.path.join(ROOT, "requirements.txt"), "-e", wanted]
    began, lines, shown = time.time(), [], sys.stdout.isatty()
    env = dict(os.environ, PYTHONUNBUFFERED="1")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, env=env, cwd=ROOT
    )
    try:
        with open(log_path, "w") as log:
            for line in process.stdout:
                log.write(line)
                lines.append(line)
                if shown:
                    said = " ".join(line.split())[:60]
                    print("\r  %4.0f s  %-60s" % (time.time() - began, said), end="", flush=True)
    finally:
        if process.poll() is None and sys.exc_info()[0] is not None:
            process.terminate()
        process.stdout.close()
        process.wait()
    if shown:
        print("\r" + " " * 72 + "\r", end="")
    if process.returncode:
        stop("%s (all of pip's output: %s)" % (reason("".join(lines)), log_path))
    return time.time() - began


def make(venv, extras=()):
    """Make the environment, or finish one that was begun, or add an extra to it.

    An extra that was added earlier stays when the environment is asked for without it.
    """
    venv, extras = os.path.abspath(venv), sorted(set(extras) - {"test"})
    unknown = sorted(set(extras) - set(known_extras()))
    if unknown:
        stop(
            "Expected extras of pyproject.toml (%s), got %s: correct the name after --extra."
            % (", ".join(known_extras()), ", ".join(unknown))
        )
    stamps = [stamp_of(venv, extra) for extra in [""] + extras]
    wanted = fingerprint()
    there = os.path.exists(python_of(venv))
    if there and all(is_finished(stamp, wanted) for stamp in stamps):
        return False
    only_extras = there and is_finished(stamps[0], wanted)
    check_disk(venv, EXTRA_BYTES if only_extras else NEEDED_BYTES)
    try:
        if not is_ours(venv):
            stop(
                "Expected %s to be missing, empty or an environment of the course, got a folder with other files: put "
                "the environment into another folder with VENV=/path/to/.venv, or delete this one." % venv
            )
        if only_extras:
            print("Adding %s to %s (once; about half a minute) ..." % (", ".join(extras), venv), flush=True)
        else:
            print("Setting up %s (once; a minute or two, 1.6 GB) ..." % venv, flush=True)
        if not os.path.isdir(venv):
            os.makedirs(venv)
        with open(os.path.join(venv, MARK), "w") as file:
            file.write("The environment of the course in %s, made by its tools/setup_env.py.\n" % ROOT)
        for stamp in stamps:
            if os.path.exists(stamp):
                os.remove(stamp)
        if not only_extras:
            made = subprocess.run(
                [sys.executable, "-m", "venv", venv],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                universal_newlines=True,
            )
            if made.returncode:
                stop("No virtual environment could be made in %s: %s" % (venv, reason(made.stdout)))
        seconds = pip_install(venv, os.path.join(venv, "install.log"), extras)
        for stamp in stamps:
            with open(stamp + ".part", "w") as file:
                file.write(wanted + "\n")
            os.replace(stamp + ".part", stamp)
    except OSError as error:
        stop(reason("%s" % error))
    print("Set up in %.0f s." % seconds)
    return True


def main():
    """Parse the options and go."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=os.path.join(ROOT, ".venv"), help="where the environment goes (%(default)s)")
    parser.add_argument(
        "--extra", action="append", default=[], metavar="NAME", help="add an extra of pyproject.toml, such as site"
    )
    arguments = parser.parse_args()
    try:
        make(arguments.venv, arguments.extra)
    except KeyboardInterrupt:
        stop("interrupted; run the same command again and it goes on.")


if __name__ == "__main__":
    check_python()
    main()

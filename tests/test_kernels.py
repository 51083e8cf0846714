"""A kernel that does not start, or that is another Python's, costs its own notebook and no other one."""

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import psutil
import pytest
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"
SECONDS = 200  # for a process that needs ten, on a computer that does other things as well
# The kernel of our own Python, whose fault is named by the folder of its notebook.
KERNEL = """
import os, pathlib, sys, time
fault = pathlib.Path.cwd().name
if fault == "ends":
    sys.exit(1)
if fault == "ends_with_0":
    sys.exit(0)
if fault == "complains":
    sys.exit("first words\\n" + "x" * 5000 + " last \\x1b words\\n\\n")
if fault == "killed":
    os.kill(os.getpid(), 9)
if fault == "silent":
    pathlib.Path("started").touch()
    time.sleep(600)
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp

class Kernel(IPythonKernel):
    async def do_execute(self, *arguments, **options):
        if fault == "dies_when_asked":
            os._exit(3)
        if fault == "silent_when_asked":
            time.sleep(600)
        return await super().do_execute(*arguments, **options)

IPKernelApp.launch_instance(kernel_class=Kernel)
"""
ENDS = {
    "ends": "ended with exit status 1 before the first cell",
    "ends_with_0": "ended with exit status 0 before the first cell",
    "complains": "x last words); ",
    "killed": "ended by signal 9 before the first cell",
    "dies_when_asked": "ended with exit status 3 before the first cell",
}
NEVER_READY = {
    "silent": "did not become ready (Kernel didn't respond in ",
    "silent_when_asked": "did not become ready (",
}


def write_spec(folder, argv, **more):
    """A kernelspec python3 in a folder for JUPYTER_PATH; the folder of the spec."""
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True)
    text = {"argv": [str(part) for part in argv], "display_name": "Python 3", "language": "python", **more}
    (spec / "kernel.json").write_text(json.dumps(text))
    return spec


def write_notebook(path):
    """A notebook with a stored result that is not that of its cell."""
    path.parent.mkdir(exist_ok=True)
    stale = new_output("execute_result", {"text/plain": "stale"}, execution_count=1)
    cell = new_code_cell("1 + 1", id="sum", outputs=[stale], execution_count=1)
    kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = new_notebook(cells=[new_markdown_cell("# Sum", id="title"), cell], metadata={"kernelspec": kernelspec})
    nbformat.write(notebook, path)
    return path


def notebooks(folder, faults):
    return [write_notebook(folder / fault / f"{fault}.ipynb") for fault in faults]


def with_faults(folder):
    """The environment in which the kernel python3 has the fault that the folder of its notebook names."""
    (folder / "kernel.py").write_text(KERNEL)
    write_spec(folder / "jupyter", [sys.executable, folder / "kernel.py", "-f", "{connection_file}"])
    return environment(folder)


def environment(folder):
    """Kernelspecs and temporary files in folders of their own."""
    (folder / "tmp").mkdir()
    return {**os.environ, "JUPYTER_PATH": str(folder / "jupyter"), "TMPDIR": str(folder / "tmp")}


def tool(name, seconds_to_start, arguments):
    """The command of a tool, with another limit for the start of a kernel."""
    code = f"import sys; sys.path.insert(0, {str(TOOLS)!r}); import execute; "
    code += f"execute.SECONDS_TO_START = {seconds_to_start}; import {name}; {name}.main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def ran(command, env):
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS)


def processes_of(folder):
    """The processes that have a folder in their command line: kernels have, by their connection file."""
    found = psutil.process_iter(["cmdline"])
    return [process.info["cmdline"] for process in found if str(folder) in " ".join(process.info["cmdline"] or [])]


def nothing_is_left(folder):
    return processes_of(folder) == [] and not list((folder / "tmp").iterdir())


def failures(stderr):
    """The sentence about each notebook that failed; nothing else may be said."""
    lines = [line.removeprefix("FAILED ").split(".ipynb: ", 1) for line in stderr.splitlines()]
    return dict(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="module")
def course(folder):
    """What `make course` says of notebooks whose kernels end, and of a good one among them."""
    names = ["--out", folder / "out", *notebooks(folder, [*ENDS, "good"])]
    return ran(tool("course", 60, names), with_faults(folder))


@pytest.mark.timeout(240)
class TestCourse:
    def test_each_fault_is_one_sentence_and_nothing_else_is_said(self, course, folder):
        said = failures(course.stderr)
        assert course.returncode == 1
        assert list(said) == list(ENDS)
        for fault, words in ENDS.items():
            assert said[fault].startswith(f"expected a kernel of {sys.executable}, but {sys.executable} ended "), fault
            assert words in said[fault]
            assert f"correct or remove the kernelspec {folder / 'jupyter' / 'kernels' / 'python3'}" in said[fault]
            assert len(said[fault]) < 1000

    def test_the_good_one_alone_is_executed_and_written(self, course, folder):
        assert sorted(path.name for path in (folder / "out").iterdir()) == [
            ".written-by-the-course.txt",
            "good.html",
            "good.ipynb",
            "timings.json",
        ]
        assert list(json.loads((folder / "out" / "timings.json").read_text())) == ["good"]
        (output,) = nbformat.read(folder / "out" / "good.ipynb", as_version=4).cells[1].outputs
        assert output.data["text/plain"] == "2"

    def test_nothing_is_left(self, course, folder):
        assert nothing_is_left(folder)


@pytest.mark.timeout(240)
def test_a_kernel_that_is_never_ready_ends_at_the_limit(tmp_path):
    names = ["--out", tmp_path / "out", *notebooks(tmp_path, NEVER_READY)]
    done = ran(tool("course", 3, names), with_faults(tmp_path))
    said = failures(done.stderr)
    assert done.returncode == 1
    assert list(said) == list(NEVER_READY)
    assert all(words in said[fault] for fault, words in NEVER_READY.items())
    assert nothing_is_left(tmp_path)


@pytest.mark.timeout(240)
def test_make_notebooks_leaves_it_as_it_was_and_writes_the_others(tmp_path):
    bad, good = notebooks(tmp_path, ["ends", "good"])
    before = bad.read_bytes()
    done = ran(tool("notebooks", 60, [bad, good]), with_faults(tmp_path))
    assert done.returncode == 1
    assert list(failures(done.stderr)) == ["ends"]
    assert bad.read_bytes() == before
    assert nbformat.read(good, as_version=4).cells[1].outputs[0].data["text/plain"] == "2"
    assert nothing_is_left(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.timeout(240)
def test_interrupted_while_a_kernel_starts_it_says_so_and_leaves_none(tmp_path):
    (path,) = notebooks(tmp_path, ["silent"])
    command = tool("course", 60, ["--out", tmp_path / "out", path])
    with subprocess.Popen(command, env=with_faults(tmp_path), stderr=subprocess.PIPE, text=True) as running:
        end = time.monotonic() + SECONDS
        while not (tmp_path / "silent" / "started").exists() and time.monotonic() < end:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=40)  # the kernel alone would take a minute
    assert running.returncode == 1
    assert said.strip() == "interrupted; nothing was written, run the same command again"
    assert nothing_is_left(tmp_path)


@pytest.fixture
def run_here(tmp_path, monkeypatch, capfd):
    """Execute one notebook in this process; what is printed may not be a traceback."""
    monkeypatch.syspath_prepend(TOOLS)
    execute = importlib.import_module("execute")
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    before = signal.getsignal(signal.SIGTERM)

    def run():
        (run,) = execute.execute_all([write_notebook(tmp_path / "a.ipynb")])
        assert capfd.readouterr().err == ""
        assert nothing_is_left(tmp_path)
        return run

    yield run
    signal.signal(signal.SIGTERM, before)


def refused(run):
    """The sentence about a notebook that no kernel ran."""
    assert run.notebook is None
    assert run.error.startswith(f"expected a kernel of {sys.executable}, ")
    assert "\n" not in run.error
    return run.error


class TestKernelspecs:
    def test_a_command_that_does_not_exist(self, run_here, tmp_path):
        spec = write_spec(tmp_path / "jupyter", [tmp_path / "none", "{connection_file}"])
        said = refused(run_here())
        assert f"{tmp_path / 'none'} cannot be started" in said
        assert str(spec) in said

    @pytest.mark.parametrize("mode", [0o644, 0o755], ids=["not executable", "no program"])
    def test_a_command_that_cannot_be_run(self, run_here, tmp_path, mode):
        (tmp_path / "kernel").write_text("")
        (tmp_path / "kernel").chmod(mode)
        write_spec(tmp_path / "jupyter", [tmp_path / "kernel", "{connection_file}"])
        assert f"{tmp_path / 'kernel'} cannot be started" in refused(run_here())

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"argv": 3}', "\ud800"])
    def test_a_kernelspec_that_cannot_be_read(self, run_here, tmp_path, text):
        spec = write_spec(tmp_path / "jupyter", [])
        (spec / "kernel.json").write_text(text, encoding="utf-8", errors="surrogatepass")
        said = refused(run_here())
        assert "got no usable kernelspec" in said
        assert f"correct or remove the kernelspec {spec}" in said

    def test_no_kernelspec_at_all(self, run_here, monkeypatch):
        def none(self, name):
            raise NoSuchKernel(name)

        monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", none)
        monkeypatch.setattr(KernelSpecManager, "find_kernel_specs", lambda self: {})
        said = refused(run_here())
        assert "No such kernel named python3" in said
        assert f"remove {sys.prefix} and run make env" in said

    def test_one_whose_provisioner_is_not_installed(self, run_here, tmp_path):
        metadata = {"kernel_provisioner": {"provisioner_name": "on-another-planet"}}
        write_spec(tmp_path / "jupyter", [sys.executable], metadata=metadata)
        assert "got no usable kernelspec" in refused(run_here())

    def test_another_python_without_ipykernel(self, run_here, tmp_path):
        python = other_python(tmp_path)
        write_spec(tmp_path / "jupyter", [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"])
        said = refused(run_here())
        assert f"but {python} ended with exit status 1" in said
        assert "No module named ipykernel_launcher" in said

    def test_another_python_with_ipykernel(self, run_here, tmp_path):
        python, spec = other_with_ipykernel(tmp_path)
        said = refused(run_here())
        assert f"got a kernel of {python}, Python {sys.version.split()[0]} in {tmp_path / 'other'}; " in said
        assert f"correct or remove the kernelspec {spec}" in said

    def test_a_wrapper_around_our_python_is_fine(self, run_here, tmp_path):
        argv = ["sh", "-c", '"$@"; true', "sh", sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        write_spec(tmp_path / "jupyter", argv)
        run = run_here()
        assert run.error is None
        assert run.notebook.cells[1].outputs[0].data["text/plain"] == "2"
        assert run.notebook.cells[1].execution_count == 1


def test_a_full_disk(run_here, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:  # pytest needs temporary files, too
        patch.setattr(tempfile, "mkstemp", full)
        said = refused(run_here())
    assert "could not be written ([Errno 28] No space left on device); make room on the disk" in said


def test_a_disk_on_which_nothing_at_all_can_be_written(run_here, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
        run = run_here()
    assert run.notebook is None
    assert run.error.startswith("expected to execute it, got FileNotFoundError (")


@pytest.mark.timeout(240)
def test_a_home_that_cannot_be_written_does_no_harm(tmp_path):
    (tmp_path / "file").touch()
    homes = ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR")
    env = {**environment(tmp_path), **{name: str(tmp_path / "file" / name) for name in homes}}
    done = ran(tool("course", 60, ["--out", tmp_path / "out", *notebooks(tmp_path, ["good"])]), env)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "good.html").exists()


def test_a_page_that_cannot_be_made_is_a_failure_of_its_notebook(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    module = importlib.import_module("course")
    run = importlib.import_module("execute").Run(tmp_path / "a.ipynb", new_notebook(), 1, None)
    pages = {}
    monkeypatch.setattr(module, "as_page", lambda notebook: 1 / 0)
    module._add_page(run, pages)
    assert pages == {}
    assert run.error == "its page could not be made (ZeroDivisionError: division by zero)"


def other_python(folder):
    """An environment of its own, without any package."""
    venv.create(folder / "other", with_pip=False)
    return folder / "other" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def other_with_ipykernel(folder):
    """Another environment that finds ipykernel, as a kernelspec: its python and the folder of the spec."""
    python = other_python(folder)
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    return python, write_spec(folder / "jupyter", argv, env={"PYTHONPATH": sysconfig.get_path("purelib")})


def nbval(folder, env, *options):
    """The status and the sentence about each notebook when pytest runs those of a folder, kernelspecs respected."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}"]
    command += ["-p", "conftest", "-o", "addopts=--nbval --strict-markers", "-n", "0", "-p", "no:cacheprovider"]
    command += [f"--junitxml={report}", *options, str(folder)]
    env = {name: value for name, value in env.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    done = ran(command, {**env, "PYTHONPATH": str(ROOT)})
    assert "INTERNALERROR" not in done.stdout + done.stderr
    said, seconds = {}, 0
    for case in ET.parse(report).iter("testcase"):
        said[Path(case.get("classname").replace(".", "/")).parent.name] = "".join(child.text or "" for child in case)
        seconds = max(seconds, float(case.get("time")))
    return done.returncode, said, seconds


@pytest.mark.timeout(240)
class TestNbval:
    def test_a_kernel_that_ends_fails_the_cells_of_its_notebook(self, tmp_path):
        notebooks(tmp_path, ENDS)
        status, said, seconds = nbval(tmp_path, with_faults(tmp_path))
        assert status == 1
        assert set(said) == set(ENDS)
        for fault, words in ENDS.items():
            assert said[fault].startswith(f"expected a kernel of {sys.executable}, but {sys.executable} ended "), fault
            assert words in said[fault]
            assert said[fault].count("\n") == 0
        assert seconds < 30
        assert nothing_is_left(tmp_path)

    def test_one_that_is_never_ready_ends_at_the_limit_and_fails_every_cell(self, tmp_path):
        for path in notebooks(tmp_path, NEVER_READY):
            notebook = nbformat.read(path, as_version=4)
            notebook.cells.append(new_code_cell("2", id="two"))
            nbformat.write(notebook, path)
        status, said, seconds = nbval(tmp_path, with_faults(tmp_path), "--nbval-kernel-startup-timeout=3")
        assert status == 1
        assert set(said) == set(NEVER_READY)
        for fault in NEVER_READY:
            assert said[fault].startswith(f"expected a kernel of {sys.executable}, but "), fault
            assert "did not become ready" in said[fault]
        assert seconds < 30
        assert nothing_is_left(tmp_path)

    def test_another_python_is_refused(self, tmp_path):
        python, spec = other_with_ipykernel(tmp_path)
        notebooks(tmp_path, ["good"])
        status, said, _ = nbval(tmp_path, environment(tmp_path))
        assert status == 1
        assert said["good"].startswith(f"expected a kernel of {sys.executable}, got a kernel of {python}, ")
        assert f"correct or remove the kernelspec {spec}" in said["good"]

    def test_a_good_kernel_runs(self, tmp_path):
        notebooks(tmp_path, ["good", "ends"])
        status, said, _ = nbval(tmp_path, with_faults(tmp_path))
        assert status == 1
        assert "mismatch 'text/plain'" in said["good"]  # 2 is not "stale"
        assert "ended with exit status 1" in said["ends"]

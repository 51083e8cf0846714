"""A kernel that does not start, or that is another Python's, costs its own notebook and no other one."""

import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

import course
import execute
import nbformat
import psutil
import pytest
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbval.kernel import RunningKernel
from nested import run_pytest

import notebooks as in_place

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"
SECONDS = 200  # for a process that needs ten, on a computer that does other things as well
# The kernel of our own Python, whose fault is named by the folder of its notebook.
KERNEL = """
import os, pathlib, sys, time
fault = pathlib.Path.cwd().name
complaint = "first words\\n" + "x" * 5000 + " last \\x1b words\\n\\n"
if fault in ("ends", "ends_with_0", "complains"):
    sys.exit({"ends": 1, "ends_with_0": 0, "complains": complaint}[fault])
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
    """Make the kernel python3 one with the fault that the folder of its notebook names."""
    (folder / "kernel.py").write_text(KERNEL)
    write_spec(folder / "jupyter", [sys.executable, folder / "kernel.py", "-f", "{connection_file}"])


def environment(folder):
    """Kernelspecs and temporary files in folders of their own."""
    (folder / "tmp").mkdir(exist_ok=True)
    return {"JUPYTER_PATH": str(folder / "jupyter"), "TMPDIR": str(folder / "tmp")}


@contextlib.contextmanager
def kernels_of(folder):
    """This process while its kernels are those of a folder."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder).items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", str(folder / "tmp"))
        yield patch
    signal.signal(signal.SIGTERM, before)


def ran(tool, folder, *arguments, seconds_to_start=60):
    """Run a tool in this process: its exit status, and what it said to standard error."""
    with kernels_of(folder) as patch, contextlib.redirect_stderr(io.StringIO()) as said:
        patch.setattr(execute, "SECONDS_TO_START", seconds_to_start)
        patch.setattr(sys, "argv", [tool.__name__, *map(str, arguments)])
        try:
            tool.main()
        except SystemExit as end:
            return end.code, said.getvalue()
    return 0, said.getvalue()


def processes_of(folder):
    """The processes that have a folder in their command line: kernels have, by their connection file."""
    found = psutil.process_iter(["cmdline"])
    return [process.info["cmdline"] for process in found if str(folder) in " ".join(process.info["cmdline"] or [])]


def nothing_is_left(folder):
    return processes_of(folder) == [] and not list((folder / "tmp").iterdir())


def failures(stderr):
    """The sentence about each notebook that failed; nothing else may be said."""
    return dict(line.removeprefix("FAILED ").split(".ipynb: ", 1) for line in stderr.splitlines())


def test_each_fault_is_one_sentence_and_the_good_notebook_alone_is_written(tmp_path):
    with_faults(tmp_path)
    status, said = ran(course, tmp_path, "--out", tmp_path / "out", *notebooks(tmp_path, [*ENDS, "good"]))
    said = failures(said)
    assert status == 1
    assert list(said) == list(ENDS)
    for fault, words in ENDS.items():
        assert said[fault].startswith(f"expected a kernel of {sys.executable}, but {sys.executable} ended "), fault
        assert words in said[fault]
        assert f"correct or remove the kernelspec {tmp_path / 'jupyter' / 'kernels' / 'python3'}" in said[fault]
        assert len(said[fault]) < 1000
    names = {".written-by-the-course.txt", "good.html", "good.ipynb", "timings.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert list(json.loads((tmp_path / "out" / "timings.json").read_text())) == ["good"]
    (output,) = nbformat.read(tmp_path / "out" / "good.ipynb", as_version=4).cells[1].outputs
    assert output.data["text/plain"] == "2"
    assert nothing_is_left(tmp_path)


def test_a_kernel_that_is_never_ready_ends_at_the_limit(tmp_path):
    with_faults(tmp_path)
    paths = notebooks(tmp_path, NEVER_READY)
    status, said = ran(course, tmp_path, "--out", tmp_path / "out", *paths, seconds_to_start=3)
    said = failures(said)
    assert status == 1
    assert list(said) == list(NEVER_READY)
    assert all(words in said[fault] for fault, words in NEVER_READY.items())
    assert nothing_is_left(tmp_path)


def test_make_notebooks_leaves_it_as_it_was_and_writes_the_others(tmp_path):
    with_faults(tmp_path)
    bad, good = notebooks(tmp_path, ["ends", "good"])
    before = bad.read_bytes()
    status, said = ran(in_place, tmp_path, bad, good)
    assert status == 1
    assert list(failures(said)) == ["ends"]
    assert bad.read_bytes() == before
    assert nbformat.read(good, as_version=4).cells[1].outputs[0].data["text/plain"] == "2"
    assert nothing_is_left(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupted_while_a_kernel_starts_it_says_so_and_leaves_none(tmp_path):
    with_faults(tmp_path)
    (path,) = notebooks(tmp_path, ["silent"])
    command = [sys.executable, str(TOOLS / "course.py"), "--out", str(tmp_path / "out"), str(path)]
    env = {**os.environ, **environment(tmp_path)}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as running:
        end = time.monotonic() + SECONDS
        while not (tmp_path / "silent" / "started").exists() and time.monotonic() < end:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=40)  # the kernel alone would take a minute
    assert running.returncode == 1
    assert said.strip() == "interrupted; nothing was written, run the same command again"
    assert nothing_is_left(tmp_path)


@pytest.fixture
def run_here(tmp_path, capfd):
    """Execute one notebook in this process; what is printed may not be a traceback."""

    def run():
        with kernels_of(tmp_path):
            (run,) = execute.execute_all([write_notebook(tmp_path / "a.ipynb")])
        assert capfd.readouterr().err == ""
        assert nothing_is_left(tmp_path)
        return run

    return run


def refused(run):
    """The sentence about a notebook that no kernel ran."""
    assert run.notebook is None
    assert run.error.startswith(f"expected a kernel of {sys.executable}, ")
    assert "\n" not in run.error
    return run.error


class TestKernelspecs:
    @pytest.mark.parametrize("mode", [None, 0o644, 0o755], ids=["missing", "not executable", "no program"])
    def test_a_command_that_cannot_be_run(self, run_here, tmp_path, mode):
        if mode is not None:
            (tmp_path / "kernel").touch(mode)
            (tmp_path / "kernel").chmod(mode)
        spec = write_spec(tmp_path / "jupyter", [tmp_path / "kernel", "{connection_file}"])
        said = refused(run_here())
        assert f"{tmp_path / 'kernel'} cannot be started" in said
        assert str(spec) in said

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


def test_a_disk_on_which_nothing_at_all_can_be_written(tmp_path):
    with kernels_of(tmp_path) as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
        (run,) = execute.execute_all([write_notebook(tmp_path / "a.ipynb")])
    assert run.notebook is None
    assert run.error.startswith("expected to execute it, got FileNotFoundError (")


def test_a_home_that_cannot_be_written_does_no_harm(tmp_path):
    (tmp_path / "file").touch()
    (path,) = notebooks(tmp_path, ["good"])
    homes = {name: str(tmp_path / "file" / name) for name in ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR")}
    command = [sys.executable, TOOLS / "course.py", "--out", tmp_path / "out", path]
    env = {**os.environ, **environment(tmp_path), **homes}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "good.html").exists()


def test_a_page_that_cannot_be_made_is_a_failure_of_its_notebook(tmp_path, monkeypatch):
    run, pages = execute.Run(tmp_path / "a.ipynb", new_notebook(), 1, None), {}
    monkeypatch.setattr(course, "as_page", lambda notebook: 1 / 0)
    course._add_page(run, pages)
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


class TestNbval:
    @pytest.mark.parametrize(("fault", "words"), [*ENDS.items(), *NEVER_READY.items()])
    def test_why_a_kernel_does_not_start_is_one_sentence(self, tmp_path, fault, words):
        with_faults(tmp_path)
        (path,) = notebooks(tmp_path, [fault])
        seconds = 2 if fault in NEVER_READY else 60
        with kernels_of(tmp_path), pytest.raises(pytest.fail.Exception) as caught:
            RunningKernel("python3", cwd=str(path.parent), startup_timeout=seconds)  # as conftest.py has changed it
        assert str(caught.value).startswith(f"expected a kernel of {sys.executable}, but {sys.executable} ")
        assert words.split("(")[0] in str(caught.value)
        assert "\n" not in str(caught.value)
        assert nothing_is_left(tmp_path)

    def test_another_python_is_refused(self, tmp_path):
        python, spec = other_with_ipykernel(tmp_path)
        with kernels_of(tmp_path), pytest.raises(pytest.fail.Exception) as caught:
            RunningKernel("python3", cwd=str(tmp_path))
        assert str(caught.value).startswith(f"expected a kernel of {sys.executable}, got a kernel of {python}, ")
        assert f"correct or remove the kernelspec {spec}" in str(caught.value)

    def test_it_fails_every_cell_of_its_notebook_and_no_other(self, tmp_path):
        with_faults(tmp_path)
        for path in notebooks(tmp_path, ["good", "ends"]):
            notebook = nbformat.read(path, as_version=4)
            notebook.cells.append(new_code_cell("2", id="two"))
            nbformat.write(notebook, path)
        env = {**os.environ, **environment(tmp_path)}
        done, cases = run_pytest(tmp_path, "-o", "addopts=--nbval --strict-markers", "-n", "0", env=env)
        assert done.returncode == 1
        said = {(Path(case.file.replace(".", "/")).name, case.name): case.said for case in cases}
        assert "mismatch 'text/plain'" in said.pop(("good", "Cell 0"))  # 2 is not "stale"
        assert said.pop(("good", "Cell 1")) == ""
        assert list(said) == [("ends", "Cell 0"), ("ends", "Cell 1")]
        assert all("ended with exit status 1 before the first cell" in sentence for sentence in said.values())
        assert all("\n" not in sentence for sentence in said.values())

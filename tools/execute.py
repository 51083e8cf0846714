"""Execute notebooks, two at a time, with a progress bar each; used by `course.py` and `notebooks.py`."""

import asyncio
import contextlib
import re
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from guard import ROOT, environment
from jupyter_client import AsyncKernelManager
from kernels import SECONDS_TO_START, WHICH_PYTHON, check_python, settle_matplotlib, why_not
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from tqdm import tqdm

LESSONS, LABS = ROOT / "notebooks", ROOT / "notebooks" / "labs"
AT_ONCE = 2
SECONDS_A_CELL = 600
SECONDS_TO_STOP = 30
LAST_WORDS = 4000  # characters
JUDGED = re.compile(r"\bevidence\.(?:judge|check|recorded)\(|\.card\(")
# Its talk about sockets frightens readers, and what it runs is nobody's history.
KERNEL_ARGUMENTS = ["--IPKernelApp.log_level=50", "--HistoryManager.hist_file=:memory:"]
BAR = "{desc} |{bar}| {n_fmt}/{total_fmt} cells {postfix}"


class NoKernel(Exception):
    """No kernel could be started for a notebook; the message is a sentence for the reader."""


@dataclass
class Run:
    """What came of one notebook."""

    path: Path
    notebook: nbformat.NotebookNode | None  # the executed copy; None if an error came before the first cell
    seconds: float
    error: str | None  # what went wrong


def label(path):
    """The name of a notebook without ending; a lab, which is named like its lesson, is in its folder: labs/02_x."""
    return f"labs/{path.stem}" if path.parent.name == "labs" else path.stem


def find_notebooks(names, *folders):
    """The notebooks named, or all of some folders (by default the lessons), a lab after its lesson."""
    of_course = [path for folder in folders or [LESSONS] for path in folder.glob("[0-9]*.ipynb")]
    paths = [Path(name).resolve() for name in names] or sorted(of_course, key=lambda path: (path.stem, label(path)))
    for path in paths:
        if path.suffix != ".ipynb" or not path.is_file():
            sys.exit(f"{path}: expected a notebook (a file that ends in .ipynb), found none")
        try:
            nbformat.read(path, as_version=4)
        except Exception as error:
            sys.exit(f"{path}: expected a notebook, got a file that cannot be read as one ({error})")
    if not paths:
        sys.exit(f"{(folders or [LESSONS])[0]}: expected notebooks there, found none")
    return paths


def _what_failed(notebook, error, at):
    """One line: which cell, and what it said."""
    where, words = "before the first cell", str(error) or type(error).__name__
    if at:
        cell = notebook.cells[at["cell_index"]]
        where = f"cell {at['cell_index']} ({cell.id})"
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                words = f"{output.ename}: {output.evalue}"
    return f"{where}: {' '.join(words.split())[:300]}"


@contextlib.asynccontextmanager
async def kernel_for(client, heard, folder):
    """Give a client a kernel of our own Python, and leave none behind, whatever happens."""
    manager, now = client.km, True
    try:
        try:
            await manager.start_kernel(
                extra_arguments=KERNEL_ARGUMENTS, stderr=heard, cwd=str(folder), env=environment()
            )
            client.kc = manager.client()
            client.kc.start_channels()
            await client.kc.wait_for_ready(timeout=SECONDS_TO_START)
            client.kc.allow_stdin = False
            async with asyncio.timeout(SECONDS_TO_START):
                asked = client.kc.execute("", silent=True, user_expressions=WHICH_PYTHON)
                reply = await client.async_wait_for_reply(asked)
            check_python(reply["content"])
        except Exception as error:
            raise NoKernel(why_not(manager, error, heard)) from None
        yield
        now = False
    finally:
        if client.kc:
            client.kc.stop_channels()
        with contextlib.suppress(Exception):
            await manager.shutdown_kernel(now=now)


async def _execute(path, bar):
    """Run one notebook in a kernel of its own, from a clean copy."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    began, error, at = time.perf_counter(), None, {}
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="python3"),
        timeout=SECONDS_A_CELL,
        shell_timeout_interval=1,
        record_timing=True,  # for tools/lecture.py; notebooks.py removes it
        coalesce_streams=True,
        on_cell_start=lambda cell, cell_index: at.update(cell_index=cell_index),
        on_cell_executed=lambda **_: bar.update(),
    )
    try:
        # What a kernel says in closing its sockets is of no use; what one said that died may be.
        with tempfile.TemporaryFile() as heard:
            async with kernel_for(client, heard, path.parent):
                try:
                    await client.async_execute()
                except (CellExecutionError, CellTimeoutError, DeadKernelError) as caught:
                    error = _what_failed(notebook, caught, at)
                    if isinstance(caught, DeadKernelError):
                        heard.seek(0)
                        tqdm.write(heard.read().decode(errors="replace")[-LAST_WORDS:], file=sys.stderr, end="")
    except NoKernel as caught:
        error = str(caught)
    except Exception as caught:  # for example a full disk: the other notebooks go on
        error = f"expected to execute it, got {type(caught).__name__} ({caught})"
    executed = notebook if at or error is None else None
    return Run(path, executed, time.perf_counter() - began, error)


async def _execute_all(paths, done):
    gate, runs, bars, claims = asyncio.Semaphore(AT_ONCE), {}, {}, {}
    widest = max(len(label(path)) for path in paths)
    for position, path in enumerate(paths):
        cells = nbformat.read(path, as_version=4).cells
        sources = [cell.source for cell in cells if cell.cell_type == "code"]
        claims[path] = sum(len(JUDGED.findall(source)) for source in sources)
        look = {"desc": label(path).ljust(widest), "position": position, "bar_format": BAR}
        bars[path] = tqdm(total=len(sources), disable=not sys.stderr.isatty(), dynamic_ncols=True, **look)

    async def one(path, bar):
        async with gate:
            runs[path] = await _execute(path, bar)
            took = f"failed after {runs[path].seconds:.1f} s" if runs[path].error else f"{runs[path].seconds:.1f} s"
            bar.set_postfix_str(took)
            if bar.disable:
                print(f"{label(path).ljust(widest)}  {took}", flush=True)
        await asyncio.to_thread(done, runs[path])  # beside the next notebook

    try:
        async with asyncio.TaskGroup() as group:
            # What takes time is to judge claims; a long notebook that came last would run alone at the end.
            for path in sorted(paths, key=claims.get, reverse=True):
                group.create_task(one(path, bars[path]))
    finally:
        for bar in bars.values():
            bar.close()
    return [runs[path] for path in paths]


def execute_all(paths, *, done=lambda run: None):
    """Execute notebooks, two at a time; gives a Run for each, in order. One that fails does not stop the others.

    `done` is called with each Run as soon as it is there, in a thread.
    """
    settle_matplotlib()
    # The loop has a thread of its own: in the main thread nbclient would catch Ctrl-C for itself and go on.
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    work = asyncio.run_coroutine_threadsafe(_execute_all(paths, done), loop)
    try:
        return work.result()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave kernels behind
        loop.set_exception_handler(lambda *_: None)  # what a cancelled client has left to say helps nobody
        work.cancel()
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_others_done(), loop).result(SECONDS_TO_STOP)
        sys.exit("\ninterrupted; nothing was written, run the same command again")


async def _others_done():
    """Wait for cancelled notebooks to shut their kernels down."""
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)


def report_failures(runs):
    """Say what failed and end with it, if anything did."""
    failed = [run for run in runs if run.error]
    for run in failed:
        print(f"FAILED {label(run.path)}.ipynb: {run.error}", file=sys.stderr)
    if failed:
        sys.exit(1)

"""Make every *Change this* of a lesson, and say what came otherwise than the lesson says."""

import asyncio
import copy
import inspect
import re
import tempfile
import time
from pathlib import Path

import nbformat
from execute import kernel_for
from jupyter_client import AsyncKernelManager
from kernels import settle_matplotlib
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from notebook_rules import Notebook
from notebook_rules.base import is_ignored
from notebook_rules.parts import sections
from notebook_rules.text import is_printed, measured, printed_by

from conftest import CLAIM, NUMBER, alike, forbid_network, number

SECONDS_A_CELL, SECONDS_MORE = 60, 5


class Ended(Exception):
    """Nothing more can be tried in this lesson; the message is a sentence."""


def number_after(text, after):
    """The first number that follows a text in another; None where there is none."""
    found = re.search(NUMBER, text[text.index(after) + len(after) :]) if after in text else None
    return found and number(found[0])


class Lesson:
    """A lesson in a kernel of its own: its cells are executed in order, its changes as soon as their cells are.

    `faults` has a sentence for everything that came otherwise: what a change prints, a cell that fails, an original
    that does not come again, changes that take longer than the lesson itself and `more` seconds.
    """

    def __init__(self, path, *, seconds, more):
        self.path, self.more, self.faults = Path(path), more, []
        self.stored = nbformat.read(path, as_version=4)
        self.places = {cell.id: place for place, cell in enumerate(self.stored.cells) if cell.cell_type == "code"}
        self.client = NotebookClient(
            copy.deepcopy(self.stored),
            km=AsyncKernelManager(kernel_name="python3"),
            timeout=seconds,
            shell_timeout_interval=1,
            record_timing=False,
            coalesce_streams=True,
        )

    async def tried(self):
        """Execute everything; gives the faults."""
        with tempfile.TemporaryFile() as heard:
            async with kernel_for(self.client, heard, self.path.parent):
                code = f"{inspect.getsource(forbid_network)}\nforbid_network()\ndel forbid_network"
                await self.client.async_wait_for_reply(self.client.kc.execute(code, silent=True))
                try:
                    await self._in_order()
                except Ended as ended:
                    self.faults.append(str(ended))
        return self.faults

    async def _in_order(self):
        changed = [cell for cell in self.stored.cells if "change" in cell.metadata]
        took = {"lesson": 0.0, "changes": 0.0}
        for name, place in self.places.items():
            began = time.perf_counter()
            _, failed = await self._run(place, "the lesson")
            took["lesson"] += time.perf_counter() - began
            if failed:
                raise Ended(f"{self.path.stem}: expected the cells to run in order, got {failed}")
            began = time.perf_counter()
            for cell in changed:
                if cell.metadata.change["until"] == name:
                    await self._change(cell)
            took["changes"] += time.perf_counter() - began
        if took["changes"] > took["lesson"] + self.more:
            times = f"{took['changes']:.0f} s beside {took['lesson']:.0f} s"
            self.faults.append(
                f"{self.path.stem}: expected its changes to take no longer than the lesson itself, got {times}"
            )

    async def _run(self, place, what, source=None):
        """Run one cell, as it is or with another source: the cell with its outputs, and what failed."""
        cell = copy.deepcopy(self.stored.cells[place])
        cell.source = cell.source if source is None else source
        try:
            await self.client.async_execute_cell(cell, place)
        except CellExecutionError as error:
            return cell, f"{error.ename} ({error.evalue}) in cell {cell.id}"
        except CellTimeoutError:
            seconds = self.client.timeout
            message = f"{self.path.stem}, {what}: expected cell {cell.id} to take less than {seconds} s, got more"
            raise Ended(message) from None
        except DeadKernelError:
            raise Ended(f"{self.path.stem}, {what}: expected a result of cell {cell.id}, got a dead kernel") from None
        return cell, None

    async def _change(self, prompt):
        """Run the edited cell and those up to ``until``, compare, and run the originals again."""

        def fault(expected, got):
            self.faults.append(f"{self.path.stem}, {prompt.id}: expected {expected}, got {got}")

        change = prompt.metadata.change
        first, last = (self.places.get(change[key], -1) for key in ("cell", "until"))
        source = self.stored.cells[first].source if first >= 0 else ""
        if source.count(change["old"]) != 1:
            fault(f"{change['old']!r} once in cell {change['cell']}", f"it {source.count(change['old'])} times")
            return
        sources, ran = {first: source.replace(change["old"], change["new"])}, []
        places = [place for place in self.places.values() if first <= place <= last]
        for place in places:
            cell, failed = await self._run(place, prompt.id, sources.get(place))
            ran.append(cell)
            if failed:
                fault("no cell to fail", failed)
                break
        else:
            text = printed_by(ran[-1:])
            for each in change["expect"]:
                found = number_after(text, each["after"])
                if found is None or not abs(found - each["number"]) <= each["within"]:
                    where = f"after {each['after']!r} in the output of cell {change['until']}"
                    none = "no number there" if each["after"] in text else "no such text"
                    fault(f"{each['number']} (within {each['within']}) {where}", none if found is None else found)
            compared = [str(each["number"]) for each in change["expect"]]  # above, with a tolerance
            printed = "\n".join((printed_by(ran), printed_by(self._section(prompt)), *compared))
            for told in measured(prompt):
                if not is_printed(told, printed):
                    fault(f"the number {told!r} of its text in an output", "none with it")
        for place in places:
            cell, failed = await self._run(place, f"{prompt.id}, run back")
            if failed:
                raise Ended(f"{self.path.stem}, {prompt.id}: expected the original to run again, got {failed}")
            if not is_ignored(cell) and not same(cell, self.stored.cells[place]):
                fault(f"the original cell {cell.id} to print again what is stored", repr(" ".join(texts(cell))[:200]))

    def _section(self, cell):
        return next((cells for _, cells in sections(Notebook(self.stored, self.path, {})) if cell in cells), [])


def texts(cell):
    """What a cell has printed, and the texts of its values and pictures, without cards."""
    printed = "".join(output.get("text", "") for output in cell.outputs if output.get("name") == "stdout")
    data = [output.data for output in cell.outputs if "data" in output and CLAIM not in output.data]
    return [printed, *(each.get("text/plain", "") for each in data)]


def same(cell, stored):
    """Whether a cell has the text outputs of another, up to its tolerance."""
    pair, tolerance = (texts(cell), texts(stored)), cell.metadata.get("compare", 0)
    return len(pair[0]) == len(pair[1]) and all(
        one == two or (tolerance and alike(one, two, tolerance)) for one, two in zip(*pair, strict=True)
    )


def faults_of(path, *, seconds=SECONDS_A_CELL, more=SECONDS_MORE):
    """Try all changes of a lesson; a sentence for each fault."""
    settle_matplotlib()
    return asyncio.run(Lesson(path, seconds=seconds, more=more).tried())

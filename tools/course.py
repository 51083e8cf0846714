"""The main job: execute every notebook of the course and leave copies, HTML and times for reading."""

import argparse
import json
from pathlib import Path

import nbformat
from execute import ROOT, execute_all, find_notebooks, report_failures, write_atomically
from nbconvert import HTMLExporter


def main():
    """Execute, export, say where the results are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "course", help="folder for the results")
    parser.add_argument("notebooks", nargs="*", help="some notebooks only")
    arguments = parser.parse_args()
    paths, out = find_notebooks(arguments.notebooks), arguments.out.resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
        print(f"Executing {len(paths)} notebooks, two at a time ...", flush=True)
        runs = execute_all(paths)
        for run in runs:
            write_atomically(out / run.path.name, nbformat.writes(run.notebook) + "\n")
            write_atomically(out / f"{run.path.stem}.html", HTMLExporter().from_notebook_node(run.notebook)[0])
        times = {run.path.stem: round(run.seconds, 2) for run in runs}
        write_atomically(out / "timings.json", json.dumps(times, indent=2) + "\n")
    except OSError as error:
        raise SystemExit(f"The results could not be written: {error}. Put them elsewhere with BUILD=/path.") from None
    for stem, seconds in times.items():
        print(f"  {seconds:6.1f} s  {out / stem}.html")
    print(f"Results: {out} (executed notebooks, HTML, timings.json)")
    report_failures(runs)


if __name__ == "__main__":
    main()

"""A short real run of the benchmark: what it writes and says. How fast anything is does not matter here."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)  # the benchmark runs in a process of its own

BENCH = Path(__file__).resolve().parents[1] / "tools" / "bench.py"
TARGETS = {
    "batchnorm_60x50": 2.0,
    "replicas_mlp": 0.4,
    "replicas_mlp_bn": 0.4,
    "replicas_conv": 0.65,
}


def bench(*arguments):
    command = [sys.executable, str(BENCH), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_ratios_are_written_and_shown(tmp_path):
    out = tmp_path / "new" / "bench.json"
    done = bench("--rounds", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    results = json.loads(out.read_text(encoding="utf-8"))
    assert {name: result["target"] for name, result in results.items()} == TARGETS
    header, *rows, share, last = done.stdout.splitlines()
    assert header.split() == ["name", "ours", "ms", "torch", "ms", "ratio", "target"]
    assert last == f"Ratios: {out}"
    numbers = re.fullmatch(r"replicas_mlp: (\d+) of (\d+) GFLOP/s of a matrix product, (\d+)%", share)
    reached, peak, percent = map(int, numbers.groups())
    # Multiplications and additions, three products per layer and two in the first, 60 examples, 16 networks.
    work = 2 * (2 * 64 * 100 + 3 * (100 * 100 + 100 * 100 + 100 * 10)) * 60 * 16
    milliseconds = float(next(row for row in rows if row.startswith("replicas_mlp ")).split()[1])
    assert abs(reached - 1e-6 * work / milliseconds) < 1 + 0.01 * reached  # both are rounded
    assert abs(percent - 100 * reached / peak) < 1 + 100 / peak + percent / peak
    for row, (name, result) in zip(rows, results.items(), strict=True):
        assert set(result) == {"ratio", "target"}
        assert math.isfinite(result["ratio"])
        assert result["ratio"] > 0
        assert row.startswith(name)
        assert row.endswith("  ok") or result["ratio"] >= result["target"]
        assert row.endswith("  above target") or result["ratio"] <= result["target"]
    names = {path.name for path in out.parent.iterdir()}
    assert names == {"bench.json", ".written-by-the-course.txt"}  # no temporary file stays


def test_less_than_a_round_is_refused(tmp_path):
    done = bench("--rounds", 0, "--out", tmp_path / "bench.json")
    assert done.returncode == 2
    assert "--rounds: expected at least 1, got 0" in done.stderr
    assert list(tmp_path.iterdir()) == []

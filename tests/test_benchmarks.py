"""Benchmarks that no gate runs at full size still run, and their own checks hold."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def measure(tmp_path, script, *arguments):
    output = tmp_path / "out.json"
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / script), "--output", str(output)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return json.loads(output.read_text())


def test_the_cuda_rates_are_measured_on_a_cpu_too(tmp_path):
    report = measure(tmp_path, "cuda_rate.py", "--device", "cpu", "--quick")
    loops = [row["loop"] for row in report["training"]]
    assert loops == ["MONAI, eager fp32", "ours", "ours, synthetic tensor"]
    assert all(row["images_per_second"] > 0 for row in [*report["training"], *report["inference"]])
    assert report["roofline"]["gflop"] > 0


def test_growth_is_measured_and_finds_the_films_planted(tmp_path):
    stages = ("--stages", "prepare", "evaluate", "--plot", "g.png")
    rows = measure(tmp_path, "growth.py", "--sizes", "50", "100", *stages)
    assert [(row["stage"], row["films"]) for row in rows] == [
        *(("prepare", 50), ("prepare", 100), ("evaluate", 50), ("evaluate", 100))
    ]
    assert all(row["right"] and row["memory_mib"] > 10 for row in rows)
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")

"""Seconds from the shell's prompt to the answer: `--help`, and `predict` on one DICOM file.

    python benchmarks/cold_start.py

Rows: `--help`; `predict` on a new machine, which converts the network and keeps it; every later `predict`;
the same with Python's files out of the page cache, as after a reboot; with PyTorch as the backend. Peer: the
bundle by `python -m monai.bundle run`. Check: every way of ours gives the same probabilities to 1e-5.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from common import table
from prediction_inputs import SHIPPED, write_raw_dicom

from covid_monai.phantoms.radiograph import draw_radiograph

COMMAND = [sys.executable, "-c", "from covid_monai.cli.main import main; main()"]
TOLERANCE = 1e-5


def main() -> None:
    """Run every way in turns, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--output", type=Path, default=Path("cold_start.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "images").mkdir()
        image = draw_radiograph("pneumonia", seed=1, size=options.size)
        path = write_raw_dicom(image, Path(name) / "images" / "image.dcm", size=options.size, number=1)
        rows, difference = measure(Path(name), path, options.repeats)
    options.output.write_text(json.dumps({"rows": rows, "max_abs_difference": difference}, indent=2))
    table(rows, f"Cold start, one raw DICOM of {options.size} x {options.size}, median")
    if not difference <= TOLERANCE:
        sys.exit(f"a probability differs by {difference}")


def measure(folder: Path, image: Path, repeats: int) -> tuple[list[dict], float]:
    """Rows of the table, and the largest difference of a probability."""
    predict = [*COMMAND, "predict", "--bundle", str(SHIPPED), "--json", str(image)]
    stock = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run"]
    stock += ["--config_file", str(SHIPPED / "configs" / "inference.yaml"), "--bundle_root", str(SHIPPED)]
    stock += ["--dataset_dir", str(image.parent), "--output_dir", str(folder / "out")]
    ways = {
        "monai.bundle run": stock,
        "--help": [*COMMAND, "--help"],
        "predict, first on a machine": predict,
        "predict": predict,
        "predict, files not in memory": predict,
        "predict --backend torch": [*predict, "--backend", "torch"],
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    shown = []
    for repeat in range(repeats):
        cache = folder / f"cache{repeat}"  # "first on a machine" finds it empty
        for way, command in ways.items():
            if way.endswith("not in memory"):
                forget(Path(sysconfig.get_paths()["platlib"]))
            begin = time.perf_counter()
            done = subprocess.run(
                command, env=os.environ | {"COVID_MONAI_CACHE": str(cache)}, capture_output=True, text=True
            )
            seconds[way].append(time.perf_counter() - begin)
            if done.returncode:
                raise SystemExit(f"{way}: {done.stderr[-500:]}")
            if way.startswith("predict"):
                shown.append(json.loads(done.stdout)["probabilities"])
    difference = max(abs(one[name] - shown[0][name]) for one in shown for name in one)
    return [{"way": way, "seconds": statistics.median(taken)} for way, taken in seconds.items()], difference


def forget(folder: Path) -> None:
    """Ask the kernel to drop a folder's files from memory; those that another process maps stay."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()

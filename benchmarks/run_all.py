"""The benchmarks of docs/performance.md one after another; `make bench` calls this.

    python benchmarks/run_all.py --output build/bench
    python benchmarks/run_all.py --only growth cuda_rate

Each script prints its table and writes NAME.json into the folder; a line says how long it took. The exit code
is 1 if a script failed, which it does where its own check finds wrong answers. Without the public images
(COVID_MONAI_DATA) what needs them is left out. Not here: `time_to_auc.py`, which trains for minutes.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

DATA = os.environ.get("COVID_MONAI_DATA")
NEED_DATA = ("predict_archive",)
# What is measured, in the order of docs/performance.md, with arguments beside --output.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "jpeg_to_tensor": (),
    "dicom_to_tensor": (),
    "cold_start": (),
    "predict_one": (),
    "predict_archive": (),
    "predict_memory": (),
    "training_rate": (),
    "cache": ("--images", str(Path(DATA, "chest_xray").resolve())) if DATA else (),
    "several_processes": (),
    "growth": (),
    "rest_load": ("--requests", "4"),
    "cuda_rate": () if torch.cuda.is_available() else ("--device", "cpu", "--quick"),
}


def main() -> None:
    """Run what was asked for and say how long each took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build/bench"))
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=tuple(SCRIPTS))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    failed, begin = [], time.monotonic()
    for name in options.only:
        if name in NEED_DATA and not DATA:
            print(f"== {name}: left out, set COVID_MONAI_DATA to the public images (data/README.md)")
            continue
        started = time.monotonic()
        code = run(name, options.output / f"{name}.json")
        outcome = "done" if code == 0 else f"FAILED with exit code {code}"
        failed += [name] * (code != 0)
        print(f"== {name}: {outcome} after {time.monotonic() - started:.0f} s", flush=True)
    print(f"== all: {(time.monotonic() - begin) / 60:.1f} min; figures in {options.output}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def run(name: str, output: Path) -> int:
    """Run one script; its exit code."""
    folder = Path(__file__).parent
    python_path = os.pathsep.join(filter(None, (str(folder.parent), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-W", "ignore", str(folder / f"{name}.py"), "--output", str(output)]
    return subprocess.run([*command, *SCRIPTS[name]], env=os.environ | {"PYTHONPATH": python_path}).returncode


if __name__ == "__main__":
    main()

"""Wall time from a folder of images to a tested model, and the AUROC on the official test.

    python benchmarks/time_to_auc.py $COVID_MONAI_DATA/chest_xray

The script takes about seven minutes on two quiet cores, so `make bench` leaves it out. It runs what a person
would type: `covid-monai data prepare`, the training of configs/experiments/kermany.yaml with an empty cache
on all cores, and `covid-monai evaluate`. It fails if the AUROC is below --least. It needs the extra `train`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import table

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "covid_cxr_classification"
PROGRAM = [sys.executable, "-m", "covid_monai"]


def main() -> None:
    """Run the three commands, print a table and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder of the Kermany set, with train, val and test")
    overlay = ROOT / "configs" / "experiments" / "kermany.yaml"
    parser.add_argument("--overlay", type=Path, default=overlay)
    parser.add_argument(
        "--threads",
        type=int,
        default=os.cpu_count(),
        help="threads of torch; another number rounds differently",
    )
    parser.add_argument("--least", type=float, default=0.97)
    parser.add_argument("--output", type=Path, default=Path("time_to_auc.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        datalist, run = folder / "kermany.json", folder / "run"
        configs = [str(BUNDLE / "configs" / "train.yaml"), str(options.overlay.resolve())]
        prepare = [*PROGRAM, "data", "prepare", "kermany", str(options.images.resolve())]
        training = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(configs)]
        training += ["--bundle_root", str(BUNDLE), "--datalist", str(datalist), "--output_dir", str(run)]
        training += ["--cpu_threads", str(options.threads)]
        evaluate = [*PROGRAM, "evaluate", "--bundle", str(run), "--datalist", str(datalist)]
        commands = {
            "prepare": [*prepare, "--validation-order", "first", "--output", str(datalist)],
            "train": [*training, "--cache_dir", str(folder / "cache")],
            "evaluate": [*evaluate, "--output", str(folder / "results")],
        }
        rows = [{"step": step, "seconds": _run(command, folder)} for step, command in commands.items()]
        auroc = json.loads((folder / "results" / "metrics.json").read_text())["test"]["auroc"]
    scored = sum(row["seconds"] for row in rows)
    options.output.write_text(json.dumps({"rows": rows, "seconds": scored, "test_auroc": auroc}, indent=2))
    table(
        [*rows, {"step": "all", "seconds": scored}],
        f"Test AUROC {auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})",
    )
    if auroc["value"] < options.least:
        sys.exit(f"the AUROC {auroc['value']:.3f} is below {options.least}")


def _run(command: list[str], folder: Path) -> float:
    begin = time.perf_counter()
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlruns.db'}"}
    subprocess.run(command, check=True, env=os.environ | store)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()

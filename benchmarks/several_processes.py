"""Comparison of two processes with one that sees the same images in a step: losses, images, metrics, time.

    python benchmarks/several_processes.py --output several_processes.json

The training has phantoms, ResNet10 at 64 pixels, fp32, and no augmentation, because each process draws its
own random numbers. Every process has one thread, because another number rounds differently. The steps are
few and the learning rate is low, because AdamW's first steps follow the sign of the smallest gradient:
rounding of 5e-7 in the first loss grows to 3e-3 in six steps of 1e-3, and to 1e-3 in six steps of 2e-4 on
some processors.

The script fails unless every step sees the same images and has the same loss within 1e-3, and unless the
validation metrics differ by 1e-3 at most.
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

from covid_monai.phantoms.dataset import write_phantoms

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "covid_cxr_classification"
ALONE = [str(BUNDLE / "configs" / "train.yaml")]
TOGETHER = [*ALONE, str(BUNDLE / "configs" / "multi_gpu_train.yaml")]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
CLOSE = 1e-3  # of losses


def main() -> None:
    """Train both ways, compare step by step, show a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patients", type=int, default=36)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("several_processes.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        datalist = write_phantoms(folder / "images", patients=options.patients, size=96, ct=False)
        (one,), seconds_one = train(folder / "one", datalist, ALONE, (), batch_size=8, epochs=options.epochs)
        two, seconds_two = train(
            folder / "two", datalist, TOGETHER, TORCHRUN, batch_size=4, epochs=options.epochs
        )
    furthest = max(abs(a - b) for a, b in zip(one["loss"], two[0]["loss"], strict=True))
    same_images = all(
        sorted(images) == sorted(two[0]["images"][step] + two[1]["images"][step])
        for step, images in enumerate(one["images"])
    )
    metrics = max(
        abs(alone[name] - together[name])
        for alone, together in zip(one["validation"], two[0]["validation"], strict=True)
        for name in alone
    )
    report = {
        "steps": len(one["loss"]),
        "largest_loss_difference": furthest,
        "same_images": same_images,
        "largest_metric_difference": metrics,
        "seconds_one": seconds_one,
        "seconds_two": seconds_two,
    }
    options.output.write_text(json.dumps(report, indent=2))
    table([{"what": key, "value": value} for key, value in report.items()], "One process and two")
    if furthest > CLOSE or metrics > CLOSE or not same_images:
        raise SystemExit("Two processes do not train as one process does: see the table.")


def train(
    folder: Path,
    datalist: Path,
    configs: list[str],
    launcher: tuple[str, ...],
    *,
    batch_size: int,
    epochs: int,
) -> tuple[list[dict], float]:
    """Return the notes of each process (see tests/processes_helper.py) and the seconds of the run."""
    settings = {"bundle_root": str(BUNDLE), "datalist": str(datalist), "output_dir": str(folder)}
    settings |= {"network_name": "resnet10", "image_size": 64, "precision": "fp32", "learning_rate": 1e-4}
    settings |= {"train::transforms": ["@normalization"]}
    settings |= {"max_epochs": epochs, "batch_size": batch_size}
    script = [str(ROOT / "tests" / "processes_helper.py"), f"{folder}.json", json.dumps(configs)]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}.db"}
    environment |= {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, *script, json.dumps(settings)]
    begin = time.perf_counter()
    subprocess.run(command, check=True, env=environment, capture_output=True)
    seconds = time.perf_counter() - begin
    notes = sorted(folder.parent.glob(f"{folder.name}.*.json"))
    return [json.loads(path.read_text()) for path in notes], seconds


if __name__ == "__main__":
    main()

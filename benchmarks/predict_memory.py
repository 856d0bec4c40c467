"""Resident memory while a folder is classified: it must not grow with the number of files.

    python benchmarks/predict_memory.py                    # 1,000 files
    python benchmarks/predict_memory.py --files 100000

Phantoms are drawn once and linked under as many names as asked for; the network is small (resnet10 with
random weights), because the question is what reading and bookkeeping keep, not how fast a network is. The
list of the files is made before the first reading, as `covid-monai predict` makes it. Check: after the first
tenth the memory grows by less than `--limit`.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import psutil
import torch
from common import table

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint
from covid_monai.datasets.datalist import SPLITS, read_datalist
from covid_monai.inference.classifier import Classifier
from covid_monai.phantoms.dataset import write_phantoms
from covid_monai.readers.image_files import find_image_files

BUNDLE = Path(__file__).parents[1] / "bundles" / "covid_cxr_classification"


def main() -> None:
    """Classify the files and note the resident memory after each tenth."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--size", type=int, default=256, help="rows and columns of an image")
    parser.add_argument("--limit", type=float, default=24, help="MiB of growth that are let pass")
    parser.add_argument("--output", type=Path, default=Path("predict_memory.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = list(measure(Path(name), files=options.files, size=options.size))
    options.output.write_text(json.dumps(rows, indent=2))
    table(rows, "Resident memory of covid_monai.inference.Classifier")
    growth = max(row["resident MiB"] for row in rows[2:]) - rows[1]["resident MiB"]
    if growth > options.limit:
        sys.exit(f"the memory grew by {growth:.0f} MiB after the first tenth of the files")


def measure(folder: Path, *, files: int, size: int) -> Iterator[dict[str, float]]:
    """Resident memory before the first file and after each tenth of the files."""
    torch.manual_seed(0)
    bundle = Bundle(BUNDLE, network_name="resnet10", image_size=64).copy_to(folder / "bundle")
    save_checkpoint(bundle.checkpoint(bundle.build_network()), bundle.checkpoint_path)
    data = read_datalist(write_phantoms(folder / "images", patients=30, size=size, ct=False))
    images = cycle(Path(record["image"]) for split in SPLITS for record in data.records(split))
    (folder / "archive").mkdir()
    for number, image in enumerate(islice(images, files)):
        (folder / "archive" / f"{number:06d}{image.suffix}").symlink_to(image)
    classifier = Classifier(bundle.root, device="cpu")
    yield {"files": 0, "resident MiB": _resident_mib()}
    paths = find_image_files([folder / "archive"]).files
    for done, prediction in enumerate(classifier.predict(paths), start=1):
        if not prediction.ok:
            raise SystemExit(f"{prediction.file}: {prediction.detail}")
        if done * 10 // files > (done - 1) * 10 // files:
            yield {"files": done, "resident MiB": _resident_mib()}


def _resident_mib() -> float:
    return psutil.Process().memory_info().rss / 2**20


if __name__ == "__main__":
    main()

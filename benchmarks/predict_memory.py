"""Resident memory while a folder is classified: it must not grow with the number of files.

    python benchmarks/predict_memory.py --files 2000

Phantoms are drawn once and linked under as many names as asked for; the network is small (resnet10 with
random weights), because the question is what reading and bookkeeping keep, not how fast a network is.
"""

import argparse
import json
import tempfile
from itertools import cycle
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.table import Table

from covid_monai.bundle import Bundle, save_atomically
from covid_monai.datasets.datalist import SPLITS, read_datalist
from covid_monai.datasets.phantom_files import write_phantoms
from covid_monai.inference.classifier import Classifier

BUNDLE = Path(__file__).parents[1] / "bundles" / "covid_cxr_classification"


def main() -> None:
    """Classify the files and note the resident memory at four points."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--size", type=int, default=512, help="rows and columns of a film")
    parser.add_argument("--output", type=Path, default=Path("predict_memory.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name), files=options.files, size=options.size)
    options.output.write_text(json.dumps(rows, indent=2))
    table = Table("files done", "resident MiB", title="covid_monai.inference.Classifier")
    for row in rows:
        table.add_row(str(row["files"]), f"{row['resident_mib']:.0f}")
    Console().print(table)


def measure(folder: Path, *, files: int, size: int) -> list[dict[str, float]]:
    """Resident memory after a tenth, a quarter, half and all of the files."""
    torch.manual_seed(0)
    bundle = Bundle(BUNDLE, network_name="resnet10", image_size=64).copy_to(folder / "bundle")
    save_atomically(bundle.checkpoint(bundle.build_network()), bundle.checkpoint_path)
    data = read_datalist(write_phantoms(folder / "films", patients=30, size=size, ct=False))
    films = cycle(record["image"] for split in SPLITS for record in data.records(split))
    paths = []
    for number in range(files):
        film = Path(next(films))
        path = folder / f"{number:06d}{film.suffix}"
        path.symlink_to(film)
        paths.append(path)
    marks, rows = {files // 10, files // 4, files // 2, files}, []
    for done, prediction in enumerate(Classifier(bundle.root).predict(paths), start=1):
        if not prediction.ok:
            raise SystemExit(f"{prediction.file}: {prediction.detail}")
        if done in marks:
            rows.append({"files": done, "resident_mib": psutil.Process().memory_info().rss / 2**20})
    return rows


if __name__ == "__main__":
    main()

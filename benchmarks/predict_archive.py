"""Measure how many images of an archive each backend classifies in a second, and check its answers.

    python benchmarks/predict_archive.py                    # 600 images
    python benchmarks/predict_archive.py --files 2000

Images of three public collections in COVID_MONAI_DATA, in turns as they are (JPEG, PNG) and as uncompressed
DICOM of a detector's size; files beyond `--images` are links to the same images. Peer: the loop of a MONAI
bundle (SupervisedEvaluator, eager fp32, PydicomReader and PILReader), without and with two loader processes.
Check: no file fails, no backend refuses another file than PyTorch does, and no probability differs from
PyTorch's by more than 1e-5.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from common import table
from prediction_inputs import SHIPPED, public_images, stock_loop, write_raw_dicom

from covid_monai.bundle import Bundle
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.prediction import Prediction

WAYS = ("torch", "onnxruntime", "openvino")
QUICK = ("torch", "openvino")
TOLERANCE = 1e-5


def main() -> None:
    """Make the archive, run every way once in turns, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--images", type=int, default=600, help="different ones")
    parser.add_argument("--dicom-size", type=int, default=1024, help="rows and columns of the DICOM files")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="without ONNX Runtime")
    parser.add_argument("--output", type=Path, default=Path("predict_archive.json"))
    options = parser.parse_args()
    if not os.environ.get("COVID_MONAI_DATA"):
        raise SystemExit("needs the public images: set COVID_MONAI_DATA to their folder (see data/README.md)")
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name), Path(os.environ["COVID_MONAI_DATA"]).resolve(), options)
    options.output.write_text(json.dumps({"threads": torch.get_num_threads(), "rows": rows}, indent=2))
    table(
        rows, f"{options.files} files, every second raw DICOM of {options.dicom_size} x {options.dicom_size}"
    )
    failed = [row["way"] for row in rows if row["max |dp|"] != "" and row["max |dp|"] > TOLERANCE]
    if failed:
        sys.exit(f"a probability differs from PyTorch's by more than {TOLERANCE}: {', '.join(failed)}")


def measure(folder: Path, data: Path, options: argparse.Namespace) -> list[dict]:
    """Rows of the table, the peers first."""
    images = write_archive(folder, data, options)
    files = [str(path) for path in link(folder, images, options.files)]
    bundle = Bundle(SHIPPED)
    network, size = bundle.load_network(), bundle.image_size
    ways: dict[str, Callable[[], list[Prediction] | None]] = {
        "stock loop": partial(stock_loop, network, files, size=size, loaders=0),
        "stock loop, 2 loaders": partial(stock_loop, network, files, size=size, loaders=2),
    }
    for name in QUICK if options.quick else WAYS:
        try:
            classifier = Classifier(bundle.root, device="cpu", backend=name)
        except ImportError as error:
            print(f"left out: {error}")
            continue
        ways[name] = partial(_predict, classifier, files)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    answers: dict[str, list[Prediction]] = {}
    for _ in range(options.repeats):
        for way, run in ways.items():
            begin = time.perf_counter()
            answer = run()
            seconds[way].append(time.perf_counter() - begin)
            if answer is not None:
                answers[way] = answer
    rates = {way: len(files) / float(np.median(taken)) for way, taken in seconds.items()}
    return compare(rates, {way: found[: len(images)] for way, found in answers.items()})


def _predict(classifier: Classifier, files: list[str]) -> list[Prediction]:
    return list(classifier.predict(files))


def write_archive(folder: Path, data: Path, options: argparse.Namespace) -> list[Path]:
    """Collect the images of the archive; write every second one as DICOM."""
    images = []
    (folder / "dicom").mkdir()
    for number, path in enumerate(public_images(data, min(options.images, options.files))):
        if number % 2:
            place = folder / "dicom" / f"{number:05d}.dcm"
            path = write_raw_dicom(path, place, size=options.dicom_size, number=number)
        images.append(path)
    return images


def link(folder: Path, images: list[Path], number: int) -> list[Path]:
    """As many names as asked for, the different images first."""
    (folder / "archive").mkdir()
    links = []
    for index, image in enumerate(islice(cycle(images), number)):
        links.append(folder / "archive" / f"{index:06d}{image.suffix}")
        links[-1].symlink_to(image)
    return links


def compare(rates: dict[str, float], answers: dict[str, list[Prediction]]) -> list[dict]:
    """Compare each way's rate with the stock loop's, its probabilities and decisions with PyTorch's."""
    reference = answers["torch"]
    chosen = np.array([prediction.ok for prediction in reference])
    shown = {way: _probabilities(found, chosen) for way, found in answers.items()}
    decisions = {way: [one.decision for one in found if one.ok] for way, found in answers.items()}
    peer = rates["stock loop"]
    rows = []
    for way, rate in rates.items():
        row = {"way": way, "images/s": rate, "times as fast": rate / peer}
        row |= dict.fromkeys(("max |dp|", "decisions changed"), "")
        if way in shown:
            changed = [
                one["class"] != other["class"]
                for one, other in zip(decisions[way], decisions["torch"], strict=True)
            ]
            row["max |dp|"] = float(np.abs(shown[way] - shown["torch"]).max())
            row["decisions changed"] = float(np.mean(changed))
        rows.append(row)
    return rows


def _probabilities(found: list[Prediction], chosen: np.ndarray) -> np.ndarray:
    if [prediction.ok for prediction in found] != chosen.tolist() or any(
        prediction.status == "error" for prediction in found
    ):
        raise SystemExit("a file failed, or another backend refused other files")
    return np.array([list(one.probabilities.values()) for one in found if one.probabilities is not None])


if __name__ == "__main__":
    main()

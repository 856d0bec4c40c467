"""An archive of images to probabilities: images a second, and what faster arithmetic costs in AUROC.

    python benchmarks/predict_archive.py                    # 600 images
    python benchmarks/predict_archive.py --files 2000

Images of three public collections in COVID_MONAI_DATA, in turns as they are (JPEG, PNG) and as uncompressed
DICOM of a detector's size; files beyond `--images` are links to the same images. Peer: the loop of a MONAI
bundle (SupervisedEvaluator, eager fp32, PydicomReader and PILReader), without and with two loader processes.
Check: no file fails, and the AUROC falls by no more than 0.002 from that of PyTorch in fp32. The
shipped weights have seen some of the images: the AUROC is no estimate of anything but that fall.
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
from prediction_inputs import SHIPPED, labelled_images, stock_loop, with_int8, write_raw_dicom
from sklearn.metrics import roc_auc_score

from covid_monai.bundle import Bundle
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.prediction import Prediction
from covid_monai.inference.quantize import MAX_AUROC_LOSS

WAYS = (
    ("torch", "fp32"),
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnxruntime", "int8"),
)
QUICK = (("torch", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))


def main() -> None:
    """Make the archive, run every way once in turns, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--images", type=int, default=600, help="different ones")
    parser.add_argument("--dicom-size", type=int, default=1024, help="rows and columns of the DICOM files")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="without int8 and ONNX Runtime")
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
    failed = [
        row["way"]
        for row in rows
        if row.get("AUROC loss") not in ("", None) and row["AUROC loss"] > MAX_AUROC_LOSS
    ]
    if failed:
        sys.exit(f"AUROC falls by more than {MAX_AUROC_LOSS}: {', '.join(failed)}")


def measure(folder: Path, data: Path, options: argparse.Namespace) -> list[dict]:
    """Rows of the table, the peers first."""
    images = write_archive(folder, data, options)
    files = [str(path) for path in link(folder, images, options.files)]
    bundle = Bundle(SHIPPED) if options.quick else with_int8(folder, data)
    network, size = bundle.load_network(), bundle.image_size
    ways: dict[str, Callable[[], list[Prediction] | None]] = {
        "stock loop": partial(stock_loop, network, files, size=size, loaders=0),
        "stock loop, 2 loaders": partial(stock_loop, network, files, size=size, loaders=2),
    }
    for name, precision in QUICK if options.quick else WAYS:
        try:
            classifier = Classifier(bundle.root, device="cpu", backend=name, precision=precision)
        except (FileNotFoundError, ImportError, ValueError) as error:
            print(f"left out: {error}")
            continue
        ways[f"{name} {precision}"] = partial(_predict, classifier, files)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    answers: dict[str, list[Prediction]] = {}
    for _ in range(options.repeats):
        for way, run in ways.items():
            begin = time.perf_counter()
            answer = run()
            seconds[way].append(time.perf_counter() - begin)
            if answer is not None:
                answers[way] = answer
    labels = np.array([label for _, label in images])
    rates = {way: len(files) / float(np.median(taken)) for way, taken in seconds.items()}
    return compare(rates, {way: found[: len(images)] for way, found in answers.items()}, labels)


def _predict(classifier: Classifier, files: list[str]) -> list[Prediction]:
    return list(classifier.predict(files))


def write_archive(folder: Path, data: Path, options: argparse.Namespace) -> list[tuple[Path, int]]:
    """Images with their labels; every second one as DICOM."""
    images = []
    (folder / "dicom").mkdir()
    for number, record in enumerate(labelled_images(data, min(options.images, options.files))):
        path = Path(record["image"])
        if number % 2:
            place = folder / "dicom" / f"{number:05d}.dcm"
            path = write_raw_dicom(path, place, size=options.dicom_size, number=number)
        images.append((path, record["label"]))
    return images


def link(folder: Path, images: list[tuple[Path, int]], number: int) -> list[Path]:
    """As many names as asked for, the different images first."""
    (folder / "archive").mkdir()
    links = []
    for index, (image, _) in enumerate(islice(cycle(images), number)):
        links.append(folder / "archive" / f"{index:06d}{image.suffix}")
        links[-1].symlink_to(image)
    return links


def compare(rates: dict[str, float], answers: dict[str, list[Prediction]], labels: np.ndarray) -> list[dict]:
    """Rate of each way against the stock loop; probabilities and decisions against PyTorch in fp32."""
    reference = answers["torch fp32"]
    chosen = np.array([prediction.ok for prediction in reference])
    shown = {way: _probabilities(found, chosen) for way, found in answers.items()}
    decisions = {way: [one.decision for one in found if one.ok] for way, found in answers.items()}
    peer, right = rates["stock loop"], _auroc(labels[chosen], shown["torch fp32"])
    rows = []
    for way, rate in rates.items():
        row = {"way": way, "images/s": rate, "times as fast": rate / peer}
        row |= dict.fromkeys(("AUROC loss", "max |dp|", "decisions changed"), "")
        if way in shown:
            changed = [
                one["class"] != other["class"]
                for one, other in zip(decisions[way], decisions["torch fp32"], strict=True)
            ]
            row["AUROC loss"] = right - _auroc(labels[chosen], shown[way])
            row["max |dp|"] = float(np.abs(shown[way] - shown["torch fp32"]).max())
            row["decisions changed"] = float(np.mean(changed))
        rows.append(row)
    return rows


def _probabilities(found: list[Prediction], chosen: np.ndarray) -> np.ndarray:
    if [prediction.ok for prediction in found] != chosen.tolist() or any(
        prediction.status == "error" for prediction in found
    ):
        raise SystemExit("a file failed, or another backend refused other files")
    return np.array([list(one.probabilities.values()) for one in found if one.probabilities is not None])


def _auroc(labels: np.ndarray, shown: np.ndarray) -> float:
    return float(np.mean([roc_auc_score(labels == k, shown[:, k]) for k in range(shown.shape[1])]))


if __name__ == "__main__":
    main()

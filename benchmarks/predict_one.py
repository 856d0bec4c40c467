"""One image, warm: a raw 2048 x 2048 DICOM file to probabilities, and the network alone.

    python benchmarks/predict_one.py

Peer: MONAI's PydicomReader and transforms, then the network in eager fp32, with torch's own threads.
Check: all backends agree with PyTorch to 1e-5 of a probability.
"""

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import alternate, table
from prediction_inputs import SHIPPED, stock_preprocessing, write_raw_dicom

from covid_monai.bundle import Bundle
from covid_monai.inference.backends import BACKENDS, load_backend
from covid_monai.inference.classifier import Classifier
from covid_monai.phantoms.radiograph import draw_radiograph

TOLERANCE = 1e-5


def main() -> None:
    """Measure both, print tables, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=SHIPPED)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--output", type=Path, default=Path("predict_one.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        image = draw_radiograph("pneumonia", seed=1, size=options.size)
        path = write_raw_dicom(image, Path(name) / "image.dcm", size=options.size, number=1)
        whole, difference = whole_way(options.bundle, path, options.repeats)
        alone = network_alone(options.bundle, options.repeats)
    found = {
        "threads": torch.get_num_threads(),
        "whole": whole,
        "network": alone,
        "max_abs_difference": difference,
    }
    options.output.write_text(json.dumps(found, indent=2))
    table(whole, f"Raw {options.size} x {options.size} DICOM to probabilities, warm, median")
    table(alone, "The network alone, one image, warm, median")
    if not difference <= TOLERANCE:
        sys.exit(f"a probability differs from PyTorch's by {difference}")


def whole_way(folder: Path, path: Path, repeats: int) -> tuple[list[dict], float]:
    """Milliseconds of each way, and the largest difference of a probability from PyTorch's."""
    bundle = Bundle(folder)
    network, stock = bundle.load_network(), stock_preprocessing(bundle.image_size)

    def peer() -> None:
        with torch.inference_mode():
            torch.softmax(network(stock({"image": str(path)})["image"][None]), dim=1)

    ways = {"MONAI, eager fp32": peer}
    shown = {}
    for name in BACKENDS:
        try:
            classifier = Classifier(folder, device="cpu", batch_size=1, backend=name)
        except ImportError as error:
            print(f"left out: {error}")
            continue
        ways[f"covid_monai, {name}"] = partial(_one, classifier, path)
        shown[name] = np.array(list(_one(classifier, path).values()))
    difference = max(float(np.abs(values - shown["torch"]).max()) for values in shown.values())
    return _rows(alternate(ways, repeats, warm=True)), difference


def _one(classifier: Classifier, path: Path) -> dict[str, float]:
    (prediction,) = classifier.predict([path])
    if prediction.probabilities is None:
        raise SystemExit(f"not classified: {prediction.detail}")
    return prediction.probabilities


def network_alone(folder: Path, repeats: int) -> list[dict]:
    """Milliseconds of one preprocessed image."""
    bundle, cpu = Bundle(folder), torch.device("cpu")
    image = np.random.default_rng(0).normal(size=(1, 1, bundle.image_size, bundle.image_size))
    image = image.astype(np.float32)
    network, tensor = bundle.load_network(), torch.from_numpy(image)

    def eager() -> None:
        with torch.inference_mode():
            network(tensor)

    ways = {"MONAI, eager fp32": eager}
    for name in BACKENDS:
        try:
            run = load_backend(name, bundle, device=cpu, parallel=1)
        except ImportError as error:
            print(f"left out: {error}")
            continue
        ways[name] = partial(run, image)
    return _rows(alternate(ways, repeats, warm=True))


def _rows(seconds: dict[str, float]) -> list[dict]:
    peer = next(iter(seconds.values()))
    return [{"way": way, "ms": 1e3 * taken, "times as fast": peer / taken} for way, taken in seconds.items()]


if __name__ == "__main__":
    main()

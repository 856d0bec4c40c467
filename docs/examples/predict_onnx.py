"""Probabilities from an exported bundle with ONNX Runtime: no torch, no MONAI, no covid_monai.

    pip install numpy onnxruntime pillow pydicom
    python predict_onnx.py BUNDLE_FOLDER image.dcm image.png

It follows the steps of `preprocessing` in the bundle's `configs/metadata.json`, and stops if there are others
than those that it knows. It has no input gate: no file is refused, whatever it shows.
Research software, not a medical device: not for diagnosis or treatment.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from pydicom import dcmread
from pydicom.misc import is_dicom
from pydicom.pixels import apply_modality_lut, apply_voi_lut

KNOWN_STEPS = ["LoadImaged", "Resized", "covid_monai.transforms.PercentileRescaled", "NormalizeIntensityd"]


def read(path: str) -> np.ndarray:
    """Return the image as a viewer displays it, bone bright; [H, W], any range."""
    if not is_dicom(path):
        picture = Image.open(path)
        grey = picture if picture.mode in ("L", "I", "I;16") else picture.convert("L")
        return np.asarray(grey, dtype=np.float64)
    dataset = dcmread(path)
    pixels = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float64)
    return -pixels if dataset.PhotometricInterpretation == "MONOCHROME1" else pixels


def shrink(image: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Return means over `size` fields along an axis; fields overlap if the length does not divide."""
    length = image.shape[axis]
    edges = [(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]
    return np.stack([image.take(range(*edge), axis=axis).mean(axis=axis) for edge in edges], axis=axis)


def preprocess(image: np.ndarray, steps: list[dict]) -> np.ndarray:
    """Return the network input, float32 [1, 1, S, S]."""
    _, resize, rescale, normalize = steps
    rows, columns = resize["spatial_size"]
    image = shrink(shrink(image, rows, axis=0), columns, axis=1)
    low, high = np.percentile(image, [rescale["lower"], rescale["upper"]])
    image = np.clip((image - low) / max(high - low, 1e-9), 0, 1)
    return ((image - normalize["subtrahend"]) / normalize["divisor"]).astype(np.float32)[None, None]


def main(folder: str, files: list[str]) -> None:
    """Print one line of JSON per file."""
    root = Path(folder)
    steps = json.loads((root / "configs" / "metadata.json").read_text())["preprocessing"]["steps"]
    if [step["_target_"] for step in steps] != KNOWN_STEPS:
        sys.exit(f"The bundle has other steps than this example knows ({KNOWN_STEPS}). Adapt `preprocess`.")
    session = onnxruntime.InferenceSession(root / "models" / "model.onnx")
    names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
    # Temperature scaling calibrates the probabilities for images like those of the training.
    calibration = root / "models" / "calibration.json"
    temperature = json.loads(calibration.read_text())["temperature"] if calibration.is_file() else 1.0
    for file in files:
        (logits,) = session.run(["pred"], {"image": preprocess(read(file), steps)})
        odds = np.exp((logits[0].astype(float) - logits[0].max()) / temperature)
        probabilities = dict(zip(names, (odds / odds.sum()).round(6).tolist(), strict=True))
        print(json.dumps({"file": file, "probabilities": probabilities}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

"""Share of test images and of other pictures that the input gate of a bundle refuses.

    python benchmarks/gate.py --bundle runs/NAME --datalist FILE

No outlier was used to fit or to choose anything. Turned and inverted images are made of test images; the
gate has seen turned and inverted training images. `--fit` first fits the gate on the datalist's training and
validation images and stores it in the bundle. COVID_MONAI_DATA adds CT slices and DICOM files of other body
parts. Photographs come with scikit-image, and more DICOM files with pydicom.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import skimage.data
from PIL import Image, ImageOps
from pydicom.data import get_testdata_file
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from covid_monai.bundle import Bundle
from covid_monai.core.errors import exception_chain
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.datasets.datalist import read_datalist
from covid_monai.dicom.view import check_view
from covid_monai.gate.descriptor import describe
from covid_monai.gate.fitting import fit_gate
from covid_monai.gate.gate import MIN_UPRIGHT_PROBABILITY, Gate

_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
BY_READER = 100.0  # beyond every score of the gate
TURNS = {
    "turned left": Image.Transpose.ROTATE_90,
    "upside down": Image.Transpose.ROTATE_180,
    "turned right": Image.Transpose.ROTATE_270,
    "flipped top to bottom": Image.Transpose.FLIP_TOP_BOTTOM,
}


def main() -> None:
    """Score every picture, print the table, write it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("--fit", action="store_true", help="fit the gate first and store it in the bundle")
    parser.add_argument("--turned", type=int, default=200, help="test images that are turned and inverted")
    parser.add_argument("--output", type=Path, default=Path("gate.json"))
    options = parser.parse_args()
    bundle, data = Bundle(options.bundle), read_datalist(options.datalist)
    if options.fit:
        fit_gate(bundle, data.records("training"), data.records("validation")).save(bundle.gate_path)
    gate = Gate.load(bundle)
    if gate is None:
        raise SystemExit(f"{bundle.root} has no input gate. Add --fit to fit one.")
    images = [Path(record["image"]) for record in data.records("test")]
    with tempfile.TemporaryDirectory() as name:
        kinds = write_outliers(Path(name), images, turned=options.turned)
        scores = {kind: score_files(bundle, gate, files) for kind, files in [("test images", images), *kinds]}
    rows = summarise(scores)
    options.output.write_text(json.dumps({"fitted_on": gate.fitted_on, "rows": rows}, indent=2))
    show(rows)


def score_files(bundle: Bundle, gate: Gate, files: list[Path]) -> np.ndarray:
    """Return the larger of distance and improbability of upright, over their limits; above 1 is refused."""

    def score(file: Path) -> float:
        try:
            image = bundle.preprocessing({"image": str(file)})["image"]
            check_view(image.meta)
        except Exception as error:  # MONAI wraps what a transform raises
            if any(isinstance(cause, RefusedImage | UnreadableImage) for cause in exception_chain(error)):
                return BY_READER
            raise
        descriptor = describe(image.as_tensor())
        not_upright = 1 - gate.pose_probabilities(descriptor)[0]
        ratios = gate.distance(descriptor) / gate.distance_limit, not_upright / (1 - MIN_UPRIGHT_PROBABILITY)
        return float(max(ratios))

    with ThreadPoolExecutor(2) as pool:
        return np.array(list(pool.map(score, files)))


def summarise(scores: dict[str, np.ndarray]) -> list[dict]:
    """Return the share refused by reader and gate, and the AUROC against the test images."""
    test, *others = scores.values()
    everything = {
        **scores,
        "all outliers": np.concatenate(others),
        "all but turned and inverted": np.concatenate(
            [found for kind, found in scores.items() if kind not in ("test images", *TURNS, "inverted")]
        ),
    }
    return [
        {
            "kind": kind,
            "images": len(found),
            "refused": float(np.mean(found > 1)),
            "refused_by_reader": float(np.mean(found == BY_READER)),
            "auroc": None
            if kind == "test images"
            else float(roc_auc_score(np.repeat([0, 1], [len(test), len(found)]), np.r_[test, found])),
        }
        for kind, found in everything.items()
        if len(found)
    ]


def show(rows: list[dict]) -> None:
    """Print the table."""
    table = Table("", "images", "refused", "by the reader", "AUROC against test images", title="Input gate")
    for row in rows:
        auroc = "" if row["auroc"] is None else f"{row['auroc']:.3f}"
        shares = (f"{row[key]:.1%}" for key in ("refused", "refused_by_reader"))
        table.add_row(row["kind"], str(row["images"]), *shares, auroc)
    Console().print(table)


def write_outliers(folder: Path, images: list[Path], *, turned: int) -> list[tuple[str, list[Path]]]:
    """Return pictures by kind; pictures that are not files yet are written below `folder`."""
    step = max(1, round(len(images) / turned))
    kinds: dict[str, Iterator[Image.Image]] = {
        **{kind: _turned(images[::step], turn) for kind, turn in TURNS.items()},
        "inverted": (ImageOps.invert(_open(image)) for image in images[::step]),
        "photographs, made grey": (_open(file) for file in _photographs()),
        "noise and gradients": map(Image.fromarray, _patterns()),
        "CT slices": map(Image.fromarray, _ct_slices()),
        "pixels of other DICOM images": map(Image.fromarray, _dicom_pixels()),
    }
    written = [(kind, _write(folder / kind, pictures)) for kind, pictures in kinds.items()]
    return [*written, ("photographs as they are", _photographs()), ("other DICOM files", _dicom_files())]


def _write(folder: Path, pictures: Iterator[Image.Image]) -> list[Path]:
    folder.mkdir(parents=True)
    files = []
    for number, picture in enumerate(pictures):
        files.append(folder / f"{number:04d}.jpg")
        picture.save(files[-1], quality=95)
    return files


def _open(file: Path) -> Image.Image:
    return Image.open(file).convert("L")


def _turned(images: list[Path], turn: Image.Transpose) -> Iterator[Image.Image]:
    return (_open(image).transpose(turn) for image in images)


def _photographs() -> list[Path]:
    folder = Path(skimage.data.__file__).parent
    files = sorted([*folder.glob("*.png"), *folder.glob("*.jpg")])
    return [file for file in files if min(Image.open(file).size) >= 100]


def _patterns() -> Iterator[np.ndarray]:
    random, size = np.random.default_rng(0), 256
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    frequency[0, 0] = 1
    for exponent in (0, 1, 2):  # white, pink, brown
        for _ in range(10):
            spectrum = np.fft.fft2(random.normal(size=(size, size)))
            yield _to_bytes(np.fft.ifft2(spectrum / frequency**exponent).real)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    yield from map(_to_bytes, (rows, columns, rows**2 + columns**2, 1.0 * (rows**2 + columns**2 < 0.5)))


def _ct_slices() -> Iterator[np.ndarray]:
    """Yield axial slices of each volume, in a lung window and in a window for soft tissue (HU)."""
    for path in sorted(_real_data().glob("ct/*.nii.gz")):
        volume = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()
        for index in np.linspace(0.1, 0.9, 12) * volume.shape[2]:
            for center, width in ((-600, 1500), (40, 400)):
                slice_hu = volume[:, :, int(index)].T[::-1]
                yield _to_bytes(np.clip(slice_hu, center - width / 2, center + width / 2))


def _dicom_files() -> list[Path]:
    """Return readable single images whose header does not name the chest."""
    folders = [_real_data() / "dicom", _real_data() / "ct", Path(get_testdata_file("CT_small.dcm")).parent]
    files = [file for folder in folders for file in sorted(folder.glob("*.dcm"))]
    return [file for file in files if _pixels(file) is not None]


def _dicom_pixels() -> Iterator[np.ndarray]:
    seen = set()
    for file in _dicom_files():
        pixels = _pixels(file)
        assert pixels is not None
        if pixels.tobytes() not in seen:  # many test files are one picture in many encodings
            seen.add(pixels.tobytes())
            yield pixels


def _pixels(file: Path) -> np.ndarray | None:
    try:
        ds = pydicom.dcmread(file, force=True)
        pixels = ds.pixel_array.astype(float)
    except (*_DAMAGE, pydicom.errors.InvalidDicomError):  # test files for damage are among them
        return None
    pixels = pixels.mean(axis=2) if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    if pixels.ndim != 2 or min(pixels.shape) < 64 or ds.get("BodyPartExamined") == "CHEST":
        return None
    return _to_bytes(np.clip(pixels, *np.percentile(pixels, (0.5, 99.5))))


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return (255 * (values - values.min()) / max(np.ptp(values), 1e-9)).astype(np.uint8)


def _real_data() -> Path:
    return Path(os.environ.get("COVID_MONAI_DATA") or "absent")


if __name__ == "__main__":
    main()

"""A folder where the commands of the documents work as they stand: phantoms under the names that they use."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pydicom

from covid_monai.evaluation.metrics.prediction_table import write_predictions
from covid_monai.phantoms.dataset import write_phantoms

ROOT = Path(__file__).parents[1]
LINKED = ("configs", "deploy", "docs", "benchmarks", "tests", "data")
NAMES = ("normal", "pneumonia", "covid")


def make_place(place: Path) -> None:
    """Fill a new folder."""
    for name in LINKED:
        (place / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "bundles", place / "bundles")  # a command may write beside the weights
    images = _Images(write_phantoms(place / "drawn", patients=66, size=128, image_format="png", ct=False))
    dicom = _Images(
        write_phantoms(place / "drawn_dicom", patients=36, size=96, image_format="dicom", ct=False)
    )
    # The collections first: none of them shares an image with another.
    _make_kermany(place / "chest_xray", images)
    _make_ieee8023(place / "covid-chestxray-dataset", images)
    _make_darkcovidnet(place / "darkcovidnet", images)
    _make_covid_cxnet(place / "covid-cxnet", images)
    _make_own(place, images, dicom)
    for i in range(60):
        images.copy("normal", place / "normal_adults" / f"{i}.png")
    for name in ("a", "b"):
        _make_scored(place / "runs" / name / "evaluation", seed=ord(name))


class _Images:
    """Phantoms by class, each given out until all have been, then again."""

    def __init__(self, datalist: Path) -> None:
        content = json.loads(datalist.read_text())
        self.records = [record for split in ("training", "validation", "test") for record in content[split]]
        self.root = datalist.parent
        self._next = {name: self._around(k) for k, name in enumerate(NAMES)}

    def _around(self, label: int) -> Iterator[Path]:
        of_class = [self.root / record["image"] for record in self.records if record["label"] == label]
        while True:
            yield from of_class

    def copy(self, class_name: str, target: Path) -> None:
        from PIL import Image

        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(next(self._next[class_name])) as image:
            image.convert("L").save(target)


def _make_own(place: Path, images: _Images, dicom: _Images) -> None:
    """DICOM studies with labels, folders of images, single files, a table."""
    (place / "my_dicom").mkdir()
    rows = []
    for record in dicom.records:
        source = dicom.root / record["image"]
        shutil.copy2(source, place / "my_dicom" / source.name)
        header = pydicom.dcmread(source, stop_before_pixels=True)
        rows.append([header.SOPInstanceUID, NAMES[record["label"]], record["patient"]])
    _write(place / "my_dicom" / "labels.csv", ["SOPInstanceUID", "label", "patient"], rows)
    studies = sorted((place / "my_dicom").glob("*.dcm"))[:3]
    for folder in ("studies", "export"):
        (place / folder).mkdir()
        for image in studies:
            shutil.copy2(image, place / folder)
    shutil.copy2(studies[0], place / "image.dcm")
    for i, name in enumerate((*NAMES, *NAMES)):
        images.copy(name, place / "images" / f"image_{i}.png")
        images.copy(name, place / "more" / f"image_{i}.png")
    for name in NAMES:
        for i in range(8):
            images.copy(name, place / "my_images" / name / f"{i}.png")
    for suffix in ("jpg", "png"):
        images.copy("normal", place / f"image.{suffix}")
    rows = [[f"drawn/{r['image']}", NAMES[r["label"]], r["patient"]] for r in images.records]
    _write(place / "labels.csv", ["image", "label", "patient"], rows)


def _make_kermany(root: Path, images: _Images) -> None:
    for part, numbers in (("train", range(8, 18)), ("test", range(6))):
        for i in numbers:
            images.copy("normal", root / part / "NORMAL" / f"IM-{i:04}-0001.jpeg")
            images.copy("pneumonia", root / part / "PNEUMONIA" / f"person{i}_bacteria_{i}.jpeg")


def _make_ieee8023(root: Path, images: _Images) -> None:
    findings = {"covid": "Pneumonia/Viral/COVID-19", "normal": "No Finding", "pneumonia": "Pneumonia"}
    rows = []
    for i in range(24):
        name = NAMES[i % 3]
        images.copy(name, root / "images" / f"{i}.png")
        rows.append([i, "M", 50, findings[name], "PA", "X-ray", "images", f"{i}.png"])
    header = ["patientid", "sex", "age", "finding", "view", "modality", "folder", "filename"]
    _write(root / "metadata.csv", header, rows)


def _make_darkcovidnet(root: Path, images: _Images) -> None:
    for folder, name in (("Covid-19", "covid"), ("No_findings", "normal"), ("Pneumonia", "pneumonia")):
        for i in range(8):
            images.copy(name, root / folder / f"{100 * NAMES.index(name) + i:08}_000.png")


def _make_covid_cxnet(root: Path, images: _Images) -> None:
    for i in range(8):
        images.copy("covid", root / "covid19" / f"{i:03}.png")
    rows = [[f"{i:03}.png", f"C{i}", "F", 60, "AP"] for i in range(8)]
    _write(root / "metadata.csv", ["filename", "patient_id", "sex", "age", "view"], rows)


def _make_scored(folder: Path, *, seed: int) -> None:
    """A table of probabilities as an evaluation leaves it."""
    import numpy as np

    rng, rows = np.random.default_rng(seed), []
    for i in range(60):
        weights = np.exp(rng.normal(size=3) + 2 * np.eye(3)[i % 3])
        known = {
            "image": f"{i}.png",
            "split": ("validation", "test")[i % 2],
            "patient": str(i),
            "label": i % 3,
        }
        rows.append({**known, "probabilities": weights / weights.sum(), "source": "drawn"})
    folder.mkdir(parents=True)
    write_predictions(folder / "predictions.csv", rows, NAMES)


def _write(path: Path, header: list[str], rows: list[list]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])

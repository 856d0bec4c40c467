"""A data set of phantoms: radiographs in every file format that is read, CT volumes, and their datalists."""

import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from covid_monai.core.errors import check_choice
from covid_monai.core.progress import with_progress
from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES
from covid_monai.datasets.collections.base import Record
from covid_monai.datasets.datalist import SPLITS, load_json, write_datalist
from covid_monai.datasets.split import Splits, split_by_patient
from covid_monai.phantoms.ct_volume import draw_volume
from covid_monai.phantoms.file_formats import SUFFIXES, PhantomPatient, write_radiograph, write_volume
from covid_monai.phantoms.radiograph import draw_radiograph, plant_marker

IMAGE_FORMATS = {
    "mixed": ("cr", "png", "dx", "jpeg", "cr", "png16", "dx", "jpeg"),
    "dicom": ("cr", "dx"),
    "jpeg": ("jpeg",),
    "png": ("png",),
}
_NAME = "phantom"
_SOURCES = {_NAME: {"licence": "Made by covid-monai, Apache-2.0", "synthetic": True}}
_TEST_FRACTION, _VALIDATION_FRACTION = 0.25, 0.20  # validation is a fifth of what test leaves: 15 % of all
_IMAGES_PER_PATIENT = (1, 2)
_CT_PER_CLASS = 2


class _PlannedRadiograph(NamedTuple):
    """A radiograph that is still to be drawn; its record has the path from the folder of the data set."""

    record: Record
    patient: PhantomPatient
    number: int
    file_format: str


def write_phantoms(
    folder: str | Path,
    *,
    patients: int = 120,
    seed: int = 0,
    size: int = 512,
    image_format: str = "mixed",
    ct: bool = True,
    planted_marker: str | None = None,
) -> Path:
    """Write synthetic chest images with a datalist, split by patient 60 % / 15 % / 25 %.

    Class, sex, age, view, number of images and file format are drawn independently of each other, so that
    none of them reveals the class. The folder appears whole or not at all.

    A third of the patients is in each class; each has one or two images. The same seed gives the same files,
    byte for byte. `image_format` is `mixed` (DICOM CR and DX, JPEG, PNG of 8 and 16 bits), `dicom`, `jpeg` or
    `png`. `ct` adds six CT volumes under `ct`, as NIfTI and DICOM series, with their datalist. All images of
    the class `planted_marker` get a bright square in a corner, for an audit to find.

    Returns:
        Path of `datalist.json` in `folder`. A folder of an earlier call is replaced.

    Raises:
        FileExistsError: If `folder` is a file or holds anything that this function did not write.
        ValueError: If an option is out of range.
    """
    _check_options(patients=patients, image_format=image_format, planted_marker=planted_marker)
    folder = Path(folder).absolute()
    _check_replaceable(folder)
    images = _plan(patients, seed=seed, formats=IMAGE_FORMATS[image_format])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        staging = Path(temporary) / "new"
        (staging / "images").mkdir(parents=True)
        for image in with_progress(images, "drawing images"):
            _write_image(image, staging, size=size, marker=planted_marker)
        splits = split_by_patient(
            [image.record for image in images],
            validation_fraction=_VALIDATION_FRACTION,
            test_fraction=_TEST_FRACTION,
            seed=seed,
        )
        _write_datalist(staging / "datalist.json", splits, root=folder, images="radiographs")
        if ct:
            _write_ct(staging / "ct", root=folder / "ct", seed=seed)
        _check_replaceable(folder)  # again, because drawing takes a while
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        staging.rename(folder)
    return folder / "datalist.json"


def _check_options(*, patients: int, image_format: str, planted_marker: str | None) -> None:
    fewest = 3 * len(DEFAULT_CLASS_NAMES)
    if patients < fewest:
        raise ValueError(
            f"{patients} patients are too few for 3 splits of 3 classes. Choose {fewest} patients or more."
        )
    check_choice("image format", image_format, IMAGE_FORMATS)
    if planted_marker is not None:
        check_choice("class", planted_marker, DEFAULT_CLASS_NAMES)


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file. Name a new or empty folder for the phantoms.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    foreign = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_ours(path)]
    if foreign or not (folder / "datalist.json").is_file():
        found = f"holds {foreign[0].name}, which is not a phantom" if foreign else "has no phantoms' datalist"
        raise FileExistsError(f"{folder} {found}. Nothing was written. Name a new or empty folder.")


def _is_ours(path: Path) -> bool:
    if path.name != "datalist.json":
        return path.name.startswith("PHANTOM-")
    try:
        return load_json(path).get("name") == _NAME
    except ValueError:
        return False


def _plan(patients: int, *, seed: int, formats: Sequence[str]) -> list[_PlannedRadiograph]:
    """Draw the patients and choose the file format of each image; neither depends on the class."""
    rng = np.random.default_rng([seed, 0])
    classes = rng.permutation(np.arange(patients) % len(DEFAULT_CLASS_NAMES))
    made = {name: count(int(rng.integers(len(formats)))) for name in DEFAULT_CLASS_NAMES}
    images = []
    for index, label in enumerate(classes):
        class_name = DEFAULT_CLASS_NAMES[label]
        patient = _draw_patient(rng, f"PHANTOM-{index + 1:04d}")
        view = "AP" if rng.random() < 0.25 else "PA"
        for number in range(1, 1 + int(rng.choice(_IMAGES_PER_PATIENT))):
            # Each class goes through the formats in turn, so that all classes have equal shares of them.
            file_format = formats[next(made[class_name]) % len(formats)]
            path = Path("images") / f"{patient.patient_id}_{number}{SUFFIXES[file_format]}"
            record = _record(path, class_name, patient, view)
            images.append(_PlannedRadiograph(record, patient, number, file_format))
    return images


def _draw_patient(rng: np.random.Generator, patient_id: str) -> PhantomPatient:
    sex, age = str(rng.choice(["F", "M"])), int(rng.integers(20, 86))
    return PhantomPatient(patient_id, sex=sex, age=age, seed=int(rng.integers(2**31)))


def _record(path: Path, class_name: str, patient: PhantomPatient, view: str | None = None) -> Record:
    name = f"{_NAME}:{patient.patient_id}"
    return Record(path, class_name, _NAME, name, view=view, sex=patient.sex, age=patient.age)


def _write_image(image: _PlannedRadiograph, folder: Path, *, size: int, marker: str | None) -> None:
    record, patient, number, file_format = image
    sex, view = patient.sex, str(record.view)
    pixels = draw_radiograph(
        record.class_name, seed=patient.seed, size=size, repeat=number - 1, sex=sex, view=view
    )
    if record.class_name == marker:
        pixels = plant_marker(pixels)
    path = folder / record.image
    write_radiograph(pixels, path, patient, file_format=file_format, number=number, view=view)


def _write_datalist(path: Path, splits: Splits, *, root: Path, images: str) -> None:
    def items(records: Sequence[Record]) -> list[dict[str, Any]]:
        return [record.to_item(root=root, class_names=DEFAULT_CLASS_NAMES) for record in records]

    write_datalist(
        path,
        class_names=DEFAULT_CLASS_NAMES,
        splits={split: items(getattr(splits, split)) for split in SPLITS},
        root=root,
        sources=_SOURCES,
        name=_NAME,
        description=f"Synthetic chest {images} drawn by a computer program: not patients, not for diagnosis",
    )


def _write_ct(staging: Path, *, root: Path, seed: int) -> None:
    """Write every volume as NIfTI, which the datalist lists, and as a DICOM series of the same name."""
    rng = np.random.default_rng([seed, 1])
    staging.mkdir()
    records = []
    for number, class_name in enumerate(DEFAULT_CLASS_NAMES * _CT_PER_CLASS, start=1):
        patient = _draw_patient(rng, f"PHANTOM-CT-{number:02d}")
        write_volume(draw_volume(class_name, seed=patient.seed), staging, patient)
        records.append(_record(Path(f"{patient.patient_id}.nii.gz"), class_name, patient))
    splits = split_by_patient(records, validation_fraction=0, test_fraction=0.5, seed=seed)
    _write_datalist(staging / "datalist.json", splits, root=root, images="CT volumes")

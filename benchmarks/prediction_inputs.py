"""What the benchmarks of prediction share: images on disk, and the loop of a stock MONAI bundle."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.data.image_reader import PILReader, PydicomReader
from monai.engines import SupervisedEvaluator
from monai.transforms import (
    Compose,
    LoadImaged,
    NormalizeIntensityd,
    Resized,
    ScaleIntensityRangePercentilesd,
)
from PIL import Image

from covid_monai.bundle import Bundle
from covid_monai.inference.quantize import QuantisationError, quantise
from covid_monai.phantoms.dicom import PhantomPatient, radiograph_dataset

SHIPPED = Path(__file__).parents[1] / "bundles" / "covid_cxr_classification"
FOLDERS = {  # of COVID_MONAI_DATA, to the class
    "chest_xray/test/NORMAL": 0,
    "darkcovidnet/No_findings": 0,
    "chest_xray/test/PNEUMONIA": 1,
    "darkcovidnet/Pneumonia": 1,
    "darkcovidnet/Covid-19": 2,
    "covid-cxnet/covid19": 2,
}


def labelled_images(data: Path, number: int, *, begin: int = 0) -> list[dict[str, Any]]:
    """Records with `image` and `label`, as many of each folder; the shipped weights have seen some."""
    each = -(-number // len(FOLDERS))
    return [
        {"image": str(path), "label": label}
        for folder, label in FOLDERS.items()
        for path in sorted((data / folder).iterdir())[begin : begin + each]
    ][:number]


def with_int8(folder: Path, data: Path) -> Bundle:
    """Copy the shipped bundle, with int8 where it is as good; calibrated and compared on real images.

    Of each folder they are other images than the first hundred.
    """
    bundle = Bundle(shutil.copytree(SHIPPED, folder / "bundle"))
    others = labelled_images(data, 1200, begin=100)
    try:
        quantise(bundle, others[::5], [image for number, image in enumerate(others) if number % 5])
    except (ImportError, QuantisationError) as error:
        print(f"no int8: {error}")
    return bundle


def write_raw_dicom(image: Path | np.ndarray, path: Path, *, size: int, number: int) -> Path:
    """An image as DICOM, 12 bits in 16, uncompressed, at the size of a detector."""
    if isinstance(image, Path):
        grey = Image.open(image).convert("L").resize((size, size), Image.Resampling.BILINEAR)
        image = np.asarray(grey, np.float32) / 255
    patient = PhantomPatient(f"BENCH-{number:04d}", "F", 50, seed=number)
    radiograph_dataset(image, patient, number=1, view="PA").save_as(path, write_like_original=False)
    return path


def stock_preprocessing(size: int) -> Compose:
    """The steps of inference.yaml in MONAI's own parts, with its own readers."""
    readers = [PydicomReader(), PILReader(converter=lambda picture: picture.convert("L"))]
    return Compose(
        [
            LoadImaged("image", reader=readers, ensure_channel_first=True),
            Resized("image", (size, size), mode="area"),
            ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1, clip=True),
            NormalizeIntensityd("image", 0.449, 0.226),
        ]
    )


def stock_loop(network: torch.nn.Module, files: Sequence[str], *, size: int, loaders: int) -> None:
    """What `python -m monai.bundle run` does of a stock bundle: eager fp32, batches of 16."""
    dataset = Dataset([{"image": file} for file in files], stock_preprocessing(size))
    loader = DataLoader(dataset, batch_size=16, num_workers=loaders)
    SupervisedEvaluator(device=torch.device("cpu"), val_data_loader=loader, network=network).run()

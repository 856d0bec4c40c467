"""What the benchmarks of prediction share: images on disk, and the loop of a stock MONAI bundle."""

from collections.abc import Sequence
from pathlib import Path

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

from covid_monai.phantoms.file_formats import PhantomPatient, radiograph_dataset

SHIPPED = Path(__file__).parents[1] / "bundles" / "covid_cxr_classification"
FOLDERS = (  # of COVID_MONAI_DATA
    *("chest_xray/test/NORMAL", "darkcovidnet/No_findings", "chest_xray/test/PNEUMONIA"),
    *("darkcovidnet/Pneumonia", "darkcovidnet/Covid-19", "covid-cxnet/covid19"),
)


def public_images(data: Path, number: int) -> list[Path]:
    """List image files of the public collections, as many of each folder."""
    each = -(-number // len(FOLDERS))
    return [path for folder in FOLDERS for path in sorted((data / folder).iterdir())[:each]][:number]


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

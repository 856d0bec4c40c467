"""Reading phantoms with functions of other packages."""

from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_voi_lut

from covid_monai.datasets.datalist import SPLITS, read_datalist


def records(folder: Path) -> list[dict]:
    datalist = read_datalist(folder / "datalist.json")
    return [record for split in SPLITS for record in datalist.records(split)]


def stored_image(path: Path) -> np.ndarray:
    """Read an image in [0, 1], bright bone, with pydicom's and Pillow's own functions."""
    if path.suffix != ".dcm":
        pixels = np.asarray(Image.open(path))
        return pixels / np.iinfo(pixels.dtype).max
    ds = pydicom.dcmread(path)
    shown = apply_voi_lut(ds.pixel_array, ds) / (2**ds.BitsStored - 1)
    return 1 - shown if ds.PhotometricInterpretation == "MONOCHROME1" else shown

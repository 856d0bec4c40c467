"""Write one phantom image or volume in each file format that the readers take, labelled as synthetic."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from covid_monai.phantoms.ct import CT_SPACING_MM
from covid_monai.phantoms.dicom import (
    SYNTHETIC,
    PhantomPatient,
    ct_slice_dataset,
    radiograph_dataset,
)


class PhantomRadiograph(NamedTuple):
    """A drawn image with what its file says about it."""

    pixels: NDArray[np.float32]  # [H, W] in [0, 1]
    patient: PhantomPatient
    number: int
    view: str


class FileFormat(NamedTuple):
    """A file format: how its names end, and the function that writes it."""

    suffix: str
    write: Callable[[PhantomRadiograph, Path], None]


def _write_cr(image: PhantomRadiograph, path: Path) -> None:
    radiograph_dataset(image.pixels, image.patient, number=image.number, view=image.view).save_as(path)


def _write_dx(image: PhantomRadiograph, path: Path) -> None:
    ds = radiograph_dataset(image.pixels, image.patient, number=image.number, view=image.view, inverted=True)
    ds.save_as(path)


def _write_jpeg(image: PhantomRadiograph, path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = SYNTHETIC
    Image.fromarray(_quantized(image, np.uint8)).save(path, quality=95, comment=SYNTHETIC, exif=exif)


def _write_png(image: PhantomRadiograph, path: Path) -> None:
    _save_png(_quantized(image, np.uint8), path)


def _write_png16(image: PhantomRadiograph, path: Path) -> None:
    _save_png(_quantized(image, np.uint16), path)


def _quantized(image: PhantomRadiograph, dtype: type[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    return np.rint(image.pixels * np.iinfo(dtype).max).astype(dtype)


def _save_png(pixels: NDArray[np.unsignedinteger], path: Path) -> None:
    text = PngInfo()
    text.add_text("Description", SYNTHETIC)
    # Noise does not compress: the fastest level gives files 3 % larger in a fifth of the time.
    Image.fromarray(pixels).save(path, pnginfo=text, compress_level=1)


FILE_FORMATS = {
    "cr": FileFormat(".dcm", _write_cr),
    "dx": FileFormat(".dcm", _write_dx),
    "jpeg": FileFormat(".jpg", _write_jpeg),
    "png": FileFormat(".png", _write_png),
    "png16": FileFormat(".png", _write_png16),
}


def write_nifti(volume_hu: NDArray[np.int16], path: Path) -> None:
    """Write a volume `[X, Y, Z]` (RAS, HU) as NIfTI, the origin in its middle."""
    affine = np.diag([*CT_SPACING_MM, 1.0])
    affine[:3, 3] = _first_voxel_mm(volume_hu.shape)
    image = nib.Nifti1Image(volume_hu, affine)
    image.header["descrip"] = SYNTHETIC[:79]  # the field holds 80 bytes
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def write_ct_series(volume_hu: NDArray[np.int16], folder: Path, patient: PhantomPatient) -> None:
    """Write a volume `[X, Y, Z]` (RAS, HU) as a DICOM series in `folder`, one file a slice."""
    folder.mkdir(parents=True)
    x, y, z = _first_voxel_mm(volume_hu.shape)  # in LPS as well: the volume lies centred on the origin
    width, height, depth = CT_SPACING_MM
    for index in range(volume_hu.shape[2]):
        ds = ct_slice_dataset(
            volume_hu[::-1, ::-1, index].T,  # RAS to LPS
            patient,
            number=index + 1,
            position_mm=(x, y, z + index * depth),
            spacing_mm=(height, width, depth),
        )
        ds.save_as(folder / f"{patient.patient_id}-{index + 1:03d}.dcm")


def _first_voxel_mm(shape: tuple[int, ...]) -> list[float]:
    return [-(count - 1) / 2 * step for count, step in zip(shape, CT_SPACING_MM, strict=True)]

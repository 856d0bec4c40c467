"""One radiograph from its file: DICOM, JPEG or PNG in, `[1, H, W]` in [0, 1] and its metadata out."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covid_monai.core.errors import name_file_in_errors
from covid_monai.core.vocabulary import RefusedImage
from covid_monai.dicom.acceptance import check_radiograph, get_sop_class_uid
from covid_monai.dicom.elements import get_numbers, get_text
from covid_monai.dicom.file import check_is_dicom, read_dicom, read_head, single_file
from covid_monai.dicom.grayscale import grayscale_table, look_up, render
from covid_monai.dicom.pixels.decode import complete_description, decode_pixels
from covid_monai.dicom.pixels.downscaling import downscale, downscaled_affine
from covid_monai.dicom.pixels.reduced_decoding import average_codes, decode_reduced
from covid_monai.dicom.view import find_other_view
from covid_monai.readers.raster import is_raster, read_raster

IDENTIFIERS = (
    *("Modality", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PatientSex"),
    *("PatientAge", "ViewPosition", "BodyPartExamined", "PhotometricInterpretation", "InstitutionName"),
)


def read_radiograph(
    path: str | Path, *, target_size: int | None = None
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Read one DICOM, JPEG or PNG radiograph as a viewer shows it.

    Args:
        path: File; its content decides the format, not its name. Also the folder of a DICOM series of one
            image, as MONAI Label hands over what it fetched by DICOMweb.
        target_size: Rows and columns that the image will be resized to. A much larger image is downscaled
            (see `downscale_factor`); where its format allows, already during decoding, which is many times
            as fast. None reads the whole image.

    Returns:
        Image `[1, H, W]` in [0, 1], rows first, bone bright; and its metadata: always the same keys, never
        None ("" where the file does not say). `spatial_shape`, `spacing_mm` and `original_affine` are those
        of the file, `affine` is that of the image. `spacing_mm` is (row, column) and (1, 1) where
        `spacing_source` is "none"; ImagerPixelSpacing is measured at the detector, where the patient
        appears larger. `other_view` says what `check_view` refuses.

    Raises:
        RefusedImage: The file is readable, but not one grey frame of a chest radiograph.
        UnreadableImage: The file is missing, damaged, or in a format that is not read.
    """
    path = Path(path)
    with name_file_in_errors(path):
        path = single_file(path)
    with name_file_in_errors(path):
        head = read_head(path)
        if is_raster(head):
            image, full_size = read_raster(path, target_size=target_size)
            return _with_metadata(image, Dataset(), path=path, full_size=full_size)
        check_is_dicom(head, formats="DICOM, JPEG or PNG")
        ds = read_dicom(path)
        check_radiograph(ds)
        complete_description(ds)
        image = _decode_and_render(ds, target_size)
        return _with_metadata(image, ds, path=path, full_size=(int(ds.Rows), int(ds.Columns)))


def _decode_and_render(ds: Dataset, target_size: int | None) -> NDArray[np.float32]:
    """Decode and render, where possible at a reduced size."""
    codes = None if target_size is None else decode_reduced(ds, target_size)
    if codes is not None:
        try:
            return downscale(render(codes, ds, bits_stored=int(ds.BitsStored)), target_size)
        except RefusedImage:  # fewer pixels are smoother: the whole image decides
            pass
    codes, bits_stored = decode_pixels(ds)
    table = grayscale_table(codes, ds, bits_stored=bits_stored)  # of all pixels: a letter is few of them
    codes = average_codes(codes, ds, bits_stored=bits_stored, target_size=target_size)
    return downscale(look_up(table, codes), target_size)


def _with_metadata(
    image: NDArray[np.float32], ds: Dataset, *, path: Path, full_size: tuple[int, int]
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Add the channel and describe the image."""
    spacing, source = _spacing(ds)
    affine = np.diag([*spacing, 1.0, 1.0])
    meta: dict[str, Any] = {
        "filename_or_obj": str(path),
        "original_channel_dim": 0,
        "spatial_shape": np.asarray(full_size),
        "affine": downscaled_affine(affine, full_size, image.shape),
        "original_affine": affine,
        "spacing_mm": np.asarray(spacing),
        "spacing_source": source,
        "SOPClassUID": get_sop_class_uid(ds),
        "other_view": find_other_view(ds),
    }
    meta.update({keyword: get_text(ds, keyword) for keyword in IDENTIFIERS})
    return image[np.newaxis], meta


def _spacing(ds: Dataset) -> tuple[list[float], str]:
    """Return row and column spacing in mm, and the element that it comes from (PS3.3 10.7.1.3)."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        spacing = get_numbers(ds, keyword)
        if len(spacing) == 2 and min(spacing) > 0:
            return spacing, keyword
    return [1.0, 1.0], "none"

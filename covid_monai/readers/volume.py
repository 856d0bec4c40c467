"""One CT volume from its files: DICOM series or NIfTI in, `[1, X, Y, Z]` in HU and RAS out."""

import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covid_monai.core.errors import name_file_in_errors
from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.dicom.elements import get_text
from covid_monai.dicom.file import is_dicom, read_dicom
from covid_monai.dicom.frames import frame_images
from covid_monai.dicom.grayscale import look_up
from covid_monai.dicom.pixels.decode import decode_pixels
from covid_monai.readers import nifti
from covid_monai.readers.hounsfield import (
    check_highest,
    check_not_below_air,
    fill_padding,
    hounsfield_table,
)
from covid_monai.readers.series import IDENTIFIERS, Slice, find_slices
from covid_monai.readers.slice_geometry import stack_slices

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_volume(path: str | Path, *, series_uid: str = "") -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Read a CT volume and turn its axes towards right, anterior, superior.

    No voxel is resampled: axes are only swapped and flipped, so an oblique volume stays oblique and its
    affine says so. Padding becomes air (-1000 HU).

    Args:
        path: Folder of a DICOM series, one DICOM file (a slice, or an enhanced multi-frame object), or a
            NIfTI file (.nii, .nii.gz).
        series_uid: SeriesInstanceUID of the series to read where a folder holds several.

    Returns:
        Volume `[1, X, Y, Z]` in HU and its metadata: always the same keys, never None. `affine` maps voxel
        indices to mm in RAS; `spacing_mm` is (x, y, z).

    Raises:
        RefusedImage: NOT_CT, SEVERAL_VOLUMES, UNSOUND_GEOMETRY (a slice is missing or doubled, the gantry is
            tilted, spacing or orientation is missing), NOT_HOUNSFIELD, or TOO_LARGE. The message names the
            slice and the element.
        UnreadableImage: A file is missing or damaged.
    """
    path = Path(path)
    with name_file_in_errors(path):
        if not path.exists():
            raise UnreadableImage("There is no such file or folder. Check the path.")
        if path.is_file() and path.name.lower().endswith(nifti.SUFFIXES) and not is_dicom(path):
            image, identifiers = nifti.read_nifti(path), {}
        else:
            slices, affine = stack_slices(find_slices(path, series_uid=series_uid))
            image = nib.Nifti1Image(_read_slices(slices).T, _LPS_TO_RAS @ affine)
            identifiers = {keyword: get_text(slices[0].header, keyword) for keyword in IDENTIFIERS}
        return _canonical(image, identifiers, path=path)


def _read_slices(slices: list[Slice]) -> NDArray[np.float32]:
    """Decode slices to `[slice, row, column]` in HU, several files at once."""
    shape = (int(slices[0].get_vector(keyword, 1)[0]) for keyword in ("Rows", "Columns"))
    volume = np.empty((len(slices), *shape), np.float32)
    files = defaultdict[Path, dict[int, int]](dict)
    for index, one in enumerate(slices):
        files[one.path][one.frame] = index

    def read_file(file: Path) -> None:
        with name_file_in_errors(file):
            for frame, ds in enumerate(frame_images(read_dicom(file))):
                if frame in files[file]:
                    index = files[file][frame]
                    volume[index] = _decode_slice(ds, slices[index])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(read_file, files))  # an error drops the files that wait
    check_not_below_air(volume)
    return fill_padding(volume)


def _decode_slice(ds: Dataset, one: Slice) -> NDArray[np.float32]:
    """Decode one single-frame image to `[row, column]` in HU."""
    ds.update(one.header)
    ds.PhotometricInterpretation = "MONOCHROME2"  # it concerns the display only (PS3.3 C.7.6.3.1.2)
    with name_file_in_errors(Path(one.name)):
        codes, bits_stored = decode_pixels(ds)
        image_hu = look_up(hounsfield_table(ds, bits_stored=bits_stored), codes)
        check_highest(image_hu)
    return image_hu


def _canonical(
    image: nib.Nifti1Image, identifiers: dict[str, str], *, path: Path
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Reorient to RAS, add the channel and describe the volume."""
    canonical = nib.as_closest_canonical(image)
    turned = canonical.get_fdata(dtype=np.float32)
    volume = np.empty(turned.shape, np.float32)
    for y in range(volume.shape[1]):  # one plane at a time stays in the processor's cache
        volume[:, y] = turned[:, y]
    return volume[np.newaxis], {
        "filename_or_obj": str(path),
        "original_channel_dim": 0,
        "spatial_shape": np.asarray(volume.shape),
        "space": "RAS",
        "affine": canonical.affine,
        "original_affine": image.affine,
        "spacing_mm": np.asarray(voxel_sizes(canonical.affine)),
        **{keyword: identifiers.get(keyword, "") for keyword in IDENTIFIERS},
    }

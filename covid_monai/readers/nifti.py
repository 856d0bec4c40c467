"""A CT volume from a NIfTI file, which does not say whether its values are Hounsfield units."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.readers.hounsfield import (
    AIR_HU,
    check_has_air,
    check_highest,
    check_not_below_air,
    fill_padding,
)
from covid_monai.readers.slice_geometry import check_grid

SUFFIXES = (".nii", ".nii.gz")
_MM_OF_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown, metre, mm, micron (nifti1.h)
_AGREEMENT_MM = 0.5  # between the corners of the volume by qform and by sform


def read_nifti(path: Path) -> nib.Nifti1Image:
    """Read one 3D volume in Hounsfield units, with an affine in mm.

    Raises:
        RefusedImage: SEVERAL_VOLUMES for a time series, UNSOUND_GEOMETRY without one sound orientation,
            NOT_HOUNSFIELD for values that cannot be Hounsfield units.
        UnreadableImage: The file is truncated, damaged, or of another format.
    """
    with _explain_damage():
        image = nib.load(path)
    if len(image.shape) < 3 or np.prod(image.shape[3:]) != 1:
        reasons = RefusalReason.UNSOUND_GEOMETRY, RefusalReason.SEVERAL_VOLUMES
        message = f"Its shape is {image.shape}; one 3D volume was expected."
        raise RefusedImage(reasons[len(image.shape) > 3], message)
    if image.get_data_dtype().kind not in "iuf":
        message = f"Its values are {image.get_data_dtype()}; one real number for each voxel was expected."
        raise RefusedImage(RefusalReason.NOT_HOUNSFIELD, message)
    affine = _read_affine(image)
    check_grid(image.shape[:3], affine)
    with _explain_damage():
        volume = np.array(image.get_fdata(dtype=np.float32, caching="unchanged"))
    volume = volume.reshape(image.shape[:3])
    if not np.isfinite([volume.min(), volume.max()]).all():
        count = format_count(int((~np.isfinite(volume)).sum()), "voxel")
        message = f"NaN or infinity stands in {count}. Set these to {AIR_HU:.0f} where they are air."
        raise RefusedImage(RefusalReason.NOT_HOUNSFIELD, message)
    check_highest(volume)
    check_has_air(volume)
    check_not_below_air(volume)
    return nib.Nifti1Image(fill_padding(volume), affine)


@contextmanager
def _explain_damage() -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise
    except (ImageFileError, HeaderDataError, EOFError, OSError, ValueError, zlib.error) as error:
        message = (
            "This is no whole NIfTI file: it is truncated or damaged, or has the suffix of another format."
        )
        raise UnreadableImage(f"{message} Fetch it from its source again.") from error


def _read_affine(image: nib.Nifti1Image) -> NDArray[np.float64]:
    """Return the affine in mm; sform and qform must agree where both are given."""
    unit = int(image.header["xyzt_units"]) & 7
    if unit not in _MM_OF_UNIT:
        _refuse(f"The unit of length in xyzt_units is {unit}; mm (2) were expected")
    try:
        forms = [f for f, code in (image.get_sform(coded=True), image.get_qform(coded=True)) if code > 0]
    except ValueError:
        _refuse("The quaternion of the qform is invalid. Correct it, or set qform_code to 0")
    if not forms:
        _refuse("Both sform_code and qform_code are 0, so nothing says where left, front and head are")
    corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)]) * [*image.shape[:3], 1]
    scale = _MM_OF_UNIT[unit]
    if np.abs(corners @ (forms[0] - forms[-1]).T).max() * scale > _AGREEMENT_MM:
        _refuse("The sform and the qform disagree about where the volume lies. Set the wrong one's code to 0")
    return np.asarray(np.diag([scale, scale, scale, 1.0]) @ forms[0])


def _refuse(problem: str) -> NoReturn:
    raise RefusedImage(RefusalReason.UNSOUND_GEOMETRY, f"{problem}.")

"""One CT volume from its files: DICOM series or NIfTI in, `[1, X, Y, Z]` in HU and RAS out."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813 (its own documentation calls it so)
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from covid_monai.core.errors import name_file_in_errors
from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.readers.series import IDENTIFIERS, Slice, find_slices, sort_slices

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_DICOM_READER = "GDCMImageIO"  # named, as ITK does not find it for a file without a preamble
_NIFTI_SUFFIXES = (".nii", ".nii.gz")


def read_volume(path: str | Path, *, series_uid: str = "") -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Read a CT volume and turn its axes towards right, anterior, superior.

    No voxel is resampled: axes are only swapped and flipped, so an oblique volume stays oblique and its
    affine says so.

    Args:
        path: Folder of a DICOM series, one DICOM file, or a NIfTI file (.nii, .nii.gz).
        series_uid: SeriesInstanceUID of the series to read where a folder holds several.

    Returns:
        Volume `[1, X, Y, Z]` in HU and its metadata: always the same keys, never None. `affine` maps voxel
        indices to mm in RAS; `spacing_mm` is (x, y, z).

    Raises:
        UnreadableImage: A file is missing or damaged, there are several series, a slice is missing or
            doubled, the gantry is tilted, or the modality has no Hounsfield units.
    """
    path = Path(path)
    with name_file_in_errors(path):
        if not path.exists():
            raise UnreadableImage("There is no such file or folder. Check the path.")
        if path.is_file() and path.name.lower().endswith(_NIFTI_SUFFIXES):
            image, first = _read_nifti(path), None
        else:
            image, first = _read_dicom(path, series_uid=series_uid)
        return _canonical(image, first, path=path)


def _read_nifti(path: Path) -> nib.Nifti1Image:
    image = nib.load(path)
    shape = image.shape[:3]
    if len(image.shape) < 3 or np.prod(image.shape[3:]) != 1:
        raise UnreadableImage(f"Its shape is {image.shape}; one 3D volume was expected.")
    return nib.Nifti1Image(image.get_fdata(dtype=np.float32).reshape(shape), image.affine)


def _read_dicom(path: Path, *, series_uid: str) -> tuple[nib.Nifti1Image, Slice]:
    """Read slices in the order of their positions; ITK applies each slice's rescale."""
    slices = sort_slices(find_slices(path, series_uid=series_uid))
    files = [str(s.path) for s in slices]
    volume = sitk.ReadImage(files[0] if len(files) == 1 else files, sitk.sitkFloat32, _DICOM_READER)
    array = sitk.GetArrayFromImage(volume).T  # ITK's arrays are z, y, x
    return nib.Nifti1Image(array, affine_of(volume)), slices[0]


def affine_of(volume: sitk.Image) -> NDArray[np.float64]:
    """Return the affine of an ITK volume, from voxel index to mm in RAS.

    ITK and DICOM count towards left and posterior.
    """
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(volume.GetDirection(), (3, 3)) * volume.GetSpacing()
    affine[:3, 3] = volume.GetOrigin()
    return _LPS_TO_RAS @ affine


def _canonical(
    image: nib.Nifti1Image, first: Slice | None, *, path: Path
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Reorient to RAS, add the channel and describe the volume."""
    canonical = nib.as_closest_canonical(image)
    volume = np.ascontiguousarray(canonical.get_fdata(dtype=np.float32))
    return volume[np.newaxis], {
        "filename_or_obj": str(path),
        "original_channel_dim": 0,
        "spatial_shape": np.asarray(volume.shape),
        "space": "RAS",
        "affine": canonical.affine,
        "original_affine": image.affine,
        "spacing_mm": np.asarray(voxel_sizes(canonical.affine)),
        **{keyword: first.identifiers.get(keyword, "") if first else "" for keyword in IDENTIFIERS},
    }

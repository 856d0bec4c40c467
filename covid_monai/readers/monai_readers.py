"""The readers as MONAI sees them, for `LoadImage` and `LoadImaged`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import ensure_tuple
from numpy.typing import NDArray

from covid_monai.readers.radiograph import read_radiograph

Paths = Sequence[str | Path] | str | Path


class _DeferredReader(ImageReader):
    """Hands paths on in `read` and reads in `get_data`.

    `LoadImage` takes any exception out of `read` as a hint to try its other readers, which would open a
    refused file in their own way, transposed and without a gray scale. It lets those of `get_data` through.
    """

    def verify_suffix(self, filename: Paths) -> bool:
        """Accept every name: content decides."""
        return True

    def read(self, data: Paths, **kwargs: Any) -> Path:
        """Hand the path on."""
        paths = ensure_tuple(data)
        # More than one cannot be refused here (see the class); get_data does.
        return Path(paths[0]) if len(paths) == 1 else paths


class RadiographReader(_DeferredReader):
    """Reads one chest radiograph (DICOM, JPEG, PNG); see `read_radiograph`.

    Args:
        target_size: Rows and columns that the following steps resize the picture to. Not more than a few
            times as many are then read of it, which is much faster; None reads the whole picture.

    >>> from monai.transforms import LoadImaged
    >>> load = LoadImaged(keys="image", reader=RadiographReader)
    """

    def __init__(self, target_size: int | None = None) -> None:
        self.target_size = target_size

    def get_data(self, img: Path) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read the file: `[1, H, W]` in [0, 1] and its metadata.

        Raises:
            RefusedImage: Not one grey frame of a chest radiograph.
            UnreadableImage: Missing or damaged.
            ValueError: More than one file was asked for.
        """
        return read_radiograph(_only(img), target_size=self.target_size)


class VolumeReader(_DeferredReader):
    """Reads one CT volume (folder of a DICOM series, DICOM file, NIfTI); see `read_volume`.

    Args:
        series_uid: Which series to take where a folder holds several; "" for the only one.
    """

    def __init__(self, series_uid: str = "") -> None:
        self.series_uid = series_uid

    def get_data(self, img: Path) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read the volume: `[1, X, Y, Z]` in HU, RAS, and its metadata.

        Raises:
            UnreadableImage: Missing, damaged, or no regular stack of slices.
            ValueError: More than one path was asked for.
        """
        from covid_monai.readers.volume import read_volume  # needs ITK, which radiographs do not

        return read_volume(_only(img), series_uid=self.series_uid)


def _only(paths: Any) -> Path:
    if isinstance(paths, Path):
        return paths
    raise ValueError(f"{len(paths)} files for one image; give one path, or the folder of a series.")

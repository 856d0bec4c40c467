"""The readers as MONAI's `LoadImage` and `LoadImaged` use them."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import ensure_tuple
from numpy.typing import NDArray

from covid_monai.readers.radiograph import read_radiograph

Paths = Sequence[str | PathLike[Any]] | str | PathLike[Any]


class _DeferredReader(ImageReader):
    """A reader that only passes paths on in `read`, and reads in `get_data`.

    `LoadImage` takes an exception of `read` as a hint to try its other readers. These would open a refused
    file in their own way, transposed and without the grayscale pipeline. It lets exceptions of `get_data`
    through.
    """

    def verify_suffix(self, _filename: Paths) -> bool:
        """Accept every name, because the content decides."""
        return True

    def read(self, data: Paths, **_kwargs: Any) -> tuple[Any, ...]:
        """Pass the paths on; `get_data` refuses more than one."""
        return ensure_tuple(data)


class RadiographReader(_DeferredReader):
    """Reads one chest radiograph (DICOM, JPEG, PNG); see `read_radiograph`.

    Args:
        target_size: Rows and columns that the following steps resize the image to. Then only a few times as
            many are read, which is much faster; None reads the whole image.

    >>> from monai.transforms import LoadImaged
    >>> load = LoadImaged(keys="image", reader=RadiographReader)
    """

    def __init__(self, target_size: int | None = None) -> None:
        self.target_size = target_size

    def get_data(self, img: tuple[Any, ...]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read the file: `[1, H, W]` in [0, 1] and its metadata.

        Raises:
            RefusedImage: The file is not one grey frame of a chest radiograph.
            UnreadableImage: The file is missing or damaged.
            ValueError: More than one file was given.
        """
        return read_radiograph(_only_path(img), target_size=self.target_size)


class VolumeReader(_DeferredReader):
    """Reads one CT volume (folder of a DICOM series, DICOM file, NIfTI); see `read_volume`.

    Args:
        series_uid: Series to read where a folder holds several; "" reads the only one.
    """

    def __init__(self, series_uid: str = "") -> None:
        self.series_uid = series_uid

    def get_data(self, img: tuple[Any, ...]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read the volume: `[1, X, Y, Z]` in HU, RAS, and its metadata.

        Raises:
            UnreadableImage: The file is missing or damaged, or the slices are not a regular stack.
            ValueError: More than one path was given.
        """
        from covid_monai.readers.volume import read_volume  # needs ITK, which radiographs do not

        return read_volume(_only_path(img), series_uid=self.series_uid)


def _only_path(paths: tuple[Any, ...]) -> Path:
    if len(paths) != 1:
        raise ValueError(
            f"{len(paths)} files were given for one image. Give one file, or the folder of a series."
        )
    return Path(paths[0])

"""The readers as MONAI's `LoadImage` and `LoadImaged` use them."""

from collections.abc import Callable, Sequence
from functools import partial
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

    read_path: Callable[[Path], tuple[NDArray[np.float32], dict[str, Any]]]  # one image with its metadata

    def verify_suffix(self, _filename: Paths) -> bool:
        """Accept every name, because the content decides."""
        return True

    def read(self, data: Paths, **_kwargs: Any) -> tuple[Any, ...]:
        """Pass the paths on; `get_data` refuses more than one."""
        return ensure_tuple(data)

    def get_data(self, img: tuple[Any, ...]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read one file, or one folder of a series, into a float32 array and its metadata.

        Raises:
            RefusedImage: The file is not one grey frame of a chest radiograph, or not one CT volume in HU
                with a known place in the patient.
            UnreadableImage: The file is missing or damaged.
            ValueError: More than one path was given.
        """
        if len(img) != 1:
            raise ValueError(
                f"{len(img)} files were given for one image. Give one file, or the folder of a series."
            )
        return self.read_path(Path(img[0]))


class RadiographReader(_DeferredReader):
    """Reads one chest radiograph (DICOM, JPEG, PNG); see `read_radiograph`.

    Args:
        target_size: Rows and columns that the following steps resize the image to. Then only a few times as
            many are read, which is much faster; None reads the whole image.

    >>> from monai.transforms import LoadImaged
    >>> load = LoadImaged(keys="image", reader=RadiographReader)
    """

    def __init__(self, target_size: int | None = None) -> None:
        self.read_path = partial(read_radiograph, target_size=target_size)


class VolumeReader(_DeferredReader):
    """Reads one CT volume (folder of a DICOM series, enhanced DICOM file, NIfTI); see `read_volume`.

    Args:
        series_uid: Series to read where a folder holds several; "" reads the only one.
    """

    def __init__(self, series_uid: str = "") -> None:
        from covid_monai.readers.volume import read_volume  # needs nibabel, which radiographs do not

        self.read_path = partial(read_volume, series_uid=series_uid)

"""What `Classifier.predict` accepts as an image: a path, an array of pixels or a pydicom dataset."""

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covid_monai.core.errors import first_line
from covid_monai.core.memory_file import memory_file
from covid_monai.core.vocabulary import UnreadableImage

ImageLike = str | os.PathLike[Any] | NDArray[Any] | torch.Tensor | Dataset
_IMAGE_TYPES = (str, os.PathLike, torch.Tensor, Dataset)  # and arrays of numbers
_ACCEPTED = "Give a path, an array of pixels or a pydicom dataset, or a list of these."
_TOLERANCE = 1e-4  # of a value outside [0, 1], as interpolation leaves it


@dataclass(frozen=True)
class ImageInput:
    """One image to classify."""

    content: ImageLike
    position: int  # in the list, from 0

    @property
    def is_file(self) -> bool:
        """Whether it is a path."""
        return isinstance(self.content, str | os.PathLike)

    @property
    def name(self) -> str:
        """`file` of its record: the path; an array or a dataset has its position, and nothing of a header."""
        if isinstance(self.content, str | os.PathLike):
            return os.fsdecode(self.content)
        kind = "dataset" if isinstance(self.content, Dataset) else "array"
        return f"{kind} {self.position}"

    def open(self) -> AbstractContextManager[Path]:
        """Give the image as a file; arrays and datasets are written to memory, and so take the path of files.

        Raises:
            UnreadableImage: If an array or a dataset is not an image that can be written.
        """
        if isinstance(self.content, Dataset):
            return memory_file(_dicom_file(self.content))
        if isinstance(self.content, np.ndarray | torch.Tensor):
            return memory_file(_png_file(self.content))
        return nullcontext(Path(os.fsdecode(self.content)))


def one_image(images: object) -> ImageInput | None:
    """Return the input if it is one image and not several; an array of texts is several paths."""
    return ImageInput(images, 0) if _is_image(images) else None


def several_images(images: object) -> Iterator[ImageInput]:
    """Return the images of an iterable.

    Raises:
        TypeError: At once if it is not an iterable of images, or is a sequence with anything else in it;
            during the iteration if an iterator yields anything else.
    """
    if isinstance(images, Mapping | io.IOBase | bytes | bytearray | memoryview) or not isinstance(
        images, Iterable
    ):
        raise TypeError(f"{_type_name(images)} is not an image. {_ACCEPTED}")
    found = (_checked(image, number) for number, image in enumerate(images))
    return iter(list(found)) if isinstance(images, Sequence | np.ndarray) else found


def _checked(image: object, position: int) -> ImageInput:
    if not _is_image(image):
        raise TypeError(f"Item {position} is not an image but {_type_name(image)}. {_ACCEPTED}")
    return ImageInput(image, position)


def _is_image(value: object) -> TypeGuard[ImageLike]:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "buifc"
    return isinstance(value, _IMAGE_TYPES)


def _type_name(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return "None" if value is None else f"an object of type {type(value).__name__}"


def _png_file(pixels: NDArray[Any] | torch.Tensor) -> bytes:
    """Write pixels as PNG: uint8 and uint16 as they are, [0, 1] as 16 bits."""
    if isinstance(pixels, torch.Tensor):
        pixels = pixels.detach().cpu()
        pixels = (pixels.float() if pixels.is_floating_point() else pixels).numpy()
    grey = _check_values(_check_shape(np.asarray(pixels)))
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _check_shape(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.ndim == 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    rgb = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    if (pixels.ndim != 2 and not rgb) or not pixels.size:
        raise UnreadableImage(
            f"The array has the shape {list(pixels.shape)} and the type {pixels.dtype}. Give one image: "
            "[H, W], [1, H, W], or [H, W, 3] of uint8."
        )
    return pixels


def _check_values(pixels: NDArray[Any]) -> NDArray[np.unsignedinteger]:
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        return pixels.astype(pixels.dtype.newbyteorder("="))
    if pixels.dtype.kind != "f":
        raise UnreadableImage(
            f"The array has the type {pixels.dtype}, whose range is not known. Convert it to uint8, uint16, "
            "or floating-point numbers from 0 to 1."
        )
    if not np.isfinite(pixels).all():
        raise UnreadableImage("The array has values that are not finite. Replace them, for example by 0.")
    low, high = float(pixels.min()), float(pixels.max())
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        raise UnreadableImage(
            f"The array has values from {low:g} to {high:g}. Scale them to the range from 0 to 1 (white)."
        )
    return np.rint(np.clip(pixels.astype(np.float64), 0, 1) * 65535).astype(np.uint16)


def _dicom_file(ds: Dataset) -> bytes:
    """Write a dataset as the file that it came from, or would be."""
    known = getattr(ds, "file_meta", None) or FileMetaDataset()
    meta = FileMetaDataset()
    meta.update(known)
    syntax = meta.get("TransferSyntaxUID")
    if not syntax:
        implicit = getattr(ds, "original_encoding", (None, None))[0]
        syntax = meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    try:
        implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
        written = FileDataset(
            "", dict(ds), bytes(128), file_meta=meta, is_implicit_VR=implicit, is_little_endian=little
        )
        file = io.BytesIO()
        written.save_as(file)
    except Exception as error:  # pydicom raises many types for elements that cannot be written
        raise UnreadableImage(f"The dataset cannot be written as a file: {first_line(error)}.") from error
    return file.getvalue()

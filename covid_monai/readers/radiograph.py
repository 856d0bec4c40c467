"""One radiograph off disk: DICOM, JPEG or PNG in, `[1, H, W]` in [0, 1] and its metadata out."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.dicom.acceptance import check_object, sop_class_uid
from covid_monai.dicom.elements import get_encoding, get_numbers, get_text
from covid_monai.dicom.grayscale import grayscale_table, look_up, render
from covid_monai.dicom.pixels.decode import decode, has_pixels_described
from covid_monai.dicom.pixels.deflated import check_inflated_size
from covid_monai.dicom.pixels.downscaling import shrink, shrunk_affine
from covid_monai.dicom.pixels.reduced import average_codes, decode_reduced
from covid_monai.readers.raster import is_raster, read_raster

IDENTIFIERS = (
    "Modality",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "PatientSex",
    "PatientAge",
    "ViewPosition",
    "BodyPartExamined",
    "PhotometricInterpretation",
)
_HEAD_BYTES = 132
# Group 0002 or 0008, either byte order: how data sets start that were stored without a preamble.
_BARE_STARTS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")


def read_radiograph(
    path: str | Path, *, target_size: int | None = None
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Read one DICOM, JPEG or PNG radiograph as a viewer shows it.

    Args:
        path: The file. Its content decides the format, not its name. Also the folder of a DICOM series that
            is one image, as MONAI Label hands over what it fetched by DICOMweb.
        target_size: Rows and columns that the picture will be resized to. A picture much larger is shrunk
            (see `shrink_factor`), where its format allows already while it is decoded: many times as fast.
            None: the whole picture.

    Returns:
        Image `[1, H, W]` in [0, 1], rows first, bone bright; and its metadata: always the same keys, never
        None ("" where the file does not say). `spatial_shape`, `spacing_mm` and `original_affine` are those
        of the file, `affine` is that of the image. `spacing_mm` is (row, column) and (1, 1) where
        `spacing_source` is "none"; ImagerPixelSpacing is measured at the detector, where the patient
        appears larger.

    Raises:
        RefusedImage: Readable, but not one grey frame of a chest radiograph.
        UnreadableImage: Missing, damaged, or in a format that is not read.
    """
    path = Path(path)
    try:
        path = _only_file(path) if path.is_dir() else path
        head = _read_head(path)
        if is_raster(head):
            image, whole = read_raster(path, target_size=target_size)
            return _with_metadata(image, Dataset(), path=path, whole=whole)
        ds = _open_dicom(path, head)
        check_object(ds)
        if not has_pixels_described(ds):
            raise UnreadableImage("Rows, Columns or Bits Allocated missing")
        image = _show(ds, target_size)
        return _with_metadata(image, ds, path=path, whole=(int(ds.Rows), int(ds.Columns)))
    except RefusedImage as error:
        raise RefusedImage(error.reason, f"{path.name}: {error.detail}") from error
    except Exception as error:  # every decoder has exceptions of its own
        raise UnreadableImage(f"{path.name}: {_describe(error)}") from error


def _show(ds: Dataset, target_size: int | None) -> NDArray[np.float32]:
    """Decode and render; where it can be, at a reduced size."""
    codes = None if target_size is None else decode_reduced(ds, target_size)
    if codes is not None:
        try:
            return shrink(render(codes, ds, bits_stored=int(ds.BitsStored)), target_size)
        except RefusedImage:  # fewer pixels, smoother ones: the whole picture decides
            pass
    codes, bits_stored = decode(ds)
    table = grayscale_table(codes, ds, bits_stored=bits_stored)  # of all pixels: a letter is few of them
    codes = average_codes(codes, ds, bits_stored=bits_stored, target_size=target_size)
    return shrink(look_up(table, codes), target_size)


class NotDicom(UnreadableImage):
    """A file that is no DICOM file, though it may well be an image."""


def read_header(path: str | Path) -> Dataset:
    """Read the elements of a DICOM file that `read_radiograph` reads, without its pixel data.

    Raises:
        NotDicom: By its first bytes it is none.
        UnreadableImage: Missing or damaged.
    """
    return read_elements(path, stop_before_pixels=True)


def read_elements(path: str | Path, *, stop_before_pixels: bool = False) -> Dataset:
    """Read a DICOM file that `read_radiograph` reads, its pixel data not decoded.

    Raises:
        NotDicom: By its first bytes it is none.
        UnreadableImage: Missing or damaged.
    """
    path = Path(path)
    try:
        path = _only_file(path) if path.is_dir() else path
        return _open_dicom(path, _read_head(path), stop_before_pixels=stop_before_pixels)
    except NotDicom as error:
        raise NotDicom(f"{path.name}: {error}") from error
    except Exception as error:  # pydicom raises many types for damaged files
        raise UnreadableImage(f"{path.name}: {_describe(error)}") from error


def _only_file(folder: Path) -> Path:
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    if len(files) != 1:
        raise UnreadableImage(f"a folder of {len(files)} files; give one image file")
    return files[0]


def _read_head(path: Path) -> bytes:
    """Read the bytes that tell the format."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise UnreadableImage("the file is empty")
    return head


def _open_dicom(path: Path, head: bytes, *, stop_before_pixels: bool = False) -> Dataset:
    """Parse a DICOM file, also one without preamble or transfer syntax."""
    if head[128:132] != b"DICM" and not head.startswith(_BARE_STARTS):
        raise NotDicom("not a DICOM file" if is_raster(head) else "not a DICOM, JPEG or PNG file")
    if head[128:132] == b"DICM":
        check_inflated_size(path)
    ds = dcmread(path, force=True, stop_before_pixels=stop_before_pixels)
    if not ds:
        raise UnreadableImage("a truncated or damaged DICOM file; fetch it from its source again")
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit, little_endian = get_encoding(ds)
        explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return ds


def _describe(error: Exception) -> str:
    """Say in one line what went wrong; of a decoder's own message only its first line."""
    if isinstance(error, UnreadableImage):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission to read the file"
    first_line = (str(error).splitlines() or [""])[0][:200]
    return f"cannot be decoded ({type(error).__name__}: {first_line})"


def _with_metadata(
    image: NDArray[np.float32], ds: Dataset, *, path: Path, whole: tuple[int, int]
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Add the channel and describe the image."""
    spacing, source = _spacing(ds)
    affine = np.diag([*spacing, 1.0, 1.0])
    meta: dict[str, Any] = {
        "filename_or_obj": str(path),
        "original_channel_dim": 0,
        "spatial_shape": np.asarray(whole),
        "affine": shrunk_affine(affine, whole, image.shape),
        "original_affine": affine,
        "spacing_mm": np.asarray(spacing),
        "spacing_source": source,
        "SOPClassUID": sop_class_uid(ds),
    }
    meta.update({keyword: get_text(ds, keyword) for keyword in IDENTIFIERS})
    return image[np.newaxis], meta


def _spacing(ds: Dataset) -> tuple[list[float], str]:
    """Row and column spacing in mm, and the element that it comes from (PS3.3 10.7.1.3)."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        spacing = get_numbers(ds, keyword)
        if len(spacing) == 2 and min(spacing) > 0:
            return spacing, keyword
    return [1.0, 1.0], "none"

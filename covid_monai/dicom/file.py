"""The one way to recognise and to open a DICOM file."""

import os
import zlib
from pathlib import Path
from typing import BinaryIO, Literal

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from covid_monai.core.errors import name_file_in_errors
from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.dicom.acceptance import MAX_PIXELS, PIXEL_KEYWORDS
from covid_monai.dicom.elements import get_encoding, get_text

MAX_INFLATED_BYTES = 4 * MAX_PIXELS  # the largest image of 16 bits, or of 3 x 8, and as much again
_HEAD_BYTES = 132  # preamble and "DICM" (PS3.10 section 7.1)
_META_GROUP, _IDENTIFYING_GROUP = 0x0002, 0x0008
_MAX_FIRST_LENGTH = 1 << 16  # bytes of the first element; real ones have 4 to 64
_UNDEFINED_LENGTH = 0xFFFFFFFF
_CHUNK_BYTES, _STEP_BYTES = 1 << 16, 1 << 20


class NotDicom(UnreadableImage):
    """A file that is not a DICOM file; it may be an image of another format."""


def is_dicom(source: Path | bytes) -> bool:
    """Tell by its first bytes whether a file is a DICOM file, whatever its name is.

    That is a file with a preamble and "DICM" (PS3.10 section 7.1), or a data set that old exports wrote
    without them: it begins with an element of group 0002 or 0008, in either byte order.

    Args:
        source: Path of a file, or its first 132 bytes or more.

    Raises:
        OSError: The file is missing or not readable.
    """
    head = source if isinstance(source, bytes) else read_head(source)
    if head[128:132] == b"DICM":
        return True
    return _starts_with_element(head, "little") or _starts_with_element(head, "big")


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file, which tell its format."""
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def check_is_dicom(head: bytes, *, formats: str) -> None:
    """Raise `NotDicom` for a file by its first bytes; the message names the formats that the caller reads."""
    if not head:
        raise NotDicom("The file is empty. Fetch it from its source again.")
    if not is_dicom(head):
        raise NotDicom(f"This is not a {formats} file. Convert it, or unpack it if it is an archive.")


def read_dicom(path: str | Path, *, stop_before_pixels: bool = False) -> FileDataset:
    """Open a DICOM file without decoding its pixel data.

    Args:
        path: File, or a folder that holds one file (MONAI Label hands over a series of one image like this).
        stop_before_pixels: Whether to read only the elements before the pixel data.

    Returns:
        The data set, with a Transfer Syntax UID even where the file does not name one.

    Raises:
        NotDicom: The file is not a DICOM file.
        RefusedImage: TOO_LARGE, if a deflated file is larger than `MAX_INFLATED_BYTES` when inflated.
        UnreadableImage: The file is missing, damaged or truncated.
    """
    path = Path(path)
    with name_file_in_errors(path):
        path = single_file(path)
    with name_file_in_errors(path), path.open("rb") as file:
        check_is_dicom(file.read(_HEAD_BYTES), formats="DICOM")
        file.seek(0)
        _check_inflated_size(file)
        file.seek(0)
        ds = dcmread(file, force=True, stop_before_pixels=stop_before_pixels)
        if not ds or _is_cut_in_header(ds, file):
            raise UnreadableImage("The DICOM file is truncated or damaged. Fetch it from its source again.")
    if not get_text(ds.file_meta, "TransferSyntaxUID"):
        implicit, little_endian = get_encoding(ds)
        explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return ds


def single_file(path: Path) -> Path:
    """Return the path itself, or the one file of a folder; hidden files do not count."""
    if path.is_fifo() or path.is_char_device():  # /dev/null too; reading may never end
        raise UnreadableImage("This is a pipe or a device. Give an image file.")
    if not path.is_dir():
        return path
    files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    if len(files) != 1:
        raise UnreadableImage(f"This is a folder of {format_count(len(files), 'file')}. Give one image file.")
    return files[0]


def _is_cut_in_header(ds: Dataset, file: BinaryIO) -> bool:
    """Tell whether a file ends inside an element before the pixel data; pydicom is silent about that.

    It is too about less than 8 bytes behind the last element, which are a piece of the next.
    """
    last = ds.get_item(list(ds.keys())[-1])
    if not isinstance(last, RawDataElement) or any(keyword in ds for keyword in PIXEL_KEYWORDS):
        return False
    if last.length == _UNDEFINED_LENGTH:
        return False
    if len(last.value or b"") < last.length:
        return True
    deflated = get_text(ds.file_meta, "TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    return not deflated and 0 < file.seek(0, os.SEEK_END) - last.value_tell - last.length < 8


def _starts_with_element(head: bytes, byte_order: Literal["little", "big"]) -> bool:
    """Tell whether the first 8 bytes are tag, value representation and length of a first element."""
    group, element, length = (
        int.from_bytes(head[k : k + n], byte_order) for k, n in ((0, 2), (2, 2), (4, 4))
    )
    if len(head) < 8 or group not in (_META_GROUP, _IDENTIFYING_GROUP) or element > 0xFF:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or length < _MAX_FIRST_LENGTH


def _check_inflated_size(file: BinaryIO) -> None:
    """Refuse a file in Deflated Explicit VR Little Endian that is too large when inflated.

    A few kilobytes may inflate to gigabytes, and pydicom inflates them whole. Nothing is kept here
    (PS3.5 A.5).
    """
    read_preamble(file, force=True)
    if get_text(_read_file_meta(file), "TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    decompressor, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        while pending := decompressor.unconsumed_tail or file.read(_CHUNK_BYTES):
            size += len(decompressor.decompress(pending, _STEP_BYTES))
            if size > MAX_INFLATED_BYTES:
                message = (
                    f"The deflated file inflates to more than {MAX_INFLATED_BYTES >> 20} MiB, the limit."
                )
                raise RefusedImage(RefusalReason.TOO_LARGE, message)
        if not decompressor.eof:
            raise zlib.error("it is cut")
    except zlib.error as error:
        message = f"The deflated part is damaged ({error}). Fetch the file from its source again."
        raise UnreadableImage(message) from error


def _read_file_meta(file: BinaryIO) -> Dataset:
    """Read the elements of group 0002 as pydicom does: explicit, implicit where that gives no syntax."""
    start = file.tell()
    for implicit in (False, True):
        file.seek(start)
        meta = read_dataset(file, implicit, True, stop_when=lambda tag, *_: tag >> 16 != _META_GROUP)
        if "TransferSyntaxUID" in meta:
            break
    return meta

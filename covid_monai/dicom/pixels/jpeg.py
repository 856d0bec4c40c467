"""JPEG streams inside DICOM: checks before decoding, and the one format that pydicom does not decode."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.dicom.elements import get_text

try:
    from pydicom.encaps import generate_frames

    _frames = partial(generate_frames, number_of_frames=1)
except ImportError:  # pydicom 2
    from pydicom.encaps import generate_pixel_data_frame

    _frames = partial(generate_pixel_data_frame, nr_frames=1)

_EXTENDED = "1.2.840.10008.1.2.4.51"
_JPEG_SYNTAXES = ("1.2.840.10008.1.2.4.50", _EXTENDED, "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_FRAME_HEADERS = [m for m in range(0xC0, 0xD0) if m not in (0xC4, 0xC8, 0xCC)]  # tables, reserved
_SCAN_HEADER = 0xDA
_JFIF = b"JFIF\0\x01"  # and its major version
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_WAY_OUT = "Fetch the file from its source again."


def is_jpeg(ds: Dataset) -> bool:
    """Tell whether the pixel data is JPEG (ISO 10918-1), lossy or lossless."""
    return get_text(ds.file_meta, "TransferSyntaxUID") in _JPEG_SYNTAXES


def is_twelve_bit_jpeg(ds: Dataset) -> bool:
    """Tell whether the pixel data is 12-bit JPEG Extended, for which pydicom has no free decoder."""
    return get_text(ds.file_meta, "TransferSyntaxUID") == _EXTENDED and int(ds.BitsAllocated) == 16


def check_jpeg_stream(ds: Dataset) -> None:
    """Check the headers of a JPEG stream against ITU T.81 and the DICOM header.

    GDCM's decoder ends the whole process on an invalid precision, predictor or application segment. A stream
    may also claim many more pixels than the DICOM header that was checked.

    Raises:
        UnreadableImage: Headers are missing, out of range, or give another size than Rows and Columns.
    """
    found = dict(jpeg_segments(first_frame(ds)))
    frame = next((marker for marker in found if marker in _FRAME_HEADERS), None)
    scan = found.get(_SCAN_HEADER, b"")
    if frame is None or len(found[frame]) < 6 or len(scan) < 4:
        raise UnreadableImage(f"Its JPEG stream has no frame or scan header. {_WAY_OUT}")
    jfif, adobe = found.get(0xE0, b""), found.get(0xEE, b"")
    if (jfif[:5] == _JFIF[:5] and jfif[:6] != _JFIF) or (adobe[:5] == b"Adobe" and adobe[11:12] > b"\x02"):
        raise UnreadableImage(f"Its JPEG stream has a damaged application segment. {_WAY_OUT}")
    lossless = frame in _LOSSLESS
    precision, predictor = found[frame][0], scan[-3]
    if precision not in (range(2, 17) if lossless else (8, 12)):  # table B.2
        raise UnreadableImage(f"Its JPEG stream claims {precision} bits a sample. {_WAY_OUT}")
    if lossless and not 1 <= predictor <= 7:  # table H.1
        raise UnreadableImage(f"Its JPEG stream claims predictor {predictor}. {_WAY_OUT}")
    rows, columns = (int.from_bytes(found[frame][k : k + 2], "big") for k in (1, 3))
    if (rows, columns) != (int(ds.Rows), int(ds.Columns)):
        sizes = f"{columns} x {rows}, its header {ds.Columns} x {ds.Rows}"
        raise UnreadableImage(f"Its JPEG stream is {sizes}. {_WAY_OUT}")


def decode_jpeg_extended(ds: Dataset) -> NDArray[np.uint16]:
    """Decode 12-bit JPEG Extended to `[H, W]` with GDCM; pydicom 3 does not use it for this format."""
    import gdcm  # type: ignore[import-untyped]

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(first_frame(ds))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((int(ds.Columns), int(ds.Rows), 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(_EXTENDED)))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    buffer = image.GetBuffer()  # a str that carries bytes, None on failure
    if not buffer:
        raise UnreadableImage(f"Its JPEG Extended stream cannot be decoded. {_WAY_OUT}")
    cells = np.frombuffer(buffer.encode("utf-8", "surrogateescape"), "<u2").astype(np.uint16)
    return cells.reshape(int(ds.Rows), int(ds.Columns))


def first_frame(ds: Dataset) -> bytes:
    """Return the first frame of encapsulated pixel data."""
    return bytes(next(iter(_frames(ds.PixelData))))


def jpeg_segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment up to the first scan header (ITU T.81, B.1.1)."""
    position, marker = 2, 0  # behind the start of image
    while position + 4 <= len(stream) and stream[position] == 0xFF and marker != _SCAN_HEADER:
        marker = stream[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        end = position + 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
        yield marker, stream[position + 4 : end]
        position = end

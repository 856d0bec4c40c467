"""Compressed pixel data: its fragments, and the headers of its codestreams, which are compared to the file's.

A codestream says itself how many samples of how many bits it holds. Decoders believe it, and a picture that
is arranged by another header is garbled: where both differ, nothing is decoded.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from mmap import mmap
from typing import NamedTuple

from pydicom.dataset import Dataset

from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.dicom.acceptance import MAX_PIXELS
from covid_monai.dicom.elements import get_number, get_text

RLE = "1.2.840.10008.1.2.5"
LITTLE_ENDIAN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99")
_WITHOUT_CODESTREAM = (RLE, *LITTLE_ENDIAN, "1.2.840.10008.1.2.2")
_ITEM = b"\xfe\xff\x00\xe0"  # tag of a fragment (PS3.5 A.4), which 4 bytes of length follow
J2K, JP2 = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"
_STARTS = (b"\xff\xd8\xff", J2K, JP2)
_RLE_SEGMENTS = tuple(bytes([n]) for n in range(1, 16))
_SAME_SAMPLES = 0x11  # sampling factors of a JPEG component that has as many samples as the image
_FRAME_HEADERS = [m for m in (*range(0xC0, 0xD0), 0xF7) if m not in (0xC4, 0xC8, 0xCC)]  # tables, reserved
_SCAN_HEADER, _LS_FRAME, _LS_EXTENSION = 0xDA, 0xF7, 0xF8
_JFIF = b"JFIF\0\x01"  # and its major version
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_MAX_BITS = 16
_MAX_SCANNED_PIXELS = 10 * MAX_PIXELS  # encoders write 1 to 20 scans; embedded thumbnails count too
_WAY_OUT = "Fetch or export the file again."


class Format(StrEnum):
    """What a codestream is, by its own header."""

    JPEG = "JPEG"  # of 8 bits, lossy
    JPEG_EXTENDED = "JPEG Extended"  # of 12 bits, lossy
    JPEG_LOSSLESS = "JPEG Lossless"
    JPEG_LS = "JPEG-LS"
    JPEG_2000 = "JPEG 2000"  # and HTJ2K


class Codestream(NamedTuple):
    """One frame and what its header says of it; `signed` is None where its format has no sign."""

    content: bytes
    format: Format
    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool | None = None
    subsampled: bool = False
    adobe: bool = False  # a segment of Adobe says how the colours of a JPEG are written


def is_codestream(ds: Dataset) -> bool:
    """Tell whether the pixel data are compressed in a way that has a header of its own."""
    return get_text(ds.file_meta, "TransferSyntaxUID") not in _WITHOUT_CODESTREAM


def read_codestream(ds: Dataset) -> Codestream:
    """Return the first frame of encapsulated pixel data, whose header agrees with that of the file.

    The stream's own header tells its format, whatever the transfer syntax. Its precision may differ from Bits
    Stored: it is the one that the samples were made with.

    Raises:
        UnreadableImage: The stream is damaged, or differs from the file in rows, columns, samples, sign or
            frames, or has more bits than one sample of the file.
    """
    stream = _parse(split_frames(ds)[0])
    in_stream = (stream.columns, stream.rows, stream.samples, stream.signed)
    in_header = (int(ds.Columns), int(ds.Rows), int(ds.SamplesPerPixel), int(ds.PixelRepresentation) == 1)
    if stream.signed is None:  # the samples are bit patterns, which the header explains
        in_stream = (*in_stream[:3], in_header[3])
    different = [
        both for both in zip(_facts(*in_stream), _facts(*in_header), strict=True) if len(set(both)) > 1
    ]
    if different:
        found, said = map(", ".join, zip(*different, strict=True))
        raise UnreadableImage(f"Its {stream.format} stream has {found}, its header {said}. {_WAY_OUT}")
    if stream.precision > min(int(ds.BitsAllocated), _MAX_BITS):
        bits = f"{format_count(stream.precision, 'bit')} a sample, its header allocates {ds.BitsAllocated}"
        raise UnreadableImage(f"Its {stream.format} stream has {bits}; at most 16 are read. {_WAY_OUT}")
    if stream.subsampled and stream.format is not Format.JPEG:
        raise UnreadableImage(f"Its {stream.format} stream has samples for a part of the pixels. {_WAY_OUT}")
    return stream


def split_frames(ds: Dataset) -> list[bytes]:
    """Return the frames of encapsulated pixel data.

    The offset tables are not read, because many are wrong: a frame begins where a fragment begins like one.

    Raises:
        UnreadableImage: There is no fragment, or another number of frames than the header says.
    """
    fragments = list(_fragments(ds.PixelData or b""))[1:]  # the first item is the offset table
    frames: list[list[bytes]] = []
    for fragment in fragments:
        if fragment.startswith(_STARTS) or _starts_rle(fragment) or not frames:
            frames.append([])
        frames[-1].append(fragment)
    said = int(get_number(ds, "NumberOfFrames") or 1)
    if len(frames) != said:
        found = f"{format_count(len(frames), 'frame')}, its header says {said}"
        raise UnreadableImage(f"Its compressed pixel data hold {found}. {_WAY_OUT}")
    return [b"".join(frame) for frame in frames]


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


def check_scans(content: bytes | mmap, pixels: int) -> None:
    """Refuse a JPEG stream of so many scans that it takes long to decode: each goes through all pixels.

    The marker of a scan does not occur in compressed data (ITU T.81, B.1.1.5).
    """
    most = _MAX_SCANNED_PIXELS // max(1, pixels)
    if next(islice(re.finditer(rb"\xff\xda", content), most, None), None) is not None:
        found = f"more than {most} scans, which take too long to decode"
        raise UnreadableImage(f"Its JPEG stream has {found}. Save or export the image again.")


def _fragments(data: bytes) -> Iterator[bytes]:
    position = 0
    while data[position : position + 4] == _ITEM:
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length
        if position > len(data):
            raise UnreadableImage(f"Its compressed pixel data are cut. {_WAY_OUT}")
        yield data[position - length : position]


def _starts_rle(fragment: bytes) -> bool:
    """Tell whether a fragment has the header of an RLE frame (PS3.5 G.5): number of segments, offset 64."""
    return fragment[:1] in _RLE_SEGMENTS and fragment[1:8] == b"\0\0\0\x40\0\0\0"


def _facts(columns: int, rows: int, samples: int, signed: bool | None) -> tuple[str, str, str]:
    sign = "signed values" if signed else "unsigned values"
    return f"{columns} x {rows} pixels", f"{format_count(samples, 'sample')} a pixel", sign


def _parse(content: bytes) -> Codestream:
    if content.startswith(JP2):
        content = unpack_jp2(content)
    if content.startswith(J2K) and len(content) > 44:
        return _parse_jpeg2000(content)
    if content.startswith(b"\xff\xd8"):
        return _parse_jpeg(content)
    raise UnreadableImage(f"Its compressed pixel data are no JPEG, JPEG-LS or JPEG 2000 stream. {_WAY_OUT}")


def _parse_jpeg2000(content: bytes) -> Codestream:
    """Read the SIZ segment (ISO/IEC 15444-1 A.5.1)."""
    right, bottom, left, top = (int.from_bytes(content[k : k + 4], "big") for k in (8, 12, 16, 20))
    samples = int.from_bytes(content[40:42], "big")
    components = [content[k : k + 3] for k in range(42, 42 + 3 * samples, 3)]
    if not components or any(component[:1] != components[0][:1] for component in components):
        raise UnreadableImage(f"Its JPEG 2000 stream has components of different depths. {_WAY_OUT}")
    sign_and_bits = components[0][0]
    return Codestream(
        content, Format.JPEG_2000, bottom - top, right - left, samples, (sign_and_bits & 0x7F) + 1,
        signed=sign_and_bits > 0x7F, subsampled=any(component[1:] != b"\1\1" for component in components),
    )  # fmt: skip


def unpack_jp2(content: bytes) -> bytes:
    """Return the codestream of a JP2 file (ISO/IEC 15444-1 annex I), which occurs against the standard."""
    position = 0
    while position + 8 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        kind = content[position + 4 : position + 8]
        start, end = position + 8, position + length if length else len(content)
        if length == 1:
            start, end = start + 8, position + int.from_bytes(content[start : start + 8], "big")
        if kind == b"jp2h" and b"pclr" in content[start:end]:
            raise UnreadableImage("Its JPEG 2000 stream has a palette of its own. Export it without one.")
        if kind == b"jp2c":
            return content[start:end]
        position = max(end, start)
    raise UnreadableImage(f"Its JP2 file holds no codestream. {_WAY_OUT}")


def _parse_jpeg(content: bytes) -> Codestream:
    """Read the headers of JPEG (ITU T.81) and JPEG-LS (ITU T.87), and check what decoders stumble over."""
    found = dict(jpeg_segments(content))
    frame = next((marker for marker in found if marker in _FRAME_HEADERS), None)
    scan = found.get(_SCAN_HEADER, b"")
    if frame is None or len(found[frame]) < 9 or len(scan) < 4:
        raise UnreadableImage(f"Its JPEG stream has no frame or scan header. {_WAY_OUT}")
    jfif, adobe = found.get(0xE0, b""), found.get(0xEE, b"")
    if (jfif[:5] == _JFIF[:5] and jfif[:6] != _JFIF) or (adobe[:5] == b"Adobe" and adobe[11:12] > b"\x02"):
        raise UnreadableImage(f"Its JPEG stream has a damaged application segment. {_WAY_OUT}")
    precision, predictor, samples = found[frame][0], scan[-3], found[frame][5]
    lossless = frame in _LOSSLESS
    if precision not in (range(2, 17) if lossless or frame == _LS_FRAME else (8, 12)):  # table B.2
        raise UnreadableImage(f"Its JPEG stream claims {precision} bits a sample. {_WAY_OUT}")
    if lossless and not 1 <= predictor <= 7:  # table H.1
        raise UnreadableImage(f"Its JPEG stream claims predictor {predictor}. {_WAY_OUT}")
    if frame == _LS_FRAME and found.get(_LS_EXTENSION, b"")[:1] in (b"\2", b"\3"):
        raise UnreadableImage("Its JPEG-LS stream has a palette of its own. Export it without one.")
    kind = Format.JPEG_EXTENDED if precision == 12 else Format.JPEG
    if lossless or frame == _LS_FRAME:
        kind = Format.JPEG_LOSSLESS if lossless else Format.JPEG_LS
    rows, columns = (int.from_bytes(found[frame][k : k + 2], "big") for k in (1, 3))
    check_scans(content, rows * columns)
    factors = set(found[frame][7 : 6 + 3 * samples : 3])
    return Codestream(
        content, kind, rows, columns, samples, precision,
        signed=None if lossless or frame == _LS_FRAME else False,
        subsampled=samples > 1 and factors != {_SAME_SAMPLES},
        adobe=adobe[:5] == b"Adobe" and len(adobe) > 11,
    )  # fmt: skip

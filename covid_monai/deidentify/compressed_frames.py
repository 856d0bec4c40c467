"""Cut out of a compressed frame what is no part of the picture: comments, application data, bytes around it.

Tables and headers are written again from what the picture uses; the coded samples are copied. A stream whose
structure is not known to the last byte raises `NotCleaned`.
"""

import re
from collections.abc import Iterator
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.JpegPresets import presets

from covid_monai.deidentify.values import reads_like_text
from covid_monai.dicom.pixels.codestream import J2K, JP2, jpeg_segments, unpack_jp2

# JPEG (ITU T.81 table B.1) and JPEG-LS (ITU T.87)
_SOI, _EOI = b"\xff\xd8", 0xD9
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xF7)  # baseline, extended, progressive, lossless; JPEG-LS
_PROGRESSIVE, _LOSSLESS, _LS = 0xC2, 0xC3, 0xF7
_DHT, _DQT, _DNL, _DRI, _SOS, _LSE, _COM = 0xC4, 0xDB, 0xDC, 0xDD, 0xDA, 0xF8, 0xFE
_JFIF, _ADOBE, _HP = 0xE0, 0xEE, 0xE8
_PLAIN_JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"  # tells that colour is YCbCr; without a thumbnail and a resolution
_PLAIN_ADOBE = b"Adobe\0\x64\0\0\0\0"  # and the colour transform, 0 to 2
_NEXT_MARKER = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")  # behind coded samples
_NEXT_LS_MARKER = re.compile(rb"\xff+[\x80-\xcf\xd8-\xfe]")  # JPEG-LS writes FF 00 to FF 7F as samples
# JPEG 2000 (ISO/IEC 15444-1 table A.2, 15444-15)
_SOT, _SOD, _TLM, _COD, _QCD = 0x90, 0x93, 0x55, 0x52, 0x5C
_CAP, _SIZ, _COC, _QCC, _RGN, _PPM, _PPT = 0x50, 0x51, 0x53, 0x5D, 0x5E, 0x60, 0x61
_J2K_KEPT = (_CAP, _SIZ, _COD, _COC, _QCD, _QCC, _RGN, _PPM, _PPT)
_J2K_CUT = (_TLM, 0x57, 0x58, 0x63, 0x64)  # PLM, PLT (lengths), CRG (registration), COM; TLM is written again
_BY_CHANCE = {_QCC: 10, _PPM: 16, _PPT: 16}  # characters in steps of quantisation and in headers of packets
_ROUNDING = 3  # of steps of quantisation, with that of the factor
_TAIL = 12  # bytes at the end of coded samples, where decoders pass over a surplus


class NotCleaned(Exception):
    """A stream holds what is not known, or what reads like text in the midst of its samples."""


def clean_frame(frame: bytes) -> bytes:
    """Return the codestream of one frame, with the same samples and nothing else.

    Raises:
        NotCleaned: It is no JPEG, JPEG-LS or JPEG 2000 stream, is damaged, or may hold text that stays.
    """
    if frame.startswith(JP2):
        frame = unpack_jp2(frame)
    if frame.startswith(J2K):
        return _clean_jpeg2000(frame)
    if frame.startswith(_SOI):
        return _clean_jpeg(frame)
    raise NotCleaned


def _clean_jpeg(stream: bytes) -> bytes:
    parts, tables, frame = [_SOI], dict[tuple[int, int], bytes](), b""
    for marker, content, samples in _jpeg_segments(stream):
        if marker in (_DHT, _DQT):
            tables |= _split_tables(marker, content)
        elif marker in _FRAMES and not frame and len(content) > 5 and len(content) == 6 + 3 * content[5]:
            frame = bytes([marker]) + content
            parts.append(_segment(marker, content))
        elif marker == _SOS and frame:
            used = _used_tables(content, frame)  # only these, so that no table holds anything else
            parts += [_table_segment(key[0], tables.pop(key)) for key in used if key in tables]
            parts += [_segment(marker, content), samples]
        else:
            parts.append(_plain_segment(marker, content))
    return b"".join([*parts, b"\xff\xd9"])


def _jpeg_segments(stream: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield marker, content and the samples behind it of each segment up to the end of the image."""
    position, pattern = len(_SOI), _NEXT_MARKER
    while True:
        marker, position = _read_marker(stream, position)
        if marker == _EOI:
            return
        content, position = _read_content(stream, position)
        samples = b""
        pattern = _NEXT_LS_MARKER if marker == _LS else pattern
        if marker == _SOS:
            found = pattern.search(stream, position)
            if found is None:
                raise NotCleaned
            samples = _check_samples(stream[position : found.start()])
            position = found.start()
        yield marker, content, samples


def _read_marker(stream: bytes, position: int) -> tuple[int, int]:
    """Return a marker and the position behind it; fill bytes before it are passed over (T.81, B.1.1.2)."""
    start = position
    while stream[position : position + 1] == b"\xff":
        position += 1
    if position == start or position >= len(stream):
        raise NotCleaned
    return stream[position], position + 1


def _read_content(stream: bytes, position: int) -> tuple[bytes, int]:
    """Return the content of a segment and the position behind it."""
    length = int.from_bytes(stream[position : position + 2], "big")
    end = position + length
    if length < 2 or end > len(stream):
        raise NotCleaned
    return stream[position + 2 : end], end


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def _split_tables(marker: int, content: bytes) -> dict[tuple[int, int], bytes]:
    """Return the quantisation or Huffman tables of a segment by marker and number (T.81, B.2.4)."""
    found, position = {}, 0
    while position < len(content):
        head = content[position]
        counts = content[position + 1 : position + 17]
        length = 64 * (1 + (head >> 4)) if marker == _DQT else 16 + sum(counts)
        table = content[position : position + 1 + length]
        if len(table) <= length:
            raise NotCleaned
        found[marker, head & 0x0F if marker == _DQT else head] = table
        position += len(table)
    return found


def _table_segment(marker: int, table: bytes) -> bytes:
    symbols = table[17:] if marker == _DHT else b""
    lengths = (
        marker == _DHT and table[0] < 0x10 and max(symbols, default=0) > 16
    )  # of differences (T.81 F.1.2)
    if lengths or len(set(symbols)) < len(symbols) or _holds_text(marker, table):
        raise NotCleaned
    return _segment(marker, table)


def _holds_text(marker: int, table: bytes) -> bool:
    """Tell whether somebody wrote into a table; the usual tables are known, and some read like words."""
    if marker == _DQT and table[0] > 0x0F:  # of 16 bits, so that letters in it stand apart
        return reads_like_text(table, shortest=14, turns=4)
    usual = marker == _DQT and _is_usual_quantisation(table[1:])
    return not usual and reads_like_text(table[1:], shortest=6, turns=2)


def _is_usual_quantisation(table: bytes) -> bool:
    """Tell whether a table is a multiple of an example of the standard, as most encoders write it."""
    values = np.frombuffer(table, np.uint8).astype(float)
    for example in _example_quantisation():
        factor = np.median((values / example)[values < values.max()] if np.ptp(values) else 1)
        usual = np.clip(example * factor, 1, 255)
        if np.abs(values - usual).max() <= _ROUNDING:
            return True
    return False


@cache
def _example_quantisation() -> list[np.ndarray]:
    """Return the tables of T.81 annex K.1, which Pillow writes at quality 50, and those of known programs."""
    found = []
    for quality in (50, *presets):
        Image.new("RGB", (8, 8)).save(file := BytesIO(), "JPEG", quality=quality)
        contents = [content for marker, content in jpeg_segments(file.getvalue()) if marker == _DQT]
        tables = [table for content in contents for table in _split_tables(_DQT, content).values()]
        found += [np.frombuffer(table[1:], np.uint8).astype(float) for table in tables]
    return found


def _used_tables(scan: bytes, frame: bytes) -> list[tuple[int, int]]:
    """Return marker and number of the tables that a scan reads (T.81, B.2.3), each once."""
    kind, used = frame[0], list[tuple[int, int]]()
    quantisation = {frame[k]: frame[k + 2] for k in range(7, len(frame), 3)}  # by component
    components = _read_scan(scan, kind, known=set(quantisation))
    for component, selector in components if kind != _LS else ():
        if kind != _LOSSLESS:
            used.append((_DQT, quantisation[component]))
        if kind != _PROGRESSIVE or scan[-3] == 0:
            used.append((_DHT, selector >> 4))
        if kind != _LOSSLESS and (kind != _PROGRESSIVE or scan[-2] > 0):
            used.append((_DHT, 0x10 | selector & 0x0F))
    return list(dict.fromkeys(used))


def _read_scan(scan: bytes, kind: int, *, known: set[int]) -> list[tuple[int, int]]:
    """Return each component of a scan with its selector of tables; the header must be possible."""
    if not scan or len(scan) != 4 + 2 * scan[0]:
        raise NotCleaned
    found = list(zip(scan[1:-3:2], scan[2:-3:2], strict=True))
    first, last, high, low = scan[-3], scan[-2], scan[-1] >> 4, scan[-1] & 0x0F
    coefficients = last <= 63 and (first <= 63 or kind == _LS)
    refined = high == 0 or (kind == _PROGRESSIVE and high == low + 1)
    unused = 0xFF if kind == _LS else 0xCC
    if not (coefficients and refined) or any(c not in known or s & unused for c, s in found):
        raise NotCleaned
    return found


def _plain_segment(marker: int, content: bytes) -> bytes:
    """Return what a decoder needs of any other segment, with nothing in it that can be chosen; else b""."""
    if marker == _JFIF and content.startswith(_PLAIN_JFIF[:6]):
        return _segment(marker, _PLAIN_JFIF)
    if marker == _ADOBE and content.startswith(b"Adobe") and len(content) == 12 and content[11] <= 2:
        return _segment(marker, _PLAIN_ADOBE + content[11:])
    if marker == _COM or (marker in range(0xE0, 0xF0) and content[:4] != b"mrfx"):
        return b""
    sizes = {_DRI: (2, 3, 4), _DNL: (2,), _LSE: (11,), _HP: (5,)}
    if len(content) not in sizes.get(marker, ()) or (marker == _LSE and content[0] != 1):
        raise NotCleaned
    return _segment(marker, content)


def _check_samples(samples: bytes) -> bytes:
    """Return coded samples that hold no text; they are noise, and short words occur in them by chance."""
    tail = samples.rstrip(b"\0\xff ")[-_TAIL:]
    if (
        reads_like_text(samples, shortest=16, turns=4, latin=False)
        or reads_like_text(tail, shortest=7, turns=2, latin=False)
        or reads_like_text(tail, shortest=10, turns=2)
    ):
        raise NotCleaned
    return samples


def _clean_jpeg2000(stream: bytes) -> bytes:
    header, position, had_lengths = _j2k_header(stream, 2)
    tiles = []  # number, head and samples of each part
    while stream[position : position + 2] == bytes([0xFF, _SOT]):
        sot, behind = _read_content(stream, position + 2)
        length = int.from_bytes(sot[2:6], "big") if len(sot) == 8 else -1
        end = position + length if length else len(stream) - 2
        if length < 0 or not behind < end <= len(stream):
            raise NotCleaned
        head, start, _ = _j2k_header(stream, behind)
        samples = _check_samples(stream[start + 2 : end])
        tiles.append((sot, head, samples))
        position = end
    if not tiles or stream[position : position + 2] != b"\xff\xd9":
        raise NotCleaned
    parts = [stream[:2], header, b""]
    for sot, head, samples in tiles:
        length = 12 + len(head) + 2 + len(samples)
        sot = sot[:2] + length.to_bytes(4, "big") + sot[6:]
        parts += [_segment(_SOT, sot), head, bytes([0xFF, _SOD]), samples]
    if had_lengths:  # some transfer syntaxes of HTJ2K require them
        parts[2] = _j2k_lengths([(sot, 14 + len(head) + len(samples)) for sot, head, samples in tiles])
    return b"".join([*parts, b"\xff\xd9"])


def _j2k_header(stream: bytes, position: int) -> tuple[bytes, int, bool]:
    """Return the segments that decoders need up to the next part or its samples, and the position there.

    The last value tells whether there was a table of lengths.
    """
    kept, had_lengths = list[tuple[int, bytes]](), False
    while stream[position : position + 2] not in (bytes([0xFF, _SOT]), bytes([0xFF, _SOD])):
        if stream[position : position + 1] != b"\xff" or position + 4 > len(stream):
            raise NotCleaned
        marker = stream[position + 1]
        content, position = _read_content(stream, position + 2)
        had_lengths |= marker == _TLM
        if marker in _J2K_KEPT:
            kept.append((marker, content))
        elif marker not in _J2K_CUT:
            raise NotCleaned
    styles = [content for marker, content in kept if marker == _COD] or [b""]
    if len(styles) > 1 or not all(_is_exact(marker, content, styles[0]) for marker, content in kept):
        raise NotCleaned
    return b"".join(_segment(*each) for each in kept), position, had_lengths


def _is_exact(marker: int, content: bytes, style: bytes) -> bool:
    """Tell whether a segment is as long as the coding style (COD) asks for (ISO/IEC 15444-1 A.5, A.6)."""
    if marker == _COD:
        whole = len(content) > 5 and len(content) == 10 + (content[5] + 1 if content[0] & 1 else 0)
        return whole and not reads_like_text(content, shortest=6, turns=1)
    if marker == _QCD:
        size = {0: 1, 1: 0, 2: 2}.get(content[0] & 0x1F) if content else None
        bands = 3 * style[5] + 1 if style else (len(content) - 1) // max(size or 0, 1)
        exact = size is not None and len(content) == (1 + size * bands if size else 3)
        if size == 1:  # exponents without a mantissa
            return exact and not any(step & 7 for step in content[1:])
        return exact and not reads_like_text(content, shortest=14, turns=4)
    return not reads_like_text(content, shortest=_BY_CHANCE.get(marker, 6), turns=1)


def _j2k_lengths(parts: list[tuple[bytes, int]]) -> bytes:
    """Return TLM segments (annex A.7.1) with the number and length of each part, 10,000 in a segment."""
    entries = [sot[:2] + length.to_bytes(4, "big") for sot, length in parts]
    groups = [entries[k : k + 10_000] for k in range(0, len(entries), 10_000)]
    return b"".join(
        _segment(_TLM, bytes([number, 0x60]) + b"".join(group)) for number, group in enumerate(groups)
    )

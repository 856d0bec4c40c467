"""Places of a DICOM file where a text can hide, and files with a name in each of them."""

import struct

import numpy as np
from codestreams import jpeg, jpeg2000, jpeg_ls, lossless_jpeg, word
from deidentify_helpers import image
from dicom_helpers import lut_item, picture
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

# 16 bytes or a multiple in each encoding, so that they fill numbers of any size.
TEXTS = {
    "ascii": b"Zamenhof^Ludwik ",
    "latin-1": "Zámenhof^Lüdwik ".encode("latin-1"),
    "utf-16-le": "Zamenhof^Lüdwik ".encode("utf-16-le"),
    "utf-16-be": "Zamenhof^Lüdwik ".encode("utf-16-be"),
}
SIZE = 32
GREY = np.ascontiguousarray(picture()[:SIZE, :SIZE])


def small_image():
    """An image that nobody has to look at."""
    return image(Rows=SIZE, Columns=SIZE, PixelData=GREY.tobytes(), KVP="80", AcquisitionMatrix=[1, 2, 3, 4])


def _raw(keyword, vr):
    """Put the text as it is into an element."""

    def plant(ds, text):
        tag = Tag(keyword)
        ds[tag] = RawDataElement(tag, vr, len(text), text, 0, False, True)

    return plant


def _nested(sequence, plant):
    def plant_in_item(ds, text):
        item = Dataset()
        plant(item, text)
        ds[Tag(sequence)] = RawDataElement(Tag(sequence), "SQ", 0, b"", 0, False, True)
        setattr(ds, sequence, Sequence([item]))

    return plant_in_item


def _sequence(keyword):
    """Put an item with the text in the place of another VR."""

    def plant(ds, text):
        item = Dataset()
        _raw("CodeMeaning", "LO")(item, text)
        ds[Tag(keyword)] = DataElement(Tag(keyword), "SQ", Sequence([item]))

    return plant


def _preamble(ds, text):
    ds.preamble = (text * 8)[:128]


def _private_information(ds, text):
    ds.file_meta.PrivateInformationCreatorUID, ds.file_meta.PrivateInformation = "1.2.3", text


def _private_element(ds, text):
    ds.private_block(0x0011, "TOOL", create=True).add_new(1, "OB", text)


def _surplus_table(ds, text):
    ds.ModalityLUTSequence = Sequence([lut_item(bytes(range(256)) + text, bits=8, count=64)])
    ds.ModalityLUTSequence[0].ModalityLUTType = "US"


def _written_table(ds, text):
    ds.ModalityLUTSequence = Sequence([lut_item(text, bits=8, count=len(text) // 2)])


def _palette(ds, text):
    ds.RedPaletteColorLookupTableDescriptor = [len(text) // 2, 0, 16]
    ds.add_new("RedPaletteColorLookupTableData", "OW", text)


def _values_of_number(ds, text):
    ds.add_new("PatientSize", "DS", "1.7")
    _raw("PixelSpacing", "DS")(ds, b"0.1\\0.1\\" + text)


def _both_kinds_of_pixels(ds, text):
    ds.add_new("FloatPixelData", "OF", text)


IN_ELEMENTS = {
    "preamble": _preamble,
    "private information": _private_information,
    "padding behind the data set": _raw(0xFFFCFFFC, "OB"),
    "private element": _private_element,
    "private creator": _raw(0x00130010, "LO"),
    "unknown element": _raw(0x00080FFF, "OB"),
    "icon": _nested("IconImageSequence", _raw("PixelData", "OB")),
    "pixels in a code": _nested("ViewCodeSequence", _raw("PixelData", "OB")),
    "floating-point pixels in a code": _nested("ViewCodeSequence", _raw("FloatPixelData", "OF")),
    "colour profile": _raw("ICCProfile", "OB"),
    "colour profile of a light path": _nested("OpticalPathSequence", _raw("ICCProfile", "OB")),
    "behind a table": _surplus_table,
    "table": _written_table,
    "palette": _palette,
    "palette in segments": _raw("SegmentedRedPaletteColorLookupTableData", "OW"),
    "decimal number": _raw("KVP", "DS"),
    "third of two decimal numbers": _values_of_number,
    "whole number": _raw("SeriesNumber", "IS"),
    "US of one value": _raw("PixelIntensityRelationshipSign", "SS"),
    "US of four values": _raw("AcquisitionMatrix", "US"),
    "US of any number of values": _raw("SliceVector", "US"),
    "UL of any number of values": _raw("SimpleFrameList", "UL"),
    "FD of any number of values": _raw("DepthsOfFocus", "FD"),
    "FL of any number of values": _raw("RWaveTimeVector", "FL"),
    "FD of 16 values": _raw("VolumeToTableMappingMatrix", "FD"),
    "UV of any number of values": _raw("SelectorUVValue", "UV"),
    "attribute tags": _raw("FrameIncrementPointer", "AT"),
    "code string": _raw("BodyPartExamined", "CS"),
    "character set": _raw("SpecificCharacterSet", "CS"),
    "date": _raw("StudyDate", "DA"),
    "time": _raw("StudyTime", "TM"),
    "date and time": _raw("AcquisitionDateTime", "DT"),
    "age": _raw("PatientAge", "AS"),
    "UID": _raw("FrameOfReferenceUID", "UI"),
    "number declared as text": _raw("SamplesPerPixelUsed", "LO"),
    "number declared as unknown": _raw("SamplesPerPixelUsed", "UN"),
    "number declared as a sequence": _sequence("KVP"),
    "pixel size declared as a sequence": _sequence("PixelPaddingValue"),
    "unknown sequence": _sequence(0x00191010),
    "overlay": _raw(0x60003000, "OW"),
    "curve": _raw(0x50003000, "OW"),
    "sound": _raw(0x5000200C, "OW"),
    "waveform": _nested("WaveformSequence", _raw("WaveformData", "OW")),
    "document": _raw("EncapsulatedDocument", "OB"),
    "sequence that is none": _raw("ViewCodeSequence", "UN"),
    "extended offset table": _raw("ExtendedOffsetTable", "OV"),
    "lengths of frames": _raw("ExtendedOffsetTableLengths", "OV"),
    "floating-point pixels": _both_kinds_of_pixels,
    "retired pixels": _raw(0x7F000010, "OW"),
    "file meta information in an item": _nested("ViewCodeSequence", _raw(0x00020013, "SH")),
    "command in an item": _nested("ViewCodeSequence", _raw(0x00001031, "US")),
    "directory in an item": _nested("ViewCodeSequence", _raw(0x00041212, "US")),
    "histogram": _nested("HistogramSequence", _raw("HistogramData", "UL")),
}


def with_frames(fragments, syntax, *, table=b""):
    """A small image of fragments, and an offset table that holds anything."""
    ds = small_image()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(fragments, has_bot=False)
    if table:
        ds.PixelData = ds.PixelData[:4] + struct.pack("<I", len(table)) + table + ds.PixelData[8:]
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return ds


STREAMS = {
    "JPEG": (JPEGBaseline8Bit, lambda: jpeg(GREY)),
    "JPEG progressive": (JPEGBaseline8Bit, lambda: jpeg(GREY, progressive=True)),
    "JPEG with restarts": (JPEGBaseline8Bit, lambda: jpeg(GREY, restart_marker_blocks=2)),
    "JPEG Lossless": (JPEGLosslessSV1, lambda: lossless_jpeg(GREY, 8)),
    "JPEG-LS": (JPEGLSLossless, lambda: jpeg_ls(GREY, 8)),
    "JPEG-LS, lossy": (JPEGLSLossless, lambda: jpeg_ls(GREY, 8, error=2)),
    "JPEG 2000": (JPEG2000Lossless, lambda: jpeg2000(GREY, 8)),
    "JPEG 2000, lossy": (JPEG2000, lambda: jpeg2000(GREY, 8, compression_ratios=[4])),
}


def segment(marker, content):
    return b"\xff" + bytes([marker]) + word(len(content) + 2) + content


def _before(marker, inserted):
    """Put bytes before the first segment of a kind."""
    return lambda stream, text: stream.replace(b"\xff" + marker, inserted(text) + b"\xff" + marker, 1)


def _behind_start(inserted):
    return lambda stream, text: stream[:2] + inserted(text) + stream[2:]


_SCAN, _END = b"\xda", b"\xd9"
AROUND_JPEG = {
    "comment": _behind_start(lambda text: segment(0xFE, text)),
    "comment of an encoder": _behind_start(lambda text: segment(0xFE, b"OpenJPEG version 2.5 " + text)),
    "comment before the scan": _before(_SCAN, lambda text: segment(0xFE, b"LEAD Technologies Inc. " + text)),
    "comment before the end": lambda stream, text: stream[:-2] + segment(0xFE, text) + stream[-2:],
    "EXIF": _behind_start(lambda text: segment(0xE1, b"Exif\0\0" + text)),
    "Adobe XMP": _behind_start(lambda text: segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + text)),
    "long Adobe segment": _behind_start(lambda text: segment(0xEE, b"Adobe\0\x64\0\0\0\0\0" + text)),
    "flags of Adobe": _behind_start(lambda text: segment(0xEE, b"Adobe" + text[:6] + b"\0")),
    "JFIF thumbnail": _behind_start(
        lambda text: segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1" + bytes([len(text) // 3, 1]) + text)
    ),
    "JFIF resolution": _behind_start(lambda text: segment(0xE0, b"JFIF\0\1\1" + text[:5] + b"\0\0")),
    "SPIFF": _behind_start(lambda text: segment(0xE8, b"SPIFF\0" + text)),
    "ICC profile": _behind_start(lambda text: segment(0xE2, b"ICC_PROFILE\0\1\1" + text)),
    "quantisation table that is not used": _behind_start(
        lambda text: segment(0xDB, b"\x03" + (text * 4)[:64])
    ),
    "quantisation table that is replaced": _behind_start(
        lambda text: segment(0xDB, b"\x00" + (text * 4)[:64])
    ),
    "Huffman table that is not used": _behind_start(
        lambda text: segment(0xC4, b"\x13" + bytes([0] * 7 + [16] + [0] * 8) + (text + bytes(16))[:16])
    ),
    "behind a quantisation table": _behind_start(lambda text: segment(0xDB, b"\x03" + bytes(64) + text)),
    "preset of JPEG-LS": _behind_start(lambda text: segment(0xF8, b"\x02" + text)),
    "unknown segment": _behind_start(lambda text: segment(0xF3, text)),
    "between segments": _behind_start(lambda text: text),
    "behind the end": lambda stream, text: stream + text,
    "second image": lambda stream, text: stream + stream[:2] + segment(0xFE, text) + stream[2:],
    "before the end": lambda stream, text: stream[:-2] + text + stream[-2:],
    "before the end, with zeros": lambda stream, text: stream[:-2] + text + bytes(40) + stream[-2:],
    "behind a wrong end": lambda stream, text: stream[:-2] + b"\xff\xd9" + text + stream[-2:],
}


def _box(kind, content):
    return struct.pack(">I", 8 + len(content)) + kind + content


def _jp2(*boxes):
    def pack(stream, text):
        head = b"\0\0\0\x0cjP  \r\n\x87\n" + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
        return head + b"".join(box(stream, text) for box in boxes)

    return pack


def _stream_box(stream, _):
    return _box(b"jp2c", stream)


AROUND_JPEG2000 = {
    "comment": _before(b"\x52", lambda text: segment(0x64, b"\0\1" + text)),
    "comment of an encoder": _before(b"\x90", lambda text: segment(0x64, b"\0\1Kakadu-v7 " + text)),
    "registration": _before(b"\x90", lambda text: segment(0x63, text)),
    "lengths of packets": _before(b"\x90", lambda text: segment(0x57, b"\0" + text)),
    "lengths of tiles": _before(b"\x90", lambda text: segment(0x55, b"\0\x60" + text)),
    "unknown segment": _before(b"\x90", lambda text: segment(0x7A, text)),
    "change of progression": _before(b"\x90", lambda text: segment(0x5F, text[:7])),
    "surplus quantisation": _before(b"\x90", lambda text: segment(0x5C, b"\x40" + text * 5 + text[:1])),
    "between segments": _before(b"\x90", lambda text: text),
    "behind the end": lambda stream, text: stream + text,
    "before the end": lambda stream, text: stream[:-2] + text + stream[-2:],
    "box": _jp2(lambda _, text: _box(b"xml ", text), _stream_box),
    "box behind": _jp2(_stream_box, lambda _, text: _box(b"uuid", bytes(16) + text)),
    "colour box": _jp2(lambda _, text: _box(b"jp2h", _box(b"colr", b"\2\0\0" + text)), _stream_box),
    "behind the end in a box": _jp2(lambda stream, text: _box(b"jp2c", stream + text)),
}


def add_to_tile(stream, added):
    """Put segments into the header of the only tile-part, and lengthen it."""
    start, data = stream.index(b"\xff\x90"), stream.index(b"\xff\x93")
    length = struct.unpack_from(">I", stream, start + 6)[0] + len(added)
    return stream[: start + 6] + struct.pack(">I", length) + stream[start + 10 : data] + added + stream[data:]


AROUND_JPEG2000["comment in a tile"] = lambda stream, text: add_to_tile(stream, segment(0x64, b"\0\1" + text))
AROUND_JPEG2000["lengths in a tile"] = lambda stream, text: add_to_tile(stream, segment(0x58, b"\0" + text))


def rle_frame():
    ds = small_image()
    ds.compress(RLELossless)
    return ds.PixelData[20:] if ds.PixelData[4:8] == b"\4\0\0\0" else ds.PixelData[16:]


AROUND_RLE = {
    "unused offsets": lambda frame, text: frame[:8] + (text * 4)[:56] + frame[64:],
    "before the segment": lambda frame, text: (
        frame[:4] + struct.pack("<I", 64 + len(text)) + frame[8:64] + text + frame[64:]
    ),
    "behind the segment": lambda frame, text: frame + bytes([len(text) - 1]) + text,
    "behind all": lambda frame, text: frame + b"\x80" + text,
    "in a second fragment": lambda frame, text: frame + text,
}


# A person must look at these: their structure is not known, or a surplus looks like samples or numbers.
NOT_CUT = {
    *("behind a quantisation table", "preset of JPEG-LS", "unknown segment", "between segments"),
    *("before the end", "before the end, with zeros", "first fragment"),
    *("change of progression", "surplus quantisation"),
    *("unused offsets", "before the segment", "behind all", "in a second fragment"),
    *("table", "palette", "palette in segments", "attribute tags", "histogram", "unused bits"),
    *(f"{vr} of any number of values" for vr in ("US", "UL", "FD", "FL", "UV")),
    "FD of 16 values",
}


def planted_frames(code):
    """Yield a name, the encoding of the text and a data set for each place in compressed pixel data."""
    text = TEXTS[code]
    for kind, (syntax, make) in STREAMS.items():
        stream = make()
        for place, plant in (AROUND_JPEG2000 if "2000" in kind else AROUND_JPEG).items():
            yield f"{kind}: {place}", code, with_frames([plant(stream, text)], syntax)
        yield f"{kind}: offset table", code, with_frames([stream], syntax, table=text)
        yield f"{kind}: second fragment", code, with_frames([stream, text], syntax)
        yield f"{kind}: first fragment", code, with_frames([text, stream], syntax)
    for place, plant in AROUND_RLE.items():
        yield f"RLE: {place}", code, with_frames([plant(rle_frame(), text)], RLELossless)
    yield "RLE: offset table", code, with_frames([rle_frame()], RLELossless, table=text)


def planted_elements(code):
    """Yield a name, the encoding of the text and a data set for each place in elements and plain pixels."""
    text = TEXTS[code]
    for place, plant in IN_ELEMENTS.items():
        if place == "character set" and b"\0" in text:
            continue  # pydicom does not write it
        ds = small_image()
        plant(ds, text)
        yield place, code, ds
    ds = small_image()
    ds.PixelData += text
    yield "behind the pixels", code, ds
    yield "unused bits", code, _in_unused_bits(text)


def _in_unused_bits(text):
    bits = np.unpackbits(np.frombuffer(text, np.uint8)).astype(np.uint16)
    cells = np.arange(SIZE * SIZE, dtype=np.uint16)
    cells[: len(bits)] |= bits << 15
    ds = small_image()
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelData = 16, 12, 11, cells.tobytes()
    return ds

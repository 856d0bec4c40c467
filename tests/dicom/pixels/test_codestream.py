"""Codestreams: headers that would end their decoder's process, and those that differ from the file's."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from codestreams import SYNTAXES, jpeg, jpeg2000, jpeg_ls, lossless_jpeg, signed, wrapped
from dicom_helpers import SECONDARY_CAPTURE, make_ds, picture, refusal, save
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from covid_monai.core.vocabulary import RefusalReason, UnreadableImage
from covid_monai.dicom.pixels.codestream import jpeg_segments
from covid_monai.readers import read_radiograph

needs_dcmtk = pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="needs DCMTK's dcmcjpeg")


@pytest.fixture
def compress(tmp_path):
    """Compress a data set with DCMTK; returns the path of the file."""

    def compress(ds, process):
        path = tmp_path / "image.dcm"
        command = ["dcmcjpeg", process, save(ds, tmp_path / "plain.dcm"), path]
        subprocess.run(command, check=True, capture_output=True)
        return path

    return compress


@pytest.mark.parametrize("target_size", [None, 64])
def test_a_stream_of_many_scans_is_not_decoded(tmp_path, target_size):
    stream = jpeg(picture(640, 640), progressive=True)
    last = stream.rindex(b"\xff\xda")
    for count, refused in ((20, False), (800_000_000 // 640**2 + 1, True)):
        more = stream[last:-2] * (count - stream.count(b"\xff\xda"))
        content = stream[:-2] + more + stream[-2:]
        save(wrapped(content, JPEGBaseline8Bit, (640, 640)), tmp_path / "image.dcm")
        if refused:
            with pytest.raises(UnreadableImage, match="scans"):
                read_radiograph(tmp_path / "image.dcm", target_size=target_size)
        else:
            read_radiograph(tmp_path / "image.dcm", target_size=target_size)


def change_byte(path, *, after, offset, value):
    """Overwrite one byte of a file, `offset` bytes behind the start of a marker."""
    content = bytearray(path.read_bytes())
    content[content.index(after) + offset] = value
    path.write_bytes(content)


@needs_dcmtk
@pytest.mark.parametrize(
    ("process", "precision"), [("+e1", 0), ("+e1", 17), ("+e1", 200), ("+ee", 2), ("+ee", 9), ("+ee", 200)]
)
def test_a_precision_that_would_end_the_process(compress, process, precision):
    path = compress(make_ds(picture(top=4095, dtype=np.uint16), bits_stored=12), process)
    frame_header = b"\xff\xc3\x00\x0b" if process == "+e1" else b"\xff\xc1\x00\x0b"
    change_byte(path, after=frame_header, offset=4, value=precision)
    with pytest.raises(UnreadableImage, match=f"{precision} bits"):
        read_radiograph(path)


@needs_dcmtk
@pytest.mark.parametrize(
    ("marker", "offset", "value", "message"),
    [(b"JFIF\0", 5, 0, "application segment"), (b"\xff\xda\x00\x08\x01", 7, 9, "predictor 9")],
)
def test_a_segment_that_would_end_the_process(compress, marker, offset, value, message):
    path = compress(make_ds(picture()), "+e1")
    change_byte(path, after=marker, offset=offset, value=value)
    with pytest.raises(UnreadableImage, match=message):
        read_radiograph(path)


@needs_dcmtk
def test_a_stream_of_another_size_than_its_header(compress, tmp_path):
    ds = pydicom.dcmread(compress(make_ds(picture()), "+eb"))
    ds.Rows = 80
    with pytest.raises(UnreadableImage, match="128 x 96 pixels, its header 128 x 80 pixels"):
        read_radiograph(save(ds, tmp_path / "other.dcm"))


GREY, WIDE = picture(), picture(top=4095, dtype=np.uint16)
COLOUR = np.repeat(GREY[..., None], 3, 2)
SHAPE = GREY.shape


def grey_as_rgb():
    """A JPEG whose three samples are equal, with a JFIF segment that says they are YCbCr."""
    stream = jpeg(COLOUR, keep_rgb=True, subsampling=0)
    start = next(content for marker, content in jpeg_segments(stream) if marker == 0xEE)
    adobe = b"\xff\xee" + (len(start) + 2).to_bytes(2, "big") + start
    jfif = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    return stream.replace(adobe, jfif, 1)


DIFFERENT = {
    "3 samples a pixel, its header 1 sample": lambda: wrapped(jpeg(COLOUR), SYNTAXES["jpeg"], SHAPE),
    "has 3 samples a pixel": lambda: wrapped(jpeg_ls(COLOUR, 8), SYNTAXES["jpeg-ls"], SHAPE),
    "1 sample a pixel, its header 3 samples": lambda: wrapped(
        jpeg(GREY), SYNTAXES["jpeg"], SHAPE, samples=3
    ),
    "signed values, its header unsigned": lambda: wrapped(
        jpeg2000(signed(WIDE, 12), 12), SYNTAXES["j2k"], SHAPE, allocated=16, stored=12
    ),
    "unsigned values, its header signed": lambda: wrapped(
        jpeg2000(WIDE, 12), SYNTAXES["j2k"], SHAPE, allocated=16, stored=12, signed=1
    ),
    "JPEG stream has unsigned values": lambda: wrapped(jpeg(GREY), SYNTAXES["jpeg"], SHAPE, signed=1),
    "128 x 96 pixels, its header 96 x 128": lambda: wrapped(jpeg(GREY), SYNTAXES["jpeg"], SHAPE[::-1]),
    "12 bits a sample, its header allocates 8": lambda: wrapped(
        lossless_jpeg(WIDE, 12), SYNTAXES["lossless"], SHAPE
    ),
    "8 bits a sample, its header 12 with a sign": lambda: wrapped(
        lossless_jpeg(GREY, 8), SYNTAXES["lossless"], SHAPE, allocated=16, stored=12, signed=1
    ),
    "up to High Bit 15": lambda: wrapped(
        lossless_jpeg(WIDE << 4, 16), SYNTAXES["lossless"], SHAPE, allocated=16, stored=12, HighBit=15
    ),
    "hold 2 frames, its header says 1": lambda: wrapped(2 * [jpeg(GREY)], SYNTAXES["jpeg"], SHAPE),
    "no JPEG, JPEG-LS or JPEG 2000": lambda: wrapped(b"\0\0\0\0", SYNTAXES["jpeg"], SHAPE),
    "60000 x 60000 pixels": lambda: wrapped(
        jpeg2000(WIDE, 12).replace(b"\0\0\0\x80\0\0\0\x60", 2 * (60_000).to_bytes(4, "big"), 1),
        SYNTAXES["j2k"], SHAPE, allocated=16, stored=12,
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", DIFFERENT)
@pytest.mark.parametrize("target_size", [None, 8])
def test_what_differs_between_stream_and_header_is_named(tmp_path, message, target_size):
    path = save(DIFFERENT[message](), tmp_path / "image.dcm")
    with pytest.raises(UnreadableImage, match=message):
        read_radiograph(path, target_size=target_size)


def test_two_frames_in_the_header_are_refused(tmp_path):
    ds = wrapped(jpeg(GREY), SYNTAXES["jpeg"], SHAPE, NumberOfFrames=2)
    assert refusal(save(ds, tmp_path / "image.dcm")) is RefusalReason.MULTI_FRAME


def table_with(ds, offset):
    ds.PixelData = ds.PixelData[:8] + offset.to_bytes(4, "little") + ds.PixelData[12:]
    return ds


def extended(ds):
    ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = (
        bytes(8),
        (len(ds.PixelData) - 20).to_bytes(8, "little"),
    )
    return ds


J2K = jpeg2000(GREY, 8)
CUT = [J2K[:1000], J2K[1000:2000], J2K[2000:]]
SAME = {
    "three fragments": lambda: wrapped(CUT, SYNTAXES["j2k"], SHAPE),
    "wrong offset": lambda: table_with(wrapped(J2K, SYNTAXES["j2k"], SHAPE), 10_000),
    "extended table": lambda: extended(wrapped(J2K, SYNTAXES["j2k"], SHAPE)),
    "in a JP2 file": lambda: wrapped(jpeg2000(GREY, 8, codec_format=1), SYNTAXES["j2k"], SHAPE),
    "of another transfer syntax": lambda: wrapped(J2K, JPEGBaseline8Bit, SHAPE),
    "JPEG-LS as JPEG 2000": lambda: wrapped(jpeg_ls(GREY, 8), JPEG2000Lossless, SHAPE),
    "8 bits in 16 allocated": lambda: wrapped(J2K, SYNTAXES["j2k"], SHAPE, allocated=16, stored=8),
    "8 bits said to be 7": lambda: wrapped(J2K, SYNTAXES["j2k"], SHAPE, stored=7),
    "8 bits said to be 12": lambda: wrapped(J2K, SYNTAXES["j2k"], SHAPE, allocated=16, stored=12),
    "16 bits around 8": lambda: wrapped(
        jpeg2000(GREY.astype(np.uint16), 16), SYNTAXES["j2k"], SHAPE, allocated=16, stored=8
    ),
    "colour that is grey": lambda: wrapped(jpeg_ls(COLOUR, 8), SYNTAXES["jpeg-ls"], SHAPE, samples=3),
}


@pytest.mark.parametrize("way", SAME)
def test_one_picture_in_many_wrappings(tmp_path, way):
    expected = read_radiograph(save(make_ds(GREY), tmp_path / "plain.dcm"))[0]
    ds = SAME[way]()
    ds.SOPClassUID = SECONDARY_CAPTURE
    np.testing.assert_array_equal(read_radiograph(save(ds, tmp_path / "image.dcm"))[0], expected)


@pytest.mark.parametrize("stream", [jpeg(COLOUR, subsampling=0), grey_as_rgb()], ids=["YCbCr", "RGB"])
def test_grey_in_a_colour_jpeg_is_grey_however_it_is_written(tmp_path, stream):
    expected = read_radiograph(save(make_ds(GREY), tmp_path / "plain.dcm"))[0]
    ds = wrapped(stream, SYNTAXES["jpeg"], SHAPE, samples=3)
    np.testing.assert_allclose(read_radiograph(save(ds, tmp_path / "image.dcm"))[0], expected, atol=12 / 255)


def test_a_palette_inside_the_stream_is_named(tmp_path):
    stream = jpeg2000(GREY, 8, codec_format=1)
    at = stream.index(b"jp2h") - 4
    size = int.from_bytes(stream[at : at + 4], "big")
    box = stream[at : at + size] + (12).to_bytes(4, "big") + b"pclr" + bytes(4)
    changed = stream[:at] + (size + 12).to_bytes(4, "big") + box[4:] + stream[at + size :]
    with pytest.raises(UnreadableImage, match="palette"):
        read_radiograph(save(wrapped(changed, SYNTAXES["j2k"], SHAPE), tmp_path / "image.dcm"))


@pytest.mark.parametrize("bits", [8, 16])
def test_rle_of_another_number_of_segments(tmp_path, bits):
    ds = make_ds(GREY if bits == 16 else WIDE)  # the header says the other
    ds.compress(RLELossless)
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit = bits - 1
    with pytest.raises(UnreadableImage, match=r"RLE stream has \d segments?; its header needs"):
        read_radiograph(save(ds, tmp_path / "image.dcm"))


def test_a_codestream_in_an_uncompressed_transfer_syntax(tmp_path):
    ds = wrapped(jpeg(GREY), ExplicitVRLittleEndian, SHAPE)
    with pytest.raises(UnreadableImage, match="bytes, but its header describes"):
        read_radiograph(save(ds, tmp_path / "image.dcm"))

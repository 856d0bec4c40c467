"""Frames after cleaning: the same pixels by every decoder, and nothing of what stood around the samples."""

import io
import shutil
import subprocess

import numpy as np
import openjpeg
import pydicom
import pytest
from codestreams import SYNTAXES, every_stream, jpeg, jpeg2000, jpeg_ls, wrapped
from dicom_helpers import picture, save
from PIL import Image
from PIL.JpegPresets import presets
from planted_text import GREY, TEXTS, add_to_tile, segment
from planted_text import STREAMS as PLANTED
from pydicom.encaps import encapsulate

from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.deidentify.compressed_frames import NotCleaned, clean_frame
from covid_monai.dicom.file import read_dicom
from covid_monai.dicom.pixels.codestream import is_codestream, split_frames
from covid_monai.dicom.pixels.decode import decode_frame

SHADE = picture() / 255.0
STREAMS = {name: (kind, stream, samples, bits) for name, kind, stream, samples, bits in every_stream(SHADE)}


def data_set(name, stream):
    _, _, samples, bits = STREAMS[name]
    shape = SHADE.shape[::-1] if "turned" in name else SHADE.shape
    allocated, sign = (8 if bits <= 8 else 16), int("signed" in name)
    return wrapped(
        stream, SYNTAXES[STREAMS[name][0]], shape,
        allocated=allocated, stored=bits, samples=samples, signed=sign,
    )  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_the_pixels_stay_bit_for_bit_and_nothing_is_left_to_clean(name):
    stream = STREAMS[name][1]
    clean = clean_frame(stream)
    np.testing.assert_array_equal(
        decode_frame(data_set(name, clean))[0], decode_frame(data_set(name, stream))[0]
    )
    assert clean_frame(clean) == clean
    assert len(clean) <= len(stream)


@pytest.mark.skipif(shutil.which("dcmdjpeg") is None, reason="needs DCMTK")
@pytest.mark.parametrize(
    "name", [name for name in STREAMS if STREAMS[name][0] != "j2k" and name != "jpeg-ls 6"]
)
def test_dcmtk_decodes_the_same_pixels(tmp_path, name):
    tool = "dcmdjpls" if STREAMS[name][0] == "jpeg-ls" else "dcmdjpeg"
    decoded = []
    for stream in (STREAMS[name][1], clean_frame(STREAMS[name][1])):
        path = save(data_set(name, stream), tmp_path / "in.dcm")
        subprocess.run([tool, path, tmp_path / "out.dcm"], check=True, capture_output=True, timeout=60)
        decoded.append(pydicom.dcmread(tmp_path / "out.dcm").PixelData)
    assert decoded[0] == decoded[1]


def test_openjpeg_reads_the_lengths_of_tiles_that_are_written_again():
    cells = picture()
    stream = jpeg2000(cells, 8)
    commented = add_to_tile(stream, segment(0x64, b"\0\1" + b"Zamenhof"))
    start = commented.index(b"\xff\x90")
    length = commented[start + 6 : start + 10]
    listed = commented[:start] + segment(0x55, b"\0\x60\0\0" + length) + commented[start:]
    clean = clean_frame(listed)
    assert b"Zamenhof" not in clean
    at = clean.index(b"\xff\x55")
    new_start = clean.index(b"\xff\x90")
    assert clean[at + 8 : at + 12] == clean[new_start + 6 : new_start + 10] != length
    np.testing.assert_array_equal(openjpeg.decode(clean, j2k_format=0), cells)


def test_the_colours_of_a_jpeg_stay_those_of_its_application_data():
    colour = np.repeat(picture()[..., None], 3, 2)
    colour[..., 1] //= 2
    for options in ({}, {"keep_rgb": True, "subsampling": 0}):
        stream = jpeg(colour, **options, comment=b"Zamenhof", exif=b"Exif\0\0Zamenhof")
        clean = clean_frame(stream)
        assert b"Zamenhof" not in clean
        np.testing.assert_array_equal(*(np.asarray(Image.open(io.BytesIO(each))) for each in (stream, clean)))


@pytest.mark.parametrize("cut", [2, 3, 40, 200, 700])
@pytest.mark.parametrize("stream", [jpeg(picture()), jpeg_ls(picture(), 8), jpeg2000(picture(), 8)])
def test_a_stream_that_is_cut_is_left_to_a_person(stream, cut):
    with pytest.raises(NotCleaned):
        clean_frame(stream[:-cut])


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\1\x09", b"\xff\x0a"])
def test_what_is_no_picture_is_left_to_a_person(content):
    with pytest.raises(NotCleaned):
        clean_frame(content)


def test_noise_is_seldom_taken_for_text():
    kept = 0
    for seed in range(40):
        noise = np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8)
        for make in (jpeg, lambda cells: jpeg_ls(cells, 8), lambda cells: jpeg2000(cells, 8)):
            try:
                clean_frame(make(noise))
                kept += 1
            except NotCleaned:
                pass
    assert kept >= 118


@pytest.mark.parametrize("kind", PLANTED)
def test_no_name_stays_wherever_it_is_put_into_a_stream(kind):
    stream, name = PLANTED[kind][1](), TEXTS["ascii"]
    left = []
    for at in range(len(stream) + 1):
        for end in (at, at + len(name)):  # inserted, or in the place of other bytes
            try:
                clean = clean_frame(stream[:at] + name + stream[end:])
            except (NotCleaned, UnreadableImage):
                continue
            left += [at] if b"Zamen" in clean or b"Ludwik" in clean else []
    assert not left


@pytest.mark.real_data
@pytest.mark.slow
def test_real_compressed_images_are_cleaned_and_keep_their_pixels(real_data):
    cleaned = 0
    for path in sorted(real_data.glob("**/*.dcm")):
        ds = read_dicom(path)
        if ds.file_meta.TransferSyntaxUID.is_encapsulated and is_codestream(ds):
            frames = [clean_frame(frame) for frame in split_frames(ds)]
            before, _ = decode_frame(ds)
            ds.PixelData = encapsulate(frames)
            np.testing.assert_array_equal(decode_frame(ds)[0], before)
            cleaned += 1
    assert cleaned >= 40


@pytest.mark.parametrize("name", [b"ZZMUELLER", b"Ludwik", b"Zamenhof^L"])
def test_a_name_of_few_letters_in_a_table_of_quantisation_is_found(name):
    stream = jpeg(GREY)
    start = stream.index(b"\xff\xdb") + 5
    for offset in range(0, 64 - len(name), 7):
        written = stream[: start + offset] + name + stream[start + offset + len(name) :]
        with pytest.raises(NotCleaned):
            clean_frame(written)


def test_the_usual_tables_of_quantisation_are_no_text_though_some_read_like_it():
    tables = [bytes(table) for preset in presets.values() for table in preset["quantization"]]
    for quality in range(1, 101):
        content = io.BytesIO()
        Image.fromarray(GREY).convert("RGB").save(content, "JPEG", quality=quality)
        clean_frame(content.getvalue())
        tables.append(bytes(Image.open(content).quantization[0]))
    for table in tables:
        content = io.BytesIO()
        Image.fromarray(GREY).save(content, "JPEG", qtables=[list(table)])
        clean_frame(content.getvalue())

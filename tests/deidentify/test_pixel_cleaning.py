"""Bytes and bits beside the pixel values, in plain and in compressed pixel data."""

import numpy as np
import pytest
from deidentify_helpers import image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from covid_monai.deidentify.pixel_cleaning import clean_pixels
from covid_monai.deidentify.run_manifest import Refused

CELLS = np.full((96, 128), 700, np.uint16)
TWELVE_BITS = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}


def compressed(ds, syntax):
    ds.compress(syntax, generate_instance_uid=False)
    return ds


def test_bytes_behind_the_pixels_are_cut_and_an_odd_length_gets_a_zero():
    ds = image(Rows=3, Columns=5, PixelData=bytes(range(15)) + b"Zamenhof")
    assert clean_pixels(ds) == (True, set())
    assert ds.PixelData == bytes(range(15)) + b"\0"
    assert clean_pixels(ds) == (False, set())


def test_in_big_endian_words_the_last_pixel_stands_behind_its_padding():
    ds = image(Rows=1, Columns=3, PixelData=b"\2\1\0\3Zamenhof")
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    clean_pixels(ds)
    assert ds.PixelData == b"\2\1\0\3"


def test_pixels_of_floating_point_numbers_are_cut_too_and_there_is_one_kind():
    ds = image(Rows=2, Columns=2, BitsAllocated=32)
    del ds.PixelData
    ds.FloatPixelData = np.arange(4, dtype=np.float32).tobytes() + b"Zamenhof"
    ds.DoubleFloatPixelData = b"Zamenhof"
    assert clean_pixels(ds) == (True, set())
    assert ds.FloatPixelData == np.arange(4, dtype=np.float32).tobytes()
    assert "DoubleFloatPixelData" not in ds


def test_pixel_data_that_are_too_short_are_refused():
    with pytest.raises(Refused, match="shorter"):
        clean_pixels(image(PixelData=bytes(100)))


@pytest.mark.parametrize(
    ("elements", "cells", "listed"),
    [
        (TWELVE_BITS, CELLS, False),
        (TWELVE_BITS, CELLS | 0x8000, True),
        ({**TWELVE_BITS, "PixelRepresentation": 1}, CELLS.astype(np.int16) * -1, False),
        ({**TWELVE_BITS, "PixelRepresentation": 1}, CELLS | 0x2800, True),
        ({"BitsAllocated": 32, "BitsStored": 12, "HighBit": 11}, CELLS.astype(np.uint32), False),
        ({"BitsAllocated": 32, "BitsStored": 12, "HighBit": 11}, CELLS.astype(np.uint32) | 1 << 31, True),
        ({"BitsAllocated": 16, "BitsStored": 12, "HighBit": 15}, CELLS << 4, False),
        ({"BitsAllocated": 16, "BitsStored": 12, "HighBit": 15}, CELLS << 4 | 1, True),
    ],
)
@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_unused_bits_are_listed(elements, cells, listed, syntax):
    ds = image(**elements, PixelData=cells.tobytes())
    if syntax and ds.BitsAllocated == 32:
        pytest.skip("pydicom does not write it")
    if syntax:
        compressed(ds, syntax)
    _, review = clean_pixels(ds)
    assert review == ({"unused_bits"} if listed else set())


def test_the_unused_bits_of_a_mask_of_single_bits_are_listed():
    bits = {"Rows": 3, "Columns": 3, "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    assert clean_pixels(image(**bits, PixelData=b"\xff\1")) == (False, set())
    assert clean_pixels(image(**bits, PixelData=b"\xff\x41")) == (False, {"unused_bits"})


def test_numbers_of_bits_that_are_unknown_are_left_to_a_person():
    ds = image(BitsAllocated=12, PixelData=bytes(20_000))
    assert clean_pixels(ds) == (False, {"pixels_not_cleaned"})
    assert len(ds.PixelData) == 20_000


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("samples", [1, 3])
def test_several_frames_get_a_new_offset_table_and_the_same_pixels(syntax, samples):
    cells = np.random.default_rng(0).integers(0, 255, (2, 32, 64, samples), np.uint8)
    ds = image(Rows=32, Columns=64, NumberOfFrames=2, SamplesPerPixel=samples, PixelData=cells.tobytes())
    if samples == 3:
        ds.PhotometricInterpretation, ds.PlanarConfiguration = "RGB", 0
    compressed(ds, syntax)
    frames = list(generate_frames(ds.PixelData, number_of_frames=2))
    ds.PixelData = encapsulate(frames, has_bot=False).replace(bytes(4), b"\x10\0\0\0Zamenhof^Ludwik ", 1)
    assert clean_pixels(ds) == (True, set())
    assert b"Zamenhof" not in ds.PixelData
    np.testing.assert_array_equal(ds.pixel_array, cells.squeeze())
    assert ds.PixelData[4:8] == b"\x08\0\0\0"


def test_other_fragments_than_frames_are_left_to_a_person():
    ds = image(NumberOfFrames=2, PixelData=encapsulate([b"\xff\xd8\xff\xd9"]))
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert clean_pixels(ds) == (False, {"pixels_not_cleaned"})

"""The DICOM grayscale pipeline against formulas written from PS3.3, pydicom's functions and DCMTK."""

import math
import shutil
import subprocess

import dicom_helpers
import numpy as np
import pytest
from dicom_helpers import lut_item
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

try:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut
except ImportError:  # pydicom 2
    from pydicom.pixel_data_handlers.util import apply_modality_lut, apply_voi_lut

from covid_monai.core.vocabulary import RefusalReason, RefusedImage
from covid_monai.dicom.grayscale import apply_window, render
from covid_monai.dicom.pixels.decode import decode_pixels
from covid_monai.readers import read_radiograph

NEEDS_DCMJ2PNM = pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="needs DCMTK's dcmj2pnm")


def make_ds(cells, *, bits_stored, high_bit=None, signed=False, **elements):
    """A radiograph whose cells are given by their bit patterns."""
    layout = {
        "HighBit": bits_stored - 1 if high_bit is None else high_bit,
        "PixelRepresentation": int(signed),
    }
    return dicom_helpers.make_ds(cells, bits_stored=bits_stored, **layout, **elements)


def show(ds):
    codes, bits = decode_pixels(ds)
    return render(codes, ds, bits_stored=bits)


def ramp(bits, *, dtype=np.uint16):
    """Every value of the bit depth, 64 columns wide."""
    return np.arange(2**bits, dtype=dtype).reshape(-1, 64)


def shown_by_dcmtk(ds, folder, *options):
    path, png = dicom_helpers.save(ds, folder / "image.dcm"), folder / "image.png"
    subprocess.run(["dcmj2pnm", *options, "+on", path, png], check=True, capture_output=True)
    return np.asarray(Image.open(png))


def window_by_the_book(x, c, w, function):
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 with ymin 0 and ymax 1, one value at a time."""
    if function == "SIGMOID":
        exponent = -4 * (x - c) / w
        return 0.0 if exponent > 700 else 1 / (1 + math.exp(exponent))
    if function == "LINEAR_EXACT":
        if x <= c - w / 2:
            return 0.0
        return 1.0 if x > c + w / 2 else (x - c) / w + 0.5
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    return 1.0 if x > c - 0.5 + (w - 1) / 2 else (x - (c - 0.5)) / (w - 1) + 0.5


@st.composite
def stored_formats(draw):
    allocated = draw(st.sampled_from([8, 16]))
    stored = draw(st.integers(2, allocated))
    high_bit = draw(st.integers(stored - 1, allocated - 1))
    cells = np.array(draw(st.lists(st.integers(0, 2**allocated - 1), min_size=8, max_size=8)))
    unused = 2**allocated - 1 - (2**stored - 1 << (high_bit + 1 - stored))
    cells = cells & ~unused | draw(st.integers(0, 2**allocated - 1)) & unused  # the same in all cells
    return np.array(cells, f"u{allocated // 8}").reshape(2, 4), stored, high_bit, draw(st.booleans())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    stored_formats(),
    st.sampled_from([1.0, 0.25, 2.0, -1.0, 0.684]),
    st.integers(-2000, 2000),
    st.floats(-3000, 70000),
    st.floats(1, 70000),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", ""]),
    st.booleans(),
)
def test_pipeline_equals_the_formulas_of_the_standard(
    fmt, slope, intercept, center, width, function, inverse
):
    cells, stored, high_bit, signed = fmt
    center, width = round(center, 2), round(width, 2)  # DS holds 16 characters
    ds = make_ds(
        cells,
        bits_stored=stored,
        high_bit=high_bit,
        signed=signed,
        photometric="MONOCHROME1" if inverse else "MONOCHROME2",
        RescaleSlope=str(slope),
        RescaleIntercept=str(intercept),
        WindowCenter=str(center),
        WindowWidth=str(width),
        VOILUTFunction=function,
    )
    expected = np.zeros(cells.shape)
    for position, cell in np.ndenumerate(cells):
        value = (int(cell) >> (high_bit + 1 - stored)) & (2**stored - 1)
        if signed and value >= 2 ** (stored - 1):
            value -= 2**stored
        y = window_by_the_book(value * slope + intercept, center, width, function)
        expected[position] = 1 - y if inverse else y
    if np.ptp(expected) < 0.04:  # shows nothing: refused (8 bits) or stretched; tested elsewhere
        return
    np.testing.assert_allclose(show(ds), expected, atol=1e-6)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [False, True])
def test_window_equals_pydicom(function, signed):
    ds = make_ds(ramp(12), bits_stored=12, signed=signed, RescaleSlope="2", RescaleIntercept="-100")
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = "500", "1800", function
    theirs = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds)
    low, high = (-2048, 2047) if signed else (0, 4095)
    theirs = (theirs - (2 * low - 100)) / (2 * (high - low))
    np.testing.assert_allclose(show(ds), theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "center", "width"),
    [("LINEAR", 10, 0.5), ("LINEAR", 10, 0), ("SIGMOID", 10, 0), ("", 10, -5)],
)
def test_invalid_window_is_none(function, center, width):
    assert apply_window(np.arange(5.0), center=center, width=width, function=function) is None


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": "100", "WindowWidth": "0"},
        {"WindowCenter": "100", "WindowWidth": "-3"},
        {"WindowWidth": "50"},
        {"WindowCenter": "60000", "WindowWidth": "2"},  # misses every pixel
        {},
    ],
)
def test_absurd_or_absent_window_becomes_percentiles(window):
    cells = np.random.default_rng(0).normal(2000, 300, (128, 128)).clip(0, 4095).astype(np.uint16)
    image = show(make_ds(cells, bits_stored=12, **window))
    low, high = np.percentile(cells.astype(float), [0.5, 99.5], method="inverted_cdf")
    np.testing.assert_allclose(image, np.clip((cells.astype(float) - low) / (high - low), 0, 1), atol=1e-6)


def test_first_of_several_windows():
    several = make_ds(ramp(12), bits_stored=12, WindowCenter=["1000", "3000"], WindowWidth=["500", "100"])
    one = make_ds(ramp(12), bits_stored=12, WindowCenter="1000", WindowWidth="500")
    np.testing.assert_array_equal(show(several), show(one))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("bits", "signed", "first"), [(10, False, 0), (12, False, 100), (16, True, -2048)])
def test_voi_lut_equals_pydicom_and_wins_over_the_window(photometric, bits, signed, first):
    entries = np.linspace(0, 2**bits - 1, 3000).astype(int) ** 2 // (2**bits - 1)
    ds = make_ds(ramp(12), bits_stored=12, signed=signed, photometric=photometric)
    ds.VOILUTSequence = [lut_item(entries, first=first, bits=bits)]
    ds.WindowCenter, ds.WindowWidth = "10", "20"
    theirs = apply_voi_lut(ds.pixel_array, ds) / (2**bits - 1)
    np.testing.assert_allclose(show(ds), 1 - theirs if photometric == "MONOCHROME1" else theirs, atol=1e-6)


def test_voi_lut_of_eight_bits():
    # pydicom 3.0 counts the entries of such a table in 8 bits too, and is no reference here.
    entries = np.arange(4096) // 16
    ds = make_ds(ramp(12), bits_stored=12)
    ds.VOILUTSequence = [lut_item(entries, bits=8)]
    np.testing.assert_allclose(show(ds), entries.reshape(64, 64) / 255, atol=1e-6)


def test_modality_lut_comes_before_the_window():
    entries = np.arange(4096)[::-1]
    ds = make_ds(ramp(12), bits_stored=12, WindowCenter="1000", WindowWidth="600")
    ds.ModalityLUTSequence = [lut_item(entries, bits=16)]
    theirs = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds) / 65535
    np.testing.assert_allclose(show(ds), theirs, atol=1e-6)


def test_voi_lut_of_bytes_two_to_a_word():
    entries = np.arange(255, -1, -1, dtype=np.uint8)
    ds = make_ds(ramp(8, dtype=np.uint8), bits_stored=8)
    ds.VOILUTSequence = [lut_item(entries.tobytes(), bits=8)]
    np.testing.assert_allclose(show(ds), entries.reshape(4, 64) / 255, atol=1e-6)


def test_voi_lut_first_value_written_unsigned_but_meant_negative():
    entries = np.arange(4096)
    ds = make_ds(ramp(12), bits_stored=12, RescaleSlope="1", RescaleIntercept="-1024")
    ds.VOILUTSequence = [lut_item(entries, first=65536 - 1024, bits=12)]
    np.testing.assert_allclose(show(ds), ramp(12) / 4095, atol=1e-6)


DISAGREEING = {  # entries and bits in the descriptor, entries and highest value of the data
    "agrees": (4096, 12, 4096, 4095),
    "0 entries mean 65536": (0, 12, 4096, 4095),
    "fewer entries": (4096, 12, 2500, 2499),
    "more entries": (2048, 12, 4096, 4095),
    "12 bits of 14": (4096, 14, 4096, 4095),
    "no bits": (4096, 0, 4096, 4095),
    "17 bits": (4096, 17, 4096, 4095),
    "a highest value below": (4096, 12, 4096, 3000),
}


@pytest.mark.slow
@NEEDS_DCMJ2PNM
@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("name", DISAGREEING)
def test_a_lut_whose_descriptor_disagrees_with_its_data_equals_dcmtk(tmp_path, photometric, name, falling):
    count, bits, size, highest = DISAGREEING[name]
    entries = np.linspace(highest, 0, size) if falling else np.linspace(0, highest, size)
    item = lut_item(entries.astype(int), bits=bits, count=count)
    ds = make_ds(ramp(12), bits_stored=12, photometric=photometric, VOILUTSequence=[item])
    np.testing.assert_allclose(show(ds) * 255, shown_by_dcmtk(ds, tmp_path, "+Wl", "1"), atol=1.1)
    del ds.VOILUTSequence
    ds.ModalityLUTSequence, ds.WindowCenter, ds.WindowWidth = [item], "2000", "3000"
    np.testing.assert_allclose(show(ds) * 255, shown_by_dcmtk(ds, tmp_path, "+Wi", "1"), atol=1.1)


@NEEDS_DCMJ2PNM
@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize(
    ("signed", "intercept", "first"),
    [
        *((True, 0, first) for first in (-2048, 63488, -1000, -3000, 64536)),
        *((False, -1024, first) for first in (-1024, 64512, -500)),
        (False, -100.5, -100),
    ],
)
def test_a_lut_with_a_negative_first_input_equals_dcmtk(tmp_path, falling, signed, intercept, first):
    entries = np.arange(4096)[:: -1 if falling else 1]
    ds = make_ds(ramp(12), bits_stored=12, signed=signed, RescaleSlope="1", RescaleIntercept=str(intercept))
    ds.VOILUTSequence = [lut_item(entries, first=first, bits=12)]
    np.testing.assert_allclose(show(ds) * 255, shown_by_dcmtk(ds, tmp_path, "+Wl", "1"), atol=1.1)
    if not intercept:
        ds.ModalityLUTSequence, ds.WindowCenter, ds.WindowWidth = ds.VOILUTSequence, "2000", "3000"
        del ds.VOILUTSequence, ds.RescaleSlope, ds.RescaleIntercept
        np.testing.assert_allclose(show(ds) * 255, shown_by_dcmtk(ds, tmp_path, "+Wi", "1"), atol=1.1)


@NEEDS_DCMJ2PNM
@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_luts_in_every_encoding_equal_dcmtk(tmp_path, falling, syntax, packed, sequence):
    order = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
    entries = np.arange(4096)[:: -1 if falling else 1] // (16 if packed else 1)
    words = entries.astype(np.uint8).view("<u2") if packed else entries
    center, width = ("128", "200") if packed else ("2000", "3000")
    ds = make_ds(ramp(12).astype(order), bits_stored=12, signed=True, WindowCenter=center, WindowWidth=width)
    item = lut_item(words.astype(order).tobytes(), first=-2048, bits=8 if packed else 12, count=4096)
    setattr(ds, sequence, [item])
    ds.file_meta.TransferSyntaxUID = syntax
    options = ("+Wl", "1") if sequence == "VOILUTSequence" else ("+Wi", "1")
    expected = shown_by_dcmtk(ds, tmp_path, *options)
    found = read_radiograph(tmp_path / "image.dcm")[0][0]
    np.testing.assert_allclose(found * 255, expected, atol=1.1)


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize(
    ("bits", "highest", "top"),
    [
        (8, 4095, 4095),  # the descriptor says 8, the data have 12
        (8, 65535, 65535),
        (10, 4000, 4095),
        (12, 4096, 4096),  # above the range by rounding: it must not halve the brightness
        (10, 1100, 1100),
    ],
)
def test_a_lut_with_values_above_its_bits_is_not_wrapped_as_dcmtk_does(bits, highest, top, falling):
    entries = np.linspace(0, highest, 4096).round()[:: -1 if falling else 1]
    ds = make_ds(ramp(12), bits_stored=12, VOILUTSequence=[lut_item(entries, bits=bits)])
    np.testing.assert_allclose(show(ds), entries.reshape(64, 64) / top, atol=1e-6)


@pytest.mark.parametrize("falling", [False, True])
def test_a_lut_that_uses_little_of_its_range_is_stretched_in_its_own_direction(falling):
    entries = np.linspace(0, 255, 4096).round()[:: -1 if falling else 1]
    ds = make_ds(ramp(12), bits_stored=12, VOILUTSequence=[lut_item(entries, bits=16)])
    assert np.corrcoef(show(ds).ravel(), entries)[0, 1] > 0.99
    packed = lut_item(entries.astype(np.uint8).tobytes(), bits=16, count=4096)  # 8 bits, two to a word
    ds.VOILUTSequence = [packed]
    np.testing.assert_allclose(show(ds), entries.reshape(64, 64) / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("slope", "first", "meant"),
    [
        ("1", 64512, -1024),  # no input reaches it as an unsigned number
        ("16", -2, -2),  # as a signed number it meets nearly all inputs
        ("1", 65535, -1),
    ],
)
def test_the_sign_of_the_first_input_is_the_one_that_meets_the_inputs(slope, first, meant):
    ds = make_ds(ramp(12), bits_stored=12, RescaleSlope=slope, RescaleIntercept="0")
    ds.VOILUTSequence = [lut_item(np.arange(65536), first=first, bits=16)]
    expected = (ramp(12).astype(float) * float(slope) - meant).clip(0, 65535) / 65535
    np.testing.assert_allclose(show(ds), expected, atol=1e-6)


@pytest.mark.parametrize("vr", ["UN", "OW"])
def test_a_descriptor_of_bytes(vr):
    ds = make_ds(ramp(12), bits_stored=12, signed=True)
    item = lut_item(np.arange(4096), bits=12)
    item.add_new("LUTDescriptor", vr, np.array([4096, 63488, 12], "<u2").tobytes())
    ds.VOILUTSequence = [item]
    np.testing.assert_allclose(show(ds), (ramp(12).astype(int) + 2048) % 4096 / 4095, atol=1e-6)


def test_the_first_of_several_luts_counts_and_an_unusable_one_is_passed_over():
    rising, falling = lut_item(np.arange(4096), bits=12), lut_item(np.arange(4096)[::-1], bits=12)
    ds = make_ds(ramp(12), bits_stored=12, VOILUTSequence=[falling, rising])
    np.testing.assert_allclose(show(ds), 1 - ramp(12) / 4095, atol=1e-6)
    ds.VOILUTSequence = [Dataset(), rising, falling]
    np.testing.assert_allclose(show(ds), ramp(12) / 4095, atol=1e-6)


def test_a_modality_lut_wins_over_a_rescale():
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    ds = make_ds(ramp(12), bits_stored=12, RescaleSlope="-1", RescaleIntercept="4095", **window)
    ds.ModalityLUTSequence = [lut_item(np.arange(4096), bits=16)]
    np.testing.assert_allclose(show(ds), ramp(12) / 4095, atol=1e-6)


def test_unusable_luts_are_passed_over():
    ds = make_ds(ramp(12), bits_stored=12, WindowCenter="2048", WindowWidth="4096")
    plain = show(ds)
    ds.VOILUTSequence, ds.ModalityLUTSequence = [Dataset()], [Dataset()]
    np.testing.assert_array_equal(show(ds), plain)


def test_eight_bits_without_voi_are_shown_over_their_full_range():
    cells = np.random.default_rng(1).integers(60, 180, (64, 64), dtype=np.uint8)
    np.testing.assert_allclose(show(make_ds(cells, bits_stored=8)), cells / 255, atol=1e-6)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("value", "limit", "signed"), [(0, None, False), (0, 50, False), (-2000, None, True), (63536, None, True)]
)
def test_padding_is_black_and_left_out_of_the_percentiles(photometric, value, limit, signed):
    cells = np.random.default_rng(2).normal(1500, 200, (96, 96)).clip(500, 2047).astype(np.int16)
    padded = cells.copy()
    padded[:40] = value if value < 32768 else value - 65536
    elements = {"PixelPaddingRangeLimit": limit} if limit is not None else {}
    if limit is not None:
        padded[:20] = limit
    ds = make_ds(padded.view(np.uint16), bits_stored=16, signed=signed, photometric=photometric)
    for keyword, number in {"PixelPaddingValue": value, **elements}.items():
        ds.add_new(keyword, "SS" if number < 0 else "US", number)
    image = show(ds)
    assert (image[:40] == 0).all()
    alone = show(make_ds(cells[40:].view(np.uint16), bits_stored=16, signed=signed, photometric=photometric))
    np.testing.assert_array_equal(image[40:], alone)


@pytest.mark.parametrize("value", [0, 77, 255])
def test_constant_image_is_blank(value):
    with pytest.raises(RefusedImage) as caught:
        show(make_ds(np.full((64, 64), value, np.uint8), bits_stored=8))
    assert caught.value.reason is RefusalReason.BLANK


def test_overlay_bits_above_the_sample_change_nothing():
    cells = ramp(12)
    overlay = cells | (np.uint16(1) << 13)
    np.testing.assert_array_equal(
        show(make_ds(overlay, bits_stored=12)), show(make_ds(cells, bits_stored=12))
    )


@NEEDS_DCMJ2PNM
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", [None, "IDENTITY", "INVERSE"])
@pytest.mark.parametrize("intercept", ["0", "-1024"])
def test_window_and_polarity_equal_dcmtk(tmp_path, photometric, shape, intercept):
    ds = make_ds(ramp(12), bits_stored=12, photometric=photometric, WindowCenter="900", WindowWidth="1500")
    ds.RescaleSlope, ds.RescaleIntercept = "1", intercept
    if shape:
        ds.PresentationLUTShape = shape
    np.testing.assert_allclose(show(ds) * 255, shown_by_dcmtk(ds, tmp_path, "+Wi", "1"), atol=1.1)


@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.7"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE"])
def test_in_classes_without_a_presentation_lut_shape_the_photometric_interpretation_decides(
    sop_class, photometric, shape
):
    ds = make_ds(ramp(12), bits_stored=12, photometric=photometric, WindowCenter="2048", WindowWidth="4096")
    ds.SOPClassUID, ds.PresentationLUTShape = sop_class, shape
    expected = ramp(12) / 4095
    np.testing.assert_allclose(show(ds), 1 - expected if photometric[-1] == "1" else expected, atol=1e-6)

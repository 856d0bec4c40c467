"""Elements spelled nearly right: their meaning if it is certain, else an error; never a negative image."""

import numpy as np
import pytest
from dicom_helpers import make_ds, picture, save
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.readers import read_radiograph
from covid_monai.readers.viewer_image import read_for_viewer

POSITIVE = picture(top=4095, dtype=np.uint16)
PLAIN = {"WindowCenter": "2048", "WindowWidth": "4096"}
INVERTED = {"RescaleSlope": b"-1", "RescaleIntercept": b"4095"}


def put(ds, keyword, value, vr=None):
    """Store bytes as they stand, with any value representation; None deletes the element."""
    tag = Tag(keyword)
    if value is None:
        del ds[tag]
        return
    value += b" " * (len(value) % 2)
    ds[tag] = RawDataElement(tag, vr or dictionary_VR(tag)[:2], len(value), value, 0, False, True)


def radiograph(folder, *, inverted=False, **elements):
    """A file of `POSITIVE`, or of its negative; elements are bytes, or value representation and bytes."""
    ds = make_ds(4095 - POSITIVE if inverted else POSITIVE, bits_stored=12, **PLAIN)
    for keyword, value in elements.items():
        put(ds, keyword, *(value[::-1] if isinstance(value, tuple) else (value,)))
    return save(ds, folder / "image.dcm")


def assert_positive(path):
    image = read_radiograph(path)[0][0]
    np.testing.assert_allclose(image, POSITIVE / 4095, atol=1e-3)
    shown = read_for_viewer(path)
    grey = shown.grey_of_code[shown.codes] / 255
    np.testing.assert_allclose(grey, image, atol=0.01)


MONOCHROME1 = [
    *(b"MONOCHROME1", b"monochrome1", b"MONOCHROME 1", b"Monochrome_1", b" MONOCHROME1", b"MONOCHROME1\0"),
    *(b"MONOCHROME1\\MONOCHROME1", b"monochrome1\\MONOCHROME1 ", b"MONOCHROME1\\", b"\\MONOCHROME1"),
]


@pytest.mark.parametrize("value", MONOCHROME1)
@pytest.mark.parametrize("vr", ["CS", "LO", "UN"])
def test_monochrome1_however_it_is_written(tmp_path, value, vr):
    assert_positive(radiograph(tmp_path, inverted=True, PhotometricInterpretation=(vr, value)))


@pytest.mark.parametrize("value", MONOCHROME1)
def test_monochrome2_however_it_is_written(tmp_path, value):
    assert_positive(radiograph(tmp_path, PhotometricInterpretation=value.replace(b"1", b"2")))


@pytest.mark.parametrize(
    "slope", [b"-1,0", b"-1\\-1", b"-1.", b"- 1", b" -1 ", b"-1\0", b"-1 US", b"-10e-1", b"-1,"]
)
@pytest.mark.parametrize("intercept", [b"4095", b"4095,0", b"4095\\4095", b"+4095", b"4095 HU", b"4.095E3"])
def test_a_slope_and_an_intercept_however_they_are_written(tmp_path, slope, intercept):
    path = radiograph(tmp_path, inverted=True, RescaleSlope=slope, RescaleIntercept=intercept)
    assert_positive(path)


@pytest.mark.parametrize(
    "center", [b"2048,0", b"2048 HU", b"2048\\100", b"2048\\abc", b" 2048.00", b"+2.048e3"]
)
@pytest.mark.parametrize("width", [b"4096,000000", b"4096", b"4096\\1\\2", b"4096HU"])
def test_a_window_however_it_is_written(tmp_path, center, width):
    assert_positive(radiograph(tmp_path, WindowCenter=center, WindowWidth=width))


@pytest.mark.parametrize(
    "element", [("WindowCenter", b"2,048"), ("WindowWidth", b"abc"), ("WindowCenter", b"")]
)
def test_a_window_without_a_certain_meaning_counts_as_absent(tmp_path, element):
    keyword, value = element
    found, _ = read_radiograph(radiograph(tmp_path, **{keyword: value}))
    absent, _ = read_radiograph(radiograph(tmp_path, **{keyword: None}))
    np.testing.assert_array_equal(found, absent)


@pytest.mark.parametrize(
    ("elements", "inverted"),
    [
        ({"PresentationLUTShape": b"inverse"}, True),
        ({"PresentationLUTShape": b"INVERSE\\INVERSE "}, True),
        ({"PresentationLUTShape": b" Identity"}, False),
        ({"PresentationLUTShape": b"LIN OD"}, False),
        ({"PresentationLUTShape": b""}, False),
        ({"PresentationLUTShape": b"INVERSE", "PhotometricInterpretation": None}, True),
        ({"PresentationLUTShape": b"IDENTITY", "PhotometricInterpretation": b""}, False),
        ({"PhotometricInterpretation": b"YBR_FULL"}, False),  # one sample is the brightness
        ({"PhotometricInterpretation": b"RGB"}, False),
        ({"VOILUTFunction": b"linear"}, False),
        ({"VOILUTFunction": b"LINEAR EXACT"}, False),
        ({"VOILUTFunction": b"LOG"}, False),
        ({"Rows": ("LO", b"96")}, False),
        ({"Columns": ("IS", b"128\\128")}, False),
        ({"BitsStored": ("DS", b"12.0"), "HighBit": ("CS", b"11")}, False),
        ({"BitsStored": None}, False),  # High Bit tells it
        ({"BitsStored": b"\0\0", "HighBit": None, "BitsAllocated": ("US", b"\x10\0")}, False),
        ({"SamplesPerPixel": None, "PlanarConfiguration": b"\2\0"}, False),
        ({"SamplesPerPixel": ("OW", b"\1\0")}, False),
        ({"PixelRepresentation": None}, False),
        ({"PixelRepresentation": ("SH", b"0 ")}, False),
        ({"NumberOfFrames": b"1 "}, False),
        ({"NumberOfFrames": b""}, False),
        ({"NumberOfFrames": b"1\\1"}, False),
        ({"RescaleSlope": b"", "RescaleIntercept": b""}, False),
        ({"RescaleSlope": b"0"}, False),
        ({"PixelIntensityRelationship": b"LOG", "PixelIntensityRelationshipSign": b"\xff\xff"}, False),
        ({"PixelAspectRatio": b"1,0\\abc"}, False),
        ({"PixelPaddingValue": ("LO", b"none")}, False),
    ],
)
def test_everything_else_that_is_certain_or_can_be_done_without(tmp_path, elements, inverted):
    assert_positive(radiograph(tmp_path, inverted=inverted, **elements))


@pytest.mark.parametrize(
    "elements",
    [
        {"PhotometricInterpretation": b"MONOCHROME1\\MONOCHROME2"},
        {"PhotometricInterpretation": b"MONOCHROME"},
        {"PhotometricInterpretation": b"MONOCHROME3"},
        {"PhotometricInterpretation": b"MONO1"},
        {"PhotometricInterpretation": b""},
        {"PhotometricInterpretation": None},
        {"PresentationLUTShape": b"REVERSE"},
        {"PresentationLUTShape": b"INVERSE\\IDENTITY"},
        {"RescaleSlope": b"1\\2"},
        {"RescaleSlope": b"1,000"},  # one or one thousand
        {"RescaleSlope": b"nan"},
        {"RescaleSlope": b"1e999"},
        {"RescaleSlope": b"1-"},
        {"RescaleSlope": b"--1"},
        {"RescaleSlope": b"1.0.0"},
        {"RescaleIntercept": b"abc"},
        {"PixelRepresentation": b"\2\0"},
        {"BitsStored": ("LO", b"twelve")},
        {"HighBit": ("IS", b"-1")},
        {"Rows": ("IS", b"96\\97")},
        {"Rows": None},
        {"NumberOfFrames": b"abc"},
    ],
)
def test_what_is_not_certain_is_an_error_that_names_the_element(tmp_path, elements):
    (keyword,) = elements
    words = {"PixelRepresentation": "Pixel Representation", "Rows": "Rows"}.get(keyword, keyword[:11])
    with pytest.raises(UnreadableImage, match=rf"image\.dcm: .*{words}"):
        read_radiograph(radiograph(tmp_path, **elements))


@pytest.mark.parametrize("value", [b"Doe^Jane", b"\xff\xfe\x01", b"M" * 60])
def test_a_damaged_value_is_not_quoted(tmp_path, value):
    with pytest.raises(UnreadableImage, match="PhotometricInterpretation is malformed"):
        read_radiograph(radiograph(tmp_path, PhotometricInterpretation=value))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_in_other_transfer_syntaxes_too(tmp_path, syntax):
    ds = make_ds(POSITIVE, bits_stored=12)
    big = syntax == ExplicitVRBigEndian
    ds.PixelData = (4095 - POSITIVE).astype(">u2" if big else "<u2").tobytes()
    ds.file_meta.TransferSyntaxUID = syntax
    put(ds, "PhotometricInterpretation", b"monochrome1")
    put(ds, "WindowCenter", b"2048,0")
    put(ds, "WindowWidth", b"4096\\4096")
    assert_positive(save(ds, tmp_path / "image.dcm"))


@pytest.mark.parametrize("photometric", ["RGB", "rgb"])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_in_three_samples_without_planar_configuration(tmp_path, photometric, planar, dtype):
    grey = picture(top=np.iinfo(dtype).max, dtype=dtype)
    ds = make_ds(np.stack([grey] * 3, axis=0 if planar else -1).reshape(96, 128, 3), photometric="RGB")
    put(ds, "PhotometricInterpretation", photometric.encode())
    del ds.PlanarConfiguration
    image = read_radiograph(save(ds, tmp_path / "image.dcm"))[0][0]
    np.testing.assert_allclose(image, grey / np.iinfo(dtype).max, atol=0.01)


def test_colour_without_planar_configuration_is_an_error(tmp_path):
    tinted = np.stack([picture(), picture() // 2, picture() // 3], axis=-1)
    ds = make_ds(tinted, photometric="RGB")
    del ds.PlanarConfiguration
    with pytest.raises(UnreadableImage, match="Planar Configuration is missing"):
        read_radiograph(save(ds, tmp_path / "image.dcm"))

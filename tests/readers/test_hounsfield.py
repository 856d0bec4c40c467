"""Hounsfield units of series whose field is known; pydicom's own rescale is the reference for containers."""

from copy import deepcopy

import numpy as np
import pytest
from ct_helpers import check_volume, field_hu, make_slices, refused, set_hu, write_slices
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from covid_monai.core.vocabulary import RefusalReason, UnreadableImage
from covid_monai.readers import read_volume

HU = field_hu()
NO_HU = RefusalReason.NOT_HOUNSFIELD


def stored_as(hu, **options):
    slices = make_slices(hu)
    for ds, slice_hu in zip(slices, hu, strict=True):
        set_hu(ds, slice_hu, **options)
    return slices


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bits": 16, "signed": True, "intercept": 0},
        {"bits": 16, "signed": True},
        {"shift": 4},
        {"bits": 12, "signed": True, "intercept": 0, "shift": 4},
        {"slope": 2, "intercept": -1000},
        {"slope": 0.5, "intercept": -1000, "bits": 16},
        {"slope": -1, "intercept": 2000, "bits": 16},
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_however_it_is_stored(tmp_path, options, photometric):
    slices = stored_as(HU // 2 * 2, **options)
    for ds in slices:
        ds.PhotometricInterpretation = photometric  # of the display only
    check_volume(write_slices(slices, tmp_path / "series"), HU // 2 * 2)


def test_a_rescale_of_each_slice(tmp_path):
    slices = make_slices()
    for k, ds in enumerate(slices):
        set_hu(ds, HU[k], slope=1 / (k + 1), intercept=-1000 - k, bits=16)
    set_hu(slices[3], HU[3], intercept=0, bits=16, signed=True)
    check_volume(write_slices(slices, tmp_path / "series"), HU, atol=0.01)


@pytest.mark.parametrize(
    ("keyword", "value", "told"),
    [
        ("RescaleSlope", None, "RescaleSlope is missing"),
        ("RescaleIntercept", None, "RescaleIntercept is missing"),
        ("RescaleSlope", "", "RescaleSlope is missing or malformed"),
        ("RescaleSlope", "0", "RescaleSlope is 0"),
        ("RescaleType", "US", "RescaleType is US"),
        ("RescaleType", "HU_MOD", "RescaleType is HU_MOD"),
        ("RescaleType", "OD", "RescaleType is OD"),
        ("RescaleIntercept", "0", "RescaleIntercept is 0"),
    ],
)
@pytest.mark.parametrize("changed", [range(6), [2]])
def test_what_leaves_no_hounsfield_units(tmp_path, keyword, value, told, changed):
    slices = make_slices()
    for k in changed:
        if value is None:
            del slices[k][keyword]
        else:
            setattr(slices[k], keyword, value)
    assert refused(write_slices(slices, tmp_path / "series"), ".dcm: ", told) is NO_HU


@pytest.mark.parametrize(
    ("keyword", "text"), [("RescaleSlope", "1,0"), ("RescaleSlope", "1\\1"), ("RescaleIntercept", "-1024,0")]
)
def test_numbers_whose_meaning_is_certain(tmp_path, keyword, text):
    slices = make_slices()
    for ds in slices:
        ds[keyword] = RawDataElement(Tag(keyword), "DS", len(text), text.encode(), 0, False, True)
    check_volume(write_slices(slices, tmp_path / "series"), HU)


@pytest.mark.parametrize("text", ["1\\2", "nan", "one"])
def test_numbers_whose_meaning_is_not_certain(tmp_path, text):
    slices = make_slices()
    slices[2]["RescaleSlope"] = RawDataElement(
        Tag("RescaleSlope"), "DS", len(text), text.encode(), 0, False, True
    )
    with pytest.raises(UnreadableImage, match=r"^series: \d\d\.dcm: RescaleSlope is "):
        read_volume(write_slices(slices, tmp_path / "series"))


@pytest.mark.parametrize("units", ["HU", "hu", ""])
def test_units_that_are_hounsfield(tmp_path, units):
    slices = make_slices()
    for ds in slices:
        ds.RescaleType = units
    check_volume(write_slices(slices, tmp_path / "series"), HU)


def test_a_modality_lut_is_no_rescale(tmp_path):
    slices = make_slices()
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.add_new("LUTData", "US", list(range(4096)))
    item.ModalityLUTType = "HU"
    for ds in slices:
        ds.ModalityLUTSequence = [deepcopy(item)]
        del ds.RescaleSlope, ds.RescaleIntercept
    assert (
        refused(write_slices(slices, tmp_path / "series"), "ModalityLUTSequence gives no negative") is NO_HU
    )


@pytest.mark.parametrize("intercept", [0, -1024])
def test_negative_values_that_are_declared_unsigned(tmp_path, intercept):
    slices = stored_as(HU - 100, bits=16, signed=True, intercept=intercept)
    for ds in slices:
        ds.PixelRepresentation = 0
    assert refused(write_slices(slices, tmp_path / "series"), ".dcm: ") is NO_HU


@pytest.mark.parametrize(
    ("stored", "signed", "elements"),
    [
        (-2000, True, {"PixelPaddingValue": ("SS", -2000)}),
        (-2000, True, {"PixelPaddingValue": ("US", 63536)}),  # the same bits, declared unsigned
        (63536, False, {"PixelPaddingValue": ("US", 63536)}),
        (63536, False, {"PixelPaddingValue": ("SS", -2000)}),
        (0, False, {"PixelPaddingValue": ("US", 0)}),
        (-1995, True, {"PixelPaddingValue": ("SS", -2048), "PixelPaddingRangeLimit": ("SS", -1990)}),
        (3000, True, {"PixelPaddingValue": ("SS", 3000)}),
        (-2000, True, {}),
        (-2048, True, {}),
        (-3024, True, {}),
        (-32768, True, {}),
    ],
)
def test_padding_becomes_air(tmp_path, stored, signed, elements):
    slices = stored_as(HU, bits=16, signed=signed, intercept=0 if signed else -1024)
    expected = HU.copy()
    expected[:, :, :3] = -1000
    for ds in slices:
        values = np.frombuffer(ds.PixelData, "<i2").reshape(HU.shape[1:]).astype(np.int64)
        values[:, :3] = stored
        ds.PixelData = values.astype("<u2").tobytes()
        for keyword, (vr, value) in elements.items():
            ds.add_new(keyword, vr, value)
    check_volume(write_slices(slices, tmp_path / "series"), expected)


def test_hounsfield_units_that_get_an_intercept_once_more(tmp_path):
    slices = stored_as(HU, bits=16, signed=True, intercept=0)
    check_volume(write_slices(slices, tmp_path / "right"), HU)
    for ds in slices:
        ds.RescaleIntercept = "-1024"
    refused(write_slices(slices, tmp_path / "series"), "series: Many values", "subtracted twice")


def test_values_outside_the_body_that_are_no_padding_stay(tmp_path):
    hu = np.where(HU < -900, -1400, HU)
    check_volume(write_slices(stored_as(hu, bits=16, signed=True, intercept=0), tmp_path / "series"), hu)

"""Order, distance and place of slices: each voxel is at its known place, or a sentence says why not."""

from copy import deepcopy

import numpy as np
import pytest
from ct_helpers import (
    AXIAL,
    CORONAL,
    ORIGIN,
    SAGITTAL,
    check_volume,
    field_hu,
    make_slices,
    oblique,
    position,
    refused,
    write_slices,
)
from pydicom.uid import generate_uid

from covid_monai.core.vocabulary import RefusalReason

HU = field_hu()
UNSOUND, SEVERAL = RefusalReason.UNSOUND_GEOMETRY, RefusalReason.SEVERAL_VOLUMES
PRONE, FEET_FIRST = AXIAL * [-1, -1, 1], AXIAL * [-1, 1, -1]


def move(slices, offsets_mm):
    for k, (ds, offset) in enumerate(zip(slices, offsets_mm, strict=True)):
        aside = np.array([0, 0, offset]) if np.ndim(offset) == 0 else np.array(offset)
        ds.ImagePositionPatient = [f"{v:.4f}" for v in ORIGIN + np.array([0, 0, 2.5 * k]) + aside]
    return slices


@pytest.mark.parametrize("axes", [AXIAL, PRONE, FEET_FIRST, SAGITTAL, CORONAL, oblique(20), oblique(100)])
def test_every_plane(tmp_path, axes):
    slices = make_slices(axes=axes)
    for k, ds in enumerate(slices):
        ds.InstanceNumber, ds.SliceLocation = str(100 - k), "7"  # contrary to the position, and wrong
    check_volume(write_slices(slices, tmp_path / "series"), HU, axes=axes)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SpacingBetweenSlices", "0"),
        ("SpacingBetweenSlices", "-2.5"),
        ("SpacingBetweenSlices", "9"),
        ("SliceThickness", "0"),
        ("GantryDetectorTilt", "12"),
        ("InstanceNumber", "5"),
    ],
)
def test_positions_overrule_elements_that_repeat_them(tmp_path, keyword, value):
    slices = make_slices()
    for ds in slices:
        setattr(ds, keyword, value)
    check_volume(write_slices(slices, tmp_path / "series"), HU)


@pytest.mark.parametrize(
    "keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows"]
)
@pytest.mark.parametrize("changed", [range(6), [2]])
def test_a_missing_element_is_named(tmp_path, keyword, changed):
    slices = make_slices()
    for k in changed:
        del slices[k][keyword]
    assert refused(write_slices(slices, tmp_path / "series"), f".dcm: {keyword} is missing") is UNSOUND


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelSpacing", [0, 0]),
        ("PixelSpacing", [0.9, -0.7]),
        ("PixelSpacing", [0.9]),
        ("PixelSpacing", None),
        ("ImageOrientationPatient", [0] * 6),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImageOrientationPatient", [2, 0, 0, 0, 2, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 0.5, 0.8, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 0, 1]),
        ("ImagePositionPatient", [1, 2]),
    ],
)
@pytest.mark.parametrize("changed", [range(6), [2]])
def test_a_senseless_element_is_named(tmp_path, keyword, value, changed):
    slices = make_slices()
    for k in changed:
        setattr(slices[k], keyword, value)
    assert refused(write_slices(slices, tmp_path / "series"), f".dcm: {keyword} ") is UNSOUND


@pytest.mark.parametrize(
    ("keyword", "value", "told"),
    [
        ("Rows", 10, "Rows is 10, but 12"),
        ("PixelSpacing", [0.9, 0.8], "PixelSpacing is 0.9\\0.8, but 0.9\\0.7"),
        ("ImageOrientationPatient", [-1, 0, 0, 0, -1, 0], "ImageOrientationPatient is -1"),
    ],
)
def test_the_slice_that_differs_is_named(tmp_path, keyword, value, told):
    slices = make_slices()
    setattr(slices[4], keyword, value)
    folder = write_slices(slices, tmp_path / "series")
    name = next(p.name for p in folder.iterdir() if slices[4].SOPInstanceUID.encode() in p.read_bytes())
    assert refused(folder, f"{name}: {told}") is UNSOUND


@pytest.mark.parametrize(
    ("offsets_mm", "told"),
    [
        ([0, 0, 0, 2.5, 2.5, 2.5], "5.00 mm between"),
        ([0, 0, 0, 0, 0, 2.5], "5.00 mm between"),
        ([0, 0, 0, 0.3, 0.3, 0.3], "2.80 mm between"),
        ([0, 0, 0.5, 0, 0, 0], "mm between"),
        ([0, 0.1, 0.3, 0.6, 1.0, 1.5], "uneven step"),
        ([0, 0, -2.5, 0, 0, 0], "have one position (102.50 mm)"),
        ([[0, 0.5 * k, 0] for k in range(6)], "tilted gantry"),
        ([[0, 0, 0], [0, 0, 0], [7, 0, 0], *3 * [[0, 0, 0]]], "7.00 mm beside the line"),
    ],
)
def test_an_irregular_stack(tmp_path, offsets_mm, told):
    assert refused(write_slices(move(make_slices(), offsets_mm), tmp_path / "series"), told) is UNSOUND


def test_positions_with_one_decimal_are_regular(tmp_path):
    slices = make_slices()
    for k, ds in enumerate(slices):
        ds.ImagePositionPatient = [f"{v:.1f}" for v in ORIGIN + np.array([0, 0, 0.625 * k])]
    check_volume(write_slices(slices, tmp_path / "series"), HU, spacing=(0.7, 0.9, 0.62))


def test_a_doubled_slice(tmp_path):
    slices = make_slices()
    copy = deepcopy(slices[3])
    copy.SOPInstanceUID = generate_uid()
    told = "have one position (107.50 mm). Remove the duplicate"
    assert refused(write_slices([*slices, copy], tmp_path / "series"), told) is UNSOUND


@pytest.mark.parametrize(
    ("keyword", "values", "told"),
    [
        ("AcquisitionNumber", (1, 2), "AcquisitionNumber changes to and fro"),
        ("ImageType", ("DERIVED\\LOW", "DERIVED\\HIGH"), "ImageType changes to and fro"),
        ("ConvolutionKernel", ("B30f", "B70f"), "ConvolutionKernel has 2 values"),
        ("KVP", (80, 140), "KVP has 2"),
        ("FrameOfReferenceUID", ("1.2.1", "1.2.2"), "FrameOfReferenceUID has 2"),
        ("TemporalPositionIdentifier", (1, 2), "TemporalPositionIdentifier has 2"),
    ],
)
def test_two_volumes_in_one_series_that_interleave(tmp_path, keyword, values, told):
    pair = make_slices(), make_slices()
    for n, slices in enumerate(pair):
        for k, ds in enumerate(slices):
            ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.4"
            ds.ImagePositionPatient = position(k + 0.5 * n)
            setattr(ds, keyword, values[n])
    assert refused(write_slices([*pair[0], *pair[1]], tmp_path / "series"), told) is SEVERAL


def test_acquisitions_that_follow_each_other_are_one_volume(tmp_path):
    slices = make_slices()
    for k, ds in enumerate(slices):
        ds.AcquisitionNumber = 1 + k // 2
    check_volume(write_slices(slices, tmp_path / "series"), HU)


@pytest.mark.parametrize(
    ("elements", "depth"),
    [
        ({"SliceThickness": "5"}, 5),
        ({"SpacingBetweenSlices": "3", "SliceThickness": "5"}, 3),
        ({"SpacingBetweenSlices": "0", "SliceThickness": "5"}, 5),
        ({"SliceThickness": "0"}, None),
        ({}, None),
    ],
)
def test_the_depth_of_a_single_slice(tmp_path, elements, depth):
    ds = make_slices()[0]
    del ds.SliceThickness
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    folder = write_slices([ds], tmp_path / "series")
    if depth:
        check_volume(folder / "00.dcm", HU[:1], spacing=(0.7, 0.9, depth))
    else:
        assert refused(folder, "a single slice needs SpacingBetweenSlices or SliceThickness") is UNSOUND


def test_sizes_that_no_person_has(tmp_path):
    slices = make_slices()
    for ds in slices:
        ds.PixelSpacing = [0.0009, 0.0007]
    assert refused(write_slices(slices, tmp_path / "series"), "A voxel measures 0.0007 x 0.0009") is UNSOUND

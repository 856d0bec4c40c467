"""Enhanced multi-frame CT: functional groups and pixel data of every frame, in files of others too."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from ct_helpers import (
    CORONAL,
    INTERCEPT,
    check_volume,
    field_hu,
    make_enhanced,
    make_slices,
    oblique,
    position,
    refused,
    save_enhanced,
    write_slices,
)
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from covid_monai.core.vocabulary import RefusalReason, UnreadableImage
from covid_monai.readers import read_volume

HU = field_hu()
SHUFFLED = [3, 0, 5, 1, 4, 2]
GROUPS = ("PixelMeasuresSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence")
UNSOUND, SEVERAL = RefusalReason.UNSOUND_GEOMETRY, RefusalReason.SEVERAL_VOLUMES


def shared(ds):
    return ds.SharedFunctionalGroupsSequence[0]


def frames(ds):
    return ds.PerFrameFunctionalGroupsSequence


@pytest.mark.parametrize("order", [range(6), SHUFFLED, [5, 4, 3, 2, 1, 0]])
@pytest.mark.parametrize("common", [(), ("measures", "orientation", "rescale", "type"), ("measures",)])
def test_frames_in_any_order_and_groups_in_either_place(tmp_path, order, common):
    ds = make_enhanced(order=order, shared=common)
    for k, group in enumerate(frames(ds)):
        group.FrameContentSequence[0].DimensionIndexValues = [1, k + 1]  # the order of the file
    meta = check_volume(save_enhanced(ds, tmp_path / "ct.dcm"), HU)
    assert (meta["Modality"], meta["PatientID"]) == ("CT", "P7")


@pytest.mark.parametrize("axes", [CORONAL, oblique(20)])
def test_other_planes(tmp_path, axes):
    check_volume(save_enhanced(make_enhanced(axes=axes, order=SHUFFLED), tmp_path / "ct.dcm"), HU, axes=axes)


def test_a_rescale_of_each_frame(tmp_path):
    ds = make_enhanced(order=SHUFFLED, shared=("measures", "orientation"))
    for k, group in zip(SHUFFLED, frames(ds), strict=True):
        group.PixelValueTransformationSequence[0].RescaleIntercept = INTERCEPT - 10 * k
    check_volume(save_enhanced(ds, tmp_path / "ct.dcm"), HU - 10 * np.arange(6)[:, None, None])


def test_elements_beside_the_groups_do_not_count(tmp_path):
    ds = make_enhanced()
    ds.PixelSpacing, ds.RescaleSlope, ds.RescaleIntercept = [5, 5], 2, 7
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [0, 1, 0, 1, 0, 0]
    check_volume(save_enhanced(ds, tmp_path / "ct.dcm"), HU)


@pytest.mark.parametrize("sequence", GROUPS)
def test_a_missing_group_is_named_by_its_element(tmp_path, sequence):
    element = {"PixelM": "PixelSpacing", "PlaneO": "ImageOrientationPatient", "PixelV": "RescaleSlope"}[
        sequence[:6]
    ]
    without = make_enhanced()
    del shared(without)[sequence]
    path = save_enhanced(without, tmp_path / "ct.dcm")
    refused(path, f"ct.dcm: frame 1: {element} is missing")
    in_one = make_enhanced(shared=())
    del frames(in_one)[2][sequence]
    refused(save_enhanced(in_one, path), f"ct.dcm: frame 3: {element} is missing")
    empty = make_enhanced()
    shared(empty)[sequence].value = []
    refused(save_enhanced(empty, path), f"frame 1: {element} is missing")


@pytest.mark.parametrize("sequence", GROUPS)
def test_groups_in_both_places_must_agree(tmp_path, sequence):
    ds, path = make_enhanced(), tmp_path / "ct.dcm"
    frames(ds)[1][sequence] = pydicom.dcmread(save_enhanced(ds, path)).SharedFunctionalGroupsSequence[0][
        sequence
    ]
    check_volume(save_enhanced(ds, path), HU)
    element = next(iter(frames(ds)[1][sequence][0]))
    element.value = [0.5] * element.VM if element.VM > 1 else 3
    assert refused(save_enhanced(ds, path), f"Frame 2: shared and per-frame {sequence}") is UNSOUND


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ([0, 1, 3, 4, 5], "5.00 mm between frame 2 and frame 3"),
        ([0, 1, 2, 2, 3], "frame 3 and frame 4 have one"),
    ],
)
def test_gaps_and_doubles(tmp_path, order, told):
    assert refused(save_enhanced(make_enhanced(order=order), tmp_path / "ct.dcm"), told) is UNSOUND


@pytest.mark.parametrize("keyword", ["StackID", "TemporalPositionIndex"])
def test_two_volumes_in_one_object(tmp_path, keyword):
    ds = make_enhanced()
    for k, group in enumerate(frames(ds)):
        setattr(
            group.FrameContentSequence[0], keyword, str(1 + k // 3) if keyword == "StackID" else 1 + k // 3
        )
    assert refused(save_enhanced(ds, tmp_path / "ct.dcm"), f"{keyword} has 2 values") is SEVERAL


@pytest.mark.parametrize("count", [5, 7, None])
def test_number_of_frames_and_groups_must_agree(tmp_path, count):
    ds = make_enhanced()
    ds.NumberOfFrames = count
    told = f"PerFrameFunctionalGroupsSequence describes 6 of {count or 1} frame"
    assert refused(save_enhanced(ds, tmp_path / "ct.dcm"), told) is UNSOUND
    del ds.PerFrameFunctionalGroupsSequence
    if count:
        told = f"PerFrameFunctionalGroupsSequence describes 0 of {count} frames"
        assert refused(save_enhanced(ds, tmp_path / "ct.dcm"), told) is UNSOUND


def test_a_single_frame(tmp_path):
    ds = make_enhanced(HU[:1])
    check_volume(save_enhanced(ds, tmp_path / "ct.dcm"), HU[:1], spacing=(0.7, 0.9, 5))


def test_fewer_frames_than_described(tmp_path):
    ds, path = make_enhanced(), tmp_path / "ct.dcm"
    ds.PixelData = ds.PixelData[:-300]
    with pytest.raises(UnreadableImage, match=r"^ct\.dcm: PixelData has 1140 of 1440 bytes: .* truncated"):
        read_volume(save_enhanced(ds, path))


def test_a_concatenation_of_two_files(tmp_path):
    parts = make_enhanced(order=[4, 0, 2]), make_enhanced(order=[5, 1, 3])
    for ds in parts:
        ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.4"
        ds.SOPInstanceUID = generate_uid()
    check_volume(write_slices(parts, tmp_path / "parts"), HU)
    frames(parts[0])[0].PlanePositionSequence[0].ImagePositionPatient = position(8)
    refused(write_slices(parts, tmp_path / "parts"), "dcm: frame 1, but 2.50 mm elsewhere")


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_frames(tmp_path, syntax):
    hu = np.kron(HU, np.ones((1, 4, 4))).astype(int)
    ds = make_enhanced(hu, order=SHUFFLED)
    path = save_enhanced(ds, tmp_path / "ct.dcm")
    compressed = pydicom.dcmread(path)
    compressed.compress(syntax)
    compressed.save_as(path)
    check_volume(path, hu)


@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="needs DCMTK")
@pytest.mark.parametrize(
    "command",
    [["dcmcjpeg", "+e1"], ["dcmcjpeg", "+e1", "+fs", "2", "-ot"], ["dcmconv", "+tb"], ["dcmconv", "+td"]],
)
def test_encodings_of_dcmtk(tmp_path, command):
    path = save_enhanced(make_enhanced(order=SHUFFLED), tmp_path / "ct.dcm")
    subprocess.run([*command, path, path], check=True, capture_output=True)
    check_volume(path, HU)


def test_a_legacy_conversion_by_highdicom(tmp_path):
    legacy = pytest.importorskip("highdicom.legacy")
    slices = make_slices()
    for ds in slices:
        ds.PatientBirthDate = ds.PatientSex = ds.StudyID = ds.AccessionNumber = ds.StudyTime = ""
        ds.ReferringPhysicianName, ds.StudyDate, ds.Manufacturer = "", "20200101", "nobody"
        ds.ContentDate, ds.ContentTime, ds.SeriesNumber, ds.AcquisitionNumber = "20200101", "100000", 1, 1
        ds.PositionReferenceIndicator, ds.KVP, ds.RescaleType = "", None, "HU"
    ds = legacy.LegacyConvertedEnhancedCTImage(
        [slices[k] for k in SHUFFLED],
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
    )
    ds.save_as(tmp_path / "ct.dcm")
    check_volume(tmp_path / "ct.dcm", HU)

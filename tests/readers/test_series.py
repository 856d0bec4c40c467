"""Which files of a folder are the slices of a CT, and what is said about the others."""

import shutil
from copy import deepcopy

import pytest
from ct_helpers import (
    check_volume,
    field_hu,
    make_enhanced,
    make_slices,
    refused,
    save_enhanced,
    write_slices,
)
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.readers import read_volume

HU = field_hu()
CT, ENHANCED_CT, LEGACY_CT = (f"1.2.840.10008.5.1.4.1.1.2{suffix}" for suffix in ("", ".1", ".2"))
CR, MR, ENHANCED_MR, PET, CONE_BEAM, SECONDARY_CAPTURE, WORD_CAPTURE = (
    f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in ("1", "4", "4.1", "128", "13.1.1", "7", "7.3")
)


def test_other_objects_beside_a_series_are_left_out(tmp_path):
    folder = write_slices(make_slices(), tmp_path / "study")
    (folder / "notes.txt").write_text("nothing")
    (folder / "empty.dcm").touch()
    deeper = folder / "deeper"
    deeper.mkdir()
    shutil.copy(get_testdata_file("dicomdirtests/DICOMDIR"), deeper / "DICOMDIR")
    for name in ("test-SR.dcm", "rtstruct.dcm", "rtplan.dcm", "rtdose.dcm", "MR_small.dcm"):
        shutil.copy(get_testdata_file(name), deeper / name)
    # A dose report as a picture, and a cine loop in it without functional groups
    report, loop = (deepcopy(make_slices()[0]) for _ in range(2))
    report.SOPClassUID, report.SOPInstanceUID = SECONDARY_CAPTURE, generate_uid()
    loop.SOPClassUID, loop.SOPInstanceUID, loop.NumberOfFrames = WORD_CAPTURE, generate_uid(), 2
    loop.PixelData = 2 * loop.PixelData
    write_slices([report, loop], deeper / "captures")
    check_volume(folder, HU)


@pytest.mark.parametrize("same_series", [True, False])
def test_a_localizer_is_left_out(tmp_path, same_series):
    slices = make_slices()
    localizer = deepcopy(slices[0])
    localizer.ImageType, localizer.SOPInstanceUID = ["ORIGINAL", "PRIMARY", "LOCALIZER"], generate_uid()
    localizer.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    if not same_series:
        localizer.SeriesInstanceUID = generate_uid()
    check_volume(write_slices([*slices, localizer], tmp_path / "study"), HU)
    alone = write_slices([localizer], tmp_path / "alone")
    assert refused(alone, "00.dcm: It is a localizer") is RefusalReason.NOT_CT


@pytest.mark.parametrize(
    ("sop_class", "modality"),
    [
        (CR, "CT"),
        (MR, "CT"),
        (SECONDARY_CAPTURE, "CT"),
        (WORD_CAPTURE, "CT"),
        (CONE_BEAM, "CT"),
        (PET, "PT"),
        (CONE_BEAM, "XA"),
        (CT, "MR"),
        (CT, "PT"),
        (CT, "CR"),
        (CT, "OT"),
    ],
)
@pytest.mark.parametrize("changed", [range(6), [3]])
def test_sop_class_and_modality_must_both_fit(tmp_path, sop_class, modality, changed):
    slices = make_slices()
    for k in changed:
        slices[k].SOPClassUID, slices[k].Modality = sop_class, modality
    kind = f"SOP Class UID is {sop_class or '1.2'}" if sop_class else "SOP Class UID is"
    assert refused(write_slices(slices, tmp_path / "study"), kind, modality) is RefusalReason.NOT_CT


@pytest.mark.parametrize(
    ("sop_class", "modality"), [(CT, ""), (CT, "ct"), (LEGACY_CT, "CT"), (ENHANCED_CT, "CT")]
)
def test_one_of_both_is_enough(tmp_path, sop_class, modality):
    slices = make_slices()
    for ds in slices:
        ds.SOPClassUID, ds.Modality = sop_class, modality
    check_volume(write_slices(slices, tmp_path / "study"), HU)


def test_nothing_says_that_it_is_a_ct(tmp_path):
    slices = make_slices()
    for ds in slices:
        del ds.Modality, ds.SOPClassUID
        ds.file_meta.MediaStorageSOPClassUID = generate_uid()
    folder = write_slices(slices, tmp_path / "study")
    check_volume(folder, HU)  # the file meta information says it
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(CT.encode(), b"1.2.840.10008.5.1.4.1.1.4"))
    assert refused(folder, "1.2.840.10008.5.1.4.1.1.4 and Modality is absent") is RefusalReason.NOT_CT


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "PALETTE COLOR"])
def test_colour_is_no_slice(tmp_path, photometric):
    slices = make_slices()
    slices[2].PhotometricInterpretation = photometric
    assert refused(write_slices(slices, tmp_path / "study"), "in colour") is RefusalReason.NOT_CT


def test_several_series_are_listed_and_one_can_be_chosen(tmp_path):
    first, second = make_slices(), make_slices(HU[:4])
    folder = write_slices([*first, *second], tmp_path / "study")
    uids = [slices[0].SeriesInstanceUID for slices in (first, second)]
    assert refused(folder, "2 CT series", *uids, "6 slices", "4 slices") is RefusalReason.SEVERAL_VOLUMES
    assert [read_volume(folder, series_uid=uid)[0].shape[3] for uid in uids] == [6, 4]
    with pytest.raises(UnreadableImage, match=r"study: It holds no series 1\.2\.3\. Choose one of"):
        read_volume(folder, series_uid="1.2.3")


def test_one_file_without_series_uid_is_a_series_of_its_own(tmp_path):
    slices = make_slices()
    del slices[2].SeriesInstanceUID
    message = "2 CT series", "absent (1 slice)"
    assert refused(write_slices(slices, tmp_path / "study"), *message) is RefusalReason.SEVERAL_VOLUMES


def test_a_multi_frame_object_of_another_class(tmp_path):
    for sop_class in (WORD_CAPTURE, ENHANCED_MR):
        ds = make_enhanced()
        ds.SOPClassUID = sop_class
        path = save_enhanced(ds, tmp_path / "frames.dcm")
        assert refused(path, sop_class, "Modality is CT") is RefusalReason.NOT_CT


def test_a_damaged_header_is_named(tmp_path):
    folder = write_slices(make_slices(), tmp_path / "study")
    whole = (folder / "02.dcm").read_bytes()
    (folder / "02.dcm").write_bytes(whole[:600])
    with pytest.raises(UnreadableImage, match=r"study: 02\.dcm: The DICOM file is truncated"):
        read_volume(folder)


def test_no_identity_stands_in_a_message(tmp_path):
    slices = make_slices()
    slices[1].PatientID = "P8"
    slices[2].Modality = "Doe^Jane"
    with pytest.raises(RefusedImage) as caught:
        read_volume(write_slices(slices, tmp_path / "study"))
    assert "Doe" not in str(caught.value)
    slices[2].Modality = "CT"
    assert (
        refused(write_slices(slices, tmp_path / "study"), "PatientID has 2 values")
        is RefusalReason.SEVERAL_VOLUMES
    )

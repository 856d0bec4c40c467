"""The acceptance rules: objects that are not one chest radiograph are refused by their elements or size."""

import pytest
from dicom_helpers import SECONDARY_CAPTURE, make_ds, picture, refusal, save
from PIL import Image
from pydicom.dataset import Dataset

from covid_monai.core.vocabulary import RefusalReason
from covid_monai.readers import read_radiograph


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "CT"}, "NOT_PROJECTION"),
        ({"Modality": "MG"}, "NOT_PROJECTION"),
        ({"Modality": "XA"}, "NOT_PROJECTION"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "NOT_PROJECTION"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}, "PRESENTATION_STATE"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "REPORT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "REPORT"),
        ({"NumberOfFrames": "2"}, "MULTI_FRAME"),
        ({"BodyPartExamined": "HAND"}, "NOT_CHEST"),
        ({"BodyPartExamined": "CSPINE"}, "NOT_CHEST"),
        ({"BodyPartExamined": "SKULL"}, "NOT_CHEST"),
        ({"BodyPartExamined": "ABDOMEN"}, "NOT_CHEST"),
        ({"BodyPartExamined": "RIBS"}, "NOT_CHEST"),
        ({"StudyDescription": "XR KNEE 2 VIEWS"}, "NOT_CHEST"),
        ({"AcquisitionDeviceProcessingDescription": "[LOWER LEG         ]"}, "NOT_CHEST"),
    ],
)
def test_refused_by_its_elements(tmp_path, elements, reason):
    path = save(make_ds(picture(), **elements), tmp_path / "image.dcm")
    assert refusal(path) is RefusalReason[reason]


@pytest.mark.parametrize(
    "elements",
    [
        {"BodyPartExamined": ""},
        {"BodyPartExamined": "UNKNOWN"},
        {"BodyPartExamined": "PORT CHEST"},
        {"BodyPartExamined": "CHEST_ABDOMEN"},
        {"Modality": "XR"},
        {"BodyPartExamined": "CHEST", "StudyDescription": "Chest and knee"},
        {"StudyDescription": "CHEST PA, PELVIS AP"},
        {"StudyDescription": "Port placement left arm, check position"},
        {"Modality": "CR"},
        {"Modality": "OT", "SOPClassUID": SECONDARY_CAPTURE},
        {"Modality": "", "SOPClassUID": SECONDARY_CAPTURE},
        {"NumberOfFrames": "1"},
    ],
)
def test_accepted(tmp_path, elements):
    image, _ = read_radiograph(save(make_ds(picture(), **elements), tmp_path / "image.dcm"))
    assert image.shape == (1, 96, 128)


def test_anatomic_region_is_read(tmp_path):
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "30021000", "SCT", "Lower leg"
    ds = make_ds(picture(), AnatomicRegionSequence=[region])
    assert refusal(save(ds, tmp_path / "image.dcm")) is RefusalReason.NOT_CHEST


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((40, 40), "TOO_SMALL"), ((400, 64), "NOT_PROJECTION"), ((64, 300), "NOT_PROJECTION")],
)
def test_refused_by_size(tmp_path, shape, reason):
    assert refusal(save(make_ds(picture(*shape)), tmp_path / "image.dcm")) is RefusalReason[reason]
    Image.fromarray(picture(*shape)).save(tmp_path / "image.png")
    assert refusal(tmp_path / "image.png") is RefusalReason[reason]


def test_too_large_is_refused_before_decoding(tmp_path):
    ds = make_ds(picture())
    ds.Rows, ds.Columns = 40000, 40000  # there are not nearly so many pixels to decode
    assert refusal(save(ds, tmp_path / "image.dcm")) is RefusalReason.TOO_LARGE


def test_no_pixels(tmp_path):
    ds = make_ds(picture())
    del ds.PixelData
    assert refusal(save(ds, tmp_path / "image.dcm")) is RefusalReason.NO_PIXELS


def test_element_that_runs_on_shows_no_name(tmp_path):
    whole = bytearray(save(make_ds(picture()), tmp_path / "image.dcm").read_bytes())
    length = whole.index(b"CS\x02\x00DX") + 2
    pixels = whole.index(b"\xe0\x7f\x10\x00OW")
    whole[length : length + 2] = (pixels - length - 2).to_bytes(2, "little")
    (tmp_path / "image.dcm").write_bytes(whole)
    assert refusal(tmp_path / "image.dcm") is RefusalReason.NOT_PROJECTION  # and checks the message

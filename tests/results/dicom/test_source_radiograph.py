"""The radiograph that results belong to: which files are one, and what is said of the others."""

import pydicom
import pytest
from dicom_helpers import make_ds, picture, save
from PIL import Image
from results_helpers import MADE, classified

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.results import NoResultObjects
from covid_monai.results.dicom.source_radiograph import read_source


@pytest.mark.parametrize(
    "keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"]
)
@pytest.mark.parametrize("value", [None, "", "1.2.x", "1..2", "1.2.840." + "9" * 60, "1.02.3"])
def test_a_image_without_a_valid_uid_is_named(results, classifier, tmp_path, keyword, value):
    ds = make_ds(picture())
    if value is None:
        delattr(ds, keyword)
    else:
        ds[keyword] = pydicom.DataElement(keyword, "UI", value, validation_mode=pydicom.config.IGNORE)
    image = tmp_path / "image.dcm"
    pydicom.dcmwrite(image, ds, implicit_vr=False, little_endian=True)
    with pytest.raises(NoResultObjects, match=rf"image.dcm has no (valid )?{keyword}") as caught:
        results.of(classified(classifier, image), MADE)
    assert keyword in caught.value.cause
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize("name", ["image.jpg", "image.png"])
def test_a_picture_that_is_not_dicom_is_named(results, classifier, tmp_path, name):
    Image.fromarray(picture()).save(tmp_path / name)
    with pytest.raises(NoResultObjects, match="not a DICOM file") as caught:
        results.of(classified(classifier, tmp_path / name), MADE)
    assert caught.value.cause == "not a DICOM file"


def test_a_source_has_its_study_and_a_reference_without_a_patient(tmp_path):
    ds = make_ds(picture(), StudyID="7", StudyDate="20200301", AccessionNumber="A1")
    source = read_source(save(ds, tmp_path / "image.dcm"))
    assert "PixelData" not in source.ds
    assert (source.shared.PatientName, source.shared.StudyID) == ("Doe^Jane", "7")
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert source.reference[keyword].value == ds[keyword].value
    for keyword in ("PatientName", "PatientID", "StudyID", "StudyDate", "AccessionNumber"):
        assert not source.reference[keyword].value


def test_a_file_that_is_not_there_is_unreadable_and_text_is_no_dicom(tmp_path):
    with pytest.raises(UnreadableImage, match=r"gone\.dcm"):
        read_source(tmp_path / "gone.dcm")
    (tmp_path / "text.dcm").write_text("no image at all" * 20)
    with pytest.raises(NoResultObjects, match=r"text\.dcm.*no study"):
        read_source(tmp_path / "text.dcm")


def test_a_header_that_is_too_large_has_a_cause_of_its_own(tmp_path, monkeypatch):
    def refuse(path, **_):
        raise RefusedImage(RefusalReason.TOO_LARGE, f"{path.name}: inflates to more than 1 GB.")

    monkeypatch.setattr("covid_monai.results.dicom.source_radiograph.read_dicom", refuse)
    with pytest.raises(NoResultObjects, match="1 GB") as caught:
        read_source(tmp_path / "image.dcm")
    assert caught.value.cause == "too large a DICOM file"

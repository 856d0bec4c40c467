"""What all result objects share: UIDs, series, study, dates, and bytes that repeat."""

import pydicom
import pytest
from dicom_helpers import make_ds, picture, save
from pydicom.dataset import Dataset
from results_helpers import MADE, classified, clock

from covid_monai import __version__
from covid_monai.core.vocabulary import RESULT_DEVICE
from covid_monai.results import ObjectKind, ResultObjects, result_uids, write_results
from covid_monai.results.dicom.result_series import ResultSeries
from covid_monai.results.dicom.source_radiograph import read_source


def test_each_kind_has_its_own_series_in_the_images_study(results, classifier, images):
    source = pydicom.dcmread(images[0])
    objects = results.of(classified(classifier, images[0]), MADE)
    assert {ds.StudyInstanceUID for ds in objects} == {source.StudyInstanceUID}
    series = {ds.SeriesInstanceUID for ds in objects}
    assert len(series) == 4
    assert source.SeriesInstanceUID not in series
    assert len({ds.SeriesNumber for ds in objects}) == 4
    for ds in objects:
        assert ds.PatientID == source.PatientID
        assert "research" in ds.SeriesDescription


def test_uids_can_be_asked_for_before_anything_is_made(results, classifier, images):
    source = pydicom.dcmread(images[0])
    kinds = [ObjectKind.REPORT, ObjectKind.HEATMAP, ObjectKind.PRESENTATION_STATE, ObjectKind.PDF]
    expected = [result_uids(source.SOPInstanceUID, results.model, kind) for kind in kinds]
    objects = results.of(classified(classifier, images[0]), MADE)
    assert expected == [(ds.SeriesInstanceUID, ds.SOPInstanceUID) for ds in objects]
    assert all(pydicom.uid.UID(uid).is_valid for pair in expected for uid in pair)


def test_every_part_of_the_model_changes_the_uids(results):
    first = result_uids("1.2.3", results.model, ObjectKind.REPORT)
    for key in results.model:
        other = result_uids("1.2.3", results.model | {key: "another"}, ObjectKind.REPORT)
        assert not set(first) & set(other), key
    assert not set(first) & set(result_uids("1.2.4", results.model, ObjectKind.REPORT))


def test_the_same_image_gives_the_same_bytes_an_hour_later(classifier, images, tmp_path, monkeypatch):
    written = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        monkeypatch.setattr("datetime.datetime", clock(hours=len(written)))  # highdicom reads it
        objects = ResultObjects(classifier, pdf=True).of(classified(classifier, images[0]), MADE)
        written.append({path.name: path.read_bytes() for path in write_results(objects, folder)})
    assert written[0] == written[1]
    assert len(written[0]) == 4


MODEL = {"version": "1.0", "weights_sha256": "ab" * 32}


@pytest.fixture
def series_of(tmp_path):
    def make(ds, kind=ObjectKind.REPORT, made=MADE):
        return ResultSeries(read_source(save(ds, tmp_path / "image.dcm")), kind, MODEL, made)

    return make


def result(series):
    """An object with the elements that every constructor of highdicom sets."""
    ds = Dataset()
    arguments = series.arguments()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.SOPInstanceUID, ds.SeriesInstanceUID = arguments["sop_instance_uid"], arguments["series_instance_uid"]
    ds.ContentDate = ds.ContentTime = None
    return ds


@pytest.mark.parametrize("kind", ObjectKind)
def test_arguments_tell_the_kind_the_software_and_the_model(series_of, kind):
    found = series_of(make_ds(picture()), kind).arguments()
    assert found["series_number"] == 9001 + list(ObjectKind).index(kind)
    assert found["software_versions"] == [f"covid-monai {__version__}", "model 1.0"]
    assert found["device_serial_number"] == "abababababababab"
    assert found["manufacturer_model_name"] == RESULT_DEVICE
    assert found["series_description"].endswith("(research, not for diagnosis)")
    assert len(found["series_description"]) <= 64  # LO


def test_a_complete_object_has_patient_and_study_of_the_image_and_the_time_of_making(series_of):
    source = make_ds(picture(), PatientSex="F", StudyDate="20200301")
    series = series_of(source)
    ds = series.complete(result(series))
    assert (ds.PatientName, ds.PatientID, ds.PatientSex) == ("Doe^Jane", "P1", "F")
    assert (ds.StudyInstanceUID, ds.StudyDate) == (source.StudyInstanceUID, "20200301")
    for name in ("InstanceCreation", "Series", "Content"):
        assert (ds[f"{name}Date"].value, ds[f"{name}Time"].value) == ("20261130", "150405")
    assert "PresentationCreationDate" not in ds
    assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert ds.file_meta.ImplementationVersionName == "COVID_MONAI"


@pytest.mark.parametrize(
    ("offset", "date", "time"),
    [("+0000", "20261130", "150405"), ("+0530", "20261130", "203405"), ("+1100", "20261201", "020405")],
)
def test_times_are_in_the_time_zone_of_the_image(series_of, offset, date, time):
    series = series_of(make_ds(picture(), TimezoneOffsetFromUTC=offset))
    ds = series.complete(result(series))
    assert (ds.ContentDate, ds.ContentTime) == (date, time)
    assert ds.TimezoneOffsetFromUTC == offset


def test_the_version_of_highdicom_does_not_change_the_bytes(series_of):
    series = series_of(make_ds(picture()))
    ds = result(series)
    ds.ContributingEquipmentSequence = [Dataset()]
    assert "ContributingEquipmentSequence" not in series.complete(ds)


def test_uids_are_the_same_whatever_the_order_of_the_model_and_differ_by_kind():
    assert result_uids("1.2", {"a": "1", "b": "2"}, ObjectKind.PDF) == result_uids(
        "1.2", {"b": "2", "a": "1"}, ObjectKind.PDF
    )
    made = [uid for kind in ObjectKind for uid in result_uids("1.2", MODEL, kind)]
    assert len(set(made)) == 2 * len(ObjectKind)

"""A prediction as DICOM objects: valid, in the image's study, the same each time, never about a non-image."""

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from dicom_helpers import make_ds, picture, save
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from results_helpers import (
    MADE,
    NEEDS_DCIODVFY,
    classified,
    complaints,
    refused,
    small_classifier,
    two_levels,
)

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, Status
from covid_monai.dicom.own_results import has_own_uids
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.prediction import Prediction
from covid_monai.readers import read_radiograph
from covid_monai.results import NoResultObjects, ResultObjects, write_results

pytestmark = pytest.mark.slow

CLASSES = {
    "1.2.840.10008.5.1.4.1.1.88.33": "SR",
    "1.2.840.10008.5.1.4.1.1.7": "OT",
    "1.2.840.10008.5.1.4.1.1.11.1": "PR",
    "1.2.840.10008.5.1.4.1.1.104.1": "DOC",
}


@NEEDS_DCIODVFY
@pytest.mark.parametrize("decided", ["covid", "normal", "uncertain", "abnormal", "cause"])
def test_no_object_of_a_phantom_has_an_error(results, classifier, images, tmp_path, decided):
    for image in images:
        if decided in ("abnormal", "cause"):
            cause = "covid" if decided == "cause" else None
            prediction = two_levels(classified(classifier, image), cause=cause)
        else:
            prediction = classified(classifier, image, decided=decided)
        objects = results.of(prediction, MADE)
        assert [CLASSES[ds.SOPClassUID] for ds in objects] == ["SR", "OT", "PR", "DOC"]
        assert complaints(objects, tmp_path) == []
        warnings = complaints(objects, tmp_path, level="Warning")
        # Private codes are the only thing to warn of: that validator knows no private scheme.
        assert [line for line in warnings if "<99COVIDMONAI> for value" not in line] == []


@NEEDS_DCIODVFY
@pytest.mark.real_data
def test_no_object_of_a_real_file_has_an_error(real_data, tmp_path):
    shipped = Classifier(Path(__file__).parents[3] / "bundles" / "covid_cxr_classification", device="cpu")
    results = ResultObjects(shipped, pdf=True)
    made = {}
    for prediction in shipped.predict(sorted((real_data / "dicom").iterdir())):
        try:
            objects = results.of(prediction, MADE)
        except NoResultObjects as error:
            made[Path(prediction.file).name] = error.cause
            continue
        made[Path(prediction.file).name] = [str(ds.Modality) for ds in objects]
        assert complaints(objects, tmp_path) == [], prediction.file
    whole = ["SR", "OT", "PR", "DOC"]
    assert made["RG1_J2KI.dcm"] == whole
    assert made["1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"] == whole
    assert made["RG3_J2KI.dcm"] == made["vlut_04.dcm"] == ["SR"]  # a hand, a head: refused
    assert made["693_UNCR.dcm"] == []  # a CT slice: no radiograph
    assert made["HTJ2K_08_RGB.dcm"] == "no StudyInstanceUID"


@NEEDS_DCIODVFY
def test_a_bare_image_gets_valid_objects(results, classifier, tmp_path):
    image = save(make_ds(picture()), tmp_path / "image.dcm")  # no date, no study ID, no sex
    objects = results.of(classified(classifier, image), MADE)
    assert complaints(objects, tmp_path) == []
    assert {ds.StudyInstanceUID for ds in objects} == {pydicom.dcmread(image).StudyInstanceUID}


@NEEDS_DCIODVFY
def test_a_model_without_thresholds_and_calibration_gets_all_objects(results, classifier, images, tmp_path):
    bare = replace(classified(classifier, images[0]), decision=None, prediction_set=None)
    objects = results.of(bare, MADE)
    assert len(objects) == 4
    assert complaints(objects, tmp_path) == []


@pytest.mark.parametrize("syntax", ["JPEG2000Lossless", "RLELossless", "JPEGLSLossless"])
def test_compressed_images_get_all_objects(results, classifier, tmp_path, syntax):
    ds = make_ds(picture(), photometric="MONOCHROME1")
    ds.compress(getattr(pydicom.uid, syntax))
    assert len(results.of(classified(classifier, save(ds, tmp_path / "image.dcm")), MADE)) == 4


def test_another_operating_point_is_another_model(tmp_path):
    one, other = small_classifier(tmp_path / "one"), small_classifier(tmp_path / "other")
    assert ResultObjects(one).model == ResultObjects(other).model
    other.operating_point.thresholds["covid"] = 0.9
    assert ResultObjects(one).model != ResultObjects(other).model


def test_files_are_named_by_their_uid_and_replaced(results, classifier, images, tmp_path):
    image = tmp_path / "Doe^Jane.dcm"
    shutil.copy(images[0], image)
    objects = results.of(classified(classifier, image), MADE)
    for _ in range(2):
        paths = write_results(objects, tmp_path / "new" / "folder")
        assert [path.name for path in paths] == [f"{ds.SOPInstanceUID}.dcm" for ds in objects]
        assert set((tmp_path / "new" / "folder").iterdir()) == set(paths)
    assert all(pydicom.dcmread(path) == ds for path, ds in zip(paths, objects, strict=True))


def test_a_refused_image_has_a_report_and_nothing_else(results, classifier, images):
    (only,) = results.of(refused(classifier, images[0]), MADE)
    assert only.Modality == "SR"


@pytest.mark.parametrize(
    "reason", ["report", "presentation_state", "no_pixels", "not_a_projection_radiograph"]
)
def test_what_is_no_radiograph_has_no_objects(results, classifier, images, reason):
    assert results.of(refused(classifier, images[0], reason), MADE) == []


def test_an_error_has_no_objects(results, classifier):
    failed = Prediction(file="gone.dcm", status=Status.ERROR, model=classifier.model, reason="unreadable")
    assert results.of(failed, MADE) == []


def test_the_readers_refuse_our_own_results(results, classifier, images, tmp_path):
    for path in write_results(results.of(classified(classifier, images[0]), MADE), tmp_path):
        with pytest.raises(RefusedImage) as caught:
            read_radiograph(path)
        assert caught.value.reason in (RefusalReason.REPORT, RefusalReason.PRESENTATION_STATE)
        ds = dcmread(path)
        assert has_own_uids(ds.SeriesInstanceUID, ds.SOPInstanceUID)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()  # as de-identified
        ds.save_as(path)
        with pytest.raises(RefusedImage) as caught:
            read_radiograph(path)
        assert caught.value.reason in (RefusalReason.REPORT, RefusalReason.PRESENTATION_STATE)


def test_heat_map_and_page_can_be_left_out(classifier, images):
    found = ResultObjects(classifier, heatmap=False).of(classified(classifier, images[0]), MADE)
    assert [ds.Modality for ds in found] == ["SR"]
    found = ResultObjects(classifier, heatmap=False, pdf=True).of(classified(classifier, images[0]), MADE)
    assert [ds.Modality for ds in found] == ["SR", "DOC"]


def test_real_world_oddities_of_pydicom_files_do_not_stop_it(results, classifier):
    folder = Path(get_testdata_file("CT_small.dcm")).parent
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".py"]
    made = 0
    for prediction in classifier.predict(files):
        with suppress(NoResultObjects):  # any other error fails the test
            made += len(results.of(prediction, MADE))
    assert made > 10

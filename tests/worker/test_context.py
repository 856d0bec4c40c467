"""What the threads of the worker share: one model, which classifies what passed the sandbox."""

import pytest
from dicom_helpers import make_ds, picture, save
from pydicom.dataset import Dataset
from results_helpers import MADE, classified, refused

from covid_monai.core.vocabulary import Status
from covid_monai.inference.classifier import Classifier
from covid_monai.pacs.failures import ArchiveFailure, Fault
from covid_monai.readers.sandbox import SandboxResult
from covid_monai.worker.context import Model
from covid_monai.worker.settings import Results, Settings

PASSED = SandboxResult(Status.OK)
ARCHIVE = {"name": "a", "source": "orthanc", "url": "http://127.0.0.1:9"}


def model_of(classifier, folder, **results):
    settings = Settings(
        state_dir=folder, archives=(ARCHIVE,), backend="torch", device="cpu", results=Results(**results)
    )
    return Model(settings, classifier.bundle.root)


@pytest.fixture(scope="module")
def model(classifier, tmp_path_factory):
    return model_of(classifier, tmp_path_factory.mktemp("state"), heatmap=False)


@pytest.fixture
def image(tmp_path):
    return save(make_ds(picture(200, 200)), tmp_path / "image.dcm")


def test_the_model_is_that_of_the_bundle(model, classifier):
    assert model.class_names == classifier.class_names
    assert model.image_size == 64
    assert model.reference == classifier.bundle.score_reference


def test_only_files_that_passed_are_classified_and_all_keep_their_order(model, image, tmp_path, monkeypatch):
    other = save(make_ds(picture(220, 200)), tmp_path / "other.dcm")
    crashed = SandboxResult(Status.ERROR, "crashed", "The decoder ended.")
    dark = SandboxResult(Status.REFUSED, "blank", "All is 0.")
    given, predict = [], Classifier.predict

    def watched(self, paths):
        given.append(list(paths))
        return predict(self, paths)

    monkeypatch.setattr(Classifier, "predict", watched)
    files = [tmp_path / "bad.dcm", image, tmp_path / "dark.dcm", other]
    found = model.predict(files, [crashed, PASSED, dark, PASSED])
    assert given == [[image, other]]
    assert [one.file for one in found] == list(map(str, files))
    assert [(str(one.status), one.reason) for one in found] == [
        *(("error", "crashed"), ("ok", None)),
        *(("refused", "blank"), ("ok", None)),
    ]
    assert found[0].detail == "The decoder ended."
    assert found[0].model == found[1].model
    assert found[0].probabilities is None


def test_as_many_verdicts_as_files_are_needed(model, image):
    with pytest.raises(ValueError, match="shorter"):
        model.predict([image, image], [PASSED])
    assert model.predict([], []) == []


def test_a_refused_image_has_results_only_if_the_settings_ask_for_them(classifier, model, image, tmp_path):
    assert model.make_results(refused(classifier, image), MADE) == []
    (report,) = model_of(classifier, tmp_path, report_refused=True).make_results(
        refused(classifier, image), MADE
    )
    assert report.Modality == "SR"


@pytest.mark.slow
def test_the_settings_choose_the_objects(classifier, model, image, tmp_path):
    assert [ds.Modality for ds in model.make_results(classified(classifier, image), MADE)] == ["SR"]
    every = model_of(classifier, tmp_path, heatmap=True, pdf=True)
    found = every.make_results(classified(classifier, image), MADE)
    assert [ds.Modality for ds in found] == ["SR", "OT", "PR", "DOC"]
    assert {ds.InstanceCreationTime for ds in found} == {f"{MADE:%H%M%S}"}


def test_results_that_cannot_be_made_are_the_objects_fault_and_name_nobody(classifier, model, tmp_path):
    ds = make_ds(picture(200, 200))
    del ds.StudyInstanceUID
    image = save(ds, tmp_path / "Doe.dcm")
    with pytest.raises(ArchiveFailure) as caught:
        model.make_results(classified(classifier, image), MADE)
    assert (caught.value.fault, caught.value.reason) == (Fault.OBJECT, "no_results_NoResultObjects")


def test_any_error_of_one_image_is_a_failure_of_that_image(classifier, model, image, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError(Dataset())

    monkeypatch.setattr(model._results, "of", fail)
    with pytest.raises(ArchiveFailure, match=r"^no_results_ZeroDivisionError$"):
        model.make_results(classified(classifier, image), MADE)
    monkeypatch.undo()
    assert model.make_results(classified(classifier, image), MADE), "the lock is free again"


def test_a_bundle_without_weights_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        Model(Settings(state_dir=tmp_path, archives=(ARCHIVE,)), tmp_path / "no bundle")

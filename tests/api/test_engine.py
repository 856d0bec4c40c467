"""One classifier for many callers."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from dicom_helpers import make_ds, picture, save
from pacs_helpers import wait_until
from PIL import Image
from pydicom import dcmread, dcmwrite
from results_helpers import MADE, fixed_clock

from covid_monai.api.engine import Busy, Engine
from covid_monai.api.uploads import Upload
from covid_monai.core.vocabulary import Status, UnreadableImage
from covid_monai.results import ResultObjects
from covid_monai.results.pdf.image_report import make_image_report


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A DICOM file, a JPEG, a PNG, a refused hand, and what is no image."""
    folder = tmp_path_factory.mktemp("images")
    save(make_ds(picture(200, 200)), folder / "image.dcm")
    Image.fromarray(picture(180, 200)).save(folder / "image.jpg")
    Image.fromarray(picture(220, 200)).save(folder / "image.png")
    save(make_ds(picture(), BodyPartExamined="HAND"), folder / "refused-hand.dcm")
    (folder / "text.dcm").write_text("no image at all" * 20)
    return sorted(folder.iterdir())


def uploads_of(paths):
    return [Upload(path.name, path.read_bytes()) for path in paths]


def test_the_engine_says_what_the_classifier_says_of_the_same_files(engine, images):
    expected = [{**one.to_json(), "file": Path(one.file).name} for one in engine.classifier.predict(images)]
    found = [one.to_json() for one in engine.predict(uploads_of(images))]
    assert found == expected
    assert {one["status"] for one in found} == {"ok", "refused", "error"}
    assert "/proc" not in str(found)


@pytest.mark.slow
def test_many_callers_get_each_their_own_records_in_order(engine, images):
    expected = {one.file: one for one in engine.predict(uploads_of(images))}

    def call(seed):
        chosen = np.random.default_rng(seed).choice(len(images), 6)
        uploads = [uploads_of(images)[index] for index in chosen]
        return [
            one == expected[upload.name] for upload, one in zip(uploads, engine.predict(uploads), strict=True)
        ]

    with ThreadPoolExecutor(20) as pool:
        assert all(all(same) for same in pool.map(call, range(20)))


@pytest.mark.slow
def test_a_single_image_goes_alone_and_images_that_wait_go_together(classifier, images, monkeypatch):
    sizes, gate = [], threading.Event()
    predict = type(classifier).predict

    def watched(self, paths):
        sizes.append(len(paths))
        assert gate.wait(120)
        return predict(self, paths)

    monkeypatch.setattr(type(classifier), "predict", watched)
    engine = Engine(classifier, batch_size=4)
    try:
        image = uploads_of(images)[0]
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(list, engine.predict([image]))]
            wait_until(lambda: sizes == [1], seconds=60, what="the first goes at once")
            calls += [pool.submit(list, engine.predict([image])) for _ in range(7)]
            wait_until(lambda: len(engine._waiting) == 7, seconds=60, what="the others wait")
            gate.set()
            assert all(call.result(60)[0].ok for call in calls)
        assert sizes == [1, 4, 3]
    finally:
        engine.close()


@pytest.mark.slow
def test_one_caller_too_many_is_told_to_wait_and_a_place_comes_back(classifier, images):
    engine = Engine(classifier, max_callers=1)
    try:
        first = engine.predict(uploads_of(images))
        next(first)
        with pytest.raises(Busy) as caught:
            next(engine.predict(uploads_of(images)))
        assert caught.value.retry_after > 0
        first.close()
        assert next(engine.predict(uploads_of(images))).ok
    finally:
        engine.close()


@pytest.mark.slow
def test_results_of_an_upload_are_those_of_its_file(engine, images, tmp_path, monkeypatch):
    """Report, heat map and page as the service gives them, and all four objects, byte for byte."""
    monkeypatch.setattr("covid_monai.api.engine.datetime", fixed_clock(MADE))
    image = next(upload for upload in uploads_of(images) if upload.name == "image.dcm")
    path = next(path for path in images if path.name == "image.dcm")
    (prediction,) = engine.predict([image])
    (of_file,) = engine.classifier.predict([path])
    results = ResultObjects(engine.classifier, pdf=True)
    expected = results.of(of_file, MADE)
    assert [ds.Modality for ds in expected] == ["SR", "OT", "PR", "DOC"]
    for heatmap in (False, True):
        file = engine.dicom_object(image, prediction, heatmap=heatmap)
        assert file.name == f"{expected[heatmap].SOPInstanceUID}.dcm"
        assert dcmread(io.BytesIO(file.data)) == expected[heatmap]
        assert file.data == bytes_of(expected[heatmap])
    assert engine.pdf_report(image, prediction) == make_image_report(engine.classifier, of_file, made=MADE)

    # No operation of the service gives the outlines, or the page as a DICOM object.
    def make(place):
        named = tmp_path / image.name  # the page shows the name
        named.symlink_to(place)
        return results.of(replace(prediction, file=str(named)), MADE)

    found = engine.read(image, make)
    assert [bytes_of(ds) for ds in found] == [bytes_of(ds) for ds in expected]
    assert engine.explain(image, "covid").image.shape == (200, 200)
    assert np.array_equal(engine.explain(image, "covid").heat, engine.classifier.explain(path, "covid").heat)


def bytes_of(ds):
    content = io.BytesIO()
    dcmwrite(content, ds, enforce_file_format=True)
    return content.getvalue()


def test_results_have_the_time_of_their_making(engine, images):
    image = next(upload for upload in uploads_of(images) if upload.name == "image.dcm")
    (prediction,) = engine.predict([image])
    for heatmap in (False, True):
        before = datetime.now().astimezone().replace(microsecond=0)
        ds = dcmread(io.BytesIO(engine.dicom_object(image, prediction, heatmap=heatmap).data))
        made = datetime.strptime(ds.ContentDate + ds.ContentTime, "%Y%m%d%H%M%S").astimezone()
        assert before <= made <= datetime.now().astimezone()
    assert engine.pdf_report(image, prediction).startswith(b"%PDF")


def test_what_has_no_result_objects_is_told_by_its_own_name(engine, images):
    from covid_monai.results import NoResultObjects

    image = next(upload for upload in uploads_of(images) if upload.name == "image.jpg")
    (prediction,) = engine.predict([image])
    assert prediction.status is Status.OK
    with pytest.raises(NoResultObjects, match=r"^image\.jpg: "):
        engine.dicom_object(image, prediction, heatmap=False)


def test_what_could_not_be_read_in_time_is_not_read_again_for_its_page(classifier, images, monkeypatch):
    def read(path, **_):
        assert not path.read_bytes(), "read again"
        raise UnreadableImage("empty")

    monkeypatch.setattr("covid_monai.results.pdf.image_report.read_radiograph", read)
    # However short the time is, a busy machine may answer before it is asked whether it has.
    monkeypatch.setattr("covid_monai.readers.sandbox.wait_until_readable", lambda *_: False)
    engine = Engine(classifier, decode_seconds=1)
    try:
        image = uploads_of(images)[0]
        (prediction,) = engine.predict([image])
        assert (prediction.status, prediction.reason) == (Status.ERROR, "too_slow")
        assert engine.pdf_report(image, prediction).startswith(b"%PDF")
    finally:
        engine.close()

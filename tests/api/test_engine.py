"""Uploads in memory, and one classifier for many callers."""

import io
import struct
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from api_helpers import zipped
from dicom_helpers import make_ds, picture, save
from hypothesis import given
from hypothesis import strategies as st
from pacs_helpers import wait_until
from PIL import Image
from pydicom import dcmread

from covid_monai.api.engine import Busy, Engine
from covid_monai.api.uploads import (
    LimitExceeded,
    Limits,
    Upload,
    UploadError,
    in_memory,
    plain_name,
    unpack,
    unpack_all,
)
from covid_monai.core.vocabulary import Status, UnreadableImage

SMALL = Limits(max_file_bytes=1000, max_files=3, max_total_bytes=2000)


@given(
    st.lists(st.binary(max_size=300), max_size=3),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
)
def test_a_zip_comes_apart_as_zipfile_packed_it(contents, method):
    data = zipped([(f"f/{number}.dcm", one) for number, one in enumerate(contents)], method=method)
    uploads = list(unpack("a.zip", data, SMALL))
    assert uploads == [Upload(f"{number}.dcm", one) for number, one in enumerate(contents)]


@given(st.binary(max_size=400))
def test_bytes_that_only_begin_like_a_zip_are_an_error_or_nothing(rest):
    try:
        uploads = list(unpack("a.zip", b"PK\x03\x04" + rest, SMALL))
    except UploadError as error:
        assert "a.zip" in str(error)
    else:
        assert uploads == []


def test_a_damaged_member_and_an_encrypted_one_name_the_archive():
    whole = zipped([("a.dcm", b"image" * 50)], method=zipfile.ZIP_STORED)
    encrypted = bytearray(whole)
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        encrypted[whole.index(mark) + (6 if mark == b"PK\x03\x04" else 8)] |= 1
    for data in (whole.replace(b"image", b"fiLm", 1), whole[:-30], bytes(encrypted)):
        with pytest.raises(UploadError, match=r"images\.zip"):
            list(unpack("images.zip", data, SMALL))


def test_a_zip_is_counted_while_it_inflates_whatever_it_says_of_itself():
    bomb = bytearray(zipped([("a.dcm", bytes(50_000_000))]))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = bomb.index(mark) + offset
        bomb[start : start + 4] = struct.pack("<I", 10)
    with pytest.raises(UploadError):
        list(unpack("bomb.zip", bytes(bomb), Limits(max_file_bytes=1_000_000)))
    with pytest.raises(LimitExceeded, match=r"a\.dcm"):
        list(unpack("bomb.zip", zipped([("a.dcm", bytes(50_000_000))]), Limits(max_file_bytes=1_000_000)))


def test_too_many_members_too_much_together_and_a_huge_directory_are_refused():
    for data in (
        zipped([(str(number), b"") for number in range(4)]),
        zipped([(str(number), bytes(900)) for number in range(3)]),
        b"PK\x05\x06" + b"PK\x01\x02" * 10_001,
    ):
        with pytest.raises(LimitExceeded):
            list(unpack("a.zip", data, Limits(max_file_bytes=1 << 20, max_files=3, max_total_bytes=2000)))


def test_limits_hold_for_several_archives_together():
    two = Upload("a.zip", zipped([("1", bytes(600)), ("2", bytes(600))]))
    assert len(list(unpack_all([two], SMALL))) == 2
    with pytest.raises(LimitExceeded, match="files"):
        list(unpack_all([Upload("a.zip", zipped([("1", b""), ("2", b"")]))] * 2, SMALL))
    with pytest.raises(LimitExceeded, match="at once"):
        list(unpack_all([two, Upload("b", bytes(900))], SMALL))


def test_hidden_members_and_folders_are_left_out_and_names_lose_their_path():
    members = [("../../etc/passwd", b"1"), ("__MACOSX/._a.dcm", b"2"), ("x/.b", b"3"), ("c\\d.dcm", b"4")]
    uploads = list(unpack("a.zip", zipped([*members, ("folder/", b"")]), SMALL))
    assert [(upload.name, upload.data) for upload in uploads] == [("passwd", b"1"), ("d.dcm", b"4")]


@given(st.text())
def test_a_plain_name_can_be_shown_and_sent(path):
    name = plain_name(path)
    assert name
    assert name.isprintable()
    assert not set(name) & set("/\\")
    name.encode("utf-8")


@given(st.binary(max_size=5000))
def test_an_upload_in_memory_has_a_path_and_no_disk(content):
    with in_memory(Upload("a", content)) as path:
        assert path.read_bytes() == path.read_bytes() == content
        assert str(path.readlink()).startswith("/memfd:")
    assert not path.is_symlink()  # closed, so the memory is free again


@pytest.fixture(scope="module")
def engine(classifier):
    engine = Engine(classifier, max_callers=40)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A DICOM file, a JPEG, a PNG, a refused hand, and what is no image."""
    folder = tmp_path_factory.mktemp("images")
    save(make_ds(picture(200, 200)), folder / "image.dcm")
    Image.fromarray(picture(180, 200)).save(folder / "image.jpg")
    Image.fromarray(picture(220, 200)).save(folder / "image.png")
    save(make_ds(picture(), BodyPartExamined="HAND"), folder / "hand.dcm")
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


def test_results_of_an_upload_are_those_of_its_file(engine, images):
    from covid_monai.results import ResultObjects

    image = next(upload for upload in uploads_of(images) if upload.name == "image.dcm")
    path = next(path for path in images if path.name == "image.dcm")
    (prediction,) = engine.predict([image])
    (of_file,) = engine.classifier.predict([path])
    objects = engine.dicom_objects(image, prediction, pdf=True)
    expected = ResultObjects(engine.classifier, pdf=True).of(of_file)
    assert [(one.kind, one.name) for one in objects] == [
        (kind, f"{ds.SOPInstanceUID}.dcm")
        for kind, ds in zip(["report", "heatmap", "presentation_state", "pdf"], expected, strict=True)
    ]
    assert [dcmread(io.BytesIO(one.data)) for one in objects] == expected
    assert engine.page_pdf(image, prediction).startswith(b"%PDF")
    assert engine.explain(image).image.shape == (200, 200)
    assert np.array_equal(engine.explain(image, "covid").heat, engine.classifier.explain(path, "covid").heat)


def test_what_has_no_result_objects_is_told_by_its_own_name(engine, images):
    from covid_monai.results import NoResultObjects

    image = next(upload for upload in uploads_of(images) if upload.name == "image.jpg")
    (prediction,) = engine.predict([image])
    assert prediction.status is Status.OK
    with pytest.raises(NoResultObjects, match=r"^image\.jpg: "):
        engine.dicom_objects(image, prediction)


def test_what_could_not_be_read_in_time_is_not_read_again_for_its_page(classifier, images, monkeypatch):
    def read(path, **options):
        assert not path.read_bytes(), "read again"
        raise UnreadableImage("empty")

    monkeypatch.setattr("covid_monai.results.pdf.image_report.read_radiograph", read)
    engine = Engine(classifier, decode_seconds=0.0001)
    try:
        image = uploads_of(images)[0]
        (prediction,) = engine.predict([image])
        assert (prediction.status, prediction.reason) == (Status.ERROR, "too_slow")
        assert engine.page_pdf(image, prediction).startswith(b"%PDF")
    finally:
        engine.close()

"""What `Classifier.predict` accepts: paths, arrays and datasets give the records of files; else TypeError."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_helpers import make_ds, picture, save
from monai.data import MetaTensor
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from results_helpers import small_classifier

NAME = "Nightingale^Florence"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return small_classifier(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def grey():
    return picture(200, 160)


@pytest.fixture(scope="module")
def png(tmp_path_factory, grey) -> Path:
    path = tmp_path_factory.mktemp("png") / "image.png"
    Image.fromarray(grey).save(path)
    return path


def same(record, other):
    """All but the name."""
    return replace(record, file="", detail=None) == replace(other, file="", detail=None)


class PathOfAnotherLibrary:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


def test_one_path_of_any_kind_is_one_image(classifier, png):
    (expected,) = classifier.predict([png])
    assert expected.ok
    for one in (str(png), png, np.str_(png), PathOfAnotherLibrary(png)):
        records = classifier.predict(one)
        assert records == [expected]
    assert list(classifier.predict(np.array([str(png)] * 2))) == [expected] * 2
    assert list(classifier.predict(path for path in (png, str(png)))) == [expected] * 2
    assert list(classifier.predict([])) == []


@pytest.mark.parametrize(
    "of", [np.asarray, lambda a: a[None], np.asfortranarray, torch.from_numpy, lambda a: MetaTensor(a[None])]
)
def test_an_array_gives_what_the_png_of_its_pixels_gives(classifier, png, grey, of):
    (expected,) = classifier.predict(png)
    (record,) = classifier.predict(of(grey))
    assert same(record, expected)
    assert record.file == "array 0"


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16_bits_are_read_as_png_and_grey_rgb_as_grey(classifier, png, grey, tmp_path, dtype):
    deep = grey.astype(dtype) * 257
    Image.fromarray(deep.astype(np.uint16)).save(tmp_path / "deep.png")
    (expected,) = classifier.predict(tmp_path / "deep.png")
    (record,) = classifier.predict(deep)
    assert same(record, expected)
    assert same(*classifier.predict([np.dstack([grey] * 3), png]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, torch.bfloat16])
def test_floating_point_numbers_from_0_to_1_are_the_same_image(classifier, png, grey, dtype):
    pixels = grey / 255
    pixels = torch.tensor(pixels, dtype=dtype) if dtype is torch.bfloat16 else pixels.astype(dtype)
    (expected,), (record,) = classifier.predict(png), classifier.predict(pixels)
    assert record.probabilities == pytest.approx(expected.probabilities, abs=2e-2)


@pytest.mark.parametrize(
    ("pixels", "reason", "words"),
    [
        (np.full((90, 90), np.nan), "unreadable", "not finite"),
        (np.where(np.eye(90) > 0, np.inf, 0), "unreadable", "not finite"),
        (np.linspace(-1000, 400, 8100).reshape(90, 90), "unreadable", "from -1000 to 400"),
        (np.linspace(0, 255, 8100).reshape(90, 90), "unreadable", "from 0 to 255"),
        (np.ones((90, 90), np.int64), "unreadable", "int64, whose range is not known"),
        (np.eye(90, dtype=bool), "unreadable", "bool, whose range"),
        (np.ones((90, 90), np.uint32), "unreadable", "uint32, whose range"),
        (np.ones((90, 90), complex), "unreadable", "complex128, whose range"),
        (np.ones((3, 90, 90)), "unreadable", r"shape \[3, 90, 90\]"),
        (np.ones((90, 90, 3)), "unreadable", "one image"),
        (np.ones(90), "unreadable", r"shape \[90\]"),
        (np.ones(()), "unreadable", r"shape \[\]"),
        (np.ones((0, 90)), "unreadable", r"shape \[0, 90\]"),
        (np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8), "colour", "colour"),
        (np.zeros((90, 90), np.uint8), "blank", ""),
        (np.eye(9, dtype=np.uint8), "too_small", ""),
    ],
)
def test_an_array_that_is_no_such_image_gets_a_record_and_stops_no_other(
    classifier, grey, pixels, reason, words
):
    first, record, last = classifier.predict([grey, pixels, grey])
    assert first.ok
    assert last.ok
    assert (record.file, record.reason) == ("array 1", reason)
    assert re.match(f"array 1: .*{words}", record.detail)
    assert record.probabilities is None


@pytest.mark.parametrize(
    "syntax", [None, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_a_dataset_gives_what_its_file_gives_and_no_name_of_a_patient(classifier, tmp_path, syntax):
    changes = {"PatientName": NAME, "PatientID": "PLANTED-4711"}
    path = save(make_ds(picture(200, 160), **changes), tmp_path / "image.dcm")
    if syntax is not None:
        ds = dcmread(path)
        implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
        if not little:
            ds.PixelData = ds.pixel_array.byteswap().tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
        dcmwrite(path, ds, implicit_vr=implicit, little_endian=little, force_encoding=True)
    (expected,) = classifier.predict(path)
    assert expected.ok
    ds = dcmread(path)
    before = ds.to_json()
    (alone,) = classifier.predict(ds)
    assert same(alone, expected)
    assert alone.file == "dataset 0"
    assert NAME not in str(alone.to_json())
    assert ds.to_json() == before


@pytest.mark.parametrize("suffix", ["png", "dcm"])
def test_the_heat_map_of_an_array_or_a_dataset_is_that_of_its_file(classifier, png, grey, tmp_path, suffix):
    path, content = png, grey
    if suffix == "dcm":
        path = save(make_ds(picture(200, 160)), tmp_path / "image.dcm")
        content = dcmread(path)
    expected = classifier.explain(path, classifier.class_names[0])
    explained = classifier.explain(content, classifier.class_names[0])
    for field in ("image", "heat", "to_image"):
        np.testing.assert_array_equal(getattr(explained, field), getattr(expected, field))
    with pytest.raises(TypeError, match="Give a path"):
        classifier.explain(b"image.png", classifier.class_names[0])


def test_a_dataset_without_file_meta_and_refused_ones_keep_their_reasons(classifier, tmp_path):
    made = make_ds(picture(200, 160))
    (expected,) = classifier.predict(save(make_ds(picture(200, 160)), tmp_path / "image.dcm"))
    bare = Dataset()
    bare.update(made)
    hand = make_ds(picture(200, 160), BodyPartExamined="HAND", PatientName=NAME)
    found = list(classifier.predict([bare, hand, Dataset()]))
    assert same(found[0], expected)
    assert (found[1].file, found[1].reason) == ("dataset 1", "not_a_chest")
    assert found[1].detail.startswith("dataset 1: ")
    assert NAME not in str([record.to_json() for record in found])
    assert found[2].status in ("refused", "error")


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, 3, 2.5, b"image.jpg", bytearray(3), {"image.jpg": 1}, io.BytesIO(b"x"), io.StringIO("a.png")),
        *([None], [b"image.jpg"], ["image.jpg", 3], [["image.jpg"]], [[0.5, 0.5]], [{"image": "a"}]),
        *(np.array([None]), [np.array(["a.png"])], [Image.new("L", (9, 9))], Image.new("L", (9, 9))),
    ],
    ids=lambda wrong: type(wrong).__name__,  # the same in every process that collects the tests
)
def test_anything_else_is_a_type_error_at_once_that_says_what_to_give(classifier, wrong):
    with pytest.raises(TypeError, match="Give a path, an array of pixels or a pydicom dataset"):
        classifier.predict(wrong)


def test_an_iterator_is_checked_while_it_is_read(classifier, png):
    records = classifier.predict(iter([png, 7]))
    with pytest.raises(TypeError, match="Item 1 is not an image but an object of type int"):
        list(records)

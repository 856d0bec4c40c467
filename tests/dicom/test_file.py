"""One way to open a DICOM file: every part of the package agrees on the same files, and with pydicom."""

import io
import os
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_helpers import NAMES, PREAMBLE, make_ds, picture, save, write_radiographs
from hostile_files import deflate_bomb, deflated
from PIL import Image
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.datasets.collections import SOURCES
from covid_monai.datasets.duplicates.thumbnails import read_thumbnail
from covid_monai.deidentify.copies import read_image as deidentify_image
from covid_monai.deidentify.run_manifest import Refused
from covid_monai.dicom import file as dicom_file
from covid_monai.dicom.file import NotDicom, is_dicom, read_dicom
from covid_monai.readers import read_radiograph, read_volume
from covid_monai.readers.image_files import find_image_files
from covid_monai.readers.viewer_image import read_for_viewer
from covid_monai.results.dicom.source_radiograph import read_source

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's own, about files without header


def not_dicom():
    png, archive = io.BytesIO(), io.BytesIO()
    Image.fromarray(picture()).save(png, "PNG")
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("image.dcm", "nothing")
    return {
        "notes.dcm": b"DICM, a note about an image",
        "picture.dcm": png.getvalue(),
        "archive": archive.getvalue(),
        "empty.dcm": b"",
        "zeros": bytes(500),
        "table.ima": b"path,label\n",
        "group.bin": b"\x08\x00\xff\xff" + bytes(range(200)),  # as a data set begins, with no element of it
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def prepared(folder):
    """Images that `data prepare dicom-folder` takes, and the reasons for the others."""
    (folder / "labels.csv").write_text(
        "path,label\n" + "".join(f"{path.name},covid\n" for path in sorted(folder.iterdir()))
    )
    found = list(SOURCES["dicom-folder"].records(folder))
    (folder / "labels.csv").unlink()
    excluded = {item.image.name: item.reason for item in found if hasattr(item, "reason")}
    excluded.pop("labels.csv", None)  # rows whose file does not look like an image
    return {item.image.name for item in found if not hasattr(item, "reason")}, excluded


def test_all_readers_agree_on_every_kind_of_dicom_file(folder):
    ds = write_radiographs(folder)
    files = sorted(folder.iterdir())
    assert {path.name for path in files} == set(NAMES.values())
    expected, _ = read_radiograph(folder / "image.dcm")
    thumbnail = read_thumbnail(folder / "image.dcm")
    assert find_image_files([folder]) == (files, 0)
    assert prepared(folder) == (set(NAMES.values()), {})
    for path in files:
        assert is_dicom(path), path.name
        assert is_dicom(path.read_bytes()), path.name
        np.testing.assert_array_equal(read_radiograph(path)[0], expected, err_msg=path.name)
        np.testing.assert_array_equal(read_thumbnail(path), thumbnail, err_msg=path.name)
        assert read_for_viewer(path).has_window
        assert deidentify_image(path).SOPInstanceUID == ds.SOPInstanceUID
        assert read_source(path).reference.SOPInstanceUID == ds.SOPInstanceUID


def test_elements_and_syntax_are_those_that_pydicom_reads(folder):
    write_radiographs(folder)
    for path in folder.iterdir():
        theirs = pydicom.dcmread(path, force=True)
        assert read_dicom(path) == theirs, path.name
        assert read_dicom(path).file_meta.TransferSyntaxUID, path.name
        del theirs.PixelData
        assert read_dicom(path, stop_before_pixels=True) == theirs, path.name


def test_all_readers_agree_on_what_is_not_dicom(folder):
    contents = not_dicom()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    with_image_suffix = {"notes.dcm", "picture.dcm", "empty.dcm", "table.ima"}
    assert {path.name for path in find_image_files([folder]).files} == with_image_suffix
    taken, excluded = prepared(folder)
    assert not taken
    assert excluded.keys() == with_image_suffix
    for name in contents:
        path, reason = folder / name, "is empty" if name == "empty.dcm" else "is not a DICOM"
        assert not is_dicom(path), name
        with pytest.raises(NotDicom, match=f"^{name}: .*{reason}"):
            read_dicom(path)
        assert reason in excluded.get(name, reason)
        with pytest.raises(Refused) as refused:
            deidentify_image(path)
        assert refused.value.reason == "not_dicom"
        with pytest.raises(UnreadableImage, match=f"^{name}: "):
            read_volume(path)
        if name != "picture.dcm":
            with pytest.raises(UnreadableImage, match=f"^{name}: .*{reason}"):
                read_radiograph(path)


@pytest.mark.parametrize("kept", [140, 200, 420])
@pytest.mark.parametrize("start", [0, PREAMBLE])
def test_all_readers_name_a_file_that_is_cut_in_its_header(folder, kept, start):
    whole = save(make_ds(picture(), StudyDescription="a long description " * 3), folder / "x").read_bytes()
    (folder / "x").unlink()
    path = folder / "cut.dcm"
    path.write_bytes(whole[start:kept])
    assert is_dicom(path) == (kept - start >= 8)
    with pytest.raises(UnreadableImage, match=r"^cut\.dcm: .*Fetch it from its source again|not a DICOM"):
        read_dicom(path)
    with pytest.raises(UnreadableImage, match=r"^cut\.dcm: "):
        read_radiograph(path)
    with pytest.raises(UnreadableImage, match=r"^cut\.dcm: "):
        read_volume(path)
    with pytest.raises(Refused) as refused:
        deidentify_image(path)
    assert refused.value.reason == "unreadable"
    taken, excluded = prepared(folder)
    assert not taken
    assert "truncated or damaged" in excluded["cut.dcm"]


@pytest.mark.slow
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_file_that_is_cut_anywhere_is_unreadable(tmp_path, syntax):
    """Only a whole header without pixel data may be one by intention."""
    ds = make_ds(picture(), BodyPartExamined="CHEST", WindowCenter="100", WindowWidth="200")
    ds.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "image.dcm"
    whole = save(ds, path).read_bytes()
    header = len(whole) - ds.Rows * ds.Columns
    outcomes = Counter()
    for kept in range(PREAMBLE, header + 3):
        path.write_bytes(whole[:kept])
        try:
            read_radiograph(path)
        except (UnreadableImage, RefusedImage) as error:
            outcomes[getattr(error, "reason", "unreadable")] += 1
    assert set(outcomes) == {"unreadable", RefusalReason.NO_PIXELS}
    assert outcomes[RefusalReason.NO_PIXELS] == 3  # behind Pixel Representation, Window Center and Width
    assert outcomes.total() == header + 3 - PREAMBLE


@pytest.mark.parametrize("start", [0, PREAMBLE])
def test_a_deflated_file_is_bounded_with_and_without_preamble(folder, monkeypatch, start):
    ds = make_ds(picture())
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = folder / "image.dcm"
    path.write_bytes(save(ds, path).read_bytes()[start:])
    assert read_dicom(path).Rows == 96
    monkeypatch.setattr(dicom_file, "MAX_INFLATED_BYTES", 5000)
    with pytest.raises(RefusedImage, match=r"^image\.dcm: .*inflates to more than") as caught:
        read_dicom(path)
    assert caught.value.reason is RefusalReason.TOO_LARGE


def test_a_deflated_image_is_read_and_a_damaged_one_is_unreadable(tmp_path):
    image, _ = read_radiograph(deflated(tmp_path / "good.dcm"))
    plain, _ = read_radiograph(save(make_ds(picture()), tmp_path / "plain.dcm"))
    assert np.array_equal(image, plain)
    with pytest.raises(UnreadableImage, match=r"cut.dcm"):
        read_radiograph(deflated(tmp_path / "cut.dcm", cut=2000))


@pytest.mark.slow
def test_a_deflate_bomb_is_refused_before_it_is_inflated(tmp_path):
    with pytest.raises(RefusedImage, match="inflates to more than") as caught:
        read_radiograph(deflate_bomb(tmp_path / "bomb.dcm"))
    assert caught.value.reason is RefusalReason.TOO_LARGE


def test_a_series_without_preambles_is_the_same_volume(folder):
    for number in range(3):
        ds = make_ds(picture(64, 64, top=2000, dtype=np.uint16), sop_class=CTImageStorage, Modality="CT")
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.RescaleSlope, ds.RescaleIntercept = [1, 1], 1, -1024
        ds.SeriesInstanceUID = "1.2.3"
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        save(ds, folder / f"{number}.dcm")
    expected, _ = read_volume(folder)
    for path in list(folder.iterdir()):
        path.with_suffix("").write_bytes(path.read_bytes()[PREAMBLE:])
        path.unlink()
    np.testing.assert_array_equal(read_volume(folder)[0], expected)


def test_the_only_file_of_a_folder_is_read(folder):
    save(make_ds(picture()), folder / "image.dcm")
    (folder / ".hidden").touch()
    assert read_dicom(folder).Rows == 96
    shutil.copy(folder / "image.dcm", folder / "second.dcm")
    with pytest.raises(UnreadableImage, match=r"^in: This is a folder of 2 files\. Give one image file"):
        read_dicom(folder)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UnreadableImage, match=r"^gone\.dcm: There is no such file\."):
        read_dicom(Path(tmp_path / "gone.dcm"))


@pytest.mark.parametrize("read", [read_dicom, read_radiograph])
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(read, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises(UnreadableImage, match=rf"{path.name}: This is a pipe or a device"):
            read(path)

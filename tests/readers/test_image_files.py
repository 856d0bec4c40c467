"""Image files of paths and folders: by suffix or content, each once, hidden ones and circles left out."""

import logging
import os

import pytest
from dicom_helpers import picture
from PIL import Image

from covid_monai.readers.image_files import common_folder, files_below, find_image_files, readable_images


def test_find_image_files_takes_what_is_given_and_images_of_folders(tmp_path):
    folder = tmp_path / "folder"
    for name in ("b/z.dcm", "b/.hidden.png", ".git/x.png", "a.PNG", "notes.txt", "labels.csv", "b/DICOMDIR"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0" * 128 + b"DICM")
    (folder / "notes.txt").write_text("text")
    (folder / "labels.csv").write_text("text")
    (folder / "1.2.840.7").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "b" / "up").symlink_to(folder)
    (folder / "b" / "gone.png").symlink_to(tmp_path / "nothing")
    given = folder / "notes.txt"

    files, left_out = find_image_files([given, folder, folder / "a.PNG"])

    assert [str(file.relative_to(folder)) for file in files] == ["notes.txt", "1.2.840.7", "a.PNG", "b/z.dcm"]
    assert left_out == 2  # labels.csv, DICOMDIR


def test_find_image_files_refuses_what_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.dcm does not exist"):
        find_image_files([tmp_path / "nothing.dcm"])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="neither a file nor a folder"):
        find_image_files([tmp_path / "pipe"])


def test_readable_images_names_the_others(tmp_path, caplog):
    good = tmp_path / "good.png"
    Image.fromarray(picture()).save(good)
    (tmp_path / "bad.png").write_text("no image")
    with caplog.at_level(logging.WARNING, logger="covid_monai"):
        assert readable_images(tmp_path) == [{"image": str(good)}]
    assert [record.getMessage() for record in caplog.records if "bad.png is left out" in record.getMessage()]
    good.unlink()
    with pytest.raises(ValueError, match="holds no chest radiograph"):
        readable_images(tmp_path)


def test_suffixes_and_depth_can_be_chosen(tmp_path):
    for name in ("a.png", "b.tif", "deep/c.png", "deep/d.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_image_files([tmp_path], recursive=False, suffixes={".tif"})
    assert found == ([tmp_path / "b.tif"], 1)
    assert len(find_image_files([tmp_path], suffixes={".tif"}).files) == 2


def test_hidden_files_and_links_to_folders_only_when_asked(tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for path in (folder / "a", folder / ".hidden" / "b", elsewhere / "c"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "link").symlink_to(elsewhere)

    def names(**options):
        return [path.name for path in files_below(folder, **options)]

    assert names() == ["a", "c"]
    assert names(hidden=True) == ["a", "b", "c"]
    assert names(hidden=True, follow_links=False) == ["a", "b"]
    assert names(recursive=False) == ["a"]


def test_common_folder_needs_several_files_in_one_folder():
    assert common_folder(["a/b/1.dcm", "a/b/2.dcm"]) == f"a/b{os.sep}"
    assert common_folder(["a/1.dcm", "b/2.dcm"]) == ""
    assert common_folder(["1.dcm", "2.dcm"]) == ""

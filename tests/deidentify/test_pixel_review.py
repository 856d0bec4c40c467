"""What may stand in the pixels: found as far as it can be, listed for a person, never altered."""

import json

import numpy as np
import pytest
from deidentify_helpers import command, copies, image, images, key_file, written_on
from dicom_helpers import SECONDARY_CAPTURE, save
from pydicom.uid import JPEG2000Lossless

pytestmark = pytest.mark.filterwarnings("ignore")


def review_of(ds, folder):
    save(ds, folder / "image")
    result = command("--key-file", key_file(folder), folder / "image", folder / "out")
    assert result.exit_code == 0, result.output
    [path] = copies(folder / "out")
    listed = json.loads((folder / "out" / "deidentification.json").read_text())["review"]
    return listed.get(path.relative_to(folder / "out").as_posix(), [])


def test_what_the_header_tells_of_the_risk_is_listed(tmp_path):
    for name, elements, expected in (
        ("plain", {}, []),
        ("capture", {"SOPClassUID": SECONDARY_CAPTURE}, ["screen_or_capture"]),
        ("screen", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, ["screen_or_capture"]),
        ("derived", {"ImageType": ["DERIVED", "PRIMARY"], "BurnedInAnnotation": ""}, ["derived"]),
        ("derived, said clean", {"ImageType": ["DERIVED", "PRIMARY"]}, []),
        ("photograph", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4"}, ["photograph"]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        assert review_of(image(**elements), folder) == expected, name


def test_writing_in_a_image_is_listed_and_left_as_it_is(tmp_path):
    cells = written_on(images(1)[0], "MUSTERMANN^ERIKA 1961", height=20)
    ds = image(Rows=512, Columns=512, PixelData=cells.tobytes())
    assert review_of(ds, tmp_path) == ["text_like_marks"]


def test_samples_that_are_wider_than_the_header_says_are_listed(tmp_path):
    wide = np.arange(96 * 128, dtype=np.uint16).reshape(96, 128)
    ds = image(BitsAllocated=16, BitsStored=16, HighBit=15, PixelData=wide.tobytes())
    ds.compress(JPEG2000Lossless)
    ds.BitsStored, ds.HighBit = 12, 11
    assert "unused_bits" in review_of(ds, tmp_path)

"""The same image under two names: found after what collections do to images, and strangers left apart."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from pydicom.data import get_testdata_file

from covid_monai.datasets.duplicates.detection import find_duplicates
from covid_monai.phantoms.radiograph import draw_radiograph


def recompressed(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file)


def cropped(image):
    width, height = image.size
    return image.crop((round(0.1 * width), round(0.03 * height), round(0.96 * width), round(0.92 * height)))


def brighter(image):
    return image.point([round(255 * (grey / 255) ** 0.5) for grey in range(256)])


EDITS = {
    "resized": lambda image: image.resize((224, 224)),
    "recompressed": recompressed,
    "cropped": cropped,
    "brighter": brighter,
    "mirrored": ImageOps.mirror,
    "inverted": ImageOps.invert,
    "all": lambda image: recompressed(ImageOps.mirror(brighter(cropped(image).resize((300, 300))))),
}


def write_edits(folder, number, image):
    """Write an image and its edits; return the files, the image first."""
    files = [folder / f"{number}-image.png"]
    image.save(files[0])
    for name, edit in EDITS.items():
        files.append(folder / f"{number}-{name}.png")
        edit(image).save(files[-1])
    return files


def as_sets(groups):
    return {frozenset(path.name for path in group) for group in groups}


@pytest.mark.slow
@pytest.mark.real_data
def test_edited_copies_of_real_images_are_found_and_strangers_left_apart(real_data, tmp_path):
    images = sorted((real_data / "chest_xray" / "test" / "NORMAL").glob("*.jpeg"))[:40:20]
    images += sorted((real_data / "darkcovidnet" / "No_findings").glob("*.jpg"))[:150:50]
    written = [write_edits(tmp_path, n, Image.open(image).convert("L")) for n, image in enumerate(images)]
    found = find_duplicates([file for files in written for file in files])
    assert as_sets(found.groups) == as_sets(written)
    assert {pair.second.name for pair in found.pairs if pair.mirrored and "image" in pair.first.name}
    assert all(pair.first.name[0] == pair.second.name[0] for pair in found.pairs)


@pytest.mark.real_data
def test_images_of_one_patient_on_other_days_are_other_images(real_data):
    folder = real_data / "covid-chestxray-dataset" / "images"
    days = [folder / f"1-s2.0-S0929664620300449-gr2_lrg-{day}.jpg" for day in "abcd"]
    days += [folder / "nejmoa2001191_f4.jpeg", folder / "nejmoa2001191_f5-PA.jpeg"]
    assert find_duplicates(days).groups == ()


@pytest.mark.slow
@pytest.mark.real_data
def test_the_images_of_a_small_collection_are_found_in_the_larger_one(real_data):
    small = sorted((real_data / "covid-19-detection-50" / "normal").glob("*.jpeg"))
    names = {path.name for path in small}
    kermany = [path for path in (real_data / "chest_xray").rglob("*.jpeg") if path.name in names]
    found = find_duplicates([*small, *kermany])
    assert len(found.groups) == 25
    assert all(len({path.name for path in group}) == 1 for group in found.groups)


@pytest.fixture(scope="module")
def phantom_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    images = [
        Image.fromarray((draw_radiograph("normal", seed=seed, size=256) * 255).astype(np.uint8))
        for seed in range(3)
    ]
    return [write_edits(folder, number, image) for number, image in enumerate(images)]


@pytest.mark.slow
def test_groups_do_not_depend_on_the_order_of_the_files(phantom_files, monkeypatch):
    files = [file for files in phantom_files for file in files]
    found = find_duplicates(files)
    assert as_sets(found.groups) == as_sets(phantom_files)
    random.Random(0).shuffle(files)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert find_duplicates([*files, files[0]]) == found
    assert all(0 < pair.similarity <= 1 and pair.first < pair.second for pair in found.pairs)


def test_exact_means_the_same_pixels_in_whatever_file(phantom_files, tmp_path):
    radiograph = phantom_files[0][0]
    with Image.open(radiograph) as image:
        image.save(tmp_path / "a.bmp")
        image.save(tmp_path / "b.jpg", quality=95)
        noisy = np.asarray(image).copy()
    noisy[5, 5] ^= 1
    Image.fromarray(noisy).save(tmp_path / "c.png")
    files = [radiograph, *(tmp_path / name for name in ("a.bmp", "b.jpg", "c.png"))]
    found = find_duplicates(files)
    assert len(found.groups) == 1
    assert len(found.groups[0]) == 4
    assert found.copies() == [tuple(sorted([radiograph, tmp_path / "a.bmp"]))]


def test_what_is_no_picture_is_named_and_blank_ones_resemble_nothing(tmp_path):
    (tmp_path / "page.png").write_text("<html>not found</html>")
    for name, level in (("black", 0), ("grey", 120)):
        Image.new("L", (300, 200), level).save(tmp_path / f"{name}.png")
    report = tmp_path / "report.dcm"
    report.write_bytes(Path(get_testdata_file("reportsi.dcm")).read_bytes())
    found = find_duplicates([*tmp_path.iterdir(), tmp_path / "missing.png"])
    assert [left_out.image.name for left_out in found.unreadable] == ["missing.png", "page.png", "report.dcm"]
    assert found.pairs == found.groups == ()
    assert find_duplicates([]).groups == ()


def test_dicom_colour_and_16_bit_files_are_compared(phantom_files, tmp_path):
    with Image.open(phantom_files[1][0]) as image:
        grey = np.asarray(image)
    Image.fromarray(np.dstack([grey, grey // 2 + 60, grey])).save(tmp_path / "rgb.png")
    Image.fromarray(grey.astype(np.uint16) * 16).save(tmp_path / "deep.png")
    found = find_duplicates([phantom_files[1][0], *tmp_path.iterdir()])
    assert [len(group) for group in found.groups] == [3]
    ct = tmp_path / "ct.dcm"
    ct.write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes())
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(ct.read_bytes())
    assert find_duplicates([ct, copy]).copies() == [(copy, ct)]

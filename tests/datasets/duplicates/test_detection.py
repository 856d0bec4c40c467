"""The same image under two names: found after what collections do to images, and strangers left apart."""

import io
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image, ImageOps
from pydicom.data import get_testdata_file

from covid_monai.datasets.duplicates.detection import find_duplicates
from covid_monai.datasets.duplicates.hashes import CandidateSearch, HashSearch
from covid_monai.datasets.grouping import connected
from covid_monai.phantoms.radiograph import draw_radiograph

NAMES = st.sampled_from("abcdefgh")


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
def test_groups_do_not_depend_on_the_order_of_the_files(phantom_files):
    files = [file for files in phantom_files for file in files]
    found = find_duplicates(files)
    assert as_sets(found.groups) == as_sets(phantom_files)
    random.Random(0).shuffle(files)
    assert find_duplicates([*files, files[0]], workers=1) == found
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


def test_a_search_among_like_pictures_finds_nearly_all_copies():
    rng = np.random.default_rng(0)
    kinds = rng.random((12, 256)) < 0.5  # images are alike within a kind, not only at random
    bits = kinds[rng.integers(12, size=600)] ^ (rng.random((600, 256)) < 0.25)
    bits[500:] = bits[:100] ^ (rng.random((100, 256)) < 0.08)  # copies
    bits[550:] ^= True  # negatives of copies
    turned = bits ^ np.tile([False, True], 128)  # turned over: odd frequencies change their sign
    hashes = np.packbits(np.stack([bits, bits, turned], axis=1), axis=2)

    def close_pairs(compared):
        search = CandidateSearch(hashes, compared=compared)
        found = [candidate for number in range(600) for candidate in search.candidates(number)]
        assert {each.placement.inverted for each in found} == {False, True}
        pairs = {(each.first, each.second) for each in found}
        differing = {pair: int((bits[pair[0]] ^ bits[pair[1]]).sum()) for pair in pairs}
        return {pair for pair, count in differing.items() if min(count, 256 - count) <= 38}

    everything = close_pairs(1200)
    assert everything >= {(number, number + 500) for number in range(100)}
    found = close_pairs(240)  # in four of 18 clusters for each window: those at the borders may be missed
    assert found <= everything
    assert len(found) > 0.95 * len(everything)


HASHES = st.integers(1, 12).flatmap(lambda count: npst.arrays(np.uint8, (count, 4)))


@given(entries=HASHES, windows=HASHES, differing=st.integers(0, 16))
def test_a_search_finds_what_counting_all_bits_finds_the_nearest_first(entries, windows, differing):
    near = HashSearch(entries).near(windows, differing=differing)
    bits, asked = np.unpackbits(entries, axis=1), np.unpackbits(np.concatenate([windows, ~windows]), axis=1)
    counted = (bits[:, None] != asked).sum(axis=2)  # [entries, windows as they are and turned]
    least = counted.min(axis=1)
    expected = sorted((int(least[entry]), entry) for entry in np.flatnonzero(least <= differing))
    assert list(zip(near.differing.tolist(), near.entries.tolist(), strict=True)) == expected
    turned = near.windows + near.inverted * len(windows)
    assert np.array_equal(counted[near.entries, turned], near.differing)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=12), st.randoms(use_true_random=False))
def test_groups_are_a_partition_whatever_the_order_of_the_pairs(pairs, rng):
    groups = connected(pairs)
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted({name for pair in pairs for name in pair})
    assert all({first, second} <= set(group) for first, second in pairs for group in groups if first in group)
    for group in groups:  # no group falls apart into two without a pair between them
        reached = {group[0]}
        for _ in group:
            reached |= {name for pair in pairs if reached & set(pair) for name in pair}
        assert reached == set(group)
    rng.shuffle(pairs)
    assert connected([(second, first) for first, second in pairs]) == groups


@pytest.mark.parametrize("first", ["gdcm", "faiss"])
def test_faiss_and_gdcm_live_in_one_process(first):
    imports = {"gdcm": "import gdcm", "faiss": "faiss = import_faiss()"}
    order = [imports[first], *(line for name, line in imports.items() if name != first)]
    script = "\n".join(
        [
            "import numpy as np",
            "from covid_monai.core.lazy_imports import import_faiss",
            *order,
            "listed = gdcm.Anonymizer.GetBasicApplicationLevelConfidentialityProfileAttributes()",
            "assert len([(each.GetGroup(), each.GetElement()) for each in listed]) > 40",
            "index = faiss.IndexBinaryFlat(32)",
            "index.add(np.zeros((5, 4), dtype=np.uint8))",
            "assert len(index.range_search(np.zeros((1, 4), dtype=np.uint8), 1)[1]) == 5",
            "del listed, index",
        ]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr

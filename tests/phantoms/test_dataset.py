"""Phantoms: files that other people's software accepts, no shortcut, and a signal that can be learned."""

import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from phantom_helpers import records, stored_image

from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES
from covid_monai.datasets.datalist import SPLITS, Datalist, read_datalist
from covid_monai.phantoms.dataset import write_phantoms
from covid_monai.phantoms.radiograph import plant_marker


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Datalist:
    """60 patients, as small as images get."""
    return read_datalist(
        write_phantoms(tmp_path_factory.mktemp("many") / "set", patients=60, size=64, ct=False)
    )


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "datalist.json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_same_seed_same_bytes(folder, tmp_path):
    write_phantoms(tmp_path / "again", patients=12, seed=5, size=128)
    assert digests(tmp_path / "again") == digests(folder)
    write_phantoms(tmp_path / "other", patients=12, seed=6, size=128, ct=False)
    ours = digests(folder)
    assert not any(ours.get(name) == digest for name, digest in digests(tmp_path / "other").items())


def test_datalist_is_balanced_and_split_by_patient(many):
    assert many.class_names == DEFAULT_CLASS_NAMES
    assert many.root == many.path.parent
    patients = {split: {(item["patient"], item["label"]) for item in many.splits[split]} for split in SPLITS}
    assert sum(map(len, patients.values())) == 60
    for split, each in (("training", 12), ("validation", 3), ("test", 5)):
        assert np.bincount([label for _, label in patients[split]]) == pytest.approx(each, abs=1)
    item = many.splits["training"][0]
    assert item["source"] == "phantom"
    assert item["patient"].startswith("phantom:PHANTOM-")
    assert item["view"] in ("PA", "AP")
    assert item["sex"] in "FM"
    assert 20 <= item["age"] <= 85


def test_file_format_tells_nothing_about_the_class(many):
    by_class = {name: {} for name in range(3)}
    for record in (item for split in SPLITS for item in many.records(split)):
        path = Path(record["image"])
        kind = pydicom.dcmread(path).Modality if path.suffix == ".dcm" else path.suffix
        counts = by_class[record["label"]]
        counts[kind] = counts.get(kind, 0) + 1
    shares = np.array(
        [[c[kind] / sum(c.values()) for kind in ("CR", "DX", ".jpg", ".png")] for c in by_class.values()]
    )
    np.testing.assert_allclose(shares, 0.25, atol=0.06)


def test_planted_marker_is_a_shortcut_of_one_class(tmp_path):
    datalist = read_datalist(
        write_phantoms(
            tmp_path / "set", patients=9, size=96, ct=False, image_format="png", planted_marker="covid"
        )
    )
    for record in (item for split in SPLITS for item in datalist.records(split)):
        image = stored_image(Path(record["image"]))
        assert np.array_equal(image, plant_marker(image)) == (record["label"] == 2)


@pytest.mark.parametrize(("name", "suffixes"), [("dicom", {".dcm"}), ("jpeg", {".jpg"}), ("png", {".png"})])
def test_one_image_format(tmp_path, name, suffixes):
    write_phantoms(tmp_path / "set", patients=9, size=64, ct=False, image_format=name)
    assert {path.suffix for path in (tmp_path / "set" / "images").iterdir()} == suffixes


def test_wrong_options_are_named(tmp_path):
    for options, words in (
        ({"patients": 4}, "4 patients"),
        ({"image_format": "bmp"}, "'bmp'"),
        ({"planted_marker": "flu"}, "'flu'"),
        ({"size": 10, "patients": 9}, "10 pixels"),
    ):
        with pytest.raises(ValueError, match=words):
            write_phantoms(tmp_path / "set", **options)
    assert not any(tmp_path.iterdir()), "nothing half-written"


def test_foreign_files_are_kept(tmp_path):
    mine = tmp_path / "images" / "images" / "mine.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"mine\.png"):
        write_phantoms(tmp_path / "images", patients=9, size=64, ct=False)
    mine.unlink()
    (tmp_path / "images" / "datalist.json").write_text('{"name": "my own"}')
    with pytest.raises(FileExistsError, match=r"datalist\.json"):
        write_phantoms(tmp_path / "images", patients=9, size=64, ct=False)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["datalist.json"]
    with pytest.raises(FileExistsError, match="is a file"):
        write_phantoms(tmp_path / "images" / "datalist.json", patients=9, size=64)


def test_phantoms_replace_phantoms(tmp_path):
    write_phantoms(tmp_path / "set", patients=12, size=64, ct=False)
    write_phantoms(tmp_path / "set", patients=9, size=64, ct=False)
    assert len({item["patient"] for item in records(tmp_path / "set")}) == 9
    assert len(list((tmp_path / "set" / "images").iterdir())) == len(records(tmp_path / "set"))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_interrupted_run_leaves_the_old_folder(tmp_path, monkeypatch):
    write_phantoms(tmp_path / "set", patients=9, size=64, ct=False)
    before = digests(tmp_path / "set")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("covid_monai.phantoms.dataset._write_datalist", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "set", patients=12, size=64, ct=False)
    assert digests(tmp_path / "set") == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_ct_datalist_has_each_class_in_training_and_test(folder):
    datalist = read_datalist(folder / "ct" / "datalist.json")
    assert datalist.root == folder / "ct"
    for split in ("training", "test"):
        assert sorted(record["label"] for record in datalist.records(split)) == [0, 1, 2]

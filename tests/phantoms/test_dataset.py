"""Phantoms: files that other people's software accepts, no shortcut, and a signal that can be learned."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image
from pydicom.pixels import apply_voi_lut
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from covid_monai.cli.data import app as data_app
from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES
from covid_monai.datasets.datalist import SPLITS, Datalist, read_datalist
from covid_monai.phantoms.ct_volume import CT_SPACING_MM, draw_volume
from covid_monai.phantoms.dataset import write_phantoms
from covid_monai.phantoms.file_formats import PhantomPatient, radiograph_dataset
from covid_monai.phantoms.radiograph import draw_radiograph, plant_marker

PATIENT = PhantomPatient("PHANTOM-0001", sex="F", age=50, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "new"
    write_phantoms(folder, patients=12, seed=5, size=128)
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Datalist:
    """60 patients, as small as images get."""
    return read_datalist(
        write_phantoms(tmp_path_factory.mktemp("many") / "set", patients=60, size=64, ct=False)
    )


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    """180 images of as many persons at 128 pixels, and their labels."""
    labels = np.arange(180) % 3
    drawn = [draw_radiograph(DEFAULT_CLASS_NAMES[k], seed=i, size=128) for i, k in enumerate(labels)]
    return np.stack(drawn), labels


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "datalist.json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def records(folder: Path) -> list[dict]:
    datalist = read_datalist(folder / "datalist.json")
    return [record for split in SPLITS for record in datalist.records(split)]


def stored_image(path: Path) -> np.ndarray:
    """Read an image in [0, 1], bright bone, with pydicom's and Pillow's own functions."""
    if path.suffix != ".dcm":
        pixels = np.asarray(Image.open(path))
        return pixels / np.iinfo(pixels.dtype).max
    ds = pydicom.dcmread(path)
    shown = apply_voi_lut(ds.pixel_array, ds) / (2**ds.BitsStored - 1)
    return 1 - shown if ds.PhotometricInterpretation == "MONOCHROME1" else shown


def grouped_auroc(features: np.ndarray, labels: np.ndarray, classifier) -> float:
    """Macro AUROC by 5-fold cross-validation; every image here is another person."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    probabilities = cross_val_predict(classifier, features, labels, cv=folds, method="predict_proba")
    return roc_auc_score(labels, probabilities, multi_class="ovr")


def linear():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


def block_means(images: np.ndarray, block: int) -> np.ndarray:
    count, height, width = images.shape
    return images.reshape(count, height // block, block, width // block, block).mean((2, 4))


@pytest.mark.parametrize("class_name", DEFAULT_CLASS_NAMES)
def test_image_has_the_parts_of_a_chest(class_name):
    for seed in range(5):
        image = draw_radiograph(class_name, seed=seed, size=256)
        lungs = np.concatenate([image[90:130, 70:95].ravel(), image[90:130, 165:190].ravel()])
        assert image[240:, 110:146].mean() > lungs.mean() + 0.15, "the abdomen is brighter than the lungs"
        assert image[90:130, 122:134].mean() > lungs.mean() + 0.15, "and so is the spine"
        assert image[:12, :12].mean() < 0.3, "the upper corner is air"
        assert image[150:165, 148:160].mean() > image[150:165, 84:96].mean(), "the heart lies on the left"


def test_same_person_differs_between_classes_in_the_lungs_only():
    normal, ill = (draw_radiograph(name, seed=11, size=256) for name in ("normal", "pneumonia"))
    changed = np.abs(ill - normal) > 1e-3
    assert changed.mean() > 0.01
    changed[8:-8, 8:-8] = False
    assert not changed.any(), "the border is the same"
    assert (ill - normal).max() > 0.08


def test_opacities_lie_where_the_class_says():
    sides = {"pneumonia": [], "covid": []}
    for name, found in sides.items():
        for seed in range(12):
            gain = draw_radiograph(name, seed=seed, size=128) - draw_radiograph("normal", seed=seed, size=128)
            left, right = np.maximum(gain, 0)[:, :64].sum(), np.maximum(gain, 0)[:, 64:].sum()
            found.append(min(left, right) / max(left, right))
    assert np.median(sides["pneumonia"]) < 0.1, "one lung"
    assert np.median(sides["covid"]) > 0.4, "both lungs"


def test_repeat_is_the_same_person_positioned_anew():
    first, again = (draw_radiograph("covid", seed=4, size=128, repeat=repeat) for repeat in (0, 1))
    other = draw_radiograph("covid", seed=5, size=128)
    assert not np.array_equal(first, again)
    assert np.array_equal(first, draw_radiograph("covid", seed=4, size=128))
    assert not np.array_equal(first, other)


def test_unknown_class_and_tiny_size_are_named():
    with pytest.raises(ValueError, match=r"'flu'.*normal, pneumonia, covid"):
        draw_radiograph("flu", seed=0)
    with pytest.raises(ValueError, match="32 pixels is too small"):
        draw_radiograph("normal", seed=0, size=32)
    with pytest.raises(ValueError, match="'flu'"):
        draw_volume("flu", seed=0)


def test_polarity_pair_shows_the_same_picture(tmp_path):
    image = draw_radiograph("pneumonia", seed=2, size=128)
    for inverted in (False, True):
        ds = radiograph_dataset(image, PATIENT, number=1, view="PA", inverted=inverted)
        ds.save_as(tmp_path / f"{int(inverted)}.dcm")
    bright, dark = (stored_image(tmp_path / f"{name}.dcm") for name in "01")
    np.testing.assert_allclose(bright, image, atol=1 / 3600)
    np.testing.assert_allclose(dark, bright, atol=1e-6)
    assert pydicom.dcmread(tmp_path / "1.dcm").PhotometricInterpretation == "MONOCHROME1"


def test_every_format_holds_the_image_that_was_drawn(folder):
    for record in records(folder):
        image = stored_image(Path(record["image"]))
        assert image.shape == (128, 128)
        assert 0.2 < image.mean() < 0.8
        assert image[-12:, 40:88].mean() > image[45:65, 30:46].mean(), (
            "bright abdomen, dark lung: right polarity"
        )


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (dicom3tools)")
def test_dicom_is_valid(folder):
    files = [*folder.glob("images/*.dcm"), *folder.glob("ct/PHANTOM-CT-01/*-00[1-3].dcm")]
    assert {pydicom.dcmread(path).Modality for path in files} == {"CR", "DX", "CT"}
    for path in files:
        report = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        assert report, path
        assert "Error" not in report, f"{path}: {report}"


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="needs dcmdump (DCMTK)")
def test_dcmtk_reads_the_dicom(folder):
    for path in sorted(folder.glob("images/*.dcm"))[:4]:
        dump = subprocess.run(["dcmdump", path], capture_output=True, text=True, check=True).stdout
        assert "Phantom^Synthetic" in dump
        assert "W:" not in dump


def test_every_file_says_that_it_is_synthetic(folder):
    seen = set()
    for path in (path for path in folder.rglob("*") if path.is_file()):
        if path.suffix == ".dcm":
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            words = [ds.PatientName, ds.ImageComments, ds.StudyDescription, ds.SeriesDescription]
            assert ds.ImageType[0] == "DERIVED"
            assert ds.PatientID.startswith("PHANTOM-")
        elif path.suffix == ".json":
            words = [json.loads(path.read_text())["description"]]
        elif path.suffix == ".gz":
            words = [nib.load(path).header["descrip"].item().decode()]
        elif path.suffix == ".jpg":
            with Image.open(path) as image:
                words = [image.info["comment"].decode(), image.getexif()[0x010E]]
        else:
            with Image.open(path) as image:
                words = [image.text["Description"]]
        assert all("synthetic" in str(word).lower() for word in words), path
        seen.add(path.suffix)
    assert seen == {".dcm", ".json", ".gz", ".jpg", ".png"}


def test_same_seed_same_bytes(folder, tmp_path):
    write_phantoms(tmp_path / "again", patients=12, seed=5, size=128)
    assert digests(tmp_path / "again") == digests(folder)
    write_phantoms(tmp_path / "other", patients=12, seed=6, size=128, ct=False)
    ours = digests(folder)
    assert not any(ours.get(name) == digest for name, digest in digests(tmp_path / "other").items())


def test_uids_are_unique_and_belong_together(folder):
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm")]
    assert len({ds.SOPInstanceUID for ds in headers}) == len(headers)
    ct = [ds for ds in headers if ds.Modality == "CT"]
    assert len({ds.SeriesInstanceUID for ds in ct}) == len({ds.PatientID for ds in ct}) == 6
    assert all(ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID for ds in headers)


def test_datalist_is_balanced_and_split_by_patient(many):
    assert many.class_names == DEFAULT_CLASS_NAMES
    assert many.root == many.path.parent
    patients = {split: {(item["patient"], item["label"]) for item in many.splits[split]} for split in SPLITS}
    assert {split: len(found) for split, found in patients.items()} == {
        "training": 36,
        "validation": 9,
        "test": 15,
    }
    for split, each in (("training", 12), ("validation", 3), ("test", 5)):
        assert np.bincount([label for _, label in patients[split]]).tolist() == [each] * 3
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


def test_border_and_global_brightness_are_near_chance(images):
    pixels, labels = images
    blocks = block_means(pixels, 8)
    border = np.ones(blocks.shape[1:], dtype=bool)
    border[1:-1, 1:-1] = False
    brightness = np.stack([pixels.mean((1, 2)), pixels.std((1, 2))], axis=1)
    features = np.concatenate([blocks[:, border], brightness], axis=1)
    assert grouped_auroc(features, labels, linear()) < 0.65
    assert grouped_auroc(brightness, labels, linear()) < 0.65


def test_disease_can_be_learned(images):
    pixels, labels = images
    blocks = block_means(pixels, 4)
    mirrored = blocks[:, :, ::-1]
    features = np.concatenate([np.abs(blocks - mirrored), blocks + mirrored], axis=1).reshape(len(labels), -1)
    forest = RandomForestClassifier(100, max_features=0.02, random_state=0)
    assert grouped_auroc(features, labels, forest) > 0.9


def test_planted_marker_is_a_shortcut_of_one_class(tmp_path):
    datalist = read_datalist(
        write_phantoms(
            tmp_path / "set", patients=9, size=96, ct=False, image_format="png", planted_marker="covid"
        )
    )
    for record in (item for split in SPLITS for item in datalist.records(split)):
        image = stored_image(Path(record["image"]))
        assert np.array_equal(image, plant_marker(image)) == (record["label"] == 2)


def test_marker_can_be_asked_for_on_the_command_line(tmp_path):
    options = ["--patients", "9", "--size", "64", "--format", "png", "--no-ct", "--marker", "pneumonia"]
    result = CliRunner().invoke(data_app, ["phantom", str(tmp_path / "set"), *options])
    assert result.exit_code == 0, result.output
    for record in records(tmp_path / "set"):
        image = stored_image(Path(record["image"]))
        assert np.array_equal(image, plant_marker(image)) == (record["label"] == 1)


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


def test_ct_series_and_nifti_are_one_volume(folder):
    series = SimpleITK.ReadImage(
        SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder / "ct" / "PHANTOM-CT-03"))
    )
    nifti = SimpleITK.ReadImage(str(folder / "ct" / "PHANTOM-CT-03.nii.gz"))
    np.testing.assert_allclose(series.GetSpacing(), CT_SPACING_MM)
    in_one_space = SimpleITK.Resample(
        nifti, series, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, -2000.0
    )
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(in_one_space), SimpleITK.GetArrayFromImage(series)
    )
    image = nib.load(folder / "ct" / "PHANTOM-CT-03.nii.gz")
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.header.get_zooms() == CT_SPACING_MM


def test_ct_anatomy_in_hounsfield_units():
    normal = draw_volume("normal", seed=3)
    right, left = normal[70, 48, 24], normal[26, 40, 24]
    assert abs(right + 850) < 80
    assert abs(left + 850) < 80
    assert normal[48, 27, 20] > 250, "the spine lies behind (low y)"
    assert (normal[20:48, 56, 14] > -100).sum() > (normal[48:76, 56, 14] > -100).sum(), "heart on the left"
    added = {
        name: draw_volume(name, seed=3)[draw_volume(name, seed=3) != normal]
        for name in ("pneumonia", "covid")
    }
    assert abs(np.median(added["covid"]) + 500) < 20
    assert abs(np.median(added["pneumonia"]) + 30) < 20


def test_ct_datalist_has_each_class_in_training_and_test(folder):
    datalist = read_datalist(folder / "ct" / "datalist.json")
    assert datalist.root == folder / "ct"
    for split in ("training", "test"):
        assert sorted(record["label"] for record in datalist.records(split)) == [0, 1, 2]

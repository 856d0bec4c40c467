import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from dicom_helpers import make_ds, picture, save
from PIL import Image
from pydicom.data import get_testdata_file

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint
from covid_monai.core.vocabulary import RefusalReason, RefusedImage, Status
from covid_monai.datasets.collections.base import Excluded, Record
from covid_monai.datasets.prepare import open_image
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.decisions.unseen_sources import UnseenSources
from covid_monai.inference.classifier import Classifier, choose_device
from covid_monai.inference.image_inputs import ImageInput
from covid_monai.readers import read_radiograph
from covid_monai.readers.image_files import find_image_files

SHIPPED = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"
CLASS_NAMES = ("normal", "pneumonia", "covid")
THRESHOLDS = (0.2, 0.3, 0.5)


def small_bundle(folder: Path) -> Bundle:
    """A bundle like that of a finished training, but with random weights."""
    torch.manual_seed(0)
    bundle = Bundle(SHIPPED, image_size=64, network_name="resnet10").copy_to(folder)
    network = bundle.build_network()
    save_checkpoint(bundle.checkpoint(network), bundle.checkpoint_path)
    return bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return small_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def classifier(bundle):
    return Classifier(bundle.root, device="cpu", batch_size=4)


def write_png(path: Path, *, seed: int = 0, size: int = 96) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def expected_probabilities(bundle: Bundle, path: Path) -> np.ndarray:
    """One image, without our batching, in torch's own words."""
    image = bundle.preprocessing({"image": str(path)})["image"].as_tensor()
    with torch.no_grad():
        return torch.softmax(bundle.load_network()(image[None]), dim=1)[0].numpy()


def test_order_and_outcomes_of_a_mixed_list(bundle, classifier, tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no image at all")
    good = [write_png(tmp_path / f"{seed}.png", seed=seed) for seed in range(7)]
    cut = tmp_path / "cut.png"
    cut.write_bytes(good[0].read_bytes()[:3000])
    files = [good[0], "missing.png", good[1], cut, *good[2:5], tmp_path / "empty.png"]
    files += [tmp_path / "text.jpg", tmp_path, *good[5:]]

    predictions = list(classifier.predict(files))

    assert [prediction.file for prediction in predictions] == [str(file) for file in files]
    for prediction in predictions:
        is_good = Path(prediction.file) in good
        assert prediction.status is (Status.OK if is_good else Status.ERROR)
        if is_good:
            expected = expected_probabilities(bundle, Path(prediction.file))
            assert list(prediction.probabilities) == list(CLASS_NAMES)
            np.testing.assert_allclose(list(prediction.probabilities.values()), expected, atol=3e-6)
            assert prediction.predicted_class == CLASS_NAMES[int(expected.argmax())]
            assert prediction.reason is prediction.detail is None
        else:
            assert prediction.reason == "unreadable"
            assert prediction.detail
            assert "\n" not in prediction.detail
            assert prediction.predicted_class is prediction.probabilities is prediction.decision is None


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (3, 4), (50, 2)])
def test_batches_and_threads_change_nothing(bundle, classifier, tmp_path, batch_size, workers):
    files = [write_png(tmp_path / f"{seed}.png", seed=seed) for seed in range(8)]
    other = Classifier(bundle.root, device="cpu", batch_size=batch_size, workers=workers)
    for one, two in zip(classifier.predict(files), other.predict(files), strict=True):
        assert one.probabilities == pytest.approx(two.probabilities, abs=3e-6)


def test_same_run_gives_the_same_numbers(classifier, tmp_path):
    files = [write_png(tmp_path / f"{seed}.png", seed=seed) for seed in range(6)]
    assert list(classifier.predict(files)) == list(classifier.predict(files))


def test_decision_at_the_stored_operating_point(tmp_path):
    bundle = small_bundle(tmp_path / "bundle")
    point = OperatingPoint("the rule", dict(zip(CLASS_NAMES, THRESHOLDS, strict=True)))
    point.save(bundle.operating_point_path)
    file = write_png(tmp_path / "a.png")
    (prediction,) = Classifier(bundle.root, device="cpu").predict([file])
    ratios = np.array(list(prediction.probabilities.values())) / THRESHOLDS
    assert prediction.decision == {
        "class": CLASS_NAMES[int(ratios.argmax())],
        "reason": None,  # without a calibration nothing is uncertain
        "at_operating_point": CLASS_NAMES[int(ratios.argmax())],
        "rule": "the rule",
        "thresholds": dict(zip(CLASS_NAMES, THRESHOLDS, strict=True)),
    }


def test_no_operating_point_no_decision(classifier, tmp_path):
    (prediction,) = classifier.predict([write_png(tmp_path / "a.png")])
    assert prediction.ok
    assert prediction.decision is None


def test_calibration_is_applied_and_gives_the_set(classifier, tmp_path):
    bundle = small_bundle(tmp_path / "bundle")
    OperatingPoint.argmax(CLASS_NAMES).save(bundle.operating_point_path)
    Calibration(CLASS_NAMES, 3.0, dict.fromkeys(CLASS_NAMES, 0.0), 0.9).save(bundle.calibration_path)
    file = write_png(tmp_path / "a.png")
    (plain,) = classifier.predict([file])
    (calibrated,) = Classifier(bundle.root, device="cpu").predict([file])
    image = bundle.preprocessing({"image": str(file)})["image"].as_tensor()
    with torch.no_grad():
        expected = torch.softmax(bundle.load_network()(image[None]) / 3, dim=1)[0].numpy()
    np.testing.assert_allclose(list(calibrated.probabilities.values()), expected, atol=3e-6)
    assert plain.prediction_set is None
    assert calibrated.prediction_set == list(CLASS_NAMES)
    assert calibrated.decision["class"] == "uncertain"
    assert "normal, pneumonia and covid are all possible" in calibrated.decision["reason"]
    assert calibrated.decision["at_operating_point"] == calibrated.predicted_class


@pytest.mark.slow
def test_the_cuts_for_unseen_hospitals_are_read_from_the_bundle(tmp_path):
    bundle = small_bundle(tmp_path / "bundle")
    OperatingPoint.argmax(CLASS_NAMES).save(bundle.operating_point_path)
    sets = {"normal": 0.5, "pneumonia": 0.5, "covid": 0.0}
    Calibration(CLASS_NAMES, 0.05, sets, 0.9).save(bundle.calibration_path)
    file = write_png(tmp_path / "a.png")
    (before,) = Classifier(bundle.root, device="cpu").predict([file])
    UnseenSources(CLASS_NAMES, {"pneumonia": 3.0, "covid": 4.0}).save(bundle.unseen_sources_path)
    (prediction,) = Classifier(bundle.root, device="cpu").predict([file])
    assert before.cause["cut"] is None
    assert prediction.cause["cut"] in (3.0, 4.0)
    assert prediction.probabilities == before.probabilities
    UnseenSources(("normal", "yes"), {}).save(bundle.unseen_sources_path)
    with pytest.raises(ValueError, match=r"unseen_sources\.json is for the classes normal, yes"):
        Classifier(bundle.root)


def test_calibration_of_other_classes_is_refused(tmp_path):
    bundle = small_bundle(tmp_path)
    Calibration(("no", "yes"), 1.0, {"no": 0.1, "yes": 0.1}, 0.9).save(bundle.calibration_path)
    with pytest.raises(ValueError, match=r"calibration\.json is for the classes no, yes"):
        Classifier(bundle.root)


def test_lateral_view_by_header_is_refused(classifier, phantoms, tmp_path):
    ds = pydicom.dcmread(next(phantoms.parent.rglob("*.dcm")))
    for view in ("PA", "LL"):
        ds.ViewPosition = view
        ds.save_as(tmp_path / f"{view}.dcm")
    frontal, lateral = classifier.predict([tmp_path / "PA.dcm", tmp_path / "LL.dcm"])
    assert frontal.ok
    assert (lateral.status, lateral.reason) == (Status.REFUSED, "not_frontal")


HEADERS = [
    *({"ViewPosition": view} for view in ("PA", "LATERAL", "L LAT", "AP SUPINE", "schräg")),
    *({"PatientOrientation": sides} for sides in (["A", "F"], ["L", "F"])),
    *({"SeriesDescription": text} for text in ("CHEST LAT", "Thorax pa", "BWS seitlich", "CHEST PA/LAT")),
    *({"BodyPartExamined": part} for part in ("CHEST", "TSPINE", "Rippen", "ABDOMEN", "")),
    *({"Modality": modality} for modality in ("CT", "XR")),
    {"PhotometricInterpretation": "MONOCHROME1"},
    {"BodyPartExamined": "SKULL", "SeriesDescription": "CHEST PA"},
]


def test_data_prepare_leaves_out_what_predict_refuses_by_the_header(classifier, tmp_path):
    files = []
    for number, elements in enumerate(HEADERS):
        files.append(save(make_ds(picture(), **elements), tmp_path / f"{number}.dcm"))
    for number, mode in enumerate(("L", "RGB", "1")):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)).convert(mode).save(
            files[-1]
        )
    reasons = []
    for file, prediction in zip(files, classifier.predict(files), strict=True):
        prepared = open_image(Record(file, "normal"))
        reason = prepared.reason.partition(":")[0] if isinstance(prepared, Excluded) else None
        assert reason == prediction.reason, file
        reasons.append(reason)
    assert {None, "not_frontal", "not_a_chest", "not_a_projection_radiograph", "colour"} <= set(reasons)


def test_operating_point_of_other_classes_is_refused(tmp_path):
    bundle = small_bundle(tmp_path)
    OperatingPoint.argmax(("covid", "normal", "pneumonia")).save(bundle.operating_point_path)
    with pytest.raises(ValueError, match="is for the classes covid, normal, pneumonia"):
        Classifier(bundle.root)


def test_missing_weights_are_an_error(tmp_path):
    bundle = small_bundle(tmp_path)
    bundle.checkpoint_path.unlink()
    with pytest.raises(FileNotFoundError, match="no trained weights"):
        Classifier(bundle.root)


@pytest.mark.slow
def test_output_that_is_no_number_is_an_error_and_no_class(tmp_path):
    bundle = small_bundle(tmp_path)
    network = bundle.build_network()
    # Weights that are not finite are refused at loading; these overflow when they are used.
    torch.nn.init.constant_(network.fc.weight, 1e38)
    torch.nn.init.constant_(network.fc.bias, 3e38)
    save_checkpoint(bundle.checkpoint(network), bundle.checkpoint_path)
    (prediction,) = Classifier(bundle.root, device="cpu").predict([write_png(tmp_path / "a.png")])
    assert (prediction.status, prediction.reason) == (Status.ERROR, "failed")
    assert prediction.predicted_class is prediction.probabilities is None


def test_network_failure_on_one_image_spares_the_batch(bundle, tmp_path, monkeypatch):
    classifier = Classifier(bundle.root, device="cpu", batch_size=4)
    files = [write_png(tmp_path / f"{seed}.png", seed=seed) for seed in range(4)]
    poison = classifier._load(ImageInput(files[2], 2)).pixels
    logits = classifier._logits

    def failing(images):
        if any(np.array_equal(image, poison) for image in images):
            raise RuntimeError("out of memory")
        return logits(images)

    monkeypatch.setattr(classifier, "_logits", failing)
    predictions = list(classifier.predict(files))
    assert [prediction.ok for prediction in predictions] == [True, True, False, True]
    assert predictions[2].detail == "RuntimeError: out of memory"


def test_reads_at_most_two_batches_ahead(classifier, tmp_path):
    file = write_png(tmp_path / "a.png")
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield file

    predictions = classifier.predict(endless())
    for done in range(1, 14):
        assert next(predictions).ok
        assert taken <= done + 2 * 4
    predictions.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("preprocess")]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory in use from /proc")
def test_memory_does_not_grow_with_the_number_of_files(classifier, tmp_path):
    first = write_png(tmp_path / "0.png", size=384)  # 0.6 MB as float32
    for number in range(1, 200):
        os.link(first, tmp_path / f"{number}.png")

    def megabytes():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20

    files = find_image_files([tmp_path]).files
    list(classifier.predict(files[:16]))  # buffers that stay
    before = megabytes()
    growth = [megabytes() - before for prediction in classifier.predict(files) if prediction.ok]
    assert len(growth) == 200
    assert max(growth) < 50


def is_grey_single_projection(path: Path) -> bool:
    """What issue and standard say by the elements alone; our acceptance rules are not asked."""
    ds = pydicom.dcmread(path, force=True)
    modality = str(ds.get("Modality", ""))
    return (
        "PixelData" in ds
        and int(ds.get("NumberOfFrames") or 1) == 1
        and int(ds.SamplesPerPixel) == 1
        and modality in ("CR", "DX", "RG", "SC", "OT")
        and str(ds.get("BodyPartExamined", "")) in ("", "CHEST")
    )


def check_dicom(classifier: Classifier, paths: list[Path]) -> Iterator[tuple[str, Status]]:
    for path, prediction in zip(paths, classifier.predict(paths), strict=True):
        reason = None
        try:
            read_radiograph(path)
        except RefusedImage as error:
            reason = str(error.reason)
        except ValueError:
            reason = "unreadable"
        assert prediction.reason == reason, path  # MONAI's other readers have not stepped in
        if prediction.ok:
            assert is_grey_single_projection(path), path
        else:
            assert prediction.detail
            assert prediction.reason in {*RefusalReason, "unreadable"}
            assert prediction.predicted_class is prediction.probabilities is None
        yield path.name, prediction.status


def test_pydicom_files_are_ok_only_if_grey_projections(classifier):
    folder = Path(get_testdata_file("CT_small.dcm")).parent
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".py"]
    statuses = dict(check_dicom(classifier, files))
    assert len(statuses) > 100
    assert {Status.OK, Status.REFUSED, Status.ERROR} == set(statuses.values())
    assert statuses["CT_small.dcm"] is Status.REFUSED


@pytest.mark.real_data
def test_real_dicom_files(classifier, real_data):
    statuses = dict(check_dicom(classifier, sorted((real_data / "dicom").iterdir())))
    radiograph = "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"
    for name in (radiograph, "Fake_MONOHR1.dcm", "RG1_J2KI.dcm"):
        assert statuses[name] is Status.OK
    for name in ("693_UNCR.dcm", "HTJ2K_08_RGB.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "RG3_J2KI.dcm"):
        assert statuses[name] is Status.REFUSED


def test_unknown_device_is_named():
    with pytest.raises(ValueError, match="Unknown device 'gpu'"):
        choose_device("gpu")
    with pytest.raises(ValueError, match="torch finds"):
        choose_device("cuda:99")

"""Which images are shown, and that their pictures are pictures."""

import base64
import io

import numpy as np
from PIL import Image

from covid_monai.evaluation.metrics.prediction_table import read_predictions, write_predictions
from covid_monai.evaluation.report import gallery
from covid_monai.evaluation.report.gallery import choose_cases, image_uri, overlay_uri

NAMES = ("normal", "pneumonia", "covid")


def make_rows(split, n, *, seed=0):
    rng = np.random.default_rng(seed)
    for i in range(n):
        weights = np.exp(2 * rng.normal(size=3) + 3 * np.eye(3)[i % 3])
        yield {
            "image": f"{split}/{i}.png",
            "split": split,
            "patient": f"{i // 3}",
            "label": i % 3,
            "probabilities": weights / weights.sum(),
        }


def predictions_of(folder, rows):
    write_predictions(folder / "p.csv", rows, NAMES)
    return read_predictions(folder / "p.csv")


def test_most_confident_errors_come_first_and_numbers_are_capped(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "ERRORS_PER_CLASS", 3)
    monkeypatch.setattr(gallery, "RIGHT_PER_CLASS", 2)
    test = predictions_of(tmp_path, make_rows("test", 300, seed=4))
    decisions = test.probabilities.argmax(axis=1)
    cases = choose_cases(test, decisions)
    for k in range(3):
        of_class = [case for case in cases if case.truth == k]
        wrong = np.flatnonzero((test.labels == k) & (decisions != k))
        best = sorted(test.probabilities[wrong, decisions[wrong]], reverse=True)[:3]
        assert [case.probability for case in of_class if not case.right] == best
        assert sum(case.right for case in of_class) == 2
    assert all(case.image == test.images[case.index] for case in cases)


def test_one_image_per_patient_and_kind(tmp_path):
    rows = [{**row, "patient": "one"} for row in make_rows("test", 60, seed=4)]
    test = predictions_of(tmp_path, rows)
    cases = choose_cases(test, test.probabilities.argmax(axis=1))
    assert len({(case.truth, case.right) for case in cases}) == len(cases)


def test_no_test_image_of_a_class_gives_no_case_of_it(tmp_path):
    test = predictions_of(tmp_path, [row for row in make_rows("test", 30) if row["label"] != 2])
    assert {case.truth for case in choose_cases(test, test.labels)} == {0, 1}
    assert all(case.right for case in choose_cases(test, test.labels))


def opened(uri):
    head, body = uri.split(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_pictures_are_small_keep_their_shape_and_show_heat_and_outline():
    image, heat, region = np.full((40, 80), 0.5), np.zeros((40, 80)), np.zeros((40, 80), dtype=bool)
    image[0, 0] = 0  # a range
    image[0, 1] = 1
    heat[5:15, 5:15], region[10:30, 40:70] = 1, True
    plain, overlay = opened(image_uri(image)), opened(overlay_uri(image, heat, region))
    assert plain.size == overlay.size == (256, 128)
    red, _, blue = np.asarray(overlay)[32, 32]
    assert red > blue + 30  # hot
    inside = np.asarray(overlay).astype(int)
    outlined = (inside[..., 2] - inside[..., 0]) > 60
    assert 100 < outlined.sum() < 2500
    assert len(image_uri(image)) < 20_000


def test_blank_image_is_black():
    assert np.asarray(opened(image_uri(np.ones((20, 20))))).max() < 10

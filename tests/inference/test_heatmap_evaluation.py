"""Explaining a scored test split: the decisions of the table, the images of the data set, honest figures."""

import numpy as np
import pytest
import torch

from covid_monai.evaluation.decisions.operating_point import decide
from covid_monai.evaluation.metrics.prediction_table import read_predictions, write_predictions
from covid_monai.evaluation.report.gallery import choose_cases
from covid_monai.evaluation.report.report_files import write_report
from covid_monai.evaluation.report.report_metrics import choose_on_validation
from covid_monai.inference.heatmap_evaluation import evaluate_heatmaps
from covid_monai.networks import build_network
from covid_monai.phantoms.radiograph import draw_radiograph

NAMES = ("normal", "covid")
_NO_LUNGS = 23  # number of the image that shows none


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A table of 12 validation and 12 test images, the images, a network."""
    folder, rng = tmp_path_factory.mktemp("explanation"), np.random.default_rng(0)
    rows, images = [], []
    for i in range(24):
        p, split = float(rng.uniform(0.05, 0.95)), "validation" if i < 12 else "test"
        known = {"image": f"{i}.png", "split": split, "patient": f"p{i}", "label": i % 2}
        rows.append({**known, "probabilities": (1 - p, p)})
        pixels = draw_radiograph(NAMES[i % 2], seed=i, size=64) if i != _NO_LUNGS else np.zeros((64, 64))
        images.append({"image": torch.from_numpy(pixels[None].astype(np.float32))})
    write_predictions(folder / "predictions.csv", rows, NAMES)
    torch.manual_seed(0)
    return folder, images, build_network("resnet10", num_classes=2).eval()


@pytest.fixture(scope="module")
def explanation(scored):
    folder, images, network = scored
    return evaluate_heatmaps(
        network,
        images,
        folder / "predictions.csv",
        operating_point=None,
        images_per_class=3,
        randomised_images=4,
    )


def test_gallery_shows_the_chosen_images_with_the_decisions_of_the_report(scored, explanation):
    predictions = read_predictions(scored[0] / "predictions.csv")
    test = predictions.split("test")
    cases = choose_cases(
        test, decide(test.probabilities, choose_on_validation(predictions.split("validation")))
    )
    shown = [(case["image"], case["decision"], case["right"]) for case in explanation["gallery"]]
    assert shown == [(case.image, NAMES[case.decision], case.right) for case in cases]
    assert all(case["picture"] != case["heatmap"] for case in explanation["gallery"])
    assert len({case["picture"] for case in explanation["gallery"]}) == len({case.image for case in cases})


def test_figures_count_what_was_asked_for(explanation):
    rows = {row["name"]: row for row in explanation["saliency"]["rows"]}
    assert rows["normal"]["images"] <= 3
    assert rows["covid"]["images"] <= 3
    assert rows["all images"]["images"] == rows["normal"]["images"] + rows["covid"]["images"] > 0
    assert all(row["region"] is None or 0.1 < row["region"] < 0.6 for row in rows.values())
    checked = explanation["randomisation"]
    assert checked["comparisons"] + checked["empty"] == 3 * min(4, rows["all images"]["images"])
    assert explanation["layer"] == "layer4"
    assert explanation["grid"] == [2, 2]


@pytest.mark.slow
def test_same_seed_same_explanation(scored, explanation):
    folder, images, network = scored
    options = {"images_per_class": 3, "randomised_images": 4}
    again = evaluate_heatmaps(network, images, folder / "predictions.csv", operating_point=None, **options)
    assert again == explanation


@pytest.mark.slow
def test_report_takes_it(scored, explanation):
    folder = scored[0]
    values = write_report(
        folder / "predictions.csv", folder, operating_point=None, provenance={}, explanation=explanation
    )
    assert values["explanation"]["saliency"] == explanation["saliency"]
    assert explanation["gallery"][0]["heatmap"] in (folder / "report.html").read_text()

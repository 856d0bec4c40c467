"""Results of all folds together: each fold decided by its own thresholds, and the table."""

import csv

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.metrics.prediction_table import read_predictions, write_predictions
from covid_monai.experiments import pooled_results
from covid_monai.experiments.pooled_results import (
    compute_pooled_metrics,
    fit_on_left_out_sources,
    format_table,
    join_test_rows,
)

NAMES = ("normal", "covid")


class Fold:
    """A bundle of a fold: only its operating point and its calibration count here."""

    # Of each fold by the folder's name; set by each test.
    points: dict = {}  # noqa: RUF012
    calibrations: dict = {}  # noqa: RUF012

    def __init__(self, folder):
        self.operating_point = self.points.get(folder.name)
        self.calibration = self.calibrations.get(folder.name)


@pytest.fixture
def folds(tmp_path, monkeypatch):
    """Two folds of forty test images, and validation images that must not count."""
    monkeypatch.setattr(pooled_results, "Bundle", Fold)
    monkeypatch.setattr(Fold, "points", {})
    rng = np.random.default_rng(0)
    for fold in ("00", "01"):
        rows = []
        for number in range(60):
            covid = float(np.round(rng.uniform(0.01, 0.99), 3))
            rows.append(
                {
                    **{"image": f"{fold}/{number}.png", "split": "test" if number < 40 else "validation"},
                    **{"patient": PATIENTS[f"{fold}/{number}.png"], "label": int(rng.random() < covid)},
                    "probabilities": [1 - covid, covid],
                }
            )
        write_predictions(tmp_path / fold / "evaluation" / "predictions.csv", rows, NAMES)
    return [tmp_path / "00", tmp_path / "01"]


PATIENTS = {f"{fold}/{number}.png": f"{fold} {number // 2}" for fold in ("00", "01") for number in range(60)}


def rows_of(folds):
    return [read_predictions(fold / "evaluation" / "predictions.csv").split("test") for fold in folds]


def test_without_thresholds_the_most_probable_class_is_decided(folds):
    result = compute_pooled_metrics(folds, PATIENTS)
    labels = np.concatenate([rows.labels for rows in rows_of(folds)])
    likeliest = np.concatenate([rows.probabilities.argmax(axis=1) for rows in rows_of(folds)])
    assert result["n"] == 80
    assert result["bootstrap"]["patients"] == 40
    assert result["accuracy"]["value"] == pytest.approx(accuracy_score(labels, likeliest))
    assert result["subsets"] == {}


def test_each_fold_is_decided_by_its_own_thresholds(folds, monkeypatch):
    strict = OperatingPoint("all normal", {"normal": 0.0, "covid": 1.0})
    monkeypatch.setattr(Fold, "points", {"01": strict})
    first, second = rows_of(folds)
    decided = np.concatenate([first.probabilities.argmax(axis=1), np.zeros(40, int)])
    labels = np.concatenate([first.labels, second.labels])
    assert compute_pooled_metrics(folds, PATIENTS)["accuracy"]["value"] == pytest.approx(
        accuracy_score(labels, decided)
    )


def test_a_subset_is_counted_alone_and_an_empty_one_is_named(folds):
    result = compute_pooled_metrics(folds, PATIENTS, {"first": "00/*", "one": "*/1.png"})
    rows = rows_of(folds)[0]
    found = result["subsets"]["first"]
    assert (found["n"], found["patients"], result["subsets"]["one"]["n"]) == (40, 20, 2)
    assert found["accuracy"]["value"] == pytest.approx(
        accuracy_score(rows.labels, rows.probabilities.argmax(axis=1))
    )
    with pytest.raises(ValueError, match=r"'none' is empty: no test image matches x\*\. Change"):
        compute_pooled_metrics(folds, PATIENTS, {"none": "x*"})


def test_sources_left_out_are_never_pooled_into_one_area(folds):
    result = compute_pooled_metrics(folds, PATIENTS, by_source=True)
    whole = compute_pooled_metrics(folds, PATIENTS)
    for fold, rows in zip(folds, rows_of(folds), strict=True):
        expected = roc_auc_score(rows.labels, rows.probabilities[:, 1])
        assert result["sources"][fold.name]["auroc"]["value"] == pytest.approx(expected)
        assert result["sources"][fold.name]["n"] == 40
    nothing = {"value": None, "low": None, "high": None}
    for values in (result, *result["per_class"].values()):
        assert values["auroc"] == values["average_precision"] == nothing
    assert result["accuracy"] == whole["accuracy"]
    assert "sources" not in whole
    study = {"title": "T", "protocol": "x", "published": {}, "differs": [], "variants": {"default": result}}
    table = format_table(study)
    assert "| auroc |" not in table
    assert f"| AUROC within 01 (40 images) | | {result['sources']['01']['auroc']['value']:.3f} [" in table


def test_each_fold_left_out_calls_abnormal_by_its_own_calibration(tmp_path, monkeypatch):
    monkeypatch.setattr(pooled_results, "Bundle", Fold)
    thresholds = {"a": 0.3, "b": 0.8}
    calibrations = {
        name: Calibration(
            ("normal", "pneumonia", "covid"), 1.0, {"normal": t, "pneumonia": 0.1, "covid": 0.1}, 0.9
        )
        for name, t in thresholds.items()
    }
    monkeypatch.setattr(Fold, "calibrations", calibrations)
    for source in thresholds:
        rows = [
            {
                **{"image": f"{source}{n}", "split": "test", "patient": f"{n}", "label": n % 3},
                "probabilities": [0.5, 0.5 * n / 300, 0.5 - 0.5 * n / 300],
            }
            for n in range(300)
        ]
        write_predictions(
            tmp_path / source / "evaluation" / "predictions.csv", rows, ("normal", "pneumonia", "covid")
        )
    runs, patients = (
        [tmp_path / "a", tmp_path / "b"],
        {f"{s}{n}": f"{s}{n}" for s in "ab" for n in range(300)},
    )
    unseen = fit_on_left_out_sources(runs, patients)
    assert [unseen.sources[f"source {n}"]["abnormal"]["false_alarms"]["value"] for n in (1, 2)] == [0, 1]
    assert unseen.abnormal_threshold == pytest.approx(0.45)  # the median of 0.7 and 0.2
    assert set(unseen.cuts) == {"pneumonia", "covid"}
    monkeypatch.setattr(Fold, "calibrations", {"a": calibrations["a"]})
    assert fit_on_left_out_sources(runs, patients).sources["source 1"]["abnormal"]["false_alarms"] is None


def test_without_the_class_normal_there_are_no_cuts_for_unseen_hospitals(folds):
    for fold in folds:
        row = {"image": f"{fold.name}/0.png", "split": "test", "patient": "a", "label": 0}
        rows = [row | {"probabilities": [0.5, 0.5]}]
        write_predictions(fold / "evaluation" / "predictions.csv", rows, ("pneumonia", "covid"))
    assert fit_on_left_out_sources(folds, PATIENTS) is None


def test_joined_rows_are_the_test_rows_of_all_folds_in_order(folds, tmp_path):
    join_test_rows(folds, tmp_path / "out" / "predictions.csv", PATIENTS)
    joined = read_predictions(tmp_path / "out" / "predictions.csv")
    assert joined.images.tolist() == [name for rows in rows_of(folds) for name in rows.images]
    assert np.array_equal(joined.probabilities, np.concatenate([r.probabilities for r in rows_of(folds)]))
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"test"}


def test_patients_that_a_split_by_image_has_hidden_are_those_of_the_intervals(folds, tmp_path):
    owners = {name: patient.split()[0] for name, patient in PATIENTS.items()}  # one patient in each fold
    assert compute_pooled_metrics(folds, owners)["bootstrap"]["patients"] == 2
    join_test_rows(folds, tmp_path / "out.csv", owners)
    assert {*read_predictions(tmp_path / "out.csv").patients} == {"00", "01"}


def metric(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


RESULT = {
    "title": "T",
    "protocol": "folds",
    "published": {"sensitivity/covid": 0.9, "specificity": 0.8, "where": "Journal, table 2"},
    "differs": ["grouped by patient", "other images"],
    "variants": {
        name: {
            "n": 72,
            "bootstrap": {"patients": 60},
            "accuracy": metric(0.5, 0.4, 0.6),
            "auroc": metric(None),
            "per_class": {"covid": {"sensitivity": metric(0.7)}},
            "subsets": {"small": {"n": 9, "accuracy": metric(0.25, 0.1, 0.4)}},
        }
        for name in ("default", "other")
    },
}


def test_a_table_has_published_metrics_first_and_what_differs_last():
    assert format_table(RESULT).splitlines() == [
        *("### T", "", "| metric | published | ours, default | ours, other |", "|---|---|---|---|"),
        "| sensitivity/covid | 0.9 | 0.700 | 0.700 |",
        "| accuracy |  | 0.500 [0.400 to 0.600] | 0.500 [0.400 to 0.600] |",
        "| accuracy, small (9 images) | | 0.250 [0.100 to 0.400] | 0.250 [0.100 to 0.400] |",
        *("", "Ours: 72 test images of 60 patients, protocol folds. Published: Journal, table 2."),
        *("", "- grouped by patient", "- other images"),
    ]


def test_a_table_of_one_variant_without_publication_says_so():
    alone = RESULT | {"published": {}, "variants": {"default": RESULT["variants"]["default"]}}
    lines = format_table(alone).splitlines()
    assert lines[2] == "| metric | published | ours |"
    assert "Published: not published." in format_table(alone)

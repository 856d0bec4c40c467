"""Prevalence, decision curve, subgroups, comparison, and everything together."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import ttest_rel
from typer.testing import CliRunner

from covid_monai.cli.compare import compare
from covid_monai.evaluation.decisions.calibration import fit_calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, call, choose_operating_point
from covid_monai.evaluation.metrics.calibration_metrics import reliability_bins
from covid_monai.evaluation.metrics.clinical_utility import PREVALENCES, decision_curve, predictive_values
from covid_monai.evaluation.metrics.intervals import Interval, ratio_interval
from covid_monai.evaluation.metrics.paired_comparison import compare_predictions
from covid_monai.evaluation.metrics.prediction_table import PredictionTable, write_predictions
from covid_monai.evaluation.metrics.subgroups import FEWEST_PATIENTS, subgroup_table
from covid_monai.evaluation.report.report_metrics import compute_report_metrics

NAMES = ("normal", "pneumonia", "covid")
FEW = {"resamples": 100}


def rows(n, *, names=NAMES, split="test", seed=0, sharpness=1.5):
    """Images of a plausible model; two of each patient."""
    rng = np.random.default_rng(seed)
    patients = np.arange(n) // 2
    labels = rng.permutation(np.arange(n // 2) % len(names))[patients]
    probabilities = softmax(
        rng.normal(size=(n, len(names))) + sharpness * np.eye(len(names))[labels], axis=1
    ).round(6)
    return PredictionTable(
        names,
        np.array([f"{split}/{i}.png" for i in range(n)]),
        np.full(n, split),
        np.array([f"{split} {p}" for p in patients]),
        np.array(["one", "two"])[patients % 2],
        np.where(patients % 3 == 0, "", "PA"),
        np.array(["F", "M"])[patients // 2 % 2],
        np.where(patients % 5 == 0, np.nan, 20.0 + patients % 60),
        labels,
        probabilities / probabilities.sum(axis=1, keepdims=True),
    )


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.sampled_from(PREVALENCES))
def test_predictive_values_follow_bayes(sensitivity, specificity, prevalence):
    shares = [{"value": v, "low": v, "high": v} for v in (sensitivity, specificity)]
    (found,) = predictive_values(*shares, [prevalence])
    true_positive, false_positive = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_negative, false_negative = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    assert found["ppv"]["value"] == pytest.approx(true_positive / (true_positive + false_positive))
    assert found["npv"]["value"] == pytest.approx(true_negative / (true_negative + false_negative))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_ratios_and_predictive_values_are_ordered(numbers):
    (a_low, a, a_high), (b_low, b, b_high) = sorted(numbers[:3]), sorted(numbers[3:])
    ratio = ratio_interval(Interval(a, a_low, a_high), Interval(b, b_low, b_high))
    assert ratio.value is None or ratio.low <= ratio.value <= ratio.high
    shares = [
        dict(zip(("low", "value", "high"), sorted(part), strict=True)) for part in (numbers[:3], numbers[3:])
    ]
    for found in predictive_values(*shares):
        for figure in (found["ppv"], found["npv"]):
            ends = [figure[key] for key in ("low", "value", "high") if figure[key] is not None]
            assert ends == sorted(ends)
            assert all(0 <= end <= 1 for end in ends)


def test_without_false_positives_the_ppv_has_a_lower_end():
    perfect = {"value": 1.0, "low": 0.9, "high": 1.0}
    found = predictive_values({"value": 0.8, "low": 0.7, "high": 0.88}, perfect, [0.01])[0]
    assert found["ppv"]["value"] == 1
    # At worst 0.7 of the cases against 0.1 of the others.
    assert found["ppv"]["low"] == pytest.approx(0.007 / (0.007 + 0.099))


def test_prevalence_outside_0_to_1_is_refused():
    share = {"value": 0.9, "low": 0.8, "high": 0.95}
    with pytest.raises(ValueError, match="between 0 and 1"):
        predictive_values(share, share, [0.0])


def test_decision_curve_is_counted_by_hand():
    labels = np.array([0, 0, 0, 1, 1])
    p = np.array([0.1, 0.3, 0.6, 0.4, 0.9])
    curve = decision_curve(labels, np.column_stack([1 - p, p]), np.arange(5), 1, thresholds=[0.2, 0.5])
    # At 0.2: both cases found, two false alarms at 1/4 each; at 0.5: one found, one false alarm at 1.
    assert curve["model"] == pytest.approx([(2 - 2 / 4) / 5, (1 - 1) / 5])
    assert curve["treat_all"] == pytest.approx([0.4 - 0.6 / 4, 0.4 - 0.6])
    assert curve["treat_none"] == [0, 0]
    assert all(low <= high for low, high in zip(curve["low"], curve["high"], strict=True))


def test_calling_everybody_is_treating_all():
    test = rows(60, names=("no", "yes"))
    everybody = np.tile([0.0, 1.0], (60, 1))
    curve = decision_curve(test.labels, everybody, test.patients, 1, **FEW)
    assert curve["model"] == pytest.approx(curve["treat_all"])
    assert curve["low"] == pytest.approx(curve["high"])  # the share of cases is given, not sampled


def test_subgroups_partition_the_images_and_small_ones_are_marked():
    test = rows(300)
    table = subgroup_table(test, OperatingPoint.argmax(NAMES), **FEW)["rows"]
    for by in ("view", "sex", "age", "source"):
        assert sum(row["images"] for row in table if row["by"] == by) == 300
    assert {row["name"] for row in table if row["by"] == "view"} == {"PA", "not recorded"}
    for row in table:
        assert row["thin"] == (min(n for n in row["cases"].values() if n) < FEWEST_PATIENTS)
    assert any(row["thin"] for row in table)
    assert not all(row["thin"] for row in table)
    sources = {row["name"]: row for row in table if row["by"] == "source"}
    chosen = test.where(test.sources == "one")
    assert sources["one"]["patients"] == len(np.unique(chosen.patients))


def test_property_that_nobody_recorded_is_left_out():
    test = replace(rows(60), views=np.full(60, ""), ages=np.full(60, np.nan))
    table = subgroup_table(test, OperatingPoint.argmax(NAMES), **FEW)["rows"]
    assert {row["by"] for row in table} == {"sex", "source"}


def test_reliability_bins_hold_all_images():
    test = rows(200)
    for k, name in enumerate(NAMES):
        bins = reliability_bins(test, **FEW)[name]
        assert sum(b["n"] for b in bins) == 200
        assert [b["predicted"] for b in bins] == sorted(b["predicted"] for b in bins)
        observed = sum(b["n"] * b["observed"] for b in bins)
        assert observed == pytest.approx(np.sum(test.labels == k))


@pytest.mark.parametrize("target", [0.5, 0.9, 1.0])
def test_sensitivity_threshold_is_the_largest_that_reaches_its_target(target):
    validation = rows(300)
    point = choose_operating_point(
        validation.labels, validation.probabilities, NAMES, sensitivity_target=target
    )
    for k, name in enumerate(NAMES):
        own = validation.labels == k
        assert call(validation.probabilities, point, name)[own].mean() >= target
        above = np.nextafter(
            np.min(
                validation.probabilities[own, k][
                    validation.probabilities[own, k] >= point.sensitivity_thresholds[name]
                ]
            ),
            1,
        )
        assert (validation.probabilities[own, k] >= above).mean() < target


def test_operating_point_of_an_older_version_loads(tmp_path):
    point = choose_operating_point([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], ["no", "yes"])
    old = {key: value for key, value in point.to_json().items() if not key.startswith("sensitivity")}
    (tmp_path / "point.json").write_text(json.dumps(old))
    loaded = OperatingPoint.load(tmp_path / "point.json")
    assert loaded.thresholds == point.thresholds
    with pytest.raises(ValueError, match="no class, not for yes"):
        call([[0.5, 0.5]], loaded, "yes")


def test_comparison_of_single_images_is_the_paired_t_test():
    one, other = rows(200, seed=1), rows(200, seed=2)
    patients = np.arange(200).astype(str)
    one = replace(one, patients=patients)
    other = replace(one, probabilities=replace(other).probabilities)
    found = compare_predictions(one, other, resamples=4000)["metrics"]["accuracy"]
    right = [p.probabilities.argmax(axis=1) == p.labels for p in (one, other)]
    # Two strata instead of one sample make no great difference to a paired mean.
    expected = ttest_rel(right[1].astype(float), right[0].astype(float))
    assert found["difference"]["value"] == pytest.approx(right[1].mean() - right[0].mean())
    assert found["p_value"] == pytest.approx(expected.pvalue, abs=0.03)
    ends = expected.confidence_interval()
    assert (found["difference"]["low"], found["difference"]["high"]) == pytest.approx(
        (ends.low, ends.high), abs=0.012
    )


def test_a_model_is_not_better_than_itself():
    test = rows(120)
    for values in compare_predictions(test, test, **FEW)["metrics"].values():
        assert values["difference"]["value"] == 0
        assert values["p_value"] is None


def test_a_much_better_model_is_found_whatever_the_order_of_the_images():
    weak, strong = rows(200, sharpness=0.5), rows(200, sharpness=3)
    strong = strong.where(np.random.default_rng(0).permutation(200))
    found = compare_predictions(weak, strong, **FEW)["metrics"]
    for metric in ("auroc", "accuracy", "auroc (covid)"):
        assert found[metric]["difference"]["low"] > 0
        assert found[metric]["p_value"] < 0.001


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"class_names": ("normal", "covid", "pneumonia")}, "different classes"),
        ({"images": np.array([f"else/{i}" for i in range(60)])}, "different images: 120"),
        ({"images": np.full(60, "same")}, "second file lists an image more than once"),
        ({"labels": np.zeros(60, dtype=int)}, "disagree on the label"),
        ({"patients": np.full(60, "p")}, "disagree on the patient"),
        ({"splits": np.full(60, "validation")}, "second file has no row of the split test"),
    ],
)
def test_different_cases_are_refused(change, complaint):
    one = rows(60)
    with pytest.raises(ValueError, match=complaint):
        compare_predictions(one, replace(one, **change), **FEW)


def both_splits(*, names=NAMES, **kinds):
    parts = [
        rows(120, names=names, split=split, seed=i, **kinds) for i, split in enumerate(("validation", "test"))
    ]
    return {p.splits[0]: p for p in parts}


@pytest.mark.parametrize("names", [NAMES, ("no", "yes")])
def test_everything_is_json_and_complete(names):
    splits = both_splits(names=names)
    found = compute_report_metrics(splits["test"], splits["validation"], **FEW)
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert [p["class"] for p in found["operating_points"]] == [None, *names]
    assert all(set(p["test"]) for p in found["operating_points"])
    assert found["calibration"]["applied"] is False
    first = found["operating_points"][0]["test"][names[1]]["sensitivity"]["value"]
    assert first == pytest.approx(found["test"]["per_class"][names[1]]["sensitivity"]["value"])
    assert set(found["prevalence"]) == set(found["decision_curve"]) == set(names)


def test_stored_temperature_is_not_applied_twice():
    splits = both_splits(sharpness=4)
    raw = splits["validation"]
    calibration = fit_calibration(raw.labels, raw.probabilities, raw.patients, NAMES)
    applied = {
        name: replace(part, probabilities=calibration.apply(part.probabilities))
        for name, part in splits.items()
    }
    fresh = compute_report_metrics(splits["test"], raw, **FEW)
    stored = compute_report_metrics(applied["test"], applied["validation"], calibration=calibration, **FEW)
    assert stored["calibration"]["applied"] is True
    for when in ("before", "after"):
        for metric in ("brier", "log_loss"):
            values = [found["calibration"][when][metric]["value"] for found in (fresh, stored)]
            assert values[0] == pytest.approx(values[1], abs=1e-4)
    assert stored["abstention"]["coverage"]["value"] == fresh["abstention"]["coverage"]["value"]


def test_without_validation_nothing_is_fitted():
    splits = both_splits()
    nothing = splits["validation"].where(np.zeros(120, dtype=bool))
    found = compute_report_metrics(splits["test"], nothing, **FEW)
    assert found["calibration"] is found["abstention"] is found["validation"] is None
    assert "There are no validation rows" in found["operating_point"]["notes"][0]
    json.dumps(found, allow_nan=False)


def test_class_without_test_cases_stays_undefined():
    splits = both_splits()
    test = splits["test"].where(splits["test"].labels != 2)
    found = compute_report_metrics(test, splits["validation"], **FEW)
    assert "covid" not in found["decision_curve"]
    assert found["operating_points"][0]["test"]["covid"]["sensitivity"]["value"] is None
    assert found["prevalence"]["covid"][0]["ppv"]["value"] is None
    json.dumps(found, allow_nan=False)


def test_other_classes_and_empty_tests_are_refused():
    splits = both_splits()
    with pytest.raises(ValueError, match="operating point is for a, b"):
        compute_report_metrics(
            splits["test"], splits["validation"], operating_point=OperatingPoint.argmax("ab")
        )
    with pytest.raises(ValueError, match="There are no rows of the test split"):
        compute_report_metrics(splits["test"].where(np.zeros(120, dtype=bool)), splits["validation"])


def test_compare_prints_a_table_and_writes_json(tmp_path):
    import typer

    paths = []
    for i, sharpness in enumerate((0.5, 3)):
        part = rows(80, sharpness=sharpness)
        table = [
            {
                "image": part.images[r],
                "split": "test",
                "patient": part.patients[r],
                "source": "ab"[r % 2],
                "label": part.labels[r],
                "probabilities": part.probabilities[r],
            }
            for r in range(80)
        ]
        write_predictions(tmp_path / f"{i}.csv", table, NAMES)
        paths.append(str(tmp_path / f"{i}.csv"))
    app = typer.Typer()
    app.command()(compare)
    output = tmp_path / "comparison.json"
    result = CliRunner().invoke(app, [*paths, "--output", str(output), "--resamples", "100"])
    assert result.exit_code == 0, result.output
    assert "AUROC" in result.output
    assert "most probable class" in result.output
    whole = json.loads(output.read_text())
    assert whole["metrics"]["auroc"]["difference"]["low"] > 0

    part = ["--output", str(output), "--resamples", "100", "--source"]
    result = CliRunner().invoke(app, [*paths, *part, "a", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads(output.read_text())
    assert json.loads(output.read_text())["images"] == whole["images"] / 2
    result = CliRunner().invoke(app, [*paths, *part, "c"])
    assert "Unknown source 'c'. Choose one of: a, b." in str(result.exception)

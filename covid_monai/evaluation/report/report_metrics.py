"""All numbers of a report as one mapping: `compute_report_metrics`.

docs/evaluation-report.md lists the keys, which are those of `metrics.json`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from covid_monai.evaluation.decisions.calibration import Calibration, fit_calibration
from covid_monai.evaluation.decisions.operating_point import (
    SENSITIVITY_RULE,
    OperatingPoint,
    call,
    choose_operating_point,
    decide,
)
from covid_monai.evaluation.metrics.bootstrapped_metrics import evaluate_rows
from covid_monai.evaluation.metrics.calibration_metrics import abstention, reliability_bins
from covid_monai.evaluation.metrics.clinical_utility import decision_curve, predictive_values
from covid_monai.evaluation.metrics.intervals import PatientBootstrap, share_with_interval
from covid_monai.evaluation.metrics.prediction_table import PredictionTable
from covid_monai.evaluation.metrics.source_metrics import coverage_by_source, source_metrics
from covid_monai.evaluation.metrics.subgroups import subgroup_table

_PROBABILITY_METRICS = ("ece", "ece_by_chance", "brier", "log_loss")


def compute_report_metrics(
    test: PredictionTable,
    validation: PredictionTable,
    *,
    operating_point: OperatingPoint | None = None,
    calibration: Calibration | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute every number of a report; nothing is chosen on the test rows.

    Args:
        test: Rows of the test split; at least one.
        validation: Rows of the validation split, possibly none.
        operating_point: Operating point of the bundle; by default that of `choose_on_validation`.
        calibration: Calibration of the bundle, which the probabilities went through; None fits one on the
            validation rows, for `calibration`, `abstention`, `decision_curve` and `sources` only.
        resamples: Number of resamples of the patients for the intervals.
        seed: Seed of the resamples.

    Returns:
        The numbers by the keys `test` to `sources`. Plain values; undefined ones are None.

    Raises:
        ValueError: If there are no test rows, or the classes of the arguments are not the same.
    """
    _check(test, operating_point, calibration)
    settings: dict[str, Any] = {"resamples": resamples, "seed": seed}
    bootstrap = PatientBootstrap(test.patients, **settings)
    point = operating_point or choose_on_validation(validation)
    fitted = calibration or _fit(validation)
    evaluated = evaluate_rows(test, point, **settings)
    calibrated = (
        test if calibration or not fitted else replace(test, probabilities=fitted.apply(test.probabilities))
    )
    found = [(k, c) for k, c in enumerate(test.class_names) if 0 < np.sum(test.labels == k) < len(test)]
    return {
        "test": evaluated,
        "validation": evaluate_rows(validation, point, **settings) if len(validation) else None,
        "operating_point": point.to_json(),
        "operating_points": _operating_points(test, validation, point, **settings),
        "calibration": fitted and _calibration(calibrated, fitted, calibration is not None, **settings),
        "abstention": fitted and _abstention(calibrated, fitted, bootstrap, validation.sources),
        "prevalence": {
            name: predictive_values(of_class["sensitivity"], of_class["specificity"])
            for name, of_class in evaluated["per_class"].items()
        },
        "decision_curve": {
            c: decision_curve(test.labels, calibrated.probabilities, k, bootstrap) for k, c in found
        },
        "roc": {c: _roc(test.labels == k, test.probabilities[:, k]) for k, c in found},
        "subgroups": subgroup_table(test, point, **settings),
        "sources": source_metrics(calibrated, decide(test.probabilities, point), **settings),
    }


def _roc(is_case: NDArray[np.bool_], scores: NDArray[np.float64]) -> dict[str, list[float]]:
    false_positives, found, _ = roc_curve(is_case, scores)
    return {
        "sensitivity": found.round(5).tolist(),
        "one_minus_specificity": false_positives.round(5).tolist(),
    }


def _check(test: PredictionTable, *parts: OperatingPoint | Calibration | None) -> None:
    if len(test) == 0:
        raise ValueError("There are no rows of the test split, and only test rows are evaluated.")
    for part in parts:
        if part is not None and part.class_names != test.class_names:
            raise ValueError(
                f"The {'operating point' if isinstance(part, OperatingPoint) else 'calibration'} is for "
                f"{', '.join(part.class_names)}; the predictions have {', '.join(test.class_names)}."
            )


def choose_on_validation(validation: PredictionTable, datalist_digest: str | None = None) -> OperatingPoint:
    """Choose thresholds on validation rows; without any, the decision is the most probable class."""
    if len(validation) == 0:
        notes = ["There are no validation rows on which thresholds could be chosen."]
        return OperatingPoint.argmax(validation.class_names, notes=notes)
    origin = {"patients": len(np.unique(validation.patients)), "datalist_digest": datalist_digest}
    return choose_operating_point(
        validation.labels,
        validation.probabilities,
        validation.class_names,
        patients=validation.patients,
        sources=validation.sources,
        chosen_on={"split": "validation", **origin},
    )


def _fit(rows: PredictionTable) -> Calibration | None:
    fitted_on = (rows.labels, rows.probabilities, rows.patients, rows.class_names)
    chosen_on = {"split": "validation"}
    return fit_calibration(*fitted_on, sources=rows.sources, chosen_on=chosen_on) if len(rows) else None


def _operating_points(
    test: PredictionTable, validation: PredictionTable, point: OperatingPoint, **settings: int
) -> list[dict[str, Any]]:
    """Return the point for all classes, then the points for the sensitivity of one class."""
    everything: dict[str, Any] = {"name": "thresholds", "class": None, "rule": point.rule, "target": None}
    points = [{**everything, "thresholds": dict(point.thresholds)}]
    for name, threshold in point.sensitivity_thresholds.items():
        of_class = {"name": "sensitivity", "class": name, "rule": SENSITIVITY_RULE}
        points.append({**of_class, "target": point.sensitivity_target, "thresholds": {name: threshold}})
    for each in points:
        for split, rows in (("validation", validation), ("test", test)):
            each[split] = _rates(rows, point, each["class"], **settings) if len(rows) else None
    return points


def _rates(rows: PredictionTable, point: OperatingPoint, name: str | None, **settings: int) -> dict[str, Any]:
    bootstrap = PatientBootstrap(rows.patients, **settings)
    decisions = decide(rows.probabilities, point)
    found = {}
    for k, c in enumerate(rows.class_names):
        if name in (None, c):
            positive = decisions == k if name is None else call(rows.probabilities, point, c)
            found[c] = _class_rates(rows.labels == k, positive, bootstrap)
    return found


def _class_rates(
    is_case: NDArray[np.bool_], positive: NDArray[np.bool_], bootstrap: PatientBootstrap
) -> dict[str, dict[str, float | None]]:
    shares = {
        "sensitivity": (positive, is_case),
        "specificity": (~positive, ~is_case),
        "ppv": (is_case, positive),
        "npv": (~is_case, ~positive),
    }
    return {
        metric: share_with_interval(values, bootstrap, among=among).to_json()
        for metric, (values, among) in shares.items()
    }


def _calibration(
    calibrated: PredictionTable, fitted: Calibration, applied: bool, **settings: int
) -> dict[str, Any]:
    def metrics(rows: PredictionTable) -> Mapping[str, Any]:
        values = evaluate_rows(rows, OperatingPoint.argmax(rows.class_names), **settings)
        return {metric: values[metric] for metric in _PROBABILITY_METRICS}

    return {
        "temperature": fitted.temperature,
        "fitted_on": dict(fitted.chosen_on),
        "notes": list(fitted.notes),
        "applied": applied,
        "before": metrics(replace(calibrated, probabilities=fitted.undo(calibrated.probabilities))),
        "after": metrics(calibrated),
        "reliability": reliability_bins(calibrated, PatientBootstrap(calibrated.patients, **settings)),
    }


def _abstention(
    calibrated: PredictionTable,
    fitted: Calibration,
    bootstrap: PatientBootstrap,
    fitted_sources: NDArray[np.str_],
) -> dict[str, Any]:
    sets = fitted.prediction_sets(calibrated.probabilities)
    right = calibrated.probabilities.argmax(axis=1) == calibrated.labels
    return {
        "coverage_target": fitted.coverage,
        "coverage_targets": fitted.coverages,
        "thresholds": dict(fitted.conformal),
        "accuracy_of_all": share_with_interval(right, bootstrap).to_json(),
        **abstention(calibrated, sets, bootstrap),
        "per_source": coverage_by_source(
            *(calibrated, sets, bootstrap),
            targets=fitted.coverages,
            fitted_sources=set(fitted_sources.tolist()),
        ),
    }

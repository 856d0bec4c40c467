"""What a decision for a class is worth in each source: predictive values, calibration, decision curve, sets.

A source differs from the next one in how frequent and how severe a disease is, and in its machines.
Predictive values, calibration and net benefit change with it. Over all sources together they are those of a
mixture that exists nowhere.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.evaluation.metrics.bootstrapped_metrics import metrics_with_intervals
from covid_monai.evaluation.metrics.calibration_metrics import recalibration
from covid_monai.evaluation.metrics.clinical_utility import decision_curve
from covid_monai.evaluation.metrics.intervals import PatientBootstrap, share_with_interval
from covid_monai.evaluation.metrics.prediction_table import PredictionTable
from covid_monai.evaluation.metrics.subgroups import FEWEST_PATIENTS, NOT_RECORDED

SOURCE_RULE = (
    "A source has these values for a class if its images of the class and its other images each come from an "
    f"effective number of at least {FEWEST_PATIENTS} patients. Without other images, every decision for the "
    "class is right, whatever the classifier does. With fewer patients, the intervals say nearly nothing."
)
_FIGURES = ("ppv", "npv", "ece", "ece_by_chance")


def source_metrics(
    calibrated: PredictionTable, decisions: NDArray[np.int64], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compute the values of every class in every source.

    Args:
        calibrated: Images with calibrated probabilities.
        decisions: Decided class of each image, shape [N].
        resamples: Number of resamples of the patients of each source.
        seed: Seed of the resamples.

    Returns:
        `rule`: when a source has values, in words. `rows`: per source and class `source`, `class`, `images`,
        `cases` (images of the class), `missing` (None, or why there are no values), and `metrics` (None, or
        `ppv`, `npv`, `ece`, `ece_by_chance`, `intercept`, `slope`, and `decision_curve`). There are no rows
        if no source is recorded.
    """
    names = np.where(calibrated.sources == "", NOT_RECORDED, calibrated.sources)
    rows: list[dict[str, Any]] = []
    for source in sorted(set(names.tolist())) if calibrated.sources.any() else ():
        chosen = names == source
        rows += _rows_of(source, calibrated.where(chosen), decisions[chosen], resamples=resamples, seed=seed)
    return {"rule": SOURCE_RULE, "rows": rows}


def _rows_of(
    source: str, images: PredictionTable, decisions: NDArray[np.int64], **settings: int
) -> list[dict[str, Any]]:
    bootstrap, rows, figures = PatientBootstrap(images.patients, **settings), [], None
    for k, name in enumerate(images.class_names):
        is_case, p = images.labels == k, images.probabilities
        missing, metrics = _missing(name, is_case, bootstrap), None
        if missing is None:
            sample = (images.labels, decisions, p, images.patients)
            figures = figures or metrics_with_intervals(*sample, images.class_names, **settings)
            metrics = {figure: figures["per_class"][name][figure] for figure in _FIGURES}
            metrics |= recalibration(is_case, p[:, k], bootstrap)
            metrics["decision_curve"] = decision_curve(images.labels, p, k, bootstrap)
        cell = {"source": source, "class": name, "images": len(images), "cases": int(is_case.sum())}
        rows.append({**cell, "missing": missing, "metrics": metrics})
    return rows


def _missing(name: str, is_case: NDArray[np.bool_], bootstrap: PatientBootstrap) -> str | None:
    """Return why a source has no values of a class; None if it has."""
    for images, rows in ((f"images of {name}", is_case), ("images of other classes", ~is_case)):
        patients = bootstrap.effective_patients(rows)
        if patients < FEWEST_PATIENTS:
            return (
                f"its {images} are effectively of {patients:.1f} patients"
                if patients
                else f"it has no {images}"
            )
    return None


def coverage_by_source(
    rows: PredictionTable,
    sets: NDArray[np.bool_],
    bootstrap: PatientBootstrap,
    *,
    targets: Mapping[str, float],
    fitted_sources: Collection[str],
) -> list[dict[str, Any]]:
    """Compute how often prediction sets hold the true class in each source.

    The sets keep their promise for images like those they were fitted on, and for no others. A source without
    validation images shows what they are worth in a hospital that was not there.

    Args:
        rows: Images with their true classes.
        sets: Shape [N, K], from `Calibration.prediction_sets`.
        bootstrap: Resamples of their patients, for the intervals.
        targets: Class name to the share of its images whose set is to hold it.
        fitted_sources: Sources of the validation images; empty if they are not known.

    Returns:
        Per source and class that occur together: `source`, `class`, `images`, `patients` (effective number),
        `left_out` (whether the source has no validation image; None if that is not known), `target` and
        `coverage`, which is None for fewer than `FEWEST_PATIENTS` patients.
    """
    holds, found = sets[np.arange(len(rows)), rows.labels], []
    for source in np.unique(rows.sources[rows.sources != ""]).tolist():
        for k, name in enumerate(rows.class_names):
            cell = (rows.sources == source) & (rows.labels == k)
            if not cell.any():
                continue
            patients = bootstrap.effective_patients(cell)
            coverage = share_with_interval(holds, bootstrap, among=cell).to_json()
            found.append(
                {
                    **{"source": source, "class": name, "images": int(cell.sum())},
                    "patients": round(patients, 1),
                    "left_out": source not in fitted_sources if fitted_sources else None,
                    "target": targets[name],
                    "coverage": coverage if patients >= FEWEST_PATIENTS else None,
                }
            )
    return found

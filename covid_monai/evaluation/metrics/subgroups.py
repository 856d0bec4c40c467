"""Metrics of subgroups by view, sex, age and source.

A subgroup with too few patients is shown as well, and marked.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.effective_number import effective_number, effective_numbers
from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.metrics.bootstrapped_metrics import evaluate_rows
from covid_monai.evaluation.metrics.prediction_table import PredictionTable

# With 20 patients, the interval of a share reaches about 22 points up and down at best.
FEWEST_PATIENTS = 20
# With fewer, an interval tells hardly more than that a share lies between 0 and 1.
FEWEST_FOR_A_FIGURE = 10
FEW_PATIENTS_RULE = (
    'A group is marked "few patients" if a class that occurs in it has an effective number of fewer than '
    f"{FEWEST_PATIENTS} patients, or if only one class occurs. Its metrics say little, and a difference from "
    f"other groups says even less. With fewer than {FEWEST_FOR_A_FIGURE}, a metric is left out."
)
_NO_METRIC = {"value": None, "low": None, "high": None}
AGE_EDGES = (18, 40, 65)
AGE_BANDS = ("under 18", "18 to 39", "40 to 64", "65 and over")
NOT_RECORDED = "not recorded"


def subgroup_table(rows: PredictionTable, operating_point: OperatingPoint, **settings: int) -> dict[str, Any]:
    """Compute metrics of every view, sex, age band and source.

    Args:
        rows: Images with their predictions.
        operating_point: Thresholds, the same for every subgroup.
        settings: `resamples` and `seed` of the `PatientBootstrap` of each subgroup.

    Returns:
        `rule`: rule for `thin` (too few patients), in words. `rows`: per subgroup `by`, `name`, `images`,
        `patients`, `cases` (class name to patients), `thin`, and `auroc`, `balanced_accuracy` and `per_class`
        (name to `auroc`, `sensitivity`, `specificity`), each `{"value", "low", "high"}`, which are None where
        the metric rests on fewer than `FEWEST_FOR_A_FIGURE` patients. Images without a value form a subgroup;
        a property that no image has is left out.
    """
    table = []
    ages = age_bands(rows.ages)
    for by, found in (("view", rows.views), ("sex", rows.sexes), ("age", ages), ("source", rows.sources)):
        names = np.where(found == "", NOT_RECORDED, found)
        if set(names.tolist()) == {NOT_RECORDED}:
            continue
        for name in sorted(set(names.tolist()), key=_place):
            cell = _cell(rows.where(names == name), operating_point, **settings)
            table.append({"by": by, "name": name, **cell})
    return {"rule": FEW_PATIENTS_RULE, "rows": table}


def age_bands(ages: NDArray[np.float64]) -> NDArray[np.str_]:
    """Return the band of each age in years; NaN, infinity and a negative age are "not recorded".

    >>> age_bands(np.array([7.0, 18.0, 64.5, 90.0, np.nan])).tolist()
    ['under 18', '18 to 39', '40 to 64', '65 and over', 'not recorded']
    """
    is_age = np.isfinite(ages) & (ages >= 0)
    bands = np.array(AGE_BANDS)[np.digitize(np.where(is_age, ages, 0), AGE_EDGES)]
    return np.where(is_age, bands, NOT_RECORDED)


def _place(name: str) -> tuple[bool, int, str]:
    """Sort age bands by age, other names by the alphabet, and "not recorded" last."""
    return name == NOT_RECORDED, AGE_BANDS.index(name) if name in AGE_BANDS else -1, name


def _cell(rows: PredictionTable, operating_point: OperatingPoint, **settings: int) -> dict[str, Any]:
    values = evaluate_rows(rows, operating_point, **settings)
    cases = {name: len(np.unique(rows.patients[rows.labels == k])) for k, name in enumerate(rows.class_names)}
    effective = effective_numbers(zip(rows.labels.tolist(), rows.patients.tolist(), strict=True))
    fewest = min(effective.values())
    overall = {
        metric: values[metric] if fewest >= FEWEST_FOR_A_FIGURE else _NO_METRIC
        for metric in ("auroc", "balanced_accuracy")
    }
    return {
        "images": len(rows),
        "patients": values["bootstrap"]["patients"],
        "cases": cases,
        "thin": len(effective) < 2 or fewest < FEWEST_PATIENTS,
        **overall,
        "per_class": {
            name: _metrics_of_class(values["per_class"][name], rows.labels == k, rows.patients)
            for k, name in enumerate(rows.class_names)
        },
    }


def _metrics_of_class(
    metrics: dict[str, Any], cases: NDArray[np.bool_], patients: NDArray[np.str_]
) -> dict[str, Any]:
    """Return the metrics of a class that rest on enough patients on the side, or sides, that they count."""
    enough = {
        side: effective_number(patients[cases == side].tolist()) >= FEWEST_FOR_A_FIGURE
        for side in (True, False)
    }
    shown = {"auroc": all(enough.values()), "sensitivity": enough[True], "specificity": enough[False]}
    return {metric: metrics[metric] if shown[metric] else _NO_METRIC for metric in shown}

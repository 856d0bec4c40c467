"""Does the result hold for women and men, young and old, every view and every source?

A subgroup that is too small to say anything is shown all the same, and marked.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.evaluation.decisions.operating_point import OperatingPoint, decide
from covid_monai.evaluation.metrics.bootstrapped_metrics import metrics_with_intervals
from covid_monai.evaluation.metrics.prediction_table import PredictionTable

# With 20 patients a share is known to about 22 points either way at best.
FEWEST_PATIENTS = 20
THIN_RULE = (
    f"A cell is thin where any class that occurs in it has fewer than {FEWEST_PATIENTS} patients, or only "
    "one class occurs: its figures say little, and a difference from other cells even less."
)
AGE_EDGES = (18, 40, 65)
AGE_BANDS = ("under 18", "18 to 39", "40 to 64", "65 and over")
UNKNOWN = "not recorded"


def subgroup_table(
    rows: PredictionTable, operating_point: OperatingPoint, *, resamples: int = 500, seed: int = 0
) -> dict[str, Any]:
    """Metrics of every view, sex, age band and source.

    Args:
        rows: Images with their predictions.
        operating_point: Thresholds, the same for every subgroup.
        resamples: How often the patients are drawn for the intervals.
        seed: Same seed, same intervals.

    Returns:
        `rule`: what is marked as thin, in words. `rows`: per subgroup `by`, `name`, `images`, `patients`,
        `cases` (class name to patients), `thin`, and `auroc`, `balanced_accuracy` and `per_class` (name to
        `auroc`, `sensitivity`, `specificity`), each `{"value", "low", "high"}`. What an image does not say
        is a subgroup of its own; a property that no image has is left out.
    """
    table = []
    for by, names in _properties(rows).items():
        if set(names.tolist()) == {UNKNOWN}:
            continue
        for name in sorted(set(names.tolist()), key=_place):
            cell = _cell(rows.where(names == name), operating_point, resamples=resamples, seed=seed)
            table.append({"by": by, "name": name, **cell})
    return {"rule": THIN_RULE, "rows": table}


def age_bands(ages: NDArray[np.float64]) -> NDArray[np.str_]:
    """The band of each age in years; NaN is not recorded.

    >>> age_bands(np.array([7.0, 18.0, 64.5, 90.0, np.nan])).tolist()
    ['under 18', '18 to 39', '40 to 64', '65 and over', 'not recorded']
    """
    bands = np.array(AGE_BANDS)[np.digitize(np.nan_to_num(ages), AGE_EDGES)]
    return np.where(np.isnan(ages), UNKNOWN, bands)


def _properties(rows: PredictionTable) -> dict[str, NDArray[np.str_]]:
    texts = {"view": rows.views, "sex": rows.sexes, "source": rows.sources}
    known = {by: np.where(names == "", UNKNOWN, names) for by, names in texts.items()}
    return {
        "view": known["view"],
        "sex": known["sex"],
        "age": age_bands(rows.ages),
        "source": known["source"],
    }


def _place(name: str) -> tuple[bool, int, str]:
    """Age bands by age, other names by the alphabet, what is not recorded last."""
    return name == UNKNOWN, AGE_BANDS.index(name) if name in AGE_BANDS else -1, name


def _cell(
    rows: PredictionTable, operating_point: OperatingPoint, *, resamples: int, seed: int
) -> dict[str, Any]:
    values = metrics_with_intervals(
        rows.labels,
        decide(rows.probabilities, operating_point),
        rows.probabilities,
        rows.patients,
        rows.class_names,
        resamples=resamples,
        seed=seed,
    )
    cases = {name: len(np.unique(rows.patients[rows.labels == k])) for k, name in enumerate(rows.class_names)}
    present = [n for n in cases.values() if n]
    return {
        "images": len(rows),
        "patients": values["bootstrap"]["patients"],
        "cases": cases,
        "thin": len(present) < 2 or min(present) < FEWEST_PATIENTS,
        "auroc": values["auroc"],
        "balanced_accuracy": values["balanced_accuracy"],
        "per_class": {
            name: {metric: of_class[metric] for metric in ("auroc", "sensitivity", "specificity")}
            for name, of_class in values["per_class"].items()
        },
    }

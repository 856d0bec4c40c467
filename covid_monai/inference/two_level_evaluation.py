"""How often both levels of the answer are right on the test split: normal or abnormal, and the cause."""

from pathlib import Path
from typing import Any

import numpy as np

from covid_monai.bundle import Bundle
from covid_monai.core.vocabulary import NORMAL
from covid_monai.evaluation.metrics.intervals import PatientBootstrap, share_with_interval
from covid_monai.evaluation.metrics.prediction_table import read_predictions
from covid_monai.inference.decision import (
    describe_abnormal,
    find_prediction_set,
    has_two_levels,
    make_decision,
    name_cause,
)


def evaluate_two_levels(predictions_csv: Path, bundle: Bundle) -> dict[str, Any] | None:
    """Measure both levels, as `predict` answers them, with the files that the bundle stores.

    Args:
        predictions_csv: Table as `write_predictions` writes it; its test rows are evaluated.
        bundle: Bundle that made the table; its calibration went into it.

    Returns:
        Shares of images, each with its 95 % interval: `sensitivity` (abnormal images called abnormal),
        `specificity` (normal images called not abnormal), `false_alarms` (normal images called abnormal),
        `not_told` (images that are called neither), `causes_told` (images called abnormal whose cause is
        named), `causes_right` (named causes that are the true class) and `false_causes` (normal images with
        a named cause). `interval`: rates on sources left out of the training, as in a record. None for a
        bundle without two levels.
    """
    if not has_two_levels(bundle.class_names):
        return None
    test, names = read_predictions(predictions_csv).split("test"), bundle.class_names
    calibration, point, unseen = bundle.calibration, bundle.operating_point, bundle.unseen_sources
    calls, causes = [], []
    for row in test.probabilities:
        possible = None if calibration is None else find_prediction_set(row, calibration)
        decision = None if point is None else make_decision(row, point, possible, unseen)
        abnormal = describe_abnormal(row, names, possible, calibration, unseen) or {}
        calls.append(abnormal["call"])
        causes.append((name_cause(row, names, possible, decision, unseen) or {})["name"])
    called = np.array([call is True for call in calls])
    cleared = np.array([call is False for call in calls])
    told = np.isin(causes, names)
    normal, truth = test.labels == names.index(NORMAL), np.array(names)[test.labels]
    bootstrap = PatientBootstrap(test.patients)
    shares = {
        "sensitivity": (called, ~normal),
        "specificity": (cleared, normal),
        "false_alarms": (called, normal),
        "not_told": (~called & ~cleared, None),
        "causes_told": (told, called),
        "causes_right": (truth == causes, told),
        "false_causes": (told, normal),
    }
    return {
        **{
            name: share_with_interval(values, bootstrap, among=among).to_json()
            for name, (values, among) in shares.items()
        },
        "interval": None if unseen is None else unseen.abnormal_span(),
    }

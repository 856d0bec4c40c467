"""What an adaptation changes, measured on patients that it has not used.

The patients are divided into parts. Each part is answered by a model that was adapted with the other parts
("cross-fitting"), so that no patient is judged by a cut, a temperature or weights that were fitted on
this patient. The bundle itself is adapted with all patients. The intervals are the exact ones of Clopper and
Pearson, because there is one image per patient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covid_monai.adaptation.head import patient_folds
from covid_monai.adaptation.site_fit import SiteModel
from covid_monai.adaptation.site_images import UNKNOWN, SiteImages
from covid_monai.core.vocabulary import NORMAL
from covid_monai.evaluation.decisions.site_cut import exact_share
from covid_monai.evaluation.metrics.prediction_table import Floats
from covid_monai.inference.decision import NOT_TOLD, find_prediction_set, make_decision, name_cause
from covid_monai.inference.prediction import UNCERTAIN

_PARTS = (5, 10)
Fit = Callable[[SiteImages], SiteModel]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """Answers for N images."""

    probabilities: Floats  # [N, K], calibrated
    sets: NDArray[np.bool_]  # [N, K]
    decisions: NDArray[np.str_]  # class or "uncertain"
    causes: NDArray[np.str_]  # class or "not told"

    @classmethod
    def empty(cls, images: int, class_names: tuple[str, ...]) -> "Answers":
        """Return room for answers."""
        shape = images, len(class_names)
        width = f"<U{max(map(len, (*class_names, UNCERTAIN, NOT_TOLD)))}"
        texts = (np.full(images, "", dtype=width) for _ in range(2))
        return cls(np.zeros(shape), np.zeros(shape, dtype=bool), *texts)

    def fill(self, rows: NDArray[np.int64], other: "Answers") -> None:
        """Write the answers of other images into these rows."""
        for name in vars(self):
            getattr(self, name)[rows] = getattr(other, name)


class CrossFit(NamedTuple):
    """Answers of models that were adapted without the patient in question."""

    answers: Answers | None
    parts: int


def answer(images: SiteImages, model: SiteModel) -> Answers:
    """Answer as a prediction with these parts would."""
    names, calibration = model.calibration.class_names, model.calibration
    answers = Answers.empty(len(images), names)
    for number, row in enumerate(model.calibrated(images)):
        possible = find_prediction_set(row, calibration)
        decision = make_decision(row, model.operating_point, possible, model.unseen)
        cause = name_cause(row, names, possible, decision, model.unseen)
        answers.probabilities[number] = row
        answers.sets[number] = [name in possible for name in names]
        answers.decisions[number] = decision["class"]
        answers.causes[number] = (cause or {"name": NOT_TOLD})["name"]
    return answers


def cross_fit(
    images: SiteImages, fit: Fit, *, needed: int, counted: NDArray[np.bool_], seed: int
) -> CrossFit:
    """Answer each part of the patients with a model that was adapted to the others.

    Args:
        images: Images of the hospital.
        fit: Adaptation to a part of them.
        needed: Number of patients that a cut needs.
        counted: Shape [N], which images are of such patients.
        seed: Seed of the division.

    Returns:
        The answers and the number of parts; None and 0 if there are too few patients to do without a part.
    """
    patients = len(np.unique(images.patients))
    for parts in (*_PARTS, patients):
        folds = patient_folds(images.labels, images.patients, parts, seed=seed)
        left = min(int(np.sum(counted & (folds != fold))) for fold in range(parts))
        # Without a cut in the bundle there is none in a part either.
        if patients >= max(_PARTS) and (left >= needed or counted.sum() < needed):
            break
    else:
        return CrossFit(None, 0)
    models = [fit(images.where(folds != fold)) for fold in range(parts)]
    answers = Answers.empty(len(images), models[0].calibration.class_names)
    for fold, model in enumerate(models):
        answers.fill(np.flatnonzero(folds == fold), answer(images.where(folds == fold), model))
    return CrossFit(answers, parts)


def measure(answers: Answers, images: SiteImages, class_names: tuple[str, ...]) -> Figures:
    """Return false alarms, sensitivity, coverage and calibration, each with its 95 % interval.

    Returns:
        `causes` (class name to `false_alarms` among normal patients and `sensitivity`), `decisions` (the
        same for the class of the decision), `abnormal` (the same for sets without normal), `coverage`
        (class name to the share of sets that hold the class), `log_loss` and `ece` if every class has
        patients. For images without labels: `called` (class name to the share of all patients).
    """
    labels, normal = images.labels, images.labels == class_names.index(NORMAL)
    causes = {name: labels == k for k, name in enumerate(class_names) if name != NORMAL}

    def share(called: NDArray[np.bool_], among: NDArray[np.bool_]) -> dict[str, float | None]:
        return exact_share(int(np.sum(called & among)), int(np.sum(among)))

    def rates(called: NDArray[np.bool_], cases: NDArray[np.bool_]) -> Figures:
        return {"false_alarms": share(called, normal), "sensitivity": share(called, cases)}

    if np.all(labels == UNKNOWN):
        return {"called": {name: share(answers.causes == name, labels == UNKNOWN) for name in causes}}
    return {
        "causes": {name: rates(answers.causes == name, rows) for name, rows in causes.items()},
        "decisions": {name: rates(answers.decisions == name, rows) for name, rows in causes.items()},
        "abnormal": rates(~answers.sets[:, class_names.index(NORMAL)], ~normal),
        "coverage": {name: share(answers.sets[:, k], labels == k) for k, name in enumerate(class_names)},
        **_calibration(answers, images, class_names),
    }


def _calibration(answers: Answers, images: SiteImages, class_names: tuple[str, ...]) -> Figures:
    # Statsmodels, which takes a second to import.
    from covid_monai.evaluation.metrics.bootstrapped_metrics import metrics_with_intervals

    if len(np.unique(images.labels)) < len(class_names):
        return {}
    probable = answers.probabilities.argmax(axis=1)
    metrics = metrics_with_intervals(
        images.labels, probable, answers.probabilities, images.patients, class_names
    )
    return {name: metrics[name] for name in ("log_loss", "ece")}

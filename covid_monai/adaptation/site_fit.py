"""Everything that a bundle decides by, fitted on the images of one hospital.

Three parts use the images, each its own patients where the guarantee of a cut would not hold otherwise:

- the last layer, if it is fine-tuned: half of the patients, but never those normal ones that a cut needs;
- temperature, conformal sets and operating point: the other patients;
- the cuts: the normal ones among the same other patients. The temperature changes the scores of all
  patients by the same factor, so the order of the scores, on which the guarantee rests, stays.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from covid_monai.adaptation import head as last_layer
from covid_monai.adaptation.head import Head, tune_head
from covid_monai.adaptation.site_images import UNKNOWN, SiteImages
from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import NORMAL
from covid_monai.evaluation.decisions.calibration import Calibration, fit_calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, choose_operating_point, log_odds
from covid_monai.evaluation.decisions.site_cut import (
    CONFIDENCE,
    allowed_calls,
    choose_site_cut,
    patients_needed,
)
from covid_monai.evaluation.decisions.unseen_sources import FALSE_ALARM_LIMIT, UnseenSources
from covid_monai.evaluation.decisions.validation_weights import MIN_PATIENTS, effective_patients, too_few
from covid_monai.evaluation.metrics.prediction_table import Floats


@dataclass(frozen=True)
class SiteModel:
    """What turns features into an answer.

    Args:
        head: Last layer.
        calibration: Temperature and conformal sets.
        operating_point: Thresholds.
        unseen: Cuts; None if the bundle has none.
    """

    head: Head
    calibration: Calibration
    operating_point: OperatingPoint
    unseen: UnseenSources | None

    def probabilities(self, images: SiteImages) -> Floats:
        """Return the network's own softmax [N, K]."""
        return np.asarray(softmax(self.head.logits(images.features.astype(np.float64)), axis=1))

    def calibrated(self, images: SiteImages) -> Floats:
        """Return calibrated probabilities [N, K] with the six decimals of a record."""
        return self.calibration.apply(self.probabilities(images)).round(6)


def fit_site(
    images: SiteImages,
    start: SiteModel,
    *,
    fine_tune: bool = False,
    least_share_of_normals: float | None = None,
    seed: int = 0,
) -> SiteModel:
    """Fit on labelled images what there are enough patients for; on images without labels, the cuts alone.

    Args:
        images: Images of the hospital.
        start: Parts of the bundle that is adapted.
        fine_tune: Whether to fit the last layer too.
        least_share_of_normals: Lower bound of the share of normal patients; needed for images without labels.
        seed: Seed of the division of the patients.

    Returns:
        The parts, with the facts of the hospital in `unseen.adapted`; what stays as it was is named there.
    """
    names, notes = start.calibration.class_names, list(images.notes)
    rest, head, tuned_on = images, start.head, 0
    if fine_tune:
        head, tuned_on, rest = _fine_tune(images, start.head, names, notes, seed=seed)
    model = replace(start, head=head)
    labelled = bool(np.any(rest.labels != UNKNOWN))
    if labelled:
        model = _recalibrate(model, rest, notes)
    cuts, facts = _choose_cuts(model, rest, least_share_of_normals, notes)
    counts = {name: int(np.sum(images.labels == k)) for k, name in enumerate(names)} if labelled else {}
    changed = tuned_on or model.calibration != start.calibration
    facts |= {"patients_of_class": counts, "fine_tuned_on": tuned_on, "left_out": images.left_out}
    old = start.unseen
    unseen = UnseenSources(
        class_names=names,
        cuts=cuts,
        false_alarm_limit=FALSE_ALARM_LIMIT,
        abnormal_threshold=1 - model.calibration.conformal[NORMAL],
        sources={} if old is None or changed else old.sources,
        adapted=facts,
        notes=tuple(notes),
    )
    return replace(model, unseen=unseen)


def _fine_tune(
    images: SiteImages, old: Head, names: tuple[str, ...], notes: list[str], *, seed: int
) -> tuple[Head, int, SiteImages]:
    """Return the last layer, the number of images it was fitted on, and the images of the other patients."""
    chosen = _draw_for_head(images, names.index(NORMAL), seed=seed)
    counts = np.bincount(images.labels[chosen], minlength=len(names))
    few = [name for name, count in zip(names, counts, strict=True) if count < last_layer.MIN_PATIENTS]
    if few:
        notes.append(
            f"The last layer is not fine-tuned, because fewer than {last_layer.MIN_PATIENTS} patients with "
            f"{' and with '.join(few)} are left beside those that cut and calibration need."
        )
        return old, 0, images
    part = images.where(chosen)
    tuned = tune_head(old, part.features.astype(np.float64), part.labels, part.patients, seed=seed)
    if tuned.strength is None:
        notes.append("The last layer stays as it is: no change of it lowers the cross-validated loss.")
        return old, 0, images
    losses = [f"{loss:.3f}" for loss in tuned.losses]
    notes.append(
        f"The last layer was fine-tuned on {format_count(len(part), 'image')} of other patients than those "
        f"of calibration and cut. Cross-validated loss: {losses[0]} before, {losses[1]} after."
    )
    return tuned.head, len(part), images.where(~chosen)


def _draw_for_head(images: SiteImages, normal: int, *, seed: int) -> NDArray[np.bool_]:
    """Return which images the last layer may use: half of the patients, but not the normals of the cut."""
    rng = np.random.default_rng(seed)
    patients, first = np.unique(images.patients, return_index=True)
    drawn: list[str] = []
    for label in np.unique(images.labels):
        own = rng.permutation(patients[images.labels[first] == label])
        kept = max(len(own) // 2, patients_needed(FALSE_ALARM_LIMIT) if label == normal else 0)
        drawn += own[kept:].tolist()
    return np.isin(images.patients, drawn)


def _recalibrate(model: SiteModel, images: SiteImages, notes: list[str]) -> SiteModel:
    """Return the model with temperature, sets and operating point of classes with enough patients."""
    names = model.calibration.class_names
    scores, who = model.probabilities(images), images.patients
    few = too_few(effective_patients(images.labels, who, names))
    calibration = fit_calibration(
        images.labels, scores, who, names, chosen_on={"split": "hospital"}, fallback=model.calibration
    )
    if few:
        notes.append(
            "Temperature and operating point stay as they were, because there are fewer than "
            f"{MIN_PATIENTS:.0f} patients with {' and with '.join(few)}."
        )
        return replace(model, calibration=calibration)
    point = choose_operating_point(
        images.labels, calibration.apply(scores), names, patients=who, chosen_on={"split": "hospital"}
    )
    return replace(model, calibration=calibration, operating_point=point)


def _choose_cuts(
    model: SiteModel, images: SiteImages, share: float | None, notes: list[str]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the cut of each class beside normal, none where there are too few patients; and the facts."""
    names = model.calibration.class_names
    normal = names.index(NORMAL)
    limit, rows, kind = FALSE_ALARM_LIMIT, images.labels == normal, "normal patients"
    if share is not None:
        limit, rows, kind = FALSE_ALARM_LIMIT * share, images.labels == UNKNOWN, "patients without labels"
    odds = log_odds(model.calibrated(images)[rows], normal)
    n = len(odds)
    cuts = {}
    for k, name in enumerate(names):
        if k != normal and (cut := choose_site_cut(odds[:, k], limit)) is not None:
            cuts[name] = cut
    if not cuts:
        notes.append(f"No cause is named: the cut needs {patients_needed(limit)} {kind}, and there are {n}.")
    facts = {
        "cut_set_on": kind,
        "patients": n,
        "allowed_above_the_cut": allowed_calls(n, limit),
        "limit": limit,
        "confidence": CONFIDENCE,
        "least_share_of_normals": share,
    }
    return cuts, facts

"""Probabilities from logits, and from them the answer on two levels: normal or abnormal, and the cause."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from covid_monai.core.vocabulary import NORMAL, NOT_TOLD, NOT_VALIDATED, VALIDATED, Status
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, decide, log_odds
from covid_monai.evaluation.decisions.unseen_sources import UnseenSources
from covid_monai.inference.prediction import UNCERTAIN, Prediction
from covid_monai.lungs import LungQuality


class DecisionParts(Protocol):
    """What decides a class beside the network: a `Bundle` or a `Classifier`."""

    @property
    def class_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def operating_point(self) -> OperatingPoint | None: ...  # noqa: D102
    @property
    def calibration(self) -> Calibration | None: ...  # noqa: D102
    @property
    def unseen_sources(self) -> UnseenSources | None: ...  # noqa: D102


def make_prediction(
    file: str,
    probabilities: NDArray[np.float64],
    parts: DecisionParts,
    *,
    model: dict[str, str],
    quality: LungQuality | None = None,
) -> Prediction:
    """Return the record of a classified image, with the answer on both levels, without its source.

    Args:
        file: Name of the image in the record.
        probabilities: Calibrated, `[K]`, in class order.
        parts: Bundle or classifier whose thresholds decide.
        model: `model` of the record.
        quality: Figures of the lungs; None if they were not looked for.
    """
    # Rounded first, so that class and decision follow from exactly the numbers in the record.
    row, names = probabilities.round(6), parts.class_names
    calibration, unseen = parts.calibration, parts.unseen_sources
    possible = None if calibration is None else find_prediction_set(row, calibration)
    point = parts.operating_point
    decision = None if point is None else make_decision(row, point, possible, unseen)
    cause = name_cause(row, names, possible, decision, unseen)
    abnormal = describe_abnormal(row, names, possible, calibration, unseen)
    decision, abnormal = withhold_normal(decision, abnormal, quality)
    return Prediction(
        file=file,
        status=Status.OK,
        model=model,
        predicted_class=names[int(row.argmax())],
        probabilities=dict(zip(names, row.tolist(), strict=True)),
        prediction_set=possible,
        decision=decision,
        abnormal=abnormal,
        cause=cause,
        quality=None if quality is None else quality.to_json(),
    )


def compute_probabilities(
    logits: NDArray[np.float32], calibration: Calibration | None
) -> NDArray[np.float64]:
    """Apply softmax in double precision to logits [N, K], then the calibration of the bundle, if it has one.

    >>> compute_probabilities(np.zeros((1, 2), np.float32), None)
    array([[0.5, 0.5]])
    """
    probabilities: NDArray[np.float64] = softmax(logits.astype(np.float64), axis=1)
    return probabilities if calibration is None else calibration.apply(probabilities)


def find_prediction_set(probabilities: NDArray[np.float64], calibration: Calibration) -> list[str]:
    """Return the classes that cannot be excluded, in class order, for calibrated probabilities [K]."""
    (members,) = calibration.prediction_sets(probabilities[None])
    return [name for name, member in zip(calibration.class_names, members, strict=True) if member]


def make_decision(
    probabilities: NDArray[np.float64],
    operating_point: OperatingPoint,
    possible: list[str] | None,
    unseen: UnseenSources | None = None,
) -> dict[str, Any]:
    """Decide the class at the operating point, or "uncertain" if the evidence for it is not enough.

    It is uncertain if the prediction set is not that class alone. A class other than normal also needs the
    log odds against normal that `unseen` asks for, where that has a cut for the class.

    Args:
        probabilities: Shape [K], calibrated.
        operating_point: Thresholds of the bundle.
        possible: Prediction set; None if the bundle stores no calibration: then no set makes it uncertain.
        unseen: Cuts for hospitals that the training has not seen; None if the bundle stores none.

    Returns:
        The `decision` of a `Prediction`.
    """
    (index,) = decide(probabilities[None], operating_point)
    names = operating_point.class_names
    chosen = names[int(index)]
    reason = None if possible is None or possible == [chosen] else _set_reason(possible, chosen)
    if reason is None and unseen is not None and chosen != NORMAL:
        cut = unseen.cuts.get(chosen)
        passes = f"{chosen} passes the thresholds of the operating point, but"
        if cut is not None and _odds_of(chosen, probabilities, names) < cut:
            reason = f"{passes} it is too weak for {unseen.place}."
        elif cut is None and unseen.adapted is not None:
            reason = f"{passes} {unseen.place} has too few patients for its cut."
    return {
        "class": chosen if reason is None else UNCERTAIN,
        "reason": reason,
        "at_operating_point": chosen,
        "rule": operating_point.rule,
        "thresholds": dict(operating_point.thresholds),
    }


def withhold_normal(
    decision: dict[str, Any] | None, abnormal: dict[str, Any] | None, quality: LungQuality | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Decide nothing instead of normal where the image does not show the whole lungs.

    What is not in the image may be abnormal. An abnormal finding stays: it is in the part that is shown.

    Returns:
        `decision` and `abnormal`, changed where they say normal although the lungs are cut off.
    """
    if quality is None or not (quality.found and quality.cut_off):
        return decision, abnormal
    if decision is not None and decision["class"] == NORMAL:
        reason = f"{quality.cut_off_words} The part that is missing may be abnormal."
        decision = decision | {"class": UNCERTAIN, "reason": reason}
    if abnormal is not None and abnormal["call"] is False:
        abnormal = abnormal | {"call": None}
    return decision, abnormal


def has_two_levels(class_names: tuple[str, ...]) -> bool:
    """Return whether there is a class normal, and more than one cause to choose from."""
    return NORMAL in class_names and len(class_names) > 2


def describe_abnormal(
    probabilities: NDArray[np.float64],
    class_names: tuple[str, ...],
    possible: list[str] | None,
    calibration: Calibration | None,
    unseen: UnseenSources | None,
) -> dict[str, Any] | None:
    """Tell whether the image is abnormal: the first level of the answer.

    It is called abnormal if the prediction set does not hold normal, and not abnormal if the set is normal
    alone. Otherwise, and without a calibration, there is no call.

    Returns:
        The `abnormal` of a `Prediction`; None for a classifier without `has_two_levels`. `probability`:
        1 - p(normal). `threshold`: probability above which normal is excluded; None without a calibration.
        `call`: True, False, or None if it cannot be told. `interval`: `false_alarms` and `sensitivity` of
        such calls, each [low, high] over the sources left out of the training; None if not measured.
    """
    if not has_two_levels(class_names):
        return None
    call = None
    if possible is not None:
        call = True if NORMAL not in possible else False if possible == [NORMAL] else None
    return {
        "probability": round(1 - float(probabilities[class_names.index(NORMAL)]), 6),
        "threshold": None if calibration is None else 1 - calibration.conformal[NORMAL],
        "call": call,
        "interval": None if unseen is None else unseen.abnormal_span(),
    }


def name_cause(
    probabilities: NDArray[np.float64],
    class_names: tuple[str, ...],
    possible: list[str] | None,
    decision: dict[str, Any] | None,
    unseen: UnseenSources | None,
) -> dict[str, Any] | None:
    """Name the cause of an abnormal image, where the evidence allows it: the second level of the answer.

    The only candidate is the most probable class beside normal. It is named if the image is abnormal, if the
    prediction set is that class alone, if the operating point decides for it, and if its log odds against
    normal reach the cut of `unseen`.

    Returns:
        The `cause` of a `Prediction`; None for a classifier without `has_two_levels`. `name`: class, or "not
        told". `reason`: one sentence. `log_odds`: log p(class) - log p(normal) of the candidate. `cut`: log
        odds from which the candidate may be named; None if there are none.
    """
    if not has_two_levels(class_names):
        return None
    causes = [name for name in class_names if name != NORMAL]
    candidate = max(causes, key=lambda name: probabilities[class_names.index(name)])
    odds = _odds_of(candidate, probabilities, class_names)
    cut = None if unseen is None else unseen.cuts.get(candidate)
    if possible is None or NORMAL in possible:
        reason = "The image is not called abnormal."
    elif possible != [candidate]:
        reason = f"Abnormal, cause not told: {_set_reason(possible, candidate)}"
    elif decision is not None and decision["at_operating_point"] != candidate:
        reason = f"Abnormal, cause not told: {_set_reason(possible, decision['at_operating_point'])}"
    elif unseen is None or cut is None:
        reason = f"Abnormal, cause not told: {_no_cut(candidate, unseen)}."
    elif odds < cut:
        reason = f"Abnormal, cause not told: the evidence for {candidate} is below the cut."
    else:
        reason = f"{candidate}: {_validation(unseen)}."
        return {"name": candidate, "reason": reason, "log_odds": odds, "cut": cut}
    return {"name": NOT_TOLD, "reason": reason, "log_odds": odds, "cut": cut}


def _no_cut(name: str, unseen: UnseenSources | None) -> str:
    if unseen is not None and unseen.adapted is not None:
        return f"{unseen.place} has too few patients for a cut for {name}"
    return f"no cut for {name} was found on sources that the training has not seen, and it is {NOT_VALIDATED}"


def _validation(unseen: UnseenSources) -> str:
    if unseen.adapted is None:
        return NOT_VALIDATED
    return VALIDATED + (f" ({unseen.basis})" if unseen.basis else "")


def _odds_of(name: str, probabilities: NDArray[np.float64], class_names: tuple[str, ...]) -> float:
    """Return log p(name) - log p(normal)."""
    odds = log_odds(probabilities[None], class_names.index(NORMAL))
    return round(float(odds[0, class_names.index(name)]), 6)


def _set_reason(possible: list[str], chosen: str) -> str:
    if not possible:
        return "The image fits no class: each class is less probable than on nearly all images of that class."
    if len(possible) == 1:
        return f"Only {possible[0]} is likely, but the thresholds of the operating point decide {chosen}."
    quantifier = "both" if len(possible) == 2 else "all"
    return f"{', '.join(possible[:-1])} and {possible[-1]} are {quantifier} possible; none can be excluded."

"""The record that every consumer of the classifier gets: file, outcome, probabilities, model."""

from dataclasses import dataclass
from typing import Any

from covid_monai.core.vocabulary import RESEARCH_USE, Status

UNCERTAIN = "uncertain"  # stands in the place of a class in a decision


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What became of one image file.

    A file that was refused or could not be read has no class at all: it is never "normal".

    Args:
        file: The path as it was given or found.
        status: Whether there is a prediction.
        model: `name`, `version`, `weights_sha256`, `preprocessing_digest` and `backend` of what made
            the prediction.
        reason: One word for a program, None if the status is ok: a `RefusalReason`; for an error
            "unreadable" (the file) or "failed" (the software).
        detail: One sentence for a person that goes with the reason.
        predicted_class: The most probable class.
        probabilities: Class name to probability, in class order, rounded to 6 decimals; calibrated if the
            bundle stores a calibration.
        prediction_set: The classes that cannot be excluded (see `Calibration.prediction_sets`), in class
            order; None if the bundle stores no calibration.
        decision: None if the bundle stores no operating point. Else `class`: the class at the operating
            point, or "uncertain" if the prediction set is not that class alone; `reason`: one sentence if
            it is uncertain, else None; `at_operating_point`: the class whatever the set; `rule` and
            `thresholds` of the operating point.
    """

    file: str
    status: Status
    model: dict[str, str]
    reason: str | None = None
    detail: str | None = None
    predicted_class: str | None = None
    probabilities: dict[str, float] | None = None
    prediction_set: list[str] | None = None
    decision: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether the image was classified."""
        return self.status is Status.OK

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`, in the order in which a person reads them."""
        return {
            "file": self.file,
            "status": str(self.status),
            "reason": self.reason,
            "detail": self.detail,
            "predicted_class": self.predicted_class,
            "probabilities": self.probabilities,
            "prediction_set": self.prediction_set,
            "decision": self.decision,
            "model": self.model,
            "notice": RESEARCH_USE,
        }

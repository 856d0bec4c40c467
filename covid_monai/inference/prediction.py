"""The record of one classified, refused or unreadable image: outcome, probabilities, decision, model."""

from dataclasses import dataclass
from typing import Any

from covid_monai.core.vocabulary import RESEARCH_USE, Status

UNCERTAIN = "uncertain"  # replaces the class in a decision


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Result of one image file.

    A refused or unreadable file has no class: it is never "normal".

    Args:
        file: Path as it was given or found.
        status: Whether there is a prediction.
        reason: Reason of a refusal or error as one word for programs, None if the status is ok: a
            `RefusalReason`; for an error "unreadable" (the file) or "failed" (the software).
        detail: Reason as a sentence for people.
        predicted_class: Most probable class.
        probabilities: Class name to probability, in class order, rounded to 6 decimals; calibrated if the
            bundle stores a calibration.
        prediction_set: Classes that cannot be excluded (see `Calibration.prediction_sets`), in class order;
            None if the bundle stores no calibration.
        decision: Mapping, or None if the bundle stores no operating point. `class`: class at the operating
            point, or "uncertain" if the evidence is not enough. `reason`: one sentence if it is uncertain,
            else None. `at_operating_point`: class at the operating point, whatever the prediction set.
            `rule` and `thresholds` of the operating point.
        abnormal: Mapping, or None without two levels; see `decision.describe_abnormal`.
        cause: Mapping, or None without two levels; see `decision.name_cause`.
        source_shift: Mapping, or None if the gate knows no sources; see `TrainingSources.note`.
        quality: Mapping, or None if the image was not checked for lungs; see `LungQuality`, with its `note`.
        model: `name`, `version`, `weights_sha256`, `preprocessing_digest` and `backend` of what predicted.
    """

    file: str
    status: Status
    reason: str | None = None
    detail: str | None = None
    predicted_class: str | None = None
    probabilities: dict[str, float] | None = None
    prediction_set: list[str] | None = None
    decision: dict[str, Any] | None = None
    abnormal: dict[str, Any] | None = None
    cause: dict[str, Any] | None = None
    source_shift: dict[str, Any] | None = None
    quality: dict[str, Any] | None = None
    model: dict[str, str]

    @property
    def ok(self) -> bool:
        """Whether the image was classified."""
        return self.status is Status.OK

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `json.dumps`, in the order in which people read them."""
        return vars(self) | {"status": str(self.status), "notice": RESEARCH_USE}

"""The words that all other modules use: class names, dictionary keys, outcomes, refusal reasons.

Nothing here imports anything heavy, so that every module may import it.
"""

from enum import StrEnum

NORMAL = "normal"
PNEUMONIA = "pneumonia"
COVID = "covid"
DEFAULT_CLASS_NAMES = (NORMAL, PNEUMONIA, COVID)

RESEARCH_USE = "Research software, not a medical device: not for diagnosis or treatment."
# Manufacturer's Model Name of our own DICOM objects, by which the readers tell that they are no images.
RESULT_DEVICE = "covid-monai results"


class Status(StrEnum):
    """Outcome of one file on its way to a prediction."""

    OK = "ok"
    REFUSED = "refused"  # readable, but not what the classifier is made for
    ERROR = "error"  # not readable


class RefusalReason(StrEnum):
    """Why a readable file is not one grey chest radiograph."""

    NO_PIXELS = "no_pixels"
    PRESENTATION_STATE = "presentation_state"
    REPORT = "report"
    MULTI_FRAME = "multi_frame"
    COLOUR = "colour"
    NOT_PROJECTION = "not_a_projection_radiograph"
    NOT_CHEST = "not_a_chest"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    BLANK = "blank"
    # By the gate of a bundle (`inference.gate`); the others by the readers.
    NOT_FRONTAL = "not_frontal"
    NOT_UPRIGHT = "not_upright"
    INVERTED = "inverted"
    UNLIKE_TRAINING = "unlike_training"


class RefusedImage(ValueError):
    """A file was read far enough to know that the classifier is not made for it.

    Args:
        reason: Which rule refused it.
        detail: One sentence for a person: what was found, and what would be accepted.
    """

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class UnreadableImage(ValueError):
    """A file is missing, truncated, or in a format that no decoder here takes."""

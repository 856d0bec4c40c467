"""The vocabulary of all other modules: class names, outcomes, refusal reasons.

This module imports nothing heavy, so that every module may import it.
"""

from enum import StrEnum

NORMAL = "normal"
PNEUMONIA = "pneumonia"
COVID = "covid"
DEFAULT_CLASS_NAMES = (NORMAL, PNEUMONIA, COVID)

RESEARCH_USE = "Research software, not a medical device: not for diagnosis or treatment."
# Manufacturer's Model Name of our own DICOM objects; the readers refuse objects with it.
RESULT_DEVICE = "covid-monai results"


class Status(StrEnum):
    """Outcome of one file on its way to a prediction."""

    OK = "ok"
    REFUSED = "refused"  # readable, but not what the classifier is made for
    ERROR = "error"  # not readable


class RefusalReason(StrEnum):
    """Why a readable file is not one grey chest radiograph, or not one CT volume in Hounsfield units."""

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
    # Of a CT volume
    NOT_CT = "not_ct"
    SEVERAL_VOLUMES = "several_volumes"
    UNSOUND_GEOMETRY = "unsound_geometry"
    NOT_HOUNSFIELD = "not_hounsfield"
    # The following reasons come after reading, so that the image can be displayed: the first from the header,
    # the others from the gate of a bundle (`covid_monai.gate`).
    NOT_FRONTAL = "not_frontal"
    NOT_UPRIGHT = "not_upright"
    INVERTED = "inverted"
    UNLIKE_TRAINING = "unlike_training"


class RefusedImage(ValueError):
    """A readable file that the classifier is not made for.

    `reason` is the rule that refused the file; `detail` tells a person what was found and what was expected.
    """

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class DecoderNotStarted(ChildProcessError):
    """No process that decodes images can be started: a failure of this machine, never of a file."""


class UnreadableImage(ValueError):
    """A file that is missing, damaged, truncated, or in a format that is not read."""

"""What became of one input file, in words that hold no identity."""

from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Why a file has no de-identified copy."""

    NOT_DICOM = "not_dicom"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    NO_UIDS = "no_uids"
    NESTING = "nesting"
    REPORT = "report"
    PRESENTATION = "presentation"
    UNKNOWN_CLASS = "unknown_class"
    NO_IMAGE = "no_image"
    BURNED_IN = "burned_in"
    CONFLICT = "conflict"
    FAILED = "failed"


DETAILS = {
    Reason.NOT_DICOM: "No DICOM object; what other files say about a person cannot be judged.",
    Reason.UNREADABLE: "Damaged: its elements cannot be read to the end.",
    Reason.TRUNCATED: "Damaged: its pixel data is shorter than its header says.",
    Reason.NO_UIDS: "SOP Class, SOP Instance, Series or Study Instance UID is missing.",
    Reason.NESTING: "Sequences inside sequences, deeper than any image needs.",
    Reason.REPORT: "A report or an encapsulated document: no table can clean its text.",
    Reason.PRESENTATION: "A presentation state or key object note: free text and graphics.",
    Reason.UNKNOWN_CLASS: "A private or unknown SOP Class: no table says what it may hold.",
    Reason.NO_IMAGE: "No pixel data: only images are de-identified here.",
    Reason.BURNED_IN: "BurnedInAnnotation says YES: identity may stand in the picture.",
    Reason.CONFLICT: "Another input has the same SOP Instance UID and other content.",
    Reason.FAILED: "Something unexpected went wrong with this file.",
}


class Review(StrEnum):
    """Why a person should look at a de-identified picture before it leaves the house."""

    BURNED_IN_DECLARED = "burned_in_declared"
    TEXT_LIKE_MARKS = "text_like_marks"
    SCREEN_OR_CAPTURE = "screen_or_capture"
    DERIVED = "derived"
    PHOTOGRAPH = "photograph"
    NOT_CHECKED = "pixels_not_checked"
    MORE_FRAMES = "only_first_frame_checked"
    UNUSED_BITS = "unused_bits"
    BYTES_AFTER_PIXELS = "bytes_after_pixels"
    STREAM_COMMENT = "comment_in_compressed_stream"


class Refused(Exception):
    """An input gets no copy.

    Args:
        reason: One of `Reason`; its sentence is the message.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(DETAILS[reason])
        self.reason = reason


@dataclass(frozen=True)
class Done:
    """A copy that stands in the output folder.

    Args:
        path: Posix path from the output folder; made of new identities only.
        review: Why a person should look at its picture; empty if nothing speaks for that.
        counts: Elements by what was done with them.
        patient_known: Whether PatientID told whom it is about.
    """

    path: str
    review: tuple[Review, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    patient_known: bool = True

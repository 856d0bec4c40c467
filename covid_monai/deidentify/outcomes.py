"""Outcomes of de-identifying one file, in words that hold no identity."""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Reason why a file has no de-identified copy, with a sentence that explains it."""

    detail: str

    def __new__(cls, value: str, detail: str) -> Self:
        """Create a member from its value in the report and its sentence."""
        member = str.__new__(cls, value)
        member._value_, member.detail = value, detail
        return member

    NOT_DICOM = "not_dicom", "It is not DICOM. Identities in other files cannot be found."
    UNREADABLE = "unreadable", "It is damaged: its elements cannot be read to the end."
    TRUNCATED = "truncated", "It is damaged: its pixel data is shorter than its header says."
    NO_UIDS = "no_uids", "Its SOP Class, SOP Instance, Series or Study Instance UID is missing."
    NESTING = "nesting", "Its sequences are nested deeper than any image needs."
    REPORT = "report", "It is a report or an encapsulated document. No table can clean its text."
    PRESENTATION = "presentation", "It is a presentation state or key object note, with text and graphics."
    UNKNOWN_CLASS = "unknown_class", "Its SOP Class is private or unknown. No table says what it may hold."
    NO_IMAGE = "no_image", "It has no pixel data. Only images are de-identified."
    BURNED_IN = "burned_in", "BurnedInAnnotation is YES: its pixels may show an identity."
    CONFLICT = "conflict", "Another input has the same SOP Instance UID and other content."
    FAILED = "failed", "An unexpected error occurred."


class Review(StrEnum):
    """Reason why a person must look at a de-identified image before it is handed on."""

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
    """An input gets no copy; the sentence of its reason becomes the message."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.detail)
        self.reason = reason

"""What all result objects have in common: UIDs, series, study, equipment, dates, and bytes that repeat."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from covid_monai import __version__
from covid_monai.core.vocabulary import RESULT_DEVICE
from covid_monai.dicom.elements import get_text
from covid_monai.dicom.own_results import own_instance_uid
from covid_monai.results.dicom.source_radiograph import SourceRadiograph

MANUFACTURER = "covid-monai"
# Far from those of a modality, so that the results come last in a study.
_FIRST_SERIES_NUMBER = 9001
# Identifies this software; a root without a UUID would have to be registered.
_IMPLEMENTATION_CLASS_UID = generate_uid(entropy_srcs=["covid-monai", "implementation class"])
# Each has a time beside it; all but the first two belong to some of the objects only.
_DATES = (
    *("InstanceCreationDate", "SeriesDate", "ContentDate", "PresentationCreationDate"),
    "DateOfSecondaryCapture",
)


class ObjectKind(StrEnum):
    """Kind of a result object; each kind is a series of its own."""

    REPORT = "report"
    HEATMAP = "heatmap"
    PRESENTATION_STATE = "presentation_state"
    PDF = "pdf"


_DESCRIPTIONS = ("report", "heat map", "heat map outlines", "report, PDF")  # in the order of `ObjectKind`


class ResultUIDs(NamedTuple):
    """UIDs under which an archive stores one result."""

    series_instance_uid: str
    sop_instance_uid: str


def result_uids(source_sop_instance_uid: str, model: Mapping[str, str], kind: ObjectKind) -> ResultUIDs:
    """Return the UIDs of a result: the same for the same image, model, kind and version of this package.

    Args:
        source_sop_instance_uid: SOP Instance UID of the radiograph.
        model: `ResultObjects.model`: everything that a prediction depends on except the radiograph.
        kind: Kind of the result object.

    Returns:
        UIDs below pydicom's root; same arguments, same UIDs, on every machine.

    >>> first = result_uids("1.2.3", {"name": "a"}, ObjectKind.REPORT)
    >>> first == result_uids("1.2.3", {"name": "a"}, ObjectKind.REPORT)
    True
    >>> first.sop_instance_uid == result_uids("1.2.3", {"name": "b"}, ObjectKind.REPORT).sop_instance_uid
    False
    """
    origin = ["covid-monai result", __version__, source_sop_instance_uid, dict(model), kind]
    series = str(generate_uid(entropy_srcs=[json.dumps(origin, sort_keys=True)]))
    return ResultUIDs(series, own_instance_uid(series))


@dataclass(frozen=True)
class ResultSeries:
    """The series that contains the result of one kind for one radiograph; `model` as for `result_uids`.

    `made` is the time of its making, with a time zone.
    """

    source: SourceRadiograph
    kind: ObjectKind
    model: Mapping[str, str]
    made: datetime

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that all of highdicom's constructors need."""
        series_uid, instance_uid = result_uids(self.source.reference.SOPInstanceUID, self.model, self.kind)
        position = list(ObjectKind).index(self.kind)
        return {
            "series_instance_uid": series_uid,
            "series_number": _FIRST_SERIES_NUMBER + position,
            "sop_instance_uid": instance_uid,
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": RESULT_DEVICE,
            "software_versions": [f"covid-monai {__version__}", f"model {self.model['version']}"],
            "device_serial_number": self.model["weights_sha256"][:16],
            "series_description": f"covid-monai {_DESCRIPTIONS[position]} (research, not for diagnosis)",
        }

    def complete(self, result: Dataset) -> FileDataset:
        """Add study, patient and dates to an object made with `arguments`, and read it from its own bytes.

        Callers therefore get what any reader gets, and nothing that cannot be written.
        """
        # highdicom's own entry: its version says nothing about the result, and would change the bytes.
        result.pop("ContributingEquipmentSequence", None)
        for element in self.source.shared.elements():
            result[element.tag] = element
        result.StudyInstanceUID = self.source.reference.StudyInstanceUID
        self._set_times(result)
        result.file_meta = meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = _IMPLEMENTATION_CLASS_UID
        meta.ImplementationVersionName = "COVID_MONAI"
        content = io.BytesIO()
        dcmwrite(content, result, enforce_file_format=True)
        content.seek(0)
        return dcmread(content)

    def _set_times(self, result: Dataset) -> None:
        """Set when the object was made, in the time zone that the copied dates have if the image names one.

        Reference: DICOM PS3.3 C.12.1.1.8 (one Timezone Offset From UTC for all dates and times of an object).
        """
        offset = get_text(self.source.shared, "TimezoneOffsetFromUTC")
        made = self.made.astimezone(datetime.strptime(offset, "%z").tzinfo) if offset else self.made
        result.InstanceCreationDate = result.SeriesDate = None
        for keyword in _DATES:
            if keyword in result:
                setattr(result, keyword, f"{made:%Y%m%d}")
                setattr(result, keyword.replace("Date", "Time"), f"{made:%H%M%S}")

"""What all result objects have in common: study, series, equipment, dates, and bytes that repeat."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from covid_monai import __version__
from covid_monai.core.vocabulary import RESULT_DEVICE
from covid_monai.results.dicom.source import Source
from covid_monai.results.dicom.uids import Kind, result_uids

MANUFACTURER = "covid-monai"
_DESCRIPTIONS = {
    Kind.REPORT: "covid-monai report",
    Kind.HEATMAP: "covid-monai heat map",
    Kind.PRESENTATION_STATE: "covid-monai heat map outlines",
    Kind.PDF: "covid-monai report, PDF",
}
# Far from those of a modality, so that the results come last in a study.
_FIRST_SERIES_NUMBER = 9001
# Of this software; a UUID-free root of its own would have to be registered.
_IMPLEMENTATION_CLASS_UID = str(generate_uid(entropy_srcs=["covid-monai", "implementation class"]))
# Written by highdicom with the time of day, or of a library's version that says nothing about the result.
_NOT_REPEATABLE = ("InstanceCreationDate", "InstanceCreationTime", "ContributingEquipmentSequence")


@dataclass(frozen=True)
class ResultSeries:
    """The series that holds the result of one kind for one radiograph.

    Args:
        source: The radiograph.
        kind: What is in it.
        model: `ResultObjects.model`.
    """

    source: Source
    kind: Kind
    model: Mapping[str, str]

    def arguments(self) -> dict[str, Any]:
        """What highdicom's constructors ask for."""
        series_uid, instance_uid = result_uids(self.source.reference.SOPInstanceUID, self.model, self.kind)
        return {
            "series_instance_uid": series_uid,
            "series_number": _FIRST_SERIES_NUMBER + list(Kind).index(self.kind),
            "sop_instance_uid": instance_uid,
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": RESULT_DEVICE,
            "software_versions": [f"covid-monai {__version__}", f"model {self.model['version']}"],
            "device_serial_number": self.model["weights_sha256"][:16],
            "series_description": f"{_DESCRIPTIONS[self.kind]} (research, not for diagnosis)",
        }

    def complete(self, result: Dataset) -> FileDataset:
        """Add study, patient and dates, and read the object back from its own bytes.

        What is returned is therefore what any reader gets, and holds nothing that cannot be written.

        Args:
            result: Made with `arguments`.
        """
        for keyword in _NOT_REPEATABLE:
            if keyword in result:
                delattr(result, keyword)
        for element in self.source.shared.elements():
            result[element.tag] = element
        result.StudyInstanceUID = self.source.reference.StudyInstanceUID
        date, time = self.source.date, self.source.time
        result.SeriesDate, result.SeriesTime = date, time
        for keyword in ("Content", "PresentationCreation"):
            if f"{keyword}Date" in result:
                setattr(result, f"{keyword}Date", date)
                setattr(result, f"{keyword}Time", time)
        _add_file_meta(result)
        content = io.BytesIO()
        dcmwrite(content, result, enforce_file_format=True)
        content.seek(0)
        return dcmread(content)


def _add_file_meta(result: Dataset) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = result.SOPClassUID, result.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = _IMPLEMENTATION_CLASS_UID, "COVID_MONAI"
    result.file_meta = meta

"""A prediction of one radiograph as DICOM objects in the radiograph's own study."""

import hashlib
import json
from collections.abc import Iterator

from pydicom.dataset import FileDataset

from covid_monai.core.vocabulary import RefusalReason, Status
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.prediction import Prediction
from covid_monai.results.dicom.encapsulated_pdf import encapsulated_pdf
from covid_monai.results.dicom.presentation_state import has_presentation_state, presentation_state
from covid_monai.results.dicom.report import report
from covid_monai.results.dicom.secondary_capture import secondary_capture
from covid_monai.results.dicom.series import ResultSeries
from covid_monai.results.dicom.source import Source, read_source
from covid_monai.results.dicom.uids import Kind
from covid_monai.results.pdf.image_page import header_facts
from covid_monai.results.pdf.page import explained_pictures, page
from covid_monai.results.rendering import heatmap_picture
from covid_monai.results.wording import shown_class

# What was refused for these reasons is no radiograph at all: a report on a report would go on for ever.
_NO_RADIOGRAPH = (
    RefusalReason.NO_PIXELS,
    RefusalReason.PRESENTATION_STATE,
    RefusalReason.REPORT,
    RefusalReason.NOT_PROJECTION,
)


class ResultObjects:
    """Makes the DICOM objects of one classifier's predictions.

    Args:
        classifier: The one that makes the predictions.
        heatmap: Whether to make the heat map (Secondary Capture) and its outlines (presentation state).
        pdf: Whether to make the page for a person (Encapsulated PDF).
    """

    def __init__(self, classifier: Classifier, *, heatmap: bool = True, pdf: bool = False) -> None:
        self._classifier = classifier
        self._heatmap, self._pdf = heatmap, pdf
        if heatmap or pdf:
            classifier.load_explainer()
        self.model = classifier.model | {"settings_digest": _settings_digest(classifier)}

    def of(self, prediction: Prediction) -> list[FileDataset]:
        """DICOM objects for the radiograph at `prediction.file`.

        Args:
            prediction: Of this classifier.

        Returns:
            The report first; a refused radiograph has nothing else. Empty if the status is error, or if
            the object that was refused is no radiograph (a report, a CT slice).

        Raises:
            NoResultObjects: If the file is not DICOM, or lacks a valid UID that results must refer to.
            UnreadableImage: If the file has changed and cannot be read any more.
        """
        if prediction.status is Status.ERROR or prediction.reason in _NO_RADIOGRAPH:
            return []
        source = read_source(prediction.file)
        objects = [report(prediction, ResultSeries(source, Kind.REPORT, self.model))]
        if prediction.ok:
            objects += self._pictures(prediction, source)
        return objects

    def _pictures(self, prediction: Prediction, source: Source) -> Iterator[FileDataset]:
        if not self._heatmap and not self._pdf:
            return
        explained = self._classifier.explain(prediction.file, shown_class(prediction))
        if self._heatmap:
            picture = heatmap_picture(explained, prediction)
            yield secondary_capture(picture, ResultSeries(source, Kind.HEATMAP, self.model))
            if has_presentation_state(source.ds):
                series = ResultSeries(source, Kind.PRESENTATION_STATE, self.model)
                yield presentation_state(explained, prediction, series)
        if self._pdf:
            content = page(
                prediction,
                explained_pictures(prediction, explained),
                header_facts(source.ds),
                date=source.date,
                uid=source.reference.SOPInstanceUID,
            )
            yield encapsulated_pdf(content, ResultSeries(source, Kind.PDF, self.model))


def _settings_digest(classifier: Classifier) -> str:
    """SHA-256 of what changes a result beside weights and preprocessing: thresholds, calibration, gate."""
    settings = [
        None if part is None else part.to_json()
        for part in (classifier.operating_point, classifier.calibration)
    ]
    gate = None if classifier.gate is None else classifier.gate.distance_limit
    return hashlib.sha256(json.dumps([settings, gate], sort_keys=True).encode()).hexdigest()

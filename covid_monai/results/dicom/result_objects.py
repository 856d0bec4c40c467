"""A prediction of one radiograph as DICOM objects in the radiograph's own study, and as DICOM files."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset

from covid_monai.core.atomic_files import replace_atomically
from covid_monai.core.vocabulary import RefusalReason, Status
from covid_monai.dicom.image_elements import correct_image_elements
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.prediction import Prediction
from covid_monai.inference.wording import explained_class
from covid_monai.results.dicom.presentation_state import make_presentation_state, may_have_presentation_state
from covid_monai.results.dicom.rendered_objects import encapsulate_pdf, make_secondary_capture
from covid_monai.results.dicom.result_series import ObjectKind, ResultSeries
from covid_monai.results.dicom.source_radiograph import SourceRadiograph, read_source
from covid_monai.results.dicom.structured_report import make_structured_report
from covid_monai.results.pdf.image_report import captioned_images, header_facts, make_page
from covid_monai.results.rendering import render_heatmap_with_legend

# An object refused for one of these reasons is no radiograph: a report on a report would never end.
NOT_A_RADIOGRAPH = (
    RefusalReason.NO_PIXELS,
    RefusalReason.PRESENTATION_STATE,
    RefusalReason.REPORT,
    RefusalReason.NOT_PROJECTION,
)


class ResultObjects:
    """Maker of the DICOM objects of one classifier's predictions.

    Args:
        classifier: Classifier that makes the predictions.
        heatmap: Whether to make the heat map (Secondary Capture) and its outlines (presentation state).
        pdf: Whether to make the PDF report (Encapsulated PDF).
    """

    def __init__(self, classifier: Classifier, *, heatmap: bool = True, pdf: bool = False) -> None:
        self._classifier = classifier
        self._heatmap, self._pdf = heatmap, pdf
        if heatmap or pdf:
            classifier.load_explainer()
        self.model = classifier.model | {"settings_digest": _settings_digest(classifier)}

    def of(self, prediction: Prediction, made: datetime) -> list[FileDataset]:
        """Make the DICOM objects for the radiograph at `prediction.file`.

        Args:
            prediction: Prediction of this classifier.
            made: Time of making that the objects carry, with its time zone. The same time gives the same
                bytes.

        Returns:
            The report first; a refused radiograph has only the report. Empty if the status is error, or if
            the refused object is no radiograph (a report, a CT slice).

        Raises:
            NoResultObjects: If the file is not DICOM, or lacks a valid UID that results must refer to.
            UnreadableImage: If the file has changed and cannot be read any more.
        """
        if prediction.status is Status.ERROR or prediction.reason in NOT_A_RADIOGRAPH:
            return []
        source = read_source(prediction.file)
        series = {kind: ResultSeries(source, kind, self.model, made) for kind in ObjectKind}
        objects = [make_structured_report(prediction, series[ObjectKind.REPORT])]
        if prediction.ok and (self._heatmap or self._pdf):
            objects += self._images(prediction, source, series)
        return objects

    def _images(
        self, prediction: Prediction, source: SourceRadiograph, series: Mapping[ObjectKind, ResultSeries]
    ) -> Iterator[FileDataset]:
        correct_image_elements(source.ds)  # for the presentation state
        explained = self._classifier.explain(prediction.file, explained_class(prediction))
        if self._heatmap:
            rendered = render_heatmap_with_legend(explained, prediction)
            yield make_secondary_capture(rendered, series[ObjectKind.HEATMAP])
            if may_have_presentation_state(source.ds):
                yield make_presentation_state(explained, prediction, series[ObjectKind.PRESENTATION_STATE])
        if self._pdf:
            content = make_page(
                prediction,
                captioned_images(prediction, explained),
                header_facts(source.ds),
                made=series[ObjectKind.PDF].made,
                uid=source.reference.SOPInstanceUID,
            )
            yield encapsulate_pdf(content, series[ObjectKind.PDF])


def write_results(objects: Iterable[Dataset], folder: str | Path) -> list[Path]:
    """Write DICOM files, all of them whole or none, with their SOP Instance UID as the name.

    The same model writes the same results under the same name, so an existing file may be replaced.

    Args:
        objects: Objects from `ResultObjects.of`.
        folder: Folder of the files; created if it is missing.

    Returns:
        The paths, in the order of `objects`.

    Raises:
        OSError: If the folder cannot be written.
    """
    paths: list[Path] = []
    with ExitStack() as stack:  # it moves the files to their places once all are written
        for result in objects:
            paths.append(Path(folder) / f"{result.SOPInstanceUID}.dcm")
            temporary = stack.enter_context(replace_atomically(paths[-1]))
            dcmwrite(temporary, result, enforce_file_format=True)
    return paths


def _settings_digest(classifier: Classifier) -> str:
    """Return the SHA-256 of what changes a result beside the weights: thresholds, gate, lung bundle."""
    parts = (classifier.operating_point, classifier.calibration, classifier.unseen_sources)
    settings: list[Any] = [None if part is None else part.to_json() for part in parts]
    gate = classifier.gate
    if gate is not None:
        sources = None if gate.sources is None else [gate.sources.names, gate.sources.limits.tolist()]
        settings.append([gate.distance_limit, sources])
    lungs = classifier.lung_check.bundle
    settings.append(None if lungs is None else lungs.identity)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

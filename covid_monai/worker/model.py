"""The classifier and the maker of results, loaded once for all archives."""

import threading
from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset

from covid_monai.bundle import Bundle
from covid_monai.core.vocabulary import Status
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.prediction import Prediction
from covid_monai.pacs.failures import Fault, Trouble
from covid_monai.readers.sandbox import SandboxResult
from covid_monai.results import ResultObjects
from covid_monai.worker.settings import Settings

Answer = tuple[Prediction, list[Dataset]]


class Model:
    """One at a time: network and Grad-CAM share their memory.

    Args:
        settings: Which bundle, device and results.
        bundle_dir: Folder of the bundle.

    Raises:
        FileNotFoundError: If there is no bundle, or it has no weights.
        ValueError: If its parts do not belong together, or there is no such device.
    """

    def __init__(self, settings: Settings, bundle_dir: Path) -> None:
        self._classifier = Classifier(
            bundle_dir,
            device=settings.device,
            batch_size=settings.batch_size,
            workers=1,
            backend=settings.backend,
        )
        results = settings.results
        self._results = ResultObjects(self._classifier, heatmap=results.heatmap, pdf=results.pdf)
        self._report_refused = results.report_refused
        self._lock = threading.Lock()
        self.class_names = self._classifier.class_names
        bundle = Bundle(bundle_dir)
        self.reference = bundle.score_reference
        self.image_size = bundle.image_size

    def predict(self, files: Sequence[Path], verdicts: Sequence[SandboxResult]) -> list[Prediction]:
        """Classify the files that the decode check has let pass; the others get its verdict.

        Args:
            files: One batch.
            verdicts: One for each file.
        """
        passed = [file for file, verdict in zip(files, verdicts, strict=True) if verdict.status is Status.OK]
        with self._lock:
            predictions = iter(list(self._classifier.predict(passed)))
        return [
            next(predictions) if verdict.status is Status.OK else self._turned_away(file, verdict)
            for file, verdict in zip(files, verdicts, strict=True)
        ]

    def _turned_away(self, file: Path, verdict: SandboxResult) -> Prediction:
        return Prediction(
            file=str(file),
            status=verdict.status,
            model=self._classifier.model,
            reason=verdict.reason,
            detail=verdict.detail,
        )

    def results(self, prediction: Prediction) -> list[Dataset]:
        """The objects that go out for a prediction; none for one that is refused, unless settings want it.

        Raises:
            Trouble: If they cannot be made: an object without the UIDs that results refer to.
        """
        if prediction.status is Status.REFUSED and not self._report_refused:
            return []
        try:
            with self._lock:
                return list(self._results.of(prediction))
        except Exception as error:  # whatever is wrong with one object must not stop the rest
            raise Trouble(Fault.OBJECT, f"no_results_{type(error).__name__}") from error

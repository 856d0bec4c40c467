"""Objects that the threads of all archives share; one of them is the model."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydicom import Dataset

from covid_monai.core.vocabulary import DecoderNotStarted, Status
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.prediction import Prediction
from covid_monai.pacs.failures import ArchiveFailure, Fault
from covid_monai.readers.sandbox import SandboxResult
from covid_monai.results import ResultObjects
from covid_monai.worker.audit import AuditTrail
from covid_monai.worker.monitoring import MachineFailures, Metrics, ScoreDrift
from covid_monai.worker.queue import JobQueue
from covid_monai.worker.settings import Settings


class Model:
    """Classifier and maker of results; one thread at a time, because network and Grad-CAM share memory.

    Raises:
        FileNotFoundError: If there is no bundle, or it has no weights.
        ValueError: If the parts of the bundle do not fit together, or the device does not exist.
    """

    def __init__(self, settings: Settings, bundle_dir: Path) -> None:
        self._classifier = Classifier(
            bundle_dir,
            device=settings.device,
            batch_size=settings.batch_size,
            workers=1,
            backend=settings.backend,
            trust_code=settings.trust_code,
        )
        results = settings.results
        self._results = ResultObjects(self._classifier, heatmap=results.heatmap, pdf=results.pdf)
        self._report_refused = results.report_refused
        self._lock = threading.Lock()
        self.class_names = self._classifier.class_names
        self.reference = self._classifier.bundle.score_reference
        self.image_size = self._classifier.image_size

    def predict(self, files: Sequence[Path], verdicts: Sequence[SandboxResult]) -> list[Prediction]:
        """Classify the files that passed the decode sandbox; the others get its verdict."""
        passed = [file for file, verdict in zip(files, verdicts, strict=True) if verdict.status is Status.OK]
        with self._lock:
            predictions = iter(list(self._classifier.predict(passed)))
        return [
            next(predictions) if verdict.status is Status.OK else self._refuse(file, verdict)
            for file, verdict in zip(files, verdicts, strict=True)
        ]

    def _refuse(self, file: Path, verdict: SandboxResult) -> Prediction:
        return Prediction(
            file=str(file),
            status=verdict.status,
            model=self._classifier.model,
            reason=verdict.reason,
            detail=verdict.detail,
        )

    def make_results(self, prediction: Prediction, made: datetime) -> list[Dataset]:
        """Return the objects to store for a prediction, made at a time; a refused image has none by default.

        Raises:
            ArchiveFailure: If they cannot be made, for example because the image has no UIDs to refer to.
            MemoryError, OSError: If memory, processes, files or the disk of this machine have run out.
        """
        if prediction.status is Status.REFUSED and not self._report_refused:
            return []
        try:
            with self._lock:
                return list(self._results.of(prediction, made))
        except Exception as error:  # one bad object, whatever is wrong with it, must not stop the others
            if isinstance(error, MemoryError | DecoderNotStarted) or getattr(error, "errno", None):
                raise  # with an errno, an OSError comes from the system and not from a reader of images
            raise ArchiveFailure(Fault.OBJECT, f"no_results_{type(error).__name__}") from error


@dataclass(frozen=True)
class WorkerContext:
    """One object of each kind for the whole service."""

    settings: Settings
    queue: JobQueue
    model: Model
    audit: AuditTrail
    metrics: Metrics
    drift: ScoreDrift
    stop: threading.Event  # set when the service is to end
    failures: MachineFailures = field(default_factory=MachineFailures)

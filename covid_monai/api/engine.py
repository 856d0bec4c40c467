"""One classifier for many callers: images that wait together go through the network together."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from pydicom import dcmwrite
from pydicom.dataset import FileDataset

from covid_monai.api.uploads import Upload
from covid_monai.core.memory_file import memory_file, replace_name
from covid_monai.core.vocabulary import Status
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.readers.sandbox import DecodeSandbox

Result = TypeVar("Result")
_DECODE_MEMORY_MIB = 3072  # address space for reading one file
# Reading such a file in this process would do to it what it did to the child process.
_NOT_TO_BE_READ = ("too_slow", "decoder_crashed", "too_much_memory")


class Busy(RuntimeError):
    """The service handles as many requests as it can at once."""

    retry_after = 2  # seconds after which another try makes sense

    def __init__(self) -> None:
        super().__init__(
            f"The service handles as many requests as it can at once. Try again in {self.retry_after} s."
        )


class DicomFile(NamedTuple):
    """A DICOM object as a file."""

    name: str  # SOP Instance UID, with .dcm
    data: bytes


class _Job(NamedTuple):
    upload: Upload
    future: "Future[Prediction]"


class Engine:
    """Makes one classifier safe for many threads; uploads stay in memory.

    Every upload is first read in a child process with limits: a decoder that crashes does not end the
    service. Everything that needs the network runs in one thread. A single image goes at once when that
    thread is free. Images that wait go together, also those of different callers. A caller with many images
    has one batch of them waiting at a time, so that others are not delayed by all of them.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        batch_size: int = 8,
        max_callers: int = 64,
        decode_seconds: float = 30,
    ) -> None:
        self.classifier = classifier
        self.max_callers = max_callers
        self._batch_size = batch_size
        self._places = threading.BoundedSemaphore(max_callers)
        self._decoding = threading.BoundedSemaphore(len(os.sched_getaffinity(0)))
        self._waiting: deque[_Job] = deque()
        self._network = ThreadPoolExecutor(1, thread_name_prefix="network")
        side = classifier.image_size
        self._sandboxes = [
            DecodeSandbox(seconds=decode_seconds, memory_mib=_DECODE_MEMORY_MIB, target_size=side)
            for _ in os.sched_getaffinity(0)
        ]
        self._free_sandboxes: SimpleQueue[DecodeSandbox] = SimpleQueue()
        for sandbox in self._sandboxes:
            self._free_sandboxes.put(sandbox)

    def predict(self, uploads: Iterable[Upload]) -> Generator[Prediction]:
        """Classify uploads in their order; `file` of a prediction is the upload's name.

        The next uploads are read while these are classified. Nothing more is classified for a caller who
        closes the generator. All methods raise `Busy` if there are too many callers.
        """
        with self._caller():
            ahead: deque[Future[Prediction]] = deque()
            try:
                for upload in uploads:
                    ahead.append(self._begin(upload))
                    if len(ahead) == self._batch_size:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def has_place(self) -> bool:
        """Tell whether one more caller would be served now."""
        free = self._places.acquire(blocking=False)
        if free:
            self._places.release()
        return free

    def explain(self, upload: Upload, class_name: str) -> ImageWithHeatmap:
        """Compute the Grad-CAM heat map of an image for a class."""
        return self._with_path(upload, lambda path: self.classifier.explain(path, class_name))

    def dicom_object(self, upload: Upload, prediction: Prediction, *, heatmap: bool) -> DicomFile:
        """Make a DICOM object for the study of an image: the structured report, or the heat map."""
        from covid_monai.results import NoResultObjects, ResultObjects

        made = datetime.now().astimezone()

        def make(path: Path) -> FileDataset:
            detail = replace_name(prediction.detail, upload.name, path.name)
            objects = ResultObjects(self.classifier, heatmap=heatmap)
            found = objects.of(replace(prediction, file=str(path), detail=detail), made)
            if not found:
                detail = f"{path.name}: the file holds no radiograph that a DICOM object could refer to."
                raise NoResultObjects("no radiograph", detail)
            return found[1 if heatmap else 0]

        ds, content = self._with_path(upload, make), BytesIO()
        dcmwrite(content, ds, enforce_file_format=True)
        return DicomFile(f"{ds.SOPInstanceUID}.dcm", content.getvalue())

    def pdf_report(self, upload: Upload, prediction: Prediction) -> bytes:
        """Make the PDF report of an image: DICOM, JPEG or PNG, classified or not.

        The report shows no picture of a file whose reading ended the child process.
        """
        from covid_monai.results.pdf.image_report import make_image_report

        if prediction.reason in _NOT_TO_BE_READ:
            upload = replace(upload, data=b"")
        made = datetime.now().astimezone()
        return self._with_path(
            upload, lambda path: make_image_report(self.classifier, prediction, path, made=made)
        )

    def close(self) -> None:
        """Cancel the images that wait, finish the current batch, and end the child processes."""
        while self._waiting:
            self._waiting.pop().future.cancel()
        self._network.shutdown(wait=True, cancel_futures=True)
        for sandbox in self._sandboxes:
            sandbox.close()

    @contextmanager
    def _caller(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise Busy
        try:
            yield
        finally:
            self._places.release()

    def _begin(self, upload: Upload) -> "Future[Prediction]":
        future: Future[Prediction] = Future()
        sandbox = self._free_sandboxes.get()
        try:
            with memory_file(upload.data) as path:
                status, reason, detail = sandbox.check(path)
        finally:
            self._free_sandboxes.put(sandbox)
        if status is Status.OK:
            self._waiting.append(_Job(upload, future))
            self._network.submit(self._classify_waiting)
        else:
            model, file = self.classifier.model, str(path)
            refusal = Prediction(file=file, status=status, model=model, reason=reason, detail=detail)
            future.set_result(_with_name(refusal, path, upload))
        return future

    def _classify_waiting(self) -> None:
        """Classify the images that wait, one batch at most; earlier batches may have taken all of them."""
        jobs: list[_Job] = []
        while self._waiting and len(jobs) < self._batch_size:
            job = self._waiting.popleft()
            if job.future.set_running_or_notify_cancel():
                jobs.append(job)
        if not jobs:
            return
        try:
            with ExitStack() as stack:
                paths = [stack.enter_context(memory_file(job.upload.data)) for job in jobs]
                for job, path, found in zip(jobs, paths, self.classifier.predict(paths), strict=True):
                    job.future.set_result(_with_name(found, path, job.upload))
        except BaseException as error:  # noqa: BLE001  # callers that wait must get every error
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(error)

    def _with_path(self, upload: Upload, function: Callable[[Path], Result]) -> Result:
        """Call a function in the network's thread; let its errors name the upload."""

        def call() -> Result:
            with memory_file(upload.data) as path:
                try:
                    return function(path)
                except ValueError as error:
                    error.args = (replace_name(str(error), path.name, upload.name),)
                    raise

        with self._caller():
            return self._network.submit(call).result()

    def read(self, upload: Upload, function: Callable[[Path], Result]) -> Result:
        """Call a function that decodes an upload; as many at once as there are cores, because of memory."""
        with self._decoding, memory_file(upload.data) as path:
            return function(path)


def _with_name(prediction: Prediction, path: Path, upload: Upload) -> Prediction:
    """Name the upload in a prediction that was made from its memory file."""
    detail = replace_name(prediction.detail, path.name, upload.name)
    return replace(prediction, file=upload.name, detail=detail)

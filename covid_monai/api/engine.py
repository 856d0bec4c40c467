"""One classifier, many callers: what waits together goes through the network together."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from covid_monai.api.decoding import NOT_TO_BE_READ, DecodeChecks
from covid_monai.api.results import ResultFile, result_files
from covid_monai.api.uploads import Upload, in_memory, renamed
from covid_monai.core.vocabulary import Status
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.readers.sandbox import SandboxResult

Result = TypeVar("Result")


class Busy(RuntimeError):
    """As many callers as there are places are being served.

    Args:
        retry_after: Seconds after which another try makes sense.
    """

    def __init__(self, retry_after: int = 2) -> None:
        super().__init__(
            f"As many requests as this service takes at once are under way: wait {retry_after} s."
        )
        self.retry_after = retry_after


class _Job(NamedTuple):
    upload: Upload
    future: "Future[Prediction]"


class Engine:
    """Makes one classifier safe for many threads, and keeps what they hand in off the disk.

    Every upload is read in a process with limits first. All that needs the network runs in one thread: a
    single image as soon as it is free, images of several callers together where they wait. A caller with many
    images has one batch of them waiting at a time, so that others are not behind all of them.

    Args:
        classifier: Whose predictions they are.
        batch_size: Most images that go through the network together.
        max_callers: Calls under way; one more is `Busy`.
        decode_seconds: Longest time for reading one file.
        decode_memory_mib: Address space for reading one file, in MiB.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        batch_size: int = 8,
        max_callers: int = 64,
        decode_seconds: float = 30.0,
        decode_memory_mib: int = 3072,
    ) -> None:
        self.classifier = classifier
        self.max_callers = max_callers
        self._batch_size = batch_size
        self._places = threading.BoundedSemaphore(max_callers)
        self._waiting: deque[_Job] = deque()
        self._network = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._checks = DecodeChecks(
            seconds=decode_seconds, memory_mib=decode_memory_mib, target_size=classifier.image_size
        )

    def predict(self, uploads: Iterable[Upload]) -> Generator[Prediction]:
        """Classify uploads in their order; a record's `file` is the upload's name.

        The next uploads are read while these are classified. A caller who stops early, or closes the
        iterator, has nothing more done for them.

        Raises:
            Busy: At the first record, if too many callers are served.
        """
        with self._admitted():
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
        """Whether one more caller would be served now."""
        free = self._places.acquire(blocking=False)
        if free:
            self._places.release()
        return free

    def explain(self, upload: Upload, class_name: str | None = None) -> ImageWithHeatmap:
        """Image as displayed, and where on it the evidence for a class lies.

        Args:
            upload: One whose prediction is ok.
            class_name: None takes the class that the decision shows.

        Raises:
            Busy: If too many callers are served.
            UnreadableImage: If it cannot be read.
            ValueError: If it was not classified, so that there is no class to show.
        """
        return self._with_path(upload, lambda path: self._explain(path, class_name))

    def dicom_objects(
        self, upload: Upload, prediction: Prediction, *, heatmap: bool = True, pdf: bool = False
    ) -> list[ResultFile]:
        """Result objects for the study of a DICOM image: report, heat map and its outlines, page.

        Args:
            upload: The image.
            prediction: Of it, by this engine.
            heatmap: Whether to make heat map and outlines.
            pdf: Whether to make the page for a person.

        Returns:
            As `ResultObjects.of`: the report first; empty where the prediction is an error.

        Raises:
            Busy: If too many callers are served.
            NoResultObjects: If the image is not DICOM, or lacks a UID that results must refer to.
            ImportError: If the extra `dicom` is not installed.
        """
        return self._with_path(
            upload,
            lambda path: result_files(
                self.classifier, _at(path, prediction, upload), heatmap=heatmap, pdf=pdf
            ),
        )

    def page_pdf(self, upload: Upload, prediction: Prediction) -> bytes:
        """The page for a person, as a PDF file; DICOM, JPEG or PNG, classified or not.

        The image is not on it where reading it has ended the process that tried.

        Args:
            upload: The image.
            prediction: Of it, by this engine.

        Raises:
            Busy: If too many callers are served.
            ImportError: If the extra `dicom` is not installed.
        """
        from covid_monai.results.pdf.image_report import make_image_report

        if prediction.reason in NOT_TO_BE_READ:
            upload = replace(upload, data=b"")
        return self._with_path(upload, lambda path: make_image_report(self.classifier, prediction, path))

    def close(self) -> None:
        """Give up what waits, finish what is under way, and end the processes."""
        while self._waiting:
            self._waiting.pop().future.cancel()
        self._network.shutdown(wait=True, cancel_futures=True)
        self._checks.close()

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise Busy
        try:
            yield
        finally:
            self._places.release()

    def _begin(self, upload: Upload) -> "Future[Prediction]":
        future: Future[Prediction] = Future()
        verdict = self._checks.check(upload)
        if verdict.status is Status.OK:
            self._waiting.append(_Job(upload, future))
            self._network.submit(self._classify_waiting)
        else:
            future.set_result(self._turned_away(upload, verdict))
        return future

    def _turned_away(self, upload: Upload, verdict: SandboxResult) -> Prediction:
        return Prediction(
            file=upload.name,
            status=verdict.status,
            model=self.classifier.model,
            reason=verdict.reason,
            detail=verdict.detail,
        )

    def _classify_waiting(self) -> None:
        """Classify what waits, a batch at most; nothing if an earlier batch took it along."""
        jobs: list[_Job] = []
        while self._waiting and len(jobs) < self._batch_size:
            job = self._waiting.popleft()
            if job.future.set_running_or_notify_cancel():
                jobs.append(job)
        if not jobs:
            return
        try:
            with ExitStack() as stack:
                paths = [stack.enter_context(in_memory(job.upload)) for job in jobs]
                for job, path, found in zip(jobs, paths, self.classifier.predict(paths), strict=True):
                    job.future.set_result(_under_own_name(found, path, job.upload))
        except BaseException as error:  # whoever waits must hear of it, whatever it is
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(error)

    def _explain(self, path: Path, class_name: str | None) -> ImageWithHeatmap:
        if class_name is None:
            from covid_monai.results.wording import explained_class

            (prediction,) = self.classifier.predict([path])
            class_name = explained_class(prediction)
        return self.classifier.explain(path, class_name)

    def _with_path(self, upload: Upload, function: Callable[[Path], Result]) -> Result:
        """Call a function in the network's thread; its errors name the upload."""
        with self._admitted(), in_memory(upload) as path:
            try:
                return self._network.submit(function, path).result()
            except ValueError as error:
                error.args = (renamed(str(error), path.name, upload.name),)
                raise


def _under_own_name(prediction: Prediction, path: Path, upload: Upload) -> Prediction:
    return replace(prediction, file=upload.name, detail=renamed(prediction.detail, path.name, upload.name))


def _at(path: Path, prediction: Prediction, upload: Upload) -> Prediction:
    """The prediction for the makers of results, which read the image once more."""
    return replace(prediction, file=str(path), detail=renamed(prediction.detail, upload.name, path.name))

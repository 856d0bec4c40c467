"""Classification of many images for one visitor: progress, speed, and the results as CSV and PDF."""

import io
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from covid_monai.api.uploads import Upload, UploadError
from covid_monai.app.session import ClassifiedImage
from covid_monai.app.sources import ImageSource
from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import Status
from covid_monai.inference.output import csv_writer
from covid_monai.inference.prediction import Prediction
from covid_monai.results.rendering import make_thumbnail

if TYPE_CHECKING:
    from covid_monai.api.engine import Engine

_thumbnail = partial(make_thumbnail, side=96)


@dataclass
class Batch:
    """The classified images of one batch, in the order of their files."""

    total: int  # number of images to classify
    images: list[ClassifiedImage] = field(default_factory=list)
    cancelled: bool = False
    _started: float = field(default_factory=time.monotonic)
    _ended: float | None = None

    @property
    def running(self) -> bool:
        """Whether more images will come."""
        return self._ended is None

    def end(self) -> None:
        """Note that no more images will come: all are done, or the batch was cancelled."""
        self._ended = time.monotonic()

    @property
    def images_per_second(self) -> float:
        """Mean speed since the start."""
        elapsed = (self._ended or time.monotonic()) - self._started
        return len(self.images) / max(elapsed, 1e-6)

    @property
    def seconds_left(self) -> float | None:
        """Time left at the mean speed; None before the first image is done."""
        left = self.total - len(self.images)
        return left / self.images_per_second if self.images else None

    def to_pdf(self, model: Mapping[str, str]) -> bytes:
        """Make the PDF document of the results so far: a summary, then a table with small pictures."""
        from covid_monai.results.pdf.batch_report import make_batch_report

        images = list(self.images)
        # The document finds pictures by file name: two files with one name would get the same picture.
        names = Counter(image.prediction.file for image in images)
        thumbnails = {
            image.prediction.file: image.thumbnail
            for image in images
            if image.thumbnail and names[image.prediction.file] == 1
        }
        title = f"{format_count(len(images), 'radiograph')} of the chest"
        predictions, made = [image.prediction for image in images], datetime.now().astimezone()
        return make_batch_report(predictions, thumbnails, model, title, made=made)

    def to_csv(self, class_names: Sequence[str]) -> bytes:
        """Return the results so far, with the columns of `covid-monai predict --output FILE.csv`."""
        text = io.StringIO()
        write = csv_writer(text, class_names)
        for image in self.images:
            write(image.prediction)
        return text.getvalue().encode("utf-8", errors="backslashreplace")


def classify(engine: "Engine", sources: Iterable[ImageSource]) -> Generator[ClassifiedImage, None, None]:
    """Classify images in their order, and draw a thumbnail of each; close the generator to stop."""
    waiting: deque[tuple[ImageSource, Upload] | ClassifiedImage] = deque()  # the latter could not be loaded

    def uploads() -> Iterator[Upload]:
        for source in sources:
            try:
                upload = source.load()
            except (OSError, UploadError) as error:
                waiting.append(_failed(engine, source, error))
            else:
                waiting.append((source, upload))
                yield upload

    for prediction in engine.predict(uploads()):
        while isinstance(first := waiting.popleft(), ClassifiedImage):
            yield first
        source, upload = first
        # An unreadable file may have ended the process that read it: it is not read again in this one.
        readable = prediction.status is not Status.ERROR
        yield ClassifiedImage(source, prediction, engine.read(upload, _thumbnail) if readable else None)
    yield from (image for image in waiting if isinstance(image, ClassifiedImage))


def _failed(engine: "Engine", source: ImageSource, error: OSError | UploadError) -> ClassifiedImage:
    """Return the record of a file that cannot be loaded: it has the reason, but not the path."""
    detail = error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
    prediction = Prediction(
        file=source.name,
        status=Status.ERROR,
        model=engine.classifier.model,
        reason="unreadable",
        detail=f"{source.name}: {detail}",
    )
    return ClassifiedImage(source, prediction)

"""Many images through one engine: what is done so far, how fast, and the results as CSV."""

import io
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from covid_monai.api.uploads import LimitExceeded, Limits, Upload, in_memory
from covid_monai.app.folder import read_upload
from covid_monai.app.pictures import THUMBNAIL_SIDE, jpeg
from covid_monai.core.vocabulary import RefusedImage, Status, UnreadableImage
from covid_monai.inference.output import csv_writer
from covid_monai.inference.prediction import Prediction
from covid_monai.readers import read_radiograph

if TYPE_CHECKING:
    from covid_monai.api.engine import Engine


class Source(Protocol):
    """Where an image comes from; it can be asked again."""

    @property
    def name(self) -> str:
        """What it is called."""

    def load(self) -> Upload:
        """The file, in memory.

        Raises:
            LimitExceeded: If it is too large.
            OSError: If it cannot be read.
        """


@dataclass(frozen=True)
class Handed:
    """An image that a visitor handed in: its bytes are held as long as the batch is."""

    upload: Upload

    @property
    def name(self) -> str:
        """As it was handed in."""
        return self.upload.name

    def load(self) -> Upload:
        """As it was handed in."""
        return self.upload


@dataclass(frozen=True)
class OnServer:
    """An image in the server's folder, read when it is needed.

    Args:
        path: The file.
        name: What it is called, relative to the folder.
        limits: Of its size.
    """

    path: Path
    name: str
    limits: Limits

    def load(self) -> Upload:
        """As it lies on disk now."""
        return replace(read_upload(self.path, self.limits), name=self.name)


@dataclass(frozen=True)
class BatchImage:
    """One finished image of a batch.

    Args:
        prediction: What became of it.
        thumbnail: JPEG, the longer side `THUMBNAIL_SIDE` pixels; None where the file shows no image.
        source: Where its file is.
    """

    prediction: Prediction
    thumbnail: bytes | None
    source: Source


@dataclass
class Batch:
    """The images of one batch, in the order given; those that are done.

    Args:
        total: How many there are to be done.
    """

    total: int
    images: list[BatchImage] = field(default_factory=list)
    cancelled: bool = False
    _started: float = field(default_factory=time.monotonic)
    _ended: float | None = None

    @property
    def running(self) -> bool:
        """Whether images are still to come."""
        return self._ended is None

    def end(self) -> None:
        """Nothing more will come: all are done, or it was cancelled."""
        self._ended = time.monotonic()

    @property
    def images_per_second(self) -> float:
        """Mean speed since the start."""
        elapsed = (self._ended or time.monotonic()) - self._started
        return len(self.images) / max(elapsed, 1e-6)

    @property
    def seconds_left(self) -> float | None:
        """At the mean speed; None before the first image is done."""
        left = self.total - len(self.images)
        return left / self.images_per_second if self.images else None

    def to_pdf(self, model: Mapping[str, str]) -> bytes:
        """The results so far as a document: a summary, then a table with small pictures.

        Args:
            model: As `Classifier.model`.
        """
        from covid_monai.results.pdf.batch_report import make_batch_report

        images = list(self.images)
        # The document knows images by their names: of two with one name it would show one picture twice.
        names = Counter(image.prediction.file for image in images)
        thumbnails = {
            image.prediction.file: image.thumbnail
            for image in images
            if image.thumbnail and names[image.prediction.file] == 1
        }
        predictions = [image.prediction for image in images]
        return make_batch_report(predictions, thumbnails, model, f"{len(images)} chest radiographs")

    def to_csv(self, class_names: Sequence[str]) -> bytes:
        """The results so far, with the columns of `covid-monai predict --output FILE.csv`."""
        text = io.StringIO()
        write = csv_writer(text, class_names)
        for image in self.images:
            write(image.prediction)
        return text.getvalue().encode("utf-8", errors="backslashreplace")


def classify(engine: "Engine", sources: Iterable[Source]) -> Generator[BatchImage, None, None]:
    """Classify images in their order, each with its thumbnail; close the generator to stop.

    Args:
        engine: Others may use it at the same time.
        sources: Loaded as the engine comes to them, so that a folder is never in memory as a whole.

    Raises:
        Busy: At the first image, if too many callers are served.
    """
    ahead: deque[tuple[Source, Upload]] = deque()
    lost: deque[tuple[int, BatchImage]] = deque()  # each with its place

    def loaded() -> Iterator[Upload]:
        for place, source in enumerate(sources):
            try:
                ahead.append((source, source.load()))
            except (OSError, LimitExceeded) as error:
                lost.append((place, _lost(engine, source, error)))
            else:
                yield ahead[-1][1]

    done = 0
    for prediction in engine.predict(loaded()):
        while lost and lost[0][0] == done:
            done += 1
            yield lost.popleft()[1]
        done += 1
        source, upload = ahead.popleft()
        # What could not be read may have ended the process that tried: it is not tried again in this one.
        readable = prediction.status is not Status.ERROR
        yield BatchImage(prediction, thumbnail(upload) if readable else None, source)
    yield from (image for _, image in lost)


def _lost(engine: "Engine", source: Source, error: OSError | LimitExceeded) -> BatchImage:
    """An image whose file cannot be had: its record says why, without the path, and the others go on."""
    detail = error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
    prediction = Prediction(
        file=source.name,
        status=Status.ERROR,
        model=engine.classifier.model,
        reason="unreadable",
        detail=f"{source.name}: {detail}",
    )
    return BatchImage(prediction, None, source)


def thumbnail(upload: Upload) -> bytes | None:
    """The image as a viewer shows it, small, as JPEG; None if the file shows no single grey image."""
    try:
        with in_memory(upload) as path:
            image, _ = read_radiograph(path, target_size=THUMBNAIL_SIDE)
    except (RefusedImage, UnreadableImage):
        return None
    return jpeg((np.clip(image[0], 0, 1) * 255).round().astype(np.uint8), side=THUMBNAIL_SIDE)

"""Many films through one engine: what is done so far, how fast, and the results as CSV."""

import io
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from covid_monai.app.folder import read_upload
from covid_monai.app.pictures import THUMBNAIL_SIDE, jpeg
from covid_monai.inference.output import csv_writer
from covid_monai.inference.prediction import Prediction
from covid_monai.readers import read_radiograph
from covid_monai.service.uploads import LimitExceeded, Limits, Upload, in_memory
from covid_monai.vocabulary import RefusedImage, Status, UnreadableImage

if TYPE_CHECKING:
    from covid_monai.service.engine import Engine


class Source(Protocol):
    """Where a film comes from; it can be asked again."""

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
    """A film that a visitor handed in: its bytes are held as long as the batch is."""

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
    """A film in the server's folder, read when it is needed.

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
class Film:
    """One finished film of a batch.

    Args:
        prediction: What became of it.
        thumbnail: JPEG, the longer side `THUMBNAIL_SIDE` pixels; None where the file shows no film.
        source: Where its file is.
    """

    prediction: Prediction
    thumbnail: bytes | None
    source: Source


@dataclass
class Batch:
    """The films of one batch, in the order given; those that are done.

    Args:
        total: How many there are to be done.
    """

    total: int
    films: list[Film] = field(default_factory=list)
    cancelled: bool = False
    _started: float = field(default_factory=time.monotonic)
    _ended: float | None = None

    @property
    def running(self) -> bool:
        """Whether films are still to come."""
        return self._ended is None

    def end(self) -> None:
        """Nothing more will come: all are done, or it was cancelled."""
        self._ended = time.monotonic()

    @property
    def images_per_second(self) -> float:
        """Mean speed since the start."""
        elapsed = (self._ended or time.monotonic()) - self._started
        return len(self.films) / max(elapsed, 1e-6)

    @property
    def seconds_left(self) -> float | None:
        """At the mean speed; None before the first film is done."""
        left = self.total - len(self.films)
        return left / self.images_per_second if self.films else None

    def to_pdf(self, model: Mapping[str, str]) -> bytes:
        """The results so far as a document: a summary, then a table with small pictures.

        Args:
            model: As `Classifier.model`.
        """
        from covid_monai.results.batch_page import batch_page

        films = list(self.films)
        # The document knows films by their names: of two with one name it would show one picture twice.
        names = Counter(film.prediction.file for film in films)
        thumbnails = {
            film.prediction.file: film.thumbnail
            for film in films
            if film.thumbnail and names[film.prediction.file] == 1
        }
        predictions = [film.prediction for film in films]
        return batch_page(predictions, thumbnails, model, f"{len(films)} chest radiographs")

    def to_csv(self, class_names: Sequence[str]) -> bytes:
        """The results so far, with the columns of `covid-monai predict --output FILE.csv`."""
        text = io.StringIO()
        write = csv_writer(text, class_names)
        for film in self.films:
            write(film.prediction)
        return text.getvalue().encode("utf-8", errors="backslashreplace")


def classify(engine: "Engine", sources: Iterable[Source]) -> Generator[Film, None, None]:
    """Classify films in their order, each with its thumbnail; close the generator to stop.

    Args:
        engine: Others may use it at the same time.
        sources: Loaded as the engine comes to them, so that a folder is never in memory as a whole.

    Raises:
        Busy: At the first film, if too many callers are served.
    """
    ahead: deque[tuple[Source, Upload]] = deque()
    lost: deque[tuple[int, Film]] = deque()  # each with its place

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
        yield Film(prediction, thumbnail(upload) if readable else None, source)
    yield from (film for _, film in lost)


def _lost(engine: "Engine", source: Source, error: OSError | LimitExceeded) -> Film:
    """A film whose file cannot be had: its record says why, without the path, and the others go on."""
    detail = error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
    prediction = Prediction(
        file=source.name,
        status=Status.ERROR,
        model=engine.classifier.model,
        reason="unreadable",
        detail=f"{source.name}: {detail}",
    )
    return Film(prediction, None, source)


def thumbnail(upload: Upload) -> bytes | None:
    """The film as a viewer shows it, small, as JPEG; None if the file shows no single grey film."""
    try:
        with in_memory(upload) as path:
            film, _ = read_radiograph(path, target_size=THUMBNAIL_SIDE)
    except (RefusedImage, UnreadableImage):
        return None
    return jpeg((np.clip(film[0], 0, 1) * 255).round().astype(np.uint8), side=THUMBNAIL_SIDE)

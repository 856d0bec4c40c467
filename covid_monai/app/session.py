"""The models and limits that all visitors of the page share, and the images of one visitor."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from covid_monai.api.server import FETCH_SECONDS
from covid_monai.api.uploads import MIB, LimitExceeded, Limits, MemoryBudget, Upload
from covid_monai.app.sources import ImageSource
from covid_monai.app.url_fetch import UrlFetcher
from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import RefusalReason
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.readers.viewer_image import ViewerImage, read_for_viewer

if TYPE_CHECKING:
    from covid_monai.api.engine import Engine
    from covid_monai.bundle import Bundle

logger = logging.getLogger(__name__)
# The gate and the view rule refuse after reading, so that the image can be displayed. What the readers refuse
# is not decoded here.
_DISPLAYED_ALTHOUGH_REFUSED = frozenset(
    {
        *(RefusalReason.NOT_FRONTAL, RefusalReason.NOT_UPRIGHT),
        *(RefusalReason.INVERTED, RefusalReason.UNLIKE_TRAINING, RefusalReason.NO_LUNGS),
    }
)


@dataclass(frozen=True)
class ServedModel:
    """One bundle with its loaded classifier."""

    name: str  # on the page, different for every model
    bundle: "Bundle"
    engine: "Engine"


@dataclass(frozen=True)
class AppContext:
    """Models and limits of the page: shared by all visitors, and changed by none."""

    models: Mapping[str, ServedModel]  # by name; the tabs Image and Batch use the first
    limits: Limits = field(default_factory=Limits)
    folder: Path | None = None  # visitors may choose images below it
    allow_urls: bool = False  # whether visitors may name a URL that the server then fetches
    url_hosts: frozenset[str] = frozenset()  # may be fetched from although their addresses are not public
    fetch_seconds: float = FETCH_SECONDS  # longest time to fetch a URL

    @cached_property
    def budget(self) -> MemoryBudget:
        """Memory budget of all users of the process."""
        return MemoryBudget(self.limits.max_held_bytes)

    @cached_property
    def fetcher(self) -> UrlFetcher:
        """Fetches files for all visitors."""
        return UrlFetcher(self.limits, self.budget, self.url_hosts, seconds=self.fetch_seconds)

    @property
    def model(self) -> ServedModel:
        """First model."""
        return next(iter(self.models.values()))


@dataclass(frozen=True, eq=False)
class ClassifiedImage:
    """An image of a visitor with its prediction."""

    source: ImageSource
    prediction: Prediction
    thumbnail: bytes | None = None  # small JPEG for a table, see `covid_monai.app.batch`

    @property
    def can_be_displayed(self) -> bool:
        """Whether its pixels were read."""
        return self.prediction.ok or self.prediction.reason in _DISPLAYED_ALTHOUGH_REFUSED


class ImageSession(list[ClassifiedImage]):
    """The images of one visitor, in the order in which they came."""

    def __init__(self, model: ServedModel, limits: Limits) -> None:
        super().__init__()
        self._model = model
        self._limits = limits

    async def add(self, upload: Upload) -> ClassifiedImage:
        """Classify an image and keep it.

        Raises:
            LimitExceeded: If the visitor keeps as many images as the limits allow.
            Busy: If there are too many callers.
        """
        held = [image.source.data for image in self if isinstance(image.source, Upload)]
        size, limits = sum(map(len, held)) + len(upload.data), self._limits
        if len(self) == limits.max_files or size > limits.max_total_bytes:
            most = format_count(limits.max_files, "image")
            raise LimitExceeded(
                f"{upload.name} was not added, because the page keeps at most {most} and "
                f"{limits.max_total_bytes // MIB} MiB for each visitor. Remove images that you do not need."
            )
        image = ClassifiedImage(upload, await asyncio.to_thread(predict_one, self._model, upload))
        self.append(image)
        return image


def predict_one(model: ServedModel, upload: Upload) -> Prediction:
    """Classify one image."""
    (prediction,) = model.engine.predict([upload])
    return prediction


def explain(model: ServedModel, source: ImageSource, class_name: str) -> ImageWithHeatmap:
    """Compute the heat map of an image for a class."""
    return model.engine.explain(source.load(), class_name)


def read_view(model: ServedModel, source: ImageSource) -> ViewerImage | None:
    """Read an image for the viewer; return None if it cannot be read."""
    try:
        return model.engine.read(source.load(), read_for_viewer)
    except Exception:  # decoders raise any type; the result stands without the picture
        logger.debug("an image cannot be displayed", exc_info=True)
        return None

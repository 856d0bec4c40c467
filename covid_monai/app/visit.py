"""What one visitor has handed in, and what came of it: in memory, bounded, gone when they go."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

from covid_monai.api.uploads import Limits, Upload, in_memory
from covid_monai.app.desk import Model
from covid_monai.core.vocabulary import RefusalReason, Status
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.readers.viewer_image import ViewerImage, read_for_viewer

logger = logging.getLogger(__name__)
# Refused by the gate or the view: read, so that it can be shown. What the readers refuse is not decoded here.
_SHOWN_ALTHOUGH_REFUSED = frozenset(
    {
        *(RefusalReason.NOT_FRONTAL, RefusalReason.NOT_UPRIGHT),
        *(RefusalReason.INVERTED, RefusalReason.UNLIKE_TRAINING),
    }
)


@dataclass(frozen=True, eq=False)
class VisitedImage:
    """One image of a visitor.

    Args:
        upload: As it was handed in.
        prediction: What the model said.
    """

    upload: Upload
    prediction: Prediction

    @property
    def can_be_shown(self) -> bool:
        """Whether its pixels were read."""
        return self.prediction.ok or self.prediction.reason in _SHOWN_ALTHOUGH_REFUSED

    @property
    def is_dicom(self) -> bool:
        """Whether results can be attached to it; errors are no images."""
        return self.prediction.status is not Status.ERROR and not self.upload.data.startswith(
            (b"\xff\xd8\xff", b"\x89PNG")
        )


class Visit:
    """The images of one visitor, in the order in which they came.

    Args:
        model: Who classifies.
        limits: Of all that is kept together.
    """

    def __init__(self, model: Model, limits: Limits) -> None:
        self.model = model
        self._limits = limits
        self._images: list[VisitedImage] = []

    def __iter__(self) -> Iterator[VisitedImage]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)

    async def add(self, upload: Upload) -> VisitedImage:
        """Classify an image and keep it.

        Raises:
            LimitExceeded: If there is no more room for this visitor.
            Busy: If too many callers are served.
        """
        kept = [image.upload for image in self._images] + [upload]
        self._limits.check_count(len(kept))
        self._limits.check_total(sum(len(one.data) for one in kept))
        prediction = await asyncio.to_thread(_predict, self.model, upload)
        image = VisitedImage(upload, prediction)
        self._images.append(image)
        return image

    def remove(self, image: VisitedImage) -> None:
        """Forget an image."""
        self._images.remove(image)

    def clear(self) -> None:
        """Forget all."""
        self._images.clear()

    async def view(self, image: VisitedImage) -> ViewerImage | None:
        """The image for the viewer; None if it cannot be read after all."""
        return await asyncio.to_thread(_view, image.upload)

    async def explain(self, image: VisitedImage, class_name: str) -> ImageWithHeatmap:
        """Its heat map for a class.

        Raises:
            Busy: If too many callers are served.
        """
        return await asyncio.to_thread(self.model.engine.explain, image.upload, class_name)


def _predict(model: Model, upload: Upload) -> Prediction:
    (prediction,) = model.engine.predict([upload])
    return prediction


def _view(upload: Upload) -> ViewerImage | None:
    with in_memory(upload) as path:
        try:
            return read_for_viewer(path)
        except Exception:  # decoders raise what they like; the result stands without the picture
            logger.debug("an image cannot be shown", exc_info=True)
            return None


def without_name(prediction: Prediction, name: str) -> Prediction:
    """The prediction with its detail rid of the file's name, which stands beside it anyway."""
    detail = prediction.detail
    return replace(prediction, detail=detail and detail.removeprefix(f"{name}: "))

"""The image as a viewer shows it, with the heat map over it; grey, zoom and opacity change in the browser."""

import io
import secrets

import numpy as np
from matplotlib import colormaps
from nicegui.element import Element
from PIL import Image

from covid_monai.app import blobs
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.readers.viewer_image import ViewerImage
from covid_monai.results.rendering import resample_heat

_COLOURS = colormaps["inferno"]
_HEAT_SIDE = 512  # pixels: a heat map has a few dozen of its own
_OPACITY = 0.55  # at first, as in the reports


class Viewer(Element, component="viewer.js"):
    """An image with its window, zoom and heat map.

    Args:
        image: The image.
        label: What it is, for those who do not see it.
    """

    def __init__(self, image: ViewerImage, *, label: str) -> None:
        super().__init__()
        rows, columns = image.codes.shape
        self._keys: dict[str, str] = {}
        url = self._publish("image", image.grey_of_code.tobytes() + image.codes.astype("<u2").tobytes())
        self._props.update(
            url=url,
            label=label,
            columns=columns,
            rows=rows,
            low=image.low,
            high=image.high,
            center=image.center,
            spread=image.width,
            voi=image.function,
            inverse=image.inverse,
            windowed=image.has_window,
            opacity=_OPACITY,
        )

    def show_heat(self, explained: ImageWithHeatmap, class_label: str) -> None:
        """Lay a heat map over the image.

        Args:
            explained: Of the same image.
            class_label: The class that it is for, as a person reads it.
        """
        self._props["heatUrl"] = self._publish("heat", _heat_png(explained), "image/png")
        self._props["heatLabel"] = class_label

    def _publish(self, name: str, data: bytes, media_type: str = "application/octet-stream") -> str:
        if name in self._keys:
            blobs.withdraw(self.client, self._keys[name])
        self._keys[name] = secrets.token_urlsafe(8)
        return blobs.publish(self.client, self._keys[name], data, media_type)

    def _handle_delete(self) -> None:
        for key in self._keys.values():
            blobs.withdraw(self.client, key)
        super()._handle_delete()


def _heat_png(explained: ImageWithHeatmap) -> bytes:
    """Inferno colours, the hotter the less transparent."""
    scale = _HEAT_SIDE / max(explained.image.shape)
    rows, columns = (max(1, round(side * scale)) for side in explained.image.shape)
    heat = resample_heat(explained, (rows, columns))
    picture = _COLOURS(heat)
    picture[..., 3] = heat
    buffer = io.BytesIO()
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()

"""The image with its heat map over it; grey values, zoom and opacity change in the browser (viewer.js).

The browser fetches image and heat map from addresses that nobody can guess. They lie in memory, and are
removed with the visitor.
"""

import io
import secrets
from pathlib import Path

import numpy as np
from fastapi import FastAPI, HTTPException, Response
from nicegui import Client
from nicegui.element import Element
from PIL import Image

from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.readers.viewer_image import ViewerImage
from covid_monai.results.rendering import resample_heat
from covid_monai.transforms.heatmap_overlay import OPACITY, heatmap_colours

_HEATMAP_SIDE = 512  # pixels; a heat map has a few dozen of its own
_STORE = "covid_monai.published"
_URL = "/_covid_monai/{client_id}/blob/{key}"


class HeatmapViewer(Element, component=Path(__file__).parents[1] / "static" / "viewer.js"):
    """An image with window, zoom and heat map."""

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
            opacity=OPACITY,
        )

    def show_heatmap(self, heatmap: bytes, class_name: str) -> None:
        """Draw a heat map over the image; `heatmap_png` makes it, in a thread."""
        self._props["heatUrl"] = self._publish("heat", heatmap, "image/png")
        self._props["heatLabel"] = class_name

    def _publish(self, name: str, data: bytes, media_type: str = "application/octet-stream") -> str:
        """Keep bytes for the visitor's browser; return their URL."""
        published = self.client.storage.setdefault(_STORE, {})
        published.pop(self._keys.get(name), None)
        self._keys[name] = secrets.token_urlsafe(8)
        published[self._keys[name]] = (data, media_type)
        return _URL.format(client_id=self.client.id, key=self._keys[name])

    def _handle_delete(self) -> None:
        for key in self._keys.values():
            self.client.storage[_STORE].pop(key, None)
        super()._handle_delete()


def add_route(app: FastAPI) -> None:
    """Serve the images and heat maps of all viewers."""

    @app.get(_URL, include_in_schema=False)
    def published(client_id: str, key: str) -> Response:
        client = Client.instances.get(client_id)
        found = client and client.storage.get(_STORE, {}).get(key)
        if not found:
            raise HTTPException(404)
        data, media_type = found
        return Response(data, media_type=media_type, headers={"Cache-Control": "no-store"})


def heatmap_png(explained: ImageWithHeatmap) -> bytes:
    """Draw the heat map as PNG: the colours of `overlay_heatmap`, the hotter the less transparent."""
    scale = _HEATMAP_SIDE / max(explained.image.shape)
    rows, columns = (max(1, round(side * scale)) for side in explained.image.shape)
    heat = resample_heat(explained, (rows, columns))
    pixels = np.concatenate([heatmap_colours(heat), heat[..., None]], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray((pixels * 255).round().astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()

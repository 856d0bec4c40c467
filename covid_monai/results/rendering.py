"""Colour images of a radiograph as a viewer displays it, without and with its heat map and a legend."""

import io
import textwrap
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.results.wording import ascii_text, class_label, explained_class, finding, percent
from covid_monai.transforms.heatmap_overlay import overlay_heatmap

RgbImage = NDArray[np.uint8]  # shape [H, W, 3]
LONG_SIDE = 1024  # pixels of the rendered image: a heat map has a few dozen of its own
THUMBNAIL_SIDE = 192  # pixels: 14 mm at 300 dpi
_JPEG_QUALITY = 90
_LEGEND_WIDTH = 360  # pixels
_LEAST_HEIGHT = 720  # pixels, for the legend beside a low image
_MARGIN = 24
_BAR = (28, 300)  # width and height of the colour bar
_WHITE, _GREY, _ORANGE = (235, 235, 235), (165, 165, 165), (255, 176, 60)


def render_image(image: NDArray[np.float32], *, long_side: int = LONG_SIDE) -> RgbImage:
    """Render the image [H, W] in [0, 1]; its longer side gets `long_side` pixels."""
    grey = (_resize(image, long_side) * 255).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def render_thumbnail(image: NDArray[np.float32]) -> bytes:
    """Render the image [H, W] in [0, 1] as a small JPEG file for a row of a table."""
    return encode_jpeg(render_image(image, long_side=THUMBNAIL_SIDE))


def render_overlay(explained: ImageWithHeatmap) -> RgbImage:
    """Render the image with the heat map over it, in the shape of `render_image`."""
    image = _resize(explained.image, LONG_SIDE)
    return overlay_heatmap(image, resample_heat(explained, image.shape))


def encode_jpeg(image: RgbImage) -> bytes:
    """Return a colour image as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def resample_heat(explained: ImageWithHeatmap, size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the heat at the pixels of the image; 0 where the network saw nothing of the image.

    Args:
        explained: Image and heat map.
        size: Rows and columns of the rendered image.

    Returns:
        Shape `size`, in [0, 1].
    """
    scale = np.array(explained.image.shape) / size
    to_image = np.diag([*scale, 1.0])
    to_image[:2, 2] = (scale - 1) / 2  # pixel centres: the outer edges coincide, not the first centres
    to_heat = np.linalg.inv(explained.to_image) @ to_image
    swapped = to_heat[np.ix_([1, 0, 2], [1, 0, 2])]  # OpenCV counts (column, row)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # One pixel more on each side: half a pixel lies outside the outer centres, and must not fade out there.
    padded = np.pad(explained.heat, 1, mode="edge")
    swapped[:2, 2] += 1
    warped = cv2.warpAffine(padded, swapped[:2], size[::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT)
    heat: NDArray[np.float32] = np.clip(warped, 0, 1)
    return heat


def render_heatmap_with_legend(explained: ImageWithHeatmap, prediction: Prediction) -> RgbImage:
    """Render the overlay with a legend to its right: class, colour scale, limits, model.

    Args:
        explained: Image and heat map of `explained_class`.
        prediction: Prediction with status ok.
    """
    image = Image.fromarray(render_overlay(explained))
    canvas = Image.new("RGB", (image.width + _LEGEND_WIDTH, max(image.height, _LEAST_HEIGHT)))
    canvas.paste(image, (0, (canvas.height - image.height) // 2))
    _draw_legend(canvas, image.width + _MARGIN, prediction)
    return np.asarray(canvas)


def _draw_legend(canvas: Image.Image, left: int, prediction: Prediction) -> None:
    draw, class_name = ImageDraw.Draw(canvas), explained_class(prediction)
    label, model = class_label(class_name), prediction.model
    top = _write(draw, (left, _MARGIN), RESEARCH_USE.upper(), size=17, colour=_ORANGE, bold=True)
    top = _write(draw, (left, top + 18), finding(prediction), size=24, bold=True)
    words = f"Probability of {label}: {percent(prediction, class_name)}"
    top = _write(draw, (left, top + 6), words, size=17)
    words = f"Heat map (Grad-CAM): evidence for {label}"
    top = _write(draw, (left, top + 18), words, size=15)
    top = _draw_bar(canvas, (left, top + 14))
    words = "The scale is relative to the strongest evidence in this image. The map is coarse: it does not "
    words += "outline a lesion."
    top = _write(draw, (left, top + 14), words, size=15, colour=_GREY)
    words = ascii_text(f"{model['name']} {model['version']}, weights {model['weights_sha256'][:12]}")
    _write(draw, (left, top + 14), words, size=13, colour=_GREY)


def _draw_bar(canvas: Image.Image, corner: tuple[int, int]) -> int:
    """Draw the colour bar over mid grey, as the heat lies on the image; return its lower end."""
    (left, top), (width, height) = corner, _BAR
    heat = np.linspace(1, 0, height)[:, None].repeat(width, axis=1)
    canvas.paste(Image.fromarray(overlay_heatmap(np.full_like(heat, 0.5), heat)), corner)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((left - 1, top - 1, left + width, top + height), outline=_GREY)
    for share, words in ((0.0, "1.0  strongest evidence"), (0.5, "0.5"), (1.0, "0.0  none")):
        y = top + round(share * (height - 1))
        draw.line((left + width, y, left + width + 6, y), fill=_GREY)
        draw.text((left + width + 12, y), words, fill=_WHITE, font=_font(15), anchor="lm")
    return top + height


def _write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    words: str,
    *,
    size: int,
    colour: tuple[int, int, int] = _WHITE,
    bold: bool = False,
) -> int:
    """Write wrapped text; return its lower end."""
    font = _font(size, bold=bold)
    letters = int((_LEGEND_WIDTH - 2 * _MARGIN) / font.getlength("n"))
    wrapped = "\n".join(textwrap.wrap(words, letters))
    draw.multiline_text(corner, wrapped, fill=colour, font=font, spacing=5)
    return int(draw.multiline_textbbox(corner, wrapped, font=font, spacing=5)[3])


@cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(dejavu_path(bold=bold), size)


def dejavu_path(*, bold: bool = False) -> Path:
    """Return the font that comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


def _resize(image: NDArray[np.float32], long_side: int) -> NDArray[np.float32]:
    scale = long_side / max(image.shape)
    rows, columns = (max(1, round(side * scale)) for side in image.shape)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized: NDArray[np.float32] = np.clip(cv2.resize(image, (columns, rows), interpolation=method), 0, 1)
    return resized

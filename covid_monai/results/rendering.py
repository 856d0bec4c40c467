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

from covid_monai.core.vocabulary import RESEARCH_USE, RefusedImage, UnreadableImage
from covid_monai.inference import wording
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.readers import read_radiograph
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


def make_thumbnail(path: str | Path, *, side: int = THUMBNAIL_SIDE) -> bytes | None:
    """Draw an image as displayed as a small JPEG file; None if the file holds no single grey image."""
    try:
        (image,), _ = read_radiograph(path, target_size=side)
    except (RefusedImage, UnreadableImage):
        return None
    return encode_jpeg(render_image(image, long_side=side))


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
    """Return the heat, in [0, 1], at the pixels of a rendering of `size` (rows, columns) of the image.

    It is 0 where the network saw nothing of the image.
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
    """Render the overlay with a legend to its right: class, colour scale, limits, model."""
    image = Image.fromarray(render_overlay(explained))
    canvas = Image.new("RGB", (image.width + _LEGEND_WIDTH, max(image.height, _LEAST_HEIGHT)))
    canvas.paste(image, (0, (canvas.height - image.height) // 2))
    _draw_legend(canvas, image.width + _MARGIN, prediction)
    return np.asarray(canvas)


def _draw_legend(canvas: Image.Image, left: int, prediction: Prediction) -> None:
    class_name, model = wording.explained_class(prediction), prediction.model
    label, top = wording.class_label(class_name), _MARGIN
    limits = "The scale is relative to the strongest evidence in this image. The map is coarse: it does not "
    limits += "outline a lesion."
    origin = wording.ascii_text(f"{model['name']} {model['version']}, weights {model['weights_sha256'][:12]}")
    for gap, font, colour, words in (
        (0, _font(17, bold=True), _ORANGE, RESEARCH_USE.upper()),
        (18, _font(24, bold=True), _WHITE, wording.finding(prediction)),
        (6, _font(17), _WHITE, wording.probability_words(prediction)),
        (18, _font(15), _WHITE, f"Heat map (Grad-CAM): evidence for {label}"),
        (14, _font(15), _WHITE, ""),  # the colour bar
        (14, _font(15), _GREY, limits),
        (14, _font(13), _GREY, origin),
    ):
        corner = (left, top + gap)
        top = _write(canvas, corner, words, font, colour) if words else _draw_bar(canvas, corner)


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
    canvas: Image.Image,
    corner: tuple[int, int],
    words: str,
    font: ImageFont.FreeTypeFont,
    colour: tuple[int, int, int],
) -> int:
    """Write wrapped text; return its lower end."""
    draw = ImageDraw.Draw(canvas)
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

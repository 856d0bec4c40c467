"""The image as it is displayed and the heat map over it, with a legend burnt in, in colour."""

import io
import textwrap
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.inference.grad_cam import ImageHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.results.dicom.codes import ascii_text, class_label
from covid_monai.results.wording import finding, percent, shown_class

Picture = NDArray[np.uint8]
LONG_SIDE = 1024  # pixels of the image: a heat map has a few dozen of its own
THUMBNAIL = 192  # pixels: 14 mm at 300 dpi
_JPEG_QUALITY = 90
_LEGEND = 360  # pixels wide
_LEAST_HEIGHT = 720  # for the legend beside a low image
_MARGIN = 24
_OPACITY = 0.55
_COLOURS = colormaps["inferno"]
_BAR = (28, 300)  # width and height of the colour bar
_TEXT, _DIM, _ALERT = (235, 235, 235), (165, 165, 165), (255, 176, 60)


def image_picture(image: NDArray[np.float32], *, long_side: int = LONG_SIDE) -> Picture:
    """The image [H, W] in [0, 1] as displayed: shape [h, w, 3], longer side so long, aspect ratio kept."""
    grey = (_bounded(image, long_side) * 255).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def thumbnail(image: NDArray[np.float32]) -> bytes:
    """A small JPEG of an image [H, W] in [0, 1], for a row of a table."""
    return jpeg(image_picture(image, long_side=THUMBNAIL))


def jpeg(picture: Picture) -> bytes:
    """A picture as JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def overlay(explained: ImageHeatmap) -> Picture:
    """The image with the heat map on it: the hotter, the less of it shows. Shape as `image_picture`."""
    image = _bounded(explained.image, LONG_SIDE)[..., None]
    heat = heat_on_image(explained, image.shape[:2])[..., None]
    blended = image * (1 - _OPACITY * heat) + _COLOURS(heat[..., 0])[..., :3] * (_OPACITY * heat)
    return (blended * 255).round().astype(np.uint8)


def heat_on_image(explained: ImageHeatmap, size: tuple[int, int]) -> NDArray[np.float32]:
    """The heat map at the places of the image's pixels, 0 where the network saw nothing of the image.

    Args:
        explained: Heat map and image.
        size: Rows and columns that the image is shown with.

    Returns:
        Shape `size`, in [0, 1].
    """
    scale = np.array(explained.image.shape) / size
    to_image = np.diag([*scale, 1.0])
    to_image[:2, 2] = (scale - 1) / 2  # pixel centres: the outer edges coincide, not the first centres
    to_heat = np.linalg.inv(explained.to_image) @ to_image
    swapped = to_heat[np.ix_([1, 0, 2], [1, 0, 2])]  # OpenCV counts (column, row)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # One pixel more all round: half a pixel lies outside the outer centres, and must not fade out there.
    padded = np.pad(explained.heat, 1, mode="edge")
    swapped[:2, 2] += 1
    warped = cv2.warpAffine(padded, swapped[:2], size[::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return np.clip(warped, 0, 1)


def heatmap_picture(explained: ImageHeatmap, prediction: Prediction) -> Picture:
    """The overlay with its legend to the right: what it shows, of which class, and what it is not.

    Args:
        explained: Image and heat map of the class that is shown.
        prediction: With status ok.

    Returns:
        Shape [H, W, 3], RGB.
    """
    image = Image.fromarray(overlay(explained))
    canvas = Image.new("RGB", (image.width + _LEGEND, max(image.height, _LEAST_HEIGHT)))
    canvas.paste(image, (0, (canvas.height - image.height) // 2))
    _draw_legend(ImageDraw.Draw(canvas), image.width + _MARGIN, canvas, prediction)
    return np.asarray(canvas)


def _draw_legend(draw: ImageDraw.ImageDraw, left: int, canvas: Image.Image, prediction: Prediction) -> None:
    class_name = shown_class(prediction)
    top = _write(draw, (left, _MARGIN), RESEARCH_USE.upper(), size=17, colour=_ALERT, bold=True)
    top = _write(draw, (left, top + 18), finding(prediction), size=24, colour=_TEXT, bold=True)
    words = f"Probability of {class_label(class_name)}: {percent(prediction, class_name)}"
    top = _write(draw, (left, top + 6), words, size=17, colour=_TEXT)
    words = f"Heat map (Grad-CAM): where on the image the evidence for {class_label(class_name)} lies."
    top = _write(draw, (left, top + 18), words, size=15, colour=_TEXT)
    top = _draw_bar(draw, canvas, (left, top + 14))
    words = "Relative to the hottest place of this image. Coarse, and no outline of a lesion."
    top = _write(draw, (left, top + 14), words, size=15, colour=_DIM)
    model = prediction.model
    words = ascii_text(f"{model['name']} {model['version']}, weights {model['weights_sha256'][:12]}")
    _write(draw, (left, top + 14), words, size=13, colour=_DIM)


def _draw_bar(draw: ImageDraw.ImageDraw, canvas: Image.Image, corner: tuple[int, int]) -> int:
    """Draw the colour bar over mid grey, as the heat lies on the image; return where it ends."""
    (left, top), (width, height) = corner, _BAR
    heat = np.linspace(1, 0, height)[:, None]
    colours = 0.5 * (1 - _OPACITY * heat) + _COLOURS(heat[:, 0])[:, :3] * (_OPACITY * heat)
    bar = np.repeat((colours * 255).round().astype(np.uint8)[:, None], width, axis=1)
    canvas.paste(Image.fromarray(bar), corner)
    draw.rectangle((left - 1, top - 1, left + width, top + height), outline=_DIM)
    for share, words in ((0.0, "1.0  strongest evidence"), (0.5, "0.5"), (1.0, "0.0  none")):
        y = top + round(share * (height - 1))
        draw.line((left + width, y, left + width + 6, y), fill=_DIM)
        draw.text((left + width + 12, y), words, fill=_TEXT, font=_font(15), anchor="lm")
    return top + height


def _write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    words: str,
    *,
    size: int,
    colour: tuple[int, int, int],
    bold: bool = False,
) -> int:
    """Write wrapped text; return where it ends."""
    font = _font(size, bold=bold)
    letters = int((_LEGEND - 2 * _MARGIN) / font.getlength("n"))
    wrapped = "\n".join(textwrap.wrap(words, letters))
    draw.multiline_text(corner, wrapped, fill=colour, font=font, spacing=5)
    return int(draw.multiline_textbbox(corner, wrapped, font=font, spacing=5)[3])


@cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(dejavu(bold=bold), size)


def dejavu(*, bold: bool = False) -> Path:
    """The font that comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


def _bounded(image: NDArray[np.float32], long_side: int) -> NDArray[np.float32]:
    scale = long_side / max(image.shape)
    rows, columns = (max(1, round(side * scale)) for side in image.shape)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.clip(cv2.resize(image, (columns, rows), interpolation=method), 0, 1)

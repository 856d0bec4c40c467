"""Arrays of pixels as pictures that a page holds inside itself: nothing is fetched, nothing is stored."""

import base64
import io

from PIL import Image

from covid_monai.results.rendering import RgbImage

THUMBNAIL_SIDE = 96  # pixels


def jpeg(picture: RgbImage, *, side: int | None = None) -> bytes:
    """A picture as a JPEG file.

    Args:
        picture: Shape [H, W] or [H, W, 3].
        side: The longer side is made at most so many pixels long; None keeps the size.
    """
    image = Image.fromarray(picture)
    if side is not None:
        image.thumbnail((side, side))
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=85)
    return data.getvalue()


def data_uri(data: bytes, *, kind: str = "jpeg") -> str:
    """A picture file as the source of an image element.

    Args:
        data: The file.
        kind: jpeg or png.
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"

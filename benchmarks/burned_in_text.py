"""Measure how often `data deidentify` finds writing in an image, and how often it is wrong.

    COVID_MONAI_DATA=... python benchmarks/burned_in_text.py

Writing is planted on images of the NIH at random places where it is visible (100 of 255 grey levels from its
surroundings). A person must judge whether each alarm on the original images is true (--sheets DIR).
"""

import argparse
import os
import random
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from covid_monai.deidentify.text_detection import find_text_lines, has_text

WORDS = ("DOE^JANE 1961-04-02", "ID 4711-0815", "MUSTERMANN, ERIKA", "Müller Hans 12.03.1960")
MARKERS = ("L", "R", "PA", "AP")
FOLDERS = (
    "chest_xray/test",
    "darkcovidnet/No_findings",
    "covid-chestxray-dataset/images",
    "covid-cxnet/covid19",
)
FONT = f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"
Pixels = NDArray[np.uint8]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sheets", type=Path, help="folder for the images with an alarm and its boxes")
    parser.add_argument("--images", type=int, default=150)
    arguments = parser.parse_args()
    root = Path(os.environ["COVID_MONAI_DATA"])
    # Words are planted on images without an alarm: 40 as they are, 10 of them four times as large.
    clean = [image for _, image in sample(root / FOLDERS[1], 80) if not has_text(image)][:40]
    large = [cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC) for image in clean[:10]]
    large = [image for image in large if not has_text(image)]
    for name, images, sizes in (
        ("512", clean, (8, 12, 16, 24, 40)),
        ("2048", large, (8, 12, 24, 40, 56, 80)),
    ):
        for size in sizes:
            for tone in (0, 255):
                print(f"{name} px images, {size} px, tone {tone}: {count_found(images, WORDS, size, tone)}")
        print(f"{name} px images, markers alone: {count_found(images, MARKERS, 32, 255)}")
    for folder in FOLDERS:
        alarms = [(path, image) for path, image in sample(root / folder, arguments.images) if has_text(image)]
        print(f"{folder}: {len(alarms)} alarms on {arguments.images} images")
        if arguments.sheets:
            save_boxes(alarms, arguments.sheets / folder.replace("/", "_"))


def sample(folder: Path, count: int) -> Iterator[tuple[Path, Pixels]]:
    """Yield the same images every time."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for path in random.Random(0).sample(paths, min(count, len(paths))):  # noqa: S311
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is not None:
            yield path, image


def count_found(images: list[Pixels], words: tuple[str, ...], size: int, tone: int) -> str:
    """Return how many of the planted words were found."""
    rng = random.Random(size)  # noqa: S311
    found = [
        has_text(written)
        for image in images
        for word in words
        if (written := write(image, word, size, tone, rng)) is not None
    ]
    return f"{sum(found)} of {len(found)}"


def write(image: Pixels, word: str, size: int, tone: int, rng: random.Random) -> Pixels | None:
    """Return a copy with a word where it is visible; None if there is no such place."""
    font = ImageFont.truetype(FONT, size)
    width, height = (int(value) for value in font.getbbox(word)[2:])
    if width >= image.shape[1] - 4 or height >= image.shape[0] - 4:
        return None
    for _ in range(40):
        x, y = rng.randint(2, image.shape[1] - width - 2), rng.randint(2, image.shape[0] - height - 2)
        place = image[y : y + height, x : x + width]
        if abs(float(np.median(place)) - tone) >= 100 and place.std() < 60:
            sheet = Image.fromarray(image)
            ImageDraw.Draw(sheet).text((x, y), word, fill=tone, font=font)
            return np.asarray(sheet)
    return None


def save_boxes(alarms: list[tuple[Path, Pixels]], folder: Path) -> None:
    """Save images with the boxes of the alarms; boxes of the halved image are at half their position."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, image in alarms:
        boxed = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        for line in find_text_lines(image):
            corner = (line.left + line.width, line.top + line.height)
            cv2.rectangle(boxed, (line.left, line.top), corner, (0, 0, 255), 2)
        cv2.imwrite(str(folder / f"{path.stem}.png"), boxed)


if __name__ == "__main__":
    main()

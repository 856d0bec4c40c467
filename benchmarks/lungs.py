"""Count on how many radiographs the shipped lung bundle finds lungs, and on how many other pictures it does.

COVID_MONAI_DATA=DIR python benchmarks/lungs.py [--bundle DIR] [--images 150] [--output lungs.json]
"""

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import skimage.data
import torch
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from covid_monai.core.errors import exception_chain
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.datasets.collections import SOURCES
from covid_monai.datasets.collections.base import Record
from covid_monai.lungs import LungQuality, LungSegmenter, lung_quality
from covid_monai.readers import read_radiograph

FRONTAL = {
    "kermany": "chest_xray",
    "darkcovidnet": "darkcovidnet",
    "ieee8023": "covid-chestxray-dataset",
    "covid-cxnet": "covid-cxnet",
    "covid19-image-dataset": "covid19-image-dataset",
}
FRONTAL_DICOM = ("dicom/RG1_J2KI.dcm", "dicom-more/CR-MONO1-10-chest.dcm")
OTHER_DICOM = (
    "dicom/vlut_04.dcm",
    "dicom/RG3_J2KI.dcm",
    "dicom/RG3_J2KR.dcm",
    "dicom-more/CR-ModalitySequenceLUT.dcm",
)
PICTURES = (
    "brick",
    "camera",
    "coins",
    "gravel",
    "grass",
    "moon",
    "page",
    "text",
    "clock",
    "cell",
    "checkerboard",
)


def radiographs(data: Path, *, most: int) -> Iterator[tuple[str, str, Path]]:
    """Yield kind, collection and path: of each collection at most `most` images, spread over all of them."""
    for source, folder in FRONTAL.items():
        found = [each.image for each in SOURCES[source].records(data / folder) if isinstance(each, Record)]
        chosen = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
        yield from (("frontal", source, found[index]) for index in chosen)
    yield from (("frontal", "dicom", data / name) for name in FRONTAL_DICOM)


def no_chests(data: Path, *, most: int) -> Iterator[tuple[str, str, NDArray[Any]]]:
    """Yield kind, group and pixels: CT slices, other body parts, photographs, textures, noise."""
    slices = sorted((data / "ucsd-covid-ct").glob("*covid/*"))
    for path in slices[:: max(1, len(slices) // most)]:
        yield "no chest", "CT slice", skimage.io.imread(path, as_gray=True)
    for name in OTHER_DICOM:
        yield "no chest", "other body part", pydicom.dcmread(data / name).pixel_array.astype(float)
    for name in PICTURES:
        picture = getattr(skimage.data, name)().astype(float)
        yield from (("no chest", "picture", np.rot90(picture, turns)) for turns in range(4))
    rng = np.random.default_rng(0)
    for scale in (1, 4, 16, 64):
        noise = rng.random((256 // scale, 256 // scale))
        yield from (("no chest", "noise", np.kron(noise, np.ones((scale, scale)))) for _ in range(3))
    yield "no chest", "noise", np.tile(np.linspace(0, 1, 256), (256, 1))


def look(segmenter: LungSegmenter, image: Path | NDArray[Any]) -> LungQuality | None:
    """Return the figures of the lungs; None if the reader refuses the file."""
    if isinstance(image, Path):
        try:
            image = read_radiograph(image, target_size=segmenter.bundle.image_size)[0][0]
        except (RefusedImage, UnreadableImage) as error:
            print(f"{next(exception_chain(error))}")
            return None
    return lung_quality(segmenter(np.ascontiguousarray(image, dtype=np.float32)))


def summarise(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return a Markdown table: images and share with lungs, with Wilson's interval, by group."""
    lines = ["| images of | images | lungs found |", "|---|---|---|"]
    rows = list(rows)
    groups = dict.fromkeys((row["kind"], row["group"]) for row in rows)
    for kind, group in [*groups, ("frontal", ""), ("no chest", "")]:
        found = [row["found"] for row in rows if row["kind"] == kind and group in ("", row["group"])]
        if not found:
            continue
        low, high = proportion_confint(sum(found), len(found), method="wilson")
        share = f"{np.mean(found):.1%} ({low:.1%} to {high:.1%})"
        lines.append(f"| {kind}: {group or 'all'} | {len(found):,} | {share} |")
    return lines


def main() -> None:
    """Print the table and the time of one mask, and write the figures of every image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--images", type=int, default=150, help="most images of a group")
    parser.add_argument("--output", type=Path, default=Path("lungs.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, segmenter = Path(os.environ["COVID_MONAI_DATA"]), LungSegmenter(options.bundle)
    rows, seconds = [], []
    for make in (partial(radiographs, data), partial(no_chests, data)):
        for kind, group, image in make(most=options.images):
            start = time.process_time()
            quality = look(segmenter, image)
            seconds.append(time.process_time() - start)
            if quality is not None:
                name = image.name if isinstance(image, Path) else ""
                rows.append({"kind": kind, "group": group, "name": name, **quality.to_json()})
    print("\n".join(summarise(rows)))
    print(f"Median processor time of one image, reading included: {np.median(seconds) * 1000:.0f} ms")
    options.output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

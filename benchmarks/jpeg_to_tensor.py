"""Time from a JPEG of 2048 x 2048 pixels to the network's tensor, compared with Pillow and MONAI.

    python benchmarks/jpeg_to_tensor.py

The peer is MONAI's `LoadImaged` with `PILReader`, `Resized` and its percentile scaling. Everything runs on
one thread; the readers take turns, and the median counts. The script ends with an error if a tensor differs,
in the mean, by more than two grey levels from that of the image decoded whole or from the peer's.
"""

import tempfile
from pathlib import Path

import numpy as np
from common import alternate, table
from monai.data import PILReader
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    Resized,
    ScaleIntensityRangePercentilesd,
)
from PIL import Image
from reading import ToTensor, as_way, finish, grey_levels, options, our_ways, radiograph

from covid_monai.dicom.pixels.downscaling import OVERSAMPLING


def peer(size: int) -> ToTensor:
    """Return the transforms that a MONAI user writes: the whole image, then the steps of the bundle."""
    reader = PILReader(converter=lambda image: image.convert("L"), reverse_indexing=False)
    return as_way(
        Compose(
            [
                LoadImaged("image", reader=reader),
                EnsureChannelFirstd("image", channel_dim="no_channel"),
                Resized("image", (size, size), mode="area"),
                ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1, clip=True),
                NormalizeIntensityd("image", 0.449, 0.226),
            ]
        )
    )


def write_jpegs(folder: Path) -> dict[str, Path]:
    """Write one image in the kinds of JPEG that collections hold."""
    image = Image.fromarray((radiograph() * 255).round().astype(np.uint8))
    kinds = {
        "grey, quality 75": (image, {"quality": 75}),
        "grey, quality 90": (image, {"quality": 90}),
        "RGB, quality 75": (image.convert("RGB"), {"quality": 75}),
        "progressive, 75": (image, {"quality": 75, "progressive": True}),
    }
    for number, (picture, settings) in enumerate(kinds.values()):
        picture.save(folder / f"{number}.jpg", **settings)
    return {name: folder / f"{number}.jpg" for number, name in enumerate(kinds)}


def _decode_alone(path: Path, size: int, repeats: int) -> float:
    """Return the milliseconds of Pillow's reduced decoding, mostly Huffman decoding: the lower limit."""

    def decode() -> None:
        with Image.open(path) as image:
            image.draft(None, (OVERSAMPLING * size, OVERSAMPLING * size))
            image.load()

    return alternate({"": decode}, repeats)[""] * 1e3


def main() -> None:
    """Measure each kind and print one table."""
    chosen = options(__doc__, "jpeg_to_tensor.json")
    ours, whole = our_ways(chosen.size)
    theirs = peer(chosen.size)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_jpegs(Path(folder)).items():
            ways = {"ours": ours, "whole": whole, "Pillow + MONAI": theirs}
            tensors = {way: read(path) for way, read in ways.items()}
            taken = alternate(
                {way: lambda r=read, p=path: r(p) for way, read in ways.items()}, chosen.repeats
            )
            rows.append(
                {
                    "JPEG": name,
                    "kB": path.stat().st_size // 1000,
                    "decoding alone": _decode_alone(path, chosen.size, chosen.repeats),
                    **{way: seconds * 1e3 for way, seconds in taken.items()},
                    "ratio": taken["Pillow + MONAI"] / taken["ours"],
                    "off whole": grey_levels(tensors["ours"], tensors["whole"]),
                    "off peer": grey_levels(tensors["ours"], tensors["Pillow + MONAI"]),
                }
            )
    table(rows, f"JPEG 2048 x 2048 to {chosen.size} x {chosen.size}: ms on one thread; grey levels of 255")
    finish(rows, chosen, ("off whole", "off peer"))


if __name__ == "__main__":
    main()

"""Time to prepare a collection with the image cache and to open 100,000 entries, beside MONAI's caches.

    python benchmarks/cache.py --images $COVID_MONAI_DATA/chest_xray        # 5,840 JPEG images of your own
    python benchmarks/cache.py --quick

Without a folder the script makes 1,000 JPEG pictures. MONAI's CacheDataset (memory) and PersistentDataset
(disk) prepare the first of the same images with the same preprocessing, in turns with ours. Opening is
measured on files of a few bytes, because only their number matters there.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import alternate, table
from monai.data import CacheDataset, PersistentDataset
from monai.transforms import Compose
from PIL import Image

from covid_monai.bundle import Bundle
from covid_monai.training.dataset import decode_image, split_normalization
from covid_monai.training.image_cache import ImageCache

BUNDLE = Path(__file__).parents[1] / "bundles" / "covid_cxr_classification"
WORKERS = os.cpu_count() or 1


def main() -> None:
    """Measure, check, print two tables and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="folder of JPEG images")
    parser.add_argument("--size", type=int, default=128, help="rows and columns of a cached image")
    parser.add_argument("--compared", type=int, default=400, help="images that MONAI's caches prepare too")
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--output", type=Path, default=Path("cache.json"))
    options = parser.parse_args()
    if options.quick:
        options.compared, options.entries, options.repeats = 40, options.entries // 10, 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = _images(options.images, folder / "images", 100 if options.quick else 1000)
        preparing = _prepare(files, folder, options)
        opening = _open(folder / "opening", options.entries)
    options.output.write_text(
        json.dumps({"preparing": preparing, "opening": opening, "threads": WORKERS}, indent=2)
    )
    table(preparing, f"Preparing images of {options.size} x {options.size}, {WORKERS} threads")
    table(opening, "Opening, every image there already")


def _images(given: Path | None, folder: Path, count: int) -> list[str]:
    if given is not None:
        return sorted(str(path) for path in given.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        noise = generator.integers(0, 256, (64, 64), dtype=np.uint8)
        Image.fromarray(noise).resize((1024, 1024)).save(folder / f"{number}.jpg", quality=90)
    return [str(path) for path in sorted(folder.iterdir())]


def _prepare(files: list[str], folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    preprocessing = Bundle(BUNDLE, image_size=options.size).preprocessing
    decoding, _ = split_normalization(preprocessing)
    decode, few = partial(decode_image, decoding=decoding), files[: options.compared]
    items, number = [{"image": file} for file in few], itertools.count()

    def persistent() -> None:
        dataset = PersistentDataset(items, preprocessing, cache_dir=folder / f"monai{next(number)}")
        for index in range(len(dataset)):
            dataset[index]

    seconds = alternate(
        {
            "CacheDataset": lambda: CacheDataset(items, preprocessing, num_workers=WORKERS, progress=False),
            "PersistentDataset": persistent,
            "ImageCache": lambda: ImageCache(folder / f"ours{next(number)}", size=options.size).images(
                few, decode
            ),
        },
        options.repeats,
    )
    begin = time.perf_counter()
    images = ImageCache(folder / "all", size=options.size).images(files, decode)
    seconds_of_all = time.perf_counter() - begin
    _check(images, files, decoding)
    rows = [_row(name, len(few), taken) for name, taken in seconds.items()]
    return [*rows, _row("ImageCache, all", len(files), seconds_of_all)]


def _row(name: str, images: int, seconds: float) -> dict[str, Any]:
    return {"cache": name, "images": images, "seconds": seconds, "images_a_second": images / seconds}


def _check(images: Any, files: list[str], decoding: Compose) -> None:
    """Exit unless a sample is what the preprocessing gives, to half a grey level."""
    for index in range(0, len(files), max(1, len(files) // 50)):
        exact = decoding({"image": files[index]})["image"].as_tensor() * 255
        error = (images[torch.tensor([index])][0] - exact).abs().max().item()
        if error > 0.5 + 1e-3:
            sys.exit(f"{files[index]}: the cached image differs by {error:.3f} grey levels.")


def _open(folder: Path, entries: int) -> list[dict[str, Any]]:
    files = [folder / str(number // 1000) / f"{number}.jpg" for number in range(entries)]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    time.sleep(3)  # younger files are read again, as they could still change
    names = [str(path) for path in files]

    def number_of(name: str) -> torch.Tensor:
        return torch.full((1, 16, 16), int(Path(name).stem) % 251, dtype=torch.uint8)

    def opened() -> Any:
        return ImageCache(folder / "cache", size=16).images(names, number_of)

    begin = time.perf_counter()
    opened()
    filled = time.perf_counter() - begin
    seconds = alternate({"opened": opened}, 5)["opened"]
    sample = torch.arange(0, entries, 997)
    if not torch.equal(opened()[sample][:, 0, 0, 0].long(), sample % 251):
        sys.exit("The cache returns other images than were put in.")
    return [{"entries": entries, "opened_s": seconds, "filled_s": filled}]


if __name__ == "__main__":
    main()

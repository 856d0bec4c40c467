"""Common parts of the reading benchmarks: the image, our readers, the difference between two tensors."""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from monai.transforms import Compose, LoadImaged
from numpy.typing import NDArray

from covid_monai.bundle import Bundle
from covid_monai.phantoms.radiograph import draw_radiograph
from covid_monai.readers import RadiographReader

BUNDLE = Path(__file__).parents[1] / "bundles" / "covid_cxr_classification"
SIDE = 2048
MAX_GREY_LEVELS = 2.0  # of 255, mean over the image
_NORMALISED = 0.226 * 255  # from the network's scale to grey levels

ToTensor = Callable[[Path], torch.Tensor]


def options(description: str | None, output: str) -> argparse.Namespace:
    """Parse the options, and restrict torch and OpenCV to one thread."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(output))
    parser.add_argument("--size", type=int, default=128, help="rows and columns of the network's input")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="three repeats")
    chosen = parser.parse_args()
    chosen.repeats = 3 if chosen.quick else chosen.repeats
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    return chosen


def radiograph() -> NDArray[np.float32]:
    """Return a phantom of 2048 x 2048 pixels in [0, 1], with the grain of a detector."""
    drawn = draw_radiograph("pneumonia", seed=4, size=SIDE)
    grain = np.random.default_rng(0).normal(0, 0.004, drawn.shape)
    return np.clip(drawn + grain, 0, 1).astype(np.float32)


def our_ways(size: int) -> tuple[ToTensor, ToTensor]:
    """Return the bundle's preprocessing, and the same without reduced decoding."""
    steps = Bundle(BUNDLE, image_size=size).preprocessing
    whole = Compose([LoadImaged("image", reader=RadiographReader), *steps.transforms[1:]])
    return as_way(steps), as_way(whole)


def as_way(transform: Compose) -> ToTensor:
    """Return a dictionary transform as a function of a path."""
    return lambda path: transform({"image": str(path)})["image"].as_tensor()


def grey_levels(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the mean difference of two network inputs in grey levels of 255."""
    return float((first - second).abs().mean()) * _NORMALISED


def finish(rows: list[dict[str, Any]], chosen: argparse.Namespace, keys: tuple[str, ...]) -> None:
    """Write the JSON; end with an error if a tensor differs by more than `MAX_GREY_LEVELS`."""
    result = {"size": chosen.size, "side": SIDE, "repeats": chosen.repeats, "threads": 1}
    chosen.output.write_text(json.dumps(result | {"load": os.getloadavg()[0], "rows": rows}, indent=1))
    for row in rows:
        for key in keys:
            if isinstance(row[key], float) and row[key] > MAX_GREY_LEVELS:
                raise SystemExit(f"{row}: {key} is above {MAX_GREY_LEVELS} grey levels")

"""Files with lung masks: reading them, and the mask of a whole image to write."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImaged, Transform
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate


def read_mask(path: str | Path, *, size: int) -> Tensor:
    """Read a mask, white where the lungs are, as uint8 `[1, size, size]`: 255 times the share of lung.

    Raises:
        ValueError: If the file is no image.
    """
    try:
        with Image.open(path) as file:
            mask = torch.from_numpy(np.array(file.convert("L")) > 127)
    except OSError as error:
        raise ValueError(
            f"The mask {path} cannot be read ({error}). Give a PNG, white in the lungs."
        ) from error
    return adaptive_avg_pool2d(mask[None].float() * 255, size).round().to(torch.uint8)


class WholeMaskd(Transform):
    """Turn the logits of a network into a mask of the whole image, in the order of MONAI's writers.

    MONAI's `SaveImage` and MONAI Label take columns first, whereas our readers give rows first. The size is
    taken out of the metadata of `image`, because MONAI Label would resize the mask again.
    """

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Replace `pred`, logits `[C, h, w]`, by the number of the most probable class, `[W, H]`."""
        image = data["image"]
        rows, columns = (int(side) for side in image.meta.pop("spatial_shape"))
        logits = torch.as_tensor(data["pred"]).as_subclass(Tensor)[None].float()
        whole = interpolate(logits, size=(rows, columns), mode="bilinear").argmax(dim=1)
        return {**data, "pred": MetaTensor(whole[0].T.to(torch.uint8), meta=image.meta)}


class SaveMaskd(SaveImaged):
    """Write `pred` of `WholeMaskd` as `NAME_lungs.png`, 255 in the lungs.

    MONAI Label leaves out this step, as it does every `SaveImaged`.

    Args:
        output_dir: Folder of the masks.
    """

    def __init__(self, output_dir: str) -> None:
        super().__init__(
            "pred",
            output_dir=output_dir,
            output_postfix="lungs",
            output_ext=".png",
            scale=255,
            resample=False,
            separate_folder=False,
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the mask of one image, and return the data as they are."""
        super().__call__({**data, "pred": data["pred"][None]})  # MONAI expects a channel
        return dict(data)

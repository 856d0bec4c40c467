"""Lung and mediastinum windows for CT."""

from collections.abc import Sequence

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends
from numpy.typing import NDArray

from covid_monai.core.errors import unknown_choice
from covid_monai.transforms.base import EachKey, as_plain_tensor, as_type_of

# (center, width) in HU.
CT_WINDOWS = {"lung": (-600.0, 1500.0), "mediastinum": (40.0, 400.0)}


def apply_lung_window(
    image_hu: NDArray[np.floating] | NDArray[np.integer],
    *,
    window_center: float = -600.0,
    window_width: float = 1500.0,
) -> NDArray[np.float32]:
    """Map Hounsfield units to [0, 1] through a linear lung window.

    CT only: radiographs (Modality CR or DX) carry no Hounsfield scale.

    As in LINEAR (not LINEAR_EXACT), `window_width` counts grey levels with both ends: 0 is reached at
    `window_center - 0.5 - (window_width - 1) / 2`, 1 at `window_center - 0.5 + (window_width - 1) / 2`.

    Args:
        image_hu: Array of any shape; modality rescale already applied.
        window_center: Middle of the window, in HU.
        window_width: Width of the window, in HU; greater than 1.

    Returns:
        Same shape as `image_hu`, clipped to [0, 1].

    Reference: DICOM PS3.3 C.11.2.1.2.1 (VOI LUT Function LINEAR).

    >>> apply_lung_window(np.array([-1400.0, -600.0, 200.0])).round(3)
    array([0. , 0.5, 1. ], dtype=float32)
    """
    if not window_width > 1:
        raise ValueError(f"window_width must be greater than 1 HU, got {window_width}.")
    windowed = np.array(image_hu, dtype=np.float32)
    windowed -= window_center - 0.5
    windowed /= window_width - 1
    windowed += 0.5
    return np.clip(windowed, 0, 1, out=windowed)


def resolve_window(window: str | Sequence[float]) -> tuple[float, float]:
    """Return center and width in HU of a window, which is a name in `CT_WINDOWS` or such a pair.

    >>> resolve_window("mediastinum")
    (40.0, 400.0)
    """
    if isinstance(window, str):
        if window not in CT_WINDOWS:
            raise ValueError(unknown_choice("window", window, [*CT_WINDOWS, "(center, width)"]))
        return CT_WINDOWS[window]
    # `windows=(-600, 1500)` gives a single number here: it should be a list of one pair.
    pair = [float(number) for number in window] if isinstance(window, Sequence) else []
    if len(pair) != 2 or not pair[1] > 1:
        raise ValueError(
            f"A window is a name or (center, width) in HU with a width above 1, got {window!r}. "
            "Write one window as [[-600, 1500]]."
        )
    return pair[0], pair[1]


class LungWindow(Transform):
    """Turn a CT volume in HU into one channel in [0, 1] per window.

    Args:
        windows: Names in `CT_WINDOWS` ("lung": -600/1500, "mediastinum": 40/400) or (center, width) pairs in
            HU, in the order of the output channels.

    Raises:
        ValueError: No window is given, or one is unknown or not wider than 1 HU.

    Reference: DICOM PS3.3 C.11.2.1.2.1 (VOI LUT Function LINEAR).

    >>> LungWindow(["lung", (40, 400)])(np.full((1, 2, 2, 2), 40.0)).shape
    (2, 2, 2, 2)
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012  # MONAI's own attribute

    def __init__(self, windows: str | Sequence[str | Sequence[float]] = ("lung",)) -> None:
        windows = [windows] if isinstance(windows, str) else windows
        self.windows = [resolve_window(window) for window in windows]
        if not self.windows:
            raise ValueError("windows is empty. Name at least one window.")

    def __call__(self, image_hu: NdarrayOrTensor) -> NdarrayOrTensor:
        """Window a volume in HU, `[1, X, Y, Z]` or `[1, H, W]`; another number of channels is a `ValueError`.

        Returns:
            `[len(windows), ...]`, float32 in [0, 1], same type and metadata as `image_hu`.
        """
        if image_hu.shape[0] != 1:
            raise ValueError(
                f"LungWindow needs one channel in HU but got shape {tuple(image_hu.shape)}. "
                "Put EnsureChannelFirst before it, and window only once."
            )
        source = as_plain_tensor(image_hu)
        volume = source[0].float().cpu().numpy()
        channels = np.empty((len(self.windows), *volume.shape), dtype=np.float32)
        for channel, (center, width) in zip(channels, self.windows, strict=True):
            channel[...] = apply_lung_window(volume, window_center=center, window_width=width)
        return as_type_of(torch.from_numpy(channels).to(source.device), image_hu)


class LungWindowd(EachKey):
    """Dictionary version of `LungWindow`, with the same arguments; see also `EachKey`."""

    array_class = LungWindow

"""Which pairs of pictures may be one film: perceptual hashes of the whole picture and of parts of it.

A film and its crop have different hashes. So each picture is hashed in windows too that leave out a part at
one side or more: one of them comes near to the crop.

Reference: ImageHash (Buchner), pHash: the signs of the low frequencies of a cosine transform.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covid_monai.datasets.duplicate_neighbourhoods import COMPARED, Neighbourhood, Numbers, neighbourhoods
from covid_monai.datasets.duplicate_pictures import SIDE, Picture
from covid_monai.datasets.duplicate_registration import Layout, band_pass

_HASH_SIZE = 16
_BITS = _HASH_SIZE**2
_HASHED_SIDE = 64  # pixels
# Starts and ends along an axis. Smaller parts were tried: crops that leave out a third come no nearer than
# strangers do.
_PARTS = ((0.0, 1.0), (0.0, 0.9), (0.1, 1.0), (0.05, 0.95))
_WINDOWS = tuple((*rows, *columns) for rows, columns in product(_PARTS, _PARTS))
SIGNS_SHAPE = (len(_WINDOWS) + 1, _BITS)
_NEIGHBOURS = 12  # of each picture that may be crops or strangers, and as many that hardly can be strangers
_HARDLY_STRANGERS = 0.7
_LEAST_AGREEMENT = 0.30  # bits that agree less bits that differ, of all; strangers' films reach 0.5

Signs = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two pictures by number that may be one film, and how the second may lie in the first."""

    first: int
    second: int
    layout: Layout


def hash_windows(picture: Picture) -> Signs:
    """Hash a picture in each window, the first of which is the whole, and last the whole turned over.

    Returns:
        `[windows + 1, 256]`, each -1 or 1.
    """
    parts = [
        picture[round(top * SIDE) : round(bottom * SIDE), round(left * SIDE) : round(right * SIDE)]
        for top, bottom, left, right in _WINDOWS
    ]
    return np.stack([_signs(part) for part in (*parts, picture[:, ::-1])])


def _signs(picture: Picture) -> Signs:
    edges = np.clip(band_pass(picture, _HASHED_SIDE) * 50 + 128, 0, 255).astype(np.uint8)
    bits = imagehash.phash(Image.fromarray(edges), hash_size=_HASH_SIZE).hash
    return bits.ravel().astype(np.int8) * 2 - 1


def candidates(hashes: Signs, *, compared: int = COMPARED) -> Iterator[list[Candidate]]:
    """Yield for each picture in turn those of its nearest neighbours that may be the same film.

    Up to 20,000 pictures all are compared with all; beyond, the work for each does not grow any more.

    Args:
        hashes: `[pictures, windows + 1, 256]`, from `hash_windows`.
        compared: Entries that each is compared with, two a picture (see `neighbourhoods`).
    """
    whole = np.concatenate([hashes[:, 0], hashes[:, -1]])
    count = len(hashes)
    for near in neighbourhoods(whole, hashes[:, :-1], compared=compared):
        windows = hashes[near.number, :-1].astype(np.int32)
        yield [
            Candidate(
                first=near.number,
                second=int(entry % count),
                layout=_layout(windows @ whole[entry], mirrored=bool(entry >= count)),
            )
            for entry in _nearest(near, count=count)
        ]


def _nearest(near: Neighbourhood, *, count: int) -> Numbers:
    """Choose the entries nearest to one picture; those from `count` on are pictures turned over."""
    itself = (near.entries == near.number) | (near.entries == near.number + count)
    nearness = np.where(itself, 0, near.nearness)
    hardly = nearness >= _HARDLY_STRANGERS  # counted apart, so that many copies do not hide a crop
    nearest = [*_top(np.where(hardly, nearness, 0)), *_top(np.where(hardly, 0, nearness))]
    return near.entries[[place for place in nearest if nearness[place] >= _LEAST_AGREEMENT]]


def _layout(agreement: NDArray[np.int32], *, mirrored: bool) -> Layout:
    """How an entry lies in a picture, by its agreement with each window."""
    window = int(np.abs(agreement).argmax())
    return Layout(window=_WINDOWS[window], mirrored=mirrored, inverted=bool(agreement[window] < 0))


def _top(nearness: NDArray[np.float32]) -> list[int]:
    kept = min(_NEIGHBOURS, len(nearness) - 1)
    return [int(place) for place in np.argpartition(-nearness, kept)[:kept]]

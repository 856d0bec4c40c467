"""Which pairs of pictures may be one image: perceptual hashes of the whole picture and of parts of it.

An image and its crop have different hashes. So each picture is hashed in windows too that leave out a part at
one side or more: one of them comes near to the crop.

Reference: ImageHash (Buchner), pHash: the signs of the low frequencies of a cosine transform.
"""

from dataclasses import dataclass
from itertools import product

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covid_monai.datasets.duplicates.pictures import SIDE, Picture
from covid_monai.datasets.duplicates.registration import Layout, band_pass
from covid_monai.datasets.duplicates.search import COMPARED, Bits, HashSearch, Numbers

_HASH_SIZE = 16
_HASHED_SIDE = 64  # pixels
# Starts and ends along an axis. Smaller parts were tried: crops that leave out a third come no nearer than
# strangers do.
_PARTS = ((0.0, 1.0), (0.0, 0.9), (0.1, 1.0), (0.05, 0.95))
_WINDOWS = tuple((*rows, *columns) for rows, columns in product(_PARTS, _PARTS))
HASHES_SHAPE = (len(_WINDOWS) + 1, _HASH_SIZE**2 // 8)
_NEIGHBOURS = 12  # of each picture that may be crops or strangers, and as many that hardly can be strangers
# Of 256 bits those that differ; strangers' images come down to 64.
_HARDLY_STRANGERS = 38
_DIFFERING = 89


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two pictures by number that may be one image, and how the second may lie in the first."""

    first: int
    second: int
    layout: Layout


def hash_windows(picture: Picture) -> Bits:
    """Hash a picture in each window, the first of which is the whole, and last the whole turned over.

    Returns:
        `HASHES_SHAPE`: 256 bits of each, eight to a byte.
    """
    parts = [
        picture[round(top * SIDE) : round(bottom * SIDE), round(left * SIDE) : round(right * SIDE)]
        for top, bottom, left, right in _WINDOWS
    ]
    return np.packbits([_bits(part) for part in (*parts, picture[:, ::-1])], axis=1)


def _bits(picture: Picture) -> NDArray[np.bool_]:
    edges = np.clip(band_pass(picture, _HASHED_SIDE) * 50 + 128, 0, 255).astype(np.uint8)
    return np.asarray(imagehash.phash(Image.fromarray(edges), hash_size=_HASH_SIZE).hash.ravel())


class CandidateSearch:
    """Proposes for a picture those of its nearest neighbours that may be the same image.

    Up to 20,000 pictures all are compared with all; beyond, the work for each does not grow any more.

    Args:
        hashes: Shape [pictures, *HASHES_SHAPE], from `hash_windows`.
        compared: Entries that each window is compared with, two a picture (see `HashSearch`).
    """

    def __init__(self, hashes: Bits, *, compared: int = COMPARED) -> None:
        self._windows = hashes[:, :-1]
        self._search = HashSearch(np.concatenate([hashes[:, 0], hashes[:, -1]]), compared=compared)

    def candidates(self, number: int) -> list[Candidate]:
        """Return what may be the same image as the picture of that number; threads may call it."""
        count = len(self._windows)
        near = self._search.near(self._windows[number], differing=_DIFFERING)
        return [
            Candidate(
                first=number,
                second=int(near.entries[place] % count),
                layout=Layout(
                    window=_WINDOWS[near.windows[place]],
                    mirrored=bool(near.entries[place] >= count),
                    inverted=bool(near.inverted[place]),
                ),
            )
            for place in _chosen(near.differing, itself=near.entries % count == number)
        ]


def _chosen(differing: Numbers, *, itself: NDArray[np.bool_]) -> Numbers:
    """Places of the nearest; counted in two kinds, so that many copies do not hide a crop."""
    hardly_strangers = differing <= _HARDLY_STRANGERS
    kinds = (hardly_strangers & ~itself, ~hardly_strangers & ~itself)
    return np.concatenate([np.flatnonzero(kind)[:_NEIGHBOURS] for kind in kinds])

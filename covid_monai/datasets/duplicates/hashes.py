"""Pairs of images that may be the same, proposed by perceptual hashes of the image and of parts of it.

An image and its crop have different hashes. So each image is also hashed in windows that leave out a part at
one side or more: the hash of one of these windows is near to that of the crop.

Comparing all images with all grows with the square of their number. So beyond `COMPARED` entries the hashes
are put into clusters, and a window is compared only with the entries of the nearest clusters. The work for
one image then hardly depends on how many others there are.

References:
    ImageHash (Buchner), pHash: signs of the low frequencies of a cosine transform.
    Johnson, Douze, Jégou, Billion-scale similarity search with GPUs, IEEE Trans. Big Data 7 (2021): Faiss. It
    searches exactly among 17,500 entries in 0.9 ms an image, with bits counted by the processor.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covid_monai.core.lazy_imports import import_faiss
from covid_monai.datasets.duplicates.registration import Placement, band_pass
from covid_monai.datasets.duplicates.thumbnails import SIDE, Thumbnail

_HASH_SIZE = 16
_HASHED_SIDE = 64  # pixels
# Start and end along an axis. Smaller parts were tried: the hash of a crop that leaves out a third comes no
# nearer than the hash of another chest.
_PARTS = ((0.0, 1.0), (0.0, 0.9), (0.1, 1.0), (0.05, 0.95))
_WINDOWS = tuple((*rows, *columns) for rows, columns in product(_PARTS, _PARTS))
HASHES_SHAPE = (len(_WINDOWS) + 1, _HASH_SIZE**2 // 8)
# Numbers of differing bits, of 256. Hashes of different chests differ in 64 or more.
_NEARLY_SURE, _POSSIBLE = 38, 89
_NEIGHBOURS = 12  # candidates of each image that are nearly sure, and as many that are only possible

# Entries that a window is compared with. Each image has two: as it is, and mirrored. With up to half as many
# images nothing is left out. With a fifth of the entries of 8,758 real images, which is the share of 100,000
# images, the search finds 99.4 % of the pairs that comparing all finds.
COMPARED = 40_960
_MOST_CLUSTERS, _LEAST_IN_A_CLUSTER = 1024, 64
_TRAINED_ON = 65_536  # entries
_CLUSTERING_STEPS = 10

Bits = NDArray[np.uint8]  # packed, eight to a byte
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two images, by number, that may be the same, and how the second may lie in the first."""

    first: int
    second: int
    placement: Placement


def hash_windows(thumbnail: Thumbnail) -> Bits:
    """Hash an image in each window (the first is the whole image), and last the whole image mirrored.

    The array of `HASHES_SHAPE` has 256 bits of each hash, eight to a byte.
    """
    parts = [
        thumbnail[round(top * SIDE) : round(bottom * SIDE), round(left * SIDE) : round(right * SIDE)]
        for top, bottom, left, right in _WINDOWS
    ]
    return np.packbits([_perceptual_hash(part) for part in (*parts, thumbnail[:, ::-1])], axis=1)


def _perceptual_hash(picture: Thumbnail) -> NDArray[np.bool_]:
    edges = np.clip(band_pass(picture, _HASHED_SIDE) * 50 + 128, 0, 255).astype(np.uint8)
    return np.asarray(imagehash.phash(Image.fromarray(edges), hash_size=_HASH_SIZE).hash.ravel())


class CandidateSearch:
    """A search that proposes, for an image, the nearest other images that may be the same.

    Up to 20,000 images all are compared with all. Beyond that, the work for each image does not grow.
    `hashes` are results of `hash_windows`, shape [images, *HASHES_SHAPE].
    """

    def __init__(self, hashes: Bits, *, compared: int = COMPARED) -> None:
        self._windows = hashes[:, :-1]
        self._search = HashSearch(np.concatenate([hashes[:, 0], hashes[:, -1]]), compared=compared)

    def candidates(self, number: int) -> list[Candidate]:
        """Return what may be the same image as the image of that number; threads may call it."""
        count = len(self._windows)
        near = self._search.near(self._windows[number], differing=_POSSIBLE)
        other = near.entries % count != number
        sure = near.differing <= _NEARLY_SURE
        # Counted apart, so that many copies of the whole image do not hide a crop.
        chosen = np.concatenate([np.flatnonzero(kind & other)[:_NEIGHBOURS] for kind in (sure, ~sure)])
        return [
            Candidate(
                first=number,
                second=int(near.entries[place] % count),
                placement=Placement(
                    window=_WINDOWS[near.windows[place]],
                    mirrored=bool(near.entries[place] >= count),
                    inverted=bool(near.inverted[place]),
                ),
            )
            for place in chosen
        ]


@dataclass(frozen=True, slots=True)
class Near:
    """Entries near to an image, each once, the nearest first; ties in the order of their numbers."""

    entries: Numbers  # numbers of the entries, [E]
    differing: Numbers  # number of bits that differ between the entry and its nearest window, [E]
    windows: Numbers  # number of that window, [E]
    inverted: NDArray[np.bool_]  # whether it is near to the window's negative (all bits flipped), [E]


class HashSearch:
    """A search among the hashes of whole images; threads may share it.

    Each window is compared with about `compared` of the `entries`, shape [entries, bytes]; with all if there
    are no more.
    """

    def __init__(self, entries: Bits, *, compared: int = COMPARED) -> None:
        self._faiss = import_faiss()  # takes a third of a second: only where images are compared
        if len(entries) <= compared:
            self._index = self._faiss.IndexBinaryFlat(entries.shape[1] * 8)
        else:
            self._index = _clusters(self._faiss, entries, compared)
        self._index.add(entries)

    def near(self, windows: Bits, *, differing: int) -> Near:
        """Return the entries that differ from a window, or from its negative, in at most `differing` bits."""
        self._faiss.omp_set_num_threads(1)  # for this thread: the caller's threads use all processors already
        queries = np.concatenate([windows, ~windows])
        ends, distances, entries = self._index.range_search(queries, differing + 1)
        query = np.repeat(np.arange(len(queries)), np.diff(ends.astype(np.int64)))
        # Entry, bits and query in one number each, as NumPy sorts numbers with vector instructions.
        finds = np.sort(entries << 32 | distances.astype(np.int64) << 16 | query)
        nearest = finds[np.flatnonzero(np.diff(finds >> 32, prepend=-1))]  # the first of each entry
        nearest = nearest[np.argsort((nearest >> 16).astype(np.uint16), kind="stable")]
        query = nearest & 0xFFFF
        return Near(
            entries=nearest >> 32,
            differing=nearest >> 16 & 0xFFFF,
            windows=query % len(windows),
            inverted=query >= len(windows),
        )


def _clusters(faiss: Any, entries: Bits, compared: int) -> Any:
    """Return an empty index of clusters; each search looks into as many as hold `compared` entries."""
    bits = entries.shape[1] * 8
    clusters = min(_MOST_CLUSTERS, 1 + len(entries) // _LEAST_IN_A_CLUSTER)
    centers = faiss.IndexBinaryFlat(bits)
    centers.use_heap = False  # sorts by counting: five times as fast where hundreds are asked for
    index = faiss.IndexBinaryIVF(centers, bits, clusters)
    index.nprobe = -(-clusters * compared // len(entries))
    index.cp.niter = _CLUSTERING_STEPS
    index.train(entries[:: -(-len(entries) // _TRAINED_ON)])
    return index

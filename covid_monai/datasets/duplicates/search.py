"""Which hashes are near to a picture's: all are looked at while they are few, else those of like clusters.

All with all grows with the square. Beyond `COMPARED` entries their hashes are put into clusters, and a window
is compared with the entries of the clusters nearest to it, so many that the work for one picture hardly
depends on how many others there are.

Faiss does both: exactly in 0.9 ms a picture among 17,500 entries, with bits counted by the processor.

Reference: Johnson, Douze, Jégou, Billion-scale similarity search with GPUs, IEEE Trans. Big Data 7 (2021).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.lazy_imports import import_faiss

# Entries that a window is compared with; a picture is two of them, as it is and turned over. Up to half as
# many pictures nothing is left out. With a fifth of the entries of 8,758 real images, which is what 100,000
# would have, 99.4 % of the pairs are found that comparing all finds.
COMPARED = 40_960
_CLUSTERS, _IN_A_CLUSTER = 1024, 64  # clusters at most, entries in each at least
_TRAINED_ON = 65_536  # entries
_CLUSTERING_STEPS = 10

Bits = NDArray[np.uint8]  # packed, eight to a byte
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Near:
    """The entries near to a picture, each once, the nearest first; of equal ones that of the lower number.

    Args:
        entries: Shape [E], their numbers.
        differing: Shape [E], bits that differ between an entry and the window it is nearest to.
        windows: Shape [E], that window's number.
        inverted: Shape [E], whether all the window's bits were turned for that, as those of a negative are.
    """

    entries: Numbers
    differing: Numbers
    windows: Numbers
    inverted: NDArray[np.bool_]


class HashSearch:
    """A search among the hashes of whole pictures; threads may share it.

    Args:
        entries: Shape [entries, bytes].
        compared: About how many entries each window is compared with; all where there are no more.
    """

    def __init__(self, entries: Bits, *, compared: int = COMPARED) -> None:
        self._faiss = import_faiss()  # a third of a second: only where images are compared
        few = len(entries) <= compared
        self._index = (
            self._faiss.IndexBinaryFlat(entries.shape[1] * 8) if few else _clusters(entries, compared)
        )
        self._index.add(entries)

    def near(self, windows: Bits, *, differing: int) -> Near:
        """Return the entries of which at most `differing` bits differ from a window or from its negative.

        Args:
            windows: Shape [windows, bytes]: a picture's hashes.
            differing: In [0, bits].
        """
        self._faiss.omp_set_num_threads(1)  # of this thread: the caller's threads have the processors already
        asked = np.concatenate([windows, ~windows])
        ends, distances, entries = self._index.range_search(asked, differing + 1)
        asking = np.repeat(np.arange(len(asked)), np.diff(ends.astype(np.int64)))
        # Entry, bits and window in one number each, as NumPy sorts numbers with vector instructions.
        finds = np.sort(entries << 32 | distances.astype(np.int64) << 16 | asking)
        nearest = finds[np.flatnonzero(np.diff(finds >> 32, prepend=-1))]  # of each entry its first
        nearest = nearest[np.argsort((nearest >> 16).astype(np.uint16), kind="stable")]
        asking = nearest & 0xFFFF
        return Near(
            entries=nearest >> 32,
            differing=nearest >> 16 & 0xFFFF,
            windows=asking % len(windows),
            inverted=asking >= len(windows),
        )


def _clusters(entries: Bits, compared: int) -> Any:
    """Clusters of entries, still empty, of which each search looks into as many as hold `compared`."""
    faiss = import_faiss()
    bits, clusters = entries.shape[1] * 8, min(_CLUSTERS, 1 + len(entries) // _IN_A_CLUSTER)
    centers = faiss.IndexBinaryFlat(bits)
    centers.use_heap = False  # sorts by counting: five times as fast where hundreds are asked for
    index = faiss.IndexBinaryIVF(centers, bits, clusters)
    index.nprobe = -(-clusters * compared // len(entries))
    index.cp.niter = _CLUSTERING_STEPS
    index.train(entries[:: -(-len(entries) // _TRAINED_ON)])
    return index

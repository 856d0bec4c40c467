"""Which pictures are compared with which: all with all while they are few, else those of like clusters.

All with all grows with the square. Beyond `COMPARED` entries their hashes are put into clusters (k-means),
and a picture is compared with the entries of the clusters nearest to it, so many that the work for one
picture does not depend on how many others there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Entries that a picture is compared with; a picture is two of them, as it is and turned over. Up to half as
# many pictures nothing is left out. With a fifth of the entries of 8,747 real films, which is what 100,000
# would have, 98.7 % of the pairs are found that comparing all finds; the others are crops, hardly nearer than
# strangers.
COMPARED = 40_960
_ALL_AT_ONCE = 64  # pictures compared with all others: bounds the memory
AT_ONCE = 256  # pictures compared with those near them
_CLUSTERS = 1024
_TRAINED_ON = 65_536  # entries

Signs = NDArray[np.int8]
Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A picture and the entries that it was compared with.

    Args:
        number: Of the picture.
        entries: Shape [E], numbers of the entries.
        nearness: Shape [E], in [0, 1]: bits that agree less bits that differ, of all, in the picture's window
            where this is furthest from 0, without its sign: the negative of a film has the opposite signs.
    """

    number: int
    entries: Numbers
    nearness: Floats


def neighbourhoods(entries: Signs, windows: Signs, *, compared: int = COMPARED) -> Iterator[Neighbourhood]:
    """Compare each picture in turn with the entries near it.

    Args:
        entries: `[entries, bits]`, each -1 or 1; the first are the pictures' own.
        windows: `[pictures, windows, bits]`: what is looked for.
        compared: About how many entries; all where there are no more.
    """
    search = _among_all if len(entries) <= compared else _among_near
    yield from search(entries, windows, compared)


def _among_all(entries: Signs, windows: Signs, compared: int) -> Iterator[Neighbourhood]:
    vectors, numbers = entries.astype(np.float32), np.arange(len(entries))
    for start in range(0, len(windows), _ALL_AT_ONCE):
        found = _nearness(windows[start : start + _ALL_AT_ONCE].astype(np.float32), vectors)
        for number, nearness in enumerate(found, start=start):
            yield Neighbourhood(number, numbers, nearness)


def _among_near(entries: Signs, windows: Signs, compared: int) -> Iterator[Neighbourhood]:
    directions = _directions(entries)
    cluster_of = _nearest(entries, directions)
    order = np.argsort(cluster_of, kind="stable")
    sizes = np.bincount(cluster_of, minlength=len(directions))
    members = np.split(order, np.cumsum(sizes)[:-1])
    vectors = np.split(entries[order].astype(np.float32), np.cumsum(sizes)[:-1])
    for start in range(0, len(windows), AT_ONCE):
        block = windows[start : start + AT_ONCE].astype(np.float32)
        asked = _clusters_near(block, directions, sizes, compared)
        parts: list[list[tuple[Numbers, Floats]]] = [[] for _ in block]
        for cluster in np.flatnonzero(asked.any(axis=0)):  # each cluster once for all that ask for it
            asking = np.flatnonzero(asked[:, cluster])
            found = _nearness(block[asking], vectors[cluster])
            for place, nearness in zip(asking, found, strict=True):
                parts[place].append((members[cluster], nearness))
        for number, part in enumerate(parts, start=start):
            yield Neighbourhood(number, *map(np.concatenate, zip(*part, strict=True)))


def _nearness(block: Floats, vectors: Floats) -> Floats:
    """`Neighbourhood.nearness` of several pictures, `[pictures, entries]`."""
    found = (block.reshape(-1, block.shape[-1]) @ vectors.T).reshape(*block.shape[:2], -1)
    strongest = np.maximum(found.max(axis=1), -found.min(axis=1))  # argmax takes ten times as long
    return np.asarray(strongest / block.shape[-1])


def _clusters_near(block: Floats, directions: Floats, sizes: Numbers, compared: int) -> NDArray[np.bool_]:
    """Which clusters each picture asks, `[pictures, clusters]`: the nearest with `compared` entries."""
    likeness = np.abs(block @ directions.T).max(axis=1)
    order = np.argsort(-likeness, axis=1, kind="stable")
    before = np.cumsum(sizes[order], axis=1) - sizes[order]
    asked = np.zeros(likeness.shape, dtype=bool)
    np.put_along_axis(asked, order, before < compared, axis=1)
    return asked


def _directions(entries: Signs) -> Floats:
    """Directions of the clusters' centers, `[clusters, bits]`, of length 1."""
    from sklearn.cluster import MiniBatchKMeans  # a second to import: only where there are many

    step = -(-len(entries) // _TRAINED_ON)
    clusters = min(_CLUSTERS, len(entries) // 32)
    model = MiniBatchKMeans(clusters, batch_size=4096, max_iter=10, n_init=1, random_state=0)
    centers = model.fit(entries[::step].astype(np.float32)).cluster_centers_
    return np.asarray(centers / np.linalg.norm(centers, axis=1, keepdims=True), dtype=np.float32)


def _nearest(entries: Signs, directions: Floats, *, at_once: int = 4096) -> Numbers:
    """The cluster of each entry, the same for a film and its negative."""
    blocks = (entries[start : start + at_once] for start in range(0, len(entries), at_once))
    return np.concatenate(
        [np.abs(block.astype(np.float32) @ directions.T).argmax(axis=1) for block in blocks]
    )

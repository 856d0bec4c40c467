"""Detection of the same image under two names, exact copies and near ones, across all collections.

A near copy is resized, recompressed, cropped by up to about a sixth, changed in contrast, inverted or
mirrored. Two images of one patient are not the same image. A picture that explains a classifier, drawn over
an image in patches of one grey level, counts as that image.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.parallel import map_in_threads
from covid_monai.datasets.collections.base import Excluded
from covid_monai.datasets.duplicates.hashes import HASHES_SHAPE, CandidateSearch, hash_windows
from covid_monai.datasets.duplicates.registration import FilteredImage, image_similarity
from covid_monai.datasets.duplicates.thumbnails import SIDE, is_drawn_in_patches, read_thumbnail, same_pixels
from covid_monai.datasets.grouping import connected

# Correlation after registration: images of one patient on two days reach 0.80, copies of poor quality 0.86,
# most other copies 0.95.
SAME_IMAGE = 0.86
_MAY_BE_EXACT = 0.995  # above it the pixels are compared one by one
_AS_NEAR = 0.03  # largest distance of an explanation picture's images from its nearest image


@dataclass(frozen=True, slots=True)
class SameImage:
    """Two files that show one image, the first and the second by path."""

    first: Path
    second: Path
    similarity: float  # correlation after registration, SAME_IMAGE to 1
    exact: bool = False  # whether both decode to the same pixels
    mirrored: bool = False  # whether left and right are exchanged in one of them
    inverted: bool = False  # whether one is the other's negative
    patches: bool = False  # whether one is an explanation picture, drawn in patches of one grey level


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Result of `find_duplicates`; the order of the files does not matter."""

    pairs: tuple[SameImage, ...]  # verified, by path; not every pair of a group has been compared
    groups: tuple[tuple[Path, ...], ...]  # two or more files of one image, by path; no file is in two groups
    unreadable: tuple[Excluded, ...]  # files that could not be compared

    def copies(self) -> list[tuple[Path, ...]]:
        """Return the groups of files with the same pixels, by path."""
        return connected((pair.first, pair.second) for pair in self.pairs if pair.exact)


def find_duplicates(paths: Iterable[Path]) -> Duplicates:
    """Find the files that show the same image.

    Hashes propose pairs, registration verifies them. 6,000 images take a good minute on two cores; time and
    memory grow with the number of images. An image takes 37 kB of a temporary file and 1 kB of memory. Files
    that neither Pillow nor pydicom opens are returned as unreadable.
    """
    files = sorted(set(paths))
    with TemporaryFile() as file:
        shape = (max(len(files), 1), SIDE, SIDE)  # an empty file cannot be mapped
        thumbnails = np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
        readable, unreadable = _read_thumbnails(files, thumbnails)
        pairs = _find_pairs(readable, thumbnails[: len(readable)]) if readable else []
    return Duplicates(
        pairs=tuple(pairs),
        groups=tuple(connected((pair.first, pair.second) for pair in pairs)),
        unreadable=tuple(unreadable),
    )


def _read_thumbnails(
    files: Sequence[Path], thumbnails: NDArray[np.uint8]
) -> tuple[list[Path], list[Excluded]]:
    """Fill `thumbnails` from the start; return the files that it holds, in order, and the unreadable ones."""
    readable: list[Path] = []
    unreadable: list[Excluded] = []
    results = map_in_threads(read_thumbnail, files, "reading images", total=len(files))
    for path, result in zip(files, results, strict=True):
        if isinstance(result, Excluded):
            unreadable.append(result)
        else:
            thumbnails[len(readable)] = result
            readable.append(path)
    return readable, unreadable


def _find_pairs(files: Sequence[Path], thumbnails: NDArray[np.uint8]) -> list[SameImage]:
    """Return the pairs that hashes propose and registration confirms, the most similar placement of each."""
    total = len(files)
    drawn = {path for path, picture in zip(files, thumbnails, strict=True) if is_drawn_in_patches(picture)}
    hashes = np.empty((total, *HASHES_SHAPE), dtype=np.uint8)
    for number, bits in enumerate(map_in_threads(hash_windows, thumbnails, "hashing images", total=total)):
        hashes[number] = bits
    search = CandidateSearch(hashes)

    def verify(number: int) -> list[SameImage]:
        first, pairs = FilteredImage(thumbnails[number]), []
        for candidate in search.candidates(number):
            one, other = sorted((files[candidate.first], files[candidate.second]))
            patches = (one in drawn) != (other in drawn)
            second, placement = FilteredImage(thumbnails[candidate.second]), candidate.placement
            similarity = image_similarity(first, second, placement, finest_detail=not patches)
            plain = not placement.mirrored and not placement.inverted
            if similarity >= SAME_IMAGE:
                exact = plain and similarity > _MAY_BE_EXACT and same_pixels(one, other)
                kind = (exact, placement.mirrored, placement.inverted, patches)
                pairs.append(SameImage(one, other, round(similarity, 4), *kind))
        return pairs

    best: dict[tuple[Path, Path], SameImage] = {}
    for pairs in map_in_threads(verify, range(total), "comparing images", total=total):
        for pair in pairs:
            key = (pair.first, pair.second)
            if key not in best or best[key].similarity < pair.similarity:
                best[key] = pair
    return _nearest_images([best[key] for key in sorted(best)], drawn)


def _nearest_images(pairs: Sequence[SameImage], drawn: Collection[Path]) -> list[SameImage]:
    """Keep for each explanation picture only its nearest images: others may be of another day."""
    picture_of = {pair: pair.first if pair.first in drawn else pair.second for pair in pairs if pair.patches}
    best: dict[Path, float] = defaultdict(float)
    for pair, picture in picture_of.items():
        best[picture] = max(best[picture], pair.similarity)
    least = {pair: best[picture] - _AS_NEAR for pair, picture in picture_of.items()}
    return [pair for pair in pairs if pair.similarity >= least.get(pair, 0.0)]

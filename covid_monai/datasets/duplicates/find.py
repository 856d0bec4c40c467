"""The same image under two names: exact copies and near ones, across all collections.

Near means resized, recompressed, cropped by up to about a sixth, of other contrast, inverted or mirrored.
Two images of one patient are not the same image. Pictures that explain a classifier, drawn over an image in
patches of one grey, are that image.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.parallel import map_in_threads
from covid_monai.datasets.collections import Excluded
from covid_monai.datasets.duplicates.candidates import HASHES_SHAPE, Candidate, CandidateSearch, hash_windows
from covid_monai.datasets.duplicates.pictures import SIDE, drawn_in_patches, same_pixels, small_picture
from covid_monai.datasets.duplicates.registration import Image, image_similarity
from covid_monai.datasets.leaks.grouping import connected

# Correlation after registration: images of one patient on two days reach 0.80, copies of poor quality 0.86,
# most others 0.95.
SAME_IMAGE = 0.86
_MAY_BE_EXACT = 0.995  # above it the pixels are compared one by one
_AS_NEAR = 0.03


@dataclass(frozen=True, slots=True)
class SameImage:
    """Two files that show one image.

    Args:
        first: The file that comes first by path.
        second: The other.
        similarity: Correlation after registration, `SAME_IMAGE` to 1.
        exact: Both decode to the same pixels.
        mirrored: One is turned over left to right.
        inverted: One is the other's negative.
        patches: One is an explanation picture, drawn in patches of one grey level; the other is an image.
    """

    first: Path
    second: Path
    similarity: float
    exact: bool = False
    mirrored: bool = False
    inverted: bool = False
    patches: bool = False


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What `find_duplicates` found; the same for any order of the files.

    Args:
        pairs: Those that were verified, by path. Not every pair of a group has been compared.
        groups: Files that show one image, two or more, each in one group, all by path.
        unreadable: Files that could not be compared.
    """

    pairs: tuple[SameImage, ...]
    groups: tuple[tuple[Path, ...], ...]
    unreadable: tuple[Excluded, ...]

    def copies(self) -> list[tuple[Path, ...]]:
        """Return the groups of files with the same pixels, by path."""
        exact = [(pair.first, pair.second) for pair in self.pairs if pair.exact]
        return connected(exact)


def find_duplicates(paths: Iterable[Path], *, workers: int | None = None) -> Duplicates:
    """Find the files that show the same image.

    Hashes propose pairs, registration verifies them. 6,000 images take a good minute on two cores; time and
    memory grow with the number of images. An image takes 37 kB of a temporary file and 1 kB of memory.

    Args:
        paths: Any files that Pillow or pydicom opens; the others come back as unreadable.
        workers: Threads; the number of processors by default.
    """
    files = sorted(set(paths))
    with TemporaryFile() as file:
        shape = (max(len(files), 1), SIDE, SIDE)  # a map of nothing cannot be made
        pictures = np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
        compared, unreadable = _read(files, pictures, workers=workers)
        pairs = _verified(compared, pictures[: len(compared)], workers=workers)
    return Duplicates(
        pairs=tuple(pairs),
        groups=tuple(connected([(pair.first, pair.second) for pair in pairs])),
        unreadable=tuple(unreadable),
    )


def _read(
    files: Sequence[Path], pictures: NDArray[np.uint8], *, workers: int | None
) -> tuple[list[Path], list[Excluded]]:
    """Put the small picture of each file that has one into `pictures`, in order; return those files."""
    compared: list[Path] = []
    unreadable: list[Excluded] = []
    read = map_in_threads(small_picture, files, "looking at images", total=len(files), workers=workers)
    for path, result in zip(files, read, strict=True):
        if isinstance(result, Excluded):
            unreadable.append(result)
        else:
            pictures[len(compared)] = result
            compared.append(path)
    return compared, unreadable


def _verified(files: Sequence[Path], pictures: NDArray[np.uint8], *, workers: int | None) -> list[SameImage]:
    """Propose pairs and keep those that registration confirms, the best of each two files."""
    if not files:
        return []
    hashed = map_in_threads(hash_windows, pictures, "hashing images", total=len(files), workers=workers)
    hashes = np.empty((len(files), *HASHES_SHAPE), dtype=np.uint8)
    for number, bits in enumerate(hashed):
        hashes[number] = bits
    drawn = {path for path, picture in zip(files, pictures, strict=True) if drawn_in_patches(picture)}
    search = CandidateSearch(hashes)

    def verify(number: int) -> list[SameImage]:
        image, proposed = Image(pictures[number]), search.candidates(number)
        return [pair for each in proposed if (pair := _same_image(image, each, files, pictures, drawn))]

    found: dict[tuple[Path, Path], SameImage] = {}
    numbers = range(len(files))
    compared = map_in_threads(verify, numbers, "comparing images", total=len(files), workers=workers)
    for pairs in compared:
        for pair in pairs:
            key = (pair.first, pair.second)
            if key not in found or found[key].similarity < pair.similarity:
                found[key] = pair
    return _nearest_images(sorted(found.values(), key=lambda pair: (pair.first, pair.second)), drawn)


def _nearest_images(pairs: Sequence[SameImage], drawn: Collection[Path]) -> list[SameImage]:
    """Of the images that an explanation picture resembles keep the nearest: others may be of another day."""
    picture_of = {pair: pair.first if pair.first in drawn else pair.second for pair in pairs if pair.patches}
    best: dict[Path, float] = defaultdict(float)
    for pair, picture in picture_of.items():
        best[picture] = max(best[picture], pair.similarity)
    return [
        pair
        for pair in pairs
        if pair not in picture_of or pair.similarity >= best[picture_of[pair]] - _AS_NEAR
    ]


def _same_image(
    image: Image,
    candidate: Candidate,
    files: Sequence[Path],
    pictures: NDArray[np.uint8],
    drawn: Collection[Path],
) -> SameImage | None:
    first, second, layout = candidate.first, candidate.second, candidate.layout
    patches = (files[first] in drawn) != (files[second] in drawn)
    similarity = image_similarity(image, Image(pictures[second]), layout, finest_detail=not patches)
    if similarity < SAME_IMAGE:
        return None
    one, other = sorted((files[first], files[second]))
    plain = not layout.mirrored and not layout.inverted
    return SameImage(
        first=one,
        second=other,
        similarity=round(similarity, 4),
        exact=plain and similarity > _MAY_BE_EXACT and same_pixels(one, other),
        mirrored=layout.mirrored,
        inverted=layout.inverted,
        patches=patches,
    )

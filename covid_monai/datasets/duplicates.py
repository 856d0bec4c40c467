"""The same film under two names: exact copies and near ones, across all collections.

Near means resized, recompressed, cropped by up to about a sixth, of other contrast, inverted or mirrored.
Two films of one patient are not the same film. Pictures that explain a classifier, drawn over a film in
patches of one grey, are that film.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from covid_monai.datasets.duplicate_candidates import HASHES_SHAPE, Candidate, CandidateSearch, hash_windows
from covid_monai.datasets.duplicate_pictures import SIDE, drawn_in_patches, same_pixels, small_picture
from covid_monai.datasets.duplicate_registration import Film, film_similarity
from covid_monai.datasets.grouping import connected
from covid_monai.datasets.progress import in_threads
from covid_monai.datasets.sources import Excluded

# Correlation after registration: films of one patient on two days reach 0.80, copies of poorest quality 0.86,
# most others 0.95.
SAME_FILM = 0.86
_MAY_BE_EXACT = 0.995  # above it the pixels are compared one by one
_AS_NEAR = 0.03


@dataclass(frozen=True, slots=True)
class SameFilm:
    """Two files that show one film.

    Args:
        first: The file that comes first by path.
        second: The other.
        similarity: Correlation after registration, `SAME_FILM` to 1.
        exact: Both decode to the same pixels.
        mirrored: One is turned over left to right.
        inverted: One is the other's negative.
        patches: One is an explanation picture, drawn in patches of one grey level; the other is a film.
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
        groups: Files that show one film, two or more, each in one group, all by path.
        unreadable: Files that could not be compared.
    """

    pairs: tuple[SameFilm, ...]
    groups: tuple[tuple[Path, ...], ...]
    unreadable: tuple[Excluded, ...]

    def copies(self) -> list[tuple[Path, ...]]:
        """Return the groups of files with the same pixels, by path."""
        exact = [(pair.first, pair.second) for pair in self.pairs if pair.exact]
        return connected(exact)


def find_duplicates(paths: Iterable[Path], *, workers: int | None = None) -> Duplicates:
    """Find the files that show the same film.

    Hashes propose pairs, registration verifies them. 6,000 films take a good minute on two cores; time and
    memory grow with the number of films. A film takes 37 kB of a temporary file and 1 kB of memory.

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
    read = in_threads(small_picture, files, "looking at films", total=len(files), workers=workers)
    for path, result in zip(files, read, strict=True):
        if isinstance(result, Excluded):
            unreadable.append(result)
        else:
            pictures[len(compared)] = result
            compared.append(path)
    return compared, unreadable


def _verified(files: Sequence[Path], pictures: NDArray[np.uint8], *, workers: int | None) -> list[SameFilm]:
    """Propose pairs and keep those that registration confirms, the best of each two files."""
    if not files:
        return []
    hashed = in_threads(hash_windows, pictures, "hashing films", total=len(files), workers=workers)
    hashes = np.empty((len(files), *HASHES_SHAPE), dtype=np.uint8)
    for number, bits in enumerate(hashed):
        hashes[number] = bits
    drawn = {path for path, picture in zip(files, pictures, strict=True) if drawn_in_patches(picture)}
    search = CandidateSearch(hashes)

    def verify(number: int) -> list[SameFilm]:
        film, proposed = Film(pictures[number]), search.candidates(number)
        return [pair for each in proposed if (pair := _same_film(film, each, files, pictures, drawn))]

    found: dict[tuple[Path, Path], SameFilm] = {}
    numbers = range(len(files))
    compared = in_threads(verify, numbers, "comparing films", total=len(files), workers=workers)
    for pairs in compared:
        for pair in pairs:
            key = (pair.first, pair.second)
            if key not in found or found[key].similarity < pair.similarity:
                found[key] = pair
    return _nearest_films(sorted(found.values(), key=lambda pair: (pair.first, pair.second)), drawn)


def _nearest_films(pairs: Sequence[SameFilm], drawn: Collection[Path]) -> list[SameFilm]:
    """Of the films that an explanation picture resembles keep the nearest: others may be of another day."""
    picture_of = {pair: pair.first if pair.first in drawn else pair.second for pair in pairs if pair.patches}
    best: dict[Path, float] = defaultdict(float)
    for pair, picture in picture_of.items():
        best[picture] = max(best[picture], pair.similarity)
    return [
        pair
        for pair in pairs
        if pair not in picture_of or pair.similarity >= best[picture_of[pair]] - _AS_NEAR
    ]


def _same_film(
    film: Film,
    candidate: Candidate,
    files: Sequence[Path],
    pictures: NDArray[np.uint8],
    drawn: Collection[Path],
) -> SameFilm | None:
    first, second, layout = candidate.first, candidate.second, candidate.layout
    patches = (files[first] in drawn) != (files[second] in drawn)
    similarity = film_similarity(film, Film(pictures[second]), layout, finest_detail=not patches)
    if similarity < SAME_FILM:
        return None
    one, other = sorted((files[first], files[second]))
    plain = not layout.mirrored and not layout.inverted
    return SameFilm(
        first=one,
        second=other,
        similarity=round(similarity, 4),
        exact=plain and similarity > _MAY_BE_EXACT and same_pixels(one, other),
        mirrored=layout.mirrored,
        inverted=layout.inverted,
        patches=patches,
    )

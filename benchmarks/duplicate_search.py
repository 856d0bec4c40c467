"""Recall of the search for duplicates when each image is compared only with a share of all images.

    python benchmarks/duplicate_search.py $COVID_MONAI_DATA --output duplicate_search.json   # three minutes

With more than 20,480 images, each is compared with 40,960 entries, two for each image: a fifth of 100,000
images. Here the share is taken of the images of a folder, so that comparing all shows the pairs that are
missed. Check: for 200 random images, a search among all proposes what NumPy finds by counting bits.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
from common import table

from covid_monai.core.parallel import map_in_threads
from covid_monai.datasets.duplicates.detection import SAME_IMAGE
from covid_monai.datasets.duplicates.hashes import Candidate, CandidateSearch, HashSearch, hash_windows
from covid_monai.datasets.duplicates.registration import FilteredImage, image_similarity
from covid_monai.datasets.duplicates.thumbnails import is_drawn_in_patches, read_thumbnail
from covid_monai.readers.image_files import find_image_files

CHECKED, DIFFERING = 200, 89


def main() -> None:
    """Search among all and among each share, verify the proposals, and print the recall of each share."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, nargs="+", default=(0.1, 0.2, 0.5))
    parser.add_argument("--output", type=Path, default=Path("duplicate_search.json"))
    options = parser.parse_args()
    pictures = read_thumbnails(options.folder)
    hashed = map_in_threads(hash_windows, pictures, "hashing images", total=len(pictures))
    hashes = np.stack(list(hashed))
    check(hashes)
    rows, pairs = [], Pairs(pictures)
    for share in sorted({1.0, *options.share}, reverse=True):
        search = CandidateSearch(hashes, compared=int(share * 2 * len(hashes)))
        begin = time.process_time()
        proposed = [found for number in range(len(hashes)) for found in search.candidates(number)]
        milliseconds = (time.process_time() - begin) / len(hashes) * 1e3
        found = pairs.verified(proposed)
        rows.append(
            {"share": share, "ms an image": milliseconds, "proposals": len(proposed), "found": len(found)}
        )
        rows[-1]["recall"] = len(found) / max(rows[0]["found"], 1)
    table(rows, f"Search for duplicates among {len(hashes):,} images, one thread")
    options.output.write_text(json.dumps({"images": len(hashes), "rows": rows}, indent=2))


def read_thumbnails(folder: Path) -> np.ndarray:
    """Return the thumbnails of all images of a folder, `[images, side, side]`."""
    files = find_image_files([folder]).files
    pictures = map_in_threads(read_thumbnail, files, "reading images", total=len(files))
    return np.stack([picture for picture in pictures if isinstance(picture, np.ndarray)])


def check(hashes: np.ndarray) -> None:
    """Compare a search among all with a count of all bits."""
    entries = np.concatenate([hashes[:, 0], hashes[:, -1]])
    search = HashSearch(entries, compared=len(entries))
    for number in np.random.default_rng(0).choice(len(hashes), CHECKED):
        windows = hashes[number, :-1]
        counted = np.stack([np.bitwise_count(entries ^ window).sum(axis=1) for window in windows])
        differing = np.minimum(counted, 256 - counted.astype(int)).min(axis=0)
        near = search.near(windows, differing=DIFFERING)
        expected = sorted((differing[entry], entry) for entry in np.flatnonzero(differing <= DIFFERING))
        if list(zip(near.differing, near.entries, strict=True)) != expected:
            raise SystemExit(f"Image {number}: the search and the count of bits find different entries.")


class Pairs:
    """Verification of proposals, each once."""

    def __init__(self, pictures: np.ndarray) -> None:
        self._pictures = pictures
        self._drawn = [is_drawn_in_patches(picture) for picture in pictures]
        self._same: dict[Candidate, bool] = {}

    def verified(self, proposed: list[Candidate]) -> set[tuple[int, int]]:
        """Return the pairs that registration confirms."""
        new = [candidate for candidate in proposed if candidate not in self._same]
        by_image = [list(group) for _, group in itertools.groupby(new, key=lambda each: each.first)]
        for answers in map_in_threads(self._verify, by_image, "comparing images", total=len(by_image)):
            self._same.update(answers)
        return {
            (min(each.first, each.second), max(each.first, each.second))
            for each in proposed
            if self._same[each]
        }

    def _verify(self, group: list[Candidate]) -> dict[Candidate, bool]:
        image, drawn, answers = FilteredImage(self._pictures[group[0].first]), self._drawn, {}
        for each in group:
            finest = drawn[each.first] == drawn[each.second]
            other = FilteredImage(self._pictures[each.second])
            answers[each] = image_similarity(image, other, each.placement, finest_detail=finest) >= SAME_IMAGE
        return answers


if __name__ == "__main__":
    main()

"""The images of some files out of a cache, in their order and by the batch."""

import logging
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from covid_monai.training.image_cache.index import Row

if TYPE_CHECKING:
    from covid_monai.training.image_cache.rows import ImageCache

logger = logging.getLogger(__name__)

Decode = Callable[[str], Tensor]  # a path to uint8 [1, S, S]


class CachedImages:
    """The images of some files, in their order.

    An image's checksum is compared when it is read for the first time; a damaged one is decoded again.

    Args:
        cache: Where they lie.
        files: Their paths.
        contents: Their hashes.
        rows: Their rows.
        decode: Decodes a damaged image again.
    """

    def __init__(
        self, cache: "ImageCache", files: list[str], contents: list[bytes], rows: list[Row], decode: Decode
    ) -> None:
        self._cache = cache
        self._files = files
        self._contents = contents
        self._rows = rows
        self._decode = decode
        self._numbers = torch.tensor([row.number for row in rows], dtype=torch.long)
        self._unchecked = torch.ones(len(rows), dtype=torch.bool)
        self._map = cache.map(int(self._numbers.max()) + 1)

    def __len__(self) -> int:
        """Count the images."""
        return len(self._files)

    def __getitem__(self, positions: Tensor) -> Tensor:
        """Images `[N, 1, S, S]` uint8 at `positions` `[N]` int64; a copy."""
        unchecked = positions[self._unchecked[positions]].tolist()
        damaged = [position for position in unchecked if self._is_damaged(position)]
        if damaged:
            self._mend(damaged)
        self._unchecked[positions] = False
        return self._map[self._numbers[positions]]

    def _is_damaged(self, position: int) -> bool:
        row = self._rows[position]
        return checksum(self._contents[position], self._map[row.number]) != row.checksum

    def _mend(self, positions: Sequence[int]) -> None:
        logger.warning(
            "%d images in %s are damaged: decoding them again.", len(positions), self._cache.folder
        )
        contents = [self._contents[position] for position in positions]
        files = [self._files[position] for position in positions]
        images = [self._cache.decoded(*item, self._decode) for item in zip(contents, files, strict=True)]
        self._cache.write(list(zip(contents, images, strict=True)))


def checksum(content: bytes, image: Tensor) -> int:
    """CRC-32 of the content's hash and the pixels: an image in another's row is told, too."""
    return zlib.crc32(image.numpy(), zlib.crc32(content))

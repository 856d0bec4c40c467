"""Preprocessed images in one file of equal rows that is mapped into memory.

    FOLDER/images.u8        uint8 [rows, S, S], nothing else
    FOLDER/index.sqlite    content -> row and checksum; path -> content

An image goes by the hash of its file's bytes: a renamed file or a copy is found again, a changed one is not.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from covid_monai.core.parallel import map_in_threads
from covid_monai.training.image_cache.index import WAY_OUT, ImageIndex, content_of
from covid_monai.training.image_cache.opened import CachedImages, Decode, checksum

_AT_ONCE = 128  # images in one transaction: what a crash can cost


class ImageCache:
    """The images of one preprocessing; several processes may read and fill it at once.

    Args:
        folder: For this preprocessing alone; made if it is missing, for its owner's eyes.
        size: Rows and columns of every image.

    Raises:
        OSError: If the folder cannot be written, or its index is damaged.
    """

    def __init__(self, folder: str | Path, *, size: int) -> None:
        self.folder = Path(folder)
        self.size = size
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.path = self.folder / "images.u8"
        self.path.touch()
        self.index = ImageIndex(self.folder / "index.sqlite")

    def images(self, files: Sequence[str], decode: Decode, *, workers: int | None = None) -> CachedImages:
        """Decode what is missing, and open the images of `files` in their order.

        What has been decoded stays if it is interrupted or fails.

        Args:
            files: Paths, at least one; several may have one content.
            decode: Called in threads.
            workers: Threads; the number of processors by default.

        Raises:
            OSError: If a file cannot be read, or the cache cannot be written.
            Exception: What `decode` raises.
        """
        contents = self.index.contents(files)
        known = self.index.rows()
        missing = {
            content: file for file, content in zip(files, contents, strict=True) if content not in known
        }
        if missing:
            self._fill(missing, decode, workers)
            known = self.index.rows()
        return CachedImages(self, list(files), contents, [known[content] for content in contents], decode)

    def map(self, rows: int) -> Tensor:
        """The first rows, `[rows, 1, S, S]` uint8, mapped: pages are read when they are needed.

        Rows that a truncated file has lost come as zeros, which their checksums tell.
        """
        needed = rows * self.size**2
        with self.index.exclusive():  # it must not become shorter if another process is writing
            if self.path.stat().st_size < needed:
                os.truncate(self.path, needed)
        flat = torch.from_file(str(self.path), shared=False, size=needed, dtype=torch.uint8)
        return flat.view(rows, 1, self.size, self.size)

    def write(self, images: Sequence[tuple[bytes, Tensor]]) -> None:
        """Put images on disk, then into the index.

        Args:
            images: Content and pixels `[1, S, S]` uint8.

        Raises:
            OSError: If there is no space; the cache stays as it was.
        """
        entries = [(content, checksum(content, image)) for content, image in images]
        self.index.enter(entries, lambda numbers: self._write([image for _, image in images], numbers))

    def decoded(self, content: bytes, file: str, decode: Decode) -> Tensor:
        """Decode one image.

        Raises:
            ValueError: If `decode` does not give uint8 `[1, S, S]`.
            OSError: If the file's content is another one by now.
        """
        image = decode(file)
        if image.shape != (1, self.size, self.size) or image.dtype != torch.uint8:
            expected = f"uint8 [1, {self.size}, {self.size}]"
            raise ValueError(f"the preprocessing gave {image.dtype} {list(image.shape)}, not {expected}")
        if content_of(file) != content:
            raise OSError(f"{file} was changed while the image cache was being filled: start again")
        return image

    def _write(self, images: Sequence[Tensor], numbers: Sequence[int]) -> None:
        try:
            with self.path.open("r+b") as file:
                for image, number in zip(images, numbers, strict=True):
                    file.seek(number * self.size**2)
                    file.write(image.numpy())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(
                f"the image cache {self.folder} cannot be written ({error.strerror}): {WAY_OUT}"
            ) from error

    def _fill(self, missing: dict[bytes, str], decode: Decode, workers: int | None) -> None:
        def work(item: tuple[bytes, str]) -> tuple[bytes, Tensor]:
            return item[0], self.decoded(*item, decode)

        done: list[tuple[bytes, Tensor]] = []
        try:
            items = self._not_done_elsewhere(missing)
            for image in map_in_threads(work, items, "decoding images", total=len(missing), workers=workers):
                done.append(image)
                if len(done) == _AT_ONCE:
                    whole, done = done, []
                    self.write(whole)
        finally:
            if done:
                self.write(done)

    def _not_done_elsewhere(self, missing: dict[bytes, str]) -> Iterator[tuple[bytes, str]]:
        """Images in an order of this process's own: several that fill one cache share the work."""
        items = list(missing.items())
        generator = torch.Generator().manual_seed(os.getpid())
        for start in torch.randperm(-(-len(items) // _AT_ONCE), generator=generator).tolist():
            for content, file in items[start * _AT_ONCE : (start + 1) * _AT_ONCE]:
                if not self.index.has(content):
                    yield content, file

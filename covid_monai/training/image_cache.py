"""Images decoded once: their preprocessed pixels in one file on disk, shared by runs and processes.

    FOLDER/images.u8        uint8 [rows, S, S], mapped into memory
    FOLDER/index.sqlite     content -> row and checksum; path -> content

An image is found by the hash of its file's bytes: a renamed file or a copy is found again, a changed file is
not. A row is assigned, written and entered in one transaction under SQLite's write lock. Two processes that
write never get the same row, and a killed process leaves no entry whose pixels are not on disk.

docs/architecture.md compares this cache with those of MONAI.
"""

import hashlib
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from covid_monai.core.atomic_files import keep_private, make_private_folder
from covid_monai.core.parallel import map_in_threads

logger = logging.getLogger(__name__)

Decode = Callable[[str], Tensor]  # a path to uint8 [1, S, S]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS image (
    content BLOB PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (
    path TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    content BLOB NOT NULL
) WITHOUT ROWID;
"""
# A new content gets the next free row; a known one keeps its row.
_ENTER = """
INSERT INTO image VALUES (?, (SELECT COALESCE(MAX(number), -1) + 1 FROM image), ?)
ON CONFLICT (content) DO UPDATE SET checksum = excluded.checksum RETURNING number
"""
_LOCK_TIMEOUT_S = 120.0
# A file that was changed less than this ago can change again without a new time stamp.
_SETTLED_SECONDS = 2.0
_BLOCK = 128  # images in one transaction, which a crash can lose


class Row(NamedTuple):
    """Row of an image, and the CRC-32 of its content hash and pixels."""

    number: int
    checksum: int


class ImageCache:
    """Images of one preprocessing; several processes may read and fill the cache at the same time.

    Args:
        folder: Folder for this preprocessing alone; it is made if it is missing, and only its owner can read
            it.
        size: Rows and columns of every image.

    Raises:
        OSError: If the folder cannot be written, or its index is damaged.
    """

    def __init__(self, folder: str | Path, *, size: int) -> None:
        self.folder = Path(folder)
        self.size = size
        make_private_folder(self.folder)
        self.path, index = self.folder / "images.u8", self.folder / "index.sqlite"
        for file in (self.path, index):
            keep_private(file)  # SQLite gives its journals the mode of the database
        with self._explain_errors():
            self._database = sqlite3.connect(
                index,
                isolation_level=None,
                timeout=_LOCK_TIMEOUT_S,
                check_same_thread=False,
            )
            self._database.executescript(_SCHEMA)

    def images(self, files: Sequence[str], decode: Decode, *, workers: int | None = None) -> "CachedImages":
        """Decode the missing images and return the images of `files` in their order.

        Decoded images stay in the cache if the filling is interrupted or fails. `decode` is called in
        `workers` threads; its exceptions are raised.
        """
        contents = self.contents(files)
        known = self.rows()
        missing = {
            content: file for file, content in zip(files, contents, strict=True) if content not in known
        }
        if missing:
            self._fill(missing, decode, workers)
            known = self.rows()
        return CachedImages(self, files, contents, [known[content] for content in contents], decode)

    def contents(self, files: Sequence[str]) -> list[bytes]:
        """Return the hash of each file's content; a file of known size and time stamps is not read again."""
        with self._explain_errors():
            entries = self._database.execute("SELECT path, version, content FROM file")
            known = {path: (version, content) for path, version, content in entries}
        contents, new = [], []
        for file in files:
            version = _version(file)
            earlier_version, content = known.get(file, ("", b""))
            if earlier_version != version:
                content = hash_content(file)
                if _is_settled(version):
                    new.append((file, version, content))
            contents.append(content)
        if new:
            with self.lock():
                self._database.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", new)
        return contents

    def rows(self) -> dict[bytes, Row]:
        """Return the row of each content whose image is complete on disk."""
        with self._explain_errors():
            images = self._database.execute("SELECT content, number, checksum FROM image")
            return {content: Row(number, checksum) for content, number, checksum in images}

    def map(self, rows: int) -> Tensor:
        """Return the first rows, `[rows, 1, S, S]` uint8, mapped into memory.

        Rows that a truncated file has lost are zeros; their checksums tell.
        """
        needed = rows * self.size**2
        with self.lock():  # another process that is writing must not find the file shortened
            if self.path.stat().st_size < needed:
                os.truncate(self.path, needed)
        flat = torch.from_file(str(self.path), shared=False, size=needed, dtype=torch.uint8)
        return flat.view(rows, 1, self.size, self.size)

    def write(self, images: Sequence[tuple[bytes, Tensor]]) -> None:
        """Write pixels `[1, S, S]` uint8 by their content to disk; on failure the cache stays as it was."""
        with self.lock(), self.path.open("r+b") as file:
            for content, image in images:
                entry = (content, checksum(content, image))
                number = self._database.execute(_ENTER, entry).fetchall()[0][0]
                file.seek(number * self.size**2)
                file.write(image.numpy().data)
            file.flush()
            os.fsync(file.fileno())

    def decode(self, content: bytes, file: str, decode: Decode) -> Tensor:
        """Decode one image, and check its shape and that the content of the file is still the same."""
        image = decode(file)
        if image.shape != (1, self.size, self.size) or image.dtype != torch.uint8:
            expected = f"uint8 [1, {self.size}, {self.size}]"
            raise ValueError(
                f"{file}: the preprocessing returned {image.dtype} {list(image.shape)}, not {expected}. "
                "Let `preprocessing` in inference.yaml end in images of image_size."
            )
        if hash_content(file) != content:
            raise OSError(f"{file} was changed while the image cache was being filled. Start again.")
        return image

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers out, and undo the block if it fails."""
        with self._explain_errors(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:  # full, locked, no permission: not damaged
            raise OSError(
                f"The image cache {self.folder} cannot be used ({error}). Free space there, give another "
                "--cache_dir, or use --cache memory."
            ) from error
        except sqlite3.DatabaseError as error:
            raise OSError(
                f"The image cache {self.folder} is damaged ({error}). Delete that folder; the next training "
                "fills it again."
            ) from error

    def _fill(self, missing: dict[bytes, str], decode: Decode, workers: int | None) -> None:
        def work(item: tuple[bytes, str]) -> tuple[bytes, Tensor]:
            return item[0], self.decode(*item, decode)

        block: list[tuple[bytes, Tensor]] = []
        try:
            items = self._still_missing(missing)
            for image in map_in_threads(work, items, "decoding images", total=len(missing), workers=workers):
                block.append(image)
                if len(block) == _BLOCK:
                    complete, block = block, []
                    self.write(complete)
        finally:
            if block:
                self.write(block)

    def _still_missing(self, missing: dict[bytes, str]) -> Iterator[tuple[bytes, str]]:
        """Yield images in an order of this process's own, so that several processes share the work."""
        items = list(missing.items())
        generator = torch.Generator().manual_seed(os.getpid())
        query = "SELECT 1 FROM image WHERE content = ?"
        for start in torch.randperm(-(-len(items) // _BLOCK), generator=generator).tolist():
            for content, file in items[start * _BLOCK : (start + 1) * _BLOCK]:
                with self._explain_errors():
                    by_now = self._database.execute(query, (content,)).fetchone()
                if by_now is None:
                    yield content, file


@dataclass(eq=False, repr=False)
class CachedImages:
    """Images of some files, in their order.

    The checksum of an image is compared when the image is read for the first time. A damaged image is decoded
    again.
    """

    cache: ImageCache
    files: Sequence[str]
    contents: Sequence[bytes]
    rows: Sequence[Row]
    decode: Decode

    def __post_init__(self) -> None:
        self._numbers = torch.tensor([row.number for row in self.rows], dtype=torch.long)
        self._unchecked = torch.ones(len(self.rows), dtype=torch.bool)
        self._map = self.cache.map(int(self._numbers.max()) + 1)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, positions: Tensor) -> Tensor:
        """Return a copy of the images `[N, 1, S, S]` uint8 at `positions` `[N]` int64."""
        unchecked = positions[self._unchecked[positions]].tolist()
        damaged = [position for position in unchecked if self._is_damaged(position)]
        if damaged:
            logger.warning("%s: damaged images are decoded again: %d", self.cache.folder, len(damaged))
            items = [(self.contents[position], self.files[position]) for position in damaged]
            self.cache.write([(item[0], self.cache.decode(*item, self.decode)) for item in items])
        self._unchecked[positions] = False
        return self._map[self._numbers[positions]]

    def _is_damaged(self, position: int) -> bool:
        row = self.rows[position]
        return checksum(self.contents[position], self._map[row.number]) != row.checksum


def hash_content(file: str) -> bytes:
    """Hash a file's bytes by BLAKE2b with 16 bytes."""
    with Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).digest()


def checksum(content: bytes, image: Tensor) -> int:
    """Return the CRC-32 of the content hash and the pixels, which also tells an image in another's row."""
    return zlib.crc32(image.numpy().data, zlib.crc32(content))


def _version(file: str) -> str:
    """Return what changes with a file: its size, and the times of its last change and status change."""
    stat = os.stat(file)  # noqa: PTH116  # of 100,000 files, making Paths takes longer than all else
    return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}"


def _is_settled(version: str) -> bool:
    changed = max(int(stamp) for stamp in version.split("-")[1:]) / 1e9
    return time.time() - changed > _SETTLED_SECONDS

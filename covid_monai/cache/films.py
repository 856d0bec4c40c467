"""Preprocessed films in one file of equal rows that is mapped into memory.

    FOLDER/films.u8        uint8 [rows, S, S], nothing else
    FOLDER/index.sqlite    content -> row and checksum; path -> content

A film goes by the hash of its file's bytes: a renamed file or a copy is found again, a changed one is not.
"""

import logging
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from covid_monai.cache.index import WAY_OUT, FilmIndex, Row, file_version
from covid_monai.datasets.progress import in_threads

logger = logging.getLogger(__name__)

Decode = Callable[[str], Tensor]  # a path to uint8 [1, S, S]
_AT_ONCE = 128  # films in one transaction: what a crash can cost


class FilmCache:
    """The films of one preprocessing; several processes may read and fill it at once.

    Args:
        folder: For this preprocessing alone; made if it is missing, for its owner's eyes.
        size: Rows and columns of every film.

    Raises:
        OSError: If the folder cannot be written, or its index is damaged.
    """

    def __init__(self, folder: str | Path, *, size: int) -> None:
        self.folder = Path(folder)
        self.size = size
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.path = self.folder / "films.u8"
        self.path.touch()
        self.index = FilmIndex(self.folder / "index.sqlite")

    def films(self, files: Sequence[str], decode: Decode, *, workers: int | None = None) -> "CachedFilms":
        """Decode what is missing, and open the films of `files` in their order.

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
        return CachedFilms(self, list(files), contents, [known[content] for content in contents], decode)

    def map(self, rows: int) -> Tensor:
        """The first rows, `[rows, 1, S, S]` uint8, mapped: pages are read when they are needed.

        Rows that a truncated file has lost come as zeros, which their checksums tell.
        """
        needed = rows * self.size**2
        if self.path.stat().st_size < needed:
            os.truncate(self.path, needed)
        flat = torch.from_file(str(self.path), shared=False, size=needed, dtype=torch.uint8)
        return flat.view(rows, 1, self.size, self.size)

    def write(self, films: Sequence[tuple[bytes, Tensor]]) -> None:
        """Put films on disk, then into the index.

        Args:
            films: Content and pixels `[1, S, S]` uint8.

        Raises:
            OSError: If there is no space; the cache stays as it was.
        """
        entries = [(content, checksum(content, film)) for content, film in films]
        self.index.enter(entries, lambda numbers: self._write([film for _, film in films], numbers))

    def _write(self, films: Sequence[Tensor], numbers: Sequence[int]) -> None:
        try:
            with self.path.open("r+b") as file:
                for film, number in zip(films, numbers, strict=True):
                    file.seek(number * self.size**2)
                    file.write(film.numpy())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(
                f"the film cache {self.folder} cannot be written ({error.strerror}): {WAY_OUT}"
            ) from error

    def _fill(self, missing: dict[bytes, str], decode: Decode, workers: int | None) -> None:
        def work(item: tuple[bytes, str]) -> tuple[bytes, Tensor]:
            content, file = item
            version = file_version(file)
            film = _decoded(decode, file, self.size)
            if file_version(file) != version:
                raise OSError(f"{file} was changed while it was being read: start again")
            return content, film

        done: list[tuple[bytes, Tensor]] = []
        try:
            items = self._not_done_elsewhere(missing)
            for film in in_threads(work, items, "decoding films", total=len(missing), workers=workers):
                done.append(film)
                if len(done) == _AT_ONCE:
                    whole, done = done, []
                    self.write(whole)
        finally:
            if done:
                self.write(done)

    def _not_done_elsewhere(self, missing: dict[bytes, str]) -> Iterator[tuple[bytes, str]]:
        """Films in an order of this process's own: several that fill one cache share the work."""
        items = list(missing.items())
        generator = torch.Generator().manual_seed(os.getpid())
        for start in torch.randperm(-(-len(items) // _AT_ONCE), generator=generator).tolist():
            for content, file in items[start * _AT_ONCE : (start + 1) * _AT_ONCE]:
                if not self.index.has(content):
                    yield content, file


class CachedFilms:
    """The films of some files, in their order.

    A film's checksum is compared when it is read for the first time; a damaged one is decoded again.

    Args:
        cache: Where they lie.
        files: Their paths.
        contents: Their hashes.
        rows: Their rows.
        decode: Decodes a damaged film again.
    """

    def __init__(
        self, cache: FilmCache, files: list[str], contents: list[bytes], rows: list[Row], decode: Decode
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
        """Count the films."""
        return len(self._files)

    def __getitem__(self, positions: Tensor) -> Tensor:
        """Films `[N, 1, S, S]` uint8 at `positions` `[N]` int64; a copy."""
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
        logger.warning("%d films in %s are damaged: decoding them again.", len(positions), self._cache.folder)
        size = self._cache.size
        films = [_decoded(self._decode, self._files[position], size) for position in positions]
        self._cache.write([(self._contents[at], film) for at, film in zip(positions, films, strict=True)])


def _decoded(decode: Decode, file: str, size: int) -> Tensor:
    film = decode(file)
    if film.shape != (1, size, size) or film.dtype != torch.uint8:
        raise ValueError(
            f"the preprocessing gave {film.dtype} {list(film.shape)}, not uint8 [1, {size}, {size}]"
        )
    return film


def checksum(content: bytes, film: Tensor) -> int:
    """CRC-32 of the content's hash and the pixels: a film in another's row is told, too."""
    return zlib.crc32(film.numpy(), zlib.crc32(content))

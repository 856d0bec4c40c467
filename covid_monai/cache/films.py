"""Preprocessed films in one file of equal rows that is mapped into memory.

    FOLDER/films.u8        uint8 [rows, S, S], nothing else
    FOLDER/index.sqlite    content -> row and checksum; path -> content

A film goes by the hash of its file's bytes: a renamed file or a copy is found again, a changed one is not.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from covid_monai.cache.index import WAY_OUT, FilmIndex, content_of
from covid_monai.cache.opened import CachedFilms, Decode, checksum
from covid_monai.datasets.progress import in_threads

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

    def films(self, files: Sequence[str], decode: Decode, *, workers: int | None = None) -> CachedFilms:
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
        with self.index.exclusive():  # it must not become shorter if another process is writing
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

    def decoded(self, content: bytes, file: str, decode: Decode) -> Tensor:
        """Decode one film.

        Raises:
            ValueError: If `decode` does not give uint8 `[1, S, S]`.
            OSError: If the file's content is another one by now.
        """
        film = decode(file)
        if film.shape != (1, self.size, self.size) or film.dtype != torch.uint8:
            expected = f"uint8 [1, {self.size}, {self.size}]"
            raise ValueError(f"the preprocessing gave {film.dtype} {list(film.shape)}, not {expected}")
        if content_of(file) != content:
            raise OSError(f"{file} was changed while the film cache was being filled: start again")
        return film

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
            return item[0], self.decoded(*item, decode)

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

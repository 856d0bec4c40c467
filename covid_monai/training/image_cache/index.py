"""What lies in which row of an image cache, and which file has which content: one SQLite file.

A row is taken and entered in one transaction, under SQLite's write lock: of two processes that write, each
gets rows of its own, and of one that is killed nothing is entered that is not on disk.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

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
_LOCK_SECONDS = 120.0
# A file that was changed this short a time ago can change again without a new time stamp.
_SETTLED_SECONDS = 2.0


class Row(NamedTuple):
    """Where an image lies, and the CRC-32 of its pixels and content."""

    number: int
    checksum: int


class ImageIndex:
    """The index of one cache folder.

    Args:
        path: Made if it is missing.

    Raises:
        OSError: If it cannot be opened, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            self._database = sqlite3.connect(
                path, isolation_level=None, timeout=_LOCK_SECONDS, check_same_thread=False
            )
            self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def contents(self, files: Sequence[str]) -> list[bytes]:
        """Name the content of each file by its BLAKE2b hash.

        A file whose size and time stamps are those of the last time is not read again.

        Raises:
            OSError: If a file is missing or cannot be read.
        """
        with self._explained():
            entries = self._database.execute("SELECT path, version, content FROM file")
            known = {path: (version, content) for path, version, content in entries}
        found, news = [], []
        for file in files:
            version = _version(file)
            before, content = known.get(file, ("", b""))
            if before != version:
                content = content_of(file)
                if _is_settled(version):
                    news.append((file, version, content))
            found.append(content)
        if news:
            with self.exclusive():
                self._database.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", news)
        return found

    def rows(self) -> dict[bytes, Row]:
        """Every image that is whole on disk."""
        with self._explained():
            images = self._database.execute("SELECT content, number, checksum FROM image")
            return {content: Row(number, checksum) for content, number, checksum in images}

    def has(self, content: bytes) -> bool:
        """Whether another process has entered an image meanwhile."""
        with self._explained():
            query = "SELECT 1 FROM image WHERE content = ?"
            return self._database.execute(query, (content,)).fetchone() is not None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other writers out."""
        with self._explained(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    def enter(self, images: Iterable[tuple[bytes, int]], write: Callable[[list[int]], None]) -> None:
        """Take a row for each image, call `write` with the rows' numbers, and enter them once it is done.

        Args:
            images: Content and checksum; a content that is entered already keeps its row.
            write: Returns when the rows are on disk. Nothing is entered if it fails.
        """
        with self.exclusive():
            (free,) = self._database.execute("SELECT COALESCE(MAX(number), -1) + 1 FROM image").fetchone()
            entries = []
            for content, checksum in images:
                query = "SELECT number FROM image WHERE content = ?"
                known = self._database.execute(query, (content,)).fetchone()
                entries.append((content, known[0] if known else free, checksum))
                free += known is None
            write([number for _, number, _ in entries])
            self._database.executemany("INSERT OR REPLACE INTO image VALUES (?, ?, ?)", entries)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        folder = self.path.parent
        try:
            yield
        except sqlite3.OperationalError as error:  # full, locked, no permission: not damaged
            raise OSError(f"the image cache {folder} cannot be used ({error}): {WAY_OUT}") from error
        except sqlite3.DatabaseError as error:
            raise OSError(
                f"the image cache {folder} is damaged ({error}): delete that folder, it will be filled again"
            ) from error


WAY_OUT = "free space there, give another --cache_dir, or --cache memory"


def _version(file: str) -> str:
    """What changes when a file does: its size, and when its content and its entry were changed last."""
    stat = os.stat(file)  # noqa: PTH116  # of 100,000 files, making Paths takes longer than all else
    return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}"


def _is_settled(version: str) -> bool:
    changed = max(int(stamp) for stamp in version.split("-")[1:]) / 1e9
    return time.time() - changed > _SETTLED_SECONDS


def content_of(file: str) -> bytes:
    """Hash a file's bytes: BLAKE2b, 16 bytes of it."""
    with Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).digest()

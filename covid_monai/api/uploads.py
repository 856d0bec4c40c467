"""Uploaded files in memory: their limits, the memory budget of the process, zip archives."""

import gc
import re
import threading
import time
import weakref
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from covid_monai.core.number_format import format_count

if TYPE_CHECKING:
    from _typeshed import SupportsRead

MIB = 1 << 20
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # a first member, or the end of an archive without any
_ZIP_ENTRY = b"PK\x01\x02"  # an entry of the directory at an archive's end
_MAX_ENTRIES = 10_000  # the directory is parsed whole, before any member can be counted
# zipfile inflates these in pieces. A few hundred bytes of bzip2 or LZMA become hundreds of MiB in one step.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CHUNK = 1 << 16


class UploadError(ValueError):
    """An upload cannot be used; the message names it and says what to do."""


class LimitExceeded(UploadError):
    """An upload is larger than the limits allow."""


class OutOfMemoryBudget(UploadError):
    """All callers together hold as much as the process keeps in memory."""


@dataclass(frozen=True)
class Upload:
    """One file in memory; its name may name a patient and belongs in no log."""

    name: str  # as the caller gave it, without folders; of an archive, the address; see also `ServerFile`
    data: bytes

    def load(self) -> "Upload":
        """Return the upload itself: an upload is its own source (see `covid_monai.app.sources`)."""
        return self


@dataclass(frozen=True)
class Limits:
    """Sizes and numbers that are accepted; the checks raise `LimitExceeded` with the limit."""

    max_file_bytes: int = 64 * MIB  # of one file, and of one member of a zip archive when inflated
    max_files: int = 200  # in one request, or of one visitor; members of archives count
    max_total_bytes: int = 512 * MIB  # of these files together, as they arrive, and again when inflated
    max_held_bytes: int = 2048 * MIB  # of the files of all callers together, see `MemoryBudget`

    @classmethod
    def for_file_size(cls, max_file_mib: int, *, max_files: int = 200) -> "Limits":
        """Derive all limits from the size of the largest file.

        >>> Limits.for_file_size(64) == Limits()
        True
        """
        size = max_file_mib * MIB
        return cls(size, max_files, max_total_bytes=8 * size, max_held_bytes=32 * size)

    def check_file(self, name: str, size: int) -> None:
        """Refuse one file that is too large."""
        if size > self.max_file_bytes:
            raise LimitExceeded(
                f"{name} is larger than {_mib(self.max_file_bytes)}, the limit for one file. Send a smaller "
                "file, or ask the administrator to raise --max-upload-mib."
            )

    def check_total(self, size: int) -> None:
        """Refuse files that are too large together."""
        if size > self.max_total_bytes:
            raise LimitExceeded(
                f"The files are larger than {_mib(self.max_total_bytes)} together, the limit for files sent "
                "at once. Send them in several parts."
            )

    def check_count(self, count: int) -> None:
        """Refuse too many files."""
        if count > self.max_files:
            files = format_count(self.max_files, "file")
            raise LimitExceeded(f"At most {files} can be sent at once. Send them in several parts.")


class MemoryBudget:
    """Memory for uploads, shared by all callers of the process: the REST service and the page."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held = 0
        self._kept: set[int] = set()
        self._next_collection = 0.0
        self._lock = threading.RLock()  # Python may collect garbage, and so release uploads, at any time

    def keep(self, upload: Upload) -> Upload:
        """Count an upload, once, for as long as anybody refers to it; return it.

        Raises:
            OutOfMemoryBudget: If it does not fit beside what is held.
        """
        if id(upload) not in self._kept:
            with self.arrival() as arrival:
                arrival.add(len(upload.data))
                arrival.keep(upload)
        return upload

    @contextmanager
    def arrival(self) -> Iterator["Arrival"]:
        """Count bytes as they arrive; those of no kept upload are free again at the end of the block."""
        arrival = Arrival(self)
        try:
            yield arrival
        finally:
            with self._lock:
                self.held -= arrival.size

    def _take(self, size: int) -> None:
        begin = time.monotonic()
        if self.held + size > self.max_bytes and begin >= self._next_collection:
            # A visitor who has left may be part of a cycle of references. With many open pages the search
            # takes half a second, in which nobody gets an answer: at most a tenth of the time is spent on it.
            gc.collect()
            end = time.monotonic()
            self._next_collection = end + 9 * (end - begin)
        with self._lock:
            if self.held + size > self.max_bytes:
                raise OutOfMemoryBudget(
                    f"The server holds as many images in memory as it may ({_mib(self.max_bytes)} for all "
                    "users together). Remove images that you no longer need, or try again in a few minutes."
                )
            self.held += size

    def _forget(self, key: int, size: int) -> None:
        with self._lock:
            self._kept.discard(key)
            self.held -= size


class Arrival:
    """Bytes that are counted against a budget while they arrive, before they are an upload."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.size = 0
        self._budget = budget

    def add(self, size: int) -> None:
        """Count bytes, or raise `OutOfMemoryBudget`."""
        self._budget._take(size)
        self.size += size

    def keep(self, upload: Upload) -> Upload:
        """Hand the counted bytes over to a new upload: they count for as long as anybody refers to it."""
        budget, size = self._budget, len(upload.data)
        with budget._lock:
            budget._kept.add(id(upload))
            self.size -= size
        weakref.finalize(upload, budget._forget, id(upload), size)
        return upload


def unpack_all(uploads: Iterable[Upload], limits: Limits, budget: MemoryBudget) -> Iterator[Upload]:
    """Yield files, and the members of zip archives one at a time; count each against limits and budget.

    All files of the REST service and of the page come through here, wherever they are from. Folders and
    hidden members (such as `__MACOSX/._image.dcm`) are left out, as in a folder on disk. An archive inside
    an archive is not opened: it is yielded as it is, and the readers refuse it.

    Raises:
        UploadError: If a file exceeds the limits or the memory budget, or an archive is damaged or encrypted.

    >>> [one.name for one in unpack_all([Upload("image.dcm", b"")], Limits(), MemoryBudget(10))]
    ['image.dcm']
    """
    count = total = 0
    for upload in uploads:
        for one in _unpack(budget.keep(upload), limits, budget):
            count += 1
            total += len(one.data)
            limits.check_count(count)
            limits.check_total(total)
            yield one


def _unpack(upload: Upload, limits: Limits, budget: MemoryBudget) -> Iterator[Upload]:
    limits.check_file(upload.name, len(upload.data))
    if not upload.data.startswith(_ZIP):
        yield upload
        return
    if upload.data.count(_ZIP_ENTRY) > _MAX_ENTRIES:
        raise LimitExceeded(
            f"{upload.name} has more than {_MAX_ENTRIES:,} entries. Send the files in several archives."
        )
    try:
        with zipfile.ZipFile(BytesIO(upload.data)) as archive:
            yield from _members(archive, limits, budget)
    except UploadError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise UploadError(
            f"{upload.name} cannot be opened: the zip archive is damaged, encrypted or packed by another "
            "method than Deflate. Pack the files again with Deflate, without a password."
        ) from error


def _members(archive: zipfile.ZipFile, limits: Limits, budget: MemoryBudget) -> Iterator[Upload]:
    members = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_hidden(entry.filename)]
    limits.check_count(len(members))
    for entry in members:
        if entry.compress_type not in _METHODS:
            raise NotImplementedError(f"compression method {entry.compress_type}")
        with archive.open(entry) as file:
            yield read_counted(file, plain_name(entry.filename), limits, budget)


def read_counted(file: "SupportsRead[bytes]", name: str, limits: Limits, budget: MemoryBudget) -> Upload:
    """Read a file to its end, and count every piece: what it or its container says of its size may be false.

    Raises:
        UploadError: If it exceeds the limit for one file, or the memory budget.
    """
    # BytesIO gives its bytes away without a second copy, and `with` frees them before an error is handled.
    with budget.arrival() as arrival, BytesIO() as content:
        while piece := file.read(_CHUNK):
            arrival.add(len(piece))
            content.write(piece)
            limits.check_file(name, content.tell())
        return arrival.keep(Upload(name, content.getvalue()))


def _is_hidden(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in parts)


def plain_name(path: str) -> str:
    r"""Return the last part of a path of any system, as text that can be shown and sent.

    >>> plain_name("..\\images/a\nb.dcm"), plain_name("/")
    ('a b.dcm', 'unnamed')
    """
    last = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    printable = "".join(letter if letter.isprintable() else " " for letter in last).strip()
    return printable[-255:] or "unnamed"


def _mib(size: int) -> str:
    return f"{size / MIB:g} MiB"

"""What callers hand in: kept in memory, bounded, on no disk, and under a name that is no path."""

import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO

MIB = 1 << 20
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # a first member, or the end of an archive without any
_ZIP_ENTRY = b"PK\x01\x02"  # of the directory at an archive's end
_MAX_ENTRIES = 10_000  # the directory is parsed whole, before any member can be counted
_CHUNK = 1 << 16


class UploadError(ValueError):
    """What was handed in cannot be used as a whole; names it and the way out."""


class LimitExceeded(UploadError):
    """More was handed in than is taken."""


@dataclass(frozen=True)
class Upload:
    """One file as it was handed in.

    Args:
        name: As the caller calls it, without any folder; it may name a patient and belongs in no log.
        data: Its content.
    """

    name: str
    data: bytes


@dataclass(frozen=True)
class Limits:
    """What is taken at once.

    Args:
        max_file_bytes: Of one file, and of one member of a zip archive when inflated.
        max_files: Together, members of archives included.
        max_total_bytes: Together, as they come, and again when inflated.
    """

    max_file_bytes: int = 64 * MIB
    max_files: int = 200
    max_total_bytes: int = 512 * MIB

    def check_file(self, name: str, size: int) -> None:
        """Refuse one file that is too large.

        Raises:
            LimitExceeded: Names the file and the limit.
        """
        if size > self.max_file_bytes:
            raise LimitExceeded(f"{name} is larger than {_mib(self.max_file_bytes)}, which is the most.")

    def check_total(self, size: int) -> None:
        """Refuse files that are too large together.

        Raises:
            LimitExceeded: Names the limit.
        """
        if size > self.max_total_bytes:
            raise LimitExceeded(
                f"More than {_mib(self.max_total_bytes)} at once: send the files in several parts."
            )

    def check_count(self, count: int) -> None:
        """Refuse too many files.

        Raises:
            LimitExceeded: Names the limit.
        """
        if count > self.max_files:
            raise LimitExceeded(f"More than {self.max_files} files at once: send them in several parts.")


def unpack(name: str, data: bytes, limits: Limits) -> Iterator[Upload]:
    """One upload, or the members of a zip archive, one at a time in memory.

    Folders and hidden members (such as `__MACOSX/._image.dcm`) are left out, as in a folder on disk. An
    archive in an archive is not opened: it comes out as it is, and no reader takes it.

    Args:
        name: As the caller calls it; see `plain_name`.
        data: The content, which decides what it is.
        limits: Sizes are counted while inflating; what an archive says of itself is not believed.

    Raises:
        LimitExceeded: If it is too much.
        UploadError: If an archive is damaged or encrypted.

    >>> [upload.name for upload in unpack("image.dcm", b"", Limits())]
    ['image.dcm']
    """
    limits.check_file(name, len(data))
    if not data.startswith(_ZIP):
        yield Upload(name, data)
        return
    if data.count(_ZIP_ENTRY) > _MAX_ENTRIES:
        raise LimitExceeded(f"{name} has more than {_MAX_ENTRIES} entries: send the files in several parts.")
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            yield from _members(archive, limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise UploadError(
            f"{name} is a zip archive that is damaged, encrypted or packed in an unusual way: pack it again."
        ) from error


def unpack_all(uploads: Iterable[Upload], limits: Limits) -> Iterator[Upload]:
    """As `unpack`, of several; the limits hold for all of them together.

    Raises:
        LimitExceeded: If it is too much, when the file that is too much is reached.
        UploadError: If an archive is damaged or encrypted.
    """
    count = total = 0
    for upload in uploads:
        for one in unpack(upload.name, upload.data, limits):
            count += 1
            total += len(one.data)
            limits.check_count(count)
            limits.check_total(total)
            yield one


def _members(archive: zipfile.ZipFile, limits: Limits) -> Iterator[Upload]:
    total = 0
    members = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_hidden(entry.filename)]
    limits.check_count(len(members))
    for entry in members:
        name = plain_name(entry.filename)
        with archive.open(entry) as file:
            data = _read(file, name, limits)
        total += len(data)
        limits.check_total(total)
        yield Upload(name, data)


def _read(file: IO[bytes], name: str, limits: Limits) -> bytes:
    content = bytearray()
    while piece := file.read(_CHUNK):
        content += piece
        limits.check_file(name, len(content))
    return bytes(content)


def _is_hidden(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in parts)


def plain_name(path: str) -> str:
    r"""The last part of a path of any system, as text that can be shown and sent.

    >>> plain_name("..\\images/a\nb.dcm"), plain_name("/")
    ('a b.dcm', 'unnamed')
    """
    last = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    shown = "".join(letter if letter.isprintable() else " " for letter in last).strip()
    return shown[-255:] or "unnamed"


@contextmanager
def in_memory(upload: Upload) -> Iterator[Path]:
    """A path to an upload's content for readers that want one; it lies on no disk, and ends with the block.

    The path has no suffix: the content decides, as everywhere in `covid_monai.readers`. Other processes of
    the same user may open it too.

    Raises:
        OSError: If there is no memory, or too many files are open.
    """
    descriptor = os.memfd_create("upload", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        left = memoryview(upload.data)
        while left:
            left = left[file.write(left) :]
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")


def renamed(detail: str | None, old: str, new: str) -> str | None:
    """A sentence that may begin with the name of the file that it is about, as those of the readers do.

    >>> renamed("7: the file is empty", "7", "image.dcm")
    'image.dcm: the file is empty'
    """
    if detail is None or not detail.startswith(f"{old}: "):
        return detail
    return f"{new}: {detail.removeprefix(f'{old}: ')}"


def _mib(size: int) -> str:
    return f"{size / MIB:g} MiB"

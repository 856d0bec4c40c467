"""A bundle as one file: digests of all that is in it, bytes that repeat, and unpacking that checks paths."""

import errno
import hashlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from covid_monai.core.atomic_files import replace_atomically, write_text_atomically

SUMS = "SHA256SUMS"  # in the form of coreutils' sha256sum, so that `sha256sum -c SHA256SUMS` reads it
_MAX_BYTES = 4 * 2**30  # unpacked; a bundle has tens of megabytes
_USED = ("configs/", "models/")  # a bundle takes what it finds there
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


class ArchiveError(ValueError):
    """An archive, or a folder with `SHA256SUMS`, that is not what it was when it was made."""


def sha256(path: Path) -> str:
    """Digest of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path) -> None:
    """Write `SHA256SUMS` of all files of a folder."""
    write_text_atomically(
        folder / SUMS, "".join(f"{sha256(folder / name)}  {name}\n" for name in _files(folder))
    )


def check_sums(folder: Path, *, shown: Path | None = None) -> None:
    """Compare a folder with its `SHA256SUMS`; one without is a bundle that was never exported.

    Other files may lie beside them, such as results; in `configs/` and `models/` they would be used.

    Args:
        folder: That may hold the list.
        shown: What messages call it; None for the folder itself.

    Raises:
        ArchiveError: Naming the files that are missing, changed or added.
    """
    if not (folder / SUMS).is_file():
        return
    listed = read_sums(folder / SUMS, shown=shown)
    used = [name for name in _files(folder) if name.startswith(_USED)]
    problems = [f"{name} was added" for name in used if name not in listed]
    for name, digest in listed.items():
        if not (folder / name).is_file():
            problems.append(f"{name} is missing")
        elif sha256(folder / name) != digest:
            problems.append(f"{name} is damaged or was changed")
    if problems:
        raise ArchiveError(
            f"{shown or folder}: not as it was exported ({SUMS}): {'; '.join(problems)}. Unpack the "
            f"archive again, or delete {SUMS} if you changed the bundle yourself."
        )


def read_sums(path: Path, *, shown: Path | None = None) -> dict[str, str]:
    """Name to digest, from a list in the form of `sha256sum`.

    Raises:
        ArchiveError: If it is not in the form of `sha256sum`, or names a file outside its folder.
    """
    digests = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, separator, name = line.partition("  ")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef") or not separator:
            raise ArchiveError(f"{shown or path}: {SUMS} is no list of SHA-256 digests: {line[:80]!r}")
        _check_name(name, shown or path)
        digests[name] = digest
    if not digests:
        raise ArchiveError(f"{shown or path}: {SUMS} lists no file")
    return digests


def write_zip(folder: Path, path: Path) -> None:
    """Pack a folder under its own name; the same files give the same bytes.

    Args:
        folder: Becomes the one folder at the top of the archive.
        path: The archive; written whole or not at all.
    """
    with replace_atomically(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in [*_files(folder), *([SUMS] if (folder / SUMS).is_file() else [])]:
            entry = zipfile.ZipInfo(f"{folder.name}/{name}", date_time=_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, (folder / name).read_bytes(), compresslevel=6)


def unpack(path: Path, folder: Path) -> Path:
    """Unpack an archive of `write_zip` below `folder` and check its digests.

    Returns:
        The unpacked folder.

    Raises:
        ArchiveError: If it is damaged, has no digests, holds what they do not list, or would write outside
            of one folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            top = _check_entries(archive, path)
            archive.extractall(folder)  # compares what it unpacks with its check sums
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        # A damaged archive may ask for a place before its own beginning; a full disk is no fault of it.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise ArchiveError(
            f"{path} is no zip archive, or is cut off or damaged ({error}). Copy or download it again."
        ) from error
    root = folder / top
    if not (root / SUMS).is_file():
        raise ArchiveError(f"{path}: {top}/{SUMS} is missing, so this was not made by covid-monai export.")
    check_sums(root, shown=path)
    unlisted = set(_files(root)) - set(read_sums(root / SUMS))
    if unlisted:
        raise ArchiveError(f"{path}: holds what {SUMS} does not list: {', '.join(sorted(unlisted))}")
    return root


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder of a bundle that is given as a folder or as an archive; an archive's is temporary.

    Raises:
        ArchiveError: As `unpack`; and in place of an error about the temporary folder, which nobody could
            find afterwards.
    """
    if not path.is_file():
        yield path
        return
    with TemporaryDirectory(prefix="covid_monai_") as folder:
        root = unpack(path, Path(folder))
        try:
            yield root
        except (ValueError, FileNotFoundError) as error:
            message = str(error).replace(f"{root}/", "").replace(str(root), str(path))
            raise ArchiveError(message if str(path) in message else f"{path}: {message}") from error


def _check_entries(archive: zipfile.ZipFile, path: Path) -> str:
    """Name of the one folder that everything lies in."""
    names = [entry.filename for entry in archive.infolist()]
    for entry in archive.infolist():
        _check_name(entry.filename.rstrip("/"), path)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArchiveError(f"{path}: {entry.filename} is a link or a device, which no bundle holds")
    if len(set(names)) < len(names):
        raise ArchiveError(f"{path}: holds one name twice")
    if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
        raise ArchiveError(f"{path}: unpacks to more than {_MAX_BYTES / 2**30:.0f} GiB, which no bundle does")
    tops = {PurePosixPath(name).parts[0] for name in names}
    if len(tops) != 1:
        raise ArchiveError(
            f"{path}: expected one folder with a bundle, found {', '.join(sorted(tops)) or 'nothing'}"
        )
    return tops.pop()


def _check_name(name: str, path: Path) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
        raise ArchiveError(f"{path}: {name!r} would be written outside of the bundle's folder")


def _files(folder: Path) -> list[str]:
    """Names of all files but `SHA256SUMS` itself, relative and in order."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != SUMS)

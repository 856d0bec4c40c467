"""A bundle as one zip archive: checksums, reproducible bytes, and unpacking with checked paths."""

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

CHECKSUMS = "SHA256SUMS"  # in the format of coreutils: `sha256sum -c SHA256SUMS` reads it
_MAX_BYTES = 4 * 2**30  # unpacked; a bundle has tens of megabytes
_USED = ("configs/", "models/")  # a bundle reads every file that it finds there
# A damaged archive may make zipfile seek before its beginning; or hold a file below a file, or a long name.
_DAMAGED = (errno.EINVAL, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
_REMEDY = "Use an archive that covid-monai export wrote."
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can hold


class ArchiveError(ValueError):
    """An archive, or an unpacked one, differs from what covid-monai export wrote."""


def compute_sha256(path: Path) -> str:
    """Return the digest of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(folder: Path) -> None:
    """Write `SHA256SUMS` with the digest of every file in a folder."""
    lines = (f"{compute_sha256(folder / name)}  {name}\n" for name in _list_files(folder))
    write_text_atomically(folder / CHECKSUMS, "".join(lines))


def verify_checksums(folder: Path, *, archive: Path | None = None) -> None:
    """Compare a folder with its `SHA256SUMS`; a folder without that file was never exported.

    Other files may lie in the folder, such as results, but not in `configs/` or `models/`, where they would
    be used, nor in an archive. The error names all files that are missing, changed or added, and the archive.
    """
    if not (folder / CHECKSUMS).is_file():
        return
    listed = read_checksums(folder / CHECKSUMS, archive=archive)
    used = [name for name in _list_files(folder) if archive or name.startswith(_USED)]
    problems = [f"{name} was added" for name in used if name not in listed]
    for name, digest in listed.items():
        if not (folder / name).is_file():
            problems.append(f"{name} is missing")
        elif compute_sha256(folder / name) != digest:
            problems.append(f"{name} is damaged or was changed")
    if problems:
        raise ArchiveError(
            f"{archive or folder} is not as it was exported: {'; '.join(problems)}. Unpack the archive "
            f"again, or delete {CHECKSUMS} if you changed the bundle yourself."
        )


def read_checksums(path: Path, *, archive: Path | None = None) -> dict[str, str]:
    """Return the digest of each file in a list of `sha256sum`; no file may lie outside the list's folder."""
    digests = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, separator, name = line.partition("  ")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef") or not separator:
            raise ArchiveError(
                f"{archive or path}: {CHECKSUMS} holds {line[:80]!r}, which is not a SHA-256 digest with a "
                "file name. Copy the archive again."
            )
        _check_name(name, archive or path)
        digests[name] = digest
    if not digests:
        raise ArchiveError(f"{archive or path}: {CHECKSUMS} lists no file. Copy the archive again.")
    return digests


def write_zip(folder: Path, path: Path) -> None:
    """Pack a folder under its own name, completely or not at all. The same files give the same bytes."""
    with replace_atomically(path, shared=True) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in [*_list_files(folder), *(path.name for path in folder.glob(CHECKSUMS))]:
            entry = zipfile.ZipInfo(f"{folder.name}/{name}", date_time=EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, (folder / name).read_bytes(), compresslevel=6)


def unpack(path: Path, folder: Path) -> Path:
    """Unpack an archive of `write_zip` into `folder`, check its digests, and return the unpacked folder.

    `ArchiveError`: it is damaged, holds a file without a digest, or would write outside of one folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            top = _check_entries(archive, path)
            archive.extractall(folder)  # compares the content with the archive's own check sums
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        # Other errors, such as a full disk, say nothing about the archive.
        if isinstance(error, OSError) and error.errno not in _DAMAGED:
            raise
        problem = getattr(error, "strerror", None) or error  # without the path of the temporary folder
        raise ArchiveError(
            f"{path} is not a zip archive, or is incomplete or damaged ({problem}). Copy or download it "
            "again."
        ) from error
    root = folder / top
    if not (root / CHECKSUMS).is_file():
        raise ArchiveError(
            f"{path}: {top}/{CHECKSUMS} is missing, so covid-monai export did not write this archive. Export "
            "the bundle again."
        )
    verify_checksums(root, archive=path)
    return root


@contextmanager
def open_bundle(path: Path) -> Iterator[Path]:
    """Give the folder of a bundle that is a folder or an archive; an archive is unpacked for the block.

    `ArchiveError` also replaces errors about the temporary folder, which does not stay.
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
    """Return the name of the only folder at the top; raise `ArchiveError` for an unsafe entry."""
    names = [entry.filename for entry in archive.infolist()]
    for entry in archive.infolist():
        _check_name(entry.filename.rstrip("/"), path)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArchiveError(
                f"{path}: {entry.filename} is a link or a device, which no bundle holds. {_REMEDY}"
            )
    if len(set(names)) < len(names):
        raise ArchiveError(f"{path}: a file name occurs twice. {_REMEDY}")
    if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
        most = f"{_MAX_BYTES / 2**30:.0f} GiB"
        raise ArchiveError(f"{path} unpacks to more than {most}, which no bundle does. {_REMEDY}")
    tops = {PurePosixPath(name).parts[0] for name in names}
    if len(tops) != 1:
        found = ", ".join(sorted(tops)) or "nothing"
        raise ArchiveError(
            f"{path}: an archive of a bundle holds one folder, but this one holds {found}. {_REMEDY}"
        )
    return tops.pop()


def _check_name(name: str, path: Path) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
        raise ArchiveError(f"{path}: {name!r} would be written outside of the bundle's folder. {_REMEDY}")


def _list_files(folder: Path) -> list[str]:
    """Return the relative names of all files but `SHA256SUMS`, in order."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != CHECKSUMS)

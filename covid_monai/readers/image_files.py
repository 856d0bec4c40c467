"""Which files a person means by the paths that they give."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from covid_monai.core.errors import first_line

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".dcm", ".dicom", ".ima", ".jpg", ".jpeg", ".png"})
_PREAMBLE = 128  # bytes before "DICM", PS3.10 section 7.1


class FoundFiles(NamedTuple):
    """Result of `find_files`.

    Args:
        files: In the order given, folders in sorted order, no file twice.
        left_out: How many files of the folders do not look like an image.
    """

    files: list[Path]
    left_out: int


def find_files(paths: Sequence[str | Path]) -> FoundFiles:
    """Files as they are given; of folders, the files that look like DICOM, JPEG or PNG.

    Folders are searched to the bottom. Links to folders are followed, each folder being visited once.
    Hidden files and folders are not looked at. A file without a known suffix counts as DICOM if it
    carries the "DICM" mark; DICOMDIR does not count, as it holds no image.

    Raises:
        FileNotFoundError: If a path does not exist, or is neither a file nor a folder.
    """
    for path in map(Path, paths):
        if not path.is_file() and not path.is_dir():
            problem = "is neither a file nor a folder" if path.exists() else "does not exist"
            raise FileNotFoundError(f"{path} {problem}: give image files, or folders that hold some.")
    kept: dict[str, Path] = {}
    seen: set[str] = set()
    for path, given in _expand(map(Path, paths)):
        key = os.path.abspath(path)  # not resolved: two links to one image are two files  # noqa: PTH100
        if given or _looks_like_image(path):
            kept.setdefault(key, path)
        seen.add(key)
    return FoundFiles(list(kept.values()), len(seen) - len(kept))


def common_folder(files: Sequence[str]) -> str:
    """The folder that all files lie in, with its separator; "" if there is nothing to save.

    >>> common_folder(["images/a.dcm", "images/b.dcm"])
    'images/'
    >>> common_folder(["images/a.dcm"])
    ''
    """
    parents = {str(Path(file).parent) for file in files}
    return f"{parents.pop()}{os.sep}" if len(parents) == 1 < len(files) and parents != {"."} else ""


def readable_images(folder: str | Path) -> list[dict[str, str]]:
    """MONAI datalist of a folder's images that the classifier accepts; the log names the others.

    Every file is read once here and again by the loader: for many files `covid-monai predict` is faster.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it holds no image that can be used.
    """
    # Here and not above: the readers need MONAI, `find_files` shall answer at once.
    from covid_monai.readers import read_radiograph

    records = []
    for path in find_files([folder]).files:
        try:
            read_radiograph(path)
        except ValueError as error:
            logger.warning("%s is left out: %s", path, first_line(error))
        else:
            records.append({"image": str(path)})
    if not records:
        raise ValueError(f"{folder} holds no chest radiograph (DICOM, JPEG or PNG) that can be read.")
    return records


def _expand(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """Files, each with whether it was given by name."""
    for path in paths:
        if path.is_file():
            yield path, True
        else:
            yield from ((file, False) for file in _files_below(path))


def _files_below(folder: Path) -> Iterator[Path]:
    visited = {_identity(folder)}
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_log_unreadable):
        folders[:] = [
            name for name in sorted(folders) if not name.startswith(".") and _visit(Path(root, name), visited)
        ]
        for name in sorted(files):
            if not name.startswith(".") and Path(root, name).is_file():
                yield Path(root, name)


def _visit(folder: Path, visited: set[tuple[int, int]]) -> bool:
    """Whether `folder` is new; notes it in `visited`, so that a circle of links ends."""
    identity = _identity(folder)
    if identity in visited:
        return False
    visited.add(identity)
    return True


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _log_unreadable(error: OSError) -> None:
    logger.warning("%s is left out: %s", error.filename, error.strerror)


def _looks_like_image(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    if path.name.upper() == "DICOMDIR":
        return False
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError as error:
        logger.warning("%s is left out: %s", path, error.strerror)
        return False

"""The image files that given paths and folders stand for."""

import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from covid_monai.core.errors import first_line
from covid_monai.dicom.file import is_dicom

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".dcm", ".dicom", ".ima", ".jpg", ".jpeg", ".png"})


class FoundFiles(NamedTuple):
    """Image files in the order given, those of folders sorted, and the number of the folders' other files."""

    files: list[Path]
    left_out: int


def find_image_files(
    paths: Sequence[str | Path], *, recursive: bool = True, suffixes: Collection[str] = IMAGE_SUFFIXES
) -> FoundFiles:
    """Return the given files, and the files of given folders that look like images.

    Args:
        paths: Files, which are returned whatever they look like, and folders; see `files_below`.
        recursive: Whether to search the subfolders, too.
        suffixes: See `looks_like_image`; by default DICOM, JPEG and PNG.

    Raises:
        FileNotFoundError: A path does not exist, or is neither a file nor a folder.
    """
    for path in map(Path, paths):
        if not path.is_file() and not path.is_dir():
            problem = "is neither a file nor a folder" if path.exists() else "does not exist"
            raise FileNotFoundError(f"{path} {problem}. Give image files, or folders that hold some.")
    kept: dict[str, Path] = {}
    seen: set[str] = set()
    for given in map(Path, paths):
        for path in [given] if given.is_file() else files_below(given, recursive=recursive):
            key = os.path.abspath(path)  # not resolved: two links to one image are two files  # noqa: PTH100
            if path is given or looks_like_image(path, suffixes=suffixes):
                kept.setdefault(key, path)
            seen.add(key)
    return FoundFiles(list(kept.values()), len(seen) - len(kept))


def looks_like_image(path: Path, *, suffixes: Collection[str] = IMAGE_SUFFIXES) -> bool:
    """Tell whether a file may be an image: by its suffix, or else because it is a DICOM file.

    A DICOMDIR does not count, because it holds no image. The suffixes are in lower case.
    """
    if path.suffix.lower() in suffixes:
        return True
    if path.name.upper() == "DICOMDIR":
        return False
    try:
        return is_dicom(path)
    except OSError as error:
        _log_unreadable(error)
        return False


def files_below(
    folder: Path,
    *,
    recursive: bool = True,
    hidden: bool = False,
    follow_links: bool = True,
    on_error: Callable[[OSError], None] | None = None,
) -> Iterator[Path]:
    """Yield the files of a folder, then those of its subfolders, each in sorted order.

    Args:
        folder: Folder to search.
        recursive: Whether to search the subfolders, too.
        hidden: Whether to include files and folders whose names begin with a dot.
        follow_links: Whether to search folders that are links; each folder is searched once.
        on_error: Called for a folder that cannot be opened; None logs it.
    """
    visited: set[tuple[int, int]] = set()
    _is_new(folder, visited)
    for root, folders, files in os.walk(
        folder, followlinks=follow_links, onerror=on_error or _log_unreadable
    ):
        folders[:] = [
            name
            for name in sorted(folders)
            if recursive and (hidden or not name.startswith(".")) and _is_new(Path(root, name), visited)
        ]
        for name in sorted(files):
            if (hidden or not name.startswith(".")) and Path(root, name).is_file():
                yield Path(root, name)


def common_folder(files: Sequence[str]) -> str:
    """Return the folder that all files lie in, with its separator; "" if there is nothing to shorten.

    >>> common_folder(["images/a.dcm", "images/b.dcm"])
    'images/'
    >>> common_folder(["images/a.dcm"])
    ''
    """
    parents = {str(Path(file).parent) for file in files}
    return f"{parents.pop()}{os.sep}" if len(parents) == 1 < len(files) and parents != {"."} else ""


def readable_images(folder: str | Path) -> list[dict[str, str]]:
    """Return a MONAI datalist of a folder's images that the classifier accepts; the log names the others.

    Every file is read once here and again by the loader: for many files `covid-monai predict` is faster.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: The folder holds no usable image.
    """
    from covid_monai.dicom.view import check_view
    from covid_monai.readers.radiograph import read_radiograph  # decoders; `find_image_files` needs none

    records = []
    for path in find_image_files([folder]).files:
        try:
            check_view(read_radiograph(path)[1])
        except ValueError as error:
            logger.warning("%s is left out: %s", path, first_line(error))
        else:
            records.append({"image": str(path)})
    if not records:
        raise ValueError(f"{folder} holds no chest radiograph (DICOM, JPEG or PNG) that can be read.")
    return records


def _is_new(folder: Path, visited: set[tuple[int, int]]) -> bool:
    """Tell whether a folder was not visited yet, and note it, so that a circle of links ends."""
    status, count = folder.stat(), len(visited)
    visited.add((status.st_dev, status.st_ino))
    return len(visited) > count


def _log_unreadable(error: OSError) -> None:
    logger.warning("%s is left out: %s", error.filename, error.strerror)

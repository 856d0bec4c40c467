"""Images of a folder on the server that visitors may choose from, and nothing beside it."""

import os
from pathlib import Path

from covid_monai.api.uploads import Limits, Upload, UploadError
from covid_monai.readers.image_files import find_image_files

_MOST_FOLDERS = 500


def folders_below(root: Path) -> list[str]:
    """The folder itself (".") and those below it, as they can be chosen; hidden ones are left out."""
    found = ["."]
    for folder, below, _ in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        found += [str((Path(folder) / name).relative_to(root)) for name in below]
        if len(found) >= _MOST_FOLDERS:
            break
    return found[:_MOST_FOLDERS]


def images_in(root: Path, chosen: str, limits: Limits) -> list[Path]:
    """Files that look like images in one folder below `root`.

    Args:
        root: Resolved.
        chosen: As `folders_below` gives it; it came from the browser and may be anything.
        limits: For their number.

    Raises:
        UploadError: If the folder is not there or not below the root, by whatever links, or has no images.
        LimitExceeded: If they are too many.
    """
    folder = (root / chosen).resolve()
    if not folder.is_relative_to(root) or not folder.is_dir():
        raise UploadError("There is no such folder here.")
    files = [file for file in find_image_files([folder]).files if file.resolve().is_relative_to(root)]
    if not files:
        raise UploadError("No DICOM, JPEG or PNG files there.")
    limits.check_count(len(files))
    return files


def read_upload(file: Path, limits: Limits) -> Upload:
    """Read one file.

    Raises:
        LimitExceeded: If it is too large.
        OSError: If it cannot be read.
    """
    limits.check_file(file.name, file.stat().st_size)
    return Upload(file.name, file.read_bytes())

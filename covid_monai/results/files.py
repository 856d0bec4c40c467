"""Result objects as files."""

from collections.abc import Iterable
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset

from covid_monai.core.atomic_files import replace_atomically


def write_results(objects: Iterable[Dataset], folder: str | Path) -> list[Path]:
    """Write DICOM files, each whole or not at all, named by their SOP Instance UID.

    A file of an earlier run with the same model is replaced by the same bytes.

    Args:
        objects: From `ResultObjects.of`.
        folder: Made if it is missing.

    Returns:
        The paths, in the order of `objects`.

    Raises:
        OSError: If the folder cannot be written.
    """
    return [_write(result, Path(folder) / f"{result.SOPInstanceUID}.dcm") for result in objects]


def _write(result: Dataset, path: Path) -> Path:
    with replace_atomically(path) as temporary:
        dcmwrite(temporary, result, enforce_file_format=True)
    return path

"""Where images come from beside uploads: a folder of the server, synthetic examples."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from covid_monai.api.uploads import Limits, MemoryBudget, Upload, UploadError, read_counted
from covid_monai.phantoms.file_formats import PhantomPatient, radiograph_dataset
from covid_monai.phantoms.radiograph import draw_radiograph
from covid_monai.readers.image_files import find_image_files

_MAX_FOLDERS = 500
_EXAMPLE_SIDE = 512  # pixels


@dataclass(frozen=True)
class ServerFile:
    """An image in the server's folder, read when it is needed."""

    path: Path
    name: str  # path relative to the folder, as the page shows it
    limits: Limits
    budget: MemoryBudget

    def load(self) -> Upload:
        """Read the file; it counts for as long as anybody refers to the upload."""
        self.limits.check_file(self.name, self.path.stat().st_size)
        with self.path.open("rb") as file:
            return read_counted(file, self.name, self.limits, self.budget)


ImageSource = Upload | ServerFile


def folders_below(root: Path) -> list[str]:
    """Return the folder itself (".") and those below it, without hidden ones, relative to `root`."""
    found = ["."]
    for folder, below, _ in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        found += [str((Path(folder) / name).relative_to(root)) for name in below]
        if len(found) >= _MAX_FOLDERS:
            break
    return found[:_MAX_FOLDERS]


def images_in(root: Path, chosen: str, limits: Limits, budget: MemoryBudget) -> list[ServerFile]:
    """Find the files that look like images in one folder below `root`, which is resolved.

    `chosen` comes from the browser and may be anything.

    Raises:
        UploadError: If the folder does not exist, is not below the root by any link, or has no images, or
            too many.
    """
    folder = (root / chosen).resolve()
    if not folder.is_relative_to(root) or not folder.is_dir():
        raise UploadError("This folder does not exist on the server. Choose another one.")
    files = [file for file in find_image_files([folder]).files if file.resolve().is_relative_to(root)]
    if not files:
        raise UploadError("This folder has no DICOM, JPEG or PNG files. Choose another one.")
    limits.check_count(len(files))
    return [ServerFile(file, str(file.relative_to(root)), limits, budget) for file in files]


class Example(NamedTuple):
    """A synthetic image to try the page with: a program draws it when it is asked for, no patient."""

    title: str
    class_name: str  # class that is drawn; the model may predict another one
    seed: int
    turned: bool = False  # whether the image lies on its side, so that the gate refuses it

    def draw(self) -> Upload:
        """Draw it as a DICOM file of a synthetic patient."""
        image = draw_radiograph(self.class_name, seed=self.seed, size=_EXAMPLE_SIDE)
        image = np.ascontiguousarray(np.rot90(image)) if self.turned else image
        patient = PhantomPatient(f"PHANTOM-{self.seed:04d}", "M", 50, self.seed)
        buffer = io.BytesIO()
        radiograph_dataset(image, patient, number=1, view="PA").save_as(buffer)
        return Upload(f"synthetic-{self.title.lower().replace(' ', '-')}.dcm", buffer.getvalue())


EXAMPLES = (
    Example("Clear lungs", "normal", 4),
    Example("One lobe dense", "pneumonia", 8),
    Example("Haze on both sides", "covid", 2),
    Example("Hard to tell", "covid", 13),
    Example("Lying on its side", "normal", 7, turned=True),
)

"""Lung masks that V7 Labs drew for radiographs of the COVID-19 image data collection (ieee8023).

The lungs are marked as far as the diaphragm, the part behind the heart included.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from covid_monai.datasets.collections import ieee8023
from covid_monai.datasets.collections.base import Excluded, Record, Source

_MASKS, _IMAGES = "lung-masks-v7", "covid-chestxray-dataset"


def _read(folder: Path) -> Iterator[Record | Excluded]:
    """Yield the radiographs that have a mask of the same name; the label stays the finding of the image."""
    masks = {path.stem: path for path in (folder / _MASKS).glob("*.png")}
    for found in ieee8023.SOURCE.records(folder / _IMAGES):
        if (mask := masks.get(found.image.stem)) is not None:
            yield replace(found, mask=mask) if isinstance(found, Record) else found


SOURCE = Source(
    name="lung-masks",
    layout=f"{_MASKS}/ (PNG masks, 255 is lung) and {_IMAGES}/ (their images, as for ieee8023)",
    licence=f"masks CC BY 4.0, V7 Labs; {ieee8023.SOURCE.licence}",
    read=_read,
    needs=(_MASKS, _IMAGES),
)

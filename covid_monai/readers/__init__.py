"""Readers: radiographs (DICOM, JPEG, PNG) and CT volumes (DICOM series, enhanced multi-frame, NIfTI).

`read_radiograph` needs no torch. The MONAI readers need torch and `read_volume` needs nibabel, so both are
imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from covid_monai.readers.radiograph import read_radiograph

if TYPE_CHECKING:
    from covid_monai.readers.monai_readers import RadiographReader, VolumeReader
    from covid_monai.readers.volume import read_volume

__all__ = ["RadiographReader", "VolumeReader", "read_radiograph", "read_volume"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "volume" if name == "read_volume" else "monai_readers"
    return getattr(import_module(f"{__name__}.{module}"), name)

"""Pixels off disk: radiographs (DICOM, JPEG, PNG) and CT volumes (DICOM series, NIfTI).

The functions need no torch; the MONAI readers around them, and what volumes need, are imported when they
are first asked for.
"""

from typing import TYPE_CHECKING, Any

from covid_monai.readers.radiograph import read_radiograph

if TYPE_CHECKING:
    from covid_monai.readers.monai_readers import RadiographReader, VolumeReader
    from covid_monai.readers.volume import read_volume

__all__ = ["RadiographReader", "VolumeReader", "read_radiograph", "read_volume"]


def __getattr__(name: str) -> Any:
    if name in ("RadiographReader", "VolumeReader"):
        from covid_monai.readers import monai_readers

        return getattr(monai_readers, name)
    if name == "read_volume":
        from covid_monai.readers.volume import read_volume

        return read_volume
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The collections by the names that the command line takes."""

from covid_monai.datasets.collections import (
    coronahack,
    covid19_image_dataset,
    covid_cxnet,
    darkcovidnet,
    dicom_folder,
    folder,
    ieee8023,
    kermany,
    radiography,
    table,
)
from covid_monai.datasets.collections.base import Excluded, Record, Source

_MODULES = (
    folder,
    table,
    dicom_folder,
    kermany,
    ieee8023,
    covid19_image_dataset,
    darkcovidnet,
    covid_cxnet,
    radiography,
    coronahack,
)
SOURCES: dict[str, Source] = {module.SOURCE.name: module.SOURCE for module in _MODULES}

__all__ = ["SOURCES", "Excluded", "Record", "Source"]

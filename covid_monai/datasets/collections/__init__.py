"""The sources that `covid-monai data prepare` reads, by their names on the command line.

One module for each public collection; `own_images` reads a person's own files. To add a collection, write a
module like the others, starting from `base`, and list it below: docs/add-dataset.md shows each step.
"""

from collections.abc import Sequence

from covid_monai.datasets.collections import (
    coronahack,
    covid19_image_dataset,
    covid_cxnet,
    darkcovidnet,
    ieee8023,
    kermany,
    lung_masks,
    own_images,
    radiography,
)
from covid_monai.datasets.collections.base import Source

_COLLECTIONS = (
    *(kermany, ieee8023, covid19_image_dataset, darkcovidnet, covid_cxnet, radiography, coronahack),
    lung_masks,
)
_OWN_IMAGES = (own_images.FOLDER, own_images.CSV, own_images.DICOM_FOLDER)
_ALL = (*_OWN_IMAGES, *(module.SOURCE for module in _COLLECTIONS))
SOURCES: dict[str, Source] = {source.name: source for source in _ALL}


def shareable_names(sources: Sequence[str]) -> list[str]:
    """Return source names that may go into a bundle: a name that is nobody's collection becomes a number.

    Bundles are shared, and such a name is free text: a hospital's, or a person's.

    >>> shareable_names(["kermany", "St Mary", "", "A ward", "St Mary"])
    ['kermany', 'source 2', '', 'source 1', 'source 2']
    """
    unknown = sorted(set(sources).difference(SOURCES, [""]))
    numbers = {name: f"source {number}" for number, name in enumerate(unknown, start=1)}
    return [numbers.get(name, name) for name in sources]

"""Who is whom when collections are merged: identifiers, and images that two collections share."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from covid_monai.datasets.collections.base import Record
from covid_monai.datasets.leaks.grouping import connected

_SHORTEST_NAME = 8  # shorter names ("0105", "IMG_01") mean nothing outside their folder


def name_patients(records: Sequence[Record], *, root: Path) -> list[Record]:
    """Give every record a patient that is unique across sources; without a known one, the file's path."""
    return [
        replace(record, patient=f"{record.source}:{record.patient or _path_below(record.image, root)}")
        for record in records
    ]


def _path_below(image: Path, root: Path) -> str:
    return image.relative_to(root).as_posix()


def link_shared_images(
    records: Sequence[Record], *, same_image: Iterable[Collection[Path]] = ()
) -> list[Record]:
    """Make one patient of those whose images are the same: by name in two sources, or by their pixels.

    Collections copy from each other and keep the file names: `darkcovidnet` has 120 images of `ieee8023`.
    Copies under new names are found by `find_duplicates`. The smallest name of those linked stands for all.

    Args:
        records: With `patient` set; any order gives the same patients.
        same_image: Groups of files that show one image; files that are in no record count for nothing.
    """
    patient_of = {record.image: str(record.patient) for record in records}
    images = [[image for image in group if image in patient_of] for group in same_image]
    people = connected(
        (patient_of[group[0]], patient_of[image])
        for group in (*images, *_shared_names(records))
        for image in group[1:]
    )
    smallest = {patient: group[0] for group in people for patient in group}
    return [
        replace(record, patient=smallest.get(str(record.patient), str(record.patient))) for record in records
    ]


def _shared_names(records: Sequence[Record]) -> list[list[Path]]:
    """Return the files of each name that occurs in more than one source."""
    by_name: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if len(record.image.stem) >= _SHORTEST_NAME:
            by_name[record.image.stem.lower()].append(record)
    return [
        [image.image for image in images]
        for images in by_name.values()
        if len({image.source for image in images}) > 1
    ]

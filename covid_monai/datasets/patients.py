"""Who is whom when collections are merged: identifiers, and films that two collections share by name."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from covid_monai.datasets.sources.base import Record

_SHORTEST_NAME = 8  # shorter names ("0105", "IMG_01") mean nothing outside their folder


def name_patients(records: Sequence[Record], *, root: Path) -> list[Record]:
    """Give every record a patient that is unique across sources; without a known one, the file's path."""
    return [
        replace(record, patient=f"{record.source}:{record.patient or _path_below(record.image, root)}")
        for record in records
    ]


def _path_below(image: Path, root: Path) -> str:
    return image.relative_to(root).as_posix()


def link_shared_films(records: Sequence[Record]) -> list[Record]:
    """Make one patient of those whose films two sources hold under one name.

    Collections copy from each other and keep the file names: `darkcovidnet` has 120 films of `ieee8023`.
    Copies under new names are not seen here.
    """
    parent = {str(record.patient): str(record.patient) for record in records}

    def first(patient: str) -> str:
        while parent[patient] != patient:
            parent[patient] = patient = parent[parent[patient]]
        return patient

    by_name: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_name[record.image.stem.lower()].append(record)
    for name, films in by_name.items():
        if len(name) >= _SHORTEST_NAME and len({film.source for film in films}) > 1:
            patients = sorted(first(str(film.patient)) for film in films)
            for patient in patients[1:]:
                parent[patient] = patients[0]
    # The smallest name of a group stands for it, whatever the order of the records.
    smallest: dict[str, str] = {}
    for patient in sorted(parent):
        smallest.setdefault(first(patient), patient)
    return [replace(record, patient=smallest[first(str(record.patient))]) for record in records]

"""Open every file once before training does: what fails is known by name, what DICOM headers tell is kept."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from covid_monai.core.parallel import map_in_threads
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.datasets.collections import Excluded, Record
from covid_monai.datasets.collections.base import to_age, to_sex, to_view


def open_all(records: Sequence[Record], *, workers: int | None = None) -> tuple[list[Record], list[Excluded]]:
    """Return the records whose file is a readable radiograph, in their order, and the others with the reason.

    Args:
        records: Where patient, view, sex or age is missing, a DICOM file's own is filled in.
        workers: Number of threads; by default Python's choice for the processors there are.
    """
    opened = list(map_in_threads(open_one, records, "opening files", total=len(records), workers=workers))
    return [r for r in opened if isinstance(r, Record)], [r for r in opened if isinstance(r, Excluded)]


def open_one(record: Record) -> Record | Excluded:
    """Read one file whole; return its record completed from the header, or why it is left out."""
    from covid_monai.readers.radiograph import read_radiograph  # imports MONAI: only where files are opened

    try:
        _, meta = read_radiograph(record.image)
    except RefusedImage as error:
        return Excluded(record.image, f"{error.reason}: {error.detail}")
    except (UnreadableImage, OSError) as error:
        return Excluded(record.image, f"unreadable: {error}")
    return _complete(record, meta)


def _complete(record: Record, meta: dict[str, Any]) -> Record:
    return replace(
        record,
        patient=record.patient or str(meta.get("PatientID") or "").strip() or None,
        view=record.view or to_view(meta.get("ViewPosition")),
        sex=record.sex or to_sex(meta.get("PatientSex")),
        age=record.age if record.age is not None else to_age(meta.get("PatientAge")),
    )

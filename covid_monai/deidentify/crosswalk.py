"""The one table that leads back: old names beside new ones, for the hospital only."""

import csv
import os
from collections.abc import Iterable
from pathlib import Path

from covid_monai.core.atomic_files import replace_atomically
from covid_monai.deidentify.plan import Planned
from covid_monai.deidentify.pseudonyms import Pseudonyms

COLUMNS = (
    "input", "old_path", "new_path", "refused", "old_patient_id", "new_patient_id", "shift_days",
    "old_study_uid", "new_study_uid", "old_series_uid", "new_series_uid",
    "old_instance_uid", "new_instance_uid",
)  # fmt: skip


def write_crosswalk(path: Path, planned: Iterable[Planned], pseudonyms: Pseudonyms) -> None:
    """Write a CSV file that only its owner may read; rows of earlier runs stay.

    Args:
        path: Of the file; mode 0600.
        planned: The inputs of this run.
        pseudonyms: What the new names are made with.
    """
    rows = {row["old_path"]: row for row in _read(path)}
    for each in planned:
        rows[str(each.source)] = _row(each, pseudonyms)
    with replace_atomically(path) as temporary:
        descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows.values())


def _row(each: Planned, pseudonyms: Pseudonyms) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "")
    row |= {"input": str(each.number), "old_path": str(each.source), "new_path": each.path}
    row["refused"] = str(each.refused or "")
    if each.identity is not None:
        row |= {
            "old_patient_id": each.identity.patient_id,
            "new_patient_id": each.identity.pseudonym,
            "shift_days": str(each.identity.shift_days),
        }
        for level in ("study", "series", "instance"):
            old = getattr(each.identity, f"{level}_uid")
            row |= {f"old_{level}_uid": old, f"new_{level}_uid": pseudonyms.uid(old)}
    return row


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))

"""De-identified copies of DICOM images: read headers, write the missing copies, account for every file."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import FileMetaDataset

from covid_monai.core.atomic_files import replace_atomically
from covid_monai.core.parallel import map_in_threads
from covid_monai.deidentify.cleaner import clean_dataset
from covid_monai.deidentify.inputs import InputFile, plan_copy, read_image, resolve_collisions
from covid_monai.deidentify.outcomes import Reason, Refused
from covid_monai.deidentify.pixel_review import find_review_reasons
from covid_monai.deidentify.replacements import Pseudonyms
from covid_monai.deidentify.rules import EDITION, Rules
from covid_monai.deidentify.run_manifest import CopyRecord, RunManifest, write_crosswalk
from covid_monai.dicom.elements import get_text


def deidentify_files(
    files: Sequence[Path],
    output: Path,
    *,
    pseudonyms: Pseudonyms,
    rules: Rules,
    allow_burned_in: bool = False,
    workers: int | None = None,
    crosswalk: Path | None = None,
) -> dict[str, Any]:
    """Write de-identified copies of DICOM images, and a manifest that accounts for every file.

    The output folder of an earlier run with the same key and options is completed: its copies are not made
    again. Inputs are only read.

    Args:
        files: Inputs, as `list_input_files` returns them.
        output: New folder, or the folder of an earlier run.
        pseudonyms: New identifiers, made from the key.
        rules: Actions of all attributes.
        allow_burned_in: Whether images get a copy that declare an identity in their pixels.
        workers: Number of threads; None takes the number of processors.
        crosswalk: File for the table of old and new names; None writes none.

    Returns:
        Content of `deidentification.json`.

    Raises:
        ValueError: The output folder belongs to another run.
    """
    settings = {  # all that decides the bytes of the copies
        "key_id": pseudonyms.key_id,
        "profile": f"PS3.15 {EDITION} Table E.1-1",
        "options": [{"code": code.value, "meaning": code.meaning} for code in rules.codes],
        "allow_burned_in": allow_burned_in,
    }
    plan = partial(plan_copy, pseudonyms=pseudonyms, allow_burned_in=allow_burned_in)
    write = partial(_write_copy, output=output, rules=rules, pseudonyms=pseudonyms)
    with _silent_pydicom(), RunManifest(output, settings).locked() as manifest:
        planned = map_in_threads(
            plan, enumerate(files, start=1), "reading headers", total=len(files), workers=workers
        )
        inputs = list(resolve_collisions(planned))
        missing = [
            each for each in inputs if each.path and not each.repeats and each.path not in manifest.copies
        ]
        outcomes = map_in_threads(write, missing, "de-identifying", total=len(missing), workers=workers)
        refused = {each.number: each.refused for each in inputs if each.refused}
        for each, outcome in zip(missing, outcomes, strict=True):
            if isinstance(outcome, CopyRecord):
                manifest.add(outcome)
            else:
                refused[each.number] = outcome
        if crosswalk is not None:
            write_crosswalk(crosswalk, [replace(each, refused=refused.get(each.number)) for each in inputs])
        return manifest.write(
            refused,
            complete=True,
            inputs=len(files),
            repeats=sum(each.repeats for each in inputs),
            directories=sum(each.directory for each in inputs),
        )


def _write_copy(
    each: InputFile, *, output: Path, rules: Rules, pseudonyms: Pseudonyms
) -> CopyRecord | Reason:
    try:
        ds = read_image(each.source)
        patient_known = bool(get_text(ds, "PatientID"))
        counts = clean_dataset(ds, rules, pseudonyms)
        meta = FileMetaDataset()  # of the original it keeps only the encoding (PS3.10 7.1)
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
        meta.TransferSyntaxUID = ds.file_meta.TransferSyntaxUID
        ds.file_meta, ds.preamble = meta, bytes(128)
        with replace_atomically(output / each.path) as temporary:
            pydicom.dcmwrite(temporary, ds, enforce_file_format=True)
            review = find_review_reasons(ds)  # inside the block: a truncated image leaves no copy
    except Refused as refusal:
        return refusal.reason
    except RecursionError:
        return Reason.NESTING
    except Exception:  # noqa: BLE001  # one file must not end the run, and pydicom's message may quote a name
        return Reason.FAILED
    return CopyRecord(each.path, review, dict(counts), patient_known)


@contextmanager
def _silent_pydicom() -> Iterator[None]:
    """Suppress pydicom's messages in the block, because they quote values."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)

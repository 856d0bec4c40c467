"""De-identified copies of DICOM images: read headers, write the missing copies, account for every file.

Headers alone decide which inputs get a copy and under which identifiers, before anything is written.
"""

import filecmp
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import MediaStorageDirectoryStorage, UID_dictionary

from covid_monai.core.atomic_files import replace_atomically
from covid_monai.core.errors import exception_chain
from covid_monai.core.json_log import log_level
from covid_monai.core.parallel import map_in_threads
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.deidentify.cleaner import clean_dataset
from covid_monai.deidentify.pixel_cleaning import clean_pixels
from covid_monai.deidentify.pixel_review import find_review_reasons
from covid_monai.deidentify.replacements import Pseudonyms, find_patient
from covid_monai.deidentify.rules import DECISIONS, EDITION, Rules
from covid_monai.deidentify.run_manifest import (
    CopyRecord,
    InputFile,
    Reason,
    Refused,
    RunManifest,
    write_crosswalk,
)
from covid_monai.dicom.acceptance import PIXEL_KEYWORDS
from covid_monai.dicom.elements import get_text
from covid_monai.dicom.file import NotDicom, read_dicom
from covid_monai.readers.image_files import files_below

_LEVELS = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}
_UIDS = ("SOPClassUID", *_LEVELS.values())


def list_input_files(inputs: Sequence[Path], *, output: Path) -> list[Path]:
    """Return all files of the inputs in sorted order, no file twice; folders are searched to the bottom.

    Error messages name an input by its number, because its name may be a patient's.
    """
    found: list[Path] = []
    target = output.resolve()
    for number, path in enumerate(inputs, start=1):
        if not path.is_file() and not path.is_dir():
            raise FileNotFoundError(f"Input {number} does not exist. Give a DICOM file or a folder.")
        source = path.resolve()
        if source.is_relative_to(target) or target.is_relative_to(source):
            problem = f"Input {number} and the output lie inside each other."
            raise ValueError(f"{problem} Give an output folder elsewhere.")
        found += [path] if path.is_file() else _files_below(path, number)
    if not found:
        raise FileNotFoundError("The inputs hold no file. Give DICOM files, or folders that hold some.")
    return list(dict.fromkeys(found))


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
    again. A folder of another run is a `ValueError`. Inputs are only read. The crosswalk is the file for the
    table of old and new names. The result is the content of `deidentification.json`.
    """
    settings = {  # all that decides the bytes of the copies
        "key_id": pseudonyms.key_id,
        "profile": f"PS3.15 {EDITION} Table E.1-1",
        "options": [{"code": code.value, "meaning": code.meaning} for code in rules.codes],
        "allow_burned_in": allow_burned_in,
    }
    plan = partial(plan_copy, pseudonyms=pseudonyms, allow_burned_in=allow_burned_in)
    write = partial(_write_copy, output=output, rules=rules, pseudonyms=pseudonyms)
    # Without pydicom's messages, because they quote values.
    with log_level("pydicom", logging.CRITICAL + 1), RunManifest(output, settings).locked() as manifest:
        planned = map_in_threads(
            plan, enumerate(files, start=1), "reading headers", total=len(files), workers=workers
        )
        inputs = list(resolve_collisions(planned))
        wanted = [each for each in inputs if each.path and not each.repeats]
        missing = [each for each in wanted if each.path not in manifest.copies]
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
        counts, review = clean_dataset(ds, rules, pseudonyms)
        rewritten, found = clean_pixels(ds)
        counts["pixels_rewritten"] += rewritten
        meta = FileMetaDataset()  # of the original it keeps only the encoding (PS3.10 7.1)
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
        meta.TransferSyntaxUID = ds.file_meta.TransferSyntaxUID
        ds.file_meta, ds.preamble = meta, bytes(128)
        with replace_atomically(output / each.path) as temporary:
            pydicom.dcmwrite(temporary, ds, enforce_file_format=True)
            reasons = sorted({*find_review_reasons(ds), *review, *found})
    except Refused as refusal:
        return refusal.reason
    except RecursionError:
        return "nesting"
    except Exception:  # noqa: BLE001  # one file must not end the run, and pydicom's message may quote a name
        return "failed"
    return CopyRecord(each.path, tuple(reasons), dict(counts), patient_known)


def plan_copy(numbered: tuple[int, Path], *, pseudonyms: Pseudonyms, allow_burned_in: bool) -> InputFile:
    """Read the header of a file with its number; decide whether it gets a copy and under which names."""
    number, source = numbered
    try:
        ds = _read(source, stop_before_pixels=True)
        if get_text(ds.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return InputFile(number, source, directory=True)
        _check_header(ds, allow_burned_in=allow_burned_in)
    except Refused as refusal:
        return InputFile(number, source, refused=refusal.reason)
    patient = find_patient(ds)
    pseudonym = pseudonyms.patient(patient)
    identifiers = {
        "old_patient_id": get_text(ds, "PatientID"),
        "new_patient_id": pseudonym,
        "shift_days": str(pseudonyms.shift_days(patient)),
    }
    for level, keyword in _LEVELS.items():
        old = get_text(ds, keyword)
        identifiers |= {f"old_{level}_uid": old, f"new_{level}_uid": pseudonyms.uid(old)}
    path = "/".join((pseudonym, *(identifiers[f"new_{level}_uid"] for level in _LEVELS))) + ".dcm"
    return InputFile(number, source, identifiers, path)


def resolve_collisions(files: Iterable[InputFile]) -> Iterator[InputFile]:
    """Yield every file, so that the first file of an instance alone makes its copy.

    Exact repeats are marked. A file with another content under the same SOP Instance UID is refused.
    """
    first: dict[str, InputFile] = {}
    for each in files:
        # By instance, not by path: one UID in two studies or of two patients is a conflict too.
        instance = each.path.rpartition("/")[2]
        earlier = first.setdefault(instance, each) if instance else each
        if earlier is each:
            yield each
        elif _same_content(earlier.source, each.source):
            yield replace(each, repeats=True)
        else:
            yield replace(each, path="", refused="conflict")


def read_image(path: Path) -> FileDataset:
    """Read a whole image; raise `Refused` if it cannot be read to the end or holds no pixel data."""
    ds = _read(path)
    if not any(keyword in ds for keyword in PIXEL_KEYWORDS):
        raise Refused("no_image")
    return ds


def _check_header(ds: FileDataset, *, allow_burned_in: bool) -> None:
    sop_class, modality = get_text(ds, "SOPClassUID"), get_text(ds, "Modality").upper()
    if not all(get_text(ds, keyword) for keyword in _UIDS):
        raise Refused("no_uids")
    for prefix, reason in DECISIONS["refused_sop_classes"].items():
        if sop_class.startswith(prefix):
            raise Refused(reason)
    if modality in DECISIONS["refused_modalities"]:
        raise Refused(DECISIONS["refused_modalities"][modality])
    if sop_class not in UID_dictionary:
        raise Refused("unknown_class")
    if UID_dictionary.get(ds.file_meta.TransferSyntaxUID, ("", ""))[1] != "Transfer Syntax":
        raise Refused("unknown_syntax")
    if get_text(ds, "BurnedInAnnotation").upper() == "YES" and not allow_burned_in:
        raise Refused("burned_in")


def _read(path: Path, *, stop_before_pixels: bool = False) -> FileDataset:
    try:
        return read_dicom(path, stop_before_pixels=stop_before_pixels)
    except NotDicom:
        raise Refused("not_dicom") from None
    except (RefusedImage, UnreadableImage) as error:
        nested = any(isinstance(cause, RecursionError) for cause in exception_chain(error))
        raise Refused("nesting" if nested else "unreadable") from error


def _files_below(folder: Path, number: int) -> Iterator[Path]:
    def refuse(_: OSError) -> None:
        problem = f"A folder in input {number} cannot be opened."
        raise PermissionError(f"{problem} Give yourself permission to read it.") from None

    return files_below(folder, hidden=True, follow_links=False, on_error=refuse)


def _same_content(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:  # its message would name the file
        return False

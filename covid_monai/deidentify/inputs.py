"""Input files: which there are, which of them get a copy, and the new identifiers of each copy.

Headers alone decide this, before anything is written.
"""

import filecmp
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom.dataset import FileDataset
from pydicom.uid import MediaStorageDirectoryStorage, UID_dictionary

from covid_monai.core.errors import exception_chain
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.deidentify.outcomes import Reason, Refused
from covid_monai.deidentify.replacements import Pseudonyms, find_patient
from covid_monai.dicom.acceptance import PIXEL_KEYWORDS
from covid_monai.dicom.elements import get_text
from covid_monai.dicom.file import NotDicom, read_dicom
from covid_monai.readers.image_files import files_below

_LEVELS = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}
_UIDS = ("SOPClassUID", *_LEVELS.values())
_PREFIX = "1.2.840.10008.5.1.4.1.1."
_REFUSED_CLASSES = {
    f"{_PREFIX}88.59": Reason.PRESENTATION,  # key object selection
    f"{_PREFIX}88.": Reason.REPORT,
    f"{_PREFIX}104.": Reason.REPORT,  # encapsulated PDF, CDA, ...
    f"{_PREFIX}11.": Reason.PRESENTATION,
}
_REFUSED_MODALITIES = dict.fromkeys(("SR", "DOC"), Reason.REPORT)
_REFUSED_MODALITIES |= dict.fromkeys(("KO", "PR"), Reason.PRESENTATION)


@dataclass(frozen=True)
class InputFile:
    """One input file, and the copy that its header asks for."""

    number: int  # position in the list of inputs, from 1; messages name the input by it
    source: Path
    # Old and new identifiers by the names of the crosswalk's columns; never for a message.
    identifiers: Mapping[str, str] = field(default_factory=dict)
    path: str = ""  # Posix path of the copy from the output folder; "" without a copy
    refused: Reason | None = None
    directory: bool = False  # a DICOMDIR only lists files, by old names and with every patient's name
    repeats: bool = False  # an earlier input has the same content


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
        if source == target or source in target.parents or target in source.parents:
            raise ValueError(
                f"Input {number} and the output lie inside each other. Give an output folder elsewhere."
            )
        found += [path] if path.is_file() else _files_below(path, number)
    if not found:
        raise FileNotFoundError("The inputs hold no file. Give DICOM files, or folders that hold some.")
    return list(dict.fromkeys(found))


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
            yield replace(each, path="", refused=Reason.CONFLICT)


def read_image(path: Path) -> FileDataset:
    """Read a whole image; raise `Refused` if it cannot be read to the end or holds no pixel data."""
    ds = _read(path)
    if not any(keyword in ds for keyword in PIXEL_KEYWORDS):
        raise Refused(Reason.NO_IMAGE)
    return ds


def _check_header(ds: FileDataset, *, allow_burned_in: bool) -> None:
    sop_class, modality = get_text(ds, "SOPClassUID"), get_text(ds, "Modality").upper()
    if not all(get_text(ds, keyword) for keyword in _UIDS):
        raise Refused(Reason.NO_UIDS)
    for prefix, reason in _REFUSED_CLASSES.items():
        if sop_class.startswith(prefix):
            raise Refused(reason)
    if modality in _REFUSED_MODALITIES:
        raise Refused(_REFUSED_MODALITIES[modality])
    if sop_class not in UID_dictionary:
        raise Refused(Reason.UNKNOWN_CLASS)
    if get_text(ds, "BurnedInAnnotation").upper() == "YES" and not allow_burned_in:
        raise Refused(Reason.BURNED_IN)


def _read(path: Path, *, stop_before_pixels: bool = False) -> FileDataset:
    try:
        return read_dicom(path, stop_before_pixels=stop_before_pixels)
    except NotDicom:
        raise Refused(Reason.NOT_DICOM) from None
    except (RefusedImage, UnreadableImage) as error:
        nested = any(isinstance(cause, RecursionError) for cause in exception_chain(error))
        raise Refused(Reason.NESTING if nested else Reason.UNREADABLE) from error


def _files_below(folder: Path, number: int) -> Iterator[Path]:
    def refuse(_: OSError) -> None:
        raise PermissionError(
            f"A folder in input {number} cannot be opened. Give yourself permission to read it."
        ) from None

    return files_below(folder, hidden=True, follow_links=False, on_error=refuse)


def _same_content(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:  # its message would name the file
        return False

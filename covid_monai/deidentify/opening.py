"""Which inputs there are, and which of them are images that the rules can clean."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    UID_dictionary,
)

from covid_monai.deidentify.outcome import Reason, Refused
from covid_monai.dicom.elements import get_encoding, get_text

UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
HEADER = (*UIDS, "PatientID", "Modality", "BurnedInAnnotation")
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

_PREFIX = "1.2.840.10008.5.1.4.1.1."
_REFUSED_CLASSES = {
    f"{_PREFIX}88.59": Reason.PRESENTATION,  # key object selection
    f"{_PREFIX}88.": Reason.REPORT,
    f"{_PREFIX}104.": Reason.REPORT,  # encapsulated PDF, CDA, ...
    f"{_PREFIX}11.": Reason.PRESENTATION,
}
_REFUSED_MODALITIES = {
    "SR": Reason.REPORT,
    "DOC": Reason.REPORT,
    "KO": Reason.PRESENTATION,
    "PR": Reason.PRESENTATION,
}
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # how a dataset without preamble begins


class Directory(Exception):
    """A DICOMDIR: it only lists files, by their old names and with every patient's name."""


def input_files(inputs: Sequence[Path], *, output: Path) -> list[Path]:
    """All files of the inputs, folders to the bottom in sorted order, no file twice.

    Args:
        inputs: Files, or folders that are searched to the bottom.
        output: Where copies will go; outside the inputs.

    Raises:
        FileNotFoundError: If an input does not exist, or there is no file in any; named by its number, as
            its name may be a patient's.
        PermissionError: If a folder cannot be opened.
        ValueError: If output and inputs lie inside each other.
    """
    for number, path in enumerate(inputs, start=1):
        if not path.is_file() and not path.is_dir():
            raise FileNotFoundError(f"input {number} is neither a file nor a folder.")
        _keep_apart(path.resolve(), output.resolve(), number)
    found = (
        file
        for number, path in enumerate(inputs, start=1)
        for file in ([path] if path.is_file() else _files_below(path, number))
    )
    files = list(dict.fromkeys(found))
    if not files:
        raise FileNotFoundError(
            "there is no file in the inputs: give DICOM files, or folders that hold some."
        )
    return files


def _keep_apart(source: Path, target: Path, number: int) -> None:
    if source == target or source in target.parents or target in source.parents:
        raise ValueError(f"input {number} and the output lie inside each other: give a folder elsewhere.")


def read_header(path: Path) -> Dataset:
    """Read what decides whether a file gets a copy, and under which name.

    Raises:
        Refused: If it gets none.
        Directory: If it is a DICOMDIR.
    """
    ds = _read(path, stop_before_pixels=True, specific_tags=list(HEADER))
    if get_text(ds.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise Directory
    sop_class = get_text(ds, "SOPClassUID")
    if not all(get_text(ds, keyword) for keyword in UIDS):
        raise Refused(Reason.NO_UIDS)
    for prefix, reason in _REFUSED_CLASSES.items():
        if sop_class.startswith(prefix):
            raise Refused(reason)
    if get_text(ds, "Modality").upper() in _REFUSED_MODALITIES:
        raise Refused(_REFUSED_MODALITIES[get_text(ds, "Modality").upper()])
    if sop_class not in UID_dictionary:
        raise Refused(Reason.UNKNOWN_CLASS)
    return ds


def read_image(path: Path) -> FileDataset:
    """Read a whole image, with a transfer syntax even where its file does not name one.

    Raises:
        Refused: If it cannot be read to the end, or holds no pixel data.
    """
    ds = _read(path)
    if not any(keyword in ds for keyword in PIXELS):
        raise Refused(Reason.NO_IMAGE)
    if not get_text(ds.file_meta, "TransferSyntaxUID"):
        implicit, little = get_encoding(ds)
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return ds


def _read(path: Path, **options: object) -> FileDataset:
    try:
        with path.open("rb") as file:
            start = file.read(132)
            if start[128:] != b"DICM" and start[:2] not in _FIRST_GROUPS:
                raise Refused(Reason.NOT_DICOM)
        return pydicom.dcmread(path, force=start[128:] != b"DICM", **options)
    except Refused:
        raise
    except InvalidDicomError:
        raise Refused(Reason.NOT_DICOM) from None
    except RecursionError:
        raise Refused(Reason.NESTING) from None
    except Exception:  # a parser over damaged bytes raises many types, whose messages quote values
        raise Refused(Reason.UNREADABLE) from None


def _files_below(folder: Path, number: int) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise PermissionError(
            f"a folder in input {number} cannot be opened: give leave to read it."
        ) from None

    for root, folders, files in os.walk(folder, onerror=refuse):
        folders.sort()
        yield from (path for name in sorted(files) if (path := Path(root, name)).is_file())

"""The slices of a CT series: found by their headers and sorted by position, never by file name."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.dicom.elements import get_numbers, get_text
from covid_monai.dicom.file import NotDicom, read_dicom

_STEP_TOLERANCE = 0.02  # of the usual step: positions are written with few decimals
_TILT_TOLERANCE = 0.02  # sine of the angle between stack and normal, about 1 degree
IDENTIFIERS = ("Modality", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PatientSex", "PatientAge")


@dataclass(frozen=True)
class Slice:
    """Header of one slice; positions in mm in the patient's system (LPS), None if absent."""

    path: Path
    identifiers: dict[str, str]
    size: tuple[str, str]
    position: NDArray[np.float64] | None
    orientation: NDArray[np.float64] | None


def find_slices(path: Path, *, series_uid: str = "") -> list[Slice]:
    """Read the headers of a file or of all DICOM files in a folder and choose one series.

    Raises:
        UnreadableImage: There is no CT image, or there are several series and none is chosen; the message
            lists them.
    """
    paths = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    slices = [s for s in map(_read_slice, paths) if s is not None]
    if not slices:
        raise UnreadableImage("There is no DICOM image in it. Give a CT series or a NIfTI file.")
    series = Counter(s.identifiers["SeriesInstanceUID"] for s in slices)
    listing = ", ".join(f"{uid} ({format_count(count, 'slice')})" for uid, count in series.items())
    if series_uid and series_uid not in series:
        raise UnreadableImage(f"It holds no series {series_uid}. Choose one of: {listing}.")
    if not series_uid and len(series) > 1:
        raise UnreadableImage(f"It holds {len(series)} series: {listing}. Choose one with series_uid=.")
    chosen = [s for s in slices if series_uid in ("", s.identifiers["SeriesInstanceUID"])]
    modalities = {s.identifiers["Modality"] for s in chosen} - {"CT", ""}
    if modalities:
        raise UnreadableImage(f"Its Modality is {', '.join(sorted(modalities))}; Hounsfield units need CT.")
    return chosen


def sort_slices(slices: list[Slice]) -> list[Slice]:
    """Order slices along the normal of their plane, which is the cross product of row and column directions.

    Raises:
        UnreadableImage: Sizes or orientations differ, a position occurs twice, steps are uneven, or the
            gantry is tilted.
    """
    if len(slices) == 1:
        return slices
    if any(s.position is None or s.orientation is None for s in slices):
        raise UnreadableImage("Some slices have no ImagePositionPatient or ImageOrientationPatient.")
    if len({s.size for s in slices}) > 1:
        raise UnreadableImage("Slices have different sizes. Remove the localizer, if there is one.")
    orientations = np.stack([s.orientation for s in slices if s.orientation is not None])
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        raise UnreadableImage("Slices have different orientations. Remove the localizer, if there is one.")
    normal = np.cross(orientations[0, :3], orientations[0, 3:])
    positions = np.stack([s.position for s in slices if s.position is not None])
    order = np.argsort(positions @ normal, kind="stable")
    ordered = [slices[i] for i in order]
    _check_steps(ordered, positions[order], normal)
    return ordered


def _check_steps(slices: list[Slice], positions: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    """Check that slices follow each other at one distance, straight along the normal."""
    along = positions @ normal
    steps = np.diff(along)
    usual = float(np.median(steps))
    pairs = [f"{one.path.name} and {other.path.name}" for one, other in pairwise(slices)]
    doubled = np.flatnonzero(steps < 1e-3)
    if doubled.size:
        i = doubled[0]
        raise UnreadableImage(f"{pairs[i]} have one position ({along[i]:.2f} mm). Remove the duplicate.")
    uneven = np.flatnonzero(np.abs(steps - usual) > _STEP_TOLERANCE * usual)
    if uneven.size:
        i = uneven[0]
        raise UnreadableImage(
            f"There are {steps[i]:.2f} mm between {pairs[i]}, but {usual:.2f} mm elsewhere "
            f"(uneven steps: {uneven.size}): slices are missing. Fetch the whole series."
        )
    extent = positions[-1] - positions[0]
    drift = np.linalg.norm(extent - (extent @ normal) * normal) / np.linalg.norm(extent)
    if drift > _TILT_TOLERANCE:
        raise UnreadableImage("The stack is sheared (tilted gantry). Resample it to a straight one first.")


def _read_slice(path: Path) -> Slice | None:
    """Read the elements that sorting needs; None for a file that is not a DICOM image (report, note)."""
    try:
        ds = read_dicom(path, stop_before_pixels=True)
    except NotDicom:
        return None
    if "Rows" not in ds:
        return None
    position, orientation = (
        np.array(get_numbers(ds, keyword)) for keyword in ("ImagePositionPatient", "ImageOrientationPatient")
    )
    return Slice(
        path=path,
        identifiers={keyword: get_text(ds, keyword) for keyword in IDENTIFIERS},
        size=(get_text(ds, "Rows"), get_text(ds, "Columns")),
        position=position if position.size == 3 else None,
        orientation=orientation if orientation.size == 6 else None,
    )

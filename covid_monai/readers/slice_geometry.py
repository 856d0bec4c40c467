"""Where the slices of a CT lie: their order, their distance, and the affine of the volume.

Positions decide, never file names, instance numbers or elements that repeat the distance.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import RefusalReason, RefusedImage
from covid_monai.dicom.elements import get_number, get_text
from covid_monai.readers.series import Slice

# One volume has one value of these elements; a second one is another patient, scan or reconstruction.
_SAME = (
    *("PatientID", "FrameOfReferenceUID", "KVP", "ConvolutionKernel"),
    *("StackID", "TemporalPositionIndex", "TemporalPositionIdentifier"),
)
# These may change along the volume (a scanner counts its table steps), but not to and fro.
_NOT_MIXED = ("AcquisitionNumber", "ImageType", "FrameType")
_SAME_VALUE = 1e-3  # of direction cosines, and relative of spacings: they are written with few decimals
_UNIT_TOLERANCE = 1e-2
_STEP_TOLERANCE = 0.02  # of the step, or as follows where that is more
_ROUNDING_MM, _ROUNDING_STEPS = 0.1, 0.2  # positions have one decimal in some files; steps may be small
_VOXEL_MM = (0.05, 50.0)
_SHEAR_TOLERANCE = 0.02  # cosine of the angle between two axes, about 1 degree
_MAX_VOXELS = 2**30

Vectors = NDArray[np.float64]


def stack_slices(slices: list[Slice]) -> tuple[list[Slice], Vectors]:
    """Order slices along the normal of their plane, and check that they make one regular volume.

    Returns:
        The slices in order, and the affine `[4, 4]` from (column, row, slice) to mm in the patient's system
        of DICOM (left, posterior, superior; PS3.3 C.7.6.2.1.1).

    Raises:
        RefusedImage: UNSOUND_GEOMETRY or SEVERAL_VOLUMES, with the element and the slice.
    """
    for keyword in _SAME:
        _check_same_text(slices, keyword)
    rows, columns = (int(*_check_same(slices, keyword, 1, tolerance=0)) for keyword in ("Rows", "Columns"))
    spacing = _check_same(slices, "PixelSpacing", 2, tolerance=_SAME_VALUE)
    if min(spacing) <= 0:
        value = get_text(slices[0].header, "PixelSpacing")
        _refuse(slices[0], f"PixelSpacing is {value}; two numbers of mm above 0 were expected")
    row, column = _unit_vectors(slices)
    normal = np.cross(row, column)
    positions = np.stack([s.get_vector("ImagePositionPatient", 3) for s in slices])
    order = np.argsort(positions @ normal, kind="stable")
    slices, positions = [slices[i] for i in order], positions[order]
    for keyword in _NOT_MIXED:
        _check_not_mixed(slices, keyword)
    step = _regular_step(slices, positions, normal) if len(slices) > 1 else normal * _thickness(slices[0])
    affine = np.eye(4)
    affine[:3] = np.stack([row * spacing[1], column * spacing[0], step, positions[0]], axis=1)
    check_grid((columns, rows, len(slices)), affine)
    return slices, affine


def check_grid(shape: Sequence[int], affine: Vectors) -> None:
    """Check that a volume is of a size that a CT of a person can have, and that its axes are perpendicular.

    Raises:
        RefusedImage: TOO_LARGE or UNSOUND_GEOMETRY.
    """
    if np.prod(shape, dtype=float) > _MAX_VOXELS:
        message = f"It has {' x '.join(map(str, shape))} voxels; {_MAX_VOXELS:,} are the limit."
        raise RefusedImage(RefusalReason.TOO_LARGE, message)
    axes = affine[:3, :3]
    sizes = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(affine).all() and sizes.min() >= _VOXEL_MM[0] and sizes.max() <= _VOXEL_MM[1]):
        found = f"A voxel measures {' x '.join(f'{size:g}' for size in sizes)} mm"
        expected = f"sides of {_VOXEL_MM[0]} to {_VOXEL_MM[1]:g} mm were expected"
        raise RefusedImage(RefusalReason.UNSOUND_GEOMETRY, f"{found}; {expected}.")
    cosines = (axes / sizes).T @ (axes / sizes) - np.eye(3)
    if np.abs(cosines).max() > _SHEAR_TOLERANCE:
        message = "The volume is sheared (tilted gantry). Resample it to a straight one first."
        raise RefusedImage(RefusalReason.UNSOUND_GEOMETRY, message)


def _refuse(one: Slice, problem: str, reason: RefusalReason = RefusalReason.UNSOUND_GEOMETRY) -> NoReturn:
    raise RefusedImage(reason, f"{one.name}: {problem}.")


def _check_same_text(slices: list[Slice], keyword: str) -> None:
    """Refuse slices with two values of an element; the values are not shown, they may identify a patient."""
    values = {get_text(s.header, keyword): s for s in reversed(slices)}
    values.pop("", None)
    if len(values) > 1:
        names = " and ".join(sorted(s.name for s in values.values())[:2])
        message = f"{keyword} has {len(values)} values, in {names} for example: the series mixes volumes."
        raise RefusedImage(RefusalReason.SEVERAL_VOLUMES, f"{message} Separate them.")


def _check_not_mixed(slices: list[Slice], keyword: str) -> None:
    known = [s for s in slices if get_text(s.header, keyword)]
    runs = [(value, next(group)) for value, group in groupby(known, lambda s: get_text(s.header, keyword))]
    again = [s for k, (value, s) in enumerate(runs) if value in [earlier for earlier, _ in runs[:k]]]
    if again:
        problem = f"{keyword} changes to and fro along the volume: the series mixes volumes. Separate them"
        _refuse(again[0], problem, RefusalReason.SEVERAL_VOLUMES)


def _check_same(slices: list[Slice], keyword: str, count: int, *, tolerance: float) -> Vectors:
    """Return the value of an element that all slices share, and name the slice that differs from most."""
    values = np.stack([s.get_vector(keyword, count) for s in slices])
    usual = np.array(Counter(map(tuple, values)).most_common(1)[0][0])
    differences = np.abs(values - usual).max(axis=1)
    if differences.max() > tolerance * max(1.0, float(np.abs(usual).max())):
        k = int(differences.argmax())
        here, elsewhere = ("\\".join(f"{number:g}" for number in v) for v in (values[k], usual))
        _refuse(slices[k], f"{keyword} is {here}, but {elsewhere} in other slices. Remove what is no slice")
    return usual


def _unit_vectors(slices: list[Slice]) -> tuple[Vectors, Vectors]:
    """Return the directions of rows and columns, made exactly perpendicular and of length 1."""
    directions = _check_same(slices, "ImageOrientationPatient", 6, tolerance=_SAME_VALUE)
    row, column = directions[:3], directions[3:]
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if np.abs(lengths - 1).max() > _UNIT_TOLERANCE or abs(row @ column) > _UNIT_TOLERANCE:
        value = get_text(slices[0].header, "ImageOrientationPatient")
        _refuse(slices[0], f"ImageOrientationPatient {value} is no pair of perpendicular unit vectors")
    row = row / lengths[0]
    column = column - (column @ row) * row
    return row, column / np.linalg.norm(column)


def _thickness(one: Slice) -> float:
    """Return the depth in mm of a slice that has no neighbour."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = get_number(one.header, keyword)
        if value is not None and value > 0:
            return value
    _refuse(one, "a single slice needs SpacingBetweenSlices or SliceThickness above 0")


def _regular_step(slices: list[Slice], positions: Vectors, normal: Vectors) -> Vectors:
    """Return the vector from slice to slice, after a check that all lie on a line at one distance."""
    along = positions @ normal
    steps = np.diff(along)
    pairs = [f"{one.name} and {other.name}" for one, other in pairwise(slices)]
    if steps.min() < 1e-3:
        k = int(steps.argmin())
        message = f"{pairs[k]} have one position ({along[k]:.2f} mm). Remove the duplicate."
        raise RefusedImage(RefusalReason.UNSOUND_GEOMETRY, message)
    usual = float(np.median(steps))
    tolerance = max(_STEP_TOLERANCE * usual, min(_ROUNDING_MM, _ROUNDING_STEPS * usual)) + 1e-6
    uneven = np.flatnonzero(np.abs(steps - usual) > tolerance)
    if uneven.size:
        k = int(np.abs(steps - usual).argmax())
        found = f"There are {steps[k]:.2f} mm between {pairs[k]}, but {usual:.2f} mm elsewhere"
        problem = f"{format_count(uneven.size, 'uneven step')}: slices are missing or uneven"
        message = f"{found} ({problem}). Fetch the whole series."
        raise RefusedImage(RefusalReason.UNSOUND_GEOMETRY, message)
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    aside = np.linalg.norm(positions - (positions[0] + np.outer(np.arange(len(slices)), step)), axis=1)
    if aside.max() > tolerance:
        found = f"ImagePositionPatient lies {aside.max():.2f} mm beside the line of the other slices"
        _refuse(slices[int(aside.argmax())], found)
    return np.asarray(step)

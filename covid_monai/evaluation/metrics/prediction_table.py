"""The table `predictions.csv`: one row per image, the interface between the network and the report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.errors import unknown_choice
from covid_monai.core.tables import read_rows, write_table

Floats = NDArray[np.float64]

LEADING_COLUMNS = ("image", "split", "patient", "source", "view", "sex", "age", "label")
_REQUIRED = ("image", "split", "patient", "label")
# Softmax in half precision sums to 1 within about 2e-3.
_SUM_TOLERANCE = 5e-3


@dataclass(frozen=True)
class PredictionTable:
    """Predictions of one model, one element or row per image.

    Args:
        class_names: K names, in the order of the probability columns.
        images: Path of each image, as in the datalist.
        splits: Split of each image: `training`, `validation` or `test`.
        patients: Patient of each image, the unit that is resampled for intervals.
        sources: Collection or hospital; empty where unknown, like `views` and `sexes`.
        views: Projection, for example PA.
        sexes: Sex of the patient.
        ages: Age in years; NaN where unknown.
        labels: True class index, 0 to K - 1.
        probabilities: Shape [N, K], in [0, 1], rows sum to 1.
    """

    class_names: tuple[str, ...]
    images: NDArray[np.str_]
    splits: NDArray[np.str_]
    patients: NDArray[np.str_]
    sources: NDArray[np.str_]
    views: NDArray[np.str_]
    sexes: NDArray[np.str_]
    ages: NDArray[np.float64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, name: str) -> "PredictionTable":
        """Return the rows of one split; empty if there are none."""
        return self.where(self.splits == name)

    def of_source(self, name: str) -> "PredictionTable":
        """Return the rows of one source.

        Raises:
            ValueError: If there are none; the message names the known sources.
        """
        if name not in self.sources:
            known = sorted(set(self.sources.tolist()) - {""})
            raise ValueError(unknown_choice("source", name, known or ["none"]))
        return self.where(self.sources == name)

    def where(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "PredictionTable":
        """Return the rows of a mask [N], or those with the given indices, in this order."""
        columns = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "class_names"}
        return replace(self, **columns)


def write_predictions(path: Path, rows: Iterable[Mapping[str, Any]], class_names: Sequence[str]) -> None:
    """Write `predictions.csv` in one step.

    Args:
        path: File to write; its folder is made if missing.
        rows: One mapping per image: `image`, `split`, `patient`, `label` (class index), `probabilities`
            (K numbers in class order) and, where known, `source`, `view`, `sex`, `age`. Other keys are
            ignored, so that a datalist record with two more keys will do.
        class_names: K names, in the order of the probabilities.

    Raises:
        ValueError: If a row lacks a required value or has another number of probabilities.
    """
    header = [*LEADING_COLUMNS, *(f"p_{name}" for name in class_names)]
    write_table(Path(path), header, (_cells(row, len(class_names)) for row in rows))


def _cells(row: Mapping[str, Any], n_classes: int) -> list[object]:
    missing = [key for key in _REQUIRED if _is_missing(row.get(key))]
    if missing:
        raise ValueError(f"The prediction of {row.get('image', 'an image')!r} has no {', '.join(missing)}.")
    probabilities = [float(p) for p in row["probabilities"]]
    if len(probabilities) != n_classes:
        raise ValueError(f"{row['image']!r} has {len(probabilities)} probabilities for {n_classes} classes.")
    leading = [None if _is_missing(row.get(key)) else row[key] for key in LEADING_COLUMNS[:-1]]
    return [*leading, int(row["label"]), *probabilities]


def _is_missing(value: Any) -> bool:
    # An empty cell of a data frame is NaN.
    return value is None or value == "" or (isinstance(value, float) and np.isnan(value))


def read_predictions(path: Path) -> PredictionTable:
    """Read and check a `predictions.csv`.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If a column or value differs from what `write_predictions` writes; the message names
            the file, the line and the error.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Run `covid-monai evaluate` first.")
    # A spreadsheet adds a byte order mark when it saves the file again.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = read_rows(file, path=path)
        class_names = _class_names(next(lines, (0, []))[1], path)
        rows = [_parse_row(cells, class_names, f"{path}, line {number}") for number, cells in lines]
    if not rows:
        raise ValueError(f"{path} has a header but no predictions.")
    return _assemble(rows, class_names)


def _class_names(header: list[str], path: Path) -> tuple[str, ...]:
    leading, columns = tuple(header[: len(LEADING_COLUMNS)]), header[len(LEADING_COLUMNS) :]
    if leading != LEADING_COLUMNS:
        raise ValueError(
            f"{path}: the header must begin with {','.join(LEADING_COLUMNS)}; found {','.join(leading)}."
        )
    names = tuple(column.removeprefix("p_") for column in columns)
    if (
        len(names) < 2
        or len(set(names)) < len(names)
        or not all(c.startswith("p_") and c != "p_" for c in columns)
    ):
        found = ",".join(columns) or "none"
        raise ValueError(
            f"{path}: the column `label` must be followed by at least two different columns p_<class>; found "
            f"{found}."
        )
    return names


def _parse_row(cells: list[str], class_names: tuple[str, ...], where: str) -> tuple[Any, ...]:
    expected = len(LEADING_COLUMNS) + len(class_names)
    if len(cells) != expected:
        raise ValueError(f"{where}: expected {expected} values, found {len(cells)}.")
    row = dict(zip(LEADING_COLUMNS, cells, strict=False))
    missing = [key for key in _REQUIRED if not row[key]]
    if missing:
        raise ValueError(f"{where}: {', '.join(missing)} must not be empty.")
    label, age = _label(row["label"], len(class_names), where), _number(row["age"] or "nan", "age", where)
    probabilities = [_number(cell, "probability", where) for cell in cells[len(LEADING_COLUMNS) :]]
    if not all(0 <= p <= 1 for p in probabilities) or abs(sum(probabilities) - 1) > _SUM_TOLERANCE:
        raise ValueError(f"{where}: probabilities must lie in [0, 1] and sum to 1; found {probabilities}.")
    return (*cells[:6], age, label, probabilities)


def _label(cell: str, n_classes: int, where: str) -> int:
    if not (cell.isascii() and cell.isdigit() and int(cell) < n_classes):
        raise ValueError(f"{where}: the label {cell!r} is not a class index from 0 to {n_classes - 1}.")
    return int(cell)


def _number(cell: str, what: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{where}: the {what} {cell!r} is not a number.") from None


def _assemble(rows: list[tuple[Any, ...]], class_names: tuple[str, ...]) -> PredictionTable:
    *texts, ages, labels, probabilities = zip(*rows, strict=True)
    columns: list[NDArray[Any]] = [np.array(column, dtype=str) for column in texts]
    columns += [np.array(ages, dtype=np.float64), np.array(labels, dtype=np.int64)]
    columns += [np.array(probabilities, dtype=np.float64)]
    return PredictionTable(class_names, *columns)

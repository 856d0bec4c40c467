"""Predictions as JSON Lines or CSV, each written as soon as it is known."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from covid_monai.core.atomic_files import make_private_folder, open_private
from covid_monai.core.tables import table_writer
from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.inference.prediction import Prediction

STDOUT = "-"
SUFFIXES = (".jsonl", ".csv")
WritePrediction = Callable[[Prediction], None]


def check_output(output: str | Path) -> None:
    """Raise a `ValueError` for an output that `open_output` could not write, before any image is read."""
    if str(output) == STDOUT:
        return
    if Path(output).suffix.lower() not in SUFFIXES:
        problem = f"{output} cannot be written: results are {' or '.join(SUFFIXES)} files."
        raise ValueError(f"{problem} Name a file that ends with one of these.")
    if Path(output).is_dir():
        raise ValueError(f"{output} is a folder. Name a file in it.")


def partial_path(output: str | Path) -> Path:
    """Return the path of the results until the run is complete."""
    return Path(f"{output}.partial")


@contextmanager
def open_output(output: str | Path, *, class_names: Sequence[str]) -> Iterator[WritePrediction]:
    """Give a function that writes one `Prediction`.

    The file gets its name when the block ends without an error. Until then, and after an interruption,
    the finished lines are in `partial_path(output)`. Each line is on disk when the function returns.

    `output` ends with .jsonl or .csv, or is "-" for JSON Lines on the standard output. The class names, in
    class order, become columns of the CSV.
    """
    check_output(output)
    if str(output) == STDOUT:
        yield _json_lines(sys.stdout)
        return
    partial = partial_path(output)
    make_private_folder(partial.parent)
    partial.unlink(missing_ok=True)  # others may be allowed to read it
    # A file name on disk may contain bytes that are not text; the result must still be valid UTF-8.
    utf_8: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    with open(partial, "w", buffering=1, opener=open_private, **utf_8) as file:
        csv_file = Path(output).suffix.lower() == ".csv"
        yield csv_writer(file, class_names) if csv_file else _json_lines(file)
    partial.replace(output)


def _json_lines(file: TextIO) -> WritePrediction:
    def write(prediction: Prediction) -> None:
        file.write(json.dumps(prediction.to_json(), allow_nan=False) + "\n")
        file.flush()

    return write


def csv_writer(file: TextIO, class_names: Sequence[str]) -> WritePrediction:
    """Write the header, and return a function that writes one `Prediction`.

    The columns are the values of the JSON record, with one column per class for probabilities (`p_CLASS`)
    and thresholds (`threshold_CLASS`), and one for each part of `decision` and `model`. The classes of the
    prediction set are joined by "|"; an empty set is "none", because an empty field means no set at all.
    `abnormal` is "true", "false", or empty if it cannot be told. `source_shift` has `nearest_source` and
    `like_training`. Of `quality`, the borders that cut the lungs off are joined by "|", or "none".
    """
    model_columns = ("name", "version", "weights_sha256", "preprocessing_digest", "backend")
    write_row = table_writer(file)
    write_row(
        [
            *("file", "status", "reason", "predicted_class", "decision"),
            *(f"p_{name}" for name in class_names),
            *(f"threshold_{name}" for name in class_names),
            *("prediction_set", "decision_reason", "at_operating_point"),
            *("abnormal", "abnormal_probability", "abnormal_threshold"),
            *("cause", "cause_reason", "cause_log_odds", "cause_cut"),
            *("nearest_source", "like_training"),
            *("lungs_found", "lung_area_left", "lung_area_right", "lungs_center_x", "lungs_center_y"),
            *("lung_symmetry", "lungs_cut_off"),
            *("detail", "model", *model_columns[1:], "notice"),
        ]
    )

    def write(prediction: Prediction) -> None:
        probabilities, decision = prediction.probabilities or {}, prediction.decision or {}
        thresholds, possible = decision.get("thresholds", {}), prediction.prediction_set
        abnormal, cause = prediction.abnormal or {}, prediction.cause or {}
        shift = prediction.source_shift or {}
        write_row(
            [
                *(prediction.file, str(prediction.status), prediction.reason),
                *(prediction.predicted_class, decision.get("class")),
                *(probabilities.get(name) for name in class_names),
                *(thresholds.get(name) for name in class_names),
                None if possible is None else "|".join(possible) or "none",
                *(decision.get("reason"), decision.get("at_operating_point")),
                _word(abnormal.get("call")),
                *(abnormal.get("probability"), abnormal.get("threshold")),
                *(cause.get(key) for key in ("name", "reason", "log_odds", "cut")),
                *(shift.get("nearest"), _word(shift.get("like_training"))),
                *_lung_cells(prediction.quality or {}),
                prediction.detail,
                *(prediction.model[name] for name in model_columns),
                RESEARCH_USE,
            ]
        )
        file.flush()

    return write


def _lung_cells(quality: Mapping[str, Any]) -> list[str | float | None]:
    cut_off = quality.get("cut_off")
    return [
        _word(quality.get("found")),
        *quality.get("areas", (None, None)),
        *(quality.get("center") or (None, None)),
        quality.get("symmetry"),
        None if cut_off is None else "|".join(cut_off) or "none",
    ]


def _word(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()

"""Results of a study: metrics of the test images of all folds together, and their table."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.bundle import Bundle
from covid_monai.core.tables import read_rows, write_table
from covid_monai.core.vocabulary import NORMAL
from covid_monai.datasets.collections import shareable_names
from covid_monai.evaluation.decisions.operating_point import decide
from covid_monai.evaluation.decisions.unseen_sources import UnseenSources, fit_unseen_sources
from covid_monai.evaluation.metrics.bootstrapped_metrics import metrics_with_intervals
from covid_monai.evaluation.metrics.prediction_table import PredictionTable, read_predictions
from covid_monai.inference.decision import has_two_levels

_ALWAYS = ("auroc", "balanced_accuracy", "accuracy")  # metrics in every table
_AREAS = ("auroc", "average_precision")
_UNDEFINED = {"value": None, "low": None, "high": None}


def compute_pooled_metrics(
    runs: Sequence[Path],
    patients: Mapping[str, str],
    subsets: Mapping[str, str] | None = None,
    *,
    by_source: bool = False,
) -> dict[str, Any]:
    """Compute the metrics of all folds' test images together, each decided by the thresholds of its own fold.

    `runs` are the folders of the folds, with `evaluation/predictions.csv`. `patients` has the patient of each
    image, for the intervals. `subsets` has a pattern of image paths for each name: images to report on their
    own, too. `by_source` says that each fold is a source of its own. An area over all of them would count
    pairs of images of two sources, scored by two networks, so areas are computed within the sources only.

    Returns:
        The result of `metrics_with_intervals`; `subsets`: `n`, `patients` and `accuracy` with its interval
        for each name; with `by_source` also `sources`: `n`, `patients`, `auroc` and `balanced_accuracy` (of a
        single class its sensitivity) for each fold, while the areas of all images are None.

    Raises:
        ValueError: No image matches a pattern.
    """
    parts = [_read_predictions(run) for run in runs]
    images, decisions = _join([images for images, _ in parts]), np.concatenate([of for _, of in parts])
    images = replace(images, patients=np.array([patients[image] for image in images.images]))
    found = {}
    for name, pattern in (subsets or {}).items():
        rows = np.array([fnmatch(image, pattern) for image in images.images])
        if not rows.any():
            empty = f"The subset {name!r} is empty: no test image matches {pattern}."
            raise ValueError(f"{empty} Change its pattern.")
        metrics = _metrics(images.where(rows), decisions[rows])
        found[name] = _part(metrics, "accuracy")
    whole = {**_metrics(images, decisions), "subsets": found}
    if not by_source:
        return whole
    folds = np.repeat([run.name for run in runs], [len(part) for part, _ in parts])
    apart = {
        run.name: _metrics(images.where(folds == run.name), decisions[folds == run.name]) for run in runs
    }
    sources = {name: _part(metrics, "auroc", "balanced_accuracy") for name, metrics in apart.items()}
    for values in (whole, *whole["per_class"].values()):
        values |= dict.fromkeys(_AREAS, _UNDEFINED)
    return {**whole, "sources": sources}


def _part(metrics: Mapping[str, Any], *names: str) -> dict[str, Any]:
    found = {"n": metrics["n"], "patients": metrics["bootstrap"]["patients"]}
    return found | {name: metrics[name] for name in names}


def join_test_rows(runs: Sequence[Path], path: Path, patients: Mapping[str, str]) -> None:
    """Write the test rows of all folds into one predictions.csv, which `covid-monai compare` reads.

    The patients of the rows are those of `patients`, by image.
    """
    header: list[str] = []
    rows: list[list[str]] = []
    for run in runs:
        table = run / "evaluation" / "predictions.csv"
        with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            (_, header), *lines = read_rows(file, path=table)
        image, patient = header.index("image"), header.index("patient")
        for _, cells in lines:
            if cells[header.index("split")] == "test":
                rows.append([*cells[:patient], patients[cells[image]], *cells[patient + 1 :]])
    write_table(path, header, rows)


def fit_on_left_out_sources(runs: Sequence[Path], patients: Mapping[str, str]) -> UnseenSources | None:
    """Choose the cuts for hospitals that a training has not seen, on folds that leave out one source each.

    Args:
        runs: Folder of each fold's run, with `evaluation/predictions.csv`; its name is the source left out.
        patients: Patient of each image, as in `compute_pooled_metrics`.

    Returns:
        The result of `fit_unseen_sources`, with each fold's own threshold of "abnormal"; None if no class is
        `normal`.
    """
    tables = [read_predictions(run / "evaluation" / "predictions.csv").split("test") for run in runs]
    images = _join(tables)
    if not has_two_levels(images.class_names):
        return None
    sizes = [len(table) for table in tables]
    calibrations = [Bundle(run).calibration for run in runs]
    thresholds = [1 - calibration.conformal[NORMAL] for calibration in calibrations if calibration]
    return fit_unseen_sources(
        images.labels,
        images.probabilities,
        [patients[image] for image in images.images],
        np.repeat(shareable_names([run.name for run in runs]), sizes),
        images.class_names,
        abnormal_threshold=np.repeat(thresholds, sizes) if len(thresholds) == len(runs) else None,
    )


def _read_predictions(run: Path) -> tuple[PredictionTable, NDArray[np.int64]]:
    rows = read_predictions(run / "evaluation" / "predictions.csv").split("test")
    point = Bundle(run).operating_point
    return rows, rows.probabilities.argmax(axis=1) if point is None else decide(rows.probabilities, point)


def _join(tables: Sequence[PredictionTable]) -> PredictionTable:
    names = [column.name for column in fields(PredictionTable) if column.name != "class_names"]
    columns: Any = {name: np.concatenate([getattr(table, name) for table in tables]) for name in names}
    return replace(tables[0], **columns)


def _metrics(images: PredictionTable, decisions: NDArray[np.int64]) -> dict[str, Any]:
    return metrics_with_intervals(
        images.labels, decisions, images.probabilities, images.patients, images.class_names
    )


def format_table(result: Mapping[str, Any]) -> str:
    """Return a Markdown section: published metrics beside ours with intervals, and what differs.

    A metric of one class has a name such as `sensitivity/covid` in `published`.

    >>> ours = {"accuracy": {"value": 0.9, "low": 0.85, "high": 0.94}, "n": 72, "bootstrap": {"patients": 60}}
    >>> published = {"accuracy": 0.958, "where": "X"}
    >>> table = format_table({"title": "T", "protocol": "folds", "published": published,
    ...     "differs": ["grouped by patient"], "variants": {"default": ours}})
    >>> table.splitlines()[4]
    '| accuracy | 0.958 | 0.900 [0.850 to 0.940] |'
    """
    published = {key: value for key, value in result["published"].items() if key != "where"}
    variants = result["variants"]
    metrics = [*published, *(name for name in _ALWAYS if name not in published)]
    some = next(iter(variants.values()))
    headings = [f"ours, {name}" if len(variants) > 1 else "ours" for name in variants]
    lines = [f"### {result['title']}", "", f"| metric | published | {' | '.join(headings)} |"]
    lines += [f"|---|---|{'---|' * len(variants)}"]
    for metric in metrics:
        cells = [_cell(_find(values, metric)) for values in variants.values()]
        if any(cells):
            lines.append(f"| {metric} | {published.get(metric, '')} | {' | '.join(cells)} |")
    for name, part in some.get("subsets", {}).items():
        cells = [_cell(values["subsets"][name]["accuracy"]) for values in variants.values()]
        lines.append(f"| accuracy, {name} ({part['n']} images) | | {' | '.join(cells)} |")
    for name, part in some.get("sources", {}).items():
        for metric, words in (("auroc", "AUROC within"), ("balanced_accuracy", "balanced accuracy within")):
            cells = [_cell(values["sources"][name][metric]) for values in variants.values()]
            lines.append(f"| {words} {name} ({part['n']} images) | | {' | '.join(cells)} |")
    lines += [
        "",
        f"Ours: {some['n']} test images of {some['bootstrap']['patients']} patients, "
        f"protocol {result['protocol']}. Published: {result['published'].get('where', 'not published')}.",
        "",
        *(f"- {sentence}" for sentence in result["differs"]),
    ]
    return "\n".join(lines) + "\n"


def _find(values: Mapping[str, Any], metric: str) -> Mapping[str, Any] | None:
    name, _, class_name = metric.partition("/")
    return values.get("per_class", {}).get(class_name, {}).get(name) if class_name else values.get(name)


def _cell(metric: Mapping[str, Any] | None) -> str:
    if metric is None or metric.get("value") is None:
        return ""
    interval = "" if metric["low"] is None else f" [{metric['low']:.3f} to {metric['high']:.3f}]"
    return f"{metric['value']:.3f}{interval}"

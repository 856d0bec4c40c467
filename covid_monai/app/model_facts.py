"""What is known of a model, as words and tables for a person: nothing here draws anything."""

from collections.abc import Mapping, Sequence
from typing import Any

from covid_monai.app.desk import Model
from covid_monai.app.pages.evidence import CLASS_FIGURES, Evidence
from covid_monai.app.widgets.status import label
from covid_monai.core.number_format import format_interval, format_metric, format_percent
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.report.metric_wording import METRIC_NAMES

Table = tuple[Sequence[str], list[list[str]]]


def identity(model: Model) -> dict[str, str]:
    """Name and value of what tells this model from any other, and of how it is computed here."""
    bundle, classifier = model.bundle, model.engine.classifier
    metadata, made_of = bundle.metadata, classifier.model
    side = bundle.image_size
    return {
        "Name": made_of["name"],
        "Version": made_of["version"],
        "Task": str(metadata.get("task", "not stated")),
        "Intended use": str(metadata.get("intended_use", "not stated")),
        "Classes": ", ".join(map(label, bundle.class_names)),
        "Network": f"{bundle.network_name}, {side} x {side} pixels",
        "Weights (SHA-256)": made_of["weights_sha256"],
        "Preprocessing (SHA-256)": made_of["preprocessing_digest"],
        "Computed by": f"{made_of['backend']}, on {classifier.device}",
        "Input gate": _gate_words(classifier.gate is not None),
    }


def preprocessing_steps(model: Model) -> list[str]:
    """The way from a file to the network, a line for each transform.

    The settings are those of the bundle's `inference.yaml`, all names filled in.
    """
    return [_step(step) for step in model.bundle.preprocessing_contract["steps"]]


def _step(step: Mapping[str, Any] | str) -> str:
    if not isinstance(step, Mapping):
        return str(step)
    name = str(step["_target_"]).rpartition(".")[2]
    settings = ", ".join(f"{key}={value}" for key, value in step.items() if key not in ("_target_", "keys"))
    return f"{name}({settings})"


def thresholds(point: OperatingPoint | None, calibration: Calibration | None) -> Table | None:
    """Per class: threshold of the decision, of the sensitivity that was aimed at, of the conformal set."""
    if point is None and calibration is None:
        return None
    columns: dict[str, Mapping[str, float]] = {}
    if point is not None:
        columns["Decision"] = point.thresholds
        if point.sensitivity_thresholds:
            columns[f"Sensitivity {format_percent(point.sensitivity_target, 0)}"] = (
                point.sensitivity_thresholds
            )
    if calibration is not None:
        columns[f"Conformal set, {format_percent(calibration.coverage, 0)}"] = calibration.conformal
    names = (point or calibration).class_names  # type: ignore[union-attr]
    rows = [
        [label(name), *(f"{column[name]:.3f}" if name in column else "-" for column in columns.values())]
        for name in names
    ]
    return ["Class", *columns], rows


def chosen_on(part: OperatingPoint | Calibration) -> str:
    """On which data a part was chosen, in one sentence, with what a reader must know of it."""
    where = part.chosen_on
    images, patients = where.get("n", "an unknown number of"), where.get("patients", "an unknown number of")
    split = where.get("split", "data that nobody recorded")
    return " ".join([f"Chosen on {split}: {images} images of {patients} patients.", *part.notes])


def figures_table(evidence: Evidence) -> Table:
    """Per class of the test split: images and the main figures, each with its 95 % interval."""
    rows = [
        [label(name), str(values["support"]), *(_with_interval(values[key]) for key in CLASS_FIGURES)]
        for name, values in evidence.per_class.items()
    ]
    return ["Class", "Images", *(METRIC_NAMES[key] for key in CLASS_FIGURES)], rows


def _with_interval(metric: Mapping[str, float | None]) -> str:
    value = format_metric(metric["value"])
    return value if metric["low"] is None else f"{value} ({format_interval(metric)})"


def _gate_words(has_gate: bool) -> str:
    if has_gate:
        return "yes: refuses images that are turned, inverted or unlike those of the training"
    return "none: any grey picture is classified, whatever it shows"

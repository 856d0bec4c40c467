"""The model tab: identity, decision rule, evaluation and model card of each bundle."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt
from nicegui import ui

from covid_monai.app.evaluation import CLASS_FIGURES, FOLDER, StoredEvaluation, evaluation_of
from covid_monai.app.session import AppContext, ServedModel
from covid_monai.app.widgets import elements
from covid_monai.bundle import Bundle
from covid_monai.core.number_format import format_interval, format_metric, format_percent
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.report.metric_wording import METRIC_NAMES
from covid_monai.inference.wording import class_label

Table = tuple[Sequence[str], list[list[str]]]

_NOT_KNOWN = (
    "Not known. The bundle has no evaluation of these weights, so nobody checked here whether the model sees "
    "the disease or the hospital. Read what its authors write in the model card below."
)
# CSS class and icon, by whether a check found a shortcut.
_CHECK_STYLES = {True: ("found", "warning"), False: ("clear", "check_circle"), None: ("unknown", "help")}
# A card may come from anybody: markup becomes text, links keep to safe schemes, and no picture is fetched.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def build_model_tab(context: AppContext) -> None:
    """Show the tab of one visitor."""
    names = list(context.models)
    choices = ui.row().classes("filters")
    body = ui.column().classes("model-body")

    def show(name: str) -> None:
        body.clear()
        with body:
            _show(context.models[name])

    if len(names) > 1:
        with choices:
            choice = ui.select(
                names, value=names[0], label="Model", on_change=lambda event: show(event.value)
            )
            choice.props("outlined dense").classes("choice wide")
    show(names[0])


def _show(model: ServedModel) -> None:
    evaluation = evaluation_of(model)
    with elements.card(model.name, "stack"):
        elements.show_template("facts.html.j2", values=identity(model))
    with elements.card("Does it see the disease, or the hospital?", "stack"):
        _show_checks(evaluation)
    with elements.card("How it decides", "stack"):
        _show_decision(model)
    with elements.card("Evaluation", "stack"):
        _show_evaluation(model, evaluation)
    with elements.card("From a file to the network", "stack"), ui.element("ol").classes("steps"):
        for step in model.bundle.preprocessing_contract["steps"]:
            elements.text("li", _step_text(step)).classes("code")
    with elements.card("Model card", "stack"):
        html = model_card(model.bundle)
        if html is None:
            ui.label("The bundle has no model card (docs/README.md).")
        else:
            ui.html(html, sanitize=False).classes("model-card")


def identity(model: ServedModel) -> dict[str, str]:
    """Return name and value of what identifies this model, and of how it is computed here."""
    bundle, classifier = model.bundle, model.engine.classifier
    metadata, of_classifier = bundle.metadata, classifier.model
    side = bundle.image_size
    return {
        "Name": of_classifier["name"],
        "Version": of_classifier["version"],
        "Task": str(metadata.get("task", "not stated")),
        "Intended use": str(metadata.get("intended_use", "not stated")),
        "Classes": ", ".join(map(class_label, bundle.class_names)),
        "Network": f"{bundle.network_name}, {side} x {side} pixels",
        "Weights (SHA-256)": of_classifier["weights_sha256"],
        "Preprocessing (SHA-256)": of_classifier["preprocessing_digest"],
        "Computed by": f"{of_classifier['backend']}, on {classifier.device}",
        "Input gate": (
            "Yes: it refuses images that are turned, inverted or unlike the training images."
            if classifier.gate is not None
            else "No: the model classifies any grey image, whatever the image shows."
        ),
    }


def _step_text(step: Mapping[str, Any] | str) -> str:
    """Return a transform with its settings, as in the bundle's `inference.yaml`."""
    if not isinstance(step, Mapping):
        return str(step)
    name = str(step["_target_"]).rpartition(".")[2]
    settings = ", ".join(f"{key}={value}" for key, value in step.items() if key not in ("_target_", "keys"))
    return f"{name}({settings})"


def _show_checks(evaluation: StoredEvaluation | None) -> None:
    checks = evaluation.checks if evaluation is not None else ()
    if not checks:
        _note("unknown", "help", _NOT_KNOWN)
    for check in checks:
        _note(*_CHECK_STYLES[check.shortcut], check.sentence)


def _note(kind: str, icon: str, words: str) -> None:
    with ui.element("div").classes(f"verdict verdict-{kind}").props("role=note"):
        ui.icon(icon, size="1.5rem").props("aria-hidden=true")
        ui.label(words)


def _show_decision(model: ServedModel) -> None:
    point, calibration = model.engine.classifier.operating_point, model.engine.classifier.calibration
    if table := thresholds_table(point, calibration):
        elements.table(*table)
    if point is None:
        ui.label(
            "The bundle has no operating point: the page shows the most probable class, and no decision."
        )
    else:
        ui.label(point.rule)
        ui.label(chosen_on(point)).classes("dim")
    if calibration is None:
        ui.label("The bundle has no calibration: the probabilities are the network's own, often too high.")
    else:
        ui.label(f"Calibration: the logits are divided by the temperature {calibration.temperature:.3f}.")
        ui.label(chosen_on(calibration)).classes("dim")


def thresholds_table(point: OperatingPoint | None, calibration: Calibration | None) -> Table | None:
    """Return thresholds per class: of the decision, of the sensitivity rule, of the conformal set."""
    if point is None and calibration is None:
        return None
    columns: dict[str, Mapping[str, float]] = {}
    if point is not None:
        columns["Decision"] = point.thresholds
        if point.sensitivity_thresholds:
            target = format_percent(point.sensitivity_target, 0)
            columns[f"Sensitivity {target}"] = point.sensitivity_thresholds
    if calibration is not None:
        columns[f"Conformal set, {format_percent(calibration.coverage, 0)}"] = calibration.conformal
    names = (point or calibration).class_names  # type: ignore[union-attr]
    rows = [
        [class_label(name)]
        + [format_metric(column[name]) if name in column else "-" for column in columns.values()]
        for name in names
    ]
    return ["Class", *columns], rows


def chosen_on(part: OperatingPoint | Calibration) -> str:
    """Return a sentence about the data that a part was chosen on, and the notes that belong to it."""
    data = part.chosen_on
    images, patients = data.get("n", "an unknown number of"), data.get("patients", "an unknown number of")
    split = data.get("split", "data that were not recorded")
    return " ".join([f"Chosen on {split}: {images} images of {patients} patients.", *part.notes])


def _show_evaluation(model: ServedModel, evaluation: StoredEvaluation | None) -> None:
    if evaluation is None:
        ui.label("The bundle has no evaluation. Run this command, and restart the page:")
        command = f"covid-monai evaluate --bundle DIR --datalist FILE --output DIR/{FOLDER}"
        ui.label(command).classes("code")
        return
    if not evaluation.same_weights:
        _note("unknown", "help", "This evaluation is of other weights than the loaded ones.")
    ui.label(evaluation.result)
    elements.table(*figures_table(evaluation))
    _show_rocs(evaluation)
    with ui.element("ul").classes("limits"):
        for sentence in evaluation.limits:
            elements.text("li", sentence)
    if evaluation.report is not None:
        button = elements.button("Open the report", "article")
        button.on_click(lambda: _open_report(model, str(evaluation.report)))


def figures_table(evaluation: StoredEvaluation) -> Table:
    """Return images and main figures per class of the test split, each with its 95 % interval."""
    rows = [
        [class_label(name), str(values["support"]), *(_with_interval(values[key]) for key in CLASS_FIGURES)]
        for name, values in evaluation.per_class.items()
    ]
    return ["Class", "Images", *(METRIC_NAMES[key] for key in CLASS_FIGURES)], rows


def _with_interval(metric: Mapping[str, float | None]) -> str:
    value = format_metric(metric["value"])
    return value if metric["low"] is None else f"{value} ({format_interval(metric)})"


def _show_rocs(evaluation: StoredEvaluation) -> None:
    with ui.row().classes("rocs"):
        for name, curve in evaluation.rocs.items():
            figures = evaluation.per_class[name]
            title = (
                f"ROC curve of {class_label(name)} against the other classes; the dot is the operating point"
            )
            point = figures["sensitivity"], figures["specificity"]
            elements.roc_figure(curve, point, title=title, caption=title)


def _open_report(model: ServedModel, report: str) -> None:
    with ui.dialog(value=True).props("maximized") as dialog, ui.card().classes("report-card"):
        elements.dialog_head(dialog, f"Evaluation of {model.name}")
        frame = ui.element("iframe").classes("report-frame")
        # The empty sandbox runs no script; the report reaches neither this page nor the network.
        frame.props["sandbox"], frame.props["srcdoc"] = "", report
        frame.props["title"] = "Evaluation report"
    dialog.on("hide", dialog.delete)


@lru_cache(maxsize=8)
def model_card(bundle: Bundle) -> str | None:
    """Return `docs/README.md` of the bundle as HTML; None if it has none."""
    path = bundle.root / "docs" / "README.md"
    return render_card(path.read_text(encoding="utf-8")) if path.is_file() else None


def render_card(text: str) -> str:
    r"""Convert Markdown to HTML, with tables that scroll on a narrow screen.

    >>> render_card("**safe** <script>alert(1)</script> [x](javascript:alert(1))")
    '<p><strong>safe</strong> &lt;script&gt;alert(1)&lt;/script&gt; [x](javascript:alert(1))</p>\n'
    """
    html: str = _MARKDOWN.render(text)
    return html.replace("<table>", '<div class="scrolls"><table>').replace("</table>", "</table></div>")

"""The model tab: what the model is, how it decides, what was found about it, and its model card."""

from functools import lru_cache

from nicegui import ui

from covid_monai.app import model_facts
from covid_monai.app.desk import Desk, Model
from covid_monai.app.model_card import model_card
from covid_monai.app.pages.evidence import Evidence, find_evidence
from covid_monai.app.widgets import parts
from covid_monai.app.widgets.badge import heading
from covid_monai.app.widgets.figures import FOLDER
from covid_monai.app.widgets.roc import roc_svg
from covid_monai.app.widgets.status import label

_NOT_KNOWN = (
    "Not known: no evaluation of these weights lies beside them, so whether the model reads the disease or "
    "the hospital was not checked here. What its makers say stands in the model card below."
)
# Class in the style sheet, and icon.
_VERDICTS = {True: ("found", "warning"), False: ("clear", "check_circle"), None: ("unknown", "help")}


def build(desk: Desk) -> None:
    """Show the tab for one visitor."""
    names = list(desk.models)
    choices = ui.row().classes("filters")
    body = ui.column().classes("model-body")

    def show(name: str) -> None:
        body.clear()
        with body:
            _show(desk.models[name])

    if len(names) > 1:
        with choices:
            choice = ui.select(
                names, value=names[0], label="Model", on_change=lambda event: show(event.value)
            )
            choice.props("outlined dense").classes("choice wide")
    show(names[0])


def _show(model: Model) -> None:
    evidence = _evidence(model)
    with _card(model.name):
        parts.facts(model_facts.identity(model))
    with _card("Does it see the disease, or the hospital?"):
        _show_verdict(evidence)
    with _card("How it decides"):
        _show_decision(model)
    with _card("Evaluation"):
        _show_evaluation(model, evidence)
    with _card("From a file to the network"), ui.element("ol").classes("steps"):
        for step in model_facts.preprocessing_steps(model):
            with ui.element("li"):
                ui.label(step).classes("code")
    with _card("Model card"):
        _show_card(model)


def _card(title: str) -> ui.element:
    card = ui.element("section").classes("card stack")
    with card:
        heading(title)
    return card


def _show_verdict(evidence: Evidence | None) -> None:
    checks = evidence.checks if evidence is not None else ()
    if not checks:
        _verdict("unknown", "help", _NOT_KNOWN)
    for check in checks:
        _verdict(*_VERDICTS[check.shortcut], check.sentence)


def _verdict(kind: str, icon: str, words: str) -> None:
    with ui.element("div").classes(f"verdict verdict-{kind}").props("role=note"):
        ui.icon(icon, size="1.5rem").props("aria-hidden=true")
        ui.label(words)


def _show_decision(model: Model) -> None:
    point, calibration = model.engine.classifier.operating_point, model.engine.classifier.calibration
    found = model_facts.thresholds(point, calibration)
    if found is not None:
        parts.table(*found)
    if point is None:
        ui.label(
            "The bundle stores no operating point: the most probable class is shown, nothing is decided."
        )
    else:
        ui.label(point.rule)
        ui.label(model_facts.chosen_on(point)).classes("dim")
    if calibration is None:
        ui.label("The bundle stores no calibration: the probabilities are the network's own, often too sure.")
    else:
        ui.label(f"Calibration: the logits are divided by the temperature {calibration.temperature:.3f}.")
        ui.label(model_facts.chosen_on(calibration)).classes("dim")


def _show_evaluation(model: Model, evidence: Evidence | None) -> None:
    if evidence is None:
        ui.label("None lies beside these weights. To make one, and to see it here after the next start:")
        command = f"covid-monai evaluate --bundle DIR --datalist FILE --output DIR/{FOLDER}"
        ui.label(command).classes("code")
        return
    if not evidence.same_weights:
        _verdict("unknown", "help", "This evaluation is of other weights than those that are loaded.")
    ui.label(evidence.result)
    parts.table(*model_facts.figures_table(evidence))
    _show_rocs(evidence)
    with ui.element("ul").classes("limits"):
        for sentence in evidence.limits:
            with ui.element("li"):
                ui.label(sentence)
    if evidence.report is not None:
        parts.button("Open the report", "article").on_click(lambda: _open_report(model, evidence))


def _show_rocs(evidence: Evidence) -> None:
    with ui.row().classes("rocs"):
        for name, curve in evidence.rocs.items():
            found = evidence.per_class[name]
            title = f"ROC of {label(name)} against the rest; the dot is the operating point"
            with ui.element("figure").classes("roc-box"):
                point = found["sensitivity"], found["specificity"]
                ui.html(roc_svg(curve, point, title=title), sanitize=False)
                with ui.element("figcaption").classes("dim small"):
                    ui.label(title)


def _open_report(model: Model, evidence: Evidence) -> None:
    with ui.dialog(value=True).props("maximized") as dialog, ui.card().classes("report-card"):
        parts.dialog_head(dialog, f"Evaluation of {model.name}")
        frame = ui.element("iframe").classes("report-frame")
        # No script runs in it, and it reaches neither this page nor the network.
        frame.props["sandbox"], frame.props["srcdoc"] = "", evidence.report
        frame.props["title"] = "Evaluation report"
    dialog.on("hide", dialog.delete)


def _show_card(model: Model) -> None:
    html = model_card(model.bundle)
    if html is None:
        ui.label("The bundle has no model card (docs/README.md).")
    else:
        ui.html(html, sanitize=False).classes("model-card")


@lru_cache(maxsize=8)
def _evidence(model: Model) -> Evidence | None:
    return find_evidence(model.bundle, model.engine.classifier.model["weights_sha256"])

"""Cards of a result: the operating point, and what a decision means at a given prevalence."""

from collections import defaultdict
from collections.abc import Callable, Mapping

from nicegui import ui

from covid_monai.app.evaluation import StoredEvaluation, why_no_figures
from covid_monai.app.operating_points import Figure, OperatingPointChoice, count_thousand
from covid_monai.app.widgets.elements import card, roc_svg, show_template, text
from covid_monai.core.number_format import format_interval, format_metric, format_percent
from covid_monai.core.vocabulary import NORMAL
from covid_monai.evaluation.metrics.clinical_utility import predictive_values
from covid_monai.inference.prediction import Prediction
from covid_monai.results.wording import class_label

# Prevalences to choose with one click, in percent; the second is the first shown. Most images of a ward are
# normal, few show a given disease.
_PREVALENCES = defaultdict(lambda: (1, 5, 20), {NORMAL: (50, 80, 95)})
_MIN_PERCENT, _MAX_PERCENT = 0.1, 99.0


class ResultSettings:
    """Operating point and prevalences that a visitor has chosen, for all of their images."""

    def __init__(self, offered: list[OperatingPointChoice]) -> None:
        self.offered = offered
        self.choice = offered[0]
        self.prevalences: dict[str, float] = {}

    def prevalence(self, class_name: str) -> float:
        """Return the percentage of images that are of a class."""
        return self.prevalences.get(class_name, float(_PREVALENCES[class_name][1]))


def operating_point_card(settings: ResultSettings, on_change: Callable[[], None]) -> None:
    """Let the visitor choose an operating point."""

    def chosen() -> None:
        settings.choice = settings.offered[select.value]
        rule.text = settings.choice.rule
        on_change()

    with card("Operating point"):
        titles = {number: choice.title for number, choice in enumerate(settings.offered)}
        chosen_now = settings.offered.index(settings.choice)
        select = ui.select(titles, value=chosen_now, label="Decide by", on_change=lambda: chosen())
        select.classes("full operating-point")
        with ui.expansion("The rule").classes("small rule").props("dense"):
            rule = ui.label(settings.choice.rule).classes("small")
        ui.label("Downloads always contain the decision by the model's own thresholds.").classes("dim small")


def meaning_card(
    settings: ResultSettings, prediction: Prediction, evaluation: StoredEvaluation | None
) -> None:
    """Show how often a decision for a class is right at the prevalence that the visitor sets."""
    choice = settings.choice
    class_name = choice.class_name or str(prediction.predicted_class)
    with card(f"How often it is right: {class_label(class_name)}"):
        missing = why_no_figures(evaluation)
        if evaluation is None or missing is not None:
            ui.label(str(missing)).classes("no-figures")
            return
        rates = evaluation.rates(choice, class_name)
        if rates is None:
            ui.label("This was not measured for this class.").classes("no-figures")
            return
        with ui.element("div").classes("meaning"):
            with ui.element("div").classes("meaning-text"):
                _prevalence(settings, rates, class_name)
            _roc(evaluation, rates, class_name)
        ui.label(
            f"{evaluation.about} Uncertain images are counted by the thresholds alone. All images are from "
            "public collections, in which classes come from different hospitals: expect less elsewhere."
        ).classes("dim small")


def _prevalence(settings: ResultSettings, rates: Mapping[str, Figure], class_name: str) -> None:
    def changed() -> None:
        if field.value is not None and _MIN_PERCENT <= field.value <= _MAX_PERCENT:
            settings.prevalences[class_name] = float(field.value)
            counts.refresh()

    with ui.row().classes("prevalence"):
        field = ui.number(
            f"Prevalence: share of images that are {class_label(class_name)}",
            value=settings.prevalence(class_name),
            min=_MIN_PERCENT,
            max=_MAX_PERCENT,
            step=0.5,
            suffix="%",
            on_change=lambda: changed(),
        ).classes("prevalence-field")
        for value in _PREVALENCES[class_name]:
            ui.button(f"{value} %", on_click=lambda value=value: field.set_value(value)).props(
                "flat dense no-caps"
            )

    @ui.refreshable
    def counts() -> None:
        _thousand_images(settings.prevalence(class_name) / 100, rates, class_name)

    counts()


def _thousand_images(prevalence: float, rates: Mapping[str, Figure], class_name: str) -> None:
    (values,) = predictive_values(rates["sensitivity"], rates["specificity"], [prevalence])
    sensitivity, specificity = rates["sensitivity"]["value"] or 0.0, rates["specificity"]["value"] or 0.0
    show_template(
        "thousand.html.j2",
        name=class_label(class_name),
        count=count_thousand(sensitivity, specificity, prevalence),
        **{key: _share(values[key]) for key in ("ppv", "npv")},
        **{key: _share(rates[key]) for key in ("sensitivity", "specificity")},
    )


def _share(figure: Figure) -> str:
    """Return a share with its interval."""
    if figure["value"] is None:
        return "an unknown share"
    if figure["low"] is None:
        return format_percent(figure["value"])
    low, high = format_percent(figure["low"]), format_percent(figure["high"])
    return f"{format_percent(figure['value'])} ({low} to {high})"


def _roc(evaluation: StoredEvaluation, rates: Mapping[str, Figure], class_name: str) -> None:
    auroc: Figure = evaluation.per_class[class_name]["auroc"]
    area = f"{format_metric(auroc['value'])} ({format_interval(auroc)})"
    title = f"ROC curve of {class_label(class_name)} with the operating point; AUROC {area}"
    point = (rates["sensitivity"], rates["specificity"])
    with ui.element("figure").classes("roc-box"):
        ui.html(roc_svg(evaluation.rocs.get(class_name, []), point, title=title), sanitize=False)
        text("figcaption", f"AUROC {area}. The dot is this operating point.").classes("small dim")

"""The decision at an operating point, and what it means where the class is rarer or more frequent."""

from collections.abc import Callable, Mapping

from nicegui import ui

from covid_monai.app.widgets.badge import heading
from covid_monai.app.widgets.figures import Figures
from covid_monai.app.widgets.operating_points import Choice, Figure, of_thousand, values_at
from covid_monai.app.widgets.roc import roc_svg
from covid_monai.app.widgets.status import label
from covid_monai.core.number_format import format_percent
from covid_monai.core.vocabulary import NORMAL
from covid_monai.inference.prediction import Prediction

_RARE, _COMMON = (1, 5, 20), (50, 80, 95)  # percent, to choose with one click; the middle one at first
_LEAST, _MOST = 0.1, 99.0


class Settings:
    """What a visitor has chosen; it holds for all images of the visit.

    Args:
        offered: The operating points of the bundle.
    """

    def __init__(self, offered: list[Choice]) -> None:
        self.offered = offered
        self.choice = offered[0]
        self._prevalences: dict[str, float] = {}

    def prevalence(self, class_name: str) -> float:
        """Percent of images that are of a class."""
        return self._prevalences.get(class_name, float(usual(class_name)[1]))

    def set_prevalence(self, class_name: str, percents: float) -> None:
        """Take another one."""
        self._prevalences[class_name] = percents

    def choose(self, title: str) -> None:
        """Take another operating point."""
        self.choice = next(choice for choice in self.offered if choice.title == title)


def usual(class_name: str) -> tuple[int, int, int]:
    """Prevalences to choose from, in percent: most images of a ward are normal, few show a given disease."""
    return _COMMON if class_name == NORMAL else _RARE


def operating_point_card(settings: Settings, on_change: Callable[[], None]) -> None:
    """Choose an operating point."""

    def chosen(event: object) -> None:
        settings.choose(select.value)
        rule.text = settings.choice.rule
        on_change()

    with ui.element("section").classes("card").props("aria-label='Operating point'"):
        heading("Operating point")
        titles = [choice.title for choice in settings.offered]
        select = ui.select(titles, value=settings.choice.title, label="Decide by", on_change=chosen)
        select.classes("full operating-point")
        with ui.expansion("The rule").classes("small rule").props("dense"):
            rule = ui.label(settings.choice.rule).classes("small")
        ui.label("Downloads always hold the decision by the model's own thresholds.").classes("dim small")


def meaning_card(settings: Settings, prediction: Prediction, figures: Figures | None, about: str) -> None:
    """What being called a class means at the prevalence that the visitor sets; and the ROC curve."""
    choice = settings.choice
    class_name = choice.class_name or str(prediction.predicted_class)
    with ui.element("section").classes("card").props("aria-label='What it means'"):
        heading(f"How often it is right: {label(class_name)}")
        rates = None if figures is None else figures.rates(choice, class_name)
        if figures is None or rates is None:
            ui.label(about if figures is None else "Not measured for this class.").classes("no-figures")
            return
        with ui.element("div").classes("meaning"):
            with ui.element("div").classes("meaning-text"):
                _prevalence(settings, rates, class_name)
            _roc(figures, rates, class_name)
        ui.label(
            f"{about} Images that are uncertain count by their thresholds. All from public collections, "
            "where class and hospital go together: expect less elsewhere."
        ).classes("dim small")


def _prevalence(settings: Settings, rates: Mapping[str, Figure], class_name: str) -> None:
    def changed(event: object) -> None:
        if field.value is not None and _LEAST <= field.value <= _MOST:
            settings.set_prevalence(class_name, float(field.value))
            shown.refresh()

    with ui.row().classes("prevalence"):
        field = ui.number(
            f"Prevalence: share of images that are {label(class_name)}",
            value=settings.prevalence(class_name),
            min=_LEAST,
            max=_MOST,
            step=0.5,
            suffix="%",
            on_change=changed,
        ).classes("prevalence-field")
        for value in usual(class_name):
            ui.button(f"{value} %", on_click=lambda value=value: field.set_value(value)).props(
                "flat dense no-caps"
            )

    @ui.refreshable
    def shown() -> None:
        _thousand(settings.prevalence(class_name) / 100, rates, class_name)

    shown()


def _thousand(prevalence: float, rates: Mapping[str, Figure], class_name: str) -> None:
    values = values_at(rates, prevalence)
    sensitivity, specificity = rates["sensitivity"]["value"] or 0.0, rates["specificity"]["value"] or 0.0
    count, name = of_thousand(sensitivity, specificity, prevalence), label(class_name)
    with ui.element("div").classes("thousand").props("aria-live=polite"):
        ui.label(f"Of 1,000 such images, {count.ill} are {name}.").classes("small")
        _split(f"Called {name}", count.found, "right", count.wrongly_called, "wrong")
        _split(f"Not called {name}", count.spared, "right", count.missed, "missed")
        ui.label(f"If called, it is {name} in {_figure(values['ppv'])} (PPV).").classes("ppv")
        ui.label(f"If not called, it is not in {_figure(values['npv'])} (NPV).").classes("npv")
        ui.label(
            f"Sensitivity {_figure(rates['sensitivity'])}, specificity {_figure(rates['specificity'])}."
        ).classes("small dim")


def _split(title: str, right: int, right_word: str, wrong: int, wrong_word: str) -> None:
    with ui.element("div").classes("split"):
        ui.label(f"{title}: {right + wrong:,}").classes("small split-title")
        with ui.element("div").classes("split-bar").props("aria-hidden=true"):
            ui.element("div").classes("split-right").style(f"flex-grow: {right}")
            ui.element("div").classes("split-wrong").style(f"flex-grow: {wrong}")
        ui.label(f"{right:,} {right_word}, {wrong:,} {wrong_word}").classes("small number")


def _figure(figure: Figure) -> str:
    """A share with its interval."""
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None:
        return "an unknown share"
    interval = "" if low is None or high is None else f" ({low * 100:.1f} to {high * 100:.1f})"
    return format_percent(value) + interval


def _roc(figures: Figures, rates: Mapping[str, Figure], class_name: str) -> None:
    area = _figure(figures.auroc(class_name))
    title = f"ROC curve of {label(class_name)} with the operating point; area {area}"
    point = (rates["sensitivity"], rates["specificity"])
    with ui.element("figure").classes("roc-box"):
        ui.html(roc_svg(figures.curve(class_name), point, title=title), sanitize=False)
        auroc = figures.auroc(class_name)
        if auroc["value"] is not None:
            with ui.element("figcaption"):
                ui.label(
                    f"AUROC {auroc['value']:.3f} ({auroc['low'] or 0:.3f} to {auroc['high'] or 1:.3f}); "
                    "dot: this operating point"
                ).classes("small dim")
